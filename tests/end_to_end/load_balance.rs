//! Load balancing over two avro sinks, in turn and at random, with a receiver that is killed and comes back.

use tests::ledger::Ledger;
use tests::netcat;
use tests::process::{Node, Signal};
use tests::wait::LIVENESS;

use crate::example::Example;

const LINES: u64 = 100;

fn example() -> Example {
    [44_444, 44_445, 4545, 4546]
        .into_iter()
        .fold(Example::read("load_balance"), Example::with_free_port)
}

/// Lines `<part * LINES + 1>` and so on, one at a time, as a person types.
#[track_caller]
fn type_in(client: &mut netcat::Client, part: u64) {
    for number in part * LINES + 1..=(part + 1) * LINES {
        client.send(&[format!("line {number}")]);
    }
}

#[track_caller]
fn wait_for_both(left: &Node, right: &Node, count: u64) {
    let count = usize::try_from(count).expect("a small number");
    tests::wait::until_true(&format!("{count} events at both"), LIVENESS, || {
        left.logged().len() + right.logged().len() >= count
    });
}

#[track_caller]
fn assert_once(nodes: &[Node], count: u64) {
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=count);
    for event in nodes.iter().flat_map(Node::logged) {
        ledger.saw_text("r1", "line ", &event.text());
    }
    let verdict = ledger.verdict();
    assert!(
        verdict.is_lossless() && verdict.duplicated.is_empty(),
        "{verdict}"
    );
}

/// Starts the receivers, then an agent of the example.
fn start(example: &Example, agent: &str) -> [Node; 3] {
    let (left, right) = (example.start("a3"), example.start("a4"));
    for port in [4545, 4546] {
        drop(tests::avro::Connection::open_when_up(example.port(port)));
    }
    [left, right, example.start(agent)]
}

#[test]
fn the_example_load_balance_deals_out_in_turn() {
    let example = example();
    let [mut left, mut right, mut first] = start(&example, "a1");
    type_in(&mut netcat::Client::open_when_up(example.port(44_444)), 0);
    wait_for_both(&left, &right, LINES);
    assert_eq!([&mut first, &mut left, &mut right].map(Node::stop), [0, 0, 0]);
    for (node, odd) in [(&left, 1), (&right, 0)] {
        let numbers = (1..=LINES).filter(|number| number % 2 == odd);
        let expected: Vec<String> = numbers.map(|number| format!("line {number}")).collect();
        let texts: Vec<String> = node.logged().iter().map(|event| event.text()).collect();
        assert_eq!(texts, expected);
    }
}

#[test]
fn the_example_load_balance_deals_out_at_random() {
    let example = example();
    let [mut left, mut right, mut second] = start(&example, "a2");
    type_in(&mut netcat::Client::open_when_up(example.port(44_445)), 0);
    wait_for_both(&left, &right, LINES);
    assert_eq!([&mut second, &mut left, &mut right].map(Node::stop), [0, 0, 0]);
    // Fewer than 20 of a hundred fair coins: once in 5 billion runs.
    let shares = [&left, &right].map(|node| node.logged().len());
    assert!(shares.iter().all(|share| *share >= 20), "{shares:?}");
    assert_once(&[left, right], LINES);
}

#[test]
fn all_goes_to_the_one_that_is_left_and_is_shared_again_later() {
    let example = example();
    let [mut left, mut right, mut first] = start(&example, "a1");
    let mut client = netcat::Client::open_when_up(example.port(44_444));
    type_in(&mut client, 0);
    wait_for_both(&left, &right, LINES);

    right.signal(Signal::Kill);
    right.wait_exit(LIVENESS);
    let before = left.logged().len();
    type_in(&mut client, 1);
    left.wait_for_events(before + usize::try_from(LINES).expect("a small number"));

    // It is tried again after 2, 4, 8 ... seconds, when there is something to deliver.
    let mut back = example.start("a4");
    let mut parts = 2;
    tests::wait::until_true("a share for the one that is back", LIVENESS, || {
        type_in(&mut client, parts);
        parts += 1;
        !back.logged().is_empty()
    });
    assert_eq!([&mut first, &mut left, &mut back].map(Node::stop), [0, 0, 0]);
    assert_once(&[left, right, back], parts * LINES);
}
