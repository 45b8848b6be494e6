//! File channels of the real Flume, killed at random, taken over by us.
//!
//! A seed is a history: two to four lives of a channel, in one to three folders, with or without dual checkpoints. Threads
//! put, roll back, take, roll back, and hang in open transactions, until the process is killed after a random commit. What
//! is left then is what Flume itself delivers from a copy (as a set; its order after a checkpoint is that of a hash table)
//! and from a copy without the checkpoint (in order), but for events whose take it had committed, which it delivers again now
//! and then: see `history`. The original is imported, in half of the histories by the
//! configuration and in half by folders, and our agent must deliver just that, in that order, each once.
//!
//! `MILLRACE_SEEDS=from..to` chooses other seeds than the few of a plain run; a failing one is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::folder::Folder;
use tests::process::{Node, Signal};
use tests::wait::{self, LIVENESS};
use tests::{http, port};

use crate::events::rolled;
use crate::flume::{Flume, Version};

/// A class beside the script that runs Flume's FileChannel alone.
const PEER: &str = "FileChannelPeer";

/// Slow to start on a busy machine, and to replay.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events that a channel holds.
const CAPACITY: u64 = 1_000;

/// The folders of a channel below one folder, and its other properties.
struct Channel {
    dirs: Vec<String>,
    dual: bool,
}

impl Channel {
    fn of(rng: &mut SmallRng) -> Self {
        let dirs = (0..rng.random_range(1..=3)).map(|n| format!("data{n}")).collect();
        Self {
            dirs,
            dual: rng.random_bool(0.5),
        }
    }

    fn data(&self, folder: &Path) -> String {
        let paths = self.dirs.iter().map(|dir| folder.join(dir).display().to_string());
        paths.collect::<Vec<_>>().join(",")
    }

    /// As `key=value`, for the peer below `folder`.
    fn properties(&self, folder: &Path, capacity: u64) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("checkpointDir", folder.join("checkpoint").display().to_string()),
            ("dataDirs", self.data(folder)),
            ("capacity", capacity.to_string()),
            ("transactionCapacity", "50".to_owned()),
            ("minimumRequiredSpace", "1048576".to_owned()),
            ("checkpointInterval", "1000".to_owned()),
            ("maxFileSize", "150000".to_owned()),
        ];
        if self.dual {
            all.push(("useDualCheckpoints", "true".to_owned()));
            all.push(("backupCheckpointDir", folder.join("backup").display().to_string()));
        }
        all
    }
}

fn peer(flume: Flume, words: &[String], properties: &[(&str, String)]) -> crate::flume::Running {
    let mut line = vec![PEER.to_owned()];
    line.extend_from_slice(words);
    line.extend(properties.iter().map(|(key, value)| format!("{key}={value}")));
    flume.run(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

/// What Flume delivers from these folders, in its order.
///
/// A channel of another capacity than its checkpoint's has none; and one without a checkpoint may hold for a while what
/// was delivered long ago.
/// None if it cannot open the channel: a record that was not written whole stops it for good, and us not.
fn drained(flume: Flume, channel: &Channel, folder: &Path, capacity: u64) -> Option<Vec<String>> {
    let properties = channel.properties(folder, capacity);
    let mut running = peer(flume, &["drain".to_owned()], &properties);
    let ended = |line: &str| line == "PEER drained" || is_failure(line);
    let last = running.process.wait_for_line("all events", PATIENCE, ended);
    let code = running.process.wait_exit(PATIENCE);
    if last == "PEER cannot open the channel" {
        return None;
    }
    assert_eq!(code, 0, "Flume drains the copy");
    let lines = running.process.log().lines();
    let events = lines.iter().filter_map(|line| line.strip_prefix("EVENT "));
    Some(events.map(in_order).collect())
}

/// What the peer says before it gives up.
fn is_failure(line: &str) -> bool {
    line == "PEER cannot open the channel" || line == "PEER failed"
}

/// `{b=2, a=1} body` with its headers by their names.
fn in_order(line: &str) -> String {
    let (headers, body) = line.split_once("} ").unwrap_or((line, ""));
    let mut headers: Vec<&str> = headers.trim_start_matches('{').split(", ").collect();
    headers.sort_unstable();
    format!("{{{}}} {body}", headers.join(", "))
}

fn counted(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.as_str()).or_default() += 1;
    }
    counts
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder of a test is writable");
    for entry in fs::read_dir(from).expect("the folder is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file of Flume's is readable");
        }
    }
}

/// What the channel has after its lives is in `<folder>/flume`.
///
/// Returns the numbers of the events whose take was committed.
fn live(flume: Flume, channel: &Channel, folder: &Folder, rng: &mut SmallRng) -> BTreeSet<u64> {
    let mut taken = BTreeSet::new();
    let home = folder.make("flume");
    for life in 1..=rng.random_range(2..=4_u64) {
        let words = [
            "live".to_owned(),
            rng.random::<u32>().to_string(),
            (life * 1_000_000).to_string(),
        ];
        let mut running = peer(flume, &words, &channel.properties(&home, CAPACITY));
        let kill_after = format!("PEER {}", rng.random_range(1..400));
        // One whose threads wait for each other for ever is killed as well.
        wait::within(PATIENCE / 4, || {
            let lines = running.process.log().lines();
            let done = |line: &String| *line == kill_after || is_failure(line);
            lines.iter().any(done).then_some(())
        });
        running.process.signal(Signal::Kill);
        running.process.wait_exit(LIVENESS);
        let lines = running.process.log().lines();
        let took = lines.iter().filter_map(|line| line.strip_prefix("TOOK "));
        taken.extend(
            took.flat_map(|numbers| numbers.split(' ').filter_map(|number| number.parse::<u64>().ok())),
        );
    }
    taken
}

/// The number of a line with headers and body.
fn number(line: &str) -> Option<u64> {
    line.split_once("} ")?.1.split(' ').next()?.parse().ok()
}

fn agent(channel: &Channel, home: &Path, into: &Path, folder: &Folder) -> String {
    let mut text = format!(
        "a1.channels = c1
a1.sinks = k1
a1.channels.c1.type = file
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.batchSize = 50
a1.sinks.k1.sink.serializer = header_and_text
",
        folder.make("rolled").display()
    );
    for (key, value) in channel.properties(home, CAPACITY) {
        let value = if key == "dataDirs" {
            channel.data(into)
        } else {
            value
        };
        text += &format!("a1.channels.c1.{key} = {value}\n");
    }
    text
}

/// Runs the import to its end.
fn import(words: &[&str], code: i32) -> String {
    let line: Vec<&str> = ["channel", "import"].iter().chain(words).copied().collect();
    let mut import = Node::run(&line);
    let found = import.wait_exit(PATIENCE);
    let said = import.log().lines().join("\n");
    assert_eq!(found, code, "{said}");
    said
}

/// What our agent delivers until its channel is empty, and that many events at least have gone.
fn delivered(file: &Path, folder: &Folder, least: usize) -> Vec<String> {
    let metrics = port::free();
    let mut node = Node::agent("a1", file).monitoring(metrics).start();
    http::metrics_until(
        metrics,
        &format!("{least} events are gone and none is left"),
        |page| {
            let channel = &page["CHANNEL.c1"];
            let taken = channel["EventTakeSuccessCount"]
                .as_str()
                .and_then(|text| text.parse::<usize>().ok());
            channel["ChannelSize"] == "0" && taken.is_some_and(|taken| taken >= least)
        },
    );
    assert_eq!(node.stop(), 0);
    rolled(&folder.path().join("rolled"))
        .iter()
        .map(|line| in_order(line))
        .collect()
}

fn history(flume: Flume, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let channel = Channel::of(&mut rng);
    let folder = Folder::new("flume-channel");
    let taken = live(flume, &channel, &folder, &mut rng);
    let is_left = |line: &String| number(line).is_none_or(|number| !taken.contains(&number));
    let home = folder.path().join("flume");
    let (as_it_is, replayed) = (folder.make("as-it-is"), folder.make("replayed"));
    copy(&home, &as_it_is);
    copy(&home, &replayed);
    for name in ["checkpoint", "backup"] {
        let _ = fs::remove_dir_all(replayed.join(name));
    }
    let by_flume = drained(flume, &channel, &as_it_is, CAPACITY);
    let order = drained(flume, &channel, &replayed, 1_000_000);
    let in_place = seed.is_multiple_of(2);
    let into = if in_place {
        home.clone()
    } else {
        folder.make("ours")
    };
    let file = folder.write("node.properties", &agent(&channel, &home, &into, &folder));
    let name = file.display().to_string();
    let said = if in_place {
        let refused = Node::run(&["check", "-f", &name, "-n", "a1"]).wait_exit(LIVENESS);
        assert_eq!(refused, 1, "the check offers the import");
        import(&["-f", &name, "-c", "c1"], 0)
    } else {
        let mut checkpoint = home.join("checkpoint").display().to_string();
        if channel.dual {
            checkpoint += &format!(",{}", home.join("backup").display());
        }
        let (from, into) = (channel.data(&home), channel.data(&into));
        import(&[&from, "--checkpoint-dir", &checkpoint, "--into", &into], 0)
    };
    let moved = said
        .lines()
        .find_map(|line| line.strip_prefix("moved ")?.split(' ').next()?.parse().ok());
    let ours = delivered(&file, &folder, moved.unwrap_or_else(|| panic!("{said}")));
    // What a transaction of before a checkpoint took and rolled back, and another one took for good, Flume delivers twice.
    let again: Vec<&String> = ours.iter().filter(|line| !is_left(line)).collect();
    assert!(again.is_empty(), "delivered before: {again:?}: {said}");
    if let Some(mut expected) = by_flume {
        expected.retain(is_left);
        let (there, arrived) = (counted(&expected), counted(&ours));
        let less = |a: &BTreeMap<&str, usize>, b: &BTreeMap<&str, usize>| {
            let more = a.iter().filter(|(line, count)| b.get(*line) != Some(*count));
            let start = |line: &str| line.chars().take(40).collect();
            more.map(|(line, _)| start(line)).collect::<Vec<String>>()
        };
        let (missing, extra) = (less(&there, &arrived), less(&arrived, &there));
        assert!(
            missing.is_empty() && extra.is_empty(),
            "missing {missing:?}, extra {extra:?}: {said}"
        );
        if let Some(mut order) = order {
            order.retain(|line| there.contains_key(line.as_str()));
            assert_eq!(ours, order, "not the order in which Flume delivers");
        }
    }
    // Nothing is left for Flume, and it can begin anew.
    if !in_place {
        assert_eq!(drained(flume, &channel, &home, CAPACITY), Some(Vec::new()));
    }
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let given = env::var("MILLRACE_SEEDS").ok();
    let parsed = given.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    parsed.unwrap_or(default)
}

fn each(version: Version, test: &str, default: std::ops::Range<u64>) {
    let Some(flume) = Flume::find(version) else { return };
    let (mut passed, mut failed) = (0, 0);
    for seed in seeds(default) {
        match catch_unwind(AssertUnwindSafe(|| history(flume, seed))) {
            Ok(()) => passed += 1,
            Err(_) => {
                failed += 1;
                let next = seed + 1;
                eprintln!(
                    "seed {seed} failed; again: MILLRACE_SEEDS={seed}..{next} cargo test -p tests --test interop {test}"
                );
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    assert_eq!(failed, 0);
}

#[test]
fn what_a_killed_flume_1_11_would_deliver_is_delivered_by_us_once() {
    each(Version::V1_11, "killed_flume_1_11", 0..4);
}

#[test]
fn what_a_killed_flume_1_9_would_deliver_is_delivered_by_us_once() {
    each(Version::V1_9, "killed_flume_1_9", 4..6);
}

#[test]
fn a_running_flume_is_left_alone() {
    let Some(flume) = Flume::find(Version::V1_11) else {
        return;
    };
    let folder = Folder::new("flume-runs");
    let channel = Channel {
        dirs: vec!["data0".to_owned()],
        dual: false,
    };
    let home = folder.make("flume");
    let words = ["live".to_owned(), "1".to_owned(), "1".to_owned()];
    let running = peer(flume, &words, &channel.properties(&home, CAPACITY));
    running
        .process
        .wait_for_line("a commit", PATIENCE, |line| line == "PEER 1");
    let data = channel.data(&home);
    let said = import(&[&data, "--into", &data], 66);
    let refused = format!("{data} is in use by process ");
    assert!(said.contains(&refused) && said.contains("(java)"), "{said}");
    drop(running);
    assert!(!home.join("data0/millrace").exists(), "nothing is touched");
}
