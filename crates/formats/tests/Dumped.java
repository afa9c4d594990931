import com.sun.management.HotSpotDiagnosticMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.*;
import java.util.zip.Inflater;

/** Holds what the test of heap dumps counts, and dumps itself into the file that is its argument. */
public class Dumped {
    static final List<Object> KEEP = new ArrayList<>();
    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 40; i++) KEEP.add(ByteBuffer.allocateDirect(12345));
        for (int i = 0; i < 3; i++) KEEP.add(ByteBuffer.allocateDirect(1 << 20).duplicate());
        ByteBuffer owner = ByteBuffer.allocateDirect(54321);
        KEEP.add(owner);
        for (int i = 0; i < 5; i++) Collections.addAll(KEEP, owner.slice(), owner.asReadOnlyBuffer(), owner.asLongBuffer());
        for (int i = 0; i < 17; i++) KEEP.add(new Inflater());
        KEEP.add(new long[77][]);
        ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class).dumpHeap(arguments[0], true);
    }
}
