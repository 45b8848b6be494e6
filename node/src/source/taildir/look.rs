//! Looking: which files there are, what became of those that are known, and which of them have something new.

use super::file::{Sight, Tailed};
use super::folders::{Listing, look_at};
use super::identity::{Fate, Inode, Seen, Stored, fate, one_path_each};
use super::names::Passed;
use super::tail::Tail;
use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

/// How long after its last line a file is looked at every few milliseconds.
const BUSY: Duration = Duration::from_secs(2);
/// How often a file is looked for that is not where it was.
const MISSED_MAX: u8 = 3;
/// Between two tries to open or read a file that cannot be.
const RETRY_FILE: Duration = Duration::from_secs(5);

impl Tail<'_> {
    pub(super) fn look(&mut self) {
        let now = self.start.elapsed();
        let begun = std::time::Instant::now();
        let changed = || self.pace.may_list(now) && self.folders.may_have_changed();
        let list = self.list_again || changed();
        let everything = list || self.pace.everything_is_due(now);
        if list {
            self.list();
        }
        self.hear();
        if !everything {
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
        self.listed = SystemTime::now();
        let known = self.files.keys().map(|i| i.number);
        let numbers: HashSet<u64> = known.chain(self.awaited.numbers()).collect();
        let listing = self.folders.list(|number| numbers.contains(&number));
        self.apply(listing);
    }

    /// Follows files that had a matching name and lost it, perhaps before they were ever seen.
    pub(super) fn hear(&mut self) {
        let folders = &self.folders;
        let news = self.watch.news(|path| folders.group_of(path).is_some());
        self.heard = Instant::now();
        if news.overrun {
            self.list_again = true;
            self.ctx.counters.read_failures.add(1);
            warn!("too much happened at once: files that came and were renamed meanwhile may be missed");
        }
        for Passed { was, is } in news.passed {
            let group = self.folders.group_of(&was);
            if let Some(seen) = group.and_then(|group| look_at(is.as_path().into(), group)) {
                self.meet_passed(&seen, &was);
            }
        }
    }

    /// A file is gone.
    pub(super) fn went(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            self.gone += 1;
            (file.gone, file.gone_as, file.active) = (true, self.gone, Instant::now());
            // Whatever was seen of it last; and before the one that has its name now.
            self.ready.push(inode);
        }
    }

    /// A file that had a matching name until lately.
    fn meet_passed(&mut self, seen: &Seen, was: &Path) {
        let known = self.files.get(&seen.inode).map(|f| (&*f.path, f.born_ns));
        if matches!(fate(known, seen), Fate::New | Fate::Reborn) {
            debug!(file = %was.display(), now = %seen.path.display(), "came and was renamed between two looks");
            self.forget(seen.inode);
            self.follow_new(seen);
            self.order.push(seen.inode);
            if let Some(file) = self.files.get_mut(&seen.inode) {
                file.name = was.to_string_lossy().into_owned();
            }
        }
        if let Some(file) = self.files.get_mut(&seen.inode) {
            file.path = seen.path.clone();
            if !file.gone {
                self.went(seen.inode);
            }
        }
    }

    pub(super) fn apply(&mut self, listing: Listing) {
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
        self.meet_strays(&listing.strays);
        if self.awaited.listed(&self.folders) {
            self.positions.note_gone();
        }
        let strays: HashMap<u64, PathBuf> = listing.strays.into_iter().collect();
        let went = |f: &&Tailed| {
            let listed = f.path.parent().is_none_or(|folder| !failed.contains(folder));
            !f.gone && listed && !there.contains(&f.inode)
        };
        let mut went: Vec<&Tailed> = self.files.values().filter(went).collect();
        went.sort_by_cached_key(|f| f.turn_key());
        let went: Vec<Inode> = went.into_iter().map(|f| f.inode).collect();
        for inode in went {
            self.went(inode);
        }
        for file in self.files.values_mut().filter(|f| f.gone) {
            if let Some(path) = strays.get(&file.inode.number)
                && *file.path != **path
            {
                debug!(file = file.name, now = %path.display(), "renamed to what no pattern matches; read to its end");
                file.path = path.as_path().into();
            }
        }
        let mut order: Vec<&Tailed> = self.files.values().collect();
        order.sort_by_cached_key(|f| f.turn_key());
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
                debug!(from = file.name, to = %seen.path.display(), "file renamed, read on where it was");
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
        let known = self.awaited.take(seen);
        let new = self.former.offset_of(seen);
        let Some(mut kept) = self
            .follow_known(seen, known, new)
            .map(|f| std::mem::take(&mut f.kept))
        else {
            return;
        };
        // So that it is known after a restart even if it was rotated away before its first line.
        if let Some(file) = self.files.get_mut(&seen.inode) {
            self.positions.note(&mut kept, &file.mark());
            file.kept = kept;
        }
    }

    /// Follows a file from where a start found it, or from `new` on if it knows nothing of it.
    pub(super) fn follow_known(
        &mut self,
        seen: &Seen,
        known: Option<Stored>,
        new: u64,
    ) -> Option<&mut Tailed> {
        let offset = match &known {
            Some(stored) if stored.pos > seen.size => {
                let (file, size) = (&stored.path, seen.size);
                info!(%file, pos = stored.pos, size, "shorter than its position, read from 0");
                0
            }
            Some(stored) => stored.pos,
            None => new,
        };
        if self.follow(seen, offset).is_none() {
            // There are too many files: when it is this one's turn, it goes on there.
            self.awaited.put_back(known);
            return None;
        }
        let file = self.files.get_mut(&seen.inode)?;
        file.renamed = known.is_some_and(|stored| stored.path != file.name);
        Some(file)
    }

    /// Follows files that are awaited and have names now that no pattern matches.
    pub(super) fn meet_strays(&mut self, strays: &[(u64, PathBuf)]) {
        let mut elsewhere = Vec::new();
        for (number, path) in strays {
            let folders = &self.folders;
            let look = |stored: &Stored| {
                let group = folders.group_of(Path::new(&stored.path))?;
                look_at(path.as_path().into(), group)
            };
            elsewhere.extend(self.awaited.take_stray(*number, look));
        }
        elsewhere.sort_by_key(|(seen, _)| seen.modified_ns);
        for (seen, stored) in elsewhere {
            info!(file = %stored.path, now = %seen.path.display(), "renamed while nobody looked; read to its end");
            if let Some(file) = self.follow(&seen, stored.pos) {
                file.name = stored.path;
                self.went(seen.inode);
            }
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

    pub(super) fn forget(&mut self, inode: Inode) {
        if let Some(file) = self.files.remove(&inode) {
            self.open.remove(&file.used);
            self.former.put(&file);
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
                (file.size, file.missed) = (size, 0);
                touched = std::mem::replace(&mut file.touched_ns, modified_ns) != modified_ns;
            }
            Ok(Sight::Elsewhere) if file.gone => return self.missing(inode),
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
        self.ready
            .sort_by_cached_key(|i| files.get(i).map(Tailed::turn_key));
        self.ready.dedup();
    }

    /// A gone file is not where it was: it is looked for a few times, as listings and news may be late, then given up.
    pub(super) fn missing(&mut self, inode: Inode) {
        self.list_again = true;
        let Some(file) = self.files.get_mut(&inode) else {
            return;
        };
        file.missed += 1;
        if file.missed < MISSED_MAX {
            return;
        }
        let unread = file.size.saturating_sub(file.place.offset);
        if unread > 0 {
            self.ctx.counters.read_failures.add(1);
            error!(
                file = file.name,
                bytes = unread,
                "deleted before it was read to its end"
            );
        }
        self.forget(inode);
    }

    pub(super) fn trouble(&mut self, inode: Inode, error: &io::Error) {
        self.ctx.counters.read_failures.add(1);
        if let Some(file) = self.files.get_mut(&inode) {
            file.retry_at = Some(Instant::now() + RETRY_FILE);
            warn!(file = file.name, %error, "Unable to tail file; tried again");
        }
    }
}
