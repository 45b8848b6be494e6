// Matches with java.util.regex; run as one source file: java Regex.java < cases
//
// The first line that comes out is Java's version. A line of the input is a pattern, a text and a replacement, between
// tabs; it comes out again with three more columns: the groups of the first match, those of a match of the whole text, and the text with every match replaced.
// Groups are start-end in UTF-16 units, number 0 first, or "-"; no match is "no", what Java refuses is "error".
// In the columns a % and four hexadecimal digits are a UTF-16 unit.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

public class Regex {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, "US-ASCII"));
        String line;
        StringBuilder out = new StringBuilder(System.getProperty("java.specification.version")).append('\n');
        while ((line = input.readLine()) != null) {
            String[] fields = line.split("\t", -1);
            out.append(fields[0]).append('\t').append(fields[1]).append('\t').append(fields[2]).append('\t');
            out.append(results(text(fields[0]), text(fields[1]), text(fields[2]))).append('\n');
        }
        System.out.print(out);
    }

    private static String results(String pattern, String text, String replacement) {
        Pattern compiled;
        try {
            compiled = Pattern.compile(pattern);
        } catch (PatternSyntaxException refused) {
            return "error\terror\terror";
        }
        Matcher find = compiled.matcher(text);
        Matcher whole = compiled.matcher(text);
        String replaced;
        try {
            replaced = written(compiled.matcher(text).replaceAll(replacement));
        } catch (IllegalArgumentException | IndexOutOfBoundsException refused) {
            replaced = "error";
        }
        return groups(find, find.find()) + '\t' + groups(whole, whole.matches()) + '\t' + replaced;
    }

    private static String groups(Matcher matcher, boolean found) {
        if (!found) {
            return "no";
        }
        StringBuilder groups = new StringBuilder();
        for (int group = 0; group <= matcher.groupCount(); group++) {
            groups.append(group == 0 ? "" : " ");
            groups.append(matcher.start(group) < 0 ? "-" : matcher.start(group) + "-" + matcher.end(group));
        }
        return groups.toString();
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

    private static String written(String text) {
        StringBuilder written = new StringBuilder();
        for (char unit : text.toCharArray()) {
            if (unit < ' ' || unit > '~' || unit == '%') {
                written.append(String.format("%%%04X", (int) unit));
            } else {
                written.append(unit);
            }
        }
        return written.toString();
    }
}
