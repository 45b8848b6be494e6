//! Events by HTTP: filtered, replicated, sorted by a header, and from two agents into one.

use tests::http::{self, post_events};
use tests::ledger::Ledger;
use tests::wait::{self, LIVENESS};

use crate::assert_numbered;
use crate::example::Example;
use crate::three_agents::lines_in;

/// Events of one producer, in requests of ten.
const EVENTS: u64 = 200;
const IN_A_REQUEST: usize = 10;

/// Posts `<prefix>1` to `<prefix><EVENTS>` with one header, and after each one something else.
#[track_caller]
fn post_numbered(port: u16, prefix: &str, header: (&str, &str), others: &[(&[(&str, &str)], &str)]) {
    let bodies: Vec<String> = (1..=EVENTS).map(|number| format!("{prefix}{number}")).collect();
    for part in bodies.chunks(IN_A_REQUEST) {
        let headers = [header];
        let mut events: Vec<(&[(&str, &str)], &str)> = Vec::new();
        for body in part {
            events.push((&headers, body));
            events.extend_from_slice(others);
        }
        post_events(port, &events);
    }
}

fn count(events: u64) -> usize {
    usize::try_from(events).expect("a small number")
}

#[test]
fn the_example_http_filter_lets_only_those_pass_that_begin_with_a_digit() {
    let example = Example::read("http_filter").with_free_port(5140);
    let mut node = example.start("a1");
    post_events(example.port(5140), &[(&[], "666 is http"), (&[], "this is http")]);
    let events = node.wait_for_events(1);
    assert_eq!(events[0].text(), "666 is http");

    post_numbered(
        example.port(5140),
        "",
        ("a", "b"),
        &[(&[], "this is http"), (&[], "")],
    );
    node.wait_for_events(1 + count(EVENTS));
    assert_eq!(node.stop(), 0);
    assert_numbered(&node.logged()[1..], "", EVENTS);
}

#[test]
fn the_example_http_replicating_stores_every_event_twice() {
    let example = Example::read("http_replicating").with_free_port(5140);
    let copy = example.folder.make("copy");
    let mut node = example.start("a1");
    post_numbered(example.port(5140), "n", ("from", "curl"), &[]);
    let events = node.wait_for_events(count(EVENTS));
    assert!(
        events.iter().all(|event| event.headers == "from=curl"),
        "{events:?}"
    );
    assert_eq!(node.stop(), 0);
    assert_numbered(&node.logged(), "n", EVENTS);
    assert_lines(&lines_in(&copy), "n");
}

#[test]
fn an_optional_channel_that_is_full_costs_only_its_own_copies() {
    let mut example = Example::read("http_replicating").with_free_port(5140);
    // Nobody empties the second channel, and it has room for a few.
    example.replace("a1.sinks = k1 k2", "a1.sinks = k1");
    example.replace(
        "a1.channels.c2.capacity = 10000",
        "a1.channels.c2.capacity = 20\na1.channels.c2.transactionCapacity = 20",
    );
    let mut node = example.start("a1");
    post_numbered(example.port(5140), "n", ("from", "curl"), &[]);
    node.wait_for_events(count(EVENTS));
    // What nobody empties is not waited for.
    node.hurry();
    assert_eq!(
        node.wait_exit(LIVENESS),
        75,
        "20 events are left in the second channel"
    );
    assert_numbered(&node.logged(), "n", EVENTS);
}

#[test]
fn the_example_http_multiplexing_sorts_by_the_header() {
    let example = Example::read("http_multiplexing").with_free_port(5140);
    let folders = ["read", "write", "other"].map(|name| example.folder.make(name));
    let mut node = example.start("a1");
    for (prefix, state) in [("r", "READ"), ("w", "WRITE"), ("o", "read")] {
        post_numbered(example.port(5140), prefix, ("state", state), &[]);
    }
    post_events(
        example.port(5140),
        &[(&[], "no state"), (&[("state", "")], "empty")],
    );
    wait::until_true("all lines", LIVENESS, || {
        folders.iter().map(|folder| lines_in(folder).len()).sum::<usize>() == 3 * count(EVENTS) + 2
    });
    assert_eq!(node.stop(), 0);
    let [read, write, mut other] = folders.map(|folder| lines_in(&folder));
    assert_lines(&read, "r");
    assert_lines(&write, "w");
    assert_eq!(other.split_off(count(EVENTS)), ["no state", "empty"]);
    assert_lines(&other, "o");
}

#[test]
fn the_example_consolidation_collects_the_events_of_two_agents() {
    let example = [5140, 5141, 4545]
        .into_iter()
        .fold(Example::read("consolidation"), Example::with_free_port);
    let mut nodes = ["a1", "a2", "a3"].map(|agent| example.start(agent));
    std::thread::scope(|scope| {
        scope.spawn(|| post_numbered(example.port(5140), "a1 ", ("from", "1"), &[]));
        scope.spawn(|| post_numbered(example.port(5141), "a2 ", ("from", "2"), &[]));
    });
    nodes[2].wait_for_events(2 * count(EVENTS));
    for node in &mut nodes {
        assert_eq!(node.stop(), 0);
    }
    let mut ledger = Ledger::new();
    ledger.sent("a1", 1..=EVENTS);
    ledger.sent("a2", 1..=EVENTS);
    for event in nodes[2].logged() {
        let text = event.text();
        let producer = if text.starts_with("a1") { "a1" } else { "a2" };
        ledger.saw_text(producer, &format!("{producer} "), &text);
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn what_is_no_json_is_refused_and_leaves_nothing() {
    let example = Example::read("http_filter").with_free_port(5140);
    let mut node = example.start("a1");
    post_events(example.port(5140), &[(&[], "1")]);
    for body in ["[{\"body\": \"2\"}", "{\"body\": \"3\"}", "[{\"body\": [4]}]"] {
        let answer = http::post(example.port(5140), http::FORM, body).expect("an answer");
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(node.stop(), 0);
    assert_eq!(node.logged().len(), 1);
}

#[track_caller]
fn assert_lines(lines: &[String], prefix: &str) {
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=EVENTS);
    for line in lines {
        ledger.saw_text("r1", prefix, line);
    }
    ledger.assert_once_and_in_order();
}
