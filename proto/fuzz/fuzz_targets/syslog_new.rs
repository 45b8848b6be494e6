//! A stream for `multiport_syslogtcp` in pieces: two bytes say how long the pieces and the messages are. Whatever
//! comes, pieces and the whole agree, and each message is one event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::event::{Batch, BatchBuilder, EventLimits};
use proto::syslog::{Framing, KeepFields, Multiport};
use std::borrow::Cow;

fn feed(bytes: &[u8], piece: usize, size: usize, keep: KeepFields) -> Batch {
    let (mut framing, mut parser) = (Framing::new(size).counting().keeping_cr(), Multiport::new(keep));
    let mut builder = BatchBuilder::new(EventLimits::default());
    let mut held = Vec::new();
    for part in bytes.chunks(piece) {
        held.extend_from_slice(part);
        let mut input = &held[..];
        while let Some(message) = framing.next(&mut input) {
            assert!(message.bytes.len() <= size);
            let text = std::str::from_utf8(message.bytes).ok();
            let events = builder.len();
            parser
                .push(message, text, |text| Cow::Borrowed(text.as_bytes()), 1_795_132_800_000, &[("k", "v")], &mut builder)
                .expect("few and small events");
            assert_eq!(builder.len(), events + 1);
        }
        held = input.to_vec();
        assert!(held.len() <= size + 16);
    }
    builder.finish()
}

fuzz_target!(|data: &[u8]| {
    let [piece, size, bytes @ ..] = data else {
        return;
    };
    let size = usize::from(*size) + 1;
    for keep in ["none", "all", "priority version timestamp hostname"].map(KeepFields::of) {
        let whole = feed(bytes, bytes.len().max(1), size, keep).to_blocks();
        assert_eq!(whole, feed(bytes, usize::from(*piece) + 1, size, keep).to_blocks());
    }
});
