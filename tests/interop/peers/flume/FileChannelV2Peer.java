package org.apache.flume.channel.file;

import java.io.DataOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.TreeMap;

/**
 * A data file as Flume 1.3 wrote it. Later versions keep the classes that make and read its records; their writer would
 * put a length in front of each, so the file itself is written here and read back by them:
 *
 *   org.apache.flume.channel.file.FileChannelV2Peer FOLDER     writes log-1 with events 1 to 6, of which 1 is taken
 *
 * 5 is rolled back, 6 open, 2 taken in an open transaction.
 */
public final class FileChannelV2Peer {
    private static long order = 100;
    private static DataOutputStream out;

    public static void main(String[] args) throws Exception {
        File file = new File(args[0], "log-1");
        out = new DataOutputStream(new FileOutputStream(file));
        out.writeInt(2);
        out.writeInt(1);
        out.writeLong(0);
        out.writeLong(0);
        FlumeEventPointer first = put(1, 1, "a header", "its value");
        FlumeEventPointer second = put(1, 2, "wörter", "日本 \uD83D\uDE00");
        commit(1, TransactionEventRecord.Type.PUT);
        put(2, 5, "k", "v");
        rollback(2);
        take(3, first);
        commit(3, TransactionEventRecord.Type.TAKE);
        StringBuilder longer = new StringBuilder();
        while (longer.length() < 300) {
            longer.append("long ");
        }
        put(4, 3, "long", longer.toString());
        put(4, 4, "empty", "");
        commit(4, TransactionEventRecord.Type.PUT);
        take(5, second);
        put(6, 6, "k", "v");
        byte[] filling = new byte[1 << 20];
        java.util.Arrays.fill(filling, (byte) 0x80);
        out.write(filling);
        out.close();
        LogFile.SequentialReader reader = new LogFileV2.SequentialReader(file);
        for (LogRecord record = reader.next(); record != null; record = reader.next()) {
            System.out.println("RECORD " + record.getOffset() + " " + record.getEvent());
        }
        Runtime.getRuntime().halt(0);
    }

    private static FlumeEventPointer put(long transaction, int number, String key, String value) throws Exception {
        TreeMap<String, String> headers = new TreeMap<>();
        headers.put(key, value);
        FlumeEvent event = new FlumeEvent(headers, ("body " + number).getBytes(StandardCharsets.UTF_8));
        return new FlumeEventPointer(1, write(new Put(transaction, order++, event)));
    }

    private static void take(long transaction, FlumeEventPointer event) throws Exception {
        write(new Take(transaction, order++, event.getOffset(), event.getFileID()));
    }

    private static void rollback(long transaction) throws Exception {
        write(new Rollback(transaction, order++));
    }

    private static void commit(long transaction, TransactionEventRecord.Type type) throws Exception {
        write(new Commit(transaction, order++, type.get()));
    }

    /** Returns where it begins. */
    private static int write(TransactionEventRecord record) throws Exception {
        int offset = out.size();
        ByteBuffer buffer = TransactionEventRecord.toByteBufferV2(record);
        out.writeByte(0x7f);
        out.write(buffer.array(), 0, buffer.limit());
        return offset;
    }
}
