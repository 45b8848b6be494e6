//! Flume's JSON events, as its http source takes them: `[{"headers": {"a": "b"}, "body": "text"}, ...]`.
//!
//! As lenient as Gson's lenient reader, which Flume uses: names and strings may be unquoted or in single quotes;
//! comments (`//`, `#`, `/* */`) before the end of the list; `;` for `,`; `=` or `=>` for `:`; numbers, `true` and `false` are their own text;
//! headers may also be a list of pairs; a byte order mark and the prefix `)]}'` are skipped. Members other than `headers`
//! and `body` are read and ignored; of two equal members the last counts; what is `null` is not there.
//!
//! ```text
//!   received  [{"headers":{"a":"b"},"body":"x\ny"}]
//!                           ^  ^           ^^^^ -> escapes are undone in place: they only get shorter
//!   batch     an index of (key, value, body) into this very buffer; nothing is copied
//! ```
//!
//! Refused, with the byte where it went wrong and what would have been accepted there: everything else, among it what
//! Flume answers with an internal error (no text at all, `null`, `[null]`, text after the array) and, as in Flume, a
//! header that is there twice (in headers that a later member does not replace). Limits: those of [`EventLimits`], and values that are ignored nest at most
//! [`NESTING_MAX`] deep. Unlike Gson, half a surrogate pair becomes U+FFFD.
//!
//! Source: `flume/sources.md` 5.16, `flume/wire.md` 6.1, Gson 2.9.1 `JsonReader`.

mod scan;

use crate::cursor::DecodeError;
use crate::event::{Batch, EventError, EventLimits, IndexBuilder};
use bytes::Bytes;
use scan::{Scalar, Scanner};
use std::ops::Range;
use thiserror::Error;

/// How deep the lists and objects of an ignored member may nest.
pub const NESTING_MAX: u32 = 64;

/// Text that is no list of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonError {
    /// It is not what the format asks for.
    #[error(transparent)]
    Syntax(#[from] DecodeError),
    /// An event is larger than allowed; the offset is where it ends.
    #[error("byte {offset}: {error}")]
    Event {
        /// Bytes from the start of the text.
        offset: usize,
        /// What is too large.
        error: EventError,
    },
}

/// Reads a list of events; the batch keeps the text's buffer. Bytes that are not UTF-8 count as U+FFFD.
///
/// # Errors
/// See the module.
pub fn read_events(text: Vec<u8>, limits: EventLimits) -> Result<Batch, JsonError> {
    let mut text = match std::str::from_utf8(&text) {
        Ok(_) => text,
        Err(_) => String::from_utf8_lossy(&text).into_owned().into_bytes(),
    };
    let spare = text.capacity();
    let mut events = Events {
        scan: Scanner::new(&mut text),
        index: IndexBuilder::new(limits),
    };
    events.list()?;
    let index = events.index;
    Ok(index.finish(Bytes::from(text)).pinning(spare))
}

struct Events<'a> {
    scan: Scanner<'a>,
    index: IndexBuilder,
}

impl Events<'_> {
    fn list(&mut self) -> Result<(), JsonError> {
        self.scan.prefix()?;
        self.scan.expect(b'[', "an array of events: [")?;
        if self.scan.next("an event or ]")? == b']' {
            self.scan.skip_one();
        } else {
            loop {
                self.scan.expect(b'{', "an event: {")?;
                self.event()?;
                if !self.scan.another(b']', "a comma or ]")? {
                    break;
                }
            }
        }
        Ok(self.scan.end("the end of the text after the array")?)
    }

    /// What follows the brace of an event.
    fn event(&mut self) -> Result<(), JsonError> {
        let mut body = 0..0;
        let mut headers = 0;
        if self.scan.next("a name or }")? == b'}' {
            self.scan.skip_one();
        } else {
            loop {
                let name = self.scan.name()?;
                match self.scan.bytes(&name) {
                    b"headers" => {
                        self.index.abandon();
                        headers = self.headers()?;
                    }
                    b"body" => body = text(self.scan.scalar("a text: the body")?).unwrap_or(0..0),
                    _ => self.scan.skip_value()?,
                }
                if !self.scan.another(b'}', "a comma or }")? {
                    break;
                }
            }
        }
        let offset = self.scan.offset();
        let held = self.index.end(self.scan.buffer(), body);
        if held.map_err(|error| JsonError::Event { offset, error })? < headers {
            return Err(self.scan.error("headers with different names").into());
        }
        Ok(())
    }

    /// An object, a list of pairs, or null. Returns how many were noted.
    fn headers(&mut self) -> Result<usize, JsonError> {
        let mut noted = 0;
        match self.scan.next("headers: an object")? {
            b'{' => {
                self.scan.skip_one();
                if self.scan.next("a name or }")? == b'}' {
                    self.scan.skip_one();
                    return Ok(0);
                }
                loop {
                    let key = self.scan.name()?;
                    let value = self.scan.scalar("a text: the value of a header")?;
                    noted += self.header(key, value)?;
                    if !self.scan.another(b'}', "a comma or }")? {
                        return Ok(noted);
                    }
                }
            }
            b'[' => {
                self.scan.skip_one();
                if self.scan.next("a pair or ]")? == b']' {
                    self.scan.skip_one();
                    return Ok(0);
                }
                loop {
                    noted += self.pair()?;
                    if !self.scan.another(b']', "a comma or ]")? {
                        return Ok(noted);
                    }
                }
            }
            _ => match self.scan.scalar("headers: an object")? {
                Scalar::Null => Ok(0),
                Scalar::Text(at) => Err(JsonError::Syntax(DecodeError {
                    offset: at.start,
                    expected: "headers: an object",
                })),
            },
        }
    }

    /// A header as a list of its name and its value.
    fn pair(&mut self) -> Result<usize, JsonError> {
        self.scan.expect(b'[', "a header as a pair: [")?;
        let Some(key) = text(self.scan.scalar("a text: the name of a header")?) else {
            return Err(self.scan.error("a text: the name of a header").into());
        };
        self.scan.expect(b',', "a comma")?;
        let value = self.scan.scalar("a text: the value of a header")?;
        self.scan.expect(b']', "the end of a pair: ]")?;
        self.header(key, value)
    }

    fn header(&mut self, key: Range<usize>, value: Scalar) -> Result<usize, JsonError> {
        let Some(value) = text(value) else {
            return Ok(0);
        };
        let offset = self.scan.offset();
        let noted = self.index.header(key, value);
        noted.map_err(|error| JsonError::Event { offset, error })?;
        Ok(1)
    }
}

fn text(scalar: Scalar) -> Option<Range<usize>> {
    match scalar {
        Scalar::Text(at) => Some(at),
        Scalar::Null => None,
    }
}

#[cfg(test)]
mod tests;
