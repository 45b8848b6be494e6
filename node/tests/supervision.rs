//! What supervision promises, on whole nodes in this process: order of start and stop, restart, parking, killing,
//! giving up; and what leans on it: fan-out, the embedded source, threads of blocking components.
//!
//! The components are closures ([`SourceFn`], [`SinkFn`]) registered under names of a user's own. Panics come
//! from fault points or from the components, and their texts start with "on purpose", so that the log shows only
//! the others. Nothing sleeps but [`until`], which polls a condition.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use node::component::channel::{ChannelError, ChannelHandle, Claim, Lease, Want};
use node::component::error::RunError;
use node::component::fault::{Faults, Stage};
use node::component::sink::{Sink, SinkContext};
use node::component::source::{Source, SourceContext};
use node::flow::board::State;
use node::source::embedded::{self, Embedded};
use node::telemetry::{Registry, metric};
use node::{Node, NodeBuilder, Outcome};
use proto::event::{Batch, Event};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// One pipeline; the types are registered by each test.
const ONE: &str = "
    sources = r1
    sources.r1.type = com.acme.Source
    sources.r1.channels = c1
    channels = c1
    channels.c1.type = memory
    channels.c1.keep-alive = 0
    sinks = k1
    sinks.k1.type = com.acme.Sink
    sinks.k1.channel = c1";

/// Added to [`ONE`]: what is put stays.
const NO_SINK: &str = "sinks =";

const LIMIT: Duration = Duration::from_secs(30);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A builder with these properties of agent `a1`; later texts win.
fn agent(texts: &[&str]) -> NodeBuilder {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload_as_str().unwrap_or("").starts_with("on purpose") {
                usual(info);
            }
        }));
    });
    let lines = texts.iter().flat_map(|text| text.lines());
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.fold(
        Node::builder().agent("a1").worker_threads(2),
        |builder, (key, value)| builder.property(format!("a1.{}", key.trim()), value),
    )
}

fn until(what: &str, node: &Node, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        let not_ready = node.board().not_ready();
        assert!(
            begin.elapsed() < LIMIT,
            "not within {LIMIT:?}: {what}; {not_ready:?}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn serving(node: &Node, titles: &[&str]) {
    let serves = |title: &&str| node.board().get(title) == Some(State::Running);
    until("all of them serve", node, || titles.iter().all(serves));
}

/// Stops after draining.
fn stop(node: Node) -> Outcome {
    node.stop();
    node.wait()
}

/// Stops without draining; every component must be gone soon, whatever it does.
fn stop_at_once(node: Node) -> Outcome {
    node.stop();
    node.stop();
    node.wait()
}

fn counter(registry: &Registry, of: metric::Metric, component: &str, type_name: &str) -> u64 {
    let labels = [("component", component), ("type", type_name)];
    registry.counter(of, &labels).value()
}

fn restarts(node: &Node, child: &str) -> u64 {
    let labels = [("child", child)];
    node.registry().counter(metric::CHILD_RESTARTS, &labels).value()
}

fn parked(node: &Node, child: &str) -> u64 {
    let labels = [("child", child)];
    node.registry().gauge(metric::CHILD_PARKED, &labels).value()
}

fn panics(node: &Node) -> u64 {
    node.registry().counter(metric::NODE_PANICS, &[]).value()
}

fn held(node: &Node, channel: &str) -> usize {
    node.channel(channel).unwrap().channel().held()
}

fn events(bodies: &[&'static str]) -> Vec<Event> {
    bodies.iter().map(|body| Event::new(*body)).collect()
}

fn put(node: &Node, into: &Embedded, bodies: &[&'static str]) -> Result<(), embedded::Error> {
    let (runtime, events) = (node.runtime().clone(), events(bodies));
    runtime.block_on(into.put_all(&events))
}

/// Runs what must work without a node.
fn outside<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

/// A source that is one async function.
struct SourceFn<F>(F);

impl<F, R> Source for SourceFn<F>
where
    F: Fn(SourceContext) -> R + Send + 'static,
    R: Future<Output = Result<(), RunError>> + Send + 'static,
{
    fn run(self, ctx: SourceContext) -> impl Future<Output = Result<(), RunError>> + Send {
        (self.0)(ctx)
    }
}

/// A sink that is one async function, called with each lease.
struct SinkFn<F>(F);

impl<F, R> Sink for SinkFn<F>
where
    F: Fn(Lease) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), RunError>> + Send + 'static,
{
    fn want(&self) -> Want {
        Want::events(10)
    }

    fn process(
        &mut self,
        lease: Lease,
        _: &SinkContext,
    ) -> impl Future<Output = Result<(), RunError>> + Send {
        (self.0)(lease)
    }
}

fn source<F, R>(builder: NodeBuilder, name: &str, run: F) -> NodeBuilder
where
    F: Fn(SourceContext) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<(), RunError>> + Send + 'static,
{
    builder.source(name, move |_, _| Ok(SourceFn(run.clone())))
}

fn sink<F, R>(builder: NodeBuilder, name: &str, process: F) -> NodeBuilder
where
    F: Fn(Lease) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Result<(), RunError>> + Send + 'static,
{
    builder.sink(name, move |_, _| Ok(SinkFn(process.clone())))
}

fn embed(builder: NodeBuilder, name: &str, end: &Embedded) -> NodeBuilder {
    let end = end.clone();
    builder.source(name, move |_, _| Ok(end.source()))
}

/// Counts the events of what it is given and commits it.
fn counting(builder: NodeBuilder, name: &str, delivered: &Arc<AtomicU64>) -> NodeBuilder {
    let delivered = delivered.clone();
    sink(builder, name, move |lease| {
        let delivered = delivered.clone();
        async move {
            let events = lease.batch().len() as u64;
            lease.commit().await?;
            delivered.fetch_add(events, Relaxed);
            Ok(())
        }
    })
}

/// Puts one event after the other until it is told to stop.
async fn steady(ctx: SourceContext) -> Result<(), RunError> {
    ctx.ready();
    while !ctx.shutdown.sleep(Duration::from_millis(1)).await {
        let _ = ctx.put(Batch::from_iter([&b"event"[..]])).await;
    }
    Ok(())
}

/// What happened, in order.
type Diary = Arc<Mutex<Vec<String>>>;

/// A sink that notes what it delivers, and at its stop whether its channel serves.
struct NotedSink(Diary, Arc<OnceLock<ChannelHandle>>);

impl Sink for NotedSink {
    fn want(&self) -> Want {
        Want::events(10)
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        let bodies: Vec<String> = lease
            .batch()
            .iter()
            .map(|e| String::from_utf8_lossy(e.body()).into_owned())
            .collect();
        lease.commit().await?;
        lock(&self.0).extend(bodies);
        Ok(())
    }

    async fn stop(&mut self, _: &SinkContext) {
        let channel = self.1.get().unwrap();
        let serves = channel.take(Want::events(1), Duration::ZERO).await.is_ok();
        lock(&self.0).push(format!("sink stops, channel serves: {serves}"));
    }
}

#[test]
fn channels_then_sinks_and_processors_then_sources_start_and_they_stop_in_reverse() {
    let diary = Diary::default();
    let channel = Arc::<OnceLock<ChannelHandle>>::default();
    let (hook, for_sink, for_source, seen) = (diary.clone(), diary.clone(), diary.clone(), channel.clone());
    let starts = [
        (Stage::ChannelStart, "channel starts"),
        (Stage::SinkStart, "sink starts"),
        (Stage::ProcessorStart, "processor starts"),
        (Stage::SourceStart, "source starts"),
    ];
    let faults = Faults::new(move |stage, _| {
        if let Some((_, text)) = starts.iter().find(|(start, _)| *start == stage) {
            lock(&hook).push((*text).to_owned());
        }
    });
    let builder = agent(&[ONE]).faults(faults).sink("com.acme.Sink", move |_, _| {
        Ok(NotedSink(for_sink.clone(), seen.clone()))
    });
    let node = source(builder, "com.acme.Source", move |ctx: SourceContext| {
        let diary = for_source.clone();
        async move {
            ctx.ready();
            ctx.shutdown.requested().await;
            // The very last thing a source does is still delivered: processors and sinks go on without it.
            ctx.put(Batch::from_iter([&b"last event"[..]])).await?;
            lock(&diary).push("source stops".to_owned());
            Ok(())
        }
    })
    .start()
    .unwrap();
    serving(&node, &["channel c1", "sink k1", "processor k1", "source r1"]);
    let channel = channel.get_or_init(|| node.channel("c1").unwrap().clone());
    assert_eq!(stop(node), Outcome::Stopped { left: 0 });
    assert_eq!(
        outside(channel.reserve(Claim::default())).err(),
        Some(ChannelError::Unavailable)
    );
    let mut diary = std::mem::take(&mut *lock(&diary));
    let place = |diary: &[String], text: &str| diary.iter().position(|line| line == text).unwrap();
    // The sink may be quicker than the source, which has one thing left to say.
    let (delivered, source) = (place(&diary, "last event"), place(&diary, "source stops"));
    assert!(delivered.abs_diff(source) == 1, "{diary:?}");
    diary.remove(delivered);
    assert_eq!(
        diary,
        [
            "channel starts",
            "sink starts",
            "processor starts",
            "source starts",
            "source stops",
            "sink stops, channel serves: true",
        ]
    );
}

#[test]
fn a_source_that_panics_six_times_in_a_minute_is_parked_and_the_rest_goes_on() {
    let (runs, delivered) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let other = "
        sources = r1 r2
        sources.r2.type = com.acme.Steady
        sources.r2.channels = c2
        channels = c1 c2
        channels.c2.type = memory
        sinks = k1 k2
        sinks.k2.type = com.acme.Sink
        sinks.k2.channel = c2";
    let counted = runs.clone();
    let builder = source(agent(&[ONE, other]), "com.acme.Source", move |_| {
        counted.fetch_add(1, Relaxed);
        async { panic!("on purpose: the sixth is one too many") }
    });
    let builder = source(builder, "com.acme.Steady", steady);
    let node = counting(builder, "com.acme.Sink", &delivered).start().unwrap();

    until("it is parked", &node, || parked(&node, "source r1") == 1);
    assert_eq!(runs.load(Relaxed), 6);
    let why = "panicked: on purpose: the sixth is one too many";
    assert_eq!(node.board().get("source r1"), Some(State::Parked(why.to_owned())));
    assert_eq!(panics(&node), 6);
    let before = delivered.load(Relaxed);
    until("the other pipeline delivers", &node, || {
        delivered.load(Relaxed) > before + 10
    });
    assert_eq!(node.board().get("source r2"), Some(State::Running));
    assert_eq!(runs.load(Relaxed), 6);
    assert_eq!(stop_at_once(node), Outcome::Stopped { left: 0 });
}

#[test]
fn an_expected_error_is_retried_without_end_and_is_no_crash() {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let builder = source(agent(&[ONE]), "com.acme.Source", move |_| {
        counted.fetch_add(1, Relaxed);
        async { Err(RunError::retry("the peer is away")) }
    });
    let node = counting(builder, "com.acme.Sink", &Arc::default())
        .start()
        .unwrap();
    // Two more than what parks a source that panics.
    until("the eighth attempt", &node, || {
        assert_eq!(parked(&node, "source r1"), 0);
        runs.load(Relaxed) >= 8
    });
    until("it waits again", &node, || {
        node.board().get("source r1") == Some(State::Waiting("the peer is away".to_owned()))
    });
    assert_eq!(panics(&node), 0);
    assert!(restarts(&node, "source r1") >= 7);
    assert_eq!(stop(node), Outcome::Stopped { left: 0 });
}

#[test]
fn what_only_another_configuration_mends_is_parked_at_once_and_for_good() {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = runs.clone();
    let builder = source(agent(&[ONE]), "com.acme.Source", move |_| {
        counted.fetch_add(1, Relaxed);
        async { Err(RunError::reconfigure("no such charset")) }
    });
    let node = counting(builder, "com.acme.Sink", &Arc::default())
        .start()
        .unwrap();
    until("it is parked", &node, || parked(&node, "source r1") == 1);
    let state = node.board().get("source r1");
    assert_eq!(state, Some(State::Parked("no such charset".to_owned())));
    assert_eq!((runs.load(Relaxed), restarts(&node, "source r1")), (1, 0));
    assert_eq!(stop(node), Outcome::Stopped { left: 0 });
}

#[test]
fn a_sink_that_panics_comes_back_without_its_source_being_restarted() {
    let (source_runs, sink_calls, delivered) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let (runs, calls, counted) = (source_runs.clone(), sink_calls.clone(), delivered.clone());
    let builder = source(agent(&[ONE]), "com.acme.Source", move |ctx| {
        runs.fetch_add(1, Relaxed);
        steady(ctx)
    });
    let node = sink(builder, "com.acme.Sink", move |lease: Lease| {
        let (call, counted) = (calls.fetch_add(1, Relaxed), counted.clone());
        async move {
            assert!(call >= 3, "on purpose: call {call}");
            let events = lease.batch().len() as u64;
            lease.commit().await?;
            counted.fetch_add(events, Relaxed);
            Ok(())
        }
    })
    .start()
    .unwrap();
    until("it delivers after three panics", &node, || {
        delivered.load(Relaxed) > 10
    });
    assert_eq!(source_runs.load(Relaxed), 1);
    assert_eq!((restarts(&node, "sink k1"), panics(&node)), (3, 3));
    assert_eq!(
        ["channel c1", "processor k1", "source r1"].map(|child| restarts(&node, child)),
        [0; 3]
    );
    assert_eq!(stop(node), Outcome::Stopped { left: 0 });
}

#[test]
fn a_dead_channel_actor_comes_back_with_its_events_and_refuses_leases_from_before() {
    let (armed, starts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (strike, started) = (armed.clone(), starts.clone());
    let hook = move |stage, name: &str| match stage {
        Stage::ChannelStart => _ = started.fetch_add(1, Relaxed),
        Stage::ChannelTick if strike.swap(false, Relaxed) => panic!("on purpose: channel {name}"),
        _ => {}
    };
    let (go, commits) = (Arc::new(Notify::new()), Arc::new(Mutex::new(VecDeque::new())));
    let (told, noted) = (go.clone(), commits.clone());
    let end = Embedded::new();
    let builder = embed(agent(&[ONE]).faults(Faults::new(hook)), "com.acme.Source", &end);
    let node = sink(builder, "com.acme.Sink", move |lease: Lease| {
        let (told, noted) = (told.clone(), noted.clone());
        async move {
            told.notified().await;
            let events = lease.batch().len();
            let committed = lease.commit().await;
            lock(&noted).push_back((events, committed.clone()));
            Ok(committed?)
        }
    })
    .start()
    .unwrap();
    serving(&node, &["source r1"]);
    put(&node, &end, &["a", "b", "c", "d", "e"]).unwrap();
    let channel = node.channel("c1").unwrap().channel().clone();
    until("the sink holds all five", &node, || channel.queued() == 0);
    armed.store(true, Relaxed);
    until("the channel's actor is back", &node, || starts.load(Relaxed) == 2);
    until("the open lease is rolled back", &node, || channel.queued() == 5);
    go.notify_one();
    until("the old lease is refused", &node, || lock(&commits).len() == 1);
    go.notify_one();
    until("the events are delivered", &node, || lock(&commits).len() == 2);
    let seen: Vec<_> = lock(&commits).drain(..).collect();
    assert_eq!(seen, [(5, Err(ChannelError::Fenced)), (5, Ok(()))]);
    assert_eq!((channel.held(), restarts(&node, "channel c1")), (0, 1));
    assert_eq!(restarts(&node, "sink k1"), 0);
    assert_eq!(stop(node), Outcome::Stopped { left: 0 });
}

#[test]
fn what_does_not_stop_in_time_is_killed_and_its_lease_is_put_back() {
    let begun = Arc::new(AtomicBool::new(false));
    let reached = begun.clone();
    let builder = source(
        agent(&[ONE]),
        "com.acme.Source",
        |ctx: SourceContext| async move {
            let three = Batch::from_iter([&b"1"[..], b"2", b"3"]);
            ctx.put(three).await?;
            std::future::pending().await // deaf to the shutdown
        },
    );
    let node = sink(builder, "com.acme.Sink", move |lease: Lease| {
        let reached = reached.clone();
        async move {
            let _held = lease;
            reached.store(true, Relaxed);
            std::future::pending().await
        }
    })
    .start()
    .unwrap();
    until("the sink holds the events", &node, || begun.load(Relaxed));
    let (registry, board) = (node.registry().clone(), node.board().clone());
    let begin = Instant::now();
    assert_eq!(stop_at_once(node), Outcome::Stopped { left: 3 });
    // Half a second each for source and sink; ten without the second signal.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let of = |metric| counter(&registry, metric, "c1", "memory");
    assert_eq!(of(metric::CHANNEL_ROLLED_BACK_EVENTS), 3);
    assert_eq!(of(metric::CHANNEL_DROPPED_EVENTS), 3);
    assert_eq!(board.get("sink k1"), Some(State::Stopped));
}

#[test]
fn a_supervisor_that_crashes_too_often_ends_the_node() {
    let strikes = Arc::new(AtomicU64::new(0));
    let counted = strikes.clone();
    let faults = Faults::new(move |stage, name| {
        if stage == Stage::SupervisorTick && name == "pipelines" {
            counted.fetch_add(1, Relaxed);
            panic!("on purpose: {name}");
        }
    });
    let builder = source(agent(&[ONE]).faults(faults), "com.acme.Source", steady);
    let node = counting(builder, "com.acme.Sink", &Arc::default())
        .start()
        .unwrap();
    assert_eq!(node.wait(), Outcome::GaveUp);
    assert_eq!(strikes.load(Relaxed), 6);
}

/// The same component as one that blocks.
struct Blocking<T>(T);

impl<S: Source> Source for Blocking<S> {
    const BLOCKING: bool = true;

    fn run(self, ctx: SourceContext) -> impl Future<Output = Result<(), RunError>> + Send {
        self.0.run(ctx)
    }
}

impl<S: Sink> Sink for Blocking<S> {
    const BLOCKING: bool = true;

    fn want(&self) -> Want {
        self.0.want()
    }

    fn process(
        &mut self,
        lease: Lease,
        ctx: &SinkContext,
    ) -> impl Future<Output = Result<(), RunError>> + Send {
        self.0.process(lease, ctx)
    }
}

#[test]
fn what_blocks_has_a_thread_of_its_name_and_all_else_the_data_threads() {
    let diary = Diary::default();
    let note = |who: &'static str| {
        let diary = diary.clone();
        move || lock(&diary).push(format!("{who} on {}", std::thread::current().name().unwrap()))
    };
    let (note_source, note_sink) = (note("source"), note("sink"));
    let run = move |ctx: SourceContext| {
        let note = note_source.clone();
        async move {
            note();
            steady(ctx).await
        }
    };
    let process = move |lease: Lease| {
        let note = note_sink.clone();
        async move {
            note();
            Ok(lease.commit().await?)
        }
    };
    let slow = "sources.r1.type = com.acme.Slow\n sinks.k1.type = com.acme.Slow";
    for (types, expected) in [
        ("", ["sink on data", "source on data"]),
        (slow, ["sink on sink-k1", "source on source-r1"]),
    ] {
        let (slow_run, slow_process) = (run.clone(), process.clone());
        let builder = source(agent(&[ONE, types]), "com.acme.Source", run.clone());
        let node = sink(builder, "com.acme.Sink", process.clone())
            .source("com.acme.Slow", move |_, _| {
                Ok(Blocking(SourceFn(slow_run.clone())))
            })
            .sink("com.acme.Slow", move |_, _| {
                Ok(Blocking(SinkFn(slow_process.clone())))
            })
            .start()
            .unwrap();
        until("both have run", &node, || lock(&diary).len() > 1);
        assert_eq!(stop(node), Outcome::Stopped { left: 0 });
        let mut threads = std::mem::take(&mut *lock(&diary));
        threads.sort();
        threads.dedup();
        assert_eq!(threads, expected);
    }
}

/// Two channels without sinks, with room for one event each; `r1` puts into both, `x1` and `x2` into one each.
const FAN_OUT: &str = "
    sources = r1 x1 x2
    sources.r1.type = com.acme.Both
    sources.r1.channels = c1 c2
    sources.x1.type = com.acme.First
    sources.x1.channels = c1
    sources.x2.type = com.acme.Second
    sources.x2.channels = c2
    channels = c1 c2";

/// A channel with room for one event, in which nobody waits.
fn small(name: &str) -> String {
    let at = format!("channels.{name}");
    format!("{at}.type = memory\n{at}.capacity = 1\n{at}.transactionCapacity = 1\n{at}.keep-alive = 0")
}

/// A node with [`FAN_OUT`], and the programs' ends of `r1`, `x1` and `x2`.
fn fan_out(extra: &str) -> (Node, [Embedded; 3]) {
    let ends = [(); 3].map(|()| Embedded::new());
    let names = ["com.acme.Both", "com.acme.First", "com.acme.Second"];
    let builder = names.iter().zip(&ends).fold(
        agent(&[FAN_OUT, &small("c1"), &small("c2"), extra]),
        |builder, (name, end)| embed(builder, name, end),
    );
    let node = builder.start().unwrap();
    serving(&node, &["source r1", "source x1", "source x2"]);
    (node, ends)
}

fn refused_puts(node: &Node, channel: &str) -> u64 {
    let of = metric::CHANNEL_REFUSED_PUTS;
    counter(node.registry(), of, channel, "memory")
}

#[test]
fn a_full_required_channel_refuses_before_another_channel_holds_anything() {
    for (full, empty) in [(1, "c2"), (2, "c1")] {
        let (node, ends) = fan_out("");
        put(&node, &ends[full], &["fills it"]).unwrap();
        let refused = put(&node, &ends[0], &["to both"]);
        assert!(
            matches!(refused, Err(embedded::Error::Channel(ChannelError::Full))),
            "{refused:?}"
        );
        assert_eq!(held(&node, empty), 0);
        // Room that was reserved is free again.
        put(&node, &ends[3 - full], &["fits"]).unwrap();
        assert_eq!((refused_puts(&node, empty), held(&node, "c1")), (0, 1));
        assert_eq!(stop_at_once(node), Outcome::Stopped { left: 2 });
    }
}

#[test]
fn a_full_optional_channel_is_passed_over() {
    let (node, ends) = fan_out("sources.r1.selector.optional = c2");
    put(&node, &ends[2], &["fills it"]).unwrap();
    put(&node, &ends[0], &["to both"]).unwrap();
    assert_eq!((held(&node, "c1"), held(&node, "c2")), (1, 1));
    assert_eq!((refused_puts(&node, "c1"), refused_puts(&node, "c2")), (0, 1));
    assert_eq!(stop_at_once(node), Outcome::Stopped { left: 2 });
}

#[test]
fn an_embedded_source_acknowledges_only_what_is_committed_and_refuses_when_stopped() {
    let (reached, release) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (note, go) = (reached.clone(), release.clone());
    let faults = Faults::new(move |stage, _| {
        if stage == Stage::PutReserved {
            note.store(true, Relaxed);
            let begin = Instant::now();
            while !go.load(Relaxed) && begin.elapsed() < LIMIT {
                std::thread::yield_now();
            }
        }
    });
    let end = Embedded::new();
    let early = outside(end.put(&Event::new("too early")));
    assert!(matches!(early, Err(embedded::Error::NotRunning)), "{early:?}");

    let builder = embed(agent(&[ONE, NO_SINK]).faults(faults), "com.acme.Source", &end);
    let node = builder.start().unwrap();
    serving(&node, &["source r1"]);
    let putting = {
        let end = end.clone();
        node.runtime().spawn(async move {
            end.put(&Event::new("one")).await?;
            end.put_all(&events(&["two", "three"])).await
        })
    };
    until("room is reserved", &node, || reached.load(Relaxed));
    assert!(!putting.is_finished());
    assert_eq!(held(&node, "c1"), 0);
    release.store(true, Relaxed);
    outside(putting).unwrap().unwrap();
    assert_eq!(held(&node, "c1"), 3);

    assert_eq!(stop_at_once(node), Outcome::Stopped { left: 3 });
    let late = outside(end.put_all(&events(&["too late"])));
    assert!(matches!(late, Err(embedded::Error::NotRunning)), "{late:?}");
}

#[test]
fn two_nodes_in_one_process_share_no_metrics() {
    let (one, two) = (Embedded::new(), Embedded::new());
    let nodes = [&one, &two].map(|end| {
        let node = embed(agent(&[ONE, NO_SINK]), "com.acme.Source", end)
            .start()
            .unwrap();
        serving(&node, &["source r1"]);
        node
    });
    put(&nodes[0], &one, &["a", "b"]).unwrap();
    let line =
        |n: u64| format!("source_accepted_events_total{{component=\"r1\",type=\"com.acme.Source\"}} {n}\n");
    for (node, accepted) in nodes.iter().zip([2, 0]) {
        assert!(node.registry().prometheus().contains(&line(accepted)));
        assert_eq!(held(node, "c1") as u64, accepted);
    }
    let left = nodes.map(stop_at_once);
    assert_eq!(left, [Outcome::Stopped { left: 2 }, Outcome::Stopped { left: 0 }]);
}
