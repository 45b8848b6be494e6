import java.io.BufferedReader;
import java.io.FileInputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.flume.Event;
import org.apache.flume.api.RpcClient;
import org.apache.flume.api.RpcClientFactory;
import org.apache.flume.event.EventBuilder;

/**
 * Sends the lines of a file with Flume's client SDK, as a program of somebody's own does. The first word of a line,
 * its number, becomes the header "number".
 *
 * <p>Arguments: properties of the client, "append" or "appendBatch", the file.
 */
public final class SendEvents {
  public static void main(String[] args) throws Exception {
    Properties properties = new Properties();
    try (FileInputStream in = new FileInputStream(args[0])) {
      properties.load(in);
    }
    List<Event> events = new ArrayList<>();
    try (BufferedReader in = Files.newBufferedReader(Paths.get(args[2]), StandardCharsets.UTF_8)) {
      for (String line = in.readLine(); line != null; line = in.readLine()) {
        Map<String, String> headers = new HashMap<>();
        headers.put("number", line.split(" ", 2)[0]);
        events.add(EventBuilder.withBody(line, StandardCharsets.UTF_8, headers));
      }
    }
    RpcClient client = RpcClientFactory.getInstance(properties);
    System.out.println("client " + client.getClass().getName() + ", batches of " + client.getBatchSize());
    try {
      if (args[1].equals("append")) {
        for (Event event : events) {
          client.append(event);
        }
      } else {
        for (int from = 0; from < events.size(); from += client.getBatchSize()) {
          client.appendBatch(events.subList(from, Math.min(events.size(), from + client.getBatchSize())));
        }
      }
    } finally {
      client.close();
    }
    System.out.println("sent " + events.size());
    // Netty's threads would keep the process.
    System.exit(0);
  }
}
