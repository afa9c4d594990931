import java.lang.ref.Cleaner;
import java.lang.ref.PhantomReference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.SoftReference;
import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.List;

/** Makes so many references of each kind, and twice as many objects of other kinds: {@code References COUNT}. */
public class References {
    static final List<Object> KEPT = new ArrayList<>();

    /** A library's own. */
    static class Peer extends PhantomReference<Object> {
        Peer(Object owner, ReferenceQueue<Object> queue) {
            super(owner, queue);
        }
    }

    static class Finalized {
        static int finalized;

        // The VM registers nothing for an empty one.
        @Override
        @SuppressWarnings({"deprecation", "removal"})
        protected void finalize() {
            finalized++;
        }
    }

    public static void main(String[] args) throws Exception {
        int count = Integer.parseInt(args[0]);
        Cleaner cleaner = Cleaner.create();
        ReferenceQueue<Object> queue = new ReferenceQueue<>();
        for (int i = 0; i < count; i++) {
            Object owner = new Object();
            cleaner.register(owner, () -> {});
            KEPT.add(owner);
            KEPT.add(new Peer(owner, queue));
            KEPT.add(new WeakReference<>(owner));
            KEPT.add(new Finalized());
            KEPT.add(new SoftReference<>(owner));
            KEPT.add(new long[] {i, i, i});
        }
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {}
    }
}
