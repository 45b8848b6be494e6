// Reads dates with java.text.SimpleDateFormat; run as one source file: java Dates.java < cases
//
// A line of the input is a zone, a pattern and a text, between tabs. For each, one line comes out: milliseconds since
// 1970, "no" for a text that is no such date, "error" for a pattern that is refused. In the columns a % and four
// hexadecimal digits are a UTF-16 unit.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.text.ParseException;
import java.text.SimpleDateFormat;
import java.util.Locale;
import java.util.TimeZone;

public class Dates {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, "US-ASCII"));
        StringBuilder out = new StringBuilder();
        String line;
        while ((line = input.readLine()) != null) {
            String[] fields = line.split("\t", -1);
            TimeZone.setDefault(TimeZone.getTimeZone(fields[0]));
            out.append(result(text(fields[1]), text(fields[2]))).append('\n');
        }
        System.out.print(out);
    }

    private static String result(String pattern, String text) {
        SimpleDateFormat format;
        try {
            format = new SimpleDateFormat(pattern, Locale.US);
        } catch (IllegalArgumentException refused) {
            return "error";
        }
        try {
            return String.valueOf(format.parse(text).getTime());
        } catch (ParseException no) {
            return "no";
        }
    }

    private static String text(String written) {
        StringBuilder text = new StringBuilder();
        for (int at = 0; at < written.length(); at++) {
            if (written.charAt(at) == '%') {
                text.append((char) Integer.parseInt(written.substring(at + 1, at + 5), 16));
                at += 4;
            } else {
                text.append(written.charAt(at));
            }
        }
        return text.toString();
    }
}
