//! How a log fails.

use super::damage::Damage;
use super::disk::DiskError;
use super::keys::KeyError;
use proto::journal::PageError;
use thiserror::Error;

/// Why transactions were not committed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The disk has no room for puts; nothing of this commit is in the log. Takes go on.
    #[error("no room on the disk for the next segment")]
    Full,
    /// More bytes than a transaction may have; nothing of this commit is in the log.
    #[error("a transaction of {found} bytes, allowed are at most {allowed}")]
    TooLarge {
        /// Bytes of its records.
        found: usize,
        /// The most.
        allowed: usize,
    },
    /// The disk failed. Whether the transactions are in the log shows when it is opened anew; until then nothing more
    /// is written.
    #[error("the log is poisoned: {0}")]
    Poisoned(DiskError),
}

/// Why a log cannot be opened. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A segment's header cannot be read.
    #[error("{name}: {why}")]
    Segment {
        /// The file.
        name: String,
        /// What is wrong with it.
        why: PageError,
    },
    /// A segment of another log.
    #[error("{name}: belongs to another log")]
    Stranger {
        /// The file.
        name: String,
    },
    /// A segment is encrypted and its key cannot be had; it is not damaged.
    #[error("{name} {why}")]
    Key {
        /// The file.
        name: String,
        /// What is wrong.
        why: KeyError,
    },
    /// No segment is there that begins with a complete snapshot.
    #[error("no segment begins with a complete snapshot; the newest is {name}")]
    NoSnapshot {
        /// The newest segment.
        name: String,
    },
    /// A segment with live events is not there.
    #[error("segment {number:016x} is missing; it holds events {first} to {last}")]
    Missing {
        /// Its number.
        number: u64,
        /// The first event that is lost.
        first: u64,
        /// The last event that is lost.
        last: u64,
    },
    /// What was acknowledged cannot be read.
    #[error("{0}")]
    Corrupt(Box<Damage>),
    /// There is no room for a new segment, not even a small one.
    #[error("no room for a new segment: {0}")]
    Full(DiskError),
}

/// Why events cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What was acknowledged cannot be read any more. [`Reader::skip`](super::Reader::skip) goes on behind it; the events
    /// that are missing are those between the last one read and the next.
    #[error("{name}: damaged from LSN {start_lsn} to {end_lsn}: {why}")]
    Damaged {
        /// The file.
        name: String,
        /// Its segment.
        number: u64,
        /// Where the damage begins.
        start_lsn: u64,
        /// The next readable block, or the end of the segment.
        end_lsn: u64,
        /// What was found there.
        why: String,
    },
}
