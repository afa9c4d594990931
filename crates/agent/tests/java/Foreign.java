import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;

/** Native memory through the foreign function interface (JDK 22 and later): downcalls, critical ones, up-calls. */
public class Foreign {
    static final Linker LINKER = Linker.nativeLinker();
    static MethodHandle malloc, critical, qsort;

    static void plain(long n) throws Throwable { MemorySegment s = (MemorySegment) malloc.invokeExact(n); }
    static void critical(long n) throws Throwable { MemorySegment s = (MemorySegment) critical.invokeExact(n); }

    static int compare(MemorySegment a, MemorySegment b) {
        try { plain(100064); } catch (Throwable t) { throw new AssertionError(t); }
        return 0;
    }

    static void sort(MethodHandle h) throws Throwable {
        FunctionDescriptor d = FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS, ValueLayout.ADDRESS);
        try (Arena arena = Arena.ofConfined()) {
            qsort.invokeExact(arena.allocate(16), 2L, 8L, LINKER.upcallStub(h, d, arena));
        }
    }

    /** On a virtual thread: the thread is unmounted and mounted again before it allocates. */
    static void parked(long n) throws Throwable { Thread.sleep(5); plain(n); }

    public static void main(String[] args) throws Throwable {
        MemorySegment m = LINKER.defaultLookup().find("malloc").orElseThrow();
        FunctionDescriptor d = FunctionDescriptor.of(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG);
        malloc = LINKER.downcallHandle(m, d);
        critical = LINKER.downcallHandle(m, d, Linker.Option.critical(false));
        qsort = LINKER.downcallHandle(LINKER.defaultLookup().find("qsort").orElseThrow(),
            FunctionDescriptor.ofVoid(ValueLayout.ADDRESS, ValueLayout.JAVA_LONG, ValueLayout.JAVA_LONG, ValueLayout.ADDRESS));
        MethodType t = MethodType.methodType(int.class, MemorySegment.class, MemorySegment.class);
        MethodHandle h = MethodHandles.lookup().findStatic(Foreign.class, "compare", t);
        for (int i = 0; i < 10000; i++) plain(100016);
        for (int i = 0; i < 10000; i++) critical(100032);
        for (int i = 0; i < 500; i++) sort(h);
        Thread v = Thread.startVirtualThread(() -> {
            try { for (int i = 0; i < 20; i++) parked(100048); } catch (Throwable e) { throw new AssertionError(e); }
        });
        v.join();
    }
}
