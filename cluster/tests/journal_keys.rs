//! Keys of a log: which are needed, and what becomes of a log whose keys are not there. Nothing.

use bytes::Bytes;
use cluster::journal::{Config, KeyError, Keys, Log, OpenError, Opened, Put, Reader, Transaction};
use cluster::sim::disk::SimDisk;
use cluster::sim::keys::SimKeys;
use proto::journal::{Range, Record};
use std::sync::Arc;

const NEEDLE: &[u8] = b"some bytes that are recognised again";
const ALL: [(&str, u64); 3] = [("old", 1), ("mid", 2), ("new", 3)];

fn opened(keys: Option<Arc<dyn Keys>>) -> Opened {
    let config = Config {
        segment_bytes: 96 << 10,
        spare_bytes: 48 << 10,
        block_bytes: 8 << 10,
        transaction_bytes_max: 1 << 20,
    };
    Opened {
        config,
        shard: [7; 16],
        seed: 5,
        skip_damage: false,
        distrust: false,
        keys,
    }
}

fn open(disk: &SimDisk, active: Option<&str>, keys: &[(&str, u64)]) -> Log<SimDisk> {
    let how = opened(Some(SimKeys::of(active, keys)));
    Log::open(disk.clone(), how).expect("all keys are there").0
}

fn put(log: &mut Log<SimDisk>, event: Vec<u8>) {
    let put = Put {
        count: 1,
        events: vec![Bytes::from(event)],
        order: 0,
        prepared: None,
    };
    let transaction = Transaction {
        put: Some(put),
        records: Vec::new(),
    };
    assert!(log.commit(&[transaction])[0].is_ok());
}

fn events(log: &Log<SimDisk>) -> Vec<Bytes> {
    let (mut reader, mut all) = (Reader::new(), Vec::new());
    while let Some(chunks) = reader.next(log).expect("no damage") {
        all.extend(chunks.into_iter().map(|chunk| chunk.bytes));
    }
    all
}

fn names_and_contents(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.names();
    names.sort();
    let content = |name: &String| disk.content(name).expect("it is there");
    names.iter().map(|name| (name.clone(), content(name))).collect()
}

fn in_plain(disk: &SimDisk) -> usize {
    let shows = |content: &[u8]| content.windows(NEEDLE.len()).any(|w| w == NEEDLE);
    names_and_contents(disk).iter().filter(|(_, c)| shows(c)).count()
}

/// A log whose segments have three keys, with events in each.
fn three_keys() -> (SimDisk, Vec<Bytes>) {
    let (disk, mut all) = (SimDisk::default(), Vec::new());
    for (name, _) in ALL {
        let mut log = open(&disk, Some(name), &ALL);
        let before = log.books().segments().count();
        while log.books().segments().count() < before + 2 {
            let event = [NEEDLE.repeat(100), all.len().to_le_bytes().to_vec()].concat();
            put(&mut log, event.clone());
            all.push(Bytes::from(event));
        }
    }
    (disk, all)
}

#[test]
fn a_key_that_is_missing_or_another_is_no_damage_and_nothing_is_touched() {
    let (disk, _) = three_keys();
    assert_eq!(in_plain(&disk), 0);
    let before = names_and_contents(&disk);
    let refused = |keys: Option<Arc<dyn Keys>>, skip_damage, distrust| {
        let how = Opened {
            skip_damage,
            distrust,
            ..opened(keys)
        };
        let refused = match Log::open(disk.clone(), how).map(drop) {
            Err(OpenError::Key { why, .. }) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(names_and_contents(&disk), before, "nothing is touched");
        refused
    };
    for (skip_damage, distrust) in [(false, false), (false, true), (true, false), (true, true)] {
        for (n, (name, key)) in ALL.into_iter().enumerate() {
            let mut fewer = ALL.to_vec();
            fewer.remove(n);
            let missing = KeyError::Missing {
                key: name.to_owned(),
                given: fewer.iter().map(|(n, _)| (*n).to_owned()).collect(),
            };
            assert_eq!(
                refused(Some(SimKeys::of(None, &fewer)), skip_damage, distrust),
                missing
            );
            let mut other = ALL;
            other[n].1 = key + 10;
            let wrong = KeyError::Wrong { key: name.to_owned() };
            assert_eq!(
                refused(Some(SimKeys::of(Some(name), &other)), skip_damage, distrust),
                wrong
            );
        }
        let missing = refused(None, skip_damage, distrust);
        assert!(
            missing
                .to_string()
                .ends_with("which is not there; there are none"),
            "{missing}"
        );
    }
}

#[test]
fn switched_off_what_was_encrypted_is_read_and_what_is_new_is_in_plain() {
    let (disk, mut all) = three_keys();
    let mut log = open(&disk, None, &ALL);
    assert_eq!(events(&log), all);
    put(&mut log, NEEDLE.to_vec());
    all.push(Bytes::from_static(NEEDLE));
    assert_eq!(in_plain(&disk), 1);
    drop(log);
    // And on again: plain segments are read as well.
    assert_eq!(events(&open(&disk, Some("mid"), &ALL)), all);
}

#[test]
fn a_key_is_needed_only_as_long_as_something_lives_under_it() {
    let (disk, all) = three_keys();
    let mut log = open(&disk, Some("new"), &ALL);
    let events = vec![Range {
        start: 0,
        end: all.len() as u64,
    }];
    let take = Transaction {
        put: None,
        records: vec![Record::Take { events }],
    };
    assert!(log.commit(&[take])[0].is_ok());
    drop(log);
    // The next start finds the others empty.
    drop(open(&disk, Some("new"), &ALL));
    let mut log = open(&disk, Some("new"), &[("new", 3)]);
    assert_eq!(log.books().live(), 0);
    put(&mut log, NEEDLE.to_vec());
    assert_eq!(in_plain(&disk), 0);
}

#[test]
fn a_newer_format_is_refused_even_where_damage_is_skipped() {
    let (disk, _) = three_keys();
    let segments = disk.names().into_iter().filter(|n| n.starts_with("seg-"));
    let newest = segments.max().expect("segments");
    disk.damage(&newest, |bytes| bytes[8] = 2).expect("it is there");
    let before = names_and_contents(&disk);
    for skip_damage in [false, true] {
        let how = Opened {
            skip_damage,
            distrust: true,
            ..opened(Some(SimKeys::of(None, &ALL)))
        };
        let refused = Log::open(disk.clone(), how).map(drop).expect_err("it is newer");
        assert!(
            refused.to_string().contains("format 2 is newer than 1"),
            "{refused}"
        );
        assert_eq!(names_and_contents(&disk), before, "nothing is touched");
    }
}
