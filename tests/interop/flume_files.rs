//! Files that change hands: what Flume has read of them is known to us, and the reverse.

use std::fs;

use tests::folder::Folder;
use tests::process::Node;

use crate::events::{assert_rolled_from, body, lines};
use crate::flume::{Flume, STOPPED, Version};

/// Bodies of so many numbers, one a line.
fn numbered(numbers: std::ops::RangeInclusive<u64>) -> String {
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
    fn flume_reads(&self, numbers: std::ops::RangeInclusive<u64>) {
        let rolled = format!("rolled-{}", numbers.start());
        let mut peer = self
            .flume
            .agent(&self.folder, "k1", &tailer(&self.folder, &rolled));
        self.check(&rolled, numbers.clone());
        assert_eq!(peer.process.stop(), STOPPED);
        self.check(&rolled, numbers);
    }

    #[track_caller]
    fn we_read(&self, numbers: std::ops::RangeInclusive<u64>) {
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
    fn check(&self, rolled: &str, numbers: std::ops::RangeInclusive<u64>) {
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
