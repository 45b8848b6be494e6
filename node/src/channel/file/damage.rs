//! Damage as an operator hears of it: which events, which bytes, and what to do.

use crate::component::counters::StorageCounters;
use cluster::journal::{Damage, Disk, Log, OpenError, ReadError, Reader};
use proto::journal::{PAGE_BYTES, Range};
use std::path::Path;
use tracing::error;

/// Why a channel does not open.
pub fn refused(path: &Path, why: &OpenError) -> String {
    let is_damage = matches!(
        why,
        OpenError::Corrupt(_)
            | OpenError::Missing { .. }
            | OpenError::Segment { .. }
            | OpenError::NoSnapshot { .. }
    );
    let path = path.display();
    if is_damage {
        format!("{path}: {why}; {}", what_to_do(Path::new(&path.to_string())))
    } else {
        format!("{path}: {why}")
    }
}

/// What a person can do about it.
pub fn what_to_do(path: &Path) -> String {
    let path = path.display();
    format!(
        "`node channel verify {path}` tells what is lost; to go on without it, stop the agent and run `node channel repair \
         {path} --skip`, or set onCorruption = skip"
    )
}

/// Damage that was skipped when the log was opened; the channel counts its events no more.
pub fn tell(channel: &str, cells: &StorageCounters, damage: &Damage) {
    tell_range(channel, cells, damage);
    cells.lost_events.add(damage.lost_events());
}

/// Damage that is skipped while events are read.
pub fn tell_range(channel: &str, cells: &StorageCounters, damage: &Damage) {
    let (first_event, next_event) = (damage.events.start, damage.events.end);
    error!(channel, first_event, next_event, "skipped: {damage}");
    cells.corrupt_ranges.add(1);
}

/// The events that damage has come to, which a reader has met: those between the last one that was `loaded` and the next one
/// that can be read.
///
/// # Errors
/// The disk's.
pub fn met<D: Disk>(log: &Log<D>, met: ReadError, loaded: u64) -> Result<Damage, String> {
    let (name, number, start_lsn, end_lsn, why) = match met {
        ReadError::Damaged {
            name,
            number,
            start_lsn,
            end_lsn,
            why,
        } => (name, number, start_lsn, end_lsn, why),
        ReadError::Disk(why) => return Err(why.to_string()),
    };
    let mut ahead = Reader::new();
    ahead.skip(number, end_lsn);
    let next = loop {
        match ahead.next(log) {
            Ok(Some(chunks)) => {
                if let Some(next) = chunks
                    .iter()
                    .map(|c| c.events.start)
                    .find(|start| *start >= loaded)
                {
                    break next;
                }
            }
            Ok(None) => break log.books().next_event(),
            Err(ReadError::Damaged { number, end_lsn, .. }) => ahead.skip(number, end_lsn),
            Err(ReadError::Disk(why)) => return Err(why.to_string()),
        }
    };
    let events = Range {
        start: loaded,
        end: next.max(loaded),
    };
    let first_lsn = log
        .books()
        .segments()
        .find(|(n, _)| *n == number)
        .map_or(0, |(_, info)| info.first_lsn);
    Ok(Damage {
        name,
        number,
        offset: PAGE_BYTES as u64 + start_lsn.saturating_sub(first_lsn),
        start_lsn,
        end_lsn,
        events,
        open_ended: false,
        lost: log.books().live_in(events),
        repeats: false,
        why,
    })
}

#[cfg(test)]
mod tests {
    //! What the operator of a channel sees when its disk fails: ranges, cells, words, rest.

    use super::super::core::Phase;
    use super::super::{Config, FileChannel};
    use crate::component::channel::{Channel, ChannelError, ChannelHandle, Claim, Want};
    use crate::component::contract::TempDir;
    use crate::component::counters::ChannelCounters;
    use crate::component::fault::Faults;
    use crate::component::keys::Keys;
    use proto::event::Batch;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    struct Site {
        folder: TempDir,
        counters: ChannelCounters,
    }

    impl Site {
        fn new() -> Self {
            Self {
                folder: TempDir::new(),
                counters: ChannelCounters::default(),
            }
        }

        fn keys(&self, pairs: &[(&str, &str)]) -> Keys {
            let dir = self.folder.path().join("data").to_str().unwrap().to_owned();
            let mut all = vec![
                ("dataDirs", dir.as_str()),
                ("minimumRequiredSpace", "0"),
                ("maxFileSize", "1048576"),
            ];
            all.extend_from_slice(pairs);
            Keys::of("channel c1 (file)", &all)
        }

        fn channel(&self, pairs: &[(&str, &str)]) -> Arc<FileChannel> {
            let mut keys = self.keys(pairs);
            let config = Config::read(&mut keys);
            assert!(!keys.has_errors(), "{:?}", keys.finish());
            let channel = Arc::new(config.build(&"c1".into()).unwrap());
            channel.count_in(&self.counters);
            channel
        }

        /// Attaches it and waits for what comes of that.
        fn started(&self, pairs: &[(&str, &str)]) -> (Arc<FileChannel>, Phase) {
            let channel = self.channel(pairs);
            channel.attach();
            let mut phase = channel.core.phase.subscribe();
            while *phase.borrow_and_update() == Phase::Closed {
                std::thread::yield_now();
            }
            let phase = phase.borrow().clone();
            (channel, phase)
        }

        fn segment(&self, number: u64) -> PathBuf {
            self.folder
                .path()
                .join(format!("data/millrace/seg-{number:016x}.wal"))
        }

        /// Flips a bit of a file.
        fn flip(&self, number: u64, at: usize) {
            let path = self.segment(number);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }

    async fn put(channel: &FileChannel, numbers: std::ops::Range<u32>) {
        let bodies: Vec<String> = numbers.map(|n| n.to_string()).collect();
        let batch: Batch = bodies.iter().map(|body| body.as_bytes()).collect();
        let ticket = channel.reserve(Claim::of(&batch)).await.unwrap();
        channel.commit_put(ticket, batch, None).await.unwrap();
    }

    async fn drain(channel: &FileChannel) -> Vec<u32> {
        let mut all = Vec::new();
        while let Some((ticket, batch)) = channel
            .take(Want::events(100), Duration::from_millis(200))
            .await
            .unwrap()
        {
            let number = |body: &[u8]| std::str::from_utf8(body).unwrap().parse::<u32>().unwrap();
            all.extend(batch.iter().map(|event| number(event.body())));
            channel.commit_take(ticket, None).await.unwrap();
        }
        all
    }

    /// Three batches of ten, a block each behind header and snapshot.
    async fn filled() -> Site {
        let site = Site::new();
        let (channel, phase) = site.started(&[]);
        assert_eq!(phase, Phase::Open);
        for n in 0..3 {
            put(&channel, n * 10..n * 10 + 10).await;
        }
        site
    }

    #[tokio::test]
    async fn damage_stops_a_channel_by_its_events_and_skipped_it_is_counted_and_in_doubt_until_drained() {
        let site = filled().await;
        // Pages: header, snapshot, start of the channel, and the three batches.
        site.flip(0, 4 * 4_096 + 100);
        let (channel, phase) = site.started(&[]);
        let Phase::Failed(why) = phase else {
            panic!("{phase:?}")
        };
        for part in [
            "bytes 16384 to 20479",
            "events 10 to 19, 10 events",
            "node channel repair ",
            "onCorruption = skip",
        ] {
            assert!(why.contains(part), "{part}: {why}");
        }
        let cells = &site.counters.storage;
        assert_eq!((cells.unhealthy.value(), cells.open.value()), (1, 0));
        // The channel tries again in the same process: it is as damaged as before.
        channel.attach();
        let mut phase = channel.core.phase.subscribe();
        let failed = phase
            .wait_for(|phase| matches!(phase, Phase::Failed(_)))
            .await
            .unwrap()
            .clone();
        assert!(matches!(failed, Phase::Failed(again) if again == why));
        drop(phase);
        drop(channel);

        let (channel, phase) = site.started(&[("onCorruption", "skip")]);
        assert_eq!(phase, Phase::Open);
        assert_eq!((cells.corrupt_ranges.value(), cells.lost_events.value()), (1, 10));
        assert_eq!(
            (
                cells.unhealthy.value(),
                cells.open.value(),
                cells.in_doubt.value()
            ),
            (0, 1, 1)
        );
        assert_eq!(channel.held(), 20);
        drop(channel);
        // Over a restart as well.
        cells.in_doubt.set(0);
        let (channel, _) = site.started(&[]);
        assert_eq!(cells.in_doubt.value(), 1);
        put(&channel, 30..40).await;
        let rest: Vec<u32> = (0..10).chain(20..40).collect();
        assert_eq!(drain(&channel).await, rest);
        assert_eq!(
            (
                channel.held(),
                cells.in_doubt.value(),
                cells.corrupt_ranges.value()
            ),
            (0, 0, 1)
        );
        channel.check().unwrap();
    }

    #[tokio::test]
    async fn two_failures_of_the_disk_within_ten_minutes_make_the_channel_rest() {
        let site = filled().await;
        let channel = site.channel(&[]);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(660)).unwrap();
        let before = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        for (failures, rests) in [
            (vec![before], false),
            (vec![long_ago, before], false),
            (vec![before, before], true),
            (vec![long_ago, long_ago], false),
        ] {
            failures.into_iter().for_each(|at| channel.core.poisoned(at));
            assert_eq!(channel.core.rests(Instant::now()).is_some(), rests);
        }
        channel.core.poisoned(before);
        channel.core.poisoned(before);
        channel.attach();
        let why = channel.check().unwrap_err();
        assert!(
            why.contains("failed twice within ten minutes: the channel rests for 5"),
            "{why}"
        );
        assert_eq!(site.counters.storage.parked.value(), 1);
        assert!(!channel.is_fatal(), "onIoError is park");
        channel.core.poisoned(long_ago);
        channel.core.poisoned(long_ago);
        channel.attach();
        let mut phase = channel.core.phase.subscribe();
        let _ = phase.wait_for(|phase| *phase == Phase::Open).await;
        assert_eq!(site.counters.storage.parked.value(), 0);
        let fatal = Site::new().channel(&[("onIoError", "exit")]);
        assert!(!fatal.is_fatal());
        fatal.core.poisoned(before);
        assert!(fatal.is_fatal());
    }

    #[tokio::test]
    async fn a_full_channel_says_so_in_the_words_of_flumes_file_channel() {
        let site = Site::new();
        let pairs = [
            ("capacity", "1"),
            ("transactionCapacity", "1"),
            ("keep-alive", "0"),
        ];
        let (channel, _) = site.started(&pairs);
        let handle = ChannelHandle::new("c1", channel, ChannelCounters::default(), Faults::default());
        let claim = Claim {
            events: 1,
            bytes: 100,
        };
        let _permit = {
            let _ = handle.serves().await;
            handle.channel().reserve(claim).await.unwrap()
        };
        let refused = handle.reserve(claim).await.unwrap_err();
        let channel = "c1".into();
        assert_eq!(refused, ChannelError::FileFull { channel });
        assert_eq!(
            refused.to_string(),
            "The channel has reached it's capacity. This might be the result of a sink on the channel having too low of \
             batch size, a downstream system running slower than normal, or that the channel capacity is just too low. \
             [channel=c1]"
        );
    }

    #[tokio::test]
    async fn a_weaker_durability_is_announced_and_survives_the_channel_all_the_same() {
        for durability in ["interval:5", "none"] {
            let site = Site::new();
            let pairs = [("durability", durability)];
            let mut keys = site.keys(&pairs);
            let _ = Config::read(&mut keys);
            let findings = keys.finish();
            let text = findings.iter().map(ToString::to_string).collect::<String>();
            assert!(
                text.contains("warning[weaker]") && text.contains("is weaker than commit"),
                "{text}"
            );
            let (channel, _) = site.started(&pairs);
            put(&channel, 0..20).await;
            drop(channel);
            let (channel, _) = site.started(&pairs);
            assert_eq!(drain(&channel).await, (0..20).collect::<Vec<_>>());
        }
        for wrong in ["interval", "interval:0", "interval:60001", "sometimes"] {
            let mut keys = Site::new().keys(&[("durability", wrong)]);
            let _ = Config::read(&mut keys);
            assert!(keys.has_errors(), "{wrong}");
        }
    }
}
