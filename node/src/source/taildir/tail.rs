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
use super::awaited::Awaited;
use super::file::{Former, Tailed, entries};
use super::folders::Folders;
use super::identity::Inode;
use super::pace::Pace;
use super::positions::Positions;
use super::reader::Reader;
use super::turn::Turn;
use super::watch::Watch;
use crate::component::error::{Kind, RunError};
use crate::component::source::SourceContext;
use cluster::backoff::Backoff;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Files that are followed; the rest has to wait until some are gone.
pub(super) const FILES_MAX: usize = 100_000;
/// Waits before a refused batch is put again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// The longest that the kernel keeps what happened to names, while batches are put.
const HEAR: Duration = Duration::from_millis(500);

/// All files of a source.
pub(super) struct Tail<'a> {
    pub(super) config: &'a Config,
    pub(super) ctx: &'a SourceContext,
    pub(super) files: HashMap<Inode, Tailed>,
    pub(super) former: Former,
    /// Positions from before the start whose files are not seen yet.
    pub(super) awaited: Awaited,
    /// In the order of their turns.
    pub(super) order: Vec<Inode>,
    /// Open handles, the least recently used first.
    pub(super) open: BTreeMap<u64, Inode>,
    pub(super) uses: u64,
    pub(super) known: u64,
    pub(super) gone: u64,
    pub(super) busy: Vec<Inode>,
    /// Files with something new, in the order of their turns.
    pub(super) ready: Vec<Inode>,
    pub(super) folders: Folders,
    pub(super) failing: HashSet<PathBuf>,
    /// Folders are to be listed at the next look, whatever they look like.
    pub(super) list_again: bool,
    /// When the folders were listed.
    pub(super) listed: SystemTime,
    /// When names were heard of.
    pub(super) heard: Instant,
    pub(super) full: bool,
    pub(super) reader: Reader,
    pub(super) positions: Positions,
    pub(super) wrote: Instant,
    pub(super) idle_checked: Instant,
    pub(super) pace: Pace,
    pub(super) watch: Watch,
    pub(super) start: Instant,
    pub(super) backoff: Backoff,
    /// Lines in a batch, until a smaller one is in.
    pub(super) lines_max: usize,
}

impl<'a> Tail<'a> {
    /// Follows nothing yet.
    pub(super) fn new(
        config: &'a Config,
        ctx: &'a SourceContext,
        folders: Folders,
        watch: Watch,
        positions: Positions,
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            ctx,
            files: HashMap::new(),
            former: Former::default(),
            awaited: Awaited::default(),
            order: Vec::new(),
            open: BTreeMap::new(),
            uses: 0,
            known: 0,
            gone: 0,
            busy: Vec::new(),
            ready: Vec::new(),
            folders,
            watch,
            failing: HashSet::new(),
            list_again: false,
            listed: SystemTime::UNIX_EPOCH,
            heard: now,
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
        self.look();
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
        // What failed is in the log and is tried once more here.
        let _ = self.collect_written(true).await;
        if self.folders.may_have_changed() {
            self.list();
        }
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

    /// What is due between batches: positions to the position file, and names to be heard of.
    pub(super) async fn keep_positions(&mut self) -> Result<(), RunError> {
        let now = Instant::now();
        if now - self.heard >= HEAR {
            self.hear();
        }
        if self.positions.is_writing() {
            // In the log and in the counters; lines go on.
            let written = self.collect_written(false).await;
            written.or_else(|e| if e.kind() == Kind::Bug { Err(e) } else { Ok(()) })?;
        }
        let due = now - self.wrote >= self.config.position_interval || self.positions.is_pressing();
        if self.positions.is_changed() && due && !self.positions.is_writing() {
            // As they are called now, so that a restart knows them.
            if self.folders.may_have_changed() {
                self.list();
                // Whoever passed before the listing went before those that it misses.
                self.hear();
            }
            self.begin_to_write();
        }
        Ok(())
    }

    fn begin_to_write(&mut self) {
        self.wrote = Instant::now();
        let files = self.order.iter().filter_map(|inode| self.files.get(inode));
        let (gone, there): (Vec<&Tailed>, Vec<&Tailed>) = files.partition(|f| f.gone);
        let text = entries(there.into_iter().chain(gone), self.awaited.entries());
        let youngest = self.files.values().filter_map(|f| f.born_ns).max();
        self.positions.write(text, self.listed, youngest.unwrap_or(0));
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
}
