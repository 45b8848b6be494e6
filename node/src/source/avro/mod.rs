//! `avro`: Avro RPC as Flume speaks it, Flume's AvroSource.
//!
//! Promise: a call is answered OK only after every required channel has committed its events; calls of one
//! connection are stored and answered in order. Wire and answers: `flume/wire.md` 1, `flume/sources.md` 5.1.
//!
//! What is received is kept as it came: a batch is an index over the frame in the read buffer. On its way it may be
//! compressed (`compression-type = deflate`), encrypted (`ssl`), or both, in either order (`layers`); `ipFilter`
//! says who may connect at all (`ip_filter`).
//!
//! Failures: a channel that refuses makes the answer FAILED (for `append` a broken contract is a system error);
//! address in use: tried again until it is free; bytes that are no frame, frames over `maxFrameBytes`, more than
//! `maxConnections`, partial frames of more than `maxBufferedBytes` in all, a frame that stalls for 60 s: the
//! connection is closed and counted, everything else goes on. A peer that speaks something else than is configured, or that takes more than 10 s for its handshake: likewise.
//!
//! Differences from Flume: a list of zero buffers closes the connection instead of hanging it; frames,
//! connections and memory are bounded (`maxFrameBytes`, `maxConnections`, `maxBufferedBytes` are ours); pipelined
//! calls keep their order; with compression and TLS both nestings are understood. A connection that compresses has
//! about 375 KiB of its own, one with TLS about 50 KiB.

mod connection;
mod ip_filter;
mod layers;

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::tls::{ServerTls, TlsDefaults};
use crate::io::{deflate, listen};
use connection::Shared;
use ip_filter::IpFilter;
use layers::Layers;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "avro",
    classes: &["org.apache.flume.source.AvroSource"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, &ctx.tls).build()?)),
};

/// How long a connection may take to finish its call when the source stops.
const FINISH: Duration = Duration::from_secs(4);

/// Settings.
#[derive(Debug, Clone)]
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
    /// `ipFilter` and `ipFilterRules`.
    pub ip_filter: Option<IpFilter>,
    /// `compression-type`, `ssl` and what goes with it.
    pub layers: Layers,
}

impl Config {
    /// Reads the properties and the key store.
    pub fn read(keys: &mut Keys, tls: &TlsDefaults) -> Self {
        let config = Self {
            bind: keys.required("bind"),
            port: keys.required_number("port", 0..=u16::MAX),
            max_frame_bytes: keys.number("maxFrameBytes", 64 << 20, 1_024..=u32::MAX as usize),
            max_connections: keys.number("maxConnections", 10_000, 1..=1_000_000),
            max_buffered_bytes: keys.number("maxBufferedBytes", 256 << 20, 1 << 20..=usize::MAX),
            ip_filter: IpFilter::read(keys),
            layers: Layers {
                deflate: deflate::is_on(keys),
                tls: ServerTls::read(keys, tls),
            },
        };
        keys.without_effect("threads", "has no effect, as in Flume 1.11");
        config
    }

    async fn own_address(&self) -> Option<IpAddr> {
        self.ip_filter.as_ref()?.own_address().await
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<Avro, BuildError> {
        Ok(Avro { config: self })
    }
}

/// The source.
pub struct Avro {
    config: Config,
}

impl Source for Avro {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let own_address = tokio::select! {
            own_address = self.config.own_address() => own_address,
            () = ctx.shutdown.requested() => return Ok(()),
        };
        let listener = listen::tcp(&self.config.bind, self.config.port).await?;
        let local = listener
            .local_addr()
            .map_err(|e| RunError::retry("local address").caused_by(e))?;
        tracing::info!(source = %ctx.name, address = %local, "Avro source listens");
        ctx.ready();
        let shared = Arc::new(Shared::new(self.config, own_address));
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
                        connections.spawn(connection::serve(stream, peer, ctx.clone(), shared.clone()));
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

#[cfg(test)]
mod tests;
