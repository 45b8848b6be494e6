//! Sets of numbers that mostly come in runs: taken events, committed batches.

use proto::journal::{Range, Ranges};
use std::collections::BTreeMap;

/// A set of numbers as ranges that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// Adds a range; says whether any of it was there already.
    pub fn insert(&mut self, range: Range) -> bool {
        if range.is_empty() {
            return false;
        }
        let (mut start, mut end) = (range.start, range.end);
        let mut overlap = false;
        // Those that begin before the end and reach the start, the last one first.
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            overlap |= s < range.end && e > range.start;
            start = start.min(s);
            end = end.max(e);
            self.0.remove(&s);
        }
        self.0.insert(start, end);
        overlap
    }

    /// Takes a range out; says whether all of it was there.
    pub fn remove(&mut self, range: Range) -> bool {
        if range.is_empty() {
            return true;
        }
        let whole = self.covers(range);
        while let Some((&s, &e)) = self.0.range(..range.end).next_back() {
            if e <= range.start {
                break;
            }
            self.0.remove(&s);
            if s < range.start {
                self.0.insert(s, range.start);
            }
            if e > range.end {
                self.0.insert(range.end, e);
            }
        }
        whole
    }

    /// Whether all of a range is there.
    pub fn covers(&self, range: Range) -> bool {
        range.is_empty()
            || self
                .0
                .range(..=range.start)
                .next_back()
                .is_some_and(|(_, &e)| e >= range.end)
    }

    /// Whether any of a range is there.
    pub fn touches(&self, range: Range) -> bool {
        !range.is_empty()
            && self
                .0
                .range(..range.end)
                .next_back()
                .is_some_and(|(_, &e)| e > range.start)
    }

    /// Whether a number is there.
    pub fn contains(&self, number: u64) -> bool {
        self.covers(Range {
            start: number,
            end: number + 1,
        })
    }

    /// The ranges, rising.
    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.0.iter().map(|(&start, &end)| Range { start, end })
    }

    /// The first range at or beyond a number, from there on.
    pub fn next_from(&self, number: u64) -> Option<Range> {
        if let Some((_, &end)) = self.0.range(..=number).next_back()
            && end > number
        {
            return Some(Range { start: number, end });
        }
        self.0
            .range(number..)
            .next()
            .map(|(&start, &end)| Range { start, end })
    }

    /// Takes the first range out if it begins at `number`, and says where it ended.
    pub fn pop_at(&mut self, number: u64) -> Option<u64> {
        self.0.remove(&number)
    }

    /// How many numbers are in it.
    pub fn count(&self) -> u64 {
        self.iter().map(|r| r.len()).sum()
    }

    /// How many ranges it takes.
    pub fn ranges(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Range> for RangeSet {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert(range);
        }
        set
    }
}

impl From<&RangeSet> for Ranges {
    fn from(set: &RangeSet) -> Self {
        set.iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(steps in prop::collection::vec((any::<bool>(), 0..60_u64, 0..12_u64), 0..60)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (add, start, len) in steps {
                let range = Range { start, end: start + len };
                let there = (start..start + len).filter(|n| model.contains(n)).count() as u64;
                prop_assert_eq!(set.covers(range), there == len);
                prop_assert_eq!(set.touches(range), there > 0);
                if add {
                    prop_assert_eq!(set.insert(range), there > 0);
                    model.extend(start..start + len);
                } else {
                    prop_assert_eq!(set.remove(range), there == len);
                    model.retain(|n| *n < start || *n >= start + len);
                }
                let numbers: Vec<u64> = set.iter().flat_map(|r| r.start..r.end).collect();
                prop_assert_eq!(&numbers, &model.iter().copied().collect::<Vec<_>>());
                prop_assert!(set.iter().zip(set.iter().skip(1)).all(|(a, b)| a.end < b.start), "they do not touch");
                prop_assert_eq!(set.next_from(start).map(|r| r.start), model.range(start..).next().copied());
            }
        }
    }
}
