//! Frames in pieces: the first byte says how long the pieces are. Whatever comes, pieces and the whole agree, and
//! no more memory is held than has been sent, but for one read buffer.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use proto::avro::{Frame, FrameDecoder, FrameError, FrameLimits};

fn feed(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut input = BytesMut::new();
    let mut frames = Vec::new();
    for part in bytes.chunks(piece) {
        decoder.prepare(&mut input);
        assert!(input.capacity() <= (256 << 10) + 4 * bytes.len());
        input.extend_from_slice(part);
        loop {
            match decoder.next_frame(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((piece, bytes)) = data.split_first() else {
        return;
    };
    let whole = feed(bytes, bytes.len().max(1));
    let parts = feed(bytes, usize::from(*piece) + 1);
    assert_eq!(whole, parts);
});
