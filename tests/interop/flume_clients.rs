//! Programs that send: Flume's client SDK in its three kinds and its avro-client to us, and our avro-client to Flume.

use tests::avro::Connection;
use tests::folder::Folder;
use tests::process::Node;
use tests::wait::LIVENESS;
use tests::{http, port};

use crate::events::{NUMBER, assert_rolled, lines, numbered};
use crate::flume::{Flume, PASSWORD, STOPPED, Version};
use crate::hop::{self, Wire};

const EVENTS: u64 = 1_000;

/// An agent of either side: two avro sources → memory → file_roll.
fn receiver(folder: &Folder, ports: [u16; 2]) -> String {
    let rolled = folder.make("rolled");
    format!(
        "a1.sources = r1 r2
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {}
a1.sources.r1.channels = c1
a1.sources.r2.type = avro
a1.sources.r2.bind = 127.0.0.1
a1.sources.r2.port = {}
a1.sources.r2.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = header_and_text
",
        ports[0],
        ports[1],
        rolled.display()
    )
}

/// A program of Flume's sends a file to two sources of ours.
struct ToUs {
    flume: Flume,
    folder: Folder,
    node: Node,
    ports: [u16; 2],
    metrics: u16,
    input: String,
}

impl ToUs {
    fn start() -> Option<Self> {
        let flume = Flume::find(Version::V1_11)?;
        let folder = Folder::new("flume-client");
        let ports = [port::free(), port::free()];
        let file = folder.write("node.properties", &receiver(&folder, ports));
        let metrics = port::free();
        let node = Node::agent("a1", file).monitoring(metrics).start();
        ports
            .iter()
            .for_each(|port| drop(Connection::open_when_up(*port)));
        let input = folder.write("input", &lines(EVENTS)).display().to_string();
        Some(Self {
            flume,
            folder,
            node,
            ports,
            metrics,
            input,
        })
    }

    /// Sends the lines with the SDK, and expects its class among what it says, and so many calls at either source.
    #[track_caller]
    fn check_sdk(mut self, call: &str, properties: &str, class: &str, calls: [&str; 2]) {
        let properties = self.folder.write("client.properties", properties);
        let properties = properties.display().to_string();
        let mut client = self.flume.run(&["SendEvents", &properties, call, &self.input]);
        assert_eq!(client.process.wait_exit(LIVENESS), 0);
        let said = client.process.log().lines().join("\n");
        assert!(said.contains(&format!("client {class}, ")), "{said}");
        assert!(said.contains(&format!("sent {EVENTS}")), "{said}");
        let page = http::metrics_until(self.metrics, "all events are stored", |page| {
            page["CHANNEL.c1"]["EventPutSuccessCount"] == EVENTS.to_string().as_str()
        });
        let counter = if call == "append" {
            "AppendAcceptedCount"
        } else {
            "AppendBatchAcceptedCount"
        };
        let counted = ["SOURCE.r1", "SOURCE.r2"].map(|source| page[source][counter].clone());
        assert_eq!(counted, calls);
        self.check(numbered);
    }

    #[track_caller]
    fn check(&mut self, headers: impl Fn(u64) -> String + Copy) {
        let rolled = self.folder.path().join("rolled");
        assert_rolled(&rolled, EVENTS, headers);
        assert_eq!(self.node.stop(), 0);
        assert_rolled(&rolled, EVENTS, headers);
    }
}

#[test]
fn the_sdk_sends_single_events() {
    let Some(to_us) = ToUs::start() else { return };
    let properties = format!("hosts = h1\nhosts.h1 = 127.0.0.1:{}\n", to_us.ports[0]);
    to_us.check_sdk(
        "append",
        &properties,
        "org.apache.flume.api.NettyAvroRpcClient",
        ["1000", "0"],
    );
}

#[test]
fn the_sdk_sends_batches() {
    let Some(to_us) = ToUs::start() else { return };
    let properties = format!(
        "client.type = default\nhosts = h1\nhosts.h1 = 127.0.0.1:{}\nbatch-size = 77\n",
        to_us.ports[0]
    );
    to_us.check_sdk(
        "appendBatch",
        &properties,
        "org.apache.flume.api.NettyAvroRpcClient",
        ["13", "0"],
    );
}

#[test]
fn the_failover_client_finds_the_host_that_is_there() {
    let Some(to_us) = ToUs::start() else { return };
    let properties = format!(
        "client.type = default_failover
hosts = h1 h2 h3
hosts.h1 = 127.0.0.1:{}
hosts.h2 = 127.0.0.1:{}
hosts.h3 = 127.0.0.1:{}
",
        port::free(),
        to_us.ports[0],
        to_us.ports[1]
    );
    to_us.check_sdk(
        "appendBatch",
        &properties,
        "org.apache.flume.api.FailoverRpcClient",
        ["10", "0"],
    );
}

#[test]
fn the_load_balancing_client_sends_to_both() {
    let Some(to_us) = ToUs::start() else { return };
    let properties = format!(
        "client.type = default_loadbalance
hosts = h1 h2
hosts.h1 = 127.0.0.1:{}
hosts.h2 = 127.0.0.1:{}
",
        to_us.ports[0], to_us.ports[1]
    );
    to_us.check_sdk(
        "appendBatch",
        &properties,
        "org.apache.flume.api.LoadBalancingRpcClient",
        ["5", "5"],
    );
}

#[test]
fn flumes_avro_client_sends_a_file_with_headers_to_us() {
    let Some(mut to_us) = ToUs::start() else { return };
    let headers = to_us.folder.write("h.properties", "from = flume\n");
    let port = to_us.ports[0].to_string();
    let mut client = to_us.flume.run(&[
        "avro-client",
        "-H",
        "127.0.0.1",
        "-p",
        &port,
        "-F",
        &to_us.input,
        "-R",
        &headers.display().to_string(),
    ]);
    assert_eq!(client.process.wait_exit(LIVENESS), 0);
    to_us.check(|_| "from=flume".to_owned());
}

#[test]
fn our_avro_client_sends_a_file_with_headers_to_flume() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let folder = Folder::new("client-to-flume");
    let ports = [port::free(), port::free()];
    let mut peer = flume.agent(&folder, "r1", &receiver(&folder, ports));
    let input = folder.write("input", &lines(EVENTS)).display().to_string();
    let headers = folder.write("h.properties", &format!("{NUMBER} = all\n"));
    let (port, headers) = (ports[0].to_string(), headers.display().to_string());
    let words = [
        "avro-client",
        "-H",
        "localhost",
        "-p",
        &port,
        "-F",
        &input,
        "-R",
        &headers,
    ];
    let mut client = Node::run(&words);
    assert_eq!(client.wait_exit(LIVENESS), 0);
    let rolled = folder.path().join("rolled");
    assert_rolled(&rolled, EVENTS, |_| format!("{NUMBER}=all"));
    assert_eq!(peer.process.stop(), STOPPED);
    assert_rolled(&rolled, EVENTS, |_| format!("{NUMBER}=all"));
}

#[test]
fn our_avro_client_speaks_tls_in_compression_to_flume() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let folder = Folder::new("client-to-flume");
    let port = port::free();
    let wire = Wire::default().tls(flume, "PKCS12", "p12").deflate("6");
    let mut peer = flume.agent(&folder, "r1", &hop::receiver(&folder, port, &wire));
    let input = folder.write("input", &lines(EVENTS)).display().to_string();
    let properties = folder.write(
        "client.properties",
        &format!(
            "hosts = h1
hosts.h1 = 127.0.0.1:{port}
compression-type = deflate
ssl = true
truststore = {}
truststore-password = {PASSWORD}
truststore-type = PKCS12
",
            flume.store("trust.p12")
        ),
    );
    let words = [
        "avro-client",
        "-P",
        &properties.display().to_string(),
        "-F",
        &input,
    ];
    let mut client = Node::run(&words);
    assert_eq!(client.wait_exit(LIVENESS), 0);
    let rolled = folder.path().join("rolled");
    assert_rolled(&rolled, EVENTS, |_| String::new());
    assert_eq!(peer.process.stop(), STOPPED);
    assert_rolled(&rolled, EVENTS, |_| String::new());
}
