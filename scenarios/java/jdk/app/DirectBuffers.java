package app;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import scenario.Program;

/** Direct buffers without a server around them. */
public final class DirectBuffers {
    private static final List<ByteBuffer> POOL = new ArrayList<>();

    private DirectBuffers() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        program.warm();
        switch (program.mode) {
            case "random":
                for (int i = 0; i < 60; i++) {
                    startRandom(i, program.rate / 60.0);
                }
                program.ready();
                Program.rest();
                break;
            case "pool":
                program.ready();
                program.pace(256 << 10, 24L << 20, () -> POOL.add(touched(256 << 10)));
                exchange(program);
                break;
            case "slices":
                program.ready();
                program.pace("reader", 2, 3_000, DirectBuffers::keepSlice);
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** Buffers of 1 to 256 KB, a few held for a while: nothing is kept, but the C heap is cut into odd pieces. */
    private static void startRandom(int seed, double rate) {
        Random random = new Random(seed);
        ByteBuffer[] held = new ByteBuffer[8];
        Thread thread = new Thread(() -> {
            try {
                while (true) {
                    int size = 1_024 << random.nextInt(8);
                    size += random.nextInt(size);
                    held[random.nextInt(held.length)] = touched(size);
                    TimeUnit.MICROSECONDS.sleep((long) (size / rate * 1e6));
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }, "random-" + seed);
        thread.setDaemon(true);
        thread.start();
    }

    /** The pool is full: from now on its buffers are only written to. */
    private static void exchange(Program program) throws Exception {
        Random random = new Random(2);
        program.pace(256 << 10, () -> POOL.get(random.nextInt(POOL.size())).put(0, (byte) random.nextInt()));
    }

    /** The slice alone keeps the whole of its buffer alive. */
    private static void keepSlice() {
        ByteBuffer whole = touched(3_000);
        synchronized (POOL) {
            POOL.add(whole.slice().limit(16));
        }
    }

    private static ByteBuffer touched(int size) {
        ByteBuffer buffer = ByteBuffer.allocateDirect(size);
        for (int at = 0; at < size; at += 1_024) {
            buffer.put(at, (byte) at);
        }
        return buffer;
    }
}
