//! `check`: everything that can be said about a configuration before it runs, at once and with lines.
//!
//! | who finds it | what |
//! |---|---|
//! | [`super::properties`], [`super::merge`] | what the text says that is no property, or says twice |
//! | [`graph`] | lists, names, edges |
//! | `apply` | each component's own keys: it is built once, or held against the tables of `topology/catalog` |
//! | `text` | characters and values that are seldom meant: comments, quotes, backslashes, placeholders |
//! | `wiring` | what only shows with several components in view: ports, folders, batches, sinks that compete |
//!
//! An *error* is a component that is listed and would vanish or never work, a *warning* is ignored or surprising, a
//! *note* is legal and worth knowing. Codes are stable words for programs, all in [`CODES`]; no message holds a value of a key that
//! sounds secret. Every line is `file:line: severity[code]: component: property: message`.
//!
//! Source: `flume/runtime.md` 3 and 4, `flume/channels-and-sinks.md` 1.

mod codes;
mod text;
mod wiring;

pub use codes::CODES;

use super::Loaded;
use crate::component::context::SystemClock;
use crate::component::fault::Faults;
use crate::component::keys::{Entry, Finding, Place, Severity, nearest};
use crate::component::registry::Types;
use crate::flow::board::Board;
use crate::flow::env::Env;
use crate::io::tls::TlsDefaults;
use crate::telemetry::Registry;
use crate::topology::apply::{Reuse, Site, apply, examine_lost};
use crate::topology::graph::Graph;
use crate::topology::{graph, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What one agent may own: the second word of a key.
const LISTS: [&str; 5] = ["channels", "configfilters", "sinkgroups", "sinks", "sources"];

/// Checks one agent, or all of the file, and renders the findings; the exit status is 1 if there are errors.
pub fn run(loaded: &Loaded, agent: Option<&str>, types: &Arc<Types>, json: bool) -> (String, u8) {
    let found = findings(loaded, agent, types);
    let text = if json { as_json(&found) } else { as_lines(&found) };
    (text, u8::from(count(&found, Severity::Error) > 0))
}

/// All findings, by file and line, none twice.
pub fn findings(loaded: &Loaded, agent: Option<&str>, types: &Arc<Types>) -> Vec<Finding> {
    let properties = loaded.entries();
    let mut all = loaded.findings.clone();
    let agents = match agent {
        Some(name) => vec![name.to_owned()],
        None => agents(&properties),
    };
    let file = loaded.properties.first().map_or_else(nowhere, |p| Place {
        line: 0,
        ..p.place.clone()
    });
    for agent in &agents {
        all.extend(built(&properties, agent, &file, types, &loaded.tls));
    }
    if agents.is_empty() {
        let message = "no agent: a line such as \"a1.channels = c1\" makes one".to_owned();
        all.push(of_agent("?", &file, Severity::Error, "no-agent", message));
    }
    all.extend(text::look(&loaded.properties, agent));
    all.extend(strangers(loaded, &properties, agent));
    all.retain(|f| !is_of_unknown_value(f, loaded));
    tidy(all)
}

/// Whether it judges a value that a config filter would have given, had its command been run.
fn is_of_unknown_value(finding: &Finding, loaded: &Loaded) -> bool {
    let judges = LOUDER.contains(&finding.code) || finding.code == "unresolved";
    let Some(property) = finding.property.as_deref().filter(|_| judges) else {
        return false;
    };
    let mut unknown = loaded
        .properties
        .iter()
        .filter(|p| loaded.unknown_values.contains(&p.key));
    unknown.any(|p| p.place == finding.place && p.key.ends_with(property))
}

/// What a start does not find by itself: to be added to what reading the files, [`graph::read`] and [`apply`] say.
pub(crate) fn extras(loaded: &Loaded, agent: &str, graph: &Graph, site: &Site) -> Vec<Finding> {
    let properties = loaded.entries();
    let mut all = text::look(&loaded.properties, Some(agent));
    all.extend(strangers(loaded, &properties, Some(agent)));
    all.extend(wiring::look(&properties, agent, graph, &site.types));
    all.extend(examine_lost(&graph.lost, site));
    all
}

/// Sorts findings by file and line, and leaves out what says the same as another.
pub fn tidy(mut all: Vec<Finding>) -> Vec<Finding> {
    let key = |f: &Finding| {
        let place = (f.place.file.to_path_buf(), f.place.line);
        (
            place,
            std::cmp::Reverse(f.severity),
            f.property.clone(),
            f.code,
            f.message.clone(),
        )
    };
    all.sort_by_cached_key(key);
    all.dedup();
    let about = |f: &Finding| Some((spot(&f.place), last(f.property.as_deref()?)));
    // A value that is an error says by itself what a look at its text would say again.
    let wrong: BTreeSet<(Spot, String)> = all
        .iter()
        .filter(|f| LOUDER.contains(&f.code))
        .filter_map(about)
        .collect();
    // A comment of the wrong kind is no property, however often it stands there.
    let stray: BTreeSet<(Spot, String)> = all
        .iter()
        .filter(|f| f.code == "stray-line")
        .filter_map(about)
        .collect();
    // Mappings that stand in the wrong place are there all the same.
    let mapped: BTreeSet<String> = all
        .iter()
        .filter(|f| {
            f.code == "missing-prefix" && f.property.as_deref().is_some_and(|p| p.starts_with("mapping."))
        })
        .map(|f| f.component.clone())
        .collect();
    all.retain(|f| {
        let among = |set: &BTreeSet<(Spot, String)>| about(f).is_some_and(|spot| set.contains(&spot));
        let echo = text::CODES.contains(&f.code) && f.code != "placeholder" && among(&wrong);
        let noise = f.code == "defined-twice" && among(&stray);
        let mistaken = ["no-mapping", "unreached-channel"].contains(&f.code) && mapped.contains(&f.component);
        !echo && !noise && !mistaken
    });
    all
}

/// Codes of findings that say what is wrong with a value.
const LOUDER: [&str; 7] = [
    "bad-boolean",
    "bad-number",
    "bad-value",
    "java-class",
    "not-configured",
    "unknown-name",
    "unknown-type",
];

type Spot = (std::path::PathBuf, usize);

fn spot(place: &Place) -> Spot {
    (place.file.to_path_buf(), place.line)
}

fn last(property: &str) -> String {
    property.rsplit('.').next().unwrap_or_default().to_owned()
}

fn nowhere() -> Place {
    Place {
        file: Path::new("(given)").into(),
        line: 0,
    }
}

/// Names that a list makes agents of. A file whose keys name none has none.
fn agents(properties: &BTreeMap<String, Entry>) -> Vec<String> {
    let mut names = Vec::new();
    for key in properties.keys() {
        let mut parts = key.split('.');
        if let (Some(agent), Some(list), None) = (parts.next(), parts.next(), parts.next())
            && LISTS.contains(&list)
            && names.last().is_none_or(|n| n != agent)
            && !names.iter().any(|n| n == agent)
        {
            names.push(agent.to_owned());
        }
    }
    names
}

/// What the graph, building once and a look at the whole say about one agent.
fn built(
    properties: &BTreeMap<String, Entry>,
    agent: &str,
    file: &Place,
    types: &Arc<Types>,
    tls: &Arc<TlsDefaults>,
) -> Vec<Finding> {
    let (graph, mut all) = graph::read(properties, agent, file);
    // Components may want a runtime while they are built; nothing is started on it.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let message = format!("no runtime to build its components on: {error}");
            all.push(of_agent(agent, file, Severity::Error, "cannot-build", message));
            return all;
        }
    };
    let site = Site {
        env: Env {
            runtime: runtime.handle().clone(),
            registry: Arc::new(Registry::default()),
            board: Arc::new(Board::default()),
            clock: Arc::new(SystemClock::default()),
            seed: 0,
            faults: Faults::default(),
            hurry: CancellationToken::new(),
        },
        types: types.clone(),
        max_heap_bytes: None,
        tls: tls.clone(),
    };
    all.extend(wiring::look(properties, agent, &graph, types));
    all.extend(examine_lost(&graph.lost, &site));
    let (applied, found) = apply(&plan::plan(graph), &site, &Reuse::default());
    drop(applied);
    all.extend(found);
    all
}

fn of_agent(agent: &str, at: &Place, severity: Severity, code: &'static str, message: String) -> Finding {
    Finding {
        place: at.clone(),
        severity,
        code,
        component: format!("agent {agent}"),
        property: None,
        message,
    }
}

/// Keys that belong to no agent, and to another than the one asked for.
fn strangers(loaded: &Loaded, properties: &BTreeMap<String, Entry>, agent: Option<&str>) -> Vec<Finding> {
    let known = agents(properties);
    let mut all = Vec::new();
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for property in &loaded.properties {
        let (owner, rest) = property.key.split_once('.').unwrap_or((&property.key, ""));
        let is_agent = known.iter().any(|k| k == owner);
        match agent {
            Some(agent) if agent == owner => {}
            Some(_) if is_agent => *others.entry(owner).or_default() += 1,
            None if is_agent => {}
            _ => all.extend(stranger(property, owner, rest, &known)),
        }
    }
    if let (Some(agent), Some(first)) = (agent, loaded.properties.first())
        && !others.is_empty()
    {
        let count = |(name, keys): (&&str, &usize)| format!("{name} ({keys} keys)");
        let list: Vec<String> = others.iter().map(count).collect();
        let at = Place {
            line: 0,
            ..first.place.clone()
        };
        let message = format!("not looked at: {}", list.join(", "));
        all.push(of_agent(agent, &at, Severity::Note, "other-agents", message));
    }
    all
}

/// A key whose first word is no agent.
fn stranger(property: &super::Property, owner: &str, rest: &str, known: &[String]) -> Option<Finding> {
    let list = rest.split('.').next().unwrap_or_default();
    let near = nearest(owner, known.iter().map(String::as_str));
    let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}.{rest}\"?"));
    let (code, message) = if LISTS.contains(&list) {
        let message = if known.is_empty() {
            format!("ignored: no list ({owner}.{list} = …) makes \"{owner}\" an agent")
        } else {
            format!(
                "ignored: \"{owner}\" is no agent of this file; there are: {}{hint}",
                known.join(", ")
            )
        };
        ("unknown-agent", message)
    } else if owner.starts_with("//") || owner.starts_with("--") || owner.starts_with(';') {
        ("stray-line", "ignored: a comment begins with # or !".to_owned())
    } else if rest.is_empty() {
        (
            "stray-line",
            "ignored: a key begins with an agent's name and a dot; to ${…} it can be of use".to_owned(),
        )
    } else {
        let lists = LISTS.join(", ");
        (
            "unknown-agent",
            format!("ignored: \"{owner}\" is no agent of this file, and \"{list}\" none of {lists}{hint}"),
        )
    };
    Some(Finding {
        place: property.place.clone(),
        severity: Severity::Warning,
        code,
        component: super::properties::COMPONENT.to_owned(),
        property: Some(property.key.clone()),
        message,
    })
}

fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|f| f.severity == severity).count()
}

fn as_lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "{finding}");
    }
    let [errors, warnings, notes] = counts(findings);
    let _ = writeln!(text, "{errors} errors, {warnings} warnings, {notes} notes");
    text
}

fn counts(findings: &[Finding]) -> [usize; 3] {
    [Severity::Error, Severity::Warning, Severity::Note].map(|s| count(findings, s))
}

fn as_json(findings: &[Finding]) -> String {
    let list: Vec<serde_json::Value> = findings
        .iter()
        .map(|f| {
            serde_json::json!({
                "file": f.place.file.display().to_string(),
                "line": f.place.line,
                "severity": f.severity.to_string(),
                "code": f.code,
                "component": f.component,
                "property": f.property,
                "message": f.message,
            })
        })
        .collect();
    let [errors, warnings, notes] = counts(findings);
    let whole = serde_json::json!({"findings": list, "errors": errors, "warnings": warnings, "notes": notes});
    format!("{whole}\n")
}

#[cfg(test)]
mod tests;
