//! Any bytes as the payload of a block, a snapshot's among them: nothing panics, ranges rise and do not touch, and every
//! record that is read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::journal::{Range, Record, Records, write_record};

fn ranges<'a>(record: &'a Record<'_>) -> &'a [Range] {
    match record {
        Record::Take { events } | Record::Reserve { events, .. } => events,
        Record::Confirm { seqs, .. }
        | Record::Commit { seqs, .. }
        | Record::Void { seqs, .. }
        | Record::SnapLane { seqs, .. } => seqs,
        _ => &[],
    }
}

fuzz_target!(|data: &[u8]| {
    let read: Vec<_> = Records::new(data).map_while(Result::ok).collect();
    assert!(read.len() <= data.len());
    let mut written = Vec::new();
    for (record, end) in &read {
        let ranges = ranges(record);
        assert!(ranges.iter().all(|range| range.start < range.end));
        assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        write_record(&mut written, record, *end);
    }
    let again: Result<Vec<_>, _> = Records::new(&written).collect();
    assert_eq!(again, Ok(read));
});
