//! Reload under load: what restarts is exactly what changed, nothing is lost, nothing doubled, nothing hangs.
//!
//! 500 random configurations follow each other in one running node. An oracle of its own, on the level of the
//! generator, says which children must start; the node's counters say which did. Sources number their events and
//! count those that were acknowledged; sinks note what they committed; what is missing in the end must be what
//! the node itself counted as dropped with removed channels.
//!
//! Replay: `MILLRACE_SEED=<seed> cargo test -p node --test reload`.

#![allow(clippy::unwrap_used, reason = "a test")]

use node::component::channel::{Lease, Want};
use node::component::error::RunError;
use node::component::sink::{Sink, SinkContext};
use node::component::source::{Source, SourceContext};
use node::flow::board::State;
use node::telemetry::metric;
use node::{Node, Outcome};
use proto::event::{BatchBuilder, EventLimits};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PAIRS: usize = 500;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    kind: &'static str,
    setting: u32,
    channels: Vec<String>,
}

/// A sink group: its processor, its sinks, and what is set for it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    processor: &'static str,
    sinks: Vec<String>,
    setting: u32,
}

/// A configuration: channels with their capacity, sources, sinks, and a group of some of them, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Config {
    channels: BTreeMap<String, u32>,
    sources: BTreeMap<String, Part>,
    sinks: BTreeMap<String, Part>,
    group: Option<Group>,
}

impl Config {
    fn random(rng: &mut SmallRng) -> Self {
        let mut config = Config::default();
        for n in 1..=3 {
            if n == 1 || rng.random_range(0..3) > 0 {
                config
                    .channels
                    .insert(format!("c{n}"), rng.random_range(2..5) * 100);
            }
        }
        let names: Vec<String> = config.channels.keys().cloned().collect();
        let kinds = ["com.acme.One", "com.acme.Two"];
        for n in 1..=3 {
            if n == 1 || rng.random_range(0..3) > 0 {
                let mut channels: Vec<String> = names
                    .iter()
                    .filter(|_| rng.random_range(0..2) == 0)
                    .cloned()
                    .collect();
                if channels.is_empty() {
                    channels.push(names[rng.random_range(0..names.len())].clone());
                }
                let part = Part {
                    kind: kinds[rng.random_range(0..2)],
                    setting: rng.random_range(1..4),
                    channels,
                };
                config.sources.insert(format!("r{n}"), part);
            }
        }
        for n in 1..=4 {
            if n == 1 || rng.random_range(0..3) > 0 {
                let channels = vec![names[rng.random_range(0..names.len())].clone()];
                let part = Part {
                    kind: kinds[rng.random_range(0..2)],
                    setting: rng.random_range(1..4),
                    channels,
                };
                config.sinks.insert(format!("k{n}"), part);
            }
        }
        config.group = config.random_group(rng);
        config.forget_unused();
        config
    }

    fn random_group(&self, rng: &mut SmallRng) -> Option<Group> {
        let chosen = |rng: &mut SmallRng| rng.random_range(0..3) > 0;
        let sinks: Vec<String> = self.sinks.keys().filter(|_| chosen(rng)).cloned().collect();
        let processor = match (sinks.len(), rng.random_range(0..3)) {
            (0, _) | (_, 0) => return None,
            (1, _) => "default",
            (_, 1) => "failover",
            _ => "load_balance",
        };
        Some(Group {
            processor,
            sinks,
            setting: rng.random_range(1..4),
        })
    }

    /// Another configuration, or this one with a few edits: small changes are the usual ones.
    fn next(&self, rng: &mut SmallRng) -> Self {
        let other = Self::random(rng);
        if rng.random_range(0..3) == 0 {
            return other;
        }
        let mut next = self.clone();
        match rng.random_range(0..5) {
            0 => next.group = next.random_group(rng),
            1 => next.sources = other.sources,
            2 => (next.sinks, next.group) = (other.sinks, other.group),
            3 => next
                .channels
                .values_mut()
                .for_each(|capacity| *capacity = rng.random_range(2..5) * 100),
            _ => {}
        }
        let known = |part: &Part| part.channels.iter().all(|c| next.channels.contains_key(c));
        let whole = next.sources.values().all(known) && next.sinks.values().all(known);
        if !whole {
            return Self::random(rng);
        }
        next.forget_unused();
        next
    }

    /// The node leaves out channels that nobody uses.
    fn forget_unused(&mut self) {
        let parts = self.sources.values().chain(self.sinks.values());
        let used: BTreeSet<String> = parts.flat_map(|p| p.channels.clone()).collect();
        self.channels.retain(|name, _| used.contains(name));
    }

    fn properties(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        let mut set = |key: String, value: String| all.push((format!("a1.{key}"), value));
        let list = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>().join(" ");
        set("channels".into(), list(self.channels.keys().collect()));
        set("sources".into(), list(self.sources.keys().collect()));
        set("sinks".into(), list(self.sinks.keys().collect()));
        for (name, capacity) in &self.channels {
            set(format!("channels.{name}.type"), "memory".into());
            set(format!("channels.{name}.capacity"), capacity.to_string());
            set(format!("channels.{name}.keep-alive"), "0".into());
        }
        for (name, part) in &self.sources {
            set(format!("sources.{name}.type"), part.kind.into());
            set(format!("sources.{name}.setting"), part.setting.to_string());
            set(format!("sources.{name}.channels"), part.channels.join(" "));
        }
        for (name, part) in &self.sinks {
            set(format!("sinks.{name}.type"), part.kind.into());
            set(format!("sinks.{name}.setting"), part.setting.to_string());
            set(format!("sinks.{name}.channel"), part.channels.join(" "));
        }
        if let Some(group) = &self.group {
            set("sinkgroups".into(), "g1".into());
            set("sinkgroups.g1.sinks".into(), group.sinks.join(" "));
            set("sinkgroups.g1.processor.type".into(), group.processor.into());
            let key = match group.processor {
                "failover" => "maxpenalty",
                "load_balance" => "selector.maxTimeOut",
                _ => return all,
            };
            let setting = (group.setting * 1_000).to_string();
            set(format!("sinkgroups.g1.processor.{key}"), setting);
        }
        all
    }

    fn processor_of(&self, sink: &str) -> String {
        let grouped = self.group_of(sink).is_some();
        if grouped { "g1".to_owned() } else { sink.to_owned() }
    }

    fn group_of(&self, sink: &str) -> Option<&Group> {
        self.group
            .as_ref()
            .filter(|group| group.sinks.iter().any(|s| s == sink))
    }

    fn children(&self) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = self.channels.keys().map(|c| format!("channel {c}")).collect();
        all.extend(self.sources.keys().map(|s| format!("source {s}")));
        for sink in self.sinks.keys() {
            all.insert(format!("sink {sink}"));
            all.insert(format!("processor {}", self.processor_of(sink)));
        }
        all
    }
}

/// The oracle: which children start when `old` becomes `new`.
fn expected_starts(old: &Config, new: &Config) -> BTreeSet<String> {
    let kept_channel = |name: &String| old.channels.contains_key(name) && new.channels.contains_key(name);
    let held = |part: &Part| part.channels.iter().all(kept_channel);
    let mut starts = BTreeSet::new();
    for name in new.channels.keys().filter(|name| !kept_channel(name)) {
        starts.insert(format!("channel {name}"));
    }
    for (name, part) in &new.sources {
        if old.sources.get(name) != Some(part) || !held(part) {
            starts.insert(format!("source {name}"));
        }
    }
    for (name, part) in &new.sinks {
        let before = old.sinks.get(name);
        if before != Some(part) || !held(part) {
            starts.insert(format!("sink {name}"));
        }
        let same_holder = match (old.group_of(name), new.group_of(name)) {
            (Some(was), Some(is)) => {
                let set = |group: &Group| (group.processor != "default").then_some(group.setting);
                was.processor == is.processor && was.sinks == is.sinks && set(was) == set(is)
            }
            (was, is) => was.is_none() && is.is_none(),
        };
        let same_sink =
            before.is_some_and(|b| b.kind == part.kind && b.channels == part.channels) && held(part);
        if !same_holder || !same_sink {
            starts.insert(format!("processor {}", new.processor_of(name)));
        }
    }
    starts
}

/// (source, number, channel): each acknowledged one, by the attempt that was acknowledged.
type Key = (String, u64, String);

#[derive(Default)]
struct Books {
    next: BTreeMap<String, u64>,
    attempts: u64,
    acknowledged: HashMap<Key, u64>,
    /// With the attempt: how often it was committed.
    delivered: HashMap<(Key, u64), u32>,
}

struct Numbers {
    name: String,
    channels: Vec<String>,
    books: Arc<Mutex<Books>>,
}

impl Source for Numbers {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        ctx.ready();
        while !ctx.shutdown.is_requested() {
            let (number, attempt) = {
                let mut books = lock(&self.books);
                books.attempts += 1;
                (*books.next.entry(self.name.clone()).or_default(), books.attempts)
            };
            let mut batch = BatchBuilder::new(EventLimits::default());
            let body = format!("{} {number} {attempt}", self.name);
            batch
                .push([("k", "v")], body.as_bytes())
                .map_err(|e| RunError::bug(e.to_string()))?;
            let put = ctx.put(batch.finish()).await;
            if put.is_ok() {
                let mut books = lock(&self.books);
                books.next.insert(self.name.clone(), number + 1);
                for channel in &self.channels {
                    books
                        .acknowledged
                        .insert((self.name.clone(), number, channel.clone()), attempt);
                }
            }
            ctx.shutdown
                .sleep(Duration::from_micros(if put.is_ok() { 300 } else { 2_000 }))
                .await;
        }
        Ok(())
    }
}

struct Noting {
    channel: String,
    books: Arc<Mutex<Books>>,
}

impl Sink for Noting {
    fn want(&self) -> Want {
        Want::events(20)
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        let parse = |body: &[u8]| {
            let text = String::from_utf8_lossy(body).into_owned();
            let parts: Vec<&str> = text.split(' ').collect();
            (
                parts[0].to_owned(),
                parts[1].parse::<u64>().unwrap(),
                parts[2].parse::<u64>().unwrap(),
            )
        };
        let events: Vec<(String, u64, u64)> = lease.batch().iter().map(|e| parse(e.body())).collect();
        lease.commit().await?;
        let mut books = lock(&self.books);
        for (source, number, attempt) in events {
            *books
                .delivered
                .entry(((source, number, self.channel.clone()), attempt))
                .or_default() += 1;
        }
        Ok(())
    }
}

fn start(config: &Config, books: &Arc<Mutex<Books>>) -> Node {
    let mut builder = Node::builder().agent("a1");
    for kind in ["com.acme.One", "com.acme.Two"] {
        let (for_sources, for_sinks) = (books.clone(), books.clone());
        builder = builder
            .source(kind, move |keys, ctx| {
                keys.number("setting", 1u32, 1..=9);
                let channels = ctx.channels.iter().map(|c| c.to_string()).collect();
                Ok(Numbers {
                    name: ctx.name.to_string(),
                    channels,
                    books: for_sources.clone(),
                })
            })
            .sink(kind, move |keys, ctx| {
                keys.number("setting", 1u32, 1..=9);
                Ok(Noting {
                    channel: ctx.channels[0].to_string(),
                    books: for_sinks.clone(),
                })
            });
    }
    for (key, value) in config.properties() {
        builder = builder.property(key, value);
    }
    builder.start().unwrap()
}

fn starts(node: &Node, children: &BTreeSet<String>) -> BTreeMap<String, u64> {
    let value = |child: &String| {
        node.registry()
            .counter(metric::CHILD_STARTS, &[("child", child)])
            .value()
    };
    children
        .iter()
        .map(|child| (child.clone(), value(child)))
        .collect()
}

fn dropped(node: &Node) -> u64 {
    let of = |n| {
        let name = format!("c{n}");
        node.registry()
            .counter(
                metric::CHANNEL_DROPPED_EVENTS,
                &[("component", &name), ("type", "memory")],
            )
            .value()
    };
    (1..=3).map(of).sum()
}

fn wait_until_running(node: &Node, config: &Config) {
    let begin = Instant::now();
    while !config
        .children()
        .iter()
        .all(|child| node.board().get(child) == Some(State::Running))
    {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "not running: {:?}",
            node.board().not_ready()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What was acknowledged and is nowhere, and what was committed more than once.
fn audit(books: &Books) -> (u64, usize) {
    let there = |key: &Key, attempt: u64| books.delivered.contains_key(&(key.clone(), attempt));
    let missing = books
        .acknowledged
        .iter()
        .filter(|(key, attempt)| !there(key, **attempt))
        .count();
    (
        missing as u64,
        books.delivered.values().filter(|times| **times > 1).count(),
    )
}

/// Reloads once and compares what started with the oracle; returns how many did and how long it took.
fn reload(node: &Node, old: &Config, new: &Config, context: &str) -> (usize, Duration) {
    let children: BTreeSet<String> = old.children().union(&new.children()).cloned().collect();
    let before = starts(node, &children);
    let begin = Instant::now();
    let reloaded = node.reload(Some(new.properties()));
    let took = begin.elapsed();
    let reloaded = reloaded.unwrap_or_else(|e| panic!("{context}: {e:?}\n{old:#?}\n{new:#?}"));
    let after = starts(node, &children);
    let actual: BTreeSet<String> = children
        .iter()
        .filter(|c| after[*c] != before[*c])
        .cloned()
        .collect();
    assert_eq!(
        actual,
        expected_starts(old, new),
        "{context}: {}\n{old:#?}\n{new:#?}",
        reloaded.changes
    );
    (actual.len(), took)
}

#[test]
fn five_hundred_reloads_restart_what_changed_and_lose_nothing() {
    let seed = std::env::var("MILLRACE_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_120);
    println!("replay: MILLRACE_SEED={seed} cargo test -p node --test reload");
    let mut rng = SmallRng::seed_from_u64(seed);
    let books = Arc::new(Mutex::new(Books::default()));
    let mut config = Config::random(&mut rng);
    let node = start(&config, &books);
    wait_until_running(&node, &config);
    let (mut slowest, mut restarted) = (Duration::ZERO, 0);
    for pair in 0..PAIRS {
        let next = config.next(&mut rng);
        let (started, took) = reload(&node, &config, &next, &format!("pair {pair} of seed {seed}"));
        restarted += started;
        slowest = slowest.max(took);
        config = next;
    }
    // A bad configuration changes nothing.
    let mut bad = config.properties();
    bad.push(("a1.sinks.k1.type".into(), "com.acme.Three".into()));
    let before = starts(&node, &config.children());
    assert!(node.reload(Some(bad)).is_err());
    assert_eq!(starts(&node, &config.children()), before);

    let lost_with_channels = dropped(&node);
    node.stop();
    // Channels without a sink cannot be emptied: do not wait for them.
    node.stop();
    let Outcome::Stopped { left } = node.wait() else {
        panic!("gave up")
    };
    let books = lock(&books);
    let (missing, doubled) = audit(&books);
    println!(
        "{PAIRS} reloads, {restarted} starts, slowest {slowest:?}; {} acknowledged, {missing} missing, \
         {lost_with_channels} dropped with channels, {left} left at the end, {doubled} doubled",
        books.acknowledged.len()
    );
    assert_eq!(doubled, 0);
    let accounted = lost_with_channels + left as u64;
    assert!(
        missing <= accounted,
        "{missing} missing, {accounted} accounted for"
    );
    assert!(slowest < Duration::from_secs(60), "a reload took {slowest:?}");
}
