//! A key that a component does not know, explained: another case, a prefix left out, an old or confused spelling, or
//! the key of another type.

use super::{Key, Kind, Role, Type, Value, find};
use crate::component::keys::{Entry, Finding, nearest};
use std::collections::BTreeMap;

/// How many types a message names.
const NAMED_MAX: usize = 3;

/// Replaces what findings of code `unknown-key` say by something better, where there is something better.
///
/// `entries` are the component's own, `prefix` stands before each of its keys in a finding's property.
pub fn explain(
    findings: &mut [Finding],
    kind: Kind,
    type_name: &str,
    prefix: &str,
    entries: &BTreeMap<String, Entry>,
) {
    for finding in findings.iter_mut().filter(|f| f.code == "unknown-key") {
        let Some(name) = finding.property.as_deref().and_then(|p| p.strip_prefix(prefix)) else {
            continue;
        };
        if let Some((code, message)) = better(kind, find(kind, type_name), name, entries) {
            finding.code = code;
            finding.message = whole(&message, prefix);
        }
    }
}

/// A message whose right names are written as they stand in the file.
fn whole(message: &str, prefix: &str) -> String {
    ["did you mean", "the key is", "the key is now"]
        .iter()
        .fold(message.to_owned(), |text, words| {
            text.replace(&format!("{words} \""), &format!("{words} \"{prefix}"))
        })
}

type Better = (&'static str, String);

fn better(kind: Kind, known: Option<&Type>, name: &str, entries: &BTreeMap<String, Entry>) -> Option<Better> {
    if kind == Kind::Source
        && let Some(better) = of_any_source(name, entries)
    {
        return Some(better);
    }
    let known = known?;
    if let Some((part, rest)) = part_of(known, name) {
        let chosen = entries.get(part.name).map_or(part.default, |e| e.value.as_str());
        let Value::Part(kind) = part.value else {
            return None;
        };
        let (code, message) = better(kind, find(kind, chosen), rest, entries)?;
        return Some((code, whole(&message, &format!("{}.", part.name))));
    }
    of_its_type(known, name).or_else(|| foreign(kind, known, name))
}

/// The key whose part a key would belong to, and what is left of it.
fn part_of<'a>(known: &Type, name: &'a str) -> Option<(&'static Key, &'a str)> {
    known
        .keys()
        .filter(|k| matches!(k.value, Value::Part(_)))
        .find_map(|k| Some((k, name.strip_prefix(k.name)?.strip_prefix('.')?)))
}

/// What every source has: channels, a selector, interceptors.
fn of_any_source(name: &str, entries: &BTreeMap<String, Entry>) -> Option<Better> {
    let first = name.split('.').next().unwrap_or_default();
    let listed = entries
        .get("interceptors")
        .is_some_and(|list| list.value.split_whitespace().any(|i| i == first));
    if listed && name.contains('.') {
        return Some(missing_prefix(&format!("interceptors.{name}")));
    }
    if let Some((_, rest)) = name.split_once("selector.") {
        return Some(misspelt(&format!("selector.{rest}")));
    }
    if let Some(rest) = name.strip_prefix("interceptor.") {
        return Some(misspelt(&format!("interceptors.{rest}")));
    }
    let of_selector = first == "mapping" || ["selector", "default", "optional"].contains(&name);
    match name {
        "channel" => Some(misspelt("channels")),
        "interceptor" => Some(misspelt("interceptors")),
        "selector" => Some(misspelt("selector.type")),
        _ if of_selector => Some(missing_prefix(&format!("selector.{name}"))),
        _ => None,
    }
}

fn misspelt(right: &str) -> Better {
    (
        "unknown-key",
        format!("unknown, ignored; did you mean \"{right}\"?"),
    )
}

fn missing_prefix(right: &str) -> Better {
    (
        "missing-prefix",
        format!("unknown, ignored without its prefix; did you mean \"{right}\"?"),
    )
}

fn wrong_case(right: &str) -> Better {
    (
        "wrong-case",
        format!("unknown, ignored: keys are case-sensitive; did you mean \"{right}\"?"),
    )
}

fn of_its_type(known: &Type, name: &str) -> Option<Better> {
    match known.key(name).map(|k| k.role) {
        Some(Role::Instead(right)) if right.eq_ignore_ascii_case(name) => return Some(wrong_case(right)),
        Some(Role::Instead(right)) if right.ends_with(&format!(".{name}")) => {
            return Some(missing_prefix(right));
        }
        Some(Role::Instead(right)) => {
            return Some(("unknown-key", format!("unknown, ignored; the key is \"{right}\"")));
        }
        Some(Role::Old(right)) => {
            return Some(("deprecated", format!("deprecated, the key is now \"{right}\"")));
        }
        Some(Role::Mute(why)) => return Some(("no-effect", why.to_owned())),
        _ => {}
    }
    let working = || known.keys().filter(|k| k.works());
    for key in working() {
        match key.family() {
            None if key.name.eq_ignore_ascii_case(name) => return Some(wrong_case(key.name)),
            Some(prefix)
                if name
                    .get(..prefix.len())
                    .is_some_and(|p| p.eq_ignore_ascii_case(prefix)) =>
            {
                return Some(wrong_case(&format!("{prefix}{}", &name[prefix.len()..])));
            }
            _ => {}
        }
    }
    let ends = |key: &&Key| {
        let tail = key.name.len().checked_sub(name.len()).filter(|at| *at > 0);
        tail.is_some_and(|at| key.name[..at].ends_with('.') && key.name[at..].eq_ignore_ascii_case(name))
    };
    if let Some(key) = working().find(ends) {
        return Some(missing_prefix(key.name));
    }
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let tail = last(name);
    if name.contains('.')
        && tail.len() > 3
        && let Some(key) = working().find(|k| k.family().is_none() && last(k.name) == tail)
    {
        return Some(misspelt(key.name));
    }
    nearest(name, working().map(|k| k.name.trim_end_matches('*')))
        .filter(|near| !near.ends_with('.'))
        .map(misspelt)
        .or_else(|| near_tail(known, name))
        .or_else(|| near_prefix(known, name))
}

/// A key that is misspelt and without its prefix: `filePreffix` for `hdfs.filePrefix`.
fn near_tail(known: &Type, name: &str) -> Option<Better> {
    let tails = || known.keys().filter(|k| k.works() && k.family().is_none());
    let tail = |key: &Key| key.name.split_once('.').map(|(_, tail)| tail);
    let near = nearest(name, tails().filter_map(tail))?;
    let key = tails().find(|k| tail(k) == Some(near))?;
    Some(missing_prefix(key.name))
}

/// A family whose prefix is misspelt: `kafka.consumers.group.id`.
fn near_prefix(known: &Type, name: &str) -> Option<Better> {
    known
        .keys()
        .filter(|k| k.works())
        .filter_map(Key::family)
        .find_map(|prefix| {
            let dots = prefix.matches('.').count();
            let (at, _) = name.match_indices('.').nth(dots.checked_sub(1)?)?;
            let (head, tail) = name.split_at(at + 1);
            nearest(head, std::iter::once(prefix)).map(|right| misspelt(&format!("{right}{tail}")))
        })
}

/// Types of any kind that know the key.
fn foreign(kind: Kind, known: &Type, name: &str) -> Option<Better> {
    let knows = |t: &&'static Type| t.key(name).is_some_and(|k| k.works() && k.role != Role::Ours);
    let mut owners: Vec<String> = kind
        .types()
        .iter()
        .filter(knows)
        .map(|t| t.name().to_owned())
        .collect();
    // A short plain word of another kind of component is chance.
    if owners.is_empty() && (name.contains('.') || name.len() > 7) {
        for other in [Kind::Source, Kind::Channel, Kind::Sink] {
            let types = other.types().iter().filter(knows);
            owners.extend(types.map(|t| format!("{} {}", other.word(), t.name())));
        }
    }
    let first = owners.first()?.clone();
    let more = if owners.len() > NAMED_MAX {
        " and others"
    } else {
        ""
    };
    owners.truncate(NAMED_MAX);
    let whose = if owners.len() == 1 {
        first
    } else {
        owners.join(", ")
    };
    let own = known.name();
    let hint = match kind {
        Kind::Selector => format!("; is selector.type = {whose} meant?"),
        Kind::Processor => format!("; is processor.type = {whose} meant?"),
        _ => String::new(),
    };
    Some((
        "foreign-key",
        format!("unknown to {own}, ignored; it is a key of {whose}{more}{hint}"),
    ))
}
