package scenario;

import java.io.IOException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.concurrent.TimeUnit;

/**
 * What every program has in common: its arguments, its background work, its READY line and its pace.
 *
 * <p>Arguments: {@code MODE rate=BYTES_PER_SECOND load=FACTOR delay=SECONDS dir=SCRATCH stdin=watch}; all but the
 * mode may be left out. {@code stdin=watch} ends the program when its standard input is closed, so that it never
 * outlives the harness.
 */
public final class Program {
    /** One piece of work, done by {@link #pace} again and again. */
    public interface Step {
        void run() throws Exception;
    }

    /** The program's variant, as the table's {@code args} names it. */
    public final String mode;
    /** Bytes per second that a leak grows by, or that healthy work turns over. */
    public final long rate;
    /** Background work as a multiple of the normal amount. */
    public final double load;
    /** A directory that is empty at the start and removed after the end. */
    public final Path dir;

    private final double delaySeconds;

    private Program(String mode, long rate, double load, double delaySeconds, Path dir) {
        this.mode = mode;
        this.rate = rate;
        this.load = load;
        this.delaySeconds = delaySeconds;
        this.dir = dir;
    }

    /** Reads the arguments; starts nothing yet. */
    public static Program of(String[] args) {
        String mode = "";
        long rate = 1 << 20;
        double load = 1;
        double delay = 0;
        Path dir = Paths.get(System.getProperty("java.io.tmpdir"));
        for (String arg : args) {
            int equals = arg.indexOf('=');
            String key = equals < 0 ? "mode" : arg.substring(0, equals);
            String value = arg.substring(equals + 1);
            switch (key) {
                case "mode": mode = value; break;
                case "rate": rate = Long.parseLong(value); break;
                case "load": load = Double.parseDouble(value); break;
                case "delay": delay = Double.parseDouble(value); break;
                case "dir": dir = Paths.get(value); break;
                case "stdin": endWithStdin(); break;
                default: throw new IllegalArgumentException("unknown argument " + arg);
            }
        }
        return new Program(mode, rate, load, delay, dir);
    }

    /**
     * Starts the background work with a heap that has reached its steady state, as after hours of service; with
     * {@code -Dscenario.cold=true} the heap is left as it is.
     */
    public Program warm() throws InterruptedException {
        if (!Boolean.getBoolean("scenario.cold")) {
            Background.fillHeap();
        }
        Background.start(load);
        TimeUnit.SECONDS.sleep(2); // what was hot until here is being compiled
        return this;
    }

    /** Starts the background work in a heap that has never been filled, as just after the start. */
    public Program cold() {
        Background.start(load);
        return this;
    }

    /** Says that the window may begin, then waits for the delay. */
    public void ready() throws InterruptedException {
        System.out.println("READY");
        System.out.flush();
        TimeUnit.MILLISECONDS.sleep((long) (delaySeconds * 1000));
    }

    /** Runs the step {@code rate / unit} times a second, for ever; one step is worth {@code unit} bytes. */
    public void pace(long unit, Step step) throws Exception {
        pace(unit, Long.MAX_VALUE, step);
    }

    /** As {@link #pace(long, Step)}, but returns once the steps were worth {@code total} bytes. */
    public void pace(long unit, long total, Step step) throws Exception {
        long start = System.nanoTime();
        long steps = 0;
        while (steps < total / unit) {
            double seconds = (System.nanoTime() - start) / 1e9;
            for (long due = (long) (seconds * rate / unit); steps < due && steps < total / unit; steps++) {
                step.run();
            }
            TimeUnit.MILLISECONDS.sleep(20);
        }
    }

    /** Shares the pace among threads of its own called {@code name-0}, {@code name-1}…; never returns. */
    public void pace(String name, int threads, long unit, Step step) throws Exception {
        for (int i = 0; i < threads; i++) {
            Thread thread = new Thread(() -> {
                try {
                    pace(unit * threads, step);
                } catch (Exception e) {
                    fail(e);
                }
            }, name + "-" + i);
            thread.start();
        }
        rest();
    }

    /** Does nothing more, for ever. */
    public static void rest() throws InterruptedException {
        Thread.sleep(Long.MAX_VALUE);
    }

    /** Ends the program at once: a scenario that has stopped doing its work must not be judged. */
    public static void fail(Throwable cause) {
        cause.printStackTrace();
        Runtime.getRuntime().halt(70);
    }

    private static void endWithStdin() {
        Thread watcher = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {
                    // whatever is typed means nothing
                }
            } catch (IOException e) {
                // the same as its end
            }
            Runtime.getRuntime().halt(0);
        }, "stdin");
        watcher.setDaemon(true);
        watcher.start();
    }
}
