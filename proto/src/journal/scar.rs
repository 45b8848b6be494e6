//! Scars: what a repair leaves in the place of blocks that could not be read any more.
//!
//! A scar is an ordinary block, so that whoever reads the log walks over it: one transaction of a `Part`, which begins as
//! drawn here and is filled up with zeroes, and a `Take` of the events that were given up. It covers the damaged bytes to
//! the byte. Only the chain is broken behind it, as nothing can be known of the header that stood there.
//!
//! ```text
//!   0   8  "MRSCAR01"
//!   8   8  first event that was given up
//!  16   8  the event after the last one
//!  24   1  1: later ones may have stood there as well
//!  25   8  when, seconds since 1970
//!  33      zeroes
//! ```

use super::block::{BlockHead, BlockWriter, FLAG_SCAR};
use super::cipher::{PayloadCipher, TAG_BYTES};
use super::codec::u64_at;
use super::record::{Range, Record, write_record};
use super::{BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, PAGE_BYTES};

const MAGIC: &[u8; 8] = b"MRSCAR01";
const SCAR_BYTES: usize = 33;

/// What a repair gave up at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scar {
    /// The events whose puts stood there, empty if there were none.
    pub events: Range,
    /// Whether nothing tells how many more there were.
    pub open_ended: bool,
    /// When, in seconds since 1970.
    pub unix_seconds: u64,
}

impl Scar {
    /// Reads what the bytes of a `Part` say; none if it is not a scar's.
    pub fn decode(part: &[u8]) -> Option<Self> {
        let head = part.first_chunk::<SCAR_BYTES>()?;
        if head[..8] != *MAGIC {
            return None;
        }
        let events = Range {
            start: u64_at(head, 8),
            end: u64_at(head, 16),
        };
        (events.start <= events.end).then_some(Self {
            events,
            open_ended: head[24] == 1,
            unix_seconds: u64_at(head, 25),
        })
    }

    /// A block of exactly `bytes`. `head` brings LSN, durable LSN, number and chain; `cipher` is that of the segment.
    ///
    /// # Panics
    /// If `bytes` are no whole pages, or more than a block has.
    pub fn block(
        &self,
        salt: u64,
        mut head: BlockHead,
        bytes: usize,
        cipher: Option<&dyn PayloadCipher>,
    ) -> (BlockHead, Vec<u8>) {
        assert!(
            bytes.is_multiple_of(PAGE_BYTES) && (PAGE_BYTES..=BLOCK_BYTES_MAX).contains(&bytes),
            "a scar of {bytes} bytes"
        );
        let gone = if self.events.is_empty() {
            Record::Tick
        } else {
            Record::Take {
                events: vec![self.events],
            }
        };
        let mut end = Vec::new();
        write_record(&mut end, &gone, true);
        let mut part = Vec::with_capacity(bytes);
        part.extend_from_slice(MAGIC);
        part.extend_from_slice(&self.events.start.to_le_bytes());
        part.extend_from_slice(&self.events.end.to_le_bytes());
        part.push(u8::from(self.open_ended));
        part.extend_from_slice(&self.unix_seconds.to_le_bytes());
        // A record has six bytes of its own.
        let tag = cipher.map_or(0, |_| TAG_BYTES);
        part.resize(bytes - BLOCK_HEAD_BYTES - 6 - end.len() - tag, 0);
        let mut writer = BlockWriter::new();
        write_record(writer.payload(), &Record::Part { bytes: &part }, false);
        writer.payload().extend_from_slice(&end);
        writer.count(2);
        let (head, block) = match cipher {
            None => writer.finish(salt, head),
            Some(cipher) => {
                head.flags |= FLAG_SCAR;
                writer.finish_sealed(salt, head, cipher)
            }
        };
        (head, block.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Records;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_scar_is_a_block_of_the_length_that_is_asked_for(
            start in any::<u64>(), len in 0..9_u64, open_ended in any::<bool>(), unix_seconds in any::<u64>(), pages in 1..9_usize,
        ) {
            let events = Range { start, end: start.saturating_add(len) };
            let scar = Scar { events, open_ended, unix_seconds };
            let at = BlockHead { lsn: 8_192, durable_lsn: 4_096, block: 7, chain: 3, ..BlockHead::default() };
            let (head, bytes) = scar.block(99, at, pages * PAGE_BYTES, None);
            prop_assert_eq!(bytes.len(), pages * PAGE_BYTES);
            prop_assert_eq!(BlockHead::decode(&bytes, 99), Ok(head));
            prop_assert_eq!((head.lsn, head.end_lsn()), (8_192, 8_192 + bytes.len() as u64));
            let payload = head.check_payload(99, &bytes[BLOCK_HEAD_BYTES..]).unwrap();
            let records: Vec<_> = Records::new(payload).map(Result::unwrap).collect();
            prop_assert_eq!(records.len(), 2);
            let Record::Part { bytes } = &records[0].0 else { panic!("{records:?}") };
            prop_assert_eq!(Scar::decode(bytes), Some(scar));
            let taken = match &records[1] {
                (Record::Take { events }, true) => events.clone(),
                (Record::Tick, true) => Vec::new(),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(taken, if events.is_empty() { Vec::new() } else { vec![events] });
        }

        #[test]
        fn other_bytes_are_no_scar(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(Scar::decode(&bytes), None);
            let mut like = MAGIC.to_vec();
            like.extend_from_slice(&bytes);
            if let Some(scar) = Scar::decode(&like) {
                prop_assert!(scar.events.start <= scar.events.end);
            }
        }
    }
}
