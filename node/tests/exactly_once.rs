//! From files to files: whatever panics in between, each line comes once and in order.
//!
//! A spool directory is read into a memory channel, and from there written into rolling files, as text and as Avro.
//! Panics are thrown at random fault points of every component: a source that has put and not noted it, a sink that
//! has written and not committed, a channel whose actor dies under open leases. In the end every line of every file
//! must be there once, in the order of its file, and every spooled file must have its new name.
//!
//! The node's clock runs ahead by a minute at every panic, so that restart intensity does not park what crashes on
//! purpose; files roll with it. Replay: `MILLRACE_SEED=<seed> cargo test -p node --test exactly_once`.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::BytesMut;
use node::component::context::{Clock, SystemClock};
use node::component::fault::{Faults, Stage};
use node::{Node, Outcome};
use proto::avro::container::{ContainerReader, Objects};
use proto::avro::decode_event;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PANICS: u64 = 40;
const FILES: usize = 40;
const LINES: usize = 500;

/// Panics at one in `ODDS` of the points that are reached.
const ODDS: u32 = 40;

#[derive(Debug)]
struct FastClock {
    system: SystemClock,
    panics: Arc<AtomicU64>,
}

impl Clock for FastClock {
    fn unix_ms(&self) -> u64 {
        self.system.unix_ms()
    }

    fn now(&self) -> cluster::time::Time {
        self.system.now() + Duration::from_secs(61 * self.panics.load(Relaxed))
    }
}

fn faults(seed: u64, panics: &Arc<AtomicU64>) -> Faults {
    let (rng, panics) = (Mutex::new(SmallRng::seed_from_u64(seed)), panics.clone());
    Faults::new(move |stage, name| {
        // Ticks come by the thousand and say nothing about files.
        let ticks = [
            Stage::SinkTick,
            Stage::SourceTick,
            Stage::ProcessorTick,
            Stage::EndpointTick,
            Stage::SupervisorTick,
        ];
        let odds = if stage == Stage::ChannelTick {
            10 * ODDS
        } else {
            ODDS
        };
        let strikes = !ticks.contains(&stage) && rng.lock().unwrap().random_range(0..odds) == 0;
        if strikes
            && panics
                .fetch_update(Relaxed, Relaxed, |n| (n < PANICS).then_some(n + 1))
                .is_ok()
        {
            panic!("on purpose: {stage:?} of {name}");
        }
    })
}

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("millrace-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("in")).unwrap();
        fs::create_dir_all(path.join("out")).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn configuration(folder: &Path, serializer: &str) -> String {
    let folder = folder.display();
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = spooldir
a1.sources.r1.spoolDir = {folder}/in
a1.sources.r1.batchSize = 20
a1.sources.r1.pollDelay = 10
a1.sources.r1.maxBackoff = 10
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 300
a1.channels.c1.keep-alive = 1
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = {folder}/out
a1.sinks.k1.sink.batchSize = 15
a1.sinks.k1.sink.serializer = {serializer}
a1.sinks.k1.sink.sync = {}
a1.sinks.k1.channel = c1
",
        // Leases are kept and committed together.
        if serializer == "TEXT" { "always" } else { "channel" },
    )
}

/// All lines, file after file in the order of their names.
fn delivered(out: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(out).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'));
    // A sink that is built anew has a new time in its files' names, and counts from 1 again.
    files.sort_by_key(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let (time, count) = name.split_once('-').unwrap();
        (time.parse::<u64>().unwrap(), count.parse::<u64>().unwrap())
    });
    let lines = |path: PathBuf| -> Vec<String> {
        let bytes = fs::read(path).unwrap();
        match bytes.starts_with(b"Obj") {
            true => events(&bytes),
            false => String::from_utf8(bytes)
                .unwrap()
                .lines()
                .map(str::to_owned)
                .collect(),
        }
    };
    files.into_iter().flat_map(lines).collect()
}

fn events(file: &[u8]) -> Vec<String> {
    let (mut reader, mut buf) = (ContainerReader::default(), BytesMut::from(file));
    let mut bodies = Vec::new();
    while let Some(block) = reader.next_block(&mut buf).unwrap() {
        let mut objects = Objects::new(reader.header().unwrap(), block).unwrap();
        while let Some(range) = objects.next_object().unwrap() {
            let batch = decode_event(&objects.block().data.slice(range), Default::default()).unwrap();
            let event = batch.get(0).unwrap();
            bodies.push(String::from_utf8(event.body().to_vec()).unwrap());
        }
    }
    bodies
}

fn run(serializer: &str) {
    let seed = std::env::var("MILLRACE_SEED").map_or(20_261_120, |s| s.parse().unwrap());
    println!("MILLRACE_SEED={seed}");
    std::panic::set_hook(Box::new(|info| {
        let text = info.payload_as_str().unwrap_or("?");
        if !text.starts_with("on purpose") {
            eprintln!("{info}");
        }
    }));
    let folder = Folder::new(&format!("once-{serializer}"));
    let expected: BTreeMap<String, Vec<String>> = (0..FILES)
        .map(|file| {
            let lines = (0..LINES).map(|line| format!("f{file} {line}")).collect();
            (format!("f{file}"), lines)
        })
        .collect();
    for (name, lines) in &expected {
        fs::write(folder.0.join("in").join(name), lines.join("\n") + "\n").unwrap();
    }
    let panics = Arc::new(AtomicU64::new(0));
    let file = folder.0.join("node.properties");
    fs::write(&file, configuration(&folder.0, serializer)).unwrap();
    let node = Node::builder()
        .agent("a1")
        .file(&file)
        .seed(seed)
        .worker_threads(2)
        .faults(faults(seed, &panics))
        .clock(Arc::new(FastClock {
            system: SystemClock::default(),
            panics: panics.clone(),
        }))
        .start()
        .unwrap();
    let done = || {
        let waiting = fs::read_dir(folder.0.join("in")).unwrap();
        let waits = |path: &Path| path.is_file() && !path.to_str().unwrap().ends_with(".COMPLETED");
        waiting
            .filter(|entry| waits(&entry.as_ref().unwrap().path()))
            .count()
            == 0
    };
    let limit = Instant::now() + Duration::from_secs(120);
    while !done() {
        let state = node.board().not_ready();
        assert!(
            Instant::now() < limit,
            "files are left after two minutes: {state:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop();
    assert_eq!(node.wait(), Outcome::Stopped { left: 0 });
    println!("{} panics", panics.load(Relaxed));
    assert!(panics.load(Relaxed) > PANICS / 2, "the test has tested something");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in delivered(&folder.0.join("out")) {
        let file = line.split(' ').next().unwrap().to_owned();
        found.entry(file).or_default().push(line);
    }
    for (name, lines) in &expected {
        let found = found.get(name).map_or(&[][..], Vec::as_slice);
        assert_eq!(found, lines, "{name}");
    }
}

#[test]
fn lines_come_once_and_in_order_whatever_panics() {
    run("TEXT");
}

#[test]
fn so_do_they_as_avro_events() {
    run("AVRO_EVENT");
}
