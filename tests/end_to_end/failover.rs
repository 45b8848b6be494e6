//! Failover groups over avro sinks: who gets the events while agents are killed and come back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::ledger::Ledger;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};
use tests::{http, netcat, port};

use crate::example::Example;

/// Lines of one part of a test.
const LINES: u64 = 50;

/// What the two receivers have printed, killed ones included.
#[derive(Default)]
struct Seen(Vec<Node>);

impl Seen {
    #[track_caller]
    fn assert_once(&self, count: u64) {
        let mut ledger = Ledger::new();
        ledger.sent("r1", 1..=count);
        for event in self.0.iter().flat_map(Node::logged) {
            ledger.saw_text("r1", "line ", &event.text());
        }
        // From one receiver to the other there is no order.
        let verdict = ledger.verdict();
        assert!(
            verdict.is_lossless() && verdict.duplicated.is_empty(),
            "{verdict}"
        );
    }
}

fn lines(part: u64) -> Vec<String> {
    (part * LINES + 1..=(part + 1) * LINES)
        .map(|number| format!("line {number}"))
        .collect()
}

fn count(lines: u64) -> usize {
    usize::try_from(lines).expect("a small number")
}

/// Kills it at once, as a power cut does.
fn kill(node: &mut Node) {
    node.signal(Signal::Kill);
    assert_eq!(node.wait_exit(LIVENESS), 128 + 9);
}

#[test]
fn the_example_failover_sends_all_to_the_higher_priority_and_else_to_the_lower() {
    let example = [44_444, 4545, 4546]
        .into_iter()
        .fold(Example::read("failover"), Example::with_free_port);
    let low = example.start("a2");
    let mut high = example.start("a3");
    // Both are there before the first line, else the group has to find out what is away.
    wait_for_listeners(&[example.port(4545), example.port(4546)]);
    let mut first = example.start("a1");
    let mut client = netcat::Client::open_when_up(example.port(44_444));

    client.send(&lines(0));
    high.wait_for_events(count(LINES));
    assert_eq!(low.logged(), [], "all to priority 10");

    kill(&mut high);
    client.send(&lines(1));
    low.wait_for_events(count(LINES));

    let mut back = example.start("a3");
    first.wait_for_line("k2 is taken back", LIVENESS, |line| {
        line.contains("Sink k2 is back")
    });
    client.send(&lines(2));
    back.wait_for_events(count(LINES));
    assert_eq!(low.logged().len(), count(LINES), "all to priority 10 again");

    let mut low = low;
    assert_eq!([&mut first, &mut low, &mut back].map(Node::stop), [0, 0, 0]);
    Seen(vec![high, low, back]).assert_once(3 * LINES);
}

/// Waits for listeners.
#[track_caller]
fn wait_for_listeners(ports: &[u16]) {
    for port in ports {
        drop(tests::avro::Connection::open_when_up(*port));
    }
}

#[test]
fn with_nobody_there_events_wait_and_arrive_once() {
    let example = [44_444, 4545, 4546]
        .into_iter()
        .fold(Example::read("failover"), Example::with_free_port);
    let mut first = example.start("a1");
    let mut client = netcat::Client::open_when_up(example.port(44_444));
    client.send(&lines(0));
    first.wait_for_line("both are away", LIVENESS, |line| {
        line.contains("nothing left to failover to")
    });
    let mut low = example.start("a2");
    low.wait_for_events(count(LINES));
    assert_eq!([&mut first, &mut low].map(Node::stop), [0, 0]);
    Seen(vec![low]).assert_once(LINES);
}

/// What a sink of `a1` has delivered so far.
fn delivered(page: &Value, sink: &str) -> u64 {
    let text = page[format!("SINK.{sink}")]["EventDrainSuccessCount"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[test]
fn the_example_failover_tail_loses_nothing_but_what_a_killed_agent_had_in_memory() {
    let mut example = [4545, 4546]
        .into_iter()
        .fold(Example::read("failover_tail"), Example::with_free_port);
    // So that lines go out as they come.
    example.replace(
        "a1.sources.r1.channels = c1",
        "a1.sources.r1.batchTimeout = 20\na1.sources.r1.channels = c1",
    );
    let metrics = port::free();
    example.folder.write("app.log", "line 1\n");
    let mut high = vec![example.start("a2")];
    let mut low = example.start("a3");
    wait_for_listeners(&[example.port(4545), example.port(4546)]);
    let mut first = example.agent("a1").monitoring(metrics).start();
    high[0].wait_for_events(1);

    let (written, done) = (AtomicU64::new(1), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(SeqCst) {
                let number = written.load(SeqCst) + 1;
                example.folder.append("app.log", &format!("line {number}\n"));
                written.store(number, SeqCst);
                // A stream, not a flood; how fast it is does not matter.
                wait::within(Duration::from_millis(5), || done.load(SeqCst).then_some(()));
            }
        });
        let _stop = OnDrop(&done);
        for turn in 1..=2 {
            let before = high[turn - 1].logged().len();
            high[turn - 1].wait_for_events(before + 20);
            let behind = low.logged().len();
            kill(&mut high[turn - 1]);
            low.wait_for_events(behind + 20);
            high.push(example.start("a2"));
            high[turn].wait_for_events(20);
        }
    });
    let written = written.load(SeqCst);
    let page = http::metrics_until(metrics, "all lines are delivered", |page| {
        delivered(page, "k1") + delivered(page, "k2") == written
    });
    assert_eq!(first.stop(), 0);
    assert_eq!(low.stop(), 0);
    assert_eq!(high[2].stop(), 0);

    let by_high: u64 = high.iter().map(|node| node.logged().len() as u64).sum();
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=written);
    for event in high.iter().chain([&low]).flat_map(Node::logged) {
        ledger.saw_text("r1", "line ", &event.text());
    }
    let verdict = ledger.verdict();
    assert!(verdict.corrupt.is_empty(), "{verdict}");
    // A line is missing only if a killed agent had said that it has it, and twice only if it had not come to say so.
    let (missing, twice) = (verdict.missing.len() as u64, verdict.duplicated.len() as u64);
    let acknowledged = delivered(&page, "k1");
    assert!(
        missing + by_high <= acknowledged + twice,
        "{verdict}; a2 acknowledged {acknowledged} and printed {by_high}"
    );
    assert!(twice <= 2 * 100, "more than a batch for each kill: {verdict}");
}

/// Ends the stream also when the test fails.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn the_example_failover_two_channels_delivers_every_line_at_both_ends() {
    let mut example = [4545, 4546]
        .into_iter()
        .fold(Example::read("failover_two_channels"), Example::with_free_port);
    example.replace(
        "a1.sources.r1.channels = c1 c2",
        "a1.sources.r1.batchTimeout = 20\na1.sources.r1.channels = c1 c2",
    );
    example.folder.write("app.log", "line 1\n");
    let mut high = example.start("a2");
    let mut low = example.start("a3");
    let mut first = example.start("a1");
    high.wait_for_events(1);
    low.wait_for_events(1);
    let append = |numbers: std::ops::RangeInclusive<u64>| {
        let text: String = numbers.map(|number| format!("line {number}\n")).collect();
        example.folder.append("app.log", &text);
    };

    append(2..=LINES);
    high.wait_for_events(count(LINES));
    low.wait_for_events(count(LINES));

    kill(&mut high);
    append(LINES + 1..=2 * LINES);
    low.wait_for_events(2 * count(LINES));

    // What was for the killed one waited for it in its channel.
    let mut back = example.start("a2");
    back.wait_for_events(count(LINES));
    append(2 * LINES + 1..=3 * LINES);
    back.wait_for_events(2 * count(LINES));
    low.wait_for_events(3 * count(LINES));

    assert_eq!([&mut first, &mut low, &mut back].map(Node::stop), [0, 0, 0]);
    Seen(vec![high, back]).assert_once(3 * LINES);
    Seen(vec![low]).assert_once(3 * LINES);
}
