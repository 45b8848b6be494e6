//! One connection: unwrapped, then frame after frame in order, each call answered after it is stored.

use super::Config;
use crate::component::channel::ChannelError;
use crate::component::source::SourceContext;
use crate::io::stream::{BoxStream, Stream};
use bytes::BytesMut;
use futures_util::poll;
use proto::avro::{
    Call, Frame, FrameDecoder, FrameError, FrameLimits, Message, ProtocolCache, ServerConnection, ServerStep,
    Status,
};
use proto::event::EventLimits;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use thiserror::Error as ThisError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A frame of which no further byte comes for so long is given up.
const FRAME_STALL: Duration = Duration::from_secs(60);
/// Answers that are collected before they are sent.
const OUTPUT_BYTES: usize = 64 << 10;
/// How long a closing connection waits for its peer to close too.
const LINGER: Duration = Duration::from_millis(500);
/// What a connection may buffer without being counted against `maxBufferedBytes`.
const FREE_BUFFER_BYTES: usize = 256 << 10;

/// What the connections of one source share.
pub struct Shared {
    protocols: Arc<ProtocolCache>,
    /// Bytes of read buffers beyond what each connection has free.
    buffered: AtomicUsize,
    /// The address of this machine's name, where the IP filter asks for it.
    own_address: Option<IpAddr>,
    pub config: Config,
}

impl Shared {
    pub fn new(config: Config, own_address: Option<IpAddr>) -> Self {
        Self {
            protocols: Arc::new(ProtocolCache::default()),
            buffered: AtomicUsize::new(0),
            own_address,
            config,
        }
    }
}

/// Why a connection is closed from this side.
#[derive(Debug, ThisError)]
enum Closed {
    #[error("ipFilterRules deny it")]
    Denied,
    #[error("{error}{}", seems(*.mistaken))]
    Frame {
        error: FrameError,
        mistaken: Option<&'static str>,
    },
    #[error("partial calls of all connections exceed maxBufferedBytes = {0}")]
    Memory(usize),
    #[error("no byte of a call under way, or of its answer, for {FRAME_STALL:?}")]
    Stalled,
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn seems(mistaken: Option<&'static str>) -> String {
    mistaken.map_or(String::new(), |what| format!("; {what}"))
}

/// Serves a connection until its end.
pub async fn serve(stream: TcpStream, peer: SocketAddr, ctx: SourceContext, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_keepalive(true);
    ctx.counters.open_connections.increment();
    let name = ctx.name.clone();
    let (open, refused) = (OpenGauge(ctx.clone()), ctx.counters.refused_inputs.clone());
    match run(stream, peer, ctx, shared).await {
        Ok(()) => tracing::debug!(source = %name, %peer, "connection closed by the peer"),
        // What is lost on its way is nobody's fault; what cannot be read is the peer's.
        Err(Closed::Io(error))
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::TimedOut) =>
        {
            tracing::debug!(source = %name, %peer, %error, "connection lost");
        }
        Err(Closed::Denied) => {
            refused.add(1);
            tracing::info!(source = %name, %peer, "connection denied by ipFilterRules");
        }
        Err(reason) => {
            refused.add(1);
            tracing::warn!(source = %name, %peer, %reason, "connection closed");
        }
    }
    drop(open);
}

async fn run(
    stream: TcpStream,
    peer: SocketAddr,
    ctx: SourceContext,
    shared: Arc<Shared>,
) -> Result<(), Closed> {
    let shutdown = ctx.shutdown.clone();
    let open = async {
        if let Some(filter) = &shared.config.ip_filter
            && !filter.allows(peer.ip(), shared.own_address).await
        {
            return Err(Closed::Denied);
        }
        Ok::<BoxStream, Closed>(shared.config.layers.accept(stream).await?)
    };
    let stream = tokio::select! {
        biased;
        open = open => open?,
        () = shutdown.requested() => return Ok(()),
    };
    Connection::new(stream, ctx, shared.clone()).run().await
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
    /// The first byte of the first frame.
    first: Option<u8>,
}

impl<S: Stream> Connection<S> {
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
            first: None,
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
        let mut rest = [0; 4 << 10];
        let drain = async {
            let _ = self.stream.shutdown().await;
            while self.stream.read(&mut rest).await.is_ok_and(|n| n > 0) {}
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    /// Answers every call that has arrived whole.
    async fn answer_all(&mut self) -> Result<(), Closed> {
        while let Some(frame) = self.next_frame()? {
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

    fn next_frame(&mut self) -> Result<Option<Frame>, Closed> {
        let mistaken = |first| self.shared.config.layers.mistaken(first);
        self.first = self.first.or(self.input.first().copied());
        let next = self.frames.next_frame(&mut self.input);
        next.map_err(|error| Closed::Frame {
            error,
            mistaken: self.first.and_then(mistaken),
        })
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
                    (Message::Append, ChannelError::Bug(text) | ChannelError::Interceptor(text)) => {
                        reply.error(text, &mut self.output);
                    }
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
            let write = async {
                self.stream.write_all(&self.output).await?;
                self.stream.flush().await
            };
            let written = tokio::time::timeout(FRAME_STALL, write).await;
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
