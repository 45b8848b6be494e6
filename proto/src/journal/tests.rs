//! Blocks, pages and records come back as they went, and nothing else passes for one.

use super::*;
use proptest::prelude::*;

fn head() -> BlockHead {
    BlockHead {
        flags: FLAG_CONTINUES,
        lsn: 8_192,
        durable_lsn: 4_096,
        block: 7,
        chain: 99,
        ..BlockHead::default()
    }
}

#[test]
fn a_block_ends_on_a_page_and_comes_back() {
    let mut writer = BlockWriter::new();
    write_record(writer.payload(), &Record::Tick, true);
    writer.count(1);
    let (head, bytes) = writer.finish(5, head());
    assert_eq!(bytes.len(), PAGE_BYTES);
    assert_eq!(head.end_lsn(), 8_192 + PAGE_BYTES as u64);
    let read = BlockHead::decode(bytes, 5).unwrap();
    assert_eq!(read, head);
    let payload = read.check_payload(5, &bytes[BLOCK_HEAD_BYTES..]).unwrap();
    assert_eq!(Records::new(payload).next(), Some(Ok((Record::Tick, true))));
}

#[test]
fn every_flipped_bit_of_a_block_is_noticed() {
    let mut writer = BlockWriter::new();
    let put = Record::Put {
        first: 3,
        count: 1,
        order: 9,
        events: b"\x92\x80\xc4\x01x",
    };
    write_record(writer.payload(), &put, true);
    writer.count(1);
    let (head, bytes) = writer.finish(5, head());
    let used = BLOCK_HEAD_BYTES + head.payload_bytes as usize;
    for bit in 0..used * 8 {
        let mut bad = bytes.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let whole =
            BlockHead::decode(&bad, 5).and_then(|h| h.check_payload(5, &bad[BLOCK_HEAD_BYTES..]).map(|_| ()));
        assert!(whole.is_err(), "bit {bit}");
    }
    assert!(BlockHead::decode(bytes, 6).is_err(), "another life of the file");
    assert_eq!(BlockHead::decode(&bytes[..63], 5), Err(BlockError::Short(63)));
}

/// No cipher at all: it adds a byte to each other, and sums up what it has seen.
#[derive(Debug)]
struct Toy(u8);

impl Toy {
    fn tag(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> [u8; TAG_BYTES] {
        let mut tag = [self.0; TAG_BYTES];
        for (n, byte) in nonce.iter().chain(aad).chain(plain).enumerate() {
            let at = n % TAG_BYTES;
            tag[at] = tag[at].wrapping_mul(31).wrapping_add(*byte);
        }
        tag
    }
}

impl PayloadCipher for Toy {
    fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], payload: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.tag(nonce, aad, payload);
        payload.iter_mut().for_each(|b| *b = b.wrapping_add(self.0));
        tag
    }

    fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> bool {
        let (bytes, tag) = sealed.split_at(plain.len());
        for (to, from) in plain.iter_mut().zip(bytes) {
            *to = from.wrapping_sub(self.0);
        }
        self.tag(nonce, aad, plain) == tag
    }
}

#[test]
fn a_sealed_block_opens_with_its_cipher_and_with_nothing_else() {
    let mut writer = BlockWriter::new();
    let bytes = vec![7; 200];
    write_record(writer.payload(), &Record::Part { bytes: &bytes }, true);
    writer.count(1);
    let plain_bytes = writer.payload_bytes();
    let (head, bytes) = writer.finish_sealed(5, head(), &Toy(9));
    assert_eq!(head.flags, FLAG_CONTINUES | FLAG_ENCRYPTED);
    assert_eq!(head.payload_bytes as usize, plain_bytes + TAG_BYTES);
    assert!(
        !bytes.windows(20).any(|w| w == [7; 20]),
        "nothing is left in plain"
    );
    assert_eq!(BlockHead::decode(bytes, 5), Ok(head));
    let payload = head.check_payload(5, &bytes[BLOCK_HEAD_BYTES..]).unwrap();
    let plain = head.open_payload(5, Some(&Toy(9)), payload).unwrap().unwrap();
    let part = Record::Part { bytes: &[7; 200] };
    assert_eq!(Records::new(&plain).next(), Some(Ok((part, true))));

    let (block, lsn) = (head.block, head.lsn);
    let forged = Err(BlockError::Forged { block, lsn });
    assert_eq!(head.open_payload(5, Some(&Toy(8)), payload), forged);
    assert_eq!(
        head.open_payload(6, Some(&Toy(9)), payload),
        forged,
        "another nonce"
    );
    assert_eq!(
        head.open_payload(5, Some(&Toy(9)), &payload[..TAG_BYTES - 1]),
        forged
    );
    assert_eq!(
        head.open_payload(5, None, payload),
        Err(BlockError::Encrypted { block, lsn })
    );
    // Each field of the header that is vouched for.
    let others = [
        BlockHead {
            flags: FLAG_ENCRYPTED,
            ..head
        },
        BlockHead {
            durable_lsn: 0,
            ..head
        },
        BlockHead {
            block: block + 1,
            ..head
        },
        BlockHead { chain: 98, ..head },
        BlockHead { records: 2, ..head },
        BlockHead {
            lsn: lsn + 4_096,
            ..head
        },
    ];
    for other in others {
        let opened = other.open_payload(5, Some(&Toy(9)), payload);
        assert!(matches!(opened, Err(BlockError::Forged { .. })), "{other:?}");
    }
    let plain = BlockHead { flags: 0, ..head };
    assert_eq!(
        plain.open_payload(5, Some(&Toy(9)), payload),
        Err(BlockError::Plain { block, lsn })
    );
    assert_eq!(plain.open_payload(5, None, payload), Ok(None));
}

#[test]
fn a_wrapped_key_comes_back_and_anything_else_is_refused() {
    let wrapped = WrappedKey {
        method: WrapMethod::Aes192Gcm,
        nonce: [3; NONCE_BYTES],
        sealed: [4; DATA_KEY_BYTES + TAG_BYTES],
    };
    let bytes = wrapped.encode();
    assert_eq!(bytes.len(), WrappedKey::BYTES);
    assert_eq!(WrappedKey::decode(&bytes), Ok(wrapped));
    assert_eq!(WrappedKey::decode(&bytes[1..]), Err(WrapError::Length(60)));
    assert_eq!(
        WrappedKey::decode(&[bytes.as_slice(), &[0]].concat()),
        Err(WrapError::Length(62))
    );
    assert_eq!(
        WrappedKey::decode(&[&[4][..], &bytes[1..]].concat()),
        Err(WrapError::Method(4))
    );
}

#[test]
fn the_longest_name_of_a_key_fits_a_segments_header() {
    let head = SegmentHead {
        key_id: vec![b'k'; KEY_ID_BYTES_MAX],
        wrapped_key: vec![7; WrappedKey::BYTES],
        ..SegmentHead::default()
    };
    assert!(head.is_encrypted());
    assert_eq!(SegmentHead::decode(&head.encode()), Ok(head));
}

#[test]
fn pages_say_whose_they_are() {
    let segment = SegmentHead {
        shard: [1; 16],
        number: 2,
        salt: 3,
        first_lsn: 4,
        chain: 5,
        previous_end_lsn: 6,
        durable_lsn: 7,
        first_block: 8,
        file_bytes: 9,
        key_id: b"key-0".to_vec(),
        wrapped_key: vec![7; 60],
    };
    let page = segment.encode();
    assert_eq!(page.len(), PAGE_BYTES);
    assert_eq!(SegmentHead::decode(&page), Ok(segment));
    let meta = MetaPage {
        shard: [1; 16],
        channel: [2; 16],
        shard_number: 1,
        shards: 3,
        name: "c1".into(),
    };
    assert_eq!(MetaPage::decode(&meta.encode()), Ok(meta));
    assert!(matches!(MetaPage::decode(&page), Err(PageError::Foreign(_))));
    assert_eq!(SegmentHead::decode(&page[..100]), Err(PageError::Short(100)));
    let mut newer = page.clone();
    newer[8] = 2;
    assert_eq!(SegmentHead::decode(&newer), Err(PageError::Newer(2)));
    let mut damaged = page;
    damaged[40] ^= 1;
    assert!(matches!(
        SegmentHead::decode(&damaged),
        Err(PageError::Damaged(_))
    ));
}

#[test]
fn a_record_that_this_version_does_not_know_is_named() {
    assert_eq!(
        Records::new(&[77, 0, 0, 0, 0, 0]).next(),
        Some(Err(RecordError::Unknown { offset: 0, tag: 77 }))
    );
}

fn lane() -> impl Strategy<Value = Lane> {
    (any::<[u8; 16]>(), any::<u32>()).prop_map(|(channel, number)| Lane { channel, number })
}

fn ranges() -> impl Strategy<Value = Ranges> {
    prop::collection::vec((1..1_000_u64, 1..1_000_u64), 0..20).prop_map(|pairs| {
        let mut at = 0;
        let range = |(apart, len)| {
            let start = at + apart;
            at = start + len;
            Range { start, end: at }
        };
        pairs.into_iter().map(range).collect()
    })
}

// tidy: long function, because it is a table: an arm for each kind of record.
fn record() -> impl Strategy<Value = Record<'static>> {
    const BYTES: [&[u8]; 3] = [b"", b"x", b"some bytes"];
    let bytes = prop::sample::select(BYTES.to_vec());
    let outcome = prop::sample::select(vec![Outcome::Voided, Outcome::Taken, Outcome::Unknown]);
    let owner = prop::sample::select(vec!["", "source/r1"]);
    prop_oneof![
        (any::<u64>(), any::<u32>(), any::<u64>(), bytes.clone()).prop_map(
            |(first, count, order, events)| Record::Put {
                first,
                count,
                order,
                events
            }
        ),
        (lane(), any::<[u64; 3]>(), any::<u32>(), bytes.clone()).prop_map(
            |(lane, [seq, first, order], count, events)| Record::Prepared {
                lane,
                seq,
                first,
                count,
                order,
                events
            }
        ),
        bytes.clone().prop_map(|bytes| Record::Part { bytes }),
        (lane(), any::<u64>(), any::<u64>()).prop_map(|(lane, seq, digest)| Record::Dedup {
            lane,
            seq,
            digest
        }),
        (owner.clone(), any::<u64>(), bytes.clone())
            .prop_map(|(owner, stamp, bytes)| Record::SourcePosition { owner, stamp, bytes }),
        (owner, any::<u64>(), bytes).prop_map(|(owner, stamp, bytes)| Record::SinkPosition {
            owner,
            stamp,
            bytes
        }),
        (lane(), ranges()).prop_map(|(lane, seqs)| Record::Confirm { lane, seqs }),
        ranges().prop_map(|events| Record::Take { events }),
        (lane(), any::<u64>(), any::<Digest>(), ranges()).prop_map(|(lane, seq, digest, events)| {
            Record::Reserve {
                lane,
                seq,
                digest,
                events,
            }
        }),
        (lane(), ranges()).prop_map(|(lane, seqs)| Record::Commit { lane, seqs }),
        (lane(), ranges()).prop_map(|(lane, seqs)| Record::Void { lane, seqs }),
        (lane(), any::<u64>(), outcome).prop_map(|(lane, seq, outcome)| Record::VoidResolved {
            lane,
            seq,
            outcome
        }),
        (any::<u64>(), any::<u64>()).prop_map(|(epoch, nonce)| Record::Epoch { epoch, nonce }),
        lane().prop_map(|lane| Record::LaneDrop { lane }),
        any::<[u64; 4]>().prop_map(|[next_event, floor, epoch, next_order]| Record::SnapBegin {
            next_event,
            floor,
            epoch,
            next_order
        }),
        (any::<u64>(), any::<u64>(), any::<u64>(), 0..9_u64).prop_map(|(number, first_lsn, end_lsn, n)| {
            Record::SnapSegment {
                number,
                first_lsn,
                end_lsn,
                events: Range { start: n, end: 2 * n },
            }
        }),
        (lane(), any::<u64>(), 0..9_u64).prop_map(|(lane, seq, n)| Record::SnapPrepared {
            lane,
            seq,
            events: Range { start: n, end: 2 * n }
        }),
        any::<u64>().prop_map(|records| Record::SnapEnd { records }),
        (lane(), ranges()).prop_map(|(lane, seqs)| Record::SnapLane { lane, seqs }),
        Just(Record::Tick),
        Just(Record::Close),
    ]
}

proptest! {
    #[test]
    fn records_come_back_as_they_went(all in prop::collection::vec((record(), any::<bool>()), 0..20)) {
        let mut payload = Vec::new();
        for (record, end) in &all {
            write_record(&mut payload, record, *end);
        }
        let read: Result<Vec<_>, _> = Records::new(&payload).collect();
        prop_assert_eq!(read, Ok(all));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Records::new(&bytes).count();
        let _ = BlockHead::decode(&bytes, 1);
        let _ = SegmentHead::decode(&bytes);
        let _ = WrappedKey::decode(&bytes);
    }

    #[test]
    fn a_mutated_record_is_read_or_refused(record in record(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = Vec::new();
        write_record(&mut payload, &record, true);
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = Records::new(&payload).count();
    }
}
