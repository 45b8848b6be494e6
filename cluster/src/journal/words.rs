//! Records in words, for people who look at a log.

use proto::journal::{Range, Record};

/// A record in words.
pub(super) fn describe(record: &Record<'_>) -> String {
    let ranges = |ranges: &[Range]| {
        let texts = ranges.iter().map(|r| match r.len() {
            1 => r.start.to_string(),
            _ => format!("{}-{}", r.start, r.end.saturating_sub(1)),
        });
        texts.collect::<Vec<_>>().join(",")
    };
    match record {
        Record::Put {
            first,
            count,
            order,
            events,
        } => {
            let last = first + u64::from(*count).saturating_sub(1);
            format!("Put events {first}-{last}, order {order}, {} bytes", events.len())
        }
        Record::Prepared {
            first,
            count,
            seq,
            events,
            ..
        } => {
            let last = first + u64::from(*count).saturating_sub(1);
            format!(
                "Prepared events {first}-{last}, batch {seq}, {} bytes",
                events.len()
            )
        }
        Record::Take { events } => format!("Take events {}", ranges(events)),
        Record::SourcePosition { owner, stamp, bytes } | Record::SinkPosition { owner, stamp, bytes } => {
            format!("Position of {owner}, stamp {stamp}, {} bytes", bytes.len())
        }
        Record::Confirm { seqs, .. } => format!("Confirm batches {}", ranges(seqs)),
        Record::Commit { seqs, .. } => format!("Commit batches {}", ranges(seqs)),
        Record::Void { seqs, .. } => format!("Void batches {}", ranges(seqs)),
        Record::Reserve { seq, events, .. } => format!("Reserve events {} for batch {seq}", ranges(events)),
        Record::SnapSegment { number, events, .. } => {
            format!("SnapSegment {number:016x}, events {}", ranges(&[*events]))
        }
        Record::Epoch { epoch, .. } => format!("Epoch {epoch}"),
        Record::SnapBegin {
            next_event, floor, ..
        } => {
            format!("SnapBegin, next event {next_event}, all below {floor} are gone")
        }
        Record::SnapEnd { records } => format!("SnapEnd, {records} records"),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '{']).next().unwrap_or_default().to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_told_in_one_line_each() {
        let range = |start, end| Range { start, end };
        let put = Record::Put {
            first: 7,
            count: 3,
            order: 7,
            events: b"abcd",
        };
        assert_eq!(describe(&put), "Put events 7-9, order 7, 4 bytes");
        let events = vec![range(1, 2), range(4, 9)];
        assert_eq!(describe(&Record::Take { events }), "Take events 1,4-8");
        let position = Record::SinkPosition {
            owner: "sink/k1",
            stamp: 3,
            bytes: b"xy",
        };
        assert_eq!(describe(&position), "Position of sink/k1, stamp 3, 2 bytes");
        assert_eq!(
            (describe(&Record::Tick), describe(&Record::Close)),
            ("Tick".to_owned(), "Close".to_owned())
        );
        assert_eq!(describe(&Record::Part { bytes: b"secret" }), "Part");
    }
}
