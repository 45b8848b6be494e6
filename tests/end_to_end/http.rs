//! The http source and sink in real nodes: what is answered 200 is never lost, and clients that break off, stall or
//! come in masses cost nobody else anything.

use std::process::Command;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use tests::folder::Folder;
use tests::http::{self, Connection, post, post_request};
use tests::ledger::Ledger;
use tests::port;
use tests::process::Node;
use tests::wait::{self, LIVENESS};

use crate::assert_numbered;

const JSON: &str = "application/json";
/// A node under attack needs less than this.
const RESIDENT_BYTES_MAX: u64 = 128 << 20;

/// http source → memory channel → logger.
struct Server {
    node: Node,
    port: u16,
    metrics: u16,
    folder: Folder,
}

impl Server {
    fn start(more: &str) -> Self {
        let folder = Folder::new("http");
        let (port, metrics) = (port::free(), port::free());
        let text = format!(
            "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = http
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
{more}"
        );
        let file = folder.write("node.properties", &text);
        let node = Node::agent("a1", file).monitoring(metrics).start();
        drop(Connection::open_when_up(port));
        Self {
            node,
            port,
            metrics,
            folder,
        }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.port).expect("the source listens")
    }

    /// Posts one event and expects 200.
    #[track_caller]
    fn post(&self, body: &str) {
        let answer = post(self.port, JSON, format!("[{{\"body\":\"{body}\"}}]")).expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }

    fn source_counter(&self, name: &str) -> u64 {
        let page = http::get(self.metrics, "/metrics").expect("metrics").json();
        number(&page["SOURCE.r1"][name])
    }
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a number as text")
}

fn numbered(numbers: impl Iterator<Item = u64>) -> String {
    let events: Vec<String> = numbers
        .map(|n| format!("{{\"headers\":{{\"n\":\"{n}\"}},\"body\":\"{n}\"}}"))
        .collect();
    format!("[{}]", events.join(","))
}

#[test]
fn posted_events_are_logged_once_and_in_order_and_counted_as_in_flume() {
    let mut server = Server::start("");
    let mut client = server.connect();
    for n in 0..100 {
        let answer = client
            .post("/any/path?x=y", JSON, numbered(n * 5 + 1..=n * 5 + 5))
            .expect("an answer");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(client.post("/", JSON, "[{]").expect("an answer").status, 400);
    let events = server.node.wait_for_events(500);
    assert_numbered(&events, "", 500);
    assert_eq!(events[6].headers, "n=7");
    let page = http::get(server.metrics, "/metrics").expect("metrics").json();
    for (name, count) in [
        ("EventReceivedCount", 500),
        ("EventAcceptedCount", 500),
        ("AppendBatchReceivedCount", 100),
        ("AppendBatchAcceptedCount", 100),
        ("EventReadFail", 1),
        ("ChannelWriteFail", 0),
    ] {
        assert_eq!(number(&page["SOURCE.r1"][name]), count, "{name}");
    }
    assert_eq!(server.node.stop(), 0);
}

/// curl as users call it, where it is there; the same is tested without it elsewhere.
#[test]
fn curl_is_served_as_users_call_it() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no curl here");
        return;
    }
    let server = Server::start("");
    let file = server.folder.write("events.json", "[{\"body\":\"4\"}]");
    let url = format!("http://127.0.0.1:{}/", server.port);
    let from_file = format!("@{}", file.display());
    let large = format!("[{{\"body\":\"5\"}}]{}", " ".repeat(2 << 20));
    let large = server.folder.write("large.json", &large);
    let large = format!("@{}", large.display());
    let calls: [&[&str]; 5] = [
        &[
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json; charset=UTF-8",
            "-d",
            "[{\"body\":\"1\"}]",
        ],
        &["-d", "[{\"body\":\"2\"}]"],
        &["-X", "GET", "-d", "[{\"body\":\"3\"}]"],
        &["--data-binary", &from_file],
        // Asks for consent first.
        &["--data-binary", &large, "-H", "Expect: 100-continue"],
    ];
    for call in calls {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--max-time",
                "20",
                "-w",
                "%{http_code}",
            ])
            .args(call)
            .arg(&url)
            .output()
            .expect("curl runs");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "200",
            "{call:?} {output:?}"
        );
    }
    assert_numbered(&server.node.wait_for_events(5), "", 5);
}

/// a1: http source → http sink → a2: http source with blobs → logger.
fn two_hops(first: u16, second: u16) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = http
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {first}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.sinks.k1.type = http
a1.sinks.k1.channel = c1
a1.sinks.k1.endpoint = http://127.0.0.1:{second}/events
a1.sinks.k1.rollback.2XX = false
a1.sinks.k1.backoff.2XX = false
a1.sinks.k1.incrementMetrics.2XX = true

a2.sources = r1
a2.channels = c1
a2.sinks = k1
a2.sources.r1.type = http
a2.sources.r1.bind = 127.0.0.1
a2.sources.r1.port = {second}
a2.sources.r1.handler = org.apache.flume.source.http.BLOBHandler
a2.sources.r1.channels = c1
a2.channels.c1.type = memory
a2.channels.c1.capacity = 10000
a2.sinks.k1.type = logger
a2.sinks.k1.channel = c1
"
    )
}

#[test]
fn events_hop_from_sink_to_source_once_and_in_order_also_to_one_that_comes_later() {
    let folder = Folder::new("http-hop");
    let (entry, second, metrics) = (port::free(), port::free(), port::free());
    let file = folder.write("node.properties", &two_hops(entry, second));
    let mut sender = Node::agent("a1", &file).monitoring(metrics).start();
    let answer = Connection::open_when_up(entry)
        .post("/", JSON, numbered(1..=100))
        .expect("an answer");
    assert_eq!(answer.status, 200);
    http::metrics_until(metrics, "the sink has tried", |page| {
        number(&page["SINK.k1"]["EventWriteFail"]) > 0
    });
    let mut receiver = Node::agent("a2", &file).start();
    receiver.wait_for_events(100);
    let answer = post(entry, JSON, numbered(101..=200)).expect("an answer");
    assert_eq!(answer.status, 200);
    receiver.wait_for_events(200);
    http::metrics_until(metrics, "all are delivered", |page| {
        number(&page["SINK.k1"]["EventDrainSuccessCount"]) == 200
    });
    assert_eq!((sender.stop(), receiver.stop()), (0, 0));
    assert_numbered(&receiver.logged(), "", 200);
}

#[test]
fn a_receiver_that_goes_and_comes_back_again_and_again_misses_nothing() {
    let folder = Folder::new("http-restart");
    let (entry, second) = (port::free(), port::free());
    let file = folder.write("node.properties", &two_hops(entry, second));
    let _sender = Node::agent("a1", &file).start();
    let mut receiver = Node::agent("a2", &file).start();
    let mut client = Connection::open_when_up(entry);
    let mut seen = Vec::new();
    for round in 0..5 {
        let numbers = round * 100 + 1..=round * 100 + 100;
        let answer = client.post("/", JSON, numbered(numbers)).expect("an answer");
        assert_eq!(answer.status, 200);
        // In the middle of a round: what it has answered it logs, the rest comes to its successor.
        receiver.wait_for_events(20);
        assert_eq!(receiver.stop(), 0);
        seen.extend(receiver.logged());
        receiver = Node::agent("a2", &file).start();
    }
    wait::until_true("nothing is missing", LIVENESS, || {
        let mut ledger = Ledger::new();
        ledger.sent("r1", 1..=500);
        for event in seen.iter().chain(&receiver.logged()) {
            ledger.saw_text("r1", "", &event.text());
        }
        ledger.verdict().is_lossless()
    });
}

#[test]
fn what_was_answered_200_is_delivered_when_the_node_stops_in_the_middle() {
    let mut server = Server::start("");
    let port = server.port;
    let client = thread::spawn(move || {
        let mut client = Connection::open(port).expect("the source listens");
        let mut accepted = 0;
        while let Ok(answer) = client.post("/", JSON, numbered(accepted + 1..=accepted + 1)) {
            if answer.status != 200 {
                break;
            }
            accepted += 1;
        }
        accepted
    });
    server.node.wait_for_events(50);
    assert_eq!(server.node.stop(), 0);
    let accepted = client.join().expect("the client ends when its connection does");
    assert!(accepted >= 50);
    assert_numbered(&server.node.logged(), "", accepted);
}

#[test]
fn clients_that_are_killed_in_the_middle_of_a_request_leave_nothing() {
    let mut server = Server::start("");
    let request = post_request("/", JSON, numbered(900..=950));
    for cut in (1..request.len()).step_by(request.len() / 100) {
        let mut client = server.connect();
        client.send(&request[..cut]).expect("the connection is open");
        // Dropped: the kernel closes it, as it does for a process that is killed.
    }
    for n in 1..=3 {
        server.post(&n.to_string());
    }
    assert_eq!(server.node.stop(), 0);
    assert_numbered(&server.node.logged(), "", 3);
}

#[test]
fn hostile_bytes_close_the_connection_and_the_node_lives() {
    let mut server = Server::start("a1.sources.r1.maxRequestBytes = 100000\n");
    let nested = format!("[{{\"x\":{}", "[".repeat(90_000));
    let endless = vec![b'a'; 300_000];
    let cases: [(&str, &[u8]); 6] = [
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
        ("an endless head", &endless),
        (
            "two lengths",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n[]   ",
        ),
        (
            "a length that is none",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ),
        (
            "a huge length",
            b"POST / HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n",
        ),
        (
            "a huge chunk",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nx",
        ),
    ];
    for (what, bytes) in cases {
        let mut client = server.connect();
        let _ = client.send(bytes); // it may be closed before all is sent
        if what == "a huge chunk" {
            continue; // legal so far: what comes next would be too much
        }
        let answer = client.until_closed();
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "{what}: {answer}"
        );
    }
    assert_eq!(post(server.port, JSON, &nested).expect("an answer").status, 400);
    assert_eq!(
        post(server.port, JSON, vec![b' '; 100_001])
            .expect("an answer")
            .status,
        413
    );
    server.post("1");
    assert!(server.node.resident_bytes_max() < RESIDENT_BYTES_MAX);
    assert_eq!(server.node.stop(), 0);
    assert_numbered(&server.node.logged(), "", 1);
}

/// As many files as the system allows: a thousand connections need them on both sides.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum anybody may");
}

#[test]
fn a_thousand_connections_at_once_are_served_and_one_too_many_is_closed() {
    const CONNECTIONS: u64 = 1_000;
    raise_file_limit();
    let mut server = Server::start(&format!("a1.sources.r1.maxConnections = {CONNECTIONS}\n"));
    wait::until_true("the first connection is gone", LIVENESS, || {
        server.source_counter("OpenConnectionCount") == 0
    });
    let mut clients: Vec<Connection> = (0..CONNECTIONS).map(|_| server.connect()).collect();
    // Half a request each, so that all are under way at once.
    let request = |n: u64| post_request("/", JSON, numbered(n..=n));
    for (client, n) in clients.iter_mut().zip(1..) {
        let request = request(n);
        client
            .send(&request[..request.len() - 1])
            .expect("the connection is open");
    }
    wait::until_true("all are open", LIVENESS, || {
        server.source_counter("OpenConnectionCount") == CONNECTIONS
    });
    assert_eq!(server.connect().until_closed(), "");
    for client in &mut clients {
        client.send("]").expect("the connection is open");
        assert_eq!(client.answer().expect("an answer").status, 200);
    }
    assert!(server.node.resident_bytes_max() < RESIDENT_BYTES_MAX);
    drop(clients);
    wait::until_true("all are closed", LIVENESS, || {
        server.source_counter("OpenConnectionCount") == 0
    });
    server.post(&(CONNECTIONS + 1).to_string());
    assert_eq!(server.node.stop(), 0);
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=CONNECTIONS + 1);
    server
        .node
        .logged()
        .iter()
        .for_each(|event| ledger.saw_text("r1", "", &event.text()));
    let verdict = ledger.verdict();
    assert!(
        verdict.is_lossless() && server.node.logged().len() as u64 == CONNECTIONS + 1,
        "{verdict:?}"
    );
}

#[test]
fn who_lets_wait_is_closed() {
    let mut server = Server::start("a1.sources.r1.ServerConnector.idleTimeout = 500\n");
    let silent: Vec<Connection> = (0..50).map(|_| server.connect()).collect();
    let stalled: Vec<Connection> = (0..50)
        .map(|_| {
            let mut client = server.connect();
            client
                .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n[")
                .expect("the connection is open");
            client
        })
        .collect();
    for client in silent {
        assert_eq!(client.until_closed(), "");
    }
    for client in stalled {
        let answer = client.until_closed();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    server.post("1");
    assert_eq!(server.node.stop(), 0);
    assert_numbered(&server.node.logged(), "", 1);
}

#[test]
fn a_full_channel_makes_503_and_the_client_tries_again() {
    let folder = Folder::new("http-full");
    let (entry, second, metrics) = (port::free(), port::free(), port::free());
    let text = two_hops(entry, second)
        .replace("a1.channels.c1.capacity = 10000", "a1.channels.c1.capacity = 10\na1.channels.c1.transactionCapacity = 10\na1.channels.c1.keep-alive = 0");
    let file = folder.write("node.properties", &text);
    let mut sender = Node::agent("a1", &file).monitoring(metrics).start();
    let mut client = Connection::open_when_up(entry);
    assert_eq!(
        client
            .post("/", JSON, numbered(1..=10))
            .expect("an answer")
            .status,
        200
    );
    let refused = client.post("/", JSON, numbered(11..=11)).expect("an answer");
    assert_eq!(refused.status, 503);
    let text = "Error appending event to channel. Channel might be full.Space for commit to queue couldn&apos;t be acquired.";
    assert!(refused.body.contains(text), "{}", refused.body);
    let page = http::get(metrics, "/metrics").expect("metrics").json();
    assert_eq!(number(&page["SOURCE.r1"]["ChannelWriteFail"]), 1);
    let mut receiver = Node::agent("a2", &file).start();
    wait::until_true("there is room again", LIVENESS, || {
        client
            .post("/", JSON, numbered(11..=11))
            .expect("an answer")
            .status
            == 200
    });
    receiver.wait_for_events(11);
    assert_eq!((sender.stop(), receiver.stop()), (0, 0));
    assert_numbered(&receiver.logged(), "", 11);
}
