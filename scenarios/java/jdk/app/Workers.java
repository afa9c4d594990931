package app;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import scenario.Program;

/** Threads: pools that are never shut down, and those that behave. */
public final class Workers {
    /** Stack and bookkeeping of a thread that has recursed {@link #DEPTH} times. */
    private static final int THREAD_BYTES = 150_000;
    private static final int DEPTH = 600;

    private static final List<Object> STARTED = new ArrayList<>();
    private static final CountDownLatch NEVER = new CountDownLatch(1);
    private static volatile long sink;

    private Workers() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        program.warm();
        switch (program.mode) {
            case "executor-per-request":
                program.ready();
                program.pace(2 * THREAD_BYTES, Workers::serveWithOwnPool);
                break;
            case "listener-threads":
                program.ready();
                program.pace(THREAD_BYTES, Workers::startListener);
                break;
            case "cached-pool":
                growOnePool(program);
                break;
            case "bounded-pool":
                growToMaximum(program);
                break;
            case "bursts":
                program.ready();
                while (true) {
                    burst();
                    TimeUnit.SECONDS.sleep(4);
                }
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** The pool of two threads outlives its request: nobody calls shutdown(). */
    private static void serveWithOwnPool() {
        ExecutorService pool = Executors.newFixedThreadPool(2);
        pool.submit(() -> recurse(DEPTH));
        pool.submit(() -> recurse(DEPTH));
        STARTED.add(pool);
    }

    private static void startListener() {
        Thread thread = new Thread(() -> {
            recurse(DEPTH);
            park();
        }, "listener-" + STARTED.size());
        STARTED.add(thread);
        thread.start();
    }

    /** A cached pool whose tasks never end: it starts a thread for each one and never shrinks. */
    private static void growOnePool(Program program) throws Exception {
        ExecutorService pool = Executors.newCachedThreadPool();
        program.ready();
        program.pace(THREAD_BYTES, () -> pool.submit(() -> {
            recurse(DEPTH);
            park();
        }));
    }

    /** The pool starts a thread for each of its first tasks, reaches its maximum and stays there. */
    private static void growToMaximum(Program program) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(60);
        program.ready();
        program.pace(THREAD_BYTES, () -> pool.submit(() -> recurse(DEPTH)));
    }

    private static void burst() throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 60; i++) {
            Thread thread = new Thread(() -> {
                recurse(DEPTH);
                pause(3);
            }, "burst-" + i);
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join();
        }
    }

    private static long recurse(int depth) {
        long below = depth == 0 ? 0 : recurse(depth - 1);
        sink = below + depth;
        return sink;
    }

    private static void park() {
        try {
            NEVER.await();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private static void pause(int seconds) {
        try {
            TimeUnit.SECONDS.sleep(seconds);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
