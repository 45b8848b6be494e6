//! Real nodes with a file channel, killed at random, and files that tell what became of every event.
//!
//! A hundred and fifty kills in a plain run: sixty of a spool directory, fifty of an avro source, forty of rotated files.
//! Every start must succeed; nothing may be lost. Sources that know where they stand (spool directory, rotated files)
//! double nothing. An avro client that never hears of its batch sends it again, as every client must: that batch, and
//! nothing else, may be there as often as it was sent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::avro::{Client, Event, Reply};
use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};
use tests::{port, seeds};

/// A source, a file channel and rolling files.
fn configuration(folder: &Folder, source: &str) -> PathBuf {
    let (data, out) = (folder.at("data"), folder.make("out"));
    let text = format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1

{source}
a1.sources.r1.channels = c1

a1.channels.c1.type = file
a1.channels.c1.dataDirs = {data}
a1.channels.c1.minimumRequiredSpace = 0
a1.channels.c1.maxFileSize = 1048576
a1.channels.c1.transactionCapacity = 1000

a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 1
a1.sinks.k1.sink.batchSize = 50
a1.sinks.k1.channel = c1
",
        out.display()
    );
    folder.write("node.properties", &text)
}

/// The sink's files in the order in which they were begun: `<milliseconds>-<n>`.
fn files_in(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out).expect("made before");
    let names = entries.map(|entry| entry.expect("it can be listed").path());
    let mut files: Vec<(u64, u64, PathBuf)> = names
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            let (begun, n) = name.split_once('-')?;
            Some((begun.parse().ok()?, n.parse().ok()?, path))
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, _, path)| path).collect()
}

/// Bytes that the sink has written.
fn bytes_in(out: &Path) -> u64 {
    let length = |path: PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
    files_in(out).into_iter().map(length).sum()
}

fn lines_in(out: &Path) -> Vec<String> {
    let text = |path| fs::read_to_string(path).expect("the sink writes text");
    files_in(out)
        .into_iter()
        .flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Kills a node that must be alive.
#[track_caller]
fn kill(node: &mut Node) {
    assert!(node.is_running(), "it has ended by itself");
    node.signal(Signal::Kill);
    assert_eq!(node.wait_exit(LIVENESS), 128 + 9);
}

/// Starts a node; some starts are killed in the middle, when the log says so much.
fn start(file: &Path, rng: &mut SmallRng) -> Option<Node> {
    let mut node = Node::agent("a1", file).start();
    if rng.random::<f64>() < 0.15 {
        // Nothing yet, started, the channel is open.
        let lines = rng.random_range(0..3);
        wait::until_true("some lines of the log", LIVENESS, || {
            node.log().lines().len() >= lines
        });
        kill(&mut node);
        return None;
    }
    Some(node)
}

/// Starts a node that is to stop in order: not before it can be told to, though all may have been written before.
fn last_start(file: &Path) -> Node {
    let node = Node::agent("a1", file).start();
    node.wait_for_line("the start", LIVENESS, |line| line.contains("started"));
    node
}

/// Waits until the sink has written so much.
fn until_written(out: &Path, bytes: u64) {
    wait::until_true("the sink's files to grow", LIVENESS, || bytes_in(out) >= bytes);
}

// --- Spool directory.

fn spooled(seed: u64, kills: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = Folder::new("kills-spool");
    let (spool, out) = (folder.make("in"), folder.path().join("out"));
    let source = format!(
        "a1.sources.r1.type = spooldir
a1.sources.r1.spoolDir = {}
a1.sources.r1.batchSize = 20
a1.sources.r1.pollDelay = 5",
        spool.display()
    );
    let file = configuration(&folder, &source);
    let (mut written, mut expected) = (Ledger::new(), 0);
    let mut put = |name: &str, lines: u64| {
        let text: String = (1..=lines).map(|n| format!("{name} {n}\n")).collect();
        let beside = folder.write("beside", &text);
        fs::rename(beside, spool.join(name)).expect("both are in one folder");
        written.sent(name, 1..=lines);
        expected += text.len() as u64;
        expected
    };
    for life in 0..kills {
        let before = bytes_in(&out);
        let Some(mut node) = start(&file, &mut rng) else {
            continue;
        };
        let mut all = 0;
        for n in 0..3 {
            all = put(&format!("f{life}-{n}"), rng.random_range(1..300));
        }
        until_written(&out, before + rng.random_range(0..=(all - before)));
        kill(&mut node);
    }
    let mut node = last_start(&file);
    until_written(&out, put("last", 1));
    assert_eq!(node.stop(), 0);
    for path in files_in(&out) {
        let text = fs::read_to_string(&path).expect("the sink writes text");
        let mut before = String::new();
        for line in text.lines() {
            match line
                .split_once(' ')
                .and_then(|(name, n)| Some((name, n.parse().ok()?)))
            {
                Some((name, number)) => written.saw(name, number),
                None => written.saw_corrupt(&format!("{line:?} behind {before:?} in {}", path.display())),
            }
            before = line.to_owned();
        }
    }
    written.assert_once_and_in_order();
}

#[test]
fn a_spool_directory_is_delivered_once_and_in_order_over_sixty_kills() {
    let test = "kills::a_spool_directory_is_delivered_once_and_in_order_over_sixty_kills";
    seeds::each("chaos", test, 0..1, |seed| spooled(seed, 60));
}

// --- Avro.

/// Events of one batch.
const BATCH: u64 = 10;

/// Sends batch after batch, each until it is acknowledged; returns how often each was sent.
fn client(port: u16, acknowledged: &AtomicU64, stop: &AtomicBool) -> Vec<u32> {
    let mut sent = Vec::new();
    let mut connected: Option<Client> = None;
    while !stop.load(Ordering::SeqCst) {
        let batch = sent.len() as u64;
        let bodies: Vec<String> = (1..=BATCH)
            .map(|n| format!("line {}", batch * BATCH + n))
            .collect();
        let events: Vec<Event<'_>> = bodies.iter().map(|body| (&[][..], body.as_bytes())).collect();
        sent.push(0);
        while sent[batch as usize] == 0 || connected.is_none() {
            let client = connected.get_or_insert_with(|| Client::open_when_up(port));
            sent[batch as usize] += 1;
            match client.append_batch(&events) {
                Ok(Reply::Ok) => {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                _ => connected = None,
            }
        }
    }
    sent
}

fn sent_by_avro(seed: u64, kills: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = Folder::new("kills-avro");
    let (port, out) = (port::free(), folder.path().join("out"));
    let source = format!(
        "a1.sources.r1.type = avro
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {port}"
    );
    let file = configuration(&folder, &source);
    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let sent = thread::scope(|scope| {
        let client = scope.spawn(|| client(port, &acknowledged, &stop));
        for _ in 0..kills {
            let Some(mut node) = start(&file, &mut rng) else {
                continue;
            };
            let target = acknowledged.load(Ordering::SeqCst) + rng.random_range(1..60);
            wait::until_true("acknowledged batches", LIVENESS, || {
                acknowledged.load(Ordering::SeqCst) >= target || client.is_finished()
            });
            kill(&mut node);
        }
        stop.store(true, Ordering::SeqCst);
        let mut node = last_start(&file);
        let sent = client.join().expect("the client only waits for the node");
        let lines = sent.len() as u64 * BATCH;
        wait::until_true("all events in the files", LIVENESS, || {
            lines_in(&out).len() as u64 >= lines
        });
        assert_eq!(node.stop(), 0);
        sent
    });
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=sent.len() as u64 * BATCH);
    for line in lines_in(&out) {
        ledger.saw_text("r1", "line ", &line);
    }
    let verdict = ledger.verdict();
    assert!(verdict.is_lossless() && verdict.reordered.is_empty(), "{verdict}");
    let mut doubled: BTreeMap<u64, u32> = BTreeMap::new();
    for (_, number) in &verdict.duplicated {
        *doubled.entry(*number).or_default() += 1;
    }
    for (number, times) in doubled {
        let attempts = sent[((number - 1) / BATCH) as usize];
        assert!(
            times < attempts,
            "{number} is there {} times, sent {attempts} times",
            times + 1
        );
    }
}

#[test]
fn what_an_avro_client_was_acknowledged_is_delivered_over_fifty_kills() {
    let test = "kills::what_an_avro_client_was_acknowledged_is_delivered_over_fifty_kills";
    seeds::each("chaos", test, 0..1, |seed| sent_by_avro(seed, 50));
}

// --- Rotated files.

/// Lines of a file before it is rotated away.
const LINES_EACH: u64 = 200;

/// What a writer flushes at once: lines are cut anywhere.
const PIECE: usize = 997;

/// Writes files one after the other under one name, and renames each when it is full.
fn write_and_rotate(logs: &Path, files: std::ops::Range<u64>) {
    for number in files {
        let path = logs.join("app.log");
        let mut file = File::options()
            .create_new(true)
            .append(true)
            .open(&path)
            .expect("rotated away");
        let lines: String = (1..=LINES_EACH).map(|n| format!("{number} {n}\n")).collect();
        for piece in lines.as_bytes().chunks(PIECE) {
            file.write_all(piece).expect("the folder is ours");
        }
        fs::rename(path, logs.join(format!("app.log.{number}"))).expect("was written");
    }
}

fn tailed(seed: u64, kills: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let folder = Folder::new("kills-tail");
    let (logs, out) = (folder.make("logs"), folder.path().join("out"));
    let source = format!(
        "a1.sources.r1.type = TAILDIR
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = {}/app\\\\.log.*
a1.sources.r1.positionFile = {}",
        logs.display(),
        folder.at("positions.json")
    );
    let file = configuration(&folder, &source);
    let mut files = 0;
    let size = |number: u64| -> u64 {
        (1..=LINES_EACH)
            .map(|n| format!("{number} {n}\n").len() as u64)
            .sum()
    };
    for _ in 0..kills {
        let Some(mut node) = start(&file, &mut rng) else {
            continue;
        };
        let before = bytes_in(&out);
        let more = files..files + 3;
        files = more.end;
        let all: u64 = (0..files).map(size).sum();
        let target = before + rng.random_range(0..=all.saturating_sub(before));
        thread::scope(|scope| {
            scope.spawn(|| write_and_rotate(&logs, more));
            until_written(&out, target);
            kill(&mut node);
        });
    }
    let mut node = last_start(&file);
    until_written(&out, (0..files).map(size).sum());
    assert_eq!(node.stop(), 0);
    let mut ledger = Ledger::new();
    (0..files).for_each(|number| ledger.sent(&number.to_string(), 1..=LINES_EACH));
    for line in lines_in(&out) {
        match line
            .split_once(' ')
            .and_then(|(file, n)| Some((file, n.parse().ok()?)))
        {
            Some((file, number)) => ledger.saw(file, number),
            None => ledger.saw_corrupt(&line),
        }
    }
    ledger.assert_once_and_in_order();
}

#[test]
fn rotated_files_are_delivered_once_and_in_order_over_forty_kills() {
    let test = "kills::rotated_files_are_delivered_once_and_in_order_over_forty_kills";
    seeds::each("chaos", test, 0..1, |seed| tailed(seed, 40));
}
