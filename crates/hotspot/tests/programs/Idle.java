import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/** Allocates what it is told, says so, and then does nothing: {@code Idle DIRECT_BUFFERS BYTES_EACH THREADS}. */
public class Idle {
    static final List<Object> KEPT = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        int buffers = Integer.parseInt(args[0]);
        int bytes = Integer.parseInt(args[1]);
        int threads = Integer.parseInt(args[2]);
        for (int i = 0; i < buffers; i++) {
            KEPT.add(ByteBuffer.allocateDirect(bytes));
        }
        for (int i = 0; i < threads; i++) {
            Thread thread = new Thread(Idle::sleep, "a worker with a long name, number-" + i);
            thread.setDaemon(true);
            thread.start();
        }
        for (int i = 0; i < 200; i++) {
            KEPT.add(new byte[20_000]);
        }
        System.gc();
        // The threads that the collection started have ended their start-up before the line is seen.
        Thread.sleep(300);
        System.out.println("ready");
        System.out.flush();
        // Until the test closes our input.
        while (System.in.read() >= 0) {}
    }

    private static void sleep() {
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }
}
