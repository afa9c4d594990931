package app;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URL;
import java.nio.ByteBuffer;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.concurrent.Executors;
import scenario.Program;

/** An HTTP server whose /report takes a direct buffer for each request; /status beside it takes none. */
public final class BufferServer {
    private static final int REPORT_BYTES = 64 << 10;

    private static final Deque<ByteBuffer> REPORTS = new ArrayDeque<>();
    private static int kept;

    private BufferServer() {}

    public static void main(String[] args) throws Exception {
        Program program = Program.of(args);
        kept = program.mode.equals("all") ? Integer.MAX_VALUE : 100;
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.createContext("/report", BufferServer::report);
        server.createContext("/status", BufferServer::status);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        String base = "http://" + InetAddress.getLoopbackAddress().getHostAddress() + ":" + server.getAddress().getPort();
        program.warm();
        get(base + "/report");
        get(base + "/status");
        program.ready();
        program.pace("client", 4, REPORT_BYTES, () -> {
            get(base + "/report");
            get(base + "/status");
        });
    }

    private static void report(HttpExchange exchange) throws IOException {
        ByteBuffer report = render();
        synchronized (REPORTS) {
            REPORTS.add(report);
            if (REPORTS.size() > kept) {
                REPORTS.remove();
            }
        }
        answer(exchange, "rendered");
    }

    private static ByteBuffer render() {
        ByteBuffer buffer = ByteBuffer.allocateDirect(REPORT_BYTES);
        while (buffer.remaining() >= 8) {
            buffer.putLong(buffer.position());
        }
        return buffer;
    }

    private static void status(HttpExchange exchange) throws IOException {
        answer(exchange, "up");
    }

    private static void answer(HttpExchange exchange, String text) throws IOException {
        byte[] body = text.getBytes();
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    private static void get(String url) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        try (InputStream body = connection.getInputStream()) {
            while (body.read() >= 0) {
                // to its end, so that the connection is used again
            }
        }
    }
}
