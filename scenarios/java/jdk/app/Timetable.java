package app;

import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;
import java.util.Timer;
import java.util.TimerTask;
import java.util.concurrent.ForkJoinPool;
import java.util.concurrent.TimeUnit;
import java.util.stream.LongStream;
import scenario.Program;

/** Work on many threads of kinds that pools of plain threads are not. */
public final class Timetable {
    private static volatile Object sink;

    private Timetable() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        switch (program.mode) {
            case "timers":
                program.warm().ready();
                program.pace(48 << 10, Timetable::remind);
                break;
            case "streams":
                ForkJoinPool pool = new ForkJoinPool(24);
                program.cold().ready();
                program.pace(8L * program.rate, () -> pool.submit(Timetable::sort).join());
                break;
            case "fibers":
                Method start = Thread.class.getMethod("startVirtualThread", Runnable.class);
                program.cold().ready();
                program.pace(4 << 10, () -> start.invoke(null, (Runnable) Timetable::serve));
                break;
            case "ring":
                ByteBuffer[] slots = new ByteBuffer[48];
                Arrays.setAll(slots, slot -> ByteBuffer.allocateDirect(1 << 20));
                program.cold().ready();
                int[] next = {0};
                program.pace(64 << 10, () -> write(slots, next[0]++));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** A timer for each appointment, with a thread of its own; nobody cancels it. */
    private static void remind() {
        new Timer().schedule(new TimerTask() {
            @Override
            public void run() {
                sink = this;
            }
        }, 5, 3_600_000);
    }

    private static void sort() {
        sink = LongStream.range(0, 400_000).map(n -> n * 0x9E3779B97F4A7C15L).parallel().sorted().toArray();
    }

    private static void serve() {
        byte[] request = new byte[4 << 10];
        new Random(request.length).nextBytes(request);
        try {
            TimeUnit.MILLISECONDS.sleep(500 + request[0]);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        sink = request;
    }

    /** The buffers are there from the start, but become resident only as they are written to. */
    private static void write(ByteBuffer[] slots, int piece) {
        ByteBuffer slot = slots[piece / 16 % slots.length];
        for (int at = 0; at < 64 << 10; at += 1 << 10) {
            slot.put(piece % 16 * (64 << 10) + at, (byte) piece);
        }
    }
}
