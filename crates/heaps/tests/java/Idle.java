import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;

/** Holds 50 MB of direct buffers and a Deflater in each of 30 threads; answers "gc" by letting 40 of the buffers go. */
public class Idle {
    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 30; i++) {
            Thread thread = new Thread(() -> {
                Deflater deflater = new Deflater();
                deflater.setInput(new byte[1000]);
                deflater.deflate(new byte[100]);
                try {
                    Thread.sleep(1_000_000);
                } catch (InterruptedException end) {
                    deflater.end();
                }
            });
            thread.setDaemon(true);
            thread.start();
        }
        List<Object> held = new ArrayList<>();
        for (int i = 0; i < 50; i++) held.add(ByteBuffer.allocateDirect(1 << 20));
        for (int i = 0; i < 500; i++) held.add(ByteBuffer.allocateDirect(30_000));
        Thread.sleep(500);
        System.out.println("ready");
        while (System.in.read() == 'g') {
            while (System.in.read() != '\n') { }
            for (int i = 60; i < held.size(); i++) if (i % 7 != 0) held.set(i, null);
            for (int i = 0; i < 3; i++) {
                System.gc();
                Thread.sleep(300);
            }
            System.out.println("gone");
        }
        System.out.println(held.size());
    }
}
