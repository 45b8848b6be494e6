//! The sink against a server in the same process: the sink's contract over every way to wrap its frames, and servers
//! that speak something else or that nobody trusts.

use super::*;
use crate::component::contract::sink::{Fixture, suite};
use crate::component::contract::{bodies, memory_channel, put, sink_context, soon};
use crate::component::keys::Finding;
use crate::io::deflate::Deflate;
use crate::io::tls::ServerTls;
use bytes::BytesMut;
use proto::avro::{FrameDecoder, FrameLimits, ServerConnection, ServerStep, Status};
use proto::event::EventLimits;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const STORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/");

/// How a server unwraps what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unwrap {
    Plain,
    Deflate,
    Tls,
    TlsInDeflate,
    DeflateInTls,
}

impl Unwrap {
    /// What a sink needs to talk to it.
    fn properties(self) -> Vec<(&'static str, String)> {
        let deflate = ("compression-type", "deflate".to_owned());
        let tls = [
            ("ssl", "true".to_owned()),
            ("truststore", format!("{STORES}trust.jks")),
            ("truststore-password", "changeit".to_owned()),
        ];
        match self {
            Self::Plain => vec![],
            Self::Deflate => vec![deflate, ("compression-level", "9".to_owned())],
            Self::Tls => tls.into(),
            Self::TlsInDeflate => tls.into_iter().chain([deflate]).collect(),
            Self::DeflateInTls => {
                let nesting = ("tls-nesting", "OUTER".to_owned());
                tls.into_iter().chain([deflate, nesting]).collect()
            }
        }
    }
}

fn server_tls(store: &str) -> ServerTls {
    let store = format!("{STORES}{store}");
    let pairs = [
        ("ssl", "true"),
        ("keystore", &*store),
        ("keystore-password", "changeit"),
    ];
    ServerTls::read(&mut Keys::of("x", &pairs), &TlsDefaults::default()).unwrap()
}

/// A server that remembers what it was sent and answers OK.
struct Server {
    port: u16,
    unwrap: Unwrap,
    delivered: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    fn start(unwrap: Unwrap, store: &'static str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let delivered = Arc::new(Mutex::new(Vec::new()));
        let into = delivered.clone();
        let task = tokio::spawn(async move {
            let tls = server_tls(store);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, unwrap, tls.clone(), into.clone()));
            }
        });
        Self {
            port,
            unwrap,
            delivered,
            task,
        }
    }
}

async fn serve(
    stream: TcpStream,
    unwrap: Unwrap,
    tls: ServerTls,
    into: Arc<Mutex<Vec<String>>>,
) -> io::Result<()> {
    let mut stream: BoxStream = match unwrap {
        Unwrap::Plain => Box::new(stream),
        Unwrap::Deflate => {
            let mut start = [0; 2];
            if stream.peek(&mut start).await? == 2 {
                assert_eq!(start, [0x78, 0xda], "level 9");
            }
            Box::new(Deflate::new(stream, 6))
        }
        Unwrap::Tls => Box::new(tls.accept(stream).await?),
        Unwrap::TlsInDeflate => Box::new(tls.accept(Deflate::new(stream, 6)).await?),
        Unwrap::DeflateInTls => Box::new(Deflate::new(tls.accept(stream).await?, 6)),
    };
    let mut rpc = ServerConnection::new(Arc::default(), EventLimits::default());
    let mut frames = FrameDecoder::new(FrameLimits::default());
    let mut input = BytesMut::new();
    loop {
        while let Some(frame) = frames.next_frame(&mut input).unwrap() {
            let mut out = BytesMut::new();
            if let ServerStep::Call(call) = rpc.handle(frame, &mut out) {
                into.lock().unwrap().extend(bodies(&call.batch));
                call.reply.write(Status::Ok, &mut out);
            }
            stream.write_all(&out).await?;
            stream.flush().await?;
        }
        frames.prepare(&mut input);
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

fn sink(port: u16, more: &[(&str, String)]) -> Avro {
    let port = port.to_string();
    let own = [("hostname", "127.0.0.1"), ("port", port.as_str())];
    let more: Vec<(&str, &str)> = more.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut keys = Keys::of("sink k1 (avro)", &[&own, &more[..]].concat());
    let config = Config::read(&mut keys, &TlsDefaults::default());
    let found = keys.finish();
    assert!(found.is_empty(), "{found:?}");
    config.build().unwrap()
}

impl Fixture for Server {
    fn build(&self) -> Box<dyn DynSink> {
        Box::new(sink(self.port, &self.unwrap.properties()))
    }

    fn delivered(&self) -> Option<Vec<String>> {
        Some(self.delivered.lock().unwrap().clone())
    }
}

mod plain {
    use super::*;
    suite!(|| Server::start(Unwrap::Plain, "chain.p12"));
}

mod deflate {
    use super::*;
    suite!(|| Server::start(Unwrap::Deflate, "chain.p12"));
}

mod tls {
    use super::*;
    suite!(|| Server::start(Unwrap::Tls, "chain.p12"));
}

mod both_as_flume_1_11 {
    use super::*;
    suite!(|| Server::start(Unwrap::TlsInDeflate, "chain.jks"));
}

mod both_as_flume_1_9 {
    use super::*;
    suite!(|| Server::start(Unwrap::DeflateInTls, "chain.p12"));
}

/// What a sink with these properties says when it is to deliver an event to this server; the event stays.
async fn failure(server: &Server, like: Unwrap, more: &[(&str, &str)]) -> String {
    let mut properties = like.properties();
    properties.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let mut sink = sink(server.port, &properties);
    let (channel, ctx) = (memory_channel(10), sink_context("k1"));
    put(&channel, [&b"x"[..]].into_iter().collect::<Batch>()).await;
    let lease = channel
        .take(Sink::want(&sink), Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    let error = soon(Sink::process(&mut sink, lease, &ctx)).await.unwrap_err();
    assert_eq!(channel.channel().queued(), 1);
    assert!(server.delivered.lock().unwrap().is_empty());
    error.to_string()
}

#[tokio::test]
async fn a_server_that_nobody_trusts_gets_nothing_and_the_reason_is_told() {
    let unknown = Server::start(Unwrap::Tls, "rsa.jks");
    let said = failure(&unknown, Unwrap::Tls, &[]).await;
    assert!(
        said.contains("cannot connect: TLS handshake: nobody in the trust store has signed"),
        "{said}"
    );
    let expired = Server::start(Unwrap::Tls, "expired.p12");
    let said = failure(&expired, Unwrap::Tls, &[]).await;
    assert!(said.contains("the peer's certificate has expired"), "{said}");
}

#[tokio::test]
async fn a_server_that_speaks_something_else_gets_nothing() {
    for (server, sink, reason) in [
        (Unwrap::Tls, Unwrap::TlsInDeflate, "cannot connect"),
        (Unwrap::TlsInDeflate, Unwrap::DeflateInTls, "cannot connect"),
        (Unwrap::TlsInDeflate, Unwrap::Tls, "cannot connect"),
        (Unwrap::DeflateInTls, Unwrap::Tls, "Failed to send events"),
        (Unwrap::Tls, Unwrap::Plain, "answer"),
    ] {
        let server = Server::start(server, "chain.p12");
        let said = failure(&server, sink, &[]).await;
        assert!(
            said.contains(reason) || said.contains("closed"),
            "{:?} {sink:?}: {said}",
            server.unwrap
        );
    }
}

#[tokio::test]
async fn trust_all_certs_trusts_anybody() {
    let server = Server::start(Unwrap::Tls, "expired.p12");
    let properties = [("ssl", "true".to_owned()), ("trust-all-certs", "true".to_owned())];
    let mut sink = sink(server.port, &properties);
    let (channel, ctx) = (memory_channel(10), sink_context("k1"));
    put(&channel, [&b"x"[..]].into_iter().collect::<Batch>()).await;
    let lease = channel
        .take(Sink::want(&sink), Duration::ZERO)
        .await
        .unwrap()
        .unwrap();
    soon(Sink::process(&mut sink, lease, &ctx)).await.unwrap();
    assert_eq!(server.delivered(), Some(vec!["x".to_owned()]));
}

fn said(pairs: &[(&str, &str)]) -> Vec<String> {
    let own = [("hostname", "h"), ("port", "1")];
    let mut keys = Keys::of("x", &[&own, pairs].concat());
    Config::read(&mut keys, &TlsDefaults::default());
    let text = |f: &Finding| {
        format!(
            "{} {}: {}",
            f.severity,
            f.property.clone().unwrap_or_default(),
            f.message
        )
    };
    keys.finish().iter().map(text).collect()
}

#[test]
fn settings_that_mean_nothing_are_told() {
    assert_eq!(
        said(&[
            ("compression-level", "9"),
            ("tls-nesting", "outer"),
            ("trust-all-certs", "true")
        ]),
        [
            "warning compression-level: has no effect without compression-type = deflate",
            "warning trust-all-certs: has no effect without ssl = true",
            "warning tls-nesting: has no effect without ssl = true and compression-type = deflate",
        ]
    );
    assert_eq!(
        said(&[
            ("ssl", "true"),
            ("trust-all-certs", "true"),
            ("compression-type", "deflate"),
            ("compression-level", "10"),
            ("tls-nesting", "around"),
        ]),
        [
            "warning compression-level: expected 0 to 9, found \"10\"; 6 is used, as in Flume",
            "error tls-nesting: expected inner or outer, found \"around\"",
        ]
    );
}
