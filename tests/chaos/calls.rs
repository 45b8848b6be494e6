//! A small program over a file channel, killed at every call that it makes to the disk; and every one of these calls fails.
//!
//! The program ([`the_script`]) is this test's binary, run once more: it opens a channel, puts, takes and rolls back, says
//! before and after each commit what it does, and ends. `strace` records which calls its channel makes, and then kills it
//! at the n-th of a kind, or lets that one fail with EIO or ENOSPC.
//!
//! - Killed: what it has said is done is there in the next process, what it was doing is there whole or not at all.
//! - Failed: nothing more is written by the thread that met the failure, nothing is acknowledged until the channel was
//!   opened anew, and in the end every event has come out once and in order.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use node::channel::file::FileChannel;
use node::component::channel::{Channel, ChannelError, Position, Want};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tests::folder::Folder;
use tests::wait::LIVENESS;
use tests::{peer, seeds};

use crate::channel::{self, Id, Known};

/// Points of a plain run.
const POINTS: usize = 200;

/// Batches of the script, and events of each.
const BATCHES: u64 = 36;
const EACH: u64 = 3;

/// The folder that tells this binary to be the script.
const FOLDER: &str = "MILLRACE_SCRIPT";

/// Calls that only the channel makes, or that are seen to be its own by the file they name.
const CALLS: &str = "openat,mkdir,pread64,pwrite64,fdatasync,fsync,fallocate,ftruncate,rename,unlink,fadvise64,flock,fstatfs,statfs,getdents64";

/// How often a channel is opened anew. `strace` counts calls by thread, so what failed for one channel's thread fails again
/// for the next: a channel whose first calls fail never opens, and one that came further gets on by a piece each time.
const OPENED_MAX: usize = 12;

// --- The script: the child.

#[test]
#[ignore = "the program that the other tests of this file run"]
fn the_script() {
    let folder = env::var_os(FOLDER).map(PathBuf::from);
    let folder = folder.expect("this is for the tests of this file only");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had").block_on(async {
        let channel = channel::built(&folder, 1);
        let mut script = Script {
            channel,
            known: Known::default(),
            sink: 0,
            opened: 0,
        };
        script.run().await;
    });
}

struct Script {
    channel: FileChannel,
    known: Known,
    sink: u64,
    opened: usize,
}

/// One line, which is out before anything else happens.
fn say(line: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes())
        .expect("somebody reads it");
    out.flush().expect("somebody reads it");
}

impl Script {
    /// None when it has given up.
    async fn run(&mut self) -> Option<()> {
        self.open_anew().await?;
        let mut batch = self.known.sources.get(&1).copied().unwrap_or(0) / EACH;
        while batch < BATCHES {
            if !self.put(batch * EACH + 1).await? {
                continue;
            }
            if batch % 2 == 1 {
                self.take(5, batch % 6 == 5).await?;
            }
            batch += 1;
        }
        // All of it comes out, in the end.
        for _ in 0..BATCHES * EACH {
            if self.channel.held() == 0 {
                break;
            }
            self.take(7, false).await?;
        }
        if self.known.check(&self.channel, 1, true).await.is_err() {
            self.open_anew().await?;
        }
        assert!(self.known.acked.is_empty(), "something is left");
        assert_eq!(self.known.sources.get(&1), Some(&(BATCHES * EACH)));
        say("perfect");
        Some(())
    }

    /// Whether the batch is in.
    async fn put(&mut self, first: u64) -> Option<bool> {
        let last = first + EACH - 1;
        let events: Vec<Id> = (first..=last).map(|n| (1, n)).collect();
        say(&format!("doing put {first} {last}"));
        self.known.putting(&events);
        match channel::put(&self.channel, &events, true).await {
            Ok(()) => {
                self.known.put(&events);
                say(&format!("done put {first} {last}"));
                Some(true)
            }
            Err(ChannelError::Full) => {
                // Nothing was written; the disk was full for a moment.
                self.known.puts.clear();
                say(&format!("not put {first} {last}"));
                Some(false)
            }
            Err(why) => {
                self.failed(&why).await?;
                // The position tells whether it has happened.
                let is_in = self.known.sources.get(&1).is_some_and(|at| *at >= last);
                say(&format!(
                    "{} put {first} {last}",
                    if is_in { "done" } else { "not" }
                ));
                Some(is_in)
            }
        }
    }

    async fn take(&mut self, events: usize, roll_back: bool) -> Option<()> {
        let limit = tokio::time::Instant::now() + LIVENESS;
        let taken = loop {
            let wait = Duration::from_millis(20);
            let held = self.channel.held();
            assert!(
                tokio::time::Instant::now() < limit,
                "nothing of {held} events can be taken"
            );
            match self.channel.take(Want::events(events), wait).await {
                Ok(Some(taken)) => break taken,
                Ok(None) => {}
                Err(why) => return self.failed(&why).await,
            }
        };
        let (ticket, batch) = taken;
        let ids: Vec<Id> = batch.iter().map(|e| channel::id_of(e.body(), true)).collect();
        if roll_back {
            self.channel.rollback(ticket);
            return Some(());
        }
        let (first, last) = (ids[0].1, ids[ids.len() - 1].1);
        assert_eq!(ids.len() as u64, last - first + 1, "in order, none left out");
        self.sink += 1;
        let at = self.sink;
        say(&format!("doing take {first} {last}"));
        self.known.taking(1, at, &ids);
        let position = Position {
            owner: "sink/1".into(),
            bytes: Bytes::copy_from_slice(at.to_string().as_bytes()),
        };
        match self.channel.commit_take(ticket, Some(position)).await {
            Ok(()) => {
                self.known.took(1, at, &ids);
                say(&format!("done take {first} {last}"));
                Some(())
            }
            Err(why) => {
                self.failed(&why).await?;
                let is_gone = self.sink == at;
                say(&format!(
                    "{} take {first} {last}",
                    if is_gone { "done" } else { "not" }
                ));
                Some(())
            }
        }
    }

    /// Fail-stop: nothing is served until it is opened anew, and then all is as it was said to be.
    async fn failed(&mut self, why: &ChannelError) -> Option<()> {
        say(&format!("failed: {why}"));
        let put = channel::put(&self.channel, &[(9, 9)], true).await;
        assert!(put.is_err(), "acknowledged after a failure");
        self.open_anew().await
    }

    /// Waits until it is open, and holds what is there against what is known.
    async fn holds(&mut self) -> Result<(), String> {
        channel::opened(&self.channel).await?;
        say("open");
        if self.known.sources.is_empty() {
            self.known.adopt(&self.channel, true).await?;
        }
        self.known.check(&self.channel, 1, true).await
    }

    async fn open_anew(&mut self) -> Option<()> {
        loop {
            self.opened += 1;
            if self.opened > OPENED_MAX {
                say("gave up");
                return None;
            }
            self.channel.attach();
            match self.holds().await {
                Ok(()) => break,
                Err(why) => say(&format!("does not open: {why}")),
            }
        }
        self.sink = self.known.sinks.get(&1).copied().unwrap_or(0);
        Some(())
    }
}

// --- The parent.

/// One call: the n-th of its kind in its thread, and of the file that it names if others of its kind are not the channel's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    call: String,
    n: usize,
    path: Option<String>,
}

/// Runs the script in a folder under strace, and returns what it has said.
fn script(folder: &Path, log: &Path, expressions: &[&str]) -> String {
    script_on(folder, log, expressions, None)
}

/// As [`script`], and strace looks at calls that are about one file only.
fn script_on(folder: &Path, log: &Path, expressions: &[&str], file: Option<&str>) -> String {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-y", "-e", "signal=none", "-o"])
        .arg(log);
    for expression in expressions {
        command.args(["-e", expression]);
    }
    if let Some(file) = file {
        command.args(["-P", file]);
    }
    command.arg(env::current_exe().expect("a process knows its executable"));
    command.args([
        "--ignored",
        "--exact",
        "calls::the_script",
        "--nocapture",
        "--test-threads=1",
    ]);
    command
        .env(FOLDER, folder)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    let output = command.output().expect("strace was there before");
    let (said, more) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if output.status.success() || output.status.code().is_none() {
        said.into_owned()
    } else {
        format!("{said}\n{more}")
    }
}

/// Why there is no strace that works, if so.
fn no_strace() -> Option<String> {
    match Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether these tests can run; says loudly why not.
fn can_trace() -> bool {
    if Command::new("strace").arg("-V").output().is_err() {
        peer::missing("strace", "it is not installed");
        return false;
    }
    if let Some(why) = no_strace() {
        peer::impossible("tracing a process", &why);
        return false;
    }
    true
}

/// The calls that the script's channel makes, in a folder where nothing or a channel with a backlog is.
fn points(folder: &Folder, scene: &Path) -> Vec<Point> {
    let (data, log) = (folder.path().join("recorded"), folder.path().join("trace"));
    copy(scene, &data);
    let said = script(&data, &log, &[&format!("trace={CALLS}")]);
    assert!(
        said.contains("\nperfect\n"),
        "the script works when nothing fails:\n{said}"
    );
    let trace = fs::read_to_string(&log).expect("strace has written it");
    let name = data.display().to_string();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for line in trace.lines() {
        let Some((process, call)) = line.trim_start().split_once(' ') else {
            continue;
        };
        let Some((call, rest)) = call.trim_start().split_once('(') else {
            continue;
        };
        let count = counts.entry((process.to_owned(), call.to_owned())).or_default();
        *count += 1;
        if !rest.contains(&name) {
            continue;
        }
        let n = *count;
        // These the loader of programs makes as well, and an n-th one of its thread would be hit.
        let path = match call {
            "openat" => rest.split('"').nth(1).map(str::to_owned),
            "pread64" => rest.split(['<', '>']).nth(1).map(str::to_owned),
            _ => None,
        };
        let point = match path {
            // The names of free files are random: the next run has others.
            Some(path) if path.contains("/free-") => continue,
            Some(path) => {
                let is_same = |p: &&Point| p.call == call && p.path.as_ref() == Some(&path);
                let same = found.iter().filter(is_same).count();
                Point {
                    call: call.to_owned(),
                    n: same + 1,
                    path: Some(path),
                }
            }
            None => Point {
                call: call.to_owned(),
                n,
                path: None,
            },
        };
        found.push(point);
    }
    let relative = |point: Point| Point {
        path: point.path.map(|path| path.replace(&name, "")),
        ..point
    };
    found.into_iter().map(relative).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("the folder is ours");
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries.map(|e| e.expect("it can be listed")) {
        let path = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &path);
        } else {
            fs::copy(entry.path(), path).expect("it can be copied");
        }
    }
}

/// Books what the script has said, as far as it came.
fn hear(known: &mut Known, said: &str) {
    let mut sink = known.sinks.get(&1).copied().unwrap_or(0);
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [state, what, from, to] = words[..] else {
            continue;
        };
        let (Ok(from), Ok(to)) = (from.parse::<u64>(), to.parse::<u64>()) else {
            continue;
        };
        let events: Vec<Id> = (from..=to).map(|n| (1, n)).collect();
        match (state, what) {
            ("doing", "put") => known.putting(&events),
            ("done", "put") => known.put(&events),
            ("doing", "take") => {
                sink += 1;
                known.taking(1, sink, &events);
            }
            ("not", "put") => known.puts.clear(),
            ("done", "take") => known.took(1, sink, &events),
            ("not", "take") => {
                sink -= 1;
                known.takes.clear();
            }
            _ => {}
        }
    }
}

/// What is in the folder before a run, what is known of it, and the calls that the script makes there.
struct Scene {
    before: PathBuf,
    known: Known,
    points: Vec<Point>,
}

/// A folder where nothing is, and one that a killed process has left in the middle of its work.
fn scenes(folder: &Folder) -> [Scene; 2] {
    let (nothing, left) = (folder.path().join("nothing"), folder.path().join("left"));
    copy(&nothing, &left);
    let inject = ["trace=fdatasync", "inject=fdatasync:signal=KILL:when=30"];
    let said = script(&left, &folder.path().join("trace"), &inject);
    assert!(
        said.contains("done put") && !said.contains("perfect"),
        "killed in the middle:\n{said}"
    );
    let mut known = Known::default();
    hear(&mut known, &said);
    check(&left, &mut known);
    let scene = |before: PathBuf, known| Scene {
        points: points(folder, &before),
        before,
        known,
    };
    [scene(nothing, Known::default()), scene(left, known)]
}

/// Opens what a run has left, and holds it against what is known; says what is there from then on.
fn check(data: &Path, known: &mut Known) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had").block_on(async {
        let channel = channel::open(data, 1).await.expect("it opens after a kill");
        known.check(&channel, 1, true).await.expect("nothing fails now");
    });
}

/// A number of points of all scenes, by lot; all of them if there are not so many.
fn by_lot(scenes: &[Scene], seed: u64, count: usize) -> Vec<(&Scene, &Point)> {
    let each = |scene| Scene::points_of(scene);
    let mut all: Vec<(&Scene, &Point)> = scenes.iter().flat_map(each).collect();
    all.shuffle(&mut SmallRng::seed_from_u64(seed));
    all.truncate(count);
    all
}

impl Scene {
    fn points_of(&self) -> impl Iterator<Item = (&Self, &Point)> {
        self.points.iter().map(move |point| (self, point))
    }
}

/// Runs the script with something injected at a point; returns what it said and the trace.
fn injected(folder: &Folder, scene: &Scene, point: &Point, what: &str) -> (PathBuf, String, String) {
    let (data, log) = (folder.path().join("run"), folder.path().join("trace"));
    copy(&scene.before, &data);
    let inject = format!("inject={}:{what}:when={}", point.call, point.n);
    let said = match &point.path {
        Some(path) => {
            let trace = format!("trace={}", point.call);
            script_on(
                &data,
                &log,
                &[&trace, &inject],
                Some(&format!("{}{path}", data.display())),
            )
        }
        None => script(&data, &log, &[&format!("trace={CALLS}"), &inject]),
    };
    (
        data,
        said,
        fs::read_to_string(&log).expect("strace has written it"),
    )
}

/// Runs through points by lot; each lot is one seed. A run says whether its point was reached: how many calls there are
/// depends a little on how long the machine took.
fn at_points(test: &str, run: impl Fn(&Folder, &Scene, &Point, usize) -> bool) {
    if !can_trace() {
        return;
    }
    let folder = Folder::new("calls");
    let scenes = scenes(&folder);
    seeds::each("chaos", test, 0..1, |seed| {
        let points = by_lot(&scenes, seed, POINTS);
        let (count, mut reached) = (points.len(), 0);
        for (n, (scene, point)) in points.into_iter().enumerate() {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&folder, scene, point, n)));
            match outcome {
                Ok(was_reached) => reached += usize::from(was_reached),
                Err(why) => {
                    seeds::say(&format!("{test}: at {point:?} of {}", scene.before.display()));
                    resume_unwind(why);
                }
            }
        }
        seeds::say(&format!("{test}: {reached} of {count} points"));
        assert!(reached * 10 >= count * 8, "most points are reached");
    });
}

#[test]
fn a_process_that_is_killed_at_any_call_to_the_disk_has_lost_and_doubled_nothing() {
    let test = "calls::a_process_that_is_killed_at_any_call_to_the_disk_has_lost_and_doubled_nothing";
    at_points(test, |folder, scene, point, _| {
        let (data, said, _) = injected(folder, scene, point, "signal=KILL");
        let mut known = scene.known.clone();
        hear(&mut known, &said);
        check(&data, &mut known);
        !said.contains("perfect")
    });
}

#[test]
fn a_call_to_the_disk_that_fails_stops_everything_and_loses_nothing() {
    let test = "calls::a_call_to_the_disk_that_fails_stops_everything_and_loses_nothing";
    at_points(test, |folder, scene, point, n| {
        let can_be_full = matches!(
            &*point.call,
            "fallocate" | "pwrite64" | "openat" | "mkdir" | "rename" | "fsync"
        );
        let error = if can_be_full && n % 2 == 1 {
            "ENOSPC"
        } else {
            "EIO"
        };
        let (data, said, trace) = injected(folder, scene, point, &format!("error={error}"));
        assert!(
            said.contains("\nperfect\n") || said.contains("gave up"),
            "{error}:\n{said}"
        );
        let mut known = scene.known.clone();
        hear(&mut known, &said);
        check(&data, &mut known);
        fail_stop(
            &trace,
            error == "ENOSPC" && matches!(&*point.call, "fallocate" | "openat"),
        )
    });
}

/// The thread that met the failure writes nothing more, unless the disk was full for a file that was to be made, which is
/// no failure. Whether anything has failed.
fn fail_stop(trace: &str, was_full: bool) -> bool {
    let mut lines = trace
        .lines()
        .map(|line| line.trim_start().split_once(' ').unwrap_or_default());
    let Some((thread, failed)) = lines.find(|(_, call)| call.contains("(INJECTED)")) else {
        return false;
    };
    let writes = ["pwrite64(", "fdatasync(", "fallocate("];
    let is_write = |call: &str| writes.iter().any(|write| call.trim_start().starts_with(write));
    let after = lines.find(|(other, call)| *other == thread && is_write(call));
    assert!(was_full || after.is_none(), "{failed}\nand then {after:?}");
    true
}
