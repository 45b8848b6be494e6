//! `file`: a queue in files that survives everything but the disk, Flume's FileChannel.
//!
//! Promise: a put is acknowledged after it is on the disk (one `fdatasync` for all that came together), and so is a take
//! together with its sink's position. After any crash every acknowledged event is there once, in order, and nothing else;
//! memory and start-up time do not grow with the backlog. The log itself, its recovery and what is proved about it are
//! told in [`cluster::journal`], its bytes in [`proto::journal`].
//!
//! ```text
//!   reserve, commit_put --.                    .-- window of the queue (in memory, bounded) -- take
//!                         |-- requests --> thread: commit, sync, answer, load
//!   commit_take ----------'                    '-- log in dataDir/millrace, one a folder
//! ```
//!
//! | failure | what happens |
//! |---|---|
//! | channel full, disk full | puts are refused with ChannelFull; takes go on, and freed space is used again |
//! | a write or sync fails | nothing more is acknowledged; everybody hears "storage failed"; the log is opened anew, and what is really on the disk counts |
//! | that twice within ten minutes | the channel rests for ten minutes, with an alarm; with `onIoError = exit` the first time ends the process, with 70 |
//! | an acknowledged byte cannot be read | the channel stops and names the place; with `onCorruption = skip` the rest flows on, and the lost events are named and counted |
//! | folder of another program, of a newer version, in use, not to be read or written | refused with what was found; nothing is touched |
//! | a key that is missing or another | refused, and told apart from damage; nothing is touched |
//! | Flume's own files in dataDirs | refused at start, with the command that moves their events here |
//!
//! Differences from Flume: no checkpoints, so nothing of theirs has a meaning; several `dataDirs` are shards that sync side
//! by side, in the order of the whole channel; a failed sync is never tried again on the same file.
//! Source: `flume/channels-and-sinks.md` 3.2; the design's sections 1 and 3.

mod ahead;
mod commit;
mod config;
mod core;
mod damage;
mod encryption;
mod examine;
pub mod flume;
pub mod folder;
mod spillable;
mod store;

pub use config::Config;
pub use spillable::{Config as SpillableConfig, TYPE as SPILLABLE};

use self::core::{Core, Inner, Phase};
use crate::component::BoxFuture;
use crate::component::channel::{Channel, ChannelError, ChannelLimits, Claim, Position, Ticket, Want};
use crate::component::counters::ChannelCounters;
use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::queue::{Origin, Piece, Waiter};
use crate::component::registry::{BuildContext, Type};
use bytes::Bytes;
use cluster::journal::RangeSet;
use config::Settings;
use encryption::LiveKeys;
use proto::event::Batch;
use proto::journal::Range;
use spillable::room::RoomLimits;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::{PutRequest, Request, TakeRequest};
use tokio::sync::{Notify, oneshot, watch};

/// How the list names it.
pub const TYPE: Type<Arc<dyn Channel>> = Type {
    alias: "file",
    classes: &["org.apache.flume.channel.file.FileChannel"],
    in_flume_metrics: true,
    build: |keys, ctx| {
        let config = Config::read(keys);
        if !keys.has_errors() {
            config.look(keys);
        }
        Ok(Arc::new(config.build(&ctx.name)?))
    },
};

/// Sizes of a log whose longest segment is so long, for whoever opens one without a channel.
pub fn log_sizes(segment_bytes: u64) -> cluster::journal::Config {
    store::log_config(segment_bytes.clamp(config::SEGMENT_BYTES_MIN, config::SEGMENT_BYTES))
}

/// Bytes of events that are kept in memory besides the log, at most; one put more may be.
const WINDOW_BYTES: usize = 8 << 20;

impl Config {
    /// The channel; closed until it is attached. No file is touched before.
    pub fn build(self, name: &Arc<str>) -> Result<FileChannel, BuildError> {
        let limits = self.limits();
        self.build_with(name, limits, RoomLimits::NONE)
    }

    fn build_with(
        self,
        name: &Arc<str>,
        limits: ChannelLimits,
        room: RoomLimits,
    ) -> Result<FileChannel, BuildError> {
        let settings = Settings {
            name: name.clone(),
            data_dirs: self.data_dirs.clone(),
            minimum_required_space: self.minimum_required_space,
            segment_bytes: self.segment_bytes,
            skip_damage: self.skip_damage,
            keys: Arc::new(LiveKeys::new(self.keys.clone())),
            keeps_positions: limits.durable,
            durability: self.durability,
            exits_on_io_error: self.exits_on_io_error,
        };
        // One more for what is saved of memory.
        let mut inner = Inner::new(limits, self.data_dirs.len() + 1);
        inner.limit_room(room);
        let core = Arc::new(Core {
            state: Mutex::new(inner),
            work: Condvar::new(),
            filled: Notify::new(),
            phase: watch::Sender::new(Phase::Closed),
            cells: OnceLock::new(),
        });
        Ok(FileChannel {
            core,
            settings,
            spillable: false,
            thread: Mutex::new(None),
        })
    }
}

/// The channel.
pub struct FileChannel {
    core: Arc<Core>,
    settings: Settings,
    /// Whether its settings are those of a spillable one.
    spillable: bool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl FileChannel {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.core.inner()
    }

    /// Starts the thread, unless it is at work.
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has failed may still be on its way out.
        let has_failed = matches!(*self.core.phase.borrow(), Phase::Failed(_));
        if thread.as_ref().is_some_and(|t| !t.is_finished()) && !has_failed {
            return;
        }
        if let Some(ended) = thread.take() {
            let _ = ended.join();
        }
        if !self.inner().room.limits.overflow && self.settings.nothing_is_there() {
            self.core.phase.send_replace(Phase::Open);
            return; // all is in memory
        }
        if let Some(rest) = self.core.rests(Instant::now()) {
            let text = format!("the disk failed twice within ten minutes: the channel rests for {rest:.0?}");
            tracing::error!(channel = &*self.settings.name, "{text}");
            self.core.cells().parked.set(1);
            self.core.phase.send_replace(Phase::Failed(text));
            return;
        }
        self.core.cells().parked.set(0);
        self.inner().is_poisoned = false;
        self.core.phase.send_replace(Phase::Closed);
        let (core, settings) = (self.core.clone(), self.settings.clone());
        let distrust = self.inner().distrust;
        let spawned = std::thread::Builder::new()
            .name(format!("channel-{}", settings.name))
            .spawn(move || {
                let why = store::caught(|| store::run(&core, &settings, distrust));
                if let Err(why) = &why {
                    tracing::error!(channel = &*settings.name, error = why, "file channel has stopped");
                }
                core.ended(why);
            });
        match spawned {
            Ok(handle) => *thread = Some(handle),
            Err(error) => {
                self.core
                    .phase
                    .send_replace(Phase::Failed(format!("no thread: {error}")));
            }
        }
    }

    /// Waits until the logs are open; says why not.
    async fn is_open(&self, within: Duration) -> Result<(), ChannelError> {
        let refused = |phase: &Phase| match phase {
            Phase::Failed(why) => Err(ChannelError::Storage(why.clone())),
            Phase::Closed => Err(ChannelError::Unavailable),
            Phase::Open => Ok(()),
        };
        let mut phase = self.core.phase.subscribe();
        let now = refused(&phase.borrow());
        if now != Err(ChannelError::Unavailable) || within.is_zero() || !self.inner().queue.open {
            return now;
        }
        let settled = phase.wait_for(|phase| *phase != Phase::Closed);
        match tokio::time::timeout(within, settled).await {
            Ok(Ok(phase)) => refused(&phase),
            _ => Err(ChannelError::Unavailable),
        }
    }

    fn ask(&self, claim: Claim) -> Result<Result<Ticket, (u64, oneshot::Receiver<Ticket>)>, ChannelError> {
        let mut inner = self.inner();
        if !inner.queue.open {
            return Err(ChannelError::Unavailable);
        }
        inner.can_ever_fit(claim)?;
        let patient = !inner.queue.limits.keep_alive.is_zero();
        if inner.queue.waiters.is_empty() {
            match inner.hold(claim, !patient) {
                Ok(ticket) => return Ok(Ok(ticket)),
                Err(full) if !patient => return Err(full),
                Err(_) => {}
            }
        }
        if !patient {
            return Err(ChannelError::Full);
        }
        let queue = &mut inner.queue;
        let (granted, grant) = oneshot::channel();
        queue.next_ticket += 1;
        let id = queue.next_ticket;
        queue.waiters.push_back(Waiter { id, claim, granted });
        Ok(Err((id, grant)))
    }
}

/// Leaves the queue of waiting puts when the putter goes away, and gives back a grant that it did not see.
struct Queueing<'a> {
    channel: &'a FileChannel,
    id: u64,
    grant: oneshot::Receiver<Ticket>,
    done: bool,
}

impl Queueing<'_> {
    /// The time is over: what was granted at the last moment, or what is left to a late one.
    fn end(mut self, claim: Claim) -> Result<Ticket, ChannelError> {
        self.done = true;
        let mut inner = self.channel.inner();
        match self.grant.try_recv() {
            Ok(ticket) => Ok(ticket),
            Err(_) => inner.spill(self.id, claim),
        }
    }
}

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut inner = self.channel.inner();
        inner.queue.waiters.retain(|w| w.id != self.id);
        // The one behind may fit where this one did not.
        inner.grant();
        drop(inner);
        if let Ok(ticket) = self.grant.try_recv() {
            self.channel.cancel(ticket);
        }
    }
}

async fn answered(done: oneshot::Receiver<Result<(), ChannelError>>) -> Result<(), ChannelError> {
    done.await.unwrap_or_else(|_| {
        Err(ChannelError::Storage(
            "the thread of the channel is gone".to_owned(),
        ))
    })
}

impl Channel for FileChannel {
    fn limits(&self) -> ChannelLimits {
        self.inner().queue.limits
    }

    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Ticket, ChannelError>> {
        Box::pin(async move {
            let keep_alive = self.limits().keep_alive;
            self.is_open(keep_alive).await?;
            let (id, grant) = match self.ask(claim)? {
                Ok(ticket) => return Ok(ticket),
                Err(waiting) => waiting,
            };
            let mut queueing = Queueing {
                channel: self,
                id,
                grant,
                done: false,
            };
            match tokio::time::timeout(keep_alive, &mut queueing.grant).await {
                Ok(Ok(ticket)) => {
                    queueing.done = true;
                    Ok(ticket)
                }
                Ok(Err(_)) => Err(ChannelError::Unavailable),
                Err(_) => queueing.end(claim),
            }
        })
    }

    fn cancel(&self, ticket: Ticket) {
        let mut inner = self.inner();
        if inner.release(ticket).is_some() {
            inner.grant();
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
            // Encoded here, not by the one thread that all wait for.
            let for_memory = self.spillable && self.inner().is_for_memory(ticket);
            let blocks = (!for_memory).then(|| batch.to_blocks());
            let (done, answer) = oneshot::channel();
            {
                let mut inner = self.inner();
                let (reserved, for_memory) = inner.release(ticket).ok_or(ChannelError::Fenced)?;
                if !inner.queue.open || *self.core.phase.borrow() != Phase::Open {
                    inner.grant();
                    return Err(ChannelError::Unavailable); // nobody would ever take it
                }
                inner.queue.used.events += claim.events;
                inner.queue.used.bytes += claim.bytes;
                if claim.events == 0 && (position.is_none() || !self.settings.keeps_positions) {
                    inner.note_position(position);
                    inner.grant();
                    return Ok(());
                }
                if for_memory && inner.memory_is_next() {
                    inner.remember(batch, claim);
                    inner.note_position(position);
                    if claim != reserved {
                        inner.grant();
                    }
                    drop(inner);
                    self.core.filled.notify_one();
                    return Ok(());
                }
                if claim != reserved || for_memory {
                    inner.grant();
                }
                let blocks = blocks.unwrap_or_else(|| batch.to_blocks());
                inner.committing += claim.events;
                let order = inner.queue.next_event;
                inner.queue.next_event += claim.events as u64;
                inner.sent(order);
                let shard = (inner.puts % self.settings.data_dirs.len() as u64) as usize;
                inner.puts += 1;
                let position = inner.stamped(position);
                let put = PutRequest {
                    order,
                    batch,
                    blocks,
                    claim,
                    position,
                    done,
                };
                inner.requests[shard].push_back(Request::Put(put));
            }
            self.core.work.notify_one();
            answered(answer).await
        })
    }

    fn take(
        &self,
        want: Want,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<(Ticket, Batch)>, ChannelError>> {
        Box::pin(async move {
            let attempt = || {
                let mut inner = self.inner();
                if !inner.queue.open {
                    return Err(ChannelError::Unavailable);
                }
                let lease = inner.queue.lease(want);
                let low = inner.wants_loading();
                let more = inner.queue.queued_events > 0;
                drop(inner);
                if low {
                    self.core.work.notify_one();
                }
                if lease.is_some() && more {
                    self.core.filled.notify_one(); // for another taker
                }
                Ok(lease)
            };
            self.is_open(wait).await?;
            if let Some(lease) = attempt()? {
                return Ok(Some(lease));
            }
            let filled = async {
                loop {
                    self.core.filled.notified().await;
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
            let mut answers = Vec::new();
            {
                let mut inner = self.inner();
                let pieces = inner
                    .queue
                    .leased
                    .remove(&ticket.id)
                    .ok_or(ChannelError::Fenced)?;
                let mut shards: std::collections::BTreeMap<u32, (RangeSet, Claim)> = Default::default();
                for Piece { origin, claim, .. } in &pieces {
                    let Origin { shard, number } = origin;
                    if origin.is_memory() {
                        inner.forget(*claim);
                        continue;
                    }
                    let (events, sum) = shards.entry(*shard).or_default();
                    events.insert(Range {
                        start: *number,
                        end: number + claim.events as u64,
                    });
                    sum.events += claim.events;
                    sum.bytes += claim.bytes;
                }
                if shards.is_empty() {
                    inner.note_position(position);
                    inner.grant();
                    drop(inner);
                    drop(pieces); // memory is given back outside of the lock
                    return Ok(());
                }
                let position = inner.stamped(position);
                for (shard, (events, claim)) in shards {
                    let (done, answer) = oneshot::channel();
                    answers.push(answer);
                    let events = (&events).into();
                    let take = TakeRequest {
                        events,
                        claim,
                        position: position.clone(),
                        done,
                    };
                    inner.requests[shard as usize].push_back(Request::Take(take));
                }
            }
            self.core.work.notify_one();
            for answer in answers {
                answered(answer).await?;
            }
            Ok(())
        })
    }

    fn rollback(&self, ticket: Ticket) -> usize {
        let mut inner = self.inner();
        let Some(pieces) = inner.queue.leased.remove(&ticket.id) else {
            return 0;
        };
        let events = inner.queue.put_back(pieces);
        drop(inner);
        self.core.filled.notify_one();
        events
    }

    fn position(&self, owner: &str) -> Option<Bytes> {
        self.inner().queue.positions.get(owner).cloned()
    }

    fn queued(&self) -> usize {
        let inner = self.inner();
        inner.queue.queued_events + inner.on_disk as usize
    }

    fn held(&self) -> usize {
        let inner = self.inner();
        let reserved: usize = inner.queue.reserved.values().map(|c| c.events).sum();
        inner.queue.used.events - reserved - inner.committing
    }

    fn pinned_bytes(&self) -> usize {
        self.inner().queue.pinned
    }

    fn attach(&self) -> u64 {
        let mut inner = self.inner();
        let queue = &mut inner.queue;
        queue.generation += 1;
        queue.open = true;
        for (_, pieces) in std::mem::take(&mut queue.leased) {
            queue.put_back(pieces);
        }
        let generation = queue.generation;
        inner.release_all();
        inner.grant();
        drop(inner);
        self.core.filled.notify_one();
        self.start();
        generation
    }

    fn detach(&self, generation: u64) {
        let mut inner = self.inner();
        if inner.queue.generation == generation {
            inner.queue.open = false;
            inner.queue.waiters.clear(); // they hear `Unavailable` now, not after keep-alive
        }
    }

    fn serves(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut phase = self.core.phase.subscribe();
            let _ = phase.wait_for(|phase| *phase == Phase::Open).await;
        })
    }

    fn reconfigurable(&self) -> bool {
        true
    }

    fn reconfigure(&self, keys: &mut Keys, ctx: &BuildContext) {
        let (config, limits, room) = match self.spillable {
            true => {
                let config = SpillableConfig::read(keys, ctx.max_heap_bytes);
                let (limits, room) = (config.limits(), config.room());
                (config.file, limits, room)
            }
            false => {
                let config = Config::read(keys);
                let limits = config.limits();
                (config, limits, RoomLimits::NONE)
            }
        };
        if config.data_dirs != self.settings.data_dirs {
            keys.wrong("dataDirs", "cannot be changed by a reload: restart the agent");
        }
        if limits.durable != self.settings.keeps_positions {
            keys.wrong(
                "memoryCapacity",
                "cannot become 0, or another number than 0, by a reload: restart the agent",
            );
        }
        if keys.has_errors() {
            return;
        }
        // The next segment is written with them.
        self.settings.keys.change(config.keys.clone());
        let mut inner = self.inner();
        inner.queue.limits = limits;
        // What is there stays, also when there is more of it than would be let in now.
        inner.queue.held_at_shrinking = inner.queue.used.events;
        inner.limit_room(room);
        inner.grant();
        let attached = inner.queue.open;
        drop(inner);
        if attached {
            self.start(); // there may be a log now
        }
    }

    fn memory_events(&self) -> usize {
        if self.spillable {
            self.inner().room.events()
        } else {
            0
        }
    }

    fn volatile(&self) -> usize {
        // With overflow, closing saves what is in memory.
        match self.limits().durable || self.inner().room.limits.overflow {
            true => 0,
            false => self.held(),
        }
    }

    fn close(&self) -> usize {
        self.inner().stop = true;
        self.core.work.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        self.inner().room.events()
    }

    fn in_its_words(&self, error: ChannelError) -> ChannelError {
        match error {
            ChannelError::Full => ChannelError::FileFull {
                channel: self.settings.name.clone(),
            },
            other => other,
        }
    }

    fn is_fatal(&self) -> bool {
        self.settings.exits_on_io_error && self.inner().is_poisoned
    }

    fn count_in(&self, counters: &ChannelCounters) {
        let _ = self.core.cells.set(counters.storage.clone());
    }

    fn check(&self) -> Result<(), String> {
        if let Phase::Failed(why) = &*self.core.phase.borrow() {
            return Err(why.clone());
        }
        let inner = self.inner();
        inner.check_room()?;
        let queue = &inner.queue;
        let window: usize = queue
            .fresh
            .iter()
            .chain(queue.returned.values())
            .map(|piece| piece.claim.events)
            .sum();
        if window != queue.queued_events {
            return Err(format!("queued {}, counted {window}", queue.queued_events));
        }
        let leased: usize = queue
            .leased
            .values()
            .flatten()
            .map(|piece| piece.claim.events)
            .sum();
        let reserved: usize = queue.reserved.values().map(|claim| claim.events).sum();
        let taking: usize = inner
            .requests
            .iter()
            .flatten()
            .map(|request| match request {
                Request::Take(take) => take.claim.events,
                Request::Put(_) => 0,
            })
            .sum();
        let counted = window + leased + reserved + taking + inner.committing + inner.on_disk as usize;
        // What the thread is syncing at this moment is in none of them.
        if counted > queue.used.events {
            return Err(format!("used {}, counted {counted}", queue.used.events));
        }
        Ok(())
    }
}

impl Drop for FileChannel {
    /// Waits for the thread: whoever opens the folders next must find them free.
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
