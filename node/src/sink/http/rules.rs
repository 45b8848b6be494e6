//! What to make of a status: three tables of the same form. An exact status beats its class, the class the default.

use crate::component::keys::{Keys, Severity};
use std::collections::BTreeMap;

/// What becomes of an event, and of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The event is put back; else it is gone.
    pub roll_back: bool,
    /// The next request waits.
    pub back_off: bool,
    /// The event counts as delivered.
    pub count: bool,
}

/// `rollback`, `backoff`, `incrementMetrics` and their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    rollback: Table,
    backoff: Table,
    increment_metrics: Table,
}

impl Rules {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        Self {
            rollback: Table::read(keys, "rollback.", "defaultRollback", true),
            backoff: Table::read(keys, "backoff.", "defaultBackoff", true),
            increment_metrics: Table::read(keys, "incrementMetrics.", "defaultIncrementMetrics", false),
        }
    }

    /// What a status means.
    pub fn judge(&self, status: u16) -> Verdict {
        Verdict {
            roll_back: self.rollback.of(status),
            back_off: self.backoff.of(status),
            count: self.increment_metrics.of(status),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Table {
    /// By status.
    exact: BTreeMap<u16, bool>,
    /// By first digit.
    classes: BTreeMap<u16, bool>,
    default: bool,
}

/// Which answers a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Exact(u16),
    Class(u16),
}

impl Table {
    fn read(keys: &mut Keys, prefix: &str, default_key: &str, default: bool) -> Self {
        let mut table = Self {
            exact: BTreeMap::new(),
            classes: BTreeMap::new(),
            default: keys.flag(default_key, default),
        };
        let mut below = keys.below(prefix);
        let names: Vec<String> = below.given().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            match code(&name) {
                Some(Code::Exact(status)) => _ = table.exact.insert(status, below.flag(&name, false)),
                Some(Code::Class(first)) => {
                    let right = format!("{first}XX");
                    let on = below.flag(&name, false);
                    if name != right {
                        let message = format!("Flume reads only \"{prefix}{right}\"; understood as that");
                        below.note(Severity::Warning, &name, "other-spelling", message);
                        table.classes.entry(first).or_insert(on);
                    } else {
                        table.classes.insert(first, on);
                    }
                }
                None => {
                    let _ = below.text(&name);
                    let message =
                        "no status: expected such as 503, or a class such as 5XX; ignored".to_owned();
                    below.note(Severity::Warning, &name, "unknown-key", message);
                }
            }
        }
        keys.absorb(below);
        table
    }

    fn of(&self, status: u16) -> bool {
        let class = || self.classes.get(&(status / 100)).copied();
        self.exact
            .get(&status)
            .copied()
            .or_else(class)
            .unwrap_or(self.default)
    }
}

fn code(name: &str) -> Option<Code> {
    let [first @ b'1'..=b'9', rest @ ..] = name.as_bytes() else {
        return None;
    };
    if rest.eq_ignore_ascii_case(b"XX") {
        return Some(Code::Class(u16::from(first - b'0')));
    }
    let is_status = rest.len() == 2 && rest.iter().all(u8::is_ascii_digit);
    name.parse().ok().filter(|_| is_status).map(Code::Exact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::keys::Finding;

    fn rules(pairs: &[(&str, &str)]) -> (Rules, Vec<String>) {
        let mut keys = Keys::of("k1", pairs);
        let rules = Rules::read(&mut keys);
        (rules, keys.finish().iter().map(Finding::to_string).collect())
    }

    #[test]
    fn without_settings_every_answer_puts_the_event_back() {
        let (rules, found) = rules(&[]);
        let expected = Verdict {
            roll_back: true,
            back_off: true,
            count: false,
        };
        assert_eq!((rules.judge(200), rules.judge(503)), (expected, expected));
        assert!(found.is_empty());
    }

    #[test]
    fn an_exact_status_beats_its_class_and_the_class_the_default() {
        let (rules, found) = rules(&[
            ("defaultRollback", "true"),
            ("rollback.5XX", "false"),
            ("rollback.503", "true"),
            ("backoff.404", "false"),
            ("defaultIncrementMetrics", "false"),
            ("incrementMetrics.2XX", "true"),
        ]);
        assert!(found.is_empty(), "{found:?}");
        assert!(rules.judge(404).roll_back && rules.judge(503).roll_back);
        assert!(!rules.judge(500).roll_back && !rules.judge(599).roll_back);
        assert!(rules.judge(400).back_off && !rules.judge(404).back_off);
        assert!(rules.judge(204).count && !rules.judge(302).count);
    }

    #[test]
    fn codes_that_are_none_are_named_and_small_letters_understood() {
        let (rules, found) = rules(&[
            ("rollback.2xx", "false"),
            ("rollback.20X", "false"),
            ("rollback.2000", "false"),
            ("backoff.200", "no"),
        ]);
        assert!(!rules.judge(201).roll_back && !rules.judge(200).back_off);
        assert_eq!(
            found,
            [
                "(given):0: warning[unknown-key]: k1: rollback.2000: no status: expected such as 503, or a class such as 5XX; ignored",
                "(given):0: warning[unknown-key]: k1: rollback.20X: no status: expected such as 503, or a class such as 5XX; ignored",
                "(given):0: warning[other-spelling]: k1: rollback.2xx: Flume reads only \"rollback.2XX\"; understood as that",
                "(given):0: warning[bad-boolean]: k1: backoff.200: expected true or false, found \"no\"; false is used, as in Flume",
            ]
        );
    }
}
