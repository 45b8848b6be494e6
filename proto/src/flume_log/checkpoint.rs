//! A checkpoint of version 3: which events were queued at one moment, and which were in open transactions.
//!
//! `checkpoint` is a ring of pointers, eight bytes each and big-endian, behind 1029 numbers of which the first is the
//! version, the second the order of the checkpoint, and the fifth 0 when it is complete. `checkpoint.meta` says where in
//! the ring the queue begins and how long it is. `inflightputs` and `inflighttakes` hold transactions behind an MD5.

use super::Pointer;
use super::protobuf::{self, Value};
use crate::cursor::{Cursor, DecodeError};
use md5::{Digest, Md5};
use std::ops::Range;
use thiserror::Error;

/// Numbers in front of the ring.
const HEAD: u64 = 1_029;

/// Why a checkpoint is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// The bytes are none.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Another version.
    #[error("version {0} of Flume's checkpoints; this version reads 3")]
    Version(i64),
    /// Flume was writing it when it ended.
    #[error("it was being written when Flume ended")]
    Incomplete,
    /// Its parts do not belong together.
    #[error("{0}")]
    Torn(&'static str),
}

/// `checkpoint.meta`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckpointMeta {
    /// Records of this order and before are part of it.
    pub order: i64,
    /// Events that were queued.
    pub size: u32,
    /// Where in the ring the first one is.
    pub head: u32,
}

impl CheckpointMeta {
    /// Reads it.
    ///
    /// # Errors
    /// It is none, or one of another version than 3.
    pub fn decode(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let mut message = protobuf::delimited(&mut Cursor::new(bytes), "the metadata of a checkpoint")?;
        let (mut meta, mut version) = (Self::default(), None);
        while let Some((number, value)) = protobuf::field(&mut message)? {
            match (number, value) {
                (1, Value::Fixed32(n)) => version = Some(n),
                (2, Value::Fixed64(n)) => meta.order = n,
                (3, Value::Fixed32(n)) => meta.size = n as u32,
                (4, Value::Fixed32(n)) => meta.head = n as u32,
                _ => {}
            }
        }
        match version {
            Some(3) => Ok(meta),
            Some(other) => Err(CheckpointError::Version(i64::from(other))),
            None => Err(message.error("the version of a checkpoint").into()),
        }
    }
}

/// Where in `checkpoint` the pointers are, in their order: the end of the ring, then its start. `head` is the file's first
/// 40 bytes at least, `file_bytes` its length.
///
/// # Errors
/// The file is no complete checkpoint, or not the one that the metadata is of.
pub fn queue_ranges(
    meta: &CheckpointMeta,
    head: &[u8],
    file_bytes: u64,
) -> Result<[Range<u64>; 2], CheckpointError> {
    let mut cursor = Cursor::new(head);
    let mut numbers = [0_i64; 5];
    for number in &mut numbers {
        let mut eight = [0; 8];
        eight.copy_from_slice(cursor.take(8, "the head of a checkpoint")?);
        *number = i64::from_be_bytes(eight);
    }
    let [version, order, _, _, marker] = numbers;
    if version != 3 {
        return Err(CheckpointError::Version(version));
    }
    if marker != 0 {
        return Err(CheckpointError::Incomplete);
    }
    if order != meta.order {
        return Err(CheckpointError::Torn(
            "checkpoint and checkpoint.meta are of different moments",
        ));
    }
    let capacity = (file_bytes / 8).saturating_sub(HEAD);
    let (first, size) = (u64::from(meta.head), u64::from(meta.size));
    if !file_bytes.is_multiple_of(8) || size > capacity || (first >= capacity && size > 0) {
        return Err(CheckpointError::Torn("the queue is longer than the file"));
    }
    let place = |slot: u64| (HEAD + slot) * 8;
    let end = (first + size).min(capacity);
    let over = size - (end - first).min(size);
    Ok([place(first)..place(end.max(first)), place(0)..place(over)])
}

/// Reads `inflightputs` or `inflighttakes`: each event of each transaction, with the transaction.
///
/// # Errors
/// The checksum or a count is wrong.
pub fn inflight(bytes: &[u8]) -> Result<Vec<(i64, Pointer)>, CheckpointError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut cursor = Cursor::new(bytes);
    let sum = cursor.take(16, "a checksum")?;
    if sum != Md5::digest(cursor.rest()).as_slice() {
        return Err(CheckpointError::Torn(
            "the checksum of transactions does not match",
        ));
    }
    let number = |cursor: &mut Cursor<'_>, expected: &'static str| -> Result<u64, DecodeError> {
        let mut eight = [0; 8];
        eight.copy_from_slice(cursor.take(8, expected)?);
        Ok(u64::from_be_bytes(eight))
    };
    let mut pointers = Vec::new();
    while !cursor.is_empty() {
        let transaction = number(&mut cursor, "a transaction")? as i64;
        for _ in 0..number(&mut cursor, "how many events it has")? {
            let event = Pointer::from_u64(number(&mut cursor, "an event of it")?);
            pointers.push((transaction, event));
        }
    }
    Ok(pointers)
}
