//! The flow graph as a picture: one SVG file without scripts, fonts or links, readable on white and on black.
//!
//! Sources stand left, channels as lying cylinders in the middle, sinks right, a group as a frame around its sinks.
//! Columns are as wide as their widest text over all flows, so that stacked flows line up. Widths of text are guessed
//! from above, as the reader's fonts are not known. Colours are classes, not variables: older converters know only these.

use super::layout::{self, Column, Link};
use super::{Flow, Node, Unit, columns, counted, flow_summary, flows, shortened, wrapped};
use crate::topology::graph::Graph;
use std::fmt::{self, Write};

const MARGIN: f64 = 28.0;
const HEAD: f64 = 76.0;
const LEGEND: f64 = 46.0;
/// Around the boxes of a flow, and above them for its title.
const PANEL_PAD: f64 = 26.0;
const PANEL_HEAD: f64 = 40.0;
const PANEL_GAP: f64 = 20.0;
const BOX_GAP: f64 = 24.0;
const BOX_HEAD: f64 = 52.0;
const LINE: f64 = 17.0;
const CHIP: f64 = 24.0;
/// Half the width of a cylinder's end.
const CAP: f64 = 13.0;
const FRAME_PAD: f64 = 16.0;
const FRAME_HEAD: f64 = 32.0;
const EDGE_ROOM: f64 = 110.0;
const MONO: f64 = 6.85;
const NAME_COLUMNS: usize = 28;
const FACT_COLUMNS: usize = 36;
const LABEL_COLUMNS: usize = 26;
const CHIPS_MAX: usize = 16;

/// The flow graph of `agent` as a stand-alone SVG document.
pub fn svg(agent: &str, graph: &Graph) -> String {
    let graph = &graph.with_lost();
    let flows = flows(graph);
    let frame = if flows.iter().any(|f| f.units.iter().any(|u| u.group.is_some())) {
        FRAME_PAD
    } else {
        0.0
    };
    let grid = Grid::new(&flows, frame);
    let sheets: Vec<Sheet> = flows.iter().map(|f| Sheet::new(f, frame)).collect();
    let panels: f64 = sheets
        .iter()
        .map(|s| s.height + PANEL_HEAD + PANEL_PAD + PANEL_GAP)
        .sum();
    let legend = legend();
    let width = (grid.right + PANEL_PAD + MARGIN)
        .max(legend.1 + 2.0 * MARGIN)
        .max(460.0);
    let height = HEAD + panels + LEGEND;
    let counts = [
        (graph.sources.len(), "source"),
        (graph.channels.len(), "channel"),
        (graph.sinks.len(), "sink"),
        (graph.groups.len(), "group"),
    ];
    let (agent, counts) = (super::facts::clean(agent), counted(&counts));
    let mut out = String::new();
    let _ = write!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\">\n<title>{}</title>\n<desc>{}</desc>\n<style>{STYLE}</style>\n{MARKERS}\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n",
        Escaped(&format!("Agent {agent}")),
        Escaped(&counts),
    );
    label(
        &mut out,
        MARGIN,
        40.0,
        "head",
        &format!("Agent {}", shortened(&agent, 40)),
    );
    let counts = if counts.is_empty() {
        "Nothing runs."
    } else {
        &counts
    };
    label(&mut out, MARGIN, 62.0, "soft", counts);
    let mut top = HEAD;
    for sheet in &sheets {
        let panel = sheet.height + PANEL_HEAD + PANEL_PAD;
        let wide = width - 2.0 * MARGIN;
        let _ = writeln!(
            out,
            "<rect class=\"panel\" x=\"{MARGIN}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{panel:.1}\" rx=\"14\"/>"
        );
        let title = format!("{} · {}", sheet.flow.title(), flow_summary(sheet.flow));
        label(&mut out, MARGIN + 18.0, top + 25.0, "soft", &title);
        sheet.paint(&mut out, &grid, top + PANEL_HEAD);
        top += panel + PANEL_GAP;
    }
    let _ = writeln!(
        out,
        "<g transform=\"translate({MARGIN} {:.1})\">\n{}</g>\n</svg>",
        top + 6.0,
        legend.0
    );
    out
}

/// Left edges and widths of the columns.
struct Grid {
    left: [f64; 3],
    width: [f64; 3],
    right: f64,
}

impl Grid {
    fn new(flows: &[Flow], frame: f64) -> Self {
        let widest = |widths: &mut dyn Iterator<Item = f64>| widths.fold(0.0, f64::max);
        let group = |u: &Unit| {
            let (name, kind) = u.group.as_ref()?;
            let kind = (columns(kind) as f64 * MONO).min(300.0);
            Some((name_width(name) + kind + 46.0 - 2.0 * frame).max(150.0))
        };
        let units = || flows.iter().flat_map(|f| &f.units);
        let width = [
            widest(&mut flows.iter().flat_map(|f| &f.sources).map(box_width)),
            widest(
                &mut flows
                    .iter()
                    .flat_map(|f| &f.channels)
                    .map(|n| box_width(n) + 2.0 * CAP),
            ),
            widest(
                &mut units()
                    .flat_map(|u| &u.sinks)
                    .map(|s| box_width(&s.0))
                    .chain(units().filter_map(group)),
            ),
        ];
        let label = |w: &super::Wire| wire_label(&w.route).map_or(0.0, |l| columns(&l) as f64 * MONO + 90.0);
        let labels = widest(&mut flows.iter().flat_map(|f| &f.writes).map(label));
        // Many labels need room to evade each other.
        let labelled = |f: &Flow| f.writes.iter().filter(|w| wire_label(&w.route).is_some()).count();
        let crowd = flows
            .iter()
            .map(labelled)
            .max()
            .unwrap_or(0)
            .saturating_sub(4)
            .min(16);
        let labels = labels + crowd as f64 * 14.0;
        let room = |side: usize, least: f64| if width[side] > 0.0 { least } else { 0.0 };
        let first = MARGIN + PANEL_PAD;
        let second = first + width[0] + room(0, labels.max(EDGE_ROOM));
        let third = second + width[1] + room(1, EDGE_ROOM) + frame;
        Self {
            left: [first, second, third],
            width,
            right: third + width[2] + frame,
        }
    }
}

/// What a text takes at most in the names' font.
fn name_width(name: &str) -> f64 {
    let wide = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | '\'' | '|' | '!' => 5.5,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 13.5,
        c if c.is_ascii_uppercase() => 11.0,
        c => super::char_columns(c) as f64 * if c.is_ascii() { 9.0 } else { 9.5 },
    };
    shortened(name, NAME_COLUMNS).chars().map(wide).sum()
}

fn box_width(node: &Node) -> f64 {
    let kind = columns(&node.type_name).min(FACT_COLUMNS) as f64 * MONO;
    let head = name_width(&node.name).max(kind) + 46.0;
    let facts = node.facts.iter().flat_map(|f| wrapped(f, FACT_COLUMNS, 2));
    let facts = facts.map(|f| columns(&f) as f64 * MONO);
    let chips = chips(node)
        .into_iter()
        .map(|(_, text)| columns(&text) as f64 * MONO + 34.0);
    (facts.chain(chips).fold(head, f64::max) + 28.0).max(150.0)
}

/// Small boxes inside: kind and text.
fn chips(node: &Node) -> Vec<(&'static str, String)> {
    let step = |(at, (name, kind)): (usize, &(String, String))| {
        (
            "step",
            shortened(&format!("{} {kind} · {name}", at + 1), FACT_COLUMNS - 2),
        )
    };
    let mut chips: Vec<_> = node.rank.iter().map(|r| ("rank", r.clone())).collect();
    chips.extend(node.interceptors.iter().take(CHIPS_MAX).enumerate().map(step));
    if node.interceptors.len() > CHIPS_MAX {
        chips.push(("step", format!("… {} more", node.interceptors.len() - CHIPS_MAX)));
    }
    chips.extend(
        node.selector
            .iter()
            .map(|s| ("route", shortened(s, FACT_COLUMNS - 2))),
    );
    chips
}

fn box_height(node: &Node) -> f64 {
    let facts: usize = node.facts.iter().map(|f| wrapped(f, FACT_COLUMNS, 2).len()).sum();
    BOX_HEAD + facts as f64 * LINE + chips(node).len() as f64 * (CHIP + 4.0) + 12.0
}

fn wire_label(route: &super::facts::Route) -> Option<String> {
    if route.never {
        return Some("no mapping".to_owned());
    }
    (!route.values.is_empty()).then(|| shortened(&route.values.join(", "), LABEL_COLUMNS))
}

/// Where the boxes of a flow stand, counted from its own top.
struct Sheet<'a> {
    flow: &'a Flow,
    tops: [Vec<f64>; 3],
    /// Tops and heights of units.
    frames: Vec<(f64, f64)>,
    height: f64,
}

impl<'a> Sheet<'a> {
    fn new(flow: &'a Flow, frame: f64) -> Self {
        let mut inner = Vec::new();
        let mut units = Vec::new();
        for (at, unit) in flow.units.iter().enumerate() {
            let framed = unit.group.is_some();
            let mut row = if framed { FRAME_HEAD } else { 0.0 };
            for (nth, (sink, _)) in unit.sinks.iter().enumerate() {
                row += if nth > 0 { frame } else { 0.0 };
                inner.push((at, row));
                row += box_height(sink);
            }
            units.push(row + if framed { frame } else { 0.0 });
        }
        let heights = |nodes: &[Node]| nodes.iter().map(box_height).collect::<Vec<f64>>();
        let columns = [
            Column {
                heights: heights(&flow.sources),
                gap: BOX_GAP,
            },
            Column {
                heights: heights(&flow.channels),
                gap: BOX_GAP,
            },
            Column {
                heights: units.clone(),
                gap: BOX_GAP,
            },
        ];
        let middle = |column: usize, at: usize| columns[column].heights[at] / 2.0;
        let write = |w: &super::Wire| Link {
            from: w.from,
            from_at: middle(0, w.from),
            to: w.to,
            to_at: middle(1, w.to),
        };
        let sinks = flow.units.iter().flat_map(|u| &u.sinks).enumerate();
        let read = |(at, sink): (usize, &(Node, Vec<usize>))| {
            let (to, row) = inner[at];
            let to_at = row + box_height(&sink.0) / 2.0;
            sink.1
                .iter()
                .map(|c| Link {
                    from: *c,
                    from_at: middle(1, *c),
                    to,
                    to_at,
                })
                .collect::<Vec<_>>()
        };
        let links = [
            flow.writes.iter().map(write).collect(),
            sinks.flat_map(read).collect(),
        ];
        let [sources, channels, tops] = layout::place(&columns, &links);
        let ends =
            |tops: &[f64], heights: &[f64]| tops.iter().zip(heights).map(|(t, h)| t + h).fold(0.0, f64::max);
        let height = ends(&sources, &columns[0].heights)
            .max(ends(&channels, &columns[1].heights))
            .max(ends(&tops, &units));
        let sinks = inner.iter().map(|(unit, row)| tops[*unit] + row).collect();
        Self {
            flow,
            frames: tops.into_iter().zip(units).collect(),
            tops: [sources, channels, sinks],
            height,
        }
    }

    fn paint(&self, out: &mut String, grid: &Grid, top: f64) {
        let (x, wide) = (grid.left[2], grid.width[2]);
        for (unit, (y, height)) in self.flow.units.iter().zip(&self.frames) {
            let Some((name, kind)) = &unit.group else { continue };
            let _ = writeln!(
                out,
                "<rect class=\"group\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"14\"/>",
                x - FRAME_PAD,
                top + y,
                wide + 2.0 * FRAME_PAD,
            );
            named(out, x - 2.0, top + y + 21.0, name);
            let kind_x = x + 10.0 + name_width(name);
            label(out, kind_x, top + y + 21.0, "kind", &shortened(kind, 43));
        }
        self.wires(out, grid, top);
        for (at, node) in self.flow.sources.iter().enumerate() {
            plain_box(
                out,
                "source",
                node,
                grid.left[0],
                top + self.tops[0][at],
                grid.width[0],
            );
        }
        for (at, node) in self.flow.channels.iter().enumerate() {
            cylinder(out, node, grid.left[1], top + self.tops[1][at], grid.width[1]);
        }
        for (at, (node, _)) in self.flow.units.iter().flat_map(|u| &u.sinks).enumerate() {
            plain_box(out, "sink", node, x, top + self.tops[2][at], wide);
        }
    }

    /// Lines first, then their labels, so that no line crosses a label.
    fn wires(&self, out: &mut String, grid: &Grid, top: f64) {
        let mut labels = Vec::new();
        let mut curves = Vec::new();
        let right = |column: usize| grid.left[column] + grid.width[column];
        for (at, wire) in self.flow.writes.iter().enumerate() {
            let same = |w: &&super::Wire| w.from == wire.from;
            let leaving = self.flow.writes.iter().filter(same).count();
            let nth = self.flow.writes[..at].iter().filter(same).count();
            let height = box_height(&self.flow.sources[wire.from]);
            let from = top + self.tops[0][wire.from] + port(height, nth, leaving, 12.0);
            let into = |w: &&super::Wire| w.to == wire.to;
            let entering = self.flow.writes.iter().filter(into).count();
            let nth = self
                .flow
                .writes
                .iter()
                .filter(into)
                .filter(|w| w.from < wire.from)
                .count();
            let height = box_height(&self.flow.channels[wire.to]);
            let inside = port(height, nth, entering, 20.0);
            let off = (inside - height / 2.0) / (height / 2.0);
            // The cylinder's end is round.
            let to_x = grid.left[1] + CAP * (1.0 - (1.0 - off * off).max(0.0).sqrt());
            let curve = Curve::new(right(0), from, to_x, top + self.tops[1][wire.to] + inside);
            let kind = match (wire.route.never, wire.route.optional) {
                (true, _) => "wire never",
                (_, true) => "wire optional",
                _ => "wire",
            };
            curve.paint(out, kind);
            if let Some(text) = wire_label(&wire.route) {
                labels.push((at, text, wire.route.values.join(", ")));
            }
            curves.push(curve);
        }
        for (at, (node, from)) in self.flow.units.iter().flat_map(|u| &u.sinks).enumerate() {
            for (nth, channel) in from.iter().enumerate() {
                let height = box_height(&self.flow.channels[*channel]);
                let y = top + self.tops[1][*channel] + height / 2.0;
                let to = top + self.tops[2][at] + port(box_height(node), nth, from.len(), 16.0);
                Curve::new(right(1), y, grid.left[2], to).paint(out, "wire");
            }
        }
        pills(out, &curves, &labels);
    }
}

/// Where the `nth` of `count` lines meets a box: around its middle, `spread` apart if there is room.
fn port(height: f64, nth: usize, count: usize, spread: f64) -> f64 {
    let step = spread.min((height - 20.0) / count.max(1) as f64);
    height / 2.0 + (nth as f64 - (count as f64 - 1.0) / 2.0) * step
}

/// From `x y` to `x y`, leaving and arriving level.
struct Curve([f64; 4]);

impl Curve {
    /// What is nearly level is drawn level.
    fn new(x1: f64, y1: f64, x2: f64, y2: f64) -> Self {
        Self([x1, y1, x2, if (y1 - y2).abs() < 3.0 { y1 } else { y2 }])
    }

    fn bend(&self) -> f64 {
        let [x1, _, x2, _] = self.0;
        (x2 - x1) / 2.0
    }

    fn paint(&self, out: &mut String, class: &str) {
        let [x1, y1, x2, y2] = self.0;
        let (c1, c2) = (x1 + self.bend(), x2 - self.bend());
        let _ = writeln!(
            out,
            "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}C{c1:.1} {y1:.1} {c2:.1} {y2:.1} {x2:.1} {y2:.1}\" marker-end=\"url(#tip)\"/>"
        );
    }

    fn point(&self, t: f64) -> (f64, f64) {
        let [x1, y1, x2, y2] = self.0;
        let u = 1.0 - t;
        let (a, b, c, d) = (u * u * u, 3.0 * u * u * t, 3.0 * u * t * t, t * t * t);
        let x = a * x1 + b * (x1 + self.bend()) + c * (x2 - self.bend()) + d * x2;
        (x, (a + b) * y1 + (c + d) * y2)
    }
}

/// Labels on their lines, each moved along its line to where it covers no other label and few lines.
fn pills(out: &mut String, curves: &[Curve], labels: &[(usize, String, String)]) {
    let mut placed: Vec<[f64; 4]> = Vec::new();
    for (own, text, full) in labels {
        let wide = columns(text) as f64 * MONO + 18.0;
        let at = |t: f64| {
            let (x, y) = curves[*own].point(t);
            [x - wide / 2.0, y - 11.0, x + wide / 2.0, y + 11.0]
        };
        let covered = |b: &[f64; 4]| {
            let apart = |o: &[f64; 4]| b[2] < o[0] || o[2] < b[0] || b[3] + 2.0 < o[1] || o[3] + 2.0 < b[1];
            let inside = |p: (f64, f64)| b[0] < p.0 && p.0 < b[2] && b[1] < p.1 && p.1 < b[3];
            let crosses = |c: &Curve| (1..40).any(|step| inside(c.point(f64::from(step) / 40.0)));
            let lines = curves
                .iter()
                .enumerate()
                .filter(|(at, c)| at != own && crosses(c))
                .count();
            let [x1, _, x2, _] = curves[*own].0;
            let outside = b[0] < x1 + 4.0 || b[2] > x2 - 12.0;
            100 * placed.iter().filter(|o| !apart(o)).count() + 200 * usize::from(outside) + lines
        };
        let tries = [
            0.5, 0.56, 0.44, 0.62, 0.38, 0.68, 0.32, 0.74, 0.26, 0.8, 0.2, 0.85, 0.15,
        ]
        .map(at);
        let spot = tries.into_iter().min_by_key(covered).unwrap_or(tries[0]);
        placed.push(spot);
        let [x, y, ..] = spot;
        let _ = writeln!(
            out,
            "<g><title>{}</title><rect class=\"pill\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"22\" rx=\"11\"/>\
             <text class=\"value\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text></g>",
            Escaped(full),
            x + wide / 2.0,
            y + 15.0,
            Escaped(text),
        );
    }
}

fn plain_box(out: &mut String, kind: &str, node: &Node, x: f64, y: f64, wide: f64) {
    let height = box_height(node);
    let _ = writeln!(
        out,
        "<g class=\"{kind}\">{}<rect class=\"body\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\" rx=\"10\"/>",
        tooltip(kind, node),
    );
    contents(out, node, x, y, wide);
    out.push_str("</g>\n");
}

fn cylinder(out: &mut String, node: &Node, x: f64, y: f64, wide: f64) {
    let height = box_height(node);
    let (left, right, bottom, half) = (x + CAP, x + wide - CAP, y + height, height / 2.0);
    let _ = writeln!(
        out,
        "<g class=\"channel\">{}<path class=\"body\" d=\"M{left:.1} {y:.1}H{right:.1}A{CAP} {half:.1} 0 0 1 {right:.1} {bottom:.1}\
         H{left:.1}A{CAP} {half:.1} 0 0 1 {left:.1} {y:.1}Z\"/>\
         <ellipse class=\"end\" cx=\"{right:.1}\" cy=\"{:.1}\" rx=\"{CAP}\" ry=\"{half:.1}\"/>",
        tooltip("channel", node),
        y + half,
    );
    contents(out, node, x + CAP - 4.0, y, wide - 3.0 * CAP + 6.0);
    out.push_str("</g>\n");
}

fn tooltip(kind: &str, node: &Node) -> String {
    let mut text = format!("{kind} {} ({})", node.name, node.type_name);
    for fact in &node.facts {
        let _ = write!(text, "\n{fact}");
    }
    format!("<title>{}</title>", Escaped(&text))
}

/// Icon, name, type, facts and chips of a box.
fn contents(out: &mut String, node: &Node, x: f64, y: f64, wide: f64) {
    let _ = write!(
        out,
        "<circle class=\"badge\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"15\"/>",
        x + 29.0,
        y + 29.0
    );
    match icon(&node.type_name) {
        Some(path) => {
            let _ = write!(
                out,
                "<path class=\"icon\" transform=\"translate({:.1} {:.1})\" d=\"{path}\"/>",
                x + 21.0,
                y + 21.0
            );
        }
        None => {
            let initial: String = node
                .type_name
                .chars()
                .next()
                .map_or('?', |c| c)
                .to_uppercase()
                .collect();
            let _ = write!(
                out,
                "<text class=\"initial\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x + 29.0,
                y + 34.0,
                Escaped(&initial),
            );
        }
    }
    named(out, x + 53.0, y + 26.0, &node.name);
    label(
        out,
        x + 53.0,
        y + 42.0,
        "kind",
        &shortened(&node.type_name, FACT_COLUMNS),
    );
    let mut row = y + BOX_HEAD + 12.0;
    for line in node.facts.iter().flat_map(|f| wrapped(f, FACT_COLUMNS, 2)) {
        let class = if line.starts_with("! ") {
            "fact lack"
        } else {
            "fact"
        };
        label(out, x + 14.0, row, class, &line);
        row += LINE;
    }
    row -= 7.0;
    for (kind, text) in chips(node) {
        let _ = write!(
            out,
            "<rect class=\"{kind}\" x=\"{:.1}\" y=\"{row:.1}\" width=\"{:.1}\" height=\"{CHIP}\" rx=\"6\"/>",
            x + 12.0,
            wide - 24.0,
        );
        label(out, x + 22.0, row + 16.0, &format!("{kind}-text"), &text);
        row += CHIP + 4.0;
    }
}

/// A drawing of 16 by 16 for what a type deals with; none for types that are not known.
fn icon(type_name: &str) -> Option<&'static str> {
    const ICONS: [(&[&str], &str); 8] = [
        (
            &["kafka", "jms"],
            "M5.6 7.2l4.8-2.4M5.6 8.8l4.8 2.4M4 6.2a1.8 1.8 0 1 0 .01 0M12 2.2a1.8 1.8 0 1 0 .01 0M12 10.2a1.8 1.8 0 1 0 .01 0",
        ),
        (&["exec"], "M2 3h12v10H2zM4.5 6l2 2-2 2M8.5 10.5h3"),
        (
            &["memory"],
            "M4 4h8v8H4zM6 1.5V4M10 1.5V4M6 12v2.5M10 12v2.5M1.5 6H4M1.5 10H4M12 6h2.5M12 10h2.5",
        ),
        (&["logger"], "M3 4h10M3 8h10M3 12h6"),
        (&["null"], "M3.6 3.6l8.8 8.8M8 1.8a6.2 6.2 0 1 0 .01 0"),
        (
            &["spooldir", "taildir", "roll"],
            "M4 1.5h5.5L13 5v9.5H4zM9.5 1.5V5H13M6 8.5h5M6 11.5h5",
        ),
        (
            &[
                "hdfs",
                "file",
                "jdbc",
                "sql",
                "hive",
                "hbase",
                "kudu",
                "kite",
                "dataset",
                "solr",
                "elastic",
                "spillable",
                "s3",
            ],
            "M3 4c0-3 10-3 10 0v8c0 3-10 3-10 0zM3 4c0 3 10 3 10 0",
        ),
        (
            &[
                "avro", "thrift", "netcat", "syslog", "http", "irc", "tier", "scribe", "legacy", "udp", "tcp",
            ],
            "M8 1.8a6.2 6.2 0 1 0 .01 0M1.8 8h12.4M8 1.8c-4 4-4 8.4 0 12.400M8 1.8c4 4 4 8.4 0 12.4",
        ),
    ];
    let lower = type_name.to_lowercase();
    ICONS
        .iter()
        .find(|(words, _)| words.iter().any(|w| lower.contains(w)))
        .map(|(_, path)| *path)
}

fn named(out: &mut String, x: f64, y: f64, name: &str) {
    label(out, x, y, "name", &shortened(name, NAME_COLUMNS));
}

fn label(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        Escaped(text)
    );
}

/// The legend, and how wide it is.
fn legend() -> (String, f64) {
    let mut out = String::new();
    let mut x = 0.0;
    for (class, word, room) in [
        ("source", "source", 82.0),
        ("channel", "channel", 90.0),
        ("sink", "sink", 68.0),
    ] {
        let _ = writeln!(
            out,
            "<g class=\"{class}\"><circle class=\"badge\" cx=\"{:.1}\" cy=\"8\" r=\"7\"/></g>",
            x + 7.0
        );
        label(&mut out, x + 20.0, 12.0, "soft", word);
        x += room;
    }
    for (class, word, room) in [
        ("group", "sink group", 118.0),
        ("step", "interceptor", 118.0),
        ("route", "selector", 100.0),
    ] {
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"1\" width=\"20\" height=\"14\" rx=\"4\"/>"
        );
        label(&mut out, x + 28.0, 12.0, "soft", word);
        x += room;
    }
    for (class, word, room) in [("wire", "required", 112.0), ("wire optional", "optional", 112.0)] {
        Curve::new(x, 8.0, x + 34.0, 8.0).paint(&mut out, class);
        label(&mut out, x + 42.0, 12.0, "soft", word);
        x += room;
    }
    (out, x)
}

/// A text inside SVG, in elements and attributes alike.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

const MARKERS: &str = "<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" \
    markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path class=\"tip\" d=\"M0 .5L10 5L0 9.500L2.5 5z\"/></marker></defs>";

const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Noto Sans CJK SC',sans-serif;fill:#1f2328}
.head{font-size:24px;font-weight:700}.name{font-size:15px;font-weight:650}.soft{font-size:13px;fill:#57606a}
.kind,.fact,.value,.step-text,.route-text,.rank-text{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Noto Sans CJK SC',monospace;font-size:11px;white-space:pre}
.lack{fill:#b3261e;font-weight:700}.kind{fill:#57606a}.page{fill:#f3f5f8}.panel{fill:#fff;stroke:#d8dee4}
.body{stroke-width:1.5}.source .body{fill:#eef6ff;stroke:#0969da}.sink .body{fill:#edfbf0;stroke:#1a7f37}
.channel .body{fill:#fff7e0;stroke:#9a6700}.channel .end{fill:#ffebb0;stroke:#9a6700;stroke-width:1.5}
.source .badge{fill:#0969da}.channel .badge{fill:#9a6700}.sink .badge{fill:#1a7f37}
.icon{fill:none;stroke:#fff;stroke-width:1.4;stroke-linejoin:round;stroke-linecap:round}.initial{fill:#fff;font-size:14px;font-weight:700}
.group{fill:#f8f3ff;stroke:#8250df;stroke-width:1.5;stroke-dasharray:7 4}.rank{fill:#eadcff}.rank-text{fill:#5a2ca8}
.step{fill:#d6e8ff}.step-text{fill:#0a3069}.route{fill:#ffe3f1}.route-text,.value{fill:#99286e}
.pill{fill:#fff5fa;stroke:#bf3989}.wire{fill:none;stroke:#6e7781;stroke-width:1.8}.tip{fill:#6e7781}
.optional{stroke-dasharray:7 5}.never{stroke-dasharray:1.5 5;stroke-linecap:round}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.soft,.kind{fill:#9da7b3}.lack{fill:#ff8f87}.page{fill:#0d1117}.panel{fill:#161b22;stroke:#30363d}
.source .body{fill:#10233d;stroke:#58a6ff}.sink .body{fill:#10291a;stroke:#3fb950}.channel .body{fill:#2b2111;stroke:#d29922}
.channel .end{fill:#47350f;stroke:#d29922}.source .badge{fill:#58a6ff}.channel .badge{fill:#d29922}.sink .badge{fill:#3fb950}
.icon{stroke:#0d1117}.initial{fill:#0d1117}.group{fill:#1e1830;stroke:#bc8cff}.rank{fill:#3a2a5c}.rank-text{fill:#d8bfff}
.step{fill:#1b3a63}.step-text{fill:#b6d7ff}.route{fill:#4a1f3a}.route-text,.value{fill:#ff9fd0}.pill{fill:#33172a;stroke:#f778ba}
.wire{stroke:#8b949e}.tip{fill:#8b949e}}
";
