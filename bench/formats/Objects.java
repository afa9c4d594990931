import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A heap of small objects, and some direct buffers in a map; then a dump of it. Arguments: file, millions of objects. */
public class Objects {
    record Point(int x, int y, Object next) {}

    static final class Session {
        final Map<String, ByteBuffer> buffers = new HashMap<>();
    }

    static final List<Object> KEPT = new ArrayList<>();
    static final List<Session> SESSIONS = new ArrayList<>();

    public static void main(String[] args) throws Exception {
        int millions = Integer.parseInt(args[1]);
        Object last = null;
        for (int n = 0; n < millions * 1_000_000; n++) {
            last = n % 64 == 0 ? null : new Point(n, -n, last);
            if (n % 64 == 63) KEPT.add(last);
            if (n % 16 == 0) KEPT.add(new byte[n % 100]);
        }
        for (int n = 0; n < 100; n++) {
            Session session = new Session();
            session.buffers.put("buffer" + n, ByteBuffer.allocateDirect(64 << 10));
            SESSIONS.add(session);
        }
        ManagementFactory.getPlatformMBeanServer().invoke(
                new javax.management.ObjectName("com.sun.management:type=HotSpotDiagnostic"), "dumpHeap",
                new Object[] {args[0], false}, new String[] {"java.lang.String", "boolean"});
    }
}
