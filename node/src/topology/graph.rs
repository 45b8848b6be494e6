//! What an agent's properties say: components, their types and the edges between them.
//!
//! Grammar and outcome follow `flume/runtime.md` 3: `<agent>.<list>` names components, separated by blanks;
//! `<agent>.<list>.<name>.<property>` sets one up. Where Flume drops a component with a line in a log that nobody
//! reads, there is an error finding here.

use super::catalog::{self, Kind};
use crate::component::keys::{Entry, Finding, Place, Severity, nearest};
use proto::java;
use std::collections::{BTreeMap, BTreeSet};

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
    /// Sources and sinks that have a type and no channel: they are dropped, their settings can still be checked.
    pub lost: Vec<(Kind, Component)>,
}

const LISTS: [&str; 5] = ["channels", "configfilters", "sinkgroups", "sinks", "sources"];

impl Graph {
    /// With the sources and sinks that lost all their channels: for showing what was meant.
    pub fn with_lost(&self) -> Graph {
        let mut whole = self.clone();
        for (kind, component) in std::mem::take(&mut whole.lost) {
            match kind {
                Kind::Source => whole.sources.push(component),
                Kind::Sink => whole.sinks.push(component),
                _ => {}
            }
        }
        whole
    }
}

/// Reads one agent. Keys of other agents are not looked at.
pub fn read(properties: &BTreeMap<String, Entry>, agent: &str, file: &Place) -> (Graph, Vec<Finding>) {
    let mut reader = Reader {
        agent,
        findings: Vec::new(),
        file: file.clone(),
        sections: BTreeMap::new(),
        edges_at: BTreeMap::new(),
        lost: BTreeSet::new(),
        dropped: Vec::new(),
    };
    if !reader.sort_out(properties) {
        return (Graph::default(), reader.findings);
    }
    let channels = reader.components(&CHANNELS);
    let sources = reader.components(&SOURCES);
    let sinks = reader.components(&SINKS);
    let groups = reader.components(&GROUPS);
    let mut graph = Graph {
        channels,
        sources,
        sinks,
        groups,
        lost: Vec::new(),
    };
    reader.check_edges(&mut graph);
    graph.lost = std::mem::take(&mut reader.dropped);
    reader.check_totals(&graph);
    (graph, reader.findings)
}

/// One of the four lists with what its components must have.
struct Shape {
    list: &'static str,
    word: &'static str,
    /// The property that names what it is connected to.
    edge: Option<&'static str>,
}

const CHANNELS: Shape = Shape {
    list: "channels",
    word: "channel",
    edge: None,
};
const SOURCES: Shape = Shape {
    list: "sources",
    word: "source",
    edge: Some("channels"),
};
const SINKS: Shape = Shape {
    list: "sinks",
    word: "sink",
    edge: Some("channel"),
};
const GROUPS: Shape = Shape {
    list: "sinkgroups",
    word: "sink group",
    edge: Some("sinks"),
};

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
    /// Where the edges of a component are named, by its word and name.
    edges_at: BTreeMap<(&'static str, String), Place>,
    /// Components that are listed and lost to an error: what names them is not wrong.
    lost: BTreeSet<(&'static str, String)>,
    dropped: Vec<(Kind, Component)>,
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
    fn components(&mut self, shape: &Shape) -> Vec<Component> {
        let Some(mut section) = self.sections.remove(shape.list) else {
            return Vec::new();
        };
        let listed = section.list.take();
        let place = listed.as_ref().map_or(self.file.clone(), |l| l.place.clone());
        let value = listed.as_ref().map_or("", |l| l.value.as_str());
        let mut names: Vec<&str> = Vec::new();
        for name in value.split_whitespace() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let comment = names.iter().position(|n| n.starts_with('#'));
        if comment.is_some() {
            let message =
                "a comment needs a line of its own: all words behind the # are names too".to_owned();
            let key = format!("{}.{}", self.agent, shape.list);
            let title = self.agent_title();
            self.note(
                Severity::Warning,
                "inline-comment",
                place.clone(),
                title,
                Some(&key),
                message,
            );
        }
        let mut components = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let made = match section.components.remove(*name) {
                Some(entries) => self.component(name, shape, entries, &place),
                None if comment.is_some_and(|from| at >= from) => continue,
                None => {
                    self.not_configured(name, shape, &section, &place);
                    // One comma is one mistake: what it hides is neither missing nor left over.
                    let hidden = name.trim_matches([',', ';']);
                    if section.components.remove(hidden).is_some() {
                        self.lost.insert((shape.word, hidden.to_owned()));
                    }
                    None
                }
            };
            if made.is_none() {
                self.lost.insert((shape.word, (*name).to_owned()));
            }
            components.extend(made);
        }
        self.not_listed(shape, &section, listed.as_ref());
        components
    }

    fn not_configured(&mut self, name: &str, shape: &Shape, section: &Section, place: &Place) {
        let near = nearest(name, section.components.keys().map(String::as_str));
        let hint = match near {
            _ if name.contains([',', ';']) => "; names are separated by blanks".to_owned(),
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => String::new(),
        };
        let message = format!("listed, but nothing is set for it{hint}");
        let title = format!("{} {name}", shape.word);
        self.note(
            Severity::Error,
            "not-configured",
            place.clone(),
            title,
            None,
            message,
        );
    }

    fn not_listed(&mut self, shape: &Shape, section: &Section, listed: Option<&Entry>) {
        for (name, entries) in &section.components {
            let Some(first) = entries.values().min_by_key(|e| e.place.line) else {
                continue;
            };
            let key = format!("{}.{}", self.agent, shape.list);
            let message = match listed {
                Some(list) => {
                    format!(
                        "configured, but not listed in {key} (\"{}\"), so it does not run",
                        list.value
                    )
                }
                None => format!("configured, but there is no list {key}, so it does not run"),
            };
            let title = format!("{} {name}", shape.word);
            self.note(
                Severity::Warning,
                "not-listed",
                first.place.clone(),
                title,
                None,
                message,
            );
        }
    }

    fn component(
        &mut self,
        name: &str,
        shape: &Shape,
        mut entries: BTreeMap<String, Entry>,
        listed_at: &Place,
    ) -> Option<Component> {
        let is_group = shape.word == GROUPS.word;
        let type_key = if is_group { "processor.type" } else { "type" };
        entries.remove("config");
        let kind = entries.remove(type_key);
        let title = match &kind {
            Some(kind) => format!("{} {name} ({})", shape.word, kind.value),
            None => format!("{} {name}", shape.word),
        };
        let mut edges = Vec::new();
        if let Some(key) = shape.edge {
            let named = entries.remove(key);
            edges.extend(
                named
                    .iter()
                    .flat_map(|e| e.value.split_whitespace())
                    .map(str::to_owned),
            );
            let mut seen = BTreeSet::new();
            edges.retain(|edge| seen.insert(edge.clone()));
            let at = named.map_or(listed_at.clone(), |e| e.place);
            self.edges_at.insert((shape.word, name.to_owned()), at);
            if edges.is_empty() {
                self.missing(key, &mut entries, &title, listed_at);
            }
        }
        let Some(kind) = kind.or_else(|| is_group.then(|| self.default_processor(&title, &edges, listed_at)))
        else {
            self.missing("type", &mut entries, &title, listed_at);
            return None;
        };
        let component = Component {
            name: name.to_owned(),
            type_name: kind.value,
            place: kind.place,
            entries,
            edges,
        };
        if shape.edge.is_some() && component.edges.is_empty() {
            self.drop(shape, &component);
            return None;
        }
        Some(component)
    }

    /// The component is lost to an error.
    fn drop(&mut self, shape: &Shape, component: &Component) {
        self.lost.insert((shape.word, component.name.clone()));
        let kind = match shape.word {
            word if word == SOURCES.word => Kind::Source,
            word if word == SINKS.word => Kind::Sink,
            _ => return,
        };
        self.dropped.push((kind, component.clone()));
    }

    /// A group without a processor type is one with the default processor, as the guide says.
    fn default_processor(&mut self, title: &str, edges: &[String], listed_at: &Place) -> Entry {
        if !edges.is_empty() {
            let message =
                "not there: default is used, where Flume 1.11 loses the group and its sinks".to_owned();
            self.note(
                Severity::Warning,
                "no-processor",
                listed_at.clone(),
                title.to_owned(),
                Some("processor.type"),
                message,
            );
        }
        Entry {
            value: "default".to_owned(),
            place: listed_at.clone(),
        }
    }

    /// Something required is not there; what it was probably meant by is taken out, as one mistake is one finding.
    fn missing(&mut self, key: &str, entries: &mut BTreeMap<String, Entry>, title: &str, listed_at: &Place) {
        let near = nearest(key, entries.keys().map(String::as_str)).map(str::to_owned);
        let meant = near.and_then(|near| entries.remove(&near).map(|entry| (near, entry.place)));
        let (at, hint) = match meant {
            Some((near, at)) => (at, format!("; did you mean it by \"{near}\"?")),
            None => (listed_at.clone(), String::new()),
        };
        let message = format!("required, but not there{hint}");
        self.note(
            Severity::Error,
            "missing",
            at,
            title.to_owned(),
            Some(key),
            message,
        );
    }

    /// Takes out edges to what does not exist, components that have none left, and channels that nobody uses.
    fn check_edges(&mut self, graph: &mut Graph) {
        let names = |list: &[Component]| list.iter().map(|c| c.name.clone()).collect::<Vec<String>>();
        let channels = names(&graph.channels);
        self.unconnected(graph);
        graph
            .sources
            .retain_mut(|source| self.check_edge(&SOURCES, source, &CHANNELS, &channels));
        graph.sinks.retain_mut(|sink| {
            if sink.edges.len() > 1 {
                let message = format!("a sink reads one channel, found \"{}\"", sink.edges.join(" "));
                let at = self.edges_place(&SINKS, sink);
                let title = title(&SINKS, sink);
                self.note(Severity::Error, "bad-value", at, title, Some("channel"), message);
                self.drop(&SINKS, sink);
                return false;
            }
            self.check_edge(&SINKS, sink, &CHANNELS, &channels)
        });
        let sinks = names(&graph.sinks);
        // The group that Java's hash sets visit first keeps a sink that two name.
        let mut order = names(&graph.groups);
        java::sort_in_hash_order(&mut order, |g| g);
        let mut owners: BTreeMap<String, String> = BTreeMap::new();
        for name in &order {
            for sink in graph
                .groups
                .iter()
                .filter(|g| g.name == *name)
                .flat_map(|g| &g.edges)
            {
                owners.entry(sink.clone()).or_insert_with(|| name.clone());
            }
        }
        graph.groups.retain_mut(|group| {
            let kept = self.own_sinks(group, &owners);
            group.edges = kept;
            !group.edges.is_empty() && self.check_edge(&GROUPS, group, &SINKS, &sinks)
        });
        graph.channels.retain(|c| {
            let uses = |list: &[Component]| list.iter().any(|x| x.edges.contains(&c.name));
            uses(&graph.sources) || uses(&graph.sinks)
        });
    }

    /// The sinks of a group without those that another one has.
    fn own_sinks(&mut self, group: &Component, owners: &BTreeMap<String, String>) -> Vec<String> {
        let mut kept = Vec::new();
        for sink in &group.edges {
            match owners.get(sink).filter(|owner| **owner != group.name) {
                None => kept.push(sink.clone()),
                Some(owner) => {
                    let message =
                        format!("\"{sink}\" is in group {owner} already, and in this one it is not used");
                    let at = self.edges_place(&GROUPS, group);
                    let title = title(&GROUPS, group);
                    self.note(
                        Severity::Error,
                        "sink-in-two-groups",
                        at,
                        title,
                        Some("sinks"),
                        message,
                    );
                }
            }
        }
        kept
    }

    /// Channels that nobody names, right or wrong, at one of their ends.
    fn unconnected(&mut self, graph: &Graph) {
        for channel in &graph.channels {
            let written = graph.sources.iter().any(|s| s.edges.contains(&channel.name));
            let read = graph.sinks.iter().any(|s| s.edges.contains(&channel.name));
            // A source or sink that an error took may have been meant.
            let lost = |word| self.lost.iter().any(|(w, _)| *w == word);
            let message = match (written || lost(SOURCES.word), read || lost(SINKS.word)) {
                (false, false) => "no source and no sink uses it; it is not started",
                (true, false) => "no sink reads it: it fills up and stays full",
                (false, true) => "no source writes to it",
                (true, true) => continue,
            };
            // Kafka channels have other users than this agent.
            let outside = catalog::find(Kind::Channel, &channel.type_name)
                .is_some_and(|t| t.name().ends_with("KafkaChannel"));
            let (severity, message) = if outside && written != read {
                let end = if read { "source" } else { "sink" };
                (
                    Severity::Note,
                    format!("no {end} of this agent uses it: that is left to other users of its topic"),
                )
            } else {
                (Severity::Warning, message.to_owned())
            };
            let title = title(&CHANNELS, channel);
            self.note(
                severity,
                "unconnected",
                channel.place.clone(),
                title,
                None,
                message,
            );
        }
    }

    fn edges_place(&self, shape: &Shape, component: &Component) -> Place {
        let at = self.edges_at.get(&(shape.word, component.name.clone()));
        at.unwrap_or(&component.place).clone()
    }

    /// Whether an edge is left. Names that do not exist are findings, those that an error took are not.
    fn check_edge(
        &mut self,
        shape: &Shape,
        component: &mut Component,
        other: &Shape,
        known: &[String],
    ) -> bool {
        for edge in component.edges.clone() {
            if known.contains(&edge) {
                continue;
            }
            component.edges.retain(|e| *e != edge);
            if self.lost.contains(&(other.word, edge.clone())) {
                continue;
            }
            let near = nearest(&edge, known.iter().map(String::as_str));
            let hint = match near {
                _ if edge.contains([',', ';']) => "; names are separated by blanks".to_owned(),
                Some(near) => format!("; did you mean \"{near}\"?"),
                None => String::new(),
            };
            let severity = if component.edges.is_empty() {
                Severity::Error
            } else {
                Severity::Warning
            };
            let message = format!(
                "\"{edge}\" does not exist; there are: {}{hint}",
                or_none(&known.join(", "))
            );
            let at = self.edges_place(shape, component);
            let title = title(shape, component);
            self.note(severity, "unknown-name", at, title, shape.edge, message);
        }
        if component.edges.is_empty() {
            self.drop(shape, component);
        }
        !component.edges.is_empty()
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

fn title(shape: &Shape, component: &Component) -> String {
    format!("{} {} ({})", shape.word, component.name, component.type_name)
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
             f:6: warning[unconnected]: channel c1 (memory): no source writes to it\n\
             f:11: error[unknown-name]: source r1 (seq): channels: \"c11\" does not exist; there are: c1; did you mean \"c1\"?\n"
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
            findings.contains("channel c2 (memory): no source and no sink uses it"),
            "{findings}"
        );
    }
}
