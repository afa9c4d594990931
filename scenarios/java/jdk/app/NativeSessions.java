package app;

import scenario.Program;

/** A session table in C++ behind JNI (native/jni_sessions.cpp). */
public final class NativeSessions {
    /** A map node with its key, and the session with its name and history. */
    private static final int SESSION_BYTES = 1_100;

    private NativeSessions() {}

    /** Opens the session and cleans up; the clean-up tests the wrong way round and never finds an old one. */
    private static native void openInverted(long id);

    /** Opens the session and cleans up those that are too old. */
    private static native void open(long id);

    public static void main(String[] args) throws Exception {
        System.loadLibrary("jni_sessions");
        Program program = Program.of(args);
        program.warm().ready();
        long[] next = {0};
        switch (program.mode) {
            case "inverted":
                program.pace(SESSION_BYTES, () -> accept(next[0]++));
                break;
            case "cleaned":
                program.pace(SESSION_BYTES, () -> open(next[0]++));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static void accept(long id) {
        openInverted(id);
    }
}
