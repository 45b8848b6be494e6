//! `LINE`: each line of a text as an event, Flume's LineDeserializer.
//!
//! A line ends in LF; a CR before it stays, an empty line is an event with an empty body, and the last line needs no
//! end. A line of more than `maxLineLength` characters (UTF-16 units, as in Java) is cut there and goes on in further
//! events; a pair of surrogates is not torn apart. Places are bytes of the file, in any charset: lines are found by
//! their bytes and decoded one by one. Where input and output are UTF-8, bodies are copied, not decoded.
//!
//! | failure | what happens |
//! |---|---|
//! | bytes that the charset does not have | decodeErrorPolicy: FAIL is an error, and the lines of that batch are not returned; REPLACE puts U+FFFD; IGNORE leaves them out |
//! | a character that `outputCharset` does not have | `?` |
//! | a body over 64 MiB | the line is cut there too |
//!
//! A text in UTF-16 or UTF-32 has its byte order from its mark also when reading goes on in the middle (Flume forgets
//! it). In a charset with states (ISO-2022-JP) each line starts in the first one, as the standards ask for. A line of
//! exactly `maxLineLength` characters is one event; Flume makes an empty one of its end.
//! Source: `flume/sources.md` 6.

mod cut;

use self::cut::cut;
use crate::component::channel::Want;
use crate::component::deserializer::{
    Deserializer, EventReader, Gathering, Input, InputFile, Place, ReadError,
};
use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::java::charset::{Charset, Malformed};
use proto::event::{Batch, EventLimits};
use std::io::{Read, SeekFrom};
use std::ops::Range;
use tracing::warn;

/// How the list names it.
pub const TYPE: Type<Box<dyn Deserializer>> = Type {
    alias: "line",
    classes: &["org.apache.flume.serialization.LineDeserializer$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// Bytes of the longest body.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `maxLineLength`: UTF-16 units of one body at most; default 2,048.
    pub max_line_units: usize,
    /// `outputCharset`: what bodies are written in; default UTF-8.
    pub output: Charset,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_line_units: 2_048,
            output: Charset::Utf8,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        let output = match keys.text("outputCharset") {
            None => default.output,
            Some(name) => Charset::named(&name).unwrap_or_else(|| {
                keys.wrong(
                    "outputCharset",
                    &format!("expected a charset such as UTF-8 or ISO-8859-1, found \"{name}\""),
                );
                default.output
            }),
        };
        Self {
            max_line_units: keys.number("maxLineLength", default.max_line_units, 1..=i32::MAX as usize),
            output,
        }
    }

    /// The deserializer.
    pub fn build(self) -> Result<Line, BuildError> {
        Ok(Line(self))
    }
}

/// The deserializer.
#[derive(Debug)]
pub struct Line(Config);

impl Deserializer for Line {
    fn open(&self, file: InputFile, at: Place) -> Result<Box<dyn EventReader>, ReadError> {
        Ok(Box::new(LineReader::open(&self.0, file, at)?))
    }
}

struct LineReader {
    input: Box<dyn Input>,
    charset: Charset,
    malformed: Malformed,
    output: Charset,
    max_units: usize,
    /// So many bytes without an end are more than one body, whatever they say.
    decisive_bytes: usize,
    /// What was read and is not consumed: `window[start..end]`.
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the file `window[start]` is.
    offset: u64,
    /// Bytes of the last batch: what the next one is likely to need.
    last_bytes: usize,
    told: bool,
}

/// The next event's bytes in the window, and how many are consumed with it.
struct Found {
    bytes: Range<usize>,
    consumed: usize,
}

impl LineReader {
    fn open(config: &Config, mut file: InputFile, at: Place) -> Result<Self, ReadError> {
        let mut start = Vec::new();
        if file.charset.unit_bytes() > 1 {
            (&mut file.input).take(4).read_to_end(&mut start)?;
        }
        let (charset, mark) = file.charset.of_text(&start);
        let offset = at.offset.max(mark as u64);
        file.input.seek(SeekFrom::Start(offset))?;
        let longest = config.max_line_units.saturating_mul(4).min(BODY_BYTES_MAX);
        Ok(Self {
            input: file.input,
            charset,
            malformed: file.malformed,
            output: config.output,
            max_units: config.max_line_units,
            decisive_bytes: longest + 16,
            window: Vec::new(),
            start: 0,
            end: 0,
            offset,
            last_bytes: 0,
            told: false,
        })
    }

    /// The next event, if there is one.
    fn find(&mut self) -> Result<Option<Found>, ReadError> {
        let unit = self.charset.unit_bytes();
        let mut searched = self.start;
        loop {
            let window = &self.window[..self.end];
            if let Some(end) = self.line_end(&window[searched..]) {
                let line = self.start..searched + end;
                return Ok(Some(self.fitting(line, unit)));
            }
            // A unit that is not complete is looked at again.
            searched = self.end - (self.end - self.start) % unit;
            if self.end - self.start >= self.decisive_bytes {
                return Ok(Some(self.fitting(self.start..searched, 0)));
            }
            let seen = searched - self.start;
            if self.fill()? == 0 {
                let line = self.start..self.end;
                return Ok((!line.is_empty()).then(|| self.fitting(line, 0)));
            }
            searched = self.start + seen;
        }
    }

    /// As much of a line as is one body; its end, of so many bytes, goes with the last of it.
    fn fitting(&mut self, line: Range<usize>, end_bytes: usize) -> Found {
        let bytes = &self.window[line.clone()];
        let cut = cut(
            self.charset,
            self.malformed,
            bytes,
            self.max_units,
            BODY_BYTES_MAX,
        );
        let Some(len) = cut else {
            return Found {
                consumed: line.len() + end_bytes,
                bytes: line,
            };
        };
        if !std::mem::replace(&mut self.told, true) {
            let (offset, max) = (self.offset, self.max_units);
            warn!(
                offset,
                max, "line length exceeds max, truncating line! (told once a file)"
            );
        }
        Found {
            bytes: line.start..line.start + len,
            consumed: len,
        }
    }

    /// Where the first LF is.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        match self.charset {
            Charset::Utf16Of(big_endian) | Charset::Utf32Of(big_endian) => {
                let unit = self.charset.unit_bytes();
                let low = if big_endian { unit - 1 } else { 0 };
                let is_lf = |unit: &[u8]| {
                    unit.iter()
                        .enumerate()
                        .all(|(n, b)| *b == if n == low { b'\n' } else { 0 })
                };
                bytes.chunks_exact(unit).position(is_lf).map(|n| n * unit)
            }
            // In all others the byte 0A is a LF and nothing else.
            _ => lf(bytes),
        }
    }

    /// Reads more; says how many bytes.
    fn fill(&mut self) -> Result<usize, ReadError> {
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.window.len() < self.end + READ_BYTES / 2 {
            // Grows with a line that is that long, and no further than what is decisive about it.
            self.window.resize((self.end * 2).max(READ_BYTES), 0);
        }
        let read = loop {
            match self.input.read(&mut self.window[self.end..]) {
                Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.end += read;
        Ok(read)
    }

    fn push(&self, bytes: Range<usize>, batch: &mut Gathering) -> Result<(), ReadError> {
        let line = &self.window[bytes];
        let text = self.charset.decode_with(line, self.malformed);
        let text = text.ok_or_else(|| self.malformed_at(line))?;
        batch.push(&self.output.encode(&text))
    }

    fn malformed_at(&self, line: &[u8]) -> ReadError {
        let within = match self.charset {
            Charset::Utf8 => std::str::from_utf8(line).err().map_or(0, |bad| bad.valid_up_to()),
            Charset::Ascii => line.iter().position(|b| !b.is_ascii()).unwrap_or(0),
            _ => 0,
        };
        let at = self.offset + within as u64;
        let charset = self.charset.name();
        ReadError::Format(format!(
            "byte {at}: malformed input: what stands there is not {charset} (inputCharset), and decodeErrorPolicy is FAIL"
        ))
    }
}

impl EventReader for LineReader {
    fn read(&mut self, want: Want, headers: &[(&str, &str)]) -> Result<Batch, ReadError> {
        let expected = self.last_bytes + self.last_bytes / 8;
        let mut batch = Gathering::new(EventLimits::default(), headers, expected);
        while batch.wants(want) {
            let Some(found) = self.find()? else { break };
            self.push(found.bytes, &mut batch)?;
            self.start += found.consumed;
            self.offset += found.consumed as u64;
        }
        self.last_bytes = batch.body_bytes();
        Ok(batch.finish())
    }

    fn place(&self) -> Place {
        Place {
            offset: self.offset,
            skip: 0,
        }
    }
}

/// Where the first LF is; whole blocks without an early exit are compared many bytes at once.
fn lf(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 64;
    let clear = bytes
        .chunks_exact(BLOCK)
        .take_while(|block| !block.iter().fold(false, |any, b| any | (*b == b'\n')))
        .count()
        * BLOCK;
    bytes[clear..]
        .iter()
        .position(|b| *b == b'\n')
        .map(|at| clear + at)
}

#[cfg(test)]
mod tests;
