//! Java's date patterns, `SimpleDateFormat`'s and Joda's, for parsing.
//!
//! Two languages that look alike. `SimpleDateFormat` is lenient: numbers may be out of range and carry over, blanks
//! before a field do not matter, and neither does what follows the date (`simple.rs`). Joda's `DateTimeFormat` is
//! strict: each value must be possible and the whole text must match (`joda.rs`). Names are English. Nothing is
//! compiled at parse time.
//!
//! What a pattern leaves out is that of 1970-01-01T00:00:00.000 in the zone; a Joda pattern whose largest field is a
//! month, week or day means the year 2000, as in Joda. A year of two digits is the one within 80 years before and 20
//! after the pattern was compiled (Joda: 80 before, 19 after, by years). A local time that exists twice is the later one,
//! one that is skipped is an hour later (Joda: the earlier one; refused).
//!
//! Source: `flume/sources.md` 5.13, 7 and 10. `tests/dates.rs` holds `simple` against Java itself.

mod civil;
mod joda;
mod names;
mod simple;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A pattern that cannot be used, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(pub String);

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct DatePattern {
    pattern: String,
    language: Language,
}

#[derive(Debug, Clone)]
enum Language {
    Simple(simple::Format),
    Joda(joda::Format),
}

impl DatePattern {
    /// A pattern of `SimpleDateFormat`: lenient, what follows the date does not matter.
    pub fn simple(pattern: &str) -> Result<Self, PatternError> {
        Self::simple_at(pattern, Timestamp::now())
    }

    /// A pattern of Joda's `DateTimeFormat`: strict, the whole text must match.
    pub fn joda(pattern: &str) -> Result<Self, PatternError> {
        Self::joda_at(pattern, Timestamp::now())
    }

    fn simple_at(pattern: &str, now: Timestamp) -> Result<Self, PatternError> {
        let format = simple::Format::new(tokens(pattern)?, now)?;
        Ok(Self {
            pattern: pattern.to_owned(),
            language: Language::Simple(format),
        })
    }

    fn joda_at(pattern: &str, now: Timestamp) -> Result<Self, PatternError> {
        let format = joda::Format::new(joda::tokens(pattern), now)?;
        Ok(Self {
            pattern: pattern.to_owned(),
            language: Language::Joda(format),
        })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Milliseconds since 1970, none if the text is no such date. What the pattern leaves out: see the story of this
    /// module.
    pub fn parse_unix_ms(&self, text: &str, zone: &TimeZone) -> Option<i64> {
        match &self.language {
            Language::Simple(format) => format.parse(text, zone),
            Language::Joda(format) => format.parse(text, zone),
        }
    }
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A letter, so many times.
    Field(char, usize),
    /// Text that stands for itself.
    Literal(String),
}

/// The tokens of a pattern of `SimpleDateFormat`: letters in runs, text between single quotes, two of which are one.
fn tokens(pattern: &str) -> Result<Vec<Token>, PatternError> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        if c == '\'' && chars.peek() == Some(&'\'') {
            chars.next();
            literal(&mut tokens, '\'');
        } else if c == '\'' {
            quoted = !quoted;
        } else if quoted || !c.is_ascii_alphabetic() {
            literal(&mut tokens, c);
        } else {
            let mut count = 1;
            while chars.next_if_eq(&c).is_some() {
                count += 1;
            }
            tokens.push(Token::Field(c, count));
        }
    }
    if quoted {
        return Err(PatternError(format!("a quote without end in \"{pattern}\"")));
    }
    Ok(tokens)
}

fn literal(tokens: &mut Vec<Token>, c: char) {
    match tokens.last_mut() {
        Some(Token::Literal(text)) => text.push(c),
        _ => tokens.push(Token::Literal(c.to_string())),
    }
}

fn unknown_letter(letter: char, known: &str) -> PatternError {
    let known: String = known.chars().flat_map(|c| [c, ' ']).collect();
    PatternError(format!(
        "unknown letter {letter}; expected {}, other letters between single quotes",
        known.trim_end()
    ))
}

#[cfg(test)]
mod tests;
