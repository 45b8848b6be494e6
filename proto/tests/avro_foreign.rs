//! Clients whose protocol differs from Flume's: more fields, other orders, bytes for strings, unions
//! (`flume/wire.md` 1.14).

#![allow(clippy::unwrap_used, reason = "a test may")]

use bytes::{Bytes, BytesMut};
use proto::avro::*;
use proto::event::EventLimits;

/// A protocol whose event has these fields and whose parameters these types.
fn protocol(types: &str, event: &str, events: &str) -> Protocol {
    let text = format!(
        r#"{{"protocol":"P","namespace":"n","doc":"d","types":[{types}],"messages":{{
        "append":{{"request":{event},"response":"string"}},
        "appendBatch":{{"request":{events},"response":"string","x":1}}}}}}"#
    );
    Protocol::parse(text.as_bytes()).unwrap()
}

/// A protocol that differs in the fields of its event only.
fn event_of(fields: &str) -> Protocol {
    protocol(
        &format!(r#"{{"type":"record","name":"E","fields":[{fields}]}}"#),
        r#"[{"name":"event","type":"E"}]"#,
        r#"[{"name":"events","type":{"type":"array","items":"n.E"}}]"#,
    )
}

fn read(protocol: &Protocol, message: Message, bytes: &[u8]) -> Result<String, String> {
    let payload = Bytes::copy_from_slice(bytes);
    let batch = protocol.read_parameters(message, &payload, 0, EventLimits::default());
    let batch = batch.map_err(|error| error.to_string())?;
    let event = |event: proto::event::EventView<'_>| {
        let headers: Vec<String> = event
            .headers()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!("{}|{}", headers.join(","), String::from_utf8_lossy(event.body()))
    };
    Ok(batch.iter().map(event).collect::<Vec<_>>().join(" "))
}

/// Reads one event, by both messages.
#[track_caller]
fn check(protocol: &Protocol, event: &[u8], expected: Result<&str, &str>) {
    let expected = expected.map(str::to_owned).map_err(str::to_owned);
    assert_eq!(read(protocol, Message::Append, event), expected);
    let array = [b"\x02", event, b"\0"].concat();
    match (read(protocol, Message::AppendBatch, &array), expected) {
        (Err(_), Err(_)) => {}
        (found, expected) => assert_eq!(found, expected),
    }
}

const HEADERS: &str = r#"{"name":"headers","type":{"type":"map","values":"string"}}"#;
const BODY: &str = r#"{"name":"body","type":"bytes"}"#;

#[test]
fn fields_come_in_any_order() {
    check(
        &event_of(&format!("{BODY},{HEADERS}")),
        b"\x04hi\x02\x02a\x02b\0",
        Ok("a=b|hi"),
    );
}

#[test]
fn bytes_serve_as_strings_and_the_reverse() {
    let fields =
        r#"{"name":"headers","type":{"type":"map","values":"bytes"}},{"name":"body","type":"string"}"#;
    check(&event_of(fields), b"\x02\x02a\x02b\0\x04hi", Ok("a=b|hi"));
}

#[test]
fn properties_of_a_type_do_not_matter() {
    let fields = r#"{"name":"headers","type":{"type":"map","values":{"type":"string","avro.java.string":"String"},
        "avro.java.string":"String"}},{"name":"body","type":{"type":"bytes"},"default":"","order":"ignore"}"#;
    check(&event_of(fields), b"\x02\x02a\x02b\0\x04hi", Ok("a=b|hi"));
}

#[test]
fn extra_fields_of_every_type_are_passed_over() {
    for (of, bytes) in [
        (r#""null""#, &b""[..]),
        (r#""boolean""#, b"\x01"),
        (r#""int""#, b"\x80\x01"),
        (r#""float""#, b"1234"),
        (r#""double""#, b"12345678"),
        (r#""string""#, b"\x02x"),
        (r#"{"type":"fixed","name":"F","size":2}"#, b"ff"),
        (r#"{"type":"enum","name":"N","symbols":["A"]}"#, b"\0"),
        (
            r#"{"type":"array","items":"long"}"#,
            b"\x04\x02\x02\x01\x02\x02\0",
        ),
        (
            r#"{"type":"map","values":["null","int"]}"#,
            b"\x04\x02k\0\x02l\x02\x08\0",
        ),
        (
            r#"{"type":"record","name":"R","fields":[{"name":"f","type":["null","R"]}]}"#,
            b"\x02\x02\0",
        ),
    ] {
        let extra = format!(r#"{{"name":"extra","type":{of}}}"#);
        let event = [b"\0", bytes, b"\x04hi"].concat();
        check(&event_of(&format!("{HEADERS},{extra},{BODY}")), &event, Ok("|hi"));
    }
}

#[test]
fn extra_parameters_are_passed_over() {
    let record = format!(r#"{{"type":"record","name":"E","fields":[{HEADERS},{BODY}]}}"#);
    let more = protocol(
        &record,
        r#"[{"name":"token","type":"string"},{"name":"event","type":"E"},{"name":"n","type":"int"}]"#,
        r#"[{"name":"token","type":"string"},{"name":"events","type":{"type":"array","items":"E"}}]"#,
    );
    assert_eq!(
        read(&more, Message::Append, b"\x02t\0\x04hi\x02"),
        Ok("|hi".into())
    );
    assert_eq!(
        read(&more, Message::AppendBatch, b"\x02t\x04\0\x04hi\0\x02x\0"),
        Ok("|hi |x".into())
    );
}

#[test]
fn the_chosen_branch_of_a_union_must_fit() {
    let fields = r#"{"name":"headers","type":["null",{"type":"map","values":["string","int"]}]},
        {"name":"body","type":["bytes","null"]}"#;
    let unions = event_of(fields);
    check(&unions, b"\x02\x02\x02a\0\x02b\0\0\x04hi", Ok("a=b|hi"));
    check(
        &unions,
        b"\0\0\x04hi",
        Err("Found branch 0 of a union, which does not fit"),
    );
    check(
        &unions,
        b"\x02\x02\x02a\x02\x02\0\0\x04hi",
        Err("Found branch 1 of a union, which does not fit"),
    );
    check(
        &unions,
        b"\x04",
        Err("byte 0: expected the index of a branch of the union"),
    );
}

#[test]
fn what_flume_needs_must_be_there_and_fit() {
    check(
        &event_of(HEADERS),
        b"\0",
        Err("event: Found a record, missing required field body"),
    );
    let int_body = event_of(&format!(r#"{HEADERS},{{"name":"body","type":"int"}}"#));
    check(
        &int_body,
        b"\0\0",
        Err("event: body: Found int or long, expecting string or bytes"),
    );
    let lists = event_of(&format!(
        r#"{{"name":"headers","type":{{"type":"array","items":"int"}}}},{BODY}"#
    ));
    check(&lists, b"\0\0", Err("event: headers: Found array, expecting map"));
    let record = format!(r#"{{"type":"record","name":"E","fields":[{HEADERS},{BODY}]}}"#);
    let renamed = protocol(
        &record,
        r#"[{"name":"e","type":"E"}]"#,
        r#"[{"name":"events","type":"E"}]"#,
    );
    let missing = "Found a record, missing required field event";
    assert_eq!(read(&renamed, Message::Append, b"\0\0"), Err(missing.into()));
    let array = "events: Found record, expecting array";
    assert_eq!(read(&renamed, Message::AppendBatch, b"\0\0"), Err(array.into()));
}

#[test]
fn a_call_that_does_not_resolve_is_a_type_exception_behind_the_handshake() {
    let text = include_str!("../vectors/avro/protocol_no_doc.avpr").replace("\"body\"", "\"payload\"");
    let mut call = BytesMut::new();
    let (client_hash, server_hash) = (protocol::hash_of(text.as_bytes()), protocol::OWN_HASH);
    let client_text = Some(text.as_bytes());
    handshake::HandshakeRequest {
        client_hash,
        client_text,
        server_hash,
    }
    .write(&mut call);
    call.extend_from_slice(b"\0\x0cappend\0\0");
    let mut out = BytesMut::new();
    let mut server = ServerConnection::new(Default::default(), EventLimits::default());
    let step = server.handle(
        Frame {
            serial: 1,
            payload: call.freeze(),
        },
        &mut out,
    );
    assert!(matches!(step, ServerStep::Replied));
    assert_eq!(out[8..16], [0, 0, 0, 4, 0, 0, 0, 0]);
    let expected = "org.apache.avro.AvroTypeException: event: Found a record, missing required field body";
    assert!(String::from_utf8_lossy(&out).ends_with(expected), "{out:?}");
    assert!(server.is_connected());
}

#[test]
fn names_are_found_by_namespace_and_by_short_name() {
    let types = format!(
        r#"{{"type":"enum","name":"other.N","symbols":["A"]}},
        {{"type":"record","name":"E","namespace":"other","fields":[{HEADERS},{{"name":"n","type":"N"}},{BODY}]}}"#
    );
    let named = protocol(
        &types,
        r#"[{"name":"event","type":"other.E"}]"#,
        r#"[{"name":"events","type":{"type":"array","items":{"type":"other.E"}}}]"#,
    );
    check(&named, b"\0\0\x04hi", Ok("|hi"));
}

#[test]
fn broken_utf_8_is_repaired_in_foreign_events_too() {
    check(
        &event_of(&format!("{BODY},{HEADERS}")),
        b"\x04hi\x02\x02\xff\x02b\0",
        Ok("\u{fffd}=b|hi"),
    );
}

#[test]
fn fields_without_bytes_cost_nothing() {
    let nulls: Vec<String> = (0..10_000)
        .map(|n| format!(r#"{{"name":"f{n}","type":"null"}}"#))
        .collect();
    let wide = event_of(&format!("{},{HEADERS},{BODY}", nulls.join(",")));
    let mut array = BytesMut::new();
    datum::put_long(&mut array, 500_000);
    array.resize(array.len() + 1_000_001, 0);
    let batch = wide.read_parameters(Message::AppendBatch, &array.freeze(), 0, EventLimits::default());
    assert_eq!(batch.unwrap().len(), 500_000);
}
