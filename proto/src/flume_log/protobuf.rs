//! The little of Protocol Buffers that Flume's files use: fields one after the other, unknown ones passed over.

use crate::cursor::{Cursor, DecodeError};

/// The value of a field, as its wire type has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint,
    Fixed64(i64),
    Fixed32(i32),
    Bytes(&'a [u8]),
}

/// A message behind its length.
pub(super) fn delimited<'a>(
    cursor: &mut Cursor<'a>,
    expected: &'static str,
) -> Result<Cursor<'a>, DecodeError> {
    let before = cursor.clone();
    let length = usize::try_from(varint(cursor, expected)?).map_err(|_| before.error(expected))?;
    cursor.take(length, expected).map(Cursor::new)
}

/// The next field of a message; none at its end.
pub(super) fn field<'a>(cursor: &mut Cursor<'a>) -> Result<Option<(u64, Value<'a>)>, DecodeError> {
    if cursor.is_empty() {
        return Ok(None);
    }
    let before = cursor.clone();
    let tag = varint(cursor, "the tag of a field")?;
    let value = match tag & 7 {
        0 => varint(cursor, "a number").map(|_| Value::Varint)?,
        1 => Value::Fixed64(fixed64(cursor)?),
        2 => Value::Bytes(delimited(cursor, "bytes behind their length")?.rest()),
        5 => Value::Fixed32(fixed32(cursor)?),
        _ => return Err(before.error("a field of a known wire type")),
    };
    if tag >> 3 == 0 {
        return Err(before.error("the number of a field"));
    }
    Ok(Some((tag >> 3, value)))
}

fn fixed64(cursor: &mut Cursor<'_>) -> Result<i64, DecodeError> {
    let mut eight = [0; 8];
    eight.copy_from_slice(cursor.take(8, "eight bytes of a number")?);
    Ok(i64::from_le_bytes(eight))
}

fn fixed32(cursor: &mut Cursor<'_>) -> Result<i32, DecodeError> {
    let mut four = [0; 4];
    four.copy_from_slice(cursor.take(4, "four bytes of a number")?);
    Ok(i32::from_le_bytes(four))
}

fn varint(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<u64, DecodeError> {
    let before = cursor.clone();
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = cursor.u8(expected)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(before.error(expected))
}
