//! From the command line to the exit code: mistakes, busy ports, signals, restarts and health.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use tests::avro::{Client, Event, Reply};
use tests::folder::Folder;
use tests::process::{Node, Signal, Stream};
use tests::wait::{self, LIVENESS};
use tests::{http, port};

use crate::assert_numbered;

/// A node that hurries is gone within this; a drain without hurry lasts 30 seconds.
const HURRY: Duration = Duration::from_secs(15);

/// avro source → memory → logger.
fn avro_to_logger(port: u16) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
"
    )
}

#[test]
fn mistakes_are_all_named_before_anything_starts() {
    let folder = Folder::new("typo");
    let marker = folder.at("started");
    // The numbers of the lines stand in the assertions.
    let text = format!(
        "a1.sources = r1 r2 r3
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = exec
a1.sources.r1.comand = true
a1.sources.r1.channels = c1
a1.sources.r2.type = exec
a1.sources.r2.command = touch {marker}
a1.sources.r2.channels = c1
a1.sources.r3.type = avro
a1.sources.r3.bind = 127.0.0.1
a1.sources.r3.port = http
a1.sources.r3.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = null
a1.sinks.k1.channel = c1
"
    );
    let file = folder.write("node.properties", &text);
    let mut node = Node::agent("a1", &file).start();
    assert_eq!(node.wait_exit(LIVENESS), 78);

    let lines = node.log().lines();
    let names = |parts: &[&str]| {
        lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)))
    };
    let at = |line: u32| format!("{}:{line}: ", file.display());
    assert!(
        names(&[&at(5), "source r1 (exec)", "comand", "\"command\""]),
        "the unknown property, and the one that was meant"
    );
    assert!(
        names(&[
            &at(12),
            "error[",
            "source r3 (avro): port: expected 0 to 65535, found \"http\""
        ]),
        "the wrong value, and the right ones"
    );
    assert!(!Path::new(&marker).exists(), "nothing was started");
}

#[test]
fn a_source_comes_up_when_its_port_is_free() {
    let folder = Folder::new("busy-port");
    let (port, admin) = (port::free(), port::free());
    let holder = TcpListener::bind(("127.0.0.1", port)).expect("the port is ours");
    let file = folder.write("node.properties", &avro_to_logger(port));
    let mut node = Node::agent("a1", file).admin(admin).start();

    let waiting = http::get_until(admin, "/readyz", "not ready, because of r1", |answer| {
        answer.status == 503 && answer.body.contains("r1")
    });
    assert_eq!(waiting.status, 503);
    let health = http::get(admin, "/healthz").expect("the admin endpoint answers");
    assert_eq!(health.status, 200, "alive, though not ready");

    drop(holder);
    http::get_until(admin, "/readyz", "ready", |answer| answer.status == 200);
    let mut client = Client::open_when_up(port);
    assert_eq!(client.append(&[], b"1").expect("an answer"), Reply::Ok);
    node.wait_for_events(1);
    assert_eq!(node.stop(), 0);
}

#[test]
fn the_admin_endpoint_tells_health_and_metrics() {
    let folder = Folder::new("admin");
    let (port, admin) = (port::free(), port::free());
    let file = folder.write("node.properties", &avro_to_logger(port));
    let mut node = Node::agent("a1", file).admin(admin).start();
    http::get_until(admin, "/readyz", "ready", |answer| answer.status == 200);
    let health = http::get(admin, "/healthz").expect("the admin endpoint answers");
    assert_eq!(health.status, 200);

    let mut client = Client::open_when_up(port);
    assert_eq!(client.append(&[], b"1").expect("an answer"), Reply::Ok);
    let accepted = |line: &str| {
        line.starts_with("source_accepted_events_total{")
            && line.contains("component=\"r1\"")
            && line.ends_with(" 1")
    };
    http::get_until(admin, "/metrics", "one accepted event", |answer| {
        answer.status == 200 && answer.body.lines().any(accepted)
    });
    assert_eq!(node.stop(), 0);
}

#[test]
fn what_was_acknowledged_is_delivered_before_a_clean_exit() {
    let folder = Folder::new("drain");
    let (port, next) = (port::free(), port::free());
    let sender = avro_to_logger(port).replace(
        "a1.sinks.k1.type = logger",
        &format!("a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {next}"),
    );
    let sender = folder.write("sender.properties", &sender);
    let receiver = folder.write("receiver.properties", &avro_to_logger(next));

    let mut node = Node::agent("a1", sender).start();
    let mut client = Client::open_when_up(port);
    let bodies: Vec<String> = (1..=90).map(|number| number.to_string()).collect();
    let batch: Vec<Event<'_>> = bodies.iter().map(|body| (&[][..], body.as_bytes())).collect();
    assert_eq!(client.append_batch(&batch).expect("an answer"), Reply::Ok);

    // Nobody takes them yet, so they are all in memory when the end begins.
    node.signal(Signal::Term);
    wait::stays("the drain", Duration::from_secs(1), || node.is_running());
    let mut late = Node::agent("a1", receiver).start();
    assert_eq!(node.wait_exit(LIVENESS), 0, "everything was delivered");
    assert_eq!(late.stop(), 0);
    assert_numbered(&late.logged(), "", 90);
}

#[test]
fn a_second_sigterm_hurries_a_drain_that_cannot_end() {
    let folder = Folder::new("hurry");
    let metrics = port::free();
    let text = format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = exec
a1.sources.r1.command = seq 1 5
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = avro
a1.sinks.k1.hostname = 127.0.0.1
a1.sinks.k1.port = {}
a1.sinks.k1.channel = c1
",
        port::free()
    );
    let file = folder.write("node.properties", &text);
    let mut node = Node::agent("a1", file).monitoring(metrics).start();
    http::metrics_until(metrics, "five events wait", |page| {
        page["CHANNEL.c1"]["EventPutSuccessCount"] == "5"
    });

    node.signal(Signal::Term);
    wait::stays("the drain", Duration::from_secs(1), || node.is_running());
    let start = Instant::now();
    node.signal(Signal::Term);
    assert_eq!(node.wait_exit(LIVENESS), 75, "events were left in memory");
    assert!(
        start.elapsed() < HURRY,
        "hurried, it still took {:?}",
        start.elapsed()
    );
    let told =
        |line: &String| line.contains("c1") && (line.contains("5 events") || line.contains("events=5"));
    assert!(
        node.log().lines().iter().any(told),
        "the log says how many events are lost, and in which channel"
    );
}

#[test]
fn a_killed_node_can_be_started_again() {
    let folder = Folder::new("killed");
    let port = port::free();
    let file = folder.write("node.properties", &avro_to_logger(port));
    let mut killed = Node::agent("a1", &file).start();
    let mut client = Client::open_when_up(port);
    assert_eq!(client.append(&[], b"1").expect("an answer"), Reply::Ok);
    killed.signal(Signal::Kill);
    assert_eq!(killed.wait_exit(LIVENESS), 128 + 9);
    assert!(client.append(&[], b"2").is_err(), "nobody answers for the dead");

    let mut node = Node::agent("a1", &file).start();
    let mut client = Client::open_when_up(port);
    assert_eq!(client.append(&[], b"1").expect("an answer"), Reply::Ok);
    node.wait_for_events(1);
    assert_eq!(node.stop(), 0);
    assert_numbered(&node.logged(), "", 1);
}

#[test]
fn version_and_help_are_printed() {
    let mut version = Node::run(&["version"]);
    assert_eq!(version.wait_exit(LIVENESS), 0);
    let text = version.log().lines_of(Stream::Out).join("\n");
    // All members of the workspace have one version.
    assert!(text.contains(env!("CARGO_PKG_VERSION")), "{text}");

    let mut help = Node::run(&["help"]);
    assert_eq!(help.wait_exit(LIVENESS), 0);
    let text = help.log().lines_of(Stream::Out).join("\n");
    for word in ["agent", "version", "help"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn unknown_commands_are_refused_as_flume_does() {
    for (args, named) in [
        (&["bogus"][..], "'bogus'"),
        (&["password"], "'password'"),
        (&[], "''"),
    ] {
        let mut node = Node::run(args);
        assert_eq!(node.wait_exit(LIVENESS), 1, "{args:?}");
        let expected = format!("Unknown or unspecified command {named}");
        let errors = node.log().lines_of(Stream::Err);
        assert!(errors.iter().any(|line| line.contains(&expected)), "{errors:?}");
    }
}

#[test]
fn an_agent_without_a_name_is_a_mistake_of_usage() {
    let folder = Folder::new("usage");
    let file = folder.write("node.properties", "");
    let mut node = Node::run(&["agent", "-f", &file.display().to_string()]);
    assert_eq!(node.wait_exit(LIVENESS), 64);
    let errors = node.log().lines_of(Stream::Err).join("\n");
    assert!(errors.contains("-n") || errors.contains("--name"), "{errors}");
}
