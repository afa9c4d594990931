import java.util.concurrent.CountDownLatch;

/**
 * Allocates objects of a few kinds at places that it keeps them at and at others that it drops them at, as often as it is
 * told to. Lines of its input: "warm", "fill" (keeps and drops), "release" (drops what it kept), "oddly", "collect", "busy"
 * (allocates from now on), "end"; it answers "ok".
 */
public class Objects {
    static class Small { long a, b; }

    static final int MANY = 400_000, SOME = 10_000, FEW = 20;
    static Object[] kept = new Object[0];
    static volatile Object sink;

    // Small methods: C2 inlines them all.
    static Object small() { return new Small(); }
    static Object array() { return new byte[1000]; }
    /** About as large as the mean between samples. */
    static Object page() { return new int[4000]; }
    static Object big() { return new byte[1 << 20]; }
    static Object[] nested() { return new String[100]; }

    static void keep(Object[] all) {
        int n = 0;
        for (int i = 0; i < MANY; i++) all[n++] = small();
        for (int i = 0; i < SOME; i++) all[n++] = array();
        for (int i = 0; i < SOME / 10; i++) all[n++] = page();
        for (int i = 0; i < FEW; i++) all[n++] = big();
        for (int i = 0; i < SOME; i++) all[n++] = nested();
    }

    static void drop() {
        for (int i = 0; i < MANY; i++) sink = small();
        for (int i = 0; i < SOME; i++) sink = array();
        for (int i = 0; i < SOME / 10; i++) sink = page();
        for (int i = 0; i < FEW; i++) sink = big();
        for (int i = 0; i < SOME; i++) sink = nested();
        sink = null;
    }

    static void warm() {
        for (int i = 0; i < 100_000; i++) sink = new byte[1000];
        sink = null;
    }

    static void fill() {
        Object[] all = new Object[MANY + 2 * SOME + SOME / 10 + FEW];
        keep(all);
        drop();
        kept = all;
    }

    /** As any code may do it: by reflection, by clone, in a virtual thread where there are any. */
    static void oddly() throws Exception {
        for (int i = 0; i < 1000; i++) sink = java.lang.reflect.Array.newInstance(long.class, 2000);
        long[] one = new long[2000];
        for (int i = 0; i < 1000; i++) sink = one.clone();
        for (int i = 0; i < 1000; i++) sink = new int[10][200];
        Thread t;
        Runnable work = () -> { for (int i = 0; i < 1000; i++) sink = new char[8000]; };
        try {
            t = (Thread) Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, work);
        } catch (NoSuchMethodException old) {
            t = new Thread(work);
            t.start();
        }
        t.join();
        // Many threads that end.
        CountDownLatch ended = new CountDownLatch(50);
        for (int i = 0; i < 50; i++) new Thread(() -> { sink = new byte[100_000]; ended.countDown(); }).start();
        ended.await();
        sink = null;
    }

    /** Ends with the JVM. */
    static void busy() {
        for (int i = 0; i < 4; i++) {
            Thread t = new Thread(() -> { for (int n = 0; ; n++) sink = new byte[n % 5000]; });
            t.setDaemon(true);
            t.start();
        }
    }

    public static void main(String[] args) throws Exception {
        System.out.println("READY");
        java.io.BufferedReader in = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null && !line.equals("end"); ) {
            if (line.equals("warm")) warm();
            if (line.equals("fill")) fill();
            if (line.equals("release")) kept = new Object[0];
            if (line.equals("oddly")) oddly();
            if (line.equals("busy")) busy();
            if (line.equals("collect")) { System.gc(); System.gc(); }
            System.out.println("ok");
        }
        System.out.println("ENDED " + kept.length);
    }
}
