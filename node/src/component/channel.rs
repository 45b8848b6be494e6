//! The channel contract, and the handle, permit and lease through which everybody else meets a channel.
//!
//! ```text
//!   source                      channel                        sink
//!   reserve(claim) ----------->  waits keep-alive  | Full
//!     Permit  <----------------  space is held
//!   permit.commit(batch, pos) ->  safe as this channel makes it
//!                                 take(want)  <---------------  returns at once with what is there,
//!                                 Lease  -------------------->  waits only when nothing is
//!                                 commit, in any order  <-----  gone for good; space is free again
//!                                 rollback, or drop  <--------  back in its old place, same order
//! ```
//!
//! Batches never go through a mailbox: a [`ChannelHandle`] works from any thread (the figures are in
//! node/README.md). The queue belongs to the [`Channel`] value, which the supervisor's recipe holds, not to the
//! actor that looks after it: when that actor dies and comes back, [`Channel::attach`] rolls back what was open
//! and refuses commits of permits and leases from before.

use super::BoxFuture;
use super::counters::ChannelCounters;
use super::fault::{Faults, Stage};
use super::keys::Keys;
use super::registry::BuildContext;
use bytes::Bytes;
use proto::event::Batch;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Flume counts bodies in slots of 100 bytes; see [`Claim`].
pub const SLOT_BYTES: usize = 100;

/// What "max heap" means in Flume's defaults where `-Xmx` is not given, in bytes.
pub const DEFAULT_HEAP_BYTES: u64 = 512 << 20;

/// How much room a put needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Claim {
    /// Events.
    pub events: usize,
    /// Bytes of bodies, each rounded up to a whole slot of 100 bytes, at least one (Flume's accounting; headers
    /// do not count).
    pub bytes: usize,
}

impl Claim {
    /// What this batch needs.
    pub fn of(batch: &Batch) -> Self {
        let slots: usize = batch
            .iter()
            .map(|e| e.body().len().max(1).div_ceil(SLOT_BYTES))
            .sum();
        Self {
            events: batch.len(),
            bytes: slots * SLOT_BYTES,
        }
    }
}

/// How much a take asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// At most so many events.
    pub events: usize,
    /// At most so many bytes of bodies, but at least one event.
    pub bytes: usize,
}

impl Want {
    /// At most so many events of any size.
    pub fn events(events: usize) -> Self {
        Self {
            events,
            bytes: usize::MAX,
        }
    }
}

/// Names an open reservation or lease inside its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Unique in the channel.
    pub id: u64,
    /// How often the channel had been attached when the ticket was given.
    pub generation: u64,
}

/// Where a source or a sink stands, kept in the same commit as the events it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Whose it is: `source/<name>` or `sink/<name>`.
    pub owner: Arc<str>,
    /// Opaque bytes of the owner.
    pub bytes: Bytes,
}

/// What a channel has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelLimits {
    /// Events.
    pub capacity: usize,
    /// Events in one put or take, if the channel restricts that.
    pub transaction_capacity: Option<usize>,
    /// How long a put waits for room.
    pub keep_alive: Duration,
    /// Whether what is committed survives the process.
    pub durable: bool,
}

/// Why a channel refuses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChannelError {
    /// No room for the events within keep-alive. Flume's ChannelFullException.
    #[error(
        "Space for commit to queue couldn't be acquired. Sinks are likely not keeping up with sources, or the \
         buffer size is too tight"
    )]
    Full,
    /// As `Full`, in the words of Flume's file channel.
    #[error(
        "The channel has reached it's capacity. This might be the result of a sink on the channel having too low of \
         batch size, a downstream system running slower than normal, or that the channel capacity is just too low. \
         [channel={channel}]"
    )]
    FileFull {
        /// The channel's name.
        channel: Arc<str>,
    },
    /// No room for the bytes within keep-alive.
    #[error(
        "Cannot commit transaction. Byte capacity allocated to store event body {capacity_bytes}.0reached. Please \
         increase heap space/byte capacity allocated to the channel as the sinks may not be keeping up with the \
         sources"
    )]
    BytesFull {
        /// The channel's byte capacity, in bytes.
        capacity_bytes: usize,
    },
    /// More events in one put than the transaction capacity.
    #[error(
        "Put queue for MemoryTransaction of capacity {allowed} full, consider committing more frequently, \
         increasing capacity or increasing thread count (found a batch of {found} events)"
    )]
    TooLarge {
        /// Events in the put.
        found: usize,
        /// transactionCapacity.
        allowed: usize,
    },
    /// More events in one Flume transaction's takes than the transaction capacity.
    #[error(
        "Take list for MemoryTransaction, capacity {allowed} full, consider committing more frequently, increasing \
         capacity, or increasing thread count"
    )]
    TakeTooLarge {
        /// transactionCapacity.
        allowed: usize,
    },
    /// The claim exceeds what the empty channel has room for.
    #[error("batch of {bytes} bytes can never fit into the channel's byte capacity of {allowed} bytes")]
    NeverFits {
        /// Bytes claimed.
        bytes: usize,
        /// Bytes of the empty channel.
        allowed: usize,
    },
    /// The channel's actor is down or the channel is closing; what is queued stays.
    #[error("channel is not running")]
    Unavailable,
    /// The channel was attached anew since the permit or lease was given; the events are queued or free again.
    #[error("channel was restarted: the transaction was rolled back")]
    Fenced,
    /// The store below failed; whether the commit happened shows after its restart.
    #[error("channel storage failed: {0}")]
    Storage(String),
    /// An interceptor failed: the batch is in no channel. Mostly it would fail again with the same events, which only a
    /// person can tell.
    #[error("{0}")]
    Interceptor(String),
    /// The contract was broken.
    #[error("{0}")]
    Bug(String),
}

/// How often a batch that an interceptor fails on is put, before its events are tried in smaller pieces; see
/// [`ChannelError::is_final`].
const INTERCEPTOR_ATTEMPTS: u32 = 3;

impl ChannelError {
    /// Whether the same put will be refused again, after so many refusals, however long one waits. For sources that have
    /// nowhere to leave events: they try smaller batches then, and give a single event up.
    pub fn is_final(&self, refusals: u32) -> bool {
        match self {
            Self::TooLarge { .. } | Self::NeverFits { .. } | Self::Bug(_) => true,
            Self::Interceptor(_) => refusals >= INTERCEPTOR_ATTEMPTS,
            _ => false,
        }
    }
}

/// A queue of events with transactions; what the author of a channel writes. Everything here may be called from
/// any thread. The contract suite in `component/contract` says in tests what is said here in words.
pub trait Channel: Send + Sync + 'static {
    /// What there is room for.
    fn limits(&self) -> ChannelLimits;

    /// Holds room for a claim; waits up to keep-alive, in order of arrival, then refuses.
    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Ticket, ChannelError>>;

    /// Gives a reservation back.
    fn cancel(&self, ticket: Ticket);

    /// Queues the batch, which must fit the reservation, and resolves when it is as safe as this channel makes
    /// it. The reservation is used up either way.
    fn commit_put(
        &self,
        ticket: Ticket,
        batch: Batch,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>>;

    /// Leases events from the head: returns at once with what is there; waits up to `wait` only when nothing is.
    fn take(
        &self,
        want: Want,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<(Ticket, Batch)>, ChannelError>>;

    /// Removes leased events for good, in any order among open leases. Takes effect in the order in which the futures
    /// are first polled: of several commits under way at once, the position of the last one begun is the one that
    /// stays, and none is there without those before it.
    fn commit_take(
        &self,
        ticket: Ticket,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>>;

    /// Puts leased events back where they were. Returns how many; none if the ticket is not open.
    fn rollback(&self, ticket: Ticket) -> usize;

    /// The position last committed by this owner.
    fn position(&self, owner: &str) -> Option<Bytes>;

    /// Events queued, without leased ones.
    fn queued(&self) -> usize;

    /// Events queued or leased.
    fn held(&self) -> usize;

    /// Memory that the queued events keep alive, in bytes.
    fn pinned_bytes(&self) -> usize;

    /// Its actor has started: rolls back every open reservation and lease and begins to serve. Returns the new
    /// generation, the pass for [`detach`](Self::detach).
    fn attach(&self) -> u64;

    /// The actor of that generation is gone: refuses new transactions; what is queued stays. Has no effect when
    /// a newer one has attached in the meantime.
    fn detach(&self, generation: u64);

    /// Resolves when it serves: a channel that reads files first is attached before it is open. Sources and sinks begin
    /// only then, as their positions are not known before.
    fn serves(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Whether [`reconfigure`](Self::reconfigure) does anything. A channel that cannot change its settings while
    /// it runs is emptied and replaced by a reload that changes them.
    fn reconfigurable(&self) -> bool {
        false
    }

    /// Takes over other settings in place and keeps what is queued. Findings are left in `keys`; with an error
    /// among them nothing has changed.
    fn reconfigure(&self, keys: &mut Keys, ctx: &BuildContext) {
        let _ = (keys, ctx);
    }

    /// Events that are in memory alone: a kill loses them.
    fn memory_events(&self) -> usize {
        self.volatile()
    }

    /// Events that the end of the process would lose: a node that stops lets its sinks have them first.
    fn volatile(&self) -> usize {
        if self.limits().durable { 0 } else { self.held() }
    }

    /// The channel goes away for good: makes what it holds as safe as it can. Returns how many events are lost. Blocks;
    /// nothing else is asked of it afterwards.
    fn close(&self) -> usize {
        self.volatile()
    }

    /// Is told the cells to count in what only the channel knows; before it is attached.
    fn count_in(&self, counters: &ChannelCounters) {
        let _ = counters;
    }

    /// An error as Flume's channel of this kind words it.
    fn in_its_words(&self, error: ChannelError) -> ChannelError {
        error
    }

    /// Whether the reason for which [`check`](Self::check) fails is to end the process.
    fn is_fatal(&self) -> bool {
        false
    }

    /// Whether the books balance; for tests and for the actor's self-check.
    fn check(&self) -> Result<(), String>;
}

/// The way to a channel, from any thread, without a mailbox. Cheap to clone.
#[derive(Clone)]
pub struct ChannelHandle(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    channel: Arc<dyn Channel>,
    counters: ChannelCounters,
    faults: Faults,
}

impl fmt::Debug for ChannelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelHandle({})", self.0.name)
    }
}

impl ChannelHandle {
    /// A handle that counts in `counters`.
    pub fn new(name: &str, channel: Arc<dyn Channel>, counters: ChannelCounters, faults: Faults) -> Self {
        counters.capacity.set(channel.limits().capacity as u64);
        channel.count_in(&counters);
        Self(Arc::new(Inner {
            name: name.into(),
            channel,
            counters,
            faults,
        }))
    }

    /// The channel's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What there is room for.
    pub fn limits(&self) -> ChannelLimits {
        self.0.channel.limits()
    }

    /// The channel itself, for its actor.
    pub fn channel(&self) -> &Arc<dyn Channel> {
        &self.0.channel
    }

    /// The channel's counters.
    pub fn counters(&self) -> &ChannelCounters {
        &self.0.counters
    }

    /// Whether both lead to the same channel.
    pub fn is_same(&self, other: &ChannelHandle) -> bool {
        Arc::ptr_eq(&self.0.channel, &other.0.channel)
    }

    /// Reserves room for a claim; waits up to keep-alive.
    pub async fn reserve(&self, claim: Claim) -> Result<Permit, ChannelError> {
        self.0.counters.put_attempted.add(claim.events as u64);
        match self.0.channel.reserve(claim).await {
            Ok(ticket) => Ok(Permit {
                handle: self.clone(),
                ticket: Some(ticket),
                claim,
            }),
            Err(error) => {
                self.0.counters.refused.add(1);
                Err(self.0.channel.in_its_words(error))
            }
        }
    }

    /// Leases up to `want`; waits up to `wait` only when nothing is there.
    pub async fn take(&self, want: Want, wait: Duration) -> Result<Option<Lease>, ChannelError> {
        let taken = self.0.channel.take(want, wait).await?;
        let got = taken.as_ref().map_or(0, |(_, batch)| batch.len());
        // Flume counts the null that ends a short take as an attempt too.
        self.0
            .counters
            .take_attempts
            .add(got as u64 + u64::from(got < want.events));
        Ok(taken.map(|(ticket, batch)| Lease {
            handle: self.clone(),
            ticket: Some(ticket),
            batch,
        }))
    }

    /// Resolves when the channel serves; see [`Channel::serves`].
    pub async fn serves(&self) {
        self.0.channel.serves().await;
    }

    /// The position last committed by this owner.
    pub fn position(&self, owner: &str) -> Option<Bytes> {
        self.0.channel.position(owner)
    }

    /// Takes over other settings; see [`Channel::reconfigure`].
    pub fn reconfigure(&self, keys: &mut Keys, ctx: &BuildContext) {
        self.0.channel.reconfigure(keys, ctx);
        self.0.counters.capacity.set(self.limits().capacity as u64);
    }

    /// Shows size and memory to the metrics; called after every commit and rollback.
    pub fn gauge(&self) {
        self.0.counters.events.set(self.0.channel.queued() as u64);
        self.0
            .counters
            .pinned_bytes
            .set(self.0.channel.pinned_bytes() as u64);
        self.0
            .counters
            .memory_events
            .set(self.0.channel.memory_events() as u64);
    }
}

/// Room held in a channel. Dropping it gives the room back.
#[must_use = "dropping a permit gives the room back"]
#[derive(Debug)]
pub struct Permit {
    handle: ChannelHandle,
    ticket: Option<Ticket>,
    claim: Claim,
}

impl Permit {
    /// What was reserved.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Puts the batch, which must not need more than was reserved. `Ok` means: as safe as this channel makes it.
    pub async fn commit(mut self, batch: Batch, position: Option<Position>) -> Result<(), ChannelError> {
        let need = Claim::of(&batch);
        if need.events > self.claim.events || need.bytes > self.claim.bytes {
            return Err(ChannelError::Bug(format!(
                "batch needs {need:?}, reserved was {:?}",
                self.claim
            )));
        }
        let Some(ticket) = self.ticket.take() else {
            return Err(ChannelError::Fenced);
        };
        let begun = Instant::now();
        // Whoever keeps events for long must not keep a read buffer of ten times their size with them.
        let put = self
            .handle
            .0
            .channel
            .commit_put(ticket, batch.compacted(), position)
            .await;
        match &put {
            Ok(()) => {
                let counters = &self.handle.0.counters;
                counters.put.add(need.events as u64);
                counters.put_commits.add(1);
                counters
                    .put_commit_microseconds
                    .add(begun.elapsed().as_micros() as u64);
                self.handle.gauge();
            }
            Err(_) => self.handle.0.counters.refused.add(1),
        }
        put.map_err(|error| self.handle.0.channel.in_its_words(error))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.handle.0.channel.cancel(ticket);
        }
    }
}

/// Events taken, not yet gone. Dropping it puts them back.
#[must_use = "dropping a lease puts its events back"]
#[derive(Debug)]
pub struct Lease {
    handle: ChannelHandle,
    ticket: Option<Ticket>,
    batch: Batch,
}

impl Lease {
    /// The events; never empty.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Whether what the channel holds survives the process: then what a sink has delivered must be as safe before it
    /// commits.
    pub fn durable(&self) -> bool {
        self.handle.limits().durable
    }

    /// Whether more events are queued now. A sink that keeps leases commits them when there are not, for nobody says
    /// when the next ones come, and putters may be waiting for the room.
    pub fn more_queued(&self) -> bool {
        self.handle.0.channel.queued() > 0
    }

    /// The position last committed by this owner.
    pub fn position(&self, owner: &str) -> Option<Bytes> {
        self.handle.position(owner)
    }

    /// The events are safe elsewhere: removes them for good.
    pub async fn commit(self) -> Result<(), ChannelError> {
        self.finish(None).await
    }

    /// As [`commit`](Self::commit), keeping the sink's own position in the same commit.
    pub async fn commit_with(self, position: Position) -> Result<(), ChannelError> {
        self.finish(Some(position)).await
    }

    /// Puts the events back where they were.
    pub fn rollback(self) {
        drop(self);
    }

    async fn finish(mut self, position: Option<Position>) -> Result<(), ChannelError> {
        self.handle.0.faults.point(Stage::TakeCommit, self.handle.name());
        let Some(ticket) = self.ticket.take() else {
            return Err(ChannelError::Fenced);
        };
        self.handle.0.channel.commit_take(ticket, position).await?;
        self.handle.0.counters.taken.add(self.batch.len() as u64);
        self.handle.gauge();
        Ok(())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let back = self.handle.0.channel.rollback(ticket);
            self.handle.0.counters.rolled_back.add(back as u64);
            self.handle.gauge();
        }
    }
}
