//! What is left when components fail: exactly what Flume leaves, and nothing half-built.

use super::*;
use crate::component::context::SystemClock;
use crate::component::fault::Faults;
use crate::component::keys::Entry;
use crate::flow::board::Board;
use crate::telemetry::Registry;
use crate::topology::{all_types, graph, plan};
use tokio_util::sync::CancellationToken;

/// The titles of what would run, in start order, and how many errors there were.
fn left(text: &str) -> (Vec<String>, usize) {
    let place = Place {
        file: Path::new("f").into(),
        line: 1,
    };
    let entry = |line: &str| {
        let (key, value) = line.split_once('=').unwrap();
        let value = value.trim().to_owned();
        let place = place.clone();
        (format!("a.{}", key.trim()), Entry { value, place })
    };
    let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
    let (graph, mut findings) = graph::read(&lines.map(entry).collect(), "a", &place);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let site = Site {
        env: Env {
            runtime: runtime.handle().clone(),
            registry: Arc::new(Registry::default()),
            board: Arc::new(Board::default()),
            clock: Arc::new(SystemClock::default()),
            seed: 0,
            faults: Faults::default(),
            hurry: CancellationToken::new(),
        },
        types: Arc::new(all_types()),
        max_heap_bytes: None,
        tls: Default::default(),
    };
    let (applied, found) = apply(&plan::plan(graph), &site, &Reuse::default());
    findings.extend(found);
    let titles: Vec<String> = applied
        .children
        .iter()
        .map(|child| child.id.to_string())
        .collect();
    let channels = titles.iter().filter(|t| t.starts_with("channel ")).count();
    assert_eq!(applied.channels.len(), channels, "a channel without an actor");
    let errors = findings.iter().filter(|f| f.severity == Severity::Error).count();
    (titles, errors)
}

const TWO: &str = "sources = r1 r2
    channels = c1 c2
    sinks = k1 k2
    sources.r1.type = seq
    sources.r1.channels = c1 c2
    sources.r2.type = seq
    sources.r2.channels = c2
    channels.c1.type = memory
    channels.c2.type = memory
    sinks.k1.type = null
    sinks.k1.channel = c1
    sinks.k2.type = null
    sinks.k2.channel = c2
    ";

fn after(change: &str) -> (Vec<String>, usize) {
    left(&format!("{TWO}{change}"))
}

#[test]
fn a_good_agent_is_complete() {
    let all = [
        "channel c1",
        "channel c2",
        "sink k1",
        "sink k2",
        "processor k1",
        "processor k2",
        "source r1",
        "source r2",
    ];
    assert_eq!(after(""), (all.map(str::to_owned).to_vec(), 0));
}

#[test]
fn a_channel_takes_its_sinks_and_the_sources_that_have_no_other() {
    let (titles, errors) = after("channels.c2.capacity = 1");
    assert_eq!(titles, ["channel c1", "sink k1", "processor k1", "source r1"]);
    assert_eq!(errors, 1);
    assert_eq!(after("channels.c2.type = jdbc").0, titles);
}

#[test]
fn a_sink_goes_alone_and_its_channel_stays_for_the_sources() {
    let (titles, errors) = after("sinks.k2.batchSize = 0");
    let rest = [
        "channel c1",
        "channel c2",
        "sink k1",
        "processor k1",
        "source r1",
        "source r2",
    ];
    assert_eq!(
        (titles.as_slice(), errors),
        (rest.map(str::to_owned).as_slice(), 1)
    );
    assert_eq!(after("sinks.k2.batchSize = 101").0, titles, "too large a batch");
    assert_eq!(after("sinks.k2.channel = c9").0, titles, "an unknown channel");
}

#[test]
fn a_source_goes_alone_with_its_selector_or_an_interceptor() {
    let (titles, _) = after("sources.r1.batchSize = 0");
    assert!(
        !titles.contains(&"source r1".to_owned()) && titles.len() == 7,
        "{titles:?}"
    );
    assert_eq!(after("sources.r1.batchSize = 101").0, titles);
    assert_eq!(after("sources.r1.selector.type = bogus").0, titles);
    assert_eq!(after("sources.r1.interceptors = i1").0, titles);
    assert_eq!(after("sources.r1.type = netcat").0, titles);
}

#[test]
fn a_channel_that_lost_all_its_users_is_not_started() {
    let (titles, _) = left(
        "sources = r1
         channels = c1
         sinks = k1
         sources.r1.type = seq
         sources.r1.channels = c1
         sources.r1.batchSize = 0
         channels.c1.type = memory
         sinks.k1.type = null
         sinks.k1.channel = c1
         sinks.k1.batchSize = 0",
    );
    assert_eq!(titles, [""; 0]);
}

#[test]
fn a_sink_that_is_gone_leaves_its_group_and_is_one_mistake() {
    for processor in ["failover", "load_balance"] {
        let (titles, errors) = after(&format!(
            "sinkgroups = g1
             sinkgroups.g1.sinks = k1 k2
             sinkgroups.g1.processor.type = {processor}
             sinks.k2.batchSize = 0"
        ));
        assert!(titles.contains(&"processor g1".to_owned()), "{titles:?}");
        assert!(titles.contains(&"sink k1".to_owned()), "{titles:?}");
        assert!(!titles.contains(&"sink k2".to_owned()), "{titles:?}");
        assert_eq!(errors, 1);
    }
}

#[test]
fn a_group_that_cannot_be_built_takes_its_sinks() {
    let (titles, errors) = after(
        "sinkgroups = g1
         sinkgroups.g1.sinks = k1 k2
         sinkgroups.g1.processor.type = failover
         sinkgroups.g1.processor.priority.k1 = 1
         sinkgroups.g1.processor.priority.k2 = 1",
    );
    assert_eq!(titles, ["channel c1", "channel c2", "source r1", "source r2"]);
    assert_eq!(errors, 1);
}

#[test]
fn a_sink_of_two_groups_stays_in_the_first_by_hash() {
    let (titles, errors) = after(
        "sinkgroups = g2 g1
         sinkgroups.g1.sinks = k1
         sinkgroups.g1.processor.type = default
         sinkgroups.g2.sinks = k1 k2
         sinkgroups.g2.processor.type = default",
    );
    assert!(titles.contains(&"processor g1".to_owned()), "{titles:?}");
    assert!(titles.contains(&"processor g2".to_owned()), "{titles:?}");
    assert_eq!(errors, 1);
}
