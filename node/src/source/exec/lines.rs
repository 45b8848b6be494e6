//! Output that comes in pieces, split into lines as Java's BufferedReader does it: LF, CR and CRLF end one.

use std::borrow::Cow;

/// Bytes of a line's memory that are kept for the next one.
const LINE_BYTES_KEPT: usize = 1 << 20;

/// A line without its end, or as much of it as is allowed.
#[derive(Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    cut: bool,
}

impl<'a> Line<'a> {
    /// The line as UTF-8 of at most `max` bytes, and whether something had to go.
    pub(super) fn text(&self, max: usize) -> (Cow<'a, [u8]>, bool) {
        let bad = match std::str::from_utf8(self.bytes) {
            Ok(_) => return (Cow::Borrowed(self.bytes), self.cut),
            Err(bad) => bad,
        };
        if self.cut && bad.error_len().is_none() {
            // The cut went through a character.
            return (Cow::Borrowed(&self.bytes[..bad.valid_up_to()]), true);
        }
        let mut text = String::from_utf8_lossy(self.bytes).into_owned();
        let grown = text.len() > max;
        text.truncate(text.floor_char_boundary(max));
        (Cow::Owned(text.into_bytes()), self.cut || grown)
    }
}

/// Splits what comes in pieces into lines; keeps what has no end yet.
#[derive(Debug)]
pub(super) struct Lines {
    /// The start of the line under way.
    kept: Vec<u8>,
    max: usize,
    cut: bool,
    /// `kept` was returned and is to go.
    returned: bool,
    /// The last byte was a CR: a LF that follows belongs to it.
    after_cr: bool,
}

impl Lines {
    pub(super) fn new(max: usize) -> Self {
        Self {
            kept: Vec::new(),
            max,
            cut: false,
            returned: false,
            after_cr: false,
        }
    }

    /// The next line that ends in `piece`, which then starts behind it. None: all of the piece is taken in.
    pub(super) fn next<'a, 'p: 'a>(&'a mut self, piece: &mut &'p [u8]) -> Option<Line<'a>> {
        self.forget();
        if let (true, Some(first)) = (self.after_cr, piece.first()) {
            self.after_cr = false;
            if *first == b'\n' {
                *piece = &piece[1..];
            }
        }
        let whole: &'p [u8] = piece;
        let Some(end) = line_end(whole) else {
            self.keep(whole);
            *piece = &[];
            return None;
        };
        self.after_cr = whole[end] == b'\r';
        *piece = &whole[end + 1..];
        let line = &whole[..end];
        if self.kept.is_empty() && line.len() <= self.max {
            return Some(Line {
                bytes: line,
                cut: false,
            });
        }
        self.keep(line);
        self.give()
    }

    /// The line that has no end.
    pub(super) fn last(&mut self) -> Option<Line<'_>> {
        self.forget();
        if self.kept.is_empty() { None } else { self.give() }
    }

    fn give(&mut self) -> Option<Line<'_>> {
        self.returned = true;
        Some(Line {
            bytes: &self.kept,
            cut: self.cut,
        })
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = self.max - self.kept.len();
        self.cut |= bytes.len() > room;
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn forget(&mut self) {
        if std::mem::take(&mut self.returned) {
            self.kept.clear();
            self.kept.shrink_to(LINE_BYTES_KEPT);
            self.cut = false;
        }
    }
}

/// Where the first LF or CR is.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let ends = |b: &u8| *b == b'\n' || *b == b'\r';
    // Whole blocks without an early exit are compared many bytes at once.
    let clear = bytes
        .chunks_exact(32)
        .take_while(|block| !block.iter().fold(false, |any, b| any | ends(b)))
        .count()
        * 32;
    bytes[clear..].iter().position(ends).map(|at| clear + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_output_is_cut_into_pieces() {
        let output = b"one\r\ntwo\rthree\n\r\n\r\rsix six six six six six six six six six\nseven";
        let expected = [
            "one",
            "two",
            "three",
            "",
            "",
            "",
            "six six six six six six six six six six",
            "seven",
        ];
        for size in 1..output.len() {
            let (mut lines, mut found) = (Lines::new(100), Vec::new());
            for mut piece in output.chunks(size) {
                while let Some(line) = lines.next(&mut piece) {
                    found.push(String::from_utf8(line.bytes.to_vec()).unwrap());
                }
            }
            found.extend(lines.last().map(|l| String::from_utf8(l.bytes.to_vec()).unwrap()));
            assert_eq!(found, expected, "pieces of {size}");
        }
    }
}
