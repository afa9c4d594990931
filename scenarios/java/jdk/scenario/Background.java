package scenario;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.zip.Deflater;

/**
 * The normal work of a service: short-lived objects, a bounded cache on the heap, some compression, a direct buffer
 * now and then. At load 1 about 4 MB of garbage a second and a few percent of one core.
 */
final class Background {
    private static final int THREADS = 3;
    private static final int CACHE_ENTRIES = 6_000;
    private static final int ENTRY_BYTES = 4_000;
    private static final long TICK_MILLIS = 50;
    private static final int GARBAGE_BYTES_PER_SECOND = 4 << 20;
    private static final int CHUNK_BYTES = 16 << 10;

    private static final Map<Integer, byte[]> CACHE = new LinkedHashMap<Integer, byte[]>() {
        @Override
        protected boolean removeEldestEntry(Map.Entry<Integer, byte[]> eldest) {
            return size() > CACHE_ENTRIES;
        }
    };

    /** Where results go, so that the compiler cannot drop the work. */
    private static volatile Object sink;

    private Background() {}

    /** Fills and churns the heap until all that is committed has been touched and the collector has settled. */
    static void fillHeap() {
        long committed = Runtime.getRuntime().totalMemory();
        sink = allocate(committed / 20 * 19);
        for (long done = 0; done < 2 * committed; done += CHUNK_BYTES) {
            sink = new byte[CHUNK_BYTES];
        }
    }

    /** So many bytes at once, or as many as there is room for; returns their number. */
    private static long allocate(long bytes) {
        List<byte[]> live = new ArrayList<>((int) (bytes / CHUNK_BYTES) + 1);
        try {
            while (live.size() < bytes / CHUNK_BYTES) {
                live.add(new byte[CHUNK_BYTES]);
            }
        } catch (OutOfMemoryError full) {
            return live.size(); // the collector keeps a part for itself
        }
        return live.size();
    }

    static void start(double load) {
        Random random = new Random(1);
        for (int i = 0; i < CACHE_ENTRIES; i++) {
            remember(random, i);
        }
        for (int i = 0; i < THREADS; i++) {
            long seed = i;
            Thread thread = new Thread(() -> work(new Random(seed), load), "service-" + i);
            thread.setDaemon(true);
            thread.start();
        }
    }

    private static void work(Random random, double load) {
        try {
            for (long tick = 0; ; tick++) {
                makeGarbage(random, load);
                compress(random, load);
                if (tick % 20 == 0) {
                    sink = ByteBuffer.allocateDirect(8 << 10);
                }
                TimeUnit.MILLISECONDS.sleep(TICK_MILLIS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void makeGarbage(Random random, double load) {
        double share = load * GARBAGE_BYTES_PER_SECOND * TICK_MILLIS / 1000 / THREADS;
        for (int made = 0; made < share; made += ENTRY_BYTES) {
            sink = ("request " + random.nextInt()).toUpperCase();
            remember(random, random.nextInt(CACHE_ENTRIES * 2));
        }
    }

    private static void remember(Random random, int key) {
        byte[] value = new byte[ENTRY_BYTES];
        value[0] = (byte) random.nextInt();
        synchronized (CACHE) {
            CACHE.put(key, value);
        }
    }

    /** One message in four ticks at load 1: native memory that is taken and given back at once. */
    private static void compress(Random random, double load) {
        if (random.nextDouble() * 4 > load) {
            return;
        }
        byte[] message = new byte[2_000];
        random.nextBytes(message);
        Deflater deflater = new Deflater(1);
        try {
            deflater.setInput(message);
            deflater.finish();
            sink = deflater.deflate(new byte[4_000]);
        } finally {
            deflater.end();
        }
    }
}
