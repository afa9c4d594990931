package app;

import java.io.Closeable;
import java.io.RandomAccessFile;
import java.lang.reflect.Proxy;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel.MapMode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import scenario.Program;

/** A catalogue that is reloaded, searched and served through proxies. */
public final class Catalogue {
    private static final int EDITION_BYTES = 6 << 20;
    /** Metaspace of a loader with one proxy class. */
    private static final int PROXY_BYTES = 9_000;

    private static final List<MappedByteBuffer> EDITIONS = new ArrayList<>();
    private static final Map<String, Object> SERVICES = new HashMap<>();
    private static final List<Pattern> QUERIES = new ArrayList<>();
    private static volatile Object sink;
    private static long sum;

    private Catalogue() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        switch (program.mode) {
            case "editions":
                Path file = program.dir.resolve("catalogue.bin");
                try (RandomAccessFile catalogue = new RandomAccessFile(file.toFile(), "rw")) {
                    catalogue.setLength(EDITION_BYTES);
                }
                program.cold().ready();
                program.pace(EDITION_BYTES, () -> reload(file));
                break;
            case "proxies":
                program.cold().ready();
                program.pace(PROXY_BYTES, Catalogue::publish);
                break;
            case "queries":
                program.cold().ready();
                program.pace(4_000, 6L << 20, Catalogue::search);
                program.pace(4_000, () -> sink = QUERIES.get((int) (sum++ % QUERIES.size())).matcher("none").find());
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    /** The same file is mapped again for each edition, and the old mappings are kept. */
    private static void reload(Path file) throws Exception {
        try (RandomAccessFile catalogue = new RandomAccessFile(file.toFile(), "r")) {
            MappedByteBuffer edition = catalogue.getChannel().map(MapMode.READ_ONLY, 0, EDITION_BYTES);
            for (int at = 0; at < EDITION_BYTES; at += 4 << 10) {
                sum += edition.get(at);
            }
            EDITIONS.add(edition);
        }
    }

    /** Each session gets a service proxy out of a loader of its own and stays registered. */
    private static void publish() {
        ClassLoader session = new URLClassLoader(new URL[0], Catalogue.class.getClassLoader());
        Object service = Proxy.newProxyInstance(
                session, new Class<?>[] {Runnable.class, Closeable.class, Greeting.class}, (proxy, method, a) -> null);
        SERVICES.put("session-" + SERVICES.size(), service);
    }

    /** Ever more different queries, up to some 1,500: each is compiled once and run until it is hot. */
    private static void search() {
        Pattern query = Pattern.compile("(a|b)*" + QUERIES.size() + "[x-z]{2,9}?(?<end>q+)");
        QUERIES.add(query);
        for (int i = 0; i < 200; i++) {
            sink = query.matcher("ababab" + i + "xyzq").find();
        }
    }

    /** An interface of the application's own loader. */
    public interface Greeting {
        /** Greets. */
        String greet(String name);
    }
}
