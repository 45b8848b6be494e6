//! `tail -F` of a growing file → memory channel → logger: the first thing that everybody tries.

use tests::folder::Folder;
use tests::logger;
use tests::process::{Node, Signal, processes_with};
use tests::wait::{self, LIVENESS};

use crate::assert_numbered;

const LINES: u64 = 100;

fn configuration(folder: &Folder) -> String {
    let file = folder.at("app.log");
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1

a1.sources.r1.type = exec
a1.sources.r1.command = tail -F {file}
a1.sources.r1.batchTimeout = 100
a1.sources.r1.channels = c1

a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000

a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
"
    )
}

#[test]
fn every_line_of_a_growing_file_is_logged_once_and_in_order() {
    let folder = Folder::new("tail");
    let file = folder.write("node.properties", &configuration(&folder));
    folder.write("app.log", "line 1\n");
    let mut node = Node::agent("a1", file).start();
    // `tail` shows what is there and follows from then on; before it runs, lines may scroll out of its first look.
    node.wait_for_events(1);
    for number in 2..=LINES {
        folder.append("app.log", &format!("line {number}\n"));
    }
    node.wait_for_events(usize::try_from(LINES).expect("a small number"));

    assert_eq!(node.stop(), 0, "the channel is empty");
    assert_numbered(&node.logged(), "line ", LINES);
    let tail_is_gone = || processes_with(&folder.at("app.log")).is_empty();
    wait::until_true("the end of tail", LIVENESS, tail_is_gone);
}

#[test]
fn a_line_is_dumped_as_flume_does() {
    let folder = Folder::new("dump");
    let file = folder.write("node.properties", &configuration(&folder));
    folder.write("app.log", "hello\n");
    let mut node = Node::agent("a1", file).start();
    let line = node.wait_for_line("hello", LIVENESS, |line| line.contains("68 65 6C 6C 6F"));

    let dump = "Event: { headers:{} body: 68 65 6C 6C 6F                                  hello }";
    assert_eq!(logger::event("", "hello"), dump);
    let (time, rest) = line
        .split_once("Z  INFO ")
        .expect("a line starts with its time and level");
    assert!(time.starts_with("20") && time.contains('T'), "{line}");
    assert_eq!(rest, format!("org.apache.flume.sink.LoggerSink: {dump}"));

    node.signal(Signal::Term);
    assert_eq!(node.wait_exit(LIVENESS), 0);
}
