//! What an agent does, for people: its flow graph as text ([`text()`]) and as a picture ([`svg()`]), and the order in which
//! its parts start and stop ([`plan_text`]). Pure functions of the graph: the same configuration gives the same bytes.
//!
//! ```text
//!   Graph --flows--> [Flow] per connected part --order--> few crossings --place--> rows --draw--> text or SVG
//!            facts: what stands in a box        layout: shared by both
//! ```
//!
//! Unlike the plan, which leaves out what cannot run, everything the graph knows is drawn: a source whose channel is
//! missing is what the reader is looking for.

mod canvas;
mod facts;
mod layout;
mod svg;
mod text;

pub use svg::svg;
pub use text::text;

use super::graph::{Component, Graph};
use super::plan::Plan;
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is drawn as one box.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    name: String,
    type_name: String,
    /// Where events come from or go to, how many fit; in the order of their worth.
    facts: Vec<String>,
    /// Name and type, in order; sources only.
    interceptors: Vec<(String, String)>,
    /// The selector in words; sources only.
    selector: Option<String>,
    /// The place in a failover group; sinks only.
    rank: Option<String>,
}

/// A line from a source to a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wire {
    from: usize,
    to: usize,
    route: facts::Route,
}

/// Sinks that stand together: a group's, or a lone one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    /// Name and processor of the group.
    group: Option<(String, String)>,
    /// Each with its channels (one, in a sound configuration).
    sinks: Vec<(Node, Vec<usize>)>,
}

/// One connected part of the graph. Indices of channels are places in `channels`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Flow {
    sources: Vec<Node>,
    channels: Vec<Node>,
    units: Vec<Unit>,
    writes: Vec<Wire>,
}

impl Flow {
    /// Named like the pipeline of the plan; what has no channel is in none.
    fn title(&self) -> String {
        let units = || self.units.first();
        let sink = || units().and_then(|u| u.sinks.first()).map(|s| s.0.name.as_str());
        let group = || units().and_then(|u| u.group.as_ref()).map(|g| g.0.as_str());
        match (self.channels.first(), self.sources.first()) {
            (Some(channel), _) => format!("Pipeline {}", shortened(&channel.name, 40)),
            (None, source) => {
                let name = source.map(|s| s.name.as_str()).or_else(sink).or_else(group);
                format!("Not connected: {}", shortened(name.unwrap_or("?"), 40))
            }
        }
    }

    fn sink_count(&self) -> usize {
        self.units.iter().map(|u| u.sinks.len()).sum()
    }
}

/// Connected parts: those with channels in the order of these, then lone sources, then lone sinks and groups.
fn flows(graph: &Graph) -> Vec<Flow> {
    let index: BTreeMap<&str, usize> = graph
        .channels
        .iter()
        .enumerate()
        .map(|(i, c)| (c.name.as_str(), i))
        .collect();
    let units = units(graph);
    let find = |edges: &[String]| -> Vec<usize> {
        let mut found: Vec<usize> = Vec::new();
        for channel in edges.iter().filter_map(|e| index.get(e.as_str())) {
            if !found.contains(channel) {
                found.push(*channel);
            }
        }
        found
    };
    let source_channels: Vec<Vec<usize>> = graph.sources.iter().map(|s| find(&s.edges)).collect();
    let unit_channels: Vec<Vec<Vec<usize>>> = units
        .iter()
        .map(|u| u.1.iter().map(|s| find(&s.edges)).collect())
        .collect();

    let flat: Vec<Vec<usize>> = unit_channels.iter().map(|u| u.concat()).collect();
    let part = parts(graph.channels.len(), source_channels.iter().chain(&flat));
    let mut flows: BTreeMap<usize, Flow> = BTreeMap::new();
    let mut at = vec![0; graph.channels.len()];
    for (i, channel) in graph.channels.iter().enumerate() {
        let flow = flows.entry(part[i]).or_default();
        at[i] = flow.channels.len();
        flow.channels.push(node(channel, facts::store(channel)));
    }
    // Parts without channels get numbers behind those of all channels.
    let mut lone = graph.channels.len();
    let mut of = |channels: &[usize]| {
        channels.first().map_or_else(
            || {
                lone += 1;
                lone
            },
            |c| part[*c],
        )
    };
    for (source, channels) in graph.sources.iter().zip(&source_channels) {
        let flow = flows.entry(of(channels)).or_default();
        let selector = facts::selector(source);
        let from = flow.sources.len();
        for channel in channels {
            let edge = source
                .edges
                .iter()
                .position(|e| index.get(e.as_str()) == Some(channel));
            let route = edge
                .and_then(|e| selector.routes.get(e))
                .cloned()
                .unwrap_or_default();
            flow.writes.push(Wire {
                from,
                to: at[*channel],
                route,
            });
        }
        flow.sources.push(Node {
            interceptors: facts::interceptors(source),
            selector: selector.title,
            ..node(source, facts::origin(source))
        });
    }
    for (((group, sinks), each), all) in units.into_iter().zip(&unit_channels).zip(&flat) {
        let flow = flows.entry(of(all)).or_default();
        flow.units.push(unit(group, &sinks, each, &at));
    }
    flows.into_values().map(told).map(layout::ordered).collect()
}

/// The part of each channel, named by its least channel: what one component uses is one part.
fn parts<'a>(channels: usize, together: impl Iterator<Item = &'a Vec<usize>>) -> Vec<usize> {
    let mut part: Vec<usize> = (0..channels).collect();
    for used in together {
        let joined: Vec<usize> = used.iter().map(|c| part[*c]).collect();
        let Some(least) = joined.iter().copied().min() else {
            continue;
        };
        for p in part.iter_mut().filter(|p| joined.contains(p)) {
            *p = least;
        }
    }
    part
}

/// A group's sinks, or a lone one. `channels` are indices into the graph's, `at` are their places in the flow.
fn unit(group: Option<&Component>, sinks: &[&Component], channels: &[Vec<usize>], at: &[usize]) -> Unit {
    let described = group.map(facts::processor);
    let rank = |sink: &Component| {
        let place = group?.edges.iter().position(|e| *e == sink.name)?;
        described.as_ref()?.1.get(place).cloned().flatten()
    };
    let drawn = |(sink, channels): (&&Component, &Vec<usize>)| {
        let node = Node {
            rank: rank(sink),
            ..node(sink, facts::destination(sink))
        };
        (node, channels.iter().map(|c| at[*c]).collect())
    };
    Unit {
        sinks: sinks.iter().zip(channels).map(drawn).collect(),
        group: group
            .zip(described.as_ref())
            .map(|(g, d)| (facts::clean(&g.name), d.0.clone())),
    }
}

/// Says of each component what it lacks.
fn told(mut flow: Flow) -> Flow {
    for (at, source) in flow.sources.iter_mut().enumerate() {
        if !flow.writes.iter().any(|w| w.from == at) {
            source.facts.push("! writes to no channel".to_owned());
        }
    }
    for (at, channel) in flow.channels.iter_mut().enumerate() {
        if !flow.writes.iter().any(|w| w.to == at) {
            channel.facts.push("! nobody writes to it".to_owned());
        }
        if !flow
            .units
            .iter()
            .flat_map(|u| &u.sinks)
            .any(|s| s.1.contains(&at))
        {
            channel.facts.push("! nobody reads it".to_owned());
        }
    }
    for (sink, channels) in flow.units.iter_mut().flat_map(|u| &mut u.sinks) {
        if channels.is_empty() {
            sink.facts.push("! reads no channel".to_owned());
        }
    }
    flow
}

/// Sinks by group, in the order of sinks; a sink in two groups stands in the first, an empty group alone.
fn units(graph: &Graph) -> Vec<(Option<&Component>, Vec<&Component>)> {
    let mut units: Vec<(Option<&Component>, Vec<&Component>)> = Vec::new();
    for sink in &graph.sinks {
        let group = graph.groups.iter().find(|g| g.edges.contains(&sink.name));
        let known = |u: &&mut (Option<&Component>, Vec<&Component>)| {
            group.is_some_and(|g| u.0.is_some_and(|other| other.name == g.name))
        };
        match units.iter_mut().find(known) {
            Some(unit) => unit.1.push(sink),
            None => units.push((group, vec![sink])),
        }
    }
    for group in &graph.groups {
        if !units.iter().any(|u| u.0.is_some_and(|g| g.name == group.name)) {
            units.push((Some(group), Vec::new()));
        }
    }
    units
}

fn node(component: &Component, facts: Vec<String>) -> Node {
    Node {
        name: facts::clean(&component.name),
        type_name: facts::short_type(&component.type_name),
        facts,
        interceptors: Vec::new(),
        selector: None,
        rank: None,
    }
}

/// `2 sources, 1 channel`; what there is none of is left out.
fn counted(counts: &[(usize, &str)]) -> String {
    let some = counts.iter().filter(|(n, _)| *n > 0);
    let words: Vec<String> = some
        .map(|(n, word)| format!("{n} {word}{}", if *n == 1 { "" } else { "s" }))
        .collect();
    words.join(", ")
}

fn flow_summary(flow: &Flow) -> String {
    let groups = flow.units.iter().filter(|u| u.group.is_some()).count();
    counted(&[
        (flow.sources.len(), "source"),
        (flow.channels.len(), "channel"),
        (flow.sink_count(), "sink"),
        (groups, "group"),
    ])
}

/// Columns that a text takes in a terminal, roughly: East Asian and emoji two, combining marks none.
fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

fn char_columns(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0xfe00..=0xfe0f | 0x20d0..=0x20ff | 0x1ab0..=0x1aff => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0xa4cf
        | 0xa960..=0xa97f
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The text within `width` columns, its middle left out if need be: paths and hosts tell most at their ends.
fn shortened(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let tail_columns = (width - 1) * 3 / 5;
    let head = taken(text.chars(), width - 1 - tail_columns);
    let tail: Vec<char> = taken(text.chars().rev(), tail_columns);
    head.into_iter()
        .chain(['…'])
        .chain(tail.into_iter().rev())
        .collect()
}

fn taken(chars: impl Iterator<Item = char>, width: usize) -> Vec<char> {
    let mut used = 0;
    chars
        .take_while(|c| {
            used += char_columns(*c);
            used <= width
        })
        .collect()
}

/// The text in at most `lines` lines of `width` columns, broken where paths and lists may be; the last is shortened.
fn wrapped(text: &str, width: usize, lines: usize) -> Vec<String> {
    let mut rest = text;
    let mut all = Vec::new();
    while all.len() + 1 < lines && columns(rest) > width {
        let fits: usize = taken(rest.chars(), width).iter().map(|c| c.len_utf8()).sum();
        let nice = rest[..fits]
            .rfind(['/', ',', ' ', '@', '&', '-', '_'])
            .map(|at| at + 1);
        let cut = nice
            .filter(|at| columns(&rest[..*at]) * 2 > width)
            .unwrap_or(fits);
        if cut == 0 {
            break;
        }
        all.push(rest[..cut].trim_end().to_owned());
        rest = rest[cut..].trim_start();
    }
    all.push(shortened(rest, width));
    all
}

/// The children in the order in which they start, and how they stop.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    if plan.pipelines.is_empty() {
        return "Nothing runs.\n".to_owned();
    }
    let name = |c: &Component| format!("{} ({})", facts::clean(&c.name), facts::short_type(&c.type_name));
    let listed = |names: &[String]| facts::clean(&names.join(", "));
    for pipeline in &plan.pipelines {
        let mut children: Vec<(&str, String, String)> = Vec::new();
        for c in &pipeline.channels {
            children.push(("channel", name(c), String::new()));
        }
        for c in &pipeline.sinks {
            children.push(("sink", name(c), format!("reads {}", listed(&c.edges))));
        }
        for p in &pipeline.processors {
            let kind = p.group.as_ref().map_or("default", |g| g.type_name.as_str());
            let title = format!("{} ({})", facts::clean(&p.name), facts::short_type(kind));
            children.push(("processor", title, format!("drives {}", listed(&p.sinks))));
        }
        for c in &pipeline.sources {
            children.push(("source", name(c), format!("writes {}", listed(&c.edges))));
        }
        let widest = children.iter().map(|c| columns(&c.1)).max().unwrap_or(0).min(48);
        let _ = writeln!(text, "Pipeline {}", facts::clean(pipeline.name()));
        for (at, (word, title, edges)) in children.iter().enumerate() {
            let pad = " ".repeat(widest.saturating_sub(columns(title)));
            let line = format!("{:>4}  {word:<9}  {title}{pad}  {edges}", at + 1);
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push('\n');
    }
    text.push_str(ORDER);
    text
}

const ORDER: &str = "\
Start, from the first line to the last: channels, so that there is somewhere to put events; sinks and their
processors, so that channels are emptied; sources last, as nobody may send before the way is open.
Stop, the other way round: sources first, so that nothing new comes in; processors once the memory channels they
empty hold nothing, or their time is up; then sinks; channels last. Pipelines do not wait for each other.
";

#[cfg(test)]
mod tests;
