package app;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.buffer.UnpooledByteBufAllocator;
import java.util.ArrayDeque;
import java.util.Deque;
import scenario.Program;

/** Netty buffers as a protocol handler uses them. */
public final class Frames {
    private static final int FRAME_BYTES = 6_000;

    private static final Deque<ByteBuf> UNACKNOWLEDGED = new ArrayDeque<>();

    private Frames() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        ByteBufAllocator unpooled = new UnpooledByteBufAllocator(true, true);
        ByteBufAllocator pooled = PooledByteBufAllocator.DEFAULT;
        program.warm().ready();
        switch (program.mode) {
            case "unpooled":
                program.pace(FRAME_BYTES, () -> UNACKNOWLEDGED.add(read(unpooled)));
                break;
            case "pooled":
                program.pace("eventloop", 2, FRAME_BYTES, () -> read(pooled));
                break;
            case "pooled-released":
                program.pace("eventloop", 4, FRAME_BYTES, () -> read(pooled).release());
                break;
            case "pooled-window":
                program.pace(FRAME_BYTES, () -> send(read(pooled), 5_000));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static ByteBuf read(ByteBufAllocator allocator) {
        ByteBuf frame = allocator.directBuffer(FRAME_BYTES);
        while (frame.writableBytes() >= 8) {
            frame.writeLong(frame.writerIndex());
        }
        return frame;
    }

    /** At most so many frames wait for their acknowledgement: the pool grows to that and stays. */
    private static void send(ByteBuf frame, int window) {
        UNACKNOWLEDGED.add(frame);
        if (UNACKNOWLEDGED.size() > window) {
            UNACKNOWLEDGED.remove().release();
        }
    }
}
