import java.lang.management.ManagementFactory;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A program that does nothing but allocate on the Java heap: nodes of lists and arrays of 16 to 4096 bytes, a few frames down, of which
 * it keeps the last 10,000 of each thread and one in a thousand of all. Prints nanoseconds of processor time (the threads'
 * alone, or with "all" the process's, collections included) per object.
 * Usage: Objects THREADS OPERATIONS [all]
 */
public class Objects {
    static class Node { Object value; Node next; Node(Object value, Node next) { this.value = value; this.next = next; } }

    static byte[] array(int n) { return new byte[n]; }
    static Node node(long x, Node next) { return new Node((x & 7) == 0 ? array(16 + (int) (x >>> 8 & 4079)) : null, next); }

    static Node work(long operations) {
        Node[] ring = new Node[10_000];
        Node leaked = null;
        long x = Thread.currentThread().getId() * 0x9e3779b97f4a7c15L + 1;
        for (long i = 0; i < operations; i++) {
            x ^= x << 13; x ^= x >>> 7; x ^= x << 17;
            ring[(int) (i % ring.length)] = node(x, null);
            if (i % 100_000 == 7) leaked = node(x, leaked);
        }
        return leaked;
    }

    static Node down(int frames, long operations) {
        return frames == 0 ? work(operations) : down(frames - 1, operations);
    }

    static volatile Node sink;

    static double run(int threads, long operations, boolean all) throws Exception {
        Thread[] workers = new Thread[threads];
        AtomicLong spent = new AtomicLong();
        var os = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        long before = os.getProcessCpuTime();
        for (int i = 0; i < threads; i++) {
            workers[i] = new Thread(() -> {
                sink = down(20, operations);
                spent.addAndGet(ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime());
            });
            workers[i].start();
        }
        for (Thread t : workers) t.join();
        long time = all ? os.getProcessCpuTime() - before : spent.get();
        return time / (double) operations / threads;
    }

    public static void main(String[] args) throws Exception {
        int threads = Integer.parseInt(args[0]);
        long operations = Long.parseLong(args[1]);
        boolean all = args.length > 2;
        run(threads, operations / 4, all);
        System.out.printf(java.util.Locale.ROOT, "%.3f%n", run(threads, operations, all));
    }
}
