//! A connection that gives up on a peer that lets it wait: no request within [`HEAD_TIME_MAX`] of its first byte,
//! nothing at all between requests, or an answer that is not taken, for the idle time-out.
//!
//! ```text
//!   connected --first byte--> head --request--> serving --answered--> idle --first byte--> head
//!   idle time-out             10 s              body.rs has limits    idle time-out
//! ```
//!
//! hyper waits in `poll_read` for whatever comes next, so this is where the time is looked at; there is no task and no
//! timer for it as long as nothing waits.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// From the first byte of a request to the end of its head; also for a TLS handshake.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the last answer has to leave when the source stops.
const LEAVE: Duration = Duration::from_millis(200);

/// What a connection's service and its stream know of each other.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    idle_timeout: Duration,
    /// Whether the first byte after a request begins another one; not so in HTTP/2.
    has_heads: bool,
    serving: AtomicUsize,
    /// When the last request ended; milliseconds since the start.
    idle_ms: AtomicU64,
    /// When the head under way began; zero is no head.
    head_ms: AtomicU64,
    /// When the source was told to stop; zero is not yet.
    stop_ms: AtomicU64,
    late: AtomicBool,
}

impl Activity {
    /// Of a connection that has just come.
    pub fn new(idle_timeout: Duration, has_heads: bool) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            idle_timeout,
            has_heads,
            serving: AtomicUsize::new(0),
            idle_ms: AtomicU64::new(0),
            head_ms: AtomicU64::new(0),
            stop_ms: AtomicU64::new(0),
            late: AtomicBool::new(false),
        })
    }

    /// A request has come; it ends when the value is dropped.
    pub fn begin(self: &Arc<Self>) -> Serving {
        self.serving.fetch_add(1, Relaxed);
        self.head_ms.store(0, Relaxed);
        Serving(self.clone())
    }

    /// Closes when no request is under way and the last answer had its time to leave.
    pub fn stop(&self) {
        self.stop_ms.store(self.now_ms().max(1), Relaxed);
    }

    /// Whether the peer was given up in the middle of a request's head, or of an answer.
    pub fn is_late(&self) -> bool {
        self.late.load(Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    fn received(&self) {
        if self.has_heads && self.serving.load(Relaxed) == 0 && self.head_ms.load(Relaxed) == 0 {
            self.head_ms.store(self.now_ms().max(1), Relaxed);
        }
    }

    /// Until when something must have come.
    fn deadline(&self) -> Option<Instant> {
        if self.serving.load(Relaxed) > 0 {
            return None;
        }
        let (head, idle) = (self.head_ms.load(Relaxed), self.idle_ms.load(Relaxed));
        let stop = self.stop_ms.load(Relaxed);
        if stop > 0 {
            return Some(self.start + Duration::from_millis(stop.max(idle)) + LEAVE);
        }
        Some(if head > 0 {
            self.start + Duration::from_millis(head) + HEAD_TIME_MAX
        } else {
            self.start + Duration::from_millis(idle) + self.idle_timeout
        })
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Serving(Arc<Activity>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.idle_ms.store(self.0.now_ms(), Relaxed);
        self.0.serving.fetch_sub(1, Relaxed);
    }
}

/// The stream, with what of it was read already.
pub struct Watched<S> {
    stream: S,
    first: Vec<u8>,
    activity: Arc<Activity>,
    read_timer: Timer,
    write_timer: Timer,
}

impl<S> Watched<S> {
    /// `first` comes before what the stream still has.
    pub fn new(stream: S, first: Vec<u8>, activity: Arc<Activity>) -> Self {
        if !first.is_empty() {
            activity.received();
        }
        Self {
            stream,
            first,
            activity,
            read_timer: Timer::default(),
            write_timer: Timer::default(),
        }
    }

    /// Whether who waits for the peer to read has waited too long.
    fn written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer.stop();
            return written;
        }
        let deadline = self
            .write_timer
            .running()
            .unwrap_or(Instant::now() + self.activity.idle_timeout);
        if self.write_timer.poll(cx, deadline) {
            self.activity.late.store(true, Relaxed);
            return Poll::Ready(Err(late("the answer was not taken")));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.first.is_empty() {
            let n = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..n]);
            this.first.drain(..n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_ready() {
            if buf.filled().len() > before {
                this.activity.received();
            }
            return read;
        }
        match this.activity.deadline() {
            Some(deadline) if this.read_timer.poll(cx, deadline) => {
                let in_head = this.activity.head_ms.load(Relaxed) > 0;
                this.activity.late.store(in_head, Relaxed);
                Poll::Ready(Err(late("no request in time")))
            }
            _ => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.written(cx, shut)
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

/// A timer that exists only once something had to wait.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Timer {
    /// Whether the time has come; else the task is woken then.
    fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        self.is_running = true;
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                if sleep.deadline() != deadline {
                    sleep.as_mut().reset(deadline);
                }
                sleep
            }
            none => none.insert(Box::pin(tokio::time::sleep_until(deadline))),
        };
        sleep.as_mut().poll(cx).is_ready()
    }

    fn running(&self) -> Option<Instant> {
        let sleep = self.sleep.as_ref().filter(|_| self.is_running)?;
        Some(sleep.deadline())
    }

    fn stop(&mut self) {
        self.is_running = false;
    }
}
