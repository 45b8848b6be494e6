//! As much of Avro RPC as a driver and a sink end need, written for speed and on its own.
//!
//! Nothing here comes from `proto`: a mistake made in both ends of a measurement would cancel itself out. The facts are
//! those of Flume 1.11 on the wire: a frame is `serial, number of buffers, (length, bytes)…`, all big-endian `i32`; the
//! message is the concatenation of the buffers, whose boundaries mean nothing. The first message of a connection starts
//! with a handshake; then `metadata map, message name, parameters`. The tests hold bytes captured from a live 1.11.

use anyhow::{Result, bail, ensure};

/// MD5 of [`PROTOCOL`], as every released Flume sends it.
pub const PROTOCOL_HASH: [u8; 16] = *b"\x86\xaa\xda\xe2\xc4\x54\x74\xc0\xfe\x93\xff\xd0\xf2\x35\x0a\x65";

/// The protocol text whose MD5 is [`PROTOCOL_HASH`].
pub const PROTOCOL: &str = include_str!("protocol.json");

/// Size of the buffers the Java client cuts its messages into.
pub const JAVA_BUFFER_SIZE: usize = 8192;

/// What an answer says about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// The events are stored.
    Ok,
    /// The channel refused them; to be sent again. UNKNOWN, which Flume never sends, counts as this.
    Failed,
    /// A system error, with a text.
    Error,
}

/// How a message is cut into the buffers of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Buffers {
    /// The whole message in one buffer.
    One,
    /// Metadata and name in the first, parameters in buffers of 8192 bytes, as the Java client does.
    Java,
}

impl Buffers {
    /// A frame of `head` (all before the parameters) and `params`.
    pub fn frame(self, serial: u32, head: &[u8], params: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + head.len() + params.len() * 1001 / 1000 + 16);
        out.extend_from_slice(&serial.to_be_bytes());
        match self {
            Buffers::One => {
                put_size(&mut out, 1);
                put_size(&mut out, head.len() + params.len());
                out.extend_from_slice(head);
                out.extend_from_slice(params);
            }
            Buffers::Java => {
                put_size(&mut out, 1 + params.len().div_ceil(JAVA_BUFFER_SIZE));
                for part in std::iter::once(head).chain(params.chunks(JAVA_BUFFER_SIZE)) {
                    put_size(&mut out, part.len());
                    out.extend_from_slice(part);
                }
            }
        }
        out
    }

    /// Where in the frame the byte `offset` of the parameters stands.
    pub fn locate(self, head_size: usize, offset: usize) -> usize {
        match self {
            Buffers::One => 12 + head_size + offset,
            Buffers::Java => 12 + head_size + 4 * (offset / JAVA_BUFFER_SIZE + 1) + offset,
        }
    }
}

fn put_size(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(&(size as u32).to_be_bytes());
}

/// Appends an Avro `long`.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends Avro `bytes` or a `string`.
pub fn put_bytes(out: &mut Vec<u8>, value: &[u8]) {
    put_long(out, value.len() as i64);
    out.extend_from_slice(value);
}

/// The handshake request of a Java client that guesses the server's protocol right.
pub fn put_handshake(out: &mut Vec<u8>) {
    out.extend_from_slice(&PROTOCOL_HASH);
    out.push(0);
    out.extend_from_slice(&PROTOCOL_HASH);
    out.extend_from_slice(&[2, 0]);
}

/// Empty call metadata and the message's name.
pub fn put_call(out: &mut Vec<u8>, message: &str) {
    out.push(0);
    put_bytes(out, message.as_bytes());
}

/// Bounded reader of Avro values.
#[derive(Debug, Clone, Copy)]
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8> {
        let Some((&first, rest)) = self.0.split_first() else {
            bail!("message ends too early")
        };
        self.0 = rest;
        Ok(first)
    }

    /// The next `size` bytes.
    #[inline]
    pub fn take(&mut self, size: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(size) else {
            bail!("message ends {} bytes too early", size - self.0.len())
        };
        self.0 = rest;
        Ok(taken)
    }

    /// A zig-zag varint.
    #[inline]
    pub fn long(&mut self) -> Result<i64> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
            shift += 7;
            ensure!(shift < 64, "varint longer than ten bytes");
        }
    }

    /// `bytes` or a `string`.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let size = self.long()?;
        ensure!(size >= 0, "negative length {size}");
        self.take(size as usize)
    }

    /// The count of the next block of an array or map; 0 ends it.
    #[inline]
    pub fn block(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    /// Skips a map of strings or bytes.
    #[inline]
    pub fn skip_map(&mut self) -> Result<()> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                self.bytes()?;
                self.bytes()?;
            }
        }
    }
}

/// Reads the answer to a call; `handshake` says that it is the first of its connection.
pub fn read_answer(message: &[u8], handshake: bool) -> Result<Status> {
    let mut cursor = Cursor(message);
    if handshake {
        let agreed = cursor.long()?;
        ensure!(
            agreed != 2,
            "the subject does not know Flume's own protocol hash (handshake NONE)"
        );
        if cursor.long()? == 1 {
            cursor.bytes()?;
        }
        if cursor.long()? == 1 {
            cursor.take(16)?;
        }
        if cursor.long()? == 1 {
            cursor.skip_map()?;
        }
    }
    cursor.skip_map()?;
    if cursor.byte()? != 0 {
        return Ok(Status::Error);
    }
    Ok(if cursor.long()? == 0 {
        Status::Ok
    } else {
        Status::Failed
    })
}

/// Appends an answer as Java frames it: three buffers, the first of which holds the handshake.
pub fn put_answer(out: &mut Vec<u8>, serial: u32, handshake: &[u8], payload: &[u8]) {
    out.extend_from_slice(&serial.to_be_bytes());
    put_size(out, 3);
    for part in [handshake, &[0], payload] {
        put_size(out, part.len());
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes from hexadecimal digits.
    pub fn hex(digits: &str) -> Vec<u8> {
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    const A1: &str = "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200\
                      000c617070656e640000000c0202610262000a68656c6c6f";
    const A1_ANSWER: &str = "000000010000000300000004000000000000000100000000020000";
    const A2: &str = "000000020000000200000008000c617070656e64000000020000";
    const A2_ANSWER: &str = "0000000200000003000000000000000100000000020000";
    const A3: &str = "00000003000000020000000d0016617070656e6442617463680000000d04000278020261026200027900";
    const A6_ANSWER: &str = "480010";

    #[test]
    fn frames_equal_those_of_a_java_client() {
        let mut head = Vec::new();
        put_handshake(&mut head);
        put_call(&mut head, "append");
        assert_eq!(
            Buffers::Java.frame(1, &head, b"\x02\x02a\x02b\x00\x0ahello"),
            hex(A1)
        );

        head.clear();
        put_call(&mut head, "append");
        assert_eq!(Buffers::Java.frame(2, &head, &[0, 0]), hex(A2));

        head.clear();
        put_call(&mut head, "appendBatch");
        let mut params = Vec::new();
        put_long(&mut params, 2);
        params.push(0);
        put_bytes(&mut params, b"x");
        params.extend_from_slice(b"\x02\x02a\x02b\x00");
        put_bytes(&mut params, b"y");
        params.push(0);
        assert_eq!(Buffers::Java.frame(3, &head, &params), hex(A3));
    }

    #[test]
    fn answers_equal_those_of_a_java_server() {
        let mut out = Vec::new();
        put_answer(&mut out, 1, &[0; 4], &[0, 0]);
        assert_eq!(out, hex(A1_ANSWER));
        out.clear();
        put_answer(&mut out, 2, &[], &[0, 0]);
        assert_eq!(out, hex(A2_ANSWER));
    }

    #[test]
    fn an_answer_tells_stored_from_refused_from_error() {
        assert_eq!(read_answer(&[0, 0, 0, 0, 0, 0, 0], true).unwrap(), Status::Ok);
        assert_eq!(read_answer(&[0, 0, 0], false).unwrap(), Status::Ok);
        assert_eq!(read_answer(&[0, 0, 2], false).unwrap(), Status::Failed);
        assert_eq!(read_answer(&[0, 1, 0, 2, b'x'], false).unwrap(), Status::Error);
        assert!(read_answer(&hex(A6_ANSWER), false).is_err());
        assert!(read_answer(&[4, 0, 0, 0], true).is_err());
    }

    #[test]
    fn a_parameter_byte_is_found_in_either_framing() {
        let params: Vec<u8> = (0..20_000u32).map(|at| (at % 251) as u8).collect();
        for buffers in [Buffers::One, Buffers::Java] {
            let frame = buffers.frame(9, b"\x00\x0cappend", &params);
            for offset in [0, 1, 8191, 8192, 16_383, 16_384, 19_999] {
                assert_eq!(
                    frame[buffers.locate(8, offset)],
                    params[offset],
                    "{buffers:?} {offset}"
                );
            }
        }
    }

    #[test]
    fn maps_and_longs_read_in_every_legal_form() {
        let mut cursor = Cursor(b"\x01\x08\x02a\x02b\x00\x06neg");
        cursor.skip_map().unwrap();
        assert_eq!(cursor.bytes().unwrap(), b"neg");
        for value in [0, -1, 63, 64, 500, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_long(&mut out, value);
            assert_eq!(Cursor(&out).long().unwrap(), value);
        }
        assert!(Cursor(&[0xff; 11]).long().is_err());
        assert!(Cursor(&[1]).bytes().is_err());
    }
}
