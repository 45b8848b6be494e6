//! Whole files out of a folder: each line once, with the name of its file, also over restarts.

use std::fs;

use tests::ledger::Ledger;
use tests::wait::{self, LIVENESS};

use crate::example::Example;
use crate::three_agents::lines_in;

const FILES: u64 = 5;
const LINES: u64 = 300;

fn example() -> Example {
    let example = Example::read("spool_to_files");
    example.folder.make("spool");
    example.folder.make("lines");
    example
}

/// Puts a complete file into the folder, as the README says.
fn put(example: &Example, number: u64) {
    let text: String = (1..=LINES).map(|line| format!("{line}\n")).collect();
    let made = example.folder.write("being-made", &text);
    fs::rename(made, example.folder.at(&format!("spool/f{number}.log"))).expect("both are in one folder");
}

fn all_are_done(example: &Example, files: u64) -> bool {
    (1..=files).all(|n| fs::exists(example.folder.at(&format!("spool/f{n}.log.COMPLETED"))).unwrap_or(false))
}

#[track_caller]
fn assert_once(example: &Example, files: u64) {
    let mut ledger = Ledger::new();
    for number in 1..=files {
        ledger.sent(&format!("f{number}.log"), 1..=LINES);
    }
    for line in lines_in(&example.folder.path().join("lines")) {
        let parts = line
            .strip_prefix("{basename=")
            .and_then(|rest| rest.split_once("} "));
        match parts {
            Some((file, text)) => ledger.saw_text(file, "", text),
            None => ledger.saw_corrupt(&line),
        }
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn the_example_spool_to_files_writes_every_line_with_the_name_of_its_file() {
    let example = example();
    // Some are there at the start, some come later.
    (1..=2).for_each(|number| put(&example, number));
    let mut node = example.start("a1");
    (3..=FILES).for_each(|number| put(&example, number));
    wait::until_true("all files are read", LIVENESS, || all_are_done(&example, FILES));
    assert_eq!(node.stop(), 0);
    assert_once(&example, FILES);
}

#[test]
fn a_second_run_reads_what_is_new_and_nothing_again() {
    let example = example();
    for run in 1..=3 {
        put(&example, run);
        let mut node = example.start("a1");
        wait::until_true("the file is read", LIVENESS, || all_are_done(&example, run));
        assert_eq!(node.stop(), 0);
    }
    assert_once(&example, 3);
}
