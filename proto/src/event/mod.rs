//! Events and batches: what every source makes, every channel keeps and every sink reads.
//!
//! An event is Flume's: headers (string to string, in insertion order, the last of two equal keys wins) and a
//! body of bytes. Events never travel alone. A [`Batch`] is a list of segments, and a segment is one shared
//! buffer (usually exactly what was received) and a compact index of offsets into it:
//!
//! ```text
//!   segment   buffer   | .. k1 v1 .. body 0 .. k1 v1 k2 v2 .. body 1 .. |      shared, never copied
//!             entries  [ (body at, body length, headers end), ... ]             12 bytes an event
//!             headers  [ (key at, key length, value at, value length), ... ]    16 bytes a header
//!             window   first, count                                             split moves only this
//!             overlay  edits made by interceptors                               the buffer stays as it was
//! ```
//!
//! An [`EventView`] borrows from that. Splitting, joining and cloning copy no event. Decoders make batches with
//! an [`IndexBuilder`] over the received buffer; everything else with a [`BatchBuilder`], which writes the one
//! encoding of [`block`].

mod batch;
pub mod block;
mod builder;
mod edit;
mod index;
mod limits;
mod view;

pub use batch::Batch;
pub use builder::BatchBuilder;
pub use edit::{BatchEditor, EventEdits};
pub use index::IndexBuilder;
pub use limits::{EventError, EventLimits};
pub use view::{EventView, HeaderIter};

use bytes::Bytes;

/// One event that owns its parts: for tests, for embedding programs, for the rare path. The hot path uses
/// [`EventView`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Event {
    /// An event without headers.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self {
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Adds or replaces a header; a replaced one keeps its place.
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.insert(key, value);
        self
    }

    /// Adds or replaces a header; a replaced one keeps its place.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.headers.iter_mut().find(|(k, _)| *k == key) {
            Some(held) => held.1 = value,
            None => self.headers.push((key, value)),
        }
    }

    /// The headers in insertion order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }

    /// The value of a header.
    pub fn header(&self, key: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }
}
