//! The sink against a server that answers as it is told: cases 67 to 70 and 96 of `flume/channels-and-sinks.md` 11.

use super::*;
use crate::component::channel::ChannelHandle;
use crate::component::context::SystemClock;
use crate::component::contract::sink::{Fixture, drain, suite};
use crate::component::contract::{Log, build_context, memory_channel, put, sink_context, soon};
use crate::component::error::Kind;
use crate::component::keys::Finding;
use crate::component::registry::Types;
use crate::io::tls::{ServerTls, TlsDefaults};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server on the runtime of its test; it dies with that.
struct Server {
    address: SocketAddr,
    /// Head in lower case and body of each request.
    requests: Mutex<Vec<(String, String)>>,
    /// What to answer next; then always 200. Empty: nothing, and the connection stays.
    answers: Mutex<VecDeque<String>>,
    connections: AtomicUsize,
    /// Requests that have come and are not answered, at most at once.
    at_once: (AtomicUsize, AtomicUsize),
    /// Answer only when so many are there.
    together: usize,
    tls: Option<ServerTls>,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";

impl Server {
    fn start(answers: &[&str]) -> Arc<Self> {
        Self::start_together(answers, 1)
    }

    fn start_together(answers: &[&str], together: usize) -> Arc<Self> {
        Self::start_with(answers, together, None)
    }

    /// With the key of a store, whose certificate is for `localhost`.
    fn start_secure(store: &str) -> Arc<Self> {
        let mut keys = Keys::of(
            "r1",
            &[
                ("ssl", "true"),
                ("keystore", &stored(store)),
                ("keystore-password", "changeit"),
            ],
        );
        let tls = ServerTls::read(&mut keys, &TlsDefaults::default());
        Self::start_with(&[], 1, Some(tls.expect("a good store")))
    }

    fn start_with(answers: &[&str], together: usize, tls: Option<ServerTls>) -> Arc<Self> {
        // A name that is in no certificate must lead here too.
        let bind = if tls.is_some() { "0.0.0.0:0" } else { "127.0.0.1:0" };
        let listener = std::net::TcpListener::bind(bind).unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            requests: Mutex::default(),
            answers: Mutex::new(answers.iter().map(|answer| (*answer).to_owned()).collect()),
            connections: AtomicUsize::new(0),
            at_once: Default::default(),
            together,
            tls,
        });
        let accepts = server.clone();
        tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepts.connections.fetch_add(1, SeqCst);
                let server = accepts.clone();
                tokio::spawn(async move {
                    match &server.tls {
                        None => server.serve(stream).await,
                        Some(tls) => server.serve(tls.accept(stream).await.ok()?).await,
                    }
                });
            }
        });
        server
    }

    async fn serve(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<()> {
        let mut received = Vec::new();
        loop {
            let request = read_request(&mut stream, &mut received).await?;
            let now = self.at_once.0.fetch_add(1, SeqCst) + 1;
            self.at_once.1.fetch_max(now, SeqCst);
            self.requests.lock().unwrap().push(request);
            while self.at_once.1.load(SeqCst) < self.together {
                tokio::task::yield_now().await;
            }
            let answer = self.answers.lock().unwrap().pop_front();
            let answer = answer.unwrap_or_else(|| OK.to_owned());
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            self.at_once.0.fetch_sub(1, SeqCst);
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn bodies(&self) -> Vec<String> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .map(|(_, body)| body.clone())
            .collect()
    }
}

/// Head and body of a request; none at the end of the connection.
async fn read_request(
    stream: &mut (impl AsyncRead + Unpin),
    received: &mut Vec<u8>,
) -> Option<(String, String)> {
    let end = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        read(stream, received).await?;
    };
    let head = String::from_utf8(received.drain(..end).collect())
        .unwrap()
        .to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    while received.len() < length {
        read(stream, received).await?;
    }
    let body = String::from_utf8(received.drain(..length).collect()).unwrap();
    Some((head, body))
}

async fn read(stream: &mut (impl AsyncRead + Unpin), received: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(received).await;
    read.is_ok_and(|n| n > 0).then_some(())
}

fn read_config(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
    let mut keys = Keys::of("k1", pairs);
    let ctx = build_context("k1", Arc::new(SystemClock::default()), Types::default());
    let config = Config::read(&mut keys, &ctx);
    (config, keys.finish().iter().map(Finding::to_string).collect())
}

fn sink(url: &str, pairs: &[(&str, &str)]) -> Http {
    let (config, found) = read_config(&[&[("endpoint", url)], pairs].concat());
    assert_eq!(found, [""; 0]);
    config.build().unwrap()
}

fn stored(name: &str) -> String {
    format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What most users set.
const DELIVERS: [(&str, &str); 3] = [
    ("defaultRollback", "false"),
    ("defaultBackoff", "false"),
    ("incrementMetrics.2XX", "true"),
];

async fn filled(bodies: &[&str]) -> ChannelHandle {
    let channel = memory_channel(100);
    for body in bodies {
        put(&channel, [body.as_bytes()].into_iter().collect()).await;
    }
    channel
}

/// One turn with the next event.
async fn turn(sink: &mut Http, channel: &ChannelHandle, ctx: &SinkContext) -> Result<(), RunError> {
    let lease = channel
        .take(Sink::want(sink), Duration::ZERO)
        .await
        .unwrap()
        .expect("an event");
    soon(Sink::process(sink, lease, ctx)).await
}

struct Recording(Arc<Server>, &'static str);

impl Fixture for Recording {
    fn build(&self) -> Box<dyn DynSink> {
        let pairs = [DELIVERS.as_slice(), &[("requestsInFlight", self.1)]].concat();
        Box::new(sink(&self.0.url("/"), &pairs))
    }

    fn delivered(&self) -> Option<Vec<String>> {
        let mut bodies = self.0.bodies();
        if self.1 != "1" {
            bodies.sort_by_key(|body| body.parse::<u32>().unwrap());
        }
        Some(bodies)
    }
}

suite!(|| Recording(Server::start(&[]), "1"));

mod several_in_flight {
    use super::*;

    async fn run(check: impl AsyncFnOnce(&Recording)) {
        check(&Recording(Server::start(&[]), "4")).await;
    }

    #[tokio::test]
    async fn events_are_delivered_once_and_committed() {
        run(async |fixture| {
            crate::component::contract::sink::events_are_delivered_once_in_order_and_committed(fixture).await
        })
        .await;
    }

    #[tokio::test]
    async fn a_refused_commit_is_an_error_and_loses_nothing() {
        run(async |fixture| {
            crate::component::contract::sink::a_refused_commit_is_an_error_and_loses_nothing(fixture).await
        })
        .await;
    }

    #[tokio::test]
    async fn stopping_after_process_keeps_everything() {
        run(async |fixture| {
            crate::component::contract::sink::stopping_after_process_keeps_everything(fixture).await
        })
        .await;
    }

    #[tokio::test]
    async fn they_really_are_under_way_at_once() {
        let server = Server::start_together(&[], 4);
        let pairs = [DELIVERS.as_slice(), &[("requestsInFlight", "4")]].concat();
        let mut sink: Box<dyn DynSink> = Box::new(sink(&server.url("/"), &pairs));
        let (channel, ctx) = (filled(&["1"; 20]).await, sink_context("k1"));
        soon(drain(&mut sink, &channel, &ctx)).await;
        assert_eq!(server.at_once.1.load(SeqCst), 4);
        assert_eq!(server.connections.load(SeqCst), 4);
        assert_eq!(channel.channel().held(), 0);
    }
}

#[tokio::test]
async fn each_event_is_one_request_and_the_connection_is_kept() {
    let server = Server::start(&[]);
    let mut sink: Box<dyn DynSink> = Box::new(sink(&server.url("/a?b=c"), &DELIVERS));
    let (channel, ctx) = (filled(&["e1", "e2"]).await, sink_context("k1"));
    drain(&mut sink, &channel, &ctx).await;
    assert_eq!(server.bodies(), ["e1", "e2"]);
    assert_eq!(server.connections.load(SeqCst), 1);
    let (head, _) = server.requests.lock().unwrap()[0].clone();
    assert!(head.starts_with("post /a?b=c http/1.1\r\n"), "{head}");
    for line in [
        "content-type: text/plain",
        "accept: text/plain",
        "content-length: 2",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    assert!(
        !head.contains("transfer-encoding") && !head.contains("accept-encoding"),
        "{head}"
    );
}

#[tokio::test]
async fn headers_of_the_request_can_be_set() {
    let server = Server::start(&[]);
    let pairs = [("contentTypeHeader", "application/json"), ("acceptHeader", "*/*")];
    let mut sink = sink(&server.url("/"), &[&DELIVERS[..], &pairs].concat());
    let (channel, ctx) = (filled(&["e1"]).await, sink_context("k1"));
    turn(&mut sink, &channel, &ctx).await.unwrap();
    let (head, _) = server.requests.lock().unwrap()[0].clone();
    assert!(
        head.contains("\r\ncontent-type: application/json\r\n") && head.contains("\r\naccept: */*\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn without_settings_200_puts_the_event_back_and_a_warning_says_so() {
    let log = Log::capture();
    let server = Server::start(&[]);
    let mut sink = sink(&server.url("/"), &[]);
    let (channel, ctx) = (filled(&["e1", "e2"]).await, sink_context("k1"));
    Sink::start(&mut sink, &ctx).await.unwrap();
    assert!(log.text().contains("rollback.2XX = false"), "{}", log.text());
    for _ in 0..2 {
        let error = turn(&mut sink, &channel, &ctx).await.unwrap_err();
        assert_eq!(error.kind(), Kind::RetryAfter(Duration::ZERO));
        assert_eq!(
            error.to_string(),
            "Got status code 200 from HTTP server. Rolled back event and backed off."
        );
    }
    assert_eq!(server.bodies(), ["e1", "e1"]);
    assert_eq!(channel.channel().queued(), 2);
    assert_eq!(
        (ctx.counters.attempted.value(), ctx.counters.delivered.value()),
        (2, 0)
    );
}

/// One event, one answer: whether it is gone, whether the turn is an error, whether it counts as delivered.
async fn check(pairs: &[(&str, &str)], answer: &str, expected: (bool, bool, bool)) {
    let server = Server::start(&[answer]);
    let mut sink = sink(&server.url("/"), pairs);
    let (channel, ctx) = (filled(&["e1"]).await, sink_context("k1"));
    let failed = turn(&mut sink, &channel, &ctx).await.is_err();
    let found = (
        channel.channel().held() == 0,
        failed,
        ctx.counters.delivered.value() == 1,
    );
    assert_eq!(found, expected, "{answer}");
    assert_eq!(server.bodies(), ["e1"]);
}

#[tokio::test]
async fn the_rules_say_what_becomes_of_an_event() {
    let off = [("defaultRollback", "false"), ("defaultBackoff", "false")];
    let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
    let exact = [
        off.as_slice(),
        &[("rollback.5XX", "true"), ("rollback.503", "false")],
    ]
    .concat();
    check(&exact, busy, (true, false, false)).await;
    let class = [off.as_slice(), &[("rollback.5XX", "true")]].concat();
    check(&class, busy, (false, false, false)).await;
    let both = [class.as_slice(), &[("backoff.503", "true")]].concat();
    check(&both, busy, (false, true, false)).await;
    check(&DELIVERS, OK, (true, false, true)).await;
    check(&DELIVERS, busy, (true, false, false)).await;
    // Put back and counted all the same: the tables do not know of each other.
    check(&[("defaultIncrementMetrics", "true")], OK, (false, true, true)).await;
}

#[tokio::test]
async fn an_error_without_a_body_follows_the_rules_too() {
    let off = [("defaultRollback", "false"), ("defaultBackoff", "false")];
    check(
        &off,
        "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n",
        (true, false, false),
    )
    .await;
    check(&off, "HTTP/1.1 204 No Content\r\n\r\n", (true, false, false)).await;
}

#[tokio::test]
async fn a_pause_after_a_delivery_grows_and_ends_with_the_source_of_it() {
    let server = Server::start(&[]);
    let pairs = [("defaultRollback", "false"), ("backoff.200", "true")];
    let mut sink = sink(&server.url("/"), &pairs);
    let (channel, ctx) = (filled(&["e1", "e2"]).await, sink_context("k1"));
    turn(&mut sink, &channel, &ctx).await.unwrap();
    assert_eq!(sink.pauses.as_ref().map(Backoff::failures), Some(1));
    // A stop does not wait for it.
    ctx.shutdown.request();
    turn(&mut sink, &channel, &ctx).await.unwrap();
    assert_eq!(sink.pauses.as_ref().map(Backoff::failures), Some(2));
    assert_eq!(channel.channel().held(), 0);
    sink.after(Ok(Sent { pause: false }), &ctx).await.unwrap();
    assert!(sink.pauses.is_none());
}

#[tokio::test]
async fn an_empty_event_is_dropped_without_a_request() {
    let log = Log::capture();
    let server = Server::start(&[]);
    let mut sink = sink(&server.url("/"), &[]);
    let (channel, ctx) = (filled(&[""]).await, sink_context("k1"));
    turn(&mut sink, &channel, &ctx).await.unwrap();
    assert_eq!(channel.channel().held(), 0);
    assert_eq!(server.connections.load(SeqCst), 0);
    assert_eq!(ctx.counters.attempted.value(), 0);
    assert!(log.text().contains("Processed empty event"), "{}", log.text());
}

#[tokio::test]
async fn who_cannot_be_reached_or_does_not_answer_gets_the_event_again() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", nobody.local_addr().unwrap());
    drop(nobody);
    let (channel, ctx) = (filled(&["e1"]).await, sink_context("k1"));
    let error = turn(&mut sink(&url, &DELIVERS), &channel, &ctx)
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Error opening connection, or request timed out: "),
        "{error}"
    );
    assert_eq!(channel.channel().queued(), 1);

    let server = Server::start(&["", "HTTP/1.1 2"]);
    let mut sink = sink(
        &server.url("/"),
        &[&DELIVERS[..], &[("requestTimeout", "50")]].concat(),
    );
    for _ in 0..2 {
        assert!(turn(&mut sink, &channel, &ctx).await.is_err());
        assert_eq!(channel.channel().queued(), 1);
    }
    turn(&mut sink, &channel, &ctx).await.unwrap();
    assert_eq!(channel.channel().held(), 0);
    assert_eq!(server.bodies(), ["e1", "e1", "e1"]);
}

#[tokio::test]
async fn an_answer_that_never_ends_costs_its_connection_and_not_the_event() {
    let endless = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}",
        usize::MAX >> 1,
        "x".repeat(ANSWER_BYTES_MAX + 1)
    );
    let server = Server::start(&[&endless, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]);
    let mut sink: Box<dyn DynSink> = Box::new(sink(
        &server.url("/"),
        &[&DELIVERS[..], &[("requestTimeout", "500")]].concat(),
    ));
    let (channel, ctx) = (filled(&["e1", "e2", "e3"]).await, sink_context("k1"));
    soon(drain(&mut sink, &channel, &ctx)).await;
    assert_eq!(server.bodies(), ["e1", "e2", "e3"]);
    assert_eq!(server.connections.load(SeqCst), 3);
}

#[tokio::test]
async fn redirects_are_followed_with_get_and_the_last_status_counts() {
    let server = Server::start(&[
        "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:1/b\r\nContent-Length: 0\r\n\r\n",
    ]);
    let pairs = [
        ("defaultRollback", "false"),
        ("defaultBackoff", "false"),
        ("incrementMetrics.404", "true"),
    ];
    let mut sink = sink(&server.url("/a"), &pairs);
    let (channel, ctx) = (filled(&["e1", "e2"]).await, sink_context("k1"));
    turn(&mut sink, &channel, &ctx).await.unwrap();
    assert_eq!(ctx.counters.delivered.value(), 1);
    assert_eq!(server.bodies(), ["e1", ""]);
    let (head, _) = server.requests.lock().unwrap()[1].clone();
    assert!(
        head.starts_with("get /b http/1.1\r\n") && !head.contains("content-type"),
        "{head}"
    );
    // To another scheme it is not followed: the redirect is the answer.
    turn(&mut sink, &channel, &ctx).await.unwrap();
    assert_eq!(server.bodies().len(), 3);
    assert_eq!(channel.channel().held(), 0);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let circle = "HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n";
    let server = Server::start(&[circle; 100]);
    let mut sink = sink(&server.url("/"), &DELIVERS);
    let (channel, ctx) = (filled(&["e1"]).await, sink_context("k1"));
    assert!(turn(&mut sink, &channel, &ctx).await.is_err());
    assert_eq!(server.bodies().len(), REDIRECTS_MAX + 1);
    assert_eq!(channel.channel().queued(), 1);
}

/// To a server over TLS, trusting what a store says, if there is one.
async fn secure_turn(server: &Server, host: &str, truststore: Option<&str>) -> Result<(), RunError> {
    let url = format!("https://{host}:{}/", server.address.port());
    let mut keys = Keys::of("k1", &[&DELIVERS[..], &[("endpoint", &url)]].concat());
    let mut ctx = build_context("k1", Arc::new(SystemClock::default()), Types::default());
    ctx.tls = Arc::new(TlsDefaults {
        truststore: truststore.map(stored),
        truststore_password: truststore.map(|_| "changeit".to_owned()),
        ..TlsDefaults::default()
    });
    let config = Config::read(&mut keys, &ctx);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    let (channel, ctx) = (filled(&["e1"]).await, sink_context("k1"));
    turn(&mut config.build().unwrap(), &channel, &ctx).await
}

#[tokio::test]
async fn https_trusts_the_agents_store_and_checks_the_name() {
    let server = Server::start_secure("chain.p12");
    secure_turn(&server, "localhost", Some("trust.p12"))
        .await
        .unwrap();
    assert_eq!(server.bodies(), ["e1"]);
    for (host, truststore) in [("localhost", None), ("127.0.0.2", Some("trust.p12"))] {
        let refused = secure_turn(&server, host, truststore).await.unwrap_err();
        assert!(refused.to_string().contains("certificate"), "{host}: {refused}");
    }
    assert_eq!(server.bodies(), ["e1"]);
}

#[test]
fn mistakes_are_named_all_at_once() {
    let (_, found) = read_config(&[
        ("endpoint", "localhost:8080/x"),
        ("connectTimeout", "0"),
        ("requestTimeout", "-1"),
        ("acceptHeader", "a\u{1}b"),
        ("requestsInFlight", "0"),
        ("defaultRollbck", "false"),
    ]);
    assert_eq!(
        found,
        [
            "(given):0: error[bad-value]: k1: endpoint: Endpoint URL invalid: expected such as http://host:8080/path, found \"localhost:8080/x\"; allowed are http and https",
            "(given):0: error[bad-value]: k1: connectTimeout: expected 1 to 2147483647, found \"0\"",
            "(given):0: error[bad-value]: k1: requestTimeout: expected 1 to 2147483647, found \"-1\"",
            "(given):0: error[bad-value]: k1: acceptHeader: expected the value of an HTTP header, found \"a\\u{1}b\"",
            "(given):0: error[bad-value]: k1: requestsInFlight: expected 1 to 1000, found \"0\"",
            "(given):0: warning[unknown-key]: k1: defaultRollbck: unknown, ignored; did you mean \"defaultRollback\"?",
        ]
    );
    let (_, found) = read_config(&[("endpoint", "http://")]);
    assert_eq!(found.len(), 1);
    let (_, found) = read_config(&[]);
    assert_eq!(
        found,
        ["(given):0: error[missing]: k1: endpoint: required, but not there"]
    );
}
