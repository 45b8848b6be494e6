//! The messages of Flume's protocol and the layout of calls and replies (wire.md 1.7 to 1.9).
//!
//! ```text
//!   call    [handshake request]   metadata map  name  parameters
//!   reply   [handshake response]  metadata map  00 status | 01 00 error text
//! ```
//!
//! Replies are framed in Java's three buffers: handshake (or nothing), metadata, the rest.

use super::datum::{bytes_bytes, is_truncation, put_bytes, put_long};
use super::events::EventsError;
use super::handshake::HandshakeResponse;
use super::schema::brief;
use crate::cursor::DecodeError;
use bytes::{BufMut, BytesMut};

/// Bytes of an error text that is sent.
pub const ERROR_TEXT_BYTES_MAX: usize = 8 << 10;

/// The two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// One event.
    Append,
    /// An array of events, stored in one transaction.
    AppendBatch,
}

impl Message {
    /// The name that travels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::AppendBatch => "appendBatch",
        }
    }

    /// The message of this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"append" => Some(Self::Append),
            b"appendBatch" => Some(Self::AppendBatch),
            _ => None,
        }
    }
}

/// What a server says of a call it has processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All events are stored.
    Ok,
    /// A channel refused; none is stored.
    Failed,
    /// Never sent by Flume; clients treat it as a failure.
    Unknown,
}

impl Status {
    /// The symbol in the protocol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The status of this symbol.
    pub fn from_symbol(symbol: &str) -> Option<Self> {
        [Self::Ok, Self::Failed, Self::Unknown]
            .into_iter()
            .find(|status| status.symbol() == symbol)
    }
}

/// What stands in the last buffer of a reply.
pub(super) enum Answer<'a> {
    Status(Status),
    SystemError(&'a str),
}

/// Writes the reply to a call as one frame.
pub(super) fn write_reply(
    serial: i32,
    handshake: Option<&HandshakeResponse<'_>>,
    answer: Answer<'_>,
    out: &mut BytesMut,
) {
    out.put_i32(serial);
    out.put_i32(3);
    out.put_i32(handshake.map_or(0, HandshakeResponse::encoded_bytes) as i32);
    if let Some(handshake) = handshake {
        handshake.write(out);
    }
    out.put_slice(&[0, 0, 0, 1, 0]);
    match answer {
        Answer::Status(status) => {
            out.put_i32(2);
            out.put_u8(0);
            put_long(out, status as i64);
        }
        Answer::SystemError(text) => {
            let text = &text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)];
            out.put_i32(2 + bytes_bytes(text.len()) as i32);
            out.put_slice(&[1, 0]);
            put_bytes(out, text.as_bytes());
        }
    }
}

/// Writes a frame of one buffer: a handshake response alone, or nothing at all.
pub(super) fn write_handshake_alone(
    serial: i32,
    handshake: Option<&HandshakeResponse<'_>>,
    out: &mut BytesMut,
) {
    out.put_i32(serial);
    out.put_i32(1);
    out.put_i32(handshake.map_or(0, HandshakeResponse::encoded_bytes) as i32);
    if let Some(handshake) = handshake {
        handshake.write(out);
    }
}

/// What Java says of bytes that it cannot decode.
pub(super) fn decode_error_text(error: &DecodeError) -> String {
    match is_truncation(error) {
        true => "java.io.EOFException".to_owned(),
        false => format!("org.apache.avro.AvroRuntimeException: Malformed data. {error}"),
    }
}

/// What Java says, or would say, of parameters that it cannot read.
pub(super) fn events_error_text(error: &EventsError) -> String {
    match error {
        EventsError::Decode(error) => decode_error_text(error),
        EventsError::Event(error) => format!("org.apache.avro.AvroRuntimeException: {error}"),
        EventsError::Schema(text) => format!("org.apache.avro.AvroTypeException: {text}"),
    }
}

/// A peer's text, short enough and free of broken UTF-8, to be repeated.
pub(super) fn repeat(bytes: &[u8]) -> String {
    // Four bytes a character at most, so the cut cannot reach into what is kept.
    brief(&String::from_utf8_lossy(&bytes[..bytes.len().min(1_024)])).to_owned()
}
