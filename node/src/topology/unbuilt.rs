//! What there is to say about what is not built: types that this version lacks, keys and parts that nobody reads.

use super::catalog::{self, Kind};
use super::graph::Component;
use crate::component::keys::{Finding, Keys, Place, Severity};

/// A type that cannot be built: known from Flume, then its settings are checked all the same, or not known. `names`
/// are those of the types that can.
pub(super) fn refuse<'a>(
    kind: Kind,
    type_name: &str,
    at: Option<&Place>,
    mut keys: Keys,
    names: impl Iterator<Item = &'a str>,
) -> Vec<Finding> {
    let names: Vec<&str> = names.collect();
    let mut aliases: Vec<&str> = names.iter().copied().filter(|n| !n.contains('.')).collect();
    if aliases.is_empty() {
        aliases.push("none");
    }
    let list = aliases.join(", ");
    let known = catalog::find(kind, type_name);
    let (code, message) = match known {
        Some(_) => (
            "not-in-this-version",
            format!("\"{type_name}\" is known, but not in this version, which has: {list}"),
        ),
        None => {
            let why = catalog::not_found(kind, type_name, names.iter().copied());
            let foreign = why == catalog::Match::Foreign;
            let (word, hint) = (kind.word(), why.hint(kind, type_name));
            (
                if foreign { "java-class" } else { "unknown-type" },
                format!("\"{type_name}\" is no {word} type; this version has: {list}{hint}"),
            )
        }
    };
    match at {
        Some(place) => keys.note_there(place.clone(), Severity::Error, code, "type", message),
        None => keys.note(Severity::Error, "type", code, message),
    }
    match known {
        Some(known) => catalog::examine::examine(keys, kind, known),
        // Which keys it knows is not known: no word about those.
        None => keys
            .finish()
            .into_iter()
            .filter(|f| f.code != "unknown-key")
            .collect(),
    }
}

/// Keys of a group that do not begin with `processor.`: nobody reads them.
pub(super) fn strangers_of_a_group(keys: Keys, type_name: &str) -> Vec<Finding> {
    let processor = catalog::find(Kind::Processor, type_name);
    let mut found = keys.finish();
    for finding in &mut found {
        let name = finding.property.as_deref().unwrap_or_default();
        if processor.is_some_and(|p| p.key(name).is_some()) || name == "type" {
            finding.code = "missing-prefix";
            finding.message = format!("unknown, ignored; did you mean \"processor.{name}\"?");
        }
    }
    found
}

/// Settings of interceptors that the list of the source does not name.
pub(super) fn unlisted_interceptors(keys: &Keys, listed: &str, source: &Component) -> Vec<Finding> {
    let mut told: Vec<String> = Vec::new();
    let mut findings = Vec::new();
    for (key, entry) in keys.given() {
        let Some((name, _)) = key.strip_prefix("interceptors.").and_then(|k| k.split_once('.')) else {
            continue;
        };
        if listed.split_whitespace().any(|n| n == name) || told.iter().any(|n| n == name) {
            continue;
        }
        told.push(name.to_owned());
        findings.push(Finding {
            place: entry.place.clone(),
            severity: Severity::Warning,
            code: "not-listed",
            component: format!("source {} ({})", source.name, source.type_name),
            property: Some(key.to_owned()),
            message: format!(
                "interceptor {name} is not listed in interceptors (\"{listed}\"), so it does not run"
            ),
        });
    }
    findings
}
