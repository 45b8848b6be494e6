//! Messages and what becomes of them, by the numbers of the acceptance cases of `flume/sources.md` 13.

use super::*;
use crate::event::{Batch, BatchBuilder, EventLimits};
use proptest::prelude::*;
use std::borrow::Cow;

/// 2026-11-20T00:00:00Z.
const NOW: i64 = 1_795_132_800_000;
const UTC: &dyn Fn(i64) -> i64 = &|_| 0;
const NEW_YORK: &dyn Fn(i64) -> i64 = &|_| -4 * 3_600;

fn at(offset_seconds: &dyn Fn(i64) -> i64) -> When<'_> {
    When {
        now_unix_ms: NOW,
        offset_seconds,
    }
}

/// Events as `key=value,... | body`.
fn shown(batch: &Batch) -> Vec<String> {
    let event = |event: crate::event::EventView<'_>| {
        let headers: Vec<String> = event.headers().map(|(k, v)| format!("{k}={v}")).collect();
        format!(
            "{} | {}",
            headers.join(","),
            String::from_utf8_lossy(event.body())
        )
    };
    batch.iter().map(event).collect()
}

fn legacy_of(stream: &[u8], keep: &str, when: &When<'_>, size: usize) -> Vec<String> {
    let (mut framing, mut parser) = (Framing::new(size).counting(), Legacy::new(KeepFields::of(keep)));
    let mut builder = BatchBuilder::new(EventLimits::default());
    let mut input = stream;
    while let Some(message) = framing.next(&mut input) {
        parser.push(message, None, when, &[], &mut builder).unwrap();
    }
    shown(&builder.finish())
}

#[track_caller]
fn legacy(stream: &str, expected: &[&str]) {
    assert_eq!(legacy_of(stream.as_bytes(), "none", &at(UTC), 2_500), expected);
}

fn multiport_of(stream: &[u8], keep: &str, size: usize) -> Vec<String> {
    let mut framing = Framing::new(size).counting().keeping_cr();
    let mut parser = Multiport::new(KeepFields::of(keep));
    let mut builder = BatchBuilder::new(EventLimits::default());
    let mut input = stream;
    while let Some(message) = framing.next(&mut input) {
        let text = std::str::from_utf8(message.bytes).ok();
        parser
            .push(
                message,
                text,
                |t| Cow::Borrowed(t.as_bytes()),
                NOW,
                &[],
                &mut builder,
            )
            .unwrap();
    }
    shown(&builder.finish())
}

#[track_caller]
fn multiport(stream: &str, expected: &[&str]) {
    assert_eq!(multiport_of(stream.as_bytes(), "none", 2_500), expected);
}

const MESSAGE: &str = "<13>1 2012-04-13T11:11:11Z host1 a msg\n";
const MESSAGE_EVENT: &str =
    "Facility=1,Severity=5,priority=13,version=1,timestamp=1334315471000,host=host1 | a msg";

#[test]
fn kept_fields_are_found_in_any_list() {
    let list = KeepFields::of(" Priority;version TIMESTAMP,hostname ");
    assert!(list.priority && list.version && list.timestamp && list.hostname && !list.all);
    assert!(KeepFields::of("TRUE").all && KeepFields::of("all").all);
    for none in ["none", "False", "", "facility"] {
        assert!(KeepFields::of(none).is_none(), "{none}");
    }
}

#[test]
fn legacy_cases_49_to_53_and_55() {
    legacy(MESSAGE, &[MESSAGE_EVENT]);
    let unmatched = "Facility=1,Severity=2 | <10>Good good data";
    legacy("<10>Good good data\n", &[unmatched]);
    legacy(
        &format!("{MESSAGE}<10>Good good data\n"),
        &[MESSAGE_EVENT, unmatched],
    );
    let invalid = |body: &str| format!("Facility=0,Severity=0,flume.syslog.status=Invalid | {body}");
    for body in [
        "bad line",
        "<>empty",
        "<1234>x",
        "<10F> b",
        "no priority line",
        "<",
        "<1",
        "45 <34>1 2003-10-11T22:14:15.003Z h a - - - oc",
    ] {
        legacy(&format!("{body}\n"), &[&invalid(body)]);
    }
    legacy(
        "<14>1 - - nul\n",
        &["Facility=1,Severity=6,priority=14,version=1 | nul"],
    );
}

#[test]
fn legacy_case_54_cuts_at_the_size() {
    let head = "<13>1 2012-04-13T11:11:11Z host1 ";
    let stream = format!("{head}{}\n", "x".repeat(183 - head.len()));
    let expected = [
        format!(
            "Facility=1,Severity=5,priority=13,version=1,timestamp=1334315471000,host=host1,flume.syslog.status=Incomplete | {}",
            "x".repeat(100 - head.len())
        ),
        format!(
            "Facility=0,Severity=0,flume.syslog.status=Invalid | {}",
            "x".repeat(83)
        ),
    ];
    assert_eq!(legacy_of(stream.as_bytes(), "none", &at(UTC), 100), expected);
    let long = format!("<13>{}\n", "L".repeat(3_000));
    let found = legacy_of(long.as_bytes(), "none", &at(UTC), 2_500);
    assert_eq!(
        found[0],
        format!(
            "Facility=1,Severity=5,flume.syslog.status=Incomplete | {}",
            &long[..2_500]
        )
    );
    assert_eq!(
        found[1],
        format!(
            "Facility=0,Severity=0,flume.syslog.status=Invalid | {}",
            "L".repeat(504)
        )
    );
}

#[test]
fn legacy_case_56_honours_zones_behind_fractions() {
    let stamp = |text: &str, when: &When<'_>| {
        let found = legacy_of(format!("<14>{text} h2 x\n").as_bytes(), "none", when, 2_500);
        let (_, rest) = found[0].split_once("timestamp=").unwrap();
        rest.split_once(',').unwrap().0.parse::<i64>().unwrap()
    };
    for when in [at(UTC), at(NEW_YORK)] {
        assert_eq!(stamp("2012-04-13T11:11:11.5+08:00", &when), 1_334_286_671_500);
        assert_eq!(stamp("2012-04-13T11:11:11.003999999Z", &when), 1_334_315_471_003);
        assert_eq!(stamp("2012-04-13T11:11:11Z", &when), 1_334_315_471_000);
    }
    assert_eq!(stamp("2012-04-13T11:11:11", &at(NEW_YORK)), 1_334_329_871_000);
    assert_eq!(stamp("2012-04-13T11:11:11.25", &at(NEW_YORK)), 1_334_329_871_250);
    assert_eq!(stamp("Oct 11 22:14:15", &at(NEW_YORK)), 1_791_771_255_000);
    assert_eq!(
        stamp("2012-13-45T11:11:11Z", &at(UTC)),
        1_360_840_271_000,
        "dates are lenient"
    );
}

#[test]
fn legacy_cases_57_to_59_keep_fields_and_end_with_crlf() {
    let body = |stream: &str, keep: &str| {
        let found = legacy_of(stream.as_bytes(), keep, &at(UTC), 2_500);
        found[0].split_once(" | ").unwrap().1.to_owned()
    };
    assert_eq!(
        body(MESSAGE, "priority,version,timestamp,hostname"),
        MESSAGE.trim_end()
    );
    assert_eq!(
        body(MESSAGE, "hostname timestamp"),
        "2012-04-13T11:11:11Z host1 a msg"
    );
    assert_eq!(body(MESSAGE, "true"), MESSAGE.trim_end());
    assert_eq!(body("<14>1 - - nul\n", "timestamp hostname"), "- - nul");
    assert_eq!(body("<14>Oct  1 00:00:00 h \n", "none"), "<14>Oct  1 00:00:00 h ");
    assert_eq!(body("<10>Good good data\n", "priority"), "<10>Good good data");
    legacy(&MESSAGE.replace('\n', "\r\n"), &[MESSAGE_EVENT]);
}

#[test]
fn legacy_forms_are_those_of_flumes_patterns() {
    let form = |text: &str| {
        let found = legacy_of(format!("{text}\n").as_bytes(), "none", &at(UTC), 2_500);
        let headers = found[0].split_once(" | ").unwrap().0;
        ["version", "timestamp", "host"]
            .map(|key| headers.contains(&format!("{key}=")))
            .map(u8::from)
    };
    for (text, expected) in [
        ("<14>12012-04-13T11:11:11Z h x", [1, 1, 1]),
        ("<14>1\t2012-04-13T11:11:11Z\th\tx", [1, 1, 1]),
        ("<14> 2012-04-13T11:11:11Z h x", [0, 1, 1]),
        ("<14>2012-04-13T11:11:11Z - x", [0, 1, 0]),
        ("<14>- h x", [0, 0, 1]),
        ("<14>1 Oct 11 22:14:15 h.x@y-z x", [1, 1, 1]),
        ("<14>Oct 1 22:14:15 h x", [0, 1, 1]),
        ("<14>Foo 11 22:14:15 h x", [0, 0, 1]),
        ("<14>2012-04-13T11:11:11Z fe80::1%eth0 x", [0, 1, 1]),
        ("<14>Oct 11 22:14:15 [2001:db8::1] x", [0, 1, 1]),
        // No forms of either.
        ("<14>Oct 11 22:14:15 - x", [0, 0, 0]),
        ("<14>Oct 11 22:14:15 app: x", [0, 0, 0]),
        ("<14>1 2012-04-13T11:11:11z h x", [0, 0, 0]),
        ("<14>1 2012-04-13T11:11:11+0800 h x", [0, 0, 0]),
        ("<14>1 2012-04-13T11:11:11Z h", [0, 0, 0]),
        ("<14>1 2012-04-13T11:11:11Z -h x", [0, 0, 0]),
        ("<14>1  2012-04-13T11:11:11Z h x", [0, 0, 0]),
    ] {
        assert_eq!(form(text), expected, "{text}");
    }
}

#[test]
fn legacy_case_64_of_a_datagram() {
    let message = datagram(b"<13>Oct 25 04:00:00 h a\nb\n").unwrap();
    let mut builder = BatchBuilder::new(EventLimits::default());
    let extra = [("ip", "127.0.0.1"), ("hn", "localhost")];
    let parsed = Legacy::default().push(message, None, &at(UTC), &extra, &mut builder);
    assert_eq!(parsed, Ok(Parsed::Whole));
    let event =
        "Facility=1,Severity=5,priority=13,timestamp=1792900800000,host=h,ip=127.0.0.1,hn=localhost | a";
    assert_eq!(shown(&builder.finish()), [event]);
}

#[test]
fn legacy_case_61_takes_a_format_of_the_users_own() {
    let mut builder = BatchBuilder::new(EventLimits::default());
    let message = datagram(b"<13>2012/04/13 11:11:11 hostA custom body").unwrap();
    let custom = Fields {
        priority: "13",
        stamp: Some("2012/04/13 11:11:11"),
        unix_ms: Some(1_334_315_471_000),
        host: Some("hostA"),
        body: b"custom body",
        ..Fields::default()
    };
    Legacy::default()
        .push(message, Some(custom), &at(UTC), &[], &mut builder)
        .unwrap();
    let event = "Facility=1,Severity=5,priority=13,timestamp=1334315471000,host=hostA | custom body";
    assert_eq!(shown(&builder.finish()), [event]);
}

#[test]
fn bytes_that_are_not_utf8_stay_as_they_are() {
    let mut builder = BatchBuilder::new(EventLimits::default());
    let message = datagram(b"<13>Oct 25 04:00:00 h \xff\xe9").unwrap();
    Legacy::default()
        .push(message, None, &at(UTC), &[], &mut builder)
        .unwrap();
    assert_eq!(builder.finish().get(0).unwrap().body(), b"\xff\xe9");
}

const NEW_EVENT: &str =
    "Facility=1,Severity=5,Priority=13,Version=1,timestamp=1334315471000,host=host1 | a msg";
const INVALID: &str = "flume.syslog.status=Invalid | ";

#[test]
fn multiport_cases_65_to_68() {
    multiport(MESSAGE, &[NEW_EVENT]);
    let invalid = |body: &str| format!("{INVALID}{body}");
    for body in [
        "<10>Good good data",
        "<10>Good good data is no date at all",
        "no priority line",
        "<>x",
        "<1234567>x",
        "<1a>x",
        "<13>",
        "<13>1 2012-04-13T11:11:11Z host1",
        "<13>1 2012-04-13T11:11:11 h x",
        "<13>1 2012-04-13T11:11:11.123 h x",
        "<13>1 2012-04-13T11:11:11+0800 h x",
        "<13>1 2012-13-13T11:11:11Z h x",
        "<13>Foo 11 22:14:15 h x",
        "<13>Feb 30 22:14:15 h x",
    ] {
        multiport(&format!("{body}\n"), &[&invalid(body)]);
    }
    multiport(
        "<14>1 - - nul\n",
        &["Facility=1,Severity=6,Priority=14,Version=1,timestamp=1795132800000,host=- | nul"],
    );
    multiport(
        "<14>2012-04-13T11:11:11.5+08:00 h2 f\n",
        &["Facility=1,Severity=6,Priority=14,timestamp=1334286671500,host=h2 | f"],
    );
    multiport(
        "<-9>2012-04-13T11:11:11X h2 \r\n",
        &["Facility=-1,Severity=-1,Priority=-9,timestamp=1334315471000,host=h2 | \r"],
    );
    multiport(
        "<99999>Oct 11 22:14:15 h2 \n",
        &[
            "Facility=12499,Severity=7,Priority=99999,timestamp=1791756855000,host=h2 | <99999>Oct 11 22:14:15 h2 ",
        ],
    );
}

#[test]
fn multiport_case_69_finds_the_year() {
    let event = |stamp: &str, unix_ms: i64| {
        multiport(
            &format!("<34>{stamp} m x\n"),
            &[&format!(
                "Facility=4,Severity=2,Priority=34,timestamp={unix_ms},host=m | x"
            )],
        );
    };
    event("Oct 11 22:14:15", 1_791_756_855_000);
    event("Oct  1 22:14:15", 1_790_892_855_000);
    event("Oct 1 22:14:15", 1_790_892_855_000);
    event("Dec 30 01:02:03", 1_767_056_523_000);
    event("Feb 29 00:00:00", 1_709_164_800_000);
}

#[test]
fn multiport_cases_70_and_71_lose_nothing() {
    multiport(&format!("{MESSAGE}\n{MESSAGE}"), &[NEW_EVENT, NEW_EVENT]);
    let line = format!("{:x<100}", MESSAGE.trim_end());
    let whole = multiport_of(format!("{line}\n{line}x\n").as_bytes(), "none", 100);
    assert_eq!(whole.len(), 3);
    assert!(
        !whole[0].contains("status") && whole[1].contains("status=Incomplete"),
        "{whole:?}"
    );
    assert_eq!(whole[2], format!("{INVALID}x"));
    let cut = multiport_of(b"<13>no form\n", "none", 5);
    assert_eq!(cut[0], format!("{INVALID}<13>n"));
}

#[test]
fn multiport_keeps_fields_and_charsets() {
    let keep = |keep: &str| {
        multiport_of(b"<14>1 - - nul\n", keep, 100)[0]
            .split_once(" | ")
            .unwrap()
            .1
            .to_owned()
    };
    assert_eq!(keep("priority version timestamp hostname"), "<14>1 - - nul");
    assert_eq!(
        (keep("all"), keep("version")),
        ("<14>1 - - nul".into(), "1 nul".into())
    );
    fn latin1(text: &str) -> Cow<'_, [u8]> {
        Cow::Owned(text.chars().map(|c| c as u8).collect())
    }
    let message = datagram(b"<14>1 - - \xe9").unwrap();
    let mut builder = BatchBuilder::new(EventLimits::default());
    let mut parser = Multiport::default();
    let extra = [("port", "5140")];
    parser
        .push(
            message,
            Some("<14>1 - - \u{e9}"),
            latin1,
            NOW,
            &extra,
            &mut builder,
        )
        .unwrap();
    let parsed = parser.push(message, None, latin1, NOW, &extra, &mut builder);
    assert_eq!(parsed, Ok(Parsed::Invalid));
    let batch = builder.finish();
    assert_eq!(batch.get(0).unwrap().body(), b"\xe9");
    assert_eq!(batch.get(1).unwrap().body(), message.bytes);
    assert_eq!(batch.get(1).unwrap().headers().len(), 2);
}

#[test]
fn a_part_that_no_header_can_hold_makes_an_invalid_message() {
    let limits = EventLimits {
        value_bytes: 20,
        ..EventLimits::default()
    };
    let line = format!("<13>Oct 25 04:00:00 {} x", "h".repeat(21));
    let message = datagram(line.as_bytes()).unwrap();
    let mut builder = BatchBuilder::new(limits);
    let parsed = Legacy::default().push(message, None, &at(UTC), &[], &mut builder);
    assert_eq!(parsed, Ok(Parsed::Invalid));
    let parsed = Multiport::default().push(
        message,
        Some(&line),
        |t| Cow::Borrowed(t.as_bytes()),
        NOW,
        &[],
        &mut builder,
    );
    assert_eq!(parsed, Ok(Parsed::Invalid));
    assert_eq!(builder.len(), 2);
}

/// Mostly the right pieces in mostly the right order.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("<13>"),
        Just("<999>"),
        Just("1 "),
        Just("- "),
        Just("2012-04-13T11:11:11"),
        Just(".5"),
        Just("Z "),
        Just("+08:00 "),
        Just("Oct 11 22:14:15 "),
        Just("Feb 29 23:59:60 "),
        Just("host "),
        Just("::1 "),
        Just("text"),
        Just("\n"),
        Just("\r\n"),
        Just("\u{e9}"),
        Just("40 <13>"),
        Just("-"),
        Just("A"),
        Just(" "),
    ];
    let pieces = proptest::collection::vec(piece, 0..20).prop_map(|p| p.concat().into_bytes());
    prop_oneof![4 => pieces, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #[test]
    fn no_byte_that_was_received_is_lost_and_nothing_panics(stream in any_stream(), size in 1usize..80) {
        let mut whole = stream.clone();
        whole.push(b'\n');
        let bodies = |found: Vec<String>| found.iter().map(|e| e.split_once(" | ").unwrap().1.len()).sum::<usize>();
        // With `all` the bodies are the stream without ends of lines (and lossily shown here, hence UTF-8 only).
        if std::str::from_utf8(&stream).is_ok() && !stream.contains(&b'4') {
            let text = stream.iter().filter(|b| !matches!(b, b'\r' | b'\n')).count();
            let kept = bodies(legacy_of(&whole, "all", &at(UTC), size.max(8)));
            prop_assert!(kept >= text, "{kept} of {text}");
        }
        let _ = legacy_of(&whole, "priority", &at(NEW_YORK), size);
        let _ = multiport_of(&whole, "hostname", size);
    }

    #[test]
    fn what_is_kept_is_what_came(pri in 0u32..192, host in "[a-z][a-z0-9.-]{0,20}", body in "[ -~]{1,60}") {
        let line = format!("<{pri}>1 2012-04-13T11:11:11.003+01:00 {host} {body}");
        let stream = format!("{line}\n");
        let keep = "priority version timestamp hostname";
        for found in [legacy_of(stream.as_bytes(), keep, &at(UTC), 2_500), multiport_of(stream.as_bytes(), keep, 2_500)] {
            prop_assert_eq!(found[0].split_once(" | ").unwrap().1, &line);
            let host_shown = format!("host={} |", &host);
            prop_assert!(found[0].contains(&host_shown));
            prop_assert!(found[0].contains("timestamp=1334311871003"));
        }
    }
}
