//! Our reader of properties files against `java.util.Properties`, definition by definition and in their order.
//!
//! The cases are the list [`TRICKY`] and 500 texts made from a seed; all of them go through one JVM. Without `java`
//! (a JDK: it has to compile `Properties.java`) the test is skipped loudly, and fails with
//! `MILLRACE_PEERS=required`. The deliberate differences are taken out here, in the open:
//!
//! - **UTF-8.** Java is given text, not bytes: decoded as we decode it, without a byte order mark.
//! - **Trimming.** Java trims nothing at the end; Flume does (`String.trim`), and so does `Properties.java`.
//!   Definitions without a key are left out on both sides.
//! - **Half a surrogate pair.** Java keeps it; for us the definition is an error. It is left out on Java's side.
//! - **A malformed `\u`.** Java gives up the file there, we lose the one definition: what Java has read must be
//!   exactly what we have read before one of our `bad-escape` errors.

mod java;

use node::config::properties;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;

const RANDOM_TEXTS: usize = 500;
const SEED: u64 = 0x1ace;

/// Texts that readers get wrong.
const TRICKY: &[&str] = &[
    "",
    "\n\r\n\r",
    "k=v",
    "k:v",
    "k v",
    "k\tv",
    "k\u{c}v",
    "k = v",
    "k : v",
    "k   v",
    "k = = v",
    "k :: v",
    "k :=v",
    "k =: v",
    "k  =  : v",
    "k",
    "k=",
    "k:",
    "k ",
    "=v",
    ":v",
    " = v",
    "==",
    "\\ k = v",
    "k\\ l\\=m\\:n = v",
    "k\\\\=v",
    "k\\\\\\=v = w",
    "\\k\\e\\y = \\v\\a",
    "k = \\t\\n\\r\\f\\\\\\b\\0\\x41",
    "k = a\\\n  b",
    "k = a\\\r\n\t b\\\r\u{c}c",
    "k = a\\\\\n b = c",
    "k = a\\\\\\\n b = c",
    "k = a\\\n\nb = c",
    "k = a\\\n   \nb = c",
    "k = a\\\n# no comment\nb = c",
    "k = a\\\n! no comment",
    "k\\\n= v",
    "k\\\n  l = v",
    "k =\\\n v",
    "\\\nk = v",
    "\\\n\\\nk = v",
    "\\\n\nk = v",
    "\\\n#k = v\nl = w",
    "  \\\n  #k = v\nl = w",
    "k = v\\",
    "k = v\\\\",
    "k\\",
    "\\",
    "\\\\",
    "#\\\nk = v",
    "# c\\\\\\\nk = v",
    "! c \\u12 \\\nk = v",
    "   # c\n\t! c\n\u{c}#c\nk = v",
    "k = v # no comment",
    "k#l = v",
    "k!l = v",
    "k = \\u0041\\u00e9\\u20AC",
    "\\u006b = v",
    "k\\u003d = v",
    "k\\u0020l = v",
    "k = \\u0020v\\u0020",
    "k = \\u000a\\u0009x",
    "k = \\u005cn",
    "\\u0023k = v",
    "k = \\uD83D\\uDE00",
    "k = \\ud83d\\\n \\ude00",
    "k = \\uD83D",
    "k = \\uDE00\\uD83D\nl = v",
    "k = \\uD83D\\u0041\nl = v",
    "k = \\uD83Dx\nl = v",
    "k = \\uD83D\\\\uDE00\nl = v",
    "a = 1\nk = \\u12\nl = v",
    "a = 1\nk = \\u12g4\nl = v",
    "a = 1\nk = \\u+041\nl = v",
    "a = 1\nk\\u = v\nl = v",
    "k = \\u 041",
    "k = \\u00\\u41",
    "k = \\U0041",
    "k = \\uuu0041",
    "k = \\u００41",
    "k = 1\nk = 2\nk =\nk = 3",
    "k = 😀 é \u{a0}",
    "\u{a0}k\u{a0}=\u{a0}v\u{a0}",
    "k\u{2028}l = v\u{85}w",
    "k\u{b}= v",
    "k = v\u{0}\u{1f}",
    "\u{0}k = v",
    "k =\t \u{c}v \t\u{c}",
    "k = v\r\rl = w\n\rm = x",
    "a1.sources.r1.command = tail -F C:\\\\logs\\\\a.log",
    "a1.sources.r1.command = tail -F C:\\logs\\new.log",
    "a1.sources.r1.interceptors.i1.regex = ^\\\\d{3}\\\\s\\\\[(.*)\\\\]$",
    "a1.sinks.k1.hdfs.path = /a/%Y-%m-%d \\\n   ",
];

/// What a random text is made of.
const PIECES: &[&str] = &[
    "k",
    "l",
    "v",
    "é",
    "😀",
    "#",
    "!",
    "=",
    ":",
    " ",
    "\t",
    "\u{c}",
    "\n",
    "\r",
    "\r\n",
    "\\",
    "\\\\",
    "\\\n",
    "\\u",
    "\\u0041",
    "\\uD83D",
    "\\uDE00",
    "\\ud83d\\ude00",
    "\\n",
    "0",
    "41",
    "\u{0}",
    "\u{a0}",
];

type Pairs = Vec<(String, String)>;

fn cases() -> Vec<String> {
    let mut random = StdRng::seed_from_u64(SEED);
    let made = (0..RANDOM_TEXTS).map(|_| {
        let length = random.random_range(1..40);
        (0..length)
            .map(|_| PIECES[random.random_range(0..PIECES.len())])
            .collect()
    });
    let tricky = TRICKY.iter().map(|text| (*text).to_owned());
    tricky.chain(made).collect()
}

#[test]
fn files_are_read_as_java_reads_them() {
    assert!(TRICKY.len() >= 60);
    let cases = cases();
    let input: String = cases.iter().map(|text| hex(text) + "\n").collect();
    let Some(answers) = java::ask("Properties.java", &[], &input) else {
        return;
    };
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), cases.len());
    let differing: Vec<String> = cases
        .iter()
        .zip(answers)
        .filter_map(|(text, answer)| differs(text, answer))
        .collect();
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing.join("\n")
    );
}

fn differs(text: &str, answer: &str) -> Option<String> {
    let mut words = answer.split(' ');
    let failed = words.next() == Some("failed");
    let theirs: Pairs = words
        .map(|pair| {
            let (key, value) = pair.split_once('=').expect("Properties.java writes pairs");
            (text_of(key), text_of(value))
        })
        .collect();
    let parsed = properties::parse(Path::new("f"), text.as_bytes());
    let read = parsed.properties.iter().map(|p| (p.key.clone(), p.value.clone()));
    let all: Pairs = read.collect();
    let ours = if failed {
        let bad = parsed.findings.iter().filter(|f| f.code == "bad-escape");
        let mut before = bad.map(|f| {
            parsed
                .properties
                .iter()
                .filter(|p| p.place.line < f.place.line)
                .count()
        });
        match before.find(|count| *count == theirs.len()) {
            Some(count) => &all[..count],
            None => return Some(format!("{text:?}: java fails after {theirs:?}, ours: {all:?}")),
        }
    } else {
        &all
    };
    (ours != theirs).then(|| format!("{text:?}: java {theirs:?}, ours: {ours:?}"))
}

fn hex(text: &str) -> String {
    text.encode_utf16().map(|unit| format!("{unit:04x}")).collect()
}

fn text_of(hex: &str) -> String {
    let unit = |at: usize| {
        u16::from_str_radix(&hex[at..at + 4], 16).expect("Properties.java writes hexadecimal digits")
    };
    let units: Vec<u16> = (0..hex.len()).step_by(4).map(unit).collect();
    String::from_utf16(&units).expect("Properties.java leaves halves out")
}
