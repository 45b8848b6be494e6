//! One connection: HTTP/1.1 or HTTP/2 by its first bytes, then request after request.
//!
//! All of a connection runs in its one task, the streams of HTTP/2 too: when the task is dropped nothing of it goes on,
//! and a panic ends this connection alone.

use super::Config;
use super::answer;
use super::body::{self, Budget, Unread};
use super::handler::{Refused, Take};
use super::watched::{Activity, HEAD_TIME_MAX, Watched};
use crate::component::BoxFuture;
use crate::component::channel::ChannelError;
use crate::component::source::SourceContext;
use crate::io::serve::{Closed, Ends, Handler};
use axum::body::Body;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HeaderValue, SERVER};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use proto::event::Batch;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinError;

/// How HTTP/2 begins.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests of one connection at once, in HTTP/2.
const STREAMS_MAX: u32 = 100;
/// Bytes that a connection reads at once.
const READ_BYTES: usize = 64 << 10;
/// Bodies from this size on are read by a thread of their own.
const ASIDE_BYTES: usize = 1 << 20;
/// At most one complaint in this time.
const COMPLAINT_MS: u64 = 1_000;

/// What the connections of one source share.
pub struct Shared {
    config: Config,
    ctx: SourceContext,
    take: Arc<Take>,
    budget: Arc<Budget>,
    at_once: Option<Semaphore>,
    said_ms: AtomicU64,
    unsaid: AtomicU64,
}

impl Shared {
    /// Of a source that begins to serve.
    pub fn new(config: Config, ctx: SourceContext) -> Self {
        Self {
            take: Arc::new(Take::new(config.handler.clone(), config.max_request_bytes)),
            budget: Budget::new(config.max_buffered_bytes),
            at_once: config
                .jetty
                .requests_at_once
                .map(|n| Semaphore::new(n.min(Semaphore::MAX_PERMITS))),
            config,
            ctx,
            said_ms: AtomicU64::new(0),
            unsaid: AtomicU64::new(0),
        }
    }

    /// Logs, but not more than a line a second: clients must not fill the disk.
    pub fn say(&self, log: impl FnOnce()) {
        let now = self.ctx.clock.unix_ms();
        let last = self.said_ms.load(Relaxed);
        if now.abs_diff(last) < COMPLAINT_MS
            || self
                .said_ms
                .compare_exchange(last, now, Relaxed, Relaxed)
                .is_err()
        {
            self.unsaid.fetch_add(1, Relaxed);
            return;
        }
        log();
        let unsaid = self.unsaid.swap(0, Relaxed);
        if unsaid > 0 {
            tracing::warn!(source = %self.ctx.name, unsaid, "more of the kind were not logged");
        }
    }
}

/// What is done with each connection.
pub struct Connections(pub Arc<Shared>);

impl Handler for Connections {
    async fn serve<S>(&self, stream: S, ends: Ends) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        speak(stream, ends.peer, &self.0).await
    }
}

/// Chooses the protocol by the first bytes.
async fn speak<S>(mut stream: S, peer: SocketAddr, shared: &Arc<Shared>) -> Result<(), Closed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut first = Vec::with_capacity(PREFACE.len());
    let idle = shared.config.jetty.idle_timeout;
    let begun = async {
        while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
            let limit = if first.is_empty() { idle } else { HEAD_TIME_MAX };
            let mut read = pin!((&mut stream).take((PREFACE.len() - first.len()) as u64));
            let read = tokio::time::timeout(limit, read.read_buf(&mut first)).await;
            if read.map_err(|_| Closed::Refused("no request in time".to_owned()))?? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let begun = tokio::select! {
        biased;
        begun = begun => begun,
        () = shared.ctx.shutdown.requested() => Ok(false),
    };
    match begun {
        Ok(false) => Ok(()),
        Ok(true) if first == PREFACE => http2(stream, first, peer, shared).await,
        Ok(true) => http1(stream, first, peer, shared).await,
        Err(closed) => Err(closed),
    }
}

async fn http1<S>(stream: S, first: Vec<u8>, peer: SocketAddr, shared: &Arc<Shared>) -> Result<(), Closed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let jetty = &shared.config.jetty;
    let activity = Activity::new(jetty.idle_timeout, true);
    let io = TokioIo::new(Watched::new(stream, first, activity.clone()));
    let service = service_fn(|request| respond(request, peer, shared.clone(), activity.clone()));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(jetty.head_bytes_max)
        .max_buf_size(READ_BYTES.max(jetty.head_bytes_max))
        .auto_date_header(jetty.date_header)
        .keep_alive(jetty.keep_alive)
        // Who has sent all and says so still gets an answer.
        .half_close(true);
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shared.ctx.shutdown.requested() => {
            activity.stop();
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    outcome(ended, &activity, peer, shared)
}

async fn http2<S>(stream: S, first: Vec<u8>, peer: SocketAddr, shared: &Arc<Shared>) -> Result<(), Closed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let jetty = &shared.config.jetty;
    let activity = Activity::new(jetty.idle_timeout, false);
    let io = TokioIo::new(Watched::new(stream, first, activity.clone()));
    let service = {
        let (shared, activity) = (shared.clone(), activity.clone());
        service_fn(move |request| respond(request, peer, shared.clone(), activity.clone()))
    };
    let (sender, mut new_streams) = mpsc::unbounded_channel();
    let mut builder = http2::Builder::new(Streams(sender));
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(jetty.head_bytes_max).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS_MAX)
        .auto_date_header(jetty.date_header);
    let mut connection = pin!(builder.serve_connection(io, service));
    let mut streams = FuturesUnordered::new();
    let mut told = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            // As many as the protocol allows, so this queue needs no bound of its own.
            Some(stream) = new_streams.recv() => streams.push(stream),
            Some(()) = streams.next(), if !streams.is_empty() => {}
            () = shared.ctx.shutdown.requested(), if !told => {
                told = true;
                activity.stop();
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    outcome(ended, &activity, peer, shared)
}

/// Runs the streams of an HTTP/2 connection in the connection's own task.
#[derive(Clone)]
struct Streams(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let _ = self.0.send(Box::pin(stream)); // the connection has just ended
    }
}

/// What is worth a complaint about how a connection ended.
fn outcome(
    ended: hyper::Result<()>,
    activity: &Activity,
    peer: SocketAddr,
    shared: &Shared,
) -> Result<(), Closed> {
    match ended {
        Err(error) if error.is_parse() => Err(Closed::Refused(format!("no HTTP: {error}"))),
        Err(error) if activity.is_late() => Err(Closed::Refused(cause_of(&error))),
        Err(error) => {
            tracing::debug!(source = %shared.ctx.name, %peer, %error, "connection ended");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// An error as its deepest cause says it.
fn cause_of(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause_of)
}

async fn respond(
    request: Request<Incoming>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    activity: Arc<Activity>,
) -> Result<Response<Body>, Infallible> {
    let _serving = activity.begin();
    let http2 = request.version() == hyper::Version::HTTP_2;
    let mut answer = match *request.method() {
        Method::GET | Method::POST | Method::HEAD => store(request, peer, &shared, http2).await,
        Method::PUT | Method::DELETE => {
            let message = format!("HTTP method {} is not supported by this URL", request.method());
            answer::page(StatusCode::METHOD_NOT_ALLOWED, &message)
        }
        Method::OPTIONS | Method::TRACE => answer::bare(StatusCode::FORBIDDEN),
        _ => {
            let message = format!(
                "Method {} is not defined in RFC 2068 and is not supported by the Servlet API",
                request.method()
            );
            answer::page(StatusCode::NOT_IMPLEMENTED, &message)
        }
    };
    if shared.config.jetty.server_header {
        answer
            .headers_mut()
            .insert(SERVER, HeaderValue::from_static("Millrace"));
    }
    Ok(answer)
}

/// Reads a request, puts what it holds, and says what became of it.
async fn store(request: Request<Incoming>, peer: SocketAddr, shared: &Shared, http2: bool) -> Response<Body> {
    let (head, body) = request.into_parts();
    let ctx = &shared.ctx;
    let limits = body::Limits {
        bytes_max: shared.config.max_request_bytes,
        kept_bytes_max: shared.config.handler.kept_bytes_max(),
        rate_min: shared.config.jetty.body_rate_min,
        stall: shared.config.jetty.idle_timeout,
    };
    let awaits_consent = head.headers.contains_key(EXPECT);
    let kept = match body::read(body, limits, &shared.budget, awaits_consent).await {
        Ok(kept) => kept,
        Err(unread) => return unread_answer(&unread, peer, shared, http2),
    };
    if kept.was_cut {
        shared.say(|| tracing::warn!(source = %ctx.name, %peer, "Request length exceeds maxBlobLength, truncating BLOB event!"));
    }
    let _at_once = match &shared.at_once {
        Some(semaphore) => semaphore.acquire().await.ok(),
        None => None,
    };
    let take = shared.take.clone();
    let body::Kept { bytes, mut share, .. } = kept;
    // The share is held until the channel has the events.
    let (batch, _share) = if bytes.len() < ASIDE_BYTES {
        (take.events(&head, bytes, &mut share), Some(share))
    } else {
        let work = move || (take.events(&head, bytes, &mut share), Some(share));
        match tokio::task::spawn_blocking(work)
            .await
            .map_err(JoinError::try_into_panic)
        {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            Err(Err(_)) => (
                Err(Refused::Unexpected("the node is going down".to_owned())),
                None,
            ),
        }
    };
    match batch {
        Ok(batch) => put(batch, peer, shared).await,
        Err(refused) => {
            match refused {
                Refused::TooLarge(_) | Refused::Memory(_) => &ctx.counters.refused_inputs,
                _ => &ctx.counters.read_failures,
            }
            .add(1);
            let (status, message) = refused.answer();
            shared.say(|| tracing::warn!(source = %ctx.name, %peer, status = status.as_u16(), "{message}"));
            answer::page(status, &message)
        }
    }
}

async fn put(batch: Batch, peer: SocketAddr, shared: &Shared) -> Response<Body> {
    let ctx = &shared.ctx;
    let counters = &ctx.counters;
    let events = batch.len() as u64;
    counters.batches_received.add(1);
    counters.received.add(events);
    let stored = if batch.is_empty() {
        Ok(())
    } else {
        ctx.put(batch).await
    };
    match stored {
        Ok(()) => {
            counters.batches_accepted.add(1);
            counters.accepted.add(events);
            answer::done()
        }
        Err(ChannelError::Bug(error) | ChannelError::Interceptor(error)) => {
            counters.processing_failures.add(1);
            shared.say(|| tracing::warn!(source = %ctx.name, %peer, error, "Unexpected error while appending event to channel."));
            let message = format!("Unexpected error while appending event to channel. {error}");
            answer::page(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
        Err(error) => {
            counters.channel_write_failures.add(1);
            shared.say(|| tracing::warn!(source = %ctx.name, %peer, %error, "Error appending event to channel. Channel might be full."));
            // Flume has no blank between the two.
            let message = format!("Error appending event to channel. Channel might be full.{error}");
            answer::page(StatusCode::SERVICE_UNAVAILABLE, &message)
        }
    }
}

fn unread_answer(unread: &Unread, peer: SocketAddr, shared: &Shared, http2: bool) -> Response<Body> {
    let ctx = &shared.ctx;
    let status = match unread {
        Unread::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Unread::Stalled | Unread::Slow(_) => StatusCode::REQUEST_TIMEOUT,
        Unread::Memory(_) => StatusCode::SERVICE_UNAVAILABLE,
        Unread::Lost(_) => StatusCode::BAD_REQUEST,
    };
    if let Unread::Lost(error) = unread {
        // Nobody may be there any more to read the answer.
        tracing::debug!(source = %ctx.name, %peer, %error, "request not received whole");
    } else {
        ctx.counters.refused_inputs.add(1);
        shared.say(|| tracing::warn!(source = %ctx.name, %peer, status = status.as_u16(), "{unread}"));
    }
    let page = answer::page(status, &unread.to_string());
    // HTTP/2 resets the one stream and has no such header.
    if http2 { page } else { answer::closing(page) }
}
