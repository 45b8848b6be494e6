//! Restart intensity, as in Erlang/OTP: at most so many failures in a period, then something above must decide.

use crate::backoff::Backoff;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// What a supervisor tolerates of one child (or of all its children together).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Failures tolerated within `period`; default 5.
    pub restarts: usize,
    /// Default 60 s; also how long a child must be healthy for its back-off to start anew.
    pub period: Duration,
    /// Longest first wait before a restart; default 100 ms.
    pub backoff_first: Duration,
    /// Longest wait of all; default 30 s.
    pub backoff_cap: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            restarts: 5,
            period: Duration::from_secs(60),
            backoff_first: Duration::from_millis(100),
            backoff_cap: Duration::from_secs(30),
        }
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after this wait.
    Restart(Duration),
    /// Too many failures in the period.
    Exceeded,
}

/// Counts failures and decides; one for each child.
#[derive(Debug, Clone)]
pub struct Intensity {
    limits: Limits,
    failures: VecDeque<Time>,
    backoff: Backoff,
}

impl Intensity {
    /// No failure yet.
    pub fn new(limits: Limits, seed: u64) -> Self {
        let backoff = Backoff::new(limits.backoff_first, limits.backoff_cap, seed);
        Self {
            limits,
            failures: VecDeque::new(),
            backoff,
        }
    }

    /// A failure at `now`, of a child that had started at `started`.
    pub fn failed(&mut self, now: Time, started: Time) -> Verdict {
        if now - started >= self.limits.period {
            self.backoff.reset();
        }
        while self
            .failures
            .front()
            .is_some_and(|&then| now - then >= self.limits.period)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() > self.limits.restarts {
            self.failures.clear();
            self.backoff.reset();
            return Verdict::Exceeded;
        }
        Verdict::Restart(self.backoff.fail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn the_sixth_failure_within_a_minute_is_one_too_many() {
        let mut intensity = Intensity::new(Limits::default(), 1);
        for n in 0..5 {
            assert!(matches!(intensity.failed(at(n), at(n)), Verdict::Restart(_)));
        }
        assert_eq!(intensity.failed(at(5), at(5)), Verdict::Exceeded);
        assert!(
            matches!(intensity.failed(at(6), at(6)), Verdict::Restart(_)),
            "counting starts anew"
        );
    }

    #[test]
    fn failures_of_the_last_period_are_forgotten() {
        let mut intensity = Intensity::new(Limits::default(), 1);
        for n in 0..50 {
            assert!(
                matches!(intensity.failed(at(n * 13), at(n * 13)), Verdict::Restart(_)),
                "failure {n}"
            );
        }
    }

    #[test]
    fn a_child_that_was_healthy_for_a_period_starts_with_the_shortest_wait() {
        let mut intensity = Intensity::new(Limits::default(), 3);
        for n in 0..4 {
            intensity.failed(at(n), at(n));
        }
        let Verdict::Restart(wait) = intensity.failed(at(100), at(30)) else {
            panic!("not exceeded")
        };
        assert!(wait <= Limits::default().backoff_first);
    }
}
