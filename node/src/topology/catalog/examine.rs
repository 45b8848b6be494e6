//! The settings of a component whose type is known but not built, checked by the tables: what is missing, unknown,
//! no number, no boolean, old or without effect, and what Flume would refuse at its start.

use super::{Key, Kind, Role, Type, Value, find, not_found, unknown};
use crate::component::keys::{Entry, Finding, Keys, Severity, nearest};
use std::collections::BTreeMap;

/// Checks all keys.
pub fn examine(mut keys: Keys, kind: Kind, known: &'static Type) -> Vec<Finding> {
    let entries: BTreeMap<String, Entry> = keys.given().map(|(k, e)| (k.to_owned(), e.clone())).collect();
    let prefix = keys.prefix().to_owned();
    // Whoever chose the type has read it.
    let _ = keys.text("type");
    read(&mut keys, known);
    special(&mut keys, kind, known);
    let mut findings = keys.finish();
    unknown::explain(&mut findings, kind, known.name(), &prefix, &entries);
    findings
}

/// Asks for each key of the table.
fn read(keys: &mut Keys, known: &'static Type) {
    for key in known.keys() {
        match key.role {
            Role::Plain => plain(keys, known, key),
            Role::Ours => {}
            Role::Mute(why) => keys.without_effect(key.name, why),
            Role::Old(new) => {
                if keys.text(key.name).is_some() {
                    keys.warn(
                        key.name,
                        "deprecated",
                        format!("deprecated, the key is now \"{new}\""),
                    );
                }
            }
            // Left to be explained as unknown.
            Role::Instead(_) => {}
        }
    }
    for list in known.one_of {
        if !list.iter().any(|key| keys.peek(key).is_some()) {
            required(keys, known, list[0]);
        }
    }
}

fn plain(keys: &mut Keys, known: &Type, key: &Key) {
    if key.required && keys.peek(key.name).is_none() {
        required(keys, known, key.name);
        return;
    }
    match key.value {
        Value::Text | Value::Names => match key.family() {
            Some(prefix) => drop(keys.below(prefix)),
            None => drop(keys.text(key.name)),
        },
        Value::Number(default, least, most) => {
            if key.lenient {
                keys.lenient_number(key.name, default.unwrap_or(least), least..=most);
            } else {
                keys.number(key.name, least, least..=most);
            }
        }
        Value::Flag(default) => drop(keys.flag(key.name, default)),
        Value::Word(words) => one_of(keys, key, words, str::eq_ignore_ascii_case),
        Value::Exact(words) => one_of(keys, key, words, |a, b| a == b),
        Value::Part(kind) => part(keys, key, kind),
    }
}

fn required(keys: &mut Keys, known: &Type, name: &str) {
    let confused = known.keys().find(|k| {
        matches!(k.role, Role::Instead(right) | Role::Old(right) if right == name)
            && keys.peek(k.name).is_some()
    });
    let tail = name.rsplit('.').next().unwrap_or(name);
    let near = confused.map(|k| k.name).or_else(|| {
        let stripped = keys.peek(tail).is_some() && tail != name;
        stripped.then_some(tail)
    });
    match near {
        Some(near) => {
            let message = format!("required, but not there; did you mean it by \"{near}\"?");
            let _ = keys.text(name);
            keys.note(Severity::Error, name, "missing", message);
        }
        None => drop(keys.required(name)),
    }
}

fn one_of(keys: &mut Keys, key: &Key, words: &[&str], same: fn(&str, &str) -> bool) {
    let Some(found) = keys.text(key.name) else {
        return;
    };
    if words.iter().any(|word| same(word, &found)) {
        return;
    }
    let near = nearest(&found, words.iter().copied());
    let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
    let allowed = words.join(", ");
    if key.lenient {
        let message = format!(
            "expected one of {allowed}, found \"{found}\"; {} is used, as in Flume{hint}",
            key.default
        );
        keys.warn(key.name, "bad-value", message);
    } else {
        keys.wrong(
            key.name,
            &format!("expected one of {allowed}, found \"{found}\"{hint}"),
        );
    }
}

/// A part: its type and the settings below.
fn part(keys: &mut Keys, key: &Key, kind: Kind) {
    let chosen = keys.text(key.name);
    let mut below = keys.below(&format!("{}.", key.name));
    let name = chosen.as_deref().unwrap_or(key.default);
    match find(kind, name) {
        Some(known) => {
            read(&mut below, known);
            keys.absorb(below);
        }
        None if name.is_empty() => {}
        None => {
            let why = not_found(kind, name, std::iter::empty());
            let code = if matches!(why, super::Match::Foreign) {
                "java-class"
            } else {
                "unknown-type"
            };
            let message = format!(
                "\"{name}\" is no {} that is known{}",
                kind.word(),
                why.hint(kind, name)
            );
            keys.note(Severity::Error, key.name, code, message);
        }
    }
}

/// What concerns several keys of one type.
fn special(keys: &mut Keys, kind: Kind, known: &Type) {
    if (kind, known.name()) == (Kind::Sink, "hdfs") {
        hdfs(keys);
    }
}

fn hdfs(keys: &mut Keys) {
    let kind = keys
        .peek("hdfs.fileType")
        .unwrap_or("SequenceFile")
        .to_lowercase();
    let codec = keys.peek("hdfs.codeC").map(str::to_owned);
    match kind.as_str() {
        "datastream" if codec.is_some() => {
            keys.wrong(
                "hdfs.codeC",
                "hdfs.fileType DataStream takes no codec; CompressedStream does",
            );
        }
        "compressedstream" if codec.as_deref().is_none_or(|c| c.eq_ignore_ascii_case("none")) => {
            keys.wrong("hdfs.codeC", "required with hdfs.fileType CompressedStream");
        }
        "sequencefile" => sequence_file(keys),
        _ => {}
    }
    let most = match keys
        .peek("hdfs.roundUnit")
        .unwrap_or("second")
        .to_lowercase()
        .as_str()
    {
        "hour" => 24,
        _ => 60,
    };
    if keys
        .peek("hdfs.round")
        .is_some_and(|r| r.eq_ignore_ascii_case("true"))
        && let Some(value) = keys.peek("hdfs.roundValue").and_then(|v| v.parse::<i64>().ok())
        && value > most
    {
        keys.wrong(
            "hdfs.roundValue",
            &format!("expected 1 to {most}, found \"{value}\""),
        );
    }
}

fn sequence_file(keys: &mut Keys) {
    if let Some(format) = keys.text("hdfs.writeFormat").filter(|f| !f.contains('.'))
        && format != "Text"
        && format != "Writable"
    {
        keys.wrong(
            "hdfs.writeFormat",
            &format!("expected Writable or Text, in this case, found \"{format}\""),
        );
    }
    if keys.peek("serializer").is_some() {
        let message = "has no effect with hdfs.fileType SequenceFile; DataStream has serializers";
        keys.warn("serializer", "no-effect", message.to_owned());
    }
}
