//! Does the crash test notice a log that is wrong? Mistakes that such logs have made, seeded below it.
//!
//! Each [`Mistake`] is made by the disk that the log is given, so the log itself needs no hook: a sync that is not done is a
//! sync that the log forgot. The crash test must fail for each of them within [`RUNS_MAX`] runs. Mistakes of a kind that no
//! disk can make (a duplicate's mark outside the transaction, say) need changed code and are not among them.

use super::*;
use cluster::journal::{DiskError, DiskErrorKind};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs after which a mistake that nobody noticed is a fault of the test.
const RUNS_MAX: u64 = 3_000;

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// No sync at all.
    NoSync,
    /// Acknowledged first, synced with the next commit.
    SyncAfterTheAnswer,
    /// Only every second commit is synced.
    EverySecondSync,
    /// Synced before it is written.
    SyncBeforeTheWrite,
    /// The segment before the current one is synced.
    AnotherFileSynced,
    /// A new segment gets its name before its header and snapshot are on the disk.
    NamedBeforeItIsSynced,
    /// The name of a new segment is not made durable.
    FolderNotSynced,
    /// It is, with the next one.
    FolderSyncedLate,
    /// What recovery has found and was never acknowledged is served before it is durable.
    RecoveredTailNotSynced,
    /// A sync that failed counts as one that did not.
    SyncErrorIgnored,
    /// A sync that failed is tried again, and the second answer believed.
    SyncTriedAgain,
    /// A write that failed counts as one that did not.
    WriteErrorIgnored,
    /// After a failed sync the system's cache is believed.
    CacheBelieved,
    /// A write that was cut short counts as a whole one.
    ShortWrite,
    /// Now and then a write goes to another place.
    MisdirectedWrite,
    /// The newest segment is overlooked.
    NewestOverlooked,
    /// The files in which a full disk drains are not made.
    NoSpares,
    /// They are made, and never made durable.
    SparesNotSynced,
    /// A full disk is taken for a broken one.
    FullIsAFailure,
}

use Mistake::*;

const ALL: [Mistake; 19] = [
    NoSync,
    SyncAfterTheAnswer,
    EverySecondSync,
    SyncBeforeTheWrite,
    AnotherFileSynced,
    NamedBeforeItIsSynced,
    FolderNotSynced,
    FolderSyncedLate,
    RecoveredTailNotSynced,
    SyncErrorIgnored,
    SyncTriedAgain,
    WriteErrorIgnored,
    CacheBelieved,
    ShortWrite,
    MisdirectedWrite,
    NewestOverlooked,
    NoSpares,
    SparesNotSynced,
    FullIsAFailure,
];

/// The disk that a log is given: with a mistake, or as it is.
#[derive(Debug, Clone)]
pub struct Given {
    disk: SimDisk,
    mistake: Option<Mistake>,
    /// By the file: what it was called last.
    names: BTreeMap<usize, String>,
    /// Written to in this life of the log.
    written: BTreeSet<usize>,
    late: Option<usize>,
    other: Option<usize>,
    held: Vec<(usize, u64, Vec<u8>)>,
    folder_is_late: bool,
    syncs: u64,
    writes: u64,
}

impl Given {
    pub fn new(disk: SimDisk, mistake: Option<Mistake>) -> Self {
        Self {
            disk,
            mistake,
            names: BTreeMap::new(),
            written: BTreeSet::new(),
            late: None,
            other: None,
            held: Vec::new(),
            folder_is_late: false,
            syncs: 0,
            writes: 0,
        }
    }

    fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    fn has_a_name(&self, file: usize) -> bool {
        self.names.get(&file).is_some_and(|name| name.starts_with("seg-"))
    }
}

impl Disk for Given {
    type File = usize;

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let mut names = self.disk.list()?;
        if self.makes(NewestOverlooked) && names.iter().filter(|n| n.starts_with("seg-")).count() > 1 {
            let newest = names.iter().filter(|n| n.starts_with("seg-")).max().cloned();
            names.retain(|name| Some(name) != newest.as_ref());
        }
        Ok(names)
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<usize, DiskError> {
        if self.makes(NoSpares) && bytes == config().spare_bytes {
            return Err(DiskError::new(DiskErrorKind::Full, "not made"));
        }
        let made = self.disk.create(name, bytes).map_err(|why| match why.kind {
            DiskErrorKind::Full if self.makes(FullIsAFailure) => {
                DiskError::new(DiskErrorKind::Other, why.text)
            }
            _ => why,
        })?;
        self.names.insert(made, name.to_owned());
        Ok(made)
    }

    fn open(&mut self, name: &str) -> Result<usize, DiskError> {
        let file = self.disk.open(name)?;
        self.names.insert(file, name.to_owned());
        Ok(file)
    }

    fn len(&mut self, file: &usize) -> Result<u64, DiskError> {
        self.disk.len(file)
    }

    fn read_at(&self, file: &usize, at: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.read_at(file, at, buf)
    }

    fn reread(&mut self, file: &usize) -> Result<(), DiskError> {
        if self.makes(CacheBelieved) {
            return Ok(());
        }
        self.disk.reread(file)
    }

    fn write_at(&mut self, file: &usize, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.written.insert(*file);
        self.writes += 1;
        match self.mistake {
            Some(SyncBeforeTheWrite) => {
                self.held.push((*file, at, bytes.to_vec()));
                Ok(())
            }
            Some(WriteErrorIgnored) => {
                let _ = self.disk.write_at(file, at, bytes);
                Ok(())
            }
            Some(ShortWrite) => self.disk.write_at(file, at, &bytes[..bytes.len().min(512)]),
            Some(MisdirectedWrite) if self.writes.is_multiple_of(40) => {
                let _ = self.disk.write_at(file, at + 4_096, bytes);
                Ok(())
            }
            _ => self.disk.write_at(file, at, bytes),
        }
    }

    fn sync(&mut self, file: &usize) -> Result<(), DiskError> {
        self.syncs += 1;
        match self.mistake {
            Some(NoSync) => Ok(()),
            Some(SyncAfterTheAnswer) => match self.late.replace(*file) {
                Some(late) => self.disk.sync(&late),
                None => Ok(()),
            },
            Some(EverySecondSync) if self.syncs.is_multiple_of(2) => Ok(()),
            Some(SyncBeforeTheWrite) => {
                let synced = self.disk.sync(file);
                let held = std::mem::take(&mut self.held);
                let written = held
                    .iter()
                    .try_for_each(|(file, at, bytes)| self.disk.write_at(file, *at, bytes));
                synced.and(written)
            }
            Some(AnotherFileSynced) => {
                let other = self.other.replace(*file).filter(|other| other != file);
                self.disk.sync(&other.unwrap_or(*file))
            }
            Some(NamedBeforeItIsSynced) if !self.has_a_name(*file) => Ok(()),
            Some(SparesNotSynced) if !self.has_a_name(*file) && !self.written.contains(file) => Ok(()),
            Some(RecoveredTailNotSynced) if !self.written.contains(file) => Ok(()),
            Some(SyncErrorIgnored) => {
                let _ = self.disk.sync(file);
                Ok(())
            }
            Some(SyncTriedAgain) => self.disk.sync(file).or_else(|_| self.disk.sync(file)),
            _ => self.disk.sync(file),
        }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        self.disk.rename(from, to)?;
        for name in self.names.values_mut().filter(|name| *name == from) {
            *name = to.to_owned();
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.disk.remove(name)
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        if self.makes(FolderNotSynced) {
            return Ok(());
        }
        if self.makes(FolderSyncedLate) && !std::mem::replace(&mut self.folder_is_late, true) {
            return Ok(());
        }
        self.folder_is_late = false;
        self.disk.sync_folder()
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Failures are what is wanted here: this thread does not print them.
fn be_quiet() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            loud(info);
        }
    }));
    QUIET.set(true);
}

/// The seed of the first run that fails, and what it says.
fn noticed(mistake: Mistake) -> Option<(u64, String)> {
    (0..RUNS_MAX).find_map(|seed| {
        let run = catch_unwind(AssertUnwindSafe(|| run(seed, Some(mistake), keys::none)));
        let said = run.err()?;
        let text = said.downcast_ref::<String>().cloned();
        Some((seed, text.unwrap_or_else(|| "a failed assertion".to_owned())))
    })
}

#[test]
fn every_mistake_of_a_log_is_noticed() {
    let (mut passed, mut failed) = (0, 0);
    be_quiet();
    for mistake in ALL {
        match noticed(mistake) {
            Some((seed, said)) => {
                passed += 1;
                println!("{mistake:?}: noticed with seed {seed}: {said:.120}");
            }
            None => {
                failed += 1;
                println!("{mistake:?}: not noticed in {RUNS_MAX} runs");
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    QUIET.set(false);
    assert_eq!(failed, 0);
}
