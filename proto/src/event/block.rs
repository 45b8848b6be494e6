//! The one encoding of events: memory, log records and tier links all carry it, and any MessagePack tool reads it.
//!
//! A block is a stream of MessagePack objects, one an event, without a frame around them:
//!
//! ```text
//!   92                      array of 2
//!   8n | de nnnn | df ...   map of headers: string to string, insertion order, no key twice
//!      ak.. | d9 ..  ...      key, value, key, value
//!   c4 nn | c5 .. | c6 ..   the body: bin 8, 16 or 32, always last
//! ```
//!
//! As the body is last, an event ends where its body ends: any run of events is a slice of the block, and
//! putting blocks one behind the other joins them. [`index`] finds the places in one scan and copies nothing.
//! Reading accepts every legal marker for these types (also a `str` body or a `bin` key, as lax writers make
//! them); writing uses the shortest.
//!
//! Limits: those of [`EventLimits`]; a declared length counts only as far as its bytes are there.

use super::batch::{Batch, Form};
use super::index::IndexBuilder;
use super::limits::{EventError, EventLimits};
use crate::cursor::{Cursor, DecodeError};
use bytes::Bytes;
use rmp::Marker;
use std::ops::Range;
use thiserror::Error;

/// A block that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The bytes are not an event block.
    #[error(transparent)]
    Format(#[from] DecodeError),
    /// An event is larger than allowed.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// Indexes a whole block; the batch shares `block`.
pub fn index(block: Bytes, limits: EventLimits) -> Result<Batch, BlockError> {
    let mut index = IndexBuilder::new(limits);
    let mut cursor = Cursor::new(&block);
    while !cursor.is_empty() {
        let before = cursor.clone();
        if marker(&mut cursor)? != Marker::FixArray(2) {
            return Err(before.error("an event: an array of headers and body").into());
        }
        for _ in 0..map_len(&mut cursor)? {
            let key = text(&mut cursor, "a header key: a string")?;
            let value = text(&mut cursor, "a header value: a string")?;
            index.header(key, value)?;
        }
        let body = text(&mut cursor, "a body: bytes")?;
        index.end(&block, body)?;
    }
    Ok(index.finish_as(block, Form::Block(0)))
}

impl Batch {
    /// The batch as block bytes, in pieces whose concatenation is the block. Segments that came as a block and
    /// were not edited leave as slices of it; others are encoded once.
    pub fn to_blocks(&self) -> Vec<Bytes> {
        self.segments
            .iter()
            .enumerate()
            .map(|(n, segment)| segment.block_bytes().unwrap_or_else(|| self.encode_segment(n)))
            .collect()
    }

    fn encode_segment(&self, n: usize) -> Bytes {
        let one = Batch::of(self.segments[n].clone());
        let mut buf = Vec::with_capacity(one.used_bytes() + one.len() * 16);
        for event in one.iter() {
            let headers = event.headers();
            put_start(&mut buf, headers.len());
            for (key, value) in headers {
                put_str(&mut buf, key);
                put_str(&mut buf, value);
            }
            put_bin_head(&mut buf, event.body().len());
            buf.extend_from_slice(event.body());
        }
        buf.into()
    }
}

/// Writes one event behind `buf` and closes it in `index`.
pub(super) fn write_event<K: AsRef<str>, V: AsRef<str>>(
    buf: &mut Vec<u8>,
    index: &mut IndexBuilder,
    headers: impl IntoIterator<Item = (K, V)>,
    body: &[u8],
) -> Result<(), EventError> {
    let start = buf.len();
    // Most events have few headers: one byte is enough for their count, a longer one is put in when known.
    put_start(buf, 0);
    let mut count = 0;
    for (key, value) in headers {
        let key_at = put_str(buf, key.as_ref());
        let value_at = put_str(buf, value.as_ref());
        index.header(key_at, value_at)?;
        count += 1;
    }
    put_bin_head(buf, body.len());
    let at = buf.len();
    buf.extend_from_slice(body);
    let kept = index.end(buf, at..buf.len())?;
    if kept != count || count > 15 {
        return rewrite(buf, index, start, at);
    }
    buf[start + 1] |= count as u8;
    Ok(())
}

/// The rare event with more than 15 headers or with a key twice: written again from its own index.
fn rewrite(
    buf: &mut Vec<u8>,
    index: &mut IndexBuilder,
    start: usize,
    body_at: usize,
) -> Result<(), EventError> {
    let old = buf.split_off(start);
    let spans = index.reopen();
    put_start(buf, spans.len());
    for (key, value) in spans {
        let key = put_raw_str(buf, &old[key.start - start..key.end - start]);
        let value = put_raw_str(buf, &old[value.start - start..value.end - start]);
        index.header(key, value)?;
    }
    let body = &old[body_at - start..];
    put_bin_head(buf, body.len());
    let at = buf.len();
    buf.extend_from_slice(body);
    index.end(buf, at..buf.len())?;
    Ok(())
}

fn put_start(buf: &mut Vec<u8>, headers: usize) {
    buf.push(Marker::FixArray(2).to_u8());
    match headers {
        0..=15 => buf.push(Marker::FixMap(headers as u8).to_u8()),
        16..=0xffff => {
            buf.push(Marker::Map16.to_u8());
            buf.extend_from_slice(&(headers as u16).to_be_bytes());
        }
        _ => {
            buf.push(Marker::Map32.to_u8());
            buf.extend_from_slice(&(headers as u32).to_be_bytes());
        }
    }
}

fn put_str(buf: &mut Vec<u8>, text: &str) -> Range<usize> {
    put_raw_str(buf, text.as_bytes())
}

fn put_raw_str(buf: &mut Vec<u8>, text: &[u8]) -> Range<usize> {
    match text.len() {
        len @ 0..=31 => buf.push(Marker::FixStr(len as u8).to_u8()),
        len => put_len(buf, len, [Marker::Str8, Marker::Str16, Marker::Str32]),
    }
    let at = buf.len();
    buf.extend_from_slice(text);
    at..buf.len()
}

fn put_bin_head(buf: &mut Vec<u8>, len: usize) {
    put_len(buf, len, [Marker::Bin8, Marker::Bin16, Marker::Bin32]);
}

fn put_len(buf: &mut Vec<u8>, len: usize, [m8, m16, m32]: [Marker; 3]) {
    match len {
        0..=0xff => buf.extend_from_slice(&[m8.to_u8(), len as u8]),
        0x100..=0xffff => {
            buf.push(m16.to_u8());
            buf.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            buf.push(m32.to_u8());
            buf.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn marker(cursor: &mut Cursor<'_>) -> Result<Marker, DecodeError> {
    Ok(Marker::from_u8(cursor.u8("a MessagePack marker")?))
}

fn map_len(cursor: &mut Cursor<'_>) -> Result<usize, DecodeError> {
    let before = cursor.clone();
    match marker(cursor)? {
        Marker::FixMap(len) => Ok(len as usize),
        Marker::Map16 => Ok(cursor.u16_be("a map's length")? as usize),
        Marker::Map32 => Ok(cursor.u32_be("a map's length")? as usize),
        _ => Err(before.error("headers: a map")),
    }
}

/// A string's or a byte string's place.
fn text(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<Range<usize>, DecodeError> {
    let before = cursor.clone();
    let len = match marker(cursor)? {
        Marker::FixStr(len) => len as usize,
        Marker::Str8 | Marker::Bin8 => cursor.u8("a length")? as usize,
        Marker::Str16 | Marker::Bin16 => cursor.u16_be("a length")? as usize,
        Marker::Str32 | Marker::Bin32 => cursor.u32_be("a length")? as usize,
        _ => return Err(before.error(expected)),
    };
    let at = cursor.offset();
    cursor.take(len, expected)?;
    Ok(at..at + len)
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Event};
    use super::*;
    use proptest::prelude::*;

    fn build(events: &[Event]) -> Batch {
        let mut builder = BatchBuilder::new(EventLimits::default());
        for event in events {
            builder.push(event.headers(), &event.body).unwrap();
        }
        builder.finish()
    }

    fn events_of(batch: &Batch) -> Vec<Event> {
        batch.iter().map(|e| e.to_event()).collect()
    }

    fn joined(batch: &Batch) -> Bytes {
        batch.to_blocks().concat().into()
    }

    #[test]
    fn any_messagepack_tool_reads_a_block() {
        let batch = build(&[Event::new("hello").with_header("a", "b")]);
        let bytes = joined(&batch);
        assert_eq!(&bytes[..], b"\x92\x81\xa1a\xa1b\xc4\x05hello");
        let read: (std::collections::HashMap<String, String>, serde_bytes_like::Body) =
            rmp_serde::from_slice(&bytes).unwrap();
        assert_eq!(read.0["a"], "b");
        assert_eq!(read.1.0, b"hello");
    }

    /// A byte string for rmp-serde without another crate.
    mod serde_bytes_like {
        pub struct Body(pub Vec<u8>);
        impl<'de> serde::Deserialize<'de> for Body {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl serde::de::Visitor<'_> for V {
                    type Value = Body;
                    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                        f.write_str("bytes")
                    }
                    fn visit_bytes<E>(self, v: &[u8]) -> Result<Body, E> {
                        Ok(Body(v.to_vec()))
                    }
                }
                d.deserialize_bytes(V)
            }
        }
    }

    #[test]
    fn windows_of_a_block_leave_as_slices_of_it() {
        let mut rest = build(&[
            Event::new("a"),
            Event::new("b").with_header("k", "v"),
            Event::new("c"),
        ]);
        let whole = joined(&rest);
        let front = rest.split_front(1);
        let (a, b) = (front.to_blocks(), rest.to_blocks());
        assert_eq!([&a[0][..], &b[0][..]].concat(), whole);
        assert_eq!(
            events_of(&index(b[0].clone(), EventLimits::default()).unwrap()),
            events_of(&rest)
        );
    }

    #[test]
    fn an_edited_batch_is_encoded_with_its_edits() {
        let mut edit = build(&[Event::new("a")]).edit();
        edit.set_all("host", "h1");
        let again = index(joined(&edit.finish()), EventLimits::default()).unwrap();
        assert_eq!(events_of(&again), [Event::new("a").with_header("host", "h1")]);
    }

    #[test]
    fn a_pushed_event_over_a_limit_leaves_no_trace() {
        let limits = EventLimits {
            body_bytes: 3,
            ..EventLimits::default()
        };
        let mut builder = BatchBuilder::new(limits);
        builder.push([("a", "b")], b"abc").unwrap();
        assert!(builder.push([("c", "d")], b"abcd").is_err());
        builder.push([("e", "f")], b"").unwrap();
        let batch = builder.finish();
        assert_eq!(
            events_of(&batch),
            [
                Event::new("abc").with_header("a", "b"),
                Event::new("").with_header("e", "f")
            ]
        );
        assert_eq!(index(joined(&batch), limits).unwrap().len(), 2);
    }

    #[test]
    fn a_key_pushed_twice_is_written_once() {
        let mut builder = BatchBuilder::new(EventLimits::default());
        builder
            .push([("k", "1"), ("x", "2"), ("k", "3")], b"body")
            .unwrap();
        let bytes = joined(&builder.finish());
        let read = index(bytes, EventLimits::default()).unwrap();
        assert_eq!(
            events_of(&read),
            [Event::new("body").with_header("k", "3").with_header("x", "2")]
        );
    }

    #[test]
    fn a_broken_block_names_the_place_and_what_was_expected() {
        let error =
            |bytes: &'static [u8]| index(Bytes::from_static(bytes), EventLimits::default()).unwrap_err();
        assert_eq!(
            error(b"\x93").to_string(),
            "byte 0: expected an event: an array of headers and body"
        );
        assert_eq!(error(b"\x92\xa1a").to_string(), "byte 1: expected headers: a map");
        assert_eq!(
            error(b"\x92\x80\xc6\xff\xff\xff\xffx").to_string(),
            "byte 7: expected a body: bytes"
        );
        assert_eq!(
            error(b"\x92\x81\xa1\xff\xa0\xc4\x00").to_string(),
            "byte 3: header is not UTF-8"
        );
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let headers = proptest::collection::vec(("\\PC{0,40}", "\\PC{0,300}"), 0..20);
        (headers, proptest::collection::vec(any::<u8>(), 0..400)).prop_map(|(headers, body)| {
            headers
                .into_iter()
                .fold(Event::new(body), |event, (k, v)| event.with_header(k, v))
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(events in proptest::collection::vec(any_event(), 0..12)) {
            let batch = build(&events);
            prop_assert_eq!(&events_of(&batch), &events);
            let again = index(joined(&batch), EventLimits::default()).unwrap();
            prop_assert_eq!(&events_of(&again), &events);
        }

        #[test]
        fn any_way_of_splitting_gives_the_same_events(
            events in proptest::collection::vec(any_event(), 1..12),
            cuts in proptest::collection::vec(0usize..6, 0..6),
        ) {
            let mut rest = build(&events);
            let mut again = Batch::default();
            for cut in cuts {
                again.append(rest.split_front(cut).compacted());
            }
            again.append(rest);
            prop_assert_eq!(&events_of(&again), &events);
            let bytes = joined(&again);
            prop_assert_eq!(&events_of(&index(bytes, EventLimits::default()).unwrap()), &events);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = index(bytes.into(), EventLimits::default());
        }
    }
}
