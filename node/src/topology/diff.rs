//! What a new configuration changes: pure, over two graphs.
//!
//! Identity is kind, name and type. What is equal goes on untouched; what has other settings restarts; what has
//! another type is another component, and whoever holds it restarts too. A channel whose type can change its
//! settings in place (`memory`) does, so nobody who uses it notices.

use super::graph::{Component, Graph};
use super::plan::{Processor, processors};
use std::collections::BTreeSet;
use std::fmt;

/// A child of the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Id {
    Channel(String),
    Sink(String),
    Processor(String),
    Source(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel(name) => write!(f, "channel {name}"),
            Self::Sink(name) => write!(f, "sink {name}"),
            Self::Processor(name) => write!(f, "processor {name}"),
            Self::Source(name) => write!(f, "source {name}"),
        }
    }
}

/// What to do to come from one graph to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Stop, and do not start again.
    pub removed: BTreeSet<Id>,
    /// Start.
    pub added: BTreeSet<Id>,
    /// Stop the old, start the new.
    pub restarted: BTreeSet<Id>,
    /// Channels that take over other settings while they run.
    pub reconfigured: BTreeSet<String>,
}

impl Changes {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this child is to be stopped.
    pub fn stops(&self, id: &Id) -> bool {
        self.removed.contains(id) || self.restarted.contains(id)
    }

    /// Whether this child is to be started.
    pub fn starts(&self, id: &Id) -> bool {
        self.added.contains(id) || self.restarted.contains(id)
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &BTreeSet<Id>| ids.iter().map(Id::to_string).collect::<Vec<_>>().join(", ");
        let channels: Vec<String> = self.reconfigured.iter().map(|c| format!("channel {c}")).collect();
        let parts = [
            ("removed", list(&self.removed)),
            ("added", list(&self.added)),
            ("restarted", list(&self.restarted)),
            ("reconfigured", channels.join(", ")),
        ];
        let told: Vec<String> = parts
            .iter()
            .filter(|(_, l)| !l.is_empty())
            .map(|(word, list)| format!("{word}: {list}"))
            .collect();
        f.write_str(&if told.is_empty() {
            "nothing changed".to_owned()
        } else {
            told.join("; ")
        })
    }
}

/// Compares two graphs. `in_place` says whether a running channel can take over other settings.
pub fn diff(old: &Graph, new: &Graph, in_place: impl Fn(&str) -> bool) -> Changes {
    let mut changes = Changes::default();
    let replaced = channels(old, new, in_place, &mut changes);
    let moved = |component: &Component| component.edges.iter().any(|channel| replaced.contains(channel));
    each(&old.sinks, &new.sinks, Id::Sink, &mut changes, |old, new| {
        same(old, new) && !moved(new)
    });
    each(
        &old.sources,
        &new.sources,
        Id::Source,
        &mut changes,
        |old, new| same(old, new) && !moved(new),
    );
    compare_processors(old, new, &replaced, &mut changes);
    changes
}

/// The names of channels that become other channels.
fn channels(
    old: &Graph,
    new: &Graph,
    in_place: impl Fn(&str) -> bool,
    changes: &mut Changes,
) -> BTreeSet<String> {
    let mut replaced = BTreeSet::new();
    for channel in &old.channels {
        let id = Id::Channel(channel.name.clone());
        match find(&new.channels, &channel.name) {
            None => {
                changes.removed.insert(id);
                replaced.insert(channel.name.clone());
            }
            Some(next) if same(channel, next) => {}
            Some(next) if same_type(channel, next) && in_place(&channel.name) => {
                changes.reconfigured.insert(channel.name.clone());
            }
            Some(_) => {
                changes.restarted.insert(id);
                replaced.insert(channel.name.clone());
            }
        }
    }
    for channel in &new.channels {
        if find(&old.channels, &channel.name).is_none() {
            changes.added.insert(Id::Channel(channel.name.clone()));
            replaced.insert(channel.name.clone());
        }
    }
    replaced
}

fn each(
    old: &[Component],
    new: &[Component],
    id: fn(String) -> Id,
    changes: &mut Changes,
    unchanged: impl Fn(&Component, &Component) -> bool,
) {
    for component in old {
        match find(new, &component.name) {
            None => changes.removed.insert(id(component.name.clone())),
            Some(next) if unchanged(component, next) => false,
            Some(_) => changes.restarted.insert(id(component.name.clone())),
        };
    }
    for component in new.iter().filter(|c| find(old, &c.name).is_none()) {
        changes.added.insert(id(component.name.clone()));
    }
}

/// A processor holds its sinks' ports, which outlive a sink's restart, and watches their channels when it stops.
fn compare_processors(old: &Graph, new: &Graph, replaced: &BTreeSet<String>, changes: &mut Changes) {
    let (before, after) = (processors(old), processors(new));
    let find = |list: &[Processor], name: &str| list.iter().find(|p| p.name == name).cloned();
    let kept_sink = |name: &String| {
        let (Some(was), Some(is)) = (find_in(&old.sinks, name), find_in(&new.sinks, name)) else {
            return false;
        };
        same_type(was, is) && was.edges == is.edges && !is.edges.iter().any(|c| replaced.contains(c))
    };
    for processor in &before {
        let id = Id::Processor(processor.name.clone());
        match find(&after, &processor.name) {
            None => changes.removed.insert(id),
            Some(next) => {
                let group = match (&processor.group, &next.group) {
                    (Some(was), Some(is)) => same(was, is),
                    (None, None) => true,
                    _ => false,
                };
                let kept = group && processor.sinks == next.sinks && next.sinks.iter().all(kept_sink);
                !kept && changes.restarted.insert(id)
            }
        };
    }
    for processor in after.iter().filter(|p| find(&before, &p.name).is_none()) {
        changes.added.insert(Id::Processor(processor.name.clone()));
    }
}

fn find<'a>(list: &'a [Component], name: &str) -> Option<&'a Component> {
    list.iter().find(|c| c.name == name)
}

fn find_in<'a>(list: &'a [Component], name: &str) -> Option<&'a Component> {
    find(list, name)
}

fn same_type(old: &Component, new: &Component) -> bool {
    old.type_name.eq_ignore_ascii_case(&new.type_name)
}

/// Equal but for where it stands in the file.
fn same(old: &Component, new: &Component) -> bool {
    let values = |c: &Component| {
        c.entries
            .iter()
            .map(|(k, e)| (k.clone(), e.value.clone()))
            .collect::<Vec<_>>()
    };
    same_type(old, new) && old.edges == new.edges && values(old) == values(new)
}

#[cfg(test)]
mod tests {
    use super::super::graph;
    use super::*;
    use crate::component::keys::{Entry, Place};
    use std::path::Path;

    const BASE: &str = "sources = r1 r2
        channels = c1 c2
        sinks = k1 k2 k3
        sinkgroups = g1
        sinkgroups.g1.sinks = k2 k3
        sources.r1.type = seq
        sources.r1.channels = c1
        sources.r2.type = seq
        sources.r2.channels = c2
        channels.c1.type = memory
        channels.c2.type = memory
        sinks.k1.type = null
        sinks.k1.channel = c1
        sinks.k2.type = null
        sinks.k2.channel = c2
        sinks.k3.type = null
        sinks.k3.channel = c2";

    fn graph_of(text: &str) -> Graph {
        let entry = |(n, line): (usize, &str)| {
            let (key, value) = line.split_once('=').unwrap();
            let place = Place {
                file: Path::new("f").into(),
                line: n,
            };
            (
                format!("a.{}", key.trim()),
                Entry {
                    value: value.trim().to_owned(),
                    place,
                },
            )
        };
        let properties = text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
            .map(entry)
            .collect();
        graph::read(
            &properties,
            "a",
            &Place {
                file: Path::new("f").into(),
                line: 0,
            },
        )
        .0
    }

    fn check(edit: &str, expected: &str) {
        let new = format!("\n{BASE}\n{edit}");
        assert_eq!(
            diff(&graph_of(BASE), &graph_of(&new), |_| true).to_string(),
            expected
        );
    }

    #[test]
    fn what_only_moved_to_another_line_is_unchanged() {
        check("", "nothing changed");
        check("sources.r1.type = SEQ", "nothing changed");
    }

    #[test]
    fn other_settings_restart_only_their_component() {
        check("sources.r1.batchSize = 7", "restarted: source r1");
        check("sinks.k2.batchSize = 7", "restarted: sink k2");
        check("channels.c2.capacity = 500", "reconfigured: channel c2");
    }

    #[test]
    fn a_changed_identity_restarts_those_who_hold_it() {
        check("sinks.k2.type = logger", "restarted: sink k2, processor g1");
        check(
            "channels.c1.type = file",
            "restarted: channel c1, sink k1, processor k1, source r1",
        );
        check(
            "sinks.k1.channel = c2\nsources.r1.channels = c2",
            "removed: channel c1; restarted: sink k1, processor k1, source r1",
        );
    }

    #[test]
    fn what_comes_and_goes_leaves_the_others_alone() {
        check("sources = r1", "removed: source r2");
        check(
            "sinks = k1 k2 k3 k4\nsinks.k4.type = null\nsinks.k4.channel = c1",
            "added: sink k4, processor k4",
        );
        check(
            "sinkgroups.g1.sinks = k2",
            "added: processor k3; restarted: processor g1",
        );
    }

    #[test]
    fn a_channel_that_cannot_change_in_place_is_replaced() {
        let new = graph_of(&format!("{BASE}\nchannels.c1.capacity = 500"));
        let changes = diff(&graph_of(BASE), &new, |_| false);
        assert_eq!(
            changes.to_string(),
            "restarted: channel c1, sink k1, processor k1, source r1"
        );
    }
}
