import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.LinkedList;
import java.util.List;
import java.util.concurrent.ConcurrentHashMap;
import java.util.zip.Inflater;

/**
 * Owners of native memory, of which some are kept in containers of all kinds and some are dropped, without a collection:
 * {@code Owners KEPT DROPPED}. So many buffers of 1000 bytes are kept in each of five places, and on the stack of a virtual
 * thread where there are some; half as many Inflaters.
 */
public class Owners {
    static final List<Object> LIST = new ArrayList<>();
    static final ConcurrentHashMap<String, Object[]> MAP = new ConcurrentHashMap<>();

    public static void main(String[] args) throws Exception {
        int kept = Integer.parseInt(args[0]);
        int dropped = Integer.parseInt(args[1]);
        LinkedList<Object> local = new LinkedList<>();
        ThreadLocal<ArrayDeque<Object>> own = ThreadLocal.withInitial(ArrayDeque::new);
        Thread other = new Thread(() -> keep(kept), "keeper");
        other.setDaemon(true);
        other.start();
        for (int i = 0; i < kept; i++) {
            LIST.add(ByteBuffer.allocateDirect(1000));
            MAP.put("key " + i, new Object[] {null, ByteBuffer.allocateDirect(1000)});
            local.addFirst(ByteBuffer.allocateDirect(1000));
            own.get().add(ByteBuffer.allocateDirect(1000));
            if (i % 2 == 0) {
                local.add(new Inflater());
            }
        }
        for (int i = 0; i < dropped; i++) {
            drop(i);
        }
        while (!"waiting".equals(other.getName())) {
            Thread.sleep(5);
        }
        try {
            Thread virtual = (Thread) Thread.class
                .getMethod("startVirtualThread", Runnable.class)
                .invoke(null, (Runnable) () -> keep(kept));
            while (virtual.getState() != Thread.State.TIMED_WAITING) {
                Thread.sleep(5);
            }
        } catch (NoSuchMethodException none) {
            // Before JDK 21, or 19 and 20 without their preview.
        }
        System.out.println("ready");
        System.out.flush();
        while (System.in.read() >= 0) {}
        System.out.println(local.size() + own.get().size());
    }

    /** Garbage of some depth. */
    private static void drop(int i) {
        List<Object> request = new LinkedList<>();
        request.add(ByteBuffer.allocateDirect(1000));
        request.add(List.of(request, ByteBuffer.allocateDirect(1000)));
        if (i % 2 == 0) {
            request.add(new Inflater());
        }
    }

    private static void keep(int kept) {
        List<Object> onStack = new ArrayList<>();
        for (int i = 0; i < kept; i++) {
            onStack.add(ByteBuffer.allocateDirect(1000));
        }
        Thread.currentThread().setName("waiting");
        try {
            Thread.sleep(Long.MAX_VALUE);
        } catch (InterruptedException ended) {
            System.out.println(onStack.size());
        }
    }
}
