//! From the bytes of an open file to batches of lines, without a copy or an allocation per line.
//!
//! Every batch has a buffer of its own, read to about its size, which then is the batch's memory:
//!
//! ```text
//!   | keys and values of the headers, once | the file's bytes, lines as they stand there | byte offsets as digits |
//!        every line's index points here           and here                                    and here
//! ```
//! What was read beyond the batch is copied in front of the next one. How much to read is learnt from the length of
//! the lines before, and the channels copy out what pins far more than it uses, so that nothing large stays behind.
//!
//! A line may be as long as the file: beyond `maxLineBytes` it is only looked through for its end, piece by piece, and
//! what was looked through once is not read again while it waits for more.

use super::lines::{Line, Lines, Most, line_end};
use bytes::Bytes;
use proto::event::{Batch, EventError, EventLimits, IndexBuilder};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use std::fs::File;
use std::io;
use std::ops::Range;

/// Bytes of lines in one batch, whatever `batchSize` says, so that memory has a bound.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The least that is read at once, if the file has it.
const READ_BYTES_MIN: usize = 4 << 10;
/// Pieces in which a line's end is looked for.
const PIECE_BYTES: usize = 64 << 10;
/// What a line is taken to have before one was seen.
pub(super) const LINE_BYTES_GUESS: usize = 128;
/// The header with a line's place in its file.
const OFFSET_KEY: &str = "byteoffset";
/// Digits of the largest offset.
const DIGITS_MAX: usize = 20;

/// What to make of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Lines in a batch.
    pub(super) batch_lines: usize,
    /// Bytes of a line.
    pub(super) line_bytes: usize,
    /// Whether each line carries its offset.
    pub(super) byte_offset: bool,
}

/// Where reading stands in a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// All before is in the channels.
    pub(super) offset: u64,
    /// There is no LF between the offset and this.
    pub(super) looked: u64,
    /// What stands before the offset, to notice when it does not any more.
    pub(super) before: Before,
}

impl Place {
    /// The start, or wherever else nothing is known of what stands before.
    pub(super) fn at(offset: u64) -> Self {
        Self {
            offset,
            looked: offset,
            before: Before::default(),
        }
    }
}

/// The last bytes before an offset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    bytes: [u8; Before::BYTES],
    count: u8,
}

impl Before {
    const BYTES: usize = 32;

    fn end_of(bytes: &[u8]) -> Self {
        let end = &bytes[bytes.len().saturating_sub(Self::BYTES)..];
        let mut before = Self::default();
        before.bytes[..end.len()].copy_from_slice(end);
        before.count = end.len() as u8;
        before
    }

    /// What stands there now.
    pub(super) fn read(file: &File, offset: u64) -> io::Result<Self> {
        let count = offset.min(Self::BYTES as u64);
        let mut bytes = Vec::with_capacity(Self::BYTES);
        fill(file, offset - count, count as usize, &mut bytes)?;
        bytes.truncate(count as usize);
        Ok(Self::end_of(&bytes))
    }

    /// Whether the file was cut and written anew since: other bytes stand there. Not so if they are zeros, for then it
    /// was cut by somebody (logrotate's copytruncate) whose writer goes on where it was, which leaves a hole.
    pub(super) fn is_gone(&self, file: &File, offset: u64) -> io::Result<bool> {
        let known = &self.bytes[..usize::from(self.count)];
        let mut now = Vec::with_capacity(Self::BYTES);
        fill(file, offset - known.len() as u64, known.len(), &mut now)?;
        now.truncate(known.len());
        Ok(now != known && now.iter().any(|b| *b != 0))
    }
}

/// A batch and where reading stands once it is in the channels.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) batch: Batch,
    pub(super) then: Place,
    /// Lines of it that were cut.
    pub(super) cut: usize,
}

/// What a look at a file gives.
#[derive(Debug)]
pub(super) enum Found {
    /// Lines.
    Lines(Chunk),
    /// No whole line; looked through up to here.
    Nothing(u64),
}

/// The headers that all lines of a file have.
#[derive(Debug, Default)]
struct Headers {
    text: Vec<u8>,
    spans: Vec<(Range<usize>, Range<usize>)>,
}

impl Headers {
    fn put(&mut self, text: &str) -> Range<usize> {
        let start = self.text.len();
        self.text.extend_from_slice(text.as_bytes());
        start..self.text.len()
    }
}

/// Reads one file after the other.
#[derive(Debug)]
pub(super) struct Reader {
    shape: Shape,
    headers: Headers,
    offset_key: Range<usize>,
    lines: Lines,
    /// What was read beyond the last batch; starts at the offset after it.
    carry: Vec<u8>,
    carry_at: u64,
    /// Bytes of a line with its end, as it was lately.
    line_bytes: usize,
    digits: Vec<Range<usize>>,
    piece: Vec<u8>,
}

impl Reader {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            headers: Headers::default(),
            offset_key: 0..0,
            lines: Lines::default(),
            carry: Vec::new(),
            carry_at: u64::MAX,
            line_bytes: LINE_BYTES_GUESS,
            digits: Vec::new(),
            piece: Vec::new(),
        }
    }

    /// The next calls are about another file, or about the same one after a while: what was read ahead is forgotten.
    /// `line_bytes` is what [`line_bytes`](Self::line_bytes) said after the file's last turn.
    pub(super) fn turn_to<'a>(
        &mut self,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        line_bytes: usize,
    ) {
        self.line_bytes = line_bytes;
        self.headers.text.clear();
        self.headers.spans.clear();
        self.offset_key = if self.shape.byte_offset {
            self.headers.put(OFFSET_KEY)
        } else {
            0..0
        };
        for (key, value) in headers {
            let spans = (self.headers.put(key), self.headers.put(value));
            self.headers.spans.push(spans);
        }
        self.carry.clear();
        self.carry.shrink_to(BATCH_BYTES_MAX);
        self.carry_at = u64::MAX;
    }

    /// The length of the file's lines lately, in bytes.
    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes
    }

    /// The lines from `place` on, at most `most` of them, as far as the file went when it was `size` bytes long.
    ///
    /// # Errors
    /// The file system's. Nothing has changed then.
    pub(super) fn next(&mut self, file: &File, place: Place, size: u64, most: usize) -> io::Result<Found> {
        if self.carry_at != place.offset {
            self.carry.clear();
        }
        let mut known = if self.carry.is_empty() {
            place.looked.saturating_sub(place.offset)
        } else {
            0
        };
        let clear = known;
        if known > PIECE_BYTES as u64 {
            // A long line has begun: is there an end by now?
            match self.end_from(file, place.looked, size)? {
                None => return Ok(Found::Nothing(size.max(place.looked))),
                Some(end) => known = end - place.offset,
            }
        }
        let most = Most {
            lines: most.min(self.shape.batch_lines),
            bytes: BATCH_BYTES_MAX,
            line_bytes: self.shape.line_bytes,
        };
        let head = self.headers.text.len();
        let want = self.want(most.lines, known, size.saturating_sub(place.offset));
        let mut buf = Vec::with_capacity(head + want + self.room_for_digits(want));
        buf.extend_from_slice(&self.headers.text);
        buf.extend_from_slice(&self.carry);
        self.lines.restart(usize::try_from(clear).unwrap_or(usize::MAX));
        loop {
            let have = buf.len() - head;
            if self.lines.find(&buf[head..], most) {
                break;
            }
            if place.offset + have as u64 >= size {
                break;
            }
            if self.lines.found.is_empty() && have > most.line_bytes + 1 {
                return self.long_line(file, place, buf, size);
            }
            if !self.lines.found.is_empty() && have >= BATCH_BYTES_MAX {
                break;
            }
            let whole = if have < want {
                want
            } else {
                (have * 2).max(READ_BYTES_MIN)
            };
            let whole = whole.min(most.line_bytes.max(BATCH_BYTES_MAX) + PIECE_BYTES);
            if fill(
                file,
                place.offset + have as u64,
                whole.saturating_sub(have),
                &mut buf,
            )? == 0
            {
                break;
            }
        }
        if self.lines.found.is_empty() {
            return Ok(Found::Nothing(place.offset + (buf.len() - head) as u64));
        }
        Ok(Found::Lines(self.chunk(place, buf)?))
    }

    /// What is left without an end, up to `size`, as an event of its own; none if nothing is.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn rest(&mut self, file: &File, place: Place, size: u64) -> io::Result<Option<Chunk>> {
        let len = usize::try_from(size.saturating_sub(place.offset)).unwrap_or(usize::MAX);
        let kept = len.min(self.shape.line_bytes);
        let head = self.headers.text.len();
        let mut buf = Vec::with_capacity(head + kept + self.room_for_digits(0));
        buf.extend_from_slice(&self.headers.text);
        fill(file, place.offset, kept, &mut buf)?;
        buf.truncate(head + kept);
        if buf.len() == head {
            return Ok(None);
        }
        let cut = usize::from(len > kept);
        let then = place_after(file, place.offset + len as u64)?;
        Ok(Some(self.one_line(place, buf, then, cut)?))
    }

    /// For as many lines as so many bytes are likely to have.
    fn room_for_digits(&self, bytes: usize) -> usize {
        let lines = (bytes / self.line_bytes.max(1)).min(self.shape.batch_lines) + 1;
        if self.shape.byte_offset {
            lines * DIGITS_MAX
        } else {
            0
        }
    }

    /// How much to read for so many lines.
    fn want(&self, lines: usize, known: u64, there: u64) -> usize {
        let lines = lines.saturating_mul(self.line_bytes);
        let want = (lines + lines / 8).clamp(READ_BYTES_MIN, BATCH_BYTES_MAX);
        let line_max = (self.shape.line_bytes + PIECE_BYTES) as u64;
        let want = want.max(known.min(line_max) as usize + 1).max(self.carry.len());
        // Not more than there is, and a little for what comes meanwhile.
        want.min(usize::try_from(there).unwrap_or(usize::MAX).saturating_add(64))
    }

    /// The line that starts at `place` is longer than it may be: its start is in `buf`, its end somewhere behind.
    fn long_line(&mut self, file: &File, place: Place, mut buf: Vec<u8>, size: u64) -> io::Result<Found> {
        let head = self.headers.text.len();
        let from = place.looked.max(place.offset + (buf.len() - head) as u64);
        self.carry_at = u64::MAX;
        match self.end_from(file, from, size)? {
            None => Ok(Found::Nothing(size.max(from))),
            Some(end) => {
                buf.truncate(head + self.shape.line_bytes);
                let then = place_after(file, end + 1)?;
                Ok(Found::Lines(self.one_line(place, buf, then, 1)?))
            }
        }
    }

    /// Where the first LF from `from` on is, if it is before `size`.
    fn end_from(&mut self, file: &File, mut from: u64, size: u64) -> io::Result<Option<u64>> {
        while from < size {
            self.piece.clear();
            let more = (size - from).min(PIECE_BYTES as u64);
            let read = fill(file, from, more as usize, &mut self.piece)?;
            if let Some(at) = line_end(&self.piece) {
                return Ok(Some(from + at as u64));
            }
            if read == 0 {
                break;
            }
            from += read as u64;
        }
        Ok(None)
    }

    /// Makes a batch of the lines that were found in `buf`.
    fn chunk(&mut self, place: Place, mut buf: Vec<u8>) -> io::Result<Chunk> {
        let head = self.headers.text.len();
        let end = head + self.lines.bytes;
        self.carry.clear();
        self.carry.extend_from_slice(&buf[end..]);
        self.carry_at = place.offset + self.lines.bytes as u64;
        buf.truncate(end);
        let average = self.lines.bytes / self.lines.found.len();
        self.line_bytes = usize::midpoint(self.line_bytes, average).max(1);
        let then = Place {
            before: Before::end_of(&buf[head..]),
            ..Place::at(self.carry_at)
        };
        let cut = self.lines.cut;
        let batch = self.index(place, buf)?;
        Ok(Chunk { batch, then, cut })
    }

    /// Makes a batch of all that is in `buf` behind the headers.
    fn one_line(&mut self, place: Place, buf: Vec<u8>, then: Place, cut: usize) -> io::Result<Chunk> {
        self.lines.restart(0);
        let len = buf.len() - self.headers.text.len();
        self.lines.found.push(Line { at: 0, len });
        self.carry_at = u64::MAX;
        let batch = self.index(place, buf)?;
        Ok(Chunk { batch, then, cut })
    }

    fn index(&mut self, place: Place, mut buf: Vec<u8>) -> io::Result<Batch> {
        let head = self.headers.text.len();
        self.digits.clear();
        if self.shape.byte_offset {
            for line in &self.lines.found {
                let at = buf.len();
                decimal(place.offset + line.at as u64, &mut buf);
                self.digits.push(at..buf.len());
            }
        }
        let mut index = IndexBuilder::new(EventLimits::default());
        index.reserve(self.lines.found.len());
        for (number, line) in self.lines.found.iter().enumerate() {
            if let Some(digits) = self.digits.get(number) {
                index
                    .header(self.offset_key.clone(), digits.clone())
                    .map_err(no_event)?;
            }
            for (key, value) in &self.headers.spans {
                index.header(key.clone(), value.clone()).map_err(no_event)?;
            }
            let body = head + line.at..head + line.at + line.len;
            index.end(&buf, body).map_err(no_event)?;
        }
        let pinned = buf.capacity();
        Ok(index.finish(Bytes::from(buf)).pinning(pinned))
    }
}

/// The place at an offset, with what stands before it.
fn place_after(file: &File, offset: u64) -> io::Result<Place> {
    let before = Before::read(file, offset)?;
    Ok(Place {
        before,
        ..Place::at(offset)
    })
}

/// Cannot be: lines and headers are within their limits since the configuration was read.
fn no_event(error: EventError) -> io::Error {
    io::Error::other(error)
}

/// Appends the digits of a number.
fn decimal(mut number: u64, buf: &mut Vec<u8>) {
    let mut digits = [0; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buf.extend_from_slice(&digits[at..]);
}

/// Appends what the file has from `at` on, at least `least` bytes unless it ends before. Returns how many came.
fn fill(file: &File, at: u64, least: usize, buf: &mut Vec<u8>) -> io::Result<usize> {
    buf.reserve(least);
    let mut read = 0;
    while read < least {
        match pread(file, spare_capacity(buf), at + read as u64) {
            Ok(count) => {
                read += count;
                // Less than there was room for: that was the end.
                if buf.len() < buf.capacity() {
                    break;
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read)
}
