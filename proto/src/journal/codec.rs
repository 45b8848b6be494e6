//! Little-endian numbers, varints and length-prefixed bytes over the crate's [`Cursor`].

use crate::cursor::{Cursor, DecodeError};

/// The number at an offset of a page that is known to be long enough.
pub(super) fn u32_at(page: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&page[at..at + 4]);
    u32::from_le_bytes(four)
}

/// As [`u32_at`].
pub(super) fn u64_at(page: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(eight)
}

/// Appends a varint: seven bits a byte, low ones first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a varint of at most ten bytes.
pub(super) fn varint(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<u64, DecodeError> {
    let before = cursor.clone();
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = cursor.u8(expected)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(before.error(expected))
}

/// Appends bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads bytes behind their length.
pub(super) fn bytes<'a>(cursor: &mut Cursor<'a>, expected: &'static str) -> Result<&'a [u8], DecodeError> {
    let before = cursor.clone();
    let len = varint(cursor, expected)?;
    let len = usize::try_from(len).map_err(|_| before.error(expected))?;
    cursor.take(len, expected)
}

/// Reads text behind its length.
pub(super) fn text<'a>(cursor: &mut Cursor<'a>, expected: &'static str) -> Result<&'a str, DecodeError> {
    let before = cursor.clone();
    std::str::from_utf8(bytes(cursor, expected)?).map_err(|_| before.error(expected))
}

/// Reads so many raw bytes.
pub(super) fn array<const N: usize>(
    cursor: &mut Cursor<'_>,
    expected: &'static str,
) -> Result<[u8; N], DecodeError> {
    let mut all = [0; N];
    all.copy_from_slice(cursor.take(N, expected)?);
    Ok(all)
}
