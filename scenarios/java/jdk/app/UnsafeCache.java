package app;

import java.lang.reflect.Field;
import java.util.ArrayDeque;
import java.util.Deque;
import scenario.Program;
import sun.misc.Unsafe;

/** A cache that keeps its values in memory from sun.misc.Unsafe. */
public final class UnsafeCache {
    private static final int ENTRY_BYTES = 1_200;
    private static final int FULL = 20_000;

    private static final Unsafe UNSAFE = unsafe();
    private static final Deque<Long> ENTRIES = new ArrayDeque<>();

    private UnsafeCache() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        program.warm().ready();
        switch (program.mode) {
            case "unbounded":
                program.pace("cache", 2, ENTRY_BYTES, () -> put(Integer.MAX_VALUE));
                break;
            case "bounded":
                program.pace("cache", 2, ENTRY_BYTES, () -> put(FULL));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static void put(int limit) {
        long entry = store();
        synchronized (ENTRIES) {
            ENTRIES.add(entry);
            if (ENTRIES.size() > limit) {
                UNSAFE.freeMemory(ENTRIES.remove());
            }
        }
    }

    private static long store() {
        long entry = UNSAFE.allocateMemory(ENTRY_BYTES);
        UNSAFE.setMemory(entry, ENTRY_BYTES, (byte) 'v');
        return entry;
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
