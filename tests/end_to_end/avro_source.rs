//! A live avro source: hostile input costs a connection and nothing else, and Flume's own bytes get Flume's answers.
//!
//! The vectors are those of wire.md 1.15 and the cases those of its section 13. An answer is compared by serial and
//! message: how it is cut into buffers means nothing (wire.md 1.2).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::Value;

use tests::avro::{Client, Connection, Frame, Reply, append_frame, frame, unhex};
use tests::folder::Folder;
use tests::process::Node;
use tests::wait::{self, LIVENESS};
use tests::{http, port};

const A1: &str = "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200000c617070656e640000000c0202610262000a68656c6c6f";
const A1_REPLY: &str = "000000010000000300000004000000000000000100000000020000";
const A2: &str = "000000020000000200000008000c617070656e64000000020000";
const A2_REPLY: &str = "0000000200000003000000000000000100000000020000";
const A3: &str = "00000003000000020000000d0016617070656e6442617463680000000d04000278020261026200027900";
const A3_REPLY: &str = "0000000300000003000000000000000100000000020000";
const A6: &str = "00000003000000010000000a000c6e6f737563680000";
const A6_REPLY: &str = "000000030000000300000000000000010000000048010088016f72672e6170616368652e6176726f2e4176726f52756e74696d65457863657074696f6e3a204e6f20737563682072656d6f7465206d6573736167653a206e6f73756368";

/// Hostile connections per kind.
const CONNECTIONS: usize = 200;
/// A node under attack needs less than this.
const RESIDENT_BYTES_MAX: u64 = 64 << 20;
const SEED: u64 = 0x666c_756d_6500_0001;

const LOGGER: &str = "a1.sinks = k1\na1.sinks.k1.type = logger\na1.sinks.k1.channel = c1\n";

/// avro source → memory channel, and what a test adds to it.
struct Server {
    node: Node,
    port: u16,
    metrics: u16,
    _folder: Folder,
}

impl Server {
    fn start(more: &str) -> Self {
        let folder = Folder::new("avro-source");
        let (port, metrics) = (port::free(), port::free());
        let text = format!(
            "a1.sources = r1
a1.channels = c1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
{more}"
        );
        let file = folder.write("node.properties", &text);
        let node = Node::agent("a1", file).monitoring(metrics).start();
        drop(Connection::open_when_up(port));
        Self {
            node,
            port,
            metrics,
            _folder: folder,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.port).expect("the source listens")
    }

    /// A connection whose handshake is done by A1.
    fn greeted(&self) -> Connection {
        let mut connection = self.connect();
        check(&mut connection, A1, A1_REPLY);
        connection
    }

    /// After hostile input: alive, small, and at the service of others.
    #[track_caller]
    fn assert_well(&mut self) {
        assert!(self.node.is_running());
        let resident = self.node.resident_bytes_max();
        assert!(
            resident < RESIDENT_BYTES_MAX,
            "{} MiB are resident",
            resident >> 20
        );
        self.greeted();
    }
}

/// Sends a vector and expects the other one.
#[track_caller]
fn check(connection: &mut Connection, request: &str, reply: &str) {
    connection.send(&unhex(request)).expect("the connection is open");
    let frame = connection.receive().expect("the node answers");
    assert_eq!(frame, Frame::of_hex(reply));
}

/// Sends bytes and expects to be closed without one in return.
#[track_caller]
fn assert_closed(server: &Server, what: &str, bytes: &[u8]) {
    let mut connection = server.connect();
    // The node may close before it has been sent everything.
    let _ = connection.send(bytes);
    let answer = connection.bytes_until_closed(LIVENESS);
    assert_eq!(answer, Some(Vec::new()), "{what}: closed, and without a byte");
}

#[test]
fn impossible_sizes_close_the_connection_without_a_byte() {
    let mut server = Server::start(LOGGER);
    for (what, hex) in [
        ("list size -1", "00000001ffffffff"),
        ("list size 2147483647", "000000017fffffff"),
        ("list size 0", "0000000100000000"),
        ("buffer length -1", "0000000100000001ffffffff"),
        ("buffer length 2147483647", "00000001000000017fffffff"),
        ("second buffer length -1", "000000010000000200000001aaffffffff"),
    ] {
        assert_closed(&server, what, &unhex(hex));
    }
    server.assert_well();
}

#[test]
fn other_protocols_are_closed_without_a_byte() {
    let mut server = Server::start(LOGGER);
    let get = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
    assert_closed(&server, "an HTTP request", get);
    let hello = unhex("16030100c8010000c40303");
    assert_closed(&server, "a TLS hello", &hello);
    server.assert_well();
}

#[test]
fn garbage_is_closed_without_a_byte() {
    let mut server = Server::start(LOGGER);
    let mut random = StdRng::seed_from_u64(SEED);
    for number in 0..CONNECTIONS {
        let mut garbage = vec![0; random.random_range(16..512)];
        random.fill_bytes(&mut garbage);
        assert_closed(&server, &format!("garbage {number} of seed {SEED:#x}"), &garbage);
    }
    server.assert_well();
}

#[test]
fn garbage_in_good_frames_hurts_nobody_else() {
    let mut server = Server::start(LOGGER);
    let mut random = StdRng::seed_from_u64(SEED);
    let a1 = unhex(A1);
    for number in 0..CONNECTIONS {
        let mut connection = server.connect();
        let bytes = if number % 2 == 0 {
            let mut garbage = vec![0; random.random_range(0..512)];
            random.fill_bytes(&mut garbage);
            frame(1, &[&garbage])
        } else {
            // A good call with one byte changed behind the sizes of its frame.
            let mut call = a1.clone();
            let at = random.random_range(12..call.len());
            call[at] ^= random.random_range(1..=255_u8);
            call
        };
        let _ = connection.send(&bytes);
        connection.close_writing();
        let ended = connection.bytes_until_closed(LIVENESS);
        assert!(
            ended.is_some(),
            "connection {number} of seed {SEED:#x} is not closed"
        );
    }
    server.assert_well();
}

#[test]
fn half_a_frame_and_silence_block_nobody() {
    let mut server = Server::start(LOGGER);
    let mut silent: Vec<Connection> = (0..20).map(|_| server.connect()).collect();
    let call = unhex(A1);
    for (number, connection) in silent.iter_mut().enumerate() {
        connection
            .send(&call[..3 * number + 1])
            .expect("the connection is open");
    }
    // Announced and never sent: memory follows what comes, not what is promised.
    let mut boaster = server.connect();
    boaster
        .send(&unhex("000000010000000103000000"))
        .expect("the connection is open");
    server.assert_well();

    for connection in &mut silent {
        let answer = connection.bytes_until_closed(Duration::from_millis(10));
        assert!(
            answer.is_none_or(|bytes| bytes.is_empty()),
            "half a call has no answer"
        );
    }
    // Whoever is slow but means well is served in the end.
    let mut last = silent.pop().expect("there are twenty");
    last.send(&call[3 * 19 + 1..]).expect("the connection is open");
    assert_eq!(last.receive().expect("the node answers"), Frame::of_hex(A1_REPLY));
}

#[test]
fn connections_opened_and_dropped_leave_nothing_behind() {
    let mut server = Server::start(LOGGER);
    server.assert_well();
    let before = server.node.open_files();
    for _ in 0..CONNECTIONS {
        drop(server.connect());
    }
    let together: Vec<Connection> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    drop(together);
    wait::until_true("all sockets closed", LIVENESS, || {
        server.node.open_files() <= before + 2
    });
    server.assert_well();
}

/// Cases 1, 2 and 3.
#[test]
fn flumes_calls_get_flumes_answers() {
    let server = Server::start(LOGGER);
    let mut connection = server.connect();
    check(&mut connection, A1, A1_REPLY);
    check(&mut connection, A2, A2_REPLY);
    check(&mut connection, A3, A3_REPLY);
    let events = server.node.wait_for_events(4);
    let seen: Vec<(String, String)> = events
        .iter()
        .map(|event| (event.headers.clone(), event.text()))
        .collect();
    let expected = [("a=b", "hello"), ("", ""), ("", "x"), ("a=b", "y")];
    let expected = expected.map(|(headers, body)| (headers.to_owned(), body.to_owned()));
    assert_eq!(seen, expected);
}

/// Case 7.
#[test]
fn an_unknown_message_is_a_system_error_and_the_connection_lives_on() {
    let server = Server::start(LOGGER);
    let mut connection = server.greeted();
    check(&mut connection, A6, A6_REPLY);
    check(&mut connection, A2, A2_REPLY);
    server.node.wait_for_events(2);
}

/// Case 12.
#[test]
fn a_full_channel_refuses_after_its_keep_alive() {
    let server = Server::start(
        "a1.channels.c1.capacity = 3
a1.channels.c1.transactionCapacity = 3
a1.channels.c1.keep-alive = 1
",
    );
    let mut client = Client::open_when_up(server.port);
    for _ in 0..3 {
        assert_eq!(client.append(&[], b"fits").expect("an answer"), Reply::Ok);
    }
    let start = Instant::now();
    assert_eq!(client.append(&[], b"too many").expect("an answer"), Reply::Failed);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(900), "refused after {waited:?}");

    let page = http::metrics_until(server.metrics, "the refusal is counted", |page| {
        page["SOURCE.r1"]["ChannelWriteFail"] == "1"
    });
    assert_eq!(page["CHANNEL.c1"]["ChannelSize"], "3");
    assert_eq!(page["CHANNEL.c1"]["ChannelFillPercentage"], "100.0");
    assert_eq!(page["SOURCE.r1"]["AppendReceivedCount"], "4");
    assert_eq!(page["SOURCE.r1"]["AppendAcceptedCount"], "3");
}

/// Case 13.
#[test]
fn a_batch_beyond_the_transaction_capacity_is_refused_whole() {
    let server = Server::start(&format!(
        "a1.channels.c1.capacity = 100\na1.channels.c1.transactionCapacity = 3\n{LOGGER}"
    ));
    let mut client = Client::open_when_up(server.port);
    let four = [(&[][..], b"lost".as_slice()); 4];
    assert_eq!(client.append_batch(&four).expect("an answer"), Reply::Failed);
    let three = [(&[][..], b"kept".as_slice()); 3];
    assert_eq!(client.append_batch(&three).expect("an answer"), Reply::Ok);
    let events = server.node.wait_for_events(3);
    assert!(events.iter().all(|event| event.text() == "kept"), "{events:?}");
}

/// Case 17, and in order, which Flume does not promise.
#[test]
fn pipelined_calls_are_all_answered() {
    let server = Server::start(LOGGER);
    let mut connection = server.greeted();
    let calls: Vec<u8> = (2..=41)
        .flat_map(|serial| append_frame(serial, &[], serial.to_string().as_bytes()))
        .collect();
    connection.send(&calls).expect("the connection is open");
    let mut serials = BTreeSet::new();
    for _ in 0..40 {
        let answer = connection.receive().expect("the node answers");
        assert_eq!(answer.message, [0, 0, 0], "OK to {}", answer.serial);
        serials.insert(answer.serial);
    }
    assert!(serials.into_iter().eq(2..=41), "each serial once");
    let bodies: Vec<String> = server.node.wait_for_events(41)[1..]
        .iter()
        .map(|event| event.text())
        .collect();
    let expected: Vec<String> = (2..=41).map(|serial: i32| serial.to_string()).collect();
    assert_eq!(bodies, expected);
}

#[test]
fn calls_are_counted_as_flume_does() {
    let server = Server::start(LOGGER);
    let mut connection = server.greeted();
    check(&mut connection, A2, A2_REPLY);
    check(&mut connection, A3, A3_REPLY);
    server.node.wait_for_events(4);

    let page = http::metrics_until(server.metrics, "all events have left", |page| {
        page["CHANNEL.c1"]["EventTakeSuccessCount"] == "4"
    });
    let source = page["SOURCE.r1"].as_object().expect("a source is an object");
    for (key, expected) in [
        ("Type", "SOURCE"),
        ("AppendReceivedCount", "2"),
        ("AppendAcceptedCount", "2"),
        ("AppendBatchReceivedCount", "1"),
        ("AppendBatchAcceptedCount", "1"),
        ("EventReceivedCount", "4"),
        ("EventAcceptedCount", "4"),
        ("EventReadFail", "0"),
        ("ChannelWriteFail", "0"),
        ("GenericProcessingFail", "0"),
        ("StopTime", "0"),
    ] {
        assert_eq!(source.get(key), Some(&Value::from(expected)), "{key}");
    }
    assert_eq!(source.len(), 13, "{source:?}");
    assert!(source.values().all(Value::is_string), "{source:?}");
    let channel = page["CHANNEL.c1"].as_object().expect("a channel is an object");
    assert_eq!(channel.len(), 10, "{channel:?}");
    assert!(channel.values().all(Value::is_string), "{channel:?}");
    assert_eq!(channel["EventPutSuccessCount"], "4");
    assert!(page.get("SINK.k1").is_none(), "Flume counts nothing for a logger");
}
