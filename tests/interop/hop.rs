//! One hop over Avro, with Flume at one end and a node at the other, both with a memory channel, and files at the end.

use tests::avro::{Client, Reply};
use tests::folder::Folder;
use tests::port;
use tests::process::Node;

use crate::events::{NUMBER, assert_rolled, body, lines, numbered};
use crate::flume::{Flume, PASSWORD, STOPPED};

/// How many cross.
pub const EVENTS: u64 = 3_000;

/// What both ends of a connection say about it; the properties of either side are the same for Flume and for us.
#[derive(Debug, Clone, Default)]
pub struct Wire {
    /// Of the sink `k1`.
    sink: String,
    /// Of the source `r1`.
    source: String,
}

impl Wire {
    /// One more property of the sink.
    pub fn sink(mut self, key: &str, value: &str) -> Self {
        self.sink += &format!("a1.sinks.k1.{key} = {value}\n");
        self
    }

    /// One more property of the source.
    pub fn source(mut self, key: &str, value: &str) -> Self {
        self.source += &format!("a1.sources.r1.{key} = {value}\n");
        self
    }

    /// Compressed.
    pub fn deflate(self, level: &str) -> Self {
        let sink = self
            .sink("compression-type", "deflate")
            .sink("compression-level", level);
        sink.source("compression-type", "deflate")
    }

    /// Encrypted, with stores of this type and files with that ending.
    pub fn tls(self, flume: Flume, kind: &str, ending: &str) -> Self {
        let source = self
            .source("ssl", "true")
            .source("keystore", &flume.store(&format!("server.{ending}")))
            .source("keystore-password", PASSWORD)
            .source("keystore-type", kind);
        source
            .sink("ssl", "true")
            .sink("truststore", &flume.store(&format!("trust.{ending}")))
            .sink("truststore-password", PASSWORD)
            .sink("truststore-type", kind)
    }
}

/// avro source → memory → file_roll, understood by both sides in the same words.
pub fn receiver(folder: &Folder, port: u16, wire: &Wire) -> String {
    let rolled = folder.make("rolled");
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
{}a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = header_and_text
",
        wire.source,
        rolled.display()
    )
}

/// memory → avro sink; the source is the caller's.
pub fn sender(port: u16, wire: &Wire) -> String {
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
{}",
        wire.sink
    )
}

/// What Flume adds to [`sender`]: it reads a file, and gives every line its number as a header.
pub fn reader(folder: &Folder) -> String {
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
pub fn entry(port: u16) -> String {
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
pub fn feed(entry: u16) {
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
pub fn check_from(flume: Flume, wire: &Wire) {
    let folder = Folder::new("from-flume");
    let port = port::free();
    let file = folder.write("node.properties", &receiver(&folder, port, wire));
    let mut node = Node::agent("a1", file).start();
    let mut peer = flume.agent(&folder, "k1", &(sender(port, wire) + &reader(&folder)));
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_eq!(node.stop(), 0);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
}

/// We send to Flume, with these more properties on either side.
#[track_caller]
pub fn check_to(flume: Flume, wire: &Wire) {
    let folder = Folder::new("to-flume");
    let (from, port) = (port::free(), port::free());
    let mut peer = flume.agent(&folder, "r1", &receiver(&folder, port, wire));
    let file = folder.write("node.properties", &(sender(port, wire) + &entry(from)));
    let mut node = Node::agent("a1", file).start();
    feed(from);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
    assert_eq!(node.stop(), 0);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_rolled(&folder.path().join("rolled"), EVENTS, numbered);
}
