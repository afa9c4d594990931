import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * Allocates natively through Java call chains that it states itself: for every allocation of a new size it prints
 * "SIZE COUNT frame frame…", innermost first, Class.method.
 */
public class Truth {
    static native void leak(int bytes);
    static native void callBack(int bytes);
    static native void onNewThread(int bytes);

    static final StringBuilder said = new StringBuilder();
    static final List<ByteBuffer> kept = new ArrayList<>();

    static void say(int bytes, int count, String... frames) {
        said.append(bytes).append(' ').append(count);
        for (String f : frames) said.append(' ').append(f);
        said.append('\n');
    }

    // Small methods: C2 inlines them all.
    static void one(int n) { leak(n); }
    static void two(int n) { one(n); }
    static void three(int n) { two(n); }
    static void hot(int rounds, int n) { for (int i = 0; i < rounds; i++) three(n); }

    static int down(int depth, int n) { if (depth == 0) { leak(n); return 0; } return down(depth - 1, n) + 1; }

    interface Shape { void draw(int n); }
    static class Square implements Shape { public void draw(int n) { one(n); } }
    static class Circle implements Shape { public void draw(int n) { leak(n); } }
    static class Late implements Shape { public void draw(int n) { two(n); } }
    static void draw(Shape s, int n) { s.draw(n); }

    static void fails(int n) { throw new IllegalStateException("expected"); }
    static void catches(int n) { try { fails(n); } catch (IllegalStateException e) { leak(n); } }

    static synchronized void locked(int n) { leak(n); }

    static void called(int n) { leak(n); }
    static void nested(int n) { callBack(n); }
    static void direct(int n) { kept.add(ByteBuffer.allocateDirect(n)); }

    /** Called by a thread that native code made and attached. */
    static void attached(int n) { leak(n); }

    static void body(int n) { one(n); }

    public static void main(String[] args) throws Exception {
        System.loadLibrary("truth");
        int rounds = Integer.parseInt(args[0]);
        System.out.println("READY");
        System.in.read();
        hot(rounds, 100016);
        say(100016, rounds, "Truth.leak", "Truth.one", "Truth.two", "Truth.three", "Truth.hot", "Truth.main");
        for (int i = 0; i < 200; i++) down(20, 100032);
        String[] deep = new String[23];
        java.util.Arrays.fill(deep, "Truth.down");
        deep[0] = "Truth.leak";
        deep[22] = "Truth.main";
        say(100032, 200, deep);
        Shape square = new Square(), circle = new Circle();
        for (int i = 0; i < 3000; i++) { draw(square, 100048); draw(circle, 100064); }
        say(100048, 3000, "Truth.leak", "Truth.one", "Truth$Square.draw", "Truth.draw", "Truth.main");
        say(100064, 3000, "Truth.leak", "Truth$Circle.draw", "Truth.draw", "Truth.main");
        // A third receiver: compiled code that knew two of them is thrown away.
        Shape late = new Late();
        for (int i = 0; i < 300; i++) draw(late, 100080);
        say(100080, 300, "Truth.leak", "Truth.one", "Truth.two", "Truth$Late.draw", "Truth.draw", "Truth.main");
        for (int i = 0; i < 500; i++) catches(100096);
        say(100096, 500, "Truth.leak", "Truth.catches", "Truth.main");
        for (int i = 0; i < 500; i++) locked(100112);
        say(100112, 500, "Truth.leak", "Truth.locked", "Truth.main");
        for (int i = 0; i < 500; i++) nested(100128);
        say(100128, 500, "Truth.leak", "Truth.called", "Truth.callBack", "Truth.nested", "Truth.main");
        for (int i = 0; i < 50; i++) direct(100144);
        say(-100144, 50, "Truth.direct", "Truth.main");
        onNewThread(100160);
        say(100160, 1, "Truth.leak", "Truth.attached");
        Thread t = new Thread(() -> body(100176));
        t.start();
        t.join();
        say(-100176, 1, "Truth.leak", "Truth.one", "Truth.body");
        if (args.length > 1) {
            Thread v = (Thread) Thread.class.getMethod("startVirtualThread", Runnable.class)
                .invoke(null, (Runnable) () -> body(100192));
            v.join();
            say(-100192, 1, "Truth.leak", "Truth.one", "Truth.body");
        }
        System.out.print(said);
        System.out.println("DONE");
        System.in.read();
        System.in.read();
    }
}
