//! What to do when a child has ended: pure, told the time.

use crate::component::error::Kind;
use crate::flow::watched::Exit;
use cluster::backoff::Backoff;
use cluster::intensity::{Intensity, Limits, Verdict};
use cluster::time::Time;
use std::time::Duration;

/// How long a parked child stays so before it is tried again.
pub const PARKED: Duration = Duration::from_secs(300);

/// The answer to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It has done its work.
    LeaveStopped,
    /// An expected failure: start again after this wait.
    Retry(Duration),
    /// A crash: start again after this wait.
    Restart(Duration),
    /// Too many crashes, or nothing but a new configuration helps: try again after this wait, if at all.
    Park(Option<Duration>),
    /// Too many crashes of a supervisor: give up together with it.
    Escalate,
}

/// The history of one child.
#[derive(Debug)]
pub struct Policy {
    leaf: bool,
    crashes: Intensity,
    retries: Backoff,
    started: Time,
}

impl Policy {
    /// A child that has not failed yet.
    pub fn new(leaf: bool, seed: u64) -> Self {
        let limits = Limits::default();
        Self {
            leaf,
            crashes: Intensity::new(limits, seed),
            // Flume tries a component that cannot start every 3 s.
            retries: Backoff::new(limits.backoff_first, Duration::from_secs(3), seed.wrapping_add(1)),
            started: Time::ZERO,
        }
    }

    /// It has been started.
    pub fn started(&mut self, now: Time) {
        self.started = now;
    }

    /// It has ended.
    pub fn ended(&mut self, now: Time, exit: &Exit) -> Answer {
        let kind = match exit {
            Exit::Finished => return Answer::LeaveStopped,
            Exit::Panicked(_) => Kind::Bug,
            Exit::Failed(error) => error.kind(),
        };
        match kind {
            Kind::RetryAfter(after) => {
                if now - self.started >= Limits::default().period {
                    self.retries.reset();
                }
                Answer::Retry(self.retries.fail().max(after))
            }
            Kind::Fatal => Answer::Escalate,
            Kind::Reconfigure if self.leaf => Answer::Park(None),
            Kind::RejectEvents | Kind::Reconfigure | Kind::Bug => {
                match self.crashes.failed(now, self.started) {
                    Verdict::Restart(wait) => Answer::Restart(wait),
                    Verdict::Exceeded if self.leaf => Answer::Park(Some(PARKED)),
                    Verdict::Exceeded => Answer::Escalate,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::error::RunError;

    #[test]
    fn what_is_fatal_ends_leaf_and_supervisor_at_once() {
        for leaf in [true, false] {
            let mut policy = Policy::new(leaf, 1);
            let fatal = Exit::Failed(RunError::fatal("the disk is gone"));
            assert_eq!(policy.ended(Time::ZERO, &fatal), Answer::Escalate);
        }
    }

    fn panicked() -> Exit {
        Exit::Panicked("boom".into())
    }

    #[test]
    fn a_leaf_that_crashes_too_often_is_parked_and_tried_again() {
        let mut policy = Policy::new(true, 1);
        for n in 0..5 {
            assert!(matches!(
                policy.ended(Time::from_nanos(n), &panicked()),
                Answer::Restart(_)
            ));
        }
        assert_eq!(
            policy.ended(Time::from_nanos(9), &panicked()),
            Answer::Park(Some(PARKED))
        );
    }

    #[test]
    fn a_supervisor_that_crashes_too_often_escalates() {
        let mut policy = Policy::new(false, 1);
        let answers: Vec<Answer> = (0..6)
            .map(|n| policy.ended(Time::from_nanos(n), &panicked()))
            .collect();
        assert_eq!(answers[5], Answer::Escalate);
    }

    #[test]
    fn expected_errors_are_never_counted_and_wait_at_least_what_they_ask_for() {
        let mut policy = Policy::new(true, 1);
        let busy = Exit::Failed(RunError::retry_after(Duration::from_millis(40), "address in use"));
        for n in 0..100 {
            let Answer::Retry(wait) = policy.ended(Time::from_nanos(n), &busy) else {
                panic!("attempt {n}")
            };
            assert!(
                wait >= Duration::from_millis(40) && wait <= Duration::from_secs(3),
                "{wait:?}"
            );
        }
    }

    #[test]
    fn what_only_a_new_configuration_mends_is_parked_for_good() {
        let exit = Exit::Failed(RunError::reconfigure("no such charset"));
        assert_eq!(Policy::new(true, 1).ended(Time::ZERO, &exit), Answer::Park(None));
        assert_eq!(
            Policy::new(true, 1).ended(Time::ZERO, &Exit::Finished),
            Answer::LeaveStopped
        );
    }
}
