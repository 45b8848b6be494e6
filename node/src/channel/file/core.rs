//! What the thread and the users of a file channel share: the queue, the requests, how far the logs are.

use super::WINDOW_BYTES;
use super::store::{self, PutRequest, Request, TakeRequest};
use crate::component::channel::{ChannelError, ChannelLimits, Position};
use crate::component::counters::StorageCounters;
use crate::component::queue::{Origin, Piece, State};
use bytes::Bytes;
use cluster::journal::Books;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};

/// So many failures of the disk within [`POISONING_PERIOD`] make the channel rest for as long.
const POISONINGS_MAX: usize = 2;
const POISONING_PERIOD: Duration = Duration::from_secs(600);

/// How far the logs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// No thread yet, or it is reading.
    Closed,
    /// Serving.
    Open,
    /// Ended, with the reason.
    Failed(String),
}

/// What the thread and the channel's users share.
pub struct Core {
    pub state: Mutex<Inner>,
    /// For the thread: there is something to do.
    pub work: Condvar,
    /// For takers: events came in, came back or were loaded.
    pub filled: Notify,
    pub phase: watch::Sender<Phase>,
    /// Where it counts; its own cells as long as nobody has given it any.
    pub cells: OnceLock<StorageCounters>,
}

/// Everything behind the lock.
pub struct Inner {
    /// The window, and the books of all room.
    pub queue: State,
    /// Events that are only in the logs.
    pub on_disk: u64,
    /// Events on their way into the logs.
    pub committing: usize,
    pub requests: Vec<VecDeque<Request>>,
    /// Puts so far, for dealing them out to the shards.
    pub puts: u64,
    /// Of the positions that are kept, by owner.
    stamps: HashMap<Arc<str>, u64>,
    /// Larger for every position; over restarts too.
    pub next_stamp: u64,
    pub stop: bool,
    /// A sync has failed in this process's life.
    pub distrust: bool,
    /// When writes or syncs failed, the last ones.
    poisonings: VecDeque<Instant>,
    /// What ended the thread last was such a failure.
    pub is_poisoned: bool,
}

impl Inner {
    pub fn new(limits: ChannelLimits, shards: usize) -> Self {
        // Room is counted in events: bodies are on the disk.
        Self {
            queue: State::new(limits, usize::MAX / 200),
            on_disk: 0,
            committing: 0,
            requests: (0..shards).map(|_| VecDeque::new()).collect(),
            puts: 0,
            stamps: HashMap::new(),
            next_stamp: 0,
            stop: false,
            distrust: false,
            poisonings: VecDeque::new(),
            is_poisoned: false,
        }
    }

    pub fn stamped(&mut self, position: Option<Position>) -> Option<(u64, Position)> {
        self.next_stamp += 1;
        position.map(|position| (self.next_stamp, position))
    }

    /// Keeps a position, unless a newer one of its owner was committed to another shard before.
    fn moved(&mut self, position: Option<(u64, Position)>) {
        let Some((stamp, Position { owner, bytes })) = position else {
            return;
        };
        let newest = self.stamps.entry(owner.clone()).or_default();
        if *newest <= stamp {
            *newest = stamp;
            self.queue.positions.insert(owner, bytes);
        }
    }

    /// Forgets all that only the thread could complete; what is in the logs is found when they are opened anew.
    pub fn abandon(&mut self) -> Vec<oneshot::Sender<Result<(), ChannelError>>> {
        let limits = self.queue.limits;
        let (generation, ticket) = (self.queue.generation, self.queue.next_ticket);
        let open = self.queue.open;
        let shards = self.requests.len();
        let poisonings = std::mem::take(&mut self.poisonings);
        let mut old = std::mem::replace(
            self,
            Self {
                distrust: true,
                next_stamp: self.next_stamp,
                poisonings,
                is_poisoned: self.is_poisoned,
                ..Self::new(limits, shards)
            },
        );
        // Tickets of before are no use any more.
        (self.queue.generation, self.queue.next_ticket, self.queue.open) = (generation, ticket, open);
        old.requests
            .drain(..)
            .flatten()
            .map(|request| match request {
                Request::Put(put) => put.done,
                Request::Take(take) => take.done,
            })
            .collect()
    }
}

/// What the thread finds to do.
pub struct Work {
    pub requests: Vec<VecDeque<Request>>,
    pub refill: bool,
    pub stop: bool,
}

impl Core {
    /// Nothing under the lock panics but an allocation that fails; the books are checked by `check`.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the thread: waits for something to do, at most for `idle`.
    pub fn wait(&self, idle: Option<Duration>) -> Work {
        let mut inner = self.inner();
        loop {
            let refill = inner.on_disk > 0 && store::window_is_low(inner.queue.pinned);
            let some = inner.requests.iter().any(|r| !r.is_empty());
            if some || refill || inner.stop {
                let requests = inner.requests.iter_mut().map(store::group).collect();
                return Work {
                    requests,
                    refill,
                    stop: inner.stop,
                };
            }
            inner = match idle {
                None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(idle) => {
                    let (guard, timeout) = self
                        .work
                        .wait_timeout(inner, idle)
                        .unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() {
                        let requests = guard.requests.iter().map(|_| VecDeque::new()).collect();
                        return Work {
                            requests,
                            refill: false,
                            stop: false,
                        };
                    }
                    guard
                }
            };
        }
    }

    /// The logs are open: what they hold counts from now on.
    pub fn opened<'b>(&self, books: impl Iterator<Item = &'b Books>) {
        let mut inner = self.inner();
        for books in books {
            inner.on_disk += books.live();
            inner.queue.next_event = inner.queue.next_event.max(books.next_order());
            for (_, owner, stamp, bytes) in books.positions() {
                inner.next_stamp = inner.next_stamp.max(stamp);
                let (owner, bytes) = (owner.into(), Bytes::copy_from_slice(bytes));
                inner.moved(Some((stamp, Position { owner, bytes })));
            }
        }
        inner.queue.used.events = inner.on_disk as usize;
        // A smaller capacity than what is there: nothing is lost, nothing more is let in.
        inner.queue.held_at_shrinking = inner.queue.used.events;
        drop(inner);
        self.cells().open.set(1);
        self.cells().unhealthy.set(0);
        self.phase.send_replace(Phase::Open);
        self.filled.notify_one();
    }

    /// Whether the window has room.
    pub fn has_window(&self) -> bool {
        self.inner().queue.pinned < WINDOW_BYTES
    }

    /// A write or a sync has failed.
    pub fn poisoned(&self, now: Instant) {
        self.cells().poisoned.add(1);
        let mut inner = self.inner();
        inner.is_poisoned = true;
        inner.poisonings.push_back(now);
        let more = inner.poisonings.len().saturating_sub(POISONINGS_MAX);
        inner.poisonings.drain(..more);
    }

    /// How long the channel rests, because its disk has failed too often.
    pub fn rests(&self, now: Instant) -> Option<Duration> {
        let inner = self.inner();
        let first = inner
            .poisonings
            .front()
            .filter(|_| inner.poisonings.len() >= POISONINGS_MAX)?;
        let last = inner.poisonings.back()?;
        let is_often = last.duration_since(*first) < POISONING_PERIOD;
        let rest = POISONING_PERIOD.checked_sub(now.saturating_duration_since(*last))?;
        (is_often && !rest.is_zero()).then_some(rest)
    }

    pub fn put_done(&self, put: PutRequest, origin: Origin, stays: bool) {
        let mut inner = self.inner();
        inner.committing -= put.claim.events;
        if put.claim.events > 0 {
            if stays {
                let piece = Piece {
                    first: put.order,
                    batch: put.batch,
                    claim: put.claim,
                    origin,
                };
                inner.queue.insert(piece);
            } else {
                inner.on_disk += put.claim.events as u64;
                inner.queue.used.bytes -= put.claim.bytes;
            }
        }
        inner.moved(put.position);
        drop(inner);
        let _ = put.done.send(Ok(()));
        self.filled.notify_one();
    }

    pub fn put_failed(&self, put: PutRequest, why: ChannelError) {
        let mut inner = self.inner();
        inner.committing -= put.claim.events;
        inner.queue.free(put.claim);
        inner.queue.grant();
        drop(inner);
        if matches!(why, ChannelError::Storage(_)) {
            self.cells().put_errors.add(1);
        }
        let _ = put.done.send(Err(why));
    }

    pub fn take_done(&self, take: TakeRequest, result: Result<(), ChannelError>) {
        let mut inner = self.inner();
        if result.is_ok() {
            inner.queue.free(take.claim);
            inner.queue.grant();
            inner.moved(take.position);
        } else {
            self.cells().take_errors.add(1);
        }
        drop(inner);
        let _ = take.done.send(result);
    }

    pub fn loaded(&self, piece: Piece) {
        let mut inner = self.inner();
        inner.on_disk -= piece.claim.events as u64;
        // Counted as an event each while it was on the disk, and in bytes only now.
        inner.queue.used.bytes += piece.claim.bytes;
        inner.queue.insert(piece);
        drop(inner);
        self.filled.notify_one();
    }

    /// The cells to count in.
    pub fn cells(&self) -> &StorageCounters {
        self.cells.get_or_init(StorageCounters::default)
    }

    pub fn lost(&self, events: u64) {
        let mut inner = self.inner();
        inner.on_disk -= events;
        inner.queue.used.events -= events as usize;
        inner.queue.grant();
    }

    /// The thread has ended: everybody who waits hears of it.
    pub fn ended(&self, why: Result<(), String>) {
        let failed = why.err();
        let error = match &failed {
            Some(why) => ChannelError::Storage(why.clone()),
            None => ChannelError::Unavailable,
        };
        self.cells().open.set(0);
        self.cells().unhealthy.set(u64::from(failed.is_some()));
        let mut inner = self.inner();
        let waiting = inner.abandon();
        drop(inner);
        // Before they hear of it: whoever does may ask at once how things are.
        self.phase
            .send_replace(failed.map_or(Phase::Closed, Phase::Failed));
        for done in waiting {
            let _ = done.send(Err(error.clone()));
        }
    }
}
