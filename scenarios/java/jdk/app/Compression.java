package app;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import scenario.Program;

/** zlib through the JDK: each Inflater and Deflater owns native memory until end() is called. */
public final class Compression {
    /** What one Inflater takes once it has inflated something: its state and a window of 32 KB. */
    private static final int INFLATER_BYTES = 42_000;
    /** What one Deflater of the default level takes. */
    private static final int DEFLATER_BYTES = 300_000;

    private static final List<Object> OPEN = new ArrayList<>();
    private static final byte[] TEXT = new byte[40_000];
    private static final byte[] PACKED = new byte[45_000];

    private Compression() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        new Random(3).nextBytes(TEXT);
        Deflater deflater = new Deflater(1);
        deflater.setInput(TEXT);
        deflater.finish();
        deflater.deflate(PACKED);
        deflater.end();
        program.warm().ready();
        switch (program.mode) {
            case "inflaters":
                program.pace("unpack", 2, INFLATER_BYTES, () -> keep(unpack()));
                break;
            case "inflaters-ended":
                program.pace("unpack", 4, INFLATER_BYTES, () -> unpack().end());
                break;
            case "inflaters-dropped":
                program.pace("unpack", 2, INFLATER_BYTES, Compression::unpack);
                break;
            case "deflaters":
                program.pace(DEFLATER_BYTES, () -> keep(pack()));
                break;
            case "deflaters-ended":
                program.pace("pack", 4, DEFLATER_BYTES, () -> pack().end());
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static Inflater unpack() throws DataFormatException {
        Inflater inflater = new Inflater();
        inflater.setInput(PACKED);
        byte[] part = new byte[8_192];
        while (!inflater.finished() && !inflater.needsInput()) {
            inflater.inflate(part);
        }
        return inflater;
    }

    private static Deflater pack() {
        Deflater deflater = new Deflater();
        deflater.setInput(TEXT);
        deflater.deflate(new byte[4_096]);
        return deflater;
    }

    private static synchronized void keep(Object codec) {
        OPEN.add(codec);
    }
}
