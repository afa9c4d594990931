package app;

import com.github.luben.zstd.ZstdInputStreamNoFinalizer;
import com.github.luben.zstd.ZstdOutputStreamNoFinalizer;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.Random;
import net.jpountz.lz4.LZ4Factory;
import org.xerial.snappy.Snappy;
import scenario.Program;

/** Compressed messages: zstd-jni streams own a native context until close(); snappy and lz4 own nothing. */
public final class Archives {
    /** A decompressing context with a window of 128 KB. */
    private static final int READER_BYTES = 380_000;
    /** A compressing context of level 1 that has seen {@link #MESSAGE}. */
    private static final int WRITER_BYTES = 450_000;

    private static final byte[] MESSAGE = new byte[200_000];
    private static volatile Object sink;

    private Archives() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        new Random(6).nextBytes(MESSAGE);
        for (int i = 0; i < MESSAGE.length; i++) {
            MESSAGE[i] &= 0x1f;
        }
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        pack(packed).close();
        byte[] archive = packed.toByteArray();
        program.warm().ready();
        switch (program.mode) {
            case "writers":
                program.pace(WRITER_BYTES, () -> pack(new ByteArrayOutputStream()));
                break;
            case "readers":
                program.pace(READER_BYTES, () -> unpack(archive));
                break;
            case "closed":
                program.pace("archive", 3, WRITER_BYTES, () -> {
                    pack(new ByteArrayOutputStream()).close();
                    unpack(archive).close();
                });
                break;
            case "snappy-lz4":
                program.pace("codec", 3, MESSAGE.length, Archives::roundTrip);
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static ZstdOutputStreamNoFinalizer pack(ByteArrayOutputStream out) throws IOException {
        ZstdOutputStreamNoFinalizer stream = new ZstdOutputStreamNoFinalizer(out, 1);
        stream.write(MESSAGE);
        stream.flush();
        return stream;
    }

    private static InputStream unpack(byte[] archive) throws IOException {
        InputStream stream = new ZstdInputStreamNoFinalizer(new ByteArrayInputStream(archive));
        sink = stream.readNBytes(MESSAGE.length - 1);
        return stream;
    }

    private static void roundTrip() throws IOException {
        sink = Snappy.uncompress(Snappy.compress(MESSAGE));
        byte[] packed = LZ4Factory.nativeInstance().fastCompressor().compress(MESSAGE);
        sink = LZ4Factory.nativeInstance().fastDecompressor().decompress(packed, MESSAGE.length);
    }
}
