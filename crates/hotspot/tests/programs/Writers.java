import java.io.FileOutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.util.concurrent.CountDownLatch;

/** Threads that write heap buffers, for which NIO keeps temporary direct buffers: {@code Writers THREADS BYTES}. */
public class Writers {
    public static void main(String[] args) throws Exception {
        int threads = Integer.parseInt(args[0]);
        int bytes = Integer.parseInt(args[1]);
        CountDownLatch written = new CountDownLatch(threads);
        for (int i = 0; i < threads; i++) {
            Thread thread = new Thread(() -> write(bytes, written), "writer-" + i);
            thread.setDaemon(true);
            thread.start();
        }
        written.await();
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {}
    }

    private static void write(int bytes, CountDownLatch written) {
        try (FileOutputStream out = new FileOutputStream("/dev/null")) {
            FileChannel channel = out.getChannel();
            channel.write(ByteBuffer.wrap(new byte[bytes]));
            written.countDown();
            Thread.sleep(Long.MAX_VALUE);
        } catch (Exception failed) {
            throw new IllegalStateException(failed);
        }
    }
}
