import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * Owners of native memory that collections have moved: {@code Moved KEPT [MILLISECONDS]}. Between every
 * two buffers lies garbage, so the pages they are in are worth emptying, and nothing loads the references
 * after; where milliseconds are said, garbage is made on and on, and collected that often.
 */
public class Moved {
    static final List<Object> LIST = new ArrayList<>();
    static volatile Object garbage;

    public static void main(String[] args) throws Exception {
        int kept = Integer.parseInt(args[0]);
        for (int i = 0; i < kept; i++) {
            Object[] box = {ByteBuffer.allocateDirect(1000), null};
            LIST.add(box);
            for (int j = 0; j < 20; j++) {
                garbage = new byte[3000];
            }
        }
        garbage = null;
        System.gc();
        if (args.length > 1) {
            Thread churn = new Thread(() -> churn(Long.parseLong(args[1])), "churn");
            churn.setDaemon(true);
            churn.start();
        }
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {}
        System.out.println(LIST.size());
    }

    /** Moves the boxes as well: each is made anew now and then. */
    private static void churn(long every) {
        long next = System.nanoTime();
        for (int i = 0; ; i++) {
            int at = i % LIST.size();
            Object[] box = (Object[]) LIST.get(at);
            LIST.set(at, new Object[] {box[0], null});
            garbage = new byte[3000];
            if (System.nanoTime() >= next) {
                System.gc();
                next = System.nanoTime() + every * 1_000_000;
            }
            if (i % 64 == 0) {
                LockSupport.parkNanos(1_000_000);
            }
        }
    }
}
