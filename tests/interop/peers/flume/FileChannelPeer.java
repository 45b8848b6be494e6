import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;

import org.apache.flume.Context;
import org.apache.flume.Event;
import org.apache.flume.Transaction;
import org.apache.flume.channel.file.FileChannel;
import org.apache.flume.conf.Configurables;
import org.apache.flume.event.EventBuilder;

/**
 * Flume's file channel, without an agent around it:
 *
 *   FileChannelPeer live SEED FIRST KEY=VALUE...     puts and takes at random until it is killed; numbers from FIRST on
 *   FileChannelPeer script FIRST KEY=VALUE...        one of each kind of transaction, then ends as if it was killed
 *   FileChannelPeer drain KEY=VALUE...               takes everything, a line for each event, in order
 *
 * An event has its number in its body and in a header. A line of drain: EVENT, headers, body. In its life it prints how
 * many transactions have put events, so that it can be killed after any of them, and TOOK with the numbers of events whose
 * take is committed.
 */
public final class FileChannelPeer {
    private static FileChannel channel;
    private static AtomicLong numbers;
    private static final AtomicLong commits = new AtomicLong();

    public static void main(String[] args) {
        try {
            run(args);
        } catch (Throwable error) {
            // Flume's own threads would keep the process alive.
            error.printStackTrace(System.out);
            System.out.println("PEER failed");
            Runtime.getRuntime().halt(4);
        }
    }

    private static void run(String[] args) throws Exception {
        String mode = args[0];
        int options = mode.equals("live") ? 3 : mode.equals("script") ? 2 : 1;
        Context context = new Context();
        for (int n = options; n < args.length; n++) {
            int equals = args[n].indexOf('=');
            context.put(args[n].substring(0, equals), args[n].substring(equals + 1));
        }
        channel = new FileChannel();
        channel.setName("c1");
        Configurables.configure(channel, context);
        channel.start();
        if (!channel.isOpen()) {
            System.out.println("PEER cannot open the channel");
            Runtime.getRuntime().halt(3);
        }
        numbers = new AtomicLong(mode.equals("drain") ? 0 : Long.parseLong(args[options - 1]));
        switch (mode) {
            case "live":
                live(new Random(Long.parseLong(args[1])));
                break;
            case "script":
                script();
                Runtime.getRuntime().halt(0);
                break;
            default:
                drain();
                channel.stop();
                System.exit(0);
        }
    }

    private static Event event(int size) {
        long number = numbers.getAndIncrement();
        StringBuilder body = new StringBuilder(number + " ");
        while (body.length() < size) {
            body.append((char) ('a' + body.length() % 26));
        }
        Map<String, String> headers = new TreeMap<>();
        headers.put("number", Long.toString(number));
        if (number % 4 == 0) {
            headers.put("wörter", "日本 \uD83D\uDE00");
        }
        if (number % 7 == 0) {
            headers.put("nothing", null);
        }
        return EventBuilder.withBody(body.toString().getBytes(StandardCharsets.UTF_8), headers);
    }

    private static void script() throws Exception {
        // Taken for good: 1, 2.
        put(4, true);
        take(2, "commit");
        // Rolled back, both ways: 5 and 6 are never there, 3 stays.
        put(2, false);
        take(1, "rollback");
        put(3, true);
        // Open at the end, each in a thread of its own: 3 and 4 are delivered again, 10 and 11 never.
        inThread(() -> take(2, "open"));
        inThread(() -> open(2));
        put(1, true);
    }

    private static void open(int count) {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        for (int n = 0; n < count; n++) {
            channel.put(event(20));
        }
    }

    private static void inThread(Runnable run) throws Exception {
        Thread thread = new Thread(run);
        thread.start();
        thread.join();
    }

    private static void put(int count, boolean commit) {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        for (int n = 0; n < count; n++) {
            channel.put(event(20 + 10 * n));
        }
        end(transaction, commit);
    }

    private static void take(int count, String how) {
        Transaction transaction = channel.getTransaction();
        transaction.begin();
        for (int n = 0; n < count; n++) {
            channel.take();
        }
        if (!how.equals("open")) {
            end(transaction, how.equals("commit"));
        }
    }

    private static void end(Transaction transaction, boolean commit) {
        if (commit) {
            transaction.commit();
        } else {
            transaction.rollback();
        }
        transaction.close();
    }

    /** Two that put, two that take more slowly, one that takes and hangs in its transaction, one that puts and hangs. */
    private static void live(Random random) throws Exception {
        for (int n = 0; n < 2; n++) {
            long seed = random.nextLong();
            new Thread(() -> putForEver(new Random(seed))).start();
        }
        for (int n = 0; n < 2; n++) {
            long seed = random.nextLong();
            new Thread(() -> takeForEver(new Random(seed))).start();
        }
        System.out.println("PEER lives");
        int wait = random.nextInt(300);
        Thread.sleep(wait);
        inThread(() -> take(1 + wait % 7, "open"));
        inThread(() -> open(1 + wait % 5));
        Thread.sleep(600_000);
    }

    private static void putForEver(Random random) {
        while (true) {
            int count = 1 + random.nextInt(12);
            Transaction transaction = channel.getTransaction();
            transaction.begin();
            boolean commit = random.nextInt(10) > 0;
            try {
                for (int n = 0; n < count; n++) {
                    channel.put(event(random.nextInt(random.nextInt(20) == 0 ? 9_000 : 300)));
                }
                end(transaction, commit);
                System.out.println("PEER " + commits.incrementAndGet());
            } catch (RuntimeException full) {
                transaction.rollback();
                transaction.close();
                pause(20);
            }
            pause(random.nextInt(6));
        }
    }

    private static void takeForEver(Random random) {
        while (true) {
            Transaction transaction = channel.getTransaction();
            transaction.begin();
            int count = 1 + random.nextInt(10);
            StringBuilder taken = new StringBuilder();
            Event event;
            for (int n = 0; n < count && (event = channel.take()) != null; n++) {
                taken.append(' ').append(event.getHeaders().get("number"));
                if (random.nextInt(30) == 0) {
                    pause(3);
                }
            }
            boolean commit = random.nextInt(6) > 0;
            end(transaction, commit);
            if (commit) {
                System.out.println("TOOK" + taken);
            }
            pause(random.nextInt(8));
        }
    }

    private static void pause(int millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private static void drain() {
        List<String> lines = new ArrayList<>();
        while (true) {
            Transaction transaction = channel.getTransaction();
            transaction.begin();
            int taken = 0;
            Event event;
            while (taken < 20 && (event = channel.take()) != null) {
                taken++;
                String body = new String(event.getBody(), StandardCharsets.UTF_8);
                lines.add("EVENT " + new TreeMap<>(event.getHeaders()) + " " + body);
            }
            end(transaction, true);
            if (taken == 0) {
                break;
            }
        }
        lines.add("PEER drained");
        System.out.println(String.join("\n", lines));
    }
}
