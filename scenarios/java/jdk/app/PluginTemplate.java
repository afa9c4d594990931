package app;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A class of ordinary size, loaded many times under other names by {@link Plugins}. */
public class PluginTemplate implements Runnable {
    private final Map<String, Integer> counts = new HashMap<>();
    private final List<String> lines = new ArrayList<>();
    private int state;

    @Override
    public void run() {
        for (int i = 0; i < 40; i++) {
            accept("line " + i);
        }
        state = total() + longest().length() + checksum(lines.toString());
    }

    void accept(String line) {
        lines.add(line);
        counts.merge(line.substring(0, 4), 1, Integer::sum);
    }

    int total() {
        int total = 0;
        for (Map.Entry<String, Integer> entry : counts.entrySet()) {
            total += entry.getValue();
        }
        return total;
    }

    String longest() {
        String longest = "";
        for (String line : lines) {
            if (line.length() > longest.length()) {
                longest = line;
            }
        }
        return longest;
    }

    int checksum(String text) {
        int sum = state;
        for (int i = 0; i < text.length(); i++) {
            sum = sum * 31 + text.charAt(i);
            switch (sum & 7) {
                case 0: sum ^= 0x5bd1e995; break;
                case 1: sum += 17; break;
                case 2: sum -= i; break;
                case 3: sum = ~sum; break;
                default: sum ^= sum >>> 13; break;
            }
        }
        return sum;
    }

    @Override
    public String toString() {
        return "plug-in with " + lines.size() + " lines, " + counts + ", state " + state;
    }
}
