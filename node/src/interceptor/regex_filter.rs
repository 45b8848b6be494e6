//! `regex_filter`: keeps the events in whose body a Java pattern is found, or drops them; Flume's
//! RegexFilteringInterceptor.
//!
//! The body is read as UTF-8 where it stands; bytes that are no UTF-8 count as U+FFFD, as in Java. What is dropped is
//! acknowledged to the sender. An event on which the pattern gives up is kept in either case, with a line in the log:
//! nobody knows whether it was to go. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::java::regex::{GaveUp, Regex};
use proto::event::Batch;
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "regex_filter",
    classes: &["org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys).build(ctx.name.clone())?)),
};

/// Settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `regex`: found anywhere in the body; default `.*`. None if it is wrong.
    pub regex: Option<Regex>,
    /// `excludeEvents`: matching events are dropped instead of kept; default false.
    pub exclude_events: bool,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        // Whoever chose this interceptor has read it.
        let _ = keys.text("type");
        let pattern = keys.text("regex").unwrap_or_else(|| ".*".to_owned());
        let regex = Regex::new(&pattern);
        if let Err(error) = &regex {
            keys.wrong("regex", &format!("expected a Java regular expression: {error}"));
        }
        Self {
            regex: regex.ok(),
            exclude_events: keys.flag("excludeEvents", false),
        }
    }

    /// The interceptor of the source of this name.
    pub fn build(self, source: Arc<str>) -> Result<RegexFilter, BuildError> {
        let regex = self
            .regex
            .ok_or_else(|| BuildError("regex_filter: no pattern".to_owned()))?;
        Ok(RegexFilter {
            source,
            regex,
            exclude_events: self.exclude_events,
        })
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct RegexFilter {
    source: Arc<str>,
    regex: Regex,
    exclude_events: bool,
}

impl Interceptor for RegexFilter {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let mut given_up: Option<(GaveUp, usize)> = None;
        let kept = batch.filtered(|event| {
            let found = match std::str::from_utf8(event.body()) {
                Ok(text) => self.regex.try_found_in(text),
                Err(_) => self.regex.try_found_in(&String::from_utf8_lossy(event.body())),
            };
            found.map_or_else(
                |why| {
                    given_up = Some((why, given_up.map_or(0, |(_, n)| n) + 1));
                    true
                },
                |found| found != self.exclude_events,
            )
        });
        if let Some((why, events)) = given_up {
            tracing::warn!(source = %self.source, events, %why, "regex_filter: events are kept undecided");
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(pairs: &[(&str, &str)], bodies: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let interceptor = Config::read(&mut keys).build("r1".into()).unwrap();
        assert_eq!(keys.finish(), []);
        let batch = interceptor.intercept(bodies.iter().copied().collect()).unwrap();
        batch.iter().map(|e| e.body().to_vec()).collect()
    }

    #[test]
    fn events_in_which_the_pattern_is_found_are_kept() {
        let pairs = [("regex", "^[0-9].*$")];
        assert_eq!(
            kept(&pairs, &[b"666 is http", b"this is http", b""]),
            [b"666 is http"]
        );
        assert_eq!(kept(&[("regex", "is")], &[b"this", b"that"]), [b"this"]);
        assert_eq!(kept(&[], &[b"a", b"", b"\n"]).len(), 3);
    }

    #[test]
    fn events_in_which_the_pattern_is_found_are_dropped_if_told_so() {
        let pairs = [("regex", "[13]"), ("excludeEvents", "true")];
        assert_eq!(
            kept(&pairs, &[b"n=0", b"n=1", b"n=2", b"n=3", b"n=4"]),
            [b"n=0", b"n=2", b"n=4"]
        );
    }

    #[test]
    fn what_is_no_text_is_searched_all_the_same() {
        assert_eq!(
            kept(&[("regex", "^.x$")], &[b"\xffx", b"\xff\xffx", b"x"]),
            [b"\xffx"]
        );
    }

    #[test]
    fn an_event_on_which_the_pattern_gives_up_is_kept() {
        let body = vec![b'a'; 64];
        for exclude in ["true", "false"] {
            let pairs = [("regex", "^(?:(?:a|a)*)*(?!b)c$"), ("excludeEvents", exclude)];
            assert_eq!(kept(&pairs, &[&body]), [&body[..]]);
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        let mut keys = Keys::of("source r1 (seq)", &[("regex", "[a-")]);
        assert!(Config::read(&mut keys).build("r1".into()).is_err());
        assert_eq!(
            keys.finish()[0].to_string(),
            "(given):0: error[bad-value]: source r1 (seq): regex: expected a Java regular expression: a class \
             without closing ] at character 1 of \"[a-\""
        );
    }
}
