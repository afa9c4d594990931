import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.lang.reflect.Field;
import java.util.concurrent.atomic.AtomicLongArray;

/**
 * The workloads a and b of bench/agent for ever, and two that are more like a service; prints each second the operations so far
 * and the workers' processor time in nanoseconds.
 * a: JNI malloc of 16 to 4096 bytes, freed 64 operations later, one in a thousand leaked. b: the same by Unsafe.
 * s: requests that each make some garbage, compute for some twenty microseconds, and keep a block of the C heap: 2 MB/s.
 * h: the same, and what is kept is on the Java heap.
 * Usage: Steady a|b|s|h THREADS
 */
public class Steady {
    static native long get(int n);
    static native void drop(long p);
    static sun.misc.Unsafe unsafe;
    static final java.util.List<byte[]> kept = new java.util.ArrayList<>();
    static volatile long sink;

    static long allocate(boolean jni, int n) { return jni ? get(n) : unsafe.allocateMemory(n); }
    static void free(boolean jni, long p) { if (jni) drop(p); else unsafe.freeMemory(p); }

    static void pairs(boolean jni, AtomicLongArray done, int me) {
        long[] ring = new long[64];
        long x = me * 0x9e3779b97f4a7c15L + 1;
        for (long i = 0;; i++) {
            x ^= x << 13; x ^= x >>> 7; x ^= x << 17;
            int k = (int) (i & 63);
            if (ring[k] != 0 && (i >> 6) % 1000 != 7) free(jni, ring[k]);
            ring[k] = allocate(jni, 16 + (int) (x & 4095) % 4081);
            if ((i & 1023) == 0) done.set(16 * me, i);
        }
    }

    static void requests(boolean heap, AtomicLongArray done, int me) {
        long begun = System.nanoTime(), keeps = 0;
        for (long i = 0;; i++) {
            byte[][] garbage = new byte[8][];
            long sum = i;
            for (int j = 0; j < garbage.length; j++) {
                garbage[j] = new byte[200];
                for (int k = 0; k < 200; k++) sum = sum * 31 + garbage[j][k] + k;
            }
            sink = sum;
            // By the clock, not by the operation: a faster machine leaks no faster.
            if (me == 0 && System.nanoTime() - begun > keeps * 1_000_000L) {
                keeps++;
                if (heap) kept.add(new byte[2000]); else unsafe.setMemory(unsafe.allocateMemory(2000), 2000, (byte) 1);
            }
            done.set(16 * me, i);
        }
    }

    static void down(int frames, String what, AtomicLongArray done, int me) {
        if (frames > 0) down(frames - 1, what, done, me);
        else if (what.equals("a") || what.equals("b")) pairs(what.equals("a"), done, me);
        else requests(what.equals("h"), done, me);
    }

    public static void main(String[] args) throws Exception {
        System.loadLibrary("jni");
        Field f = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        f.setAccessible(true);
        unsafe = (sun.misc.Unsafe) f.get(null);
        int threads = Integer.parseInt(args[1]);
        AtomicLongArray done = new AtomicLongArray(16 * threads);
        long[] ids = new long[threads];
        for (int i = 0; i < threads; i++) {
            int me = i;
            Thread thread = new Thread(() -> down(20, args[0], done, me));
            thread.setDaemon(true);
            thread.start();
            ids[i] = thread.getId();
        }
        ThreadMXBean clock = ManagementFactory.getThreadMXBean();
        for (;;) {
            Thread.sleep(1000);
            long operations = 0, spent = 0;
            for (int i = 0; i < threads; i++) {
                operations += done.get(16 * i);
                spent += clock.getThreadCpuTime(ids[i]);
            }
            System.out.println(System.nanoTime() + " " + operations + " " + spent);
        }
    }
}
