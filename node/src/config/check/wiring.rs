//! What only shows with several components in view: ports, folders, batches, sinks that compete or stand apart.

use crate::component::keys::{Entry, Finding, Place, Severity};
use crate::component::registry::Types;
use crate::topology::catalog::{self, Kind, Type};
use crate::topology::graph::{Component, Graph};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Below, a port is for the superuser.
const PRIVILEGED: u16 = 1_024;

/// Looks at one agent.
pub(super) fn look(
    properties: &BTreeMap<String, Entry>,
    agent: &str,
    graph: &Graph,
    types: &Arc<Types>,
) -> Vec<Finding> {
    let mut all = Vec::new();
    ports(graph, &mut all);
    folders(graph, &mut all);
    batches(graph, types, &mut all);
    competing(properties, agent, graph, &mut all);
    apart(graph, &mut all);
    timestamps(graph, &mut all);
    all
}

fn finding(
    at: &Place,
    severity: Severity,
    code: &'static str,
    of: (&str, &Component),
    property: Option<&str>,
    message: String,
) -> Finding {
    Finding {
        place: at.clone(),
        severity,
        code,
        component: format!("{} {} ({})", of.0, of.1.name, of.1.type_name),
        property: property.map(str::to_owned),
        message,
    }
}

/// One listener of a source.
struct Listener<'a> {
    source: &'a Component,
    key: &'static str,
    entry: &'a Entry,
    port: u16,
    datagrams: bool,
    address: &'a str,
}

fn listeners(source: &Component) -> Vec<Listener<'_>> {
    let name = catalog::find(Kind::Source, &source.type_name).map_or("", Type::name);
    let (key, datagrams) = match name {
        "netcatudp" | "syslogudp" => ("port", true),
        "multiport_syslogtcp" => ("ports", false),
        "avro" | "thrift" | "netcat" | "syslogtcp" | "http" => ("port", false),
        other if other.contains("Legacy") || other.contains("Scribe") => ("port", false),
        _ => return Vec::new(),
    };
    let Some(entry) = source.entries.get(key) else {
        return Vec::new();
    };
    let address = ["bind", "host"].iter().find_map(|k| source.entries.get(*k));
    let ports = entry
        .value
        .split_whitespace()
        .filter_map(|p| p.parse::<u16>().ok());
    ports
        .map(|port| Listener {
            source,
            key,
            entry,
            port,
            datagrams,
            address: address.map_or("0.0.0.0", |a| a.value.as_str()),
        })
        .collect()
}

fn ports(graph: &Graph, all: &mut Vec<Finding>) {
    let listeners: Vec<Listener<'_>> = graph.sources.iter().flat_map(listeners).collect();
    for (at, this) in listeners.iter().enumerate() {
        if this.port == 0 {
            continue;
        }
        if this.port < PRIVILEGED {
            let message = format!(
                "{} is below {PRIVILEGED}: on most systems only the superuser may listen there",
                this.port
            );
            let of = ("source", this.source);
            all.push(finding(
                &this.entry.place,
                Severity::Note,
                "privileged-port",
                of,
                Some(this.key),
                message,
            ));
        }
        let everywhere = |a: &str| ["0.0.0.0", "::", "*"].contains(&a);
        let same = |that: &&Listener<'_>| {
            that.port == this.port
                && that.datagrams == this.datagrams
                && (that.address == this.address || everywhere(that.address) || everywhere(this.address))
        };
        if let Some(that) = listeners[..at].iter().find(same) {
            let message = if that.source.name == this.source.name {
                format!("port {} stands there twice", this.port)
            } else {
                format!(
                    "port {} is source {}'s already: one of the two never gets it",
                    this.port, that.source.name
                )
            };
            let of = ("source", this.source);
            all.push(finding(
                &this.entry.place,
                Severity::Error,
                "same-port",
                of,
                Some(this.key),
                message,
            ));
        }
    }
}

/// File channels that would lock each other out.
fn folders(graph: &Graph, all: &mut Vec<Finding>) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for channel in &graph.channels {
        let name = catalog::find(Kind::Channel, &channel.type_name).map_or("", Type::name);
        if name != "file" && name != "spillablememory" {
            continue;
        }
        let mut shared = None;
        for (key, folder) in folders_of(channel) {
            if let Some(other) = taken.insert(folder.clone(), &channel.name) {
                shared.get_or_insert((key, folder, other));
            }
        }
        // The first one is enough to tell the mistake.
        if let Some((key, folder, other)) = shared {
            let entry = channel.entries.get(key);
            let at = entry.map_or(&channel.place, |e| &e.place);
            let how = if entry.is_none() { " (the default)" } else { "" };
            let message = if other == channel.name {
                format!("{folder}{how} stands there twice: a channel locks each folder once")
            } else {
                format!("{folder}{how} is used by channel {other} already: one of the two cannot lock it")
            };
            let of = ("channel", channel);
            all.push(finding(
                at,
                Severity::Error,
                "same-folder",
                of,
                Some(key),
                message,
            ));
        }
    }
}

/// The folders of a file channel, each with the key that names it.
fn folders_of(channel: &Component) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for (key, default) in [
        ("checkpointDir", "~/.flume/file-channel/checkpoint"),
        ("dataDirs", "~/.flume/file-channel/data"),
    ] {
        let value = channel.entries.get(key).map_or(default, |e| e.value.as_str());
        let folders = value.split(',').map(|f| f.trim().trim_end_matches('/'));
        all.extend(folders.map(|f| (key, f.to_owned())));
    }
    all
}

/// Batches over a channel's transactions, where building once does not tell: one of the two is not built here.
fn batches(graph: &Graph, types: &Arc<Types>, all: &mut Vec<Finding>) {
    for channel in &graph.channels {
        let Some((key, default)) =
            catalog::find(Kind::Channel, &channel.type_name).and_then(|t| t.transaction)
        else {
            continue;
        };
        let room = positive(channel, key).map_or(default, |(n, _)| n);
        let channel_is_built = types.channels.find(&channel.type_name).is_some();
        let ends = [(Kind::Source, &graph.sources), (Kind::Sink, &graph.sinks)];
        for (kind, component) in ends
            .into_iter()
            .flat_map(|(kind, list)| list.iter().map(move |c| (kind, c)))
        {
            let built = match kind {
                Kind::Source => types.sources.find(&component.type_name).is_some(),
                _ => types.sinks.find(&component.type_name).is_some(),
            };
            if !component.edges.contains(&channel.name) || (built && channel_is_built) {
                continue;
            }
            let Some((keys, default)) = catalog::find(kind, &component.type_name).and_then(|t| t.batch)
            else {
                continue;
            };
            let given = keys.iter().find_map(|k| Some((*k, positive(component, k)?)));
            let batch = given.as_ref().map_or(default, |(_, (n, _))| *n);
            if batch <= room {
                continue;
            }
            let (key, at) = given.map_or((keys[0], &component.place), |(k, (_, at))| (k, at));
            let how = if given.is_none() { ", the default," } else { "" };
            let word = kind.word();
            let message = format!(
                "a batch of {batch}{how} does not fit a transaction of channel {}: at most {room} (its transactionCapacity)",
                channel.name
            );
            all.push(finding(
                at,
                Severity::Error,
                "batch-over-transaction",
                (word, component),
                Some(key),
                message,
            ));
        }
    }
}

fn positive<'a>(component: &'a Component, key: &str) -> Option<(i64, &'a Place)> {
    let entry = component.entries.get(key)?;
    let number = entry.value.parse::<i64>().ok().filter(|n| *n > 0)?;
    Some((number, &entry.place))
}

/// Sinks that share a channel without a group.
fn competing(properties: &BTreeMap<String, Entry>, agent: &str, graph: &Graph, all: &mut Vec<Finding>) {
    for channel in &graph.channels {
        let grouped = |sink: &Component| graph.groups.iter().any(|g| g.edges.contains(&sink.name));
        let sinks: Vec<&Component> = graph
            .sinks
            .iter()
            .filter(|s| s.edges.contains(&channel.name) && !grouped(s))
            .collect();
        let Some(last) = sinks.last().filter(|_| sinks.len() > 1) else {
            continue;
        };
        let names: Vec<&str> = sinks.iter().map(|s| s.name.as_str()).collect();
        let key = format!("{agent}.sinks.{}.channel", last.name);
        let at = properties.get(&key).map_or(&last.place, |e| &e.place);
        let message = format!(
            "sinks {} share it: each event goes to one of them, not to all; for all, each needs a channel of its own",
            names.join(", ")
        );
        all.push(finding(
            at,
            Severity::Note,
            "competing-sinks",
            ("channel", channel),
            None,
            message,
        ));
    }
}

/// Groups whose sinks cannot stand in for each other.
fn apart(graph: &Graph, all: &mut Vec<Finding>) {
    for group in &graph.groups {
        let members = graph.sinks.iter().filter(|sink| group.edges.contains(&sink.name));
        let mut channels: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (sink, channel) in members.flat_map(|sink| sink.edges.iter().map(move |c| (sink, c))) {
            channels.entry(channel).or_default().push(&sink.name);
        }
        if channels.len() < 2 {
            continue;
        }
        let told: Vec<String> = channels
            .iter()
            .map(|(channel, sinks)| format!("{} from {channel}", sinks.join(", ")))
            .collect();
        let message = format!(
            "its sinks read different channels ({}): each channel is emptied by its own sinks, and no other one takes \
             over what waits there",
            told.join("; ")
        );
        all.push(finding(
            &group.place,
            Severity::Note,
            "different-channels",
            ("sink group", group),
            None,
            message,
        ));
    }
}

/// hdfs paths with times in them, where nothing in this agent sets the header they are made of.
fn timestamps(graph: &Graph, all: &mut Vec<Finding>) {
    for sink in &graph.sinks {
        let hdfs = catalog::find(Kind::Sink, &sink.type_name).is_some_and(|t| t.alias == "hdfs");
        let local = sink.entries.get("hdfs.useLocalTimeStamp");
        if !hdfs || local.is_some_and(|e| e.value.eq_ignore_ascii_case("true")) {
            continue;
        }
        let timed = |key: &&str| sink.entries.get(*key).is_some_and(|e| has_time(&e.value));
        let Some(key) = ["hdfs.path", "hdfs.filePrefix"].into_iter().find(timed) else {
            continue;
        };
        let bare: Vec<&str> = graph
            .sources
            .iter()
            .filter(|s| s.edges.iter().any(|e| sink.edges.contains(e)) && sets_no_time(s))
            .map(|s| s.name.as_str())
            .collect();
        if let (Some(entry), false) = (sink.entries.get(key), bare.is_empty()) {
            let message = format!(
                "needs a header timestamp, which source {} does not set; without it the sink stops at the first event: \
                 a timestamp interceptor sets it, or hdfs.useLocalTimeStamp = true does without",
                bare.join(", ")
            );
            all.push(finding(
                &entry.place,
                Severity::Warning,
                "no-timestamp",
                ("sink", sink),
                Some(key),
                message,
            ));
        }
    }
}

/// `%Y` and its like; `%{header}` and `%[host]` are no times.
fn has_time(text: &str) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '%' && chars.clone().next().is_some_and(|c| c.is_ascii_alphabetic()) {
            return true;
        }
    }
    false
}

/// A source whose events have no header but what an interceptor gives them, and none that could be a time.
fn sets_no_time(source: &Component) -> bool {
    let name = catalog::find(Kind::Source, &source.type_name).map_or("", Type::name);
    let bare = ["exec", "spooldir", "taildir", "netcat", "netcatudp", "seq"].contains(&name);
    let harmless = |entry: &Entry| {
        let known = catalog::find(Kind::Interceptor, &entry.value).map(Type::name);
        [
            "host",
            "static",
            "regex_filter",
            "search_replace",
            "remove_header",
        ]
        .iter()
        .any(|name| known == Some(*name))
    };
    let kinds = source
        .entries
        .iter()
        .filter(|(k, _)| k.starts_with("interceptors.") && k.ends_with(".type"));
    let headers = source.entries.keys().any(|k| k.starts_with("headers."));
    bare && !headers && kinds.map(|(_, e)| e).all(harmless)
}
