//! Any bytes as the first page of a segment and as META, as they are and with a checksum that fits: nothing panics, and
//! what is read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::journal::{MetaPage, PAGE_BYTES, SegmentHead};

fn read(page: &[u8]) {
    if let Ok(head) = SegmentHead::decode(page) {
        assert!(head.key_id.len() + head.wrapped_key.len() <= PAGE_BYTES);
        assert_eq!(SegmentHead::decode(&head.encode()), Ok(head));
    }
    if let Ok(meta) = MetaPage::decode(page) {
        assert!(meta.name.len() <= PAGE_BYTES);
        assert_eq!(MetaPage::decode(&meta.encode()), Ok(meta));
    }
}

fuzz_target!(|data: &[u8]| {
    read(data);
    let mut page = data[..data.len().min(PAGE_BYTES - 4)].to_vec();
    page.resize(PAGE_BYTES - 4, 0);
    page.extend(crc32fast::hash(&page).to_le_bytes());
    read(&page);
});
