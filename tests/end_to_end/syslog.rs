//! The syslog sources: messages of a program that everybody has, a sender that is faster than the channel, and ports
//! that are taken.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use tests::folder::Folder;
use tests::http;
use tests::ledger::Ledger;
use tests::process::Node;
use tests::wait::{self, LIVENESS};
use tests::{peer, port};

use crate::three_agents::lines_in;

const SENDERS: u16 = 4;
const LINES: u64 = 1_000;

/// One agent with these lines for its sources, and a sink that logs.
fn logging(sources: &str, lines: &str) -> String {
    let connected: String = sources
        .split(' ')
        .map(|name| format!("a1.sources.{name}.channels = c1\n"))
        .collect();
    format!(
        "a1.sources = {sources}
a1.channels = c1
a1.sinks = k1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
{connected}{lines}"
    )
}

fn connect(port: u16) -> TcpStream {
    let what = format!("a listener on port {port}");
    wait::until(&what, LIVENESS, || {
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()
    })
}

/// How `logger` is asked to send: its options, the port, and the name that the source has for versions.
type Form<'a> = (&'a [&'a str], u16, &'a str);

#[test]
fn logger_is_understood_over_tcp_and_udp_in_all_its_forms() {
    if Command::new("logger").arg("--version").output().is_err() {
        return peer::missing("logger(1)", "no such program");
    }
    let (tcp, multi, udp) = (port::free(), port::free(), port::free());
    let folder = Folder::new("logger");
    let text = logging(
        "tcp multi udp",
        &format!(
            "a1.sources.tcp.type = syslogtcp
a1.sources.tcp.host = 127.0.0.1
a1.sources.tcp.port = {tcp}
a1.sources.multi.type = multiport_syslogtcp
a1.sources.multi.host = 127.0.0.1
a1.sources.multi.ports = {multi}
a1.sources.multi.portHeader = port
a1.sources.udp.type = syslogudp
a1.sources.udp.host = 127.0.0.1
a1.sources.udp.port = {udp}
a1.sources.udp.clientIPHeader = ip
"
        ),
    );
    let mut node = Node::agent("a1", folder.write("node.properties", &text)).start();
    drop((connect(tcp), connect(multi)));
    // Whoever serves TCP has not necessarily bound UDP yet.
    node.wait_for_line("the UDP source", LIVENESS, |line| {
        line.contains("Syslog UDP source listens")
    });
    let forms: [Form<'_>; 8] = [
        (&["--tcp", "--rfc5424"], tcp, "version"),
        (&["--tcp", "--rfc5424", "--octet-count"], tcp, "version"),
        (&["--tcp", "--rfc3164"], tcp, ""),
        (&["--tcp", "--rfc5424"], multi, "Version"),
        (&["--tcp", "--rfc5424", "--octet-count"], multi, "Version"),
        (&["--tcp", "--rfc3164"], multi, ""),
        (&["--udp", "--rfc5424"], udp, "version"),
        (&["--udp", "--rfc3164"], udp, ""),
    ];
    for (number, (options, port, _)) in forms.iter().enumerate() {
        let mut logger = Command::new("logger");
        logger
            .args(["--server", "127.0.0.1", "--port", &port.to_string()])
            .args(*options);
        logger.args(["-p", "daemon.err", "-t", &format!("m{number}"), "a message"]);
        assert!(logger.status().expect("logger starts").success(), "{logger:?}");
    }
    let events = node.wait_for_events(forms.len());
    for (number, (options, port, version)) in forms.iter().enumerate() {
        let tag = format!("m{number}");
        let found = events.iter().find(|event| event.text().starts_with(&tag));
        let headers = &found.unwrap_or_else(|| panic!("no {tag} in {events:?}")).headers;
        let port = if *port == multi {
            format!("port={port}")
        } else {
            String::new()
        };
        let version = if version.is_empty() {
            String::new()
        } else {
            format!("{version}=1")
        };
        for part in [
            "Facility=3",
            "Severity=3",
            "riority=27",
            "timestamp=1",
            "host=",
            &port,
            &version,
        ] {
            assert!(headers.contains(part), "{options:?}: {part} in {headers}");
        }
        assert!(!headers.contains("status"), "{options:?}: {headers}");
    }
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_sender_that_is_faster_than_the_channel_waits_and_loses_nothing() {
    let (listening, metrics) = (port::free(), port::free());
    let folder = Folder::new("syslog");
    let out = folder.make("out");
    let text = format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = syslogtcp
a1.sources.r1.host = 127.0.0.1
a1.sources.r1.port = {listening}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10
a1.channels.c1.transactionCapacity = 10
a1.channels.c1.keep-alive = 0
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.batchSize = 10
a1.sinks.k1.channel = c1
",
        out.display()
    );
    let mut node = Node::agent("a1", folder.write("node.properties", &text))
        .monitoring(metrics)
        .start();
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let mut stream = connect(listening);
            thread::spawn(move || {
                let line = |number| format!("<13>1 2026-11-20T12:34:56Z h s{sender} {number}\n");
                let text: String = (1..=LINES).map(line).collect();
                stream
                    .write_all(text.as_bytes())
                    .expect("the node reads all of it in the end");
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender has sent everything");
    }
    let all = u64::from(SENDERS) * LINES;
    wait::until_true("all lines in the files", LIVENESS, || {
        lines_in(&out).len() as u64 >= all
    });
    let counted = all.to_string();
    let page = http::metrics_until(metrics, "everything is accepted", |page| {
        page["SOURCE.r1"]["EventAcceptedCount"] == counted.as_str()
    });
    assert_eq!(page["SOURCE.r1"]["EventReceivedCount"], counted.as_str());
    assert_eq!(page["SOURCE.r1"]["Type"], "SOURCE");
    assert_eq!(node.stop(), 0, "the channel is empty");
    let mut ledger = Ledger::new();
    for sender in 0..SENDERS {
        ledger.sent(&format!("s{sender}"), 1..=LINES);
    }
    for line in lines_in(&out) {
        let producer = line.split(' ').next().unwrap_or_default();
        ledger.saw_text(producer, &format!("{producer} "), &line);
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn a_port_that_is_taken_is_served_when_it_is_free() {
    let (single, multi, other) = (port::free(), port::free(), port::free());
    let taken =
        [single, multi].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("a free port"));
    let folder = Folder::new("taken");
    let text = logging(
        "r1 r2",
        &format!(
            "a1.sources.r1.type = syslogtcp
a1.sources.r1.host = 127.0.0.1
a1.sources.r1.port = {single}
a1.sources.r2.type = multiport_syslogtcp
a1.sources.r2.host = 127.0.0.1
a1.sources.r2.ports = {multi} {other}
"
        ),
    );
    let mut node = Node::agent("a1", folder.write("node.properties", &text)).start();
    let send = |port: u16, text: &str| {
        let line = format!("<13>1 2026-11-20T12:34:56Z h {text}\n");
        connect(port)
            .write_all(line.as_bytes())
            .expect("somebody listens");
    };
    send(other, "other");
    node.wait_for_events(1);
    drop(taken);
    wait::until_true("both ports", LIVENESS, || {
        [single, multi]
            .iter()
            .all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
    });
    send(single, "single");
    send(multi, "multi");
    let mut texts: Vec<String> = node.wait_for_events(3).iter().map(|event| event.text()).collect();
    texts.sort();
    assert_eq!(texts, ["multi", "other", "single"]);
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_was_sent_before_a_stop_is_not_lost() {
    let (tcp, udp) = (port::free(), port::free());
    let folder = Folder::new("stop");
    let text = logging(
        "tcp udp",
        &format!(
            "a1.sources.tcp.type = syslogtcp
a1.sources.tcp.host = 127.0.0.1
a1.sources.tcp.port = {tcp}
a1.sources.udp.type = netcatudp
a1.sources.udp.bind = 127.0.0.1
a1.sources.udp.port = {udp}
"
        ),
    );
    let mut node = Node::agent("a1", folder.write("node.properties", &text)).start();
    let mut stream = connect(tcp);
    stream.write_all(b"<13>first\n").expect("somebody listens");
    node.wait_for_line("the UDP source", LIVENESS, |line| {
        line.contains("Netcat UDP source listens")
    });
    node.wait_for_events(1);
    let lines: String = (1..=200).map(|number| format!("<13>1 - - {number}\n")).collect();
    stream.write_all(lines.as_bytes()).expect("somebody listens");
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    for number in 201..=220 {
        let text = number.to_string();
        datagrams
            .send_to(text.as_bytes(), (Ipv4Addr::LOCALHOST, udp))
            .expect("a datagram");
    }
    assert_eq!(node.stop(), 0);
    let mut ledger = Ledger::new();
    ledger.sent("tcp", 1..=200);
    ledger.sent("udp", 201..=220);
    for event in node.logged().iter().skip(1) {
        let producer = if event.headers.is_empty() { "udp" } else { "tcp" };
        ledger.saw_text(producer, "", &event.text());
    }
    ledger.assert_once_and_in_order();
}
