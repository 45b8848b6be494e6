//! Event deserializers: a file to events, in batches, with a place to go on from after each.

use super::channel::Want;
use crate::java::charset::{Charset, Malformed};
use proto::event::{Batch, EventError, EventLimits, IndexBuilder};
use std::io::{self, Read, Seek};
use std::ops::Range;
use thiserror::Error;

/// What a file is read through.
pub trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

/// A file to be read, from its start, and how its text is to be understood.
pub struct InputFile {
    /// The bytes.
    pub input: Box<dyn Input>,
    /// What a format of text is written in; other formats do not look at it.
    pub charset: Charset,
    /// What is done about bytes that the charset does not have.
    pub malformed: Malformed,
}

/// Where in a file reading can go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// A byte from which on the format can be read: Flume's own mark.
    pub offset: u64,
    /// Events behind it that were read already; 0 where a format can go on at any event.
    pub skip: u64,
}

/// Why a file cannot be read any further. What the reader has returned before stays good.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file system says no; it may say yes later.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The file is not what the format or the charset asks for. Reading it again ends the same way.
    #[error("{0}")]
    Format(String),
}

impl From<EventError> for ReadError {
    fn from(error: EventError) -> Self {
        Self::Format(error.to_string())
    }
}

/// A format of files, with its settings.
pub trait Deserializer: Send + Sync + 'static {
    /// Starts to read a file at a place that a reader of this format has returned, or that Flume has marked.
    fn open(&self, file: InputFile, at: Place) -> Result<Box<dyn EventReader>, ReadError>;
}

/// One file while it is read.
pub trait EventReader: Send {
    /// The next events, each with these headers: `want.events` if there are so many, `want.bytes` about, at least
    /// one. An empty batch is the end of the file as it is now; a later call looks again.
    fn read(&mut self, want: Want, headers: &[(&str, &str)]) -> Result<Batch, ReadError>;

    /// Behind the last event that was returned.
    fn place(&self) -> Place;
}

/// A batch under way of which all events have the same headers: these stand in its buffer once.
pub struct Gathering {
    buf: Vec<u8>,
    headers: Vec<(Range<usize>, Range<usize>)>,
    index: IndexBuilder,
    body_bytes: usize,
}

impl Gathering {
    /// No events yet; `capacity` is how many bytes of bodies are expected.
    pub fn new(limits: EventLimits, headers: &[(&str, &str)], capacity: usize) -> Self {
        let text_bytes: usize = headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        let mut buf = Vec::with_capacity(text_bytes + capacity);
        let mut append = |text: &str| {
            let at = buf.len();
            buf.extend_from_slice(text.as_bytes());
            at..buf.len()
        };
        let headers = headers.iter().map(|(k, v)| (append(k), append(v))).collect();
        Self {
            buf,
            headers,
            index: IndexBuilder::new(limits),
            body_bytes: 0,
        }
    }

    /// Adds an event with this body.
    pub fn push(&mut self, body: &[u8]) -> Result<(), ReadError> {
        let at = self.buf.len();
        self.buf.extend_from_slice(body);
        self.close(at)
    }

    /// Adds an event with the next `max` bytes of `input` as its body, fewer at the end; says how many.
    pub fn push_from(&mut self, input: &mut dyn Input, max: u64) -> Result<u64, ReadError> {
        let at = self.buf.len();
        let read = input.take(max).read_to_end(&mut self.buf)?;
        if read > 0 {
            self.close(at)?;
        }
        Ok(read as u64)
    }

    fn close(&mut self, at: usize) -> Result<(), ReadError> {
        for (key, value) in &self.headers {
            self.index.header(key.clone(), value.clone())?;
        }
        self.index.end(&self.buf, at..self.buf.len())?;
        self.body_bytes += self.buf.len() - at;
        Ok(())
    }

    /// Whether there is room for another event.
    pub fn wants(&self, want: Want) -> bool {
        self.index.len() < want.events.max(1) && (self.index.is_empty() || self.body_bytes < want.bytes)
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no event yet.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes of bodies so far.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// The batch.
    pub fn finish(self) -> Batch {
        let pinned = self.buf.capacity();
        self.index.finish(self.buf.into()).pinning(pinned)
    }
}
