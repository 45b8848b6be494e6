//! Promises of the JSON reader that hold for any input: strict JSON means what serde_json says it means, pieces of
//! valid text are refused, and hostile bytes neither panic nor grow.

#![allow(clippy::unwrap_used, reason = "a test may")]

use proptest::collection::vec;
use proptest::prelude::*;
use proto::event::{Batch, EventLimits};
use proto::json::read_events;
use serde_json::{Map, Value, json};

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,6}",
        "\\PC{0,20}",
        any::<String>(),
        "[\"\\\\\u{0}-\u{1f}/\u{1f600}]{0,12}",
        "[a-z \\n\"]{60,200}",
    ]
}

/// What may stand where a text is expected.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        texts().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|n| json!(n)),
        Just(Value::Null),
    ]
}

fn ignored() -> impl Strategy<Value = Value> {
    let leaf = scalar();
    leaf.prop_recursive(4, 20, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::Array),
            vec((texts(), inner), 0..5).prop_map(|all| Value::Object(all.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = Value> {
    let headers = prop_oneof![
        vec((texts(), scalar()), 0..6).prop_map(|all| Value::Object(all.into_iter().collect())),
        Just(Value::Null),
    ];
    let member = |name: &'static str, strategy: BoxedStrategy<Value>| {
        proptest::option::of(strategy).prop_map(move |value| (name.to_owned(), value))
    };
    let members = (
        member("headers", headers.boxed()),
        member("body", scalar().boxed()),
        member("other", ignored().boxed()),
    );
    let members = members.prop_map(|(a, b, c)| vec![a, b, c]).prop_shuffle();
    members.prop_map(|members| {
        let there = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)));
        Value::Object(there.collect::<Map<String, Value>>())
    })
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

type Plain = Vec<(Vec<(String, String)>, Vec<u8>)>;

fn expected(events: &[Value]) -> Plain {
    let event = |event: &Value| {
        let headers = event.get("headers").and_then(Value::as_object);
        let pairs = headers.into_iter().flatten();
        let mut headers: Vec<_> = pairs
            .filter_map(|(k, v)| Some((k.clone(), text_of(v)?)))
            .collect();
        headers.sort();
        let body = event.get("body").and_then(text_of).unwrap_or_default();
        (headers, body.into_bytes())
    };
    events.iter().map(event).collect()
}

fn found(batch: &Batch) -> Plain {
    let event = |event: proto::event::EventView<'_>| {
        let pair = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
        let mut headers: Vec<_> = event.headers().map(pair).collect();
        headers.sort();
        (headers, event.body().to_vec())
    };
    batch.iter().map(event).collect()
}

fn read(text: &[u8]) -> Result<Batch, proto::json::JsonError> {
    read_events(text.to_vec(), EventLimits::default())
}

/// As strict JSON, every character beyond ASCII as an escape.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

proptest! {
    #[test]
    fn strict_json_means_what_serde_json_says(events in vec(event(), 0..8)) {
        let value = Value::Array(events.clone());
        let expected = expected(&events);
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap(), escaped(&value.to_string())] {
            prop_assert_eq!(&found(&read(text.as_bytes()).unwrap()), &expected, "{}", text);
        }
    }

    #[test]
    fn a_text_that_stops_early_is_refused(events in vec(event(), 0..4), cut in any::<prop::sample::Index>()) {
        let text = Value::Array(events).to_string();
        let cut = cut.index(text.len());
        prop_assert!(read(&text.as_bytes()[..cut]).is_err());
    }

    #[test]
    fn hostile_text_neither_panics_nor_grows(text in "[\\[\\]{}:,;='\"/*#\\\\\n a-fnu0-9]{0,200}") {
        if let Ok(batch) = read(text.as_bytes()) {
            prop_assert!(batch.used_bytes() <= text.len());
        }
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_grow(bytes in vec(any::<u8>(), 0..300)) {
        let mut text = b"[{body:'".to_vec();
        text.extend(&bytes);
        if let Ok(batch) = read(&text) {
            // A byte that is no UTF-8 becomes three.
            prop_assert!(batch.used_bytes() <= 3 * text.len());
        }
    }
}
