//! What an agent's properties say: components, their types and the edges between them.
//!
//! Grammar and outcome follow `flume/runtime.md` 3: `<agent>.<list>` names components, separated by blanks;
//! `<agent>.<list>.<name>.<property>` sets one up. Where Flume drops a component with a line in a log that nobody
//! reads, there is an error finding here.

use crate::component::keys::{Entry, Finding, Place, Severity, nearest};
use std::collections::BTreeMap;

/// A component as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// `type` as written.
    pub type_name: String,
    /// Where `type` stands, or the list that names it.
    pub place: Place,
    /// Its other properties.
    pub entries: BTreeMap<String, Entry>,
    /// Channels of a source, in order; the channel of a sink; sinks of a group.
    pub edges: Vec<String>,
}

/// What an agent consists of, in the order of its lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Graph {
    pub channels: Vec<Component>,
    pub sources: Vec<Component>,
    pub sinks: Vec<Component>,
    pub groups: Vec<Component>,
}

const LISTS: [&str; 5] = ["channels", "configfilters", "sinkgroups", "sinks", "sources"];

/// Reads one agent. Keys of other agents are not looked at.
pub fn read(properties: &BTreeMap<String, Entry>, agent: &str, file: &Place) -> (Graph, Vec<Finding>) {
    let mut reader = Reader {
        agent,
        findings: Vec::new(),
        file: file.clone(),
        sections: BTreeMap::new(),
    };
    if !reader.sort_out(properties) {
        return (Graph::default(), reader.findings);
    }
    let channels = reader.components("channels", "channel", None);
    let sources = reader.components("sources", "source", Some("channels"));
    let sinks = reader.components("sinks", "sink", Some("channel"));
    let groups = reader.components("sinkgroups", "sink group", Some("sinks"));
    let mut graph = Graph {
        channels,
        sources,
        sinks,
        groups,
    };
    reader.check_edges(&mut graph);
    reader.check_totals(&graph);
    (graph, reader.findings)
}

#[derive(Default)]
struct Section {
    list: Option<Entry>,
    components: BTreeMap<String, BTreeMap<String, Entry>>,
}

struct Reader<'a> {
    agent: &'a str,
    findings: Vec<Finding>,
    file: Place,
    sections: BTreeMap<String, Section>,
}

impl Reader<'_> {
    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Place,
        component: String,
        property: Option<&str>,
        message: String,
    ) {
        let property = property.map(str::to_owned);
        self.findings.push(Finding {
            place,
            severity,
            code,
            component,
            property,
            message,
        });
    }

    fn agent_title(&self) -> String {
        format!("agent {}", self.agent)
    }

    /// Sorts the agent's keys by list and component; false if there are none.
    fn sort_out(&mut self, properties: &BTreeMap<String, Entry>) -> bool {
        let mut found = false;
        for (key, entry) in properties {
            let Some((agent, rest)) = key.split_once('.') else {
                continue;
            };
            if agent != self.agent {
                continue;
            }
            found = true;
            let mut parts = rest.splitn(3, '.');
            let list = parts.next().unwrap_or_default();
            if !LISTS.contains(&list) {
                let near = nearest(list, LISTS.into_iter());
                let hint = near.map_or(String::new(), |n| format!("; did you mean \"{agent}.{n}\"?"));
                let message = format!(
                    "ignored: after the agent's name stands one of {}{hint}",
                    LISTS.join(", ")
                );
                self.note(
                    Severity::Warning,
                    "unknown-list",
                    entry.place.clone(),
                    self.agent_title(),
                    Some(key),
                    message,
                );
                continue;
            }
            let section = self.sections.entry(list.to_owned()).or_default();
            match (parts.next(), parts.next()) {
                (None, _) => section.list = Some(entry.clone()),
                (Some(name), Some(property)) => {
                    let component = section.components.entry(name.trim().to_owned()).or_default();
                    component.insert(property.to_owned(), entry.clone());
                }
                (Some(_), None) => {
                    let message = "ignored: after the component's name a property must follow".to_owned();
                    self.note(
                        Severity::Warning,
                        "no-property",
                        entry.place.clone(),
                        self.agent_title(),
                        Some(key),
                        message,
                    );
                }
            }
        }
        if !found {
            let agents: Vec<&str> = properties
                .keys()
                .filter_map(|k| Some(k.split_once('.')?.0))
                .collect();
            let mut known = agents.clone();
            known.dedup();
            let message = format!(
                "no configuration for this name; the file configures: {}",
                or_none(&known.join(", "))
            );
            self.note(
                Severity::Error,
                "no-agent",
                self.file.clone(),
                self.agent_title(),
                None,
                message,
            );
        }
        found
    }

    /// The components that a list names, each with its type and edges.
    fn components(&mut self, list: &str, word: &str, edge: Option<&str>) -> Vec<Component> {
        let Some(mut section) = self.sections.remove(list) else {
            return Vec::new();
        };
        let listed = section.list.clone();
        let place = listed.as_ref().map_or(self.file.clone(), |l| l.place.clone());
        let mut names: Vec<&str> = Vec::new();
        for name in listed
            .as_ref()
            .map_or("", |l| l.value.as_str())
            .split_whitespace()
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut components = Vec::new();
        for name in &names {
            match section.components.remove(*name) {
                Some(entries) => components.extend(self.component(name, word, edge, entries, &place)),
                None => {
                    let near = nearest(name, section.components.keys().map(String::as_str));
                    let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
                    let message = format!("listed, but nothing is set for it{hint}");
                    self.note(
                        Severity::Error,
                        "not-configured",
                        place.clone(),
                        format!("{word} {name}"),
                        None,
                        message,
                    );
                }
            }
        }
        for (name, entries) in &section.components {
            let Some(first) = entries.values().min_by_key(|e| e.place.line) else {
                continue;
            };
            let key = format!("{}.{list}", self.agent);
            let found = listed
                .as_ref()
                .map_or("missing".to_owned(), |l| format!("\"{}\"", l.value));
            let message = format!("configured, but not listed in {key} ({found}), so it does not run");
            self.note(
                Severity::Warning,
                "not-listed",
                first.place.clone(),
                format!("{word} {name}"),
                None,
                message,
            );
        }
        components
    }

    fn component(
        &mut self,
        name: &str,
        word: &str,
        edge: Option<&str>,
        mut entries: BTreeMap<String, Entry>,
        listed_at: &Place,
    ) -> Option<Component> {
        let title = format!("{word} {name}");
        entries.remove("config");
        let edges = edge
            .and_then(|key| entries.remove(key))
            .map_or(Vec::new(), |e| names_in(&e.value));
        if let Some(key) = edge.filter(|_| edges.is_empty()) {
            let near = nearest(key, entries.keys().map(String::as_str));
            let hint = near.map_or(String::new(), |n| format!("; did you mean it by \"{n}\"?"));
            let message = format!("required, but not there{hint}");
            self.note(
                Severity::Error,
                "missing",
                listed_at.clone(),
                title.clone(),
                Some(key),
                message,
            );
        }
        let type_key = if word == "sink group" {
            "processor.type"
        } else {
            "type"
        };
        // A group without a processor type is one with the default processor, as the guide says.
        let default = (word == "sink group").then(|| Entry {
            value: "default".to_owned(),
            place: listed_at.clone(),
        });
        match entries.remove(type_key).or(default) {
            Some(kind) => Some(Component {
                name: name.to_owned(),
                type_name: kind.value,
                place: kind.place,
                entries,
                edges,
            }),
            None => {
                let near = nearest("type", entries.keys().map(String::as_str));
                let hint = near.map_or(String::new(), |n| format!("; did you mean it by \"{n}\"?"));
                let message = format!("required, but not there{hint}");
                self.note(
                    Severity::Error,
                    "missing",
                    listed_at.clone(),
                    title,
                    Some("type"),
                    message,
                );
                None
            }
        }
    }

    /// Takes out edges to what does not exist, and what nobody is connected to.
    fn check_edges(&mut self, graph: &mut Graph) {
        let channels: Vec<String> = graph.channels.iter().map(|c| c.name.clone()).collect();
        let sinks: Vec<String> = graph.sinks.iter().map(|s| s.name.clone()).collect();
        for source in &mut graph.sources {
            self.check_edge("source", "channels", source, &channels);
        }
        for sink in &mut graph.sinks {
            if sink.edges.len() > 1 {
                let message = format!("a sink reads one channel, found \"{}\"", sink.edges.join(" "));
                self.note(
                    Severity::Error,
                    "bad-value",
                    sink.place.clone(),
                    format!("sink {}", sink.name),
                    Some("channel"),
                    message,
                );
            }
            self.check_edge("sink", "channel", sink, &channels);
        }
        let mut grouped: Vec<String> = Vec::new();
        for group in &mut graph.groups {
            self.check_edge("sink group", "sinks", group, &sinks);
            for sink in &group.edges {
                if grouped.contains(sink) {
                    let message = format!("{sink} is in another group already");
                    self.note(
                        Severity::Error,
                        "sink-in-two-groups",
                        group.place.clone(),
                        format!("sink group {}", group.name),
                        Some("sinks"),
                        message,
                    );
                }
            }
            grouped.extend(group.edges.iter().cloned());
        }
        for channel in &graph.channels {
            let written = graph.sources.iter().any(|s| s.edges.contains(&channel.name));
            let read = graph.sinks.iter().any(|s| s.edges.contains(&channel.name));
            let message = match (written, read) {
                (false, false) => "no source and no sink uses it; it is not started",
                (true, false) => "no sink reads it: it fills up and stays full",
                (false, true) => "no source writes to it",
                (true, true) => continue,
            };
            self.note(
                Severity::Warning,
                "unconnected",
                channel.place.clone(),
                format!("channel {}", channel.name),
                None,
                message.to_owned(),
            );
        }
        graph.channels.retain(|c| {
            let uses = |list: &[Component]| list.iter().any(|x| x.edges.contains(&c.name));
            uses(&graph.sources) || uses(&graph.sinks)
        });
    }

    fn check_edge(&mut self, word: &str, property: &str, component: &mut Component, known: &[String]) {
        let had = component.edges.len();
        for edge in component.edges.clone() {
            if known.contains(&edge) {
                continue;
            }
            component.edges.retain(|e| *e != edge);
            let near = nearest(&edge, known.iter().map(String::as_str));
            let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
            let last = component.edges.is_empty() && had > 0;
            let severity = if last { Severity::Error } else { Severity::Warning };
            let message = format!(
                "\"{edge}\" does not exist; there are: {}{hint}",
                or_none(&known.join(", "))
            );
            self.note(
                severity,
                "unknown-name",
                component.place.clone(),
                format!("{word} {}", component.name),
                Some(property),
                message,
            );
        }
    }

    fn check_totals(&mut self, graph: &Graph) {
        let nothing = if graph.channels.is_empty() {
            "no channel is left to run"
        } else if graph.sources.is_empty() && graph.sinks.is_empty() {
            "no source and no sink is left to run"
        } else {
            return;
        };
        self.note(
            Severity::Error,
            "empty-agent",
            self.file.clone(),
            self.agent_title(),
            None,
            nothing.to_owned(),
        );
    }
}

/// The names of a list; one that stands there twice counts once.
fn names_in(list: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in list.split_whitespace() {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn or_none(list: &str) -> &str {
    if list.is_empty() { "none" } else { list }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn check(text: &str) -> (Graph, String) {
        let place = |line| Place {
            file: Path::new("f").into(),
            line,
        };
        let entry = |(n, line): (usize, &str)| {
            let (key, value) = line.split_once('=').unwrap();
            (
                key.trim().to_owned(),
                Entry {
                    value: value.trim().to_owned(),
                    place: place(n + 1),
                },
            )
        };
        let properties = text
            .lines()
            .enumerate()
            .filter(|(_, l)| l.contains('='))
            .map(entry)
            .collect();
        let (graph, findings) = read(&properties, "a1", &place(0));
        (graph, findings.iter().map(|f| format!("{f}\n")).collect())
    }

    const GOOD: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\n\
        a1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n";

    #[test]
    fn a_good_agent_has_no_findings() {
        let (graph, findings) = check(GOOD);
        assert_eq!(findings, "");
        assert_eq!(graph.sources[0].edges, ["c1"]);
        assert_eq!(graph.sinks[0].type_name, "null");
    }

    #[test]
    fn each_mistake_is_named_with_its_line_and_the_nearest_name() {
        let (_, findings) = check(&format!(
            "{GOOD}a1.sink = k2\na1.channels.c9.type = memory\na1.sources.r1.channels = c11\na1.sinks = k1 k2\n"
        ));
        assert_eq!(
            findings,
            "f:9: warning[unknown-list]: agent a1: a1.sink: ignored: after the agent's name stands one of channels, \
             configfilters, sinkgroups, sinks, sources; did you mean \"a1.sinks\"?\n\
             f:10: warning[not-listed]: channel c9: configured, but not listed in a1.channels (\"c1\"), so it does not run\n\
             f:12: error[not-configured]: sink k2: listed, but nothing is set for it\n\
             f:4: error[unknown-name]: source r1: channels: \"c11\" does not exist; there are: c1; did you mean \"c1\"?\n\
             f:6: warning[unconnected]: channel c1: no source writes to it\n"
        );
    }

    #[test]
    fn an_agent_that_is_not_there_lists_those_that_are() {
        let place = Place {
            file: Path::new("f").into(),
            line: 0,
        };
        let entry = Entry {
            value: "c1".into(),
            place: place.clone(),
        };
        let properties = [("agent.channels".to_owned(), entry)].into_iter().collect();
        let (_, findings) = read(&properties, "a1", &place);
        let text = findings[0].to_string();
        assert!(
            text.contains("agent a1: no configuration for this name; the file configures: agent"),
            "{text}"
        );
    }

    #[test]
    fn names_listed_twice_count_once_and_unused_channels_are_left_out() {
        let (graph, findings) = check(&format!(
            "{GOOD}a1.sinks = k1 k1\na1.channels = c1 c2\na1.channels.c2.type = memory\n"
        ));
        assert_eq!((graph.sinks.len(), graph.channels.len()), (1, 1));
        assert!(
            findings.contains("channel c2: no source and no sink uses it"),
            "{findings}"
        );
    }
}
