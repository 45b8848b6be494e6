//! How do batches travel from a source through a channel to a sink: as messages through the mailboxes of
//! actors, or through a handle that the channel's actor hands out once?
//!
//! Run it with `cargo bench -p node --bench data_path` (about 15 s; without `--bench` among its arguments,
//! as under `cargo test --benches`, it measures for a moment only and does all its checks). What was
//! decided from its numbers is in `node/README.md`.
//!
//! Two ways are measured in a closed loop of [`CALLERS`] tasks on a multi-thread runtime of [`WORKERS`]
//! threads, the place where connections live, next to an actix system:
//!
//! * **mailbox**: a call is `addr.send(Put(batch)).await` to [`MailboxChannel`] on its own Arbiter;
//!   [`MailboxSink`] on another one sends it [`Take`] and then [`Commit`].
//! * **handle**: a call is [`ChannelHandle::reserve`] and [`Reservation::commit`]; the taker is a task on the
//!   sink's Arbiter, so that both ways use the same threads, and holds a [`Lease`] until it commits.
//!
//! Both bound the channel by [`CAPACITY_EVENTS`], both give space back only at the commit of a take, and
//! both are checked to have delivered every event. A take is at most [`TAKE_BATCHES_MAX`] batches, so that
//! the sink keeps up. The latency is that of one put, from before the call until the channel has accepted
//! the batch; the way to the sink counts only in that a full channel makes the callers wait.
//!
//! Then both suffer a panic in the middle of a call, and the program asserts what is left: *lost* are
//! events that were acknowledged before, *refused* those whose putter got an error.

// tidy: long file, because it is one experiment, read from top to bottom, with both ways side by side.

use std::collections::VecDeque;
use std::panic::{panic_any, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, MailboxError, Message,
    MessageResult, WrapFuture,
};
use actix_rt::{Arbiter, System};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::runtime;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};

const CALLERS: u64 = 4;
const WORKERS: usize = 2;
const BODY_BYTES: usize = 500;
const EVENTS_PER_CALL: [usize; 3] = [1, 100, 1000];
const CAPACITY_EVENTS: usize = 100_000;
const TAKE_BATCHES_MAX: usize = 16;
/// Nothing that is waited for here takes longer, unless something is broken.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() {
    let brief = !std::env::args().any(|argument| argument == "--bench");
    let (warm_up, window) = if brief { (10, 50) } else { (300, 2000) };
    let (warm_up, window) = (Duration::from_millis(warm_up), Duration::from_millis(window));
    silence_provoked_panics();

    // Outlives the system's `block_on`: a runtime must not be dropped within another one.
    let callers = runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .expect("the operating system gives us two threads");
    System::new().block_on(async {
        measure_both(callers.handle(), warm_up, window).await;
        println!();
        println!("what a panic in the middle of a call leaves behind (each line was asserted)");
        mailbox_panics().await;
        handle_panics(callers.handle()).await;
        handle_panics_under_load(callers.handle()).await;
    });
}

// ------------------------------------------------------------------------------------------- what travels

/// Events as a node holds them: one shared buffer, and where each event ends in it.
#[derive(Debug)]
struct Batch {
    caller: u64,
    number: u64,
    bodies: Bytes,
    ends: Vec<u32>,
}

impl Batch {
    fn event_count(&self) -> usize {
        self.ends.len()
    }
}

/// Makes batches of one size, all over the same bodies; what is made a call is the index, as by a decoder.
#[derive(Clone)]
struct Template {
    bodies: Bytes,
    ends: Vec<u32>,
}

impl Template {
    fn new(events: usize) -> Self {
        let end_of = |event: usize| u32::try_from((event + 1) * BODY_BYTES).expect("a batch is below 4 GiB");
        let bodies = Bytes::from(vec![b'x'; events * BODY_BYTES]);
        Self {
            bodies,
            ends: (0..events).map(end_of).collect(),
        }
    }

    fn batch(&self, caller: u64, number: u64) -> Batch {
        Batch {
            caller,
            number,
            bodies: self.bodies.clone(),
            ends: self.ends.clone(),
        }
    }
}

fn event_count(batches: &[Batch]) -> usize {
    batches.iter().map(Batch::event_count).sum()
}

/// What the sinks have committed, and that each batch arrived whole.
#[derive(Default)]
struct Delivered {
    events: AtomicU64,
}

impl Delivered {
    fn count(&self, batches: &[Batch]) {
        for batch in batches {
            assert_eq!(batch.ends.last().copied(), u32::try_from(batch.bodies.len()).ok());
        }
        self.events
            .fetch_add(event_count(batches) as u64, Ordering::Relaxed);
    }

    async fn wait_for(&self, events: u64) {
        until("everything that was put is delivered", || {
            self.events.load(Ordering::Relaxed) == events
        })
        .await;
    }
}

// ------------------------------------------------------------------------------------------- (a) mailboxes

/// A channel that owns its queue and is reached by messages only.
struct MailboxChannel {
    queue: VecDeque<Batch>,
    /// Queued and taken, but not yet committed.
    held_events: usize,
    putters: VecDeque<(Batch, oneshot::Sender<()>)>,
    taker: Option<oneshot::Sender<Vec<Batch>>>,
    /// Events that were queued when the actor was dropped.
    dropped_events: Arc<AtomicU64>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Put(Batch);

#[derive(Message)]
#[rtype(result = "Vec<Batch>")]
struct Take;

#[derive(Message)]
#[rtype(result = "()")]
struct Commit {
    events: usize,
}

/// An answer that waits without holding up the mailbox, and costs nothing extra if it need not wait.
enum Answer<T> {
    Now(T),
    Later(oneshot::Receiver<T>),
}

impl<A, M, T> MessageResponse<A, M> for Answer<T>
where
    A: Actor,
    M: Message<Result = T>,
    T: Send + 'static,
{
    fn handle(self, _: &mut A::Context, reply: Option<OneshotSender<T>>) {
        let Some(reply) = reply else { return };
        match self {
            // An asker that no longer waits is no error.
            Answer::Now(value) => drop(reply.send(value)),
            Answer::Later(value) => drop(actix_rt::spawn(async move {
                if let Ok(value) = value.await {
                    let _ = reply.send(value);
                }
            })),
        }
    }
}

impl MailboxChannel {
    fn start_on(arbiter: &Arbiter) -> (Addr<Self>, Arc<AtomicU64>) {
        let dropped_events = Arc::new(AtomicU64::new(0));
        let channel = Self {
            queue: VecDeque::new(),
            held_events: 0,
            putters: VecDeque::new(),
            taker: None,
            dropped_events: dropped_events.clone(),
        };
        (
            Self::start_in_arbiter(&arbiter.handle(), |_| channel),
            dropped_events,
        )
    }

    fn has_space_for(&self, batch: &Batch) -> bool {
        self.held_events + batch.event_count() <= CAPACITY_EVENTS
    }

    fn accept(&mut self, batch: Batch) {
        self.held_events += batch.event_count();
        self.queue.push_back(batch);
        if let Some(taker) = self.taker.take() {
            let batches = self.next_batches();
            let _ = taker.send(batches);
        }
    }

    fn next_batches(&mut self) -> Vec<Batch> {
        let count = self.queue.len().min(TAKE_BATCHES_MAX);
        self.queue.drain(..count).collect()
    }
}

impl Actor for MailboxChannel {
    type Context = Context<Self>;
}

impl Drop for MailboxChannel {
    fn drop(&mut self) {
        let events = self.queue.iter().map(Batch::event_count).sum::<usize>();
        self.dropped_events.fetch_add(events as u64, Ordering::Relaxed);
    }
}

impl Handler<Put> for MailboxChannel {
    type Result = Answer<()>;

    fn handle(&mut self, Put(batch): Put, _: &mut Self::Context) -> Answer<()> {
        if self.putters.is_empty() && self.has_space_for(&batch) {
            self.accept(batch);
            return Answer::Now(());
        }
        let (accepted, answer) = oneshot::channel();
        self.putters.push_back((batch, accepted));
        Answer::Later(answer)
    }
}

impl Handler<Take> for MailboxChannel {
    type Result = Answer<Vec<Batch>>;

    fn handle(&mut self, _: Take, _: &mut Self::Context) -> Answer<Vec<Batch>> {
        if !self.queue.is_empty() {
            return Answer::Now(self.next_batches());
        }
        let (taker, answer) = oneshot::channel();
        self.taker = Some(taker);
        Answer::Later(answer)
    }
}

impl Handler<Commit> for MailboxChannel {
    type Result = ();

    fn handle(&mut self, commit: Commit, _: &mut Self::Context) {
        self.held_events -= commit.events;
        while let Some((batch, _)) = self.putters.front()
            && self.has_space_for(batch)
            && let Some((batch, accepted)) = self.putters.pop_front()
        {
            self.accept(batch);
            let _ = accepted.send(());
        }
    }
}

/// Takes from a [`MailboxChannel`] and commits, for as long as that one lives.
struct MailboxSink {
    channel: Addr<MailboxChannel>,
    delivered: Arc<Delivered>,
}

impl Actor for MailboxSink {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let (channel, delivered) = (self.channel.clone(), self.delivered.clone());
        let work = async move {
            while let Ok(batches) = channel.send(Take).await {
                delivered.count(&batches);
                let events = event_count(&batches);
                if channel.send(Commit { events }).await.is_err() {
                    break;
                }
            }
        };
        context.spawn(work.into_actor(self).map(|(), _, context| context.stop()));
    }
}

// ------------------------------------------------------------------------------------------- (b) a handle

/// A channel that any thread may use; its actor only hands it out.
#[derive(Clone)]
struct ChannelHandle(Arc<Shared>);

struct Shared {
    queue: Mutex<VecDeque<Batch>>,
    /// One permit an event; a queued or leased event has none.
    space: Semaphore,
    filled: Notify,
}

impl ChannelHandle {
    fn new() -> Self {
        Self(Arc::new(Shared {
            queue: Mutex::new(VecDeque::new()),
            space: Semaphore::new(CAPACITY_EVENTS),
            filled: Notify::new(),
        }))
    }

    /// A poisoned queue is a whole queue: no code here leaves it half changed, and what a panicking holder
    /// had already moved out is in its [`Lease`].
    fn lock(&self) -> MutexGuard<'_, VecDeque<Batch>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for space. Dropping the reservation gives it back.
    async fn reserve(&self, events: usize) -> Reservation<'_> {
        let events = u32::try_from(events).expect("a batch has fewer than 2^32 events");
        let space = self
            .0
            .space
            .acquire_many(events)
            .await
            .expect("the semaphore is never closed");
        Reservation { channel: self, space }
    }

    /// Waits for events, and takes at most `batches_max` batches.
    async fn take(&self, batches_max: usize) -> Lease {
        loop {
            let lease = self.take_now(batches_max);
            if !lease.batches.is_empty() {
                return lease;
            }
            self.0.filled.notified().await;
        }
    }

    fn take_now(&self, batches_max: usize) -> Lease {
        // Made before the lock is taken, so that what is moved out is never owned by less than a lease.
        let mut lease = Lease {
            channel: self.clone(),
            batches: Vec::new(),
        };
        let mut queue = self.lock();
        let count = queue.len().min(batches_max);
        lease.batches.extend(queue.drain(..count));
        let more = !queue.is_empty();
        drop(queue);
        if more {
            self.0.filled.notify_one();
        }
        lease
    }

    fn queued_numbers(&self) -> Vec<u64> {
        self.lock().iter().map(|batch| batch.number).collect()
    }

    fn free_events(&self) -> usize {
        self.0.space.available_permits()
    }
}

/// Space for events that may be put.
struct Reservation<'a> {
    channel: &'a ChannelHandle,
    space: SemaphorePermit<'a>,
}

impl Reservation<'_> {
    fn commit(self, batch: Batch) {
        assert_eq!(self.space.num_permits(), batch.event_count());
        self.channel.lock().push_back(batch);
        self.space.forget();
        self.channel.0.filled.notify_one();
    }
}

/// Batches that were taken. Dropping it without a commit puts them back in front, in their order; with a
/// single taker, as here, that is where they were.
struct Lease {
    channel: ChannelHandle,
    batches: Vec<Batch>,
}

impl Lease {
    fn commit(mut self) {
        let events = event_count(&self.batches);
        self.batches.clear();
        self.channel.0.space.add_permits(events);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.batches.is_empty() {
            return;
        }
        let mut queue = self.channel.lock();
        for batch in self.batches.drain(..).rev() {
            queue.push_front(batch);
        }
        drop(queue);
        self.channel.0.filled.notify_one();
    }
}

/// The actor of a [`ChannelHandle`].
struct HandleChannel(ChannelHandle);

#[derive(Message)]
#[rtype(result = "ChannelHandle")]
struct HandOut;

impl Actor for HandleChannel {
    type Context = Context<Self>;
}

impl Handler<HandOut> for HandleChannel {
    type Result = MessageResult<HandOut>;

    fn handle(&mut self, _: HandOut, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.0.clone())
    }
}

// ------------------------------------------------------------------------------------------- measuring

/// The call that is measured.
trait PutPath: Clone + Send + Sync + 'static {
    fn put(&self, batch: Batch) -> impl Future<Output = ()> + Send;
}

impl PutPath for Addr<MailboxChannel> {
    async fn put(&self, batch: Batch) {
        self.send(Put(batch)).await.expect("the channel's actor lives");
    }
}

impl PutPath for ChannelHandle {
    async fn put(&self, batch: Batch) {
        self.reserve(batch.event_count()).await.commit(batch);
    }
}

/// Nanoseconds in sixteen buckets an octave, so within 6 %.
struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    fn new() -> Self {
        Self {
            counts: vec![0; 61 * 16],
        }
    }

    fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let octave = nanoseconds.max(16).ilog2();
        // The four bits below the highest one; the lowest sixteen values have a bucket each.
        let bucket = if nanoseconds < 16 {
            nanoseconds
        } else {
            (u64::from(octave) - 4) * 16 + (nanoseconds >> (octave - 4))
        };
        self.counts[bucket as usize] += 1;
    }

    fn add(&mut self, other: &Histogram) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The middle of the bucket in which the call of this rank lies, in microseconds.
    fn quantile_us(&self, quantile: f64) -> f64 {
        let rank = (self.total() as f64 * quantile).ceil() as u64;
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        let bucket = bucket.unwrap_or(0);
        let (octave, step) = if bucket < 32 {
            (0, bucket)
        } else {
            (bucket / 16 - 1, bucket % 16 + 16)
        };
        (step as f64 + 0.5) * 2f64.powi(octave as i32) / 1000.0
    }
}

/// Runs the callers against one path, waits until all they put is delivered, prints the line, and returns the
/// calls a second.
async fn measure(
    name: &str,
    path: impl PutPath,
    delivered: &Delivered,
    events: usize,
    callers: &runtime::Handle,
    (warm_up, window): (Duration, Duration),
) -> f64 {
    let from = Instant::now() + warm_up;
    let until = from + window;
    let template = Template::new(events);
    let caller_tasks = (0..CALLERS).map(|caller| {
        let (path, template) = (path.clone(), template.clone());
        callers.spawn(async move {
            let mut latencies = Histogram::new();
            for number in 0.. {
                let batch = template.batch(caller, number);
                let before = Instant::now();
                if before >= until {
                    return (latencies, number);
                }
                path.put(batch).await;
                if before >= from {
                    latencies.record(before.elapsed());
                }
            }
            unreachable!("a caller ends by the clock")
        })
    });
    let (mut latencies, mut calls) = (Histogram::new(), 0);
    for caller in join_all(caller_tasks).await {
        let (of_caller, calls_of_caller) = caller.expect("no caller panics here");
        latencies.add(&of_caller);
        calls += calls_of_caller;
    }
    delivered.wait_for(calls * events as u64).await;

    let calls_per_s = latencies.total() as f64 / window.as_secs_f64();
    println!(
        "{events:>13}  {name:<8} {calls_per_s:>11.0} {:>13.0} {:>12.2} {:>12.2}",
        calls_per_s * events as f64,
        latencies.quantile_us(0.5),
        latencies.quantile_us(0.99),
    );
    calls_per_s
}

async fn measure_both(callers: &runtime::Handle, warm_up: Duration, window: Duration) {
    println!(
        "closed loop, {CALLERS} callers on {WORKERS} threads, {BODY_BYTES}-byte bodies, \
         {} ms after {} ms of warm-up",
        window.as_millis(),
        warm_up.as_millis()
    );
    println!("events a call  way          calls/s      events/s   put p50 us   put p99 us");
    let mut gains = Vec::new();
    for events in EVENTS_PER_CALL {
        let by_mailbox = measure_mailbox(events, callers, (warm_up, window)).await;
        let by_handle = measure_handle(events, callers, (warm_up, window)).await;
        gains.push(format!("{:.1} times at {events}", by_handle / by_mailbox));
    }
    println!(
        "conclusion: calls a second by the handle against the mailbox: {} events a call",
        gains.join(", ")
    );
}

async fn measure_mailbox(events: usize, callers: &runtime::Handle, times: (Duration, Duration)) -> f64 {
    let (of_channel, of_sink) = (Arbiter::new(), Arbiter::new());
    let delivered = Arc::new(Delivered::default());
    let (channel, _) = MailboxChannel::start_on(&of_channel);
    let sink = MailboxSink {
        channel: channel.clone(),
        delivered: delivered.clone(),
    };
    MailboxSink::start_in_arbiter(&of_sink.handle(), |_| sink);
    let calls_per_s = measure("mailbox", channel, &delivered, events, callers, times).await;
    stop([of_sink, of_channel]);
    calls_per_s
}

async fn measure_handle(events: usize, callers: &runtime::Handle, times: (Duration, Duration)) -> f64 {
    let (of_channel, of_sink) = (Arbiter::new(), Arbiter::new());
    let delivered = Arc::new(Delivered::default());
    let channel = start_handle_channel(&of_channel).await;
    let (taker, counted) = (channel.clone(), delivered.clone());
    of_sink.spawn(async move {
        loop {
            let lease = taker.take(TAKE_BATCHES_MAX).await;
            counted.count(&lease.batches);
            lease.commit();
        }
    });
    let calls_per_s = measure("handle", channel, &delivered, events, callers, times).await;
    stop([of_sink, of_channel]);
    calls_per_s
}

/// Starts the actor and asks it for its handle: the only message on this way.
async fn start_handle_channel(arbiter: &Arbiter) -> ChannelHandle {
    let actor = HandleChannel::start_in_arbiter(&arbiter.handle(), |_| HandleChannel(ChannelHandle::new()));
    actor.send(HandOut).await.expect("the channel's actor lives")
}

fn stop(arbiters: impl IntoIterator<Item = Arbiter>) {
    for arbiter in arbiters {
        arbiter.stop();
        arbiter
            .join()
            .expect("an Arbiter's thread survives the panics of its actors");
    }
}

// ------------------------------------------------------------------------------------------- panics

/// The payload of the panics that this program wants.
struct Provoked;

/// Any other panic, such as a failed assertion, is still printed.
fn silence_provoked_panics() {
    let default_hook = take_hook();
    set_hook(Box::new(move |panic| {
        if !panic.payload().is::<Provoked>() {
            default_hook(panic);
        }
    }));
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn fact(way: &str, events: usize, fate: &str, what: &str) {
    println!("{way:<8} {events:>5} events {fate:<8} {what}");
}

/// Moves a batch out of the queue, waits with it in hand until the gate opens, and panics.
#[derive(Message)]
#[rtype(result = "()")]
struct TakeThenPanic {
    in_hand: oneshot::Sender<usize>,
    gate: mpsc::Receiver<()>,
}

impl Handler<TakeThenPanic> for MailboxChannel {
    type Result = ();

    fn handle(&mut self, message: TakeThenPanic, _: &mut Self::Context) {
        let batch = self.queue.pop_front().expect("the test has filled the queue");
        let _ = message.in_hand.send(batch.event_count());
        // Blocks the Arbiter on purpose: what is sent meanwhile stays in the mailbox.
        let _ = message.gate.recv();
        panic_any(Provoked);
    }
}

async fn mailbox_panics() {
    let arbiter = Arbiter::new();
    let template = Template::new(100);
    let (channel, dropped_events) = MailboxChannel::start_on(&arbiter);
    let mut accepted = 0;
    for number in 0..10 {
        channel
            .send(Put(template.batch(0, number)))
            .await
            .expect("the channel's actor lives");
        accepted += 100;
    }

    let (in_hand, batch_in_hand) = oneshot::channel();
    let (open, gate) = mpsc::channel();
    let unlucky = channel.send(TakeThenPanic { in_hand, gate });
    let in_hand = batch_in_hand.await.expect("the handler has been entered");
    let in_mailbox: Vec<_> = (10..15)
        .map(|number| channel.send(Put(template.batch(0, number))))
        .collect();
    let waiting = in_mailbox.len() * 100;
    open.send(()).expect("the handler waits at the gate");

    assert!(matches!(unlucky.await, Err(MailboxError::Closed)));
    for put in join_all(in_mailbox).await {
        assert!(matches!(put, Err(MailboxError::Closed)));
    }
    until("the actor and its mailbox are gone", || {
        template.bodies.is_unique()
    })
    .await;
    assert!(!channel.connected());
    let queued = dropped_events.load(Ordering::Relaxed) as usize;
    assert_eq!((in_hand, queued, accepted), (100, 900, in_hand + queued));
    fact(
        "mailbox",
        accepted,
        "lost:",
        "acknowledged before; 100 in the handler's hand, 900 in the actor's queue",
    );
    fact(
        "mailbox",
        waiting,
        "refused:",
        "in the mailbox; five putters got MailboxError::Closed, and not their batches back",
    );

    let later = channel.send(Put(template.batch(0, 15))).await;
    assert!(matches!(later, Err(MailboxError::Closed)));
    let (alive, answer) = oneshot::channel();
    arbiter.spawn(async move { alive.send(()).expect("the answer is awaited") });
    answer.await.expect("the Arbiter lives on");
    fact(
        "mailbox",
        100,
        "refused:",
        "the next put too: the address is closed for good, though the Arbiter lives on",
    );
    stop([arbiter]);
}

/// Runs a task that must end in a panic.
async fn provoke(callers: &runtime::Handle, task: impl Future<Output = ()> + Send + 'static) {
    let end = callers.spawn(task).await.expect_err("the task panics");
    assert!(end.into_panic().is::<Provoked>(), "a panic that was not provoked");
}

async fn handle_panics(callers: &runtime::Handle) {
    let arbiter = Arbiter::new();
    let template = Template::new(100);
    let channel = start_handle_channel(&arbiter).await;
    for number in 0..10 {
        channel.put(template.batch(0, number)).await;
    }
    let all: Vec<u64> = (0..10).collect();
    let whole = |channel: &ChannelHandle| {
        channel.queued_numbers() == all && channel.free_events() == CAPACITY_EVENTS - 1000
    };
    assert!(whole(&channel));

    let putter = channel.clone();
    provoke(callers, async move {
        let _space = putter.reserve(100).await;
        assert_eq!(putter.free_events(), CAPACITY_EVENTS - 1100);
        panic_any(Provoked);
    })
    .await;
    assert!(whole(&channel));
    fact(
        "handle",
        0,
        "lost:",
        "a caller panicked with a reservation; the space is free again",
    );

    let taker = channel.clone();
    provoke(callers, async move {
        let _lease = taker.take(3).await;
        assert_eq!(taker.queued_numbers(), [3, 4, 5, 6, 7, 8, 9]);
        panic_any(Provoked);
    })
    .await;
    assert!(whole(&channel));
    fact(
        "handle",
        0,
        "lost:",
        "a taker panicked with a lease of 300 events; they are back in front, in order",
    );

    let taker = channel.clone();
    provoke(callers, async move {
        let mut lease = Lease {
            channel: taker.clone(),
            batches: Vec::new(),
        };
        let mut queue = taker.lock();
        lease.batches.extend(queue.drain(..2));
        panic_any(Provoked);
    })
    .await;
    assert!(channel.0.queue.is_poisoned());
    assert!(whole(&channel));
    fact(
        "handle",
        0,
        "lost:",
        "a taker panicked within the lock, 200 events moved; poisoned, whole, in order",
    );

    channel.put(template.batch(0, 10)).await;
    let lease = channel.take(11).await;
    assert_eq!(event_count(&lease.batches), 1100);
    assert!(lease.batches.iter().map(|batch| batch.number).eq(0..11));
    lease.commit();
    assert_eq!(channel.free_events(), CAPACITY_EVENTS);
    fact(
        "handle",
        0,
        "lost:",
        "the next put and take work; all 1100 events came out, all the space is free",
    );
    stop([arbiter]);
}

/// Callers and a taker that panic now and then while the others go on.
async fn handle_panics_under_load(callers: &runtime::Handle) {
    const CALLS: u64 = 2000;
    let arbiter = Arbiter::new();
    let template = Template::new(100);
    let channel = start_handle_channel(&arbiter).await;
    let putters = (0..CALLERS).map(|caller| {
        let (channel, template, runtime) = (channel.clone(), template.clone(), callers.clone());
        callers.spawn(async move {
            for number in 0..CALLS {
                if number % 10 == caller {
                    let unlucky = channel.clone();
                    provoke(&runtime, async move {
                        let _space = unlucky.reserve(100).await;
                        panic_any(Provoked);
                    })
                    .await;
                }
                channel.put(template.batch(caller, number)).await;
            }
        })
    });
    let (taker, runtime) = (channel.clone(), callers.clone());
    let taking = async move {
        let (mut next, mut events, mut panics) = ([0; CALLERS as usize], 0, 0);
        for turn in 0.. {
            if events == (CALLERS * CALLS) as usize * 100 {
                break;
            }
            if turn % 7 == 0 {
                let unlucky = taker.clone();
                provoke(&runtime, async move {
                    let _lease = unlucky.take(TAKE_BATCHES_MAX).await;
                    panic_any(Provoked);
                })
                .await;
                panics += 1;
            }
            let lease = taker.take(TAKE_BATCHES_MAX).await;
            for batch in &lease.batches {
                assert_eq!(
                    batch.number, next[batch.caller as usize],
                    "once, and in the order of its caller"
                );
                next[batch.caller as usize] += 1;
            }
            events += event_count(&lease.batches);
            lease.commit();
        }
        (events, panics)
    };
    let taking = callers.spawn(taking);
    for putter in join_all(putters).await {
        putter.expect("the callers that were not unlucky noticed nothing");
    }
    let taking = tokio::time::timeout(PATIENCE, taking)
        .await
        .expect("nothing is lost, so the taker ends");
    let (events, taker_panics) = taking.expect("the taker noticed nothing");
    assert_eq!(channel.free_events(), CAPACITY_EVENTS);
    let lost = (CALLERS * CALLS) as usize * 100 - events;
    let caller_panics = CALLERS * CALLS / 10;
    fact(
        "handle",
        lost,
        "lost:",
        &format!(
            "{events} events under load with panics of {caller_panics} callers and {taker_panics} takers; \
             each once and in order"
        ),
    );
    assert_eq!(lost, 0);
    stop([arbiter]);
}
