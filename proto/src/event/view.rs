//! An event seen through its batch: borrowed, with the interceptors' edits applied.

use super::Event;
use super::batch::Segment;
use super::edit::Op;
use super::index::HeaderSpan;
use bytes::Bytes;
use std::sync::Arc;

/// One event of a [`Batch`](super::Batch).
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a> {
    pub(super) segment: &'a Segment,
    /// Absolute entry number in the segment's data.
    pub(super) at: u32,
}

impl<'a> EventView<'a> {
    /// The body.
    pub fn body(&self) -> &'a [u8] {
        if let Some(body) = self.edited_body() {
            return body;
        }
        let entry = &self.segment.data.entries[self.at as usize];
        &self.segment.data.buf[entry.body_at as usize..][..entry.body_len as usize]
    }

    /// The body as a shared slice; pins the buffer.
    pub fn body_bytes(&self) -> Bytes {
        if let Some(body) = self.edited_body() {
            return body.clone();
        }
        let entry = &self.segment.data.entries[self.at as usize];
        let at = entry.body_at as usize;
        self.segment.data.buf.slice(at..at + entry.body_len as usize)
    }

    /// The headers in insertion order.
    pub fn headers(&self) -> HeaderIter<'a> {
        let spans = self.segment.header_spans(self.at);
        let buf = &self.segment.data.buf[..];
        match &self.segment.overlay {
            Some(overlay) if overlay.touches(self.at) => {
                let mut resolved: Vec<(&'a str, &'a str)> = Plain { spans, buf }.collect();
                for op in overlay.ops(self.at) {
                    apply(&mut resolved, op);
                }
                HeaderIter(Headers::Edited(resolved.into_iter()))
            }
            _ => HeaderIter(Headers::Plain(Plain { spans, buf })),
        }
    }

    /// The value of a header.
    pub fn header(&self, key: &str) -> Option<&'a str> {
        let spans = self.segment.header_spans(self.at);
        let buf = &self.segment.data.buf[..];
        let mut span = spans.iter().filter(|span| span.key(buf) == key.as_bytes());
        let mut value = span.next().map(|span| text(buf, span.value_at, span.value_len));
        if let Some(overlay) = &self.segment.overlay {
            for op in overlay.ops(self.at) {
                match op {
                    Op::Set {
                        keep_existing: true, ..
                    } if value.is_some() => {}
                    Op::Set { key: k, value: v, .. } if **k == *key => value = Some(v),
                    Op::Remove(k) if **k == *key => value = None,
                    Op::Set { .. } | Op::Remove(_) => {}
                }
            }
        }
        value
    }

    /// An owned copy of the headers with a shared body.
    pub fn to_event(&self) -> Event {
        let mut event = Event::new(self.body_bytes());
        self.headers().for_each(|(k, v)| event.insert(k, v));
        event
    }

    fn edited_body(&self) -> Option<&'a Bytes> {
        self.segment.overlay.as_ref()?.bodies.get(&self.at)
    }
}

fn apply<'a>(headers: &mut Vec<(&'a str, &'a str)>, op: &'a Op) {
    let place = |headers: &[(&str, &str)], key: &Arc<str>| headers.iter().position(|(k, _)| *k == &**key);
    match op {
        Op::Set {
            key,
            value,
            keep_existing,
        } => match place(headers, key) {
            Some(_) if *keep_existing => {}
            Some(at) => headers[at].1 = value,
            None => headers.push((key, value)),
        },
        Op::Remove(key) => {
            if let Some(at) = place(headers, key) {
                headers.remove(at);
            }
        }
    }
}

fn text(buf: &[u8], at: u32, len: u32) -> &str {
    std::str::from_utf8(&buf[at as usize..][..len as usize])
        .expect("headers are checked to be UTF-8 when they are indexed")
}

/// The headers of one event; knows how many are left.
#[derive(Debug, Clone)]
pub struct HeaderIter<'a>(Headers<'a>);

#[derive(Debug, Clone)]
enum Headers<'a> {
    Plain(Plain<'a>),
    Edited(std::vec::IntoIter<(&'a str, &'a str)>),
}

#[derive(Debug, Clone)]
struct Plain<'a> {
    spans: &'a [HeaderSpan],
    buf: &'a [u8],
}

impl<'a> Iterator for Plain<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let (span, rest) = self.spans.split_first()?;
        self.spans = rest;
        Some((
            text(self.buf, span.key_at, span.key_len),
            text(self.buf, span.value_at, span.value_len),
        ))
    }
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Headers::Plain(plain) => plain.next(),
            Headers::Edited(list) => list.next(),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Headers::Plain(plain) => plain.spans.len(),
            Headers::Edited(list) => list.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for HeaderIter<'_> {}
