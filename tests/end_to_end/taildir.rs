//! Files that are followed while they are written and rotated, by a node that may be killed: none lost, split or
//! doubled, as far as the channel keeps what it took.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::thread;

use serde_json::Value;
use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};
use tests::{http, port};

use crate::assert_numbered;

/// Rotations under load, and the lines of each file.
const ROTATIONS: u64 = 200;
const LINES_EACH: u64 = 250;
/// What a writer flushes at once: lines are cut anywhere, as buffered writers do it.
const PIECE: usize = 997;

/// taildir → memory → files or log.
fn configuration(folder: &Folder, pattern: &str, more: &str, sink: &str) -> String {
    let (logs, positions) = (folder.at("logs"), folder.at("positions.json"));
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1

a1.sources.r1.type = TAILDIR
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = {logs}/{pattern}
a1.sources.r1.positionFile = {positions}
{more}
a1.sources.r1.channels = c1

a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000

{sink}
a1.sinks.k1.channel = c1
"
    )
}

fn to_files(folder: &Folder) -> String {
    let out = folder.make("out");
    format!(
        "a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.batchSize = 1000",
        out.display()
    )
}

fn to_log() -> String {
    "a1.sinks.k1.type = logger".to_owned()
}

/// Writes numbered lines at full speed, and calls `rotate` after each `LINES_EACH` of them, in the middle of nothing:
/// what is written before is whole lines.
fn write_and_rotate(logs: &Path, rotate: impl Fn(u64)) {
    let mut number = 0;
    for rotation in 1..=ROTATIONS {
        let mut file = File::options()
            .create_new(true)
            .append(true)
            .open(logs.join("app.log"))
            .expect("rotated away before");
        let lines: String = (0..LINES_EACH)
            .map(|n| format!("line {}\n", number + n + 1))
            .collect();
        number += LINES_EACH;
        for piece in lines.as_bytes().chunks(PIECE) {
            file.write_all(piece).expect("the folder is ours");
        }
        drop(file);
        rotate(rotation);
    }
}

/// All lines in the sink's files, in order.
fn lines_in(out: &Path) -> Vec<String> {
    let mut files: Vec<_> = fs::read_dir(out)
        .expect("made before")
        .map(|entry| entry.expect("is listed").path())
        .collect();
    files.sort();
    let texts = files
        .iter()
        .map(|path| fs::read_to_string(path).expect("is text"));
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[track_caller]
fn assert_every_line(folder: &Folder, count: u64) {
    let out = folder.path().join("out");
    let expected = usize::try_from(count).expect("a small number");
    wait::until_true("all lines in the files", LIVENESS, || {
        lines_in(&out).len() >= expected
    });
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=count);
    for line in lines_in(&out) {
        ledger.saw_text("r1", "line ", &line);
    }
    ledger.assert_once_and_in_order();
}

/// Rotations as logrotate makes them: `app.log.1` is the newest, all others move on.
fn shift(logs: &Path, rotation: u64, keep: u64) {
    for number in (1..rotation.min(keep)).rev() {
        let name = |number| logs.join(format!("app.log.{number}"));
        fs::rename(name(number), name(number + 1)).expect("rotated before");
    }
    fs::rename(logs.join("app.log"), logs.join("app.log.1")).expect("was written");
}

fn rotated_under_load(name: &str, pattern: &str, keep: u64) {
    let folder = Folder::new(name);
    let logs = folder.make("logs");
    let sink = to_files(&folder);
    let more = "a1.sources.r1.batchSize = 500";
    let file = folder.write("node.properties", &configuration(&folder, pattern, more, &sink));
    let (admin, monitoring) = (port::free(), port::free());
    let mut node = Node::agent("a1", file)
        .admin(admin)
        .monitoring(monitoring)
        .start();
    http::get_until(admin, "/readyz", "ready", |answer| answer.status == 200);

    let total = ROTATIONS * LINES_EACH;
    let writer = thread::spawn(move || write_and_rotate(&logs, |rotation| shift(&logs, rotation, keep)));
    writer.join().expect("the writer's folder is its own");
    assert_every_line(&folder, total);
    let counted = |metrics: &Value| metrics["SOURCE.r1"]["EventAcceptedCount"] == total.to_string();
    http::metrics_until(monitoring, "all events", counted);
    assert_eq!(node.stop(), 0);
    assert_every_line(&folder, total);
}

#[test]
fn rotation_at_full_speed_to_names_that_do_not_match_loses_splits_and_doubles_nothing() {
    rotated_under_load("tail-out", "app\\\\.log", u64::MAX);
}

#[test]
fn rotation_at_full_speed_to_names_that_match_loses_splits_and_doubles_nothing() {
    rotated_under_load("tail-in", "app\\\\.log.*", 20);
}

#[test]
fn a_killed_node_goes_on_where_the_position_file_is() {
    let folder = Folder::new("tail-kill");
    folder.make("logs");
    let more = "a1.sources.r1.writePosInterval = 100";
    let text = configuration(&folder, ".*\\\\.log", more, &to_log());
    let file = folder.write("node.properties", &text);
    let lines = |numbers: std::ops::RangeInclusive<u64>| -> String {
        numbers.map(|n| format!("line {n}\n")).collect()
    };
    folder.append("logs/app.log", &lines(1..=50));
    let mut node = Node::agent("a1", &file).start();
    node.wait_for_events(50);
    // Half a line, which is nobody's yet, and the place before it in the position file.
    folder.append("logs/app.log", "line 5");
    let whole = lines(1..=50).len();
    let position = format!("\"pos\":{whole},");
    wait::until_true("the position", LIVENESS, || {
        fs::read_to_string(folder.at("positions.json")).is_ok_and(|text| text.contains(&position))
    });
    node.signal(Signal::Kill);
    node.wait_exit(LIVENESS);

    // Completed, rotated out of the pattern, and a successor, while nobody looks.
    folder.append("logs/app.log", &format!("1\n{}", lines(52..=60)));
    fs::rename(folder.at("logs/app.log"), folder.at("logs/app.log.1")).expect("was written");
    folder.append("logs/app.log", &lines(61..=70));
    let mut again = Node::agent("a1", &file).start();
    let events = again.wait_for_events(20);
    assert_eq!(again.stop(), 0);
    let all: Vec<_> = node.logged().into_iter().chain(events).collect();
    assert_numbered(&all, "line ", 70);
    assert_eq!(again.logged().len(), 20);
}

#[test]
fn a_node_that_is_stopped_and_started_again_and_again_delivers_every_line_once() {
    let folder = Folder::new("tail-stop");
    let logs = folder.make("logs");
    let sink = to_files(&folder);
    let text = configuration(&folder, "app\\\\.log.*", "", &sink);
    let file = folder.write("node.properties", &text);
    let total = ROTATIONS * LINES_EACH;
    let writing = thread::spawn(move || write_and_rotate(&logs, |rotation| shift(&logs, rotation, u64::MAX)));
    while !writing.is_finished() {
        let mut node = Node::agent("a1", &file).start();
        wait::within(std::time::Duration::from_millis(300), || {
            writing.is_finished().then_some(())
        });
        assert_eq!(node.stop(), 0, "its channel is empty");
    }
    writing.join().expect("the writer's folder is its own");
    let mut node = Node::agent("a1", &file).start();
    assert_every_line_of_any_order(&folder, total);
    assert_eq!(node.stop(), 0);
    assert_every_line_of_any_order(&folder, total);
}

/// Of files that were renamed while nobody looked, one may come before the other.
#[track_caller]
fn assert_every_line_of_any_order(folder: &Folder, count: u64) {
    let out = folder.path().join("out");
    let expected = usize::try_from(count).expect("a small number");
    wait::until_true("all lines in the files", LIVENESS, || {
        lines_in(&out).len() >= expected
    });
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=count);
    for line in lines_in(&out) {
        ledger.saw_text("r1", "line ", &line);
    }
    let verdict = ledger.verdict();
    assert!(
        verdict.is_lossless() && verdict.duplicated.is_empty() && verdict.corrupt.is_empty(),
        "{verdict}"
    );
}
