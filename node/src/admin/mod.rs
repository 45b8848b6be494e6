//! HTTP for operators: who may look in, and what it may cost.
//!
//! Two routers, each for a listener of its own: [`flume_metrics`] is Flume's JSON server, for what watches Flume
//! today; [`operator`] serves Prometheus and health checks. Both only read. [`serve`] drives either of them with
//! limits, because a port for operators must not become a way to stop the node:
//!
//! | limit | value | beyond it |
//! |---|---|---|
//! | connections at once | [`CONNECTIONS_MAX`] | closed at once |
//! | time to send a request's head, and between two requests | [`HEAD_TIME_MAX`] | connection closed |
//! | time to send a body | [`BODY_TIME_MAX`] | 408 |
//! | body, which nobody reads | [`BODY_BYTES_MAX`] | 413 |
//! | life of a connection | [`CONNECTION_TIME_MAX`] | closed after the request under way |
//!
//! HTTP/1.1 without TLS; there is no authentication, so that `--admin` with a bare port listens on 127.0.0.1 only.

mod flume_metrics;
mod operator;

pub use flume_metrics::{DEFAULT_PORT as FLUME_METRICS_PORT, flume_metrics};
pub use operator::operator;

use crate::component::context::Shutdown;
use crate::telemetry::Registry;
use axum::Router;
use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections of one listener at once; one more is closed.
pub const CONNECTIONS_MAX: usize = 256;
/// Time to send a request's head, and between two requests of a connection.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Time to send a body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a body; it is read and thrown away.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// Life of a connection, so that clients that do not read their answer give its place back.
pub const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// Bytes of a request's head; hyper's smallest buffer is 8 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Time for requests under way when their connection, or the listener, ends.
const LAST_REQUEST_TIME_MAX: Duration = Duration::from_secs(2);
/// Pause after a failed accept, which mostly means that the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the node knows about itself.
pub trait Health: Send + Sync {
    /// What is not ready, a line each; empty when all is.
    fn not_ready(&self) -> Vec<String>;
    /// Whether the node runs.
    fn alive(&self) -> bool;
}

/// What [`operator`] shows.
#[derive(Clone)]
pub struct AdminState {
    /// The metrics.
    pub registry: Arc<Registry>,
    /// The state of the node.
    pub health: Arc<dyn Health>,
}

/// Serves `router` until `shutdown` is requested; requests under way get a moment to end.
///
/// # Errors
/// None so far: a failed accept is logged and tried again. The type leaves room.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> io::Result<()> {
    let router = router.layer(from_fn(throw_body_away));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.requested() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if connections.len() >= CONNECTIONS_MAX => {
                tracing::debug!(%peer, limit = CONNECTIONS_MAX, "too many admin connections, one closed");
            }
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "admin connection not accepted");
                shutdown.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, shutdown: Shutdown) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection =
        pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.requested() => None,
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST_REQUEST_TIME_MAX, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "admin connection ended");
    }
}

/// Reads the body before the request is answered: an answer sent over unread bytes may be lost to a reset.
async fn throw_body_away(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    match tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(_)) => next.run(Request::from_parts(head, Body::empty())).await,
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    /// A served router, and how to end it.
    pub(super) struct Served {
        pub address: SocketAddr,
        pub shutdown: Shutdown,
        pub task: JoinHandle<io::Result<()>>,
    }

    pub(super) async fn served(router: Router) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(serve(listener, router, shutdown.clone()));
        Served {
            address,
            shutdown,
            task,
        }
    }

    /// Status, head in lower case, and body.
    pub(super) struct Answer {
        pub status: u16,
        pub head: String,
        pub body: String,
    }

    impl Served {
        pub async fn ask(&self, method: &str, path: &str) -> Answer {
            self.ask_with(&format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
            ))
            .await
        }

        pub async fn ask_with(&self, request: &str) -> Answer {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            Answer {
                status: head.split(' ').nth(1).unwrap().parse().unwrap(),
                head: head.to_lowercase(),
                body: body.to_owned(),
            }
        }
    }

    fn hello() -> Router {
        Router::new().route("/", get(|| async { "hello" }).post(|| async { "posted" }))
    }

    #[tokio::test]
    async fn a_body_is_read_and_ignored_up_to_its_limit() {
        let served = served(hello()).await;
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let body = "x".repeat(BODY_BYTES_MAX);
        let fits = format!("{head}content-length: {BODY_BYTES_MAX}\r\n\r\n{body}");
        let fits = served.ask_with(&fits).await;
        assert_eq!((fits.status, fits.body.as_str()), (200, "posted"));
        let announced = format!("{head}content-length: {}\r\n\r\n", BODY_BYTES_MAX + 1);
        assert_eq!(served.ask_with(&announced).await.status, 413);
        let chunk = format!("{:x}\r\nx{body}", BODY_BYTES_MAX + 1);
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n{chunk}");
        assert_eq!(served.ask_with(&chunked).await.status, 413);
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_place_comes_back() {
        let served = served(hello()).await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX {
            held.push(TcpStream::connect(served.address).await.unwrap());
        }
        let mut refused = TcpStream::connect(served.address).await.unwrap();
        let end = refused.read(&mut [0; 1]).await;
        assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
        // The node learns of these ends when it likes: ask until it has.
        drop(held);
        let mut answered = false;
        for _ in 0..1000 {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            let mut text = Vec::new();
            let sent = stream.write_all(request).await.is_ok();
            answered = sent && stream.read_to_end(&mut text).await.is_ok() && text.ends_with(b"hello");
            if answered {
                break;
            }
        }
        assert!(answered);
    }

    #[tokio::test]
    async fn a_client_that_sends_no_head_is_let_go() {
        let served = served(hello()).await;
        let mut silent = TcpStream::connect(served.address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        // Only once the head has begun to arrive may time stand still and jump.
        assert_eq!(served.ask("GET", "/").await.body, "hello");
        tokio::time::pause();
        let before = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let _ = silent.read_to_end(&mut rest).await;
        let waited = before.elapsed();
        assert!(
            waited <= HEAD_TIME_MAX + Duration::from_secs(1),
            "{waited:?}: {rest:?}"
        );
    }

    #[tokio::test]
    async fn the_end_does_not_wait_for_idle_clients() {
        let served = served(hello()).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        assert_eq!(served.ask("GET", "/").await.status, 200);
        served.shutdown.request();
        served.task.await.unwrap().unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
