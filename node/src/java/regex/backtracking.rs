//! The engine that tries all ways, with a bound on how long it may take.
//!
//! fancy-regex counts its steps back and gives up after so many. That alone is no bound on time: between two steps a part
//! like `.*` may look over the whole text, and every place of the text is a new start, so that `(?=.*x)y` takes half an
//! hour for a megabyte. Therefore a pattern that may look far has fewer steps in a longer text, so that steps times bytes
//! is about [`WORK_MAX`]:
//!
//! | pattern | text | steps back |
//! |---|---|---|
//! | every part looks at a few characters | any | [`STEPS_MAX`] for the search |
//! | a part may look far | up to 256 bytes, 4 KiB, 64 KiB, more | 39,062, 2,441, 152, 9 for the search |
//!
//! A long text has more places than that. So when these are used up, the search begins again and goes from place to place
//! with as many steps for each, until [`TIME_MAX`] is over or one place takes too many: a search that ends in time by
//! itself is not given up for the number of its places. A pattern that begins with `\A` or `^` has one place.

use super::parse::{Node, Place};
use super::{GaveUp, Groups, PROGRAM_MAX};
use fancy_regex::{Regex, RegexInput};
use std::time::{Duration, Instant};

/// Steps back in a search whose parts look at a few characters each.
const STEPS_MAX: usize = 500_000;
/// Steps back times bytes of text, where one step may look at all of it.
const WORK_MAX: usize = 10_000_000;
/// Lengths of texts up to which the same number of steps holds; the last one is for all that are longer.
const TIERS: [usize; 4] = [256, 4 << 10, 64 << 10, 1 << 20];
/// How long a search from place to place may take; the clock is looked at after each place.
const TIME_MAX: Duration = Duration::from_millis(40);
/// A repetition of at most so many rounds looks at a few characters.
const FEW: u32 = 64;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Backtracking {
    /// One, or one for each tier.
    by_tier: Vec<Regex>,
    starts: Starts,
}

/// Where a match may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starts {
    Anywhere,
    /// At the beginning of the text.
    Begin,
    /// Where the last match ended.
    LastMatch,
}

impl Starts {
    fn of(node: &Node) -> Self {
        match node {
            Node::At(Place::Begin) => Self::Begin,
            Node::At(Place::LastMatch) => Self::LastMatch,
            Node::Seq(all) => all.first().map_or(Self::Anywhere, Self::of),
            Node::Group(node) | Node::Atomic(node) => Self::of(node),
            Node::Alt(all) => {
                let first = all.first().map_or(Self::Anywhere, Self::of);
                let same = all.iter().all(|node| Self::of(node) == first);
                if same { first } else { Self::Anywhere }
            }
            _ => Self::Anywhere,
        }
    }
}

/// Whether a part may look at more than a few characters between two steps back.
fn looks_far(node: &Node) -> bool {
    match node {
        Node::Repeat(node, _, most, _) => {
            let few = most.is_some_and(|most| most <= FEW);
            // In `(?:(?!x).)*` each round takes a step back, however many there are.
            looks_far(node) || !(few || forbids(node))
        }
        Node::Group(node) | Node::Atomic(node) | Node::Look { node, .. } => looks_far(node),
        Node::Seq(all) | Node::Alt(all) => all.iter().any(looks_far),
        Node::Empty
        | Node::Char(_)
        | Node::Class(_)
        | Node::Any
        | Node::LineBreak
        | Node::BackRef(..)
        | Node::At(_) => false,
    }
}

/// Whether it passes a negative look-around whenever it matches.
fn forbids(node: &Node) -> bool {
    match node {
        Node::Look { negative, .. } => *negative,
        Node::Group(node) | Node::Atomic(node) => forbids(node),
        Node::Seq(all) => all.iter().any(forbids),
        Node::Alt(all) => all.iter().all(forbids),
        _ => false,
    }
}

impl Backtracking {
    /// Compiles what `node` was written as; `whole` says that it must match all of a text.
    pub fn new(pattern: &str, node: &Node, whole: bool) -> Result<Self, String> {
        let build = |steps| {
            let built = fancy_regex::RegexBuilder::new(pattern)
                .backtrack_limit(steps)
                .delegate_size_limit(PROGRAM_MAX)
                .max_prog_size(PROGRAM_MAX / 100)
                .build();
            built.map_err(|e| e.to_string())
        };
        let by_tier: Result<_, _> = match looks_far(node) {
            true => TIERS.iter().map(|bytes| build(WORK_MAX / bytes)).collect(),
            false => build(STEPS_MAX).map(|regex| vec![regex]),
        };
        Ok(Self {
            by_tier: by_tier?,
            starts: if whole { Starts::Begin } else { Starts::of(node) },
        })
    }

    pub fn is_match(&self, text: &str) -> Result<bool, GaveUp> {
        let found = self.search(text, 0, |regex, input| {
            Ok(regex.is_match_input(input)?.then_some(()))
        })?;
        Ok(found.is_some())
    }

    /// Looks for a match from a place on; what stands before it is seen by `\b` and look-behind. Leaves `groups` as they
    /// are if there is none.
    pub fn captures(&self, text: &str, from: usize, groups: &mut Groups) -> Result<(), GaveUp> {
        if let Some(found) = self.search(text, from, Regex::captures_input)? {
            groups.extend(found.iter().map(|group| group.map(|group| group.range())));
        }
        Ok(())
    }

    fn search<'t, T>(
        &self,
        text: &'t str,
        from: usize,
        ask: impl Fn(&Regex, RegexInput<'t, str>) -> fancy_regex::Result<Option<T>>,
    ) -> Result<Option<T>, GaveUp> {
        let gave_up = GaveUp::Steps {
            text_bytes: text.len(),
        };
        let tier = TIERS.iter().take_while(|bytes| text.len() > **bytes).count();
        let Some(regex) = self.by_tier.get(tier).or(self.by_tier.last()) else {
            return Err(gave_up);
        };
        let input = |at| RegexInput::new(text).from_pos(at);
        let begun = Instant::now();
        match self.starts {
            Starts::Begin if from > 0 => return Ok(None),
            Starts::Begin => return ask(regex, input(0).anchored(true)).map_err(|_| gave_up),
            Starts::LastMatch => return ask(regex, input(from)).map_err(|_| gave_up),
            Starts::Anywhere => match ask(regex, input(from)) {
                Ok(found) => return Ok(found),
                Err(_) if self.by_tier.len() == 1 => return Err(gave_up),
                Err(_) => {}
            },
        }
        let rest = text.get(from..).unwrap_or_default();
        let places = rest.char_indices().map(|(at, _)| from + at).chain([text.len()]);
        for at in places {
            if let Some(found) = ask(regex, input(at).anchored(true)).map_err(|_| gave_up)? {
                return Ok(Some(found));
            }
            if begun.elapsed() > TIME_MAX {
                return Err(gave_up);
            }
        }
        Ok(None)
    }
}
