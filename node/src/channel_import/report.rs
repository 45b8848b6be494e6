//! What has come of it, in words.

use super::files::Replayed;
use cluster::flume_queue::{Counts, Evidence};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Damaged places that are named; more are counted.
const NAMED_MAX: usize = 100;

/// A part of a file that cannot be read, or an event that cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Bytes from its start.
    pub offset: u64,
    /// How long it is; 0 for one event.
    pub bytes: u64,
    /// What is wrong.
    pub why: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, byte {}", self.path.display(), self.offset)?;
        if self.bytes > 0 {
            write!(f, ", {}", several(self.bytes, "byte", "bytes"))?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Damaged places: the first hundred, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    named: Vec<Place>,
    count: u64,
}

impl Places {
    /// One more.
    pub(super) fn add(&mut self, place: Place) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(place);
        }
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, place) in self.named.iter().enumerate() {
            write!(f, "{}{place}", if n > 0 { "\n" } else { "" })?;
        }
        match self.count - self.named.len() as u64 {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

/// What has come of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Events that this run has moved, or would move.
    pub events: u64,
    /// Events that earlier runs had moved.
    pub before: u64,
    /// Bytes of the bodies that this run has moved.
    pub bytes: u64,
    /// Commits that it took.
    pub batches: u64,
    /// Data files.
    pub files: u64,
    /// What was met in them.
    pub counts: Counts,
    /// What the checkpoint was good for.
    pub evidence: Evidence,
    /// Files whose last record was not written whole.
    pub torn: u64,
    /// What was left out.
    pub places: Places,
    /// Nothing was moved, on purpose.
    pub is_dry_run: bool,
    /// There is nothing but what an earlier import has left.
    pub was_imported: bool,
    /// Our folders.
    pub into: Vec<PathBuf>,
    /// How long it took.
    pub took: Duration,
}

impl Imported {
    pub(super) fn read(&mut self, read: &Replayed) {
        self.files = read.files;
        self.counts = read.left.counts;
        self.evidence = read.left.evidence;
        self.torn = read.torn;
        self.places = read.places.clone();
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.was_imported {
            return write!(f, "nothing to move: what was there is in flume-imported");
        }
        let names: Vec<String> = self.into.iter().map(|path| path.display().to_string()).collect();
        let (events, into) = (several(self.events, "event", "events"), names.join(", "));
        let files = several(self.files, "data file", "data files");
        let records = several(self.counts.records, "record", "records");
        if self.is_dry_run {
            write!(
                f,
                "would move {events} of {files} ({records}) to {into}; nothing was touched"
            )?;
        } else {
            let (bytes, seconds) = (several(self.bytes, "byte", "bytes"), self.took.as_secs_f64());
            write!(
                f,
                "moved {events}, {bytes}, of {files} ({records}) to {into} in {seconds:.1} s"
            )?;
        }
        if self.before > 0 {
            write!(
                f,
                "\n{} had been moved before",
                several(self.before, "event", "events")
            )?;
        }
        let Counts {
            rolled_back,
            unfinished,
            unfinished_puts,
            unfinished_takes,
            ..
        } = self.counts;
        if rolled_back > 0 {
            let transactions = several(rolled_back, "transaction", "transactions");
            write!(f, "\n{transactions} had been rolled back")?;
        }
        if unfinished > 0 {
            let transactions = several(unfinished, "transaction", "transactions");
            write!(
                f,
                "\n{transactions} never ended: {} put by them left out, {} taken by them among the moved",
                several(unfinished_puts, "event", "events"),
                several(unfinished_takes, "event", "events"),
            )?;
        }
        if self.torn > 0 {
            let files = several(self.torn, "file", "files");
            write!(
                f,
                "\n{files} with a last record that was not written whole, so never committed"
            )?;
        }
        match self.evidence {
            Evidence::None | Evidence::Delivered(0) | Evidence::Strange(0) => {}
            Evidence::Delivered(events) => {
                let events = several(events, "event", "events");
                write!(f, "\n{events} left out that the checkpoint shows to be delivered")?;
            }
            Evidence::Strange(events) => {
                let events = several(events, "event", "events");
                write!(
                    f,
                    "\nthe checkpoint is of other data files and was not used; with it, {events} less"
                )?;
            }
        }
        if !self.places.is_empty() {
            let count = several(self.places.count(), "damaged place", "damaged places");
            write!(f, "\n{count} left out:\n{}", self.places)?;
        }
        Ok(())
    }
}

fn several(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}
