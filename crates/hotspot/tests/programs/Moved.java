import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * Owners of native memory that collections have moved: {@code Moved KEPT}. Between every two buffers
 * lies garbage, so the pages they are in are worth emptying, and nothing loads the references after.
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
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {}
        System.out.println(LIST.size());
    }
}
