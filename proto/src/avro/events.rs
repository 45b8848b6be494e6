//! Flume's events as Avro: `AvroFlumeEvent { headers: map<string>, body: bytes }` and arrays of it.
//!
//! ```text
//!   event    count  (key length, key, value length, value) * count  00   length, body
//!   array    count  event * count  00
//! ```
//!
//! Decoding indexes events where they stand in the message: nothing is copied. Only a message with a header that
//! is not UTF-8 is decoded a second time into a buffer of its own, where bad sequences become U+FFFD, as Java
//! reads them. Equal keys in one map: the last one wins.

use super::datum::{Datum, LONG_BYTES_MAX, long_into, put_long};
use crate::cursor::DecodeError;
use crate::event::{Batch, BatchBuilder, EventError, EventLimits, EventView, IndexBuilder};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Range;
use thiserror::Error;

/// What the smallest event takes: an empty map and an empty body.
pub(super) const EVENT_BYTES_MIN: usize = 2;
/// What the smallest header takes: an empty key and an empty value.
pub(super) const HEADER_BYTES_MIN: usize = 2;

/// Events that cannot be read or are not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventsError {
    /// The bytes are not what the schema asks for.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An event is over the limits.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The writer's schema, or the branch it chose, does not resolve to Flume's.
    #[error("{0}")]
    Schema(String),
}

/// Where decoded events go: an index over the message, or a copy.
pub(super) trait EventSink {
    fn reserve(&mut self, events: usize);
    fn header(&mut self, buf: &[u8], key: Range<usize>, value: Range<usize>) -> Result<(), EventError>;
    fn end(&mut self, buf: &[u8], body: Range<usize>) -> Result<(), EventError>;
}

impl EventSink for IndexBuilder {
    fn reserve(&mut self, events: usize) {
        IndexBuilder::reserve(self, events);
    }

    #[inline]
    fn header(&mut self, _: &[u8], key: Range<usize>, value: Range<usize>) -> Result<(), EventError> {
        IndexBuilder::header(self, key, value)
    }

    #[inline]
    fn end(&mut self, buf: &[u8], body: Range<usize>) -> Result<(), EventError> {
        IndexBuilder::end(self, buf, body).map(drop)
    }
}

/// Copies events and repairs their headers.
struct Repair {
    limits: EventLimits,
    headers: Vec<(String, String)>,
    batch: BatchBuilder,
}

impl EventSink for Repair {
    fn reserve(&mut self, _: usize) {}

    fn header(&mut self, buf: &[u8], key: Range<usize>, value: Range<usize>) -> Result<(), EventError> {
        if self.headers.len() >= self.limits.headers {
            let (found, allowed) = (self.headers.len() + 1, self.limits.headers);
            return Err(EventError::Limit {
                what: "headers of an event",
                found,
                allowed,
            });
        }
        let text = |range: Range<usize>| String::from_utf8_lossy(&buf[range]).into_owned();
        self.headers.push((text(key), text(value)));
        Ok(())
    }

    fn end(&mut self, buf: &[u8], body: Range<usize>) -> Result<(), EventError> {
        self.batch.push(self.headers.drain(..), &buf[body])
    }
}

/// A way to read the parameters of a call.
pub(super) trait EventReader {
    fn read<S: EventSink>(&self, data: &mut Datum<'_>, sink: &mut S) -> Result<(), EventsError>;
}

/// Decodes what stands in `message` from `offset` on; bytes behind it are ignored.
pub(super) fn collect(
    message: &Bytes,
    offset: usize,
    limits: EventLimits,
    reader: &impl EventReader,
) -> Result<Batch, EventsError> {
    let start = || -> Result<Datum<'_>, DecodeError> {
        let mut data = Datum::new(message);
        data.skip(offset)?;
        Ok(data)
    };
    let mut index = IndexBuilder::new(limits);
    match reader.read(&mut start()?, &mut index) {
        Ok(()) => Ok(index.finish(message.clone())),
        Err(EventsError::Event(EventError::NotUtf8 { .. })) => {
            let mut repair = Repair {
                limits,
                headers: Vec::new(),
                batch: BatchBuilder::new(limits),
            };
            reader.read(&mut start()?, &mut repair)?;
            Ok(repair.batch.finish())
        }
        Err(error) => Err(error),
    }
}

/// Reads one event in Flume's own schema.
pub(super) struct OwnEvent;

impl EventReader for OwnEvent {
    #[inline]
    fn read<S: EventSink>(&self, data: &mut Datum<'_>, sink: &mut S) -> Result<(), EventsError> {
        while let Some(block) = data.block(HEADER_BYTES_MIN)? {
            for _ in 0..block.items {
                let key = data.bytes()?;
                let value = data.bytes()?;
                sink.header(data.input(), key, value)?;
            }
        }
        let body = data.bytes()?;
        sink.end(data.input(), body)?;
        Ok(())
    }
}

/// Reads an array of events in Flume's own schema.
pub(super) struct OwnEvents;

impl EventReader for OwnEvents {
    fn read<S: EventSink>(&self, data: &mut Datum<'_>, sink: &mut S) -> Result<(), EventsError> {
        while let Some(block) = data.block(EVENT_BYTES_MIN)? {
            sink.reserve(block.items);
            for _ in 0..block.items {
                OwnEvent.read(data, sink)?;
            }
        }
        Ok(())
    }
}

/// Decodes an Avro array of events that fills the front of `message`.
pub fn decode_events(message: &Bytes, limits: EventLimits) -> Result<Batch, EventsError> {
    collect(message, 0, limits, &OwnEvents)
}

/// Decodes one Avro event at the front of `message`.
pub fn decode_event(message: &Bytes, limits: EventLimits) -> Result<Batch, EventsError> {
    collect(message, 0, limits, &OwnEvent)
}

/// Writes a batch as an Avro array of events, in one block as Java does.
pub fn encode_events(batch: &Batch, out: &mut BytesMut) {
    // Room for lengths of two bytes and a few headers; the buffer grows should there be more.
    out.reserve(batch.used_bytes() + 16 * batch.len() + 8);
    if !batch.is_empty() {
        put_long(out, batch.len() as i64);
        for event in batch.iter() {
            encode_event(&event, out);
        }
    }
    put_long(out, 0);
}

/// Writes one event.
pub fn encode_event(event: &EventView<'_>, out: &mut BytesMut) {
    let mut gather = Gather {
        out,
        held: [0; GATHER_BYTES],
        used: 0,
    };
    let headers = event.headers();
    if headers.len() > 0 {
        gather.long(headers.len() as i64);
        for (key, value) in headers {
            gather.bytes(key.as_bytes());
            gather.bytes(value.as_bytes());
        }
    }
    gather.long(0);
    gather.bytes(event.body());
    gather.flush();
}

const GATHER_BYTES: usize = 128;

/// Collects short values, so that the buffer is asked for room once an event and not once a value.
struct Gather<'a> {
    out: &'a mut BytesMut,
    held: [u8; GATHER_BYTES],
    used: usize,
}

impl Gather<'_> {
    #[inline]
    fn long(&mut self, value: i64) {
        if self.used + LONG_BYTES_MAX > GATHER_BYTES {
            self.flush();
        }
        self.used += long_into(value, &mut self.held[self.used..]);
    }

    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as i64);
        match self.held[self.used..].get_mut(..bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.used += bytes.len();
            }
            None => {
                self.flush();
                self.out.put_slice(bytes);
            }
        }
    }

    #[inline]
    fn flush(&mut self) {
        self.out.put_slice(&self.held[..self.used]);
        self.used = 0;
    }
}
