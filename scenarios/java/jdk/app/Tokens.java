package app;

import java.util.ArrayList;
import java.util.List;
import scenario.Program;

/** String.intern: each new string costs its object on the heap and an entry of the JVM's string table. */
public final class Tokens {
    /** String, byte array and reference on the heap, entry and handle in the string table. */
    private static final int TOKEN_BYTES = 100;
    private static final int DISTINCT = 20_000;

    private static final List<String> KEPT = new ArrayList<>();
    private static volatile String sink;
    private static int next;

    private Tokens() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        program.warm().ready();
        switch (program.mode) {
            case "all":
                program.pace(TOKEN_BYTES, () -> KEPT.add(parse(next++)));
                break;
            case "few":
                program.pace(TOKEN_BYTES, () -> sink = parse(next++ % DISTINCT));
                break;
            default:
                throw new IllegalArgumentException(program.mode);
        }
    }

    private static String parse(int number) {
        return ("token-" + number).intern();
    }
}
