//! A channel that a reload removes: its old sinks empty it first; what nobody can empty is counted and reported.

#![allow(clippy::unwrap_used, reason = "a test")]

use node::component::channel::{Lease, Want};
use node::component::error::RunError;
use node::component::sink::{Sink, SinkContext};
use node::telemetry::metric;
use node::{Node, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Takes its time for every event.
struct Slow {
    delivered: Arc<AtomicU64>,
}

impl Sink for Slow {
    fn want(&self) -> Want {
        Want::events(1)
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        lease.commit().await?;
        self.delivered.fetch_add(1, Relaxed);
        Ok(())
    }
}

fn properties(lines: &[&str]) -> Vec<(String, String)> {
    let pair = |line: &&str| {
        let (key, value) = line.split_once(" = ").unwrap();
        (format!("a1.{key}"), value.to_owned())
    };
    lines.iter().map(pair).collect()
}

/// What stays in every configuration.
const STAYS: [&str; 7] = [
    "sources = r9",
    "channels = c9",
    "sinks = k9",
    "sources.r9.type = seq",
    "sources.r9.channels = c9",
    "channels.c9.type = memory",
    "sinks.k9.type = null",
];

fn stays() -> Vec<(String, String)> {
    let mut all = properties(&STAYS);
    all.push(("a1.sinks.k9.channel".into(), "c9".into()));
    all.push(("a1.sources.r9.totalEvents".into(), "1".into()));
    all
}

fn start(more: &[&str], delivered: &Arc<AtomicU64>) -> Node {
    let delivered = delivered.clone();
    let mut builder = Node::builder().agent("a1").sink("com.acme.Slow", move |_, _| {
        Ok(Slow {
            delivered: delivered.clone(),
        })
    });
    for (key, value) in stays().into_iter().chain(properties(more)) {
        builder = builder.property(key, value);
    }
    builder.start().unwrap()
}

fn wait_until(what: &str, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "not within 30 s: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn dropped(node: &Node) -> u64 {
    let labels = [("component", "c1"), ("type", "memory")];
    node.registry()
        .counter(metric::CHANNEL_DROPPED_EVENTS, &labels)
        .value()
}

const FULL: [&str; 6] = [
    "sources = r1 r9",
    "channels = c1 c9",
    "sources.r1.type = seq",
    "sources.r1.totalEvents = 80",
    "sources.r1.channels = c1",
    "channels.c1.type = memory",
];

#[test]
fn its_old_sinks_empty_it_before_it_goes() {
    let delivered = Arc::new(AtomicU64::new(0));
    let with_sink = [
        "sinks = k1 k9",
        "sinks.k1.type = com.acme.Slow",
        "sinks.k1.channel = c1",
    ];
    let node = start(&[&FULL[..], &with_sink[..]].concat(), &delivered);
    let channel = node.channel("c1").unwrap();
    wait_until("the channel is filled", || channel.counters().put.value() == 80);
    assert!(
        delivered.load(Relaxed) < 80,
        "the sink was faster than the test means it to be"
    );
    let reloaded = node.reload(Some(stays())).unwrap();
    assert_eq!(
        reloaded.changes.to_string(),
        "removed: channel c1, sink k1, processor k1, source r1"
    );
    assert_eq!((delivered.load(Relaxed), dropped(&node)), (80, 0));
    assert!(node.channel("c1").is_none() && node.channel("c9").is_some());
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
}

#[test]
fn what_nobody_can_empty_is_counted() {
    let node = start(&FULL, &Arc::default());
    let channel = node.channel("c1").unwrap();
    wait_until("the channel is filled", || channel.channel().held() == 80);
    node.reload(Some(stays())).unwrap();
    assert_eq!(dropped(&node), 80);
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
}
