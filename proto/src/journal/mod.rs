//! The file channel's log, format 1: segments, blocks and records, with a checksum on every level.
//!
//! A log is a folder of segment files. A segment is a header page and then blocks; a block is one group commit
//! and starts on a 4 KiB boundary, so that a sector that was acknowledged is never written again. A block holds
//! records; records up to one with [`END`] form a transaction, which counts only when its end is there. All numbers
//! are little-endian.
//!
//! ```text
//!  segment   0        4096                                          block  0     4     6     8      12    16
//!            | header | block | block | ... | (old bytes) |                | magic | head  | flags | pay-  | pad  |
//!            +--------+---^---+-------+-----+-------------+                |       | bytes |       | load  |      |
//!                         |                                               16      24        32      40     48   52
//!                      4 KiB boundaries                                    | LSN  | durable | block | chain | re- | pay-
//!                                                                          |      | LSN     | no    |       | cords| load CRC
//!  record    0     1       2       6                                      56     60       64
//!            | tag | flags | bytes | body ...                              | 0    | header  | payload ... pad to 4 KiB
//!                                                                          |      | CRC     |
//! ```
//!
//! - **LSN** is the logical byte offset in the log of one shard. It never goes back; between segments it may jump.
//! - **durable LSN** is the end of the last block that was known to be synced when this block was built. It is how
//!   recovery tells a torn tail (beyond it) from the corruption of what was acknowledged (before it).
//! - **chain** is a hash of the previous block's header, so a block that was lost or misdirected breaks it.
//! - Checksums are CRC-32 (IEEE) seeded with the segment's random **salt** (and the block's LSN), so what a
//!   recycled file still holds of its former life never passes for a block.
//! - The header of a segment repeats where the one before it ends and thereby seals that one.
//!
//! A snapshot ([`Record::SnapBegin`] to [`Record::SnapEnd`]) stands at the start of each segment and restates all that
//! earlier records have built up; recovery begins at the newest that is complete. Between the two stand ordinary
//! records, read into an empty state.
//!
//! An encrypted segment names a key in its header and carries its own, wrapped ([`WrappedKey`]); the payload of each of its
//! blocks is then sealed with AES-256-GCM, the tag behind it. The header's first 52 bytes are authenticated with it, and the
//! checksum is that of the cipher text, so damage is told from a wrong key without one.
//!
//! Limits: blocks of [`BLOCK_BYTES_MAX`]; texts and byte strings of records are as long as their bytes are there; no
//! decoder allocates from a declared length. Format 1 is for ever: `proto/vectors/journal` holds a segment that every
//! later version must read.

mod block;
mod cipher;
mod codec;
mod record;
mod scar;
mod segment;

pub use block::{
    BlockError, BlockHead, BlockWriter, FLAG_COMPRESSED, FLAG_CONTINUED, FLAG_CONTINUES, FLAG_ENCRYPTED,
    payload_crc,
};
pub use cipher::{
    DATA_KEY_BYTES, KEY_ID_BYTES_MAX, NONCE_BYTES, PayloadCipher, TAG_BYTES, WrapError, WrapMethod,
    WrappedKey,
};
pub use record::{Digest, END, Lane, Outcome, Range, Ranges, Record, RecordError, Records, write_record};
pub use scar::Scar;
pub use segment::{MetaPage, PageError, SegmentHead};

/// Sectors are smaller, pages are not: what is written starts and ends on such a boundary.
pub const PAGE_BYTES: usize = 4_096;

/// Bytes of a block's header.
pub const BLOCK_HEAD_BYTES: usize = 64;

/// Bytes of a block, padding included: one group commit is at most this long, longer ones go on in the next block.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;

/// The version that is written.
pub const FORMAT: u32 = 1;

/// Where a block of so many payload bytes ends, from its start: a multiple of a page.
pub fn block_bytes(payload: usize) -> usize {
    (BLOCK_HEAD_BYTES + payload).next_multiple_of(PAGE_BYTES)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
