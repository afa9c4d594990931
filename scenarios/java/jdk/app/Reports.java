package app;

import java.util.concurrent.TimeUnit;
import scenario.Program;

/** Reports made by a C library (native/jni_reports.c). */
public final class Reports {
    private static final int PAGE_BYTES = 5_000;

    private static int pages;

    private Reports() {}

    /** Lays so many bytes of pages out and keeps them. */
    private static native void typeset(int bytes, int pageBytes);

    /** Lays so many bytes of pages out and frees them. */
    private static native void preview(int bytes, int pageBytes);

    public static void main(String[] args) throws Exception {
        System.loadLibrary("jni_reports");
        Program program = Program.of(args);
        switch (program.mode) {
            case "model":
                program.warm().ready();
                TimeUnit.SECONDS.sleep(6);
                typeset(60 << 20, PAGE_BYTES);
                program.pace("preview", 2, PAGE_BYTES, () -> preview(PAGE_BYTES, PAGE_BYTES));
                break;
            case "nightly":
                program.warm().ready();
                program.pace(20 * program.rate, () -> preview(80 << 20, PAGE_BYTES));
                break;
            case "noon":
                program.warm().ready();
                TimeUnit.SECONDS.sleep(28);
                program.pace("report", 2, PAGE_BYTES, Reports::print);
                break;
            case "hourly":
                program.warm().ready();
                program.pace(10 * program.rate, () -> printMany(10 * program.rate));
                break;
            case "words":
                program.warm().ready();
                learnWords(program);
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static void print() {
        typeset(PAGE_BYTES, PAGE_BYTES);
    }

    private static void printMany(long bytes) {
        typeset((int) bytes, PAGE_BYTES);
    }

    /** New words come ever more rarely: the n-th takes n times as long as the first. */
    private static void learnWords(Program program) throws Exception {
        long start = System.nanoTime();
        while (true) {
            double seconds = (System.nanoTime() - start) / 1e9;
            for (double due = 4.0 * program.rate / PAGE_BYTES * Math.log1p(seconds); pages < due; pages++) {
                typeset(PAGE_BYTES, PAGE_BYTES);
            }
            TimeUnit.MILLISECONDS.sleep(50);
        }
    }
}
