//! The client's side of one connection: batches in, frames out, replies back to their calls (wire.md 1.6, 1.7,
//! 10.2).
//!
//! ```text
//!                 call with handshake          BOTH, CLIENT
//!   connect --> fresh ------------------> opening --------> open: any number of calls in flight
//!                 ^                          |
//!                 +--- NONE: send it again --+     the next call introduces this side with its text, once
//! ```
//!
//! While the handshake is under way only one call may be in flight. Java's client frames a call as two buffers,
//! what identifies it and its parameters; so does this one. A reply to no call, or one that cannot be read,
//! breaks the connection: every later call fails until the caller connects anew.

use super::datum::{Datum, put_bytes};
use super::events::{encode_event, encode_events};
use super::handshake::{HandshakeRequest, HandshakeResponse, Match};
use super::netty::Frame;
use super::protocol::{Hash, OWN_HASH, OWN_TEXT, Protocol, ProtocolError};
use super::rpc::{Message, Status, repeat};
use crate::cursor::DecodeError;
use crate::event::{Batch, EventView};
use bytes::{BufMut, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use thiserror::Error;

/// Calls in flight on one connection, at most. The caller's window is usually far smaller.
pub const CALLS_IN_FLIGHT_MAX: usize = 1_024;

/// A call that was answered, but not with OK. The events are not stored; the connection goes on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// The server processed the call and refused.
    #[error("the server answered {}", .0.symbol())]
    Status(Status),
    /// The server could not process the call.
    #[error("the server answered with a system error: {0}")]
    System(String),
}

/// A fault of this connection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// Nothing was sent: the first call is not answered yet, and the second must not precede the answer.
    #[error("the handshake is under way: one call at a time")]
    Opening,
    /// Nothing was sent: [`CALLS_IN_FLIGHT_MAX`] calls are unanswered.
    #[error("{CALLS_IN_FLIGHT_MAX} calls are in flight")]
    Window,
    /// Nothing was sent: the encoded parameters have 2 GiB or more.
    #[error("a call of {bytes} bytes, allowed are less than 2 GiB")]
    CallBytes {
        /// Bytes of the parameters.
        bytes: usize,
    },
    /// The connection is of no use any more.
    #[error("the connection failed before")]
    Broken,
    /// A reply to a call that was not made or is answered already.
    #[error("a reply to an unknown call, serial {0}")]
    UnknownSerial(i32),
    /// A reply that is not what the schemas ask for.
    #[error("a reply that is not Avro: {0}")]
    Decode(#[from] DecodeError),
    /// A status or an error of a kind that the protocol does not have.
    #[error("a reply with {what} {found}")]
    Reply {
        /// What was out of range.
        what: &'static str,
        /// Its index.
        found: i64,
    },
    /// The server's own protocol cannot be used.
    #[error("the server's protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The server failed on the handshake itself.
    #[error("the server refused the handshake: {0}")]
    Handshake(String),
    /// The server asks for this side's protocol, which it has been sent.
    #[error("the server does not accept this protocol although it has its text")]
    Unwelcome,
}

/// What a reply means.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum ClientStep {
    /// A call is answered.
    Done {
        /// The number under which it was sent.
        serial: i32,
        /// Stored, or why not.
        outcome: Result<(), CallError>,
    },
    /// The server does not know this protocol yet. The call was discarded: make it again, which gives it a new
    /// number and takes the protocol's text along.
    Resend {
        /// The number under which it was sent.
        serial: i32,
    },
}

/// What is known of a server, kept over reconnects to save a round trip.
#[derive(Debug, Clone)]
pub struct KnownServer {
    hash: Hash,
    /// Its protocol, if it is not Flume's.
    protocol: Option<Arc<Protocol>>,
}

impl Default for KnownServer {
    fn default() -> Self {
        Self {
            hash: OWN_HASH,
            protocol: None,
        }
    }
}

impl KnownServer {
    fn learn(&mut self, response: &HandshakeResponse<'_>) -> Result<(), ProtocolError> {
        if let Some(hash) = response.server_hash {
            let known = hash == self.hash && self.protocol.is_some();
            match response.server_text {
                _ if hash == OWN_HASH => self.protocol = None,
                Some(text) if !known => self.protocol = Some(Arc::new(Protocol::parse(text)?)),
                _ => {}
            }
            // Only a protocol that could be read counts as known at the next connection.
            self.hash = hash;
        }
        Ok(())
    }

    fn status(&self, message: Message, index: i64) -> Result<Status, ClientError> {
        let status = match (&self.protocol, index) {
            (Some(protocol), _) => protocol.status(message, index)?,
            (None, 0) => Some(Status::Ok),
            (None, 1) => Some(Status::Failed),
            (None, 2) => Some(Status::Unknown),
            (None, _) => None,
        };
        status.ok_or(ClientError::Reply {
            what: "status",
            found: index,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next call carries the handshake.
    Fresh,
    /// The call in flight carries it.
    Opening,
    Open,
    Broken,
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct ClientConnection {
    state: State,
    server: KnownServer,
    introduce: bool,
    last_serial: i32,
    in_flight: VecDeque<(i32, Message)>,
}

impl Default for ClientConnection {
    fn default() -> Self {
        Self::new(KnownServer::default())
    }
}

impl ClientConnection {
    /// A new connection to a server, of which something may be known from an earlier one.
    pub fn new(server: KnownServer) -> Self {
        Self {
            state: State::Fresh,
            server,
            introduce: false,
            last_serial: 0,
            in_flight: VecDeque::new(),
        }
    }

    /// What is known of the server.
    pub fn server(&self) -> &KnownServer {
        &self.server
    }

    /// Whether the handshake is done, so that calls may be pipelined.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Calls sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Appends an `appendBatch` call to `out` and returns its number. On an error `out` is as it was.
    pub fn append_batch(&mut self, batch: &Batch, out: &mut BytesMut) -> Result<i32, ClientError> {
        // The larger part of what is about to be written, so that the buffer grows once.
        out.reserve(batch.used_bytes() + 16 * batch.len() + 128);
        self.call(Message::AppendBatch, out, |out| encode_events(batch, out))
    }

    /// Appends an `append` call to `out` and returns its number. On an error `out` is as it was.
    pub fn append(&mut self, event: &EventView<'_>, out: &mut BytesMut) -> Result<i32, ClientError> {
        self.call(Message::Append, out, |out| encode_event(event, out))
    }

    fn call(
        &mut self,
        message: Message,
        out: &mut BytesMut,
        parameters: impl FnOnce(&mut BytesMut),
    ) -> Result<i32, ClientError> {
        match self.state {
            State::Broken => return Err(ClientError::Broken),
            State::Opening => return Err(ClientError::Opening),
            _ if self.in_flight.len() >= CALLS_IN_FLIGHT_MAX => return Err(ClientError::Window),
            State::Fresh | State::Open => {}
        }
        let start = out.len();
        let serial = self.last_serial.wrapping_add(1);
        out.put_i32(serial);
        out.put_i32(2);
        let written =
            write_buffer(out, |out| self.identify(message, out)).and_then(|()| write_buffer(out, parameters));
        if let Err(error) = written {
            out.truncate(start);
            return Err(error);
        }
        self.last_serial = serial;
        self.in_flight.push_back((serial, message));
        if self.state == State::Fresh {
            self.state = State::Opening;
        }
        Ok(serial)
    }

    fn identify(&self, message: Message, out: &mut BytesMut) {
        if self.state == State::Fresh {
            let client_text = self.introduce.then_some(OWN_TEXT.as_bytes());
            HandshakeRequest {
                client_hash: OWN_HASH,
                client_text,
                server_hash: self.server.hash,
            }
            .write(out);
        }
        out.put_u8(0);
        put_bytes(out, message.name().as_bytes());
    }

    /// Takes a reply. After an error other than [`ClientError::Opening`] and the like the connection is broken.
    pub fn handle(&mut self, frame: &Frame) -> Result<ClientStep, ClientError> {
        if self.state == State::Broken {
            return Err(ClientError::Broken);
        }
        let step = self.reply(frame);
        if step.is_err() {
            self.state = State::Broken;
        }
        step
    }

    fn reply(&mut self, frame: &Frame) -> Result<ClientStep, ClientError> {
        let serial = frame.serial;
        let place = self.in_flight.iter().position(|(sent, _)| *sent == serial);
        let (_, message) = place
            .and_then(|at| self.in_flight.remove(at))
            .ok_or(ClientError::UnknownSerial(serial))?;
        let mut data = Datum::new(&frame.payload);
        if self.state == State::Opening {
            let response =
                HandshakeResponse::read(&mut data).map_err(|error| self.no_handshake(frame, error))?;
            self.server.learn(&response)?;
            if response.matched == Match::None {
                if self.introduce {
                    return Err(ClientError::Unwelcome);
                }
                self.introduce = true;
                self.state = State::Fresh;
                return Ok(ClientStep::Resend { serial });
            }
            self.state = State::Open;
        }
        data.skip_map()?;
        if data.boolean()? {
            let outcome = Err(CallError::System(system_error(&mut data)?));
            return Ok(ClientStep::Done { serial, outcome });
        }
        let outcome = match self.server.status(message, data.long()?)? {
            Status::Ok => Ok(()),
            other => Err(CallError::Status(other)),
        };
        Ok(ClientStep::Done { serial, outcome })
    }

    /// A server that fails inside of the handshake answers without one (wire.md 1.9).
    fn no_handshake(&self, frame: &Frame, error: DecodeError) -> ClientError {
        let mut data = Datum::new(&frame.payload);
        let text = data
            .skip_map()
            .and_then(|()| data.boolean())
            .ok()
            .filter(|failed| *failed);
        match text.and_then(|_| system_error(&mut data).ok()) {
            Some(text) => ClientError::Handshake(text),
            None => ClientError::Decode(error),
        }
    }
}

/// Reads the union of errors, of which Flume's protocol has only the one that every protocol has.
fn system_error(data: &mut Datum<'_>) -> Result<String, ClientError> {
    match data.long()? {
        0 => Ok(repeat(data.slice()?)),
        found => Err(ClientError::Reply {
            what: "error of kind",
            found,
        }),
    }
}

/// Writes one buffer of a frame, its length in front.
fn write_buffer(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) -> Result<(), ClientError> {
    let at = out.len();
    out.put_i32(0);
    write(out);
    let bytes = out.len() - at - 4;
    let length = i32::try_from(bytes).map_err(|_| ClientError::CallBytes { bytes })?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}
