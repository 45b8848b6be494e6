//! `/readyz` of a whole node in this process: 503 from its first answer until every component of the configuration
//! serves. A start that is held up at each of its stages shows that this is no luck: the page is asked while nothing else
//! can go on.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

use node::Node;
use node::component::fault::{Faults, Stage};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

const CONFIGURATION: [(&str, &str); 9] = [
    ("a1.sources", "r1"),
    ("a1.channels", "c1"),
    ("a1.sinks", "k1"),
    ("a1.sources.r1.type", "seq"),
    ("a1.sources.r1.totalEvents", "1"),
    ("a1.sources.r1.channels", "c1"),
    ("a1.channels.c1.type", "memory"),
    ("a1.sinks.k1.type", "null"),
    ("a1.sinks.k1.channel", "c1"),
];

/// Holds up whoever comes through until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let open = self.open.lock().unwrap();
        drop(
            self.opened
                .wait_timeout_while(open, LIMIT, |open| !*open)
                .unwrap(),
        );
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// Status and body; none while nobody listens.
fn ask(address: SocketAddr) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Asks until something comes back that is wanted.
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// A node whose start stops at one stage; what `/readyz` says there, and that it says 200 later.
fn held_up_at(held: Stage) -> String {
    let (gate, address) = (Arc::new(Gate::default()), free_address());
    let passing = gate.clone();
    let faults = Faults::new(move |stage, _| {
        if stage == held {
            passing.pass();
        }
    });
    let builder = Node::builder()
        .agent("a1")
        .worker_threads(2)
        .admin(Some(address))
        .faults(faults);
    let pairs = CONFIGURATION.into_iter();
    let node = pairs
        .fold(builder, |builder, (key, value)| builder.property(key, value))
        .start()
        .unwrap();
    let (status, first) = until("the page answers", || ask(address));
    assert_eq!(status, 503, "{held:?}: {first}");
    gate.open();
    until("all serve", || ask(address).filter(|(status, _)| *status == 200));
    let not_ready = node.board().not_ready();
    assert!(not_ready.is_empty(), "{not_ready:?}");
    node.stop();
    node.wait();
    first
}

#[test]
fn a_node_is_not_ready_before_its_first_channel_has_started() {
    let first = held_up_at(Stage::ChannelStart);
    for component in ["source r1", "channel c1", "sink k1", "processor k1"] {
        assert!(first.contains(&format!("{component}: starting\n")), "{first}");
    }
}

#[test]
fn a_node_is_not_ready_before_its_sinks_and_sources_have_started() {
    for (stage, component) in [
        (Stage::SinkStart, "sink k1"),
        (Stage::ProcessorStart, "processor k1"),
        (Stage::SourceStart, "source r1"),
    ] {
        let first = held_up_at(stage);
        assert!(
            first.contains(&format!("{component}: starting\n")),
            "{stage:?}: {first}"
        );
    }
}
