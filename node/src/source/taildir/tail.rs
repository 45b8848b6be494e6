//! All files of a source at work: looks, has turns, keeps positions, closes.
//!
//! ```text
//!   look ----> files with something new, gone ones first, then the least recently modified
//!     ^            |
//!     |            v  a turn: what was there when it began, batch after batch, at most maxBatchCount of them
//!     |         read -> put with position -> committed: the offset moves
//!     |            |       '-- refused: wait, list the folders (rotation goes on meanwhile), put again
//!     |            v
//!     '--- rest <- positions due? write them; files idle? close them
//! ```
//! A turn ends where the file ended when it began, so a writer who is as fast as we are keeps nobody else waiting.

use super::Config;
use super::file::{Sight, Tailed, entries};
use super::folders::{Folders, Listing};
use super::identity::{Fate, Inode, Seen, fate, one_path_each, turn_key};
use super::pace::{Pace, Rest};
use super::positions::Positions;
use super::reader::{Chunk, Found, Place, Reader};
use super::watch::Bell;
use crate::component::channel::ChannelError;
use crate::component::error::RunError;
use crate::component::source::SourceContext;
use bytes::Bytes;
use cluster::backoff::Backoff;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

/// Files that are followed; the rest has to wait until some are gone.
pub(super) const FILES_MAX: usize = 100_000;
/// How long after its last line a file is looked at every few milliseconds.
const BUSY: Duration = Duration::from_secs(2);
/// Between two tries to open or read a file that cannot be.
const RETRY_FILE: Duration = Duration::from_secs(5);
/// Waits before a refused batch is put again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a put that is under way may take after the source was asked to stop.
const LAST_PUT: Duration = Duration::from_secs(2);
/// The longest between two looks for files that are idle.
const IDLE_CHECK_MAX: Duration = Duration::from_secs(5);
const IDLE_CHECK_MIN: Duration = Duration::from_millis(20);

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// All that was there is in the channels.
    Done,
    /// There is more.
    More,
    /// The source is to stop.
    Stop,
}

/// What became of a batch.
#[derive(Debug)]
enum Answer {
    In,
    /// There was no time any more.
    Stop,
    /// Never in one piece.
    TooMuch(ChannelError),
    Refused(ChannelError),
}

/// All files of a source.
pub(super) struct Tail<'a> {
    config: &'a Config,
    ctx: &'a SourceContext,
    pub(super) files: HashMap<Inode, Tailed>,
    /// In the order of their turns.
    order: Vec<Inode>,
    /// Open handles, the least recently used first.
    pub(super) open: BTreeMap<u64, Inode>,
    uses: u64,
    known: u64,
    busy: Vec<Inode>,
    /// Files with something new, in the order of their turns.
    ready: Vec<Inode>,
    folders: Folders,
    failing: HashSet<PathBuf>,
    /// Folders are to be listed at the next look, whatever they look like.
    pub(super) list_again: bool,
    full: bool,
    reader: Reader,
    pub(super) positions: Positions,
    wrote: Instant,
    idle_checked: Instant,
    pace: Pace,
    bell: Bell,
    start: Instant,
    backoff: Backoff,
    /// Lines in a batch, until a smaller one is in.
    lines_max: usize,
}

impl<'a> Tail<'a> {
    /// Follows nothing yet.
    pub(super) fn new(
        config: &'a Config,
        ctx: &'a SourceContext,
        folders: Folders,
        positions: Positions,
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            ctx,
            files: HashMap::new(),
            order: Vec::new(),
            open: BTreeMap::new(),
            uses: 0,
            known: 0,
            busy: Vec::new(),
            ready: Vec::new(),
            bell: Bell::new(folders.paths()),
            folders,
            failing: HashSet::new(),
            list_again: false,
            full: false,
            reader: Reader::new(config.shape()),
            positions,
            wrote: now,
            idle_checked: now,
            pace: Pace::new(config.poll_first, config.poll_max),
            start: now,
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX, ctx.seed),
            lines_max: config.batch_size_events,
        }
    }

    /// Works until it is to stop.
    pub(super) async fn run(mut self) -> Result<(), RunError> {
        while !self.ctx.shutdown.is_requested() {
            if self.step().await? {
                continue;
            }
            self.rest().await;
        }
        self.finish().await
    }

    /// Looks, and gives every file that has something new its turn. Says whether to go on at once.
    pub(super) async fn step(&mut self) -> Result<bool, RunError> {
        let everything = self.list_again || self.pace.everything_is_due(self.start.elapsed());
        self.look(everything);
        let mut more = false;
        for inode in std::mem::take(&mut self.ready) {
            match self.turn(inode).await? {
                Turn::Done => {}
                Turn::More => {
                    more = true;
                    self.ready.push(inode);
                }
                Turn::Stop => return Ok(true),
            }
        }
        self.close_idle();
        self.keep_positions().await?;
        Ok(more || !self.ready.is_empty())
    }

    /// The last positions to the position file.
    pub(super) async fn finish(&mut self) -> Result<(), RunError> {
        self.bell.disarm();
        // What failed is in the log and is tried once more here.
        let _ = self.collect_written(true).await;
        if self.positions.is_changed() {
            self.write_now().await?;
        }
        Ok(())
    }

    /// Writes the positions and waits until they are on disk.
    pub(super) async fn write_now(&mut self) -> Result<(), RunError> {
        self.collect_written(true).await?;
        self.begin_to_write();
        self.collect_written(true).await
    }

    async fn keep_positions(&mut self) -> Result<(), RunError> {
        if self.positions.is_writing() {
            // In the log and in the counters; lines go on.
            let _ = self.collect_written(false).await;
        }
        let due = self.wrote.elapsed() >= self.config.position_interval || self.positions.is_pressing();
        if self.positions.is_changed() && due && !self.positions.is_writing() {
            // As they are called now, so that a restart knows them.
            if self.folders.may_have_changed() {
                self.list();
            }
            self.begin_to_write();
        }
        Ok(())
    }

    fn begin_to_write(&mut self) {
        self.wrote = Instant::now();
        let files = self.order.iter().filter_map(|inode| self.files.get(inode));
        let (gone, there): (Vec<&Tailed>, Vec<&Tailed>) = files.partition(|f| f.gone);
        let text = entries(there.into_iter().chain(gone));
        self.positions.write(text);
    }

    async fn collect_written(&mut self, wait: bool) -> Result<(), RunError> {
        match self.positions.written(wait).await {
            Ok(false) => Ok(()),
            Ok(true) => {
                for file in self.files.values_mut() {
                    let mut kept = std::mem::take(&mut file.kept);
                    self.positions.rebuild(&mut kept, &file.mark());
                    file.kept = kept;
                }
                Ok(())
            }
            Err(error) => {
                self.ctx.counters.processing_failures.add(1);
                Err(error)
            }
        }
    }

    // Looking.

    fn look(&mut self, everything: bool) {
        let now = self.start.elapsed();
        let begun = std::time::Instant::now();
        let changed = || self.pace.may_list(now) && self.folders.may_have_changed();
        if self.list_again || changed() {
            self.list();
        } else if !everything {
            let busy = std::mem::take(&mut self.busy);
            busy.iter().for_each(|inode| self.check(*inode));
            self.busy = busy;
            self.sort_ready();
            return;
        }
        let all = std::mem::take(&mut self.order);
        all.iter().for_each(|inode| self.check(*inode));
        self.order = all;
        self.sort_ready();
        let files = &self.files;
        let is_busy = |f: &Tailed| f.handle.is_some() && f.active.elapsed() <= BUSY;
        let busy = self.order.iter().filter(|i| files.get(i).is_some_and(is_busy));
        self.busy = busy.copied().collect();
        self.pace.looked(now, begun.elapsed());
    }

    /// Lists the folders and follows what is new, renamed or gone.
    pub(super) fn list(&mut self) {
        self.list_again = false;
        let numbers: HashSet<u64> = self.files.keys().map(|i| i.number).collect();
        let listing = self.folders.list(|number| numbers.contains(&number));
        self.apply(listing);
    }

    fn apply(&mut self, listing: Listing) {
        let known_path = |inode: Inode| self.files.get(&inode).map(|f| &*f.path);
        let seen = one_path_each(listing.seen, known_path);
        let failed: HashSet<PathBuf> = listing.failed.iter().map(|(path, _)| path.clone()).collect();
        for (path, error) in &listing.failed {
            if self.failing.insert(path.clone()) {
                self.ctx.counters.read_failures.add(1);
                warn!(folder = %path.display(), %error, "folder cannot be listed; its files stay as they are");
            }
        }
        self.failing.retain(|path| failed.contains(path));
        let there: HashSet<Inode> = seen.iter().map(|s| s.inode).collect();
        for file in seen {
            self.meet(&file);
        }
        let strays: HashMap<u64, PathBuf> = listing.strays.into_iter().collect();
        let gone: Vec<Inode> = self.files.values().filter(|f| !f.gone).map(|f| f.inode).collect();
        for inode in gone.into_iter().filter(|i| !there.contains(i)) {
            let known = self.files.get_mut(&inode);
            let Some(file) = known.filter(|f| f.path.parent().is_none_or(|p| !failed.contains(p))) else {
                continue;
            };
            (file.gone, file.active) = (true, Instant::now());
            if let Some(path) = strays.get(&inode.number) {
                info!(file = file.name, now = %path.display(), "renamed to what no pattern matches; read to its end");
                file.path = path.as_path().into();
            }
        }
        let mut order: Vec<&Tailed> = self.files.values().collect();
        order.sort_by_cached_key(|f| turn_key(f.gone, f.group, f.modified_ns, f.known_as));
        self.order = order.into_iter().map(|f| f.inode).collect();
    }

    /// A file that a listing shows.
    fn meet(&mut self, seen: &Seen) {
        let known = self.files.get(&seen.inode).map(|f| (&*f.path, f.born_ns));
        match fate(known, seen) {
            Fate::New => self.follow_new(seen),
            Fate::Reborn => {
                info!(file = %seen.path.display(), "another file under a known inode number");
                self.forget(seen.inode);
                self.follow_new(seen);
            }
            Fate::Same => {
                if let Some(file) = self.files.get_mut(&seen.inode) {
                    (file.gone, file.modified_ns) = (false, seen.modified_ns);
                }
            }
            Fate::Renamed => {
                let Some(file) = self.files.get_mut(&seen.inode) else {
                    return;
                };
                info!(from = file.name, to = %seen.path.display(), "file renamed, read on where it was");
                file.path = seen.path.clone();
                file.name = seen.path.to_string_lossy().into_owned();
                (file.group, file.modified_ns) = (seen.group, seen.modified_ns);
                (file.gone, file.renamed, file.active) = (false, true, Instant::now());
                let mut kept = std::mem::take(&mut file.kept);
                self.positions.note_renamed(&mut kept, &file.mark());
                file.kept = kept;
            }
        }
    }

    fn follow_new(&mut self, seen: &Seen) {
        let Some(mut kept) = self.follow(seen, 0).map(|f| std::mem::take(&mut f.kept)) else {
            return;
        };
        // So that it is known after a restart even if it was rotated away before its first line.
        if let Some(file) = self.files.get_mut(&seen.inode) {
            self.positions.note(&mut kept, &file.mark());
            file.kept = kept;
        }
    }

    /// Follows a file from `offset` on.
    pub(super) fn follow(&mut self, seen: &Seen, offset: u64) -> Option<&mut Tailed> {
        if self.files.len() >= self.config.files_max {
            self.ctx.counters.refused_inputs.add(1);
            if !std::mem::replace(&mut self.full, true) {
                let (file, most) = (seen.path.display(), self.config.files_max);
                error!(%file, most, "too many files: this one and others are not read before some are gone");
            }
            return None;
        }
        self.full = false;
        self.known += 1;
        let mut file = Tailed::new(seen, self.known, offset, Instant::now());
        // Opened here, so that what stands before the offset is known, and kept open if there is room, so that it is
        // read even if it is rotated away before its first turn. If it cannot be, its turn will say so.
        let opened = matches!(file.open(), Ok(true));
        if opened && self.open.len() < self.config.open_files_max {
            self.uses += 1;
            file.used = self.uses;
            self.open.insert(self.uses, file.inode);
        } else {
            file.handle = None;
        }
        self.files.insert(seen.inode, file);
        self.files.get_mut(&seen.inode)
    }

    fn forget(&mut self, inode: Inode) {
        if let Some(file) = self.files.remove(&inode) {
            self.open.remove(&file.used);
            self.positions.note_done(file.kept, &file.mark());
        }
    }

    /// Looks at the size of a file, and has it ready for its turn if there is something new.
    fn check(&mut self, inode: Inode) {
        let Some(file) = self.files.get_mut(&inode) else {
            return;
        };
        if file.retry_at.is_some_and(|at| at > Instant::now()) {
            return;
        }
        let touched;
        match file.look() {
            Ok(Sight::There { size, modified_ns }) => {
                file.size = size;
                touched = std::mem::replace(&mut file.touched_ns, modified_ns) != modified_ns;
            }
            Ok(Sight::Elsewhere) if file.gone => return self.lost(inode),
            Ok(Sight::Elsewhere) => {
                self.list_again = true;
                return;
            }
            Err(error) => return self.trouble(inode, &error),
        }
        // As large as before, but touched: perhaps cut and written anew.
        if file.size < file.place.offset || file.size > file.place.looked || file.wants_rest || touched {
            self.ready.push(inode);
        }
    }

    fn sort_ready(&mut self) {
        let files = &self.files;
        self.ready.sort_by_cached_key(|i| {
            let file = files.get(i);
            file.map(|f| turn_key(f.gone, f.group, f.modified_ns, f.known_as))
        });
        self.ready.dedup();
    }

    /// A gone file that is nowhere to be found.
    fn lost(&mut self, inode: Inode) {
        if let Some(file) = self.files.get(&inode) {
            let unread = file.size.saturating_sub(file.place.offset);
            if unread > 0 {
                self.ctx.counters.read_failures.add(1);
                error!(
                    file = file.name,
                    bytes = unread,
                    "deleted before it was read to its end"
                );
            }
        }
        self.forget(inode);
    }

    fn trouble(&mut self, inode: Inode, error: &io::Error) {
        self.ctx.counters.read_failures.add(1);
        if let Some(file) = self.files.get_mut(&inode) {
            file.retry_at = Some(Instant::now() + RETRY_FILE);
            warn!(file = file.name, %error, "Unable to tail file; tried again");
        }
    }

    // Turns.

    async fn turn(&mut self, inode: Inode) -> Result<Turn, RunError> {
        match self.prepare(inode) {
            Ok(true) => {}
            Ok(false) => return Ok(Turn::Done),
            Err(error) => {
                self.trouble(inode, &error);
                return Ok(Turn::Done);
            }
        }
        let mut batches = 0;
        loop {
            let chunk = match self.read(inode) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    self.trouble(inode, &error);
                    break;
                }
            };
            let (lines, cut) = (chunk.batch.len(), chunk.cut);
            match self.deliver(inode, chunk).await? {
                Answer::In => {}
                Answer::Stop | Answer::Refused(_) => return Ok(Turn::Stop),
                Answer::TooMuch(_) => continue,
            }
            if cut > 0 {
                self.ctx.counters.refused_inputs.add(cut as u64);
                warn!(lines = cut, "lines over maxLineBytes were cut");
            }
            batches += u64::from(lines > 0);
            // A channel that always has room would never let the others on this thread have their turn.
            tokio::task::coop::consume_budget().await;
            if self.ctx.shutdown.is_requested() {
                return Ok(Turn::Stop);
            }
            if batches >= self.config.batches_max {
                let file = self.files.get(&inode);
                let more = file.is_some_and(|f| f.place.looked < f.size);
                return Ok(if more { Turn::More } else { Turn::Done });
            }
            self.keep_positions().await?;
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.line_bytes = self.reader.line_bytes();
        }
        Ok(Turn::Done)
    }

    /// Opens a file, sees whether it was cut, and turns the reader to it. False if there is nothing to read.
    fn prepare(&mut self, inode: Inode) -> io::Result<bool> {
        if self.files.get(&inode).is_some_and(|f| f.handle.is_none()) {
            self.make_room();
        }
        let Some(file) = self.files.get_mut(&inode) else {
            return Ok(false);
        };
        file.retry_at = None;
        if !file.open()? {
            self.list_again = true;
            if file.gone {
                self.lost(inode);
            }
            return Ok(false);
        }
        self.open.remove(&file.used);
        self.uses += 1;
        file.used = self.uses;
        self.open.insert(self.uses, inode);
        if let Ok(Sight::There { size, .. }) = file.look() {
            file.size = size;
        }
        if file.was_cut()? {
            info!(
                file = file.name,
                pos = file.place.offset,
                size = file.size,
                "file was truncated, read from 0"
            );
            file.place = Place::at(0);
            file.active = Instant::now();
            let mut kept = std::mem::take(&mut file.kept);
            self.positions.note(&mut kept, &file.mark());
            file.kept = kept;
        }
        let group = self.config.groups.get(file.group);
        let headers = group.into_iter().flat_map(|g| g.headers.iter());
        let headers = headers.map(|(key, value)| (key.as_str(), value.as_str()));
        let name = self
            .config
            .file_header
            .as_deref()
            .map(|key| (key, file.name.as_str()));
        self.reader.turn_to(headers.chain(name), file.line_bytes);
        Ok(true)
    }

    /// The next lines of a file, or what is left of it if that is wanted.
    fn read(&mut self, inode: Inode) -> io::Result<Option<Chunk>> {
        let Some(file) = self.files.get_mut(&inode) else {
            return Ok(None);
        };
        let Some(handle) = &file.handle else {
            return Ok(None);
        };
        if file.place.looked < file.size {
            let now = Instant::now();
            file.active = now;
            self.pace.lines_came(now - self.start);
            match self.reader.next(handle, file.place, file.size, self.lines_max)? {
                Found::Lines(chunk) => {
                    file.wants_rest = false;
                    return Ok(Some(chunk));
                }
                Found::Nothing(looked) => {
                    file.wants_rest &= looked <= file.place.looked;
                    file.place.looked = looked;
                }
            }
        }
        if !std::mem::take(&mut file.wants_rest) {
            return Ok(None);
        }
        self.reader.rest(handle, file.place, file.size)
    }

    /// Puts a batch until it is in. `TooMuch`: it is to be read again, in smaller pieces.
    async fn deliver(&mut self, inode: Inode, chunk: Chunk) -> Result<Answer, RunError> {
        let events = chunk.batch.len();
        let known_as = self.files.get(&inode).map(|f| f.known_as);
        loop {
            // None if it was forgotten while the put was refused: its lines are as good as before.
            let file = self
                .files
                .get_mut(&inode)
                .filter(|f| Some(f.known_as) == known_as);
            let position = file.map(|file| {
                let mut kept = std::mem::take(&mut file.kept);
                let position = self.positions.with(&mut kept, &file.mark(), chunk.then.offset);
                file.kept = kept;
                position
            });
            let counters = &self.ctx.counters;
            counters.received.add(events as u64);
            counters.batches_received.add(1);
            match put(self.ctx, &chunk, position).await? {
                Answer::In => {
                    counters.accepted.add(events as u64);
                    counters.batches_accepted.add(1);
                    self.lines_max = self.config.batch_size_events;
                    self.backoff.reset();
                    self.advance(inode, known_as, chunk.then);
                    return Ok(Answer::In);
                }
                Answer::Stop => return Ok(Answer::Stop),
                Answer::TooMuch(why) if events > 1 => {
                    counters.channel_write_failures.add(1);
                    self.lines_max = events / 2;
                    return Ok(Answer::TooMuch(why));
                }
                Answer::TooMuch(why) => {
                    counters.channel_write_failures.add(1);
                    counters.refused_inputs.add(1);
                    let bytes = chunk.batch.body_bytes();
                    error!(error = %why, bytes, "line dropped: no put can ever hold it");
                    self.advance(inode, known_as, chunk.then);
                    return Ok(Answer::In);
                }
                Answer::Refused(why) => {
                    counters.channel_write_failures.add(1);
                    let wait = self.backoff.fail();
                    let attempt = self.backoff.failures();
                    warn!(error = %why, attempt, "put refused; the same lines are tried again");
                    if self.ctx.shutdown.sleep(wait).await {
                        return Ok(Answer::Stop);
                    }
                    // Rotation goes on meanwhile.
                    if self.folders.may_have_changed() && self.pace.may_list(self.start.elapsed()) {
                        self.list();
                    }
                    self.keep_positions().await?;
                }
            }
        }
    }

    /// All before `then` is in the channels.
    fn advance(&mut self, inode: Inode, known_as: Option<u64>, then: Place) {
        let file = self
            .files
            .get_mut(&inode)
            .filter(|f| Some(f.known_as) == known_as);
        if let Some(file) = file {
            file.place = then;
            let mut kept = std::mem::take(&mut file.kept);
            self.positions.note(&mut kept, &file.mark());
            file.kept = kept;
        }
    }

    // Resting and closing.

    /// Waits until there may be something to do.
    async fn rest(&mut self) {
        let now = self.start.elapsed();
        let rest = self.pace.rest(now);
        let (wait, listens) = match rest {
            Rest::Arm => {
                let armed = self.bell.arm();
                self.pace.armed(now, armed);
                self.list_again |= armed;
                return;
            }
            Rest::Sleep(wait) => (wait, false),
            Rest::Listen(wait) => (wait, true),
        };
        if !listens && self.pace.is_armed() {
            self.bell.disarm();
            self.pace.disarmed(now);
        }
        let wait = wait.min(self.until_timers());
        let ctx = self.ctx;
        let rang = tokio::select! {
            () = ctx.shutdown.requested() => false,
            () = sleep(wait) => false,
            () = self.bell.rings(), if listens => true,
        };
        if rang {
            self.bell.disarm();
            self.pace.disarmed(self.start.elapsed());
            self.list_again = true;
        }
    }

    fn until_timers(&self) -> Duration {
        let mut wait = Duration::MAX;
        if self.positions.is_changed() || self.positions.is_writing() {
            let since = self.wrote.elapsed();
            wait = self
                .config
                .position_interval
                .saturating_sub(since)
                .max(Duration::from_millis(10));
        }
        if !self.open.is_empty() {
            let since = self.idle_checked.elapsed();
            wait = wait.min(self.idle_check().saturating_sub(since).max(IDLE_CHECK_MIN));
        }
        wait
    }

    fn idle_check(&self) -> Duration {
        (self.config.idle_timeout / 4).clamp(IDLE_CHECK_MIN, IDLE_CHECK_MAX)
    }

    /// Closes files that had nothing new for a while, forgets those that are gone, and has what is left without an end
    /// in a file that was renamed or is gone made an event.
    fn close_idle(&mut self) {
        if self.idle_checked.elapsed() < self.idle_check() {
            return;
        }
        self.idle_checked = Instant::now();
        let idle = |file: &&Tailed| {
            let half = (file.gone || file.renamed) && !file.is_read();
            (file.handle.is_some() || half) && file.active.elapsed() >= self.config.idle_timeout
        };
        let idle: Vec<Inode> = self.files.values().filter(idle).map(|f| f.inode).collect();
        for inode in idle {
            let Some(file) = self.files.get_mut(&inode) else {
                continue;
            };
            match file.look() {
                Ok(Sight::There { size, .. }) => file.size = size,
                _ => continue,
            }
            if file.is_read() {
                self.close(inode);
            } else if (file.gone || file.renamed) && file.size == file.place.looked {
                file.wants_rest = true;
                self.ready.push(inode);
            }
        }
    }

    fn close(&mut self, inode: Inode) {
        let Some(file) = self.files.get_mut(&inode) else {
            return;
        };
        file.handle = None;
        self.open.remove(&file.used);
        if file.gone {
            self.forget(inode);
        }
    }

    /// Closes a handle if there are too many: one that can be opened again if possible, then of a gone file that is
    /// read. What is not read of a gone file is never given up: its last line is made an event first.
    fn make_room(&mut self) {
        if self.open.len() < self.config.open_files_max {
            return;
        }
        let files = &self.files;
        let first = |fits: &dyn Fn(&Tailed) -> bool| {
            let mut open = self.open.values();
            open.find(|i| files.get(i).is_some_and(fits)).copied()
        };
        let victim = first(&|f| !f.gone && f.is_read())
            .or_else(|| first(&|f| f.gone && f.is_read()))
            .or_else(|| first(&|f| !f.gone));
        match victim {
            Some(inode) => self.close(inode),
            None => {
                if let Some(inode) = self.open.values().next().copied()
                    && let Some(file) = self.files.get_mut(&inode)
                {
                    file.wants_rest = true;
                    self.ready.push(inode);
                }
            }
        }
    }
}

async fn put(ctx: &SourceContext, chunk: &Chunk, position: Option<Bytes>) -> Result<Answer, RunError> {
    let put = async {
        match position {
            Some(position) => ctx.put_at(chunk.batch.clone(), position).await,
            None => ctx.put(chunk.batch.clone()).await,
        }
    };
    let put = tokio::select! {
        biased;
        put = put => put,
        // Nobody waits for an answer, so a put that takes too long may be dropped.
        () = last_call(ctx) => return Ok(Answer::Stop),
    };
    match put {
        Ok(()) => Ok(Answer::In),
        Err(why @ (ChannelError::TooLarge { .. } | ChannelError::NeverFits { .. })) => {
            Ok(Answer::TooMuch(why))
        }
        Err(why @ ChannelError::Bug(_)) => Err(why.into()),
        Err(why) => Ok(Answer::Refused(why)),
    }
}

async fn last_call(ctx: &SourceContext) {
    ctx.shutdown.requested().await;
    sleep(LAST_PUT).await;
}
