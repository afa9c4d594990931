package app;

import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import scenario.Program;

/**
 * Memory segments of java.lang.foreign (JDK 22 and later), called by reflection because the programs are compiled for
 * JDK 11.
 */
public final class Segments {
    private static final long TABLE_BYTES = 24 << 10;

    private static final List<Object> ARENAS = new ArrayList<>();
    private static Method ofShared;
    private static Method allocate;
    private static Method asByteBuffer;
    private static Method close;

    private Segments() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        Class<?> arena = Class.forName("java.lang.foreign.Arena");
        ofShared = arena.getMethod("ofShared");
        allocate = arena.getMethod("allocate", long.class);
        close = arena.getMethod("close");
        asByteBuffer = Class.forName("java.lang.foreign.MemorySegment").getMethod("asByteBuffer");
        program.warm().ready();
        switch (program.mode) {
            case "arenas":
                program.pace(TABLE_BYTES, () -> ARENAS.add(openTable()));
                break;
            case "closed-arenas":
                program.pace(TABLE_BYTES, () -> close.invoke(openTable()));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static Object openTable() throws ReflectiveOperationException {
        Object arena = ofShared.invoke(null);
        ByteBuffer table = (ByteBuffer) asByteBuffer.invoke(allocate.invoke(arena, TABLE_BYTES));
        while (table.hasRemaining()) {
            table.put((byte) 1);
        }
        return arena;
    }
}
