//! A data file of Flume's, fed in pieces whose size the first byte says (its lowest bit the version): its records lie one
//! behind the other, what is between them is told as damage, the pieces make no difference, and each record can be read
//! where it was found. The same bytes as metadata, checkpoint and transactions of a checkpoint make nothing panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::flume_log::{
    Body, CheckpointMeta, Entry, LogMeta, Scan, Step, Version, inflight, queue_ranges, record, record_bytes,
};

fn steps(version: Version, bytes: &[u8], piece: usize) -> Vec<Step> {
    let mut scan = Scan::new(version);
    let mut steps = Vec::new();
    loop {
        match scan.step(None) {
            Step::More => match bytes.get(scan.offset() as usize..) {
                Some(rest) if !rest.is_empty() => scan.feed(&rest[..piece.min(rest.len())]),
                _ => scan.end(),
            },
            end @ Step::End(_) => {
                steps.push(end);
                return steps;
            }
            step => steps.push(step),
        }
        assert!(steps.len() <= bytes.len() + 2);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, bytes)) = data.split_first() else {
        return;
    };
    let (version, head) = match first & 1 {
        0 => (Version::V3, 5),
        _ => (Version::V2, 1),
    };
    let found = steps(version, bytes, 1 << 20);
    assert_eq!(steps(version, bytes, usize::from(first >> 1) + 1), found);
    let mut at = Scan::new(version).offset();
    for step in &found {
        match step {
            Step::Entry { offset, entry } => {
                assert!(*offset >= at);
                let here = &bytes[*offset as usize..];
                let length = record_bytes(version, here).unwrap().unwrap();
                let record = record(version, &here[head..length]).unwrap();
                if let Body::Put(put) = record.body {
                    let _ = put.headers();
                }
                assert_eq!(Entry::from(record), *entry);
                at = offset + length as u64;
            }
            Step::Damage(damage) => {
                assert!(damage.offset >= at && damage.bytes > 0);
                at = damage.offset + damage.bytes;
                assert!(at <= bytes.len() as u64);
            }
            Step::End(end) => assert!(end.offset >= at),
            Step::More => unreachable!(),
        }
    }
    let _ = LogMeta::decode(bytes);
    let _ = LogMeta::decode_head(bytes);
    let _ = inflight(bytes);
    if let Ok(meta) = CheckpointMeta::decode(bytes)
        && let Ok(ranges) = queue_ranges(&meta, bytes, bytes.len() as u64)
    {
        assert!(ranges.iter().all(|range| range.end <= bytes.len() as u64));
    }
});
