//! Contract suites: the promises of the traits as tests that run over every implementation, and the doubles of
//! the world that they and the components' own tests share.

#![allow(missing_docs, reason = "the names of tests are sentences")]

pub mod channel;
pub mod deserializer;
pub mod group;
pub mod sink;
pub mod source;

use super::BoxFuture;
use super::channel::{ChannelError, ChannelHandle, Claim};
use super::context::{Clock, Common, Shutdown};
use super::counters::{ChannelCounters, SinkCounters, SourceCounters};
use super::fault::Faults;
use super::registry::{BuildContext, Types};
use super::sink::SinkContext;
use super::source::{Put, SourceContext};
use bytes::Bytes;
use cluster::time::Time;
use proto::event::Batch;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Long enough for any machine; only a test that fails waits for it.
pub const LONG: Duration = Duration::from_secs(20);

/// Waits for what must happen soon.
pub async fn soon<T>(happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, happens)
        .await
        .expect("did not happen in time")
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    start_unix_ms: u64,
    passed_ms: AtomicU64,
}

impl ManualClock {
    pub fn at(unix_ms: u64) -> Arc<Self> {
        Arc::new(Self {
            start_unix_ms: unix_ms,
            passed_ms: AtomicU64::new(0),
        })
    }

    pub fn advance(&self, by: Duration) {
        self.passed_ms.fetch_add(by.as_millis() as u64, SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> u64 {
        self.start_unix_ms + self.passed_ms.load(SeqCst)
    }

    fn now(&self) -> Time {
        Time::ZERO + Duration::from_millis(self.passed_ms.load(SeqCst))
    }
}

pub fn common(name: &str) -> Common {
    Common {
        name: name.into(),
        clock: ManualClock::at(1_700_000_000_000),
        seed: 7,
        shutdown: Shutdown::new(),
        faults: Faults::default(),
    }
}

pub fn build_context(name: &str, clock: Arc<dyn Clock>, types: Types) -> BuildContext {
    BuildContext {
        name: name.into(),
        clock,
        max_heap_bytes: None,
        tls: Default::default(),
        channels: Arc::from(["c1".into()]),
        types: Arc::new(types),
    }
}

pub fn sink_context(name: &str) -> SinkContext {
    let owner = format!("sink/{name}").into();
    SinkContext::new(common(name), SinkCounters::default(), owner, None)
}

/// A real memory channel, attached, with room for `capacity` events and transactions of a hundred.
pub fn memory_channel(capacity: usize) -> ChannelHandle {
    let config = crate::channel::memory::Config {
        capacity,
        keep_alive: Duration::ZERO,
        ..Default::default()
    };
    let channel = Arc::new(config.build().unwrap());
    let handle = ChannelHandle::new("c1", channel, ChannelCounters::default(), Faults::default());
    handle.channel().attach();
    handle
}

pub async fn put(channel: &ChannelHandle, batch: Batch) {
    let permit = channel.reserve(Claim::of(&batch)).await.unwrap();
    permit.commit(batch, None).await.unwrap();
}

/// Bodies as texts.
pub fn bodies(batch: &Batch) -> Vec<String> {
    batch
        .iter()
        .map(|e| String::from_utf8_lossy(e.body()).into_owned())
        .collect()
}

/// Channels that remember what was put, and that refuse or hang when they are told to.
#[derive(Debug, Default)]
pub struct Recorder {
    committed: Mutex<Vec<Batch>>,
    refusals_left: AtomicU64,
    /// 0 is no limit.
    body_bytes_max: AtomicU64,
    hangs: AtomicBool,
    seen: watch::Sender<Seen>,
}

/// What a [`Recorder`] has seen so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub puts: usize,
    pub refused: usize,
    pub events: usize,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The next `count` puts are refused as a full channel does it.
    pub fn refuse(&self, count: u64) {
        self.refusals_left.store(count, SeqCst);
    }

    /// A put may have so many bytes of bodies and never more.
    pub fn limit(&self, body_bytes: u64) {
        self.body_bytes_max.store(body_bytes, SeqCst);
    }

    /// Puts do not return from now on.
    pub fn hang(&self) {
        self.hangs.store(true, SeqCst);
    }

    pub fn batches(&self) -> Vec<Vec<String>> {
        self.committed.lock().unwrap().iter().map(bodies).collect()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.batches().concat()
    }

    /// Every event as `key=value,key=value | body`, headers in their order.
    pub fn events(&self) -> Vec<String> {
        let event = |event: proto::event::EventView<'_>| {
            let headers: Vec<String> = event.headers().map(|(k, v)| format!("{k}={v}")).collect();
            format!(
                "{} | {}",
                headers.join(","),
                String::from_utf8_lossy(event.body())
            )
        };
        let committed = self.committed.lock().unwrap();
        committed
            .iter()
            .flat_map(|batch| batch.iter().map(event))
            .collect()
    }

    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// Waits until it has seen this.
    pub async fn until(&self, this: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.subscribe();
        let seen = soon(seen.wait_for(this)).await.map(|seen| *seen);
        seen.expect("the recorder lives");
    }

    /// A source's context over this recorder.
    pub fn context(self: &Arc<Self>) -> SourceContext {
        SourceContext::new(
            common("r1"),
            SourceCounters::default(),
            self.clone(),
            Arc::new(|| ()),
        )
    }
}

impl Put for Recorder {
    fn put(&self, batch: Batch, _: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            self.seen.send_modify(|seen| seen.puts += 1);
            if self.hangs.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            let refuse = |left: u64| left.checked_sub(1);
            if self.refusals_left.fetch_update(SeqCst, SeqCst, refuse).is_ok() {
                self.seen.send_modify(|seen| seen.refused += 1);
                return Err(ChannelError::Full);
            }
            let (bytes, allowed) = (batch.body_bytes(), self.body_bytes_max.load(SeqCst) as usize);
            if allowed > 0 && bytes > allowed {
                return Err(ChannelError::NeverFits { bytes, allowed });
            }
            let events = batch.len();
            self.committed.lock().unwrap().push(batch);
            self.seen.send_modify(|seen| seen.events += events);
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

/// A directory that goes when the test ends.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("millrace-{}-{}", std::process::id(), COUNT.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Log lines of this thread, `TARGET: message` each, while the value lives.
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _while_it_lives: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub fn capture() -> Self {
        struct Into(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Into {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_level(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || Into(into.clone()))
            .finish();
        Self {
            text,
            _while_it_lives: tracing::subscriber::set_default(subscriber),
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }
}
