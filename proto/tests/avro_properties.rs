//! Promises of the Avro codecs that hold for any input: what is written is read again, pieces do not matter,
//! hostile bytes neither panic nor take memory.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use proto::avro::*;
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::sync::Arc;

type Events = Vec<(Vec<(String, String)>, Vec<u8>)>;

fn events() -> impl Strategy<Value = Events> {
    let header = ("[a-zé]{0,4}", "\\PC{0,20}");
    vec((vec(header, 0..6), vec(any::<u8>(), 0..200)), 0..40)
}

fn batch(events: &Events) -> Batch {
    let mut builder = BatchBuilder::new(EventLimits::default());
    for (headers, body) in events {
        builder
            .push(headers.iter().map(|(key, value)| (key, value)), body)
            .unwrap();
    }
    builder.finish()
}

fn same(left: &Batch, right: &Batch) -> bool {
    let pairs = left.iter().zip(right.iter());
    left.len() == right.len()
        && pairs
            .into_iter()
            .all(|(l, r)| l.body() == r.body() && l.headers().eq(r.headers()))
}

/// Cuts at the given places, which wrap around.
fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .collect()
}

/// Frames found when the pieces arrive one by one, and the error that ended it.
fn feed(pieces: &[Vec<u8>], limits: FrameLimits) -> (Vec<Frame>, Option<FrameError>, usize) {
    let mut decoder = FrameDecoder::new(limits);
    let mut input = BytesMut::new();
    let (mut frames, mut held) = (Vec::new(), 0);
    for piece in pieces {
        decoder.prepare(&mut input);
        input.extend_from_slice(piece);
        held = held.max(input.capacity());
        loop {
            match decoder.next_frame(&mut input) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), held),
            }
        }
    }
    (frames, None, held)
}

/// Bytes that look enough like frames of calls to get past the first checks.
fn nearly_calls() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(&b"\0\x0cappend"[..]),
        Just(&b"\0\x16appendBatch"[..]),
        Just(&b"\0\0"[..]),
        Just(&b""[..]),
    ];
    let small = prop_oneof![4 => 0u8..8, 1 => any::<u8>()];
    (start, vec(small, 0..60)).prop_map(|(start, rest)| [start, &rest].concat())
}

fn connected() -> ServerConnection {
    let mut first = BytesMut::new();
    let hash = protocol::OWN_HASH;
    handshake::HandshakeRequest {
        client_hash: hash,
        client_text: None,
        server_hash: hash,
    }
    .write(&mut first);
    first.extend_from_slice(&[0, 0]);
    let mut server = ServerConnection::new(Arc::new(ProtocolCache::new()), EventLimits::default());
    let step = server.handle(
        Frame {
            serial: 1,
            payload: first.freeze(),
        },
        &mut BytesMut::new(),
    );
    assert!(matches!(step, ServerStep::Replied) && server.is_connected());
    server
}

proptest! {
    #[test]
    fn a_batch_survives(events in events()) {
        let batch = batch(&events);
        let mut out = BytesMut::new();
        encode_events(&batch, &mut out);
        let read = decode_events(&out.freeze(), EventLimits::default()).unwrap();
        prop_assert!(same(&read, &batch));
    }

    #[test]
    fn a_batch_survives_the_way_from_client_to_server(events in events(), cuts in vec(any::<usize>(), 0..20)) {
        let batch = batch(&events);
        let mut out = BytesMut::new();
        ClientConnection::default().append_batch(&batch, &mut out).unwrap();
        let (mut frames, error, _) = feed(&pieces(&out, &cuts), FrameLimits::default());
        prop_assert_eq!((frames.len(), error), (1, None));
        let mut server = ServerConnection::new(Arc::new(ProtocolCache::new()), EventLimits::default());
        match server.handle(frames.remove(0), &mut BytesMut::new()) {
            ServerStep::Call(call) => prop_assert!(same(&call.batch, &batch)),
            ServerStep::Replied => prop_assert!(false, "no call"),
        }
    }

    #[test]
    fn buffers_mean_nothing_and_neither_do_pieces(
        messages in vec((any::<i32>(), vec(any::<u8>(), 0..400), vec(any::<usize>(), 0..30)), 1..5),
        cuts in vec(any::<usize>(), 0..40),
    ) {
        let mut bytes = BytesMut::new();
        for (serial, message, cuts) in &messages {
            let parts = pieces(message, cuts);
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            encode_frame(*serial, &parts, &mut bytes).unwrap();
        }
        let expected: Vec<Frame> = messages
            .iter()
            .map(|(serial, message, _)| Frame { serial: *serial, payload: Bytes::copy_from_slice(message) })
            .collect();
        let (frames, error, _) = feed(&pieces(&bytes, &cuts), FrameLimits::default());
        prop_assert_eq!((frames, error), (expected, None));
    }

    #[test]
    fn any_bytes_are_frames_or_an_error_in_bounded_memory(
        bytes in vec(prop_oneof![3 => Just(0u8), 2 => 0u8..4, 1 => any::<u8>()], 0..500),
        cuts in vec(any::<usize>(), 0..40),
    ) {
        let limits = FrameLimits { max_frame_bytes: 1 << 30, max_buffers: 100 };
        let (frames, error, held) = feed(&pieces(&bytes, &cuts), limits);
        prop_assert!(held <= 256 << 10, "{} bytes held", held);
        let (again, error_again, _) = feed(std::slice::from_ref(&bytes), limits);
        prop_assert_eq!((frames, error), (again, error_again));
    }

    #[test]
    fn any_message_is_answered_or_called(messages in vec(nearly_calls(), 1..20)) {
        let mut server = connected();
        for message in messages {
            let mut out = BytesMut::new();
            let length = message.len();
            match server.handle(Frame { serial: 9, payload: message.into() }, &mut out) {
                ServerStep::Replied => {}
                ServerStep::Call(call) => {
                    prop_assert!(call.batch.len() <= length / 2);
                    call.reply.write(Status::Ok, &mut out);
                }
            }
            let (frames, error, _) = feed(&[out.to_vec()], FrameLimits::default());
            prop_assert_eq!((frames.len(), error), (1, None));
        }
    }

    #[test]
    fn any_first_message_is_answered(message in vec(any::<u8>(), 0..200), known in any::<bool>()) {
        let mut server = ServerConnection::new(Arc::new(ProtocolCache::new()), EventLimits::default());
        let mut payload = if known { protocol::OWN_HASH.to_vec() } else { Vec::new() };
        payload.extend(message);
        let mut out = BytesMut::new();
        if let ServerStep::Call(call) = server.handle(Frame { serial: 9, payload: payload.into() }, &mut out) {
            call.reply.error("no", &mut out);
        }
        prop_assert!(!out.is_empty());
    }

    #[test]
    fn any_reply_is_a_step_or_an_error(replies in vec(vec(0u8..8, 0..60), 1..5)) {
        let mut client = ClientConnection::default();
        for payload in replies {
            let serial = client.append_batch(&Batch::default(), &mut BytesMut::new()).unwrap_or(1);
            let _ = client.handle(&Frame { serial, payload: payload.into() });
        }
    }

    #[test]
    fn any_text_is_a_protocol_or_an_error(text in "\\PC{0,200}", cut in 0usize..1334, byte: u8) {
        let _ = Protocol::parse(text.as_bytes());
        let mut own = protocol::OWN_TEXT.as_bytes().to_vec();
        own[cut] = byte;
        let _ = Protocol::parse(&own);
        let _ = Protocol::parse(&own[..cut]);
    }
}
