//! `avro`: Avro RPC as Flume speaks it, Flume's AvroSource.
//!
//! Promise: a call is answered OK only after every required channel has committed its events; calls of one
//! connection are stored and answered in order. Wire and answers: `flume/wire.md` 1, `flume/sources.md` 5.1.
//!
//! What is received is kept as it came: a batch is an index over the frame in the read buffer.
//!
//! Failures: a channel that refuses makes the answer FAILED (for `append` a broken contract is a system error);
//! address in use: tried again until it is free; bytes that are no frame, frames over `maxFrameBytes`, more than
//! `maxConnections`, partial frames of more than `maxBufferedBytes` in all, a frame that stalls for 60 s: the
//! connection is closed and counted, everything else goes on.
//!
//! Differences from Flume: a list of zero buffers closes the connection instead of hanging it; frames,
//! connections and memory are bounded (`maxFrameBytes`, `maxConnections`, `maxBufferedBytes` are ours); pipelined
//! calls keep their order. Compression, TLS and the IP filter come with a later version and are refused until
//! then; the connection is already generic over its transport.

use crate::component::channel::ChannelError;
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::listen;
use bytes::BytesMut;
use futures_util::poll;
use proto::avro::{
    Call, FrameDecoder, FrameError, FrameLimits, Message, ProtocolCache, ServerConnection, ServerStep, Status,
};
use proto::event::EventLimits;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "avro",
    classes: &["org.apache.flume.source.AvroSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// A frame of which no further byte comes for so long is given up.
const FRAME_STALL: Duration = Duration::from_secs(60);
/// How long a connection may take to finish its call when the source stops.
const FINISH: Duration = Duration::from_secs(8);
/// Answers that are collected before they are sent.
const OUTPUT_BYTES: usize = 64 << 10;
/// How long a closing connection waits for its peer to close too.
const LINGER: Duration = Duration::from_millis(500);
/// What a connection may buffer without being counted against `maxBufferedBytes`.
const FREE_BUFFER_BYTES: usize = 256 << 10;

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `bind`: host name or address; required.
    pub bind: String,
    /// `port`: 0 to 65535, 0 takes a free one; required.
    pub port: u16,
    /// `maxFrameBytes` (ours): bytes of one call; default 64 MiB.
    pub max_frame_bytes: usize,
    /// `maxConnections` (ours): connections at once; default 10,000.
    pub max_connections: usize,
    /// `maxBufferedBytes` (ours): bytes of partial calls of all connections together; default 256 MiB.
    pub max_buffered_bytes: usize,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let config = Self {
            bind: keys.required("bind"),
            port: keys.required_number("port", 0..=u16::MAX),
            max_frame_bytes: keys.number("maxFrameBytes", 64 << 20, 1_024..=u32::MAX as usize),
            max_connections: keys.number("maxConnections", 10_000, 1..=1_000_000),
            max_buffered_bytes: keys.number("maxBufferedBytes", 256 << 20, 1 << 20..=usize::MAX),
        };
        keys.without_effect("threads", "has no effect, as in Flume 1.11");
        let compression = keys.text("compression-type").unwrap_or_else(|| "none".to_owned());
        if compression.eq_ignore_ascii_case("deflate") {
            keys.wrong(
                "compression-type",
                "deflate is known, but not in this version; allowed is none",
            );
        }
        for (key, what) in [("ssl", "TLS"), ("ipFilter", "the IP filter")] {
            if keys.flag(key, false) {
                keys.wrong(
                    key,
                    &format!("{what} is known, but not in this version; allowed is false"),
                );
            }
        }
        for key in TLS_KEYS {
            keys.without_effect(key, "has no effect without ssl = true");
        }
        keys.without_effect("ipFilterRules", "has no effect without ipFilter = true");
        config
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<Avro, BuildError> {
        Ok(Avro { config: self })
    }
}

const TLS_KEYS: [&str; 7] = [
    "keystore",
    "keystore-password",
    "keystore-type",
    "exclude-protocols",
    "include-protocols",
    "exclude-cipher-suites",
    "include-cipher-suites",
];

/// The source.
pub struct Avro {
    config: Config,
}

impl Source for Avro {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let listener = listen::tcp(&self.config.bind, self.config.port).await?;
        let local = listener
            .local_addr()
            .map_err(|e| RunError::retry("local address").caused_by(e))?;
        tracing::info!(source = %ctx.name, address = %local, "Avro source listens");
        ctx.ready();
        let shared = Arc::new(Shared {
            protocols: Arc::new(ProtocolCache::default()),
            buffered: AtomicUsize::new(0),
            config: self.config,
        });
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = ctx.shutdown.requested() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    if ended.is_err_and(|e| e.is_panic()) {
                        ctx.counters.processing_failures.add(1);
                        tracing::error!(source = %ctx.name, "a connection panicked; its calls were not acknowledged");
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if connections.len() >= shared.config.max_connections {
                            ctx.counters.refused_inputs.add(1);
                            tracing::warn!(source = %ctx.name, %peer, limit = shared.config.max_connections, "too many connections; closed");
                            continue;
                        }
                        connections.spawn(serve(stream, peer, ctx.clone(), shared.clone()));
                    }
                    Err(error) => {
                        // Out of descriptors, or the peer has gone: neither is a reason to stop listening.
                        tracing::warn!(source = %ctx.name, %error, "could not accept a connection");
                        ctx.shutdown.sleep(Duration::from_millis(50)).await;
                    }
                },
            }
        }
        drop(listener);
        // Calls under way are answered; peers hear of the end when their connection closes.
        let finish = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH, finish).await.is_err() {
            tracing::warn!(source = %ctx.name, left = connections.len(), "connections did not finish in time; closed");
        }
        Ok(())
    }
}

/// What the connections of one source share.
struct Shared {
    protocols: Arc<ProtocolCache>,
    /// Bytes of read buffers beyond what each connection has free.
    buffered: AtomicUsize,
    config: Config,
}

/// Why a connection is closed from this side.
#[derive(Debug, ThisError)]
enum Closed {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("partial calls of all connections exceed maxBufferedBytes = {0}")]
    Memory(usize),
    #[error("no byte of a call under way, or of its answer, for {FRAME_STALL:?}")]
    Stalled,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

async fn serve(stream: TcpStream, peer: SocketAddr, ctx: SourceContext, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_keepalive(true);
    ctx.counters.open_connections.increment();
    let name = ctx.name.clone();
    let (open, refused) = (OpenGauge(ctx.clone()), ctx.counters.refused_inputs.clone());
    match Connection::new(stream, ctx, shared).run().await {
        Ok(()) => tracing::debug!(source = %name, %peer, "connection closed by the peer"),
        Err(Closed::Io(error)) => tracing::debug!(source = %name, %peer, %error, "connection lost"),
        Err(reason) => {
            refused.add(1);
            tracing::warn!(source = %name, %peer, %reason, "connection closed");
        }
    }
    drop(open);
}

/// Counts a connection as long as it lives, also when its task is dropped.
struct OpenGauge(SourceContext);

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.counters.open_connections.decrement();
    }
}

/// One connection over any transport.
struct Connection<S> {
    stream: S,
    ctx: Arc<SourceContext>,
    shared: Arc<Shared>,
    frames: FrameDecoder,
    rpc: ServerConnection,
    input: BytesMut,
    output: BytesMut,
    /// Bytes of the read buffer's allocation.
    allocation: usize,
    /// What of `Shared::buffered` is this connection's.
    counted: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, ctx: SourceContext, shared: Arc<Shared>) -> Self {
        let max_frame_bytes = shared.config.max_frame_bytes;
        let limits = EventLimits {
            body_bytes: max_frame_bytes,
            ..EventLimits::default()
        };
        Self {
            stream,
            ctx: Arc::new(ctx),
            frames: FrameDecoder::new(FrameLimits {
                max_frame_bytes,
                ..FrameLimits::default()
            }),
            rpc: ServerConnection::new(shared.protocols.clone(), limits),
            input: BytesMut::new(),
            output: BytesMut::new(),
            allocation: 0,
            counted: 0,
            shared,
        }
    }

    async fn run(mut self) -> Result<(), Closed> {
        loop {
            self.answer_all().await?;
            self.flush().await?;
            if self.ctx.shutdown.is_requested() || self.read().await? == 0 {
                self.close().await;
                return Ok(());
            }
        }
    }

    /// Closes so that answers under way arrive: what the peer still sends is read and thrown away, for closing
    /// with unread bytes would reset the connection.
    async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
        let mut rest = [0; 4 << 10];
        let drain = async { while self.stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Answers every call that has arrived whole.
    async fn answer_all(&mut self) -> Result<(), Closed> {
        while let Some(frame) = self.frames.next_frame(&mut self.input)? {
            // Small calls share a read buffer: who keeps one of them must know what it keeps alive.
            let pinned = self.allocation;
            match self.rpc.handle(frame, &mut self.output) {
                ServerStep::Replied => {}
                ServerStep::Call(call) => self.store(call, pinned).await?,
            }
            if self.output.len() >= OUTPUT_BYTES {
                self.flush().await?; // a peer that asks and does not read must not make us keep its answers
            }
            if self.ctx.shutdown.is_requested() {
                break; // what is not read is not acknowledged either: the peer sends it again
            }
        }
        Ok(())
    }

    async fn store(&mut self, call: Call, pinned: usize) -> Result<(), Closed> {
        let Call {
            message,
            batch,
            reply,
        } = call;
        let ctx = self.ctx.clone();
        let counters = &ctx.counters;
        let events = batch.len() as u64;
        counters.received.add(events);
        let (calls_received, calls_accepted) = match message {
            Message::Append => (&counters.append_received, &counters.append_accepted),
            Message::AppendBatch => (&counters.batches_received, &counters.batches_accepted),
        };
        calls_received.add(1);
        let batch = batch.pinning(pinned);
        let stored = if batch.is_empty() {
            Ok(())
        } else {
            self.put(batch).await?
        };
        match stored {
            Ok(()) => {
                calls_accepted.add(1);
                counters.accepted.add(events);
                reply.write(Status::Ok, &mut self.output);
            }
            Err(error) => {
                counters.channel_write_failures.add(1);
                tracing::debug!(source = %self.ctx.name, %error, "call refused");
                match (message, &error) {
                    (Message::Append, ChannelError::Bug(text)) => reply.error(text, &mut self.output),
                    _ => reply.write(Status::Failed, &mut self.output),
                }
            }
        }
        Ok(())
    }

    /// Puts a batch; when that must wait, earlier answers leave first.
    async fn put(&mut self, batch: proto::event::Batch) -> Result<Result<(), ChannelError>, Closed> {
        let ctx = self.ctx.clone(); // so that `self` is free to flush meanwhile
        let mut put = Box::pin(ctx.put(batch));
        if let Poll::Ready(stored) = poll!(put.as_mut()) {
            return Ok(stored);
        }
        // The put goes on meanwhile: a peer that does not read its answers must not hold room in the channel.
        let (stored, flushed) = tokio::join!(put, self.flush());
        flushed?;
        Ok(stored)
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if !self.output.is_empty() {
            let written = tokio::time::timeout(FRAME_STALL, self.stream.write_all(&self.output)).await;
            written.map_err(|_| Closed::Stalled)??;
            self.output.clear();
            if self.output.capacity() > FREE_BUFFER_BYTES {
                self.output = BytesMut::new();
            }
        }
        Ok(())
    }

    /// Reads what is there; zero at the end of the stream or of the source.
    async fn read(&mut self) -> Result<usize, Closed> {
        let before = self.input.capacity();
        self.frames.prepare(&mut self.input);
        if self.input.capacity() > before {
            self.allocation = self.input.capacity();
        }
        self.account()?;
        let in_frame = self.frames.in_frame();
        let read = async {
            let read = self.stream.read_buf(&mut self.input);
            if !in_frame {
                return Ok(read.await?);
            }
            tokio::time::timeout(FRAME_STALL, read)
                .await
                .map_err(|_| Closed::Stalled)?
                .map_err(Closed::Io)
        };
        tokio::select! {
            biased;
            read = read => read,
            () = self.ctx.shutdown.requested() => Ok(0),
        }
    }

    /// Keeps the books of memory in partial calls over all connections.
    fn account(&mut self) -> Result<(), Closed> {
        let now = self.input.capacity().saturating_sub(FREE_BUFFER_BYTES);
        if now != self.counted {
            let limit = self.shared.config.max_buffered_bytes;
            let before = self
                .shared
                .buffered
                .fetch_add(now.wrapping_sub(self.counted), Relaxed);
            let total = before.wrapping_add(now.wrapping_sub(self.counted));
            let grown = now > self.counted;
            self.counted = now;
            if grown && total > limit {
                return Err(Closed::Memory(limit));
            }
        }
        Ok(())
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        self.shared.buffered.fetch_sub(self.counted, Relaxed);
    }
}
