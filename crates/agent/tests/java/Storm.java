import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.zip.Deflater;

/** A JVM under every kind of weather for as many tenths of a second as asked, or until something
 * is on its input: prints "SURVIVED". */
public class Storm {
    static native void leak(int bytes);
    public static native void churn(int blocks);
    static native boolean plugin(String path);
    static native boolean fork();
    static native void signal();

    /** Loaded again and again by loaders that are then forgotten: its metadata comes and goes. */
    public static class Fleeting {
        public static void run() { for (int i = 0; i < 200; i++) churnFrom(i); }
        static void churnFrom(int i) { Storm.churn(20); ByteBuffer.allocateDirect(64 + i); }
    }

    static class Loader extends ClassLoader {
        Class<?> fleeting(byte[] code) { return defineClass("Storm$Fleeting", code, 0, code.length); }
    }

    static volatile Throwable failure;
    static volatile boolean done;

    interface Task { void run() throws Throwable; }

    /** Anybody may be hit when one thread takes all of the heap. */
    static boolean outOfMemory(Throwable e) {
        for (; e != null; e = e.getCause()) if (e instanceof OutOfMemoryError) return true;
        return false;
    }

    static Thread start(Task task) {
        Thread t = new Thread(() -> {
            while (!done) {
                try {
                    task.run();
                } catch (Throwable e) {
                    if (!outOfMemory(e)) { failure = e; return; }
                }
            }
        });
        t.start();
        return t;
    }

    /** A virtual thread where there are any. */
    static Thread virtual(Runnable work) throws Exception {
        try {
            return (Thread) Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, work);
        } catch (NoSuchMethodException old) {
            Thread t = new Thread(work);
            t.start();
            return t;
        }
    }

    static int deep(int n) { churn(1); return deep(n + 1) + 1; }

    static void run(int i) throws Throwable {
        byte[] code;
        try (InputStream in = Storm.class.getResourceAsStream("Storm$Fleeting.class")) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            in.transferTo(out);
            code = out.toByteArray();
        }
        Method m = new Loader().fleeting(code).getMethod("run");
        m.invoke(null);
    }

    public static void main(String[] args) throws Throwable {
        System.loadLibrary("storm");
        int rounds = Integer.parseInt(args[0]);
        System.out.println("READY");
        List<Thread> threads = new ArrayList<>();
        threads.add(start(() -> run(0)));
        threads.add(start(() -> churn(1000)));
        threads.add(start(() -> {
            Deflater d = new Deflater();
            d.setInput(new byte[1000]);
            d.finish();
            d.deflate(new byte[1000]);
            d.end();
        }));
        threads.add(start(() -> { Thread t = new Thread(() -> churn(10)); t.start(); t.join(); }));
        // Objects of all sizes, some of which live for a while, in threads of their own: also virtual ones.
        Object[] some = new Object[5000];
        Task objects = () -> { for (int i = 0; i < 100_000; i++) some[i % 5000] = new byte[i % 3000]; };
        threads.add(start(objects));
        threads.add(start(() -> { Thread t = virtual(() -> { for (int i = 0; i < 1000; i++) some[i] = new Loader(); }); t.join(); }));
        threads.add(start(() -> { try { deep(0); } catch (StackOverflowError expected) { } Thread.sleep(20); }));
        threads.add(start(() -> { new ProcessBuilder("true").start().waitFor(); Thread.sleep(20); }));
        threads.add(start(() -> {
            if (!plugin(args[1])) throw new IllegalStateException("dlopen");
            Thread.sleep(1);
        }));
        threads.add(start(() -> {
            if (!fork()) throw new IllegalStateException("fork");
            signal();
            Thread.sleep(5);
        }));
        // Classes that are first used when there is no memory stay broken for ever: all others have a second's start.
        Thread.sleep(1000);
        threads.add(start(() -> {
            try {
                List<long[]> all = new ArrayList<>();
                while (!done) all.add(new long[1 << 22]);
            } catch (OutOfMemoryError expected) { }
            Thread.sleep(200);
        }));
        long end = System.nanoTime() + rounds * 100_000_000L;
        // By the clock: on a busy machine a round can take seconds.
        while (System.nanoTime() < end && failure == null && System.in.available() == 0) {
            Thread.sleep(500);
            System.gc();
        }
        done = true;
        for (Thread t : threads) t.join();
        if (failure != null) throw failure;
        // However few objects the agent has seen since it was started last: they are garbage now, and it is told so.
        Arrays.fill(some, null);
        for (int i = 0; i < 3; i++) {
            System.gc();
            Thread.sleep(100);
        }
        System.out.println("SURVIVED");
    }
}
