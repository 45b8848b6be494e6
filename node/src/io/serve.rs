//! Serving TCP connections: what every source with a listener does the same way.
//!
//! A [`Server`] accepts until the source is to stop, makes TLS of a connection where that is asked for, and runs a
//! [`Handler`] for each in a task of its own. Then connections have a while to finish what they have received.
//!
//! | failure | what happens |
//! |---|---|
//! | more connections than allowed | the new one is closed and counted as refused input |
//! | a handshake that fails, or takes longer than 10 s | closed and counted likewise |
//! | a handler that refuses what it was sent ([`Closed::Refused`]) | closed and counted likewise |
//! | a connection that breaks | closed; peers come and go |
//! | a handler that panics | counted as a processing failure; the others go on |
//! | no descriptors left | tried again shortly after |

use super::tls::ServerTls;
use crate::component::source::SourceContext;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Connections at once where nothing else is said.
pub const CONNECTIONS_MAX: usize = 10_000;
/// How long connections may take to finish when the source stops.
const FINISH: Duration = Duration::from_secs(4);
/// Between two attempts to accept where that fails.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// The other side.
    pub peer: SocketAddr,
    /// This side: the port that was connected to.
    pub local: SocketAddr,
}

/// Why a connection ends before its peer has closed it.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// It broke, or the source stops.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What it sent cannot be accepted; the reason.
    #[error("{0}")]
    Refused(String),
}

/// What a source does with a connection.
pub trait Handler: Send + Sync + 'static {
    /// Lives through one connection. When the source is to stop, it finishes what it has received and returns.
    fn serve<S>(&self, stream: S, ends: Ends) -> impl Future<Output = Result<(), Closed>> + Send
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

/// Accepts connections for one source, on one port or several.
pub struct Server<H> {
    ctx: SourceContext,
    handler: Arc<H>,
    tls: Option<ServerTls>,
    connections_max: usize,
    room: Arc<Semaphore>,
}

impl<H: Handler> Server<H> {
    /// A server that allows `connections_max` connections at once, over all of its ports.
    pub fn new(ctx: SourceContext, handler: H, tls: Option<ServerTls>, connections_max: usize) -> Self {
        Self {
            ctx,
            handler: Arc::new(handler),
            tls,
            connections_max,
            room: Arc::new(Semaphore::new(connections_max)),
        }
    }

    /// Serves one port until the source is to stop and its connections have finished.
    pub async fn accept(&self, listener: TcpListener) {
        let ctx = &self.ctx;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = ctx.shutdown.requested() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => self.look_at(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.spawn(&mut connections, stream, peer),
                    Err(error) => {
                        // Out of descriptors, or the peer has gone: neither is a reason to stop listening.
                        tracing::warn!(source = %ctx.name, %error, "could not accept a connection");
                        ctx.shutdown.sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let finish = async {
            while let Some(ended) = connections.join_next().await {
                self.look_at(ended);
            }
        };
        if tokio::time::timeout(FINISH, finish).await.is_err() {
            tracing::warn!(source = %ctx.name, left = connections.len(), "connections did not finish in time; closed");
        }
    }

    fn look_at(&self, ended: Result<(), tokio::task::JoinError>) {
        if ended.is_err_and(|e| e.is_panic()) {
            self.ctx.counters.processing_failures.add(1);
            tracing::error!(source = %self.ctx.name, "a connection panicked and was closed");
        }
    }

    fn spawn(&self, connections: &mut JoinSet<()>, stream: TcpStream, peer: SocketAddr) {
        let ctx = &self.ctx;
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            ctx.counters.refused_inputs.add(1);
            tracing::warn!(source = %ctx.name, %peer, limit = self.connections_max, "too many connections; closed");
            return;
        };
        let Ok(local) = stream.local_addr() else {
            return; // gone already
        };
        let open = Open::new(ctx.clone(), place);
        let (handler, tls) = (self.handler.clone(), self.tls.clone());
        connections.spawn(async move {
            let served = serve(&*handler, stream, tls, Ends { peer, local }, &open.ctx).await;
            let name = &open.ctx.name;
            match served {
                Ok(()) => tracing::debug!(source = %name, %peer, "connection closed"),
                Err(Closed::Io(error)) => tracing::debug!(source = %name, %peer, %error, "connection lost"),
                Err(Closed::Refused(reason)) => {
                    open.ctx.counters.refused_inputs.add(1);
                    tracing::warn!(source = %name, %peer, reason, "connection closed");
                }
            }
        });
    }
}

async fn serve<H: Handler>(
    handler: &H,
    stream: TcpStream,
    tls: Option<ServerTls>,
    ends: Ends,
    ctx: &SourceContext,
) -> Result<(), Closed> {
    let _ = stream.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream).set_keepalive(true);
    let Some(tls) = tls else {
        return handler.serve(stream, ends).await;
    };
    let accepted = tokio::select! {
        accepted = tls.accept(stream) => accepted,
        () = ctx.shutdown.requested() => return Ok(()), // nothing was received yet
    };
    match accepted {
        Ok(stream) => handler.serve(stream, ends).await,
        Err(error) => Err(Closed::Refused(format!("no TLS handshake: {error}"))),
    }
}

/// Counts a connection as long as it lives, also when its task is dropped.
struct Open {
    ctx: SourceContext,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(ctx: SourceContext, place: OwnedSemaphorePermit) -> Self {
        ctx.counters.open_connections.increment();
        Self { ctx, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.ctx.counters.open_connections.decrement();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{Recorder, soon};
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers what it is sent; `!` makes it panic, `?` refuse.
    struct Echo;

    impl Handler for Echo {
        async fn serve<S>(&self, mut stream: S, _: Ends) -> Result<(), Closed>
        where
            S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        {
            loop {
                match stream.read_u8().await {
                    Ok(b'!') => panic!("as asked for"),
                    Ok(b'?') => return Err(Closed::Refused("a question".into())),
                    Ok(byte) => stream.write_u8(byte).await?,
                    Err(_) => return Ok(()),
                }
            }
        }
    }

    struct Serving {
        ctx: SourceContext,
        address: SocketAddr,
        task: tokio::task::JoinHandle<()>,
    }

    async fn echo(connections_max: usize) -> Serving {
        let ctx = Recorder::new().context();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::new(ctx.clone(), Echo, None, connections_max);
        let task = tokio::spawn(async move { server.accept(listener).await });
        Serving { ctx, address, task }
    }

    async fn said(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        let _ = stream.write_u8(byte).await;
        soon(stream.read_u8()).await.ok()
    }

    #[tokio::test]
    async fn one_connection_over_the_limit_is_closed_and_counted() {
        let serving = echo(2).await;
        let mut streams = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(serving.address).await.unwrap();
            assert_eq!(said(&mut stream, b'a').await, Some(b'a'));
            streams.push(stream);
        }
        let counters = &serving.ctx.counters;
        assert_eq!(
            (counters.open_connections.value(), counters.refused_inputs.value()),
            (2, 0)
        );
        let mut third = TcpStream::connect(serving.address).await.unwrap();
        assert_eq!(said(&mut third, b'a').await, None);
        assert_eq!(counters.refused_inputs.value(), 1);
        streams.pop();
        soon(async {
            while counters.open_connections.value() > 1 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let mut third = TcpStream::connect(serving.address).await.unwrap();
        assert_eq!(said(&mut third, b'b').await, Some(b'b'), "a place is free again");
        drop((streams, third));
        serving.ctx.shutdown.request();
        soon(serving.task).await.unwrap();
        assert_eq!(counters.open_connections.value(), 0);
    }

    #[tokio::test]
    async fn a_panic_and_a_refusal_are_counted_and_the_others_go_on() {
        let serving = echo(10).await;
        let mut good = TcpStream::connect(serving.address).await.unwrap();
        assert_eq!(said(&mut good, b'a').await, Some(b'a'));
        for byte in [b'!', b'?'] {
            let mut bad = TcpStream::connect(serving.address).await.unwrap();
            assert_eq!(said(&mut bad, byte).await, None);
        }
        assert_eq!(said(&mut good, b'b').await, Some(b'b'));
        drop(good);
        serving.ctx.shutdown.request();
        soon(serving.task).await.unwrap();
        let counters = &serving.ctx.counters;
        assert_eq!(
            (
                counters.processing_failures.value(),
                counters.refused_inputs.value()
            ),
            (1, 1)
        );
    }
}
