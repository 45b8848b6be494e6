//! exec → memory → avro sink → avro source → memory → logger: the hop between two nodes, one event at a time.

use tests::folder::Folder;
use tests::process::Node;
use tests::{http, port};

use crate::assert_numbered;

const LINES: u64 = 200;

/// Both agents in one file, as an operator would write them.
fn configuration(port: u16) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1

a1.sources.r1.type = exec
a1.sources.r1.command = seq 1 {LINES}
a1.sources.r1.channels = c1

a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000

a1.sinks.k1.type = avro
a1.sinks.k1.hostname = 127.0.0.1
a1.sinks.k1.port = {port}
a1.sinks.k1.batch-size = 1
a1.sinks.k1.channel = c1

a2.sources = r1
a2.channels = c1
a2.sinks = k1

a2.sources.r1.type = avro
a2.sources.r1.bind = 127.0.0.1
a2.sources.r1.port = {port}
a2.sources.r1.channels = c1

a2.channels.c1.type = memory
a2.channels.c1.capacity = 1000

a2.sinks.k1.type = logger
a2.sinks.k1.channel = c1
"
    )
}

#[test]
fn lines_cross_two_agents_once_and_in_order() {
    let folder = Folder::new("two-agents");
    let file = folder.write("node.properties", &configuration(port::free()));
    let mut second = Node::agent("a2", &file).start();
    let mut first = Node::agent("a1", &file).start();
    second.wait_for_events(usize::try_from(LINES).expect("a small number"));

    assert_eq!(first.stop(), 0);
    assert_eq!(second.stop(), 0);
    assert_numbered(&second.logged(), "", LINES);
}

#[test]
fn events_wait_for_a_second_agent_that_comes_later() {
    let folder = Folder::new("late-agent");
    let file = folder.write("node.properties", &configuration(port::free()));
    let metrics = port::free();
    let mut first = Node::agent("a1", &file).monitoring(metrics).start();
    http::metrics_until(metrics, "all lines wait, and the sink has tried", |page| {
        let failed = page["SINK.k1"]["ConnectionFailedCount"].as_str();
        page["CHANNEL.c1"]["EventPutSuccessCount"] == LINES.to_string().as_str()
            && failed.is_some_and(|count| count != "0")
    });

    let mut second = Node::agent("a2", &file).start();
    second.wait_for_events(usize::try_from(LINES).expect("a small number"));
    let delivered = http::metrics_until(metrics, "all lines are delivered", |page| {
        page["SINK.k1"]["EventDrainSuccessCount"] == LINES.to_string().as_str()
    });
    assert_eq!(
        delivered["SINK.k1"]["BatchCompleteCount"],
        LINES.to_string().as_str()
    );
    assert_eq!(delivered["CHANNEL.c1"]["ChannelSize"], "0");

    assert_eq!(first.stop(), 0);
    assert_eq!(second.stop(), 0);
    assert_numbered(&second.logged(), "", LINES);
}
