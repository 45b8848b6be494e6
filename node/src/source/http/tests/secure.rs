//! The same over TLS, with Flume's old names for its settings; case 105b of `flume/sources.md` 13.

use super::client::{Served, post};
use std::time::Duration;

const JSON: &str = "application/json";

fn stored(name: &str) -> String {
    format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn served() -> Served {
    let store = stored("chain.p12");
    Served::start(&[
        ("enableSSL", "true"),
        ("keystore", &store),
        ("keystorePassword", "changeit"),
    ])
    .await
}

/// A client that cares for no certificate.
fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .no_proxy()
}

#[tokio::test]
async fn both_versions_are_spoken_over_tls_and_the_client_chooses() {
    let served = served().await;
    let url = format!("https://{}/", served.address);
    for (n, (client, version)) in [
        (client().build(), reqwest::Version::HTTP_2),
        (client().http1_only().build(), reqwest::Version::HTTP_11),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = client
            .unwrap()
            .post(&url)
            .body(format!("[{{body:{n}}}]"))
            .send()
            .await
            .unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
    }
    assert_eq!(served.ctx.counters.refused_inputs.value(), 0);
    assert_eq!(served.stop().await, ["| 0", "| 1"]);
}

#[tokio::test]
async fn who_speaks_no_tls_is_closed_and_counted() {
    let served = served().await;
    let mut plain = served.client().await;
    plain.send(post(JSON, "[{body:x}]")).await;
    assert!(!plain.until_closed().await.contains("HTTP"));
    assert_eq!(served.ctx.counters.refused_inputs.value(), 1);
    // Who says nothing does not keep others out, nor the end from coming.
    let silent = served.client().await;
    let url = format!("https://{}/", served.address);
    let answer = client()
        .build()
        .unwrap()
        .post(&url)
        .body("[{body:y}]")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(served.stop().await, ["| y"]);
    assert_eq!(silent.until_closed().await, "");
}

#[tokio::test]
async fn who_never_ends_a_handshake_is_closed() {
    let served = served().await;
    let mut silent = served.client().await;
    silent.send([22, 3, 1]).await;
    let url = format!("https://{}/", served.address);
    let answer = client()
        .build()
        .unwrap()
        .post(&url)
        .body("[]")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    tokio::time::pause();
    let before = tokio::time::Instant::now();
    assert_eq!(silent.until_closed_in_paused_time().await, "");
    assert!(
        before.elapsed() <= Duration::from_secs(12),
        "{:?}",
        before.elapsed()
    );
    tokio::time::resume();
    served.stop().await;
}
