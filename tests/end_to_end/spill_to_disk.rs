//! A burst larger than memory while the next agent is away: what has spilled survives a kill, a stop loses nothing, and all
//! of it arrives once and in order.

use std::ops::RangeInclusive;

use tests::http;
use tests::ledger::Ledger;
use tests::netcat::Client;
use tests::port;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};

use crate::example::Example;
use crate::three_agents::lines_in;

const LINES: u64 = 1_000;
/// `memoryCapacity` of the example.
const MEMORY: u64 = 100;

/// The example, whose lines do not wait for memory.
fn example() -> Example {
    let mut example = Example::read("spill_to_disk")
        .with_free_port(44444)
        .with_free_port(4545);
    example.replace("overflowTimeout = 1\n", "overflowTimeout = 0\n");
    example.folder.make("lines");
    example
}

/// Sends lines one by one, so that the first ones are in memory and the others on the disk.
fn send(example: &Example, numbers: RangeInclusive<u64>) {
    let mut client = Client::open_when_up(example.port(44444));
    for number in numbers {
        client.send(&[number.to_string()]);
    }
}

/// Starts the next agent; ends both when so many lines have come.
fn deliver(example: &Example, mut sender: Node, lines: usize) {
    let folder = example.folder.path().join("lines");
    let mut receiver = example.start("a2");
    wait::until_true("all lines", LIVENESS, || lines_in(&folder).len() >= lines);
    assert_eq!(sender.stop(), 0);
    assert_eq!(receiver.stop(), 0);
}

#[track_caller]
fn assert_arrived(example: &Example, numbers: RangeInclusive<u64>) {
    let mut ledger = Ledger::new();
    ledger.sent("r1", numbers);
    for line in lines_in(&example.folder.path().join("lines")) {
        ledger.saw_text("r1", "", &line);
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn what_has_spilled_survives_a_kill_and_what_was_in_memory_does_not() {
    let example = example();
    let metrics = port::free();
    let mut node = example.agent("a1").monitoring(metrics).start();
    send(&example, 1..=LINES);
    let all = LINES.to_string();
    http::metrics_until(metrics, "the counters of the channel", |page| {
        let channel = &page["CHANNEL.c1"];
        channel["ChannelSize"] == all.as_str()
            && channel["ChannelCapacity"] == "100100"
            && channel["EventPutSuccessCount"] == all.as_str()
    });
    node.signal(Signal::Kill);
    node.wait_exit(LIVENESS);
    let node = example.start("a1");
    deliver(&example, node, (LINES - MEMORY) as usize);
    assert_arrived(&example, MEMORY + 1..=LINES);
}

#[test]
fn a_stop_loses_nothing_and_keeps_the_order() {
    let example = example();
    // More comes after each stop, while what was saved waits before it.
    for run in 0..3 {
        let mut node = example.start("a1");
        send(&example, run * 300 + 1..=run * 300 + 300);
        assert_eq!(node.stop(), 0);
        let saved = |line: &str| line.contains("what was in memory is saved");
        node.wait_for_line("what is saved", LIVENESS, saved);
    }
    let node = example.start("a1");
    send(&example, 901..=LINES);
    deliver(&example, node, LINES as usize);
    assert_arrived(&example, 1..=LINES);
}

#[test]
fn the_example_spill_to_disk_carries_lines_from_one_to_the_other() {
    let example = Example::read("spill_to_disk")
        .with_free_port(44444)
        .with_free_port(4545);
    example.folder.make("lines");
    let node = example.start("a1");
    // As `nc` sends them.
    let lines: Vec<String> = (1..=LINES).map(|n| n.to_string()).collect();
    Client::open_when_up(example.port(44444)).send(&lines);
    deliver(&example, node, LINES as usize);
    assert_arrived(&example, 1..=LINES);
}
