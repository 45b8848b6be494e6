//! Makes batches out of events that stand nowhere yet: lines, numbers, copies.

use super::batch::{Batch, Form};
use super::block;
use super::index::IndexBuilder;
use super::limits::{EventError, EventLimits};
use bytes::Bytes;

/// Writes events one behind the other as a [`block`] and indexes them on the way.
#[derive(Debug)]
pub struct BatchBuilder {
    buf: Vec<u8>,
    index: IndexBuilder,
}

impl BatchBuilder {
    /// An empty batch under these limits.
    pub fn new(limits: EventLimits) -> Self {
        Self::with_capacity(limits, 0)
    }

    /// An empty batch with room for so many encoded bytes.
    pub fn with_capacity(limits: EventLimits, bytes: usize) -> Self {
        Self {
            buf: Vec::with_capacity(bytes),
            index: IndexBuilder::new(limits),
        }
    }

    /// Appends an event; on an error the batch stays as it was.
    pub fn push<K, V>(
        &mut self,
        headers: impl IntoIterator<Item = (K, V)>,
        body: &[u8],
    ) -> Result<(), EventError>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let start = self.buf.len();
        let pushed = block::write_event(&mut self.buf, &mut self.index, headers, body);
        if pushed.is_err() {
            self.buf.truncate(start);
            self.index.abandon();
        }
        pushed
    }

    /// Events so far.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no event yet.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Encoded bytes so far.
    pub fn bytes(&self) -> usize {
        self.buf.len()
    }

    /// The batch.
    pub fn finish(self) -> Batch {
        let spare = self.buf.capacity();
        let batch = self.index.finish_as(Bytes::from(self.buf), Form::Block(0));
        batch.pinning(spare)
    }
}

impl<'a> FromIterator<&'a [u8]> for Batch {
    /// A batch of bodies without headers.
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(bodies: I) -> Self {
        let mut builder = BatchBuilder::new(EventLimits::default());
        for body in bodies {
            if builder.push(std::iter::empty::<(&str, &str)>(), body).is_err() {
                break;
            }
        }
        builder.finish()
    }
}
