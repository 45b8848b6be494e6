//! The server's side of one connection: frames in, replies and calls out (wire.md 1.6 to 1.9).
//!
//! ```text
//!              handshake NONE               any call: reply
//!                 +---+                        +---+
//!                 |   v                        |   v
//!   accept --> unconnected -- BOTH, CLIENT --> connected --> closed by either side
//! ```
//!
//! A frame that cannot be understood is answered with a system error and the connection goes on, as in Java;
//! only the framing below can end it. What differs from Java: the hash of a client's text is verified before
//! other connections see it, and a call over the limits of [`EventLimits`] is refused with a system error.

use super::datum::Datum;
use super::events::EventsError;
use super::handshake::{HandshakeRequest, HandshakeResponse, Match};
use super::netty::Frame;
use super::protocol::{OWN_HASH, OWN_TEXT, Protocol, ProtocolCache};
use super::rpc::{Answer, Message, Status, repeat};
use super::rpc::{decode_error_text, events_error_text, write_handshake_alone, write_reply};
use crate::event::{Batch, EventLimits};
use bytes::BytesMut;
use std::sync::Arc;

/// What a frame led to.
#[derive(Debug)]
#[must_use]
pub enum ServerStep {
    /// The reply is written; there is nothing to store.
    Replied,
    /// Events to store; the caller owes a reply.
    Call(Call),
}

/// A call to carry out.
#[derive(Debug)]
pub struct Call {
    /// Which message; matters for counters, and for what a failure is answered with.
    pub message: Message,
    /// Its events: one for `append`, any number including none for `appendBatch`.
    pub batch: Batch,
    /// Where the outcome goes.
    pub reply: ReplyToken,
}

/// The right to answer one call, once. Tokens of one connection may be used in any order.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct ReplyToken {
    serial: i32,
    handshake: Option<Match>,
}

impl ReplyToken {
    /// The number of the call.
    pub fn serial(&self) -> i32 {
        self.serial
    }

    /// Writes the outcome as one frame.
    pub fn write(self, status: Status, out: &mut BytesMut) {
        self.answer(Answer::Status(status), out);
    }

    /// Writes a system error as one frame; `text` is cut at 8 KiB. Java's texts start with an exception's class.
    pub fn error(self, text: &str, out: &mut BytesMut) {
        self.answer(Answer::SystemError(text), out);
    }

    fn answer(self, answer: Answer<'_>, out: &mut BytesMut) {
        let handshake = self.handshake.map(HandshakeResponse::own);
        write_reply(self.serial, handshake.as_ref(), answer, out);
    }
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct ServerConnection {
    protocols: Arc<ProtocolCache>,
    limits: EventLimits,
    /// The client's protocol, once the handshake is done.
    remote: Option<Arc<Protocol>>,
}

impl ServerConnection {
    /// A new connection of a source whose connections share `protocols`.
    pub fn new(protocols: Arc<ProtocolCache>, limits: EventLimits) -> Self {
        Self {
            protocols,
            limits,
            remote: None,
        }
    }

    /// Whether the handshake is done.
    pub fn is_connected(&self) -> bool {
        self.remote.is_some()
    }

    /// Takes a frame. Either its reply is appended to `out`, or the caller gets a call to carry out.
    pub fn handle(&mut self, frame: Frame, out: &mut BytesMut) -> ServerStep {
        let serial = frame.serial;
        let mut data = Datum::new(&frame.payload);
        let was_connected = self.is_connected();
        let (remote, handshake) = match self.handshake(&mut data) {
            Ok((Some(remote), handshake)) => (remote, handshake),
            Ok((None, handshake)) => {
                write_handshake_alone(serial, handshake.map(HandshakeResponse::own).as_ref(), out);
                return ServerStep::Replied;
            }
            Err(text) => {
                write_reply(serial, None, Answer::SystemError(&text), out);
                return ServerStep::Replied;
            }
        };
        let reply = ReplyToken { serial, handshake };
        match self.call(&remote, was_connected, &frame, data) {
            Ok(Some((message, batch))) => ServerStep::Call(Call {
                message,
                batch,
                reply,
            }),
            Ok(None) => {
                write_handshake_alone(serial, handshake.map(HandshakeResponse::own).as_ref(), out);
                ServerStep::Replied
            }
            Err(text) => {
                reply.error(&text, out);
                ServerStep::Replied
            }
        }
    }

    /// The client's protocol, if it is known, and what the handshake in this frame, if there was one, came to.
    fn handshake(&mut self, data: &mut Datum<'_>) -> Result<(Option<Arc<Protocol>>, Option<Match>), String> {
        if let Some(remote) = &self.remote {
            return Ok((Some(Arc::clone(remote)), None));
        }
        let request = HandshakeRequest::read(data).map_err(|error| decode_error_text(&error))?;
        self.remote = match self.known(&request) {
            Some(known) => Some(known),
            None => match request.client_text {
                Some(text) => Some(
                    self.protocols
                        .introduce(&request.client_hash, text)
                        .map_err(|error| format!("org.apache.avro.SchemaParseException: {error}"))?,
                ),
                None => None,
            },
        };
        let matched = match (&self.remote, request.server_hash == OWN_HASH) {
            (None, _) => Match::None,
            (Some(_), true) => Match::Both,
            (Some(_), false) => Match::Client,
        };
        Ok((self.remote.clone(), Some(matched)))
    }

    fn known(&self, request: &HandshakeRequest<'_>) -> Option<Arc<Protocol>> {
        match request.client_hash == OWN_HASH {
            true => Some(Arc::new(Protocol::own())),
            false => self.protocols.find(&request.client_hash),
        }
    }

    /// What is called, `None` for a ping, or the text of a system error.
    fn call(
        &self,
        remote: &Protocol,
        was_connected: bool,
        frame: &Frame,
        mut data: Datum<'_>,
    ) -> Result<Option<(Message, Batch)>, String> {
        data.skip_map().map_err(|error| decode_error_text(&error))?;
        let name = data.slice().map_err(|error| decode_error_text(&error))?;
        if name.is_empty() {
            return Ok(None);
        }
        let runtime = |what: String| format!("org.apache.avro.AvroRuntimeException: {what}");
        if !remote.has(name) {
            return Err(runtime(format!("No such remote message: {}", repeat(name))));
        }
        let Some(message) = Message::from_name(name) else {
            return Err(runtime(format!(
                "No message named {} in {OWN_TEXT}",
                repeat(name)
            )));
        };
        let batch = remote
            .read_parameters(message, &frame.payload, data.offset(), self.limits)
            .map_err(|error: EventsError| events_error_text(&error))?;
        if was_connected && remote.is_one_way(message) {
            return Err(runtime(format!("Not both one-way: {}", message.name())));
        }
        Ok(Some((message, batch)))
    }
}
