//! Avro object container files (Avro 1.11 specification, "Object Container Files").
//!
//! ```text
//!   header   "Obj" 01 | map<bytes>: avro.schema, avro.codec?, .. | sync marker 16
//!   block    count | bytes | objects, through the codec | sync marker 16
//!   block    ..
//! ```
//!
//! [`ContainerReader`] is fed with what was read from a file, in pieces of any size, and gives whole blocks:
//! uncompressed, with their place in the file, so that a reader can go on at a block after a restart.
//! [`Objects`] splits a block into the bytes of its objects, whatever their schema is, by passing over the values.
//! [`ContainerWriter`] makes headers and blocks; it keeps the bytes of the block under way and nothing else.
//!
//! # Limits
//!
//! | What | Limit | Reaction |
//! |---|---|---|
//! | bytes of the header | [`HEADER_BYTES_MAX`], 4 MiB | [`ContainerError::TooLarge`] |
//! | bytes of the schema's text | [`SCHEMA_BYTES_MAX`], 1 MiB | the same |
//! | entries of the header's map | [`METADATA_ENTRIES_MAX`], 1,024 | the same |
//! | types of the schema, their nesting, nesting of values | those of [`schema`](super::schema) | error |
//! | bytes of a block, in the file and uncompressed | a parameter; [`BLOCK_BYTES`], 16 MiB | [`ContainerError::TooLarge`] |
//! | objects that take no bytes | [`EMPTY_OBJECTS_MAX`], 1,000,000 in a block | error |
//!
//! A declared length allocates nothing: blocks are taken out of what was fed, and codecs grow their output as it
//! comes.

mod codec;
mod read;
mod write;

pub use codec::Codec;
pub use read::{Block, ContainerReader, Header, Objects};
pub use write::ContainerWriter;

use crate::cursor::DecodeError;
use thiserror::Error;

/// What a container file starts with.
pub const MAGIC: [u8; 4] = *b"Obj\x01";
/// Bytes of a sync marker.
pub const SYNC_BYTES: usize = 16;
/// Bytes of the longest header that is read.
pub const HEADER_BYTES_MAX: usize = 4 << 20;
/// Bytes of the longest schema text that is read.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;
/// Entries of the largest metadata that is read.
pub const METADATA_ENTRIES_MAX: usize = 1_024;
/// Bytes of the largest block, unless a reader asks for another limit.
pub const BLOCK_BYTES: usize = 16 << 20;
/// Objects of one block, where they take no bytes and so nothing else bounds their number.
pub const EMPTY_OBJECTS_MAX: u64 = 1_000_000;

/// What keeps a container file from being read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContainerError {
    /// It does not start as one.
    #[error("not an Avro container file: it does not start with \"Obj\" and 01")]
    Magic,
    /// Bytes that are not what the format asks for; the offset is that of the file.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The schema cannot be used.
    #[error("avro.schema: {0}")]
    Schema(String),
    /// The codec is not known.
    #[error("avro.codec: expected null, deflate, snappy, bzip2 or zstandard, found \"{0}\"")]
    Codec(String),
    /// A limit is exceeded.
    #[error("byte {offset}: {what}: found {found} bytes or more, allowed are at most {allowed}")]
    TooLarge {
        /// Where in the file.
        offset: u64,
        /// What is too large.
        what: &'static str,
        /// How large it is, at least.
        found: u64,
        /// How large it may be.
        allowed: u64,
    },
    /// A block that its codec cannot read.
    #[error("byte {offset}: block cannot be uncompressed ({codec}): {why}")]
    Compression {
        /// Where in the file the block starts.
        offset: u64,
        /// The codec's name.
        codec: &'static str,
        /// What it says.
        why: String,
    },
    /// A block that is not followed by the file's marker.
    #[error("byte {offset}: expected the sync marker of the file behind the block")]
    Sync {
        /// Where in the file the marker should be.
        offset: u64,
    },
    /// The file ends inside a header or a block.
    #[error("byte {offset}: the file ends in the middle of {what}")]
    Truncated {
        /// Where in the file the header or block starts.
        offset: u64,
        /// What ends too early.
        what: &'static str,
    },
    /// The objects of a block are not as many as it says.
    #[error("byte {offset}: block of {declared} objects has {why}")]
    Count {
        /// Where in the file the block starts.
        offset: u64,
        /// Objects that the block declares.
        declared: u64,
        /// What it has instead.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests;
