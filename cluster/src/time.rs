//! Time as a number that comes in. Machines never ask for it.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Nanoseconds since some fixed moment; only differences mean anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The fixed moment.
    pub const ZERO: Time = Time(0);

    /// So many nanoseconds after the fixed moment.
    pub const fn from_nanos(nanos: u64) -> Self {
        Time(nanos)
    }

    /// Nanoseconds since the fixed moment.
    pub const fn nanos(self) -> u64 {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, by: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub for Time {
    type Output = Duration;

    /// How long after `earlier`; zero if it is not earlier.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_never_go_below_zero_and_sums_never_overflow() {
        let t = Time::ZERO + Duration::from_millis(5);
        assert_eq!(t.nanos(), 5_000_000);
        assert_eq!(Time::ZERO - t, Duration::ZERO);
        assert_eq!(t - Time::ZERO, Duration::from_millis(5));
        assert_eq!((Time::from_nanos(u64::MAX) + Duration::MAX).nanos(), u64::MAX);
    }
}
