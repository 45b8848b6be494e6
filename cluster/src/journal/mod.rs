//! The log of a file channel: what is written when, what recovery finds, which segments may go.
//!
//! One [`Log`] is one shard, one folder of segments in the formats of [`proto::journal`]. It is driven by one thread
//! and reaches the world only through a [`Disk`], so that the same code runs on files, on a disk in memory that loses
//! what was not synced ([`crate::sim::disk`]), and on one whose n-th call fails.
//!
//! ```text
//!   commit([transactions]) --> blocks --> write_at ... --> sync --> books --> Ok: safe
//!                                |                          |
//!                     the segment is full            any error: poisoned, nothing more is
//!                                |                   written, the caller opens the log anew
//!              next file: header + snapshot, sync, rename, sync of the folder
//! ```
//!
//! - **Acknowledged means synced.** [`Log::commit`] returns after the sync that covers its transactions; they share one.
//! - **Nothing is written twice.** A block is padded to a page, recovery opens a new segment and never writes into an
//!   old one, so it may be interrupted and repeated.
//! - **There is no checkpoint.** Each segment begins with a snapshot of the [`Books`]; recovery reads the newest
//!   segment from there, whatever the backlog.
//! - **A torn tail is not corruption.** Each block carries the end of what was synced before it (durable LSN). What is
//!   unreadable beyond the largest such number was never acknowledged; before it, it was, and is reported.
//! - **A full disk drains.** Space for puts is allocated a segment at a time; when there is none, puts are refused and
//!   everything else goes on in two small files that were allocated when the log was made.
//!
//! - **Keys come from outside.** With [`Opened::keys`] each new segment is encrypted with a key of its own, and old ones are
//!   read with whatever key they name. A key that is not there is no corruption: the log is refused, untouched.
//!
//! Promises, by the numbers of the design: F1 acknowledged commits survive whole, F2 nothing uncommitted appears, F3 a
//! committed take never comes back, F4 positions and duplicates' marks match the events exactly, F5 event numbers
//! strictly rise, F6 corruption of what was acknowledged is always reported, F7 recovery is idempotent.
//! `cluster/tests/journal` holds all of them against a model over crashes at every call.

mod books;
mod damage;
mod disk;
mod error;
mod keys;
mod log;
mod ranges;
mod reader;
mod recovery;
mod repair;
mod space;
mod state;
mod survey;
mod words;

pub use books::{Books, Reserved, SegmentInfo};
pub use damage::Damage;
pub use disk::{Disk, DiskError, DiskErrorKind};
pub use error::{CommitError, OpenError, ReadError};
pub use keys::{KeyError, Keys, cipher_of};
pub use log::{Committed, Config, Log, Put, Transaction};
pub use ranges::RangeSet;
pub use reader::{Chunk, Reader, Reading};
pub use recovery::{Opened, Report};
pub use repair::{RepairError, Repaired, repair};
pub use survey::{Seen, Survey, SurveyError, SurveyedSegment, Verdict, Visit, Visited};
