import java.lang.reflect.Field;
import sun.misc.Unsafe;

/** Mallocs and frees through many Java stacks; one of a thousand is never freed. Argument: pairs of malloc and free. */
public class Mallocs {
    static final Unsafe UNSAFE = unsafe();
    static final long[] RING = new long[64];
    static int at;

    static Unsafe unsafe() {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (Unsafe) field.get(null);
        } catch (ReflectiveOperationException e) {
            throw new IllegalStateException(e);
        }
    }

    static void allocate(int n) {
        long block = UNSAFE.allocateMemory(16 + n % 4000);
        if (n % 1000 == 0) return;
        if (RING[at] != 0) UNSAFE.freeMemory(RING[at]);
        RING[at] = block;
        at = (at + 1) & 63;
    }

    // Each bit of `path` takes one of two methods: 2^11 stacks of different frames.
    static void a(int path, int depth, int n) {
        if (depth == 0) allocate(n);
        else if ((path & 1) == 0) a(path >> 1, depth - 1, n);
        else b(path >> 1, depth - 1, n);
    }

    static void b(int path, int depth, int n) {
        if (depth == 0) allocate(n);
        else if ((path & 1) == 0) a(path >> 1, depth - 1, n);
        else b(path >> 1, depth - 1, n);
    }

    public static void main(String[] args) {
        int pairs = Integer.parseInt(args[0]);
        for (int n = 0; n < pairs; n++) a(n * 31 & 2047, 22, n);
    }
}
