//! Java's regular expressions (`java.util.regex`), translated to the `regex` and `fancy-regex` crates.

use std::borrow::Cow;
use std::fmt;

/// A pattern that cannot be used, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// A compiled Java pattern.
#[derive(Clone)]
pub struct Regex {
    pattern: String,
    find: regex::Regex,
    whole: regex::Regex,
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({})", self.pattern)
    }
}

impl Regex {
    /// Translates and compiles a Java pattern.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let compile = |text: &str| regex::Regex::new(text).map_err(|e| PatternError(e.to_string()));
        Ok(Self {
            pattern: pattern.to_owned(),
            find: compile(pattern)?,
            whole: compile(&format!(r"\A(?:{pattern})\z"))?,
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether it matches somewhere: `Matcher.find`.
    pub fn found_in(&self, text: &str) -> bool {
        self.find.is_match(text)
    }

    /// Whether it matches the whole text: `Matcher.matches`.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// The groups of the first match anywhere, number 0 first; none for a group that took no part.
    pub fn captures<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        groups(&self.find, text)
    }

    /// The groups of a match of the whole text, number 0 first.
    pub fn whole_captures<'t>(&self, text: &'t str) -> Option<Vec<Option<&'t str>>> {
        groups(&self.whole, text)
    }

    /// How many groups it has, without number 0.
    pub fn group_count(&self) -> usize {
        self.find.captures_len() - 1
    }

    /// `Matcher.replaceAll`: `$1`, `${name}` and `\` have Java's meaning in the replacement.
    pub fn replace_all<'t>(&self, text: &'t str, replacement: &str) -> Cow<'t, str> {
        self.find.replace_all(text, replacement)
    }
}

fn groups<'t>(regex: &regex::Regex, text: &'t str) -> Option<Vec<Option<&'t str>>> {
    let found = regex.captures(text)?;
    Some(found.iter().map(|group| group.map(|g| g.as_str())).collect())
}
