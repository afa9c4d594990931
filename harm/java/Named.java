import java.io.BufferedReader;
import java.io.InputStreamReader;

/** A JVM whose thread's name is made for the terminal of who looks at it. Harm: 16. */
public class Named {
    public static void main(String[] a) throws Exception {
        Thread t = new Thread(() -> { try { Thread.sleep(Long.MAX_VALUE); } catch (InterruptedException e) { } });
        t.setName("\u001b]0;pwned\u0007\u001b[31mred\u001b[2J\u009b31m");
        t.setDaemon(true);
        t.start();
        System.out.println("READY");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null; ) System.out.println(line);
    }
}
