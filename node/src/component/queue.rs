//! The queue that a channel keeps behind its lock: pieces, reservations, leases, waiting putters, and the books of room.
//!
//! Events are numbered in the order of the channel; what is rolled back returns to its place by that number.

use super::channel::{ChannelError, ChannelLimits, Claim, SLOT_BYTES, Ticket, Want};
use bytes::Bytes;
use proto::event::Batch;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Where the events of a piece are kept besides: which shard of a store, and the first one's number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "told above")]
pub struct Origin {
    pub shard: u32,
    pub number: u64,
}

impl Origin {
    /// Nowhere besides: the events are in memory alone.
    pub const MEMORY: Self = Self {
        shard: u32::MAX,
        number: 0,
    };

    /// Whether the events are in memory alone.
    pub fn is_memory(&self) -> bool {
        self.shard == Self::MEMORY.shard
    }
}

/// A piece of the queue: a batch, the number of its first event, its claim.
#[derive(Debug)]
#[allow(missing_docs, reason = "told above")]
pub struct Piece {
    pub first: u64,
    pub batch: Batch,
    pub claim: Claim,
    pub origin: Origin,
}

/// A put that waits for room.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Waiter {
    pub id: u64,
    pub claim: Claim,
    pub granted: oneshot::Sender<Ticket>,
}

/// All of it.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct State {
    pub open: bool,
    pub generation: u64,
    pub next_ticket: u64,
    pub next_event: u64,
    pub limits: ChannelLimits,
    /// Events held when the capacity last became another one.
    pub held_at_shrinking: usize,
    /// Room in slots and what of it is taken; `used` covers reserved, queued and leased events.
    pub slots: usize,
    pub used: Claim,
    /// In order; never taken, but for the rest of a piece that was split.
    pub fresh: VecDeque<Piece>,
    /// Taken and put back, by the number of the first event; the next one to take is the older head of the two.
    pub returned: BTreeMap<u64, Piece>,
    pub reserved: HashMap<u64, Claim>,
    pub leased: HashMap<u64, Vec<Piece>>,
    pub waiters: VecDeque<Waiter>,
    pub positions: HashMap<Arc<str>, Bytes>,
    pub queued_events: usize,
    pub pinned: usize,
    /// What of `pinned` are events in memory alone.
    pub pinned_in_memory: usize,
    /// Events from this number on are not taken yet: one before them is still on its way into the queue.
    pub barrier: u64,
}

impl State {
    /// Empty and closed.
    pub fn new(limits: ChannelLimits, slots: usize) -> Self {
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
            pinned_in_memory: 0,
            barrier: u64::MAX,
        }
    }

    /// A new ticket.
    pub fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket {
            id: self.next_ticket,
            generation: self.generation,
        }
    }

    /// Whether there is room.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn fits(&self, claim: Claim) -> Result<(), ChannelError> {
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

    /// Takes room.
    pub fn hold(&mut self, claim: Claim) -> Ticket {
        let ticket = self.ticket();
        self.used.events += claim.events;
        self.used.bytes += claim.bytes;
        self.reserved.insert(ticket.id, claim);
        ticket
    }

    /// Gives room back.
    pub fn free(&mut self, claim: Claim) {
        self.used.events -= claim.events;
        self.used.bytes -= claim.bytes;
    }

    /// Serves waiting puts in order while there is room.
    pub fn grant(&mut self) {
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

    /// Appends a batch under the next number.
    pub fn enqueue(&mut self, batch: Batch, claim: Claim) {
        let first = self.next_event;
        self.next_event += claim.events as u64;
        let origin = Origin::MEMORY;
        self.insert(Piece {
            first,
            batch,
            claim,
            origin,
        });
    }

    /// Counts a piece that comes into the queue.
    fn comes(&mut self, piece: &Piece) {
        let pinned = piece.batch.pinned_bytes();
        self.queued_events += piece.claim.events;
        self.pinned += pinned;
        if piece.origin.is_memory() {
            self.pinned_in_memory += pinned;
        }
    }

    /// Counts a piece that leaves the queue.
    fn leaves(&mut self, piece: &Piece) {
        let pinned = piece.batch.pinned_bytes();
        self.queued_events -= piece.claim.events;
        self.pinned -= pinned;
        if piece.origin.is_memory() {
            self.pinned_in_memory -= pinned;
        }
    }

    /// Puts a piece that was numbered before into its place.
    pub fn insert(&mut self, piece: Piece) {
        self.comes(&piece);
        if self.fresh.back().is_none_or(|last| last.first < piece.first) {
            self.fresh.push_back(piece);
        } else {
            self.returned.insert(piece.first, piece);
        }
    }

    /// Puts pieces back where they were; says how many events they have.
    pub fn put_back(&mut self, pieces: Vec<Piece>) -> usize {
        let mut events = 0;
        for piece in pieces {
            events += piece.claim.events;
            self.comes(&piece);
            self.returned.insert(piece.first, piece);
        }
        events
    }

    /// Takes pieces from the head until `want` is met.
    pub fn lease(&mut self, want: Want) -> Option<(Ticket, Batch)> {
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

    /// Takes the oldest piece out, unless one is to come before it.
    pub fn pop(&mut self) -> Option<Piece> {
        let returned = self.returned.first_key_value().map(|(at, _)| *at);
        let front = self.fresh.front().map(|piece| piece.first);
        // What came back is usually older than the front, but not when another lease is still out.
        let (oldest, from_returned) = match (returned, front) {
            (Some(at), Some(front)) => (at.min(front), at < front),
            (Some(at), None) => (at, true),
            (None, front) => (front?, false),
        };
        if oldest >= self.barrier {
            return None;
        }
        let piece = if from_returned {
            self.returned.pop_first()?.1
        } else {
            self.fresh.pop_front()?
        };
        self.leaves(&piece);
        Some(piece)
    }

    /// Puts the rest of the piece that was popped last back.
    pub fn unpop(&mut self, rest: Option<Piece>) {
        if let Some(piece) = rest {
            self.comes(&piece);
            // It was the oldest of all, so the front of `fresh` stays in order.
            self.fresh.push_front(piece);
        }
    }
}

/// How many events from the front have at most `events` and `bytes`.
pub fn fitting(batch: &Batch, events: usize, bytes: usize) -> usize {
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
pub fn split(mut piece: Piece, at: usize) -> (Option<Piece>, Option<Piece>) {
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
        origin: Origin {
            number: piece.origin.number + at as u64,
            ..piece.origin
        },
    };
    (
        Some(Piece {
            first: piece.first,
            batch: front,
            claim,
            origin: piece.origin,
        }),
        Some(rest),
    )
}
