//! Three tiers, with a fan-out at the first, and a middle that goes away for a while.

use std::ops::RangeInclusive;
use std::path::Path;

use tests::ledger::Ledger;
use tests::process::Node;
use tests::wait::{self, LIVENESS};

use crate::example::Example;
use crate::three_agents::lines_in;

const LINES: u64 = 1_000;

fn example() -> Example {
    let mut example = [4545, 4546]
        .into_iter()
        .fold(Example::read("three_tiers"), Example::with_free_port);
    // So that a few lines need not wait for more.
    example.replace(
        "a1.sources.r1.channels = c1 c2",
        "a1.sources.r1.batchTimeout = 20\na1.sources.r1.channels = c1 c2",
    );
    example.folder.write("app.log", "1\n");
    example
}

fn append(example: &Example, numbers: RangeInclusive<u64>) {
    let text: String = numbers.map(|number| format!("{number}\n")).collect();
    example.folder.append("app.log", &text);
}

#[track_caller]
fn wait_for_lines(folder: &Path, count: u64) {
    let count = usize::try_from(count).expect("a small number");
    let what = format!("{count} lines in {}", folder.display());
    wait::until_true(&what, LIVENESS, || lines_in(folder).len() >= count);
}

#[track_caller]
fn assert_once_and_in_order(folder: &Path, count: u64) {
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=count);
    for line in lines_in(folder) {
        ledger.saw_text("r1", "", &line);
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn the_example_three_tiers_has_every_line_at_both_ends() {
    let example = example();
    let (copy, end) = (example.folder.make("copy"), example.folder.make("lines"));
    let mut nodes = ["a1", "a2", "a3"].map(|agent| example.start(agent));
    wait_for_lines(&end, 1);
    append(&example, 2..=LINES);
    wait_for_lines(&copy, LINES);
    wait_for_lines(&end, LINES);
    assert_eq!(nodes.each_mut().map(Node::stop), [0, 0, 0]);
    assert_once_and_in_order(&copy, LINES);
    assert_once_and_in_order(&end, LINES);
}

#[test]
fn a_middle_that_is_away_is_waited_for_and_holds_up_nobody_else() {
    let example = example();
    let (copy, end) = (example.folder.make("copy"), example.folder.make("lines"));
    let [mut first, mut middle, mut last] = ["a1", "a2", "a3"].map(|agent| example.start(agent));
    append(&example, 2..=10);
    wait_for_lines(&end, 1);
    assert_eq!(middle.stop(), 0);
    append(&example, 11..=LINES);
    wait_for_lines(&copy, LINES);
    let mut middle = example.start("a2");
    wait_for_lines(&end, LINES);
    assert_eq!([&mut first, &mut middle, &mut last].map(Node::stop), [0, 0, 0]);
    assert_once_and_in_order(&copy, LINES);
    assert_once_and_in_order(&end, LINES);
}
