//! The text of Flume's position file: one line of JSON, as Gson writes it.
//!
//! ```text
//! [{"inode":10094495,"pos":3,"file":"/var/log/b.log"},{"inode":10094494,"pos":7,"file":"/var/log/a.log"}]
//! ```
//!
//! Key order and escapes (`<`, `>`, `&`, `=` and `'` as \u003c and so on) are Gson's, so that Flume and its users'
//! scripts read what Millrace writes; a file without entries is empty, as Flume leaves it. Reading takes any JSON of
//! that meaning. A text that breaks off or is garbled (Flume writes in place, so a crash can leave half a file) gives
//! the entries before the damage. Source: `flume/sources.md` 5.6, "Position file".

use serde_json::Value;
use std::fmt::Write as _;

/// Where one file was read to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its inode number.
    pub(super) inode: u64,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
    /// Its absolute path; what is no UTF-8 is replaced.
    pub(super) file: String,
}

/// A text that is no position file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Damage {
    /// No JSON from some place on; Flume goes on with the entries before.
    #[error("byte {at}: {what}")]
    Malformed {
        /// Bytes from the start.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// JSON, but not of this meaning; Flume refuses to start.
    #[error("entry {number}: {what}")]
    Foreign {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
}

/// What stands in a text: the entries before any damage, and the damage.
pub(super) fn read(text: &[u8]) -> (Vec<Entry>, Option<Damage>) {
    let mut entries = Vec::new();
    let mut at = skip_blanks(text, 0);
    if at == text.len() {
        return (entries, None);
    }
    let malformed = |at: usize, what: String| Some(Damage::Malformed { at, what });
    if text[at] != b'[' {
        return (entries, malformed(at, "expected [".to_owned()));
    }
    at = skip_blanks(text, at + 1);
    if text.get(at) == Some(&b']') {
        return (entries, None);
    }
    loop {
        let mut values = serde_json::Deserializer::from_slice(&text[at..]).into_iter::<Value>();
        let value = match values.next() {
            Some(Ok(value)) => value,
            Some(Err(error)) => return (entries, malformed(at, error.to_string())),
            None => return (entries, malformed(at, "expected {".to_owned())),
        };
        at += values.byte_offset();
        match entry(&value) {
            Ok(entry) => entries.push(entry),
            Err(what) => {
                let number = entries.len() + 1;
                return (entries, Some(Damage::Foreign { number, what }));
            }
        }
        at = skip_blanks(text, at);
        match text.get(at) {
            Some(b',') => at = skip_blanks(text, at + 1),
            // Flume looks at nothing that follows.
            Some(b']') => return (entries, None),
            _ => return (entries, malformed(at, "expected , or ]".to_owned())),
        }
    }
}

fn entry(value: &Value) -> Result<Entry, String> {
    let object = value.as_object().ok_or("expected an object")?;
    let known = ["inode", "pos", "file"];
    if let Some(other) = object.keys().find(|k| !known.contains(&k.as_str())) {
        return Err(format!(
            "unknown field \"{other}\"; there are inode, pos and file"
        ));
    }
    let number = |key: &str| {
        let value = object.get(key).ok_or(format!("\"{key}\" is missing"))?;
        // Gson reads a number from a text as well.
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        number.ok_or(format!("\"{key}\": expected a number from 0, found {value}"))
    };
    let file = object.get("file").ok_or("\"file\" is missing")?;
    let file = file
        .as_str()
        .ok_or(format!("\"file\": expected a text, found {file}"))?;
    Ok(Entry {
        inode: number("inode")?,
        pos: number("pos")?,
        file: file.to_owned(),
    })
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    let blanks = text[from..].iter().take_while(|b| b.is_ascii_whitespace());
    from + blanks.count()
}

/// The text for these entries: number, position, path.
pub(super) fn write<'a>(entries: impl Iterator<Item = (u64, u64, &'a str)>) -> String {
    let mut text = String::new();
    for (inode, pos, file) in entries {
        text.push(if text.is_empty() { '[' } else { ',' });
        // Writing to a text cannot fail.
        let _ = write!(text, "{{\"inode\":{inode},\"pos\":{pos},\"file\":\"");
        file.chars().for_each(|c| escape(&mut text, c));
        text.push_str("\"}");
    }
    if !text.is_empty() {
        text.push(']');
    }
    text
}

/// As Gson's JsonWriter with HTML-safe escapes, its default.
fn escape(text: &mut String, c: char) {
    match c {
        '"' => text.push_str("\\\""),
        '\\' => text.push_str("\\\\"),
        '\t' => text.push_str("\\t"),
        '\u{8}' => text.push_str("\\b"),
        '\n' => text.push_str("\\n"),
        '\r' => text.push_str("\\r"),
        '\u{c}' => text.push_str("\\f"),
        '\0'..'\u{20}' | '<' | '>' | '&' | '=' | '\'' | '\u{2028}' | '\u{2029}' => {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
        _ => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(inode: u64, pos: u64, file: &str) -> Entry {
        let file = file.to_owned();
        Entry { inode, pos, file }
    }

    fn written(entries: &[Entry]) -> String {
        write(entries.iter().map(|e| (e.inode, e.pos, e.file.as_str())))
    }

    const FLUMES: &str = "[{\"inode\":10094495,\"pos\":3,\"file\":\"/var/log/b.log\"},\
                          {\"inode\":10094494,\"pos\":7,\"file\":\"/var/log/a.log\"}]";

    #[test]
    fn a_file_of_flumes_is_read_and_written_byte_by_byte() {
        let entries = [
            entry(10_094_495, 3, "/var/log/b.log"),
            entry(10_094_494, 7, "/var/log/a.log"),
        ];
        assert_eq!(read(FLUMES.as_bytes()), (entries.to_vec(), None));
        assert_eq!(written(&entries), FLUMES);
    }

    #[test]
    fn paths_are_escaped_as_gson_does_it_and_plain_ones_are_read_too() {
        let odd = entry(1, 2, "/d/a<b>&c='d'\"\\é\u{2028}\t\u{1}.log");
        let text = "[{\"inode\":1,\"pos\":2,\"file\":\"/d/a\\u003cb\\u003e\\u0026c\\u003d\\u0027d\\u0027\\\"\\\\é\
                    \\u2028\\t\\u0001.log\"}]";
        assert_eq!(written(std::slice::from_ref(&odd)), text);
        assert_eq!(read(text.as_bytes()), (vec![odd], None));
        let plain = " [ {\"file\" : \"/d/a=b\", \"pos\":\"2\", \"inode\":1} ] \n";
        assert_eq!(read(plain.as_bytes()), (vec![entry(1, 2, "/d/a=b")], None));
    }

    #[test]
    fn nothing_is_an_empty_file() {
        assert_eq!(written(&[]), "");
        for text in ["", " \n", "[]", "[ ]"] {
            assert_eq!(read(text.as_bytes()), (vec![], None), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_breaks_off_gives_what_stands_before() {
        let first = entry(10_094_495, 3, "/var/log/b.log");
        let ends: Vec<usize> = FLUMES.match_indices('}').map(|(at, _)| at + 1).collect();
        for end in 1..FLUMES.len() {
            let (entries, damage) = read(&FLUMES.as_bytes()[..end]);
            assert!(matches!(damage, Some(Damage::Malformed { .. })), "{end}");
            assert!(entries.is_empty() || entries[0] == first, "{end}");
            assert_eq!(entries.len(), ends.iter().filter(|e| **e <= end).count(), "{end}");
        }
        let garbled = b"\0\0\0\0";
        assert!(matches!(
            read(garbled),
            (_, Some(Damage::Malformed { at: 0, .. }))
        ));
    }

    #[test]
    fn json_of_another_meaning_is_named() {
        let cases = [
            ("[{\"inode\":1,\"file\":\"x\"}]", "entry 1: \"pos\" is missing"),
            (
                "[{\"inode\":1,\"pos\":2,\"file\":\"x\",\"size\":3}]",
                "entry 1: unknown field \"size\"; there are inode, pos and file",
            ),
            (
                "[{\"inode\":1,\"pos\":-2,\"file\":\"x\"}]",
                "entry 1: \"pos\": expected a number from 0, found -2",
            ),
            (
                "[{\"inode\":1,\"pos\":2,\"file\":null}]",
                "entry 1: \"file\": expected a text, found null",
            ),
            ("[7]", "entry 1: expected an object"),
        ];
        for (text, expected) in cases {
            let (_, damage) = read(text.as_bytes());
            assert_eq!(damage.unwrap().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            entries in prop::collection::vec((any::<u64>(), any::<u64>(), ".*"), 0..5)
        ) {
            let entries: Vec<Entry> = entries.into_iter().map(|(i, p, f)| entry(i, p, &f)).collect();
            let text = written(&entries);
            prop_assert!(!text.contains('\n') && !text.contains('\''));
            prop_assert_eq!(read(text.as_bytes()), (entries, None));
        }

        #[test]
        fn no_garbage_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), cut in 0..90usize) {
            read(&bytes);
            let mut half = FLUMES.as_bytes()[..cut].to_vec();
            half.extend_from_slice(&bytes);
            read(&half);
        }
    }
}
