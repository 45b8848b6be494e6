//! Flume's own bytes against both connection machines: the vectors of `vectors/avro/` and the acceptance cases of
//! `flume/wire.md` 13 that concern bytes.

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::{BufMut, Bytes, BytesMut};
use proto::avro::*;
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::sync::Arc;

macro_rules! vector {
    ($name:literal) => {
        unhex(include_str!(concat!("../vectors/avro/", $name, ".hex")))
    };
}

fn unhex(text: &str) -> Vec<u8> {
    let text = text.trim();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Headers and body, readable: `a=b|hello`.
fn show(batch: &Batch) -> Vec<String> {
    let header = |(key, value): (&str, &str)| format!("{key}={value}");
    let event = |event: proto::event::EventView<'_>| {
        let headers: Vec<String> = event.headers().map(header).collect();
        format!("{}|{}", headers.join(","), String::from_utf8_lossy(event.body()))
    };
    batch.iter().map(event).collect()
}

type Given<'a> = (&'a [(&'a str, &'a str)], &'a [u8]);

fn batch(events: &[Given<'_>]) -> Batch {
    let mut builder = BatchBuilder::new(EventLimits::default());
    for (headers, body) in events {
        builder.push(headers.iter().copied(), body).unwrap();
    }
    builder.finish()
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = FrameDecoder::new(FrameLimits::default());
    let mut input = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.next_frame(&mut input).unwrap() {
        frames.push(frame);
    }
    assert!(input.is_empty() && !decoder.in_frame());
    frames
}

/// A source that stores everything and answers with one status.
struct Source {
    protocols: Arc<ProtocolCache>,
    connection: ServerConnection,
    status: Status,
    stored: Vec<String>,
}

impl Source {
    fn new() -> Self {
        let protocols = Arc::new(ProtocolCache::new());
        let connection = ServerConnection::new(Arc::clone(&protocols), EventLimits::default());
        Self {
            protocols,
            connection,
            status: Status::Ok,
            stored: Vec::new(),
        }
    }

    /// A source whose client has made call A1.
    fn connected() -> Self {
        let mut source = Self::new();
        source.check(&vector!("a1_call"), &vector!("a1_reply"), &["a=b|hello"]);
        source
    }

    fn reconnect(&mut self) {
        self.connection = ServerConnection::new(Arc::clone(&self.protocols), EventLimits::default());
    }

    fn answer(&mut self, call: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for frame in frames(call) {
            match self.connection.handle(frame, &mut out) {
                ServerStep::Replied => {}
                ServerStep::Call(call) => {
                    self.stored.extend(show(&call.batch));
                    call.reply.write(self.status, &mut out);
                }
            }
        }
        out.to_vec()
    }

    #[track_caller]
    fn check(&mut self, call: &[u8], reply: &[u8], stored: &[&str]) {
        self.stored.clear();
        assert_eq!(hex(&self.answer(call)), hex(reply));
        assert_eq!(self.stored, stored);
    }

    /// A call whose answer is a system error; returns its text.
    #[track_caller]
    fn refused(&mut self, call: &[u8]) -> String {
        self.stored.clear();
        let reply = frames(&self.answer(call)).remove(0).payload;
        assert!(self.stored.is_empty());
        let flag = reply
            .windows(3)
            .position(|part| part == [0, 1, 0])
            .expect("an error reply");
        let text = reply.slice(flag + 3..);
        let skip = text.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        String::from_utf8(text[skip..].to_vec()).unwrap()
    }
}

fn call(serial: i32, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_frame(serial, parts, &mut out).unwrap();
    out.to_vec()
}

const APPEND: &[u8] = b"\x00\x0cappend";
const APPEND_BATCH: &[u8] = b"\x00\x16appendBatch";

#[test]
fn a_first_call_is_answered_with_both_and_ok() {
    Source::connected();
}

#[test]
fn a_second_call_goes_without_handshake() {
    Source::connected().check(&vector!("a2_call"), &vector!("a2_reply"), &["|"]);
}

#[test]
fn a_batch_keeps_its_order() {
    let mut source = Source::connected();
    let reply = hex(&vector!("a2_reply")).replacen("00000002", "00000003", 1);
    source.check(&vector!("a3_call"), &unhex(&reply), &["|x", "a=b|y"]);
}

#[test]
fn a_ping_is_answered_with_the_handshake_alone_and_connects() {
    let mut source = Source::new();
    source.check(&vector!("a8_call"), &vector!("a8_reply"), &[]);
    source.check(&vector!("a2_call"), &vector!("a2_reply"), &["|"]);
    source.check(&call(3, &[b"\0\0"]), &unhex("000000030000000100000000"), &[]);
}

#[test]
fn a_foreign_client_introduces_itself_and_is_remembered() {
    let mut source = Source::new();
    source.check(&vector!("n1_call"), &vector!("n1_reply"), &[]);
    assert!(!source.connection.is_connected());
    source.check(&vector!("n2_call"), &vector!("n2_reply"), &["|n2"]);
    source.reconnect();
    source.check(&vector!("c1_call"), &vector!("c1_reply"), &["|c1"]);
}

#[test]
fn a_text_under_a_false_hash_serves_its_own_connection_only() {
    let mut source = Source::new();
    let mut call = vector!("n2_call");
    call[12] ^= 1;
    source.check(&call, &vector!("n2_reply"), &["|n2"]);
    source.reconnect();
    let mut call = vector!("c1_call");
    call[12] ^= 1;
    source.check(&call, &vector!("n1_reply"), &[]);
}

#[test]
fn an_unknown_message_is_a_system_error_and_the_connection_goes_on() {
    let mut source = Source::connected();
    source.check(&vector!("a6_call"), &vector!("a6_reply"), &[]);
    source.check(&vector!("a2_call"), &vector!("a2_reply"), &["|"]);
}

#[test]
fn a_message_that_only_the_client_has_is_named_with_our_protocol() {
    let mut source = Source::new();
    let text = include_str!("../vectors/avro/protocol_no_doc.avpr").replace("\"append\":", "\"ping\":");
    let mut first = BytesMut::new();
    let (client_hash, server_hash) = (protocol::hash_of(text.as_bytes()), protocol::OWN_HASH);
    handshake::HandshakeRequest {
        client_hash,
        client_text: Some(text.as_bytes()),
        server_hash,
    }
    .write(&mut first);
    first.put_slice(b"\0\x08ping\0\0");
    let found = source.refused(&call(1, &[&first]));
    let start =
        "org.apache.avro.AvroRuntimeException: No message named ping in {\"protocol\":\"AvroSourceProtocol\"";
    assert!(found.starts_with(start), "{found}");
    assert_eq!(
        source.refused(&call(2, &[APPEND])),
        "org.apache.avro.AvroRuntimeException: No such remote message: append"
    );
}

#[test]
fn cut_parameters_are_javas_eof() {
    Source::connected().check(&vector!("a7_call"), &vector!("a7_reply"), &[]);
}

#[test]
fn an_error_in_the_handshake_has_no_prefix_and_one_behind_it_has() {
    let mut source = Source::new();
    let eof = "0100286a6176612e696f2e454f46457863657074696f6e";
    let reply = |prefix: &str| unhex(&format!("0000000100000003{prefix}000000010000000017{eof}"));
    source.check(&call(1, &[b"short"]), &reply("00000000"), &[]);
    let mut cut = vector!("a1_call");
    cut.truncate(cut.len() - 16);
    source.check(&call(1, &[&cut[12..]]), &reply("0000000400000000"), &[]);
    source.check(&vector!("a2_call"), &vector!("a2_reply"), &["|"]);
}

#[test]
fn a_second_handshake_is_misread_as_a_call() {
    let mut source = Source::connected();
    assert_eq!(source.refused(&vector!("a1_call")), "java.io.EOFException");
}

#[test]
fn malformed_bytes_say_what_was_expected() {
    let text = Source::connected().refused(&call(2, &[APPEND, &[0, 1]]));
    let expected = "Malformed data. byte 9: expected a length of at least 0";
    assert_eq!(text, format!("org.apache.avro.AvroRuntimeException: {expected}"));
}

#[test]
fn a_client_text_that_is_no_protocol_is_a_schema_error() {
    let mut first = BytesMut::new();
    let request = handshake::HandshakeRequest {
        client_hash: [1; 16],
        client_text: Some(b"{}"),
        server_hash: [2; 16],
    };
    request.write(&mut first);
    let text = Source::new().refused(&call(1, &[&first, APPEND, &[0, 0]]));
    assert_eq!(
        text,
        "org.apache.avro.SchemaParseException: no protocol name specified"
    );
}

#[test]
fn negative_blocks_are_read() {
    let mut source = Source::connected();
    let event = call(2, &[APPEND, &vector!("a9_event")]);
    source.check(&event, &vector!("a2_reply"), &["a=b|neg"]);
    let events = call(2, &[APPEND_BATCH, &vector!("a10_events")]);
    source.check(&events, &vector!("a2_reply"), &["|i1", "|i1"]);
}

#[test]
fn a_call_in_buffers_of_one_byte_and_none_is_the_same_call() {
    let message = [APPEND, b"\x02\x02a\x02b\x00\x0ahello"].concat();
    let mut parts: Vec<&[u8]> = message.chunks(1).collect();
    parts.insert(3, b"");
    Source::connected().check(&call(2, &parts), &vector!("a2_reply"), &["a=b|hello"]);
}

#[test]
fn an_empty_batch_is_ok() {
    Source::connected().check(&vector!("a11_call"), &vector!("a2_reply"), &[]);
}

#[test]
fn a_refusing_channel_is_failed_with_and_without_handshake() {
    let mut source = Source::new();
    source.status = Status::Failed;
    source.check(&vector!("a1_call"), &vector!("a4_reply"), &["a=b|hello"]);
    source.check(&vector!("a2_call"), &vector!("a5_reply"), &["|"]);
}

#[test]
fn a_negative_serial_is_echoed() {
    let reply = hex(&vector!("a2_reply")).replacen("00000002", "fffffffb", 1);
    Source::connected().check(&call(-5, &[APPEND, &[0, 0]]), &unhex(&reply), &["|"]);
}

#[test]
fn the_last_of_two_equal_keys_wins() {
    let event = b"\x04\x02k\x021\x02k\x022\x00\x00";
    Source::connected().check(&call(2, &[APPEND, event]), &vector!("a2_reply"), &["k=2|"]);
}

#[test]
fn broken_utf_8_in_headers_becomes_replacement_characters() {
    let event = b"\x02\x04\xff\xfe\x02\xff\x00\x02\xff";
    let mut out = BytesMut::new();
    let mut source = Source::connected();
    let frame = frames(&call(2, &[APPEND, event])).remove(0);
    let ServerStep::Call(call) = source.connection.handle(frame, &mut out) else {
        panic!("no call")
    };
    let event = call.batch.get(0).unwrap();
    assert_eq!(
        event.headers().collect::<Vec<_>>(),
        [("\u{fffd}\u{fffd}", "\u{fffd}")]
    );
    assert_eq!(event.body(), [0xff]);
}

#[test]
fn metadata_and_trailing_bytes_are_ignored() {
    let with_metadata = b"\x02\x02k\x04vv\x00\x0cappend";
    let event = b"\x00\x02x and more";
    Source::connected().check(&call(2, &[with_metadata, event]), &vector!("a2_reply"), &["|x"]);
}

#[test]
fn events_over_the_limits_are_refused_by_name() {
    let limits = EventLimits {
        body_bytes: 4,
        ..EventLimits::default()
    };
    let mut source = Source::new();
    source.connection = ServerConnection::new(Arc::clone(&source.protocols), limits);
    let text = source.refused(&vector!("a1_call"));
    let expected = "bytes of a body: found 5, allowed are at most 4";
    assert_eq!(text, format!("org.apache.avro.AvroRuntimeException: {expected}"));
}

#[test]
fn events_stand_in_the_read_buffer() {
    let frame = frames(&vector!("a1_call")).remove(0);
    let memory = frame.payload.as_ptr_range();
    let mut source = Source::new();
    let ServerStep::Call(call) = source.connection.handle(frame, &mut BytesMut::new()) else {
        panic!("no call")
    };
    assert!(memory.contains(&call.batch.get(0).unwrap().body().as_ptr()));
    assert_eq!((call.message, call.reply.serial()), (Message::Append, 1));
    call.reply.error("org.example.Full", &mut BytesMut::new());
}

/// Calls of a client and what it makes of the replies.
fn replies_to(client: &mut ClientConnection, bytes: &[u8]) -> Vec<Result<ClientStep, ClientError>> {
    frames(bytes).iter().map(|frame| client.handle(frame)).collect()
}

fn done(serial: i32) -> Result<ClientStep, ClientError> {
    Ok(ClientStep::Done {
        serial,
        outcome: Ok(()),
    })
}

#[test]
fn the_clients_calls_are_javas_bytes() {
    let mut client = ClientConnection::default();
    let mut out = BytesMut::new();
    let hello = batch(&[(&[("a", "b")], b"hello")]);
    assert_eq!(client.append(&hello.get(0).unwrap(), &mut out), Ok(1));
    assert_eq!(hex(&out.split()), hex(&vector!("a1_call")));
    assert_eq!(
        client.append(&hello.get(0).unwrap(), &mut out),
        Err(ClientError::Opening)
    );
    assert!(out.is_empty());
    assert_eq!(replies_to(&mut client, &vector!("a1_reply")), [done(1)]);
    let empty = batch(&[(&[], b"")]);
    assert_eq!(client.append(&empty.get(0).unwrap(), &mut out), Ok(2));
    assert_eq!(hex(&out.split()), hex(&vector!("a2_call")));
    assert_eq!(
        client.append_batch(&batch(&[(&[], b"x"), (&[("a", "b")], b"y")]), &mut out),
        Ok(3)
    );
    assert_eq!(hex(&out.split()), hex(&vector!("a3_call")));
    let failed = Err(CallError::Status(Status::Failed));
    let expected = Ok(ClientStep::Done {
        serial: 2,
        outcome: failed,
    });
    assert_eq!(replies_to(&mut client, &vector!("a5_reply")), [expected]);
    let text = "org.apache.avro.AvroRuntimeException: No such remote message: nosuch".to_owned();
    let expected = Ok(ClientStep::Done {
        serial: 3,
        outcome: Err(CallError::System(text)),
    });
    assert_eq!(replies_to(&mut client, &vector!("a6_reply")), [expected]);
    assert_eq!(client.append_batch(&Batch::default(), &mut out), Ok(4));
    assert_eq!(
        hex(&out.split()),
        hex(&vector!("a11_call")).replacen("00000002", "00000004", 1)
    );
}

#[test]
fn a_first_batch_has_the_shape_of_a1() {
    let mut out = BytesMut::new();
    let events = batch(&[(&[("a", "b")], b"hello")]);
    assert_eq!(ClientConnection::default().append_batch(&events, &mut out), Ok(1));
    let a1 = hex(&vector!("a1_call"));
    let name = "16617070656e644261746368";
    let expected = a1
        .replacen("0000002b", "00000030", 1)
        .replacen("0c617070656e64", name, 1);
    assert_eq!(
        hex(&out),
        expected.replacen("0000000c", "0000000e", 1).replacen(
            "0202610262000a68656c6c6f",
            "020202610262000a68656c6c6f00",
            1
        )
    );
}

#[test]
fn a_server_that_answers_none_gets_the_call_again_with_the_text() {
    let mut client = ClientConnection::default();
    let mut out = BytesMut::new();
    let events = batch(&[(&[], b"x")]);
    assert_eq!(client.append_batch(&events, &mut out), Ok(1));
    out.clear();
    assert_eq!(
        replies_to(&mut client, &vector!("n1_reply")),
        [Ok(ClientStep::Resend { serial: 1 })]
    );
    assert_eq!(client.append_batch(&events, &mut out), Ok(2));
    let first = frames(&out).remove(0).payload;
    let request = handshake::HandshakeRequest::read(&mut datum::Datum::new(&first)).unwrap();
    assert_eq!(request.client_text, Some(protocol::OWN_TEXT.as_bytes()));
    let mut again = vector!("n1_reply");
    again[3] = 2;
    assert_eq!(replies_to(&mut client, &again), [Err(ClientError::Unwelcome)]);
    assert_eq!(client.append_batch(&events, &mut out), Err(ClientError::Broken));
}

#[test]
fn a_foreign_servers_hash_and_symbols_are_learnt_and_kept() {
    let text = include_str!("../vectors/avro/protocol_no_doc.avpr")
        .replace("\"OK\",\"FAILED\"", "\"FAILED\",\"OK\"");
    let hash = protocol::hash_of(text.as_bytes());
    let response = handshake::HandshakeResponse {
        matched: handshake::Match::Client,
        server_text: Some(text.as_bytes()),
        server_hash: Some(hash),
    };
    let mut out = BytesMut::new();
    response.write(&mut out);
    out.put_slice(&[0, 0, 2]);
    let reply = call(1, &[&out]);
    let mut client = ClientConnection::default();
    client
        .append_batch(&Batch::default(), &mut BytesMut::new())
        .unwrap();
    assert_eq!(replies_to(&mut client, &reply), [done(1)]);
    let mut next = ClientConnection::new(client.server().clone());
    let mut out = BytesMut::new();
    next.append_batch(&Batch::default(), &mut out).unwrap();
    let first = frames(&out).remove(0).payload;
    assert_eq!(
        handshake::HandshakeRequest::read(&mut datum::Datum::new(&first))
            .unwrap()
            .server_hash,
        hash
    );
    assert_eq!(
        replies_to(&mut next, &call(1, &[&[0, 0, 0, 0, 0, 0, 2]])),
        [done(1)]
    );
}

#[test]
fn pipelined_calls_are_matched_by_serial_in_any_order() {
    let mut client = ClientConnection::default();
    let mut out = BytesMut::new();
    client.append_batch(&Batch::default(), &mut out).unwrap();
    assert_eq!(replies_to(&mut client, &vector!("a1_reply")), [done(1)]);
    let serials: Vec<i32> = (0..40)
        .map(|_| client.append_batch(&Batch::default(), &mut out).unwrap())
        .collect();
    assert_eq!(serials, (2..42).collect::<Vec<_>>());
    for serial in serials.into_iter().rev() {
        assert_eq!(
            replies_to(&mut client, &call(serial, &[&[0, 0, 0]])),
            [done(serial)]
        );
    }
    assert_eq!(client.in_flight(), 0);
    assert_eq!(
        replies_to(&mut client, &vector!("a2_reply")),
        [Err(ClientError::UnknownSerial(2))]
    );
}

#[test]
fn an_error_inside_of_the_handshake_is_told_from_garbage() {
    let opening = || {
        let mut client = ClientConnection::default();
        client
            .append_batch(&Batch::default(), &mut BytesMut::new())
            .unwrap();
        client
    };
    let refusal = call(1, &[b"\0\x01\x00\x06eof"]);
    assert_eq!(
        replies_to(&mut opening(), &refusal),
        [Err(ClientError::Handshake("eof".into()))]
    );
    assert!(matches!(
        replies_to(&mut opening(), &call(1, &[b"\x08"]))[..],
        [Err(ClientError::Decode(_))]
    ));
}

#[test]
fn our_client_and_our_server_understand_each_other() {
    let mut source = Source::new();
    let mut client = ClientConnection::default();
    let events = batch(&[(&[("k", "ü"), ("l", "")], b"one"), (&[], b"")]);
    for serial in 1..4 {
        let mut out = BytesMut::new();
        assert_eq!(client.append_batch(&events, &mut out), Ok(serial));
        let reply = source.answer(&out);
        assert_eq!(replies_to(&mut client, &reply), [done(serial)]);
    }
    assert_eq!(source.stored, ["k=ü,l=|one", "|"].repeat(3));
}

#[test]
fn an_array_of_events_survives_on_its_own() {
    let events = batch(&[(&[("a", "b")], b"x"), (&[], b"y")]);
    let mut out = BytesMut::new();
    encode_events(&events, &mut out);
    assert_eq!(
        show(&decode_events(&out.freeze(), EventLimits::default()).unwrap()),
        ["a=b|x", "|y"]
    );
    let event = Bytes::from(vector!("a9_event"));
    assert_eq!(
        show(&decode_event(&event, EventLimits::default()).unwrap()),
        ["a=b|neg"]
    );
}
