package app;

import java.util.Random;
import scenario.Program;

/** A codec in C behind JNI (native/jni_codec.c). */
public final class NativeCodec {
    private static final int FRAME_BYTES = 1_500;

    private NativeCodec() {}

    /** Encodes a frame and keeps its buffer. */
    private static native void encode(int bytes);

    /** Encodes a frame and frees its buffer. */
    private static native void encodeAndFree(int bytes);

    /** Encodes a frame into a ring that holds so many; the oldest is freed. */
    private static native void encodeIntoRing(int bytes, int slots);

    /** Appends to one array that grows by realloc. */
    private static native void append(int bytes);

    /** Remembers a short name with strdup. */
    private static native void remember(int number);

    /** Takes page-aligned memory with posix_memalign. */
    private static native void alignedBlock(int bytes);

    /** Takes an anonymous map. */
    private static native void mapRegion(int bytes);

    /** Takes an anonymous map and unmaps it. */
    private static native void mapAndUnmapRegion(int bytes);

    /** Takes many small blocks and frees nearly all: one in so many stays and holds its neighbours' pages. */
    private static native void burst(int bytes, int keepOneIn);

    public static void main(String[] args) throws Exception {
        System.loadLibrary("jni_codec");
        Program program = Program.of(args);
        program.warm();
        Random random = new Random(7);
        switch (program.mode) {
            case "encode":
                program.ready();
                program.pace("encoder", 2, FRAME_BYTES, NativeCodec::handleFrame);
                break;
            case "encode-one-in-fifty":
                program.ready();
                program.pace("encoder", 2, FRAME_BYTES, NativeCodec::handleManyFrames);
                break;
            case "encode-and-free":
                program.ready();
                program.pace("encoder", 4, FRAME_BYTES, () -> encodeAndFree(200 + random.nextInt(8_000)));
                break;
            case "ring":
                program.ready();
                program.pace(FRAME_BYTES, () -> encodeIntoRing(FRAME_BYTES, 16_000));
                break;
            case "append":
                program.ready();
                program.pace(4_096, () -> append(4_096));
                break;
            case "names":
                program.ready();
                int[] next = {0};
                program.pace(48, () -> remember(next[0]++));
                break;
            case "aligned":
                program.ready();
                program.pace(12_400, () -> alignedBlock(8_192)); // each starts a page of its own after its header
                break;
            case "map":
                program.ready();
                program.pace(64 << 10, NativeCodec::openRegion);
                break;
            case "map-and-unmap":
                program.ready();
                program.pace(64 << 10, () -> mapAndUnmapRegion(64 << 10));
                break;
            case "burst-before":
                runBursts(12, 0);
                program.ready();
                Program.rest();
                break;
            case "bursts-on-new-threads":
                program.ready();
                runBursts(12, 4_000);
                Program.rest();
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static void handleFrame() {
        encode(FRAME_BYTES);
    }

    /** Fifty frames are handled rightly for each one that is lost. */
    private static void handleManyFrames() {
        for (int i = 0; i < 50; i++) {
            encodeAndFree(FRAME_BYTES);
        }
        encode(FRAME_BYTES);
    }

    private static void openRegion() {
        mapRegion(64 << 10);
    }

    /** Each burst runs on a thread of its own that stays alive, so that each has an arena of the C heap. */
    private static void runBursts(int threads, long pauseMillis) throws InterruptedException {
        for (int i = 0; i < threads; i++) {
            Thread thread = new Thread(() -> {
                burst(12 << 20, 400);
                try {
                    Program.rest();
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }, "import-" + i);
            thread.setDaemon(true);
            thread.start();
            Thread.sleep(Math.max(pauseMillis, 100));
        }
    }
}
