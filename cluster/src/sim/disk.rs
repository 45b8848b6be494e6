//! A disk in memory that knows what would survive a crash.
//!
//! Every write is kept as sectors of 512 bytes that are not durable until their file is synced, and so is the length of a
//! new file; creations, renames and removals are not until the folder is. [`SimDisk::crash`] keeps a random part of what is
//! not durable: any subset of the sectors, and the folder's changes up to any one of them. The n-th call can be made to
//! fail or to be the last one. [`SimDisk::fork`] lets one history end in many ways.

use crate::journal::{Disk, DiskError, DiskErrorKind};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a disk writes at once.
pub const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone, Default)]
struct Content {
    /// As a reader sees it.
    seen: Vec<u8>,
    /// As it would be after a crash.
    durable: Vec<u8>,
    /// Sectors in which they may differ.
    dirty: BTreeSet<usize>,
    /// Never synced: after a crash it may be empty.
    fresh: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    /// Changes of the folder since it was last synced.
    changes: Vec<Change>,
    calls: u64,
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    /// That call finds no room.
    fails_full: bool,
    crashed: bool,
    /// Bytes that may be allocated in all.
    room: u64,
}

/// The disk; clones share it.
#[derive(Debug, Clone)]
pub struct SimDisk(Rc<RefCell<State>>);

impl Default for SimDisk {
    fn default() -> Self {
        Self::with_room(u64::MAX)
    }
}

impl SimDisk {
    /// A disk on which so many bytes can be allocated.
    pub fn with_room(room: u64) -> Self {
        Self(Rc::new(RefCell::new(State {
            room,
            ..State::default()
        })))
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// From the call of this number on nothing happens any more: the machine has lost its power.
    pub fn crash_at(&self, call: u64) {
        self.0.borrow_mut().crash_at = Some(call);
    }

    /// The power is back, or another process goes on where one was killed: nothing is lost.
    pub fn revive(&self) {
        let mut state = self.0.borrow_mut();
        (state.crashed, state.crash_at, state.fail_at) = (false, None, None);
    }

    /// The call of this number fails. A sync that fails leaves a part of what it was to make durable in memory for ever:
    /// readers see it, no later sync writes it.
    pub fn fail_at(&self, call: u64) {
        let mut state = self.0.borrow_mut();
        (state.fail_at, state.fails_full) = (Some(call), false);
    }

    /// As [`fail_at`](Self::fail_at); the reason is that there is no room, whatever the call.
    pub fn fail_full_at(&self, call: u64) {
        let mut state = self.0.borrow_mut();
        (state.fail_at, state.fails_full) = (Some(call), true);
    }

    /// Whether it has lost its power.
    pub fn is_crashed(&self) -> bool {
        self.0.borrow().crashed
    }

    /// How many bytes may be allocated in all from now on.
    pub fn set_room(&self, room: u64) {
        self.0.borrow_mut().room = room;
    }

    /// Another disk that is as this one is now, and goes its own way from here.
    pub fn fork(&self) -> Self {
        let state = self.0.borrow();
        let named = |file: &usize| {
            let of_change = |change: &Change| matches!(change, Change::Add(_, added) if added == file);
            state
                .seen
                .values()
                .chain(state.durable.values())
                .any(|f| f == file)
                || state.changes.iter().any(of_change)
        };
        // What has no name any more is of no use to a disk that nobody has opened yet.
        let copied = |(file, content): (usize, &Content)| {
            if named(&file) {
                content.clone()
            } else {
                Content::default()
            }
        };
        Self(Rc::new(RefCell::new(State {
            files: state.files.iter().enumerate().map(copied).collect(),
            seen: state.seen.clone(),
            durable: state.durable.clone(),
            changes: state.changes.clone(),
            ..*state
        })))
    }

    /// The power comes back: what was not durable is there in part.
    pub fn crash(&self, seed: u64) {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        let kept = rng.random_range(0..=state.changes.len());
        for change in state.changes.drain(..).take(kept).collect::<Vec<_>>() {
            apply(&mut state.durable, change);
        }
        state.seen = state.durable.clone();
        let how = rng.random_range(0..8);
        for content in &mut state.files {
            let dirty: Vec<usize> = std::mem::take(&mut content.dirty).into_iter().collect();
            let lost_its_length = std::mem::take(&mut content.fresh) && rng.random();
            if lost_its_length {
                content.durable.clear();
            } else {
                for sector in survivors(how, dirty, &mut rng) {
                    copy_sector(&content.seen, &mut content.durable, sector);
                }
            }
            content.seen.clone_from(&content.durable);
        }
        (state.crashed, state.crash_at, state.fail_at) = (false, None, None);
    }

    /// Changes bytes of a file behind everybody's back; none if it is not there.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let mut state = self.0.borrow_mut();
        let file = *state.seen.get(name)?;
        let content = &mut state.files[file];
        change(&mut content.seen);
        content.durable.clone_from(&content.seen);
        content.dirty.clear();
        Some(())
    }

    /// Changes what readers see of a file, not what is on the disk: a page in memory that is stale.
    pub fn make_stale(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        let mut state = self.0.borrow_mut();
        let file = *state.seen.get(name)?;
        change(&mut state.files[file].seen);
        Some(())
    }

    /// The names that are there.
    pub fn names(&self) -> Vec<String> {
        self.0.borrow().seen.keys().cloned().collect()
    }

    /// What a file holds.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        state.seen.get(name).map(|file| state.files[*file].seen.clone())
    }

    fn call(&self, what: &str) -> Result<std::cell::RefMut<'_, State>, DiskError> {
        let mut state = self.0.borrow_mut();
        state.calls += 1;
        if state.crash_at.is_some_and(|at| state.calls >= at) {
            state.crashed = true;
        }
        if state.crashed {
            return Err(DiskError::new(DiskErrorKind::Other, format!("{what}: no power")));
        }
        if state.fail_at == Some(state.calls) {
            let (kind, why) = if state.fails_full {
                (DiskErrorKind::Full, "no space left on device")
            } else {
                (DiskErrorKind::Other, "input/output error")
            };
            return Err(DiskError::new(kind, format!("{what}: {why}")));
        }
        Ok(state)
    }
}

/// Of the sectors that are not durable, those that survive: none, few, half, most, all, a beginning, all but one, one.
fn survivors(how: u32, dirty: Vec<usize>, rng: &mut SmallRng) -> Vec<usize> {
    let chosen = rng.random_range(0..dirty.len().max(1));
    let chance = [0.0, 0.1, 0.5, 0.9].get(how as usize);
    let mut n = 0;
    let mut survives = |_: &usize| {
        n += 1;
        match (chance, how) {
            (Some(chance), _) => rng.random::<f64>() < *chance,
            (None, 5) => n <= chosen,
            (None, 6) => n != chosen + 1,
            (None, 7) => n == chosen + 1,
            (None, _) => true,
        }
    };
    dirty.into_iter().filter(|sector| survives(sector)).collect()
}

fn apply(names: &mut BTreeMap<String, usize>, change: Change) {
    match change {
        Change::Add(name, file) => drop(names.insert(name, file)),
        Change::Rename(from, to) => {
            if let Some(file) = names.remove(&from) {
                names.insert(to, file);
            }
        }
        Change::Remove(name) => drop(names.remove(&name)),
    }
}

fn copy_sector(from: &[u8], to: &mut Vec<u8>, sector: usize) {
    let (start, end) = (
        sector * SECTOR_BYTES,
        ((sector + 1) * SECTOR_BYTES).min(from.len()),
    );
    if to.len() < from.len() {
        to.resize(from.len(), 0);
    }
    to[start..end].copy_from_slice(&from[start..end]);
}

impl Disk for SimDisk {
    type File = usize;

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        Ok(self.call("list")?.seen.keys().cloned().collect())
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<usize, DiskError> {
        let mut state = self.call("create")?;
        let used: u64 = state
            .seen
            .values()
            .map(|f| state.files[*f].seen.len() as u64)
            .sum();
        if used.saturating_add(bytes) > state.room {
            return Err(DiskError::new(
                DiskErrorKind::Full,
                format!("{name}: no space left on device"),
            ));
        }
        let zeroes = vec![0; bytes as usize];
        // Once it is synced, what is allocated is there after a crash as well, as zeroes.
        state.files.push(Content {
            seen: zeroes.clone(),
            durable: zeroes,
            dirty: BTreeSet::new(),
            fresh: true,
        });
        let file = state.files.len() - 1;
        state.seen.insert(name.to_owned(), file);
        state.changes.push(Change::Add(name.to_owned(), file));
        Ok(file)
    }

    fn open(&mut self, name: &str) -> Result<usize, DiskError> {
        let state = self.call("open")?;
        let missing = || DiskError::new(DiskErrorKind::Missing, format!("{name}: no such file"));
        state.seen.get(name).copied().ok_or_else(missing)
    }

    fn len(&mut self, file: &usize) -> Result<u64, DiskError> {
        Ok(self.call("len")?.files[*file].seen.len() as u64)
    }

    fn read_at(&self, file: &usize, at: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let state = self.call("read")?;
        let rest = state.files[*file].seen.get(at as usize..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn reread(&mut self, file: &usize) -> Result<(), DiskError> {
        let mut state = self.call("reread")?;
        let content = &mut state.files[*file];
        for sector in 0..content.durable.len() / SECTOR_BYTES {
            if !content.dirty.contains(&sector) {
                copy_sector(&content.durable, &mut content.seen, sector);
            }
        }
        Ok(())
    }

    fn write_at(&mut self, file: &usize, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let crashing = {
            let state = self.0.borrow();
            state.crash_at == Some(state.calls + 1)
        };
        // The last write before the power goes may be there in part.
        if crashing {
            let mut state = self.0.borrow_mut();
            put(&mut state.files[*file], at as usize, bytes);
        }
        let mut state = self.call("write")?;
        let content = &mut state.files[*file];
        if at as usize + bytes.len() > content.seen.len() {
            return Err(DiskError::new(
                DiskErrorKind::Other,
                "write beyond what is allocated",
            ));
        }
        put(content, at as usize, bytes);
        Ok(())
    }

    fn sync(&mut self, file: &usize) -> Result<(), DiskError> {
        if let Ok(mut state) = self.0.try_borrow_mut()
            && state.fail_at == Some(state.calls + 1)
        {
            state.files[*file].dirty.retain(|sector| sector % 2 == 0);
        }
        let mut state = self.call("sync")?;
        let content = &mut state.files[*file];
        content.fresh = false;
        for sector in std::mem::take(&mut content.dirty) {
            copy_sector(&content.seen, &mut content.durable, sector);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        let mut state = self.call("rename")?;
        let change = Change::Rename(from.to_owned(), to.to_owned());
        apply(&mut state.seen, change.clone());
        state.changes.push(change);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        let mut state = self.call("remove")?;
        let change = Change::Remove(name.to_owned());
        apply(&mut state.seen, change.clone());
        state.changes.push(change);
        Ok(())
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        let mut state = self.call("sync of the folder")?;
        let changes = std::mem::take(&mut state.changes);
        changes
            .into_iter()
            .for_each(|change| apply(&mut state.durable, change));
        Ok(())
    }
}

fn put(content: &mut Content, at: usize, bytes: &[u8]) {
    let end = (at + bytes.len()).min(content.seen.len());
    if at >= end {
        return;
    }
    content.seen[at..end].copy_from_slice(&bytes[..end - at]);
    content
        .dirty
        .extend(at / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
}
