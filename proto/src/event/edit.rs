//! The overlay: what interceptors change, kept beside the shared buffer and not in it.
//!
//! An interceptor that stamps every event of a batch (host, static, timestamp) costs one entry for the whole
//! batch; one that treats events singly costs an entry for each that it touches. Edits apply in the order in
//! which they were made, whichever scope they have.

use super::batch::Batch;
use super::view::EventView;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One edit of an event's headers.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Set {
        key: Arc<str>,
        value: Arc<str>,
        keep_existing: bool,
    },
    Remove(Arc<str>),
}

/// The edits of one segment; event numbers are absolute entry numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Overlay {
    /// Edits of every event, with their place in the order of all edits.
    all: Vec<(u32, Op)>,
    /// Edits of single events.
    each: BTreeMap<u32, Vec<(u32, Op)>>,
    pub bodies: BTreeMap<u32, Bytes>,
    next: u32,
}

impl Overlay {
    pub fn touches(&self, at: u32) -> bool {
        !self.all.is_empty() || self.each.contains_key(&at)
    }

    /// The edits of one event, in order.
    pub fn ops(&self, at: u32) -> impl Iterator<Item = &Op> {
        let mut all = self.all.iter().peekable();
        let mut each = self
            .each
            .get(&at)
            .map_or(&[][..], Vec::as_slice)
            .iter()
            .peekable();
        std::iter::from_fn(move || match (all.peek(), each.peek()) {
            (Some((a, _)), Some((e, _))) if e < a => each.next(),
            (Some(_), _) => all.next(),
            (None, _) => each.next(),
        })
        .map(|(_, op)| op)
    }

    /// The overlay for a segment that consists of these events only, renumbered.
    pub fn gathered(&self, chosen: &[u32]) -> Overlay {
        let mut new = Overlay {
            all: self.all.clone(),
            next: self.next,
            ..Overlay::default()
        };
        for (to, from) in chosen.iter().enumerate() {
            if let Some(ops) = self.each.get(from) {
                new.each.insert(to as u32, ops.clone());
            }
            if let Some(body) = self.bodies.get(from) {
                new.bodies.insert(to as u32, body.clone());
            }
        }
        new
    }

    fn push_all(&mut self, op: Op) {
        self.all.push((self.next, op));
        self.next += 1;
    }

    fn push(&mut self, at: u32, op: Op) {
        self.each.entry(at).or_default().push((self.next, op));
        self.next += 1;
    }
}

/// Edits a batch without touching what it shares with others.
#[derive(Debug)]
pub struct BatchEditor {
    batch: Batch,
}

impl BatchEditor {
    pub(super) fn new(batch: Batch) -> Self {
        Self { batch }
    }

    /// The events as they are now.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Sets a header of every event.
    pub fn set_all(&mut self, key: &str, value: &str) {
        self.every(Op::Set {
            key: key.into(),
            value: value.into(),
            keep_existing: false,
        });
    }

    /// Sets a header of every event that has none of that name (Flume's `preserveExisting`).
    pub fn set_all_absent(&mut self, key: &str, value: &str) {
        self.every(Op::Set {
            key: key.into(),
            value: value.into(),
            keep_existing: true,
        });
    }

    /// Removes a header from every event.
    pub fn remove_all(&mut self, key: &str) {
        self.every(Op::Remove(key.into()));
    }

    /// Sets a header of one event; an index past the end changes nothing.
    pub fn set(&mut self, index: usize, key: &str, value: &str) {
        self.one(index, |o, at| {
            o.push(
                at,
                Op::Set {
                    key: key.into(),
                    value: value.into(),
                    keep_existing: false,
                },
            );
        });
    }

    /// Removes a header from one event.
    pub fn remove(&mut self, index: usize, key: &str) {
        self.one(index, |o, at| o.push(at, Op::Remove(key.into())));
    }

    /// Replaces the body of one event.
    pub fn set_body(&mut self, index: usize, body: Bytes) {
        self.one(index, |o, at| {
            o.bodies.insert(at, body);
        });
    }

    /// Edits events singly, all in one walk; `edit` sees each event as it was before the walk.
    pub fn each(&mut self, mut edit: impl FnMut(EventView<'_>, &mut EventEdits)) {
        let mut edits = EventEdits::default();
        for segment in &mut self.batch.segments {
            for at in segment.first..segment.first + segment.len {
                edits.at = at;
                edit(EventView { segment, at }, &mut edits);
            }
            if edits.ops.is_empty() && edits.bodies.is_empty() {
                continue;
            }
            let overlay = Arc::make_mut(segment.overlay.get_or_insert_default());
            edits.ops.drain(..).for_each(|(at, op)| overlay.push(at, op));
            overlay.bodies.extend(edits.bodies.drain(..));
        }
    }

    /// The edited batch.
    pub fn finish(self) -> Batch {
        self.batch
    }

    fn every(&mut self, op: Op) {
        for segment in &mut self.batch.segments {
            Arc::make_mut(segment.overlay.get_or_insert_default()).push_all(op.clone());
        }
    }

    fn one(&mut self, index: usize, edit: impl FnOnce(&mut Overlay, u32)) {
        if let Some((segment, at)) = self.batch.locate(index) {
            edit(
                Arc::make_mut(self.batch.segments[segment].overlay.get_or_insert_default()),
                at,
            );
        }
    }
}

/// The edits of single events during [`BatchEditor::each`].
#[derive(Debug, Default)]
pub struct EventEdits {
    at: u32,
    ops: Vec<(u32, Op)>,
    bodies: Vec<(u32, Bytes)>,
}

impl EventEdits {
    /// Sets a header.
    pub fn set(&mut self, key: &Arc<str>, value: impl Into<Arc<str>>) {
        let op = Op::Set {
            key: key.clone(),
            value: value.into(),
            keep_existing: false,
        };
        self.ops.push((self.at, op));
    }

    /// Replaces the body.
    pub fn set_body(&mut self, body: impl Into<Bytes>) {
        self.bodies.push((self.at, body.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, EventLimits};
    use super::*;

    fn two() -> Batch {
        let mut builder = BatchBuilder::new(EventLimits::default());
        builder.push([("a", "1"), ("b", "2")], b"x").unwrap();
        builder.push([("a", "3")], b"y").unwrap();
        builder.finish()
    }

    fn headers(batch: &Batch, at: usize) -> String {
        let view = batch.get(at).unwrap();
        view.headers()
            .map(|(k, v)| format!("{k}={v} "))
            .collect::<String>()
            .trim_end()
            .to_owned()
    }

    #[test]
    fn edits_apply_in_the_order_in_which_they_were_made() {
        let mut edit = two().edit();
        edit.set_all("host", "h");
        edit.set(1, "host", "special");
        edit.set_all_absent("b", "default");
        edit.remove(0, "a");
        edit.set_all("a", "last");
        let batch = edit.finish();
        assert_eq!(headers(&batch, 0), "b=2 host=h a=last");
        assert_eq!(headers(&batch, 1), "a=last host=special b=default");
    }

    #[test]
    fn an_edit_leaves_clones_of_the_batch_alone() {
        let before = two();
        let mut edit = before.clone().edit();
        edit.set_body(0, Bytes::from_static(b"new"));
        edit.remove_all("a");
        let after = edit.finish();
        assert_eq!(before.get(0).unwrap().body(), b"x");
        assert_eq!(headers(&before, 0), "a=1 b=2");
        assert_eq!(after.get(0).unwrap().body(), b"new");
        assert_eq!(headers(&after, 0), "b=2");
        assert_eq!(headers(&after, 1), "");
    }

    #[test]
    fn events_are_edited_singly_in_one_walk() {
        let mut batch = two();
        batch.append(two());
        let mut edit = batch.edit();
        edit.set_all("b", "all");
        let key: Arc<str> = "b".into();
        let mut n = 0;
        edit.each(|event, edits| {
            n += 1;
            assert_eq!(event.header("b"), Some("all"));
            if n > 1 {
                edits.set(&key, n.to_string());
            }
            if n == 3 {
                edits.set_body(&b"new"[..]);
            }
        });
        let batch = edit.finish();
        let seen: Vec<&str> = batch.iter().filter_map(|e| e.header("b")).collect();
        assert_eq!(seen, ["all", "2", "3", "4"]);
        let bodies: Vec<&[u8]> = batch.iter().map(|e| e.body()).collect();
        assert_eq!(bodies, [&b"x"[..], b"y", b"new", b"y"]);
    }

    #[test]
    fn edits_survive_splitting_and_joining() {
        let mut edit = two().edit();
        edit.set(1, "k", "v");
        let mut rest = edit.finish();
        let mut front = rest.split_front(1);
        rest.append(std::mem::take(&mut front));
        assert_eq!(headers(&rest, 0), "a=3 k=v");
        assert_eq!(headers(&rest, 1), "a=1 b=2");
    }
}
