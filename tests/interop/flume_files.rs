//! Files that change hands: what Flume has read of them is known to us and the reverse, and what the one has written
//! the other reads.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::process::Node;
use tests::wait::{self, LIVENESS};
use tests::{http, port};

use crate::events::{NUMBER, assert_rolled_from, body, lines};
use crate::flume::{Flume, STOPPED, Version};
use crate::{container, hop};

/// Bodies of so many numbers, one a line.
fn numbered(numbers: RangeInclusive<u64>) -> String {
    numbers.map(|number| body(number) + "\n").collect()
}

/// taildir → memory → file_roll, for either side; what comes is in `rolled`.
fn tailer(folder: &Folder, rolled: &str) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = {}/app\\\\.log.*
a1.sources.r1.positionFile = {}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = header_and_text
",
        folder.make("log").display(),
        folder.at("positions.json"),
        folder.make(rolled).display()
    )
}

/// Who reads next must come with just these numbers.
struct Relay {
    flume: Flume,
    folder: Folder,
}

impl Relay {
    fn start() -> Option<Self> {
        let flume = Flume::find(Version::V1_11)?;
        let folder = Folder::new("relay");
        Some(Self { flume, folder })
    }

    #[track_caller]
    fn flume_reads(&self, numbers: RangeInclusive<u64>) {
        let rolled = format!("rolled-{}", numbers.start());
        let mut peer = self
            .flume
            .agent(&self.folder, "k1", &tailer(&self.folder, &rolled));
        self.check(&rolled, numbers.clone());
        assert_eq!(peer.process.stop(), STOPPED);
        self.check(&rolled, numbers);
    }

    #[track_caller]
    fn we_read(&self, numbers: RangeInclusive<u64>) {
        let rolled = format!("rolled-{}", numbers.start());
        let file = self
            .folder
            .write("node.properties", &tailer(&self.folder, &rolled));
        let mut node = Node::agent("a1", file).start();
        self.check(&rolled, numbers.clone());
        assert_eq!(node.stop(), 0);
        self.check(&rolled, numbers);
    }

    #[track_caller]
    fn check(&self, rolled: &str, numbers: RangeInclusive<u64>) {
        assert_rolled_from(&self.folder.path().join(rolled), numbers, |_| String::new());
    }
}

#[test]
fn a_growing_file_is_followed_by_flume_then_by_us_then_by_flume() {
    let Some(relay) = Relay::start() else { return };
    relay.folder.make("log");
    relay.folder.write("log/app.log", &lines(400));
    relay.flume_reads(1..=400);
    relay.folder.append("log/app.log", &numbered(401..=800));
    relay.we_read(401..=800);
    relay.folder.append("log/app.log", &numbered(801..=1000));
    relay.flume_reads(801..=1000);
}

#[test]
fn a_growing_file_that_was_rotated_after_flume_is_not_read_again_by_us() {
    let Some(relay) = Relay::start() else { return };
    let log = relay.folder.make("log");
    relay.folder.write("log/app.log", &lines(400));
    relay.flume_reads(1..=400);
    relay.folder.append("log/app.log", &numbered(401..=500));
    fs::rename(log.join("app.log"), log.join("app.log.1")).expect("the file is there");
    relay.folder.write("log/app.log", &numbered(501..=600));
    relay.we_read(401..=600);
}

/// spooldir → memory, without anybody who reads on: after so many events the source waits. For either side.
fn spooler(folder: &Folder, capacity: u64) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sources.r1.type = spooldir
a1.sources.r1.spoolDir = {}
a1.sources.r1.batchSize = 50
a1.sources.r1.deserializer.maxLineLength = 100000
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = {capacity}
a1.channels.c1.transactionCapacity = 100
a1.channels.c1.keep-alive = 0
",
        folder.make("spool").display()
    )
}

/// What [`spooler`] needs to empty its channel.
fn roller(folder: &Folder, rolled: &str) -> String {
    format!(
        "a1.sinks = k1
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = header_and_text
",
        folder.make(rolled).display()
    )
}

/// What the first one reads of a file, and what there is in it.
const FIRST: u64 = 100;
const ALL: u64 = 700;

fn assert_completed(folder: &Folder) {
    let spool = folder.path().join("spool");
    wait::until_true("the file is completed", LIVENESS, || {
        spool.join("app.log.COMPLETED").exists() && !spool.join("app.log").exists()
    });
}

#[test]
fn a_spooled_file_that_flume_has_begun_is_finished_by_us() {
    let Some(relay) = Relay::start() else { return };
    let folder = &relay.folder;
    folder.make("spool");
    folder.write("spool/app.log", &lines(ALL));
    let mut peer = relay.flume.agent(folder, "r1", &spooler(folder, FIRST));
    let full = "The channel is full";
    peer.process
        .wait_for_line(full, LIVENESS, |line| line.contains(full));
    assert_eq!(peer.process.stop(), STOPPED);

    let text = spooler(folder, 1000) + &roller(folder, "rolled");
    let mut node = Node::agent("a1", folder.write("node.properties", &text)).start();
    relay.check("rolled", FIRST + 1..=ALL);
    assert_completed(folder);
    assert_eq!(node.stop(), 0);
    relay.check("rolled", FIRST + 1..=ALL);
}

#[test]
fn a_spooled_file_that_we_have_begun_is_finished_by_flume() {
    let Some(relay) = Relay::start() else { return };
    let folder = &relay.folder;
    folder.make("spool");
    folder.write("spool/app.log", &lines(ALL));
    let metrics = port::free();
    let file = folder.write("node.properties", &spooler(folder, FIRST));
    let mut node = Node::agent("a1", file).monitoring(metrics).start();
    http::metrics_until(metrics, "the channel is full", |page| {
        page["CHANNEL.c1"]["ChannelSize"] == FIRST.to_string().as_str()
            && page["SOURCE.r1"]["ChannelWriteFail"] != "0"
    });
    assert_eq!(node.stop(), 75, "events are left in a memory channel");

    let text = spooler(folder, 1000) + &roller(folder, "rolled");
    let mut peer = relay.flume.agent(folder, "k1", &text);
    relay.check("rolled", FIRST + 1..=ALL);
    assert_completed(folder);
    assert_eq!(peer.process.stop(), STOPPED);
    relay.check("rolled", FIRST + 1..=ALL);
}

/// avro_event containers of the one are what the other reads with `deserializer = AVRO`, event by event.
fn container_writer(folder: &Folder, codec: &str) -> String {
    format!(
        "a1.channels = c1
a1.sinks = k1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = avro_event
a1.sinks.k1.sink.serializer.compressionCodec = {codec}
",
        folder.make("containers").display()
    )
}

fn container_reader(folder: &Folder) -> String {
    format!(
        "a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = spooldir
a1.sources.r1.spoolDir = {}
a1.sources.r1.deserializer = AVRO
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.sinks.k1.type = file_roll
a1.sinks.k1.channel = c1
a1.sinks.k1.sink.directory = {}
a1.sinks.k1.sink.rollInterval = 0
a1.sinks.k1.sink.serializer = text
a1.sinks.k1.sink.serializer.appendNewline = false
",
        folder.at("containers"),
        folder.make("datums").display()
    )
}

/// Waits until a writer has all events in its container.
#[track_caller]
fn wait_for_container(folder: &Folder) {
    let containers = folder.path().join("containers");
    wait::until_true("all events are in containers", LIVENESS, || {
        let files = files(&containers);
        let objects = files.iter().filter_map(|file| container::objects(file));
        objects.sum::<i64>() == i64::try_from(hop::EVENTS).unwrap_or(0)
    });
}

/// Waits for all events as bare datums, and checks each.
#[track_caller]
fn assert_datums(folder: &Folder) {
    let datums = folder.path().join("datums");
    let expected = usize::try_from(hop::EVENTS).unwrap_or(0);
    let events = wait::until("all events as datums", 2 * LIVENESS, || {
        let events = container::events(&files(&datums).concat());
        events.filter(|events| events.len() >= expected)
    });
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=hop::EVENTS);
    for (headers, text) in events {
        let [(key, number)] = headers.as_slice() else {
            panic!("one header, found {headers:?}");
        };
        match number.parse() {
            Ok(number) if key == NUMBER && text == body(number).as_bytes() => ledger.saw("r1", number),
            _ => ledger.saw_corrupt(&format!("{headers:?}")),
        }
    }
    ledger.assert_once_and_in_order();
}

/// The contents of the files that are not hidden.
fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let visible = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let files = visible.map(|entry| entry.path()).filter(|path| path.is_file());
    files.filter_map(|path| fs::read(path).ok()).collect()
}

#[track_caller]
fn check_containers_of_flume(codec: &str) {
    let Some(relay) = Relay::start() else { return };
    let folder = &relay.folder;
    let text = container_writer(folder, codec) + &hop::reader(folder);
    let mut peer = relay.flume.agent(folder, "k1", &text);
    wait_for_container(folder);
    assert_eq!(peer.process.stop(), STOPPED);
    let file = folder.write("node.properties", &container_reader(folder));
    let mut node = Node::agent("a1", file).start();
    assert_datums(folder);
    assert_eq!(node.stop(), 0);
    assert_datums(folder);
}

#[track_caller]
fn check_containers_of_ours(codec: &str) {
    let Some(relay) = Relay::start() else { return };
    let folder = &relay.folder;
    let from = port::free();
    let text = container_writer(folder, codec) + &hop::entry(from);
    let mut node = Node::agent("a1", folder.write("node.properties", &text)).start();
    hop::feed(from);
    wait_for_container(folder);
    assert_eq!(node.stop(), 0);
    let mut peer = relay.flume.agent(folder, "k1", &container_reader(folder));
    assert_datums(folder);
    assert_eq!(peer.process.stop(), STOPPED);
    assert_datums(folder);
}

#[test]
fn containers_of_flume_are_read_by_us() {
    check_containers_of_flume("null");
}

#[test]
fn compressed_containers_of_flume_are_read_by_us() {
    check_containers_of_flume("snappy");
}

#[test]
fn containers_of_ours_are_read_by_flume() {
    check_containers_of_ours("null");
}

#[test]
fn compressed_containers_of_ours_are_read_by_flume() {
    check_containers_of_ours("zstandard");
}
