//! What peers send and what they are answered, by the numbers of the acceptance cases of `flume/sources.md` 13.

use super::*;
use crate::component::BoxFuture;
use crate::component::channel::{ChannelError, ChannelHandle, Claim};
use crate::component::contract::source::{BODIES, Running, of};
use crate::component::contract::{self, Recorder, common, memory_channel, soon};
use crate::component::source::Put;
use bytes::Bytes;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
    let pairs: Vec<_> = [("bind", "127.0.0.1"), ("port", "0")]
        .into_iter()
        .chain(pairs.iter().copied())
        .collect();
    let mut keys = Keys::of("source r1 (netcat)", &pairs);
    let config = Config::read(&mut keys);
    (config, keys.finish().iter().map(|f| f.to_string()).collect())
}

fn source(pairs: &[(&str, &str)]) -> Netcat {
    let (config, findings) = read(pairs);
    assert!(findings.is_empty(), "{findings:?}");
    config.build().unwrap()
}

async fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A peer that sends a line again until it is answered OK.
fn fed() -> Box<dyn DynSource> {
    of(|ctx| async move {
        let (listener, address) = bound().await;
        let feed = async {
            let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
            let mut n = 0;
            while n < BODIES && stream.write_all(format!("{n}\n").as_bytes()).await.is_ok() {
                let mut answer = String::new();
                match stream.read_line(&mut answer).await {
                    Ok(3) => n += 1,
                    Ok(0) | Err(_) => break,
                    _ => {
                        let known = ["FAILED: Space for commit", "FAILED: as told"];
                        assert!(known.iter().any(|text| answer.starts_with(text)), "{answer}");
                    }
                }
            }
            ctx.shutdown.requested().await;
        };
        tokio::join!(source(&[]).serve(listener, ctx.clone()), feed).0
    })
}

contract::source::suite!(fed);

struct Fixture {
    running: Running,
    recorder: Arc<Recorder>,
    stream: TcpStream,
}

async fn start(pairs: &[(&str, &str)]) -> Fixture {
    let (listener, address) = bound().await;
    let (source, recorder) = (source(pairs), Recorder::new());
    let running = Running::start(of(|ctx| source.serve(listener, ctx)), recorder.clone());
    let stream = TcpStream::connect(address).await.unwrap();
    Fixture {
        running,
        recorder,
        stream,
    }
}

/// What comes back until the source closes; this end has nothing more to say.
async fn answers_to(stream: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answers = Vec::new();
    soon(stream.read_to_end(&mut answers)).await.unwrap();
    answers
}

/// Checks answers and bodies; returns how many inputs were refused.
async fn check(pairs: &[(&str, &str)], sent: &[u8], answers: &[u8], bodies: &[&str]) -> u64 {
    let mut fixture = start(pairs).await;
    let found = answers_to(&mut fixture.stream, sent).await;
    assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(answers));
    let counters = fixture.running.ctx.counters.clone();
    fixture.running.stop().await.unwrap();
    assert_eq!(fixture.recorder.bodies(), bodies);
    assert!(
        fixture
            .recorder
            .events()
            .iter()
            .all(|event| event.starts_with(" | ")),
        "no headers"
    );
    assert_eq!(counters.received.value(), bodies.len() as u64);
    assert_eq!(counters.accepted.value(), bodies.len() as u64);
    counters.refused_inputs.value()
}

#[tokio::test]
async fn cases_1_to_4_lines_are_answered_ok() {
    check(&[], b"hello\n", b"OK\n", &["hello"]).await;
    check(&[], b"hello\r\n", b"OK\n", &["hello\r"]).await;
    check(&[], b"\n\n", b"OK\nOK\n", &["", ""]).await;
    check(&[], b"one\ntwo\nthr", b"OK\nOK\n", &["one", "two"]).await;
}

#[tokio::test]
async fn case_5_a_line_that_is_too_long_is_told_and_the_connection_closed() {
    let limit = [("max-line-length", "20")];
    assert_eq!(
        check(
            &limit,
            b"aaaaaaaaaaaaaaaaaaa\n",
            b"OK\n",
            &["aaaaaaaaaaaaaaaaaaa"]
        )
        .await,
        0
    );
    let refused = b"FAILED: Event exceeds the maximum length (20 chars, including newline)\n";
    assert_eq!(check(&limit, b"aaaaaaaaaaaaaaaaaaaa\n", refused, &[]).await, 1);
    let both = [&b"OK\n"[..], refused].concat();
    assert_eq!(
        check(&limit, b"a\naaaaaaaaaaaaaaaaaaaa\nb\n", &both, &["a"]).await,
        1
    );
}

#[tokio::test]
async fn case_6_lines_and_answers_are_in_the_encoding_and_bodies_in_utf8() {
    let sent = [0, b'h', 0, 0xe9, 0, b'\n'];
    check(
        &[("encoding", "UTF-16BE")],
        &sent,
        &[0, b'O', 0, b'K', 0, b'\n'],
        &["h\u{e9}"],
    )
    .await;
    let two = [0, b'a', 0, b'\n', 0, b'b', 0, b'\n'];
    let answers = [0xfe, 0xff, 0, b'O', 0, b'K', 0, b'\n', 0, b'O', 0, b'K', 0, b'\n'];
    check(&[("encoding", "UTF-16")], &two, &answers, &["a", "b"]).await;
    check(&[("encoding", "latin1")], b"\xe9\n", b"OK\n", &["\u{e9}"]).await;
}

#[tokio::test]
async fn case_8_what_is_no_text_closes_without_an_answer() {
    assert_eq!(check(&[], b"x\xffy\n", b"", &[]).await, 1);
    assert_eq!(check(&[], b"\xff\xfe\n", b"", &[]).await, 1);
    assert_eq!(check(&[], b"ok\nx\xff", b"OK\n", &["ok"]).await, 1);
}

#[tokio::test]
async fn without_acknowledgements_only_failures_are_told() {
    check(&[("ack-every-event", "false")], b"a\nb\n", b"", &["a", "b"]).await;
}

/// A real channel that nobody empties.
struct Channel(ChannelHandle);

impl Put for Channel {
    fn put(&self, batch: Batch, _: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            if batch.iter().any(|event| event.body() == b"poison") {
                return Err(ChannelError::Interceptor("interceptor i1 failed".to_owned()));
            }
            let permit = self.0.reserve(Claim::of(&batch)).await?;
            permit.commit(batch, None).await
        })
    }

    fn position(&self) -> Option<Bytes> {
        None
    }

    fn transaction_capacity(&self) -> Option<usize> {
        self.0.limits().transaction_capacity
    }
}

/// What comes back for these lines from a channel with room for so many events.
async fn answers_of(capacity: usize, pairs: &[(&str, &str)], lines: &[u8]) -> (String, usize) {
    let channel = memory_channel(capacity);
    let put = Arc::new(Channel(channel.clone()));
    let ctx = SourceContext::new(common("r1"), Default::default(), put, Arc::new(|| ()));
    let (listener, address) = bound().await;
    let task = tokio::spawn(source(pairs).serve(listener, ctx.clone()));
    let answers = answers_to(&mut TcpStream::connect(address).await.unwrap(), lines).await;
    ctx.shutdown.request();
    soon(task).await.unwrap().unwrap();
    (String::from_utf8(answers).unwrap(), channel.channel().queued())
}

const FULL: &str = "FAILED: Space for commit to queue couldn't be acquired. Sinks are likely not keeping up with \
                    sources, or the buffer size is too tight\n";

#[tokio::test]
async fn case_7_a_line_that_fits_is_stored_whatever_comes_with_it() {
    let (answers, queued) =
        answers_of(100, &[("ack-every-event", "false")], "x\n".repeat(101).as_bytes()).await;
    assert_eq!((answers.as_str(), queued), (FULL, 100));
    let (answers, queued) = answers_of(100, &[], "x\n".repeat(102).as_bytes()).await;
    assert_eq!(
        (answers, queued),
        (format!("{}{FULL}{FULL}", "OK\n".repeat(100)), 100)
    );
}

#[tokio::test]
async fn a_failing_interceptor_fails_its_line_and_no_other() {
    let (answers, queued) = answers_of(100, &[], b"a\npoison\nb\n").await;
    assert_eq!(
        (answers.as_str(), queued),
        ("OK\nFAILED: interceptor i1 failed\nOK\n", 2)
    );
}

#[tokio::test]
async fn case_9_a_port_in_use_is_an_error_that_is_tried_again() {
    let (_taken, address) = bound().await;
    let port = address.port().to_string();
    let mut keys = Keys::of("x", &[("bind", "127.0.0.1"), ("port", &port)]);
    let source = Config::read(&mut keys).build().unwrap();
    let error = Source::run(source, Recorder::new().context()).await.unwrap_err();
    assert!(
        matches!(error.kind(), crate::component::error::Kind::RetryAfter(_)),
        "{error}"
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed_where_that_is_asked_for() {
    let mut fixture = start(&[("idleTimeout", "1")]).await;
    assert_eq!(
        soon(fixture.stream.read_u8()).await.unwrap_err().kind(),
        std::io::ErrorKind::UnexpectedEof
    );
    let refused = fixture.running.ctx.counters.refused_inputs.clone();
    fixture.running.stop().await.unwrap();
    assert_eq!(refused.value(), 1);
}

#[tokio::test]
async fn one_connection_over_the_limit_is_closed() {
    let mut fixture = start(&[("maxConnections", "1")]).await;
    fixture.stream.write_all(b"a\n").await.unwrap();
    fixture.recorder.until(|seen| seen.events == 1).await;
    let mut second = TcpStream::connect(fixture.stream.peer_addr().unwrap())
        .await
        .unwrap();
    assert!(soon(second.read_u8()).await.is_err());
    assert_eq!(fixture.running.ctx.counters.refused_inputs.value(), 1);
    fixture.running.stop().await.unwrap();
}

#[test]
fn settings_have_flumes_defaults_and_mistakes_are_named() {
    let (config, findings) = read(&[]);
    assert!(findings.is_empty());
    assert_eq!(
        (config.line_chars_max, config.answers_ok, config.encoding),
        (512, true, Charset::Utf8)
    );
    let (config, findings) = read(&[
        ("max-line-length", "2147483647"),
        ("encoding", "none"),
        ("port", "65536"),
    ]);
    assert_eq!(config.line_chars_max, LINE_CHARS_MAX);
    assert!(
        findings
            .iter()
            .any(|f| f.contains("encoding: expected a charset")),
        "{findings:?}"
    );
}
