/** A heap full of live objects, small ones in lists or arrays of 2,000 bytes, that does nothing. Arguments: MiB, small or large. */
public class Heap {
    static final class Node {
        final Node next;
        final long value;

        Node(Node next, long value) {
            this.next = next;
            this.value = value;
        }
    }

    static final Object[] ROOTS = new Object[64];

    public static void main(String[] arguments) throws Exception {
        long wanted = Long.parseLong(arguments[0]) << 20;
        boolean small = arguments[1].equals("small");
        int root = 0;
        for (long made = 0; made < wanted; root++) {
            Object object;
            if (small) {
                Node node = null;
                for (int i = 0; i < 10_000; i++) {
                    node = new Node(node, i);
                }
                object = node;
                made += 240_000;
            } else {
                object = new byte[2_000];
                made += 2_016;
            }
            ROOTS[root % 64] = new Object[] {ROOTS[root % 64], object};
        }
        System.out.println("READY");
        System.out.flush();
        Thread.sleep(600_000);
    }
}
