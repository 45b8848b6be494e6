//! The golden segment of format 1: every kind of record, a snapshot, a transaction over two blocks. Whoever changes what
//! these bytes mean has lost somebody's events.

use super::*;

const FILE: &[u8] = include_bytes!("../../vectors/journal/segment_1.wal");

const LANE: Lane = Lane {
    channel: *b"a channel's uuid",
    number: 3,
};

fn head() -> SegmentHead {
    SegmentHead {
        shard: *b"the shard's uuid",
        number: 7,
        salt: 0x0123_4567_89ab_cdef,
        first_lsn: 1 << 20,
        chain: 0xfeed,
        previous_end_lsn: (1 << 20) - 8_192,
        durable_lsn: (1 << 20) - 8_192,
        first_block: 41,
        file_bytes: 28_672,
        key_id: Vec::new(),
        wrapped_key: Vec::new(),
    }
}

fn range(start: u64, end: u64) -> Range {
    Range { start, end }
}

/// The records of each block, with whether a transaction ends there, and the block's flags.
// tidy: long function, because it is a table: a record of each kind.
fn blocks() -> Vec<(u16, Vec<(Record<'static>, bool)>)> {
    let begin = Record::SnapBegin {
        next_event: 100,
        floor: 60,
        epoch: 2,
        next_order: 300,
    };
    let segment = Record::SnapSegment {
        number: 6,
        first_lsn: 4_096,
        end_lsn: 90_112,
        events: range(50, 100),
    };
    let position = |owner, bytes| Record::SourcePosition {
        owner,
        stamp: 9,
        bytes,
    };
    let snapshot = vec![
        (begin, false),
        (Record::Epoch { epoch: 2, nonce: 77 }, false),
        (segment, false),
        (
            Record::Take {
                events: vec![range(61, 63), range(70, 71)],
            },
            false,
        ),
        (position("source/r1", b"there"), false),
        (
            Record::SnapPrepared {
                lane: LANE,
                seq: 5,
                events: range(90, 95),
            },
            false,
        ),
        (
            Record::SnapLane {
                lane: LANE,
                seqs: vec![range(1, 5)],
            },
            false,
        ),
        (
            Record::Dedup {
                lane: LANE,
                seq: 4,
                digest: 0xabcd,
            },
            false,
        ),
        (Record::SnapEnd { records: 8 }, true),
    ];
    let put = |first, count, order, events| Record::Put {
        first,
        count,
        order,
        events,
    };
    let prepared = Record::Prepared {
        lane: LANE,
        seq: 6,
        first: 102,
        count: 1,
        order: 302,
        events: b"\x92\x80\xc4\x01p",
    };
    let reserve = Record::Reserve {
        lane: LANE,
        seq: 8,
        digest: *b"sixteen bytes of",
        events: vec![range(64, 66)],
    };
    let resolved = |seq, outcome| Record::VoidResolved {
        lane: LANE,
        seq,
        outcome,
    };
    let sink = Record::SinkPosition {
        owner: "sink/k1",
        stamp: 10,
        bytes: b"",
    };
    let each = vec![
        (put(100, 2, 300, b"\x92\x80\xc4\x01a\x92\x80\xc4\x01b"), false),
        (position("source/r1", b"and here"), true),
        (prepared, false),
        (
            Record::Dedup {
                lane: LANE,
                seq: 6,
                digest: 1,
            },
            true,
        ),
        (
            Record::Confirm {
                lane: LANE,
                seqs: vec![range(5, 7)],
            },
            true,
        ),
        (
            Record::Take {
                events: vec![range(60, 61), range(63, 64)],
            },
            false,
        ),
        (sink, true),
        (reserve, true),
        (
            Record::Commit {
                lane: LANE,
                seqs: vec![range(8, 9)],
            },
            true,
        ),
        (
            Record::Void {
                lane: LANE,
                seqs: vec![range(9, 10), range(12, 14)],
            },
            true,
        ),
        (resolved(9, Outcome::Voided), false),
        (resolved(12, Outcome::Taken), false),
        (resolved(13, Outcome::Unknown), true),
        (Record::Epoch { epoch: 3, nonce: 78 }, true),
        (Record::LaneDrop { lane: LANE }, true),
    ];
    let part = Record::Part {
        bytes: b"\x92\x80\xc4\x03lon",
    };
    vec![
        (0, snapshot),
        (0, each),
        (FLAG_CONTINUES, vec![(part, false)]),
        (FLAG_CONTINUED, vec![(put(103, 1, 303, b"g"), true)]),
        (0, vec![(Record::Tick, true)]),
        (0, vec![(Record::Close, true)]),
    ]
}

/// What today's writer makes of it.
fn written() -> Vec<u8> {
    let head = head();
    let mut file = head.encode();
    let (mut lsn, mut chain, mut block, mut durable) =
        (head.first_lsn, head.chain, head.first_block, head.durable_lsn);
    for (flags, records) in blocks() {
        let mut writer = BlockWriter::new();
        for (record, end) in &records {
            write_record(writer.payload(), record, *end);
            writer.count(1);
        }
        let wanted = BlockHead {
            flags,
            lsn,
            durable_lsn: durable,
            block,
            chain,
            ..BlockHead::default()
        };
        let (done, bytes) = writer.finish(head.salt, wanted);
        file.extend_from_slice(bytes);
        durable = lsn;
        (lsn, chain, block) = (done.end_lsn(), done.chain(head.salt), block + 1);
    }
    file
}

#[test]
fn the_golden_segment_is_read_for_ever() {
    let head = SegmentHead::decode(FILE).unwrap();
    assert_eq!(head, self::head());
    assert_eq!(FILE.len() as u64, head.file_bytes);
    let (mut at, mut chain, mut number) = (PAGE_BYTES, head.chain, head.first_block);
    for (flags, records) in blocks() {
        let block = BlockHead::decode(&FILE[at..], head.salt).unwrap();
        let payload = block
            .check_payload(head.salt, &FILE[at + BLOCK_HEAD_BYTES..])
            .unwrap();
        assert_eq!((block.flags, block.block, block.chain), (flags, number, chain));
        assert_eq!(block.records as usize, records.len());
        let read: Result<Vec<_>, _> = Records::new(payload).collect();
        assert_eq!(read, Ok(records));
        (chain, number) = (block.chain(head.salt), number + 1);
        at += block.total_bytes();
    }
    assert_eq!(at, FILE.len());
}

#[test]
fn format_1_is_still_written_as_it_was() {
    assert!(
        FORMAT != 1 || written() == FILE,
        "the bytes of format 1 have changed"
    );
}

#[test]
#[ignore = "writes the golden segment: only for a new format, beside the old one"]
#[allow(clippy::disallowed_methods, reason = "a vector is written by hand, once")]
fn write_the_golden_segment() {
    std::fs::write("vectors/journal/segment_1.wal", written()).unwrap();
}
