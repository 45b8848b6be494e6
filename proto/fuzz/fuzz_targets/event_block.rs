//! Operations (the first byte says how many, a byte each) and a block. What can be indexed leaves as a block with
//! the same events; and whatever split, join, filter, edit and compact do to a batch, its events are those of a
//! plain list to which the same was done.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use proto::event::{Batch, Event, EventLimits, block};

const LIMITS: EventLimits = EventLimits {
    events: 64,
    headers: 24,
    key_bytes: 32,
    value_bytes: 64,
    body_bytes: 128,
};
/// Edits add headers and replace bodies, beyond what came in.
const AFTER_EDITS: EventLimits = EventLimits {
    headers: LIMITS.headers + 16,
    ..LIMITS
};

fn events(batch: &Batch) -> Vec<Event> {
    assert_eq!(batch.iter().count(), batch.len());
    batch.iter().map(|event| event.to_event()).collect()
}

/// As a block and back, in one piece and piece by piece.
fn assert_survives(batch: &Batch, list: &[Event]) {
    let blocks = batch.to_blocks();
    let whole = block::index(blocks.concat().into(), AFTER_EDITS).expect("what was written is a block");
    assert_eq!(events(&whole), list);
    let pieces = blocks
        .into_iter()
        .map(|bytes| block::index(bytes, AFTER_EDITS).expect("each piece is a block"))
        .fold(Batch::default(), |mut all, piece| {
            all.append(piece);
            all
        });
    assert_eq!(events(&pieces), list);
}

/// One operation on the batch and on the list.
fn operate(op: u8, mut batch: Batch, list: &mut Vec<Event>) -> Batch {
    let n = usize::from(op >> 3);
    match op & 7 {
        0 => {
            // The front goes to the end.
            let front = batch.split_front(n);
            assert_eq!(front.len(), n.min(list.len()));
            list.rotate_left(front.len());
            batch.append(front);
        }
        1 => {
            batch.split_front(n);
            list.drain(..n.min(list.len()));
        }
        2 => {
            let keep = |at: usize| !at.is_multiple_of(n + 2);
            let mut at = 0..;
            batch = batch.filtered(|_| at.next().is_some_and(keep));
            let mut at = 0..;
            list.retain(|_| at.next().is_some_and(keep));
        }
        3 => {
            batch = batch.compacted();
            let dense = batch.used_bytes().max(batch.len() * 64);
            assert!(batch.pinned_bytes() <= 4 * dense, "{batch:?}");
        }
        4 if list.len() <= LIMITS.events / 2 => {
            batch.append(batch.clone());
            list.extend_from_within(..);
        }
        5 => {
            let mut edit = batch.edit();
            edit.set_all(["a", "b", "c"][n % 3], "all");
            batch = edit.finish();
            list.iter_mut()
                .for_each(|event| event.insert(["a", "b", "c"][n % 3], "all"));
        }
        6 => {
            let mut edit = batch.edit();
            edit.set(n, "n", "one");
            edit.set_body(n, Bytes::from_static(b"new"));
            batch = edit.finish();
            if let Some(event) = list.get_mut(n) {
                event.insert("n", "one");
                event.body = Bytes::from_static(b"new");
            }
        }
        _ => batch = batch.pinning(n << 10),
    }
    batch
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else {
        return;
    };
    let (ops, bytes) = rest.split_at(usize::from(*count % 32).min(rest.len()));
    let Ok(mut batch) = block::index(Bytes::copy_from_slice(bytes), LIMITS) else {
        return;
    };
    assert!(batch.len() <= LIMITS.events.min(bytes.len()));
    let mut list = events(&batch);
    assert_survives(&batch, &list);
    for op in ops {
        batch = operate(*op, batch, &mut list);
        assert_eq!(events(&batch), list);
        assert_eq!(
            batch.body_bytes(),
            list.iter().map(|event| event.body.len()).sum::<usize>()
        );
        assert_survives(&batch, &list);
    }
});
