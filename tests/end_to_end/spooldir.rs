//! Spool directory → memory channel → rolling files: what an orderly restart and a kill do to lines and files.
//!
//! With a channel in memory an orderly restart loses and doubles nothing. A killed process loses what its channel held
//! and may double the one batch that was put and not noted yet, as the tracker file promises; what has reached the
//! files stays. Files are put in by renaming, as they should be.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::folder::Folder;
use tests::http;
use tests::ledger::Ledger;
use tests::port;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};

use crate::three_agents::lines_in;

const BATCH: usize = 10;
const CAPACITY: usize = 200;

fn configuration(folder: &Folder, more: &str) -> String {
    let (spool, out) = (folder.at("in"), folder.at("out"));
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1

a1.sources.r1.type = spooldir
a1.sources.r1.spoolDir = {spool}
a1.sources.r1.batchSize = {BATCH}
a1.sources.r1.pollDelay = 10
a1.sources.r1.basenameHeader = true
a1.sources.r1.channels = c1

a1.channels.c1.type = memory
a1.channels.c1.capacity = {CAPACITY}

a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = {out}
a1.sinks.k1.sink.rollInterval = 1
a1.sinks.k1.sink.batchSize = 7
a1.sinks.k1.channel = c1
{more}"
    )
}

/// A folder with the directories, and the configuration's path.
fn prepared(name: &str, more: &str) -> (Folder, std::path::PathBuf) {
    let folder = Folder::new(name);
    folder.make("in");
    folder.make("out");
    let file = folder.write("node.properties", &configuration(&folder, more));
    (folder, file)
}

/// The same with a channel that outlives the process.
fn prepared_durable(name: &str) -> (Folder, std::path::PathBuf) {
    let (folder, _) = prepared(name, "");
    let data = folder.at("data");
    let durable = format!(
        "a1.channels.c1.type = file
a1.channels.c1.dataDirs = {data}
a1.channels.c1.minimumRequiredSpace = 0
a1.channels.c1.transactionCapacity = 100"
    );
    let text = configuration(&folder, "").replace("a1.channels.c1.type = memory", &durable);
    let file = folder.write("node.properties", &text);
    (folder, file)
}

/// Puts a file with the lines `<name> 1` to `<name> <lines>` into the spool directory.
fn put(folder: &Folder, name: &str, lines: u64) {
    let text: String = (1..=lines).map(|n| format!("{name} {n}\n")).collect();
    let beside = folder.write("beside", &text);
    fs::rename(beside, folder.path().join("in").join(name)).expect("both are in one folder");
}

/// Names in the spool directory that are not done.
fn waiting(folder: &Folder) -> Vec<String> {
    let entries = fs::read_dir(folder.path().join("in")).expect("the spool directory is there");
    let names = entries.map(|entry| entry.expect("it can be listed").file_name().display().to_string());
    names
        .filter(|name| !name.ends_with(".COMPLETED") && !name.starts_with('.') && !name.ends_with(".canary"))
        .collect()
}

fn until_done(folder: &Folder) {
    wait::until_true("all files done", LIVENESS, || waiting(folder).is_empty());
}

/// What has come, by file.
fn seen(out: &Path, files: &BTreeMap<String, u64>) -> Ledger {
    let mut ledger = Ledger::new();
    for (name, lines) in files {
        ledger.sent(name, 1..=*lines);
    }
    for line in lines_in(out) {
        match line.split_once(' ') {
            Some((name, _)) if files.contains_key(name) => ledger.saw_text(name, &format!("{name} "), &line),
            _ => ledger.saw_corrupt(&line),
        }
    }
    ledger
}

/// Starts the agent again and again while files come in; `end` says how each life ends.
fn lives(
    folder: &Folder,
    file: &Path,
    count: usize,
    mut end: impl FnMut(&mut Node),
) -> BTreeMap<String, u64> {
    let mut rng = SmallRng::seed_from_u64(7);
    let mut files = BTreeMap::new();
    for life in 0..count {
        let mut node = Node::agent("a1", file).start();
        for n in 0..8 {
            let (name, lines) = (format!("f{life}-{n}"), rng.random_range(1..400));
            put(folder, &name, lines);
            files.insert(name, lines);
        }
        // In the middle of them, somewhere.
        let left = rng.random_range(0..6);
        wait::until_true("some files done", LIVENESS, || waiting(folder).len() <= left);
        end(&mut node);
    }
    let mut node = Node::agent("a1", file).start();
    // Something to wait for, should all the others be done.
    put(folder, "last", 1);
    files.insert("last".to_owned(), 1);
    until_done(folder);
    assert_eq!(node.stop(), 0);
    files
}

#[test]
fn orderly_restarts_lose_and_double_nothing() {
    let (folder, file) = prepared("spool-restart", "");
    let files = lives(&folder, &file, 5, |node| assert_eq!(node.stop(), 0));
    seen(&folder.path().join("out"), &files).assert_once_and_in_order();
}

#[test]
fn a_killed_node_with_a_file_channel_delivers_every_line_once_and_in_order() {
    const KILLS: usize = 12;
    let (folder, file) = prepared_durable("spool-file-kill");
    let mut files = lives(&folder, &file, KILLS, |node| {
        node.signal(Signal::Kill);
        node.wait_exit(LIVENESS);
    });
    // What the channel still holds comes with the next start.
    let mut node = Node::agent("a1", &file).start();
    put(&folder, "after", 1);
    files.insert("after".to_owned(), 1);
    let out = folder.path().join("out");
    let all: u64 = files.values().sum();
    wait::until_true("all lines in the files", LIVENESS, || {
        lines_in(&out).len() as u64 >= all
    });
    assert_eq!(node.stop(), 0);
    seen(&out, &files).assert_once_and_in_order();
}

#[test]
fn a_killed_node_loses_what_was_in_memory_and_doubles_a_batch_at_most() {
    const KILLS: usize = 6;
    let (folder, file) = prepared("spool-kill", "");
    let files = lives(&folder, &file, KILLS, |node| {
        node.signal(Signal::Kill);
        node.wait_exit(LIVENESS);
    });
    let verdict = seen(&folder.path().join("out"), &files).verdict();
    assert!(
        verdict.corrupt.is_empty() && verdict.reordered.is_empty(),
        "{verdict}"
    );
    assert!(verdict.missing.len() <= KILLS * (CAPACITY + BATCH), "{verdict}");
    assert!(verdict.duplicated.len() <= KILLS * BATCH, "{verdict}");
}

#[test]
fn the_name_of_a_file_is_seen_in_the_header_of_its_lines() {
    let (folder, file) = prepared("spool-header", "a1.sinks.k1.sink.serializer = HEADER_AND_TEXT\n");
    put(&folder, "app.log", 2);
    let mut node = Node::agent("a1", file).start();
    until_done(&folder);
    assert_eq!(node.stop(), 0);
    assert_eq!(
        lines_in(&folder.path().join("out")),
        ["{basename=app.log} app.log 1", "{basename=app.log} app.log 2"]
    );
}

#[test]
fn an_agent_goes_on_where_flume_has_stopped() {
    let (folder, file) = prepared("spool-flume", "");
    put(&folder, "app.log", 5);
    let path = folder.at("in/app.log");
    folder.make("in/.flumespool");
    // Flume's bytes with another path: three lines of ten bytes are behind.
    let mut tracker = b"Obj\x01\x04\x16avro.schema\x90\x02".to_vec();
    tracker.extend_from_slice(
        br#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#,
    );
    let length = path.len() as u64 * 2;
    tracker.extend_from_slice(b"\x08file");
    tracker.extend_from_slice(&[length as u8 | 0x80, (length >> 7) as u8]);
    tracker.extend_from_slice(path.as_bytes());
    let marker = b"0123456789abcdef";
    tracker.push(0);
    tracker.extend_from_slice(marker);
    for offset in [10, 30] {
        tracker.extend_from_slice(&[2, 2, offset * 2]);
        tracker.extend_from_slice(marker);
    }
    assert!((64..8_192).contains(&length), "the length has two bytes");
    fs::write(
        folder.path().join("in/.flumespool/.flumespool-main.meta"),
        tracker,
    )
    .expect("it can be written");
    let mut node = Node::agent("a1", file).start();
    until_done(&folder);
    assert_eq!(node.stop(), 0);
    assert_eq!(lines_in(&folder.path().join("out")), ["app.log 4", "app.log 5"]);
}

#[test]
fn a_broken_rule_is_loud_and_parks_the_source_only() {
    let (folder, file) = prepared("spool-fatal", "");
    put(&folder, "a.log", 3);
    fs::write(folder.path().join("in/a.log.COMPLETED"), "").expect("it can be written");
    let admin = port::free();
    let mut node = Node::agent("a1", file).admin(admin).start();
    node.wait_for_line("FATAL", LIVENESS, |line| {
        line.contains("ERROR") && line.contains("FATAL: Spool Directory source r1")
    });
    wait::until_true("the health page says so", LIVENESS, || {
        http::get(admin, "/readyz").is_ok_and(|page| {
            page.status != 200 && page.body.contains("source r1: parked") && page.body.contains("re-used")
        })
    });
    wait::until_true("its lines", LIVENESS, || {
        lines_in(&folder.path().join("out")).len() == 3
    });
    wait::stays("the file", Duration::from_millis(200), || {
        waiting(&folder) == ["a.log"]
    });
    assert_eq!(node.stop(), 0);
}
