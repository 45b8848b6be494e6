//! Directories of the real Flume, records written by hand, and bytes at random.

use super::scan::Decrypt;
use super::*;
use proptest::prelude::*;

/// A record of version 3 in its frame.
fn framed(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x7f];
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out
}

fn bytes_field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    delimited(out, bytes);
}

fn delimited(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

fn payload(kind: u8, transaction: i64, order: i64, body: &[u8]) -> Vec<u8> {
    let mut head = vec![0x0d, kind, 0, 0, 0, 0x11];
    head.extend(transaction.to_le_bytes());
    head.push(0x19);
    head.extend(order.to_le_bytes());
    let mut out = Vec::new();
    delimited(&mut out, &head);
    delimited(&mut out, body);
    out.push(0);
    out
}

fn put(transaction: i64, order: i64, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut event = Vec::new();
    for (key, value) in headers {
        let mut header = Vec::new();
        bytes_field(&mut header, 1, key.as_bytes());
        bytes_field(&mut header, 2, value.as_bytes());
        bytes_field(&mut event, 1, &header);
    }
    bytes_field(&mut event, 2, body);
    let mut put = Vec::new();
    bytes_field(&mut put, 1, &event);
    put.push(0x11);
    put.extend(i64::from(crc32fast::hash(body)).to_le_bytes());
    framed(&payload(1, transaction, order, &put))
}

fn commit(transaction: i64, order: i64) -> Vec<u8> {
    framed(&payload(4, transaction, order, &[0x0d, 1, 0, 0, 0]))
}

/// All steps of a file, fed in pieces of so many bytes.
fn steps(version: Version, file: &[u8], piece: usize, decrypt: Decrypt<'_>) -> Vec<Step> {
    let mut scan = Scan::new(version);
    let mut steps = Vec::new();
    loop {
        match scan.step(decrypt) {
            Step::More => match file.get(scan.offset() as usize..) {
                Some(rest) if !rest.is_empty() => scan.feed(&rest[..piece.min(rest.len())]),
                _ => scan.end(),
            },
            end @ Step::End(_) => {
                steps.push(end);
                return steps;
            }
            step => steps.push(step),
        }
    }
}

fn offsets(steps: &[Step]) -> Vec<u64> {
    let entry = |step: &Step| match step {
        Step::Entry { offset, .. } => Some(*offset),
        _ => None,
    };
    steps.iter().filter_map(entry).collect()
}

fn damages(steps: &[Step]) -> Vec<(u64, u64)> {
    let damage = |step: &Step| match step {
        Step::Damage(damage) => Some((damage.offset, damage.bytes)),
        _ => None,
    };
    steps.iter().filter_map(damage).collect()
}

fn end(steps: &[Step]) -> (u64, u64) {
    match steps.last() {
        Some(Step::End(end)) => (end.offset, end.torn_bytes),
        other => panic!("{other:?}"),
    }
}

/// Three records and filling; the offsets of the records.
fn file() -> (Vec<u8>, Vec<u64>) {
    let mut file = Vec::new();
    let mut starts = Vec::new();
    for record in [
        put(1, 10, &[("k", "v")], b"body one"),
        put(1, 11, &[], b"body two, which is longer"),
        commit(1, 12),
    ] {
        starts.push(file.len() as u64);
        file.extend(record);
    }
    file.resize(file.len() + 100, 0x80);
    (file, starts)
}

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../../vectors/flume_log/", $name))
    };
}

#[test]
fn files_of_the_real_flume_are_read() {
    for (log, meta) in [
        (vector!("1.11.0-plain/log-1"), vector!("1.11.0-plain/log-1.meta")),
        (vector!("1.9.0-plain/log-1"), vector!("1.9.0-plain/log-1.meta")),
    ] {
        let meta = LogMeta::decode(meta).unwrap();
        assert_eq!((meta.file, meta.encryption), (1, None));
        assert!(meta.checkpoint_order > 0);
        let all = steps(Version::V3, log, 1 << 20, None);
        assert_eq!(end(&all), (1_521, 0));
        assert_eq!(damages(&all), []);
        // 12 puts, 2 + 1 + 2 takes, 4 commits, 2 rollbacks.
        let starts = offsets(&all);
        assert_eq!(starts.len(), 24 - 1, "{all:?}");
        let record = record(Version::V3, &log[5..starts[1] as usize]).unwrap();
        let Body::Put(put) = record.body else {
            panic!("{record:?}");
        };
        assert!(put.is_intact());
        assert_eq!(put.body(), b"1 cdefghijklmnopqrst");
        assert_eq!(put.headers().unwrap(), [("number".into(), "1".into())]);
        let mut seventh = starts
            .iter()
            .zip(&starts[1..])
            .filter_map(
                |(start, end)| match record_of(&log[*start as usize + 5..*end as usize]).body {
                    Body::Put(put) => put.headers().ok(),
                    _ => None,
                },
            )
            .nth(6)
            .unwrap();
        // In the order of Java's hash map.
        seventh.sort();
        assert_eq!(
            seventh,
            [("nothing".into(), "".into()), ("number".into(), "7".into())]
        );
    }
}

fn record_of(payload: &[u8]) -> Record<'_> {
    record(Version::V3, payload).unwrap()
}

#[test]
fn an_encrypted_file_tells_its_key_and_cannot_be_read_without() {
    for (log, meta) in [
        (
            vector!("1.11.0-encrypted/log-1"),
            vector!("1.11.0-encrypted/log-1.meta"),
        ),
        (
            vector!("1.9.0-encrypted/log-1"),
            vector!("1.9.0-encrypted/log-1.meta"),
        ),
    ] {
        let encryption = LogMeta::decode(meta).unwrap().encryption.unwrap();
        assert_eq!(
            (&*encryption.cipher, &*encryption.key),
            ("AESCTRNOPADDING", "key-0")
        );
        assert_eq!(encryption.parameters.len(), 16);
        assert!(offsets(&steps(Version::V3, log, 1 << 20, None)).is_empty());
    }
}

#[test]
fn a_file_of_flume_1_3_is_read() {
    let log = vector!("v2/log-1");
    let meta = LogMeta::decode_head(log).unwrap();
    assert_eq!((meta.file, meta.checkpoint_order), (1, 0));
    for piece in [1, 7, 1 << 20] {
        let all = steps(Version::V2, log, piece, None);
        assert_eq!((damages(&all), end(&all)), (vec![], (786, 0)));
        assert_eq!(offsets(&all).len(), 6 + 2 + 1 + 3);
    }
    let all = steps(Version::V2, log, 1 << 20, None);
    let starts = offsets(&all);
    let second = record(Version::V2, &log[starts[1] as usize + 1..starts[2] as usize]).unwrap();
    let Body::Put(put) = second.body else {
        panic!("{second:?}");
    };
    assert_eq!(put.body(), b"body 2");
    assert_eq!(
        put.headers().unwrap(),
        [("wörter".into(), "日本 \u{1f600}".into())]
    );
    let entries = all.iter().filter_map(|step| match step {
        Step::Entry { entry, .. } => Some(entry.what),
        _ => None,
    });
    assert!(
        entries
            .clone()
            .any(|what| what == What::Take(Pointer::new(1, starts[0] as u32)))
    );
}

#[test]
fn a_checkpoint_of_the_real_flume_is_read() {
    let checkpoint = vector!("1.11.0-plain/checkpoint");
    let mut meta = CheckpointMeta::decode(vector!("1.11.0-plain/checkpoint.meta")).unwrap();
    let log = LogMeta::decode(vector!("1.11.0-plain/log-1.meta")).unwrap();
    assert_eq!((meta.size, meta.order), (0, log.checkpoint_order));
    let bytes = checkpoint.len() as u64;
    assert_eq!(
        queue_ranges(&meta, checkpoint, bytes),
        Ok([8_232..8_232, 8_232..8_232])
    );
    assert_eq!(inflight(vector!("1.11.0-plain/inflighttakes")), Ok(vec![]));
    // A queue of 5 that begins at slot 18 of 20 goes on at slot 0.
    (meta.head, meta.size) = (18, 5);
    assert_eq!(
        queue_ranges(&meta, checkpoint, bytes),
        Ok([8_376..8_392, 8_232..8_256])
    );
    (meta.head, meta.size) = (0, 21);
    assert!(matches!(
        queue_ranges(&meta, checkpoint, bytes),
        Err(CheckpointError::Torn(_))
    ));
    meta.size = 0;
    let mut writing = checkpoint.to_vec();
    writing[39] = 1;
    assert_eq!(
        queue_ranges(&meta, &writing, bytes),
        Err(CheckpointError::Incomplete)
    );
    meta.order += 1;
    assert!(matches!(
        queue_ranges(&meta, checkpoint, bytes),
        Err(CheckpointError::Torn(_))
    ));
    let mut wrong = vector!("1.11.0-plain/inflighttakes").to_vec();
    wrong[20] = 1;
    assert!(matches!(inflight(&wrong), Err(CheckpointError::Torn(_))));
}

#[test]
fn other_versions_are_named() {
    let mut meta = vector!("1.11.0-plain/log-1.meta").to_vec();
    meta[2] = 4;
    assert_eq!(
        LogMeta::decode(&meta),
        Err(MetaError::Version { found: 4, allowed: 3 })
    );
    assert_eq!(
        LogMeta::decode_head(&[0, 0, 0, 1, 0, 0, 0, 0])
            .unwrap_err()
            .to_string(),
        "version 1 of Flume's data files; this version reads 2"
    );
}

#[test]
fn a_record_that_was_cut_at_any_byte_is_a_torn_end() {
    let (file, starts) = file();
    let used = file.len() - 100;
    for cut in 0..used {
        let ends = starts[1..].iter().copied().chain([used as u64]);
        let whole = ends.filter(|end| *end <= cut as u64).count();
        let begin = starts[whole];
        for filler in [None, Some(0x80), Some(0)] {
            let mut torn = file[..cut].to_vec();
            if let Some(filler) = filler {
                torn.resize(2_000, filler);
            }
            let all = steps(Version::V3, &torn, 64, None);
            let end_of_record = starts.get(whole + 1).map_or(used, |s| *s as usize);
            if filler == Some(0) && end_of_record - cut < 10 {
                // Zeroes are also what a record ends with: the last few cannot be missed.
                continue;
            }
            assert_eq!(offsets(&all), starts[..whole], "cut at {cut}, then {filler:?}");
            assert!(damages(&all).is_empty(), "cut at {cut}, then {filler:?}: {all:?}");
            assert_eq!(end(&all).0, begin, "cut at {cut}, then {filler:?}");
        }
    }
}

#[test]
fn a_flipped_byte_costs_one_record_and_is_told() {
    let (file, starts) = file();
    let used = file.len() - 100;
    for at in 0..used {
        let mut bad = file.clone();
        bad[at] ^= 0x55;
        let all = steps(Version::V3, &bad, 1 << 20, None);
        let hit = starts.iter().rposition(|s| *s as usize <= at).unwrap();
        let read = offsets(&all);
        for (n, start) in starts.iter().enumerate().filter(|(n, _)| *n != hit) {
            assert!(
                read.contains(start),
                "byte {at}: record {n} is lost with {hit}: {all:?}"
            );
        }
        let broken = all.iter().any(|step| match step {
            Step::Damage(damage) => damage.offset == starts[hit],
            Step::Entry { offset, entry } => {
                *offset == starts[hit] && (entry.what == What::Put { is_intact: false } || at - hit > 5)
            }
            Step::End(end) => end.torn_bytes > 0 && end.offset == starts[hit],
            Step::More => false,
        });
        assert!(broken, "byte {at}: nothing is told: {all:?}");
    }
}

#[test]
fn a_disabled_record_is_passed_over_and_zeroes_are_an_end() {
    let (mut file, starts) = file();
    file[starts[1] as usize] = 0;
    let used = file.len() - 100;
    file.truncate(used);
    file.resize(used + 5_000, 0);
    let all = steps(Version::V3, &file, 512, None);
    assert_eq!(offsets(&all), [starts[0], starts[2]]);
    assert_eq!((damages(&all), end(&all)), (vec![], (used as u64, 0)));
}

#[test]
fn what_stands_behind_the_filling_is_found() {
    let (mut file, starts) = file();
    let again = file.len() as u64;
    file.extend(commit(2, 20));
    let all = steps(Version::V3, &file, 10, None);
    assert_eq!(offsets(&all), [&starts[..], &[again]].concat());
    assert_eq!(damages(&all), [(again - 100, 100)]);
}

#[test]
fn a_length_costs_no_memory_before_its_bytes_are_there() {
    let mut file = vec![0x7f];
    file.extend((RECORD_BYTES_MAX as u32 + 1).to_be_bytes());
    assert!(record_bytes(Version::V3, &file).is_err());
    file.truncate(1);
    file.extend((RECORD_BYTES_MAX as u32).to_be_bytes());
    assert_eq!(record_bytes(Version::V3, &file), Ok(Some(RECORD_BYTES_MAX + 5)));
    let mut scan = Scan::new(Version::V3);
    scan.feed(&file);
    assert_eq!(scan.step(None), Step::More);
}

type Headers = Vec<(String, String)>;

fn event() -> impl Strategy<Value = (Headers, Vec<u8>)> {
    let headers = prop::collection::vec((".{0,20}", ".{0,200}"), 0..4);
    (headers, prop::collection::vec(any::<u8>(), 0..300))
}

proptest! {
    #[test]
    fn events_come_back_as_they_went((headers, body) in event(), transaction: i64, order: i64) {
        let pairs: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let file = put(transaction, order, &pairs, &body);
        let record = record(Version::V3, &file[5..]).unwrap();
        prop_assert_eq!((record.transaction, record.order), (transaction, order));
        let Body::Put(put) = record.body else { panic!("{record:?}") };
        prop_assert!(put.is_intact());
        prop_assert_eq!(put.body(), &body[..]);
        // Of two headers with one key the later counts.
        let mut expected: Headers = Vec::new();
        for (key, value) in headers {
            match expected.iter_mut().find(|(k, _)| *k == key) {
                Some((_, old)) => *old = value,
                None => expected.push((key, value)),
            }
        }
        let read: Headers = put.headers().unwrap().into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn the_pieces_do_not_matter(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        piece in 1..200_usize,
    ) {
        let (mut file, _) = file();
        for (at, byte) in damage {
            let at = at.index(file.len());
            file[at] = byte;
        }
        let whole = steps(Version::V3, &file, 1 << 20, None);
        prop_assert_eq!(steps(Version::V3, &file, piece, None), whole);
    }

    #[test]
    fn no_bytes_make_a_reader_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1..99_usize) {
        for version in [Version::V2, Version::V3] {
            let all = steps(version, &bytes, piece, None);
            prop_assert!(all.len() <= bytes.len() + 2);
            let _ = record(version, &bytes);
            let _ = record_bytes(version, &bytes);
        }
        let _ = LogMeta::decode(&bytes);
        let _ = LogMeta::decode_head(&bytes);
        let _ = CheckpointMeta::decode(&bytes);
        let _ = inflight(&bytes);
    }
}
