//! The hop between the generations: Flume 1.11 to us and we to Flume 1.11, over Avro.

use tests::avro::{Client, Reply};
use tests::folder::Folder;
use tests::port;
use tests::process::Node;

use crate::events::{NUMBER, assert_rolled, body, lines, numbered};
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

/// Flume reads a file, gives every line its number as a header, and sends it to us.
#[track_caller]
fn check_from_flume(sink: &str, source: &str) {
    let Some(flume) = Flume::find() else { return };
    let folder = Folder::new("from-flume");
    let port = port::free();
    let file = folder.write("node.properties", &receiver(&folder, port, source));
    let mut node = Node::agent("a1", file).start();
    let input = folder.write("input", &lines(EVENTS));
    let mut peer = flume.agent(
        &folder,
        "k1",
        &format!(
            "{}a1.sources = r1
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
            sender(port, sink),
            input.display()
        ),
    );
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_eq!(node.stop(), 0);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
}

/// We get events over Avro and pass them on to Flume.
#[track_caller]
fn check_to_flume(sink: &str, source: &str) {
    let Some(flume) = Flume::find() else { return };
    let folder = Folder::new("to-flume");
    let (entry, port) = (port::free(), port::free());
    let mut peer = flume.agent(&folder, "r1", &receiver(&folder, port, source));
    let file = folder.write(
        "node.properties",
        &format!(
            "{}a1.sources = r1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {entry}
a1.sources.r1.channels = c1
",
            sender(port, sink)
        ),
    );
    let mut node = Node::agent("a1", file).start();
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
