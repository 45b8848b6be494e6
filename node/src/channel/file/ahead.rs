//! What is done ahead, beside the thread of a channel: reading what the queue needs next, and making the file that the
//! next segment needs. Neither may hold up a commit.
//!
//! The thread of the channel has at most one job of each kind and shard on its way. An answer lies in
//! [`Inner::done_ahead`](super::core::Inner) until the thread sees it.

use super::core::Core;
use super::folder::RealDisk;
use cluster::journal::{Disk, DiskError, DiskErrorKind, ReadError, Reader, Reading};
use proto::event::{Batch, EventLimits, block};
use proto::journal::Range;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

/// Bytes of events after which a job stops reading; a block more may come.
const READ_BYTES: usize = 2 << 20;

/// What the thread of the channel wants done.
pub enum Job {
    /// The next events of a shard, as far as their numbers are not below `loaded`.
    Read {
        shard: usize,
        reading: Reading<RealDisk>,
        loaded: u64,
    },
    /// A file for its next segment.
    Make {
        shard: usize,
        disk: RealDisk,
        name: String,
        bytes: u64,
    },
}

/// What came of it.
pub enum Done {
    Read(usize, Read),
    /// The file is there for good, or there is no room for one.
    Made(usize, Option<(String, u64)>),
    /// The log must be opened anew.
    Failed(String),
}

/// Events that were read.
pub struct Read {
    pub reader: Reader,
    /// The segment they are from.
    pub number: u64,
    pub events: VecDeque<Stored>,
    /// Why it did not go on.
    pub failed: Option<ReadError>,
}

/// Events that were put together.
pub struct Stored {
    pub events: Range,
    /// The place of the first one in the order of the channel.
    pub order: u64,
    pub batch: Batch,
}

/// Does jobs until nobody can give it any more.
pub fn run(core: &Core, jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        let done = catch_unwind(AssertUnwindSafe(|| job.run()))
            .unwrap_or_else(|_| Done::Failed("the thread that reads ahead panicked".to_owned()));
        core.done_ahead(done);
    }
}

impl Job {
    fn run(self) -> Done {
        match self {
            Self::Read {
                shard,
                reading,
                loaded,
            } => match read(reading, loaded) {
                Ok(read) => Done::Read(shard, read),
                Err(why) => Done::Failed(why),
            },
            Self::Make {
                shard,
                mut disk,
                name,
                bytes,
            } => match make(&mut disk, &name, bytes) {
                Ok(()) => Done::Made(shard, Some((name, bytes))),
                Err(why) if why.kind == DiskErrorKind::Full => Done::Made(shard, None),
                // The folder's next sync might not tell that this one has failed.
                Err(why) => Done::Failed(why.to_string()),
            },
        }
    }
}

fn make(disk: &mut RealDisk, name: &str, bytes: u64) -> Result<(), DiskError> {
    let file = disk.create(name, bytes)?;
    disk.sync(&file)?;
    disk.sync_folder()
}

fn read(mut reading: Reading<RealDisk>, loaded: u64) -> Result<Read, String> {
    let (mut events, mut bytes) = (VecDeque::new(), 0);
    let number = reading.number();
    let (mut failed, mut asked_again) = (None, false);
    while bytes < READ_BYTES {
        let chunks = match reading.next_chunks() {
            Ok(Some(chunks)) => chunks,
            Ok(None) => break,
            // Blocks are written past the system's cache, and read through it: the disk has the last word.
            Err(ReadError::Damaged { .. }) if !std::mem::replace(&mut asked_again, true) => {
                if let Err(why) = reading.ask_again() {
                    failed = Some(why.into());
                    break;
                }
                continue;
            }
            Err(why) => {
                failed = Some(why);
                break;
            }
        };
        for chunk in chunks.into_iter().filter(|chunk| chunk.events.end > loaded) {
            bytes += chunk.bytes.len();
            let batch = block::index(chunk.bytes, EventLimits::default()).map_err(|e| {
                format!(
                    "events {} to {} cannot be read: {e}",
                    chunk.events.start, chunk.events.end
                )
            })?;
            events.push_back(Stored {
                events: chunk.events,
                order: chunk.order,
                batch,
            });
        }
    }
    Ok(Read {
        reader: reading.arrive(),
        number,
        events,
        failed,
    })
}
