package app;

import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.reflect.Field;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import scenario.Program;
import sun.misc.Unsafe;

/** Files mapped into memory: segments of a log, an index. */
public final class MappedFiles {
    private static final int SEGMENT_BYTES = 512 << 10;
    private static final int PAGE_BYTES = 4 << 10;
    private static final int INDEX_BYTES = 32 << 20;

    private static final List<MappedByteBuffer> SEGMENTS = new ArrayList<>();
    private static Path dir;
    private static int next;
    private static volatile int sink;

    private MappedFiles() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        dir = program.dir;
        program.warm().ready();
        switch (program.mode) {
            case "segments":
                program.pace(SEGMENT_BYTES, () -> SEGMENTS.add(rollSegment(false)));
                break;
            case "deleted-segments":
                program.pace(SEGMENT_BYTES, () -> SEGMENTS.add(rollSegment(true)));
                break;
            case "unmapped-segments":
                program.pace(SEGMENT_BYTES, () -> unmap(rollSegment(true)));
                break;
            case "index":
                readIndex(program);
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** Writes a new segment through its mapping; the mapping outlives a deleted file. */
    private static MappedByteBuffer rollSegment(boolean delete) throws IOException {
        Path path = dir.resolve("segment-" + next++ + ".log");
        MappedByteBuffer segment;
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
            segment = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, SEGMENT_BYTES);
        }
        for (int at = 0; at < SEGMENT_BYTES; at += PAGE_BYTES) {
            segment.putInt(at, next);
        }
        if (delete) {
            Files.delete(path);
        }
        return segment;
    }

    /** One index of fixed size, mapped at the start: page after page becomes resident, then no more come. */
    private static void readIndex(Program program) throws Exception {
        Path path = dir.resolve("index.db");
        MappedByteBuffer index;
        try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
            index = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, INDEX_BYTES);
        }
        program.pace(PAGE_BYTES, INDEX_BYTES, () -> {
            index.putInt(next, next);
            next += PAGE_BYTES;
        });
        program.pace(PAGE_BYTES, () -> {
            next = (next + 7 * PAGE_BYTES) % INDEX_BYTES;
            sink = index.getInt(next);
        });
    }

    private static void unmap(ByteBuffer segment) throws ReflectiveOperationException {
        Field field = Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        ((Unsafe) field.get(null)).invokeCleaner(segment);
    }
}
