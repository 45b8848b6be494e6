//! Interceptors and selectors in a real node: a chain that edits and drops, headers by pattern and by date, an event that
//! no interceptor can take, and events that go where a header or the turn sends them.

use std::path::Path;

use tests::avro::{Client, Event, Reply};
use tests::folder::Folder;
use tests::port;
use tests::process::{Agent, Node};
use tests::wait::{self, LIVENESS};

use crate::three_agents::lines_in;

/// An avro source, `more`, and the channels, each of which ends in a folder of its name.
fn into_files(folder: &Folder, port: u16, channels: &[&str], more: &str) -> Agent {
    let mut text = format!(
        "a1.sources = r1
a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}
a1.sources.r1.channels = {names}
a1.channels = {names}
a1.sinks = {names}
",
        names = channels.join(" ")
    );
    for name in channels {
        let directory = folder.make(name);
        text += &format!(
            "a1.channels.{name}.type = memory
a1.sinks.{name}.type = file_roll
a1.sinks.{name}.channel = {name}
a1.sinks.{name}.sink.directory = {directory}
a1.sinks.{name}.sink.rollInterval = 0
a1.sinks.{name}.sink.serializer = HEADER_AND_TEXT
",
            directory = directory.display()
        );
    }
    for line in more.lines() {
        text += &format!("a1.sources.r1.{line}\n");
    }
    Node::agent("a1", folder.write("node.properties", &text))
}

fn wait_for_lines(folder: &Path, expected: &[&str]) {
    wait::until_true("all lines", LIVENESS, || lines_in(folder).len() >= expected.len());
    assert_eq!(lines_in(folder), expected);
}

#[test]
fn a_chain_replaces_and_then_drops() {
    let folder = Folder::new("chain");
    let file = folder.write(
        "node.properties",
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = seq
a1.sources.r1.batchSize = 2
a1.sources.r1.totalEvents = 5
a1.sources.r1.channels = c1
a1.sources.r1.interceptors = i1 i2
a1.sources.r1.interceptors.i1.type = search_replace
a1.sources.r1.interceptors.i1.searchPattern = ^(.)$
a1.sources.r1.interceptors.i1.replaceString = n=$1
a1.sources.r1.interceptors.i2.type = REGEX_FILTER
a1.sources.r1.interceptors.i2.regex = [13]
a1.sources.r1.interceptors.i2.excludeEvents = true
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
",
    );
    let mut node = Node::agent("a1", file).start();
    node.wait_for_events(3);
    assert_eq!(node.stop(), 0);
    let bodies: Vec<String> = node.logged().iter().map(|event| event.text()).collect();
    assert_eq!(bodies, ["n=0", "n=2", "n=4"]);
}

#[test]
fn headers_are_set_kept_and_removed_in_the_order_of_the_chain() {
    let (folder, port) = (Folder::new("headers"), port::free());
    let mut node = into_files(
        &folder,
        port,
        &["c1"],
        r"interceptors = i1 i2 i3 i4 i5 i6
interceptors.i1.type = static
interceptors.i1.key = dc
interceptors.i1.value = NY
interceptors.i2.type = org.apache.flume.interceptor.StaticInterceptor$Builder
interceptors.i2.key = dc2
interceptors.i2.value = NY2
interceptors.i2.preserveExisting = false
interceptors.i3.type = remove_header
interceptors.i3.withName = w
interceptors.i3.fromList = l1 , l2
interceptors.i3.matching = x.*
interceptors.i4.type = TIMESTAMP
interceptors.i4.preserveExisting = true
interceptors.i5.type = regex_extractor
interceptors.i5.regex = (\\d):(\\d):(\\d)
interceptors.i5.serializers = one two three
interceptors.i5.serializers.one.name = one
interceptors.i5.serializers.two.name = two
interceptors.i5.serializers.three.name = three
interceptors.i6.type = uuid
interceptors.i6.headerName = dc",
    )
    .start();
    let headers = [
        ("dc", "old"),
        ("dc2", "old"),
        ("w", ""),
        ("l1", ""),
        ("l2", ""),
        ("x1", ""),
        ("yx", "1"),
        ("timestamp", "5"),
    ];
    let mut client = Client::open_when_up(port);
    let reply = client.append(&headers, b"1:2:3.4foobar5").unwrap();
    assert!(matches!(reply, Reply::Ok), "{reply:?}");
    wait_for_lines(
        &folder.path().join("c1"),
        &["{dc2=NY2, one=1, two=2, three=3, dc=old, yx=1, timestamp=5} 1:2:3.4foobar5"],
    );
    assert_eq!(node.stop(), 0);
}

#[test]
fn a_batch_that_an_interceptor_refuses_is_refused_to_the_sender_and_the_next_one_is_not() {
    let (folder, port) = (Folder::new("refused"), port::free());
    let mut node = into_files(
        &folder,
        port,
        &["c1"],
        r"interceptors = i1
interceptors.i1.type = regex_extractor
interceptors.i1.regex = ^(\\S+)
interceptors.i1.serializers = s1
interceptors.i1.serializers.s1.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer
interceptors.i1.serializers.s1.name = t
interceptors.i1.serializers.s1.pattern = yyyy-MM-dd'T'HH:mm:ssZZ",
    )
    .start();
    let mut client = Client::open_when_up(port);
    let (good, bad) = (
        &b"2012-10-18T18:47:00Z good"[..],
        &b"2012-02-30T00:00:00Z bad"[..],
    );
    let reply = client.append_batch(&[(&[], good), (&[], bad)]).unwrap();
    assert!(matches!(reply, Reply::Failed), "{reply:?}");
    let reply = client.append(&[], bad).unwrap();
    assert!(
        matches!(&reply, Reply::Error(text) if text.contains("is no date of the pattern")),
        "{reply:?}"
    );
    let reply = client.append_batch(&[(&[], good)]).unwrap();
    assert!(matches!(reply, Reply::Ok), "{reply:?}");
    wait_for_lines(
        &folder.path().join("c1"),
        &["{t=1350586020000} 2012-10-18T18:47:00Z good"],
    );
    assert_eq!(node.stop(), 0);
}

#[test]
fn the_value_of_a_header_says_where_an_event_goes() {
    let (folder, port) = (Folder::new("multiplexing"), port::free());
    let mut node = into_files(
        &folder,
        port,
        &["c1", "c2", "c3"],
        "selector.type = multiplexing
selector.header = st
selector.mapping.A = c2
selector.mapping.B = c2 c3
selector.optional.A = c3
selector.optional.Z = c3
selector.mapping.END = c1 c2 c3",
    )
    .start();
    let mut client = Client::open_when_up(port);
    let values = ["A", "B", "Z", "a", "A", "END"];
    let headers = values.map(|value| [("st", value)]);
    let mut events: Vec<Event<'_>> = headers.iter().map(|h| (&h[..], &b"x"[..])).collect();
    events.insert(4, (&[], b"absent"));
    let reply = client.append_batch(&events).unwrap();
    assert!(matches!(reply, Reply::Ok), "{reply:?}");
    let seen = |name: &str, expected: &[&str]| wait_for_lines(&folder.path().join(name), expected);
    seen("c1", &["{st=END} x"]);
    seen("c2", &["{st=A} x", "{st=B} x", "{st=A} x", "{st=END} x"]);
    wait::until_true("optional events", LIVENESS, || {
        lines_in(&folder.path().join("c3")).len() >= 5
    });
    let mut third = lines_in(&folder.path().join("c3"));
    third.sort();
    assert_eq!(
        third,
        ["{st=A} x", "{st=A} x", "{st=B} x", "{st=END} x", "{st=Z} x"]
    );
    assert_eq!(node.stop(), 0);
}

#[test]
fn events_go_from_channel_to_channel_in_turn() {
    let (folder, port) = (Folder::new("turns"), port::free());
    let channels = ["c1", "c2", "c3", "c4"];
    let mut node = into_files(&folder, port, &channels, "selector.type = load_balancing").start();
    let mut client = Client::open_when_up(port);
    for batch in [&[&b"1"[..], b"2", b"3"][..], &[b"4", b"5", b"6", b"7", b"8"]] {
        let events: Vec<Event<'_>> = batch.iter().map(|body| (&[][..], *body)).collect();
        let reply = client.append_batch(&events).unwrap();
        assert!(matches!(reply, Reply::Ok), "{reply:?}");
    }
    for (n, name) in channels.iter().enumerate() {
        let expected = [format!("{{}} {}", n + 1), format!("{{}} {}", n + 5)];
        wait_for_lines(&folder.path().join(name), &[&expected[0], &expected[1]]);
    }
    assert_eq!(node.stop(), 0);
}
