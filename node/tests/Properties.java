// Reads properties files with java.util.Properties; run as one source file: java Properties.java < cases
//
// Every line of the input is one file in hexadecimal digits, UTF-16. For each, one line comes out: "ok" or "failed",
// and then each definition in the order of the file, as key=value in the same digits, trimmed as Flume trims them.
// A definition with half a surrogate pair and one without a key are left out; node/tests/properties.rs says why.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.StringReader;

public class Properties {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, "US-ASCII"));
        String line;
        while ((line = input.readLine()) != null) {
            StringBuilder out = new StringBuilder();
            java.util.Properties properties = new java.util.Properties() {
                @Override
                public synchronized Object put(Object key, Object value) {
                    String k = ((String) key).trim();
                    String v = ((String) value).trim();
                    if (!k.isEmpty() && whole((String) key) && whole((String) value)) {
                        out.append(' ').append(hex(k)).append('=').append(hex(v));
                    }
                    return super.put(key, value);
                }
            };
            String result = "ok";
            try {
                properties.load(new StringReader(text(line)));
            } catch (IllegalArgumentException malformed) {
                result = "failed";
            }
            System.out.println(result + out);
        }
    }

    private static boolean whole(String text) {
        for (int at = 0; at < text.length(); at++) {
            char unit = text.charAt(at);
            if (Character.isHighSurrogate(unit)) {
                at++;
                if (at == text.length() || !Character.isLowSurrogate(text.charAt(at))) {
                    return false;
                }
            } else if (Character.isLowSurrogate(unit)) {
                return false;
            }
        }
        return true;
    }

    private static String text(String hex) {
        StringBuilder text = new StringBuilder();
        for (int at = 0; at < hex.length(); at += 4) {
            text.append((char) Integer.parseInt(hex.substring(at, at + 4), 16));
        }
        return text.toString();
    }

    private static String hex(String text) {
        StringBuilder hex = new StringBuilder();
        for (char unit : text.toCharArray()) {
            hex.append(String.format("%04x", (int) unit));
        }
        return hex.toString();
    }
}
