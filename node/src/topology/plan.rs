//! The plan: which children run, in which pipeline and order. A value, to be printed and compared.

use super::graph::{Component, Graph};
use proto::java;
use std::collections::BTreeSet;
use std::fmt;

/// What runs in one agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Connected parts of the flow graph, each under a supervisor of its own.
    pub pipelines: Vec<Pipeline>,
}

/// One connected part of the flow graph.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Pipeline {
    pub channels: Vec<Component>,
    pub sinks: Vec<Component>,
    pub processors: Vec<Processor>,
    pub sources: Vec<Component>,
}

/// A sink processor: a group's, or the one of a sink in no group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processor {
    /// The group's name, or the sink's.
    pub name: String,
    /// The group; none for a lone sink.
    pub group: Option<Component>,
    /// Its sinks, in the order in which Java's hash sets visit them.
    pub sinks: Vec<String>,
}

impl Pipeline {
    /// The name of its first channel.
    pub fn name(&self) -> &str {
        self.channels.first().map_or("?", |c| c.name.as_str())
    }
}

/// Orders a graph.
pub fn plan(graph: Graph) -> Plan {
    let processors = processors(&graph);
    let mut pipelines: Vec<(BTreeSet<String>, Pipeline)> = Vec::new();
    // Each component joins all pipelines that hold one of its channels into one.
    for channel in &graph.channels {
        let pipeline = Pipeline {
            channels: vec![channel.clone()],
            ..Pipeline::default()
        };
        pipelines.push((BTreeSet::from([channel.name.clone()]), pipeline));
    }
    for source in graph.sources {
        join(&mut pipelines, &source.edges, |p| p.sources.push(source.clone()));
    }
    for processor in processors {
        let members: Vec<&Component> = graph
            .sinks
            .iter()
            .filter(|s| processor.sinks.contains(&s.name))
            .collect();
        let channels: Vec<String> = members.iter().flat_map(|s| s.edges.clone()).collect();
        join(&mut pipelines, &channels, |p| {
            p.sinks.extend(members.iter().map(|s| (*s).clone()));
            p.processors.push(processor.clone());
        });
    }
    Plan {
        pipelines: pipelines.into_iter().map(|(_, p)| p).collect(),
    }
}

/// The processors of a graph: one for each group, and one for each sink in no group.
pub fn processors(graph: &Graph) -> Vec<Processor> {
    let mut all = Vec::new();
    let mut grouped = BTreeSet::new();
    for group in &graph.groups {
        let mut sinks = group.edges.clone();
        java::sort_in_hash_set_order(&mut sinks, |s| s);
        grouped.extend(sinks.iter().cloned());
        if !sinks.is_empty() {
            all.push(Processor {
                name: group.name.clone(),
                group: Some(group.clone()),
                sinks,
            });
        }
    }
    for sink in graph.sinks.iter().filter(|s| !grouped.contains(&s.name)) {
        all.push(Processor {
            name: sink.name.clone(),
            group: None,
            sinks: vec![sink.name.clone()],
        });
    }
    all
}

fn join(
    pipelines: &mut Vec<(BTreeSet<String>, Pipeline)>,
    channels: &[String],
    add: impl FnOnce(&mut Pipeline),
) {
    let touched = |(names, _): &(BTreeSet<String>, Pipeline)| channels.iter().any(|c| names.contains(c));
    let Some(first) = pipelines.iter().position(touched) else {
        return;
    };
    while let Some(other) = pipelines.iter().skip(first + 1).position(touched) {
        let (names, pipeline) = pipelines.remove(first + 1 + other);
        let (all, into) = &mut pipelines[first];
        all.extend(names);
        into.channels.extend(pipeline.channels);
        into.sinks.extend(pipeline.sinks);
        into.processors.extend(pipeline.processors);
        into.sources.extend(pipeline.sources);
    }
    add(&mut pipelines[first].1);
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for pipeline in &self.pipelines {
            writeln!(f, "pipeline {}", pipeline.name())?;
            let component = |f: &mut fmt::Formatter<'_>, word: &str, c: &Component| {
                write!(f, "  {word} {} ({})", c.name, c.type_name)
            };
            for channel in &pipeline.channels {
                component(f, "channel", channel)?;
                writeln!(f)?;
            }
            for sink in &pipeline.sinks {
                component(f, "sink", sink)?;
                writeln!(f, " <- {}", sink.edges.join(" "))?;
            }
            for processor in &pipeline.processors {
                let kind = processor
                    .group
                    .as_ref()
                    .map_or("default", |g| g.type_name.as_str());
                writeln!(
                    f,
                    "  processor {} ({kind}) -> {}",
                    processor.name,
                    processor.sinks.join(" ")
                )?;
            }
            for source in &pipeline.sources {
                component(f, "source", source)?;
                writeln!(f, " -> {}", source.edges.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph;
    use super::*;
    use crate::component::keys::{Entry, Place, Severity};
    use std::path::Path;

    fn plan_of(text: &str) -> String {
        let place = Place {
            file: Path::new("f").into(),
            line: 1,
        };
        let entry = |line: &str| {
            let (key, value) = line.split_once('=').unwrap();
            (
                format!("a.{}", key.trim()),
                Entry {
                    value: value.trim().to_owned(),
                    place: place.clone(),
                },
            )
        };
        let properties = text
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .map(entry)
            .collect();
        let (graph, findings) = graph::read(&properties, "a", &place);
        assert!(
            !findings.iter().any(|f| f.severity == Severity::Error),
            "{findings:?}"
        );
        plan(graph).to_string()
    }

    #[test]
    fn children_stand_in_start_order_and_unconnected_flows_apart() {
        let plan = plan_of(
            "sources = r1 r2
             channels = c1 c2
             sinks = k1 k2
             sources.r1.type = seq
             sources.r1.channels = c1
             sources.r2.type = avro
             sources.r2.channels = c2
             channels.c1.type = memory
             channels.c2.type = memory
             sinks.k1.type = null
             sinks.k1.channel = c1
             sinks.k2.type = logger
             sinks.k2.channel = c2",
        );
        assert_eq!(
            plan,
            "pipeline c1\n  channel c1 (memory)\n  sink k1 (null) <- c1\n  processor k1 (default) -> k1\n  \
             source r1 (seq) -> c1\npipeline c2\n  channel c2 (memory)\n  sink k2 (logger) <- c2\n  \
             processor k2 (default) -> k2\n  source r2 (avro) -> c2\n"
        );
    }

    #[test]
    fn a_fan_out_and_a_group_over_two_channels_join_pipelines() {
        let plan = plan_of(
            "sources = r1
             channels = c1 c2 c3
             sinks = primary secondary
             sinkgroups = g1
             sinkgroups.g1.sinks = primary secondary
             sinkgroups.g1.processor.type = failover
             sources.r1.type = seq
             sources.r1.channels = c1 c2
             channels.c1.type = memory
             channels.c2.type = memory
             channels.c3.type = memory
             sources = r1 r2
             sources.r2.type = seq
             sources.r2.channels = c3
             sinks.primary.type = null
             sinks.primary.channel = c2
             sinks.secondary.type = null
             sinks.secondary.channel = c3",
        );
        assert!(
            plan.starts_with("pipeline c1\n  channel c1 (memory)\n  channel c2 (memory)\n  channel c3"),
            "{plan}"
        );
        assert!(
            plan.contains("processor g1 (failover) -> secondary primary"),
            "{plan}"
        );
        assert_eq!(plan.matches("pipeline").count(), 1);
    }
}
