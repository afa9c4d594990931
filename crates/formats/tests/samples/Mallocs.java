import jdk.jfr.*;
import java.nio.ByteBuffer;
import java.util.*;

/** Events with the names and fields of async-profiler's, written by the JDK. */
public class Mallocs {
    @Name("profiler.Malloc") @Label("malloc") @StackTrace(true) static class Malloc extends Event { long address; long size; }
    @Name("profiler.Free") @Label("free") @StackTrace(false) static class Free extends Event { long address; }
    static void malloc(long address, long size) { Malloc e = new Malloc(); e.address = address; e.size = size; e.commit(); }
    static void free(long address) { Free e = new Free(); e.address = address; e.commit(); }
    static void leak(int i) { malloc(0x1000 + i * 64L, 48); }
    static void churn(int i) { malloc(0x100000 + i % 7, 1000); free(0x100000 + i % 7); }
    public static void main(String[] a) throws Exception {
        List<ByteBuffer> keep = new ArrayList<>();
        for (int i = 0; i < 100; i++) { leak(i); churn(i); if (i % 10 == 0) keep.add(ByteBuffer.allocateDirect(1 << 16)); }
        free(0x1000); // one of the leaked is freed in the end
        Thread.sleep(2500);
        malloc(0x999000, 5); // in the tail
        free(0xdead);
    }
}
