package app;

import scenario.Program;

/** References and strings taken through JNI (native/jni_handles.c). */
public final class NativeHandles {
    /** A slot of the JVM's handle storage. */
    private static final int HANDLE_BYTES = 9;
    private static final int EVENT_BYTES = 2_048;
    private static final int TEXT_CHARS = 1_000;

    private NativeHandles() {}

    /** Takes so many global references to one object and deletes none. */
    private static native void retain(Object listener, int count);

    /** Takes so many global references to one object and deletes them. */
    private static native void retainAndRelease(Object listener, int count);

    /** Reads the text with GetStringUTFChars and does not release it. */
    private static native void readText(String text);

    /** Reads the text with GetStringUTFChars and releases it. */
    private static native void readAndReleaseText(String text);

    public static void main(String[] args) throws Exception {
        System.loadLibrary("jni_handles");
        Program program = Program.of(args);
        program.warm().ready();
        Object listener = new Object();
        String text = "x".repeat(TEXT_CHARS);
        switch (program.mode) {
            case "one-object":
                program.pace(100 * HANDLE_BYTES, () -> subscribe(listener));
                break;
            case "new-objects":
                program.pace(EVENT_BYTES, NativeHandles::publish);
                break;
            case "deleted":
                program.pace(100 * HANDLE_BYTES, () -> retainAndRelease(listener, 100));
                break;
            case "text":
                program.pace(TEXT_CHARS + 24, () -> parse(text));
                break;
            case "released-text":
                program.pace(TEXT_CHARS + 24, () -> readAndReleaseText(text));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static void subscribe(Object listener) {
        retain(listener, 100);
    }

    /** Each event is pinned on the heap by the reference that native code has forgotten. */
    private static void publish() {
        retain(new byte[EVENT_BYTES], 1);
    }

    private static void parse(String text) {
        readText(text);
    }
}
