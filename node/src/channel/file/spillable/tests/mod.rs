//! The contract with all in memory, all on the disk and half and half; what spills and when; what a stop saves and a kill
//! loses. Order under random hands is in `order.rs`.

mod order;

use super::*;
use crate::channel::file::WINDOW_BYTES;
use crate::channel::file::core::Phase;
use crate::channel::file::tests::{Owned, drain, numbers, put, take, wait_open};
use crate::component::channel::{ChannelError, Claim, Position, Want};
use crate::component::contract::{ManualClock, TempDir, build_context, channel as contract};
use crate::component::registry::Types;
use bytes::Bytes;
use std::path::Path;

/// Small sizes in a folder; `pairs` take the place of what stands here.
fn config(folder: &Path, pairs: &[(&str, &str)]) -> Config {
    let mut keys = Keys::of("channel c1 (spillablememory)", &all(folder, pairs));
    let config = Config::read(&mut keys, None);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    config
}

fn all<'a>(folder: &'a Path, pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("dataDirs", folder.to_str().unwrap()),
        ("minimumRequiredSpace", "0"),
        ("maxFileSize", "1048576"),
        ("overflowTimeout", "0"),
        ("transactionCapacity", "1000"),
        ("overflowCapacity", "100000"),
        ("memoryCapacity", "10"),
    ];
    all.retain(|(key, _)| !pairs.iter().any(|(k, _)| k == key));
    all.extend_from_slice(pairs);
    all
}

fn open(folder: &Path, pairs: &[(&str, &str)]) -> FileChannel {
    opened(config(folder, pairs))
}

fn opened(config: Config) -> FileChannel {
    let channel = config.build(&"c1".into()).unwrap();
    channel.attach();
    wait_open(&channel);
    channel
}

/// The folder as a kill at this moment would leave it.
fn as_killed(folder: &Path) -> TempDir {
    loop {
        let copy = TempDir::new();
        let mut names = Vec::new();
        // All at one moment: not while the thread makes or removes a file.
        if copy_all(folder, copy.path(), &mut names).is_ok() && names == all_names(folder) {
            return copy;
        }
    }
}

fn copy_all(from: &Path, to: &Path, names: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            std::fs::create_dir_all(&to)?;
            copy_all(&path, &to, names)?;
        } else {
            std::fs::copy(&path, to)?;
            names.push(path);
        }
    }
    names.sort();
    Ok(())
}

fn all_names(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut names = Vec::new();
    for path in std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if path.is_dir() {
            names.extend(all_names(&path));
        } else {
            names.push(path);
        }
    }
    names.sort();
    names
}

/// Events in memory alone.
fn in_memory(channel: &FileChannel) -> usize {
    channel.inner().room.events()
}

fn contract_channel(memory: usize, overflow: usize, transaction: usize, keep_alive: u64) -> Arc<dyn Channel> {
    let folder = TempDir::new();
    // Smaller than the properties allow: the suite asks for channels of two events.
    let config = Config {
        memory_capacity: memory,
        overflow_capacity: overflow,
        transaction_capacity: transaction,
        overflow_timeout: Duration::from_secs(keep_alive),
        ..config(folder.path(), &[])
    };
    Arc::new(Owned {
        channel: opened(config),
        _folder: folder,
    })
}

mod all_in_memory {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        contract_channel(capacity, 0, transaction, keep_alive)
    });
}

mod all_on_the_disk {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        contract_channel(0, capacity, transaction, keep_alive)
    });
}

mod half_and_half {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        contract_channel(capacity / 2, capacity - capacity / 2, transaction, keep_alive)
    });
}

mod little_in_memory {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        contract_channel(1, capacity - 1, transaction, keep_alive)
    });
}

fn range(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

#[tokio::test]
async fn what_has_no_room_in_memory_spills_and_comes_out_behind_it() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[("memoryCapacity", "3")]);
    put(&channel, numbers(0..3, 0), None).await;
    assert_eq!(in_memory(&channel), 3);
    put(&channel, numbers(3..6, 0), None).await;
    assert_eq!((channel.memory_events(), channel.held()), (3, 6));
    // Flume ends the take between memory and disk; one take has both here.
    let (ticket, events) = take(&channel, 10).await.unwrap();
    assert_eq!(events, range(0..6));
    channel.commit_take(ticket, None).await.unwrap();
    assert_eq!((in_memory(&channel), channel.held()), (0, 0));
    channel.check().unwrap();
}

#[tokio::test]
async fn after_a_spill_memory_is_used_again_when_the_disk_is_read() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), None).await;
    put(&channel, numbers(10..20, 0), None).await;
    assert_eq!(drain(&channel).await, range(0..20));
    put(&channel, numbers(20..25, 0), None).await;
    assert_eq!(in_memory(&channel), 5);
    assert_eq!(drain(&channel).await, range(20..25));
}

#[tokio::test]
async fn puts_stay_behind_what_waits_on_the_disk_though_memory_is_free() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), None).await;
    // More than the window keeps in memory besides.
    let mut next = 10;
    while channel.inner().on_disk == 0 {
        put(&channel, numbers(next..next + 100, 10_000), None).await;
        next += 100;
    }
    let (ticket, events) = take(&channel, 10).await.unwrap();
    assert_eq!(events, range(0..10));
    channel.commit_take(ticket, None).await.unwrap();
    put(&channel, numbers(next..next + 5, 0), None).await;
    assert_eq!(in_memory(&channel), 0, "memory is free, but the disk is not read");
    let bound = WINDOW_BYTES + (2 << 20);
    assert!(channel.pinned_bytes() < bound, "{}", channel.pinned_bytes());
    assert_eq!(drain(&channel).await, range(10..next + 5));
}

#[tokio::test(start_paused = true)]
async fn a_put_waits_for_memory_once_and_the_next_ones_spill_at_once() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[("overflowTimeout", "3")]);
    let now = tokio::time::Instant::now;
    let reserve = |events| {
        channel.reserve(Claim {
            events,
            bytes: events * 100,
        })
    };
    let memory = reserve(10).await.unwrap();
    let begun = now();
    let spilled = reserve(2).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(3));
    let begun = now();
    channel.cancel(reserve(2).await.unwrap());
    channel.cancel(spilled);
    assert_eq!(begun.elapsed(), Duration::ZERO, "it is spilling");
    channel.cancel(memory);
    channel.check().unwrap();
    let begun = now();
    let larger_than_memory = reserve(11).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "waiting is of no use");
    channel.cancel(larger_than_memory);
}

#[tokio::test(start_paused = true)]
async fn a_put_waits_again_when_enough_of_memory_is_free() {
    let folder = TempDir::new();
    let pairs = [("overflowTimeout", "3"), ("overflowDeactivationThreshold", "50")];
    let channel = open(folder.path(), &pairs);
    put(&channel, numbers(0..10, 0), None).await;
    put(&channel, numbers(10..11, 0), None).await;
    let waited = |events: usize| {
        let channel = &channel;
        async move {
            let begun = tokio::time::Instant::now();
            let claim = Claim {
                events,
                bytes: events * 100,
            };
            channel.cancel(channel.reserve(claim).await.unwrap());
            begun.elapsed()
        }
    };
    for (taken, events, seconds) in [(4, 5, 0), (1, 6, 3)] {
        let (ticket, _) = take(&channel, taken).await.unwrap();
        channel.commit_take(ticket, None).await.unwrap();
        let waits = waited(events).await;
        assert_eq!(
            waits,
            Duration::from_secs(seconds),
            "{events} events beside those that are left"
        );
    }
}

#[tokio::test]
async fn a_kill_loses_what_is_in_memory_and_nothing_that_has_spilled() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), None).await;
    put(&channel, numbers(10..30, 0), None).await;
    let killed = as_killed(folder.path());
    let after = open(killed.path(), &[]);
    assert_eq!(drain(&after).await, range(10..30));
    assert_eq!(drain(&channel).await, range(0..30));
}

#[tokio::test]
async fn a_stop_saves_what_is_in_memory_and_it_comes_back_in_its_place() {
    let folder = TempDir::new();
    let mut next = 0;
    let mut put_next = async |channel: &FileChannel, events: u32| {
        put(channel, numbers(next..next + events, 100), None).await;
        next += events;
    };
    let mut oldest = 0;
    for round in 0..4 {
        let channel = open(folder.path(), &[]);
        put_next(&channel, 8).await;
        put_next(&channel, 20).await;
        // Some of it is leased when the end comes.
        let mut events = Vec::new();
        while events.len() < 9 {
            let (ticket, more) = take(&channel, 9 - events.len()).await.unwrap();
            events.extend(more);
            channel.commit_take(ticket, None).await.unwrap();
        }
        assert_eq!(events, range(oldest..oldest + 9), "round {round}");
        oldest += 9;
        let _leased = take(&channel, 5).await.unwrap();
        assert_eq!(channel.close(), 0);
    }
    let channel = open(folder.path(), &[]);
    assert_eq!(drain(&channel).await, range(oldest..4 * 28));
    put_next(&channel, 5).await;
    assert_eq!(in_memory(&channel), 5);
    drop(channel);
    assert_eq!(drain(&open(folder.path(), &[])).await, range(4 * 28..4 * 28 + 5));
}

#[tokio::test]
async fn more_than_a_commit_and_a_segment_hold_is_saved() {
    let folder = TempDir::new();
    let large = [("memoryCapacity", "2000"), ("byteCapacity", "0")];
    let channel = open(folder.path(), &large);
    // 15 MB.
    for n in 0..15 {
        put(&channel, numbers(n * 100..n * 100 + 100, 10_000), None).await;
    }
    assert_eq!(in_memory(&channel), 1_500);
    assert_eq!(channel.close(), 0);
    drop(channel);
    // Memory is smaller now: that is no matter for what is on the disk.
    let channel = open(folder.path(), &[]);
    assert_eq!((in_memory(&channel), channel.held()), (0, 1_500));
    assert_eq!(drain(&channel).await, range(0..1_500));
}

#[tokio::test]
async fn what_was_saved_is_there_for_a_file_channel_too() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), None).await;
    put(&channel, numbers(10..20, 0), None).await;
    drop(channel);
    let file = config(folder.path(), &[]).file;
    let channel = file.build(&"c1".into()).unwrap();
    channel.attach();
    wait_open(&channel);
    assert_eq!(drain(&channel).await, range(0..20));
}

#[tokio::test]
async fn what_cannot_be_saved_is_counted() {
    let folder = TempDir::new();
    let space = i64::MAX.to_string();
    let channel = open(folder.path(), &[("minimumRequiredSpace", &space)]);
    put(&channel, numbers(0..7, 0), None).await;
    assert_eq!(channel.volatile(), 0, "nobody waits for the sinks");
    // A file where the folder should be.
    std::fs::write(folder.path().join(SAVED), b"").unwrap();
    assert_eq!(channel.close(), 7);
}

#[tokio::test]
async fn without_overflow_it_is_a_memory_channel_and_touches_no_folder() {
    let folder = TempDir::new();
    let data = folder.path().join("data");
    let channel = open(&data, &[("overflowCapacity", "0")]);
    assert_eq!(channel.limits().transaction_capacity, Some(10));
    put(&channel, numbers(0..10, 0), None).await;
    let claim = |events, bytes| Claim { events, bytes };
    assert_eq!(channel.reserve(claim(1, 100)).await, Err(ChannelError::Full));
    assert!(matches!(
        channel.reserve(claim(11, 1_100)).await,
        Err(ChannelError::TooLarge {
            found: 11,
            allowed: 10
        })
    ));
    assert_eq!(channel.volatile(), 10, "the sinks get them before the end");
    assert_eq!(drain(&channel).await, range(0..10));
    put(&channel, numbers(0..3, 0), None).await;
    assert_eq!(channel.close(), 3);
    assert!(!data.exists());
}

#[tokio::test]
async fn without_overflow_what_is_on_the_disk_from_before_comes_first() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), None).await;
    put(&channel, numbers(10..20, 0), None).await;
    drop(channel);
    let channel = open(
        folder.path(),
        &[("overflowCapacity", "0"), ("memoryCapacity", "50")],
    );
    put(&channel, numbers(20..30, 0), None).await;
    assert_eq!(in_memory(&channel), 10);
    assert_eq!(drain(&channel).await, range(0..30));
}

#[tokio::test]
async fn events_are_counted_with_their_average_size_at_least() {
    let folder = TempDir::new();
    // 8 slots of 500 bytes.
    let pairs = [("byteCapacity", "5000"), ("memoryCapacity", "100")];
    let channel = open(folder.path(), &pairs);
    put(&channel, numbers(0..8, 0), None).await;
    put(&channel, numbers(8..9, 0), None).await;
    assert_eq!((in_memory(&channel), channel.held()), (8, 9));
    assert_eq!(drain(&channel).await, range(0..9));
    put(&channel, numbers(9..13, 900), None).await;
    assert_eq!(in_memory(&channel), 4, "4,000 bytes");
    put(&channel, numbers(13..14, 0), None).await;
    assert_eq!(in_memory(&channel), 4);
    let channel = open(
        &folder.path().join("b"),
        &[
            ("byteCapacity", "5000"),
            ("overflowCapacity", "0"),
            ("memoryCapacity", "100"),
        ],
    );
    put(&channel, numbers(0..8, 0), None).await;
    let refused = channel
        .reserve(Claim {
            events: 1,
            bytes: 100,
        })
        .await;
    assert_eq!(
        refused,
        Err(ChannelError::BytesFull {
            capacity_bytes: 4_000
        })
    );
    let never = channel
        .reserve(Claim {
            events: 1,
            bytes: 4_100,
        })
        .await;
    assert!(
        matches!(never, Err(ChannelError::NeverFits { allowed: 4_000, .. })),
        "{never:?}"
    );
}

#[tokio::test]
async fn positions_live_as_long_as_the_process_unless_all_is_on_the_disk() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[("memoryCapacity", "0")]);
    assert!(channel.limits().durable);
    put(&channel, numbers(0..2, 0), Some("at 2")).await;
    drop(channel);
    let channel = open(folder.path(), &[("memoryCapacity", "0")]);
    assert_eq!(channel.position("source/r1").as_deref(), Some(&b"at 2"[..]));
    drop(channel);
    // Those of before would be older than what was in memory.
    let channel = open(folder.path(), &[]);
    assert!(!channel.limits().durable);
    assert_eq!(channel.position("source/r1"), None);
    put(&channel, numbers(2..30, 0), Some("at 30")).await;
    assert_eq!(channel.position("source/r1").as_deref(), Some(&b"at 30"[..]));
    // What is on the disk comes when it is read, and the rest behind it.
    let mut events = Vec::new();
    while events.len() < 30 {
        let (ticket, more) = take(&channel, 100).await.unwrap();
        events.extend(more);
        let position = Position {
            owner: "sink/k1".into(),
            bytes: Bytes::from_static(b"file 1"),
        };
        channel.commit_take(ticket, Some(position)).await.unwrap();
    }
    assert_eq!(events, range(0..30));
    assert_eq!(channel.position("sink/k1").as_deref(), Some(&b"file 1"[..]));
    drop(channel);
    let channel = open(folder.path(), &[("memoryCapacity", "0")]);
    assert_eq!(channel.position("source/r1"), None);
    assert_eq!(channel.position("sink/k1"), None);
}

#[tokio::test]
async fn a_log_that_fails_takes_nothing_of_memory_along() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), Some("at 10")).await;
    put(&channel, numbers(10..20, 0), None).await;
    let _leased = take(&channel, 3).await.unwrap();
    channel.core.ended(Err("the disk is gone".to_owned()));
    assert!(channel.check().is_err());
    let claim = Claim {
        events: 1,
        bytes: 100,
    };
    assert!(matches!(
        channel.reserve(claim).await,
        Err(ChannelError::Storage(_))
    ));
    // The thread itself is well; it goes with the first channel, which nobody asks any more.
    let memory = channel.inner().memory();
    let events: usize = memory.iter().map(|piece| piece.claim.events).sum();
    assert_eq!(events, 10);
    assert_eq!(channel.position("source/r1").as_deref(), Some(&b"at 10"[..]));
}

#[tokio::test]
async fn a_log_that_is_opened_anew_is_in_order_with_memory() {
    use crate::channel::file::store::{Request, TakeRequest};
    use proto::journal::Range;
    let folder = TempDir::new();
    let channel = open(folder.path(), &[("memoryCapacity", "30")]);
    put(&channel, numbers(0..10, 0), None).await;
    put(&channel, numbers(10..50, 0), None).await; // larger than memory
    put(&channel, numbers(50..60, 0), None).await;
    assert_eq!(in_memory(&channel), 20);
    // The thread panics at its next commit, as it would on a bug.
    let (done, answer) = tokio::sync::oneshot::channel();
    let broken = TakeRequest {
        events: vec![Range { start: 9, end: 3 }],
        claim: Claim { events: 1, bytes: 0 },
        position: None,
        done,
    };
    channel.inner().requests[0].push_back(Request::Take(broken));
    channel.core.work.notify_one();
    assert!(answer.await.is_err(), "it went with the panic");
    let mut phase = channel.core.phase.subscribe();
    let _ = phase.wait_for(|phase| matches!(phase, Phase::Failed(_))).await;
    drop(phase);
    channel.attach();
    wait_open(&channel);
    assert_eq!(in_memory(&channel), 20);
    assert_eq!(drain(&channel).await, range(0..60));
}

#[tokio::test]
async fn a_reload_changes_sizes_and_keeps_what_is_there() {
    let folder = TempDir::new();
    let channel = open(folder.path(), &[]);
    put(&channel, numbers(0..10, 0), None).await;
    let ctx = build_context("c1", ManualClock::at(0), Types::default());
    let reload = |pairs: &[(&str, &str)]| {
        let mut keys = Keys::of("channel c1 (spillablememory)", &all(folder.path(), pairs));
        channel.reconfigure(&mut keys, &ctx);
        keys.has_errors().then(|| format!("{:?}", keys.finish()))
    };
    assert_eq!(reload(&[("memoryCapacity", "20")]), None);
    put(&channel, numbers(10..20, 0), None).await;
    assert_eq!(in_memory(&channel), 20);
    assert_eq!(reload(&[("memoryCapacity", "5")]), None);
    put(&channel, numbers(20..21, 0), None).await;
    assert_eq!(in_memory(&channel), 20);
    channel.check().unwrap();
    let small = [("memoryCapacity", "5"), ("overflowCapacity", "0")];
    assert_eq!(reload(&small), None);
    assert_eq!(
        channel
            .reserve(Claim {
                events: 1,
                bytes: 100
            })
            .await,
        Err(ChannelError::Full)
    );
    assert_eq!(drain(&channel).await, range(0..21));
    let refused = reload(&[("memoryCapacity", "0")]).unwrap();
    assert!(refused.contains("restart the agent"), "{refused}");
    assert_eq!(channel.limits().capacity, 5, "nothing has changed");
}

#[tokio::test]
async fn a_reload_may_bring_the_overflow() {
    let folder = TempDir::new();
    let data = folder.path().join("data");
    let channel = open(&data, &[("overflowCapacity", "0")]);
    put(&channel, numbers(0..10, 0), None).await;
    let ctx = build_context("c1", ManualClock::at(0), Types::default());
    let mut keys = Keys::of("channel c1 (spillablememory)", &all(&data, &[]));
    channel.reconfigure(&mut keys, &ctx);
    assert!(!keys.has_errors());
    wait_open(&channel);
    put(&channel, numbers(10..20, 0), None).await;
    assert_eq!((in_memory(&channel), channel.held()), (10, 20));
    assert_eq!(channel.close(), 0);
    drop(channel);
    assert_eq!(drain(&open(&data, &[])).await, range(0..20));
}

#[test]
fn settings_are_read_as_flume_reads_them() {
    let read = |pairs: &[(&str, &str)]| {
        let mut keys = Keys::of("channel c1 (spillablememory)", pairs);
        let config = Config::read(&mut keys, Some(1_000_000));
        (
            config,
            keys.finish().iter().map(ToString::to_string).collect::<Vec<_>>(),
        )
    };
    let (config, findings) = read(&[]);
    assert_eq!(findings, [""; 0]);
    assert_eq!(
        (config.memory_capacity, config.overflow_capacity),
        (10_000, 100_000_000)
    );
    assert_eq!(config.limits().capacity, 100_010_000);
    assert_eq!(config.room().bytes, 640_000);
    let (config, findings) = read(&[("memoryCapacity", "0"), ("overflowCapacity", "0")]);
    assert_eq!(config.overflow_capacity, 100_000_000);
    assert!(
        findings[0].contains("100000000 is used, as in Flume"),
        "{findings:?}"
    );
    let (config, findings) = read(&[("memoryCapacity", "-1"), ("avgEventSize", "x")]);
    assert_eq!((config.memory_capacity, config.avg_event_size), (10_000, 500));
    assert_eq!(findings.len(), 2, "{findings:?}");
    let (_, findings) = read(&[("overflowCapacity", "1000")]);
    assert!(findings[0].contains("allowed are 1 to 1000"), "{findings:?}");
    let (_, findings) = read(&[("capacity", "5"), ("keep-alive", "1")]);
    assert!(
        findings.iter().all(|f| f.contains("has no effect")),
        "{findings:?}"
    );
    assert_eq!(findings.len(), 2);
    assert_eq!(
        read(&[("byteCapacity", "0")]).0.room().bytes,
        i32::MAX as usize * 500
    );
}

#[tokio::test]
async fn a_waiting_taker_gets_what_was_behind_a_put_on_its_way() {
    let folder = TempDir::new();
    let channel = Arc::new(open(folder.path(), &[("memoryCapacity", "100")]));
    let batch = numbers(0..5, 0);
    let large = numbers(100..300, 0); // larger than memory
    let (first, second) = (
        channel.reserve(Claim::of(&large)).await.unwrap(),
        channel.reserve(Claim::of(&batch)).await.unwrap(),
    );
    // The thread is kept from its work by the lock until both are begun.
    let mut on_its_way = channel.commit_put(first, large, None);
    let _ = futures_util::poll!(on_its_way.as_mut());
    channel.commit_put(second, batch, None).await.unwrap();
    let wait = Duration::from_secs(30);
    let (ticket, events) = channel.take(Want::events(1_000), wait).await.unwrap().unwrap();
    let first: Vec<u8> = events.iter().next().unwrap().body().to_vec();
    assert_eq!(first, b"100:", "not those behind");
    channel.commit_take(ticket, None).await.unwrap();
    on_its_way.await.unwrap();
    drain(&channel).await;
    assert_eq!(channel.held(), 0);
}
