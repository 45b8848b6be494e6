//! A sink group's decisions: which of its sinks has the next turn.
//!
//! Two machines, one for each of Flume's processors that choose: [`failover`] and [`balance`]. Both speak of sinks
//! by their place in the group. Whoever drives them gives the turns that `poll` asks for, tells with `ended` how
//! each one ended, and comes back at `poll_timeout` at the latest.
//!
//! The sinks of a group usually read one channel. If they read several, each channel is served on its own: only
//! the sinks that read it can empty it, so nothing that happens at another channel may hold it up. (Flume gives
//! one sink at a time a turn, so that an idle or failing sink starves the channels of the others.)
//!
//! Source: `flume/channels-and-sinks.md` 4, `flume/runtime.md` 7.

pub mod balance;
pub mod failover;
#[cfg(test)]
mod world;

use std::time::Duration;

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Events were delivered.
    Delivered,
    /// The sink was ready, and there was nothing to deliver.
    Empty,
    /// The turn failed and its events are back in their channel. The sink does not want to be asked again sooner
    /// than this.
    Failed(Duration),
}

/// What the end of a turn means for its sink, for those who look on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The sink failed, for the n-th time in a row, and is asked again after this wait at the earliest.
    Failed(u32, Duration),
    /// The sink had failed and is well again.
    Recovered,
}

/// One second, doubled `n` times, but at most `cap`: Flume's penalty for the n-th failure in a row, for any `n`.
fn penalty(n: u32, cap: Duration) -> Duration {
    let factor = 1u64.checked_shl(n).unwrap_or(u64::MAX);
    Duration::from_millis(factor.saturating_mul(1_000)).min(cap)
}

/// The distinct channels of a group's sinks, in the order of their first sink.
fn distinct(channels: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut all = Vec::new();
    for channel in channels {
        if !all.contains(&channel) {
            all.push(channel);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_double_up_to_the_cap_and_never_overflow() {
        let cap = Duration::from_secs(30);
        let seconds: Vec<u64> = (1..=6).map(|n| penalty(n, cap).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 30, 30]);
        // Where Flume's 32 bits came out negative or zero and it tried again without a pause.
        for n in [21, 22, 28, 31, 32, 54, 63, 64, 65, u32::MAX] {
            assert_eq!(penalty(n, cap), cap, "failure {n}");
        }
        assert_eq!(penalty(1, Duration::from_millis(5)), Duration::from_millis(5));
    }
}
