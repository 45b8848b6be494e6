//! Sink groups in a running node: failover, load balancing, sinks that fail in every way, and groups that change.
//!
//! A source numbers its events and counts those that were acknowledged; sinks note what they have committed. At the
//! end of each test every acknowledged event is there, and none twice.

#![allow(clippy::unwrap_used, reason = "a test")]

use cluster::time::Time;
use node::component::channel::{Lease, Want};
use node::component::context::{Clock, SystemClock};
use node::component::error::RunError;
use node::component::fault::{Faults, Stage};
use node::component::sink::{Sink, SinkContext};
use node::component::source::{Source, SourceContext};
use node::flow::board::State;
use node::{Node, NodeBuilder, Outcome};
use proto::event::{BatchBuilder, EventLimits};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// What a sink does with its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Deliver,
    Retry,
    Reject,
    Panic,
    Reconfigure,
    /// Not ready, for as long as a connect timeout.
    Connecting,
}

#[derive(Default)]
struct Books {
    acts: BTreeMap<String, Act>,
    /// Source and number: acknowledged.
    sent: Vec<(String, u64)>,
    /// By sink, in order.
    delivered: BTreeMap<String, Vec<(String, u64)>>,
}

#[derive(Debug)]
struct FastClock {
    system: SystemClock,
    panics: Arc<AtomicU64>,
}

impl Clock for FastClock {
    fn unix_ms(&self) -> u64 {
        self.system.unix_ms()
    }

    /// A minute on at every panic, so that nothing is parked for panicking on purpose.
    fn now(&self) -> Time {
        self.system.now() + Duration::from_secs(61 * self.panics.load(SeqCst))
    }
}

/// What sources and sinks share with the test.
#[derive(Clone, Default)]
struct World {
    books: Arc<Mutex<Books>>,
    /// Sources send while this is set.
    open: Arc<AtomicBool>,
    /// How often something has panicked on purpose.
    panics: Arc<AtomicU64>,
}

impl World {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, sink: &str, act: Act) {
        self.books().acts.insert(sink.to_owned(), act);
    }

    fn delivered(&self, sink: &str) -> usize {
        self.books().delivered.get(sink).map_or(0, Vec::len)
    }

    fn node(&self, text: &str) -> Node {
        self.builder(text).start().unwrap()
    }

    fn builder(&self, text: &str) -> NodeBuilder {
        self.open.store(true, SeqCst);
        let (for_sources, for_sinks) = (self.clone(), self.clone());
        let clock = FastClock {
            system: SystemClock::default(),
            panics: self.panics.clone(),
        };
        let mut builder = Node::builder()
            .agent("a1")
            .clock(Arc::new(clock))
            .source("com.acme.Numbers", move |_, ctx| {
                Ok(Numbers {
                    name: ctx.name.to_string(),
                    world: for_sources.clone(),
                })
            })
            .sink("com.acme.Noting", move |keys, ctx| {
                keys.number("setting", 0u32, 0..=9);
                Ok(Noting {
                    name: ctx.name.to_string(),
                    world: for_sinks.clone(),
                })
            });
        for (key, value) in properties(text) {
            builder = builder.property(key, value);
        }
        builder
    }

    /// Stops sending, waits until all is delivered, and stops the node.
    fn finish(&self, node: Node) {
        self.open.store(false, SeqCst);
        node.stop();
        assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
        self.check();
    }

    /// Everything that was acknowledged is there once.
    fn check(&self) {
        let books = self.books();
        let mut delivered: Vec<&(String, u64)> = books.delivered.values().flatten().collect();
        let mut sent: Vec<&(String, u64)> = books.sent.iter().collect();
        assert!(!sent.is_empty());
        delivered.sort();
        sent.sort();
        let count = delivered.len();
        delivered.dedup();
        assert_eq!(delivered.len(), count, "doubled");
        assert!(delivered == sent, "{} of {} events", delivered.len(), sent.len());
    }
}

/// `key = value` lines without the agent's name.
fn properties(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(key, value)| (format!("a1.{}", key.trim()), value.trim().to_owned()))
        .collect()
}

struct Numbers {
    name: String,
    world: World,
}

impl Source for Numbers {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        ctx.ready();
        let sent = |world: &World| {
            world
                .books()
                .sent
                .iter()
                .filter(|(name, _)| *name == self.name)
                .count()
        };
        let mut next = sent(&self.world) as u64;
        while !ctx.shutdown.is_requested() {
            let mut wait = Duration::from_micros(200);
            if self.world.open.load(SeqCst) {
                let mut batch = BatchBuilder::new(EventLimits::default());
                let body = format!("{} {next}", self.name);
                let pushed = batch.push([("n", next.to_string())], body.as_bytes());
                pushed.map_err(|e| RunError::bug(e.to_string()))?;
                // Noted before it can be delivered; taken back if it is refused.
                self.world.books().sent.push((self.name.clone(), next));
                if ctx.put(batch.finish()).await.is_ok() {
                    next += 1;
                } else {
                    self.world
                        .books()
                        .sent
                        .retain(|sent| *sent != (self.name.clone(), next));
                    wait = Duration::from_millis(2);
                }
            }
            ctx.shutdown.sleep(wait).await;
        }
        Ok(())
    }
}

struct Noting {
    name: String,
    world: World,
}

impl Noting {
    fn act(&self) -> Act {
        self.world
            .books()
            .acts
            .get(&self.name)
            .copied()
            .unwrap_or(Act::Deliver)
    }
}

impl Sink for Noting {
    fn want(&self) -> Want {
        Want::events(10)
    }

    async fn ready(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        if self.act() == Act::Connecting {
            ctx.shutdown.sleep(Duration::from_secs(20)).await;
            return Err(RunError::retry("no connection within 20s"));
        }
        Ok(())
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        match self.act() {
            Act::Deliver | Act::Connecting => {}
            Act::Retry => return Err(RunError::retry("away on purpose")),
            Act::Reject => return Err(RunError::reject("rejected on purpose")),
            Act::Panic => {
                self.world.panics.fetch_add(1, SeqCst);
                panic!("on purpose");
            }
            Act::Reconfigure => return Err(RunError::reconfigure("wrong on purpose")),
        }
        let parse = |body: &[u8]| {
            let text = String::from_utf8_lossy(body).into_owned();
            let (source, number) = text.split_once(' ').unwrap();
            (source.to_owned(), number.parse::<u64>().unwrap())
        };
        let events: Vec<(String, u64)> = lease.batch().iter().map(|e| parse(e.body())).collect();
        lease.commit().await?;
        let mut books = self.world.books();
        books
            .delivered
            .entry(self.name.clone())
            .or_default()
            .extend(events);
        Ok(())
    }
}

fn until(what: &str, node: &Node, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(
            begin.elapsed() < LIMIT,
            "not within {LIMIT:?}: {what}; not ready: {:?}",
            node.board().not_ready()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until this sink has delivered so many events more.
fn until_more(world: &World, node: &Node, sink: &str, count: usize) {
    let before = world.delivered(sink);
    until(&format!("{count} more events by {sink}"), node, || {
        world.delivered(sink) >= before + count
    });
}

fn quiet_about_what_is_on_purpose() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("?");
        if !text.contains("on purpose") {
            eprintln!("{info}");
        }
    }));
}

/// A source, a channel, three sinks in a group.
const ONE_CHANNEL: &str = "sources = r1
    sources.r1.type = com.acme.Numbers
    sources.r1.channels = c1
    channels = c1
    channels.c1.type = memory
    channels.c1.capacity = 1000
    channels.c1.keep-alive = 0
    sinks = k1 k2 k3
    sinks.k1.type = com.acme.Noting
    sinks.k1.channel = c1
    sinks.k2.type = com.acme.Noting
    sinks.k2.channel = c1
    sinks.k3.type = com.acme.Noting
    sinks.k3.channel = c1
    sinkgroups = g1
    sinkgroups.g1.sinks = k1 k2 k3
    ";

fn failover() -> String {
    let group = "sinkgroups.g1.processor.type = failover
        sinkgroups.g1.processor.priority.k1 = 5
        sinkgroups.g1.processor.priority.k2 = 10
        sinkgroups.g1.processor.priority.k3 = 1
        sinkgroups.g1.processor.maxpenalty = 50";
    format!("{ONE_CHANNEL}{group}")
}

fn load_balance(more: &str) -> String {
    format!("{ONE_CHANNEL}sinkgroups.g1.processor.type = load_balance\n{more}")
}

#[test]
fn events_go_to_the_highest_priority_and_come_back_to_it() {
    quiet_about_what_is_on_purpose();
    let world = World::default();
    let node = world.node(&failover());
    until_more(&world, &node, "k2", 100);
    for act in [Act::Retry, Act::Reject, Act::Panic] {
        world.set("k2", act);
        until_more(&world, &node, "k1", 100);
        world.set("k1", act);
        until_more(&world, &node, "k3", 100);
        world.set("k1", Act::Deliver);
        until_more(&world, &node, "k1", 100);
        world.set("k2", Act::Deliver);
        until_more(&world, &node, "k2", 100);
        // From here on nobody else has a turn.
        let others = world.delivered("k1") + world.delivered("k3");
        until_more(&world, &node, "k2", 500);
        assert_eq!(world.delivered("k1") + world.delivered("k3"), others, "{act:?}");
    }
    world.finish(node);
}

#[test]
fn a_sink_that_connects_for_long_holds_neither_events_nor_the_others() {
    let world = World::default();
    world.set("k2", Act::Connecting);
    // It comes up, and its first turn takes as long as a connect timeout; from then on nobody waits for it.
    let node = world.node(&failover());
    world.set("k1", Act::Retry);
    until("the first turn of k2 is over", &node, || {
        world.delivered("k3") > 0
    });
    let begin = Instant::now();
    until_more(&world, &node, "k3", 1_000);
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    world.set("k1", Act::Deliver);
    until_more(&world, &node, "k1", 1_000);
    world.finish(node);
}

#[test]
fn a_parked_sink_is_one_that_failed() {
    let world = World::default();
    let node = world.node(&failover());
    until_more(&world, &node, "k2", 10);
    world.set("k2", Act::Reconfigure);
    until("k2 is parked", &node, || {
        matches!(node.board().get("sink k2"), Some(State::Parked(_)))
    });
    until_more(&world, &node, "k1", 1_000);
    assert_eq!(node.board().get("processor g1"), Some(State::Running));
    assert_eq!(node.board().get("sink k1"), Some(State::Running));
    world.finish(node);
}

#[test]
fn load_is_dealt_out_and_the_share_of_a_dead_sink_goes_to_the_others() {
    let world = World::default();
    for more in [
        "sinkgroups.g1.processor.selector = round_robin",
        "sinkgroups.g1.processor.selector = random
        sinkgroups.g1.processor.backoff = true
        sinkgroups.g1.processor.selector.maxTimeOut = 50",
    ] {
        let node = world.node(&load_balance(more));
        for sink in ["k1", "k2", "k3"] {
            until_more(&world, &node, sink, 50);
        }
        world.set("k2", Act::Retry);
        until_more(&world, &node, "k1", 100);
        until_more(&world, &node, "k3", 100);
        world.set("k2", Act::Deliver);
        until_more(&world, &node, "k2", 50);
        world.finish(node);
    }
}

/// Sources r1 and r2 into a channel each, and a sink for each channel.
const TWO_CHANNELS: &str = "sources = r1 r2
    sources.r1.type = com.acme.Numbers
    sources.r1.channels = c1
    sources.r2.type = com.acme.Numbers
    sources.r2.channels = c2
    channels = c1 c2
    channels.c1.type = memory
    channels.c1.keep-alive = 0
    channels.c2.type = memory
    channels.c2.keep-alive = 0
    sinks = k1 k2
    sinks.k1.type = com.acme.Noting
    sinks.k1.channel = c1
    sinks.k2.type = com.acme.Noting
    sinks.k2.channel = c2
    sinkgroups = g1
    sinkgroups.g1.sinks = k1 k2
    ";

#[test]
fn no_channel_of_a_group_starves_whatever_the_sink_of_the_other_one_does() {
    quiet_about_what_is_on_purpose();
    for group in [
        "sinkgroups.g1.processor.type = failover
        sinkgroups.g1.processor.priority.k1 = 10
        sinkgroups.g1.processor.priority.k2 = 5
        sinkgroups.g1.processor.maxpenalty = 50",
        "sinkgroups.g1.processor.type = load_balance",
    ] {
        let world = World::default();
        let node = world.node(&format!("{TWO_CHANNELS}{group}"));
        for act in [Act::Deliver, Act::Retry, Act::Panic] {
            world.set("k1", act);
            until_more(&world, &node, "k2", 300);
        }
        world.set("k1", Act::Deliver);
        until_more(&world, &node, "k1", 300);
        until_more(&world, &node, "k2", 300);
        world.finish(node);
    }
}

#[test]
fn panics_of_sinks_and_processors_lose_nothing_and_double_nothing() {
    const PANICS: u64 = 60;
    quiet_about_what_is_on_purpose();
    let stages = [
        Stage::SinkStart,
        Stage::SinkTaken,
        Stage::SinkProcessed,
        Stage::SinkTick,
        Stage::ProcessorStart,
        Stage::ProcessorRound,
        Stage::ProcessorTick,
        Stage::TakeCommit,
    ];
    for text in [failover(), load_balance("sinkgroups.g1.processor.backoff = true")] {
        let world = World::default();
        let rng = Mutex::new(SmallRng::seed_from_u64(20_261_127));
        let thrown = world.panics.clone();
        let faults = Faults::new(move |stage, name| {
            let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
            let due = stages.contains(&stage) && rng.random_range(0..20) == 0;
            drop(rng);
            if due && thrown.load(SeqCst) < PANICS {
                thrown.fetch_add(1, SeqCst);
                panic!("on purpose: {stage:?} of {name}");
            }
        });
        let node = world.builder(&text).faults(faults).start().unwrap();
        until("all panics", &node, || world.panics.load(SeqCst) >= PANICS);
        let before = world.books().delivered.values().map(Vec::len).sum::<usize>();
        until("the load goes on", &node, || {
            world.books().delivered.values().map(Vec::len).sum::<usize>() > before + 500
        });
        world.finish(node);
    }
}

#[test]
fn a_group_changes_under_load_and_only_what_changed_restarts() {
    let world = World::default();
    let node = world.node(&failover());
    until_more(&world, &node, "k2", 100);
    let reload = |text: &str| node.reload(Some(properties(text))).unwrap().changes.to_string();

    // Another order of priorities.
    let other = failover().replace("priority.k3 = 1", "priority.k3 = 20");
    assert_eq!(reload(&other), "restarted: processor g1");
    until_more(&world, &node, "k3", 100);
    // A sink with other settings: its group goes on, and nobody takes over for it.
    let others = world.delivered("k1") + world.delivered("k2");
    let set = format!("{other}\nsinks.k3.setting = 7");
    assert_eq!(reload(&set), "restarted: sink k3");
    until_more(&world, &node, "k3", 100);
    assert_eq!(world.delivered("k1") + world.delivered("k2"), others);
    // One leaves the group and the agent.
    let fewer = set
        .replace("sinks = k1 k2 k3", "sinks = k1 k2")
        .replace("sinkgroups.g1.processor.priority.k3 = 20", "")
        .replace("sinks.k3.type = com.acme.Noting", "")
        .replace("sinks.k3.channel = c1", "")
        .replace("sinks.k3.setting = 7", "");
    assert_eq!(reload(&fewer), "removed: sink k3; restarted: processor g1");
    until_more(&world, &node, "k2", 100);
    assert_eq!(node.board().get("sink k3"), None);
    // Another processor.
    let balanced = load_balance("");
    assert!(reload(&balanced).contains("added: sink k3; restarted: processor g1"));
    for sink in ["k1", "k2", "k3"] {
        until_more(&world, &node, sink, 50);
    }
    assert_eq!(node.board().not_ready(), [""; 0]);
    world.finish(node);
}
