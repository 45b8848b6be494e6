//! Each limit at its edge, and peers that let wait.

use super::client::{Served, post, post_to};
use crate::component::contract::soon;
use std::time::Duration;
use tokio::sync::Semaphore;

const JSON: &str = "application/json";

/// A JSON request of this many bytes with one event.
fn sized(bytes: usize) -> Vec<u8> {
    format!("[{{body:'{}'}}]", "x".repeat(bytes - 11)).into_bytes()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunks = body
        .chunks(7_000)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    head.into_iter().chain(chunks).chain(*b"0\r\n\r\n").collect()
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_the_answer_arrives() {
    let served = Served::start(&[("maxRequestBytes", "20000")]).await;
    for (request, status) in [
        (post(JSON, sized(20_000)), 200),
        (chunked(&sized(20_000)), 200),
        (post(JSON, sized(20_001)), 413),
        (chunked(&sized(20_001)), 413),
        (post(JSON, sized(2_000_000)), 413),
        (chunked(&sized(2_000_000)), 413),
    ] {
        let mut client = served.client().await;
        client.send(&request).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{} bytes", request.len());
        if status == 413 {
            assert_eq!(answer.reason, "Request body exceeds maxRequestBytes = 20000");
            assert!(answer.head.contains("\r\nconnection: close\r\n"));
            assert_eq!(client.until_closed().await, "");
        }
    }
    assert_eq!(served.ctx.counters.refused_inputs.value(), 4);
    assert_eq!(served.stop().await.len(), 2);
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_place_comes_back() {
    let served = Served::start(&[("maxConnections", "2")]).await;
    let mut first = served.client().await;
    let mut second = served.client().await;
    for client in [&mut first, &mut second] {
        client.send(post(JSON, "[]")).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let third = served.client().await;
    assert_eq!(third.until_closed().await, "");
    assert_eq!(served.ctx.counters.refused_inputs.value(), 1);
    drop(first);
    // The source learns of its end when it likes.
    soon(async {
        loop {
            let mut next = served.client().await;
            let sent = tokio::io::AsyncWriteExt::write_all(&mut next.stream, &post(JSON, "[]")).await;
            if sent.is_ok()
                && next
                    .read_answer(true)
                    .await
                    .is_some_and(|answer| answer.status == 200)
            {
                return;
            }
        }
    })
    .await;
    served.stop().await;
}

#[tokio::test]
async fn bodies_under_way_have_a_limit_together() {
    let pairs = [("maxRequestBytes", "1000000"), ("maxBufferedBytes", "1048576")];
    let served = Served::start_gated(&pairs, Some(Semaphore::new(0))).await;
    let mut holder = served.client().await;
    holder.send(post(JSON, sized(600_000))).await;
    served.has_received(1).await;
    // 600,000 bytes have taken a buffer of 1 MiB: nothing is left until they are committed.
    let refused = served.post(JSON, sized(100)).await;
    assert_eq!(refused.status, 503);
    assert_eq!(
        refused.reason,
        "Request bodies under way exceed maxBufferedBytes = 1048576"
    );
    assert!(refused.head.contains("\r\nretry-after: 1\r\n"));
    served.channels.gate.as_ref().unwrap().add_permits(2);
    assert_eq!(holder.answer().await.status, 200);
    assert_eq!(served.post(JSON, sized(100)).await.status, 200);
    served.stop().await;
}

#[tokio::test]
async fn a_head_over_the_limit_is_refused() {
    let served = Served::start(&[("HttpConfiguration.requestHeaderSize", "2000")]).await;
    let with = |bytes: usize| post_to("/", JSON, &format!("X: {}\r\n", "x".repeat(bytes)), "[]");
    assert_eq!(served.ask(with(1_800)).await.status, 200);
    assert_eq!(served.ask(with(2_000)).await.status, 431);
    assert_eq!(served.ctx.counters.refused_inputs.value(), 1);
    served.stop().await;
}

/// Sends something, lets the time pass, and returns what came until the connection was closed and how long it took.
async fn waited(pairs: &[(&str, &str)], sent: &[u8]) -> (String, Duration, u64) {
    let served = Served::start(pairs).await;
    let mut client = served.client().await;
    client.send(sent).await;
    // Only once the beginning has arrived may time stand still and jump.
    assert_eq!(served.post(JSON, "[]").await.status, 200);
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    let received = client.until_closed_in_paused_time().await;
    let waited = before.elapsed();
    tokio::time::resume();
    let refused = served.ctx.counters.refused_inputs.value();
    assert!(served.stop().await.is_empty());
    (received, waited, refused)
}

fn about(found: Duration, seconds: u64) {
    let (least, most) = (Duration::from_secs(seconds - 2), Duration::from_secs(seconds + 2));
    assert!(
        (least..=most).contains(&found),
        "{found:?}, expected about {seconds} s"
    );
}

#[tokio::test]
async fn who_never_ends_a_head_is_closed_after_ten_seconds() {
    let (received, time, refused) = waited(&[], b"POST / HT").await;
    assert_eq!((received.as_str(), refused), ("", 1));
    about(time, 10);
    let (received, time, refused) = waited(&[], b"PRI * HT").await;
    assert_eq!((received.as_str(), refused), ("", 1));
    about(time, 10);
}

#[tokio::test]
async fn who_says_nothing_is_closed_after_the_idle_time() {
    let idle = [("ServerConnector.idleTimeout", "20000")];
    let (received, time, refused) = waited(&idle, b"").await;
    assert_eq!(received, "");
    about(time, 20);
    assert_eq!(refused, 1);
    // An idle connection that was used has done nothing wrong.
    let (received, time, refused) = waited(&idle, &post(JSON, "[]")).await;
    assert!(received.starts_with("HTTP/1.1 200 OK\r\n"), "{received}");
    about(time, 20);
    assert_eq!(refused, 0);
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n[{";
    let (received, time, refused) = waited(&[("ServerConnector.idleTimeout", "5000")], head).await;
    assert!(
        received.starts_with("HTTP/1.1 408 Request body stalled\r\n"),
        "{received}"
    );
    about(time, 5);
    assert_eq!(refused, 1);
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let served = Served::start(&[]).await;
    let mut client = served.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        .await;
    assert_eq!(served.post(JSON, "[]").await.status, 200);
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    // 500 bytes a second earn half of the time that they take.
    let mut sent = 0;
    let answer = loop {
        if client.is_readable() {
            break client.answer().await;
        }
        client.send([b' '; 500]).await;
        sent += 1;
        assert!(sent < 90, "still served");
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    assert_eq!(
        answer.reason,
        "Request body comes slower than 1024 bytes a second"
    );
    about(before.elapsed(), 60);
    assert!(served.stop().await.is_empty());
}

#[tokio::test]
async fn only_so_many_requests_are_worked_on_at_once() {
    let pairs = [("QueuedThreadPool.maxThreads", "1")];
    let served = Served::start_gated(&pairs, Some(Semaphore::new(0))).await;
    let mut first = served.client().await;
    first.send(post(JSON, "[{body:1}]")).await;
    served.has_received(1).await;
    let mut second = served.client().await;
    second.send(post(JSON, "[{body:2}]")).await;
    // A third connection that is answered shows that the second one has had its time.
    assert_eq!(
        served.ask("OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n").await.status,
        403
    );
    assert_eq!(served.ctx.counters.received.value(), 1);
    served.channels.gate.as_ref().unwrap().add_permits(2);
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(second.answer().await.status, 200);
    assert_eq!(served.stop().await, ["| 1", "| 2"]);
}
