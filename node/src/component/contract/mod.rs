//! Contract suites: the promises of the traits as tests that run over every implementation, and the doubles of
//! the world that they and the components' own tests share.

#![allow(missing_docs, reason = "the names of tests are sentences")]

pub mod channel;
pub mod deserializer;
pub mod group;
pub mod sink;
pub mod source;

use super::BoxFuture;
use super::channel::{Channel, ChannelError, ChannelHandle, ChannelLimits, Claim, Position, Ticket, Want};
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

/// As [`memory_channel`], and it says that it survives the process, for what a sink makes of that.
pub fn durable_channel(capacity: usize, faults: Faults) -> (Arc<Durable>, ChannelHandle) {
    let config = crate::channel::memory::Config {
        capacity,
        keep_alive: Duration::ZERO,
        ..Default::default()
    };
    let channel = Arc::new(Durable(config.build().unwrap(), Mutex::default()));
    let handle = ChannelHandle::new("c1", channel.clone(), ChannelCounters::default(), faults);
    handle.channel().attach();
    (channel, handle)
}

/// A channel that says that it survives the process, and whose disk may fail.
pub struct Durable(crate::channel::memory::Memory, Mutex<Option<bool>>);

impl Durable {
    /// The next commit of a take fails; it may have happened all the same.
    pub fn fail_commit(&self, happens: bool) {
        *self.1.lock().unwrap() = Some(happens);
    }
}

impl Channel for Durable {
    fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            durable: true,
            ..self.0.limits()
        }
    }
    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Ticket, ChannelError>> {
        self.0.reserve(claim)
    }
    fn cancel(&self, ticket: Ticket) {
        self.0.cancel(ticket);
    }
    fn commit_put(
        &self,
        ticket: Ticket,
        batch: Batch,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.0.commit_put(ticket, batch, position)
    }
    fn take(
        &self,
        want: Want,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<(Ticket, Batch)>, ChannelError>> {
        self.0.take(want, wait)
    }
    fn commit_take(
        &self,
        ticket: Ticket,
        position: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            let trouble = self.1.lock().unwrap().take();
            if trouble != Some(false) {
                self.0.commit_take(ticket, position).await?;
            }
            match trouble {
                None => Ok(()),
                Some(_) => Err(ChannelError::Storage("disk failed".to_owned())),
            }
        })
    }
    fn rollback(&self, ticket: Ticket) -> usize {
        self.0.rollback(ticket)
    }
    fn position(&self, owner: &str) -> Option<Bytes> {
        self.0.position(owner)
    }
    fn queued(&self) -> usize {
        self.0.queued()
    }
    fn held(&self) -> usize {
        self.0.held()
    }
    fn pinned_bytes(&self) -> usize {
        self.0.pinned_bytes()
    }
    fn attach(&self) -> u64 {
        self.0.attach()
    }
    fn detach(&self, generation: u64) {
        self.0.detach(generation);
    }
    fn check(&self) -> Result<(), String> {
        self.0.check()
    }
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
    /// As a channel keeps it.
    position: Mutex<Option<Bytes>>,
    durable: AtomicBool,
    /// Puts after which all are refused, if that is wanted.
    accepts_left: Mutex<Option<u64>>,
    refusals_left: AtomicU64,
    /// Why, if it is not that the channel is full.
    refusal: Mutex<Option<ChannelError>>,
    /// A body that an interceptor fails on, if there is one.
    poison: Mutex<Option<&'static str>>,
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
        *self.refusal.lock().unwrap() = None;
        self.refusals_left.store(count, SeqCst);
    }

    /// The next `count` puts are refused with this.
    pub fn refuse_with(&self, count: u64, why: ChannelError) {
        *self.refusal.lock().unwrap() = Some(why);
        self.refusals_left.store(count, SeqCst);
    }

    /// Every put of a batch that has this body is refused, as an interceptor does it that fails on it.
    pub fn poison(&self, body: &'static str) {
        *self.poison.lock().unwrap() = Some(body);
    }

    /// The next `count` puts are accepted and those after them are not, until this is called again.
    pub fn accept(&self, count: Option<u64>) {
        *self.accepts_left.lock().unwrap() = count;
    }

    fn accepts(&self) -> bool {
        match &mut *self.accepts_left.lock().unwrap() {
            None => true,
            Some(left) => {
                let accepts = *left > 0;
                *left = left.saturating_sub(1);
                accepts
            }
        }
    }

    /// A put may have so many bytes of bodies and never more.
    pub fn limit(&self, body_bytes: u64) {
        self.body_bytes_max.store(body_bytes, SeqCst);
    }

    /// Puts do not return from now on.
    pub fn hang(&self) {
        self.hangs.store(true, SeqCst);
    }

    /// Says that it keeps what it has beyond the process.
    pub fn be_durable(&self) {
        self.durable.store(true, SeqCst);
    }

    /// Another channel, in which everything is forgotten.
    pub fn forget_position(&self) {
        *self.position.lock().unwrap() = None;
    }

    /// Whole batches, with their headers.
    pub fn committed(&self) -> Vec<Batch> {
        self.committed.lock().unwrap().clone()
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
    fn put(&self, batch: Batch, position: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            self.seen.send_modify(|seen| seen.puts += 1);
            if self.hangs.load(SeqCst) {
                std::future::pending::<()>().await;
            }
            let refuse = |left: u64| left.checked_sub(1);
            if self.refusals_left.fetch_update(SeqCst, SeqCst, refuse).is_ok() || !self.accepts() {
                self.seen.send_modify(|seen| seen.refused += 1);
                let why = self.refusal.lock().unwrap().clone();
                return Err(why.unwrap_or(ChannelError::Full));
            }
            let poison = *self.poison.lock().unwrap();
            if poison.is_some_and(|poison| batch.iter().any(|event| event.body() == poison.as_bytes())) {
                self.seen.send_modify(|seen| seen.refused += 1);
                return Err(ChannelError::Interceptor("poison".to_owned()));
            }
            let (bytes, allowed) = (batch.body_bytes(), self.body_bytes_max.load(SeqCst) as usize);
            if allowed > 0 && bytes > allowed {
                return Err(ChannelError::NeverFits { bytes, allowed });
            }
            let events = batch.len();
            self.committed.lock().unwrap().push(batch);
            if position.is_some() {
                *self.position.lock().unwrap() = position;
            }
            self.seen.send_modify(|seen| seen.events += events);
            Ok(())
        })
    }

    fn position(&self) -> Option<Bytes> {
        self.position.lock().unwrap().clone()
    }

    fn transaction_capacity(&self) -> Option<usize> {
        None
    }

    fn durable(&self) -> bool {
        self.durable.load(SeqCst)
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
        let while_it_lives = tracing::subscriber::set_default(subscriber);
        // A place that another thread came to first, without a subscriber, is believed to interest nobody.
        tracing::callsite::rebuild_interest_cache();
        Self {
            text,
            _while_it_lives: while_it_lives,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }
}
