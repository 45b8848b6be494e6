//! What the thread and the users of a file channel share: the queue, the requests, how far the logs are.

use super::WINDOW_BYTES;
use super::ahead::Done;
use super::spillable::room::{Room, RoomLimits};
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
    /// What of it may be in memory alone.
    pub room: Room,
    /// Events that are only in the logs.
    pub on_disk: u64,
    /// Events on their way into the logs.
    pub committing: usize,
    pub requests: Vec<VecDeque<Request>>,
    /// Answers of the thread that reads ahead: at most two of each shard.
    pub done_ahead: Vec<Done>,
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
            room: Room::new(RoomLimits::NONE),
            on_disk: 0,
            committing: 0,
            requests: (0..shards).map(|_| VecDeque::new()).collect(),
            done_ahead: Vec::new(),
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
    pub fn moved(&mut self, position: Option<(u64, Position)>) {
        let Some((stamp, Position { owner, bytes })) = position else {
            return;
        };
        let newest = self.stamps.entry(owner.clone()).or_default();
        if *newest <= stamp {
            *newest = stamp;
            self.queue.positions.insert(owner, bytes);
        }
    }

    /// Whether the window has room.
    pub fn has_window(&self) -> bool {
        self.window_bytes() < WINDOW_BYTES
    }

    /// What there is to do.
    fn work(&mut self, refill: bool) -> Work {
        Work {
            requests: self.requests.iter_mut().map(store::group).collect(),
            done_ahead: std::mem::take(&mut self.done_ahead),
            refill,
            stop: self.stop,
        }
    }

    /// A put is in the log; with `stays` in the window as well.
    pub fn put_done(&mut self, put: PutRequest, origin: Origin, stays: bool) -> Answer {
        self.committing -= put.claim.events;
        if put.claim.events > 0 && stays {
            self.queue.insert(Piece {
                first: put.order,
                batch: put.batch,
                claim: put.claim,
                origin,
            });
        } else if put.claim.events > 0 {
            self.on_disk += put.claim.events as u64;
            self.queue.used.bytes -= put.claim.bytes;
        }
        if put.claim.events > 0 {
            self.arrived(put.order, !stays);
        }
        self.moved(put.position);
        (put.done, Ok(()))
    }

    /// A put is not in the log, or nobody knows.
    pub fn put_failed(&mut self, put: PutRequest, why: ChannelError) -> Answer {
        self.committing -= put.claim.events;
        self.queue.free(put.claim);
        self.arrived(put.order, false);
        self.grant();
        (put.done, Err(why))
    }

    /// A take is in the log, or not.
    pub fn take_done(&mut self, take: TakeRequest, result: Result<(), ChannelError>) -> Answer {
        if result.is_ok() {
            self.queue.free(take.claim);
            self.grant();
            self.moved(take.position);
        }
        (take.done, result)
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
        self.remember_all(&mut old);
        if !limits.durable {
            // They are nowhere else.
            self.queue.positions = std::mem::take(&mut old.queue.positions);
            self.stamps = std::mem::take(&mut old.stamps);
        }
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

/// Who waits for an answer, and what it is.
pub type Answer = (
    oneshot::Sender<Result<(), ChannelError>>,
    Result<(), ChannelError>,
);

/// What the thread finds to do.
pub struct Work {
    pub requests: Vec<VecDeque<Request>>,
    pub done_ahead: Vec<Done>,
    pub refill: bool,
    pub stop: bool,
}

impl Core {
    /// Nothing under the lock panics but an allocation that fails; the books are checked by `check`.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the thread: waits for something to do, at most for `idle`. With `loads` it could load events as well.
    pub fn wait(&self, idle: Option<Duration>, loads: bool) -> Work {
        let mut inner = self.inner();
        loop {
            let refill = loads && inner.wants_loading();
            let some = inner.requests.iter().any(|r| !r.is_empty()) || !inner.done_ahead.is_empty();
            if some || refill || inner.stop {
                return inner.work(refill);
            }
            inner = match idle {
                None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(idle) => {
                    let waited = self.work.wait_timeout(inner, idle);
                    let (mut guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() {
                        return guard.work(false);
                    }
                    guard
                }
            };
        }
    }

    /// Something that was done ahead, for the thread.
    pub fn done_ahead(&self, done: Done) {
        self.inner().done_ahead.push(done);
        self.work.notify_one();
    }

    /// Tells everybody at once, and takers that events may have come in.
    pub fn answer(&self, answers: Vec<Answer>) {
        for (done, result) in answers {
            let _ = done.send(result);
        }
        self.filled.notify_one();
    }

    /// The logs are open: what they hold counts from now on.
    pub fn opened<'b>(&self, books: impl Iterator<Item = &'b Books>) {
        let mut inner = self.inner();
        for books in books {
            inner.on_disk += books.live();
            inner.queue.next_event = inner.queue.next_event.max(books.next_order());
            for (_, owner, stamp, bytes) in books.positions() {
                inner.next_stamp = inner.next_stamp.max(stamp);
                if bytes.is_empty() {
                    continue; // taken back
                }
                let (owner, bytes) = (owner.into(), Bytes::copy_from_slice(bytes));
                inner.moved(Some((stamp, Position { owner, bytes })));
            }
        }
        inner.queue.used.events += inner.on_disk as usize;
        inner.read_up_to(0);
        // A smaller capacity than what is there: nothing is lost, nothing more is let in.
        inner.queue.held_at_shrinking = inner.queue.used.events;
        drop(inner);
        self.cells().open.set(1);
        self.cells().unhealthy.set(0);
        self.phase.send_replace(Phase::Open);
        self.filled.notify_one();
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

    /// Puts what was read from the logs into the queue.
    pub fn loaded(&self, pieces: Vec<Piece>) {
        if pieces.is_empty() {
            return;
        }
        let mut inner = self.inner();
        for piece in pieces {
            inner.on_disk -= piece.claim.events as u64;
            // Counted as an event each while it was on the disk, and in bytes only now.
            inner.queue.used.bytes += piece.claim.bytes;
            inner.read_up_to(piece.first + piece.claim.events as u64);
            inner.queue.insert(piece);
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Bytes that the window has room for.
    pub fn room(&self) -> usize {
        WINDOW_BYTES.saturating_sub(self.inner().window_bytes())
    }

    /// The cells to count in.
    pub fn cells(&self) -> &StorageCounters {
        self.cells.get_or_init(StorageCounters::default)
    }

    pub fn lost(&self, events: u64) {
        let mut inner = self.inner();
        inner.on_disk -= events;
        inner.queue.used.events -= events as usize;
        inner.lost_unread();
        inner.grant();
        drop(inner);
        self.filled.notify_one();
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
        // Before they hear of it: whoever does may ask at once how things are. And under the lock: a put that finds the
        // channel open must not be queued behind the last that is answered.
        self.phase
            .send_replace(failed.map_or(Phase::Closed, Phase::Failed));
        drop(inner);
        for done in waiting {
            let _ = done.send(Err(error.clone()));
        }
    }
}
