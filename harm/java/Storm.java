import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;

/** A JVM in bad weather of the kinds its arguments name: Storm FOLDER ,fork,classes,…, ; Java's own kinds are here, the others in
 * libstorm.so. Answers "end", "gap", "exit", "exec", "leave", "nothing" on its input. Provokes all kinds of harm. */
public class Storm {
    static native void start(String names, String folder);
    static native String end();
    static native long gap();
    static native long waited();
    public static native void churn(int blocks);
    static native void exec();
    static native void leave();

    /** Loaded again and again by loaders that are then forgotten: its metadata and code come and go. */
    public static class Fleeting {
        public static void run() { for (int i = 0; i < 200; i++) churnFrom(i); }
        static void churnFrom(int i) { Storm.churn(4); ByteBuffer.allocateDirect(64 + i); }
    }

    static class Loader extends ClassLoader {
        Class<?> fleeting(byte[] code) { return defineClass("Storm$Fleeting", code, 0, code.length); }
    }

    static volatile boolean done;
    static volatile Throwable failure;
    static volatile long longest;
    static final List<Thread> threads = new ArrayList<>();

    interface Task { void run() throws Throwable; }

    /** Anybody may be hit when one thread takes all of the heap, or of its stack. */
    static boolean expected(Throwable e) {
        for (; e != null; e = e.getCause()) if (e instanceof VirtualMachineError || e instanceof LinkageError) return true;
        return false;
    }

    static void weather(String names, String name, Task task) {
        if (!names.contains("," + name + ",")) return;
        Thread t = new Thread(() -> {
            while (!done) {
                try {
                    try { task.run(); } catch (Throwable e) { if (!expected(e)) { failure = e; return; } }
                } catch (VirtualMachineError e) { } // while it was looked at what had happened
            }
        }, name);
        t.setDaemon(true);
        t.start();
        threads.add(t);
    }

    static int deep(int n) { if (n % 64 == 0) churn(2); return deep(n + 1) + 1; }

    static byte[] code() throws Exception {
        try (InputStream in = Storm.class.getResourceAsStream("Storm$Fleeting.class")) {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            in.transferTo(out);
            return out.toByteArray();
        }
    }

    public static void main(String[] a) throws Throwable {
        Thread.setDefaultUncaughtExceptionHandler((t, e) -> { if (!expected(e)) failure = e; });
        System.load(a[0] + "/libstorm.so");
        byte[] code = code();
        String names = a[1];
        weather(names, "classes", () -> { new Loader().fleeting(code).getMethod("run").invoke(null); Thread.sleep(1); });
        weather(names, "objects", () -> {
            Object[] some = new Object[5000];
            for (int i = 0; i < 100_000; i++) some[i % 5000] = new byte[i % 3000];
            Deflater d = new Deflater();
            d.setInput(new byte[1000]);
            d.finish();
            d.deflate(new byte[1000]);
            d.end();
            Thread.sleep(5);
        });
        weather(names, "overflow", () -> { try { deep(1); } catch (StackOverflowError e) { } Thread.sleep(20); });
        weather(names, "jthreads", () -> { Thread t = new Thread(() -> churn(10)); t.start(); t.join(); });
        weather(names, "oom", () -> {
            try {
                List<long[]> all = new ArrayList<>();
                while (!done) all.add(new long[1 << 20]);
            } catch (OutOfMemoryError e) { }
            Thread.sleep(300);
        });
        weather(names, "jclock", () -> {
            long last = System.nanoTime(), asked = last, waited = waited();
            while (!done) {
                long now = System.nanoTime(), gap = now - last;
                if (gap > 200_000) longest = Math.max(longest, gap - (waited() - waited));
                if (gap > 200_000 || now - asked > 1_000_000) {
                    waited = waited();
                    now = asked = System.nanoTime();
                }
                last = now;
            }
        });
        start(names, a[0]);
        System.out.println("READY");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            switch (line) {
                case "gap": { long java = longest; longest = 0; System.out.println(Math.max(gap(), java)); break; }
                case "exit": System.exit(42);
                case "exec": exec();
                case "leave": leave();
                case "end": {
                    done = true;
                    for (Thread t : threads) t.join();
                    System.out.println(end() + (failure == null ? "" : " failure " + failure));
                    break;
                }
                default: System.out.println(line);
            }
        }
        System.exit(0);
    }
}
