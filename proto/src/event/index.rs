//! The compact index of a segment and the builder with which decoders make it.
//!
//! The index is neutral: it says where keys, values and bodies stand in a buffer, not how they are encoded. So
//! one batch type serves what came as Avro, as lines or as a MessagePack block, without re-encoding.

use super::batch::{Batch, Form, Segment, SegmentData};
use super::limits::{EventError, EventLimits};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;

/// Where one event stands: its body, and the end of its run in the list of headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub body_at: u32,
    pub body_len: u32,
    pub headers_end: u32,
}

/// Where one header stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeaderSpan {
    pub key_at: u32,
    pub key_len: u32,
    pub value_at: u32,
    pub value_len: u32,
}

impl HeaderSpan {
    pub(super) fn key<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[self.key_at as usize..][..self.key_len as usize]
    }
}

/// Above this many headers duplicates are looked for with a table instead of comparing each with each.
const PAIRWISE_HEADERS_MAX: usize = 16;

/// Collects the places of events while a decoder scans a buffer; copies nothing.
///
/// Order of calls for each event: any number of [`header`](Self::header), then [`end`](Self::end).
#[derive(Debug)]
pub struct IndexBuilder {
    limits: EventLimits,
    entries: Vec<Entry>,
    headers: Vec<HeaderSpan>,
    used: usize,
}

impl IndexBuilder {
    /// An empty index under these limits.
    pub fn new(limits: EventLimits) -> Self {
        Self {
            limits,
            entries: Vec::new(),
            headers: Vec::new(),
            used: 0,
        }
    }

    /// Makes room for `events` entries, at most 4,096, so that a declared count allocates next to nothing.
    pub fn reserve(&mut self, events: usize) {
        self.entries.reserve(events.min(4_096));
    }

    /// Events indexed so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is indexed yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Notes a header of the event that the next [`end`](Self::end) closes. The ranges are offsets into the
    /// scanned buffer and are checked there.
    pub fn header(&mut self, key: Range<usize>, value: Range<usize>) -> Result<(), EventError> {
        let (key_at, key_len) = span(&key)?;
        let (value_at, value_len) = span(&value)?;
        EventLimits::check("bytes of a header key", key.len(), self.limits.key_bytes)?;
        EventLimits::check("bytes of a header value", value.len(), self.limits.value_bytes)?;
        EventLimits::check(
            "headers of an event",
            self.headers.len() - self.first() + 1,
            self.limits.headers,
        )?;
        self.headers.push(HeaderSpan {
            key_at,
            key_len,
            value_at,
            value_len,
        });
        Ok(())
    }

    /// Closes an event: checks its ranges and that its headers are UTF-8, and drops earlier duplicates of a key
    /// (the last value wins and keeps the first one's place, as in Java's insertion-ordered maps). Returns how
    /// many headers the event has.
    pub fn end(&mut self, buf: &[u8], body: Range<usize>) -> Result<usize, EventError> {
        let (body_at, body_len) = span(&body)?;
        if body.end > buf.len() {
            return Err(EventError::OutOfBuffer { offset: body.start });
        }
        EventLimits::check("bytes of a body", body.len(), self.limits.body_bytes)?;
        EventLimits::check("events of a batch", self.entries.len() + 1, self.limits.events)?;
        let first = self.first();
        if self.headers.len() > first {
            self.close_headers(buf, first)?;
        }
        let headers_end =
            u32::try_from(self.headers.len()).map_err(|_| EventError::OutOfBuffer { offset: body.start })?;
        self.used += body.len();
        self.entries.push(Entry {
            body_at,
            body_len,
            headers_end,
        });
        Ok(self.headers.len() - first)
    }

    /// The batch over `buf`, which must be the scanned buffer.
    pub fn finish(self, buf: Bytes) -> Batch {
        self.finish_as(buf, Form::Foreign)
    }

    pub(super) fn finish_as(self, buf: Bytes, form: Form) -> Batch {
        if self.entries.is_empty() {
            return Batch::default();
        }
        let pinned = buf.len();
        Batch::of(Segment::whole(SegmentData {
            buf,
            entries: self.entries,
            headers: self.headers,
            form,
            used: self.used,
            pinned,
        }))
    }

    /// Forgets the headers noted since the last closed event.
    pub fn abandon(&mut self) {
        self.headers.truncate(self.first());
    }

    /// Takes the last closed event back and returns where its headers stand.
    pub(super) fn reopen(&mut self) -> Vec<(Range<usize>, Range<usize>)> {
        let Some(entry) = self.entries.pop() else {
            return Vec::new();
        };
        let first = self.first();
        self.used -= entry.body_len as usize;
        self.used -= self.headers[first..]
            .iter()
            .map(|h| (h.key_len + h.value_len) as usize)
            .sum::<usize>();
        let range = |at: u32, len: u32| at as usize..at as usize + len as usize;
        self.headers
            .drain(first..)
            .map(|h| (range(h.key_at, h.key_len), range(h.value_at, h.value_len)))
            .collect()
    }

    fn first(&self) -> usize {
        self.entries.last().map_or(0, |e| e.headers_end as usize)
    }

    fn close_headers(&mut self, buf: &[u8], first: usize) -> Result<(), EventError> {
        let run = &self.headers[first..];
        let (mut from, mut to, mut used) = (usize::MAX, 0, 0);
        for span in run {
            for (at, len) in [(span.key_at, span.key_len), (span.value_at, span.value_len)] {
                if at as usize + len as usize > buf.len() {
                    return Err(EventError::OutOfBuffer { offset: at as usize });
                }
                from = from.min(at as usize);
                to = to.max(at as usize + len as usize);
                used += len as usize;
            }
        }
        // Nearly all headers are ASCII and stand together: one look over them all is enough then.
        let together = buf
            .get(from..to)
            .ok_or(EventError::OutOfBuffer { offset: from })?;
        if !(to - from <= 2 * used + 64 && together.is_ascii()) {
            for span in run {
                for (at, len) in [(span.key_at, span.key_len), (span.value_at, span.value_len)] {
                    let text = &buf[at as usize..][..len as usize];
                    if std::str::from_utf8(text).is_err() {
                        return Err(EventError::NotUtf8 { offset: at as usize });
                    }
                }
            }
        }
        if run.len() > 1 {
            self.drop_duplicates(buf, first);
            used = self.headers[first..]
                .iter()
                .map(|h| (h.key_len + h.value_len) as usize)
                .sum();
        }
        self.used += used;
        Ok(())
    }

    fn drop_duplicates(&mut self, buf: &[u8], first: usize) {
        let run = &mut self.headers[first..];
        let mut kept = 0;
        if run.len() <= PAIRWISE_HEADERS_MAX {
            for at in 0..run.len() {
                let span = run[at];
                let held = run[..kept]
                    .iter()
                    .position(|h| h.key_len == span.key_len && h.key(buf) == span.key(buf));
                keep(run, &mut kept, span, held);
            }
        } else {
            let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(run.len());
            for at in 0..run.len() {
                let span = run[at];
                let held = places.get(span.key(buf)).copied();
                if held.is_none() {
                    places.insert(span.key(buf), kept);
                }
                keep(run, &mut kept, span, held);
            }
        }
        self.headers.truncate(first + kept);
    }
}

fn keep(run: &mut [HeaderSpan], kept: &mut usize, span: HeaderSpan, held: Option<usize>) {
    match held {
        Some(held) => run[held] = span,
        None => {
            run[*kept] = span;
            *kept += 1;
        }
    }
}

fn span(range: &Range<usize>) -> Result<(u32, u32), EventError> {
    let outside = EventError::OutOfBuffer { offset: range.start };
    let len = range.end.checked_sub(range.start).ok_or(outside)?;
    match (u32::try_from(range.start), u32::try_from(range.end)) {
        (Ok(at), Ok(_)) => Ok((at, len as u32)),
        _ => Err(outside),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(keys: &[&str]) -> Vec<(String, String)> {
        let mut buf = Vec::new();
        let mut index = IndexBuilder::new(EventLimits::default());
        for (n, key) in keys.iter().enumerate() {
            let at = buf.len();
            buf.extend_from_slice(key.as_bytes());
            let value = n.to_string();
            let value_at = buf.len();
            buf.extend_from_slice(value.as_bytes());
            index.header(at..value_at, value_at..buf.len()).unwrap();
        }
        index.end(&buf, 0..0).unwrap();
        let batch = index.finish(Bytes::from(buf));
        batch
            .get(0)
            .unwrap()
            .headers()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn the_last_of_two_equal_keys_wins_in_the_place_of_the_first() {
        let held = index_of(&["k", "x", "k"]);
        assert_eq!(held, [("k".into(), "2".into()), ("x".into(), "1".into())]);
    }

    #[test]
    fn duplicates_among_many_headers_are_found_too() {
        let keys: Vec<String> = (0..40).map(|n| format!("k{}", n % 30)).collect();
        let held = index_of(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(held.len(), 30);
        assert_eq!(held[0], ("k0".into(), "30".into()));
    }

    #[test]
    fn each_limit_refuses_at_its_edge() {
        let limits = EventLimits {
            events: 2,
            headers: 1,
            key_bytes: 3,
            value_bytes: 3,
            body_bytes: 4,
        };
        let mut index = IndexBuilder::new(limits);
        assert!(matches!(
            index.header(0..4, 0..0),
            Err(EventError::Limit {
                allowed: 3,
                found: 4,
                ..
            })
        ));
        assert!(matches!(
            index.header(0..1, 0..4),
            Err(EventError::Limit { allowed: 3, .. })
        ));
        index.header(0..3, 0..3).unwrap();
        assert!(matches!(
            index.header(0..1, 0..1),
            Err(EventError::Limit {
                allowed: 1,
                found: 2,
                ..
            })
        ));
        assert!(matches!(
            index.end(b"abcdef", 0..5),
            Err(EventError::Limit { allowed: 4, .. })
        ));
        index.end(b"abcdef", 0..4).unwrap();
        index.end(b"abcdef", 0..4).unwrap();
        assert!(matches!(
            index.end(b"abcdef", 0..4),
            Err(EventError::Limit {
                allowed: 2,
                found: 3,
                ..
            })
        ));
    }

    #[test]
    fn ranges_outside_of_the_buffer_are_refused() {
        let mut index = IndexBuilder::new(EventLimits::default());
        assert_eq!(index.end(b"ab", 1..3), Err(EventError::OutOfBuffer { offset: 1 }));
        index.header(5..6, 0..1).unwrap();
        assert_eq!(index.end(b"ab", 0..1), Err(EventError::OutOfBuffer { offset: 5 }));
    }
}
