//! A channel's folder of format 1, committed: every later version opens it and hands out what is in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use node::channel::file::FileChannel;
use node::component::channel::{Channel, Position, Want};
use tests::binary::workspace;
use tests::folder::Folder;

use crate::channel::{self, Id, Known};

/// What a segment of the folder is long.
const SEGMENT_BYTES: u64 = 1 << 20;

fn golden() -> PathBuf {
    workspace().join("proto/vectors/journal/channel_1")
}

/// Puts batches of five, up to this number.
async fn put(channel: &FileChannel, numbers: std::ops::RangeInclusive<u64>) {
    let all: Vec<Id> = numbers.map(|n| (1, n)).collect();
    for events in all.chunks(5) {
        channel::put(channel, events, false).await.expect("there is room");
    }
}

async fn take(channel: &FileChannel, events: usize, at: &'static str) {
    let taken = channel.take(Want::events(events), Duration::from_secs(5)).await;
    let (ticket, _) = taken.expect("it serves").expect("events are there");
    let position = Position {
        owner: "sink/1".into(),
        bytes: Bytes::from_static(at.as_bytes()),
    };
    channel
        .commit_take(ticket, Some(position))
        .await
        .expect("it serves");
}

#[tokio::test]
async fn the_golden_channel_opens_and_drains_for_ever() {
    let folder = Folder::new("golden");
    let data = folder.make("0");
    copy(&golden().join("millrace"), &data.join("millrace"));
    let channel = channel::open(folder.path(), 1)
        .await
        .expect("format 1 is read for ever");
    let mut known = Known {
        acked: (8..=60)
            .map(|n| (1, n))
            .filter(|(_, n)| !(11..=13).contains(n))
            .collect(),
        sources: [(1, 60)].into(),
        sinks: [(1, 3)].into(),
        ..Known::default()
    };
    known.check(&channel, 1, false).await.expect("all of it is read");
    assert_eq!(channel.held(), 50);
    put(&channel, 61..=65).await;
    // What was put last comes when it is read back.
    while channel.held() > 0 {
        take(&channel, 60, "4").await;
    }
}

/// Copies a folder of segments, and gives them their length again.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is ours");
    for entry in fs::read_dir(from).expect("committed") {
        let name = entry.expect("it can be listed").file_name();
        let path = to.join(&name);
        fs::write(&path, fs::read(from.join(&name)).expect("committed")).expect("the folder is ours");
        if name.to_string_lossy().starts_with("seg-") {
            let file = File::options().write(true).open(path).expect("just written");
            file.set_len(SEGMENT_BYTES).expect("the folder is ours");
        }
    }
}

#[tokio::test]
#[ignore = "writes the golden channel: only for a new format, beside the old one"]
async fn write_the_golden_channel() {
    let folder = Folder::new("golden-new");
    let channel = channel::open(folder.path(), 1).await.expect("an empty folder");
    put(&channel, 1..=20).await;
    take(&channel, 7, "1").await;
    drop(channel);
    let channel = channel::open(folder.path(), 1).await.expect("closed in order");
    put(&channel, 21..=40).await;
    // Out of order: three in the middle, those before stay.
    let wait = Duration::from_secs(5);
    let (held, _) = channel
        .take(Want::events(3), wait)
        .await
        .expect("it serves")
        .expect("events");
    take(&channel, 3, "2").await;
    channel.rollback(held);
    drop(channel);
    let channel = channel::open(folder.path(), 1).await.expect("closed in order");
    put(&channel, 41..=60).await;
    // A position alone moves on with a take of nothing that counts: what stays is the last one.
    let (held, _) = channel
        .take(Want::events(1), wait)
        .await
        .expect("it serves")
        .expect("events");
    let position = Position {
        owner: "sink/1".into(),
        bytes: Bytes::from_static(b"3"),
    };
    channel.rollback(held);
    let ticket = channel.reserve(Default::default()).await.expect("there is room");
    channel
        .commit_put(ticket, Default::default(), Some(position))
        .await
        .expect("it serves");
    // As a kill leaves it: the folder is copied while the channel is open.
    let to = golden().join("millrace");
    fs::create_dir_all(&to).expect("the workspace is writable");
    for entry in fs::read_dir(folder.path().join("0/millrace")).expect("it is there") {
        let entry = entry.expect("it can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "META" || name.starts_with("seg-") {
            let mut bytes = fs::read(entry.path()).expect("it is there");
            let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
            bytes.truncate(used.next_multiple_of(4_096));
            fs::write(to.join(name), bytes).expect("the workspace is writable");
        }
    }
}
