//! Where boxes go, for text and picture alike: their order within a column, then their heights.
//!
//! Order: each column is sorted by the mean place of its neighbours, to and fro, and the order with the fewest crossing
//! lines wins; the configuration's own order wins ties, as its author had something in mind.
//!
//! Height: each box wants its line to be straight. Boxes must not overlap, so neighbours that want the same place are
//! pooled and share the disappointment evenly (isotonic regression), a few times to and fro.

use super::{Flow, Unit};

/// Above this many lines the order is the configuration's.
const ORDERED_WIRES_MAX: usize = 600;
const SWEEPS: usize = 4;
const ROUNDS: usize = 24;

/// The flow with its columns ordered.
pub fn ordered(flow: Flow) -> Flow {
    let reads: usize = flow.units.iter().flat_map(|u| &u.sinks).map(|s| s.1.len()).sum();
    if flow.writes.len() + reads > ORDERED_WIRES_MAX {
        return flow;
    }
    let mut best_crossings = crossings(&flow);
    let mut best = flow;
    let mut next = best.clone();
    for _ in 0..SWEEPS {
        if best_crossings == 0 {
            break;
        }
        next = sort_channels(next, true);
        next = sort_units(next);
        for candidate in [sort_channels(next.clone(), false), next.clone()] {
            let candidate = sort_sources(sort_units(candidate));
            let crossed = crossings(&candidate);
            if crossed < best_crossings {
                best_crossings = crossed;
                best = candidate.clone();
            }
            next = candidate;
        }
    }
    best
}

/// Lines of a flow as pairs of places: into the channels, and out of them.
fn lines(flow: &Flow) -> [Vec<(usize, usize)>; 2] {
    let writes = flow.writes.iter().map(|w| (w.from, w.to)).collect();
    let sinks = flow.units.iter().flat_map(|u| &u.sinks).enumerate();
    let reads = sinks
        .flat_map(|(at, s)| s.1.iter().map(move |c| (*c, at)))
        .collect();
    [writes, reads]
}

fn crossings(flow: &Flow) -> usize {
    let crossed = |all: &Vec<(usize, usize)>| {
        let pair = |(at, a): (usize, &(usize, usize))| {
            let later = all.iter().skip(at + 1);
            later
                .filter(|b| (a.0 < b.0 && a.1 > b.1) || (a.0 > b.0 && a.1 < b.1))
                .count()
        };
        all.iter().enumerate().map(pair).sum::<usize>()
    };
    lines(flow).iter().map(crossed).sum()
}

/// The mean of `places` in thousandths, or where it is now.
fn mean(places: impl Iterator<Item = usize>, now: usize) -> usize {
    let (sum, count) = places.fold((0, 0), |(s, n), p| (s + p * 1000, n + 1));
    usize::checked_div(sum, count).unwrap_or(now * 1000)
}

/// New places by `keys`: the element that is to stand first, then the next.
fn by_key(keys: &[usize]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..keys.len()).collect();
    places.sort_by_key(|p| keys[*p]);
    places
}

fn inverse(places: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; places.len()];
    for (new, old) in places.iter().enumerate() {
        inverse[*old] = new;
    }
    inverse
}

fn sort_sources(mut flow: Flow) -> Flow {
    let key = |s: usize| mean(flow.writes.iter().filter(|w| w.from == s).map(|w| w.to), s);
    let keys: Vec<usize> = (0..flow.sources.len()).map(key).collect();
    let places = by_key(&keys);
    let to = inverse(&places);
    flow.sources = places.iter().map(|p| flow.sources[*p].clone()).collect();
    for wire in &mut flow.writes {
        wire.from = to[wire.from];
    }
    flow.writes.sort_by_key(|w| (w.from, w.to));
    flow
}

/// By the sources where `left`, else by the sinks.
fn sort_channels(mut flow: Flow, left: bool) -> Flow {
    let [writes, reads] = lines(&flow);
    let key = |c: usize| {
        if left {
            mean(writes.iter().filter(|w| w.1 == c).map(|w| w.0), c)
        } else {
            mean(reads.iter().filter(|r| r.0 == c).map(|r| r.1), c)
        }
    };
    let keys: Vec<usize> = (0..flow.channels.len()).map(key).collect();
    let places = by_key(&keys);
    let to = inverse(&places);
    flow.channels = places.iter().map(|p| flow.channels[*p].clone()).collect();
    for wire in &mut flow.writes {
        wire.to = to[wire.to];
    }
    for channel in flow
        .units
        .iter_mut()
        .flat_map(|u| &mut u.sinks)
        .flat_map(|s| &mut s.1)
    {
        *channel = to[*channel];
    }
    flow.writes.sort_by_key(|w| (w.from, w.to));
    flow
}

fn sort_units(mut flow: Flow) -> Flow {
    for unit in &mut flow.units {
        unit.sinks.sort_by_key(|s| mean(s.1.iter().copied(), 0));
    }
    let key = |unit: &Unit| mean(unit.sinks.iter().flat_map(|s| s.1.iter().copied()), 0);
    flow.units.sort_by_key(key);
    flow
}

/// Boxes of one column, from top to bottom.
#[derive(Debug, Default)]
pub struct Column {
    pub heights: Vec<f64>,
    /// Between two boxes, at least.
    pub gap: f64,
}

/// A line between boxes of neighbouring columns, with its ends' distances from the tops of the boxes.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub from: usize,
    pub from_at: f64,
    pub to: usize,
    pub to_at: f64,
}

/// The tops of all boxes; the least is 0.
pub fn place(columns: &[Column; 3], links: &[Vec<Link>; 2]) -> [Vec<f64>; 3] {
    let mut tops = columns.each_ref().map(|column| {
        let mut top = 0.0;
        let stack = |h: &f64| {
            let this = top;
            top += h + column.gap;
            this
        };
        column.heights.iter().map(stack).collect::<Vec<f64>>()
    });
    for _ in 0..ROUNDS {
        for (column, sides) in [
            (0, [None, Some(0)]),
            (2, [Some(1), None]),
            (1, [Some(0), Some(1)]),
        ] {
            let mut wants = vec![Vec::new(); tops[column].len()];
            // Left of the column, its boxes are the ends of lines; right of it, their beginnings.
            for link in sides[0].into_iter().flat_map(|side: usize| &links[side]) {
                wants[link.to].push(tops[column - 1][link.from] + link.from_at - link.to_at);
            }
            for link in sides[1].into_iter().flat_map(|side: usize| &links[side]) {
                wants[link.from].push(tops[column + 1][link.to] + link.to_at - link.from_at);
            }
            tops[column] = settle(&columns[column], &tops[column], &wants);
        }
    }
    let least = tops.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    tops.map(|column| column.into_iter().map(|top| top - least).collect())
}

/// Tops as near as can be to what boxes want, in their order, without overlap.
fn settle(column: &Column, now: &[f64], wants: &[Vec<f64>]) -> Vec<f64> {
    // Without the heights above them, boxes only have to stand in order.
    let mut above = Vec::with_capacity(now.len());
    let mut sum = 0.0;
    for height in &column.heights {
        above.push(sum);
        sum += height + column.gap;
    }
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (at, want) in wants.iter().enumerate() {
        let (mut value, mut weight, mut count) = if want.is_empty() {
            (now[at] - above[at], 0.01, 1)
        } else {
            (want.iter().sum::<f64>() / want.len() as f64 - above[at], 1.0, 1)
        };
        while let Some((v, w, n)) = pools.pop_if(|p| p.0 >= value) {
            value = (v * w + value * weight) / (w + weight);
            weight += w;
            count += n;
        }
        pools.push((value, weight, count));
    }
    let values = pools
        .into_iter()
        .flat_map(|(value, _, count)| std::iter::repeat_n(value, count));
    values.zip(above).map(|(value, above)| value + above).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(from: usize, to: usize) -> Link {
        Link {
            from,
            from_at: 2.0,
            to,
            to_at: 2.0,
        }
    }

    fn column(count: usize) -> Column {
        Column {
            heights: vec![4.0; count],
            gap: 1.0,
        }
    }

    #[test]
    fn a_straight_flow_is_straight() {
        let tops = place(
            &[column(1), column(1), column(1)],
            &[vec![link(0, 0)], vec![link(0, 0)]],
        );
        assert_eq!(tops, [vec![0.0], vec![0.0], vec![0.0]]);
    }

    #[test]
    fn what_fans_out_stands_in_the_middle_and_nothing_overlaps() {
        let fan = (0..3).map(|c| link(0, c)).collect();
        let back = (0..3).map(|c| link(c, c)).collect();
        let tops = place(&[column(1), column(3), column(3)], &[fan, back]);
        assert_eq!(tops[1], [0.0, 5.0, 10.0]);
        assert_eq!(tops[0], [5.0]);
        assert_eq!(tops[2], tops[1]);
    }

    #[test]
    fn boxes_that_nothing_is_tied_to_are_stacked() {
        let tops = place(&[column(2), column(0), column(1)], &[vec![], vec![]]);
        assert_eq!(tops, [vec![0.0, 5.0], vec![], vec![0.0]]);
    }
}
