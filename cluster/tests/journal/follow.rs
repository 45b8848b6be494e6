//! A reader follows a log while it is written, and its files serve again behind it.

use crate::mutants::Given;
use crate::{Model, Step, commit, each, keys, make_ahead, opened, steps, unblock};
use cluster::journal::{Chunk, Log, ReadError, Reader};
use cluster::sim::disk::SimDisk;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// A reader that follows the log while it is written, and the log's files serve again behind it.
fn follow(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let disk = SimDisk::default();
    let given = Given::new(disk.clone(), None);
    let (mut log, _) = Log::open(given, opened(&mut rng, false, keys::changing)).expect("the disk is empty");
    let (mut reader, mut seen, mut next_id) = (Reader::new(), 0, 0);
    let mut model = Model::default();
    for _ in 0..rng.random_range(20..200) {
        let some = steps(&mut rng, &model, &mut next_id);
        assert!(commit(&mut log, &some).iter().all(Result::is_ok));
        some.iter().for_each(|step| model.apply(step));
        assert!(make_ahead(&mut log, &disk));
        let mut read = |chunks: Vec<Chunk>| {
            for chunk in chunks {
                assert!(chunk.events.start >= seen, "F5: numbers rise");
                let bodies = unblock(&chunk.bytes);
                for (number, body) in (chunk.events.start..).zip(bodies) {
                    // What it skipped was taken, and its segment with it.
                    assert!((seen..number).all(|n| !model.events.contains_key(&n)));
                    assert!(model.events.get(&number).is_none_or(|there| *there == body));
                    seen = number + 1;
                }
            }
        };
        if rng.random() {
            for _ in 0..rng.random_range(0..4) {
                let chunks = reader.next(&log).expect("nothing is damaged");
                read(chunks.unwrap_or_default());
            }
            continue;
        }
        reader = match reader.leave(&log) {
            Err(home) => home,
            Ok(mut reading) => {
                let more = steps(&mut rng, &model, &mut next_id);
                assert!(commit(&mut log, &more).iter().all(Result::is_ok));
                for _ in 0..rng.random_range(0..4) {
                    match reading.next_chunks() {
                        Ok(chunks) => read(chunks.unwrap_or_default()),
                        Err(why) => assert!(!log.has_segment(reading.number()), "{why}"),
                    }
                }
                more.iter().for_each(|step| model.apply(step));
                reading.arrive()
            }
        };
    }
}

#[test]
fn damage_that_only_memory_shows_is_gone_when_the_disk_is_asked_again() {
    let mut rng = SmallRng::seed_from_u64(1);
    let disk = SimDisk::default();
    let given = Given::new(disk.clone(), None);
    let (mut log, _) = Log::open(given, opened(&mut rng, false, keys::changing)).expect("an empty disk");
    let step = Step::Put {
        id: 1,
        bodies: vec![b"there".to_vec()],
    };
    assert!(commit(&mut log, &[step]).iter().all(Result::is_ok));
    let (number, info) = log.books().segments().next_back().expect("there is one");
    let name = format!("seg-{number:016x}.wal");
    let last_page = (info.end_lsn - info.first_lsn) as usize;
    let stale = disk.make_stale(&name, |bytes| bytes[last_page..][..4_096].fill(0));
    stale.expect("the segment is there");
    let Ok(mut reading) = Reader::new().leave(&log) else {
        panic!("there is something to read");
    };
    assert!(matches!(reading.next_chunks(), Err(ReadError::Damaged { .. })));
    reading.ask_again().expect("the disk is in order");
    let chunks = reading
        .next_chunks()
        .expect("it was not damaged")
        .expect("it is there");
    assert_eq!(unblock(&chunks[0].bytes), [b"there".to_vec()]);
}

#[test]
fn a_reader_follows_the_log_while_it_is_written() {
    each("a_reader_follows_the_log_while_it_is_written", 0..300, follow);
}
