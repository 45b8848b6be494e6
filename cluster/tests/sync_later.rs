//! A log that syncs later than it commits: a power cut takes the end of it, never calls that damage, and never more than what
//! was not synced.
//!
//! A run is a seed; `MILLRACE_SEEDS=from..to` chooses others.

use bytes::Bytes;
use cluster::journal::{Config, Log, Opened, Put, Reader, Transaction};
use cluster::sim::disk::SimDisk;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

fn opened(seed: u64) -> Opened {
    Opened {
        config: Config {
            segment_bytes: 96 << 10,
            spare_bytes: 48 << 10,
            block_bytes: 8 << 10,
            transaction_bytes_max: 1 << 20,
        },
        shard: [3; 16],
        seed,
        skip_damage: false,
        distrust: false,
        keys: None,
    }
}

fn run(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(disk.clone(), opened(seed)).expect("an empty disk");
    log.sync_later();
    let (mut committed, mut synced) = (0_u64, 0_u64);
    for _ in 0..rng.random_range(1..60) {
        let body = vec![committed as u8; rng.random_range(1..6_000)];
        let put = Put {
            count: 1,
            events: vec![Bytes::from(body)],
            order: committed,
            prepared: None,
        };
        let done = log.commit(&[Transaction {
            put: Some(put),
            records: Vec::new(),
        }]);
        assert_eq!(done[0].as_ref().map(|c| c.first_event), Ok(committed));
        committed += 1;
        if log.is_synced() || rng.random::<f64>() < 0.1 {
            log.sync().expect("no fault");
            assert!(log.is_synced());
            synced = committed;
        }
    }
    assert_eq!(log.books().next_event(), committed, "booked before it is synced");
    drop(log);
    disk.crash(rng.random());
    let (log, report) = Log::open(disk.clone(), opened(seed + 1)).expect("a torn tail is no damage");
    assert!(report.skipped.is_empty());
    let left = log.books().next_event();
    assert!(
        (synced..=committed).contains(&left),
        "{left} of {committed}, {synced} synced"
    );
    let (mut reader, mut next) = (Reader::new(), 0);
    while let Some(chunks) = reader.next(&log).expect("nothing is damaged") {
        for chunk in chunks {
            assert_eq!((chunk.events.start, chunk.bytes[0]), (next, next as u8));
            next = chunk.events.end;
        }
    }
    assert_eq!(next, left, "a beginning, whole");
}

#[test]
fn a_power_cut_takes_only_what_was_not_synced_and_is_no_damage() {
    let given = option_env_at_run("MILLRACE_SEEDS");
    let parsed = given.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    for seed in parsed.unwrap_or(0..500_u64) {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!(
                "seed {seed} failed; again: MILLRACE_SEEDS={seed}..{} cargo test -p cluster --test sync_later",
                seed + 1
            );
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "a test is told its seeds from outside")]
fn option_env_at_run(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
