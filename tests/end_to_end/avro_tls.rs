//! Two agents over Avro that is compressed, encrypted, or both, with stores that Java's keytool made.

use std::path::Path;

use tests::avro::Connection;
use tests::folder::Folder;
use tests::process::Node;
use tests::{http, port, wait};

use crate::assert_numbered;

const LINES: u64 = 200;

/// A store of `node/tests/stores`; its password is `changeit`.
fn store(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../node/tests/stores")
        .join(name);
    path.display().to_string()
}

/// exec → avro, and avro → logger, with properties of that sink and of that source.
fn configuration(port: u16, sink: &[(&str, &str)], source: &[(&str, &str)]) -> String {
    let mut text = format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = exec
a1.sources.r1.command = seq 1 {LINES}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000
a1.sinks.k1.type = avro
a1.sinks.k1.hostname = localhost
a1.sinks.k1.port = {port}
a1.sinks.k1.batch-size = 10
a1.sinks.k1.channel = c1

a2.sources = r1
a2.channels = c1
a2.sinks = k1
a2.sources.r1.type = avro
a2.sources.r1.bind = 127.0.0.1
a2.sources.r1.port = {port}
a2.sources.r1.channels = c1
a2.channels.c1.type = memory
a2.channels.c1.capacity = 1000
a2.sinks.k1.type = logger
a2.sinks.k1.channel = c1
"
    );
    for (key, value) in sink {
        text.push_str(&format!("a1.sinks.k1.{key} = {value}\n"));
    }
    for (key, value) in source {
        text.push_str(&format!("a2.sources.r1.{key} = {value}\n"));
    }
    text
}

/// Every line must cross, once and in order.
fn cross(name: &str, sink: &[(&str, &str)], source: &[(&str, &str)]) {
    let folder = Folder::new(name);
    let file = folder.write("node.properties", &configuration(port::free(), sink, source));
    let mut second = Node::agent("a2", &file).start();
    let mut first = Node::agent("a1", &file).start();
    second.wait_for_events(usize::try_from(LINES).expect("a small number"));
    assert_eq!(first.stop(), 0);
    assert_eq!(second.stop(), 0);
    assert_numbered(&second.logged(), "", LINES);
}

#[test]
fn lines_cross_compressed() {
    // Acceptance case 65 of the sinks.
    let deflate = ("compression-type", "deflate");
    cross("avro-deflate", &[deflate, ("compression-level", "9")], &[deflate]);
}

#[test]
fn lines_cross_encrypted_with_a_jks_store_and_a_chain() {
    cross(
        "avro-tls",
        &[("ssl", "true"), ("truststore", &store("trust.jks"))],
        &[
            ("ssl", "true"),
            ("keystore", &store("chain.jks")),
            ("keystore-password", "changeit"),
        ],
    );
}

#[test]
fn lines_cross_in_both_nestings() {
    for nesting in ["inner", "outer"] {
        cross(
            &format!("avro-tls-{nesting}"),
            &[
                ("ssl", "true"),
                ("truststore", &store("trust.p12")),
                ("truststore-password", "changeit"),
                ("compression-type", "deflate"),
                ("tls-nesting", nesting),
            ],
            &[
                ("ssl", "true"),
                ("keystore", &store("chain.p12")),
                ("keystore-password", "changeit"),
                ("keystore-type", "PKCS12"),
                ("compression-type", "deflate"),
            ],
        );
    }
}

#[test]
fn stores_of_the_whole_agent_count_and_strangers_are_turned_away() {
    let folder = Folder::new("avro-tls-defaults");
    let (port, metrics) = (port::free(), port::free());
    let on = [("ssl", "true")];
    let file = folder.write("node.properties", &configuration(port, &on, &on));
    let given = |agent: &str, properties: &[(&str, String)]| {
        properties
            .iter()
            .fold(Node::agent(agent, &file), |agent, (key, value)| {
                agent.arg(format!("-D{key}={value}"))
            })
    };
    let password = "changeit".to_owned();
    let mut second = given(
        "a2",
        &[
            ("javax.net.ssl.keyStore", store("ec.p12")),
            ("javax.net.ssl.keyStorePassword", password.clone()),
            ("flume.ssl.include.protocols", "TLSv1.2,TLSv1.3".to_owned()),
        ],
    )
    .admin(metrics)
    .start();

    // Plain Avro to a source that speaks TLS.
    let mut stranger = Connection::open_when_up(port);
    stranger
        .send(b"\0\0\0\x01\0\0\0\x01\0\0\0\x02hi")
        .expect("the source listens");
    let heard = stranger
        .bytes_until_closed(wait::LIVENESS)
        .expect("the source closes");
    assert!(
        heard.first().is_none_or(|byte| *byte == 0x15),
        "nothing but an alert: {heard:02x?}"
    );
    second.wait_for_line("it is told", wait::LIVENESS, |line| {
        line.contains("the peer does not speak TLS")
    });
    http::get_until(metrics, "/metrics", "it is counted", |page| {
        let mut lines = page.body.lines();
        lines.any(|line| line.starts_with("source_refused_inputs_total{") && line.ends_with(" 1"))
    });

    let mut first = given(
        "a1",
        &[
            ("javax.net.ssl.trustStore", store("ec.p12")),
            ("javax.net.ssl.trustStorePassword", password),
        ],
    )
    .start();
    second.wait_for_events(usize::try_from(LINES).expect("a small number"));
    assert_eq!(first.stop(), 0);
    assert_eq!(second.stop(), 0);
    assert_numbered(&second.logged(), "", LINES);
}

#[test]
fn events_wait_for_a_server_that_is_not_trusted() {
    let folder = Folder::new("avro-tls-untrusted");
    let source = [
        ("ssl", "true"),
        ("keystore", &*store("rsa.jks")),
        ("keystore-password", "changeit"),
    ];
    let sink = [("ssl", "true"), ("truststore", &*store("trust.jks"))];
    let file = folder.write("node.properties", &configuration(port::free(), &sink, &source));
    let mut second = Node::agent("a2", &file).start();
    let mut first = Node::agent("a1", &file).start();
    first.wait_for_line("the reason", wait::LIVENESS, |line| {
        line.contains("nobody in the trust store has signed")
    });
    second.wait_for_line("the other side", wait::LIVENESS, |line| {
        line.contains("TLS handshake: the peer refused")
    });
    assert!(second.logged().is_empty());
    // What could not be delivered is left in the memory channel, and said.
    first.hurry();
    assert_eq!(first.wait_exit(wait::LIVENESS), 75);
    assert_eq!(second.stop(), 0);
}
