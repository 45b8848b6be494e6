//! A whole connection of a client, which makes a call for every frame that comes back.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use proto::avro::{ClientConnection, FrameDecoder, FrameLimits};
use proto::event::Batch;

fuzz_target!(|data: &[u8]| {
    let mut decoder = FrameDecoder::new(FrameLimits::replies());
    let mut client = ClientConnection::default();
    let batch = Batch::from_iter([&b"body"[..]]);
    let mut input = BytesMut::from(data);
    let mut out = BytesMut::new();
    while let Ok(Some(frame)) = decoder.next_frame(&mut input) {
        let before = client.in_flight();
        if client.append_batch(&batch, &mut out).is_err() {
            assert_eq!(client.in_flight(), before);
        }
        if client.handle(&frame).is_err() {
            assert!(client.handle(&frame).is_err());
            return;
        }
    }
});
