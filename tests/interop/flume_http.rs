//! The http source held against Flume's own: the same requests to both, and the same statuses and events from both. The
//! JSON is what Gson of Flume's release makes of it, for texts that people write and for thousands that nobody would.
//!
//! Where we differ on purpose (node/README.md, "Differences from Flume") the case says so. And the http sink posts to
//! Flume's source.

use std::fs;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;

use tests::folder::Folder;
use tests::http::{Connection, post_request};
use tests::port;
use tests::process::Node;
use tests::wait::{self, LIVENESS};

use crate::flume::{Flume, Running, STOPPED, Version};
use crate::strange_json;

const JSON: &str = "application/json";
const SEED: u64 = 0x6773_6f6e_0000_0001;
/// Random texts.
const TEXTS: usize = 3_000;
/// Body of the event that comes last.
const END: &str = "the end";

/// http source → memory → file_roll, understood by both sides in the same words.
fn receiver(folder: &Folder, name: &str, port: u16, source: &str) -> (PathBuf, String) {
    let rolled = folder.make(name);
    let text = format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = http
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = c1
{source}
a1.channels.c1.type = memory
a1.channels.c1.capacity = 100000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = header_and_text
",
        rolled.display()
    );
    (rolled, text)
}

/// One side, and a connection to it.
struct Side {
    port: u16,
    rolled: PathBuf,
    client: Connection,
}

impl Side {
    fn open(port: u16, rolled: PathBuf) -> Self {
        let client = Connection::open_when_up(port);
        Self { port, rolled, client }
    }

    /// The status of a request. Jetty closes after some errors: then it is asked again on a new connection.
    #[track_caller]
    fn status(&mut self, request: &[u8]) -> u16 {
        let sent = self.client.send(request).and_then(|()| self.client.answer());
        let answer = sent.or_else(|_| {
            self.client = Connection::open(self.port)?;
            self.client.send(request)?;
            self.client.answer()
        });
        answer.expect("an answer").status
    }

    /// Everything that its sink has written, once the last event is there.
    #[track_caller]
    fn written(&mut self) -> String {
        let last = format!("[{{\"body\":\"{END}\"}}]");
        assert_eq!(self.status(&post_request("/", JSON, last)), 200);
        wait::until("the last event", LIVENESS, || {
            let text = files(&self.rolled);
            text.ends_with(&format!("{{}} {END}\n")).then_some(text)
        })
    }
}

fn files(folder: &Path) -> String {
    let Ok(entries) = fs::read_dir(folder) else {
        return String::new();
    };
    let bytes = entries.filter_map(|entry| fs::read(entry.ok()?.path()).ok());
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>().concat()).into_owned()
}

/// A line of a file with its headers sorted: Flume keeps them as they came, as they are in Gson's map.
fn sorted(line: &str) -> String {
    let Some((headers, body)) = line.strip_prefix('{').and_then(|rest| rest.split_once("} ")) else {
        return line.to_owned();
    };
    let mut headers: Vec<&str> = headers.split(", ").collect();
    headers.sort_unstable();
    format!("{{{}}} {body}", headers.join(", "))
}

/// Flume's source and ours, side by side.
struct Both {
    flume: Side,
    ours: Side,
    peer: Running,
    node: Node,
    _folder: Folder,
}

impl Both {
    fn start(source: &str) -> Option<Self> {
        let flume = Flume::find(Version::V1_11)?;
        let folder = Folder::new("both-http");
        let (theirs, mine) = (port::free(), port::free());
        let (their_files, their_text) = receiver(&folder, "flume", theirs, source);
        let (my_files, my_text) = receiver(&folder, "ours", mine, source);
        let node = Node::agent("a1", folder.write("node.properties", &my_text)).start();
        let peer = flume.agent(&folder, "r1", &their_text);
        Some(Self {
            flume: Side::open(theirs, their_files),
            ours: Side::open(mine, my_files),
            peer,
            node,
            _folder: folder,
        })
    }

    fn statuses(&mut self, request: &[u8]) -> (u16, u16) {
        (self.flume.status(request), self.ours.status(request))
    }

    fn stop(mut self) {
        assert_eq!(self.peer.process.stop(), STOPPED);
        assert_eq!(self.node.stop(), 0);
    }
}

/// Requests to which both give the same status and from which both make the same events.
fn same() -> Vec<Vec<u8>> {
    let texts = [
        r#"[{"headers":{"a":"b"},"body":"x"}]"#,
        "[]",
        "[{}]",
        r#"[{"body":"1"},{"headers":{"c":"d","a":"b","longer name":"e"}}]"#,
        r#"[{"headers":{"n":12.50,"t":true,"f":False,"z":-0,"e":1E5},"body":007}]"#,
        "[{body:'single', headers:{n:1,b:true}}]",
        "[{'body':plain};{/**/body=>\"x\"}]\n ",
        "# c\n[ {\"body\":it's} ]",
        ")]}'\n[{body:prefix}]",
        "\u{feff}[{body:mark}]",
        r#"[{"headers":[["a","b"],["c",1]],"body":"pairs"}]"#,
        r#"[{"body":"1","body":"2","headers":{"a":"1"},"headers":{"b":"2"}}]"#,
        r#"[{"x":{"y":[1,{"z":null},[],{}]},"q":[,],"r":[1,],"body":"ignored"}]"#,
        r#"[{"body":"q\"b\\s\/t\tu\u00e9\u20ac\ud83d\ude00z"}]"#,
        r#"[{"body":null,"headers":null}]"#,
        r#"{"body":"x"}"#,
        "[1]",
        "[[]]",
        "[{body:{}}]",
        "[{headers:{a:{}}}]",
        "[{headers:x}]",
        "[{\"body\":\"x",
        "[{\"body\":\"x\"",
        "[{} {}]",
        "[{}] // comment",
        "[{}] x",
        "[{body:a b}]",
        "[{body:'\\x'}]",
        r#"[{"headers":{"a":"1","a":"2"}}]"#,
    ];
    let mut requests: Vec<Vec<u8>> = texts.iter().map(|text| post_request("/", JSON, text)).collect();
    let utf16 = |text: &str| {
        text.encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect::<Vec<u8>>()
    };
    for (content_type, body) in [
        (
            "application/json;charset=UTF-16",
            utf16("[{\"headers\":{\"a\":\"\u{e9}\"},\"body\":\"6\u{e9}\"}]"),
        ),
        (
            "application/json; charset=\"utf-8\"",
            "[{\"body\":\"\u{e9}\"}]".into(),
        ),
        ("application/json;charset=ISO-8859-1", b"[]".to_vec()),
        ("application/json;charset=foo", b"[]".to_vec()),
        (JSON, b"[{\"body\":\"bad \xff\xc3 bytes\"}]".to_vec()),
    ] {
        requests.push(post_request("/any/path?x=y", content_type, body));
    }
    for line in ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"] {
        let body = format!("[{{\"body\":\"{line}\"}}]");
        let length = body.len();
        requests.push(format!("{line} / HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n{body}").into());
    }
    requests
}

#[test]
fn both_answer_alike_and_make_the_same_events() {
    let Some(mut both) = Both::start("") else { return };
    for request in same() {
        let (flume, ours) = both.statuses(&request);
        assert_eq!(flume, ours, "{}", String::from_utf8_lossy(&request));
    }
    // Where we differ on purpose.
    for (text, statuses) in [
        ("", (500, 400)),
        ("null", (500, 400)),
        ("[null]", (500, 400)),
        ("[{},]", (500, 400)),
        ("[{body:'\\u12'}]", (500, 400)),
    ] {
        assert_eq!(both.statuses(&post_request("/", JSON, text)), statuses, "{text}");
    }
    let lines = |side: &mut Side| side.written().lines().map(sorted).collect::<Vec<_>>();
    let (flume, ours) = (lines(&mut both.flume), lines(&mut both.ours));
    assert_eq!(flume, ours);
    assert!(ours.len() > 20, "{ours:?}");
    both.stop();
}

#[test]
fn without_a_charset_we_read_utf8_and_flume_does_not() {
    let Some(mut both) = Both::start("") else { return };
    let request = post_request("/", "text/plain", "[{\"body\":\"\u{e9}\"}]");
    assert_eq!(both.statuses(&request), (200, 200));
    assert!(both.flume.written().starts_with("{} \u{c3}\u{a9}\n"));
    assert!(both.ours.written().starts_with("{} \u{e9}\n"));
    both.stop();
}

#[test]
fn thousands_of_strange_texts_mean_the_same_to_both() {
    let Some(mut both) = Both::start("") else { return };
    let mut rng = StdRng::seed_from_u64(SEED);
    let (mut taken, mut refused, mut wrong) = (0, 0, Vec::new());
    for _ in 0..TEXTS {
        let text = strange_json::text(&mut rng);
        let (flume, ours) = both.statuses(&post_request("/", JSON, &text));
        match (flume, ours) {
            (200, 200) => taken += 1,
            // Flume's internal errors are the client's fault here.
            (400 | 500, 400) => refused += 1,
            other => wrong.push(format!("{other:?} {text:?}")),
        }
    }
    assert!(wrong.is_empty(), "seed {SEED:#x}:\n{}", wrong.join("\n"));
    assert!(
        taken > TEXTS / 4 && refused > TEXTS / 10,
        "{taken} taken, {refused} refused"
    );
    let (flume, ours) = (both.flume.written(), both.ours.written());
    let mut pairs = flume.lines().map(sorted).zip(ours.lines().map(sorted));
    let differs = pairs.find(|(flume, ours)| flume != ours);
    assert_eq!(differs, None, "seed {SEED:#x}");
    assert_eq!(flume.lines().count(), ours.lines().count());
    both.stop();
}

#[test]
fn our_sink_posts_to_flumes_source() {
    const EVENTS: usize = 300;
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let folder = Folder::new("http-to-flume");
    let (entry, port) = (port::free(), port::free());
    let blob = "a1.sources.r1.handler = org.apache.flume.source.http.BLOBHandler
a1.sources.r1.handler.mandatoryParameters = from
";
    let (rolled, text) = receiver(&folder, "flume", port, blob);
    let mut peer = flume.agent(&folder, "r1", &text);
    let node = format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = http
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {entry}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 1000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = http
a1.sinks.k1.channel = c1
a1.sinks.k1.endpoint = http://127.0.0.1:{port}/?from=us
a1.sinks.k1.rollback.200 = false
a1.sinks.k1.backoff.200 = false
"
    );
    let mut node = Node::agent("a1", folder.write("node.properties", &node)).start();
    let bodies: Vec<String> = (1..=EVENTS)
        .map(|n| format!("{n} \u{e9}{}", "x".repeat(n)))
        .collect();
    let events: Vec<String> = bodies
        .iter()
        .map(|body| format!("{{\"body\":\"{body}\"}}"))
        .collect();
    let answer = Connection::open_when_up(entry).post("/", JSON, format!("[{}]", events.join(",")));
    assert_eq!(answer.expect("an answer").status, 200);
    let expected: String = bodies
        .iter()
        .map(|body| format!("{{from=us}} {body}\n"))
        .collect();
    wait::until_true("all events", LIVENESS, || files(&rolled).len() >= expected.len());
    assert_eq!(files(&rolled), expected);
    assert_eq!(node.stop(), 0);
    assert_eq!(peer.process.stop(), STOPPED);
}
