//! The hop between the generations: Flume 1.11 to us and we to Flume 1.11, over Avro, and what happens when either is
//! away or full for a while.

use tests::avro::{Client, Reply};
use tests::folder::Folder;
use tests::port;
use tests::process::Node;
use tests::wait::LIVENESS;

use crate::events::{NUMBER, assert_rolled, assert_rolled_from, body, lines, numbered};
use crate::flume::{Flume, STOPPED};

const EVENTS: u64 = 3_000;

/// avro source → memory → file_roll, understood by both sides in the same words.
fn receiver(folder: &Folder, port: u16, source: &str) -> String {
    let rolled = folder.make("rolled");
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
{source}
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = header_and_text
",
        rolled.display()
    )
}

/// memory → avro sink; the source is the caller's.
fn sender(port: u16, sink: &str) -> String {
    format!(
        "a1.channels = c1
a1.sinks = k1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = avro
a1.sinks.k1.channel = c1
a1.sinks.k1.hostname = 127.0.0.1
a1.sinks.k1.port = {port}
a1.sinks.k1.batch-size = 250
{sink}
"
    )
}

/// What Flume adds to [`sender`]: it reads a file, and gives every line its number as a header.
fn reader(folder: &Folder) -> String {
    let input = folder.write("input", &lines(EVENTS));
    format!(
        "a1.sources = r1
a1.sources.r1.type = exec
a1.sources.r1.command = cat {}
a1.sources.r1.channels = c1
a1.sources.r1.batchSize = 100
a1.sources.r1.interceptors = i1
a1.sources.r1.interceptors.i1.type = regex_extractor
a1.sources.r1.interceptors.i1.regex = ^(\\\\d+)
a1.sources.r1.interceptors.i1.serializers = s1
a1.sources.r1.interceptors.i1.serializers.s1.name = {NUMBER}
",
        input.display()
    )
}

/// What we add to [`sender`]: events come in over Avro, see [`feed`].
fn entry(port: u16) -> String {
    format!(
        "a1.sources = r1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
"
    )
}

/// Puts all events in.
#[track_caller]
fn feed(entry: u16) {
    let mut client = Client::open_when_up(entry);
    let numbers: Vec<u64> = (1..=EVENTS).collect();
    for part in numbers.chunks(500) {
        let texts: Vec<(String, String)> = part.iter().map(|n| (n.to_string(), body(*n))).collect();
        let headers: Vec<[(&str, &str); 1]> = texts.iter().map(|(n, _)| [(NUMBER, n.as_str())]).collect();
        let events: Vec<_> = headers
            .iter()
            .zip(&texts)
            .map(|(headers, (_, body))| (&headers[..], body.as_bytes()))
            .collect();
        assert_eq!(client.append_batch(&events).expect("an answer"), Reply::Ok);
    }
}

/// Flume sends to us, with these more properties on either side.
#[track_caller]
fn check_from_flume(sink: &str, source: &str) {
    let Some(flume) = Flume::find() else { return };
    let folder = Folder::new("from-flume");
    let port = port::free();
    let file = folder.write("node.properties", &receiver(&folder, port, source));
    let mut node = Node::agent("a1", file).start();
    let mut peer = flume.agent(&folder, "k1", &(sender(port, sink) + &reader(&folder)));
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_eq!(node.stop(), 0);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
}

/// We send to Flume, with these more properties on either side.
#[track_caller]
fn check_to_flume(sink: &str, source: &str) {
    let Some(flume) = Flume::find() else { return };
    let folder = Folder::new("to-flume");
    let (from, port) = (port::free(), port::free());
    let mut peer = flume.agent(&folder, "r1", &receiver(&folder, port, source));
    let file = folder.write("node.properties", &(sender(port, sink) + &entry(from)));
    let mut node = Node::agent("a1", file).start();
    feed(from);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(node.stop(), 0);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
}

#[test]
fn flumes_sink_delivers_to_our_source() {
    check_from_flume("", "");
}

#[test]
fn our_sink_delivers_to_flumes_source() {
    check_to_flume("", "");
}

#[test]
fn our_sink_waits_for_a_flume_that_comes_later() {
    let Some(flume) = Flume::find() else { return };
    let folder = Folder::new("late-flume");
    let (from, port) = (port::free(), port::free());
    let file = folder.write("node.properties", &(sender(port, "") + &entry(from)));
    let mut node = Node::agent("a1", file).start();
    feed(from);
    let mut peer = flume.agent(&folder, "r1", &receiver(&folder, port, ""));
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(node.stop(), 0);
    assert_eq!(peer.process.stop(), STOPPED);
}

#[test]
fn flumes_sink_waits_for_room_with_us_and_for_us() {
    let Some(flume) = Flume::find() else { return };
    let folder = Folder::new("full-for-flume");
    let port = port::free();
    let text = receiver(&folder, port, "a1.channels.c1.keep-alive = 0");
    let without_sink = text.replace("a1.sinks = k1", "").replace("= 10000", "= 1000");
    let file = folder.write("node.properties", &without_sink);
    let mut node = Node::agent("a1", &file).start();
    let mut peer = flume.agent(&folder, "k1", &(sender(port, "") + &reader(&folder)));
    let refused = "Unable to deliver event";
    peer.process
        .wait_for_line("a refusal", LIVENESS, |line| line.contains(refused));

    // We go, and leave what was acknowledged; then somebody else comes, who has room.
    assert_eq!(node.stop(), 75, "events are left in a memory channel");
    let left = node
        .log()
        .lines()
        .iter()
        .find_map(|line| line.split_once("events=")?.1.parse::<u64>().ok());
    assert_eq!(left, Some(1000), "what was answered with OK, and nothing else");
    folder.write("node.properties", &text);
    let mut node = Node::agent("a1", &file).start();
    assert_rolled_from(&folder.path().join("rolled"), 1001..=EVENTS, numbered);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_eq!(node.stop(), 0);
}
