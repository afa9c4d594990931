import java.lang.management.ManagementFactory;
import java.lang.reflect.Field;
import java.util.concurrent.atomic.AtomicLong;

/**
 * Workloads a and b of research/neighbours.md: blocks of 16 to 4096 bytes, freed 64 operations later, one in a
 * thousand leaked, from 20 to 40 Java frames down; a by JNI malloc, b by Unsafe. Prints
 * nanoseconds of processor time per operation and thread.
 * Usage: Jni a|b THREADS OPERATIONS [MORE FRAMES]
 */
public class Jni {
    static native long get(int n);
    static native void drop(long p);
    static sun.misc.Unsafe unsafe;
    static int more;

    static long allocate(boolean jni, int n) { return jni ? get(n) : unsafe.allocateMemory(n); }
    static void free(boolean jni, long p) { if (jni) drop(p); else unsafe.freeMemory(p); }

    static void loop(boolean jni, long operations) {
        long[] ring = new long[64];
        long x = Thread.currentThread().getId() * 0x9e3779b97f4a7c15L + 1;
        for (long i = 0; i < operations; i++) {
            x ^= x << 13; x ^= x >>> 7; x ^= x << 17;
            int k = (int) (i & 63);
            if (ring[k] != 0 && (i >> 6) % 1000 != 7) free(jni, ring[k]);
            ring[k] = allocate(jni, 16 + (int) (x & 4095) % 4081);
        }
    }

    static void down(int frames, boolean jni, long operations) {
        if (frames == 0) loop(jni, operations); else down(frames - 1, jni, operations);
    }

    static double run(int threads, boolean jni, long operations) throws Exception {
        Thread[] all = new Thread[threads];
        AtomicLong spent = new AtomicLong();
        for (int i = 0; i < threads; i++) {
            int frames = 20 + 20 * i / threads + more;
            all[i] = new Thread(() -> {
                down(frames, jni, operations);
                spent.addAndGet(ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime());
            });
            all[i].start();
        }
        for (Thread t : all) t.join();
        return spent.get() / (double) operations / threads;
    }

    public static void main(String[] args) throws Exception {
        System.loadLibrary("jni");
        Field f = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        f.setAccessible(true);
        unsafe = (sun.misc.Unsafe) f.get(null);
        boolean jni = args[0].equals("a");
        int threads = Integer.parseInt(args[1]);
        long operations = Long.parseLong(args[2]);
        more = args.length > 3 ? Integer.parseInt(args[3]) : 0;
        run(threads, jni, operations / 4);
        System.out.printf(java.util.Locale.ROOT, "%.3f%n", run(threads, jni, operations));
    }
}
