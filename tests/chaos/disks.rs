//! Disks that are full, and one that is gone.
//!
//! Full: puts are refused and nothing else is; the channel starts again, every event can be taken, and room that comes back
//! is used without a restart. Gone: the file system below a running node fails every call from one moment on; its channel
//! says so, and other pipelines flow on. Both on file systems of the test's own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use node::channel::file::FileChannel;
use node::component::channel::{Channel, ChannelError, Position, Want};
use tests::folder::Folder;
use tests::ledger::Ledger;
use tests::netcat::Client;
use tests::process::Node;
use tests::volume::{Kind, Volume};
use tests::wait::{self, LIVENESS};
use tests::{http, peer, port};

use crate::channel::{self, Id, Known};

/// A volume, or a loud word about why there is none.
fn volume(kind: Kind, bytes: u64) -> Option<Volume> {
    match Volume::make(kind, bytes) {
        Ok(volume) => Some(volume),
        Err(why) => {
            peer::impossible(&format!("{kind:?} of a test's own"), &why);
            None
        }
    }
}

/// Fills a file system to the last block.
fn fill(file: &Path) {
    let mut balloon = File::create(file).expect("there is room for a name");
    for piece in [1 << 20, 4_096] {
        let zeroes = vec![0; piece];
        loop {
            match balloon.write_all(&zeroes).and_then(|()| balloon.sync_data()) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{}: {error}", file.display()),
            }
        }
    }
}

/// Puts until there is no room any more.
async fn put_until_full(channel: &FileChannel, known: &mut Known, next: &mut u64) {
    for _ in 0..2_000 {
        let events: Vec<Id> = (*next..*next + 3).map(|n| (1, n)).collect();
        match channel::put(channel, &events, true).await {
            Ok(()) => {
                known.put(&events);
                *next += 3;
            }
            Err(ChannelError::Full) => return,
            Err(why) => panic!("a full disk is no failure: {why}"),
        }
    }
    panic!("the disk does not get full");
}

async fn take_one(channel: &FileChannel, known: &mut Known, at: u64) {
    let taken = channel
        .take(Want::events(1), LIVENESS)
        .await
        .expect("takes go on");
    let (ticket, batch) = taken.expect("events are there");
    let events: Vec<Id> = batch.iter().map(|e| channel::id_of(e.body(), true)).collect();
    let position = Position {
        owner: "sink/1".into(),
        bytes: Bytes::copy_from_slice(at.to_string().as_bytes()),
    };
    channel
        .commit_take(ticket, Some(position))
        .await
        .expect("takes go on");
    known.took(1, at, &events);
}

async fn fill_and_drain(data: &Path, balloon: &Path) {
    let (mut known, mut next, mut taken) = (Known::default(), 1, 0);
    let mut channel = channel::open(data, 1).await.expect("the disk is empty");
    fill(balloon);
    put_until_full(&channel, &mut known, &mut next).await;
    for _ in 0..3 {
        drop(channel);
        channel = channel::open(data, 1)
            .await
            .expect("a full disk keeps no channel from starting");
        known.check(&channel, 1, true).await.expect("all is there");
    }
    // More takes than fit the file in which they are noted: the two of them serve in turn.
    let mut refused = 0;
    while channel.held() > 0 {
        taken += 1;
        take_one(&channel, &mut known, taken).await;
        if taken % 2 == 1 {
            continue; // half as many puts as takes: room is used again as soon as there is some, and it is to get empty
        }
        if channel::put(&channel, &[(1, next)], true).await == Err(ChannelError::Full) {
            refused += 1;
        } else {
            known.put(&[(1, next)]);
            next += 1;
            assert!(taken < 5_000, "it never gets empty");
        }
    }
    assert!(refused > 0, "the disk was full");
    fs::remove_file(balloon).expect("it is there");
    let events: Vec<Id> = (next..next + 40).map(|n| (1, n)).collect();
    for events in events.chunks(3) {
        channel::put(&channel, events, true)
            .await
            .expect("room is used again, without a restart");
        known.put(events);
    }
    known.check(&channel, 1, true).await.expect("all is there");
}

fn full(kind: Kind, bytes: u64) {
    let Some(volume) = volume(kind, bytes) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let (data, balloon) = (volume.path().join("data"), volume.path().join("balloon"));
    runtime
        .expect("threads can be had")
        .block_on(fill_and_drain(&data, &balloon));
}

#[test]
fn a_full_ext4_refuses_puts_drains_and_is_used_again() {
    full(Kind::Ext4, 48 << 20);
}

#[test]
fn a_full_xfs_refuses_puts_drains_and_is_used_again() {
    full(Kind::Xfs, 320 << 20);
}

// --- Gone.

fn configuration(folder: &Folder, data: &Path, netcat: u16) -> String {
    let (spool, out) = (folder.make("in"), folder.make("out"));
    format!(
        "a1.sources = r1 r2
a1.channels = c1 c2
a1.sinks = k1 k2

a1.sources.r1.type = netcat
a1.sources.r1.bind = 127.0.0.1
a1.sources.r1.port = {netcat}
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1

a1.sources.r2.type = spooldir
a1.sources.r2.spoolDir = {}
a1.sources.r2.batchSize = 10
a1.sources.r2.pollDelay = 5
a1.sources.r2.channels = c2
a1.channels.c2.type = file
a1.channels.c2.dataDirs = {}
a1.channels.c2.minimumRequiredSpace = 0
a1.sinks.k2.type = file_roll
a1.sinks.k2.sink.directory = {}
a1.sinks.k2.sink.rollInterval = 0
a1.sinks.k2.channel = c2
",
        spool.display(),
        data.display(),
        out.display()
    )
}

fn spool(folder: &Folder, name: &str, lines: u64) {
    let text: String = (1..=lines).map(|n| format!("{name} {n}\n")).collect();
    let beside = folder.write("beside", &text);
    fs::rename(beside, folder.path().join("in").join(name)).expect("both are in one folder");
}

fn lines_in(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out).expect("made before");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    files.retain(|path| {
        !path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'))
    });
    files.sort();
    let text = |path: &std::path::PathBuf| fs::read_to_string(path).expect("the sink writes text");
    files
        .iter()
        .flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_disk_that_is_gone_costs_its_channel_only_and_nothing_for_good() {
    let Some(mut volume) = volume(Kind::Ext4, 160 << 20) else {
        return;
    };
    let folder = Folder::new("gone");
    let (netcat, admin) = (port::free(), port::free());
    let text = configuration(&folder, &volume.path().join("data"), netcat);
    let file = folder.write("node.properties", &text);
    let out = folder.path().join("out");
    let mut node = Node::agent("a1", &file).admin(admin).start();
    spool(&folder, "one", 500);
    wait::until_true("the first file", LIVENESS, || lines_in(&out).len() == 500);

    volume.cut();
    spool(&folder, "two", 500);
    node.wait_for_line("a word about it", LIVENESS, |line| {
        line.contains("ERROR") && line.contains("c2") && line.contains("Input/output error")
    });
    wait::until_true("the health page says so", LIVENESS, || {
        http::get(admin, "/readyz").is_ok_and(|page| page.status != 200 && page.body.contains("c2"))
    });
    // The other pipeline flows on: every line is answered.
    let lines: Vec<String> = (1..=50).map(|n| format!("line {n}")).collect();
    Client::open_when_up(netcat).send(&lines);
    assert_eq!(node.wait_for_events(50).len(), 50);
    assert!(node.is_running());
    node.stop();

    volume.remount();
    let mut node = Node::agent("a1", &file).admin(admin).start();
    let mut ledger = Ledger::new();
    ledger.sent("one", 1..=500);
    ledger.sent("two", 1..=500);
    wait::until_true("the second file", LIVENESS, || lines_in(&out).len() >= 1_000);
    wait::stays("that and no more", Duration::from_millis(100), || {
        lines_in(&out).len() == 1_000
    });
    assert_eq!(node.stop(), 0);
    for line in lines_in(&out) {
        match line
            .split_once(' ')
            .and_then(|(name, n)| Some((name, n.parse().ok()?)))
        {
            Some((name, number)) => ledger.saw(name, number),
            None => ledger.saw_corrupt(&line),
        }
    }
    ledger.assert_once_and_in_order();
}
