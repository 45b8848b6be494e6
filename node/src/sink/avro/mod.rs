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
//! What is sent may be compressed (`compression-type = deflate`), encrypted (`ssl`), or both: then `tls-nesting` (ours)
//! says whether TLS is inside the compression, as Flume 1.10 and 1.11 have it, or outside, as all before. A peer that
//! is not trusted, or that does not speak what is configured, counts as a failed connection.
//!
//! Differences from Flume: IPv6 addresses work. Other client types come with a later version and are refused until
//! then.

use crate::component::channel::{Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::sink::{DynSink, Sink, SinkContext};
use crate::io::avro_client::{Connection, Layers};
use crate::io::stream::BoxStream;
use crate::io::tls::TlsDefaults;
use cluster::time::Time;
use proto::avro::KnownServer;
use proto::event::Batch;
use std::time::Duration;
use tokio::net::TcpStream;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSink>> = Type {
    alias: "avro",
    classes: &["org.apache.flume.sink.AvroSink"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, &ctx.tls).build()?)),
};

/// Bytes of bodies in one call, at most; several times what a batch usually has.
const CALL_BODY_BYTES_MAX: usize = 16 << 20;

/// How long closing a connection may take.
const CLOSE: Duration = Duration::from_millis(500);

/// Settings.
#[derive(Debug, Clone)]
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
    /// `compression-type`, `ssl` and what goes with them, `tls-nesting` (ours).
    pub layers: Layers,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, defaults: &TlsDefaults) -> Self {
        let timeout = |keys: &mut Keys, key| {
            Duration::from_millis(keys.lenient_number(key, 20_000, 1_000..=i32::MAX as u64))
        };
        let layers = Layers::read(keys, defaults);
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
            layers,
        };
        keys.without_effect("maxIoWorkers", "has no effect, as in Flume 1.11");
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
            connected_at: Time::ZERO,
            server: KnownServer::default(),
        })
    }
}

/// The sink.
pub struct Avro {
    config: Config,
    connection: Option<Connection<BoxStream>>,
    /// When it was made.
    connected_at: Time,
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
        let is_old = !reset.is_zero() && ctx.clock.now() - self.connected_at >= reset;
        if self.connection.is_some() && is_old {
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
        let limit = if connection.is_open() {
            self.config.request_timeout
        } else {
            self.config.connect_timeout
        };
        let called = tokio::time::timeout(limit, connection.append_batch(batch)).await;
        match called {
            Ok(outcome) => outcome.map_err(|e| RunError::retry("Failed to send events").caused_by(e)),
            Err(_) => Err(RunError::retry(format!(
                "{}: no answer within {limit:?}",
                self.peer()
            ))),
        }
    }

    async fn connect(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        let Config {
            hostname,
            port,
            connect_timeout,
            ..
        } = &self.config;
        let connecting = async {
            let stream = TcpStream::connect((hostname.as_str(), *port)).await?;
            let _ = stream.set_nodelay(true);
            let _ = socket2::SockRef::from(&stream).set_keepalive(true);
            self.config.layers.wrap(hostname, stream).await
        };
        let attempt = tokio::select! {
            attempt = tokio::time::timeout(*connect_timeout, connecting) => attempt,
            () = ctx.shutdown.requested() => return Err(RunError::retry("stopping")),
        };
        let failed = match attempt {
            Ok(Ok(stream)) => {
                ctx.counters.connections_created.add(1);
                tracing::info!(sink = %ctx.name, peer = %self.peer(), "connected");
                self.connection = Some(Connection::new(stream, self.server.clone()));
                self.connected_at = ctx.clock.now();
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
        if let Some(connection) = self.connection.take() {
            self.server = connection.server().clone();
            // A peer that does not read must not keep the farewell waiting.
            let _ = tokio::time::timeout(CLOSE, connection.close()).await;
            ctx.counters.connections_closed.add(1);
        }
    }

    fn peer(&self) -> String {
        format!("{}:{}", self.config.hostname, self.config.port)
    }
}

#[cfg(test)]
mod tests;
