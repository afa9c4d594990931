package app;

import java.lang.reflect.Field;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Random;
import scenario.Program;
import sun.misc.Unsafe;

/** Least-recently-used caches of pictures, on the heap and beside it; all of them are bounded. */
public final class Thumbnails {
    private static final int PICTURE_BYTES = 24 << 10;

    private static final Unsafe UNSAFE = unsafe();
    private static final Random RANDOM = new Random(4);

    private Thumbnails() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        switch (program.mode) {
            case "heap":
                OnHeap young = new OnHeap(80 << 20);
                program.cold().ready();
                program.pace(PICTURE_BYTES, () -> young.look(RANDOM.nextInt(1 << 20)));
                break;
            case "native":
                Native pictures = new Native(42 << 20);
                program.cold().ready();
                program.pace(PICTURE_BYTES, () -> pictures.look(RANDOM.nextInt(1 << 20)));
                break;
            case "large":
                OnHeap full = new OnHeap(300 << 20);
                for (int id = 0; id < (300 << 20) / PICTURE_BYTES; id++) {
                    full.look(id);
                }
                program.cold().ready();
                // Three of four are there, so the old generation is churned slowly.
                program.pace(PICTURE_BYTES, () -> full.look((int) Math.abs(RANDOM.nextGaussian() * 10_000)));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** Pictures as byte arrays. */
    private static final class OnHeap extends LinkedHashMap<Integer, byte[]> {
        private final int limit;

        OnHeap(int bytes) {
            super(16, 0.75f, true);
            limit = bytes / PICTURE_BYTES;
        }

        byte[] look(int id) {
            return computeIfAbsent(id, missing -> new byte[PICTURE_BYTES / 2 + RANDOM.nextInt(PICTURE_BYTES)]);
        }

        @Override
        protected boolean removeEldestEntry(Map.Entry<Integer, byte[]> eldest) {
            return size() > limit;
        }
    }

    /** Pictures in native memory that is freed when the picture is evicted. */
    private static final class Native extends LinkedHashMap<Integer, Long> {
        private final int limit;

        Native(int bytes) {
            super(16, 0.75f, true);
            limit = bytes / PICTURE_BYTES;
        }

        long look(int id) {
            return computeIfAbsent(id, missing -> decode(PICTURE_BYTES / 2 + RANDOM.nextInt(PICTURE_BYTES)));
        }

        @Override
        protected boolean removeEldestEntry(Map.Entry<Integer, Long> eldest) {
            if (size() <= limit) {
                return false;
            }
            UNSAFE.freeMemory(eldest.getValue());
            return true;
        }
    }

    private static long decode(int bytes) {
        long picture = UNSAFE.allocateMemory(bytes);
        UNSAFE.setMemory(picture, bytes, (byte) 'p');
        return picture;
    }

    private static Unsafe unsafe() {
        try {
            Field field = Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            return (Unsafe) field.get(null);
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }
}
