//! The tables against what this version builds, and against themselves.

use super::{Kind, Role, Type, Value, find};
use crate::component::context::SystemClock;
use crate::component::keys::Keys;
use crate::component::registry::{self, BuildContext};
use crate::topology::all_types;
use crate::{channel, deserializer, interceptor, processor, selector, serializer, sink, source};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Types that are in a list and cannot be built.
const NOT_BUILT: [&str; 1] = ["embedded"];

fn context() -> BuildContext {
    BuildContext {
        name: "x".into(),
        clock: Arc::new(SystemClock::default()),
        max_heap_bytes: None,
        tls: Default::default(),
        channels: [Arc::from("x")].into(),
        types: Arc::new(all_types()),
    }
}

/// Which keys a type asks for, prefixes with their dot; parts are read below theirs.
fn asked<T>(built: &registry::Type<T>) -> BTreeSet<String> {
    let mut keys = Keys::of("x", &[("sink.directory", "/"), ("type", built.name())]);
    let _ = (built.build)(&mut keys, &context());
    keys.known().filter(|k| *k != "type").map(str::to_owned).collect()
}

/// Which keys the table says that it asks for.
fn tabled(known: &Type) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for key in known.keys() {
        if matches!(key.role, Role::Old(_) | Role::Instead(_)) {
            continue;
        }
        all.insert(key.name.trim_end_matches('*').to_owned());
        if let Value::Part(kind) = key.value {
            match kind {
                // Reads its two keys by their whole names.
                Kind::PathManager => {
                    all.extend(["prefix", "extension"].map(|k| format!("{}.{k}", key.name)));
                }
                _ => drop(all.insert(format!("{}.", key.name))),
            }
        }
    }
    all
}

/// Read by clients that `client.type` chooses, of which only the default is built.
const LATER: [&str; 6] = [
    "hosts",
    "hosts.",
    "max-attempts",
    "host-selector",
    "backoff",
    "maxBackoff",
];

fn check<T>(kind: Kind, list: &[registry::Type<T>]) {
    for built in list {
        let name = built.name();
        let known = find(kind, name).unwrap_or_else(|| panic!("{name} is in no table"));
        for class in built.classes {
            assert!(find(kind, class).is_some(), "class {class} is in no table");
        }
        if NOT_BUILT.contains(&built.alias) {
            continue;
        }
        let mut tabled = tabled(known);
        let mut asked = asked(built);
        // Those with old spellings read them too, or have the common reader of TLS do it.
        asked.retain(|key| !known.key(key).is_some_and(|key| matches!(key.role, Role::Old(_))));
        if kind == Kind::Sink {
            tabled.retain(|key| !LATER.contains(&key.as_str()));
        }
        assert_eq!(asked, tabled, "{} {name}", kind.word());
    }
}

#[test]
fn every_type_that_is_built_reads_the_keys_of_its_table() {
    check(Kind::Source, source::ALL);
    check(Kind::Channel, channel::ALL);
    check(Kind::Sink, sink::ALL);
    check(Kind::Processor, processor::ALL);
    check(Kind::Interceptor, interceptor::ALL);
    check(Kind::Selector, selector::ALL);
    check(Kind::Serializer, serializer::ALL);
    check(Kind::Deserializer, deserializer::ALL);
}

#[test]
fn no_table_contradicts_itself() {
    for known in Kind::ALL.into_iter().flat_map(Kind::types) {
        let name = known.name();
        assert!(!name.is_empty());
        assert_eq!(
            known.alias,
            known.alias.to_lowercase(),
            "aliases are in lower case"
        );
        let mut seen = BTreeSet::new();
        for key in known.keys() {
            assert!(seen.insert(key.name), "{name}: {} stands twice", key.name);
            if let Role::Old(right) | Role::Instead(right) = key.role {
                let right = right.replace("<sink>", "x");
                let target =
                    known.key(&right).is_some_and(super::Key::works) || right.contains(".maxLineLength");
                assert!(target, "{name}: {} leads to {right}, which is no key", key.name);
            }
            if let Value::Number(Some(default), least, most) = key.value {
                let odd = ["closeTries", "maxLineBytes"]
                    .iter()
                    .any(|k| key.name.ends_with(k));
                assert!(odd || (least..=most).contains(&default), "{name}: {}", key.name);
            }
        }
        for key in known.one_of.iter().flat_map(|list| list.iter()) {
            assert!(known.key(key).is_some(), "{name}: {key}");
        }
        for key in known.batch.iter().flat_map(|(keys, _)| keys.iter()) {
            assert!(known.key(key).is_some(), "{name}: {key}");
        }
        if let Some((key, _)) = known.transaction {
            assert!(known.key(key).is_some(), "{name}: {key}");
        }
    }
}

#[test]
fn all_of_flumes_types_are_there() {
    let count = |kind: Kind| kind.types().iter().map(|t| t.classes.len()).sum::<usize>();
    let counts = [Kind::Source, Kind::Channel, Kind::Sink, Kind::Interceptor].map(count);
    assert_eq!(counts, [20, 6, 19, 9]);
}

#[test]
fn a_name_that_is_no_type_is_explained() {
    let hint = |kind: Kind, name: &str| super::not_found(kind, name, std::iter::empty()).hint(kind, name);
    let cases = [
        (Kind::Source, "spooldri", "; did you mean \"spooldir\"?"),
        (
            Kind::Source,
            "kafka",
            "; did you mean \"org.apache.flume.source.kafka.KafkaSource\"?",
        ),
        (
            Kind::Sink,
            "org.apache.flume.sink.kafka.Kafkasink",
            "; class names are case-sensitive: did you mean \"org.apache.flume.sink.kafka.KafkaSink\"?",
        ),
        (
            Kind::Interceptor,
            "org.apache.flume.interceptor.TimestampInterceptor",
            "; did you mean \"org.apache.flume.interceptor.TimestampInterceptor$Builder\"?",
        ),
        (
            Kind::Interceptor,
            "morphline",
            "; did you mean \"org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder\"?",
        ),
        (Kind::Source, "hdfs", "; it is a sink type, this is a source"),
        (
            Kind::Sink,
            "com.example.MySink",
            "; it is a Java class of somebody else's, and no Java runs here",
        ),
        (Kind::Sink, "bogus", ""),
    ];
    for (kind, name, expected) in cases {
        assert_eq!(hint(kind, name), expected, "{name}");
    }
}
