//! Any panic, in any actor and at any stage, loses nothing and repeats nothing that was committed.
//!
//! A node runs under load, its sinks alone, in a failover group and in a load_balance group; at random fault points
//! of every kind a panic is thrown, 300 times. A source numbers its batches and counts a number as delivered only
//! after `put` has returned `Ok`; every attempt has an id of its own. A sink notes every event whose lease it could
//! commit. In the end each delivered number must be there once by the attempt that was acknowledged, and no attempt
//! may be there twice.
//!
//! The node's clock runs ahead by a minute at every panic, so that restart intensity (5 in 60 s), which has tests
//! of its own, does not park what crashes on purpose. Replay: `MILLRACE_SEED=<seed> cargo test -p node --test panics`.

#![allow(clippy::unwrap_used, reason = "a test")]

use node::component::channel::{Lease, Want};
use node::component::context::{Clock, SystemClock};
use node::component::error::RunError;
use node::component::fault::{Faults, Stage};
use node::component::sink::{Sink, SinkContext};
use node::component::source::{Source, SourceContext};
use node::{Node, Outcome};
use proto::event::{BatchBuilder, EventLimits};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const PANICS: u64 = 300;
/// Stages of the load that wait for a panic at the same time, and stages of a start: these only come after a
/// panic elsewhere, so they must not be all that is armed.
const ARMED: usize = 3;
const ARMED_STARTS: usize = 2;
const STARTS: [Stage; 4] = [
    Stage::ChannelStart,
    Stage::SinkStart,
    Stage::ProcessorStart,
    Stage::SourceStart,
];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Throws panics and moves the clock.
struct Saboteur {
    state: Mutex<Armed>,
    thrown: Arc<AtomicU64>,
}

struct Armed {
    stages: Vec<Stage>,
    rng: SmallRng,
    /// How often each stage has been struck.
    by_stage: BTreeMap<String, u64>,
}

impl Saboteur {
    fn new(seed: u64) -> Arc<Self> {
        let rng = SmallRng::seed_from_u64(seed);
        let mut state = Armed {
            stages: Vec::new(),
            rng,
            by_stage: BTreeMap::new(),
        };
        for place in 0..ARMED + ARMED_STARTS {
            let stage = state.rarest(place);
            state.stages.push(stage);
        }
        Arc::new(Self {
            state: Mutex::new(state),
            thrown: Arc::default(),
        })
    }

    fn point(&self, stage: Stage, name: &str) {
        let mut state = lock(&self.state);
        let Some(at) = state.stages.iter().position(|s| *s == stage) else {
            return;
        };
        // Not at the first opportunity: so that the panic strikes somewhere in the load.
        if state.rng.random_range(0..4) != 0 || self.thrown.load(Relaxed) >= PANICS {
            return;
        }
        *state.by_stage.entry(format!("{stage:?}")).or_default() += 1;
        state.stages[at] = state.rarest(at);
        drop(state);
        self.thrown.fetch_add(1, Relaxed);
        panic!("on purpose: {stage:?} of {name}");
    }
}

impl Armed {
    /// One of the stages that have been struck least, so that none is left out by chance.
    fn rarest(&mut self, place: usize) -> Stage {
        let struck = |stage: &Stage| self.by_stage.get(&format!("{stage:?}")).copied().unwrap_or(0);
        let fitting = Stage::ALL
            .into_iter()
            .filter(|s| STARTS.contains(s) == (place >= ARMED));
        let mut all: Vec<Stage> = fitting.filter(|s| !self.stages.contains(s)).collect();
        let least = all.iter().map(struck).min().unwrap_or(0);
        all.retain(|stage| struck(stage) == least);
        all[self.rng.random_range(0..all.len())]
    }
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

    fn now(&self) -> cluster::time::Time {
        self.system.now() + Duration::from_secs(61 * self.panics.load(Relaxed))
    }
}

/// What the source has had acknowledged: number to attempt.
#[derive(Default)]
struct Produced {
    next: u64,
    attempts: u64,
    acknowledged: HashMap<u64, u64>,
}

struct Numbers {
    state: Arc<Mutex<Produced>>,
}

impl Source for Numbers {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        ctx.ready();
        while !ctx.shutdown.is_requested() {
            let (first, attempt) = {
                let mut state = lock(&self.state);
                state.attempts += 1;
                (state.next, state.attempts)
            };
            let count = 1 + first % 7;
            let mut batch = BatchBuilder::new(EventLimits::default());
            for number in first..first + count {
                let body = format!("{number} {attempt}");
                batch
                    .push([("n", number.to_string())], body.as_bytes())
                    .map_err(|e| RunError::bug(e.to_string()))?;
            }
            if ctx.put(batch.finish()).await.is_ok() {
                let mut state = lock(&self.state);
                state.next = first + count;
                for number in first..first + count {
                    state.acknowledged.insert(number, attempt);
                }
            } else {
                ctx.shutdown.sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    }
}

/// Every (number, attempt) whose lease was committed, and how often.
type Committed = Arc<Mutex<HashMap<(u64, u64), u32>>>;

struct Noting {
    committed: Committed,
}

impl Sink for Noting {
    fn want(&self) -> Want {
        Want::events(10)
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        let parse = |body: &[u8]| {
            let text = String::from_utf8_lossy(body).into_owned();
            let (number, attempt) = text.split_once(' ').unwrap();
            (number.parse::<u64>().unwrap(), attempt.parse::<u64>().unwrap())
        };
        let events: Vec<(u64, u64)> = lease.batch().iter().map(|e| parse(e.body())).collect();
        lease.commit().await?;
        let mut committed = lock(&self.committed);
        events
            .into_iter()
            .for_each(|event| *committed.entry(event).or_default() += 1);
        Ok(())
    }
}

struct Load {
    node: Node,
    produced: Arc<Mutex<Produced>>,
    committed: Committed,
}

fn start(seed: u64, saboteur: &Arc<Saboteur>, clock: FastClock) -> Load {
    let (produced, committed) = (Arc::new(Mutex::new(Produced::default())), Committed::default());
    let (source_state, sink_state, hook) = (produced.clone(), committed.clone(), saboteur.clone());
    let mut builder = Node::builder()
        .agent("a1")
        .seed(seed)
        .clock(Arc::new(clock))
        .admin(Some("127.0.0.1:0".parse().unwrap()))
        .faults(Faults::new(move |stage, name| hook.point(stage, name)))
        .source("com.acme.Numbers", move |_, _| {
            Ok(Numbers {
                state: source_state.clone(),
            })
        })
        .sink("com.acme.Noting", move |_, _| {
            Ok(Noting {
                committed: sink_state.clone(),
            })
        })
        .property("a1.sources", "r1")
        .property("a1.sources.r1.type", "com.acme.Numbers")
        .property("a1.sources.r1.channels", "c1")
        .property("a1.channels", "c1")
        .property("a1.channels.c1.type", "memory")
        .property("a1.channels.c1.keep-alive", "1")
        .property("a1.sinks", "k1 k2 k3 k4 k5")
        .property("a1.sinkgroups", "g1 g2")
        .property("a1.sinkgroups.g1.sinks", "k2 k3")
        .property("a1.sinkgroups.g1.processor.type", "failover")
        .property("a1.sinkgroups.g1.processor.priority.k2", "10")
        .property("a1.sinkgroups.g1.processor.priority.k3", "5")
        .property("a1.sinkgroups.g2.sinks", "k4 k5")
        .property("a1.sinkgroups.g2.processor.type", "load_balance")
        .property("a1.sinkgroups.g2.processor.backoff", "true");
    for sink in 1..=5 {
        let key = |property: &str| format!("a1.sinks.k{sink}.{property}");
        builder = builder
            .property(key("type"), "com.acme.Noting")
            .property(key("channel"), "c1");
    }
    let node = builder.start().unwrap();
    Load {
        node,
        produced,
        committed,
    }
}

fn wait_until(what: &str, limit: Duration, node: &Node, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        let stuck = || node.board().not_ready().join("; ");
        assert!(
            begin.elapsed() < limit,
            "not within {limit:?}: {what}; not ready: {}",
            stuck()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn three_hundred_panics_lose_nothing_and_repeat_nothing_that_was_committed() {
    let seed = std::env::var("MILLRACE_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(20_261_120);
    println!("replay: MILLRACE_SEED={seed} cargo test -p node --test panics");
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("?");
        if !text.starts_with("on purpose") {
            eprintln!("{info}");
        }
    }));
    let saboteur = Saboteur::new(seed);
    let clock = FastClock {
        system: SystemClock::default(),
        panics: saboteur.thrown.clone(),
    };
    let load = start(seed, &saboteur, clock);
    wait_until("300 panics", Duration::from_secs(240), &load.node, || {
        saboteur.thrown.load(Relaxed) >= PANICS
    });
    // Under load again, without faults: everything has come back.
    let before = lock(&load.produced).next;
    wait_until("the load goes on", Duration::from_secs(60), &load.node, || {
        lock(&load.produced).next > before + 1_000
    });
    load.node.stop();
    assert_eq!(load.node.wait(), Outcome::Stopped { left: 0 });

    let by_stage = lock(&saboteur.state).by_stage.clone();
    println!("panics by stage: {by_stage:?}");
    assert_eq!(by_stage.len(), Stage::ALL.len(), "every stage was struck");
    let (produced, committed) = (lock(&load.produced), lock(&load.committed));
    let lost: Vec<_> = produced
        .acknowledged
        .iter()
        .filter(|(n, a)| !committed.contains_key(&(**n, **a)))
        .collect();
    let repeated: Vec<_> = committed.iter().filter(|(_, times)| **times > 1).collect();
    println!(
        "{} numbers acknowledged, {} attempts",
        produced.acknowledged.len(),
        produced.attempts
    );
    assert!(
        lost.is_empty(),
        "{} lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(5)]
    );
    assert!(
        repeated.is_empty(),
        "{} repeated: {:?}",
        repeated.len(),
        &repeated[..repeated.len().min(5)]
    );
}
