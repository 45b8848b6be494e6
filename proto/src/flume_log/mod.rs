//! What Flume's file channel leaves on the disk: data files, their metadata, checkpoints. Read only; Flume 1.2 to 1.11.
//!
//! A data file `log-7` is a sequence of records of transactions that interleave. Its end is filled with 0x80, which Flume
//! writes ahead of the records, a mebibyte at a time.
//!
//! ```text
//!  version 3   0     1        5                                      5 + L        version 2, behind a header of 24 bytes
//!  (1.4 on)    +-----+--------+--------+--------+--------+            +-----+----------+------+-------------+-------+------
//!              | op  | L (BE) | header | body   | footer |            | op  | deadbeef | type | transaction | order | body
//!              | 7f  |        |        |        | 00     |            | 7f  |          |      |             |       |
//!              +-----+--------+--------+--------+--------+            +-----+----------+------+-------------+-------+------
//!                             '-- protobuf messages, each               1     4          2      8             8
//!                                 behind its length; the three of them are cipher text in an encrypted file
//! ```
//!
//! | record   | what it says                                                                     |
//! |----------|----------------------------------------------------------------------------------|
//! | put      | headers, body and CRC-32 of the body (none in version 2)                          |
//! | take     | [`Pointer`] to the put: its file and the offset of its op byte                    |
//! | commit   | of puts or of takes: what the transaction did counts from here                    |
//! | rollback | what the transaction did never counts                                            |
//!
//! [`Scan`] finds the records of a file that is fed piece by piece, tells a torn end from damage, and finds on behind damage;
//! [`record`] reads one. [`LogMeta`] is the metadata beside a file (`log-7.meta`) or, in version 2, in its head.
//! [`CheckpointMeta`], [`queue_ranges`] and [`inflight`] read a checkpoint: what was queued at one moment.
//!
//! Limits: records of [`RECORD_BYTES_MAX`]. No length is believed before its bytes are there.
//! Source: `flume/channels-and-sinks.md` 3.2.4 to 3.2.9; Flume's own classes, by what they write.

mod checkpoint;
mod meta;
mod protobuf;
mod record;
mod scan;

pub use checkpoint::{CheckpointError, CheckpointMeta, inflight, queue_ranges};
pub use meta::{Encryption, HEAD_V2_BYTES, LogMeta, MetaError};
pub use record::{Body, Header, Kind, Put, Record, record, record_bytes};
pub use scan::{Damage, End, Entry, Scan, Step, What};

/// Bytes of one record, at most: twice the largest body that an event may have here. Longer ones are damage.
pub const RECORD_BYTES_MAX: usize = 128 << 20;

/// Versions of data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Flume 1.2 and 1.3; later ones read it.
    V2,
    /// Flume 1.4 to 1.11.
    V3,
}

/// Where a put lies: the number of the file, the offset of its op byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(u64);

impl Pointer {
    /// As Flume writes it: the file in the upper half.
    pub fn new(file: u32, offset: u32) -> Self {
        Self(u64::from(file) << 32 | u64::from(offset))
    }

    /// The number in the file's name.
    pub fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes from the start of the file.
    pub fn offset(self) -> u32 {
        self.0 as u32
    }

    /// Both in one number.
    pub fn to_u64(self) -> u64 {
        self.0
    }

    /// The reverse of [`to_u64`](Self::to_u64).
    pub fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests;
