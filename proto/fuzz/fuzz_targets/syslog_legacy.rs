//! A stream for `syslogtcp` in pieces: two bytes say how long the pieces and the messages are. Whatever comes, pieces
//! and the whole agree, each message is one event, and an event's body is never longer than what was received.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proto::event::{Batch, BatchBuilder, EventLimits};
use proto::syslog::{Framing, KeepFields, Legacy, When, datagram};

fn feed(bytes: &[u8], piece: usize, size: usize, keep: KeepFields) -> Batch {
    let (mut framing, mut parser) = (Framing::new(size).counting(), Legacy::new(keep));
    let mut builder = BatchBuilder::new(EventLimits::default());
    let when = When {
        now_unix_ms: 1_795_132_800_000,
        offset_seconds: &|local| if local % 7 == 0 { 3_600 } else { -18_000 },
    };
    let mut held = Vec::new();
    for part in bytes.chunks(piece) {
        held.extend_from_slice(part);
        let mut input = &held[..];
        while let Some(message) = framing.next(&mut input) {
            assert!(message.bytes.len() <= size);
            let events = builder.len();
            parser.push(message, None, &when, &[("k", "v")], &mut builder).expect("few and small events");
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
    if let Some(message) = datagram(bytes) {
        assert!(!message.bytes.is_empty() && message.bytes.len() <= bytes.len());
    }
});
