//! Which puts stay in memory and which go into the log, and the order over both.
//!
//! A channel has room for so many events ([`State::limits`](crate::component::queue::State)); so many of them may be in
//! memory alone, which is what is counted here. A file channel has no such room.
//!
//! ```text
//!   reserve: room in memory, nothing unread in the log ---------------------------> memory
//!            else, unless it is spilling already, waits up to overflowTimeout ----> memory, or the log
//!   commit:  still nothing unread in the log -------------------------------------> memory
//!            else ----------------------------------------------------------------> the log, in the room that it has
//! ```
//!
//! So what is behind something on the disk is on the disk too, and one queue has it all: every event has a number in the
//! order of the commits. Those in memory wait behind a barrier while one with a smaller number is still on its way, into
//! the log or out of it.

use crate::channel::file::core::Inner;
use crate::channel::file::store;
use crate::component::channel::{ChannelError, Claim, Position, SLOT_BYTES, Ticket};
use crate::component::queue::{Origin, Piece};
use proto::event::Batch;
use std::collections::{BTreeSet, HashMap};

/// How much may be in memory alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomLimits {
    /// Events; none for a file channel.
    pub events: usize,
    /// Bytes of bodies, each rounded up to whole slots of 100.
    pub bytes: usize,
    /// The least that an event counts for, in bytes.
    pub event_bytes: usize,
    /// Whether there is a log for what has no room here.
    pub overflow: bool,
    /// Events that are free again when the first put after a spill may wait for memory.
    pub calm_events: usize,
}

impl RoomLimits {
    /// Of a file channel: everything is in the log.
    pub const NONE: Self = Self {
        events: 0,
        bytes: 0,
        event_bytes: 1,
        overflow: true,
        calm_events: 0,
    };

    fn fits(&self, used: Claim, claim: Claim) -> Result<(), ChannelError> {
        let events = used.events + claim.events;
        if events > self.events {
            return Err(ChannelError::Full);
        }
        if used.bytes + claim.bytes > self.bytes || events.saturating_mul(self.event_bytes) > self.bytes {
            return Err(ChannelError::BytesFull {
                capacity_bytes: self.bytes,
            });
        }
        Ok(())
    }
}

/// The room in memory, and what is on its way.
#[derive(Debug)]
pub struct Room {
    pub limits: RoomLimits,
    /// Reserved, queued and leased.
    used: Claim,
    reserved: HashMap<u64, Claim>,
    /// A put has found memory full, and it is not much emptier since.
    spilling: bool,
    /// The first events of puts that are on their way into the log.
    committing: BTreeSet<u64>,
    /// Events that are only in the log have this number at least; nothing if there are none.
    unread_from: Option<u64>,
}

/// Where a put goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    Log,
}

impl Room {
    /// Empty.
    pub fn new(limits: RoomLimits) -> Self {
        Self {
            limits,
            used: Claim::default(),
            reserved: HashMap::new(),
            spilling: false,
            committing: BTreeSet::new(),
            unread_from: None,
        }
    }

    /// Whether this is a file channel's: none at all.
    pub fn is_none(&self) -> bool {
        self.limits.events == 0
    }

    /// Events in memory alone: queued or leased.
    pub fn events(&self) -> usize {
        self.used.events - self.reserved.values().map(|c| c.events).sum::<usize>()
    }

    fn take(&mut self, claim: Claim) {
        self.used.events += claim.events;
        self.used.bytes += claim.bytes;
    }

    fn give_back(&mut self, claim: Claim) {
        self.used.events -= claim.events;
        self.used.bytes -= claim.bytes;
    }
}

impl Inner {
    /// The most events that one put may have.
    pub fn largest_put(&self) -> usize {
        let transaction = self.queue.limits.transaction_capacity.unwrap_or(usize::MAX);
        if self.room.limits.overflow {
            // Flume looks at the transaction capacity only when a put goes to the disk.
            transaction.max(self.room.limits.events)
        } else {
            self.room.limits.events
        }
    }

    /// Whether a put can never have room.
    ///
    /// # Errors
    /// Why.
    pub fn can_ever_fit(&self, claim: Claim) -> Result<(), ChannelError> {
        let allowed = self.largest_put();
        if claim.events > allowed {
            return Err(ChannelError::TooLarge {
                found: claim.events,
                allowed,
            });
        }
        if !self.room.limits.overflow && claim.bytes > self.room.limits.bytes {
            return Err(ChannelError::NeverFits {
                bytes: claim.bytes,
                allowed: self.room.limits.bytes,
            });
        }
        Ok(())
    }

    /// Where a put of this size may go now; `late` says that it has waited.
    fn place(&self, claim: Claim, late: bool) -> Result<Place, ChannelError> {
        self.queue.fits(claim)?;
        if self.room.is_none() {
            return Ok(Place::Log);
        }
        let limits = self.room.limits;
        let room = limits.fits(self.room.used, claim);
        if room.is_ok() && self.memory_is_next() {
            return Ok(Place::Memory);
        }
        if !limits.overflow {
            return room.map(|()| Place::Memory);
        }
        let hopeless = limits.fits(Claim::default(), claim).is_err();
        if late || hopeless || self.room.spilling || self.on_disk > 0 {
            return Ok(Place::Log);
        }
        room.map(|()| Place::Memory)
    }

    /// Whether what goes to memory now is behind nothing that has to be read back first. Without overflow there is no
    /// other way, and the barrier keeps the order.
    pub fn memory_is_next(&self) -> bool {
        self.on_disk == 0 || !self.room.limits.overflow
    }

    /// Reserves, if there is room now; `late` says that the put has waited long enough for memory.
    ///
    /// # Errors
    /// What there is too little of.
    pub fn hold(&mut self, claim: Claim, late: bool) -> Result<Ticket, ChannelError> {
        let place = self.place(claim, late)?;
        let ticket = self.queue.hold(claim);
        match place {
            Place::Memory => {
                self.room.take(claim);
                self.room.reserved.insert(ticket.id, claim);
            }
            Place::Log => self.room.spilling = !self.room.is_none(),
        }
        Ok(ticket)
    }

    /// Gives a reservation back; says what it was, and whether it was for memory.
    pub fn release(&mut self, ticket: Ticket) -> Option<(Claim, bool)> {
        let claim = self.queue.reserved.remove(&ticket.id)?;
        self.queue.free(claim);
        let memory = self.room.reserved.remove(&ticket.id);
        if let Some(claim) = memory {
            self.room.give_back(claim);
        }
        Some((claim, memory.is_some()))
    }

    /// Serves waiting puts in order while there is room.
    pub fn grant(&mut self) {
        while let Some(waiter) = self.queue.waiters.front() {
            let Ok(ticket) = self.hold(waiter.claim, false) else {
                return;
            };
            let heard = self
                .queue
                .waiters
                .pop_front()
                .is_some_and(|waiter| waiter.granted.send(ticket).is_ok());
            if !heard {
                // The putter has gone in the meantime.
                self.release(ticket);
            }
        }
    }

    /// A put has waited for its time: it goes into the log if that has room.
    ///
    /// # Errors
    /// It has none, or there is none.
    pub fn spill(&mut self, id: u64, claim: Claim) -> Result<Ticket, ChannelError> {
        self.queue.waiters.retain(|w| w.id != id);
        let held = match self.room.is_none() {
            // Waiting was for room in the log itself, and one that came earlier may wait for it still.
            true => Err(ChannelError::Full),
            false => self.hold(claim, true),
        };
        self.grant();
        held
    }

    /// Whether a reservation is for memory.
    pub fn is_for_memory(&self, ticket: Ticket) -> bool {
        self.room.reserved.contains_key(&ticket.id)
    }

    /// Puts a batch into the queue that is in memory alone; its room is free, as it was reserved until now.
    pub fn remember(&mut self, batch: Batch, claim: Claim) {
        self.room.take(claim);
        self.queue.enqueue(batch, claim);
    }

    /// Takes of events in memory alone are for good.
    pub fn forget(&mut self, claim: Claim) {
        self.queue.free(claim);
        self.room.give_back(claim);
        let limits = self.room.limits;
        let free = limits.events.saturating_sub(self.room.used.events);
        if free >= limits.calm_events && self.on_disk == 0 {
            self.room.spilling = false;
        }
    }

    /// A put begins its way into the log.
    pub fn sent(&mut self, order: u64) {
        if !self.room.is_none() {
            self.room.committing.insert(order);
            self.set_barrier();
        }
    }

    /// A put is in the log or has failed; `unread` says that it is only there.
    pub fn arrived(&mut self, order: u64, unread: bool) {
        self.room.committing.remove(&order);
        if unread {
            let from = self.room.unread_from.map_or(order, |from| from.min(order));
            self.room.unread_from = Some(from);
        }
        self.set_barrier();
    }

    /// Whatever is still unread has this number at least.
    pub fn read_up_to(&mut self, order: u64) {
        self.room.unread_from = (self.on_disk > 0).then_some(order);
        self.set_barrier();
    }

    /// Some of what was unread is lost.
    pub fn lost_unread(&mut self) {
        self.read_up_to(self.room.unread_from.unwrap_or_default());
    }

    fn set_barrier(&mut self) {
        if self.room.is_none() && self.room.used.events == 0 {
            self.queue.barrier = u64::MAX; // all that comes out was in the log, and is loaded in order
            return;
        }
        let on_the_way = self.room.committing.first().copied().into_iter();
        self.queue.barrier = on_the_way.chain(self.room.unread_from).min().unwrap_or(u64::MAX);
    }

    /// Bytes of queued events that are in the log as well.
    pub fn window_bytes(&self) -> usize {
        self.queue.pinned - self.queue.pinned_in_memory
    }

    /// Whether the thread should load some of what is only in the log.
    pub fn wants_loading(&self) -> bool {
        self.on_disk > 0 && store::window_is_low(self.window_bytes())
    }

    /// What is in memory alone, in order; what was leased is back, and its tickets are of no use.
    pub fn memory(&mut self) -> Vec<Piece> {
        let leased = std::mem::take(&mut self.queue.leased);
        for pieces in leased.into_values() {
            self.queue.put_back(pieces);
        }
        let mut memory = Vec::new();
        let barrier = std::mem::replace(&mut self.queue.barrier, u64::MAX);
        let mut others = Vec::new();
        while let Some(piece) = self.queue.pop() {
            if piece.origin.is_memory() {
                self.queue.free(piece.claim);
                self.room.give_back(piece.claim);
                memory.push(piece);
            } else {
                others.push(piece);
            }
        }
        self.queue.put_back(others);
        self.queue.barrier = barrier;
        memory
    }

    /// Takes over what another one has in memory alone: its logs are opened anew.
    pub fn remember_all(&mut self, old: &mut Self) {
        self.room = Room::new(old.room.limits);
        self.queue.next_event = old.queue.next_event;
        for piece in old.memory() {
            self.remember_again(piece);
        }
    }

    /// Puts a piece back that [`memory`](Self::memory) has given.
    pub fn remember_again(&mut self, piece: Piece) {
        self.queue.used.events += piece.claim.events;
        self.queue.used.bytes += piece.claim.bytes;
        self.room.take(piece.claim);
        self.queue.insert(Piece {
            origin: Origin::MEMORY,
            ..piece
        });
    }

    /// Where somebody stands, for as long as the process lives.
    pub fn note_position(&mut self, position: Option<Position>) {
        let stamped = self.stamped(position);
        self.moved(stamped);
    }

    /// Other settings: what is there stays.
    pub fn limit_room(&mut self, limits: RoomLimits) {
        self.room.limits = limits;
        self.room.spilling = false;
        self.set_barrier();
    }

    /// Frees all reservations.
    pub fn release_all(&mut self) {
        for (_, claim) in std::mem::take(&mut self.queue.reserved) {
            self.queue.free(claim);
        }
        for (_, claim) in std::mem::take(&mut self.room.reserved) {
            self.room.give_back(claim);
        }
    }

    /// Whether the books of memory balance.
    ///
    /// # Errors
    /// What does not.
    pub fn check_room(&self) -> Result<(), String> {
        let queued = self.queue.fresh.iter().chain(self.queue.returned.values());
        let held = queued.chain(self.queue.leased.values().flatten());
        let alone = held.filter(|piece| piece.origin.is_memory());
        let mut sum = Claim::default();
        for claim in alone
            .map(|piece| piece.claim)
            .chain(self.room.reserved.values().copied())
        {
            sum.events += claim.events;
            sum.bytes += claim.bytes;
        }
        if sum != self.room.used {
            return Err(format!("in memory {:?}, counted {sum:?}", self.room.used));
        }
        Ok(())
    }
}

/// Bytes for whole slots of at least `slot_bytes`, of a capacity of which a part stays free; less than one slot means no
/// limit, as in Flume.
pub fn usable_bytes(byte_capacity: u64, buffer_percentage: u64, slot_bytes: usize) -> usize {
    let usable = u128::from(byte_capacity) * u128::from(100 - buffer_percentage.min(100)) / 100;
    let slots = match usize::try_from(usable / slot_bytes.max(1) as u128) {
        Ok(0) | Err(_) => i32::MAX as usize,
        Ok(slots) => slots,
    };
    slots.saturating_mul(slot_bytes).max(SLOT_BYTES)
}
