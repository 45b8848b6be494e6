//! The source over a listener of the test's own, channels that remember headers too, and a client on a socket.

use super::super::{Config, Http};
use crate::component::BoxFuture;
use crate::component::channel::ChannelError;
use crate::component::contract::{Recorder, build_context, common, soon};
use crate::component::error::RunError;
use crate::component::keys::Keys;
use crate::component::registry::Types;
use crate::component::source::{Put, SourceContext};
use bytes::Bytes;
use proto::event::Batch;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Channels behind the source.
pub struct Channels {
    pub recorder: Arc<Recorder>,
    events: Mutex<Vec<String>>,
    pub panics: AtomicBool,
    pub breaks: AtomicBool,
    /// Puts wait for one of these.
    pub gate: Option<Semaphore>,
}

impl Put for Channels {
    fn put(&self, batch: Batch, position: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            assert!(!self.panics.load(SeqCst), "as told");
            if self.breaks.load(SeqCst) {
                return Err(ChannelError::Interceptor("no such thing".into()));
            }
            let texts: Vec<String> = batch.iter().map(text).collect();
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            self.recorder.put(batch, position).await?;
            self.events.lock().unwrap().extend(texts);
            Ok(())
        })
    }

    fn position(&self) -> Option<Bytes> {
        None
    }

    fn transaction_capacity(&self) -> Option<usize> {
        None
    }
}

/// `k=v k=v | body`.
fn text(event: proto::event::EventView<'_>) -> String {
    let headers: String = event.headers().map(|(k, v)| format!("{k}={v} ")).collect();
    format!("{headers}| {}", String::from_utf8_lossy(event.body()))
}

/// A source that listens.
pub struct Served {
    pub address: SocketAddr,
    pub channels: Arc<Channels>,
    pub ctx: SourceContext,
    pub task: JoinHandle<Result<(), RunError>>,
}

pub fn config(pairs: &[(&str, &str)]) -> Config {
    let mut keys = Keys::of("source r1 (http)", &[&[("port", "0")], pairs].concat());
    let types = Types::default();
    let ctx = build_context(
        "r1",
        Arc::new(crate::component::context::SystemClock::default()),
        types,
    );
    let config = Config::read(&mut keys, &ctx);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    config
}

pub fn source(pairs: &[(&str, &str)]) -> Http {
    config(pairs).build().unwrap()
}

impl Served {
    pub async fn start(pairs: &[(&str, &str)]) -> Self {
        Self::start_gated(pairs, None).await
    }

    pub async fn start_gated(pairs: &[(&str, &str)], gate: Option<Semaphore>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let channels = Arc::new(Channels {
            recorder: Recorder::new(),
            events: Mutex::default(),
            panics: AtomicBool::new(false),
            breaks: AtomicBool::new(false),
            gate,
        });
        let ctx = SourceContext::new(
            common("r1"),
            Default::default(),
            channels.clone(),
            Arc::new(|| ()),
        );
        let task = tokio::spawn(source(pairs).serve(listener, ctx.clone()));
        Self {
            address,
            channels,
            ctx,
            task,
        }
    }

    pub fn events(&self) -> Vec<String> {
        self.channels.events.lock().unwrap().clone()
    }

    /// Waits until so many events have been read and are being put.
    pub async fn has_received(&self, events: u64) {
        soon(async {
            while self.ctx.counters.received.value() < events {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client().await;
        client.send(request).await;
        client.answer().await
    }

    pub async fn post(&self, content_type: &str, body: impl AsRef<[u8]>) -> Answer {
        self.ask(post(content_type, body)).await
    }

    pub async fn stop(self) -> Vec<String> {
        self.ctx.shutdown.request();
        soon(self.task).await.unwrap().unwrap();
        self.channels.events.lock().unwrap().clone()
    }
}

/// A request with a body.
pub fn post(content_type: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    post_to("/", content_type, "", body)
}

/// A request with a body and more headers, whose lines end.
pub fn post_to(path: &str, content_type: &str, more: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let content_type = if content_type.is_empty() {
        String::new()
    } else {
        format!("Content-Type: {content_type}\r\n")
    };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{content_type}{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// One connection.
pub struct Client {
    pub stream: TcpStream,
    received: Vec<u8>,
}

/// Status, head and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    /// In lower case.
    pub head: String,
    pub body: String,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            received: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer, which must come.
    pub async fn answer(&mut self) -> Answer {
        soon(self.read_answer(true)).await.expect("an answer")
    }

    /// The next answer to a HEAD request, which has no body.
    pub async fn bodiless_answer(&mut self) -> Answer {
        soon(self.read_answer(false)).await.expect("an answer")
    }

    /// The next answer; none if the connection ends.
    pub async fn read_answer(&mut self, with_body: bool) -> Option<Answer> {
        let end = loop {
            let end = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end;
            }
            self.read().await?;
        };
        let head = String::from_utf8(self.received.drain(..end + 4).collect()).unwrap();
        let (first, _) = head.split_once("\r\n").unwrap();
        let (_, status) = first.split_once(' ').unwrap();
        let (status, reason) = status.split_once(' ').unwrap_or((status, ""));
        let (status, reason) = (status.parse().unwrap(), reason.to_owned());
        let head = head.to_lowercase();
        assert!(
            !head.contains("transfer-encoding"),
            "answers have a length: {head}"
        );
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length = length.map_or(0, |length| length.trim().parse().unwrap());
        let length = if with_body { length } else { 0 };
        while self.received.len() < length {
            self.read().await?;
        }
        let body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        Some(Answer {
            status,
            reason,
            head,
            body,
        })
    }

    async fn read(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.received).await;
        read.is_ok_and(|n| n > 0).then_some(())
    }

    /// Waits for the end of the connection; what came before it.
    pub async fn until_closed(mut self) -> String {
        soon(async { while self.read().await.is_some() {} }).await;
        String::from_utf8_lossy(&self.received).into_owned()
    }
}

impl Client {
    /// As [`until_closed`](Self::until_closed), without a limit of its own: time jumps to the next timer.
    pub async fn until_closed_in_paused_time(mut self) -> String {
        while self.read().await.is_some() {}
        String::from_utf8_lossy(&self.received).into_owned()
    }

    /// Whether something has come.
    pub fn is_readable(&mut self) -> bool {
        let mut byte = [0; 1];
        let peeked = std::pin::pin!(self.stream.peek(&mut byte));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        std::future::Future::poll(peeked, &mut cx).is_ready()
    }
}
