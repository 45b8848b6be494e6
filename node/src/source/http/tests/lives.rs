//! Beginnings and ends: the contract of sources, stopping, peers that go, panics.

use super::client::{Client, Served, post, source};
use crate::component::contract::soon;
use crate::component::contract::source::{BODIES, suite};
use crate::component::error::RunError;
use crate::component::source::{DynSource, Source, SourceContext};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const JSON: &str = "application/json";

/// The source and a client that posts the numbers, two a request, each again until it is accepted.
struct WithClient;

impl Source for WithClient {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let numbers: Vec<usize> = (0..BODIES).collect();
        let client = async move {
            let mut client = Client::connect(address).await;
            for pair in numbers.chunks(2) {
                let events: Vec<String> = pair.iter().map(|n| format!("{{body:{n}}}")).collect();
                loop {
                    let request = post(JSON, format!("[{}]", events.join(",")));
                    if client.stream.write_all(&request).await.is_err() {
                        return;
                    }
                    match client.read_answer(true).await {
                        Some(answer) if answer.status == 200 => break,
                        Some(_) => tokio::task::yield_now().await,
                        None => return, // the source has stopped
                    }
                }
            }
        };
        let client_and_then_nothing = async {
            client.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = source(&[]).serve(listener, ctx) => ended,
            () = client_and_then_nothing => Ok(()),
        }
    }
}

mod contract {
    use super::*;
    suite!(|| Box::new(WithClient) as Box<dyn DynSource>);
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_end_and_idle_peers_are_let_go() {
    let served = Served::start_gated(&[], Some(Semaphore::new(0))).await;
    let (idle, mut used) = (served.client().await, served.client().await);
    used.send(post(JSON, "[]")).await;
    assert_eq!(used.answer().await.status, 200);
    let mut busy = served.client().await;
    busy.send(post(JSON, "[{body:x}]")).await;
    served.has_received(1).await;
    served.ctx.shutdown.request();
    assert_eq!(idle.until_closed().await, "");
    assert_eq!(used.until_closed().await, "");
    served.channels.gate.as_ref().unwrap().add_permits(1);
    let answer = busy.answer().await;
    assert_eq!(answer.status, 200);
    assert_eq!(busy.until_closed().await, "");
    assert_eq!(served.stop().await, ["| x"]);
}

#[tokio::test]
async fn http2_requests_under_way_are_answered_before_the_end() {
    let served = Served::start_gated(&[], Some(Semaphore::new(0))).await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("http://{}/", served.address);
    let ask = tokio::spawn(client.post(&url).body("[{body:x}]").send());
    served.has_received(1).await;
    served.ctx.shutdown.request();
    served.channels.gate.as_ref().unwrap().add_permits(1);
    assert_eq!(soon(ask).await.unwrap().unwrap().status().as_u16(), 200);
    assert_eq!(served.stop().await, ["| x"]);
}

#[tokio::test]
async fn a_peer_that_goes_in_the_middle_leaves_nothing() {
    let served = Served::start(&[]).await;
    for part in [
        "POST / HTTP/1.1\r\nHos",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[{body:x}]",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\na\r\n[{body:x}]",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\na\r\n[{body:x}]\r\nnonsense",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
        "\u{0}\u{1}\u{2}",
    ] {
        let mut client = served.client().await;
        client.send(part).await;
        drop(client);
    }
    let counters = served.ctx.counters.clone();
    soon(async {
        while counters.open_connections.value() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(served.post(JSON, "[{body:y}]").await.status, 200);
    assert_eq!(served.stop().await, ["| y"]);
}

#[tokio::test]
async fn bytes_that_are_no_http_close_the_connection_and_are_counted() {
    let served = Served::start(&[]).await;
    let mut client = served.client().await;
    client.send("\u{16}\u{3}\u{1}\u{0}hello\r\n\r\n").await;
    assert!(
        client
            .until_closed()
            .await
            .starts_with("HTTP/1.1 400 Bad Request\r\n")
    );
    assert_eq!(served.ctx.counters.refused_inputs.value(), 1);
    assert_eq!(served.post(JSON, "[{body:y}]").await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_is_counted() {
    let served = Served::start(&[]).await;
    served.channels.panics.store(true, SeqCst);
    let mut client = served.client().await;
    client.send(post(JSON, "[{body:x}]")).await;
    assert_eq!(client.until_closed().await, "");
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("http://{}/", served.address);
    assert!(http2.post(&url).body("[{body:x}]").send().await.is_err());
    served.channels.panics.store(false, SeqCst);
    assert_eq!(served.post(JSON, "[{body:y}]").await.status, 200);
    let counters = served.ctx.counters.clone();
    soon(async {
        while counters.processing_failures.value() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(served.stop().await, ["| y"]);
}

#[tokio::test]
async fn an_address_in_use_is_tried_again_later() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let served = Served::start(&[]).await;
    let source = source(&[("bind", "127.0.0.1"), ("port", &port)]);
    let error = Source::run(source, served.ctx.clone()).await.unwrap_err();
    let retry = crate::component::error::Kind::RetryAfter(Duration::ZERO);
    assert_eq!(error.kind(), retry, "{error}");
    served.stop().await;
}
