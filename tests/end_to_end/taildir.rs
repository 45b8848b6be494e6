//! Files that are followed while they are written and rotated, by a node that may be killed: none lost, split or
//! doubled, as far as the channel keeps what it took.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::Path;

use serde_json::Value;
use tests::folder::Folder;
use tests::ledger::{Ledger, Verdict};
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};
use tests::{http, port};

use crate::assert_numbered;

/// Rotations under load, and the lines of each file.
const ROTATIONS: u64 = 200;
const LINES_EACH: u64 = 250;
/// How often a node is stopped meanwhile.
const ROUNDS: u64 = 5;
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

/// Writes numbered lines at full speed and rotates the file away after each [`LINES_EACH`] of them, with the rotations of
/// these numbers. Pieces cut lines anywhere; a file ends with a whole one.
fn write_and_rotate(logs: &Path, rotations: RangeInclusive<u64>) {
    for rotation in rotations {
        let mut file = File::options()
            .create_new(true)
            .append(true)
            .open(logs.join("app.log"))
            .expect("rotated away before");
        let first = (rotation - 1) * LINES_EACH + 1;
        let lines: String = (first..first + LINES_EACH)
            .map(|n| format!("line {n}\n"))
            .collect();
        for piece in lines.as_bytes().chunks(PIECE) {
            file.write_all(piece).expect("the folder is ours");
        }
        shift(logs, rotation);
    }
}

/// As logrotate does it: `app.log.1` is the newest, all others move on.
fn shift(logs: &Path, rotation: u64) {
    let name = |number| logs.join(format!("app.log.{number}"));
    for number in (1..rotation).rev() {
        fs::rename(name(number), name(number + 1)).expect("rotated before");
    }
    fs::rename(logs.join("app.log"), name(1)).expect("was written");
}

/// All lines in the sink's files, in their order there.
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

/// What became of the lines, each of a file that is known by the number of its rotation. Of files that were renamed
/// while nobody looked one may come before the other; within a file all is in order.
#[track_caller]
fn verdict(folder: &Folder, rotations: u64) -> Verdict {
    let out = folder.path().join("out");
    let expected = usize::try_from(rotations * LINES_EACH).expect("a small number");
    wait::within(LIVENESS, || (lines_in(&out).len() >= expected).then_some(()));
    let mut ledger = Ledger::new();
    for file in 0..rotations {
        ledger.sent(&file.to_string(), file * LINES_EACH + 1..=(file + 1) * LINES_EACH);
    }
    for line in lines_in(&out) {
        match line.strip_prefix("line ").and_then(|n| n.parse::<u64>().ok()) {
            Some(number @ 1..) => ledger.saw(&((number - 1) / LINES_EACH).to_string(), number),
            _ => ledger.saw_corrupt(&line),
        }
    }
    ledger.verdict()
}

fn rotated_under_load(name: &str, pattern: &str) {
    let folder = Folder::new(name);
    let logs = folder.make("logs");
    let sink = to_files(&folder);
    let more = "a1.sources.r1.batchSize = 500";
    let file = folder.write("node.properties", &configuration(&folder, pattern, more, &sink));
    let monitoring = port::free();
    let mut node = Node::agent("a1", file).monitoring(monitoring).start();
    // It is written when the source has begun to look: files that came and went before are nobody's.
    let positions = folder.path().join("positions.json");
    wait::until_true("the position file", LIVENESS, || positions.exists());

    let total = ROTATIONS * LINES_EACH;
    write_and_rotate(&logs, 1..=ROTATIONS);
    let verdict = verdict(&folder, ROTATIONS);
    assert!(verdict.is_perfect(), "{verdict}");
    let text = total.to_string();
    let counted = |metrics: &Value| metrics["SOURCE.r1"]["EventAcceptedCount"] == *text;
    http::metrics_until(monitoring, "all events", counted);
    assert_eq!(node.stop(), 0);
    assert_eq!(lines_in(&folder.path().join("out")).len() as u64, total);
}

#[test]
fn rotation_at_full_speed_to_names_that_do_not_match_loses_splits_and_doubles_nothing() {
    rotated_under_load("tail-out", "app\\\\.log");
}

#[test]
fn rotation_at_full_speed_to_names_that_match_loses_splits_and_doubles_nothing() {
    rotated_under_load("tail-in", "app\\\\.log.*");
}

#[test]
fn a_killed_node_goes_on_where_the_position_file_is() {
    let folder = Folder::new("tail-kill");
    folder.make("logs");
    let more = "a1.sources.r1.writePosInterval = 100";
    let text = configuration(&folder, ".*\\\\.log", more, &to_log());
    let file = folder.write("node.properties", &text);
    let lines = |numbers: RangeInclusive<u64>| -> String { numbers.map(|n| format!("line {n}\n")).collect() };
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

/// Files are renamed to names that match while the node starts and stops, so that listings show some of them under no name.
#[test]
fn a_node_that_is_stopped_and_started_again_and_again_delivers_every_line_once() {
    let folder = Folder::new("tail-stop");
    let logs = folder.make("logs");
    let sink = to_files(&folder);
    let text = configuration(&folder, "app\\\\.log.*", "", &sink);
    let file = folder.write("node.properties", &text);
    let each = ROTATIONS / ROUNDS;
    for round in 0..ROUNDS {
        let admin = port::free();
        let mut node = Node::agent("a1", &file).admin(admin).start();
        let (first, middle, last) = (round * each + 1, round * each + each / 2, (round + 1) * each);
        // While it starts, and while it stops.
        write_and_rotate(&logs, first..=middle);
        http::get_until(admin, "/readyz", "ready", |answer| answer.status == 200);
        node.signal(Signal::Term);
        write_and_rotate(&logs, middle + 1..=last);
        assert_eq!(node.wait_exit(LIVENESS), 0, "its channel is empty");
    }
    let mut node = Node::agent("a1", &file).start();
    let all = wait::within(LIVENESS, || {
        let verdict = verdict(&folder, ROUNDS * each);
        (verdict.missing.is_empty()).then_some(verdict)
    });
    let verdict = all.expect("every line comes");
    assert!(verdict.is_perfect(), "{verdict}");
    assert_eq!(node.stop(), 0);
}
