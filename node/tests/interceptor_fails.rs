//! An interceptor that fails refuses a put and nothing more: the source that it stands behind goes on, is not started
//! again and not parked, and its events come in their order once the interceptor lets them through.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use node::component::error::RunError;
use node::component::interceptor::Interceptor;
use node::telemetry::metric;
use node::{Node, Outcome};
use proto::event::Batch;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// More than the restarts after which a source is parked.
const FAILURES: u64 = 8;

const CONFIGURATION: [(&str, &str); 11] = [
    ("a1.sources", "r1"),
    ("a1.channels", "c1"),
    ("a1.sinks", "k1"),
    ("a1.sources.r1.type", "seq"),
    ("a1.sources.r1.totalEvents", "20"),
    ("a1.sources.r1.channels", "c1"),
    ("a1.sources.r1.interceptors", "i1"),
    ("a1.sources.r1.interceptors.i1.type", "com.acme.Moody"),
    ("a1.channels.c1.type", "memory"),
    ("a1.sinks.k1.type", "null"),
    ("a1.sinks.k1.channel", "c1"),
];

/// Fails so many times, then lets everything through.
struct Moody(Arc<AtomicU64>);

impl Interceptor for Moody {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        match self.0.fetch_add(1, SeqCst) {
            0..FAILURES => Err(RunError::reject("i1: not in the mood")),
            _ => Ok(batch),
        }
    }
}

#[test]
fn a_source_behind_an_interceptor_that_fails_is_not_started_again() {
    let asked = Arc::new(AtomicU64::new(0));
    let of_all = asked.clone();
    let builder = Node::builder()
        .agent("a1")
        .worker_threads(2)
        .interceptor("com.acme.Moody", move |_, _| Ok(Moody(of_all.clone())));
    let pairs = CONFIGURATION.into_iter();
    let node = pairs
        .fold(builder, |builder, (key, value)| builder.property(key, value))
        .start()
        .unwrap();
    let registry = node.registry().clone();
    let labels = [("component", "c1"), ("type", "memory")];
    let put = registry.counter(metric::CHANNEL_PUT_EVENTS, &labels);
    let begin = Instant::now();
    while put.value() < 20 {
        assert!(
            begin.elapsed() < LIMIT,
            "{} events, asked {asked:?} times",
            put.value()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let child = [("child", "source r1")];
    assert_eq!(registry.counter(metric::CHILD_RESTARTS, &child).value(), 0);
    assert!(asked.load(SeqCst) > FAILURES);
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
}
