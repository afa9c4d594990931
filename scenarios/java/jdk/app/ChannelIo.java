package app;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.TimeUnit;
import scenario.Program;

/** Writing heap buffers to a channel: the JDK keeps a direct copy of that size for each thread. */
public final class ChannelIo {
    private static final int THREADS = 24;
    private static final int WRITE_BYTES = 1 << 20;

    private ChannelIo() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        program.warm().ready();
        for (int i = 0; i < THREADS; i++) {
            int number = i;
            Thread writer = new Thread(() -> write(program, number), "writer-" + number);
            writer.start();
            Thread.sleep(WRITE_BYTES * 1000L / program.rate);
        }
        Program.rest();
    }

    private static void write(Program program, int number) {
        try (FileChannel channel = FileChannel.open(program.dir.resolve("part-" + number),
                StandardOpenOption.CREATE, StandardOpenOption.WRITE)) {
            ByteBuffer part = ByteBuffer.allocate(WRITE_BYTES);
            while (true) {
                part.clear();
                channel.write(part, 0);
                TimeUnit.SECONDS.sleep(2);
            }
        } catch (IOException | InterruptedException e) {
            Program.fail(e);
        }
    }
}
