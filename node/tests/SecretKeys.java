import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.security.Key;
import java.security.KeyStore;

/** Reads the path of a JCEKS store, its password, and lines "alias password"; says what each secret key is. */
public class SecretKeys {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        KeyStore store = KeyStore.getInstance("JCEKS");
        try (FileInputStream file = new FileInputStream(in.readLine())) {
            store.load(file, in.readLine().toCharArray());
        }
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            Key key = store.getKey(words[0], words[1].toCharArray());
            StringBuilder hex = new StringBuilder();
            for (byte b : key.getEncoded()) {
                hex.append(String.format("%02x", b));
            }
            System.out.println(words[0] + " " + key.getAlgorithm() + " " + hex);
        }
    }
}
