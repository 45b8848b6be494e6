//! What every channel promises. A channel's tests call [`suite!`] with a function that makes an attached channel
//! from capacity, transaction capacity (events) and keep-alive (seconds).

use crate::component::channel::{Channel, ChannelError, Claim, Position, Ticket, Want};
use bytes::Bytes;
use proto::event::Batch;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// Makes the suite's tests for one channel.
macro_rules! suite {
    ($make:expr) => {
        $crate::component::contract::channel::suite!(@each $make;
            committed_events_come_out_in_order_and_unchanged,
            a_take_returns_at_once_with_what_is_there,
            a_take_waits_only_when_nothing_is_there,
            a_rolled_back_lease_comes_first_again_and_in_order,
            leases_commit_and_roll_back_in_any_order,
            order_holds_over_overlapping_rollbacks_and_splits,
            a_permit_is_of_no_use_after_the_channel_is_detached,
            room_is_free_again_only_when_a_take_commits,
            a_full_channel_makes_the_putter_wait_until_there_is_room,
            waiting_putters_are_served_in_order_of_arrival,
            a_putter_that_goes_away_gives_its_place_and_its_room_back,
            a_cancelled_reservation_gives_its_room_back,
            a_smaller_commit_gives_the_difference_back,
            a_position_is_kept_with_its_commit_and_only_then,
            an_empty_batch_commits_its_position,
            takes_that_are_committed_at_once_keep_the_position_of_the_last_one_begun,
            attaching_anew_rolls_open_leases_back_and_fences_them,
            attaching_anew_frees_reservations_and_fences_them,
            a_detached_channel_refuses_and_keeps_what_it_has,
            a_take_is_limited_by_events_and_bytes_but_gives_at_least_one,
            many_threads_lose_nothing_and_double_nothing,
        );
    };
    (@each $make:expr; $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::component::contract::channel::$name(&$make).await;
            }
        )*
    };
}
pub(crate) use suite;

/// Capacity, transaction capacity, keep-alive in seconds.
type Make<'a> = &'a (dyn Fn(usize, usize, u64) -> Arc<dyn Channel> + Sync);

const SOON: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(30);

fn numbers(range: Range<u32>) -> Batch {
    let bodies: Vec<String> = range.map(|n| n.to_string()).collect();
    bodies.iter().map(String::as_bytes).collect()
}

fn read(batch: &Batch) -> Vec<u32> {
    batch
        .iter()
        .map(|e| String::from_utf8_lossy(e.body()).parse().unwrap())
        .collect()
}

async fn put(channel: &Arc<dyn Channel>, range: Range<u32>) -> Result<(), ChannelError> {
    let batch = numbers(range);
    let ticket = channel.reserve(Claim::of(&batch)).await?;
    channel.commit_put(ticket, batch, None).await
}

async fn take(channel: &Arc<dyn Channel>, events: usize) -> Option<(Ticket, Vec<u32>)> {
    let taken = channel.take(Want::events(events), SOON).await.unwrap();
    taken.map(|(ticket, batch)| (ticket, read(&batch)))
}

async fn drain(channel: &Arc<dyn Channel>) -> Vec<u32> {
    let mut all = Vec::new();
    while let Some((ticket, events)) = take(channel, 1_000).await {
        all.extend(events);
        channel.commit_take(ticket, None).await.unwrap();
    }
    channel.check().unwrap();
    all
}

pub async fn committed_events_come_out_in_order_and_unchanged(make: Make<'_>) {
    let channel = make(100, 100, 3);
    let mut edit = numbers(0..2).edit();
    edit.set_all("k", "v");
    let batch = edit.finish();
    let ticket = channel.reserve(Claim::of(&batch)).await.unwrap();
    channel.commit_put(ticket, batch, None).await.unwrap();
    put(&channel, 2..5).await.unwrap();
    let (ticket, batch) = channel.take(Want::events(10), SOON).await.unwrap().unwrap();
    assert_eq!(read(&batch), [0, 1, 2, 3, 4]);
    let headers: Vec<bool> = batch.iter().map(|e| e.header("k") == Some("v")).collect();
    assert_eq!(headers, [true, true, false, false, false]);
    channel.commit_take(ticket, None).await.unwrap();
    assert_eq!(channel.held(), 0);
}

pub async fn a_take_returns_at_once_with_what_is_there(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 0..3).await.unwrap();
    let taken = tokio::time::timeout(Duration::from_secs(10), channel.take(Want::events(100), LONG)).await;
    assert_eq!(read(&taken.unwrap().unwrap().unwrap().1), [0, 1, 2]);
}

pub async fn a_take_waits_only_when_nothing_is_there(make: Make<'_>) {
    let channel = make(100, 100, 3);
    assert!(take(&channel, 5).await.is_none());
    let waiting = channel.clone();
    let taken = tokio::spawn(async move { waiting.take(Want::events(5), LONG).await });
    put(&channel, 7..8).await.unwrap();
    let (_, batch) = tokio::time::timeout(LONG, taken)
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(read(&batch), [7]);
}

pub async fn a_rolled_back_lease_comes_first_again_and_in_order(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 0..10).await.unwrap();
    let (ticket, events) = take(&channel, 4).await.unwrap();
    assert_eq!(events, [0, 1, 2, 3]);
    assert_eq!((channel.queued(), channel.held()), (6, 10));
    assert_eq!(channel.rollback(ticket), 4);
    assert_eq!(channel.rollback(ticket), 0, "a ticket is good once");
    assert_eq!(drain(&channel).await, (0..10).collect::<Vec<_>>());
}

pub async fn leases_commit_and_roll_back_in_any_order(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 0..12).await.unwrap();
    let (a, _) = take(&channel, 3).await.unwrap();
    let (b, _) = take(&channel, 3).await.unwrap();
    let (c, _) = take(&channel, 3).await.unwrap();
    channel.rollback(c);
    channel.commit_take(b, None).await.unwrap();
    channel.rollback(a);
    assert_eq!(drain(&channel).await, [0, 1, 2, 6, 7, 8, 9, 10, 11]);
}

pub async fn order_holds_over_overlapping_rollbacks_and_splits(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 0..10).await.unwrap();
    put(&channel, 10..20).await.unwrap();
    let (first, _) = take(&channel, 10).await.unwrap();
    let (second, _) = take(&channel, 10).await.unwrap();
    channel.rollback(first);
    let (third, events) = take(&channel, 5).await.unwrap();
    assert_eq!(events, [0, 1, 2, 3, 4]);
    channel.rollback(second);
    channel.rollback(third);
    assert_eq!(drain(&channel).await, (0..20).collect::<Vec<_>>());
}

pub async fn a_permit_is_of_no_use_after_the_channel_is_detached(make: Make<'_>) {
    let channel = make(4, 4, 0);
    let generation = channel.attach();
    let ticket = channel
        .reserve(Claim {
            events: 1,
            bytes: 100,
        })
        .await
        .unwrap();
    channel.detach(generation);
    assert!(
        channel.commit_put(ticket, numbers(0..1), None).await.is_err(),
        "nobody would take it"
    );
    assert_eq!(channel.held(), 0);
    channel.attach();
    put(&channel, 0..4).await.unwrap();
}

pub async fn room_is_free_again_only_when_a_take_commits(make: Make<'_>) {
    let channel = make(4, 4, 0);
    put(&channel, 0..4).await.unwrap();
    let (ticket, _) = take(&channel, 2).await.unwrap();
    assert_eq!(put(&channel, 4..5).await, Err(ChannelError::Full));
    channel.commit_take(ticket, None).await.unwrap();
    put(&channel, 4..6).await.unwrap();
    assert_eq!(drain(&channel).await, [2, 3, 4, 5]);
}

pub async fn a_full_channel_makes_the_putter_wait_until_there_is_room(make: Make<'_>) {
    let channel = make(2, 2, 30);
    put(&channel, 0..2).await.unwrap();
    let putter = channel.clone();
    let waiting = tokio::spawn(async move { put(&putter, 2..4).await });
    tokio::task::yield_now().await;
    let (ticket, _) = take(&channel, 2).await.unwrap();
    channel.commit_take(ticket, None).await.unwrap();
    tokio::time::timeout(LONG, waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(drain(&channel).await, [2, 3]);
}

pub async fn waiting_putters_are_served_in_order_of_arrival(make: Make<'_>) {
    let channel = make(4, 4, 30);
    put(&channel, 0..4).await.unwrap();
    // Polled once each, in this order: so they queue in this order.
    let mut large = Box::pin(put(&channel, 10..14));
    assert!(futures_util::poll!(large.as_mut()).is_pending());
    let mut small = Box::pin(put(&channel, 20..21));
    assert!(futures_util::poll!(small.as_mut()).is_pending());
    let (ticket, _) = take(&channel, 2).await.unwrap();
    channel.commit_take(ticket, None).await.unwrap();
    assert!(
        futures_util::poll!(small.as_mut()).is_pending(),
        "a small one does not overtake a large one"
    );
    let (ticket, _) = take(&channel, 2).await.unwrap();
    channel.commit_take(ticket, None).await.unwrap();
    large.await.unwrap();
    let (ticket, first) = take(&channel, 4).await.unwrap();
    assert_eq!(first, [10, 11, 12, 13]);
    channel.commit_take(ticket, None).await.unwrap();
    small.await.unwrap();
    assert_eq!(drain(&channel).await, [20]);
}

pub async fn a_putter_that_goes_away_gives_its_place_and_its_room_back(make: Make<'_>) {
    let channel = make(2, 2, 30);
    put(&channel, 0..2).await.unwrap();
    {
        let mut gone = Box::pin(channel.reserve(Claim {
            events: 2,
            bytes: 200,
        }));
        assert!(futures_util::poll!(gone.as_mut()).is_pending());
        let mut granted_unseen = Box::pin(channel.reserve(Claim {
            events: 1,
            bytes: 100,
        }));
        assert!(futures_util::poll!(granted_unseen.as_mut()).is_pending());
        drop(gone);
        let (ticket, _) = take(&channel, 2).await.unwrap();
        channel.commit_take(ticket, None).await.unwrap();
    }
    channel.check().unwrap();
    tokio::time::timeout(LONG, put(&channel, 5..7))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(drain(&channel).await, [5, 6]);
}

pub async fn a_cancelled_reservation_gives_its_room_back(make: Make<'_>) {
    let channel = make(2, 2, 0);
    let ticket = channel
        .reserve(Claim {
            events: 2,
            bytes: 200,
        })
        .await
        .unwrap();
    assert_eq!(put(&channel, 0..1).await, Err(ChannelError::Full));
    channel.cancel(ticket);
    channel.cancel(ticket);
    put(&channel, 0..2).await.unwrap();
    channel.check().unwrap();
}

pub async fn a_smaller_commit_gives_the_difference_back(make: Make<'_>) {
    let channel = make(4, 4, 0);
    let ticket = channel
        .reserve(Claim {
            events: 4,
            bytes: 400,
        })
        .await
        .unwrap();
    channel.commit_put(ticket, numbers(0..1), None).await.unwrap();
    put(&channel, 1..4).await.unwrap();
    assert_eq!(drain(&channel).await, [0, 1, 2, 3]);
}

pub async fn a_position_is_kept_with_its_commit_and_only_then(make: Make<'_>) {
    let channel = make(10, 10, 0);
    let position = |text: &'static str| {
        Some(Position {
            owner: "source/r1".into(),
            bytes: Bytes::from_static(text.as_bytes()),
        })
    };
    let ticket = channel
        .reserve(Claim {
            events: 1,
            bytes: 100,
        })
        .await
        .unwrap();
    assert_eq!(channel.position("source/r1"), None);
    channel
        .commit_put(ticket, numbers(0..1), position("at 1"))
        .await
        .unwrap();
    assert_eq!(channel.position("source/r1").as_deref(), Some(&b"at 1"[..]));
    let (ticket, _) = take(&channel, 1).await.unwrap();
    let mine = Some(Position {
        owner: "sink/k1".into(),
        bytes: Bytes::from_static(b"file 3"),
    });
    channel.commit_take(ticket, mine).await.unwrap();
    assert_eq!(channel.position("sink/k1").as_deref(), Some(&b"file 3"[..]));
    let ticket = channel
        .reserve(Claim {
            events: 1,
            bytes: 100,
        })
        .await
        .unwrap();
    channel.attach();
    assert!(
        channel
            .commit_put(ticket, numbers(1..2), position("at 2"))
            .await
            .is_err()
    );
    assert_eq!(channel.position("source/r1").as_deref(), Some(&b"at 1"[..]));
}

pub async fn an_empty_batch_commits_its_position(make: Make<'_>) {
    let channel = make(10, 10, 0);
    let ticket = channel.reserve(Claim::default()).await.unwrap();
    let position = Some(Position {
        owner: "source/r1".into(),
        bytes: Bytes::from_static(b"p"),
    });
    channel
        .commit_put(ticket, Batch::default(), position)
        .await
        .unwrap();
    assert_eq!(channel.position("source/r1").as_deref(), Some(&b"p"[..]));
    assert!(take(&channel, 1).await.is_none());
}

pub async fn takes_that_are_committed_at_once_keep_the_position_of_the_last_one_begun(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 0..50).await.unwrap();
    let mut commits = Vec::new();
    for n in 0..5 {
        let (ticket, _) = take(&channel, 10).await.unwrap();
        let position = Position {
            owner: "sink/k1".into(),
            bytes: Bytes::from(format!("at {n}")),
        };
        let channel = channel.clone();
        commits.push(Box::pin(async move {
            channel.commit_take(ticket, Some(position)).await
        }));
    }
    let mut done = Vec::new();
    for commit in &mut commits {
        done.push(futures_util::poll!(commit.as_mut()));
    }
    // Waited for the other way round.
    for (commit, done) in commits.into_iter().zip(done).rev() {
        match done {
            std::task::Poll::Ready(committed) => committed.unwrap(),
            std::task::Poll::Pending => commit.await.unwrap(),
        }
    }
    assert_eq!(channel.position("sink/k1").as_deref(), Some(&b"at 4"[..]));
    assert_eq!(channel.held(), 0);
}

pub async fn attaching_anew_rolls_open_leases_back_and_fences_them(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 0..6).await.unwrap();
    let (before, _) = take(&channel, 4).await.unwrap();
    channel.attach();
    assert_eq!(channel.queued(), 6);
    assert_eq!(channel.commit_take(before, None).await, Err(ChannelError::Fenced));
    assert_eq!(channel.rollback(before), 0);
    assert_eq!(drain(&channel).await, [0, 1, 2, 3, 4, 5]);
}

pub async fn attaching_anew_frees_reservations_and_fences_them(make: Make<'_>) {
    let channel = make(4, 4, 0);
    let before = channel
        .reserve(Claim {
            events: 4,
            bytes: 400,
        })
        .await
        .unwrap();
    channel.attach();
    assert_eq!(
        channel.commit_put(before, numbers(0..4), None).await,
        Err(ChannelError::Fenced)
    );
    put(&channel, 10..14).await.unwrap();
    channel.cancel(before);
    channel.check().unwrap();
    assert_eq!(drain(&channel).await, [10, 11, 12, 13]);
}

pub async fn a_detached_channel_refuses_and_keeps_what_it_has(make: Make<'_>) {
    let channel = make(2, 2, 30);
    put(&channel, 0..2).await.unwrap();
    let mut waiting = Box::pin(put(&channel, 2..3));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let generation = channel.attach();
    channel.detach(generation - 1);
    assert!(
        futures_util::poll!(waiting.as_mut()).is_pending(),
        "an older actor's end has no effect"
    );
    channel.detach(generation);
    assert_eq!(waiting.await, Err(ChannelError::Unavailable));
    assert_eq!(put(&channel, 2..3).await, Err(ChannelError::Unavailable));
    assert!(channel.take(Want::events(1), SOON).await.is_err());
    assert_eq!(channel.held(), 2);
    channel.attach();
    assert_eq!(drain(&channel).await, [0, 1]);
}

pub async fn a_take_is_limited_by_events_and_bytes_but_gives_at_least_one(make: Make<'_>) {
    let channel = make(100, 100, 3);
    put(&channel, 100..110).await.unwrap(); // 3 bytes each
    let (a, batch) = channel
        .take(
            Want {
                events: 100,
                bytes: 7,
            },
            SOON,
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(batch.len(), 2);
    let (b, batch) = channel
        .take(
            Want {
                events: 100,
                bytes: 1,
            },
            SOON,
        )
        .await
        .unwrap()
        .unwrap();
    assert_eq!(batch.len(), 1);
    let (c, events) = take(&channel, 3).await.unwrap();
    assert_eq!(events, [103, 104, 105]);
    for ticket in [a, b, c] {
        channel.commit_take(ticket, None).await.unwrap();
    }
    assert_eq!(drain(&channel).await, [106, 107, 108, 109]);
}

pub async fn many_threads_lose_nothing_and_double_nothing(make: Make<'_>) {
    const PUTTERS: u32 = 4;
    const EACH: u32 = 2_000;
    let channel = make(64, 16, 30);
    let putters: Vec<_> = (0..PUTTERS)
        .map(|p| {
            let channel = channel.clone();
            tokio::spawn(async move {
                let mut at = p * EACH;
                while at < (p + 1) * EACH {
                    let next = (at + 1 + at % 16).min((p + 1) * EACH);
                    put(&channel, at..next).await.unwrap();
                    at = next;
                }
            })
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let takers: Vec<_> = (0..2)
        .map(|t| {
            let (channel, done) = (channel.clone(), done.clone());
            tokio::spawn(async move {
                let (mut mine, mut round) = (Vec::new(), 0);
                loop {
                    let Some((ticket, events)) = take(&channel, 1 + (round + t) % 16).await else {
                        if done.load(Relaxed) && channel.held() == 0 {
                            return mine;
                        }
                        continue;
                    };
                    round += 1;
                    if round % 5 == 0 {
                        channel.rollback(ticket);
                    } else {
                        mine.extend(events);
                        channel.commit_take(ticket, None).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for putter in putters {
        putter.await.unwrap();
    }
    done.store(true, Relaxed);
    let mut all = Vec::new();
    for taker in takers {
        all.extend(taker.await.unwrap());
    }
    all.sort_unstable();
    assert_eq!(all, (0..PUTTERS * EACH).collect::<Vec<_>>());
    channel.check().unwrap();
    assert_eq!(channel.held(), 0);
}
