package app;

import java.util.ArrayList;
import java.util.List;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.IntVector;
import scenario.Program;

/** Arrow vectors, which stay in direct memory until they are closed. */
public final class Columns {
    private static final int ROWS = 8_000;
    /** Values and validity bits of one vector, each rounded up to a power of two. */
    private static final int VECTOR_BYTES = 65_000;

    private static final List<IntVector> BATCHES = new ArrayList<>();

    private Columns() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        BufferAllocator allocator = new RootAllocator();
        load(allocator).close();
        program.warm().ready();
        switch (program.mode) {
            case "vectors":
                program.pace(VECTOR_BYTES, () -> BATCHES.add(load(allocator)));
                break;
            case "closed-vectors":
                program.pace(VECTOR_BYTES, () -> load(allocator).close());
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static IntVector load(BufferAllocator allocator) {
        IntVector vector = new IntVector("id", allocator);
        vector.allocateNew(ROWS);
        for (int i = 0; i < ROWS; i++) {
            vector.set(i, i);
        }
        vector.setValueCount(ROWS);
        return vector;
    }
}
