//! A drain survives crashes: what must empty the channels is kept alive until they are empty.

#![allow(clippy::unwrap_used, reason = "a test")]

use node::component::channel::{Lease, Want};
use node::component::error::RunError;
use node::component::fault::{Faults, Stage};
use node::component::sink::{Sink, SinkContext};
use node::{Node, Outcome};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Takes nothing until it is let go; then one event at a time.
struct Gated {
    open: Arc<AtomicBool>,
    delivered: Arc<AtomicU64>,
}

impl Sink for Gated {
    fn want(&self) -> Want {
        Want::events(1)
    }

    async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
        if !self.open.load(Relaxed) {
            return Err(RunError::retry_after(Duration::from_millis(1), "not yet"));
        }
        lease.commit().await?;
        self.delivered.fetch_add(1, Relaxed);
        Ok(())
    }
}

#[test]
fn crashes_of_sink_processor_and_channel_during_a_drain_lose_nothing() {
    std::panic::set_hook(Box::new(|info| {
        if !info
            .payload_as_str()
            .is_some_and(|text| text.starts_with("on purpose"))
        {
            eprintln!("{info}");
        }
    }));
    let (open, delivered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let struck = Arc::new(Mutex::new(BTreeSet::new()));
    let (hook_open, hook_struck) = (open.clone(), struck.clone());
    let hook = move |stage: Stage, name: &str| {
        let chosen = [
            Stage::SinkProcessed,
            Stage::ProcessorRound,
            Stage::ChannelTick,
            Stage::SinkTaken,
        ];
        let due = hook_open.load(Relaxed) && chosen.contains(&stage);
        // Each stage once, and only when the drain is under way.
        let first = due
            && hook_struck
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(format!("{stage:?}"));
        assert!(!first, "on purpose: {stage:?} of {name}");
    };
    let (sink_open, sink_delivered) = (open.clone(), delivered.clone());
    let node = Node::builder()
        .agent("a1")
        .faults(Faults::new(hook))
        .sink("com.acme.Gated", move |_, _| {
            Ok(Gated {
                open: sink_open.clone(),
                delivered: sink_delivered.clone(),
            })
        })
        .property("a1.sources", "r1")
        .property("a1.sources.r1.type", "seq")
        .property("a1.sources.r1.totalEvents", "90")
        .property("a1.sources.r1.channels", "c1")
        .property("a1.channels", "c1")
        .property("a1.channels.c1.type", "memory")
        .property("a1.sinks", "k1")
        .property("a1.sinks.k1.type", "com.acme.Gated")
        .property("a1.sinks.k1.channel", "c1")
        .start()
        .unwrap();
    let channel = node.channel("c1").unwrap();
    let begin = Instant::now();
    while channel.channel().held() < 90 {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "the source did not fill the channel"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    node.stop();
    open.store(true, Relaxed);
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
    let struck = struck.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(struck.len() >= 3, "struck only {struck:?}");
    assert_eq!(delivered.load(Relaxed), 90);
}
