//! Where lines begin and end in bytes that were read from a file. Nothing is copied.
//!
//! LF ends a line; one CR directly before it is dropped; a CR anywhere else is data; an empty line is an empty event.
//! What has no LF yet is no line. Source: `flume/sources.md` 5.6, "Reading".

use std::io::BufRead as _;

/// A line, as places in the bytes it was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Its first byte.
    pub(super) at: usize,
    /// Bytes without its end, of which no more than allowed are counted.
    pub(super) len: usize,
}

/// How much to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Most {
    /// Lines.
    pub(super) lines: usize,
    /// Bytes of all lines; the line that exceeds it is the last one.
    pub(super) bytes: usize,
    /// Bytes of one line; a longer one is cut.
    pub(super) line_bytes: usize,
}

/// The lines at the start of some bytes, found piece by piece as the bytes grow.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What was found, in order.
    pub(super) found: Vec<Line>,
    /// Bytes that all of them take with their ends: where the next line starts.
    pub(super) bytes: usize,
    /// How many lines were cut.
    pub(super) cut: usize,
    /// Up to here there is no end that was not found.
    looked: usize,
}

impl Lines {
    /// Forgets everything, and takes over that there is no LF in the first `clear` bytes of what comes next.
    pub(super) fn restart(&mut self, clear: usize) {
        self.found.clear();
        (self.bytes, self.cut, self.looked) = (0, 0, clear);
    }

    /// Looks for more lines in `bytes`, which start with all the bytes of the calls before since the last restart.
    /// Says whether there are as many as was asked for.
    pub(super) fn find(&mut self, bytes: &[u8], most: Most) -> bool {
        while self.found.len() < most.lines && self.bytes < most.bytes {
            let from = self.looked.max(self.bytes).min(bytes.len());
            let Some(end) = line_end(&bytes[from..]) else {
                self.looked = bytes.len();
                return false;
            };
            let (at, end) = (self.bytes, from + end);
            let body = &bytes[at..end];
            let len = body.strip_suffix(b"\r").unwrap_or(body).len();
            self.cut += usize::from(len > most.line_bytes);
            self.found.push(Line {
                at,
                len: len.min(most.line_bytes),
            });
            self.bytes = end + 1;
        }
        true
    }
}

/// Where the first LF is. The standard library's reader finds it with the C library's memchr.
pub(super) fn line_end(mut bytes: &[u8]) -> Option<usize> {
    let all = bytes;
    // Reading from memory cannot fail.
    let skipped = bytes.skip_until(b'\n').unwrap_or(0);
    let end = skipped.checked_sub(1)?;
    (all[end] == b'\n').then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Most = Most {
        lines: 100,
        bytes: 1_000,
        line_bytes: 100,
    };

    fn texts(bytes: &[u8], lines: &Lines) -> Vec<String> {
        let text = |l: &Line| String::from_utf8_lossy(&bytes[l.at..l.at + l.len]).into_owned();
        lines.found.iter().map(text).collect()
    }

    #[test]
    fn one_cr_before_the_end_goes_and_any_other_stays() {
        let bytes = b"x1\rx2\nx3\r\n\n\r\r\npart\r";
        let mut lines = Lines::default();
        assert!(!lines.find(bytes, ALL));
        assert_eq!(texts(bytes, &lines), ["x1\rx2", "x3", "", "\r"]);
        assert_eq!(lines.bytes, bytes.len() - 5);
        assert_eq!(lines.found[1].at, 6);
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let bytes = b"one\r\ntwo\n\nthree three three\r\nfour";
        for step in 1..=bytes.len() {
            let mut lines = Lines::default();
            for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
                lines.find(&bytes[..end], ALL);
            }
            assert_eq!(
                texts(bytes, &lines),
                ["one", "two", "", "three three three"],
                "steps of {step}"
            );
        }
    }

    #[test]
    fn it_stops_at_the_number_of_lines_and_of_bytes() {
        let bytes = b"aa\nbb\ncc\ndd\n";
        let mut lines = Lines::default();
        assert!(lines.find(bytes, Most { lines: 2, ..ALL }));
        assert_eq!((lines.found.len(), lines.bytes), (2, 6));
        lines.restart(0);
        assert!(lines.find(bytes, Most { bytes: 4, ..ALL }));
        assert_eq!((lines.found.len(), lines.bytes), (2, 6));
        lines.restart(0);
        assert!(!lines.find(bytes, Most { lines: 5, ..ALL }));
        assert_eq!((lines.found.len(), lines.bytes), (4, 12));
    }

    #[test]
    fn a_line_over_the_limit_is_cut_and_the_next_one_is_whole() {
        let bytes = b"exact\nlonger\r\nok\n";
        let mut lines = Lines::default();
        lines.find(bytes, Most { line_bytes: 5, ..ALL });
        assert_eq!(texts(bytes, &lines), ["exact", "longe", "ok"]);
        assert_eq!(lines.cut, 1);
    }

    #[test]
    fn what_is_known_to_be_clear_is_not_looked_at_again() {
        let mut lines = Lines::default();
        // A lie, to see it.
        lines.restart(3);
        lines.find(b"a\nbc\nd", ALL);
        assert_eq!(lines.found, [Line { at: 0, len: 4 }]);
    }
}
