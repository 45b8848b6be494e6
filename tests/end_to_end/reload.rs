//! The file is edited while the node runs: only what changed restarts, and a bad file changes nothing.

use std::time::Duration;

use tests::folder::Folder;
use tests::process::{Node, Signal};

const LIMIT: Duration = Duration::from_secs(30);

fn configuration(command: &str, capacity: u32) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1

a1.sources.r1.type = exec
a1.sources.r1.command = {command}
a1.sources.r1.channels = c1

a1.channels.c1.type = memory
a1.channels.c1.capacity = {capacity}

a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
"
    )
}

#[test]
fn an_edited_file_restarts_only_what_changed_and_a_bad_one_nothing() {
    let folder = Folder::new("reload");
    let file = folder.write("node.properties", &configuration("seq 1 2", 100));
    let mut node = Node::agent("a1", &file).start();
    node.wait_for_events(2);

    folder.write("node.properties", &configuration("seq 1 2", 500));
    node.signal(Signal::Hangup);
    let report = |line: &str| line.contains("configuration reloaded");
    let line = node.wait_for_line("the report of a reload", LIMIT, report);
    assert!(
        line.contains("reconfigured: channel c1") && !line.contains("restarted"),
        "{line}"
    );

    folder.write(
        "node.properties",
        &configuration("seq 3 5", 500).replace("logger", "loger"),
    );
    node.signal(Signal::Hangup);
    let refusal = node.wait_for_line("the refusal", LIMIT, |line| line.contains("nothing has changed"));
    assert!(refusal.contains("ERROR"), "{refusal}");

    folder.write("node.properties", &configuration("seq 3 5", 500));
    node.signal(Signal::Hangup);
    let restarted = |line: &str| line.contains("restarted: source r1");
    node.wait_for_line("the report of the last reload", LIMIT, restarted);
    let events = node.wait_for_events(5);
    let bodies: Vec<String> = events.iter().map(|event| event.text()).collect();
    assert_eq!(bodies, ["1", "2", "3", "4", "5"]);
    assert_eq!(node.stop(), 0);
}
