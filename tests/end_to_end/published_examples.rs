//! The folders of `examples/`, each started as its README says, with ports and paths of the test's own.
//!
//! A newcomer starts there, so an example that does not run is worse than none. Each one has a test here that takes
//! its `node.properties` as it is published and replaces what only one process of a machine can have.

use std::fs;

use tests::ledger::Ledger;
use tests::wait::{self, LIVENESS};

use crate::example::{Example, examples, read};
use crate::three_agents::lines_in;

/// Folders that a test starts.
pub const STARTED: &[&str] = &[
    // Below.
    "tail_to_logger",
    "two_agents",
    "three_agents",
    // failover.rs
    "failover",
    "failover_tail",
    "failover_two_channels",
    // http_flows.rs
    "consolidation",
    "http_filter",
    "http_multiplexing",
    "http_replicating",
    // load_balance.rs
    "load_balance",
    // spill_to_disk.rs
    "spill_to_disk",
    // spool_directory.rs
    "spool_to_files",
    // tiers.rs
    "three_tiers",
];

/// Folders that no test starts, with the reason.
const NOT_STARTED: &[(&str, &str)] = &[];

#[test]
fn every_published_example_is_started_or_says_why_not() {
    for name in published() {
        let excused = NOT_STARTED.iter().any(|(excused, _)| *excused == name);
        assert!(
            excused || STARTED.contains(&name.as_str()),
            "examples/{name}: start it in tests/end_to_end/published_examples.rs"
        );
    }
    for name in STARTED {
        assert!(published().iter().any(|found| found == name), "{name} is gone");
    }
}

#[test]
fn every_readme_tells_how_to_start_each_agent() {
    for name in published() {
        let folder = examples().join(&name);
        let readme = read(&folder.join("README.md"));
        for agent in agents(&read(&folder.join("node.properties"))) {
            let command = format!("-- agent -n {agent} -f examples/{name}/node.properties");
            assert!(
                readme.contains(&command),
                "examples/{name}/README.md: no `{command}`"
            );
        }
    }
}

#[test]
fn the_example_tail_to_logger_prints_what_is_written() {
    let example = Example::read("tail_to_logger");
    example.folder.write("app.log", "hello\n");
    let mut node = example.start("a1");
    node.wait_for_events(1);
    example.folder.append("app.log", "world\n");
    let events = node.wait_for_events(2);
    let texts: Vec<String> = events.iter().map(|event| event.text()).collect();
    assert_eq!(texts, ["hello", "world"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn the_example_two_agents_carries_lines_from_one_to_the_other() {
    let example = Example::read("two_agents").with_free_port(4545);
    example.folder.write("app.log", "hello\n");
    // In the order that needs patience: the sender first.
    let mut first = example.start("a1");
    let mut second = example.start("a2");
    let events = second.wait_for_events(1);
    assert_eq!(events[0].text(), "hello");
    assert_eq!(first.stop(), 0);
    assert_eq!(second.stop(), 0);
}

#[test]
fn the_example_three_agents_fills_its_folder() {
    let example = Example::read("three_agents")
        .with_free_port(4545)
        .with_free_port(4546);
    let out = example.folder.make("lines");
    let mut nodes = ["a3", "a2", "a1"].map(|agent| example.start(agent));
    wait::until_true("all lines", LIVENESS, || lines_in(&out).len() >= 5_000);
    for node in nodes.iter_mut().rev() {
        assert_eq!(node.stop(), 0);
    }
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=5_000);
    for line in lines_in(&out) {
        ledger.saw_text("r1", "", &line);
    }
    ledger.assert_once_and_in_order();
}

/// Names of the folders that hold a `node.properties`.
fn published() -> Vec<String> {
    let entries = fs::read_dir(examples()).expect("the folder `examples` is there");
    let folders = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let published = folders.filter(|folder| folder.join("node.properties").is_file());
    published
        .filter_map(|folder| Some(folder.file_name()?.to_str()?.to_owned()))
        .collect()
}

/// The agents of a file: `a1` of `a1.sources = r1`.
fn agents(text: &str) -> Vec<&str> {
    let keys = text.lines().filter_map(|line| line.split_once('='));
    keys.filter_map(|(key, _)| key.trim().strip_suffix(".sources"))
        .collect()
}
