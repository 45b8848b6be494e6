//! The thread of a file channel: it owns the logs, commits what has come together, and loads what the queue needs.
//!
//! ```text
//!   commit_put, commit_take --> requests --> one transaction each, all of a shard with one sync --> queue, answers
//!                                                  (several shards: side by side)
//!   take finds the window low ------------> loads the next events of the logs, in the order of the channel
//!                                                  (a second thread reads them ahead, see `ahead`)
//! ```
//!
//! New events go straight into the queue's window as long as that has room and nothing older waits on the disk. Otherwise
//! they are only in the log, and are read back when those before them are taken: memory does not grow with the backlog.

use super::WINDOW_BYTES;
use super::ahead::{self, Done, Job, Read, Stored};
use super::commit::{settle, side_by_side};
use super::config::{Durability, Settings};
use super::core::Core;
use super::damage;
use super::encryption;
use super::folder::{Folder, RealDisk};
use crate::component::channel::{ChannelError, Claim, Position};
use crate::component::queue::{Origin, Piece};
use bytes::Bytes;
use cluster::journal::{CommitError, Config, Log, OpenError, Opened, ReadError, Reader, Report, Transaction};
use proto::event::Batch;
use proto::journal::{MetaPage, Range, Record};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tracing::{error, info, warn};

/// Bytes of puts that one commit takes together, at most (at least one put).
pub(super) const GROUP_BYTES_MAX: usize = 4 << 20;

/// After so long without work the end of the last commit is marked as synced.
const IDLE: Duration = Duration::from_millis(20);

/// What is asked of the thread.
pub enum Request {
    /// Events and a position.
    Put(PutRequest),
    /// Events are gone, and a position.
    Take(TakeRequest),
}

impl Request {
    /// Bytes of its events.
    fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.blocks.iter().map(Bytes::len).sum(),
            Self::Take(_) => 0,
        }
    }
}

/// A put on its way into the log.
pub struct PutRequest {
    pub order: u64,
    pub batch: Batch,
    pub blocks: Vec<Bytes>,
    pub claim: Claim,
    pub position: Option<(u64, Position)>,
    pub done: oneshot::Sender<Result<(), ChannelError>>,
}

/// A take on its way into the log; the events are numbers of one shard.
pub struct TakeRequest {
    pub events: Vec<Range>,
    pub claim: Claim,
    pub position: Option<(u64, Position)>,
    pub done: oneshot::Sender<Result<(), ChannelError>>,
}

/// One data folder at work.
pub(super) struct Shard {
    pub(super) log: Log<RealDisk>,
    /// Nothing while it is away, which it only is while the shard is behind.
    pub(super) reader: Option<Reader>,
    /// Read and not loaded yet.
    pub(super) heads: VecDeque<Stored>,
    /// Events below were loaded into the queue at one time or another.
    pub(super) loaded: u64,
    /// Something in the log was never loaded.
    pub(super) behind: bool,
    pub(super) ticked: bool,
    /// Whether positions survive with the events.
    pub(super) keeps_positions: bool,
    pub(super) folder: Folder,
}

/// The thread's state.
pub struct Store<'a> {
    pub(super) core: &'a Core,
    pub(super) settings: &'a Settings,
    pub(super) shards: Vec<Shard>,
    /// When everything was last synced, if that is not done with every commit.
    synced: Instant,
}

/// Opens the logs of all data folders and serves until it is told to stop, or something fails that only opening anew
/// can mend. `distrust` says that a sync has failed in this process.
pub fn run(core: &Core, settings: &Settings, distrust: bool) -> Result<(), String> {
    let mut store = Store {
        core,
        settings,
        shards: Vec::new(),
        synced: Instant::now(),
    };
    store.open(distrust)?;
    std::thread::scope(|scope| {
        let (jobs, todo) = channel();
        Builder::new()
            .name(format!("ahead-{}", settings.name))
            .spawn_scoped(scope, move || ahead::run(core, &todo))
            .map_err(|error| format!("no thread: {error}"))?;
        store.serve(&jobs)
    })
}

impl Store<'_> {
    fn open(&mut self, distrust: bool) -> Result<(), String> {
        let begun_all = Instant::now();
        let channel = uuid::Uuid::new_v4().into_bytes();
        let count = self.settings.data_dirs.len();
        let mut channels = Vec::new();
        for (n, path) in self.settings.data_dirs.iter().enumerate() {
            let fresh = MetaPage {
                shard: uuid::Uuid::new_v4().into_bytes(),
                channel: channels.first().copied().unwrap_or(channel),
                shard_number: n as u32,
                shards: count as u32,
                name: self.settings.name.to_string(),
            };
            let shard = self.open_shard(path, &fresh, self.settings.segment_bytes, distrust)?;
            channels.push(shard.folder.meta.channel);
            self.shards.push(shard);
        }
        if channels.iter().any(|c| *c != channels[0]) {
            return Err("the folders of dataDirs belong to different channels".to_owned());
        }
        self.open_saved(distrust)?;
        if !self.settings.keeps_positions {
            self.take_positions_back()?;
        }
        self.core
            .cells()
            .replay_milliseconds
            .set(begun_all.elapsed().as_millis() as u64);
        self.core.opened(self.shards.iter().map(|s| s.log.books()));
        Ok(())
    }

    fn refused(&self, path: &std::path::Path, why: &OpenError) -> String {
        let advice = match why {
            OpenError::Key { why, .. } => encryption::advice(why, &self.settings.keys.now()),
            _ => return damage::refused(path, why),
        };
        format!("{}: {why}; {advice}. Nothing was changed", path.display())
    }

    pub(super) fn open_shard(
        &mut self,
        path: &std::path::Path,
        fresh: &MetaPage,
        segment_bytes: u64,
        distrust: bool,
    ) -> Result<Shard, String> {
        let folder =
            Folder::own(path, fresh, self.settings.minimum_required_space).map_err(|e| e.to_string())?;
        let how = Opened {
            config: log_config(segment_bytes),
            shard: folder.meta.shard,
            seed: rand::random(),
            skip_damage: self.settings.skip_damage,
            distrust,
            keys: Some(self.settings.keys.clone()),
        };
        let begun = Instant::now();
        let (mut log, report) = Log::open(folder.disk.clone(), how).map_err(|e| self.refused(path, &e))?;
        self.tell(path, &log, &report, begun.elapsed());
        if self.settings.durability != Durability::Commit {
            log.sync_later();
        }
        Ok(Shard {
            loaded: log.books().floor(),
            behind: log.books().live() > 0,
            log,
            reader: Some(Reader::new()),
            heads: VecDeque::new(),
            ticked: true,
            keeps_positions: self.settings.keeps_positions,
            folder,
        })
    }

    fn tell(&self, path: &std::path::Path, log: &Log<RealDisk>, report: &Report, took: Duration) {
        let (channel, folder, events) = (&*self.settings.name, path.display(), log.books().live());
        info!(channel, %folder, events, blocks = report.blocks, ?took, torn = report.torn, "file channel is open");
        for damage in &report.skipped {
            damage::tell(&self.settings.name, self.core.cells(), damage);
        }
        if let Some(below) = log.books().in_doubt() {
            warn!(channel, %folder, below, "events may come twice until those below that number are delivered");
            self.core.cells().in_doubt.set(1);
        }
    }

    fn serve(&mut self, jobs: &Sender<Job>) -> Result<(), String> {
        self.refill(jobs)?;
        loop {
            let work = self.core.wait(self.idle(), !self.waits_for_reading());
            let has_requests = !work.requests.iter().all(VecDeque::is_empty);
            if work.stop && !has_requests {
                self.save();
                self.close();
                return Ok(());
            }
            if has_requests {
                let behind = self.shards.iter().any(|s| s.behind);
                self.shards.iter().for_each(|s| s.folder.disk.read_soon(behind));
                self.commit(work.requests)?;
                self.make_ahead(jobs)?;
            } else if work.done_ahead.is_empty() && !work.refill {
                self.tick();
            }
            for done in work.done_ahead {
                self.take_over(done)?;
            }
            self.refill(jobs)?;
            self.sync_in_time()?;
        }
    }

    /// Whether nothing can be loaded before something has been read.
    fn waits_for_reading(&self) -> bool {
        self.shards.iter().any(|s| s.behind && s.heads.is_empty())
    }

    /// Has the files made that the next segments need.
    fn make_ahead(&mut self, jobs: &Sender<Job>) -> Result<(), String> {
        for (n, shard) in self.shards.iter_mut().enumerate() {
            if let Some((name, bytes)) = shard.log.wants() {
                let disk = shard.folder.disk.clone();
                ask(
                    jobs,
                    Job::Make {
                        shard: n,
                        disk,
                        name,
                        bytes,
                    },
                )?;
            }
        }
        Ok(())
    }

    /// What the other thread has done.
    fn take_over(&mut self, done: Done) -> Result<(), String> {
        match done {
            Done::Failed(why) => Err(why),
            Done::Made(_, None) => Ok(()),
            Done::Made(n, Some((name, bytes))) => {
                self.shards[n].log.offer(name, bytes);
                Ok(())
            }
            Done::Read(n, read) => self.arrived(n, read),
        }
    }

    /// How long it may wait for work.
    fn idle(&self) -> Option<Duration> {
        match self.settings.durability {
            Durability::Commit => (!self.shards.iter().all(|s| s.ticked)).then_some(IDLE),
            Durability::Interval(every) => {
                let unsynced = self.shards.iter().any(|shard| !shard.log.is_synced());
                unsynced.then(|| {
                    every
                        .saturating_sub(self.synced.elapsed())
                        .max(Duration::from_millis(1))
                })
            }
            Durability::None => None,
        }
    }

    /// With `durability = interval`: syncs what was committed, if it is time.
    fn sync_in_time(&mut self) -> Result<(), String> {
        let Durability::Interval(every) = self.settings.durability else {
            return Ok(());
        };
        if self.synced.elapsed() < every {
            return Ok(());
        }
        for shard in &mut self.shards {
            if let Err(why) = shard.log.sync() {
                self.core.poisoned(Instant::now());
                return Err(why.to_string());
            }
        }
        self.synced = Instant::now();
        Ok(())
    }

    /// One sync a shard for everything that has come together.
    fn commit(&mut self, requests: Vec<VecDeque<Request>>) -> Result<(), String> {
        let (begun, before) = (Instant::now(), self.written());
        let payload: usize = requests.iter().flatten().map(Request::bytes).sum();
        let busy = requests.iter().filter(|r| !r.is_empty()).count();
        let results = side_by_side(&mut self.shards, requests)?;
        let cells = self.core.cells();
        cells.syncs.add(busy as u64);
        cells.sync_microseconds.add(begun.elapsed().as_micros() as u64);
        cells.block_bytes.add(self.written().saturating_sub(before));
        cells.block_event_bytes.add(payload as u64);
        let (mut poisoned, mut answers) = (None, Vec::new());
        let mut inner = self.core.inner();
        for (shard, results) in results {
            for (request, result) in results {
                if let Err(CommitError::Poisoned(why)) = &result {
                    poisoned.get_or_insert_with(|| why.to_string());
                    match request {
                        Request::Put(_) => cells.put_errors.add(1),
                        Request::Take(_) => cells.take_errors.add(1),
                    }
                }
                answers.push(settle(&mut self.shards, &mut inner, shard, request, result));
            }
        }
        drop(inner);
        self.core.answer(answers);
        if cells.in_doubt.value() == 1 && self.shards.iter().all(|s| s.log.books().in_doubt().is_none()) {
            info!(
                channel = &*self.settings.name,
                "what was in doubt is delivered: events come once again"
            );
            cells.in_doubt.set(0);
        }
        poisoned.map_or(Ok(()), |why| {
            self.core.poisoned(Instant::now());
            Err(why)
        })
    }

    /// Bytes of blocks, so far.
    fn written(&self) -> u64 {
        self.shards.iter().map(|shard| shard.log.durable_lsn()).sum()
    }

    /// Loads events while the window has room, the oldest of all shards first, and has more of them read.
    fn refill(&mut self, jobs: &Sender<Job>) -> Result<(), String> {
        while self.shards.iter().any(|s| s.behind) {
            for n in 0..self.shards.len() {
                self.read_ahead(n, jobs)?;
            }
            let (room, mut loaded, mut pieces) = (self.core.room(), 0, Vec::new());
            while loaded < room && !self.waits_for_reading() {
                let oldest = (0..self.shards.len())
                    .filter_map(|n| Some((self.shards[n].heads.front()?.order, n)))
                    .min();
                let Some((_, n)) = oldest else { break };
                loaded += self.load(n, &mut pieces)?;
            }
            self.core.loaded(pieces);
            if loaded == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Sends the reader of a shard on its way if there is nothing to load; ends being behind if it has read all.
    fn read_ahead(&mut self, n: usize, jobs: &Sender<Job>) -> Result<(), String> {
        let shard = &mut self.shards[n];
        if !shard.behind || !shard.heads.is_empty() {
            return Ok(());
        }
        let Some(reader) = shard.reader.take() else {
            return Ok(());
        };
        match reader.leave(&shard.log) {
            Ok(reading) => {
                let loaded = shard.loaded;
                ask(
                    jobs,
                    Job::Read {
                        shard: n,
                        reading,
                        loaded,
                    },
                )
            }
            Err(reader) => {
                shard.reader = Some(reader);
                shard.behind = false;
                let next = shard.log.books().next_event();
                if shard.loaded < next {
                    // Damage up to the end.
                    self.missing(n, next)?;
                    self.shards[n].loaded = next;
                }
                Ok(())
            }
        }
    }

    /// The reader of a shard is back.
    fn arrived(&mut self, n: usize, read: Read) -> Result<(), String> {
        let shard = &mut self.shards[n];
        shard.heads.extend(read.events);
        let reader = shard.reader.insert(read.reader);
        match read.failed {
            None => Ok(()),
            // Nothing in it was alive any more, and its file serves again: what is there is no damage.
            Some(_) if !shard.log.has_segment(read.number) => Ok(()),
            Some(ReadError::Disk(why)) => Err(why.to_string()),
            Some(damaged) => {
                // What stands before it is read, and waits to be loaded.
                let last = shard.heads.back().map_or(0, |stored| stored.events.end);
                let found = damage::met(&shard.log, damaged, shard.loaded.max(last))?;
                if !found.lost.is_empty() && !self.settings.skip_damage {
                    let path = &self.settings.data_dirs[n.min(self.settings.data_dirs.len() - 1)];
                    let todo = damage::what_to_do(path);
                    return Err(format!("{}: {found}; {todo}", path.display()));
                }
                reader.skip(found.number, found.end_lsn);
                if found.lost.is_empty() {
                    // Delivered, or given up before: nobody misses it, and nobody needs to be called.
                    warn!(channel = &*self.settings.name, "passed over: {found}");
                } else {
                    // Its events are taken and counted where the next readable one is loaded.
                    damage::tell_range(&self.settings.name, self.core.cells(), &found);
                }
                Ok(())
            }
        }
    }

    /// Makes pieces of the live events that a shard shows first; says how many bytes they keep in memory.
    fn load(&mut self, n: usize, pieces: &mut Vec<Piece>) -> Result<usize, String> {
        let shard = &mut self.shards[n];
        let Some(Stored {
            events,
            order,
            mut batch,
        }) = shard.heads.pop_front()
        else {
            return Ok(0);
        };
        let start = events.start.max(shard.loaded);
        if start > shard.loaded {
            self.missing(n, start)?;
        }
        let shard = &mut self.shards[n];
        shard.loaded = events.end;
        // More than none, so that the caller sees that there was something.
        let (mut at, mut bytes) = (events.start, 1);
        while !batch.is_empty() {
            let left = Range {
                start: at,
                end: at + batch.len() as u64,
            };
            let (alive, len) = run_of(shard.log.books(), left, start);
            let part = batch.split_front(len);
            if alive {
                bytes += part.pinned_bytes();
                pieces.push(Piece {
                    first: order + (at - events.start),
                    claim: Claim::of(&part),
                    batch: part,
                    origin: Origin {
                        shard: n as u32,
                        number: at,
                    },
                });
            }
            at += len as u64;
        }
        Ok(bytes)
    }

    /// Events that should be there and are not: lost to damage. They are taken, so that their room is free again.
    fn missing(&mut self, n: usize, next: u64) -> Result<(), String> {
        let shard = &mut self.shards[n];
        let gap = Range {
            start: shard.loaded,
            end: next,
        };
        let books = shard.log.books();
        let mut lost = Vec::new();
        let mut at = gap.start;
        while at < gap.end {
            let (alive, len) = run_of(
                books,
                Range {
                    start: at,
                    end: gap.end,
                },
                gap.start,
            );
            if alive {
                lost.push(Range {
                    start: at,
                    end: at + len as u64,
                });
            }
            at += len as u64;
        }
        let events: u64 = lost.iter().map(|r| r.len()).sum();
        if events == 0 {
            return Ok(());
        }
        let (first, last) = (lost[0].start, lost[lost.len() - 1].end - 1);
        error!(
            channel = &*self.settings.name,
            events, first, last, "these events are lost to damage"
        );
        let taken = Transaction {
            put: None,
            records: vec![Record::Take { events: lost }],
        };
        if let Err(why) = shard.log.commit(&[taken]).remove(0) {
            self.core.poisoned(Instant::now());
            return Err(why.to_string());
        }
        self.core.lost(events);
        self.core.cells().lost_events.add(events);
        Ok(())
    }

    fn tick(&mut self) {
        if self.settings.durability != Durability::Commit {
            // Nothing was synced that it could tell of.
            self.shards.iter_mut().for_each(|shard| shard.ticked = true);
            return;
        }
        for shard in self.shards.iter_mut().filter(|s| !s.ticked) {
            if let Err(why) = shard.log.tick() {
                warn!(channel = &*self.settings.name, %why, "cannot mark the end of the last commit");
            }
            shard.ticked = true;
        }
    }

    fn close(&mut self) {
        for shard in &mut self.shards {
            let close = Transaction {
                put: None,
                records: vec![Record::Close],
            };
            if let Err(why) = shard.log.commit(&[close]).remove(0) {
                warn!(channel = &*self.settings.name, %why, "cannot mark the end of the log");
            }
            if let Err(why) = shard.log.sync() {
                warn!(channel = &*self.settings.name, %why, "cannot sync the end of the log");
            }
        }
    }
}

fn ask(jobs: &Sender<Job>, job: Job) -> Result<(), String> {
    let gone = |_| "the thread that reads ahead is gone".to_owned();
    jobs.send(job).map_err(gone)
}

/// Whether the first event of a range lives, and for how many events that is so. Those below `start` do not count.
fn run_of(books: &cluster::journal::Books, range: Range, start: u64) -> (bool, usize) {
    let floor = books.floor().max(start);
    if range.start < floor {
        return (false, (floor.min(range.end) - range.start) as usize);
    }
    match books.taken().next_from(range.start) {
        Some(taken) if taken.start == range.start => {
            (false, (taken.end.min(range.end) - range.start) as usize)
        }
        Some(taken) => (true, (taken.start.min(range.end) - range.start) as usize),
        None => (true, range.len() as usize),
    }
}

/// Runs `run` and makes a text of a panic.
pub fn caught(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    std::panic::catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err("the thread of the channel panicked".to_owned()))
}

/// Takes from the front what one commit may hold.
pub fn group(requests: &mut VecDeque<Request>) -> VecDeque<Request> {
    let mut bytes = 0;
    let mut taken = 0;
    for request in requests.iter() {
        if let Request::Put(put) = request {
            bytes += put.blocks.iter().map(Bytes::len).sum::<usize>();
        }
        if taken > 0 && bytes > GROUP_BYTES_MAX {
            break;
        }
        taken += 1;
    }
    requests.drain(..taken).collect()
}

/// Sizes of a log for segments of so many bytes.
pub fn log_config(segment_bytes: u64) -> Config {
    let default = Config::default();
    Config {
        segment_bytes,
        spare_bytes: default.spare_bytes.min(segment_bytes / 2),
        ..default
    }
}

/// The most that the queue keeps in memory of what is in the log.
pub fn window_is_low(pinned: usize) -> bool {
    pinned < WINDOW_BYTES / 2
}
