package app;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import scenario.Program;

/** Programs whose memory is on the Java heap, or which do nothing but that. */
public final class HeapWork {
    private static final int RECORD_BYTES = 2_048;

    private static final Map<String, byte[]> SESSIONS = new HashMap<>();
    private static final Deque<byte[]> RECENT = new ArrayDeque<>();
    private static volatile Object sink;
    private static int next;

    private HeapWork() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        switch (program.mode) {
            case "sessions":
                program.warm().ready();
                program.pace("session", 2, RECORD_BYTES, HeapWork::openSession);
                break;
            case "garbage":
                program.cold().ready();
                program.pace(RECORD_BYTES, HeapWork::answer);
                break;
            case "cache":
                program.cold().ready();
                program.pace(RECORD_BYTES, 120L << 20, () -> RECENT.add(new byte[RECORD_BYTES]));
                Program.rest();
                break;
            case "steady":
                program.warm().ready();
                program.pace("worker", 3, RECORD_BYTES, HeapWork::answerAndRemember);
                break;
            case "batch":
                runBatch();
                program.ready();
                program.pace(RECORD_BYTES, HeapWork::answer);
                break;
            case "idle":
                program.ready();
                Program.rest();
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** Keeps the session for ever, and makes ten times as much garbage on the way. */
    private static void openSession() {
        for (int i = 0; i < 10; i++) {
            answer();
        }
        synchronized (SESSIONS) {
            SESSIONS.put("session-" + next++, new byte[RECORD_BYTES]);
        }
    }

    private static void answer() {
        sink = new byte[RECORD_BYTES];
    }

    /** A live set of some megabytes that is renewed all the time. */
    private static void answerAndRemember() {
        answer();
        synchronized (RECENT) {
            RECENT.add(new byte[RECORD_BYTES]);
            if (RECENT.size() > 8_000) {
                RECENT.remove();
            }
        }
    }

    /** Fills three quarters of the heap, lets go of it and leaves the collector to itself. */
    private static void runBatch() {
        List<byte[]> rows = new ArrayList<>();
        long bytes = Runtime.getRuntime().maxMemory() / 4 * 3;
        for (long done = 0; done < bytes; done += RECORD_BYTES) {
            rows.add(new byte[RECORD_BYTES - 16]);
        }
        sink = rows.size();
    }
}
