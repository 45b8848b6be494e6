//! `memory`: a bounded queue in memory, Flume's MemoryChannel.
//!
//! Promise: what is committed stays, in order, through panics of any actor and through reloads, and is lost with
//! the process. Room is counted as Flume does (`flume/channels-and-sinks.md` 3.1): events, and bodies in slots of
//! 100 bytes, headers not counted; the room of taken events is free again only when their take commits. Puts
//! that must wait for room are served in the order in which they came.
//!
//! Failures: full for longer than keep-alive: refused. A batch over transactionCapacity or over the whole byte
//! capacity: refused at once, as waiting cannot help. Actor gone: refused until it is back; what is queued stays.
//!
//! The queue holds batches, not events: a put appends one, a take splits the front one without copying. Events
//! are numbered in the order of their commits; what is rolled back returns to its place by that number, so order
//! holds also when several leases are open.

use crate::component::BoxFuture;
use crate::component::channel::{
    Channel, ChannelError, ChannelLimits, Claim, DEFAULT_HEAP_BYTES, Position, SLOT_BYTES, Ticket, Want,
};
use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::queue::{State, Waiter};
use crate::component::registry::{BuildContext, Type};
use bytes::Bytes;
use proto::event::Batch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How the list names it.
pub const TYPE: Type<Arc<dyn Channel>> = Type {
    alias: "memory",
    classes: &["org.apache.flume.channel.MemoryChannel"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Arc::new(Config::read(keys, ctx.max_heap_bytes).build()?)),
};

/// Flume's PseudoTxnMemoryChannel, of which Flume knows no short name: there a put is visible before it is committed and a
/// take that is rolled back is lost. Here it is a memory channel of 50 events, in whole transactions.
pub const PSEUDO_TRANSACTION: Type<Arc<dyn Channel>> = Type {
    alias: "",
    classes: &["org.apache.flume.channel.PseudoTxnMemoryChannel"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Arc::new(Config::read_pseudo(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `capacity`: events; default 100. A bad number is 100, as in Flume.
    pub capacity: usize,
    /// `transactionCapacity`: events in one put or take; default 100; at most `capacity`. A PseudoTxnMemoryChannel has
    /// none.
    pub transaction_capacity: Option<usize>,
    /// `keep-alive`: seconds that a put waits for room; default 3.
    pub keep_alive: Duration,
    /// `byteCapacity`: bytes of bodies; default 80 % of "max heap" (`-Xmx`, else 512 MiB); 0 is unlimited.
    pub byte_capacity: u64,
    /// `byteCapacityBufferPercentage`: part of it kept free for headers, in %; default 20.
    pub byte_capacity_buffer_percentage: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            capacity: 100,
            transaction_capacity: Some(100),
            keep_alive: Duration::from_secs(3),
            byte_capacity: DEFAULT_HEAP_BYTES / 10 * 8,
            byte_capacity_buffer_percentage: 20,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, max_heap_bytes: Option<u64>) -> Self {
        let default = Self::default();
        let heap = max_heap_bytes.unwrap_or(DEFAULT_HEAP_BYTES);
        let capacity = keys.lenient_number("capacity", default.capacity, 1..=i32::MAX as usize);
        let transaction_capacity = keys.lenient_number("transactionCapacity", 100, 1..=i32::MAX as usize);
        let keep_alive = keys.lenient_number("keep-alive", default.keep_alive.as_secs(), 0..=i32::MAX as u64);
        let config = Self {
            capacity,
            transaction_capacity: Some(transaction_capacity),
            keep_alive: Duration::from_secs(keep_alive),
            byte_capacity: keys.lenient_number("byteCapacity", heap / 10 * 8, 0..=i64::MAX as u64),
            byte_capacity_buffer_percentage: keys.lenient_number(
                "byteCapacityBufferPercentage",
                default.byte_capacity_buffer_percentage,
                0..=100,
            ),
        };
        if transaction_capacity > capacity {
            let message = format!(
                "Transaction Capacity of Memory Channel cannot be higher than the capacity. \
                 Found {transaction_capacity}, allowed are 1 to {capacity} (capacity; 100 unless it is set)"
            );
            keys.wrong("transactionCapacity", &message);
        }
        config
    }

    /// Reads the properties of a PseudoTxnMemoryChannel: `capacity` in events, default 50, and `keep-alive`. Bodies have no
    /// limit there, and a put may have as many events as the channel.
    pub fn read_pseudo(keys: &mut Keys) -> Self {
        let capacity = keys.number("capacity", 50, 1..=i32::MAX as usize);
        Self {
            capacity,
            transaction_capacity: None,
            keep_alive: Duration::from_secs(keys.number("keep-alive", 3, 0..=i32::MAX as u64)),
            byte_capacity: 0,
            ..Self::default()
        }
    }

    /// The channel; closed until it is attached.
    pub fn build(self) -> Result<Memory, BuildError> {
        Ok(Memory {
            state: Mutex::new(State::new(self.limits(), self.slots())),
            filled: Notify::new(),
        })
    }

    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            capacity: self.capacity,
            transaction_capacity: self.transaction_capacity,
            keep_alive: self.keep_alive,
            durable: false,
        }
    }

    /// Room for bodies in slots of 100 bytes; less than one slot means no limit, as in Flume.
    fn slots(&self) -> usize {
        let usable =
            u128::from(self.byte_capacity) * u128::from(100 - self.byte_capacity_buffer_percentage) / 100;
        match usize::try_from(usable / SLOT_BYTES as u128) {
            Ok(0) | Err(_) => i32::MAX as usize,
            Ok(slots) => slots,
        }
    }
}

/// The channel.
pub struct Memory {
    state: Mutex<State>,
    /// Told when events come in or come back.
    filled: Notify,
}

impl Memory {
    /// A panic under the lock can only come from an allocation that fails; the books are checked by `check`.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_large(&self, claim: Claim, state: &State) -> Result<(), ChannelError> {
        let limits = state.limits;
        let allowed = limits.transaction_capacity.unwrap_or(limits.capacity);
        if claim.events > allowed {
            return Err(ChannelError::TooLarge {
                found: claim.events,
                allowed,
            });
        }
        if claim.bytes > state.slots * SLOT_BYTES {
            return Err(ChannelError::NeverFits {
                bytes: claim.bytes,
                allowed: state.slots * SLOT_BYTES,
            });
        }
        Ok(())
    }

    /// Reserves at once, or joins the queue of those who wait.
    fn ask(&self, claim: Claim) -> Result<Result<Ticket, (u64, oneshot::Receiver<Ticket>)>, ChannelError> {
        let mut state = self.state();
        if !state.open {
            return Err(ChannelError::Unavailable);
        }
        self.too_large(claim, &state)?;
        if state.waiters.is_empty() && state.fits(claim).is_ok() {
            return Ok(Ok(state.hold(claim)));
        }
        if state.limits.keep_alive.is_zero() {
            return Err(state.fits(claim).err().unwrap_or(ChannelError::Full));
        }
        let (granted, grant) = oneshot::channel();
        state.next_ticket += 1;
        let id = state.next_ticket;
        state.waiters.push_back(Waiter { id, claim, granted });
        Ok(Err((id, grant)))
    }

    fn leave(&self, id: u64, claim: Claim) -> ChannelError {
        let mut state = self.state();
        state.waiters.retain(|w| w.id != id);
        // The one behind may fit where this one did not.
        state.grant();
        state.fits(claim).err().unwrap_or(ChannelError::Full)
    }
}

/// Leaves the queue of waiting puts when the putter goes away, and gives back a grant that it did not see.
struct Queueing<'a> {
    memory: &'a Memory,
    id: u64,
    claim: Claim,
    grant: oneshot::Receiver<Ticket>,
    done: bool,
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.memory.leave(self.id, self.claim);
            if let Ok(ticket) = self.grant.try_recv() {
                self.memory.cancel(ticket);
            }
        }
    }
}

impl Channel for Memory {
    fn limits(&self) -> ChannelLimits {
        self.state().limits
    }

    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Ticket, ChannelError>> {
        Box::pin(async move {
            let (id, grant) = match self.ask(claim)? {
                Ok(ticket) => return Ok(ticket),
                Err(waiting) => waiting,
            };
            let mut queueing = Queueing {
                memory: self,
                id,
                claim,
                grant,
                done: false,
            };
            match tokio::time::timeout(self.limits().keep_alive, &mut queueing.grant).await {
                Ok(Ok(ticket)) => {
                    queueing.done = true;
                    Ok(ticket)
                }
                Ok(Err(_)) => Err(ChannelError::Unavailable),
                Err(_) => Err(self.leave(id, claim)),
            }
        })
    }

    fn cancel(&self, ticket: Ticket) {
        let mut state = self.state();
        if let Some(claim) = state.reserved.remove(&ticket.id) {
            state.free(claim);
            state.grant();
        }
    }

    fn commit_put(
        &self,
        ticket: Ticket,
        batch: Batch,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            let claim = Claim::of(&batch);
            {
                let mut state = self.state();
                let reserved = state.reserved.remove(&ticket.id).ok_or(ChannelError::Fenced)?;
                state.free(reserved);
                if !state.open {
                    state.grant();
                    return Err(ChannelError::Unavailable); // nobody would ever take it
                }
                state.used.events += claim.events;
                state.used.bytes += claim.bytes;
                if !batch.is_empty() {
                    state.enqueue(batch, claim);
                }
                if let Some(position) = position {
                    state.positions.insert(position.owner, position.bytes);
                }
                if claim != reserved {
                    state.grant();
                }
            }
            self.filled.notify_one();
            Ok(())
        })
    }

    fn take(
        &self,
        want: Want,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<(Ticket, Batch)>, ChannelError>> {
        Box::pin(async move {
            let attempt = || {
                let mut state = self.state();
                if !state.open {
                    return Err(ChannelError::Unavailable);
                }
                let lease = state.lease(want);
                if lease.is_some() && state.queued_events > 0 {
                    self.filled.notify_one(); // there is more, for another taker
                }
                Ok(lease)
            };
            if let Some(lease) = attempt()? {
                return Ok(Some(lease));
            }
            let filled = async {
                loop {
                    self.filled.notified().await;
                    if let Some(lease) = attempt()? {
                        return Ok(Some(lease));
                    }
                }
            };
            tokio::time::timeout(wait, filled).await.unwrap_or(Ok(None))
        })
    }

    fn commit_take(
        &self,
        ticket: Ticket,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            let mut state = self.state();
            let pieces = state.leased.remove(&ticket.id).ok_or(ChannelError::Fenced)?;
            for piece in &pieces {
                state.free(piece.claim);
            }
            if let Some(position) = position {
                state.positions.insert(position.owner, position.bytes);
            }
            state.grant();
            drop(state);
            drop(pieces); // memory is given back outside of the lock
            Ok(())
        })
    }

    fn rollback(&self, ticket: Ticket) -> usize {
        let mut state = self.state();
        let Some(pieces) = state.leased.remove(&ticket.id) else {
            return 0;
        };
        let events = state.put_back(pieces);
        drop(state);
        self.filled.notify_one();
        events
    }

    fn position(&self, owner: &str) -> Option<Bytes> {
        self.state().positions.get(owner).cloned()
    }

    fn queued(&self) -> usize {
        self.state().queued_events
    }

    fn held(&self) -> usize {
        let state = self.state();
        let leased = state.leased.values().flatten().map(|p| p.claim.events);
        state.queued_events + leased.sum::<usize>()
    }

    fn pinned_bytes(&self) -> usize {
        self.state().pinned
    }

    fn attach(&self) -> u64 {
        let mut state = self.state();
        state.generation += 1;
        state.open = true;
        for (_, claim) in std::mem::take(&mut state.reserved) {
            state.free(claim);
        }
        for (_, pieces) in std::mem::take(&mut state.leased) {
            state.put_back(pieces);
        }
        state.grant();
        let generation = state.generation;
        drop(state);
        self.filled.notify_one();
        generation
    }

    fn detach(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation {
            state.open = false;
            state.waiters.clear(); // they hear `Unavailable` now, not after keep-alive
        }
    }

    fn reconfigurable(&self) -> bool {
        true
    }

    fn reconfigure(&self, keys: &mut Keys, ctx: &BuildContext) {
        let is_pseudo = self.state().limits.transaction_capacity.is_none();
        let config = match is_pseudo {
            true => Config::read_pseudo(keys),
            false => Config::read(keys, ctx.max_heap_bytes),
        };
        if keys.has_errors() {
            return;
        }
        let mut state = self.state();
        state.limits = config.limits();
        state.slots = config.slots();
        // What is there stays, also when there is more of it than would be let in now.
        state.held_at_shrinking = state.used.events;
        state.grant();
    }

    fn check(&self) -> Result<(), String> {
        let state = self.state();
        let mut sum = Claim::default();
        let mut queued = 0;
        for piece in state.fresh.iter().chain(state.returned.values()) {
            queued += piece.batch.len();
            sum.events += piece.claim.events;
            sum.bytes += piece.claim.bytes;
        }
        let open = state
            .leased
            .values()
            .flatten()
            .map(|p| p.claim)
            .chain(state.reserved.values().copied());
        for claim in open {
            sum.events += claim.events;
            sum.bytes += claim.bytes;
        }
        if sum != state.used || queued != state.queued_events {
            return Err(format!(
                "used {:?}, counted {sum:?}; queued {}, counted {queued}",
                state.used, state.queued_events
            ));
        }
        if state.used.events > state.limits.capacity.max(state.held_at_shrinking) {
            return Err(format!(
                "{} events in a channel of {}",
                state.used.events, state.limits.capacity
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{ManualClock, build_context, channel as contract};
    use crate::component::registry::Types;

    fn memory(pairs: &[(&str, &str)]) -> Arc<dyn Channel> {
        let mut keys = Keys::of("channel c1 (memory)", pairs);
        let channel = Config::read(&mut keys, None).build().unwrap();
        assert!(!keys.has_errors(), "{:?}", keys.finish());
        channel.attach();
        Arc::new(channel)
    }

    contract::suite!(|capacity: usize, transaction: usize, keep_alive_secs: u64| {
        memory(&[
            ("capacity", &capacity.to_string()),
            ("transactionCapacity", &transaction.to_string()),
            ("keep-alive", &keep_alive_secs.to_string()),
        ])
    });

    mod pseudo_transaction {
        use super::*;

        fn pseudo(pairs: &[(&str, &str)]) -> Arc<dyn Channel> {
            let mut keys = Keys::of("channel c1", pairs);
            let channel = Config::read_pseudo(&mut keys).build().unwrap();
            assert!(!keys.has_errors(), "{:?}", keys.finish());
            channel.attach();
            Arc::new(channel)
        }

        contract::suite!(|capacity: usize, _: usize, keep_alive_secs: u64| {
            pseudo(&[
                ("capacity", &capacity.to_string()),
                ("keep-alive", &keep_alive_secs.to_string()),
            ])
        });

        #[test]
        fn it_is_known_by_its_class_only() {
            let mut types = Types::default();
            types.channels.list(&[PSEUDO_TRANSACTION]);
            let class = "org.apache.flume.channel.PseudoTxnMemoryChannel";
            assert_eq!(types.channels.names().collect::<Vec<_>>(), [class]);
            assert_eq!(&*types.channels.find(class).unwrap().name, class);
        }

        #[tokio::test]
        async fn it_holds_50_events_of_any_size_and_reports_no_transaction_capacity() {
            let channel = pseudo(&[("keep-alive", "0")]);
            assert_eq!(channel.limits().transaction_capacity, None);
            let fifty: Batch = vec![&[b'x'; 1 << 20][..]; 50].into_iter().collect();
            put(&channel, fifty).await.unwrap();
            assert_eq!(put(&channel, body(1)).await, Err(ChannelError::Full));
            let more: Batch = vec![&b"x"[..]; 51].into_iter().collect();
            let never = put(&channel, more).await;
            assert!(matches!(
                never,
                Err(ChannelError::TooLarge {
                    found: 51,
                    allowed: 50
                })
            ));
            let ctx = build_context("c1", ManualClock::at(0), Types::default());
            let mut keys = Keys::of("channel c1", &[("capacity", "51"), ("keep-alive", "0")]);
            channel.reconfigure(&mut keys, &ctx);
            put(&channel, body(1)).await.unwrap();
            assert_eq!(channel.held(), 51, "a reload keeps what is there");
        }
    }

    fn body(len: usize) -> Batch {
        [&vec![b'x'; len][..]].into_iter().collect()
    }

    async fn put(channel: &Arc<dyn Channel>, batch: Batch) -> Result<(), ChannelError> {
        let ticket = channel.reserve(Claim::of(&batch)).await?;
        channel.commit_put(ticket, batch, None).await
    }

    #[tokio::test]
    async fn bodies_count_in_slots_and_the_refusal_says_what_java_says() {
        let channel = memory(&[
            ("byteCapacity", "1000"),
            ("byteCapacityBufferPercentage", "20"),
            ("keep-alive", "0"),
        ]);
        for _ in 0..8 {
            put(&channel, body(100)).await.unwrap();
        }
        let refused = put(&channel, body(100)).await.unwrap_err().to_string();
        assert!(
            refused.starts_with(
                "Cannot commit transaction. Byte capacity allocated to store event body 800.0reached."
            ),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn headers_are_not_counted() {
        let channel = memory(&[("byteCapacity", "1000"), ("keep-alive", "0")]);
        for _ in 0..8 {
            let mut edit = body(1).edit();
            edit.set_all("k", &"v".repeat(1_000));
            put(&channel, edit.finish()).await.unwrap();
        }
        assert!(matches!(
            put(&channel, body(1)).await,
            Err(ChannelError::BytesFull { .. })
        ));
    }

    #[tokio::test]
    async fn a_batch_over_the_transaction_capacity_is_refused_in_flumes_words() {
        let channel = memory(&[("transactionCapacity", "3")]);
        let four: Batch = [&b"a"[..], b"b", b"c", b"d"].into_iter().collect();
        let refused = put(&channel, four).await.unwrap_err().to_string();
        assert!(
            refused.starts_with("Put queue for MemoryTransaction of capacity 3 full"),
            "{refused}"
        );
        assert_eq!(channel.held(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_channel_refuses_after_keep_alive() {
        let channel = memory(&[
            ("capacity", "4"),
            ("transactionCapacity", "4"),
            ("keep-alive", "1"),
        ]);
        put(&channel, [&b"a"[..], b"b", b"c"].into_iter().collect())
            .await
            .unwrap();
        let before = tokio::time::Instant::now();
        let refused = put(&channel, [&b"d"[..], b"e"].into_iter().collect())
            .await
            .unwrap_err();
        assert_eq!(refused, ChannelError::Full);
        assert_eq!(before.elapsed(), Duration::from_secs(1));
        assert_eq!(channel.held(), 3);
        channel.check().unwrap();
    }

    #[tokio::test]
    async fn a_body_larger_than_the_whole_channel_is_refused_at_once() {
        let channel = memory(&[("byteCapacity", "1000")]);
        assert!(matches!(
            put(&channel, body(900)).await,
            Err(ChannelError::NeverFits {
                bytes: 900,
                allowed: 800
            })
        ));
    }

    #[tokio::test]
    async fn other_settings_keep_what_is_queued_and_govern_what_comes() {
        let channel = memory(&[
            ("capacity", "4"),
            ("transactionCapacity", "4"),
            ("keep-alive", "0"),
        ]);
        put(&channel, [&b"a"[..], b"b", b"c"].into_iter().collect())
            .await
            .unwrap();
        let ctx = build_context("c1", ManualClock::at(0), Types::default());
        let reconfigure = |pairs: &[(&str, &str)]| {
            let mut keys = Keys::of("channel c1 (memory)", pairs);
            channel.reconfigure(&mut keys, &ctx);
            keys.has_errors()
        };
        assert!(!reconfigure(&[
            ("capacity", "2"),
            ("transactionCapacity", "2"),
            ("keep-alive", "0")
        ]));
        channel.check().unwrap();
        assert_eq!(put(&channel, body(1)).await, Err(ChannelError::Full));
        let (ticket, batch) = channel
            .take(Want::events(9), Duration::ZERO)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(batch.len(), 2, "the new transaction capacity");
        channel.commit_take(ticket, None).await.unwrap();
        put(&channel, body(1)).await.unwrap();
        assert!(
            reconfigure(&[("capacity", "2"), ("transactionCapacity", "3")]),
            "refused, nothing changed"
        );
        assert_eq!(channel.limits().transaction_capacity, Some(2));
        channel.check().unwrap();
    }

    #[test]
    fn zero_bytes_mean_no_limit_and_the_default_follows_the_heap() {
        let config = |pairs: &[(&str, &str)], heap| Config::read(&mut Keys::of("c", pairs), heap);
        assert_eq!(config(&[("byteCapacity", "0")], None).slots(), i32::MAX as usize);
        assert_eq!(config(&[], Some(1_000_000)).byte_capacity, 800_000);
        assert_eq!(config(&[("capacity", "many")], None).capacity, 100);
    }

    #[test]
    fn a_transaction_capacity_above_the_capacity_is_an_error() {
        let mut keys = Keys::of("channel c1 (memory)", &[("capacity", "10")]);
        Config::read(&mut keys, None);
        let findings = keys.finish();
        assert!(
            findings[0]
                .to_string()
                .contains("cannot be higher than the capacity"),
            "{findings:?}"
        );
    }
}
