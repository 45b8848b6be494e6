//! Lines of all lengths and charsets, with limits in every place.

use super::*;
use crate::component::contract::bodies;
use crate::component::contract::deserializer::{self as suite, file_of};
use std::io::Cursor;

fn build(pairs: &[(&str, &str)]) -> Box<dyn Deserializer> {
    let mut keys = Keys::of("source r1 (spooldir)", pairs);
    let line = Config::read(&mut keys).build().unwrap();
    assert_eq!(keys.finish(), []);
    Box::new(line)
}

suite::suite!(|| (
    build(&[("maxLineLength", "5")]),
    b"one\n\nthree\r\nfour and more\nlast".to_vec()
));

fn file(charset: &str, malformed: Malformed, bytes: &[u8]) -> InputFile {
    InputFile {
        input: Box::new(Cursor::new(bytes.to_vec())),
        charset: Charset::named(charset).unwrap(),
        malformed,
    }
}

/// Every event and the place behind it, one at a time.
fn places(pairs: &[(&str, &str)], file: InputFile) -> Vec<(String, u64)> {
    let mut reader = build(pairs).open(file, Place::default()).unwrap();
    let mut all = Vec::new();
    loop {
        let batch = reader.read(Want::events(1), &[]).unwrap();
        if batch.is_empty() {
            return all;
        }
        all.extend(
            bodies(&batch)
                .into_iter()
                .map(|body| (body, reader.place().offset)),
        );
    }
}

fn check(max: &str, text: &str, expected: &[(&str, u64)]) {
    let found = places(&[("maxLineLength", max)], file_of(text.as_bytes()));
    let expected: Vec<(String, u64)> = expected.iter().map(|(s, at)| ((*s).to_owned(), *at)).collect();
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn only_a_line_feed_ends_a_line_and_the_last_one_needs_none() {
    check(
        "2048",
        "l1\nl2\r\n\nlast",
        &[("l1", 3), ("l2\r", 7), ("", 8), ("last", 12)],
    );
    check("2048", "a\rb\n", &[("a\rb", 4)]);
    check("2048", "\n", &[("", 1)]);
    check("2048", "", &[]);
}

#[test]
fn long_lines_are_cut_and_go_on_in_the_next_event() {
    check("5", "abcdefghijk\n", &[("abcde", 5), ("fghij", 10), ("k", 12)]);
    // Flume adds an empty event to each of these.
    check("5", "abcde\n", &[("abcde", 6)]);
    check("5", "abcdefghij\nx", &[("abcde", 5), ("fghij", 11), ("x", 12)]);
    check("1", "ab", &[("a", 1), ("b", 2)]);
}

#[test]
fn characters_are_counted_as_java_does_and_never_torn_apart() {
    check("2", "\u{e9}\u{e9}\u{e9}\n", &[("\u{e9}\u{e9}", 4), ("\u{e9}", 7)]);
    // Two units each.
    check(
        "3",
        "\u{1f600}\u{1f601}x\n",
        &[("\u{1f600}", 4), ("\u{1f601}x", 10)],
    );
    check("1", "\u{1f600}\n", &[("\u{1f600}", 5)]);
}

#[test]
fn lines_and_places_are_right_in_every_charset() {
    let text = "\u{e9}1\n\n\u{e9}2\u{e9}3\u{e9}4\nend";
    for (name, marks) in [
        ("latin1", 0),
        ("windows-1252", 0),
        ("utf-16be", 0),
        ("utf-16le", 0),
        ("utf-16", 2),
        ("utf-32", 0),
        ("utf-32le", 0),
        ("gb18030", 0),
        ("utf-8", 0),
    ] {
        let charset = Charset::named(name).unwrap();
        let bytes = charset.encode(text).into_owned();
        let found = places(&[("maxLineLength", "4")], file(name, Malformed::Fail, &bytes));
        let texts: Vec<&str> = found.iter().map(|(body, _)| body.as_str()).collect();
        assert_eq!(
            texts,
            ["\u{e9}1", "", "\u{e9}2\u{e9}3", "\u{e9}4", "end"],
            "{name}"
        );
        let sizes = ["\u{e9}1\n", "\n", "\u{e9}2\u{e9}3", "\u{e9}4\n", "end"];
        let mut at = marks;
        for ((_, place), size) in found.iter().zip(sizes) {
            let bytes = charset.encode(size).len() as u64;
            at += bytes - if name == "utf-16" { 2 } else { 0 };
            assert_eq!(*place, at, "{name}");
        }
        assert_eq!(at, bytes.len() as u64);
        // From each of them the rest is the same, marks and all.
        for (n, (_, place)) in found.iter().enumerate() {
            let from = Place {
                offset: *place,
                skip: 0,
            };
            let mut reader = build(&[("maxLineLength", "4")])
                .open(file(name, Malformed::Fail, &bytes), from)
                .unwrap();
            let rest = bodies(&reader.read(Want::events(9), &[]).unwrap());
            assert_eq!(rest, texts[n + 1..], "{name}");
        }
    }
}

#[test]
fn little_endian_text_is_known_by_its_mark() {
    let bytes = [&[0xff, 0xfe][..], b"a\0\n\0b\0"].concat();
    assert_eq!(
        places(&[], file("UTF-16", Malformed::Fail, &bytes)),
        [("a".to_owned(), 6), ("b".to_owned(), 8)]
    );
}

#[test]
fn what_is_malformed_fails_or_is_replaced_or_left_out() {
    let text = b"ok\nb\xffd\nafter\n";
    let read = |malformed| {
        let mut reader = build(&[])
            .open(file("utf-8", malformed, text), Place::default())
            .unwrap();
        reader.read(Want::events(10), &[]).map(|batch| bodies(&batch))
    };
    assert_eq!(read(Malformed::Replace).unwrap(), ["ok", "b\u{fffd}d", "after"]);
    assert_eq!(read(Malformed::Ignore).unwrap(), ["ok", "bd", "after"]);
    let error = read(Malformed::Fail).unwrap_err().to_string();
    assert!(
        error.starts_with("byte 4: malformed input: what stands there is not UTF-8"),
        "{error}"
    );
}

#[test]
fn bodies_are_written_in_the_output_charset() {
    let text = "\u{e9}\u{20ac}\n";
    let mut reader = build(&[("outputCharset", "ISO-8859-1")])
        .open(file_of(text.as_bytes()), Place::default())
        .unwrap();
    let batch = reader.read(Want::events(1), &[]).unwrap();
    assert_eq!(batch.get(0).unwrap().body(), [0xe9, b'?']);
}

#[test]
fn lines_far_over_a_read_are_found_and_cut() {
    let line = "x".repeat(3 * READ_BYTES);
    let found = places(
        &[("maxLineLength", "1000000")],
        file_of(format!("{line}\ny").as_bytes()),
    );
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].0.len(), found[0].1),
        (line.len(), line.len() as u64 + 1)
    );
    let found = places(&[], file_of(format!("{line}\ny").as_bytes()));
    assert_eq!(found.len(), line.len() / 2_048 + 1);
    assert!(found.iter().rev().skip(1).all(|(body, _)| body.len() == 2_048));
}

#[test]
fn what_is_appended_while_it_is_read_is_read_too() {
    let path = crate::component::contract::TempDir::new();
    let name = path.path().join("growing");
    std::fs::write(&name, "one\n").unwrap();
    let file = InputFile {
        input: Box::new(std::fs::File::open(&name).unwrap()),
        charset: Charset::Utf8,
        malformed: Malformed::Fail,
    };
    let mut reader = build(&[]).open(file, Place::default()).unwrap();
    assert_eq!(reader.read(Want::events(9), &[]).unwrap().len(), 1);
    assert!(reader.read(Want::events(9), &[]).unwrap().is_empty());
    std::fs::write(&name, "one\ntwo\n").unwrap();
    assert_eq!(bodies(&reader.read(Want::events(9), &[]).unwrap()), ["two"]);
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let mut keys = Keys::of("x", &[("maxLineLength", "0"), ("outputCharset", "utf-99")]);
    Config::read(&mut keys);
    let messages: Vec<String> = keys.finish().into_iter().map(|f| f.message).collect();
    assert_eq!(
        messages,
        [
            "expected a charset such as UTF-8 or ISO-8859-1, found \"utf-99\"",
            "expected 1 to 2147483647, found \"0\"",
        ]
    );
}
