//! Files that change hands: what Flume has read of them is known to us, and the reverse.

use std::fs;
use std::ops::RangeInclusive;

use tests::folder::Folder;
use tests::process::Node;
use tests::wait::{self, LIVENESS};
use tests::{http, port};

use crate::events::{assert_rolled_from, body, lines};
use crate::flume::{Flume, STOPPED, Version};

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
