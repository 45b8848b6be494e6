//! A whole connection of a server: every frame is answered exactly once, and with a frame.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use proto::avro::{FrameDecoder, FrameLimits, ServerConnection, ServerStep, Status, encode_events};
use proto::event::EventLimits;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut server = ServerConnection::new(Arc::default(), EventLimits::default());
    let mut input = BytesMut::from(data);
    while let Ok(Some(frame)) = decoder.next_frame(&mut input) {
        let (serial, length) = (frame.serial, frame.payload.len());
        let mut out = BytesMut::new();
        if let ServerStep::Call(call) = server.handle(frame, &mut out) {
            assert!(out.is_empty() && call.batch.len() <= length);
            encode_events(&call.batch, &mut BytesMut::new());
            call.reply.write(Status::Ok, &mut out);
        }
        let reply = FrameDecoder::new(FrameLimits::replies())
            .next_frame(&mut out)
            .expect("a frame")
            .expect("one");
        assert_eq!(reply.serial, serial);
        assert!(out.is_empty());
    }
});
