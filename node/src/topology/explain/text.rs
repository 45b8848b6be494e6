//! The flow graph in a terminal: three columns of boxes and wires of box-drawing characters, at most 120 columns wide.
//!
//! A wire ends in a row of its own at each box, and every net of wires has a lane of its own in the gutter between two
//! columns, so that a junction always means a connection. Where two nets cross, the horizontal one passes below
//! (`─│─`). Sources with the same channels share a net. What has more wires than fit is told as a list.

use super::canvas::Canvas;
use super::layout::{self, Column, Link};
use super::{Flow, Node, Unit, columns, counted, flow_summary, flows, shortened, wrapped};
use crate::topology::graph::Graph;
use std::fmt::Write;

const WIDTH_MAX: usize = 120;
/// Widest and narrowest inside of a box per column.
const INSIDE_MAX: [usize; 3] = [38, 28, 42];
const GROUP_MAX: usize = 52;
const INSIDE_MIN: usize = 14;
/// What a group's frame takes left and right of its sinks.
const FRAME: usize = 3;
/// Interceptors or mappings listed in a box.
const LISTED_MAX: usize = 12;

/// The flow graph of `agent` as text.
pub fn text(agent: &str, graph: &Graph) -> String {
    let graph = &graph.with_lost();
    let counts = [
        (graph.sources.len(), "source"),
        (graph.channels.len(), "channel"),
        (graph.sinks.len(), "sink"),
        (graph.groups.len(), "group"),
    ];
    let agent = shortened(&super::facts::clean(agent), 60);
    let mut out = format!("Agent {agent}: {}\n", or_nothing(counted(&counts)));
    let (mut optional, mut never) = (false, false);
    for flow in flows(graph) {
        let head = format!("━━ {} · {} ", flow.title(), flow_summary(&flow));
        let rule = "━".repeat((WIDTH_MAX - 20).saturating_sub(columns(&head)).max(2));
        let _ = write!(out, "\n{head}{rule}\n\n");
        out.push_str(&drawn(&flow).unwrap_or_else(|| listed(&flow)));
        optional |= flow.writes.iter().any(|w| w.route.optional);
        never |= flow.writes.iter().any(|w| w.route.never);
    }
    if optional {
        out.push_str("\n╌╌▷ optional: a failure there does not fail the batch\n");
    }
    if never {
        out.push_str("\n┈┈✕ no mapping leads there: no event ever does\n");
    }
    out
}

fn or_nothing(text: String) -> String {
    if text.is_empty() {
        "nothing runs".to_owned()
    } else {
        text
    }
}

/// The lines inside the box of a node, the first being its type.
fn inside(node: &Node, routes: &[(String, String)], width: usize) -> Vec<String> {
    let mut lines = wrapped(&node.type_name, width, 1);
    lines.extend(node.rank.iter().map(|r| shortened(r, width)));
    lines.extend(node.facts.iter().flat_map(|f| wrapped(f, width, 2)));
    for (at, (name, kind)) in node.interceptors.iter().take(LISTED_MAX).enumerate() {
        lines.push(shortened(&format!("{}. {kind} ({name})", at + 1), width));
    }
    more(node.interceptors.len(), &mut lines);
    if let Some(selector) = &node.selector {
        lines.push(shortened(&format!("◇ {selector}"), width));
    }
    let shown = routes.iter().take(LISTED_MAX);
    lines.extend(shown.map(|(values, channel)| {
        let room = width.saturating_sub(columns(channel).min(width / 2) + 5);
        let channel = shortened(channel, width / 2);
        format!("  {} → {channel}", shortened(values, room))
    }));
    more(routes.len(), &mut lines);
    lines
}

fn more(count: usize, lines: &mut Vec<String>) {
    if count > LISTED_MAX {
        lines.push(format!("  … and {} more", count - LISTED_MAX));
    }
}

/// What the selector of a source sends where, for routes with values.
fn routes(flow: &Flow, source: usize) -> Vec<(String, String)> {
    let wires = flow
        .writes
        .iter()
        .filter(|w| w.from == source && !w.route.values.is_empty());
    let to = |c: usize| flow.channels[c].name.clone();
    wires.map(|w| (w.route.values.join(", "), to(w.to))).collect()
}

/// A box with its place on the canvas; rows count its border.
struct Drawn {
    title: String,
    lines: Vec<String>,
    top: usize,
}

impl Drawn {
    fn new(kind: &str, node: &Node, routes: &[(String, String)], width: usize, rows_min: usize) -> Self {
        let mut lines = inside(node, routes, width);
        while lines.len() < rows_min {
            lines.push(String::new());
        }
        let title = format!(
            "{kind} {}",
            shortened(&node.name, width.saturating_sub(kind.len() + 1))
        );
        Self { title, lines, top: 0 }
    }

    fn height(&self) -> usize {
        self.lines.len() + 2
    }

    /// The row, counted from the top, where a wire leaves.
    fn port(&self) -> usize {
        1 + (self.lines.len() - 1) / 2
    }
}

/// Where a net ends: box at the right, style, row.
pub type End = (usize, Style, usize);

/// Wires that carry the same events: from rows at the left to rows at the right.
pub struct Net {
    pub from: Vec<usize>,
    /// Box at the right, the style of the wire's end, and its row when known.
    pub to: Vec<End>,
    pub lane: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    Plain,
    Optional,
    Never,
}

impl Net {
    /// Its first and its last row.
    pub fn span(&self) -> (usize, usize) {
        let rows = || self.from.iter().copied().chain(self.to.iter().map(|t| t.2));
        (rows().min().unwrap_or(0), rows().max().unwrap_or(0))
    }

    /// Whether it needs no lane.
    pub fn is_straight(&self) -> bool {
        let (least, greatest) = self.span();
        least == greatest
    }
}

/// All boxes of a flow, with nets between them.
struct Sheet<'a> {
    flow: &'a Flow,
    boxes: [Vec<Drawn>; 3],
    nets: [Vec<Net>; 2],
    /// Top and height of each unit's frame.
    frames: Vec<(usize, usize)>,
}

/// The flow drawn, if its wires find room.
fn drawn(flow: &Flow) -> Option<String> {
    let framed = flow.units.iter().any(|u| u.group.is_some());
    let frame = if framed { 2 * FRAME } else { 0 };
    let mut caps = INSIDE_MAX;
    for _ in 0..6 {
        let widths = natural(flow, caps);
        let sheet = Sheet::new(flow, widths);
        let gutters: [usize; 2] = [0, 1].map(|side| sheet.gutter(side));
        let outside = [0, 1, 2].map(|c| if widths[c] == 0 { 0 } else { widths[c] + 4 });
        let total = outside.iter().sum::<usize>() + gutters.iter().sum::<usize>() + frame;
        if total <= WIDTH_MAX {
            return Some(sheet.paint(widths, gutters));
        }
        // Take the surplus from the widest boxes, one column at a time.
        caps = widths;
        for _ in 0..total - WIDTH_MAX {
            let widest = caps.iter_mut().max_by_key(|w| **w)?;
            if *widest <= INSIDE_MIN {
                return None;
            }
            *widest -= 1;
        }
    }
    None
}

/// Widths inside the boxes of each column: as much as the longest line takes, up to `caps`; 0 without boxes.
fn natural(flow: &Flow, caps: [usize; 3]) -> [usize; 3] {
    let widest = |node: &Node, kind: &str, routes: &[(String, String)], cap: usize| {
        let lines = inside(node, routes, cap);
        let title = columns(&node.name) + kind.len() + 1;
        let inner = lines.iter().map(|l| columns(l)).max().unwrap_or(0);
        inner.max(title).clamp(INSIDE_MIN.min(cap), cap)
    };
    let sources = flow.sources.iter().enumerate();
    let sources = sources
        .map(|(at, n)| widest(n, "source", &routes(flow, at), caps[0]))
        .max();
    let channels = flow
        .channels
        .iter()
        .map(|n| widest(n, "channel", &[], caps[1]))
        .max();
    let sinks = flow.units.iter().flat_map(|u| &u.sinks);
    let sinks = sinks.map(|s| widest(&s.0, "sink", &[], caps[2]));
    let group = |u: &Unit| {
        u.group
            .as_ref()
            .map(|g| (columns(&g.0) + columns(&g.1) + 11).saturating_sub(FRAME))
    };
    // A group's title may make its frame wider than sinks are at first.
    let roomy = if caps == INSIDE_MAX { GROUP_MAX } else { caps[2] };
    let frames = flow
        .units
        .iter()
        .filter_map(group)
        .map(|w| w.clamp(INSIDE_MIN.min(roomy), roomy));
    [
        sources.unwrap_or(0),
        channels.unwrap_or(0),
        sinks.chain(frames).max().unwrap_or(0),
    ]
}

impl<'a> Sheet<'a> {
    fn new(flow: &'a Flow, widths: [usize; 3]) -> Self {
        let sources = flow.sources.iter().enumerate();
        let sources = sources.map(|(at, n)| Drawn::new("source", n, &routes(flow, at), widths[0], 1));
        // Room for a row per wire, and for rows that wires at the left occupy already.
        let rows = |wires: usize| wires + wires / 2 + 1;
        let mut nets = [bundles(flow), reads(flow)];
        let entering =
            |nets: &[Net], at: usize| nets.iter().flat_map(|n| &n.to).filter(|t| t.0 == at).count();
        let channels = flow.channels.iter().enumerate();
        let channels =
            channels.map(|(at, n)| Drawn::new("channel", n, &[], widths[1], rows(entering(&nets[0], at))));
        let sinks = flow.units.iter().flat_map(|u| &u.sinks).enumerate();
        let sinks =
            sinks.map(|(at, s)| Drawn::new("sink", &s.0, &[], widths[2], rows(entering(&nets[1], at))));
        let mut boxes: [Vec<Drawn>; 3] = [sources.collect(), channels.collect(), sinks.collect()];
        let frames = settle(flow, &mut boxes);
        for (side, nets) in nets.iter_mut().enumerate() {
            for net in nets.iter_mut() {
                net.from = net
                    .from
                    .iter()
                    .map(|b| boxes[side][*b].top + boxes[side][*b].port())
                    .collect();
            }
            enter(nets, &boxes[side + 1]);
            lanes(nets);
        }
        Self {
            flow,
            boxes,
            nets,
            frames,
        }
    }

    /// Columns between boxes; none where there is nothing to divide.
    fn gutter(&self, side: usize) -> usize {
        if self.boxes[side].is_empty() || self.boxes[side + 1..].iter().all(Vec::is_empty) {
            return 0;
        }
        let lanes = self.nets[side]
            .iter()
            .filter(|n| !n.is_straight())
            .map(|n| n.lane + 1)
            .max()
            .unwrap_or(0);
        (2 * lanes + 4).max(6)
    }

    fn paint(&self, widths: [usize; 3], gutters: [usize; 2]) -> String {
        let framed = self.flow.units.iter().any(|u| u.group.is_some());
        let indent = if framed { FRAME } else { 0 };
        let outer = widths.map(|w| if w == 0 { 0 } else { w + 4 });
        let second = outer[0] + gutters[0];
        let third = second + outer[1] + gutters[1];
        let bottoms = self.boxes.iter().flatten().map(|b| b.top + b.height());
        let height = bottoms
            .chain(self.frames.iter().map(|f| f.0 + f.1))
            .max()
            .unwrap_or(0);
        let mut canvas = Canvas::new(third + outer[2] + 2 * indent, height);
        for (unit, (top, height)) in self.flow.units.iter().zip(&self.frames) {
            if let Some((name, kind)) = &unit.group {
                let title = shortened(
                    &format!("group {name} · {kind}"),
                    (outer[2] + 2 * indent).saturating_sub(6),
                );
                canvas.frame(
                    [third, *top, outer[2].max(INSIDE_MIN + 4) + 2 * indent, *height],
                    "╔═╗║╚╝",
                    &title,
                );
            }
        }
        let edges = [(outer[0], second), (second + outer[1], third + indent)];
        for (side, (from, to)) in edges.into_iter().enumerate() {
            for (id, net) in self.nets[side].iter().enumerate() {
                canvas.net(id, net, from, to);
            }
        }
        canvas.settle_wires();
        for (side, (from, to)) in edges.into_iter().enumerate() {
            for end in self.nets[side].iter().flat_map(|n| &n.to) {
                canvas.arrow(end, from, to);
            }
        }
        let corners = ["┌─┐│└┘", "╭─╮│╰╯", "┌─┐│└┘"];
        for (column, x) in [0, second, third + indent].into_iter().enumerate() {
            for b in &self.boxes[column] {
                canvas.frame([x, b.top, outer[column], b.height()], corners[column], &b.title);
                for (row, line) in b.lines.iter().enumerate() {
                    canvas.write(x + 2, b.top + 1 + row, line);
                }
            }
        }
        canvas.into_text()
    }
}

/// Where a net ends, and how.
type Ends = Vec<(usize, Style)>;

/// Sources with the same ends share a net: what enters it anywhere leaves it everywhere.
fn bundles(flow: &Flow) -> Vec<Net> {
    let mut bundles: Vec<(Ends, Vec<usize>)> = Vec::new();
    for source in 0..flow.sources.len() {
        let style = |r: &super::facts::Route| match (r.never, r.optional) {
            (true, _) => Style::Never,
            (_, true) => Style::Optional,
            _ => Style::Plain,
        };
        let wires = flow.writes.iter().filter(|w| w.from == source);
        let mut ends: Ends = wires.map(|w| (w.to, style(&w.route))).collect();
        ends.sort_unstable();
        match bundles.iter_mut().find(|b| b.0 == ends) {
            _ if ends.is_empty() => {}
            Some(bundle) => bundle.1.push(source),
            None => bundles.push((ends, vec![source])),
        }
    }
    let net = |(ends, from): (Ends, Vec<usize>)| Net {
        from,
        to: ends.into_iter().map(|(at, style)| (at, style, 0)).collect(),
        lane: 0,
    };
    bundles.into_iter().map(net).collect()
}

fn reads(flow: &Flow) -> Vec<Net> {
    let sinks: Vec<&Vec<usize>> = flow.units.iter().flat_map(|u| &u.sinks).map(|s| &s.1).collect();
    let net = |channel: usize| {
        let readers = sinks.iter().enumerate().filter(|(_, c)| c.contains(&channel));
        Net {
            from: vec![channel],
            to: readers.map(|(at, _)| (at, Style::Plain, 0)).collect(),
            lane: 0,
        }
    };
    (0..flow.channels.len())
        .map(net)
        .filter(|n| !n.to.is_empty())
        .collect()
}

/// Gives boxes their rows; returns top and height of each unit.
fn settle(flow: &Flow, boxes: &mut [Vec<Drawn>; 3]) -> Vec<(usize, usize)> {
    let mut unit_heights = Vec::new();
    // Of each sink: its unit, and its distance from the unit's top.
    let mut inner = Vec::new();
    let mut sinks = boxes[2].iter().map(Drawn::height);
    for (at, unit) in flow.units.iter().enumerate() {
        let border = usize::from(unit.group.is_some());
        let mut row = border;
        for height in sinks.by_ref().take(unit.sinks.len()) {
            inner.push((at, row));
            row += height;
        }
        unit_heights.push((row + border).max(2));
    }
    let heights = |column: &[Drawn]| column.iter().map(|b| b.height() as f64).collect();
    let columns = [
        Column {
            heights: heights(&boxes[0]),
            gap: 1.0,
        },
        Column {
            heights: heights(&boxes[1]),
            gap: 1.0,
        },
        Column {
            heights: unit_heights.iter().map(|h| *h as f64).collect(),
            gap: 1.0,
        },
    ];
    let port = |column: usize, at: usize| boxes[column][at].port() as f64;
    let write = |w: &super::Wire| Link {
        from: w.from,
        from_at: port(0, w.from),
        to: w.to,
        to_at: port(1, w.to),
    };
    let all = flow.units.iter().flat_map(|u| &u.sinks).enumerate();
    let read = |(at, sink): (usize, &(Node, Vec<usize>))| {
        let (to, row) = inner[at];
        let to_at = row as f64 + port(2, at);
        let link = |c: &usize| Link {
            from: *c,
            from_at: port(1, *c),
            to,
            to_at,
        };
        sink.1.iter().map(link).collect::<Vec<_>>()
    };
    let links = [
        flow.writes.iter().map(write).collect(),
        all.flat_map(read).collect(),
    ];
    let tops = layout::place(&columns, &links);
    let rounded = |column: usize| {
        let mut free = 0;
        let row = |(top, height): (&f64, &f64)| {
            let this = (top.round() as usize).max(free);
            free = this + *height as usize + 1;
            this
        };
        tops[column]
            .iter()
            .zip(&columns[column].heights)
            .map(row)
            .collect::<Vec<usize>>()
    };
    let (sources, channels, units) = (rounded(0), rounded(1), rounded(2));
    boxes[0].iter_mut().zip(sources).for_each(|(b, top)| b.top = top);
    boxes[1].iter_mut().zip(channels).for_each(|(b, top)| b.top = top);
    boxes[2]
        .iter_mut()
        .zip(&inner)
        .for_each(|(b, (unit, row))| b.top = units[*unit] + row);
    units.into_iter().zip(unit_heights).collect()
}

/// Gives each wire's end a row of its box: never one on which another net leaves at the left.
fn enter(nets: &mut [Net], boxes: &[Drawn]) {
    for (at, target) in boxes.iter().enumerate() {
        let mut entering: Vec<(usize, usize)> = Vec::new();
        for (id, net) in nets.iter().enumerate() {
            if net.to.iter().any(|t| t.0 == at) {
                let mean = net.from.iter().sum::<usize>() / net.from.len().max(1);
                entering.push((mean, id));
            }
        }
        entering.sort_unstable();
        let count = entering.len();
        let mut used: Vec<usize> = Vec::new();
        for (nth, (mean, id)) in entering.into_iter().enumerate() {
            let spread = target.top + 1 + (target.lines.len() * (2 * nth + 1)) / (2 * count);
            let wanted = if count == 1 {
                mean.clamp(target.top + 1, target.top + target.lines.len())
            } else {
                spread
            };
            let taken = |row: &usize| {
                nets.iter()
                    .enumerate()
                    .any(|(other, n)| other != id && n.from.contains(row))
            };
            let free = (target.top + 1..=target.top + target.lines.len()).filter(|r| !used.contains(r));
            let row = free.min_by_key(|r| (taken(r), !nets[id].from.contains(r), r.abs_diff(wanted)));
            let row = row.unwrap_or(wanted);
            used.push(row);
            for end in nets[id].to.iter_mut().filter(|t| t.0 == at) {
                end.2 = row;
            }
        }
    }
}

/// Gives nets lanes, from either end, and keeps what crosses less.
fn lanes(nets: &mut [Net]) {
    let mut order: Vec<usize> = (0..nets.len()).filter(|n| !nets[*n].is_straight()).collect();
    order.sort_by_key(|n| nets[*n].span());
    let assigned = |order: &[usize]| {
        let mut lanes: Vec<Vec<(usize, usize)>> = Vec::new();
        let mut of = vec![0; nets.len()];
        for id in order {
            let span = nets[*id].span();
            let fits = |lane: &Vec<(usize, usize)>| lane.iter().all(|l| l.1 + 1 < span.0 || span.1 + 1 < l.0);
            let lane = lanes.iter().position(fits).unwrap_or(lanes.len());
            if lane == lanes.len() {
                lanes.push(Vec::new());
            }
            lanes[lane].push(span);
            of[*id] = lane;
        }
        of
    };
    let down = assigned(&order);
    order.reverse();
    let up = assigned(&order);
    let best = if crossed(nets, &up) < crossed(nets, &down) {
        up
    } else {
        down
    };
    for (net, lane) in nets.iter_mut().zip(best) {
        net.lane = lane;
    }
}

fn crossed(nets: &[Net], lanes: &[usize]) -> usize {
    let mut count = 0;
    for (upright, net) in nets.iter().enumerate().filter(|(_, n)| !n.is_straight()) {
        let (least, greatest) = net.span();
        let cuts = |row: &usize| *row >= least && *row <= greatest;
        for (flat, other) in nets.iter().enumerate().filter(|(flat, _)| *flat != upright) {
            if other.is_straight() || lanes[flat] > lanes[upright] {
                count += other.from.iter().filter(|r| cuts(r)).count();
            }
            if !other.is_straight() && lanes[flat] < lanes[upright] {
                count += other.to.iter().filter(|t| cuts(&t.2)).count();
            }
        }
    }
    count
}

/// The flow as a list.
fn listed(flow: &Flow) -> String {
    let mut out = String::new();
    let mut tell = |head: String, node: &Node, routes: &[(String, String)]| {
        let _ = writeln!(out, "{}", shortened(&head, WIDTH_MAX));
        for line in inside(node, routes, WIDTH_MAX - 4).into_iter().skip(1) {
            let _ = writeln!(out, "    {line}");
        }
    };
    let head = |kind: &str, n: &Node, tail: &str| format!("{kind} {} ({}){tail}", n.name, n.type_name);
    let names = |all: &mut dyn Iterator<Item = usize>| {
        all.map(|c| flow.channels[c].name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    for (at, source) in flow.sources.iter().enumerate() {
        let to = names(&mut flow.writes.iter().filter(|w| w.from == at).map(|w| w.to));
        tell(
            head("source", source, &format!(" → {to}")),
            source,
            &routes(flow, at),
        );
    }
    for channel in &flow.channels {
        tell(head("channel", channel, ""), channel, &[]);
    }
    for unit in &flow.units {
        let group = unit
            .group
            .as_ref()
            .map_or(String::new(), |g| format!(", in group {} · {}", g.0, g.1));
        for (sink, from) in &unit.sinks {
            let from = names(&mut from.iter().copied());
            tell(head("sink", sink, &format!(" ← {from}{group}")), sink, &[]);
        }
    }
    out
}
