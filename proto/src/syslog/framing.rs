//! Cuts messages out of a stream, and out of a datagram.
//!
//! A message ends with LF, and so does a line of nothing, which is none. What is longer than allowed is cut: its first
//! bytes are a message, and so is what follows. As in Flume, but for this: a message of exactly the allowed bytes is
//! whole (Flume calls it incomplete, or loses all that was read with it), empty lines are passed over, and an LF inside
//! the brackets of a priority ends its message.
//!
//! Counted frames (RFC 6587, 3.4.1) are understood where [`Framing::new`] is told so. Flume does not know them, and
//! its users' messages must not be taken for some: a frame must begin `digits blank <priority>`, and must not have an
//! LF before its last byte. A line that begins so is an invalid message anyway, and is taken for a frame only if its
//! number is not larger than its length. So senders of both kinds may share a port, and even a connection.

use crate::cursor::find_byte;

/// The most digits of a counted frame's length.
const COUNT_DIGITS_MAX: usize = 9;

/// A message without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What was received.
    pub bytes: &'a [u8],
    /// It was longer than allowed, and this is only its start.
    pub cut: bool,
}

/// Finds the messages of one stream.
///
/// Call [`next`](Self::next) with all bytes that it has not yet used up until it returns none, then with more.
#[derive(Debug, Clone)]
pub struct Framing {
    max_bytes: usize,
    is_counting: bool,
    keeps_cr: bool,
    /// Bytes of the message under way that were looked at and have no LF.
    scanned: usize,
    /// Bytes of a counted frame whose start was too long.
    left: usize,
}

impl Framing {
    /// At the start of a stream; a message may have `max_bytes`, at least 1. A CR before the LF belongs to the end.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes: max_bytes.max(1),
            is_counting: false,
            keeps_cr: false,
            scanned: 0,
            left: 0,
        }
    }

    /// Counted frames are understood, too.
    pub fn counting(mut self) -> Self {
        self.is_counting = true;
        self
    }

    /// A CR before the LF belongs to the message.
    pub fn keeping_cr(mut self) -> Self {
        self.keeps_cr = true;
        self
    }

    /// The next message of `input`, which then begins behind it; none if more bytes must come. At most
    /// `max_bytes` and a little are left in `input` then.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Message<'a>> {
        loop {
            let found = if self.left > 0 {
                self.rest_of_frame(input)
            } else {
                if self.scanned == 0 {
                    let blanks = input.iter().take_while(|b| **b == b'\n').count();
                    *input = &input[blanks..];
                }
                match self.counted(input) {
                    Some(found) => found,
                    None => self.line(input),
                }
            };
            let message = found?;
            self.scanned = 0;
            if !matches!(message.bytes, [] | [b'\r']) {
                return Some(message);
            }
        }
    }

    /// Up to LF, or as much as is allowed.
    fn line<'a>(&mut self, input: &mut &'a [u8]) -> Option<Message<'a>> {
        let window = self.max_bytes + 1 + usize::from(!self.keeps_cr);
        let seen = &input[..window.min(input.len())];
        if let Some(at) = find_lf(seen.get(self.scanned..).unwrap_or_default()) {
            let line = self.without_cr(&seen[..self.scanned + at]);
            if line.len() <= self.max_bytes {
                *input = &input[self.scanned + at + 1..];
                return Some(Message {
                    bytes: line,
                    cut: false,
                });
            }
        }
        // A CR right behind the last allowed byte may be the first half of the end.
        let is_end_possible =
            seen.len() <= self.max_bytes || (seen.len() < window && seen[self.max_bytes] == b'\r');
        if is_end_possible {
            self.scanned = seen.len();
            return None;
        }
        Some(self.cut(input, self.max_bytes))
    }

    /// A counted frame, or its start; the outer none if it is no such frame, the inner none if more bytes must come.
    fn counted<'a>(&mut self, input: &mut &'a [u8]) -> Option<Option<Message<'a>>> {
        if !self.is_counting {
            return None;
        }
        let (head, length) = match frame_head(input) {
            Head::Whole { bytes, frame } => (bytes, frame),
            Head::Part => return Some(None),
            Head::None => return None,
        };
        let part = length.min(self.max_bytes);
        let seen = &input[head..input.len().min(head + part)];
        let scanned = self.scanned.saturating_sub(head);
        if let Some(at) = find_lf(seen.get(scanned..).unwrap_or_default())
            && scanned + at + 1 != length
        {
            return None;
        }
        if seen.len() < part {
            self.scanned = head + seen.len();
            return Some(None);
        }
        super::legacy::priority(seen)?;
        *input = &input[head + part..];
        self.left = length - part;
        let bytes = match (self.left, seen.strip_suffix(b"\n")) {
            (0, Some(line)) => self.without_cr(line),
            _ => seen,
        };
        Some(Some(Message {
            bytes,
            cut: self.left > 0,
        }))
    }

    /// What follows the start of a counted frame that is too long, in pieces; an LF ends it.
    fn rest_of_frame<'a>(&mut self, input: &mut &'a [u8]) -> Option<Message<'a>> {
        let part = self.left.min(self.max_bytes);
        let seen = &input[..part.min(input.len())];
        if let Some(at) = find_lf(seen.get(self.scanned..).unwrap_or_default()) {
            let end = self.scanned + at;
            *input = &input[end + 1..];
            self.left = 0;
            return Some(Message {
                bytes: self.without_cr(&seen[..end]),
                cut: false,
            });
        }
        if seen.len() < part {
            self.scanned = seen.len();
            return None;
        }
        self.left -= part;
        let message = self.cut(input, part);
        Some(Message {
            cut: self.left > 0,
            ..message
        })
    }

    fn cut<'a>(&self, input: &mut &'a [u8], at: usize) -> Message<'a> {
        let (bytes, rest) = input.split_at(at);
        *input = rest;
        Message { bytes, cut: true }
    }

    fn without_cr<'a>(&self, line: &'a [u8]) -> &'a [u8] {
        match line.strip_suffix(b"\r") {
            Some(line) if !self.keeps_cr => line,
            _ => line,
        }
    }
}

/// What a message begins with.
enum Head {
    /// The head of a counted frame: its own bytes, and those of the frame behind it.
    Whole { bytes: usize, frame: usize },
    /// What may become one.
    Part,
    /// Something else.
    None,
}

fn frame_head(input: &[u8]) -> Head {
    if !matches!(input.first(), Some(b'1'..=b'9')) {
        return Head::None;
    }
    let mut frame = 0;
    for (at, byte) in input.iter().enumerate() {
        match (byte, input.get(at + 1)) {
            (b'0'..=b'9', _) if at < COUNT_DIGITS_MAX => frame = frame * 10 + usize::from(byte - b'0'),
            (b' ', Some(b'<')) => return Head::Whole { bytes: at + 1, frame },
            (b' ', None) => return Head::Part,
            _ => return Head::None,
        }
    }
    Head::Part
}

/// The message of a datagram: what stands before the first LF, or all of it. None if there is nothing.
pub fn datagram(bytes: &[u8]) -> Option<Message<'_>> {
    let start = bytes.iter().position(|b| *b != b'\n')?;
    let bytes = &bytes[start..];
    let line = &bytes[..find_lf(bytes).unwrap_or(bytes.len())];
    let bytes = line.strip_suffix(b"\r").unwrap_or(line);
    (!bytes.is_empty()).then_some(Message { bytes, cut: false })
}

fn find_lf(bytes: &[u8]) -> Option<usize> {
    find_byte(b'\n', bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds the stream in pieces; shows messages, with a plus where they were cut.
    fn cut_in(mut framing: Framing, stream: &[u8], piece: usize) -> Vec<String> {
        let (mut held, mut all) = (Vec::new(), Vec::new());
        for part in stream.chunks(piece) {
            held.extend_from_slice(part);
            let mut input = &held[..];
            while let Some(message) = framing.next(&mut input) {
                let plus = if message.cut { "+" } else { "" };
                all.push(format!("{}{plus}", String::from_utf8_lossy(message.bytes)));
            }
            held = input.to_vec();
            assert!(held.len() <= framing.max_bytes + 1 + COUNT_DIGITS_MAX + 1);
        }
        all
    }

    #[track_caller]
    fn check(framing: &Framing, stream: &str, expected: &[&str]) {
        for piece in 1..=stream.len() {
            let found = cut_in(framing.clone(), stream.as_bytes(), piece);
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn messages_end_with_lf_and_empty_ones_are_none() {
        let framing = Framing::new(100);
        check(&framing, "a\n\n\nb\r\n\r\nc\rd\nleft", &["a", "b", "c\rd"]);
        check(&framing.keeping_cr(), "a\r\n\r\nb\n", &["a\r", "b"]);
    }

    #[test]
    fn exactly_the_allowed_bytes_are_whole_and_one_more_is_cut() {
        let framing = Framing::new(4);
        check(&framing, "abcd\nabcd\r\nabcde\n", &["abcd", "abcd", "abcd+", "e"]);
        check(&framing, "abcdefghi\r\n", &["abcd+", "efgh+", "i"]);
        check(&framing, "abcd\rx\n", &["abcd+", "\rx"]);
        check(
            &framing.keeping_cr(),
            "abcd\nabc\r\nabcd\r\n",
            &["abcd", "abc\r", "abcd+"],
        );
    }

    #[test]
    fn counted_frames_need_no_lf_and_may_have_one() {
        let framing = Framing::new(100).counting();
        check(&framing, "5 <1>ab6 <1>abc5 <1>de", &["<1>ab", "<1>abc", "<1>de"]);
        check(
            &framing,
            "5 <1>ab\n6 <1>ab\n7 <1>ab\r\n",
            &["<1>ab", "<1>ab", "<1>ab"],
        );
        check(
            &framing,
            "5 <1>ab<1>line\n5 <1>cd",
            &["<1>ab", "<1>line", "<1>cd"],
        );
    }

    #[test]
    fn what_only_looks_like_a_counted_frame_is_a_line() {
        let framing = Framing::new(100).counting();
        check(&framing, "45 <1>short\nx\n", &["45 <1>short", "x"]);
        check(&framing, "3 <1>longer\n", &["<1>", "longer"]);
        for line in [
            "5 <a>bc",
            "3 <12>b",
            "05 <1>ab",
            "5  <1>ab",
            "5 a<1>b",
            "1234567890 <1>a",
            "5",
            "5 ",
        ] {
            check(&framing, &format!("{line}\n"), &[line]);
        }
        check(&Framing::new(100), "5 <1>ab\n", &["5 <1>ab"]);
        check(&Framing::new(2).counting(), "a\r\n10 <", &["a"]);
    }

    #[test]
    fn a_counted_frame_that_is_too_long_is_cut_and_the_next_is_found() {
        let framing = Framing::new(5).counting();
        check(
            &framing,
            "14 <1>abcdefghijk5 <1>xy",
            &["<1>ab+", "cdefg+", "hijk", "<1>xy"],
        );
        check(&framing, "14 <1>abcd\n<1>x\n", &["<1>ab+", "cd", "<1>x"]);
    }

    #[test]
    fn a_datagram_is_one_message_up_to_its_first_lf() {
        let text = |bytes: &'static [u8]| datagram(bytes).map(|m| String::from_utf8_lossy(m.bytes));
        assert_eq!(text(b"<1>a\nb\n").as_deref(), Some("<1>a"));
        assert_eq!(text(b"\n\n<1>a\r\n").as_deref(), Some("<1>a"));
        assert_eq!(text(b"<1>a").as_deref(), Some("<1>a"));
        for nothing in [&b""[..], b"\n\n", b"\r\n"] {
            assert_eq!(datagram(nothing), None);
        }
    }

    proptest! {
        #[test]
        fn pieces_and_the_whole_agree(
            stream in "([0-9]{1,2} <)?[a-z<>0-9 ]{0,9}\r?\n?([0-9]{1,2} <[a-z\n]{0,12}\n?){0,4}",
            max in 1usize..12,
            piece in 1usize..9,
        ) {
            let framing = Framing::new(max).counting();
            let whole = cut_in(framing.clone(), stream.as_bytes(), stream.len().max(1));
            prop_assert_eq!(cut_in(framing, stream.as_bytes(), piece), whole);
        }

        #[test]
        fn lines_come_out_as_they_went_in(lines in proptest::collection::vec("[a-z]{1,20}", 0..9)) {
            let stream: String = lines.iter().map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(cut_in(Framing::new(20).counting(), stream.as_bytes(), 7), lines);
        }
    }
}
