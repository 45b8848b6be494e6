//! Reading a component's properties, with every mistake noted instead of the first one thrown.
//!
//! A component's `Config::read` asks for each of its keys in turn. Whatever is wrong becomes a [`Finding`] that
//! names file, line, component, property, what was found and what is allowed; reading goes on with the default,
//! so that one start names them all. A key that nobody asked for is a finding too, with the nearest known name.
//! (serde would stop at the first error and could not tell which keys exist: that is why it is not used here.)
//!
//! Numbers and booleans follow `flume/sources.md` 1: trimmed, decimal, `true` in any case is true and everything
//! else false.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Legal and worth knowing.
    Note,
    /// Ignored or surprising.
    Warning,
    /// A component cannot run.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Where a property stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<Path>,
    /// Counted from 1; 0 for what stands in no line.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One thing found in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// How bad.
    pub severity: Severity,
    /// Stable word for programs.
    pub code: &'static str,
    /// `source r1 (avro)`, or the agent.
    pub component: String,
    /// The property, if it is about one.
    pub property: Option<String>,
    /// What was found, what is allowed.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}[{}]: {}: ",
            self.place, self.severity, self.code, self.component
        )?;
        if let Some(property) = &self.property {
            write!(f, "{property}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// A property's value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value, trimmed.
    pub value: String,
    /// Where.
    pub place: Place,
}

/// The properties of one component while they are read.
#[derive(Debug, Clone)]
pub struct Keys {
    component: String,
    place: Place,
    prefix: String,
    entries: BTreeMap<String, Entry>,
    known: BTreeSet<String>,
    known_prefixes: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Keys {
    /// The properties of `component` (as messages name it), declared at `place`. The keys do not carry the
    /// agent's and the component's name.
    pub fn new(component: impl Into<String>, place: Place, entries: BTreeMap<String, Entry>) -> Self {
        Self {
            component: component.into(),
            place,
            prefix: String::new(),
            entries,
            known: BTreeSet::new(),
            known_prefixes: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Properties that stand in no file: for tests and programs.
    pub fn of(component: &str, pairs: &[(&str, &str)]) -> Self {
        let place = Place {
            file: Path::new("(given)").into(),
            line: 0,
        };
        let entry = |v: &str| Entry {
            value: v.to_owned(),
            place: place.clone(),
        };
        let entries = pairs.iter().map(|(k, v)| ((*k).to_owned(), entry(v))).collect();
        Self::new(component, place, entries)
    }

    /// A text, if there is one.
    pub fn text(&mut self, key: &str) -> Option<String> {
        self.entry(key).map(|e| e.value.clone())
    }

    /// A text that must be there; an empty one after noting that it is missing.
    pub fn required(&mut self, key: &str) -> String {
        self.text(key).unwrap_or_else(|| {
            let near = self.nearest_given(key);
            let hint = near.map_or(String::new(), |n| format!("; did you mean it by \"{n}\"?"));
            self.note_at(
                self.place.clone(),
                Severity::Error,
                "missing",
                key,
                format!("required, but not there{hint}"),
            );
            String::new()
        })
    }

    /// A number within a range; a bad one is an error.
    pub fn number<T>(&mut self, key: &str, default: T, allowed: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        match self.parsed(key, &allowed) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(found)) => {
                let message = format!(
                    "expected {} to {}, found {}",
                    allowed.start(),
                    allowed.end(),
                    quoted(&found)
                );
                self.wrong(key, &message);
                default
            }
        }
    }

    /// A number that must be there.
    pub fn required_number<T>(&mut self, key: &str, allowed: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        if self.required(key).is_empty() {
            *allowed.start()
        } else {
            self.number(key, *allowed.start(), allowed)
        }
    }

    /// A number where Flume falls back to the default: a bad one is a warning.
    pub fn lenient_number<T>(&mut self, key: &str, default: T, allowed: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        match self.parsed(key, &allowed) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(found)) => {
                let range = format!("expected {} to {}", allowed.start(), allowed.end());
                self.warn(
                    key,
                    "bad-number",
                    format!(
                        "{range}, found {}; {default} is used, as in Flume",
                        quoted(&found)
                    ),
                );
                default
            }
        }
    }

    /// `true` in any case is true, everything else false.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.text(key) else {
            return default;
        };
        let on = value.eq_ignore_ascii_case("true");
        if !on && !value.eq_ignore_ascii_case("false") {
            self.warn(
                key,
                "bad-boolean",
                format!(
                    "expected true or false, found {}; false is used, as in Flume",
                    quoted(&value)
                ),
            );
        }
        on
    }

    /// A duration in milliseconds.
    pub fn millis(&mut self, key: &str, default: Duration, allowed: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(key, default.as_millis() as u64, allowed))
    }

    /// A key that is understood and has no meaning here.
    pub fn without_effect(&mut self, key: &str, why: &str) {
        if self.text(key).is_some() {
            self.warn(key, "no-effect", why.to_owned());
        }
    }

    /// Keys below `prefix`, all accepted: for selectors, serializers and other parts that read on their own.
    pub fn below(&mut self, prefix: &str) -> Keys {
        self.known_prefixes.insert(prefix.to_owned());
        let inner = |k: &String| k.strip_prefix(prefix).map(str::to_owned);
        Keys {
            component: self.component.clone(),
            place: self.place.clone(),
            prefix: format!("{}{prefix}", self.prefix),
            entries: self
                .entries
                .iter()
                .filter_map(|(k, e)| Some((inner(k)?, e.clone())))
                .collect(),
            known: BTreeSet::new(),
            known_prefixes: BTreeSet::new(),
            findings: Vec::new(),
        }
    }

    /// Takes over the findings of a part that [`below`](Self::below) was read by, unknown keys included.
    pub fn absorb(&mut self, part: Keys) {
        self.findings.extend(part.finish());
    }

    /// What is left after keys, and prefixes that end in a dot, are taken out.
    pub fn others(&self, without: &[&str]) -> BTreeMap<String, Entry> {
        let taken = |k: &str| {
            without
                .iter()
                .any(|w| k == *w || (w.ends_with('.') && k.starts_with(w)))
        };
        self.entries
            .iter()
            .filter(|(k, _)| !taken(k))
            .map(|(k, e)| (k.clone(), e.clone()))
            .collect()
    }

    /// The component cannot be built, and it is no single property's fault.
    pub fn broken(&mut self, message: &str) {
        self.findings.push(Finding {
            place: self.place.clone(),
            severity: Severity::Error,
            code: "cannot-build",
            component: self.component.clone(),
            property: None,
            message: message.to_owned(),
        });
    }

    /// The property is wrong: the component cannot run.
    pub fn wrong(&mut self, key: &str, message: &str) {
        let place = self.place_of(key);
        self.note_at(place, Severity::Error, "bad-value", key, message.to_owned());
    }

    /// The property is ignored or surprising.
    pub fn warn(&mut self, key: &str, code: &'static str, message: String) {
        let place = self.place_of(key);
        self.note_at(place, Severity::Warning, code, key, message);
    }

    /// Something about a property under a code of its own.
    pub fn note(&mut self, severity: Severity, key: &str, code: &'static str, message: String) {
        let place = self.place_of(key);
        self.note_at(place, severity, code, key, message);
    }

    /// As [`note`](Self::note), about a place that these properties do not know.
    pub fn note_there(
        &mut self,
        place: Place,
        severity: Severity,
        code: &'static str,
        key: &str,
        message: String,
    ) {
        self.note_at(place, severity, code, key, message);
    }

    /// What is set, whoever asks for it.
    pub fn given(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(k, e)| (k.as_str(), e))
    }

    /// A property with its place, if there is one.
    pub fn entry_of(&mut self, key: &str) -> Option<Entry> {
        self.entry(key).cloned()
    }

    /// Takes this value for a property, whatever is set: for old spellings that win.
    pub fn replace(&mut self, key: &str, entry: Entry) {
        self.entries.insert(key.to_owned(), entry);
    }

    /// A property without taking note that it was asked for.
    pub fn peek(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|e| e.value.as_str())
    }

    /// The component as messages name it.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Where the component is declared.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What stands before these keys, up to and with a dot; empty for a whole component.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Everything found, unknown keys included.
    pub fn finish(mut self) -> Vec<Finding> {
        let unknown: Vec<(String, Place)> = self
            .entries
            .iter()
            .filter(|(k, _)| {
                !self.known.contains(*k) && !self.known_prefixes.iter().any(|p| k.starts_with(p))
            })
            .map(|(k, e)| (k.clone(), e.place.clone()))
            .collect();
        for (key, place) in unknown {
            let near = nearest(&key, self.known.iter().map(String::as_str));
            let prefix = &self.prefix;
            let hint = near.map_or(String::new(), |n| format!("; did you mean \"{prefix}{n}\"?"));
            self.note_at(
                place,
                Severity::Warning,
                "unknown-key",
                &key,
                format!("unknown, ignored{hint}"),
            );
        }
        self.findings
    }

    /// Whether an error was found so far.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// The keys that were asked for so far, and the prefixes, which end in a dot.
    pub fn known(&self) -> impl Iterator<Item = &str> {
        self.known.iter().chain(&self.known_prefixes).map(String::as_str)
    }

    fn entry(&mut self, key: &str) -> Option<&Entry> {
        self.known.insert(key.to_owned());
        self.entries.get(key)
    }

    fn parsed<T: FromStr + PartialOrd>(
        &mut self,
        key: &str,
        allowed: &RangeInclusive<T>,
    ) -> Option<Result<T, String>> {
        let text = self.text(key)?;
        let value = text.trim().parse::<T>().ok().filter(|v| allowed.contains(v));
        Some(value.ok_or(text))
    }

    fn place_of(&self, key: &str) -> Place {
        self.entries
            .get(key)
            .map_or_else(|| self.place.clone(), |e| e.place.clone())
    }

    fn note_at(&mut self, place: Place, severity: Severity, code: &'static str, key: &str, message: String) {
        let property = Some(format!("{}{key}", self.prefix));
        self.findings.push(Finding {
            place,
            severity,
            code,
            component: self.component.clone(),
            property,
            message,
        });
    }

    fn nearest_given(&self, key: &str) -> Option<String> {
        let given = self
            .entries
            .keys()
            .filter(|k| !self.known.contains(*k))
            .map(String::as_str);
        nearest(key, given).map(str::to_owned)
    }
}

/// A value as messages show it, with what may be behind its being wrong.
fn quoted(value: &str) -> String {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let hint = if value.contains('#') {
        "; a comment needs a line of its own"
    } else if value.contains("${") {
        "; it was not resolved"
    } else if digits.len() > 9 && digits.bytes().all(|b| b.is_ascii_digit()) {
        " (too large)"
    } else {
        ""
    };
    format!("\"{value}\"{hint}")
}

/// The candidate that is most like `name`, if any is close enough to be a slip of the pen: one slip in a short name,
/// up to four in a long one. Case does not count.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let folded = name.to_lowercase();
    let mut near: Vec<(usize, &str)> = candidates
        .filter(|c| *c != name)
        .map(|c| (slips(&folded, &c.to_lowercase()), c))
        .filter(|(d, c)| {
            let length = c.len().min(name.len());
            // Names such as c1 and c7 are two names; c1 and c11 may be one.
            let short = length < 3 && *d > 0 && c.len() == name.len();
            *d <= (length / 4).clamp(1, 4) && !short
        })
        .collect();
    near.sort_unstable();
    match near.as_slice() {
        // c may be c1 as well as c2: no guess.
        [(one, first), (two, second), ..] if one == two && first != second && name.len() < 3 => None,
        [(_, best), ..] => Some(best),
        [] => None,
    }
}

/// How far two words are from being one: a word that only stops early is as near as one with one slip.
fn slips(a: &str, b: &str) -> usize {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    if short.len() > 3 && long.len() - short.len() < 5 && long.starts_with(short) && a != b {
        1
    } else {
        distance(a, b)
    }
}

/// Edits between two words: insert, delete, replace, swap neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let replaced = row[j] + usize::from(ca != cb);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(keys: Keys) -> Vec<String> {
        keys.finish().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn all_mistakes_of_a_component_are_named_at_once() {
        let mut keys = Keys::of(
            "source r1 (avro)",
            &[("prot", "41414"), ("threads", "x"), ("ssl", "yes")],
        );
        assert_eq!(keys.required("bind"), "");
        keys.required_number("port", 1..=65_535u16);
        assert_eq!(keys.number("threads", 7, 1..=9), 7);
        assert!(!keys.flag("ssl", true));
        assert_eq!(
            texts(keys),
            [
                "(given):0: error[missing]: source r1 (avro): bind: required, but not there",
                "(given):0: error[missing]: source r1 (avro): port: required, but not there; did you mean it by \"prot\"?",
                "(given):0: error[bad-value]: source r1 (avro): threads: expected 1 to 9, found \"x\"",
                "(given):0: warning[bad-boolean]: source r1 (avro): ssl: expected true or false, found \"yes\"; false is used, as in Flume",
                "(given):0: warning[unknown-key]: source r1 (avro): prot: unknown, ignored; did you mean \"port\"?",
            ]
        );
    }

    #[test]
    fn parts_read_below_a_prefix_are_named_with_it() {
        let mut keys = Keys::of(
            "sink k1 (file_roll)",
            &[("sink.serializer.appendNewLine", "true")],
        );
        let mut part = keys.below("sink.serializer.");
        part.flag("appendNewline", true);
        keys.absorb(part);
        assert_eq!(
            texts(keys),
            [
                "(given):0: warning[unknown-key]: sink k1 (file_roll): sink.serializer.appendNewLine: unknown, \
              ignored; did you mean \"sink.serializer.appendNewline\"?"
            ]
        );
    }

    #[test]
    fn a_name_with_another_meaning_is_not_offered() {
        assert_eq!(
            nearest("selector.head", ["selector.header", "port"].into_iter()),
            Some("selector.header")
        );
        assert_eq!(nearest("bogus", ["batchSize", "port"].into_iter()), None);
        assert_eq!(nearest("host", ["port", "bind"].into_iter()), None);
        assert_eq!(nearest("head", ["header", "default"].into_iter()), Some("header"));
        assert_eq!(nearest("prot", ["port"].into_iter()), Some("port"));
        assert_eq!(nearest("c9", ["c1", "c2"].into_iter()), None);
        assert_eq!(nearest("c", ["c1", "c2"].into_iter()), None);
        assert_eq!(nearest("c", ["c1"].into_iter()), Some("c1"));
    }
}
