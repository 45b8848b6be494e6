//! Records: what one transaction of Flume's did to the channel, of both versions of the format.

use super::protobuf::{self, Value};
use super::{Pointer, RECORD_BYTES_MAX, Version};
use crate::cursor::{Cursor, DecodeError};
use std::borrow::Cow;

/// The op byte of a record.
pub(super) const OP_RECORD: u8 = 0x7f;
/// Of a record that Flume's integrity tool has disabled.
pub(super) const OP_NOOP: u8 = 0x00;
/// What Flume fills a file with before it writes there.
pub(super) const OP_END: u8 = 0x80;

/// Of a length that no more bytes can mend.
const NEGATIVE: &str = "the length of a header that may be";
const MAGIC_V2: u32 = 0xdead_beef;
/// Op byte and length.
pub(super) const FRAME_BYTES: usize = 5;
/// A header message behind its length, and the empty ones of a rollback and the footer: the shortest payload.
const PAYLOAD_BYTES_MIN: usize = 26;

/// Which operation a commit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Its transaction put events.
    Put,
    /// Its transaction took events.
    Take,
}

/// A record, borrowed from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The transaction that it belongs to.
    pub transaction: i64,
    /// Its place in the order of all writes of the channel.
    pub order: i64,
    /// What happened.
    pub body: Body<'a>,
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// An event came in.
    Put(Put<'a>),
    /// The event that was put there went out.
    Take(Pointer),
    /// The transaction never happened.
    Rollback,
    /// The transaction happened.
    Commit(Kind),
}

/// Key and value of a header.
pub type Header<'a> = (Cow<'a, str>, Cow<'a, str>);

/// An event as it lies in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    version: Version,
    headers: &'a [u8],
    body: &'a [u8],
    checksum: Option<i64>,
}

impl<'a> Put<'a> {
    /// The event's body.
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Whether the body is the one that the checksum was made for; version 2 has none.
    pub fn is_intact(&self) -> bool {
        self.checksum
            .is_none_or(|sum| sum == i64::from(crc32fast::hash(self.body)))
    }

    /// The event's headers as Java reads them: a missing value is empty, of two with one key the later counts, and
    /// what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// A header is not what the format says.
    pub fn headers(&self) -> Result<Vec<Header<'a>>, DecodeError> {
        let mut all: Vec<Header<'a>> = Vec::new();
        self.each_header(|key, value| {
            let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
            match all.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => all.push((key, value)),
            }
        })?;
        Ok(all)
    }

    fn each_header(&self, mut each: impl FnMut(&'a [u8], &'a [u8])) -> Result<(), DecodeError> {
        let mut cursor = Cursor::new(self.headers);
        if self.version == Version::V2 {
            let count = cursor.u32_be("the number of headers")?;
            for _ in 0..count {
                let key = text_v2(&mut cursor)?;
                each(key, text_v2(&mut cursor)?);
            }
            return Ok(());
        }
        while let Some((number, value)) = protobuf::field(&mut cursor)? {
            if let (1, Value::Bytes(header)) = (number, value) {
                let (key, value) = header_v3(header)?;
                each(key, value);
            }
        }
        Ok(())
    }
}

fn header_v3(bytes: &[u8]) -> Result<(&[u8], &[u8]), DecodeError> {
    let (mut cursor, mut key, mut text) = (Cursor::new(bytes), None, &[][..]);
    while let Some((number, value)) = protobuf::field(&mut cursor)? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => key = Some(bytes),
            (2, Value::Bytes(bytes)) => text = bytes,
            _ => {}
        }
    }
    Ok((key.ok_or_else(|| cursor.error("the key of a header"))?, text))
}

/// Hadoop's class id of a text, its length and its bytes.
fn text_v2<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], DecodeError> {
    cursor.u8("the class of a header")?;
    let before = cursor.clone();
    let first = cursor.u8("the length of a header")? as i8;
    let length = match first {
        -112..=127 => i64::from(first),
        // So many bytes, the high ones first; the lower half of the codes is of negative numbers.
        -120..=-113 => {
            let bytes = cursor.take(
                usize::from((-112 - i16::from(first)) as u16),
                "the length of a header",
            )?;
            let number = bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
            i64::try_from(number).map_err(|_| before.error(NEGATIVE))?
        }
        _ => -1,
    };
    let length = usize::try_from(length).map_err(|_| before.error(NEGATIVE))?;
    cursor.take(length, "a header of its length")
}

/// How many bytes the record has that begins here, op byte included; none if more bytes are needed to tell.
///
/// # Errors
/// No record begins here.
pub fn record_bytes(version: Version, bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    match bytes.first() {
        None => return Ok(None),
        Some(&(OP_RECORD | OP_NOOP)) => {}
        Some(_) => return Err("neither a record nor the end of the data"),
    }
    if version == Version::V2 {
        return record_bytes_v2(bytes);
    }
    let Some(head) = bytes.first_chunk::<FRAME_BYTES>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    match usize::try_from(length) {
        Ok(length) if length > RECORD_BYTES_MAX => Err("a record that is longer than any this version reads"),
        Ok(length) if length >= PAYLOAD_BYTES_MIN => Ok(Some(FRAME_BYTES + length)),
        _ => Err("a record of an impossible length"),
    }
}

/// There is no length: it follows from what is in there.
fn record_bytes_v2(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    if bytes[0] != OP_RECORD {
        return Err("neither a record nor the end of the data");
    }
    let mut cursor = Cursor::new(&bytes[1..]);
    let read = |cursor: &mut Cursor<'_>| -> Result<Result<(), &'static str>, DecodeError> {
        if cursor.u32_be("")? != MAGIC_V2 {
            return Ok(Err("a record without its magic number"));
        }
        let kind = cursor.u16_be("")?;
        cursor.take(16, "")?;
        match kind {
            1 => {
                if cursor.u8("")? != 0 {
                    return Ok(Err("an event with classes of its own"));
                }
                for _ in 0..cursor.u32_be("")?.saturating_mul(2) {
                    match text_v2(cursor) {
                        Err(why) if why.expected == NEGATIVE => return Ok(Err(NEGATIVE)),
                        other => drop(other?),
                    }
                }
                match cursor.i32_be("")? {
                    -1 => {}
                    length => match usize::try_from(length) {
                        Ok(length) if length <= RECORD_BYTES_MAX => drop(cursor.take(length, "")?),
                        _ => return Ok(Err("a body of an impossible length")),
                    },
                }
            }
            2 => drop(cursor.take(8, "")?),
            3 => {}
            4 => drop(cursor.take(2, "")?),
            _ => return Ok(Err("a record of an unknown type")),
        }
        Ok(Ok(()))
    };
    match read(&mut cursor) {
        Ok(Ok(())) => Ok(Some(1 + cursor.offset())),
        Ok(Err(why)) => Err(why),
        Err(_) if bytes.len() > RECORD_BYTES_MAX => {
            Err("a record that is longer than any this version reads")
        }
        Err(_) => Ok(None),
    }
}

/// Reads a payload: the bytes of a record behind its op byte, of version 3 behind its length and in plain.
///
/// # Errors
/// The bytes are not what the format says.
pub fn record(version: Version, payload: &[u8]) -> Result<Record<'_>, DecodeError> {
    match version {
        Version::V2 => record_v2(payload),
        Version::V3 => record_v3(payload),
    }
}

fn record_v3(payload: &[u8]) -> Result<Record<'_>, DecodeError> {
    let mut cursor = Cursor::new(payload);
    let mut head = protobuf::delimited(&mut cursor, "the header of a record")?;
    let (mut kind, mut transaction, mut order) = (None, None, None);
    while let Some((number, value)) = protobuf::field(&mut head)? {
        match (number, value) {
            (1, Value::Fixed32(n)) => kind = Some(n),
            (2, Value::Fixed64(n)) => transaction = Some(n),
            (3, Value::Fixed64(n)) => order = Some(n),
            _ => {}
        }
    }
    let (Some(kind), Some(transaction), Some(order)) = (kind, transaction, order) else {
        return Err(head.error("type, transaction and order of a record"));
    };
    let mut said = protobuf::delimited(&mut cursor, "the body of a record")?;
    let body = match kind {
        1 => Body::Put(put_v3(said)?),
        2 => {
            let (file, offset) = numbers(&mut said)?;
            Body::Take(Pointer::new(file as u32, offset as u32))
        }
        3 => Body::Rollback,
        4 => Body::Commit(
            kind_of(numbers(&mut said)?.0).ok_or_else(|| said.error("a commit of puts or takes"))?,
        ),
        _ => return Err(cursor.error("a put, take, rollback or commit")),
    };
    protobuf::delimited(&mut cursor, "the footer of a record")?;
    if !cursor.is_empty() {
        return Err(cursor.error("the end of a record"));
    }
    Ok(Record {
        transaction,
        order,
        body,
    })
}

/// The fields 1 and 2 of a take, 1 of a commit.
fn numbers(cursor: &mut Cursor<'_>) -> Result<(i32, i32), DecodeError> {
    let (mut one, mut two) = (None, 0);
    while let Some((number, value)) = protobuf::field(cursor)? {
        match (number, value) {
            (1, Value::Fixed32(n)) => one = Some(n),
            (2, Value::Fixed32(n)) => two = n,
            _ => {}
        }
    }
    Ok((one.ok_or_else(|| cursor.error("a number"))?, two))
}

fn kind_of(number: i32) -> Option<Kind> {
    match number {
        1 => Some(Kind::Put),
        2 => Some(Kind::Take),
        _ => None,
    }
}

fn put_v3(mut said: Cursor<'_>) -> Result<Put<'_>, DecodeError> {
    let (mut event, mut checksum, mut body) = (None, None, None);
    while let Some((number, value)) = protobuf::field(&mut said)? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => event = Some(bytes),
            (2, Value::Fixed64(n)) => checksum = Some(n),
            _ => {}
        }
    }
    let headers = event.ok_or_else(|| said.error("an event"))?;
    let mut cursor = Cursor::new(headers);
    while let Some((number, value)) = protobuf::field(&mut cursor)? {
        match (number, value) {
            (1, Value::Bytes(header)) => drop(header_v3(header)?),
            (2, Value::Bytes(bytes)) => body = Some(bytes),
            _ => {}
        }
    }
    Ok(Put {
        version: Version::V3,
        headers,
        body: body.ok_or_else(|| cursor.error("the body of an event"))?,
        checksum,
    })
}

fn record_v2(payload: &[u8]) -> Result<Record<'_>, DecodeError> {
    let mut cursor = Cursor::new(payload);
    if cursor.u32_be("the magic number of a record")? != MAGIC_V2 {
        return Err(Cursor::new(payload).error("the magic number of a record"));
    }
    let kind = cursor.u16_be("the type of a record")?;
    let transaction = i64_be(&mut cursor, "the transaction of a record")?;
    let order = i64_be(&mut cursor, "the order of a record")?;
    let body = match kind {
        1 => {
            if cursor.u8("the number of classes")? != 0 {
                return Err(cursor.error("an event without classes of its own"));
            }
            let start = cursor.rest();
            let before = cursor.remaining();
            for _ in 0..cursor.u32_be("the number of headers")?.saturating_mul(2) {
                text_v2(&mut cursor)?;
            }
            let headers = &start[..before - cursor.remaining()];
            let length = usize::try_from(cursor.i32_be("the length of a body")?).unwrap_or(0);
            Body::Put(Put {
                version: Version::V2,
                headers,
                body: cursor.take(length, "a body of its length")?,
                checksum: None,
            })
        }
        2 => {
            let offset = cursor.u32_be("the offset of a put")?;
            Body::Take(Pointer::new(cursor.u32_be("the file of a put")?, offset))
        }
        3 => Body::Rollback,
        4 => {
            let kind = i32::from(cursor.u16_be("the kind of a commit")?);
            Body::Commit(kind_of(kind).ok_or_else(|| cursor.error("a commit of puts or takes"))?)
        }
        _ => return Err(cursor.error("a put, take, rollback or commit")),
    };
    Ok(Record {
        transaction,
        order,
        body,
    })
}

fn i64_be(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<i64, DecodeError> {
    let mut eight = [0; 8];
    eight.copy_from_slice(cursor.take(8, expected)?);
    Ok(i64::from_be_bytes(eight))
}

/// Whether the first bytes behind the frame can be those of a payload; none if there are too few to tell.
pub(super) fn looks_right(version: Version, bytes: &[u8]) -> Option<bool> {
    Some(match version {
        Version::V2 => {
            let head = bytes.first_chunk::<6>()?;
            head[..5] == [0xde, 0xad, 0xbe, 0xef, 0] && (1..=4).contains(&head[5])
        }
        Version::V3 => {
            let head = bytes.first_chunk::<7>()?;
            head[..2] == [0x17, 0x0d] && (1..=4).contains(&head[2]) && head[3..] == [0, 0, 0, 0x11]
        }
    })
}

/// Bytes between the op byte and the payload.
pub(super) fn length_bytes(version: Version) -> usize {
    match version {
        Version::V2 => 0,
        Version::V3 => FRAME_BYTES - 1,
    }
}
