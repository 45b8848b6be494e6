//! Whether every event came: once, in order, and nothing else.
//!
//! An event is known by its producer and its number there. The test says which numbers a producer has sent, tells
//! what it has seen in the order in which it saw it, and asks for the [`Verdict`]:
//!
//! - *missing*: sent and never seen;
//! - *duplicated*: seen again, each time counted;
//! - *reordered*: seen for the first time after a higher number of the same producer;
//! - *corrupt*: not an event that anybody has sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

/// Examples in a verdict, so that it stays short when everything went wrong.
const EXAMPLES: usize = 4;

/// What was sent and what was seen.
#[derive(Debug, Default)]
pub struct Ledger {
    producers: BTreeMap<String, Producer>,
    corrupt: Vec<String>,
}

#[derive(Debug, Default)]
struct Producer {
    sent: BTreeSet<u64>,
    seen: BTreeSet<u64>,
    duplicated: Vec<u64>,
    reordered: Vec<u64>,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// A producer has sent these.
    pub fn sent(&mut self, producer: &str, numbers: RangeInclusive<u64>) {
        let known = self.producers.entry(producer.to_owned()).or_default();
        known.sent.extend(numbers);
    }

    /// An event has come.
    pub fn saw(&mut self, producer: &str, number: u64) {
        let Some(known) = self
            .producers
            .get_mut(producer)
            .filter(|known| known.sent.contains(&number))
        else {
            self.saw_corrupt(&format!("{producer} {number}"));
            return;
        };
        let later = known.seen.last().is_some_and(|last| *last > number);
        if !known.seen.insert(number) {
            known.duplicated.push(number);
        } else if later {
            known.reordered.push(number);
        }
    }

    /// A text has come that should be `<prefix><number>` of that producer.
    pub fn saw_text(&mut self, producer: &str, prefix: &str, text: &str) {
        match text.strip_prefix(prefix).map(str::parse) {
            Some(Ok(number)) => self.saw(producer, number),
            _ => self.saw_corrupt(text),
        }
    }

    /// Something has come that is no event at all.
    pub fn saw_corrupt(&mut self, what: &str) {
        self.corrupt.push(what.to_owned());
    }

    /// What is to be said about it now.
    pub fn verdict(&self) -> Verdict {
        let mut verdict = Verdict {
            corrupt: self.corrupt.clone(),
            ..Verdict::default()
        };
        for (name, known) in &self.producers {
            let named = |number: &u64| (name.clone(), *number);
            verdict.sent += known.sent.len();
            verdict
                .missing
                .extend(known.sent.difference(&known.seen).map(named));
            verdict.duplicated.extend(known.duplicated.iter().map(named));
            verdict.reordered.extend(known.reordered.iter().map(named));
        }
        verdict
    }

    /// Fails unless everything came exactly once and in order.
    ///
    /// # Panics
    /// With the verdict.
    #[track_caller]
    pub fn assert_once_and_in_order(&self) {
        let verdict = self.verdict();
        assert!(verdict.is_perfect(), "{verdict}");
    }
}

/// What came of the events of all producers.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How many were sent.
    pub sent: usize,
    /// Never seen.
    pub missing: Vec<(String, u64)>,
    /// One entry for each time too many.
    pub duplicated: Vec<(String, u64)>,
    /// Came after a higher number.
    pub reordered: Vec<(String, u64)>,
    /// Not sent by anybody.
    pub corrupt: Vec<String>,
}

impl Verdict {
    /// Nothing is missing and nothing is corrupt; duplicates and order do not matter.
    pub fn is_lossless(&self) -> bool {
        self.missing.is_empty() && self.corrupt.is_empty()
    }

    /// Everything came, once and in order.
    pub fn is_perfect(&self) -> bool {
        self.is_lossless() && self.duplicated.is_empty() && self.reordered.is_empty()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} events", self.sent - self.missing.len(), self.sent)?;
        if self.is_perfect() {
            return f.write_str(", each once and in order");
        }
        for (what, ids) in [
            ("missing", &self.missing),
            ("duplicated", &self.duplicated),
            ("reordered", &self.reordered),
        ] {
            if !ids.is_empty() {
                write!(f, "; {} {what} ({})", ids.len(), runs(ids))?;
            }
        }
        if !self.corrupt.is_empty() {
            let examples: Vec<&String> = self.corrupt.iter().take(EXAMPLES).collect();
            write!(f, "; {} corrupt ({examples:?})", self.corrupt.len())?;
        }
        Ok(())
    }
}

/// `r1 4-7, r1 9`: numbers that follow each other in one piece, and only the first pieces.
fn runs(ids: &[(String, u64)]) -> String {
    let mut runs: Vec<(&str, u64, u64)> = Vec::new();
    for (producer, number) in ids {
        match runs.last_mut() {
            Some((of, _, last)) if *of == producer && *number == *last + 1 => *last = *number,
            _ => runs.push((producer, *number, *number)),
        }
    }
    let shown = runs.iter().take(EXAMPLES).map(|(producer, first, last)| {
        if first == last {
            format!("{producer} {first}")
        } else {
            format!("{producer} {first}-{last}")
        }
    });
    let mut shown: Vec<String> = shown.collect();
    if runs.len() > EXAMPLES {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sent: u64, seen: &[u64], expected: &str) {
        let mut ledger = Ledger::new();
        ledger.sent("r1", 1..=sent);
        for number in seen {
            ledger.saw("r1", *number);
        }
        assert_eq!(ledger.verdict().to_string(), expected);
    }

    #[test]
    fn events_that_came_once_and_in_order_are_perfect() {
        check(3, &[1, 2, 3], "3 of 3 events, each once and in order");
        check(0, &[], "0 of 0 events, each once and in order");
    }

    #[test]
    fn missing_events_are_named_in_runs() {
        check(9, &[1, 2, 8], "3 of 9 events; 6 missing (r1 3-7, r1 9)");
        check(
            9,
            &[2, 4, 6, 8],
            "4 of 9 events; 5 missing (r1 1, r1 3, r1 5, r1 7, …)",
        );
    }

    #[test]
    fn every_time_too_many_counts_and_is_no_matter_of_order() {
        check(3, &[1, 2, 1, 3, 1], "3 of 3 events; 2 duplicated (r1 1, r1 1)");
    }

    #[test]
    fn an_event_after_a_higher_one_is_reordered() {
        check(4, &[1, 4, 2, 3], "4 of 4 events; 2 reordered (r1 2-3)");
    }

    #[test]
    fn what_nobody_sent_is_corrupt() {
        check(1, &[1, 7], "1 of 1 events; 1 corrupt ([\"r1 7\"])");
        let mut ledger = Ledger::new();
        ledger.sent("r1", 1..=1);
        ledger.saw_text("r1", "line ", "line 1");
        ledger.saw_text("r1", "line ", "lin");
        ledger.saw("r2", 1);
        assert_eq!(
            ledger.verdict().to_string(),
            "1 of 1 events; 2 corrupt ([\"lin\", \"r2 1\"])"
        );
    }

    #[test]
    fn producers_have_an_order_of_their_own() {
        let mut ledger = Ledger::new();
        ledger.sent("a", 1..=2);
        ledger.sent("b", 1..=2);
        for (producer, number) in [("b", 1), ("a", 1), ("b", 2), ("a", 2)] {
            ledger.saw(producer, number);
        }
        ledger.assert_once_and_in_order();
    }

    #[test]
    fn a_duplicate_is_no_loss() {
        let mut ledger = Ledger::new();
        ledger.sent("a", 1..=1);
        ledger.saw("a", 1);
        ledger.saw("a", 1);
        let verdict = ledger.verdict();
        assert!(verdict.is_lossless() && !verdict.is_perfect());
    }
}
