//! What requests are answered, and which events they make: cases 74 to 85 of `flume/sources.md` 13, 33 to 37 of
//! `flume/wire.md` 13.

use super::client::{Served, post, post_to};
use crate::java::charset::Charset;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;

const JSON: &str = "application/json";
const BLOB: &str = "org.apache.flume.source.http.BLOBHandler";
const CUT_BLOB: &str = "org.apache.flume.sink.solr.morphline.BlobHandler";

/// One JSON request: its status, the message of its error page, its events.
#[track_caller]
fn check(content_type: &'static str, body: impl AsRef<[u8]>, expected: Result<&[&str], (u16, &str)>) {
    let body = body.as_ref().to_vec();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (answer, events, counters) = runtime.block_on(async {
        let served = Served::start(&[]).await;
        let answer = served.post(content_type, &body).await;
        let counters = served.ctx.counters.clone();
        (answer, served.stop().await, counters)
    });
    let body = String::from_utf8_lossy(&body);
    match expected {
        Ok(expected) => {
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{body}");
            assert!(!answer.head.contains("content-type"), "{}", answer.head);
            assert_eq!(events, expected, "{body}");
            assert_eq!(counters.accepted.value(), expected.len() as u64);
            assert_eq!(counters.batches_accepted.value(), 1);
            assert_eq!(counters.read_failures.value(), 0);
        }
        Err((status, message)) => {
            assert_eq!(
                (answer.status, answer.reason.as_str()),
                (status, message),
                "{body}"
            );
            assert_eq!(events, [""; 0], "{body}");
            assert_eq!(counters.read_failures.value(), 1);
            assert_eq!(counters.batches_received.value(), 0);
        }
    }
}

#[test]
fn a_list_of_events_is_taken() {
    check(JSON, r#"[{"headers":{"a":"b"},"body":"x"}]"#, Ok(&["a=b | x"]));
    check(JSON, "[]", Ok(&[]));
    check(
        JSON,
        r#"[{"headers":{"n":1,"t":true},"body":5}]"#,
        Ok(&["n=1 t=true | 5"]),
    );
    check(
        JSON,
        "[{body:'single', headers:{n:1,b:true}}]",
        Ok(&["n=1 b=true | single"]),
    );
    check(JSON, "[{\"body\":\"h\u{e9}llo\"}]", Ok(&["| h\u{e9}llo"]));
    check(JSON, r#"[{"headers":{"a":null},"body":null}]"#, Ok(&["| "]));
}

#[test]
fn utf8_is_meant_where_nothing_is_said() {
    for content_type in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=\"UTF-8\"",
    ] {
        check(content_type, "[{\"body\":\"\u{e9}\"}]", Ok(&["| \u{e9}"]));
    }
    check("", b"\xef\xbb\xbf[{\"body\":\"\xff\"}]", Ok(&["| \u{fffd}"]));
}

#[test]
fn what_the_handler_does_not_read_is_the_clients_fault() {
    let bad = |rest: &str| format!("Bad request from client. Request has invalid JSON Syntax. {rest}");
    let list = bad("byte 0: expected an array of events: [");
    check(JSON, r#"{"body":"x"}"#, Err((400, &list)));
    check(JSON, "", Err((400, &list)));
    check(JSON, "null", Err((400, &list)));
    check(JSON, "[null]", Err((400, &bad("byte 1: expected an event: {"))));
    check(
        JSON,
        r#"[{"body":"#,
        Err((400, &bad("byte 9: expected a text: the body"))),
    );
    check(
        JSON,
        "[] []",
        Err((400, &bad("byte 3: expected the end of the text after the array"))),
    );
}

#[test]
fn other_charsets_are_refused_as_in_flume() {
    let only =
        "Deserializer threw unexpected exception. JSON handler supports UTF-8, UTF-16 and UTF-32 only.";
    check("application/json; charset=ISO-8859-1", "[]", Err((500, only)));
    check("application/json;charset=utf-16le", "[]", Err((500, only)));
    let foo = "Deserializer threw unexpected exception. foo";
    check("application/json;charset=foo", "[]", Err((500, foo)));
}

#[tokio::test]
async fn bodies_are_kept_in_the_charset_of_their_request() {
    let served = Served::start(&[]).await;
    let text = "[{\"headers\":{\"k\":\"\u{e9}\"},\"body\":\"6\u{e9}\"}]";
    let little_endian: Vec<u8> = "\u{feff}"
        .encode_utf16()
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    for (content_type, body) in [
        (
            "application/json;charset=UTF-16",
            Charset::Utf16.encode(text).into_owned(),
        ),
        ("application/json; charset=utf-16", little_endian),
        (
            "a/b; x=y; CHARSET='utf-32'",
            Charset::Utf32.encode(text).into_owned(),
        ),
    ] {
        assert_eq!(served.post(content_type, body).await.status, 200);
    }
    let utf16 = String::from_utf8_lossy(b"\xfe\xff\x006\x00\xe9").into_owned();
    let utf32 = String::from_utf8_lossy(b"\0\0\x006\0\0\0\xe9").into_owned();
    let expected = [&utf16, &utf16, &utf32].map(|body| format!("k=\u{e9} | {body}"));
    assert_eq!(served.stop().await, expected);
}

#[tokio::test]
async fn any_path_and_post_get_and_head_are_the_same() {
    let served = Served::start(&[]).await;
    for (method, path) in [("POST", "/"), ("POST", "/a/b?c=d#"), ("GET", "/x"), ("POST", "*")] {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n[{{body:1}}]");
        assert_eq!(served.ask(request).await.status, 200, "{method} {path}");
    }
    let mut client = served.client().await;
    client
        .send("HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n[{body:2}]")
        .await;
    assert_eq!(client.bodiless_answer().await.status, 200);
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.bodiless_answer().await.status, 400);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    assert_eq!(served.stop().await, ["| 1", "| 1", "| 1", "| 1", "| 2"]);
}

#[tokio::test]
async fn other_methods_are_refused() {
    let served = Served::start(&[]).await;
    for (method, status) in [
        ("PUT", 405),
        ("DELETE", 405),
        ("OPTIONS", 403),
        ("TRACE", 403),
        ("PATCH", 501),
        ("BREW", 501),
    ] {
        let answer = served
            .ask(format!(
                "{method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]"
            ))
            .await;
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.body.is_empty(), status == 403);
        assert_eq!(
            answer.head.contains("\r\nallow: get, head, post\r\n"),
            status == 405
        );
    }
    assert!(served.stop().await.is_empty());
}

#[tokio::test]
async fn an_error_page_looks_like_jettys() {
    let served = Served::start(&[]).await;
    let answer = served.post("application/json;charset=<b>\u{e9}", "[]").await;
    assert_eq!(answer.status, 500);
    assert!(
        answer
            .head
            .contains("\r\ncontent-type: text/html;charset=iso-8859-1\r\n"),
        "{}",
        answer.head
    );
    assert!(
        answer
            .head
            .contains("\r\ncache-control: must-revalidate,no-cache,no-store\r\n")
    );
    let answer = served.post("application/json;charset=<b>", "[]").await;
    let row = "<tr><th>MESSAGE:</th><td>Deserializer threw unexpected exception. &lt;b&gt;</td></tr>";
    assert!(answer.body.contains(row), "{}", answer.body);
    assert!(answer.body.contains("<title>Error 500 Deserializer"));
    served.stop().await;
}

#[tokio::test]
async fn a_channel_that_refuses_makes_503() {
    let served = Served::start(&[]).await;
    served.channels.recorder.refuse(1);
    let answer = served.post(JSON, "[{body:x}]").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.reason,
        "Error appending event to channel. Channel might be full.Space for commit to queue couldn't be acquired. \
         Sinks are likely not keeping up with sources, or the buffer size is too tight"
    );
    assert!(answer.head.contains("\r\nretry-after: 1\r\n"));
    let counters = served.ctx.counters.clone();
    assert_eq!(counters.channel_write_failures.value(), 1);
    assert_eq!((counters.received.value(), counters.accepted.value()), (1, 0));
    assert_eq!(
        (
            counters.batches_received.value(),
            counters.batches_accepted.value()
        ),
        (1, 0)
    );
    assert_eq!(served.post(JSON, "[{body:x}]").await.status, 200);
    assert_eq!(served.stop().await, ["| x"]);
}

#[tokio::test]
async fn an_interceptor_that_fails_makes_500() {
    let served = Served::start(&[]).await;
    served.channels.breaks.store(true, SeqCst);
    let answer = served.post(JSON, "[{body:x}]").await;
    let expected = "Unexpected error while appending event to channel. no such thing";
    assert_eq!((answer.status, answer.reason.as_str()), (500, expected));
    assert_eq!(served.ctx.counters.processing_failures.value(), 1);
    assert!(served.stop().await.is_empty());
}

#[tokio::test]
async fn a_blob_is_one_event_with_the_querys_parameters() {
    let served = Served::start(&[("handler", BLOB)]).await;
    let form = "application/x-www-form-urlencoded";
    for (path, body) in [
        ("/?a=1", "any bytes \u{0}[]"),
        ("/x?a=1&b=%C3%A9+%zz%&a=2&&c", "x=y&z"),
        ("/", ""),
    ] {
        assert_eq!(served.ask(post_to(path, form, "", body)).await.status, 200);
    }
    assert_eq!(
        served.stop().await,
        ["a=1 | any bytes \u{0}[]", "a=1 b=\u{e9} %zz% c= | x=y&z", "| "]
    );
}

#[tokio::test]
async fn a_blob_without_its_mandatory_parameters_is_refused() {
    let served = Served::start(&[("handler", BLOB), ("handler.mandatoryParameters", "a, b")]).await;
    let answer = served.ask(post_to("/?a=1", "", "", "x")).await;
    let expected = "Deserializer threw unexpected exception. Please specify b parameter in the request.";
    assert_eq!((answer.status, answer.reason.as_str()), (500, expected));
    assert_eq!(served.ask(post_to("/?b=&a=1", "", "", "x")).await.status, 200);
    assert_eq!(served.stop().await, ["b= a=1 | x"]);
}

#[tokio::test]
async fn morphlines_blob_is_cut_and_knows_its_content_type() {
    let pairs = [("handler", CUT_BLOB), ("handler.maxBlobLength", "4")];
    let served = Served::start(&pairs).await;
    for (path, content_type, body) in [
        ("/?a=1", "image/png", "1234"),
        ("/?a=1", "", "12345"),
        ("/", "", ""),
        ("/?a=1", "application/x-www-form-urlencoded; charset=utf-8", "b=2"),
    ] {
        assert_eq!(
            served.ask(post_to(path, content_type, "", body)).await.status,
            200
        );
    }
    assert_eq!(
        served.stop().await,
        [
            "a=1 Content-Type=image/png | 1234",
            "a=1 | 1234",
            "| ",
            "a=1 b=2 Content-Type=application/x-www-form-urlencoded; charset=utf-8 | "
        ]
    );
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn json_may_be_compressed_and_blobs_stay_as_they_are() {
    let served = Served::start(&[("maxRequestBytes", "1000")]).await;
    let with = |encoding: &str, body: Vec<u8>| {
        post_to("/", JSON, &format!("Content-Encoding: {encoding}\r\n"), body)
    };
    assert_eq!(served.ask(with("gzip", gzip(b"[{body:x}]"))).await.status, 200);
    let members = [gzip(b"[{body:"), gzip(b"y}]")].concat();
    assert_eq!(served.ask(with("x-gzip", members)).await.status, 200);
    assert_eq!(
        served.ask(with("identity", b"[{body:z}]".to_vec())).await.status,
        200
    );
    assert_eq!(served.ask(with("gzip", b"[{body:x}]".to_vec())).await.status, 400);
    let mut short = gzip(b"[{body:x}]");
    short.truncate(short.len() - 9);
    assert_eq!(served.ask(with("gzip", short)).await.status, 400);
    assert_eq!(served.ask(with("br", b"x".to_vec())).await.status, 415);
    assert_eq!(served.ctx.counters.read_failures.value(), 3);
    // The limit holds for what comes out.
    let padded = |bytes: usize| format!("[{{body:x}}]{}", " ".repeat(bytes - 10)).into_bytes();
    assert_eq!(served.ask(with("gzip", gzip(&padded(1_000)))).await.status, 200);
    assert_eq!(served.ask(with("gzip", gzip(&padded(1_001)))).await.status, 413);
    let bomb = gzip(&padded(900_000));
    assert!(bomb.len() < 1_000);
    assert_eq!(served.ask(with("gzip", bomb)).await.status, 413);
    assert_eq!(served.ctx.counters.refused_inputs.value(), 2);
    assert_eq!(served.stop().await, ["| x", "| y", "| z", "| x"]);

    let served = Served::start(&[("handler", BLOB)]).await;
    let request = post_to("/", "", "Content-Encoding: br\r\n", "as it is");
    assert_eq!(served.ask(request).await.status, 200);
    assert_eq!(served.stop().await, ["| as it is"]);
}

#[tokio::test]
async fn a_large_request_is_one_transaction_too() {
    let served = Served::start(&[]).await;
    let body = "x".repeat(10_000);
    let events: Vec<String> = (0..200)
        .map(|n| format!("{{\"headers\":{{\"n\":{n}}},\"body\":\"{body}\"}}"))
        .collect();
    let answer = served.post(JSON, format!("[{}]", events.join(","))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(served.channels.recorder.seen().puts, 1);
    assert_eq!(served.stop().await.len(), 200);
}

#[tokio::test]
async fn one_connection_carries_many_requests_in_order() {
    let served = Served::start(&[]).await;
    let mut client = served.client().await;
    for n in 0..3 {
        client.send(post(JSON, format!("[{{body:{n}}}]"))).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let pipelined: Vec<u8> = (3..9)
        .flat_map(|n| post(JSON, format!("[{{body:{n}}}]")))
        .collect();
    client.send(pipelined).await;
    for _ in 3..9 {
        assert_eq!(client.answer().await.status, 200);
    }
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{bod\r\n")
        .await;
    client.send("5;x=y\r\ny:9}]\r\n0\r\nTrailer: z\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    client
        .send(post_to("/", JSON, "Connection: close\r\n", "[]"))
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.until_closed().await, "");
    let old = served
        .ask("POST / HTTP/1.0\r\nContent-Length: 11\r\n\r\n[{body:10}]")
        .await;
    assert!(old.status == 200 && served.events().len() == 11);
    let expected: Vec<String> = (0..11).map(|n| format!("| {n}")).collect();
    assert_eq!(served.stop().await, expected);
}

#[tokio::test]
async fn who_awaits_consent_gets_it() {
    let served = Served::start(&[("maxRequestBytes", "10")]).await;
    let mut client = served.client().await;
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 100);
    client.send("[{body:x}]").await;
    assert_eq!(client.answer().await.status, 200);
    // Or the refusal, without having sent a byte.
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 413);
    assert_eq!(served.stop().await, ["| x"]);
}

#[tokio::test]
async fn who_sends_all_and_closes_their_side_gets_an_answer() {
    let served = Served::start(&[]).await;
    let mut client = served.client().await;
    client.send(post(JSON, "[{body:x}]")).await;
    tokio::io::AsyncWriteExt::shutdown(&mut client.stream)
        .await
        .unwrap();
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(served.stop().await, ["| x"]);
}

#[tokio::test]
async fn http2_is_spoken_with_those_who_begin_with_it() {
    let served = Served::start(&[("HttpConfiguration.sendDateHeader", "false")]).await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .no_proxy()
        .build()
        .unwrap();
    let url = format!("http://{}/", served.address);
    let ask = |n: u32| client.post(&url).body(format!("[{{body:{n}}}]")).send();
    let answers = futures_util::future::join_all((0..150).map(ask)).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.version()),
            (200, reqwest::Version::HTTP_2)
        );
        assert!(!answer.headers().contains_key("date"));
    }
    let refused = client.post(&url).body("x").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    assert!(
        refused
            .text()
            .await
            .unwrap()
            .contains("Request has invalid JSON Syntax.")
    );
    assert_eq!(served.ctx.counters.open_connections.value(), 1);
    drop(client);
    let mut bodies = served.stop().await;
    bodies.sort_by_key(|body| body[2..].parse::<u32>().unwrap());
    assert_eq!(bodies, (0..150).map(|n| format!("| {n}")).collect::<Vec<_>>());
}
