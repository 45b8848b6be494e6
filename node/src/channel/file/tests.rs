//! The contract, and what is a file channel's own: restarts, backlogs beyond memory, several folders, folders of others.

use super::*;
use crate::component::contract::{TempDir, channel as contract};
use crate::component::keys::Keys;

/// A channel whose folders go with it.
pub(super) struct Owned {
    pub channel: FileChannel,
    pub _folder: TempDir,
}

pub(super) fn config(folder: &TempDir, pairs: &[(&str, &str)]) -> Config {
    let dir = folder.path().join("data").to_str().unwrap().to_owned();
    let mut all = vec![
        ("dataDirs", dir.as_str()),
        ("minimumRequiredSpace", "0"),
        ("maxFileSize", "1048576"),
    ];
    all.retain(|(key, _)| !pairs.iter().any(|(k, _)| k == key));
    all.extend_from_slice(pairs);
    let mut keys = Keys::of("channel c1 (file)", &all);
    let config = Config::read(&mut keys);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    config
}

pub(super) fn open(folder: &TempDir, pairs: &[(&str, &str)]) -> FileChannel {
    let channel = config(folder, pairs).build(&"c1".into()).unwrap();
    channel.attach();
    wait_open(&channel);
    channel
}

pub(super) fn wait_open(channel: &FileChannel) {
    let mut phase = channel.core.phase.subscribe();
    while *phase.borrow_and_update() == Phase::Closed {
        std::thread::yield_now();
    }
    assert_eq!(*phase.borrow(), Phase::Open);
}

macro_rules! delegate {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $ty),*) -> $out { self.channel.$name($($arg),*) })*
    };
}

impl Channel for Owned {
    delegate! {
        limits() -> ChannelLimits;
        cancel(ticket: Ticket) -> ();
        rollback(ticket: Ticket) -> usize;
        queued() -> usize;
        held() -> usize;
        pinned_bytes() -> usize;
        attach() -> u64;
        detach(generation: u64) -> ();
        volatile() -> usize;
        close() -> usize;
        check() -> Result<(), String>;
    }
    fn reserve(&self, claim: Claim) -> BoxFuture<'_, Result<Ticket, ChannelError>> {
        self.channel.reserve(claim)
    }
    fn commit_put(
        &self,
        t: Ticket,
        b: Batch,
        p: Option<Position>,
    ) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.channel.commit_put(t, b, p)
    }
    fn take(
        &self,
        want: Want,
        wait: Duration,
    ) -> BoxFuture<'_, Result<Option<(Ticket, Batch)>, ChannelError>> {
        self.channel.take(want, wait)
    }
    fn commit_take(&self, t: Ticket, p: Option<Position>) -> BoxFuture<'_, Result<(), ChannelError>> {
        self.channel.commit_take(t, p)
    }
    fn position(&self, owner: &str) -> Option<Bytes> {
        self.channel.position(owner)
    }
}

fn contract_channel(dirs: usize, capacity: usize, transaction: usize, keep_alive: u64) -> Arc<dyn Channel> {
    let folder = TempDir::new();
    let names: Vec<String> = (0..dirs)
        .map(|n| folder.path().join(n.to_string()).to_str().unwrap().to_owned())
        .collect();
    let channel = open(
        &folder,
        &[
            ("dataDirs", &names.join(",")),
            ("capacity", &capacity.to_string()),
            ("transactionCapacity", &transaction.to_string()),
            ("keep-alive", &keep_alive.to_string()),
        ],
    );
    Arc::new(Owned {
        channel,
        _folder: folder,
    })
}

mod one_folder {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        contract_channel(1, capacity, transaction, keep_alive)
    });
}

mod three_folders {
    use super::*;
    contract::suite!(|capacity: usize, transaction: usize, keep_alive: u64| {
        contract_channel(3, capacity, transaction, keep_alive)
    });
}

pub(super) fn numbers(range: std::ops::Range<u32>, pad: usize) -> Batch {
    let bodies: Vec<Vec<u8>> = range
        .map(|n| {
            let mut body = format!("{n}:").into_bytes();
            body.resize(body.len() + pad, b'x');
            body
        })
        .collect();
    bodies.iter().map(Vec::as_slice).collect()
}

pub(super) async fn put(channel: &FileChannel, batch: Batch, position: Option<&'static str>) {
    let ticket = channel.reserve(Claim::of(&batch)).await.unwrap();
    let position = position.map(|text| Position {
        owner: "source/r1".into(),
        bytes: Bytes::from_static(text.as_bytes()),
    });
    channel.commit_put(ticket, batch, position).await.unwrap();
}

pub(super) async fn take(channel: &FileChannel, events: usize) -> Option<(Ticket, Vec<u32>)> {
    let taken = channel
        .take(Want::events(events), Duration::from_millis(200))
        .await
        .unwrap();
    taken.map(|(ticket, batch)| {
        let number = |body: &[u8]| {
            String::from_utf8_lossy(body)
                .split(':')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        (ticket, batch.iter().map(|e| number(e.body())).collect())
    })
}

pub(super) async fn drain(channel: &FileChannel) -> Vec<u32> {
    let mut all = Vec::new();
    while let Some((ticket, events)) = take(channel, 500).await {
        all.extend(events);
        channel.commit_take(ticket, None).await.unwrap();
    }
    channel.check().unwrap();
    all
}

#[tokio::test]
async fn events_takes_and_positions_survive_the_channel() {
    for dirs in [1, 2] {
        let folder = TempDir::new();
        let names: Vec<String> = (0..dirs)
            .map(|n| folder.path().join(n.to_string()).to_str().unwrap().to_owned())
            .collect();
        let dirs = [("dataDirs", names.join(","))];
        let pairs: Vec<(&str, &str)> = dirs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let channel = open(&folder, &pairs);
        for n in 0..10 {
            put(
                &channel,
                numbers(n * 10..n * 10 + 10, 5),
                (n == 9).then_some("at 100"),
            )
            .await;
        }
        let (a, _) = take(&channel, 5).await.unwrap();
        let (b, events) = take(&channel, 5).await.unwrap();
        assert_eq!(events, [5, 6, 7, 8, 9]);
        let position = Position {
            owner: "sink/k1".into(),
            bytes: Bytes::from_static(b"file 1"),
        };
        channel.commit_take(b, Some(position)).await.unwrap();
        let _ = a; // taken, not committed
        drop(channel);
        let channel = open(&folder, &pairs);
        assert_eq!(channel.held(), 95);
        assert_eq!(channel.position("source/r1").as_deref(), Some(&b"at 100"[..]));
        assert_eq!(channel.position("sink/k1").as_deref(), Some(&b"file 1"[..]));
        let expected: Vec<u32> = (0..5).chain(10..100).collect();
        assert_eq!(drain(&channel).await, expected);
        put(&channel, numbers(100..101, 0), None).await;
        assert_eq!(drain(&channel).await, [100]);
    }
}

#[tokio::test]
async fn a_backlog_beyond_the_window_comes_out_in_order_and_stays_out_of_memory() {
    for dirs in ["a", "a,b"] {
        let folder = TempDir::new();
        let names: Vec<String> = dirs
            .split(',')
            .map(|d| folder.path().join(d).to_str().unwrap().to_owned())
            .collect();
        let names = names.join(",");
        let pairs = [("dataDirs", names.as_str()), ("capacity", "1000000")];
        let channel = open(&folder, &pairs);
        let mut next = 0;
        // 40 MB, five times the window.
        while next < 40_000 {
            put(&channel, numbers(next..next + 500, 1_000), None).await;
            next += 500;
        }
        assert!(
            channel.pinned_bytes() < 2 * WINDOW_BYTES,
            "{}",
            channel.pinned_bytes()
        );
        let (ticket, first) = take(&channel, 300).await.unwrap();
        channel.rollback(ticket);
        assert_eq!(first, (0..300).collect::<Vec<_>>());
        let mut seen = Vec::new();
        while seen.len() < 20_000 {
            let (ticket, events) = take(&channel, 700).await.unwrap();
            seen.extend(events);
            channel.commit_take(ticket, None).await.unwrap();
        }
        put(&channel, numbers(next..next + 10, 1_000), None).await;
        drop(channel);
        let channel = open(&folder, &pairs);
        seen.extend(drain(&channel).await);
        assert_eq!(seen, (0..next + 10).collect::<Vec<_>>());
        assert_eq!((channel.held(), channel.pinned_bytes()), (0, 0));
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused_by_name_and_untouched() {
    let folder = TempDir::new();
    let first = open(&folder, &[]);
    let second = config(&folder, &[]).build(&"c2".into()).unwrap();
    second.attach();
    let refused = second
        .reserve(Claim {
            events: 1,
            bytes: 100,
        })
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("already locked"), "{refused}");
    assert!(second.check().is_err());
    drop(first);
    second.attach();
    wait_open(&second);
    put(&second, numbers(0..1, 0), None).await;
}

#[test]
fn folders_of_others_are_named_before_anything_starts() {
    let folder = TempDir::new();
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("log-1"), b"x").unwrap();
    let told = |folder: &TempDir| {
        let mut keys = Keys::of("channel c1 (file)", &[]);
        config(folder, &[]).look(&mut keys);
        keys.finish()
            .iter()
            .map(|f| f.message.clone())
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert!(
        told(&folder).contains("file channel of Flume's") && told(&folder).contains("(1 data files)"),
        "{}",
        told(&folder)
    );
    let name = data.display();
    let command = format!("node channel import {name} --into {name}");
    assert!(told(&folder).ends_with(&command), "{}", told(&folder));
    // An import that was interrupted has moved them, and is to be ended.
    std::fs::create_dir_all(data.join("flume-importing")).unwrap();
    std::fs::rename(data.join("log-1"), data.join("flume-importing/log-1")).unwrap();
    assert!(told(&folder).ends_with(&command), "{}", told(&folder));
    std::fs::rename(data.join("flume-importing"), data.join("flume-imported")).unwrap();
    assert_eq!(told(&folder), "");
    std::fs::create_dir_all(data.join("millrace")).unwrap();
    let mut meta = proto::journal::MetaPage::default().encode();
    meta[8] = 9;
    std::fs::write(data.join("millrace/META"), &meta).unwrap();
    assert!(
        told(&folder).contains("format 9 is newer than 1"),
        "{}",
        told(&folder)
    );
    std::fs::write(data.join("millrace/META"), vec![b'?'; 4_096]).unwrap();
    assert!(
        told(&folder).contains("not a file of a Millrace channel"),
        "{}",
        told(&folder)
    );
}

#[tokio::test]
async fn a_write_that_fails_stops_everything_and_the_log_is_opened_anew() {
    let folder = TempDir::new();
    let channel = open(&folder, &[]);
    put(&channel, numbers(0..10, 0), None).await;
    // The thread panics at its next commit, as it would on a bug.
    let batch = numbers(10..20, 0);
    let ticket = channel.reserve(Claim::of(&batch)).await.unwrap();
    {
        let mut inner = channel.inner();
        let (done, _) = oneshot::channel();
        let claim = Claim { events: 1, bytes: 0 };
        let broken = TakeRequest {
            events: vec![Range { start: 9, end: 3 }],
            claim,
            position: None,
            done,
        };
        inner.requests[0].push_back(Request::Take(broken));
    }
    let failed = channel.commit_put(ticket, batch, None).await.unwrap_err();
    assert!(matches!(failed, ChannelError::Storage(_)), "{failed}");
    let mut phase = channel.core.phase.subscribe();
    let _ = phase.wait_for(|phase| matches!(phase, Phase::Failed(_))).await;
    drop(phase);
    assert!(channel.check().is_err());
    channel.attach();
    wait_open(&channel);
    let left = drain(&channel).await;
    assert!(
        left == (0..10).collect::<Vec<_>>() || left == (0..20).collect::<Vec<_>>(),
        "{left:?}"
    );
}

/// Panics of the thread in one run of the test below.
const PANICS: u64 = 60;

fn at(owner: &str, number: u64) -> Option<Position> {
    Some(Position {
        owner: owner.into(),
        bytes: Bytes::copy_from_slice(number.to_string().as_bytes()),
    })
}

fn number_at(channel: &FileChannel, owner: &str) -> u64 {
    let bytes = channel.position(owner);
    bytes.map_or(0, |bytes| String::from_utf8_lossy(&bytes).parse().unwrap())
}

/// A request on which the thread panics, as on a bug.
fn break_thread(channel: &FileChannel) {
    let (done, _) = oneshot::channel();
    let broken = TakeRequest {
        events: vec![Range { start: 9, end: 3 }],
        claim: Claim { events: 1, bytes: 0 },
        position: None,
        done,
    };
    channel.inner().requests[0].push_back(Request::Take(broken));
    channel.core.work.notify_one();
}

/// Puts and takes are under way when the thread panics, each at another place between them. Who waits hears of it; and
/// what is there after the channel was opened anew is what the positions say, which nobody was told otherwise.
#[tokio::test]
async fn panics_of_the_thread_lose_and_double_nothing() {
    let folder = TempDir::new();
    let channel = open(&folder, &[]);
    let (mut put, mut taken) = (0_u64, 0_u64);
    for round in 0..PANICS {
        let claim = |batch: &Batch| Claim::of(batch);
        let batches = [0, 1, 2].map(|n| {
            let first = (put + n * 5) as u32;
            numbers(first..first + 5, (round * 37 % 900) as usize)
        });
        let mut tickets = Vec::new();
        for batch in &batches {
            tickets.push(channel.reserve(claim(batch)).await.unwrap());
        }
        let lease = if round == 0 { None } else { take(&channel, 6).await };
        let mut answers: Vec<BoxFuture<'_, Result<(), ChannelError>>> = Vec::new();
        for (n, (ticket, batch)) in tickets.into_iter().zip(batches).enumerate() {
            let end = put + (n as u64 + 1) * 5;
            answers.push(channel.commit_put(ticket, batch, at("source/r1", end)));
        }
        let mut took = 0;
        if let Some((ticket, events)) = lease {
            let expected: Vec<u32> = (taken as u32..).take(events.len()).collect();
            assert_eq!(events, expected, "round {round}");
            took = events.len() as u64;
            answers.insert(1, channel.commit_take(ticket, at("sink/k1", taken + took)));
        }
        // In the order in which they are first polled, and the panic among them.
        let place = (round as usize) % (answers.len() + 1);
        let mut heard = Vec::new();
        let mut pending = Vec::new();
        for (n, mut answer) in answers.into_iter().enumerate() {
            if n == place {
                break_thread(&channel);
            }
            match futures_util::poll!(&mut answer) {
                std::task::Poll::Ready(answer) => heard.push(answer),
                std::task::Poll::Pending => pending.push(answer),
            }
        }
        if place > heard.len() + pending.len() - 1 {
            break_thread(&channel);
        }
        for answer in pending {
            let answer = tokio::time::timeout(Duration::from_secs(30), answer).await;
            heard.push(answer.expect("whoever waits hears of it"));
        }
        let mut phase = channel.core.phase.subscribe();
        let _ = phase.wait_for(|phase| matches!(phase, Phase::Failed(_))).await;
        drop(phase);
        assert!(channel.check().is_err());
        channel.attach();
        wait_open(&channel);
        channel.check().unwrap();
        let (in_log, gone) = (number_at(&channel, "source/r1"), number_at(&channel, "sink/k1"));
        let acknowledged = heard.iter().filter(|a| a.is_ok()).count() as u64;
        assert!(
            (put..=put + 15).contains(&in_log) && (in_log - put).is_multiple_of(5),
            "whole puts"
        );
        assert!(gone == taken || gone == taken + took, "a whole take");
        let happened = (in_log - put) / 5 + u64::from(gone > taken);
        assert!(
            happened >= acknowledged,
            "round {round}: {acknowledged} acknowledged, {happened} there"
        );
        (put, taken) = (in_log, gone);
        assert_eq!(channel.held() as u64, put - taken, "round {round}");
    }
    assert_eq!(
        drain(&channel).await,
        (taken as u32..put as u32).collect::<Vec<_>>()
    );
}
