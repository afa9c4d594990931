import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.ConcurrentHashMap;

/** A heap as a service has it: maps, lists and strings that refer to each other far and near. Arguments: file, orders. */
public class Service {
    record Line(String sku, Integer count, Order order) {}

    static final class Order {
        final long id;
        final String customer;
        final List<Line> lines = new ArrayList<>();
        final Map<String, String> tags = new HashMap<>();
        Order parent;
        ByteBuffer body;

        Order(long id, String customer) {
            this.id = id;
            this.customer = customer;
        }
    }

    static final Map<Long, Order> CACHE = new ConcurrentHashMap<>();

    public static void main(String[] args) throws Exception {
        Random random = new Random(1);
        Order[] recent = new Order[10_000];
        for (int n = 0; n < Integer.parseInt(args[1]); n++) {
            Order order = new Order(n, "customer-" + random.nextInt());
            for (int line = random.nextInt(4); line >= 0; line--) {
                order.lines.add(new Line("sku-" + random.nextInt(20_000), random.nextInt(1000), order));
            }
            order.tags.put("channel", "web-" + random.nextInt());
            order.tags.put("note", "x".repeat(random.nextInt(200)));
            order.parent = recent[random.nextInt(recent.length)];
            recent[random.nextInt(recent.length)] = order;
            if (n % 5000 == 0) order.body = ByteBuffer.allocateDirect(1 + n % 7 * 1000);
            CACHE.put(random.nextLong(), order);
        }
        ManagementFactory.getPlatformMBeanServer().invoke(
                new javax.management.ObjectName("com.sun.management:type=HotSpotDiagnostic"), "dumpHeap",
                new Object[] {args[0], true}, new String[] {"java.lang.String", "boolean"});
    }
}
