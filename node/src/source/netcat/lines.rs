//! Cuts text of any charset into lines, strictly.
//!
//! A line is looked for as bytes, by the unit of its charset (1, 2 or 4 bytes), and read when it is whole. Its length
//! counts as Java's strings do, in UTF-16 units, with the LF.

use crate::java::charset::Charset;
use proto::cursor::find_byte;
use proto::event::BatchBuilder;

/// What comes after the lines that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// More bytes must come.
    More,
    /// There may be more lines, and the batch may have no more.
    Full,
    /// A line over the limit.
    TooLong,
    /// Bytes that the charset does not have.
    Unreadable,
}

/// The lines of one connection.
#[derive(Debug)]
pub(super) struct TextLines {
    charset: Charset,
    chars_max: usize,
    is_first: bool,
    /// Bytes of the line under way that have no LF.
    scanned: usize,
    /// Bytes of it that are text, and how many units; of UTF-8 only.
    valid: usize,
    valid_units: usize,
}

impl TextLines {
    pub(super) fn new(charset: Charset, chars_max: usize) -> Self {
        Self {
            charset,
            chars_max,
            is_first: true,
            scanned: 0,
            valid: 0,
            valid_units: 0,
        }
    }

    /// Takes whole lines, at most so many; `input` is left where the next one begins.
    pub(super) fn take(&mut self, input: &mut &[u8], lines_max: usize, batch: &mut BatchBuilder) -> Next {
        if self.is_first && !self.learn_byte_order(input) {
            return Next::More;
        }
        while batch.len() < lines_max {
            let Some(end) = self.find_lf(input) else {
                return self.look_at_part(input);
            };
            let Some(text) = self.charset.decode_strict(&input[..end]) else {
                return Next::Unreadable;
            };
            let is_long = text.len() >= self.chars_max && units(&text) >= self.chars_max;
            if is_long
                || batch
                    .push(std::iter::empty::<(&str, &str)>(), text.as_bytes())
                    .is_err()
            {
                return Next::TooLong;
            }
            *input = &input[end + self.unit()..];
            (self.scanned, self.valid, self.valid_units) = (0, 0, 0);
        }
        Next::Full
    }

    /// The byte order is that of the first character; false if that has not come yet.
    fn learn_byte_order(&mut self, input: &mut &[u8]) -> bool {
        let little = match self.charset {
            Charset::Utf16 => Charset::Utf16Of(false),
            Charset::Utf32 => Charset::Utf32Of(false),
            _ => {
                self.is_first = false;
                return true;
            }
        };
        if input.len() < self.unit() {
            return false;
        }
        let big = match self.charset {
            Charset::Utf16 => Charset::Utf16Of(true),
            _ => Charset::Utf32Of(true),
        };
        self.is_first = false;
        self.charset = big;
        for charset in [big, little] {
            if let Some(rest) = input.strip_prefix(&*charset.encode("\u{feff}")) {
                *input = rest;
                self.charset = charset;
            }
        }
        true
    }

    /// Bytes of a LF.
    fn unit(&self) -> usize {
        match self.charset {
            Charset::Utf16 | Charset::Utf16Of(_) => 2,
            Charset::Utf32 | Charset::Utf32Of(_) => 4,
            _ => 1,
        }
    }

    fn find_lf(&self, input: &[u8]) -> Option<usize> {
        let unit = self.unit();
        let rest = input.get(self.scanned..)?;
        let found = if unit == 1 {
            find_byte(b'\n', rest)
        } else {
            let lf = self.charset.encode("\n");
            rest.chunks_exact(unit)
                .position(|one| *one == *lf)
                .map(|n| n * unit)
        };
        found.map(|at| self.scanned + at)
    }

    /// A line that has not ended: may its end still come in time? Looks at each byte once.
    fn look_at_part(&mut self, input: &[u8]) -> Next {
        let bytes = input.len();
        self.scanned = bytes - bytes % self.unit();
        let units_min = match self.charset {
            Charset::Utf8 => {
                let rest = &input[self.valid..];
                let (length, is_bad) = match std::str::from_utf8(rest) {
                    Ok(_) => (rest.len(), false),
                    Err(error) => (error.valid_up_to(), error.error_len().is_some()),
                };
                if is_bad {
                    return Next::Unreadable;
                }
                self.valid += length;
                self.valid_units += std::str::from_utf8(&rest[..length]).map_or(0, units);
                self.valid_units
            }
            Charset::Ascii | Charset::Latin1 => bytes,
            Charset::Utf16 | Charset::Utf16Of(_) => bytes / 2,
            Charset::Other(encoding) if encoding.is_single_byte() => bytes,
            // No charset has more than four bytes for a character.
            _ => bytes / 4,
        };
        if units_min >= self.chars_max {
            Next::TooLong
        } else {
            Next::More
        }
    }
}

/// Length as Java counts it.
fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::event::{Batch, EventLimits};

    fn bodies(batch: &Batch) -> Vec<String> {
        let text = |e: proto::event::EventView<'_>| String::from_utf8_lossy(e.body()).into_owned();
        batch.iter().map(text).collect()
    }

    /// Feeds the stream in pieces; the lines, and what came next at last.
    fn lines(charset: &str, chars_max: usize, stream: &[u8], piece: usize) -> (Vec<String>, Next) {
        let mut lines = TextLines::new(Charset::named(charset).unwrap(), chars_max);
        let mut batch = BatchBuilder::new(EventLimits::default());
        let (mut held, mut next) = (Vec::new(), Next::More);
        for part in stream.chunks(piece) {
            held.extend_from_slice(part);
            let mut input = &held[..];
            next = lines.take(&mut input, usize::MAX, &mut batch);
            held = input.to_vec();
            if next != Next::More {
                break;
            }
        }
        (bodies(&batch.finish()), next)
    }

    #[track_caller]
    fn check(charset: &str, stream: &[u8], expected: &[&str], next: Next) {
        for piece in 1..=stream.len() {
            let found = lines(charset, 20, stream, piece);
            assert_eq!(found.0, expected, "in pieces of {piece}");
            assert_eq!(found.1, next, "in pieces of {piece}");
        }
    }

    #[test]
    fn lines_end_with_lf_and_keep_their_cr() {
        check("utf-8", b"one\ntwo\r\n\nlast", &["one", "two\r", ""], Next::More);
    }

    #[test]
    fn a_line_and_its_lf_have_at_most_the_allowed_characters() {
        check(
            "utf-8",
            b"aaaaaaaaaaaaaaaaaaa\n",
            &["aaaaaaaaaaaaaaaaaaa"],
            Next::More,
        );
        check("utf-8", b"x\naaaaaaaaaaaaaaaaaaaa\n", &["x"], Next::TooLong);
        check("utf-8", b"aaaaaaaaaaaaaaaaaaaa", &[], Next::TooLong);
        let wide = "\u{e9}".repeat(19);
        check("utf-8", format!("{wide}\n").as_bytes(), &[&wide], Next::More);
        let pairs = "\u{1f600}".repeat(10);
        check("utf-8", format!("{pairs}\n").as_bytes(), &[], Next::TooLong);
        check(
            "utf-16be",
            &Charset::Utf16Of(true).encode(&"a".repeat(20)),
            &[],
            Next::TooLong,
        );
        check("latin1", &[0xe9; 20], &[], Next::TooLong);
    }

    #[test]
    fn what_the_charset_does_not_have_is_told() {
        check("utf-8", b"ok\nx\xffy\n", &["ok"], Next::Unreadable);
        check("utf-8", b"\xff", &[], Next::Unreadable);
        check("us-ascii", b"ok\n\xe9\n", &["ok"], Next::Unreadable);
        check("utf-16be", &[0xd8, 0, 0, 10], &[], Next::Unreadable);
    }

    #[test]
    fn wide_charsets_have_wide_ends_and_byte_orders() {
        let text = "h\u{e9}\n\u{a0a}\n";
        for charset in ["UTF-16", "UTF-16BE", "UTF-16LE", "UTF-32", "UTF-32LE"] {
            let stream = Charset::named(charset).unwrap().encode(text);
            check(charset, &stream, &["h\u{e9}", "\u{a0a}"], Next::More);
        }
        let marked = Charset::Utf16Of(false).encode("\u{feff}a\nb\n").into_owned();
        check("UTF-16", &marked, &["a", "b"], Next::More);
    }

    #[test]
    fn no_more_lines_are_taken_than_fit() {
        let mut lines = TextLines::new(Charset::Utf8, 20);
        let mut batch = BatchBuilder::new(EventLimits::default());
        let mut input = &b"a\nb\nc\n"[..];
        assert_eq!(lines.take(&mut input, 2, &mut batch), Next::Full);
        assert_eq!(input, b"c\n");
        assert_eq!(batch.len(), 2);
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_agree(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), any::<u8>()], 0..60),
            charset in prop_oneof![Just("utf-8"), Just("utf-16"), Just("utf-32le"), Just("latin1"), Just("gb18030")],
            piece in 1usize..9,
        ) {
            let whole = lines(charset, 12, &stream, stream.len().max(1));
            let parts = lines(charset, 12, &stream, piece);
            prop_assert_eq!(whole.0, parts.0);
        }
    }
}
