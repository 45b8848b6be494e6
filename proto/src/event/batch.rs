//! A batch: windows onto shared segments. Split, join and clone move windows; only `compact` copies.

use super::builder::BatchBuilder;
use super::edit::{BatchEditor, Overlay};
use super::index::{Entry, HeaderSpan};
use super::limits::EventLimits;
use super::view::EventView;
use bytes::Bytes;
use std::sync::Arc;

/// How the bytes between the bodies are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Something else (Avro, lines, gathered events): only the index knows.
    Foreign,
    /// A [`block`](super::block) whose first event starts at this offset: event n ends where its body ends, and
    /// event n + 1 starts there, so any window can leave as bytes without being encoded again.
    Block(u32),
}

/// What several windows share.
#[derive(Debug)]
pub(super) struct SegmentData {
    pub buf: Bytes,
    pub entries: Vec<Entry>,
    pub headers: Vec<HeaderSpan>,
    pub form: Form,
    /// Bytes of keys, values and bodies of all entries.
    pub used: usize,
    /// Bytes of the allocation that `buf` keeps alive.
    pub pinned: usize,
}

/// A window of `len` events from entry `first`.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub data: Arc<SegmentData>,
    pub first: u32,
    pub len: u32,
    pub overlay: Option<Arc<Overlay>>,
}

impl Segment {
    pub fn whole(data: SegmentData) -> Self {
        let len = data.entries.len() as u32;
        Self {
            data: Arc::new(data),
            first: 0,
            len,
            overlay: None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        &self.data.entries[self.first as usize..][..self.len as usize]
    }

    pub fn header_spans(&self, at: u32) -> &[HeaderSpan] {
        let start = if at == 0 {
            0
        } else {
            self.data.entries[at as usize - 1].headers_end as usize
        };
        &self.data.headers[start..self.data.entries[at as usize].headers_end as usize]
    }

    /// The window's bytes as a block, when it is one and nothing was edited.
    pub fn block_bytes(&self) -> Option<Bytes> {
        let (Form::Block(start), None) = (self.data.form, &self.overlay) else {
            return None;
        };
        let end_of = |at: u32| {
            let entry = &self.data.entries[at as usize];
            entry.body_at as usize + entry.body_len as usize
        };
        let from = if self.first == 0 {
            start as usize
        } else {
            end_of(self.first - 1)
        };
        Some(self.data.buf.slice(from..end_of(self.first + self.len - 1)))
    }

    fn used_bytes(&self) -> usize {
        if self.len as usize == self.data.entries.len() {
            return self.data.used;
        }
        let bodies: usize = self.entries().iter().map(|e| e.body_len as usize).sum();
        let start = if self.first == 0 {
            0
        } else {
            self.data.entries[self.first as usize - 1].headers_end
        };
        let end = self.entries().last().map_or(start, |e| e.headers_end);
        let headers = &self.data.headers[start as usize..end as usize];
        bodies
            + headers
                .iter()
                .map(|h| (h.key_len + h.value_len) as usize)
                .sum::<usize>()
    }

    fn window(&self, first: u32, len: u32) -> Self {
        Self {
            data: self.data.clone(),
            first: self.first + first,
            len,
            overlay: self.overlay.clone(),
        }
    }
}

/// An immutable list of events that shares what was received. Cloning copies a few pointers.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub(super) segments: Vec<Segment>,
    len: usize,
}

impl Batch {
    pub(super) fn of(segment: Segment) -> Self {
        let len = segment.len as usize;
        Self {
            segments: vec![segment],
            len,
        }
    }

    /// Events.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no event.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The events in order.
    pub fn iter(&self) -> impl Iterator<Item = EventView<'_>> + Clone {
        self.segments.iter().flat_map(|segment| {
            (0..segment.len).map(move |n| EventView {
                segment,
                at: segment.first + n,
            })
        })
    }

    /// The event at `index`; walks over segments, so prefer [`iter`](Self::iter) for all.
    pub fn get(&self, index: usize) -> Option<EventView<'_>> {
        let (segment, at) = self.locate(index)?;
        let segment = &self.segments[segment];
        Some(EventView { segment, at })
    }

    /// Segment number and absolute entry number of an event.
    pub(super) fn locate(&self, index: usize) -> Option<(usize, u32)> {
        let mut left = index;
        for (n, segment) in self.segments.iter().enumerate() {
            if left < segment.len as usize {
                return Some((n, segment.first + left as u32));
            }
            left -= segment.len as usize;
        }
        None
    }

    /// Takes the first `n` events (all, if there are fewer) out of this batch; copies nothing.
    pub fn split_front(&mut self, n: usize) -> Batch {
        if n >= self.len {
            return std::mem::take(self);
        }
        let mut front = Batch::default();
        let mut left = n;
        while left > 0 {
            let head = &self.segments[0];
            if head.len as usize <= left {
                left -= head.len as usize;
                let whole = self.segments.remove(0);
                front.push_segment(whole);
            } else {
                front.push_segment(head.window(0, left as u32));
                let rest = head.window(left as u32, head.len - left as u32);
                self.segments[0] = rest;
                left = 0;
            }
        }
        self.len -= front.len;
        front
    }

    /// Appends the events of `other`; copies nothing.
    pub fn append(&mut self, other: Batch) {
        for segment in other.segments {
            self.push_segment(segment);
        }
    }

    fn push_segment(&mut self, segment: Segment) {
        self.len += segment.len as usize;
        self.segments.push(segment);
    }

    /// Keeps the events for which `keep` says so, in order. Bodies stay where they are; if all are kept this is
    /// a clone.
    pub fn filtered(&self, mut keep: impl FnMut(EventView<'_>) -> bool) -> Batch {
        let mut kept = Batch::default();
        for segment in &self.segments {
            let chosen: Vec<u32> = (segment.first..segment.first + segment.len)
                .filter(|&at| keep(EventView { segment, at }))
                .collect();
            if chosen.len() == segment.len as usize {
                kept.push_segment(segment.clone());
            } else if !chosen.is_empty() {
                kept.push_segment(gather(segment, &chosen));
            }
        }
        kept
    }

    /// Deals the events out to `ways` batches in one walk, each to all that `to` names (in any number; a number past
    /// the end names none). Order is kept, bodies stay where they are; whoever gets all gets a clone.
    pub fn dealt<'r>(&self, ways: usize, mut to: impl FnMut(EventView<'_>) -> &'r [usize]) -> Vec<Batch> {
        let mut dealt = vec![Batch::default(); ways];
        let mut chosen: Vec<Vec<u32>> = vec![Vec::new(); ways];
        for segment in &self.segments {
            for at in segment.first..segment.first + segment.len {
                for way in to(EventView { segment, at }) {
                    if let Some(chosen) = chosen.get_mut(*way) {
                        chosen.push(at);
                    }
                }
            }
            for (batch, chosen) in dealt.iter_mut().zip(&mut chosen) {
                if chosen.len() == segment.len as usize {
                    batch.push_segment(segment.clone());
                } else if !chosen.is_empty() {
                    batch.push_segment(gather(segment, chosen));
                }
                chosen.clear();
            }
        }
        dealt
    }

    /// Bytes of all bodies.
    pub fn body_bytes(&self) -> usize {
        self.iter().map(|event| event.body().len()).sum()
    }

    /// Bytes of all keys, values and bodies as received (edits of interceptors not counted).
    pub fn used_bytes(&self) -> usize {
        self.segments.iter().map(Segment::used_bytes).sum()
    }

    /// Bytes of memory that this batch keeps alive in buffers; a buffer shared by several of its own segments
    /// counts once.
    pub fn pinned_bytes(&self) -> usize {
        let mut total = 0;
        let mut last: Option<&Arc<SegmentData>> = None;
        for segment in &self.segments {
            if !last.is_some_and(|held| Arc::ptr_eq(held, &segment.data)) {
                total += segment.data.pinned;
            }
            last = Some(&segment.data);
        }
        total
    }

    /// Says that the buffers are slices of an allocation of `bytes` (a read buffer with other things in it).
    /// Effective only before the batch is cloned or split.
    pub fn pinning(mut self, bytes: usize) -> Batch {
        for segment in &mut self.segments {
            if let Some(data) = Arc::get_mut(&mut segment.data) {
                data.pinned = data.pinned.max(bytes);
            }
        }
        self
    }

    /// What may be kept for long: segments of which less than half of the pinned memory is used are copied out,
    /// so that a kept batch never holds more than twice its own size (and 64 bytes an event for short ones).
    pub fn compacted(self) -> Batch {
        if self.segments.iter().all(is_dense) {
            return self;
        }
        let mut dense = Batch::default();
        for segment in self.segments {
            if is_dense(&segment) {
                dense.push_segment(segment);
            } else {
                dense.append(copied(segment));
            }
        }
        dense
    }

    /// Starts editing headers and bodies; nothing that is shared is touched.
    pub fn edit(self) -> BatchEditor {
        BatchEditor::new(self)
    }
}

/// Below this many pinned bytes an event, copying out is not worth its while.
const SMALL_EVENT_BYTES: usize = 64;

fn is_dense(segment: &Segment) -> bool {
    let pinned = segment.data.pinned;
    pinned <= segment.len as usize * SMALL_EVENT_BYTES || segment.used_bytes() * 2 >= pinned
}

fn copied(segment: Segment) -> Batch {
    let source = Batch::of(segment);
    let unlimited = EventLimits {
        events: usize::MAX,
        headers: usize::MAX,
        key_bytes: usize::MAX,
        value_bytes: usize::MAX,
        body_bytes: usize::MAX,
    };
    let mut builder = BatchBuilder::with_capacity(unlimited, source.used_bytes() + source.len() * 12);
    let pushed = source
        .iter()
        .try_for_each(|event| builder.push(event.headers(), event.body()));
    match pushed {
        Ok(()) => builder.finish(),
        Err(_) => source, // over 4 GiB in one segment: stays as received
    }
}

fn gather(segment: &Segment, chosen: &[u32]) -> Segment {
    let mut entries = Vec::with_capacity(chosen.len());
    let mut headers = Vec::new();
    let mut used = 0;
    for &at in chosen {
        let entry = segment.data.entries[at as usize];
        let spans = segment.header_spans(at);
        headers.extend_from_slice(spans);
        used += entry.body_len as usize;
        used += spans
            .iter()
            .map(|h| (h.key_len + h.value_len) as usize)
            .sum::<usize>();
        entries.push(Entry {
            headers_end: headers.len() as u32,
            ..entry
        });
    }
    let overlay = segment.overlay.as_ref().map(|o| Arc::new(o.gathered(chosen)));
    let data = SegmentData {
        buf: segment.data.buf.clone(),
        entries,
        headers,
        form: Form::Foreign,
        used,
        pinned: segment.data.pinned,
    };
    Segment {
        overlay,
        ..Segment::whole(data)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Event;
    use super::*;

    fn batch_of(bodies: &[&str]) -> Batch {
        let mut builder = BatchBuilder::new(EventLimits::default());
        for body in bodies {
            builder.push([("n", *body)], body.as_bytes()).unwrap();
        }
        builder.finish()
    }

    fn bodies(batch: &Batch) -> Vec<String> {
        batch
            .iter()
            .map(|e| String::from_utf8_lossy(e.body()).into_owned())
            .collect()
    }

    #[test]
    fn splitting_and_joining_keep_order_and_share_the_buffer() {
        let mut rest = batch_of(&["a", "b", "c"]);
        rest.append(batch_of(&["d", "e"]));
        let front = rest.split_front(4);
        assert_eq!(bodies(&front), ["a", "b", "c", "d"]);
        assert_eq!(bodies(&rest), ["e"]);
        assert_eq!(front.segments.len(), 2);
        assert!(Arc::ptr_eq(&front.segments[1].data, &rest.segments[0].data));
        assert_eq!(rest.get(0).unwrap().header("n"), Some("e"));
        assert!(rest.get(1).is_none());
    }

    #[test]
    fn splitting_more_than_there_is_takes_all() {
        let mut rest = batch_of(&["a"]);
        assert_eq!(rest.split_front(9).len(), 1);
        assert!(rest.is_empty());
        assert!(rest.split_front(1).is_empty());
    }

    #[test]
    fn filtering_keeps_order_headers_and_edits() {
        let mut edit = batch_of(&["a", "b", "c", "d"]).edit();
        edit.set(2, "extra", "yes");
        let kept = edit.finish().filtered(|e| e.body() != b"b");
        assert_eq!(bodies(&kept), ["a", "c", "d"]);
        assert_eq!(kept.get(1).unwrap().header("extra"), Some("yes"));
        assert_eq!(kept.get(2).unwrap().header("extra"), None);
        assert_eq!(
            kept.get(2).unwrap().to_event(),
            Event::new("d").with_header("n", "d")
        );
    }

    #[test]
    fn dealing_keeps_order_and_shares_what_goes_to_one_whole() {
        let mut batch = batch_of(&["a", "b", "c"]);
        batch.append(batch_of(&["d", "b"]));
        let dealt = batch.dealt(4, |event| match event.body() {
            b"b" => &[0, 2],
            b"c" => &[],
            b"d" => &[0, 1, 7],
            _ => &[0],
        });
        let seen: Vec<Vec<String>> = dealt.iter().map(bodies).collect();
        assert_eq!(
            seen,
            [vec!["a", "b", "d", "b"], vec!["d"], vec!["b", "b"], vec![]]
        );
        assert!(Arc::ptr_eq(&dealt[0].segments[1].data, &batch.segments[1].data));
        assert_eq!(dealt[2].get(1).unwrap().header("n"), Some("b"));
    }

    #[test]
    fn a_slice_that_pins_more_than_twice_itself_is_copied_out() {
        let body = [b'x'; 300];
        let mut builder = BatchBuilder::with_capacity(EventLimits::default(), 3_100);
        (0..10).for_each(|_| builder.push(std::iter::empty::<(&str, &str)>(), &body).unwrap());
        let mut whole = builder.finish();
        let pinned = whole.pinned_bytes();
        let few = whole.split_front(2);
        assert_eq!(few.pinned_bytes(), pinned);
        let few = few.compacted();
        assert!(
            few.pinned_bytes() <= 2 * few.used_bytes(),
            "{} pinned",
            few.pinned_bytes()
        );
        assert_eq!(few.body_bytes(), 600);
        assert_eq!(
            whole.clone().compacted().pinned_bytes(),
            pinned,
            "eight of ten are dense enough"
        );
    }

    #[test]
    fn a_window_of_a_declared_larger_buffer_counts_it_as_pinned() {
        let batch = batch_of(&["a"]).pinning(65_536);
        assert_eq!(batch.pinned_bytes(), 65_536);
        assert!(batch.compacted().pinned_bytes() < 100);
    }
}
