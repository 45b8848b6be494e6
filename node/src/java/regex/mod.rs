//! Java's regular expressions (`java.util.regex`), translated to the `regex` and `fancy-regex` crates.
//!
//! A pattern is read as Java 17 reads it (`parse.rs`), and written again for the `regex` crate, which answers in time
//! linear in the text (`emit.rs`). Only look-around, back-references, possessive and atomic groups and `\G` need
//! `fancy-regex`, which tries one way after the other as Java does, but gives up instead of taking minutes
//! (`backtracking.rs`): [`GaveUp`], or no match. Java's `$`, which also holds before a line terminator that ends the
//! text, is an end of text for nearly every event; the few texts that do end with a line terminator take a
//! second, backtracking form of the same pattern. Nothing is translated or compiled at match time.
//!
//! What cannot be translated is a [`PatternError`] that names construct and place: `\X`, `\b{g}`, `\N{...}`, `(?c)`,
//! `\p{javaMirrored}`, half a surrogate pair. Known differences, all beside what people write:
//!
//! - `\b` takes a few more characters than ASCII's for parts of words (connectors, Roman numerals), and a
//!   back-reference under `(?i)` without `(?u)` ignores the case of all letters; Unicode is a newer one.
//! - A group in a repetition of what may match nothing, as in `(a*)*`, shows its last round that matched something,
//!   where Java goes one round more. Groups in look-behind and negative look-ahead may show other places.
//! - `\R` may match a part of `\r\n` also where it is repeated.
//!
//! Source: `flume/sources.md` 10; `tests/regex.rs` holds all this against `java.util.regex` itself.

mod backtracking;
mod class;
mod emit;
mod escape;
mod parse;
mod replace;

use backtracking::Backtracking;
use emit::{Needs, emit};
use parse::Tree;
pub use replace::Replacement;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// How long a compiled pattern may be, in bytes or instructions of the engines.
const PROGRAM_MAX: usize = 10 << 20;

/// A pattern or a replacement that cannot be used, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// Work that was given up: nobody knows what would have come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GaveUp {
    /// Too many ways to try, or too much time.
    #[error("the pattern was given up on a text of {text_bytes} bytes: there are too many ways to try")]
    Steps {
        /// How long the text is.
        text_bytes: usize,
    },
    /// The replaced text is longer than allowed.
    #[error("the replaced text has more than {allowed} bytes")]
    Length {
        /// How many bytes it may have.
        allowed: usize,
    },
}

/// A compiled Java pattern.
#[derive(Clone)]
pub struct Regex {
    pattern: String,
    groups: usize,
    names: Vec<(String, usize)>,
    find: Engine,
    whole: Engine,
}

/// The places of the groups of a match, number 0 first; none for a group that took no part.
pub type Groups = Vec<Option<Range<usize>>>;

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({})", self.pattern)
    }
}

impl Regex {
    /// Translates and compiles a Java pattern.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let tree = parse::parse(pattern).map_err(|wrong| {
            PatternError(format!(
                "{} at character {} of \"{pattern}\"",
                wrong.what, wrong.at
            ))
        })?;
        let needs = Needs::of(&tree.node);
        let engine = |whole| {
            Engine::new(needs, &tree, whole)
                .map_err(|why| PatternError(format!("\"{pattern}\" is too large or too deep: {why}")))
        };
        Ok(Self {
            pattern: pattern.to_owned(),
            groups: tree.groups,
            find: engine(false)?,
            whole: engine(true)?,
            names: tree.names,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether it matches somewhere: `Matcher.find`. False if the search was given up.
    pub fn found_in(&self, text: &str) -> bool {
        self.try_found_in(text).unwrap_or(false)
    }

    /// As [`found_in`](Self::found_in), for those who need to know of searches that were given up.
    pub fn try_found_in(&self, text: &str) -> Result<bool, GaveUp> {
        self.find.is_match(text)
    }

    /// Whether it matches the whole text: `Matcher.matches`. False if the search was given up.
    pub fn matches(&self, text: &str) -> bool {
        self.try_matches(text).unwrap_or(false)
    }

    /// As [`matches`](Self::matches), for those who need to know of searches that were given up.
    pub fn try_matches(&self, text: &str) -> Result<bool, GaveUp> {
        self.whole.is_match(text)
    }

    /// The groups of the first match anywhere, number 0 first; none for a group that took no part. No match if the
    /// search was given up.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        let groups = self.try_captures(text).ok()??;
        Some(texts(text, &groups))
    }

    /// The places of the groups of the first match anywhere.
    pub fn try_captures(&self, text: &str) -> Result<Option<Groups>, GaveUp> {
        let mut groups = Groups::new();
        let found = self.find.captures(text, 0, &mut groups)?;
        Ok(found.then_some(groups))
    }

    /// The groups of a match of the whole text, number 0 first. No match if the search was given up.
    pub fn whole_captures<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        let mut groups = Groups::new();
        let found = self.whole.captures(text, 0, &mut groups).ok()?;
        found.then(|| texts(text, &groups))
    }

    /// How many groups it has, without number 0.
    pub fn group_count(&self) -> usize {
        self.groups
    }

    /// `Matcher.replaceAll`: `$1`, `${name}` and `\` have Java's meaning in the replacement. A replacement that
    /// Java refuses and a search that was given up leave the text as it is; see [`Replacement`].
    pub fn replace_all<'t>(&self, text: &'t str, replacement: &str) -> Cow<'t, str> {
        match Replacement::new(replacement, self) {
            Ok(replacement) => self
                .replace_with(text, &replacement, usize::MAX)
                .unwrap_or(Cow::Borrowed(text)),
            Err(_) => Cow::Borrowed(text),
        }
    }

    /// `Matcher.replaceAll` with a replacement that was compiled for this pattern, at most `allowed` bytes long. Borrows
    /// if there is no match.
    pub fn replace_with<'t>(
        &self,
        text: &'t str,
        replacement: &Replacement,
        allowed: usize,
    ) -> Result<Cow<'t, str>, GaveUp> {
        let mut groups = Groups::new();
        if !self.find.captures(text, 0, &mut groups)? {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::with_capacity(text.len() + 16);
        let mut copied = 0;
        while let Some(found) = groups.first().cloned().flatten() {
            out.push_str(&text[copied..found.start]);
            replacement.write(text, &groups, &mut out);
            copied = found.end;
            if out.len() > allowed {
                return Err(GaveUp::Length { allowed });
            }
            // After an empty match Java goes on one character later.
            let next = if found.is_empty() {
                match text[found.end..].chars().next() {
                    Some(c) => found.end + c.len_utf8(),
                    None => break,
                }
            } else {
                found.end
            };
            if !self.find.captures(text, next, &mut groups)? {
                break;
            }
        }
        out.push_str(&text[copied..]);
        if out.len() > allowed {
            return Err(GaveUp::Length { allowed });
        }
        Ok(Cow::Owned(out))
    }

    /// `String.split`: what stands between matches. No empty part before a match of nothing at the beginning, none at
    /// the end; the text itself if there is no match.
    pub fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut parts = Vec::new();
        let (mut groups, mut from, mut start) = (Groups::new(), 0, 0);
        while from <= text.len() && self.find.captures(text, from, &mut groups).unwrap_or(false) {
            let Some(found) = groups.first().cloned().flatten() else {
                break;
            };
            if found.end > 0 {
                parts.push(&text[start..found.start]);
                start = found.end;
            }
            let step = text[found.end..].chars().next().map_or(1, char::len_utf8);
            from = found.end + if found.is_empty() { step } else { 0 };
        }
        if parts.is_empty() {
            return vec![text];
        }
        parts.push(&text[start..]);
        while parts.last().is_some_and(|part| part.is_empty()) {
            parts.pop();
        }
        parts
    }
}

fn texts<'t>(text: &'t str, groups: &[Option<Range<usize>>]) -> Vec<Option<&'t str>> {
    groups
        .iter()
        .map(|g| g.clone().map(|range| &text[range]))
        .collect()
}

/// What runs a pattern.
#[derive(Clone)]
struct Engine {
    /// For the texts that it is right for.
    linear: Option<regex::Regex>,
    /// For the others; tries all ways.
    all: Option<Backtracking>,
    needs: Needs,
    /// How many groups there are, with number 0.
    groups: usize,
}

/// Which one, for a text.
enum Chosen<'e> {
    Linear(&'e regex::Regex),
    All(&'e Backtracking),
    /// There is always one of them.
    Neither,
}

impl Engine {
    fn new(needs: Needs, tree: &Tree, whole: bool) -> Result<Self, String> {
        let wrapped = |plain| {
            let text = emit(&tree.node, plain, tree.groups);
            if whole { format!(r"\A(?:{text})\z") } else { text }
        };
        let everywhere = needs == Needs::default();
        Ok(Self {
            linear: (!needs.backtracking)
                .then(|| linear(&wrapped(true)))
                .transpose()?,
            all: (!everywhere)
                .then(|| Backtracking::new(&wrapped(false), &tree.node, whole))
                .transpose()?,
            needs,
            groups: tree.groups + 1,
        })
    }

    fn choose(&self, text: &str) -> Chosen<'_> {
        let right = if self.needs.lines {
            !text.is_empty() && !text.contains(is_terminator)
        } else {
            !self.needs.last_line || !text.ends_with(is_terminator)
        };
        match (&self.linear, &self.all) {
            (Some(linear), _) if right => Chosen::Linear(linear),
            (_, Some(all)) => Chosen::All(all),
            (Some(linear), None) => Chosen::Linear(linear),
            (None, None) => Chosen::Neither,
        }
    }

    fn is_match(&self, text: &str) -> Result<bool, GaveUp> {
        match self.choose(text) {
            Chosen::Linear(linear) => Ok(linear.is_match(text)),
            Chosen::All(all) => all.is_match(text),
            Chosen::Neither => Ok(false),
        }
    }

    /// Looks for a match from a place on; what stands before it is seen by `\b` and look-behind.
    fn captures(&self, text: &str, from: usize, groups: &mut Groups) -> Result<bool, GaveUp> {
        groups.clear();
        match self.choose(text) {
            Chosen::Linear(linear) if self.groups == 1 => {
                groups.extend(linear.find_at(text, from).map(|found| Some(found.range())));
            }
            Chosen::Linear(linear) => {
                if let Some(found) = linear.captures_at(text, from) {
                    groups.extend(found.iter().map(|g| g.map(|g| g.range())));
                }
            }
            Chosen::All(all) => all.captures(text, from, groups)?,
            Chosen::Neither => {}
        }
        Ok(!groups.is_empty())
    }
}

fn is_terminator(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn linear(pattern: &str) -> Result<regex::Regex, String> {
    let mut builder = regex::RegexBuilder::new(pattern);
    builder.size_limit(PROGRAM_MAX).build().map_err(|e| match e {
        regex::Error::CompiledTooBig(limit) => format!("it needs more than {limit} bytes"),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests;
