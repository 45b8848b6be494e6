//! `remove_header`: takes headers away, by name, by a list of names or by a pattern; Flume's RemoveHeaderInterceptor.
//!
//! Any combination of the three; none of them is a warning, as nothing is removed then. The pattern must match the whole
//! name. Each name that occurs in a batch is decided once, and removed with one edit from all events. A pattern that
//! gives up on a name leaves it. It cannot fail. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::java::regex::Regex;
use proto::event::Batch;
use std::collections::{BTreeSet, HashMap};

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "remove_header",
    classes: &["org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// What stands between the names of a list.
const SEPARATOR: &str = r"\s*,\s*";

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `withName`, and the parts of `fromList` between matches of `fromListSeparator` (default `\s*,\s*`).
    pub names: BTreeSet<String>,
    /// `matching`: the pattern of whole names; default none.
    pub matching: Option<Regex>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        // Whoever chose this interceptor has read it.
        let _ = keys.text("type");
        let mut names: BTreeSet<String> = keys.text("withName").into_iter().collect();
        let separator = keys
            .text("fromListSeparator")
            .unwrap_or_else(|| SEPARATOR.to_owned());
        let separator = pattern(keys, "fromListSeparator", &separator);
        if let (Some(list), Some(separator)) = (keys.text("fromList"), separator) {
            names.extend(separator.split(&list).into_iter().map(str::to_owned));
        }
        let given = keys.text("matching");
        let matching = given
            .as_deref()
            .and_then(|given| pattern(keys, "matching", given));
        if names.is_empty() && given.is_none() {
            let message = "neither withName nor fromList nor matching is there: nothing is removed";
            keys.warn("withName", "no-effect", message.to_owned());
        }
        Self { names, matching }
    }

    /// The interceptor.
    pub fn build(self) -> Result<RemoveHeader, BuildError> {
        Ok(RemoveHeader(self))
    }
}

fn pattern(keys: &mut Keys, key: &str, text: &str) -> Option<Regex> {
    match Regex::new(text) {
        Ok(regex) => Some(regex),
        Err(error) => {
            keys.wrong(key, &format!("expected a Java regular expression: {error}"));
            None
        }
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct RemoveHeader(Config);

impl RemoveHeader {
    fn removes(&self, name: &str) -> bool {
        let matching = self.0.matching.as_ref();
        self.0.names.contains(name) || matching.is_some_and(|pattern| pattern.matches(name))
    }
}

impl Interceptor for RemoveHeader {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let mut decided: HashMap<&str, bool> = HashMap::new();
        for (name, _) in batch.iter().flat_map(|event| event.headers()) {
            decided.entry(name).or_insert_with(|| self.removes(name));
        }
        let removed = decided.into_iter().filter(|(_, removed)| *removed);
        let removed: Vec<String> = removed.map(|(name, _)| name.to_owned()).collect();
        if removed.is_empty() {
            return Ok(batch);
        }
        let mut edit = batch.edit();
        removed.iter().for_each(|name| edit.remove_all(name));
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{BatchBuilder, EventLimits};

    fn left(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let interceptor = Config::read(&mut keys).build().unwrap();
        let findings = keys.finish().iter().map(|f| f.to_string()).collect();
        let mut builder = BatchBuilder::new(EventLimits::default());
        let headers = [("w", "1"), ("l1", "2"), ("l2", "3"), ("x1", "4"), ("yx", "5")];
        builder.push(headers, b"a").unwrap();
        builder.push([("x2", "6"), ("z", "7")], b"b").unwrap();
        let batch = interceptor.intercept(builder.finish()).unwrap();
        let names =
            |e: proto::event::EventView<'_>| e.headers().map(|(k, _)| k).collect::<Vec<_>>().join(" ");
        (batch.iter().map(names).collect(), findings)
    }

    #[test]
    fn headers_go_by_name_by_list_and_by_pattern() {
        let all = [("withName", "w"), ("fromList", "l1 , l2"), ("matching", "x.*")];
        for (pairs, first, second) in [
            (&all[..], "yx", "z"),
            (&[("withName", "W")], "w l1 l2 x1 yx", "x2 z"),
            (
                &[("fromList", "w;z"), ("fromListSeparator", ";")],
                "l1 l2 x1 yx",
                "x2",
            ),
            (&[("matching", "[a-z]\\d")], "w yx", "z"),
        ] {
            assert_eq!(
                left(pairs),
                (vec![first.into(), second.into()], vec![]),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn what_removes_nothing_and_what_is_no_pattern_is_named() {
        assert_eq!(
            left(&[]).1,
            [
                "(given):0: warning[no-effect]: source r1 (seq): withName: neither withName nor fromList nor \
                 matching is there: nothing is removed"
            ]
        );
        assert_eq!(
            left(&[("matching", "*x")]).1,
            [
                "(given):0: error[bad-value]: source r1 (seq): matching: expected a Java regular expression: * \
                 without anything to repeat at character 1 of \"*x\""
            ]
        );
    }
}
