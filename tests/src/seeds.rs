//! Randomised tests: a number decides everything, `MILLRACE_SEEDS=from..to` chooses others than those of a plain run, and
//! a number that fails is printed with the command that runs it again.

use std::env;
use std::io::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Failures after which a test gives up.
const FAILURES_MAX: usize = 5;

/// The seeds that are asked for from outside, else those of a plain run.
///
/// # Panics
/// When `MILLRACE_SEEDS` is not `from..to`.
pub fn chosen(plain: Range<u64>) -> Range<u64> {
    let Ok(text) = env::var("MILLRACE_SEEDS") else {
        return plain;
    };
    parse(&text).unwrap_or_else(|| panic!("MILLRACE_SEEDS: expected from..to, found \"{text}\""))
}

fn parse(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.trim().parse().ok()?..to.trim().parse().ok()?)
}

/// Runs a test for each seed, says how to run one again that failed, and ends with `N passed, N failed`. The test is
/// named as cargo knows it: the target and the path of its function.
///
/// # Panics
/// When a seed failed, after all others have run (or a few have failed).
pub fn each(target: &str, test: &str, plain: Range<u64>, mut run: impl FnMut(u64)) {
    let seeds = chosen(plain);
    say(&format!("{test}: MILLRACE_SEEDS={}..{}", seeds.start, seeds.end));
    let (mut passed, mut failed) = (0, 0);
    for seed in seeds {
        if catch_unwind(AssertUnwindSafe(|| run(seed))).is_ok() {
            passed += 1;
            continue;
        }
        failed += 1;
        say(&format!(
            "{test}: seed {seed} failed; again: MILLRACE_SEEDS={seed}..{} cargo test -p tests --test {target} {test}",
            seed + 1
        ));
        if failed == FAILURES_MAX {
            break;
        }
    }
    say(&format!("{test}: {passed} passed, {failed} failed"));
    assert_eq!(failed, 0, "{test}");
}

/// Prints where the test harness does not keep it back: a campaign of hours is watched.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range() {
        assert_eq!(parse("3..5"), Some(3..5));
        assert_eq!(parse("3.. 5"), Some(3..5));
        assert_eq!(parse("3"), None);
        assert_eq!(parse("a..5"), None);
    }

    #[test]
    fn a_failing_seed_fails_the_test_after_the_others_have_run() {
        let mut ran = Vec::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            each("lib", "a_test", 0..3, |seed| {
                ran.push(seed);
                assert_ne!(seed, 1, "not this one");
            });
        }));
        assert!(outcome.is_err());
        assert_eq!(ran, [0, 1, 2]);
    }
}
