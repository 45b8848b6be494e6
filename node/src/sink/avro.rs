//! `avro`: sends batches to the avro source of the next agent, Flume's AvroSink.
//!
//! Promise: a batch is committed only after the peer has answered OK; otherwise it is put back and sent again, so
//! the peer may get it twice when an answer was lost (at least once, as in Flume). One batch is under way at a
//! time: order is kept. Wire: `flume/wire.md` 1; behaviour: `flume/channels-and-sinks.md` 6.4.
//!
//! Failures: peer away, answer late, answer not OK: the batch goes back, the connection is closed, and the next
//! attempt connects anew (after 100 ms at first, up to 5 s; Flume always waits 5 s). It connects before it takes a
//! batch, as Flume does, so a peer that is away holds no events.
//!
//! Differences from Flume: IPv6 addresses work. Compression, TLS and other client types come with a later version
//! and are refused until then; the connection is already generic over its transport.

use crate::component::channel::{Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::sink::{DynSink, Sink, SinkContext};
use bytes::BytesMut;
use cluster::time::Time;
use proto::avro::{ClientConnection, ClientStep, FrameDecoder, FrameLimits, KnownServer};
use proto::event::Batch;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSink>> = Type {
    alias: "avro",
    classes: &["org.apache.flume.sink.AvroSink"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Bytes of bodies in one call, at most; several times what a batch usually has.
const CALL_BODY_BYTES_MAX: usize = 16 << 20;

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `hostname`: the peer's name or address; required.
    pub hostname: String,
    /// `port`: required.
    pub port: u16,
    /// `batch-size`: events in one call; default 100.
    pub batch_size: usize,
    /// `connect-timeout`: default 20,000 ms; below 1,000 is the default, as in Flume.
    pub connect_timeout: Duration,
    /// `request-timeout`: for one call; default 20,000 ms; below 1,000 is the default.
    pub request_timeout: Duration,
    /// `reset-connection-interval`: seconds after which the sink connects anew; default 0, never.
    pub reset_connection_interval: Duration,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let timeout = |keys: &mut Keys, key| {
            Duration::from_millis(keys.lenient_number(key, 20_000, 1_000..=i32::MAX as u64))
        };
        let config = Self {
            hostname: keys.required("hostname"),
            port: keys.required_number("port", 1..=u16::MAX),
            batch_size: keys.lenient_number("batch-size", 100, 1..=1_000_000),
            connect_timeout: timeout(keys, "connect-timeout"),
            request_timeout: timeout(keys, "request-timeout"),
            reset_connection_interval: Duration::from_secs(keys.number(
                "reset-connection-interval",
                0,
                0..=i32::MAX as u64,
            )),
        };
        keys.without_effect("maxIoWorkers", "has no effect, as in Flume 1.11");
        if keys
            .text("compression-type")
            .is_some_and(|c| c.eq_ignore_ascii_case("deflate"))
        {
            keys.wrong(
                "compression-type",
                "deflate is known, but not in this version; allowed is none",
            );
        }
        keys.without_effect(
            "compression-level",
            "has no effect without compression-type = deflate",
        );
        if keys.flag("ssl", false) {
            keys.wrong("ssl", "TLS is known, but not in this version; allowed is false");
        }
        for key in TLS_KEYS {
            keys.without_effect(key, "has no effect without ssl = true");
        }
        let client = keys.text("client.type").unwrap_or_else(|| "default".to_owned());
        if !client.eq_ignore_ascii_case("default") {
            keys.wrong(
                "client.type",
                &format!("\"{client}\" is known, but not in this version; allowed is default"),
            );
        }
        config
    }

    /// The sink; nothing is connected yet.
    pub fn build(self) -> Result<Avro, BuildError> {
        Ok(Avro {
            config: self,
            connection: None,
            server: KnownServer::default(),
        })
    }
}

const TLS_KEYS: [&str; 8] = [
    "trust-all-certs",
    "truststore",
    "truststore-password",
    "truststore-type",
    "exclude-protocols",
    "include-protocols",
    "exclude-cipher-suites",
    "include-cipher-suites",
];

/// The sink.
pub struct Avro {
    config: Config,
    connection: Option<Connection<TcpStream>>,
    /// What was learnt of the peer's protocol, to save a round trip at the next connection.
    server: KnownServer,
}

impl Sink for Avro {
    fn want(&self) -> Want {
        Want {
            events: self.config.batch_size,
            bytes: CALL_BODY_BYTES_MAX,
        }
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.config.batch_size)
    }

    async fn start(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        if let Err(error) = self.connect(ctx).await {
            tracing::warn!(sink = %ctx.name, %error, "cannot connect yet; events stay queued");
        }
        Ok(())
    }

    async fn ready(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        let reset = self.config.reset_connection_interval;
        let old = |c: &Connection<TcpStream>| !reset.is_zero() && ctx.clock.now() - c.since >= reset;
        if self.connection.as_ref().is_some_and(old) {
            self.disconnect(ctx).await;
        }
        if self.connection.is_none() {
            self.connect(ctx).await?;
        }
        Ok(())
    }

    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        let sent = self.send(lease.batch(), ctx).await;
        if let Err(error) = sent {
            self.disconnect(ctx).await;
            return Err(error); // the lease is dropped: its events go back
        }
        let events = lease.batch().len() as u64;
        lease.commit().await?;
        ctx.counters.delivered.add(events);
        Ok(())
    }

    async fn idle(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        ctx.counters.empty_batches.add(1);
        Ok(())
    }

    async fn stop(&mut self, ctx: &SinkContext) {
        self.disconnect(ctx).await;
    }
}

impl Avro {
    async fn send(&mut self, batch: &Batch, ctx: &SinkContext) -> Result<(), RunError> {
        Sink::ready(self, ctx).await?;
        let Some(connection) = &mut self.connection else {
            return Err(RunError::bug("connected, yet not"));
        };
        ctx.counters.batch(batch.len(), self.config.batch_size);
        ctx.counters.attempted.add(batch.len() as u64);
        // The first call covers the handshake and has Flume's connect-timeout.
        let limit = if connection.rpc.is_open() {
            self.config.request_timeout
        } else {
            self.config.connect_timeout
        };
        let called = tokio::time::timeout(limit, connection.append_batch(batch)).await;
        called.unwrap_or_else(|_| {
            Err(RunError::retry(format!(
                "{}: no answer within {limit:?}",
                self.peer()
            )))
        })
    }

    async fn connect(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        let Config {
            hostname,
            port,
            connect_timeout,
            ..
        } = &self.config;
        let connecting = TcpStream::connect((hostname.as_str(), *port));
        let attempt = tokio::select! {
            attempt = tokio::time::timeout(*connect_timeout, connecting) => attempt,
            () = ctx.shutdown.requested() => return Err(RunError::retry("stopping")),
        };
        let failed = match attempt {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_keepalive(true);
                ctx.counters.connections_created.add(1);
                tracing::info!(sink = %ctx.name, peer = %self.peer(), "connected");
                self.connection = Some(Connection::new(stream, self.server.clone(), ctx.clock.now()));
                return Ok(());
            }
            Ok(Err(error)) => RunError::retry(format!("{}: cannot connect", self.peer())).caused_by(error),
            Err(_) => RunError::retry(format!(
                "{}: no connection within {connect_timeout:?}",
                self.peer()
            )),
        };
        ctx.counters.connections_failed.add(1);
        Err(failed)
    }

    async fn disconnect(&mut self, ctx: &SinkContext) {
        if let Some(mut connection) = self.connection.take() {
            self.server = connection.rpc.server().clone();
            let _ = connection.stream.shutdown().await;
            ctx.counters.connections_closed.add(1);
        }
    }

    fn peer(&self) -> String {
        format!("{}:{}", self.config.hostname, self.config.port)
    }
}

/// One connection over any transport.
struct Connection<S> {
    stream: S,
    rpc: ClientConnection,
    frames: FrameDecoder,
    input: BytesMut,
    output: BytesMut,
    since: Time,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(stream: S, server: KnownServer, since: Time) -> Self {
        Self {
            stream,
            rpc: ClientConnection::new(server),
            frames: FrameDecoder::new(FrameLimits::replies()),
            input: BytesMut::new(),
            output: BytesMut::new(),
            since,
        }
    }

    /// Sends one batch and waits for its answer; sends again with our protocol when the peer asks for it.
    async fn append_batch(&mut self, batch: &Batch) -> Result<(), RunError> {
        let broken = |e: proto::avro::ClientError| RunError::retry("Failed to send events").caused_by(e);
        loop {
            self.output.clear();
            self.rpc.append_batch(batch, &mut self.output).map_err(broken)?;
            let lost = |e: std::io::Error| RunError::retry("Failed to send events").caused_by(e);
            self.stream.write_all(&self.output).await.map_err(lost)?;
            let frame = loop {
                let next = self.frames.next_frame(&mut self.input);
                if let Some(frame) = next.map_err(|e| RunError::retry("unreadable answer").caused_by(e))? {
                    break frame;
                }
                self.frames.prepare(&mut self.input);
                if self.stream.read_buf(&mut self.input).await.map_err(lost)? == 0 {
                    return Err(RunError::retry(
                        "the peer closed the connection before it answered",
                    ));
                }
            };
            match self.rpc.handle(&frame).map_err(broken)? {
                ClientStep::Resend { .. } => {}
                ClientStep::Done { outcome, .. } => {
                    return outcome.map_err(|e| RunError::retry("Failed to send events").caused_by(e));
                }
            }
        }
    }
}
