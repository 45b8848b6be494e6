//! Any bytes as a block, as they are and with checksums that fit: nothing panics, no length is believed beyond the bytes
//! that are there, and a header that is read is written again as the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::journal::{BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, BlockHead, Records, payload_crc};

const SALT: u64 = 0x0123_4567_89ab_cdef;

fn read(bytes: &[u8]) {
    let Ok(head) = BlockHead::decode(bytes, SALT) else {
        return;
    };
    assert!(head.total_bytes() <= BLOCK_BYTES_MAX);
    assert_eq!(BlockHead::decode(&head.encode(SALT), SALT), Ok(head));
    if let Ok(payload) = head.check_payload(SALT, &bytes[BLOCK_HEAD_BYTES..]) {
        assert_eq!(payload.len(), head.payload_bytes as usize);
        assert!(Records::new(payload).count() <= payload.len());
    }
}

fuzz_target!(|data: &[u8]| {
    read(data);
    if data.len() < BLOCK_HEAD_BYTES {
        return;
    }
    let (head, payload) = data.split_at(BLOCK_HEAD_BYTES);
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let lsn = number(16) >> 1;
    let fitting = BlockHead {
        flags: u16::from(head[6] & 15),
        payload_bytes: payload.len() as u32,
        lsn,
        durable_lsn: number(24),
        block: number(32),
        chain: number(40),
        records: u32::from(head[48]),
        payload_crc: payload_crc(SALT, lsn, payload),
    };
    let mut block = fitting.encode(SALT).to_vec();
    block.extend_from_slice(payload);
    read(&block);
});
