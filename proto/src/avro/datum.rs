//! Avro's binary encoding, the part Flume speaks (Avro 1.11 specification, "Binary Encoding"; wire.md 1.3).
//!
//! ```text
//!   long, length, index   zig-zag varint, little groups first   00=0 01=-1 02=1 .. at most 10 bytes
//!   bytes, string         length, then the bytes
//!   array, map            blocks: count, items .. 00            a negative count is followed by a byte size
//!   union                 index of the branch, then the value
//! ```
//!
//! [`Datum`] hands out ranges instead of values, because events are indexed, not copied. A declared count or
//! length never costs more than the bytes that stand behind it: [`Datum::block`] refuses a count whose smallest
//! items would not fit in the remaining input, so loops and allocations are bounded by what was received.

use crate::cursor::DecodeError;
use bytes::{BufMut, BytesMut};
use std::ops::Range;

/// Bytes of the longest varint.
pub(super) const LONG_BYTES_MAX: usize = 10;

const MORE_BYTES: &str = "more bytes";
const MORE_ITEMS: &str = "as many items as the block declares";
const SHORT_VARINT: &str = "a varint of at most 10 bytes";
const NATURAL_LENGTH: &str = "a length of at least 0";
const NATURAL_COUNT: &str = "a block count above -2^63";
const BRANCH: &str = "the index of a branch of the union";
const BOOLEAN: &str = "a boolean, 00 or 01";

/// Whether the input ended too early, as opposed to being wrong; Java tells these apart in its error texts.
pub fn is_truncation(error: &DecodeError) -> bool {
    error.expected == MORE_BYTES || error.expected == MORE_ITEMS
}

/// One block of an array or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Items in this block, above 0.
    pub items: usize,
    /// Bytes that the items take, if the writer says so. It is not checked against the items.
    pub bytes: Option<i64>,
}

/// A reader of Avro values over one contiguous message.
#[derive(Debug, Clone)]
pub struct Datum<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Datum<'a> {
    /// Starts at the first byte of `buf`.
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Bytes not yet consumed.
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.at
    }

    /// The whole input, into which all ranges point.
    pub fn input(&self) -> &'a [u8] {
        self.buf
    }

    /// The error for this place.
    pub fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError {
            offset: self.at,
            expected,
        }
    }

    /// Reads an int or a long.
    #[inline]
    pub fn long(&mut self) -> Result<i64, DecodeError> {
        // One and two bytes, that is -8192 to 8191, are nearly every length there is.
        match self.buf[self.at..] {
            [a, ..] if a < 0x80 => {
                self.at += 1;
                Ok(unzigzag(u64::from(a)))
            }
            [a, b, ..] if b < 0x80 => {
                self.at += 2;
                Ok(unzigzag(u64::from(a & 0x7f) | u64::from(b) << 7))
            }
            _ => self.long_of_many_bytes(),
        }
    }

    #[cold]
    fn long_of_many_bytes(&mut self) -> Result<i64, DecodeError> {
        let mut value = 0u64;
        for (n, &byte) in self.buf[self.at..].iter().take(LONG_BYTES_MAX).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * n);
            if byte < 0x80 {
                self.at += n + 1;
                return Ok(unzigzag(value));
            }
        }
        Err(self.error(if self.remaining() < LONG_BYTES_MAX {
            MORE_BYTES
        } else {
            SHORT_VARINT
        }))
    }

    /// Reads bytes or a string and returns where they stand.
    #[inline]
    pub fn bytes(&mut self) -> Result<Range<usize>, DecodeError> {
        let start = self.at;
        let length = self.long()?;
        if length < 0 {
            return Err(DecodeError {
                offset: start,
                expected: NATURAL_LENGTH,
            });
        }
        if length as u64 > self.remaining() as u64 {
            return Err(self.error(MORE_BYTES));
        }
        let from = self.at;
        self.at += length as usize;
        Ok(from..self.at)
    }

    /// Reads bytes or a string and returns them.
    pub fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let range = self.bytes()?;
        Ok(&self.buf[range])
    }

    /// Reads a fixed of 16 bytes.
    pub fn fixed16(&mut self) -> Result<[u8; 16], DecodeError> {
        match self.buf[self.at..].first_chunk::<16>() {
            Some(fixed) => {
                self.at += 16;
                Ok(*fixed)
            }
            None => Err(self.error(MORE_BYTES)),
        }
    }

    /// Passes over `n` bytes.
    pub fn skip(&mut self, n: usize) -> Result<(), DecodeError> {
        if n > self.remaining() {
            return Err(self.error(MORE_BYTES));
        }
        self.at += n;
        Ok(())
    }

    /// Reads a boolean.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        match self.buf.get(self.at) {
            Some(&byte @ (0 | 1)) => {
                self.at += 1;
                Ok(byte == 1)
            }
            Some(_) => Err(self.error(BOOLEAN)),
            None => Err(self.error(MORE_BYTES)),
        }
    }

    /// Reads the index of a union branch, below `branches`.
    pub fn branch(&mut self, branches: usize) -> Result<usize, DecodeError> {
        let at = self.at;
        match usize::try_from(self.long()?) {
            Ok(index) if index < branches => Ok(index),
            _ => Err(DecodeError {
                offset: at,
                expected: BRANCH,
            }),
        }
    }

    /// Reads the head of the next block of an array or a map, or `None` at its end. `item_bytes_min` is what the
    /// smallest item takes.
    #[inline]
    pub fn block(&mut self, item_bytes_min: usize) -> Result<Option<Block>, DecodeError> {
        let start = self.at;
        let mut count = self.long()?;
        if count == 0 {
            return Ok(None);
        }
        let mut bytes = None;
        if count < 0 {
            count = count.checked_neg().ok_or(DecodeError {
                offset: start,
                expected: NATURAL_COUNT,
            })?;
            bytes = Some(self.long()?);
        }
        match usize::try_from(count).ok().filter(|n| {
            n.checked_mul(item_bytes_min)
                .is_some_and(|b| b <= self.remaining())
        }) {
            Some(items) => Ok(Some(Block { items, bytes })),
            None => Err(DecodeError {
                offset: start,
                expected: MORE_ITEMS,
            }),
        }
    }

    /// Passes over a map of bytes or strings, such as call metadata.
    pub fn skip_map(&mut self) -> Result<(), DecodeError> {
        while let Some(block) = self.block(2)? {
            for _ in 0..block.items {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Ok(())
    }

    /// Passes over the bytes a block says it has.
    pub fn skip_declared(&mut self, bytes: i64) -> Result<(), DecodeError> {
        match usize::try_from(bytes) {
            Ok(n) => self.skip(n),
            Err(_) => Err(self.error(NATURAL_LENGTH)),
        }
    }
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that [`put_long`] writes for `value`.
#[inline]
pub fn long_bytes(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Bytes that [`put_bytes`] writes for a slice of this length.
#[inline]
pub fn bytes_bytes(length: usize) -> usize {
    long_bytes(length as i64) + length
}

/// Writes an int, a long or an index.
#[inline]
pub fn put_long(out: &mut BytesMut, value: i64) {
    let mut bytes = [0u8; LONG_BYTES_MAX];
    let used = long_into(value, &mut bytes);
    out.put_slice(&bytes[..used]);
}

/// Writes an int, a long or an index to the front of `to`, which has [`LONG_BYTES_MAX`] bytes or enough for the
/// value, and returns how many it took.
#[inline]
pub(super) fn long_into(value: i64, to: &mut [u8]) -> usize {
    let mut left = zigzag(value);
    for (at, byte) in to.iter_mut().enumerate() {
        if left < 0x80 {
            *byte = left as u8;
            return at + 1;
        }
        *byte = left as u8 | 0x80;
        left >>= 7;
    }
    to.len()
}

/// Writes bytes or a string.
#[inline]
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn long_of(bytes: &[u8]) -> Result<i64, DecodeError> {
        Datum::new(bytes).long()
    }

    #[test]
    fn longs_are_zig_zag() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (
                i64::MAX,
                &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            let mut out = BytesMut::new();
            put_long(&mut out, value);
            assert_eq!(&out[..], bytes);
            assert_eq!(long_bytes(value), bytes.len());
            assert_eq!(long_of(bytes), Ok(value));
        }
    }

    #[test]
    fn a_varint_that_does_not_end_is_told_from_one_that_is_cut() {
        let cut = long_of(&[0x80; 9]).unwrap_err();
        assert!(is_truncation(&cut), "{cut}");
        let endless = long_of(&[0x80; 11]).unwrap_err();
        assert_eq!(
            endless.to_string(),
            "byte 0: expected a varint of at most 10 bytes"
        );
    }

    #[test]
    fn lengths_are_bounded_by_the_input() {
        assert_eq!(Datum::new(&[4, b'a', b'b']).bytes(), Ok(1..3));
        assert!(is_truncation(&Datum::new(&[6, b'a', b'b']).bytes().unwrap_err()));
        assert_eq!(
            Datum::new(&[1]).bytes().unwrap_err().to_string(),
            "byte 0: expected a length of at least 0"
        );
    }

    #[test]
    fn a_count_that_cannot_fit_is_refused_at_once() {
        let block = |bytes: &[u8]| Datum::new(bytes).block(2);
        assert_eq!(
            block(&[4, 0, 0, 0, 0]),
            Ok(Some(Block {
                items: 2,
                bytes: None
            }))
        );
        assert_eq!(
            block(&[3, 8, 0, 0, 0, 0]),
            Ok(Some(Block {
                items: 2,
                bytes: Some(4)
            }))
        );
        assert!(is_truncation(&block(&[6, 0, 0, 0, 0]).unwrap_err()));
        let mut most = BytesMut::new();
        put_long(&mut most, i64::MAX);
        assert!(block(&most).is_err());
        most.clear();
        put_long(&mut most, i64::MIN);
        assert_eq!(block(&most).unwrap_err().expected, NATURAL_COUNT);
    }

    proptest! {
        #[test]
        fn every_long_survives(value: i64) {
            let mut out = BytesMut::new();
            put_long(&mut out, value);
            prop_assert_eq!(out.len(), long_bytes(value));
            prop_assert_eq!(long_of(&out), Ok(value));
        }
    }
}
