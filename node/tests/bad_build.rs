//! A component whose build function panics, and errors in a lenient reload: named, and whatever runs goes on.

#![allow(clippy::unwrap_used, reason = "a test")]

use node::component::error::RunError;
use node::component::source::{Source, SourceContext};
use node::{Node, Outcome, StartError};

struct Idle;

impl Source for Idle {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        ctx.ready();
        ctx.shutdown.requested().await;
        Ok(())
    }
}

fn properties(kind: &str, capacity: &str) -> Vec<(String, String)> {
    let pairs = [
        ("sources", "r1"),
        ("sources.r1.type", kind),
        ("sources.r1.channels", "c1"),
        ("channels", "c1"),
        ("channels.c1.type", "memory"),
        ("channels.c1.capacity", capacity),
        ("sinks", "k1"),
        ("sinks.k1.type", "null"),
        ("sinks.k1.channel", "c1"),
    ];
    pairs
        .iter()
        .map(|(k, v)| (format!("a1.{k}"), (*v).to_owned()))
        .collect()
}

fn start(kind: &str, lenient: bool) -> Result<Node, StartError> {
    std::panic::set_hook(Box::new(|_| {}));
    let mut builder = Node::builder()
        .agent("a1")
        .lenient(lenient)
        .source("com.acme.Idle", |_, _| Ok(Idle))
        .source("com.acme.Boom", |_, _| {
            if true { panic!("no such disk") } else { Ok(Idle) }
        });
    for (key, value) in properties(kind, "100") {
        builder = builder.property(key, value);
    }
    builder.start()
}

fn text(error: StartError) -> String {
    match error {
        StartError::Findings(found) => found.iter().map(|f| format!("{f}\n")).collect(),
        other => other.to_string(),
    }
}

#[test]
fn a_panic_while_building_is_a_finding_at_start() {
    let refused = text(start("com.acme.Boom", false).err().unwrap());
    assert!(
        refused.contains("source r1 (com.acme.Boom): panicked while it was built: no such disk"),
        "{refused}"
    );
}

#[test]
fn a_panic_while_building_does_not_end_reloading() {
    let node = start("com.acme.Idle", false).unwrap();
    let refused = text(node.reload(Some(properties("com.acme.Boom", "100"))).unwrap_err());
    assert!(refused.contains("no such disk"), "{refused}");
    let reloaded = node.reload(Some(properties("com.acme.Idle", "500"))).unwrap();
    assert_eq!(reloaded.changes.to_string(), "reconfigured: channel c1");
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
}

#[test]
fn a_lenient_reload_keeps_what_an_error_would_cut_off() {
    let node = start("com.acme.Idle", true).unwrap();
    // transactionCapacity is 100 by default: the channel cannot be built like this.
    let refused = text(node.reload(Some(properties("com.acme.Idle", "10"))).unwrap_err());
    assert!(
        refused.contains("cannot be higher than the capacity"),
        "{refused}"
    );
    assert_eq!(node.channel("c1").unwrap().limits().capacity, 100);
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
}
