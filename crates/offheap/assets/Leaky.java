import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;

/** Compresses requests and forgets end(): each Deflater keeps 260 KB of native memory. The heap stays flat. */
public class Leaky {
    static final List<Deflater> forgotten = new ArrayList<>();

    static int handle(byte[] request) {
        Deflater deflater = new Deflater();
        deflater.setInput(request);
        deflater.finish();
        // Garbage as any request makes it: the collector comes by every few seconds.
        int length = deflater.deflate(new byte[400_000]);
        forgotten.add(deflater);
        return length;
    }

    public static void main(String[] arguments) throws InterruptedException {
        byte[] request = "GET /index.html HTTP/1.1\r\n".repeat(80).getBytes();
        System.out.println("READY");
        long until = System.nanoTime() + 600_000_000_000L;
        while (System.nanoTime() < until) {
            handle(request);
            Thread.sleep(100);
        }
    }
}
