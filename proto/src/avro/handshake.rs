//! The handshake that opens every connection (Avro 1.11 specification, "Handshake"; wire.md 1.4 to 1.6).
//!
//! ```text
//!   request    client hash 16 | union null, client text | server hash 16 | union null, map of bytes
//!   response   match 00 BOTH 02 CLIENT 04 NONE | union null, server text | union null, server hash 16 | meta
//! ```
//!
//! BOTH: each side knows the other's protocol. CLIENT: the server knows the client's, which guessed the server's
//! wrong. NONE: the server does not know the client's; the call is discarded and comes again with the text. The
//! text and the hash of the server go with NONE and CLIENT always: Java's client fails on a NONE without text
//! even if its guess was right.

use super::datum::{Datum, bytes_bytes, put_bytes, put_long};
use super::protocol::{Hash, OWN_HASH, OWN_TEXT};
use crate::cursor::DecodeError;
use bytes::{BufMut, BytesMut};

/// How much the two sides know of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// Everything.
    Both,
    /// The client guessed the server's protocol wrong.
    Client,
    /// The server does not know the client's protocol.
    None,
}

/// What a client opens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeRequest<'a> {
    /// Names the client's protocol.
    pub client_hash: Hash,
    /// The client's protocol text, if it is introduced.
    pub client_text: Option<&'a [u8]>,
    /// What the client believes the server's hash to be.
    pub server_hash: Hash,
}

/// What a server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeResponse<'a> {
    /// How much the two sides know of each other.
    pub matched: Match,
    /// The server's protocol text.
    pub server_text: Option<&'a [u8]>,
    /// Names the server's protocol.
    pub server_hash: Option<Hash>,
}

impl<'a> HandshakeRequest<'a> {
    /// Reads a request; its metadata is passed over.
    pub fn read(data: &mut Datum<'a>) -> Result<Self, DecodeError> {
        let client_hash = data.fixed16()?;
        let client_text = read_optional(data, Datum::slice)?;
        let server_hash = data.fixed16()?;
        read_optional(data, Datum::skip_map)?;
        Ok(Self {
            client_hash,
            client_text,
            server_hash,
        })
    }

    /// Writes the request as Java does, with an empty map as metadata.
    pub fn write(&self, out: &mut BytesMut) {
        out.put_slice(&self.client_hash);
        write_optional_text(self.client_text, out);
        out.put_slice(&self.server_hash);
        out.put_slice(&[2, 0]);
    }
}

impl<'a> HandshakeResponse<'a> {
    /// This server's answer: its text and hash go with everything but BOTH.
    pub fn own(matched: Match) -> HandshakeResponse<'static> {
        let introduce = matched != Match::Both;
        HandshakeResponse {
            matched,
            server_text: introduce.then_some(OWN_TEXT.as_bytes()),
            server_hash: introduce.then_some(OWN_HASH),
        }
    }

    /// Reads a response; its metadata is passed over.
    pub fn read(data: &mut Datum<'a>) -> Result<Self, DecodeError> {
        let matched = match data.branch(3)? {
            0 => Match::Both,
            1 => Match::Client,
            _ => Match::None,
        };
        let server_text = read_optional(data, Datum::slice)?;
        let server_hash = read_optional(data, Datum::fixed16)?;
        read_optional(data, Datum::skip_map)?;
        Ok(Self {
            matched,
            server_text,
            server_hash,
        })
    }

    /// Writes the response as Java does, without metadata.
    pub fn write(&self, out: &mut BytesMut) {
        put_long(out, self.matched as i64);
        write_optional_text(self.server_text, out);
        match self.server_hash {
            Some(hash) => {
                out.put_u8(2);
                out.put_slice(&hash);
            }
            None => out.put_u8(0),
        }
        out.put_u8(0);
    }

    /// Bytes that [`write`](Self::write) writes.
    pub fn encoded_bytes(&self) -> usize {
        let text = self.server_text.map_or(0, |text| bytes_bytes(text.len()));
        4 + text + self.server_hash.map_or(0, |hash| hash.len())
    }
}

/// Reads a union of null and one type.
fn read_optional<'a, T>(
    data: &mut Datum<'a>,
    read: impl FnOnce(&mut Datum<'a>) -> Result<T, DecodeError>,
) -> Result<Option<T>, DecodeError> {
    match data.branch(2)? {
        0 => Ok(None),
        _ => read(data).map(Some),
    }
}

fn write_optional_text(text: Option<&[u8]>, out: &mut BytesMut) {
    match text {
        Some(text) => {
            out.put_u8(2);
            put_bytes(out, text);
        }
        None => out.put_u8(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_is_four_zeros() {
        let mut out = BytesMut::new();
        HandshakeResponse::own(Match::Both).write(&mut out);
        assert_eq!(&out[..], [0; 4]);
    }

    #[test]
    fn responses_survive_and_know_their_length() {
        for matched in [Match::Both, Match::Client, Match::None] {
            let response = HandshakeResponse::own(matched);
            let mut out = BytesMut::new();
            response.write(&mut out);
            assert_eq!(out.len(), response.encoded_bytes());
            assert_eq!(HandshakeResponse::read(&mut Datum::new(&out)), Ok(response));
        }
    }

    #[test]
    fn requests_survive_with_and_without_text_and_metadata() {
        for client_text in [None, Some(&b"{}"[..])] {
            let request = HandshakeRequest {
                client_hash: [1; 16],
                client_text,
                server_hash: [2; 16],
            };
            let mut out = BytesMut::new();
            request.write(&mut out);
            assert_eq!(HandshakeRequest::read(&mut Datum::new(&out)), Ok(request));
            out.truncate(out.len() - 2);
            out.put_slice(&[2, 2, 2, b'k', 2, b'v', 0]);
            assert_eq!(HandshakeRequest::read(&mut Datum::new(&out)), Ok(request));
        }
    }
}
