//! What is said about settings.

use super::client::{Served, config, post};
use crate::component::context::SystemClock;
use crate::component::contract::build_context;
use crate::component::keys::{Finding, Keys};
use crate::component::registry::Types;
use crate::source::http::{Config, handler::Handler};
use std::sync::Arc;
use std::time::Duration;

#[track_caller]
fn check(pairs: &[(&str, &str)], expected: &[&str]) {
    let mut keys = Keys::of("r1", pairs);
    let ctx = build_context("r1", Arc::new(SystemClock::default()), Types::default());
    Config::read(&mut keys, &ctx);
    let texts: Vec<String> = keys.finish().iter().map(Finding::to_string).collect();
    let expected: Vec<String> = expected.iter().map(|text| format!("(given):0: {text}")).collect();
    assert_eq!(texts, expected);
}

#[test]
fn defaults_are_flumes_and_generous() {
    let config = config(&[]);
    assert_eq!(config.bind, "0.0.0.0");
    assert_eq!(config.handler, Handler::Json);
    assert_eq!(config.max_request_bytes, 64 << 20);
    assert_eq!(config.max_connections, 10_000);
    assert_eq!(config.max_buffered_bytes, 256 << 20);
    assert_eq!(config.jetty.idle_timeout, Duration::from_secs(30));
    assert_eq!(config.jetty.requests_at_once, None);
    assert!(config.jetty.server_header && config.jetty.date_header && config.jetty.keep_alive);
}

#[test]
fn a_large_request_has_room_among_all() {
    assert_eq!(
        super::client::config(&[("maxRequestBytes", "1000000000")]).max_buffered_bytes,
        2_000_000_000
    );
    check(
        &[
            ("port", "1"),
            ("maxRequestBytes", "2000000"),
            ("maxBufferedBytes", "1500000"),
        ],
        &["error[bad-value]: r1: maxBufferedBytes: 1500000 bytes do not hold one request of 2000000 bytes"],
    );
}

#[test]
fn mistakes_are_named_all_at_once() {
    check(
        &[
            ("prot", "80"),
            ("handler.maxBlobLength", "5"),
            ("HttpConfiguration.sendServerVersion", "no"),
            ("HttpConfiguration.requestHeaderSize", "lots"),
            ("ServerConnector.idleTimeout", "0"),
        ],
        &[
            "error[missing]: r1: port: required, but not there; did you mean it by \"prot\"?",
            "warning[unknown-key]: r1: handler.maxBlobLength: unknown, ignored",
            "warning[bad-boolean]: r1: HttpConfiguration.sendServerVersion: expected true or false, found \"no\"; false is used, as in Flume",
            "error[bad-value]: r1: HttpConfiguration.requestHeaderSize: expected 1024 to 1048576, found \"lots\"",
            "error[bad-value]: r1: ServerConnector.idleTimeout: expected 1 to 2147483647, found \"0\"",
            "warning[unknown-key]: r1: prot: unknown, ignored; did you mean \"port\"?",
        ],
    );
}

#[test]
fn an_unknown_handler_is_named_with_the_one_that_was_meant() {
    let handler = |class: &'static str| [("port", "1"), ("handler", class)];
    check(
        &handler("org.apache.flume.source.http.JsonHandler"),
        &[
            "error[unknown-type]: r1: handler: \"org.apache.flume.source.http.JsonHandler\" is no handler that is known; did you mean \"org.apache.flume.source.http.JSONHandler\"?",
        ],
    );
    check(
        &handler("BLOBHandler"),
        &[
            "error[unknown-type]: r1: handler: \"BLOBHandler\" is no handler that is known; did you mean \"org.apache.flume.source.http.BLOBHandler\"?",
        ],
    );
    check(
        &handler("com.example.Mine"),
        &[
            "error[java-class]: r1: handler: \"com.example.Mine\" is no handler that is known; it is a Java class of somebody else's, and no Java runs here",
        ],
    );
}

#[test]
fn jettys_settings_are_known_and_others_guessed() {
    check(
        &[
            ("port", "1"),
            ("QueuedThreadPool.maxThreads", "10"),
            ("QueuedThreadPool.minThreads", "5"),
            ("QueuedThreadPool.maxThread", "5"),
            ("HttpConfiguration.outputBufferSize", "5"),
            ("ServerConnector.port", "5"),
            ("SslContextFactory.keyStorePath", "/x"),
            ("SslContextFactory.needClientAuth", "true"),
        ],
        &[
            "warning[no-effect]: r1: QueuedThreadPool.minThreads: has no effect: there are no threads that wait",
            "warning[unknown-key]: r1: QueuedThreadPool.maxThread: unknown, ignored; did you mean \"QueuedThreadPool.maxThreads\"?",
            "warning[no-effect]: r1: HttpConfiguration.outputBufferSize: has no effect",
            "warning[no-effect]: r1: ServerConnector.port: has no effect, as in Flume; the key is port",
            "error[bad-value]: r1: SslContextFactory.needClientAuth: certificates of clients are not asked for in this version; allowed is false",
            "warning[no-effect]: r1: SslContextFactory.keyStorePath: has no effect; the keys are keystore, keystore-password, include-protocols and their kin",
        ],
    );
}

#[tokio::test]
async fn headers_of_the_server_can_be_switched_off() {
    let served = Served::start(&[]).await;
    let answer = served.ask(post("application/json", "[]")).await;
    assert!(
        answer.head.contains("\r\nserver: millrace\r\n"),
        "{}",
        answer.head
    );
    assert!(answer.head.contains("\r\ndate: "));
    served.stop().await;
    let served = Served::start(&[
        ("HttpConfiguration.sendServerVersion", "false"),
        ("HttpConfiguration.sendDateHeader", "false"),
        ("HttpConfiguration.persistentConnectionsEnabled", "false"),
        ("ServerConnector.acceptQueueSize", "5"),
    ])
    .await;
    let mut client = served.client().await;
    client.send(post("application/json", "[]")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert!(
        !answer.head.contains("server:") && !answer.head.contains("date:"),
        "{}",
        answer.head
    );
    assert_eq!(client.until_closed().await, "");
    served.stop().await;
}
