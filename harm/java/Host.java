import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.zip.Deflater;

/** An ordinary JVM, with or without a library of harm in it: Host [LIBRARY MODE]. A line that is a number is one more act; "exit"
 * ends it; any other line comes back. Provokes what its library does. */
public class Host {
    static native int act(int mode);

    public static void main(String[] a) throws Exception {
        if (a.length > 0) {
            System.load(a[0]);
            if (act(Integer.parseInt(a[1])) != 0) throw new IllegalStateException("the harm could not be done");
        }
        Thread t = new Thread(() -> {
            try {
                for (;; Thread.sleep(2)) { Deflater d = new Deflater(); d.setInput(new byte[100]); d.end(); }
            } catch (InterruptedException e) { }
        });
        t.setDaemon(true);
        t.start();
        System.out.println("READY");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) {
            if (line.equals("exit")) System.exit(42);
            System.out.println(line.matches("[0-9]+") ? "" + act(Integer.parseInt(line)) : line);
        }
    }
}
