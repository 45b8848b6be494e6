//! When to look again: often while lines come, hardly ever while none do, and never so often that looking costs more
//! than a twentieth of the time.
//!
//! ```text
//!   lines came --> poll the files that had some, every 10 ms --> 100 ms of silence --> arm inotify, look once more
//!       ^                                                                                     |
//!       '----- look at everything <----- a ring, or 1, 2, 3, 4, 5 s (Flume's back-off) <------'
//! ```
//! inotify is only armed in silence, because a writer at full speed would ring it a million times a second. Where it
//! cannot be armed the polls stay at a second. Flume polls after 1, 2, ... 5 s and has nothing else.

use std::time::Duration;

/// Between two looks at files that had lines just now.
const BUSY: Duration = Duration::from_millis(10);
/// After so long without lines there is silence.
const SILENCE: Duration = Duration::from_millis(100);
/// Between two looks at everything while some files are busy.
const EVERYTHING: Duration = Duration::from_millis(100);
/// The longest between two looks at everything where nothing rings.
const DEAF: Duration = Duration::from_secs(1);
/// A look may cost this part of the time until the next one.
const COST_PART: u32 = 20;

/// Decides how long to wait. All times are durations since some fixed moment.
#[derive(Debug)]
pub(super) struct Pace {
    increment: Duration,
    max: Duration,
    lines_came: Duration,
    looked: Duration,
    cost: Duration,
    /// Looks at everything in silence that found nothing.
    in_vain: u32,
    armed: bool,
    arm_from: Duration,
}

/// What to do when there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Wait so long.
    Sleep(Duration),
    /// Wait so long, or for a ring.
    Listen(Duration),
    /// Arm inotify, call [`Pace::armed`], and look at everything once more.
    Arm,
}

impl Pace {
    /// With Flume's back-off for polls.
    pub(super) fn new(increment: Duration, max: Duration) -> Self {
        Self {
            increment,
            max,
            lines_came: Duration::ZERO,
            looked: Duration::ZERO,
            cost: Duration::ZERO,
            in_vain: 0,
            armed: false,
            arm_from: Duration::ZERO,
        }
    }

    /// Lines were read.
    pub(super) fn lines_came(&mut self, now: Duration) {
        self.lines_came = now;
        self.in_vain = 0;
    }

    /// Everything was looked at, which took `cost`.
    pub(super) fn looked(&mut self, now: Duration, cost: Duration) {
        (self.looked, self.cost) = (now, cost);
        self.in_vain = self.in_vain.saturating_add(1);
    }

    /// Whether everything is to be looked at; if not, only what had lines just now.
    pub(super) fn everything_is_due(&self, now: Duration) -> bool {
        let pause = if self.armed {
            self.poll()
        } else {
            EVERYTHING.max(self.cost * COST_PART)
        };
        now >= self.looked + pause
    }

    /// Whether folders may be listed again that seem to have changed.
    pub(super) fn may_list(&self, now: Duration) -> bool {
        now >= self.looked + self.cost * COST_PART
    }

    /// inotify is armed, or cannot be.
    pub(super) fn armed(&mut self, now: Duration, armed: bool) {
        self.armed = armed;
        if !armed {
            self.arm_from = now + DEAF;
        }
    }

    /// It rang, or is not to ring for the time being: it is to be disarmed.
    pub(super) fn disarmed(&mut self, now: Duration) {
        self.armed = false;
        self.arm_from = now + SILENCE.max(self.cost * COST_PART);
        self.in_vain = 0;
    }

    /// Whether it is armed.
    pub(super) fn is_armed(&self) -> bool {
        self.armed
    }

    /// What to do when nothing was found to read.
    pub(super) fn rest(&self, now: Duration) -> Rest {
        if now < self.lines_came + SILENCE {
            return Rest::Sleep(BUSY);
        }
        if self.armed {
            return Rest::Listen((self.looked + self.poll()).saturating_sub(now));
        }
        if now >= self.arm_from {
            return Rest::Arm;
        }
        let until = (self.looked + self.poll().min(DEAF)).min(self.arm_from);
        Rest::Sleep(until.saturating_sub(now).max(BUSY))
    }

    fn poll(&self) -> Duration {
        self.increment.saturating_mul(self.in_vain.max(1)).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace() -> Pace {
        Pace::new(1_000 * MS, 5_000 * MS)
    }

    #[test]
    fn while_lines_come_it_polls_and_never_listens() {
        let mut pace = pace();
        pace.lines_came(1_000 * MS);
        pace.looked(1_000 * MS, MS);
        assert_eq!(pace.rest(1_000 * MS), Rest::Sleep(BUSY));
        assert_eq!(pace.rest(1_099 * MS), Rest::Sleep(BUSY));
        assert!(!pace.everything_is_due(1_099 * MS));
        assert!(pace.everything_is_due(1_100 * MS));
        assert_eq!(pace.rest(1_100 * MS), Rest::Arm);
    }

    #[test]
    fn in_silence_it_listens_and_polls_as_flume_does() {
        let (mut pace, mut now) = (pace(), 1_000 * MS);
        assert_eq!(pace.rest(now), Rest::Arm);
        pace.armed(now, true);
        let mut waits = Vec::new();
        for _ in 0..7 {
            pace.looked(now, MS);
            let Rest::Listen(wait) = pace.rest(now) else {
                panic!("{pace:?}")
            };
            waits.push(wait.as_millis());
            assert!(!pace.everything_is_due(now + wait - MS));
            now += wait;
            assert!(pace.everything_is_due(now));
        }
        assert_eq!(waits, [1_000, 2_000, 3_000, 4_000, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn rings_for_nothing_are_answered_at_a_bounded_rate() {
        let mut pace = pace();
        let now = 1_000 * MS;
        pace.armed(now, true);
        pace.looked(now, 30 * MS);
        pace.disarmed(now);
        assert_eq!(pace.rest(now), Rest::Sleep(600 * MS));
        assert!(!pace.may_list(now + 599 * MS));
        assert_eq!(pace.rest(now + 600 * MS), Rest::Arm);
    }

    #[test]
    fn where_nothing_rings_it_polls_every_second() {
        let mut pace = pace();
        let mut now = 1_000 * MS;
        pace.armed(now, false);
        for _ in 0..5 {
            pace.looked(now, MS);
            assert_eq!(pace.rest(now), Rest::Sleep(1_000 * MS));
            now += 1_000 * MS;
            assert_eq!(pace.rest(now), Rest::Arm, "and tries again");
            pace.armed(now, false);
        }
    }
}
