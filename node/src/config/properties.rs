//! Java properties: the text of one file to an ordered list of keys, values and places.
//!
//! The rules are those of `java.util.Properties.load`, with these differences:
//!
//! | here | Java, Flume 1.11 |
//! |---|---|
//! | UTF-8; a file that is not UTF-8 is ISO-8859-1, with a warning | always ISO-8859-1 |
//! | a byte order mark is skipped | part of the first key |
//! | duplicates are kept, in order, with their lines | the last one is left, in the order of a hash |
//! | a malformed `\u` loses its own property and is an error with a line | the whole file fails |
//!
//! Keys and values are trimmed as Flume trims them: everything up to U+0020 at both ends, escaped or not.
//!
//! Own code: the crate `java-properties` (2.0) knows no surrogate pairs (`\uD83D\uDE00` is an error there),
//! fails on a comment such as `# C:\users`, takes `\u+041` for a letter, trims more than Java at continuation
//! lines, and cannot go on after an error, so that one start could not name all mistakes.

use crate::component::keys::{Finding, Place, Severity};
use std::borrow::Cow;
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;
use std::sync::Arc;

/// What findings about the file as a whole are about.
pub(super) const COMPONENT: &str = "configuration";

/// One definition in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Trimmed, never empty.
    pub key: String,
    /// Trimmed; empty if the file says so, which takes an earlier definition back.
    pub value: String,
    /// Where its logical line starts.
    pub place: Place,
}

/// One file, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the file, repeated keys and empty values included.
    pub properties: Vec<Property>,
    /// What is wrong or ignored, in the order of the file.
    pub findings: Vec<Finding>,
}

/// Reads the text of `file`, which is only named in places. Never fails: what is wrong is a finding.
pub fn parse(file: &Path, bytes: &[u8]) -> Parsed {
    let mut parsed = Parsed::default();
    let file: Arc<Path> = file.into();
    let place = |line| Place {
        file: file.clone(),
        line,
    };
    let text = decode(bytes).unwrap_or_else(|line| {
        let message = "not UTF-8, the file is read as ISO-8859-1".to_owned();
        parsed.note(place(line), Severity::Warning, "not-utf8", None, message);
        Cow::Owned(bytes.iter().map(|b| char::from(*b)).collect())
    });
    for (line, logical) in logical_lines(&text) {
        let (key, value) = split(&logical);
        let (key, value) = match (unescape(key), unescape(value)) {
            (Ok(key), Ok(value)) => (key, value),
            (Err(malformed), _) => {
                parsed.note(
                    place(line),
                    Severity::Error,
                    "bad-escape",
                    None,
                    malformed.to_string(),
                );
                continue;
            }
            (Ok(key), Err(malformed)) => {
                let message = malformed.to_string();
                parsed.note(
                    place(line),
                    Severity::Error,
                    "bad-escape",
                    Some(trim(&key)),
                    message,
                );
                continue;
            }
        };
        let (key, value) = (trim(&key).to_owned(), trim(&value).to_owned());
        if key.is_empty() || value.is_empty() {
            // Never with its value: it may be a password.
            let message = if key.is_empty() {
                "Configuration property ignored: it has no key".to_owned()
            } else {
                format!("Configuration property ignored: {key} = ")
            };
            parsed.note(place(line), Severity::Warning, "empty", Some(&key), message);
        }
        if !key.is_empty() {
            let place = place(line);
            parsed.properties.push(Property { key, value, place });
        }
    }
    parsed
}

impl Parsed {
    fn note(
        &mut self,
        place: Place,
        severity: Severity,
        code: &'static str,
        key: Option<&str>,
        message: String,
    ) {
        let property = key.filter(|k| !k.is_empty()).map(str::to_owned);
        self.findings.push(Finding {
            place,
            severity,
            code,
            component: COMPONENT.to_owned(),
            property,
            message,
        });
    }
}

/// The text without its byte order mark, or the line that is not UTF-8.
fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, usize> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text))),
        Err(error) => {
            let before: String = bytes[..error.valid_up_to()]
                .iter()
                .map(|b| char::from(*b))
                .collect();
            Err(natural_lines(&before).count())
        }
    }
}

/// Lines end with LF, CR or CR LF. There is always one more than there are line ends.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            return rest.take();
        };
        let after = &text[end..];
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(&text[..end])
    })
}

/// Lines that are no comments and not blank, joined where one ends in an odd number of backslashes, each with the
/// number at which it starts. A continuation that looks like a comment is none, and a blank one ends the line.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, Cow<'_, str>)> {
    let mut lines = natural_lines(text).enumerate();
    std::iter::from_fn(move || {
        loop {
            let (at, first) = lines.next()?;
            let first = first.trim_start_matches(is_blank);
            if first.starts_with(['#', '!']) {
                continue;
            }
            let (mut whole, mut goes_on) = without_continuation(Cow::Borrowed(first));
            while goes_on {
                let Some((_, next)) = lines.next() else { break };
                let next = next.trim_start_matches(is_blank);
                // Nothing but a backslash has begun no line yet: so it is since Java 9, Java 8 takes `#` for a key.
                if whole.is_empty() && next.starts_with(['#', '!']) {
                    break;
                }
                let (part, more) = without_continuation(Cow::Borrowed(next));
                whole.to_mut().push_str(&part);
                goes_on = more;
            }
            if !whole.is_empty() {
                return Some((at + 1, whole));
            }
        }
    })
}

fn without_continuation(line: Cow<'_, str>) -> (Cow<'_, str>, bool) {
    let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
    if backslashes % 2 == 0 {
        return (line, false);
    }
    let shorter = match line {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..text.len() - 1]),
        Cow::Owned(mut text) => {
            text.pop();
            Cow::Owned(text)
        }
    };
    (shorter, true)
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Key and value, both still escaped: apart at the first `=`, `:` or blank that no backslash protects.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = !escaped && c == '\\';
        ends
    });
    let (key, rest) = line.split_at(end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, value.trim_start_matches(is_blank))
}

/// As Java's `String.trim`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// A `\u` that is no character.
#[derive(Debug, thiserror::Error)]
enum Malformed {
    #[error("malformed \\u escape: expected four hexadecimal digits, found \"{0}\"")]
    Digits(String),
    #[error("malformed \\u escape: \\u{0:04x} is one half of a character, and the other half is not there")]
    Half(u32),
}

fn unescape(text: &str) -> Result<String, Malformed> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        // A backslash at the very end stands for nothing; logical lines have none.
        let Some(c) = chars.next() else { break };
        plain.push(match c {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'u' => unicode(&mut chars)?,
            other => other,
        });
    }
    Ok(plain)
}

/// What follows `\u`: four digits, or eight with another `\u` between them.
fn unicode(chars: &mut Peekable<Chars<'_>>) -> Result<char, Malformed> {
    let unit = four_digits(chars)?;
    if let Some(c) = char::from_u32(unit) {
        return Ok(c);
    }
    let half = Malformed::Half(unit);
    if !(0xd800..0xdc00).contains(&unit) || chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(half);
    }
    let low = four_digits(chars)?;
    if !(0xdc00..0xe000).contains(&low) {
        return Err(half);
    }
    char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)).ok_or(half)
}

fn four_digits(chars: &mut Peekable<Chars<'_>>) -> Result<u32, Malformed> {
    let mut found = String::new();
    let mut unit = 0;
    for _ in 0..4 {
        let Some(c) = chars.next() else {
            return Err(Malformed::Digits(found));
        };
        found.push(c);
        let Some(digit) = c.to_digit(16) else {
            return Err(Malformed::Digits(found));
        };
        unit = unit * 16 + digit;
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Parsed {
        parse(Path::new("f"), bytes)
    }

    /// Checks properties as (line, key, value).
    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let parsed = read(text.as_bytes());
        let found: Vec<(usize, &str, &str)> = parsed
            .properties
            .iter()
            .map(|p| (p.place.line, p.key.as_str(), p.value.as_str()))
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    fn findings(bytes: &[u8]) -> Vec<String> {
        read(bytes).findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn escapes_and_continuation_as_in_the_acceptance_case() {
        check(
            "v = C:\\\\path\\tTAB \\u0041 \\\n   continued",
            &[(1, "v", "C:\\path\tTAB A continued")],
        );
    }

    #[test]
    fn all_separators_are_equal() {
        check(
            "k : v\nk v\nk=v\n  k\t\u{c}=\t v",
            &[(1, "k", "v"), (2, "k", "v"), (3, "k", "v"), (4, "k", "v")],
        );
        check("k = = v\nk :: v", &[(1, "k", "= v"), (2, "k", ": v")]);
        check("a\\ b\\=c\\:d = e", &[(1, "a b=c:d", "e")]);
        check("a\\\\=b", &[(1, "a\\", "b")]);
    }

    #[test]
    fn comments_are_lines_of_their_own_and_never_stand_behind_a_value() {
        check(
            "# C:\\users\\\n  ! too \\u12\nport = 41414 # x\n",
            &[(3, "port", "41414 # x")],
        );
        assert_eq!(findings(b"# C:\\users\\\n  ! too \\u12\nk=v"), [""; 0]);
    }

    #[test]
    fn a_line_is_counted_where_it_starts() {
        check(
            "\r\na = 1 \\\r\n  2 \\\r\n  # 3\r\rb = 4\n\nc = 5\\\n\nd = 6\\",
            &[(2, "a", "1 2 # 3"), (6, "b", "4"), (8, "c", "5"), (10, "d", "6")],
        );
        check("\\\n\\\na=1", &[(1, "a", "1")]);
        check("\\\n\n#a=1\nb=2", &[(4, "b", "2")]);
        check("\\\n#a=1\\\nb=2", &[(3, "b", "2")]);
        check("a=x\\\\\nb=y\\\\\\\nz", &[(1, "a", "x\\"), (2, "b", "y\\z")]);
    }

    #[test]
    fn unknown_escapes_are_the_character_itself() {
        check("k = \\a\\#\\!\\\"\\é\\n\\r\\fx", &[(1, "k", "a#!\"é\n\r\u{c}x")]);
        check("k = \\u00e9\\uD83D\\uDE00\\u00FC", &[(1, "k", "é😀ü")]);
    }

    #[test]
    fn keys_and_values_are_trimmed_even_if_escaped() {
        check("\\ k\\t = \\u0020v\\ \\t ", &[(1, "k", "v")]);
        // Only what Java trims: a no-break space stays.
        check("k = \u{a0}v", &[(1, "k", "\u{a0}v")]);
    }

    #[test]
    fn a_malformed_escape_is_an_error_and_the_rest_is_read() {
        let text =
            "a = \\u12\nb = \\u12g4\nc = \\uD83D\nd = \\uD83D\\u0041\ne = \\uDE00\\uD83D\n\\u+041 = 1\nz = 1";
        check(text, &[(7, "z", "1")]);
        assert_eq!(
            findings(text.as_bytes()),
            [
                "f:1: error[bad-escape]: configuration: a: malformed \\u escape: expected four hexadecimal digits, found \"12\"",
                "f:2: error[bad-escape]: configuration: b: malformed \\u escape: expected four hexadecimal digits, found \"12g\"",
                "f:3: error[bad-escape]: configuration: c: malformed \\u escape: \\ud83d is one half of a character, and the other half is not there",
                "f:4: error[bad-escape]: configuration: d: malformed \\u escape: \\ud83d is one half of a character, and the other half is not there",
                "f:5: error[bad-escape]: configuration: e: malformed \\u escape: \\ude00 is one half of a character, and the other half is not there",
                "f:6: error[bad-escape]: configuration: malformed \\u escape: expected four hexadecimal digits, found \"+\"",
            ]
        );
    }

    #[test]
    fn empty_keys_and_values_are_named_and_only_the_value_is_kept() {
        check("a =\n= b\nc", &[(1, "a", ""), (3, "c", "")]);
        assert_eq!(
            findings(b"a =\n= b\nc"),
            [
                "f:1: warning[empty]: configuration: a: Configuration property ignored: a = ",
                "f:2: warning[empty]: configuration: Configuration property ignored: it has no key",
                "f:3: warning[empty]: configuration: c: Configuration property ignored: c = ",
            ]
        );
    }

    #[test]
    fn utf8_is_read_and_anything_else_is_latin_1_with_a_warning() {
        check("\u{feff}k = é", &[(1, "k", "é")]);
        let parsed = read(b"a = 1\r\nb = \xe9\x80");
        assert_eq!(parsed.properties[1].value, "é\u{80}");
        assert_eq!(
            findings(b"a = 1\r\nb = \xe9\x80"),
            ["f:2: warning[not-utf8]: configuration: not UTF-8, the file is read as ISO-8859-1"]
        );
    }

    /// Writes a text so that it is read back as it is.
    fn escape(text: &str, key: bool) -> String {
        let mut escaped = String::new();
        for (at, c) in text.chars().enumerate() {
            match c {
                '\\' => escaped.push_str("\\\\"),
                '\t' => escaped.push_str("\\t"),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\u{c}' => escaped.push_str("\\f"),
                ' ' | ':' | '=' | '#' | '!' if key || at == 0 => escaped.extend(['\\', c]),
                c if (c as u32).is_multiple_of(3) && c > '~' => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        escaped.push_str(&format!("\\u{unit:04X}"));
                    }
                }
                c => escaped.push(c),
            }
        }
        escaped
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[\\\\u0-9dDeE:= #!a\r\n\t\u{c}é]{0,60}") {
            read(text.as_bytes());
        }

        #[test]
        fn what_is_escaped_is_read_back(pairs in proptest::collection::vec((any::<String>(), any::<String>()), 0..5)) {
            let pairs: Vec<(&str, &str)> = pairs
                .iter()
                .map(|(k, v)| (trim(k), trim(v)))
                .filter(|(k, _)| !k.is_empty())
                .collect();
            let text: String = pairs
                .iter()
                .map(|(k, v)| format!("{} = {}\n", escape(k, true), escape(v, false)))
                .collect();
            // A leading U+FEFF would be taken for a byte order mark.
            let parsed = read(format!("\n{text}").as_bytes());
            let found: Vec<(&str, &str)> =
                parsed.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
            prop_assert_eq!(found, pairs);
        }
    }
}
