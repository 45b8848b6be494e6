//! The power is cut, really as far as the file system can tell: what is acknowledged is there afterwards, once and in order.
//!
//! Writers and takers use a file channel on an ext4 and an XFS of the test's own. When a number of commits was acknowledged
//! that the seed says, while others are on their way, the file system is shut down without a flush of its log; it is
//! unmounted, mounted and opened again, and what is there is held against what is known. Some cuts come while the channel
//! opens. A seed is a history of [`CUTS_EACH`] cuts.
//!
//! What is acknowledged after the cut has begun is in doubt: a sync that is under way while the file system is shut down may
//! report success and not have happened (seen with ext4 and XFS of Linux 6.18). Nobody hears such an answer of a machine
//! without power.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use node::channel::file::FileChannel;
use node::component::channel::{Channel, Position, Want};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tests::volume::{Kind, Volume};
use tests::{peer, seeds};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::channel::{self, Id, Known};

/// Cuts of one history.
const CUTS_EACH: u64 = 10;

/// Commits of one user between two cuts, at most.
const COMMITS_MAX: u64 = 40;

/// What the users of a channel share.
#[derive(Clone)]
struct Shared {
    channel: Arc<FileChannel>,
    known: Arc<Mutex<Known>>,
    /// Acknowledged commits before the cut.
    acks: watch::Sender<u64>,
}

impl Shared {
    fn known<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An acknowledged commit; false if the power is being cut.
    fn acknowledged(&self, book: impl FnOnce(&mut Known)) -> bool {
        let heard = self.known(|known| {
            if !known.is_cut {
                book(known);
            }
            !known.is_cut
        });
        self.acks.send_modify(|acks| *acks += u64::from(heard));
        heard
    }
}

async fn puts(shared: Shared, putter: u32, mut next: u64, seed: u64) -> (u32, u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..COMMITS_MAX {
        let count = rng.random_range(1..40);
        let events: Vec<Id> = (next..next + count).map(|n| (putter, n)).collect();
        next += count;
        shared.known(|known| known.putting(&events));
        let put = channel::put(&shared.channel, &events, false).await;
        if put.is_err() || !shared.acknowledged(|known| known.put(&events)) {
            break;
        }
    }
    (putter, next)
}

async fn takes(shared: Shared, sink: u32, mut at: u64, seed: u64) -> (u32, u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    for _ in 0..COMMITS_MAX {
        let want = Want::events(rng.random_range(1..60));
        let Ok(taken) = shared.channel.take(want, Duration::from_millis(20)).await else {
            break;
        };
        let Some((ticket, batch)) = taken else { continue };
        if rng.random::<f64>() < 0.1 {
            shared.channel.rollback(ticket);
            continue;
        }
        let events: Vec<Id> = batch.iter().map(|e| channel::id_of(e.body(), false)).collect();
        at += 1;
        shared.known(|known| known.taking(sink, at, &events));
        let position = Position {
            owner: format!("sink/{sink}").into(),
            bytes: Bytes::copy_from_slice(at.to_string().as_bytes()),
        };
        let took = shared.channel.commit_take(ticket, Some(position)).await;
        if took.is_err() || !shared.acknowledged(|known| known.took(sink, at, &events)) {
            break;
        }
    }
    (sink, at)
}

/// The users between two cuts: so many of each, and where each goes on.
#[derive(Default)]
struct Users {
    putters: Vec<u64>,
    sinks: Vec<u64>,
}

/// Lets them work until the power is cut.
async fn work_until_the_cut(volume: &mut Volume, shared: &Shared, users: &mut Users, rng: &mut SmallRng) {
    let mut putting = JoinSet::new();
    for (putter, next) in users.putters.iter().enumerate() {
        putting.spawn(puts(shared.clone(), putter as u32, *next, rng.random()));
    }
    let mut taking = JoinSet::new();
    for (sink, at) in users.sinks.iter().enumerate() {
        taking.spawn(takes(shared.clone(), sink as u32, *at, rng.random()));
    }
    let target = rng.random_range(0..users.putters.len() as u64 * COMMITS_MAX);
    let mut acks = shared.acks.subscribe();
    let reached = acks.wait_for(|acks| *acks >= target);
    // Or all have done what they had to do: then there is nothing on its way.
    let _ = tokio::time::timeout(Duration::from_millis(500), reached).await;
    shared.known(|known| known.is_cut = true);
    volume.cut();
    while let Some(ended) = putting.join_next().await {
        let (putter, next) = ended.expect("a putter does not panic");
        users.putters[putter as usize] = next;
    }
    while let Some(ended) = taking.join_next().await {
        let (sink, at) = ended.expect("a taker does not panic");
        users.sinks[sink as usize] = at;
    }
}

fn history(volume: &mut Volume, seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let data = volume.path().join(format!("history-{seed}"));
    let folders = if rng.random::<f64>() < 0.3 { 2 } else { 1 };
    let mut users = Users {
        putters: vec![1; rng.random_range(1..6)],
        sinks: vec![0; rng.random_range(0..3)],
    };
    volume.restore(); // the history before this one may have failed
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads can be had");
    runtime.block_on(async {
        let mut known = Known::default();
        for _ in 0..CUTS_EACH {
            known = one_cut(volume, &data, folders, known, &mut users, &mut rng).await;
        }
        let channel = channel::open(&data, folders).await.expect("the disk is whole");
        known
            .check(&channel, folders, false)
            .await
            .expect("the disk is whole");
    });
    drop(runtime);
    std::fs::remove_dir_all(&data).expect("the volume is whole");
}

async fn one_cut(
    volume: &mut Volume,
    data: &Path,
    folders: usize,
    mut known: Known,
    users: &mut Users,
    rng: &mut SmallRng,
) -> Known {
    if rng.random::<f64>() < 0.2 {
        // While it opens: somewhere in its first milliseconds.
        let channel = channel::built(data, folders);
        channel.attach();
        if rng.random() {
            tokio::task::yield_now().await;
        }
        volume.cut();
        drop(channel);
        volume.remount();
        return known;
    }
    let channel = channel::open(data, folders).await.expect("the disk is whole");
    known
        .check(&channel, folders, false)
        .await
        .expect("the disk is whole");
    let shared = Shared {
        channel: Arc::new(channel),
        known: Arc::new(Mutex::new(known)),
        acks: watch::Sender::new(0),
    };
    work_until_the_cut(volume, &shared, users, rng).await;
    let Shared { channel, known, .. } = shared;
    drop(channel);
    volume.remount();
    Arc::into_inner(known)
        .expect("all users have ended")
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

fn cuts(test: &str, kind: Kind, bytes: u64) {
    let mut volume = match Volume::make(kind, bytes) {
        Ok(volume) => volume,
        Err(why) => return peer::impossible(&format!("{kind:?} whose power can be cut"), &why),
    };
    seeds::each("chaos", test, 0..15, |seed| history(&mut volume, seed));
}

#[test]
fn an_ext4_that_loses_its_power_keeps_what_was_acknowledged_and_nothing_else() {
    cuts(
        "power::an_ext4_that_loses_its_power_keeps_what_was_acknowledged_and_nothing_else",
        Kind::Ext4,
        128 << 20,
    );
}

#[test]
fn an_xfs_that_loses_its_power_keeps_what_was_acknowledged_and_nothing_else() {
    cuts(
        "power::an_xfs_that_loses_its_power_keeps_what_was_acknowledged_and_nothing_else",
        Kind::Xfs,
        320 << 20,
    );
}
