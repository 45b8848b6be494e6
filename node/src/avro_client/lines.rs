//! Text into events, one a line, as Java's `BufferedReader.readLine` cuts it: a line ends with LF, CR or CR LF, and the
//! last one needs no end. Bytes stay as they are; Flume's client decodes them by the JVM's charset and encodes again.
//!
//! A batch is full with so many events or [`BATCH_BODY_BYTES_MAX`] bytes. What has been read and fills no batch is
//! given out as soon as the input has no more at hand, so that typed lines do not wait for each other; a file always
//! has more, until its end.

use super::Failure;
use bytes::{Buf, BytesMut};
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::io::{ErrorKind, Read};

/// Bytes of bodies in one batch, after which no further event goes into it.
pub const BATCH_BODY_BYTES_MAX: usize = 4 << 20;

/// Bytes of one line, at most. Far more than a log has, and a quarter of what the frame of an avro source may have.
pub const LINE_BYTES_MAX: usize = 16 << 20;

/// Bytes asked for at once.
const READ_BYTES: usize = 256 << 10;

/// Reads batches of lines.
pub struct Lines<R> {
    input: R,
    /// For messages.
    name: String,
    headers: Vec<(String, String)>,
    batch_size: usize,
    /// Read and not yet given out.
    buffer: BytesMut,
    /// So many bytes of it are known to have no end of a line.
    searched: usize,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Whether a read that brings less than was asked for means that there is no more for a while.
    is_live: bool,
    /// The last read was such a one.
    is_drained: bool,
    is_over: bool,
    /// Lines given out.
    lines: u64,
    /// Bytes consumed.
    bytes: u64,
}

impl<R: Read> Lines<R> {
    /// Every event has these headers. A live input is a pipe or a terminal, where lines come when they come.
    pub fn new(
        input: R,
        is_live: bool,
        name: impl Into<String>,
        headers: Vec<(String, String)>,
        batch_size: usize,
    ) -> Self {
        Self {
            input,
            name: name.into(),
            headers,
            batch_size: batch_size.max(1),
            buffer: BytesMut::new(),
            searched: 0,
            after_cr: false,
            is_live,
            is_drained: false,
            is_over: false,
            lines: 0,
            bytes: 0,
        }
    }

    /// The input begins right after this byte, which was read before.
    pub fn after(mut self, byte: u8) -> Self {
        self.after_cr = byte == b'\r';
        self
    }

    /// Bytes of the input that are in the batches given out so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next batch, never an empty one; none at the end. Blocks while the input has nothing.
    ///
    /// # Errors
    /// The input cannot be read, or has a line that no event can hold.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, Failure> {
        let mut builder = BatchBuilder::new(EventLimits::default());
        loop {
            while let Some(line) = self.take_line()? {
                let headers = self.headers.iter().map(|(k, v)| (k, v));
                builder.push(headers, &line).map_err(|error| {
                    Failure::input(format!("{}: line {}: {error}", self.name, self.lines + 1))
                })?;
                self.lines += 1;
                if builder.len() >= self.batch_size || builder.bytes() >= BATCH_BODY_BYTES_MAX {
                    return Ok(Some(builder.finish()));
                }
            }
            if (self.is_drained || self.is_over) && !builder.is_empty() {
                return Ok(Some(builder.finish()));
            }
            if self.is_over {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// A whole line without its end; at the end of the input, what is left.
    fn take_line(&mut self) -> Result<Option<BytesMut>, Failure> {
        if self.after_cr && !self.buffer.is_empty() {
            self.after_cr = false;
            if self.buffer[0] == b'\n' {
                self.buffer.advance(1);
                self.bytes += 1;
            }
        }
        let rest = &self.buffer[self.searched..];
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let end = end.map(|at| self.searched + at);
        let length = end.unwrap_or(self.buffer.len());
        if length > LINE_BYTES_MAX {
            let (name, line) = (&self.name, self.lines + 1);
            return Err(Failure::input(format!(
                "{name}: line {line} has more than {LINE_BYTES_MAX} bytes"
            )));
        }
        self.searched = length;
        let Some(end) = end else {
            let is_last = self.is_over && !self.buffer.is_empty();
            self.searched = if is_last { 0 } else { length };
            self.bytes += if is_last { length as u64 } else { 0 };
            return Ok(is_last.then(|| self.buffer.split()));
        };
        let line = self.buffer.split_to(end);
        self.after_cr = self.buffer[0] == b'\r';
        self.buffer.advance(1);
        self.bytes += end as u64 + 1;
        self.searched = 0;
        Ok(Some(line))
    }

    fn read(&mut self) -> Result<(), Failure> {
        let old = self.buffer.len();
        self.buffer.resize(old + READ_BYTES, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[old..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read = read.map_err(|error| Failure::input(format!("{}: {error}", self.name)))?;
        self.buffer.truncate(old + read);
        self.is_drained = self.is_live && read < READ_BYTES;
        self.is_over = read == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An input that comes in these pieces.
    struct Pieces(Vec<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let mut piece = self.0.remove(0);
            if piece.len() > into.len() {
                self.0.insert(0, piece.split_off(into.len()));
            }
            into[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    fn batches(pieces: &[&[u8]], batch_size: usize) -> Vec<Vec<String>> {
        let pieces = Pieces(pieces.iter().map(|piece| piece.to_vec()).collect());
        let mut lines = Lines::new(pieces, true, "x", Vec::new(), batch_size);
        let mut all = Vec::new();
        while let Some(batch) = lines.next_batch().unwrap() {
            let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
            all.push(batch.iter().map(|event| text(event.body())).collect());
        }
        all
    }

    fn lines(text: &str) -> Vec<String> {
        batches(&[text.as_bytes()], 1000).concat()
    }

    #[test]
    fn lines_end_as_in_java() {
        assert_eq!(lines("l1\nl2\r\nl3é"), ["l1", "l2", "l3é"], "case 46 of wire.md");
        assert_eq!(lines("a\rb\r\r\n\nc\r"), ["a", "b", "", "", "c"]);
        assert_eq!(lines(""), [""; 0]);
        assert_eq!(lines("\n"), [""]);
    }

    #[test]
    fn a_line_end_may_be_torn() {
        assert_eq!(
            batches(&[b"a\r", b"\nb", b"c\r", b"d"], 10).concat(),
            ["a", "bc", "d"]
        );
    }

    #[test]
    fn lines_go_on_behind_half_an_end() {
        let rest = |byte| {
            let mut lines = Lines::new(&b"\nb\n"[..], false, "x", Vec::new(), 10).after(byte);
            let batch = lines.next_batch().unwrap().unwrap();
            (batch.len(), lines.bytes())
        };
        assert_eq!(rest(b'\r'), (1, 3));
        assert_eq!(rest(b'\n'), (2, 3));
    }

    #[test]
    fn a_batch_is_full_or_all_there_is() {
        assert_eq!(
            batches(&[b"1\n2\n3\n4\n5"], 2),
            [vec!["1", "2"], vec!["3", "4"], vec!["5"]]
        );
        assert_eq!(
            batches(&[b"1\n2", b"\n3\n"], 9),
            [vec!["1"], vec!["2", "3"]],
            "typed lines do not wait"
        );
    }

    #[test]
    fn every_event_has_the_headers() {
        let headers = vec![("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())];
        let mut lines = Lines::new(&b"1\n2"[..], false, "x", headers, 10);
        let batch = lines.next_batch().unwrap().unwrap();
        for event in batch.iter() {
            let headers: Vec<(&str, &str)> = event.headers().collect();
            assert_eq!(headers, [("a", "b"), ("c", "")]);
        }
        assert_eq!((batch.len(), lines.bytes()), (2, 3));
    }

    #[test]
    fn a_line_at_the_limit_passes_and_one_beyond_is_an_error() {
        let mut text = vec![b'x'; LINE_BYTES_MAX];
        let read = |text: &[u8]| Lines::new(text, false, "big.log", Vec::new(), 1).next_batch();
        assert_eq!(
            read(&text).unwrap().unwrap().iter().next().unwrap().body().len(),
            LINE_BYTES_MAX
        );
        text.push(b'x');
        let error = read(&text).unwrap_err();
        assert_eq!(error.to_string(), "big.log: line 1 has more than 16777216 bytes");
    }

    #[test]
    fn a_batch_of_long_lines_is_short() {
        let line = [vec![b'x'; BATCH_BODY_BYTES_MAX], vec![b'\n']].concat();
        let text = [line.as_slice(), b"a\n", b"b\n"].concat();
        let sizes: Vec<usize> = batches(&[&text], 100).iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().sum::<usize>(), 3);
        assert_eq!(sizes[0], 1);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_input_is_torn(
            text in "[ab\r\n]{0,40}",
            cuts in proptest::collection::vec(0usize..40, 0..6),
            batch_size in 1usize..5,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|cut| *cut < text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts
                .windows(2)
                .map(|pair| &text.as_bytes()[pair[0]..pair[1]])
                .filter(|piece| !piece.is_empty())
                .collect();
            let torn = batches(&pieces, batch_size);
            prop_assert!(torn.iter().all(|batch| (1..=batch_size).contains(&batch.len())));
            prop_assert_eq!(torn.concat(), lines(&text));
        }
    }
}
