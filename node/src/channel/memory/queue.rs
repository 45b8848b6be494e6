//! The queue behind the lock: pieces, reservations, leases, waiting putters, and the books of room.

use crate::component::channel::{ChannelError, ChannelLimits, Claim, SLOT_BYTES, Ticket, Want};
use bytes::Bytes;
use proto::event::Batch;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A piece of the queue: a batch, the number of its first event, its claim.
pub(super) struct Piece {
    pub(super) first: u64,
    pub(super) batch: Batch,
    pub(super) claim: Claim,
}

pub(super) struct Waiter {
    pub(super) id: u64,
    pub(super) claim: Claim,
    pub(super) granted: oneshot::Sender<Ticket>,
}

pub(super) struct State {
    pub(super) open: bool,
    pub(super) generation: u64,
    pub(super) next_ticket: u64,
    pub(super) next_event: u64,
    pub(super) limits: ChannelLimits,
    /// Events held when the capacity last became another one.
    pub(super) held_at_shrinking: usize,
    /// Room in slots and what of it is taken; `used` covers reserved, queued and leased events.
    pub(super) slots: usize,
    pub(super) used: Claim,
    /// In order; never taken, but for the rest of a piece that was split.
    pub(super) fresh: VecDeque<Piece>,
    /// Taken and put back, by the number of the first event; the next one to take is the older head of the two.
    pub(super) returned: BTreeMap<u64, Piece>,
    pub(super) reserved: HashMap<u64, Claim>,
    pub(super) leased: HashMap<u64, Vec<Piece>>,
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) positions: HashMap<Arc<str>, Bytes>,
    pub(super) queued_events: usize,
    pub(super) pinned: usize,
}

impl State {
    pub(super) fn new(limits: ChannelLimits, slots: usize) -> Self {
        Self {
            open: false,
            generation: 0,
            limits,
            held_at_shrinking: 0,
            next_ticket: 0,
            next_event: 0,
            slots,
            used: Claim::default(),
            fresh: VecDeque::new(),
            returned: BTreeMap::new(),
            reserved: HashMap::new(),
            leased: HashMap::new(),
            waiters: VecDeque::new(),
            positions: HashMap::new(),
            queued_events: 0,
            pinned: 0,
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket {
            id: self.next_ticket,
            generation: self.generation,
        }
    }

    pub(super) fn fits(&self, claim: Claim) -> Result<(), ChannelError> {
        if self.used.events + claim.events > self.limits.capacity {
            return Err(ChannelError::Full);
        }
        if self.used.bytes + claim.bytes > self.slots * SLOT_BYTES {
            return Err(ChannelError::BytesFull {
                capacity_bytes: self.slots * SLOT_BYTES,
            });
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, claim: Claim) -> Ticket {
        let ticket = self.ticket();
        self.used.events += claim.events;
        self.used.bytes += claim.bytes;
        self.reserved.insert(ticket.id, claim);
        ticket
    }

    pub(super) fn free(&mut self, claim: Claim) {
        self.used.events -= claim.events;
        self.used.bytes -= claim.bytes;
    }

    /// Serves waiting puts in order while there is room.
    pub(super) fn grant(&mut self) {
        while let Some(waiter) = self.waiters.front() {
            if self.fits(waiter.claim).is_err() {
                return;
            }
            let Some(waiter) = self.waiters.pop_front() else {
                return;
            };
            let ticket = self.hold(waiter.claim);
            if waiter.granted.send(ticket).is_err() {
                // The putter has gone in the meantime.
                self.reserved.remove(&ticket.id);
                self.free(waiter.claim);
            }
        }
    }

    pub(super) fn enqueue(&mut self, batch: Batch, claim: Claim) {
        let first = self.next_event;
        self.next_event += claim.events as u64;
        self.queued_events += claim.events;
        self.pinned += batch.pinned_bytes();
        self.fresh.push_back(Piece { first, batch, claim });
    }

    pub(super) fn put_back(&mut self, pieces: Vec<Piece>) -> usize {
        let mut events = 0;
        for piece in pieces {
            events += piece.claim.events;
            self.queued_events += piece.claim.events;
            self.pinned += piece.batch.pinned_bytes();
            self.returned.insert(piece.first, piece);
        }
        events
    }

    /// Takes pieces from the head until `want` is met.
    pub(super) fn lease(&mut self, want: Want) -> Option<(Ticket, Batch)> {
        let most = self.limits.transaction_capacity.unwrap_or(usize::MAX);
        let want = Want {
            events: want.events.min(most),
            ..want
        };
        let (mut pieces, mut batch) = (Vec::new(), Batch::default());
        let mut bytes = 0;
        while batch.len() < want.events {
            let Some(piece) = self.pop() else { break };
            let fitting = fitting(
                &piece.batch,
                want.events - batch.len(),
                want.bytes.saturating_sub(bytes),
            );
            // At least one event, however large, or a sink would starve before it.
            let fitting = if batch.is_empty() { fitting.max(1) } else { fitting };
            let (front, rest) = split(piece, fitting);
            self.unpop(rest);
            let Some(front) = front else { break };
            bytes += if want.bytes == usize::MAX {
                0
            } else {
                front.batch.body_bytes()
            };
            batch.append(front.batch.clone());
            pieces.push(front);
        }
        if batch.is_empty() {
            return None;
        }
        let ticket = self.ticket();
        self.leased.insert(ticket.id, pieces);
        Some((ticket, batch))
    }

    pub(super) fn pop(&mut self) -> Option<Piece> {
        // What came back is usually older than the front, but not when another lease is still out.
        let from_returned = match (self.returned.first_key_value(), self.fresh.front()) {
            (Some((at, _)), Some(front)) => *at < front.first,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let piece = if from_returned {
            self.returned.pop_first()?.1
        } else {
            self.fresh.pop_front()?
        };
        self.queued_events -= piece.claim.events;
        self.pinned -= piece.batch.pinned_bytes();
        Some(piece)
    }

    pub(super) fn unpop(&mut self, rest: Option<Piece>) {
        if let Some(piece) = rest {
            self.queued_events += piece.claim.events;
            self.pinned += piece.batch.pinned_bytes();
            // It was the oldest of all, so the front of `fresh` stays in order.
            self.fresh.push_front(piece);
        }
    }
}

/// How many events from the front have at most `events` and `bytes`.
pub(super) fn fitting(batch: &Batch, events: usize, bytes: usize) -> usize {
    if bytes == usize::MAX {
        return batch.len().min(events);
    }
    let mut left = bytes;
    batch
        .iter()
        .take(events)
        .take_while(|event| {
            let fits = event.body().len() <= left;
            left = left.saturating_sub(event.body().len());
            fits
        })
        .count()
}

/// Splits a piece; either part may be nothing.
pub(super) fn split(mut piece: Piece, at: usize) -> (Option<Piece>, Option<Piece>) {
    if at == 0 {
        return (None, Some(piece));
    }
    if at >= piece.batch.len() {
        return (Some(piece), None);
    }
    let front = piece.batch.split_front(at);
    let claim = Claim::of(&front);
    let rest = Piece {
        first: piece.first + at as u64,
        batch: piece.batch,
        claim: Claim {
            events: piece.claim.events - claim.events,
            bytes: piece.claim.bytes - claim.bytes,
        },
    };
    (
        Some(Piece {
            first: piece.first,
            batch: front,
            claim,
        }),
        Some(rest),
    )
}
