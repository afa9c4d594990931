package app;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import scenario.Program;

/** Class loading: every plug-in is {@link PluginTemplate} under a name of its own. */
public final class Plugins {
    private static final String TEMPLATE = "PluginTemplate";
    /** Metaspace of one loader with its {@link #CLASSES_PER_LOADER} classes. */
    private static final int LOADER_BYTES = 48_000;
    private static final int CLASSES_PER_LOADER = 4;
    /** Metaspace of one class more in a loader that exists already. */
    private static final int CLASS_BYTES = 9_000;

    private static final List<Object> DEPLOYED = new ArrayList<>();
    private static byte[] template;
    private static int next;

    private Plugins() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        try (InputStream in = Plugins.class.getResourceAsStream(TEMPLATE + ".class")) {
            template = in.readAllBytes();
        }
        switch (program.mode) {
            case "redeploy-kept":
                program.warm().ready();
                program.pace(LOADER_BYTES, () -> DEPLOYED.add(deploy()));
                break;
            case "redeploy-collected":
                program.warm().ready();
                program.pace(LOADER_BYTES, Plugins::deploy);
                break;
            case "scripts-kept":
                program.warm().ready();
                PluginLoader one = new PluginLoader();
                program.pace(CLASS_BYTES, () -> run(one));
                break;
            case "startup":
                program.cold().ready();
                PluginLoader application = new PluginLoader();
                program.pace(CLASS_BYTES, 20L << 20, () -> run(application));
                Program.rest();
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static Object deploy() throws ReflectiveOperationException {
        PluginLoader loader = new PluginLoader();
        Object plugin = null;
        for (int i = 0; i < CLASSES_PER_LOADER; i++) {
            plugin = run(loader);
        }
        return plugin;
    }

    private static Object run(PluginLoader loader) throws ReflectiveOperationException {
        Runnable plugin = (Runnable) loader.define(next++).getDeclaredConstructor().newInstance();
        plugin.run();
        return plugin;
    }

    /** Defines copies of the template; each copy's name is as long as the template's, so the bytes stay a class. */
    private static final class PluginLoader extends ClassLoader {
        PluginLoader() {
            super(Plugins.class.getClassLoader());
        }

        Class<?> define(int number) {
            byte[] bytes = template.clone();
            byte[] from = TEMPLATE.getBytes(StandardCharsets.US_ASCII);
            byte[] to = String.format("Plugin%08d", number).getBytes(StandardCharsets.US_ASCII);
            for (int at = 0; at + from.length <= bytes.length; at++) {
                if (matches(bytes, at, from)) {
                    System.arraycopy(to, 0, bytes, at, to.length);
                }
            }
            return defineClass(null, bytes, 0, bytes.length);
        }

        private static boolean matches(byte[] bytes, int at, byte[] name) {
            for (int i = 0; i < name.length; i++) {
                if (bytes[at + i] != name[i]) {
                    return false;
                }
            }
            return true;
        }
    }
}
