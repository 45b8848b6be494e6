//! `http`: events in HTTP requests, Flume's HTTPSource. HTTP/1.1, and HTTP/2 for those who ask for it; TLS.
//!
//! Promise: a request is one transaction, and 200 is sent only after every required channel has committed its events.
//! `POST`, `GET` and `HEAD` of any path are the same. What a request holds is up to its `handler`:
//! JSON, or one event of raw bytes. Behaviour: `flume/sources.md` 4, 5.16 and 9, `flume/wire.md` 6.1.
//!
//! | answer | when | counted as |
//! |---|---|---|
//! | 200 | committed, or all filtered out, or no event in it | accepted |
//! | 400 | the body is not what the handler reads | read failure |
//! | 403, 405, 501 | other methods | - |
//! | 408 | the body stalls, or comes slower than `HttpConfiguration.minRequestDataRate` | refused input |
//! | 413 | more than `maxRequestBytes`, also after inflating it | refused input |
//! | 415 | a `Content-Encoding` other than gzip, for JSON | read failure |
//! | 500 | a charset or parameters that the handler does not take; an interceptor failed | read or processing failure |
//! | 503 | the channel refuses, or `maxBufferedBytes` are under way | write failure, or refused input |
//!
//! Other failures: address in use: tried again until it is free; over `maxConnections`, no request within 10 s of its
//! first byte, nothing for `ServerConnector.idleTimeout`, bytes that are no HTTP: the connection is closed; a
//! handler that panics: counted, its connection is closed. Everything else goes on.
//!
//! Differences from Flume: UTF-8 wherever a request does not say otherwise; no text at all, `null` and `[null]` are the
//! client's fault (400, not 500); a header whose value is null is not there; `BLOBHandler` works without
//! `handler.mandatoryParameters`; a port that is in use is tried again; bodies compressed by gzip are understood by
//! the JSON handler; 503 carries `Retry-After`; the limits are ours.

mod answer;
mod body;
mod connection;
mod handler;
mod jetty;
mod watched;

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::{BuildContext, Type};
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::listen;
use crate::io::serve::{CONNECTIONS_MAX, Server};
use crate::io::tls::{Dialect, ServerTls};
use connection::{Connections, Shared};
use handler::Handler;
use jetty::Jetty;
use std::sync::Arc;
use tokio::net::TcpListener;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "http",
    classes: &["org.apache.flume.source.http.HTTPSource"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, ctx).build()?)),
};

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `bind`: host name or address; default 0.0.0.0.
    pub bind: String,
    /// `port`: 0 to 65535, 0 takes a free one; required.
    pub port: u16,
    /// `handler` and `handler.*`: what a request holds; default JSON.
    pub handler: Handler,
    /// `ssl` and the keys that go with it.
    pub tls: Option<ServerTls>,
    /// `QueuedThreadPool.*`, `HttpConfiguration.*`, `ServerConnector.*`, `SslContextFactory.*`.
    pub jetty: Jetty,
    /// `maxRequestBytes` (ours): bytes of one body; default 64 MiB, for the `BlobHandler`, which cuts, no limit.
    pub max_request_bytes: usize,
    /// `maxConnections` (ours): connections at once; default 10,000.
    pub max_connections: usize,
    /// `maxBufferedBytes` (ours): bytes of bodies of all connections together; default 256 MiB, or twice what one
    /// request may hold.
    pub max_buffered_bytes: usize,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, ctx: &BuildContext) -> Self {
        let bind = keys.text("bind").unwrap_or_else(|| "0.0.0.0".to_owned());
        let port = keys.required_number("port", 0..=u16::MAX);
        let handler = Handler::read(keys);
        let tls = ServerTls::read_with(keys, &ctx.tls, &Dialect::HTTP);
        let tls = tls.map(|tls| tls.offering(&[b"h2", b"http/1.1"]));
        let jetty = Jetty::read(keys);
        // Offsets into a batch have 32 bits.
        let most = u32::MAX as usize;
        let max_request_bytes = match handler.kept_bytes_max() {
            Some(_) => keys.number("maxRequestBytes", usize::MAX, 1..=usize::MAX),
            None => keys.number("maxRequestBytes", REQUEST_BYTES, 1..=most),
        };
        let one = handler
            .kept_bytes_max()
            .unwrap_or(usize::MAX)
            .min(max_request_bytes);
        let buffered = BUFFERED_BYTES.max(one.saturating_mul(2));
        let max_buffered_bytes = keys.number("maxBufferedBytes", buffered, 1 << 20..=usize::MAX);
        if max_buffered_bytes < one {
            keys.wrong(
                "maxBufferedBytes",
                &format!("{max_buffered_bytes} bytes do not hold one request of {one} bytes"),
            );
        }
        Self {
            bind,
            port,
            handler,
            tls,
            jetty,
            max_request_bytes,
            max_connections: keys.number("maxConnections", CONNECTIONS_MAX, 1..=1_000_000),
            max_buffered_bytes,
        }
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<Http, BuildError> {
        Ok(Http { config: self })
    }
}

const REQUEST_BYTES: usize = 64 << 20;
const BUFFERED_BYTES: usize = 256 << 20;

/// The source.
#[derive(Debug)]
pub struct Http {
    config: Config,
}

impl Source for Http {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let listener = listen::tcp(&self.config.bind, self.config.port).await?;
        self.serve(listener, ctx).await
    }
}

impl Http {
    async fn serve(self, listener: TcpListener, ctx: SourceContext) -> Result<(), RunError> {
        let local = listener
            .local_addr()
            .map_err(|e| RunError::retry("local address").caused_by(e))?;
        if let Some(backlog) = self.config.jetty.backlog {
            // On a socket that listens already this changes its backlog.
            let changed = socket2::SockRef::from(&listener).listen(backlog);
            changed.map_err(|e| RunError::retry("cannot set the backlog").caused_by(e))?;
        }
        let scheme = if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        tracing::info!(source = %ctx.name, address = %local, scheme, "HTTP source listens");
        ctx.ready();
        let (tls, connections_max) = (self.config.tls.clone(), self.config.max_connections);
        let connections = Connections(Arc::new(Shared::new(self.config, ctx.clone())));
        Server::new(ctx, connections, tls, connections_max)
            .accept(listener)
            .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
