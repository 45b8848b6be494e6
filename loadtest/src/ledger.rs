//! What has arrived, per producer, and the verdict over it.
//!
//! A producer numbers its events 0, 1, 2, … A number above the expected one leaves a gap; one out of a gap came late
//! (*reordered*); any other below the expected one is *duplicated*; what is left in the gaps, or lies beyond the highest
//! number although the driver got an OK for it, is *missing*. Memory is bounded: [`GAPS_MAX`] ranges per producer and
//! [`PRODUCERS_MAX`] producers; beyond that the verdict says that its figures are inexact, and fails.

use crate::identity::Producer;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Most ranges a [`GapSet`] keeps.
pub const GAPS_MAX: usize = 1 << 16;

/// Most producers a [`Ledger`] keeps.
pub const PRODUCERS_MAX: usize = 4096;

/// Numbers that have not arrived although higher ones have.
#[derive(Debug, Default)]
pub struct GapSet {
    ranges: BTreeMap<u64, u64>,
    forgotten: u64,
}

impl GapSet {
    /// Adds numbers; all must be above those in the set. A full set forgets its lowest range.
    pub fn add(&mut self, gap: Range<u64>) {
        if gap.is_empty() {
            return;
        }
        if self.ranges.len() == GAPS_MAX
            && let Some((start, end)) = self.ranges.pop_first()
        {
            self.forgotten += end - start;
        }
        self.ranges.insert(gap.start, gap.end);
    }

    /// Takes a number out; says whether it was in.
    pub fn remove(&mut self, number: u64) -> bool {
        let Some((&start, &end)) = self.ranges.range(..=number).next_back() else {
            return false;
        };
        if number >= end {
            return false;
        }
        self.ranges.remove(&start);
        if start < number {
            self.ranges.insert(start, number);
        }
        if number + 1 < end {
            self.ranges.insert(number + 1, end);
        }
        true
    }

    /// How many numbers are in the set, those forgotten included.
    pub fn count(&self) -> u64 {
        self.forgotten + self.ranges.iter().map(|(start, end)| end - start).sum::<u64>()
    }

    /// How many numbers of `range` are in the set.
    pub fn count_in(&self, range: &Range<u64>) -> u64 {
        self.ranges
            .iter()
            .map(|(&start, &end)| end.min(range.end).saturating_sub(start.max(range.start)))
            .sum()
    }
}

#[derive(Debug, Default)]
struct Progress {
    expected: u64,
    gaps: GapSet,
}

/// What a driver says it has sent on one connection.
#[derive(Debug, Clone)]
pub struct SentBy {
    /// The connection.
    pub producer: Producer,
    /// All numbers below this one were sent.
    pub next: u64,
    /// Of these, the ones never acknowledged: they may have arrived or not.
    pub unsure: Vec<Range<u64>>,
}

impl SentBy {
    /// How many events must arrive at least.
    pub fn acknowledged(&self) -> u64 {
        self.next
            - self
                .unsure
                .iter()
                .map(|range| range.end - range.start)
                .sum::<u64>()
    }
}

/// Everything a collector has seen.
#[derive(Debug, Default)]
pub struct Ledger {
    producers: HashMap<Producer, Progress>,
    last: Option<(Producer, u64)>,
    events: u64,
    duplicated: u64,
    reordered: u64,
    corrupt: u64,
    strangers: u64,
}

impl Ledger {
    /// An intact event has arrived.
    #[inline]
    pub fn record(&mut self, producer: Producer, number: u64) {
        self.events += 1;
        // Nearly every event follows its predecessor, so the map is only asked when the run of a producer breaks.
        match &mut self.last {
            Some((last, expected)) if *last == producer && *expected == number => *expected += 1,
            _ => self.record_slowly(producer, number),
        }
    }

    fn record_slowly(&mut self, producer: Producer, number: u64) {
        self.settle();
        if self.producers.len() == PRODUCERS_MAX && !self.producers.contains_key(&producer) {
            self.strangers += 1;
            return;
        }
        let progress = self.producers.entry(producer).or_default();
        if number >= progress.expected {
            progress.gaps.add(progress.expected..number);
            progress.expected = number.saturating_add(1);
        } else if progress.gaps.remove(number) {
            self.reordered += 1;
        } else {
            self.duplicated += 1;
        }
        self.last = Some((producer, progress.expected));
    }

    /// Brings the fast path's counter back into the map.
    fn settle(&mut self) {
        if let Some((producer, expected)) = self.last.take()
            && let Some(progress) = self.producers.get_mut(&producer)
        {
            progress.expected = expected;
        }
    }

    /// An event has arrived that is not as it was sent, or a message that cannot be read.
    pub fn record_corrupt(&mut self) {
        self.events += 1;
        self.corrupt += 1;
    }

    /// Different intact events so far.
    pub fn distinct(&self) -> u64 {
        self.events - self.duplicated - self.corrupt - self.strangers
    }

    /// Judges; with `sent`, also what never came at the end. Without it only gaps can be seen.
    pub fn verdict(&mut self, sent: Option<&[SentBy]>) -> Verdict {
        self.settle();
        let mut missing: u64 = self
            .producers
            .values()
            .map(|progress| progress.gaps.count())
            .sum();
        let nothing = Progress::default();
        for sent in sent.unwrap_or_default() {
            let progress = self.producers.get(&sent.producer).unwrap_or(&nothing);
            missing += sent.next.saturating_sub(progress.expected);
            for unsure in &sent.unsure {
                missing -= progress.gaps.count_in(unsure);
                missing -= unsure.end.saturating_sub(unsure.start.max(progress.expected));
            }
        }
        Verdict {
            events: self.events,
            producers: self.producers.len(),
            missing,
            duplicated: self.duplicated,
            reordered: self.reordered,
            corrupt: self.corrupt,
            inexact: self.strangers > 0
                || self
                    .producers
                    .values()
                    .any(|progress| progress.gaps.forgotten > 0),
        }
    }
}

/// What became of the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// All that arrived.
    pub events: u64,
    /// Connections they came from.
    pub producers: usize,
    /// Sent, acknowledged, never seen.
    pub missing: u64,
    /// Seen more than once; counts the surplus.
    pub duplicated: u64,
    /// Came after a later event of the same producer.
    pub reordered: u64,
    /// Changed on the way.
    pub corrupt: u64,
    /// A limit of the ledger was hit.
    pub inexact: bool,
}

impl Verdict {
    /// Every event once, in order, intact.
    pub fn is_clean(&self) -> bool {
        self.missing + self.duplicated + self.reordered + self.corrupt == 0 && !self.inexact
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{}: {} events of {} producers, {} missing, {} duplicated, {} reordered, {} corrupt{}",
            if self.is_clean() { "clean" } else { "NOT CLEAN" },
            self.events,
            self.producers,
            self.missing,
            self.duplicated,
            self.reordered,
            self.corrupt,
            if self.inexact {
                ", inexact: a limit of the ledger was hit"
            } else {
                ""
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Producer = Producer {
        run: 1,
        connection: 0,
    };
    const B: Producer = Producer {
        run: 1,
        connection: 1,
    };

    fn judge(arrived: &[(Producer, u64)], sent: u64) -> Verdict {
        let mut ledger = Ledger::default();
        arrived
            .iter()
            .for_each(|&(producer, number)| ledger.record(producer, number));
        ledger.verdict(Some(&[SentBy {
            producer: A,
            next: sent,
            unsure: vec![],
        }]))
    }

    #[test]
    fn events_in_order_are_clean_even_when_producers_alternate() {
        let mut ledger = Ledger::default();
        for number in 0..10 {
            ledger.record(A, number);
            ledger.record(B, number);
        }
        let verdict = ledger.verdict(None);
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!((verdict.events, verdict.producers), (20, 2));
    }

    #[test]
    fn missing_events_are_counted_at_the_start_in_the_middle_and_at_the_end() {
        assert_eq!(judge(&[(A, 2), (A, 3), (A, 5)], 8).missing, 2 + 1 + 2);
        assert_eq!(judge(&[], 4).missing, 4);
    }

    #[test]
    fn a_repeated_event_is_duplicated() {
        let verdict = judge(&[(A, 0), (A, 1), (A, 1), (A, 0), (A, 2)], 3);
        assert_eq!(
            (verdict.duplicated, verdict.missing, verdict.reordered),
            (2, 0, 0)
        );
    }

    #[test]
    fn a_late_event_is_reordered_and_no_longer_missing() {
        let verdict = judge(&[(A, 0), (A, 2), (A, 1), (A, 3), (A, 1)], 4);
        assert_eq!(
            (verdict.reordered, verdict.missing, verdict.duplicated),
            (1, 0, 1)
        );
    }

    #[test]
    fn a_corrupt_event_is_not_clean() {
        let mut ledger = Ledger::default();
        ledger.record_corrupt();
        assert_eq!(ledger.verdict(None).corrupt, 1);
        assert!(!ledger.verdict(None).is_clean());
    }

    #[test]
    fn unacknowledged_events_may_be_missing() {
        let mut ledger = Ledger::default();
        [0, 1, 4, 5]
            .into_iter()
            .for_each(|number| ledger.record(A, number));
        let sent = SentBy {
            producer: A,
            next: 8,
            unsure: vec![2..4, 6..8],
        };
        assert_eq!(sent.acknowledged(), 4);
        assert!(ledger.verdict(Some(&[sent])).is_clean());
        let sent = SentBy {
            producer: A,
            next: 9,
            unsure: vec![3..4, 6..8],
        };
        assert_eq!(ledger.verdict(Some(&[sent])).missing, 2);
    }

    #[test]
    fn a_gap_can_be_filled_from_either_end_and_from_within() {
        let mut gaps = GapSet::default();
        gaps.add(5..10);
        gaps.add(12..13);
        for number in [5, 9, 7, 12] {
            assert!(gaps.remove(number));
            assert!(!gaps.remove(number));
        }
        assert!(!gaps.remove(4) && !gaps.remove(10) && !gaps.remove(99));
        assert_eq!(
            (gaps.count(), gaps.count_in(&(0..8)), gaps.ranges.len()),
            (2, 1, 2)
        );
    }

    #[test]
    fn a_full_gap_set_forgets_the_lowest_but_still_counts_it() {
        let mut ledger = Ledger::default();
        let count = GAPS_MAX as u64 + 10;
        (0..count).for_each(|number| ledger.record(A, number * 2 + 1));
        let verdict = ledger.verdict(None);
        assert_eq!(verdict.missing, count);
        assert!(verdict.inexact && !verdict.is_clean());
        assert_eq!(ledger.producers[&A].gaps.ranges.len(), GAPS_MAX);
    }
}
