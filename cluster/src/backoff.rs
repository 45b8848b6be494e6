//! Exponential back-off with full jitter: the wait before the n-th attempt is drawn evenly from zero to
//! `first * 2^n`, capped, so that many components that lost the same peer do not come back in step.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Waits that grow with every failure and start anew after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
    rng: SmallRng,
}

impl Backoff {
    /// `first` is the longest first wait, `cap` the longest of all; the same seed gives the same waits.
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            first,
            cap,
            failures: 0,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Counts a failure and draws the wait before the next attempt.
    pub fn fail(&mut self) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(self.rng.random::<f64>())
    }

    /// The longest that the next wait can be.
    pub fn ceiling(&self) -> Duration {
        self.first
            .saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.cap)
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A success: the next failure waits as the first one did.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(30);

    #[test]
    fn ceilings_double_up_to_the_cap_and_never_overflow() {
        let mut backoff = Backoff::new(FIRST, CAP, 1);
        let ceilings: Vec<u128> = (0..12)
            .map(|_| {
                let ceiling = backoff.ceiling();
                assert!(backoff.fail() <= ceiling);
                ceiling.as_millis()
            })
            .collect();
        assert_eq!(
            ceilings,
            [
                100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000
            ]
        );
        (0..100).for_each(|_| assert!(backoff.fail() <= CAP));
        backoff.reset();
        assert_eq!(backoff.ceiling(), FIRST);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_one_others() {
        let waits = |seed| {
            let mut backoff = Backoff::new(FIRST, CAP, seed);
            (0..8).map(|_| backoff.fail()).collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
