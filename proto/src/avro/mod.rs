//! Avro as Flume speaks it: RPC between its `avro` sources, `avro` sinks, client SDKs and log4j appenders, and
//! container files.
//!
//! Follows `flume/wire.md` section 1 (Flume 1.0 to 1.11, observed on 1.11), whose vectors stand in
//! `vectors/avro/`, and the Avro 1.11 specification. One call, from the outside in:
//!
//! ```text
//!   netty       serial 4 | buffers 4 | length 4, data | length 4, data ..      frames; the data of all is one message
//!   handshake   client hash 16 | client text? | server hash 16 | meta?         first message of a connection only
//!   rpc         metadata | name | parameters                                   and back: metadata | 00 status
//!   events      count | event .. | 00                                          the parameter of appendBatch
//!   event       count | key value .. | 00 | body                               strings and bodies: length, bytes
//! ```
//!
//! The path of a batch that arrives: [`netty::FrameDecoder`] finds the frame in the read buffer,
//! [`server::ServerConnection`] reads the call and indexes the events where they stand, the caller stores the
//! batch and answers through the [`server::ReplyToken`]. A batch that leaves: [`client::ClientConnection`] writes
//! one frame and matches the reply. All are state machines without I/O; TLS and deflate happen below them.
//!
//! | File | Holds |
//! |---|---|
//! | `datum` | Avro's binary encoding |
//! | `netty` | framing, incremental and in place |
//! | `events` | Flume's events in Avro |
//! | `handshake`, `rpc` | layouts of messages |
//! | `protocol`, `plan`, `schema` | own and foreign protocols, their resolution |
//! | `server`, `client` | one connection, seen from either end |
//! | `container` | object container files: what `spooldir` reads and `avro_event` writes |
//! | `fingerprint` | canonical forms of schemas and their CRC-64-AVRO |
//!
//! # Limits
//!
//! | What | Limit | Reaction |
//! |---|---|---|
//! | bytes of a message | [`netty::FrameLimits::max_frame_bytes`], 64 MiB | connection closed |
//! | buffers of a message | [`netty::FrameLimits::max_buffers`], 1,048,576 | connection closed |
//! | events, headers, keys, values, bodies | [`EventLimits`](crate::event::EventLimits) | system error |
//! | protocol text | [`protocol::TEXT_BYTES_MAX`], 1 MiB | system error |
//! | types of a protocol, their nesting | [`schema::TYPES_MAX`] 1,000, [`schema::NESTING_MAX`] 32 | system error |
//! | nesting of values | [`schema::VALUE_DEPTH_MAX`], 64 | system error |
//! | foreign protocols remembered | [`protocol::ProtocolCache`]: 1,000 and 16 MiB of text | the oldest is forgotten |
//! | calls in flight of a client | [`client::CALLS_IN_FLIGHT_MAX`], 1,024 | the call is not sent |
//! | error text sent | [`rpc::ERROR_TEXT_BYTES_MAX`], 8 KiB | cut |
//!
//! # Decisions
//!
//! 1. A frame with a list size of 0 closes the connection. Java never answers and hangs.
//! 2. Replies have Java's three buffers although one would do: bytes can be compared with captured ones.
//! 3. Calls of one connection come out in the order they came in, and the caller should answer in that order;
//!    1.11 answers in any order, earlier releases in this one.

pub mod client;
pub mod container;
pub mod datum;
pub mod events;
pub mod fingerprint;
pub mod handshake;
pub mod netty;
mod plan;
pub mod protocol;
pub mod rpc;
pub mod schema;
pub mod server;

pub use client::{CallError, ClientConnection, ClientError, ClientStep, KnownServer};
pub use events::{EventsError, decode_event, decode_events, encode_event, encode_events};
pub use netty::{Frame, FrameDecoder, FrameError, FrameLimits, encode_frame};
pub use protocol::{Protocol, ProtocolCache};
pub use rpc::{Message, Status};
pub use server::{Call, ReplyToken, ServerConnection, ServerStep};
