//! Failover: the live sink with the highest priority has all turns.
//!
//! ```text
//!            turn failed: penalty 2, 4, 8, 16, 30 s (maxpenalty)
//!      live ----------------------------------------------------> failed
//!       ^                                                            |
//!       '------- a probe delivered, or found nothing to deliver <----'  penalty over: a probe, beside
//! ```
//!
//! A sink whose penalty is over is probed *beside* the turns of the sink that serves meanwhile: a probe may take as
//! long as a connect timeout, and nobody waits for it. Once well, the sink is back at its priority at once, and the
//! one that stood in for it is told to take nothing more.
//!
//! A probe that found nothing to deliver counts as well, for otherwise an idle sink would never come back (Flume:
//! it stays failed and starves the others). It proves less than a delivery, though: the number of failures in a row
//! is forgotten only after a delivery, so that a sink which fails every event has growing penalties all the same.

use super::{Change, Ended, distinct, penalty};
use crate::time::Time;
use std::time::Duration;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This sink goes on with turns until another step says otherwise.
    Serve(usize),
    /// One turn, to see whether the sink is well.
    Probe(usize),
    /// A better sink is back: this one takes nothing more. How its turn ended need not be told.
    Withdraw(usize),
}

/// One sink of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The higher, the sooner; the first one given wins a tie.
    pub priority: i32,
    /// The channel that it reads, as a number.
    pub channel: usize,
}

/// The machine. Call in this order: [`poll`](Self::poll) until `None`, wait for the end of a turn or for
/// [`poll_timeout`](Self::poll_timeout), [`ended`](Self::ended).
#[derive(Debug, Clone)]
pub struct Failover {
    sinks: Vec<Sink>,
    /// Sinks by falling priority.
    order: Vec<usize>,
    channels: Vec<usize>,
    penalty_max: Duration,
}

#[derive(Debug, Clone)]
struct Sink {
    channel: usize,
    /// Since the last delivery.
    failures: u32,
    /// Failed until a probe finds it well; when that may be.
    retry_at: Option<Time>,
    has_turn: bool,
}

impl Failover {
    /// All sinks are live. No penalty is longer than `penalty_max`.
    pub fn new(members: &[Member], penalty_max: Duration) -> Self {
        let sink = |member: &Member| Sink {
            channel: member.channel,
            failures: 0,
            retry_at: None,
            has_turn: false,
        };
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(members[*at].priority));
        Self {
            sinks: members.iter().map(sink).collect(),
            channels: distinct(order.iter().map(|at| members[*at].channel)),
            order,
            penalty_max,
        }
    }

    /// The next thing to do now, if there is any.
    pub fn poll(&mut self, now: Time) -> Option<Step> {
        for at in 0..self.channels.len() {
            if let Some(step) = self.serve(self.channels[at]) {
                return Some(step);
            }
        }
        let due = |sink: &Sink| !sink.has_turn && sink.retry_at.is_some_and(|at| at <= now);
        let probed = self.order.iter().copied().find(|at| due(&self.sinks[*at]))?;
        self.sinks[probed].has_turn = true;
        Some(Step::Probe(probed))
    }

    fn serve(&mut self, channel: usize) -> Option<Step> {
        let live = |sink: &Sink| sink.channel == channel && sink.retry_at.is_none();
        let mut order = self.order.iter().copied().filter(|at| live(&self.sinks[*at]));
        let best = order.next()?;
        if let Some(stand_in) = order.find(|at| self.sinks[*at].has_turn) {
            self.sinks[stand_in].has_turn = false;
            return Some(Step::Withdraw(stand_in));
        }
        if self.sinks[best].has_turn {
            return None;
        }
        self.sinks[best].has_turn = true;
        Some(Step::Serve(best))
    }

    /// When there is something to do at the latest, even if no turn ends.
    pub fn poll_timeout(&self) -> Option<Time> {
        let waiting = self.sinks.iter().filter(|sink| !sink.has_turn);
        waiting.filter_map(|sink| sink.retry_at).min()
    }

    /// A turn of this sink has ended.
    pub fn ended(&mut self, sink: usize, ended: Ended, now: Time) -> Option<Change> {
        let sink = &mut self.sinks[sink];
        sink.has_turn = false;
        match ended {
            Ended::Failed(not_before) => {
                sink.failures = sink.failures.saturating_add(1);
                let wait = penalty(sink.failures, self.penalty_max).max(not_before);
                sink.retry_at = Some(now + wait);
                Some(Change::Failed(sink.failures, wait))
            }
            Ended::Delivered | Ended::Empty => {
                if ended == Ended::Delivered {
                    sink.failures = 0;
                }
                sink.retry_at.take().map(|_| Change::Recovered)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::{Machine, World, seconds};
    use super::*;
    use proptest::prelude::*;

    const MAX: Duration = Duration::from_secs(30);
    const FAILED: Ended = Ended::Failed(Duration::ZERO);

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    /// Sinks of one channel.
    fn group(priorities: &[i32]) -> Failover {
        let member = |priority: &i32| Member {
            priority: *priority,
            channel: 0,
        };
        Failover::new(&priorities.iter().map(member).collect::<Vec<_>>(), MAX)
    }

    fn steps(machine: &mut Failover, now: Time) -> Vec<Step> {
        std::iter::from_fn(|| machine.poll(now)).collect()
    }

    #[test]
    fn the_highest_priority_serves_and_the_next_one_after_its_failure() {
        let mut group = group(&[5, 10, -3]);
        assert_eq!(steps(&mut group, at(0)), [Step::Serve(1)]);
        assert_eq!(group.ended(1, Ended::Delivered, at(0)), None);
        assert_eq!(steps(&mut group, at(0)), [Step::Serve(1)]);
        assert_eq!(
            group.ended(1, FAILED, at(0)),
            Some(Change::Failed(1, Duration::from_secs(2)))
        );
        assert_eq!(steps(&mut group, at(0)), [Step::Serve(0)]);
        group.ended(0, FAILED, at(0));
        assert_eq!(steps(&mut group, at(0)), [Step::Serve(2)]);
        group.ended(2, FAILED, at(0));
        assert_eq!(steps(&mut group, at(0)), [], "nothing left to failover to");
        assert_eq!(group.poll_timeout(), Some(at(2)));
    }

    #[test]
    fn penalties_are_those_of_flume_however_often_a_sink_fails() {
        let mut group = group(&[1]);
        let (mut now, mut waits) = (at(0), Vec::new());
        for _ in 0..100 {
            let step = group.poll(now);
            assert!(step.is_some(), "{now:?}");
            let Some(Change::Failed(_, wait)) = group.ended(0, FAILED, now) else {
                panic!("a failure is a failure");
            };
            assert_eq!(steps(&mut group, now), []);
            waits.push(wait.as_secs());
            now = now + wait;
        }
        assert_eq!(waits[..6], [2, 4, 8, 16, 30, 30]);
        assert!(waits[6..].iter().all(|wait| *wait == 30), "{waits:?}");
    }

    #[test]
    fn a_recovered_sink_takes_over_at_once_from_the_one_that_stood_in() {
        let mut group = group(&[10, 5]);
        steps(&mut group, at(0));
        group.ended(0, FAILED, at(0));
        assert_eq!(steps(&mut group, at(1)), [Step::Serve(1)]);
        assert_eq!(
            steps(&mut group, at(2)),
            [Step::Probe(0)],
            "beside the turn of the other"
        );
        assert_eq!(group.ended(0, Ended::Delivered, at(3)), Some(Change::Recovered));
        assert_eq!(steps(&mut group, at(3)), [Step::Withdraw(1), Step::Serve(0)]);
        assert_eq!(
            group.ended(0, FAILED, at(4)),
            Some(Change::Failed(1, Duration::from_secs(2))),
            "its past is forgotten"
        );
    }

    #[test]
    fn a_probe_that_hangs_holds_nobody_up() {
        let mut group = group(&[10, 5]);
        steps(&mut group, at(0));
        group.ended(0, FAILED, at(0));
        assert_eq!(steps(&mut group, at(2)), [Step::Serve(1), Step::Probe(0)]);
        for second in 3..22 {
            group.ended(1, Ended::Delivered, at(second));
            assert_eq!(steps(&mut group, at(second)), [Step::Serve(1)]);
        }
        group.ended(0, FAILED, at(22));
        assert_eq!(group.poll_timeout(), Some(at(26)));
    }

    #[test]
    fn a_sink_that_is_back_without_a_delivery_keeps_its_count_of_failures() {
        let mut group = group(&[10, 5]);
        steps(&mut group, at(0));
        group.ended(0, FAILED, at(0));
        steps(&mut group, at(2));
        assert_eq!(group.ended(0, Ended::Empty, at(2)), Some(Change::Recovered));
        assert_eq!(steps(&mut group, at(2)), [Step::Withdraw(1), Step::Serve(0)]);
        assert_eq!(
            group.ended(0, FAILED, at(2)),
            Some(Change::Failed(2, Duration::from_secs(4)))
        );
    }

    #[test]
    fn a_sink_that_asks_for_more_time_gets_it() {
        let mut group = group(&[1]);
        steps(&mut group, at(0));
        group.ended(0, Ended::Failed(Duration::from_secs(120)), at(0));
        assert_eq!(group.poll_timeout(), Some(at(120)));
    }

    #[test]
    fn sinks_of_different_channels_do_not_wait_for_each_other() {
        let member = |priority, channel| Member { priority, channel };
        let mut group = Failover::new(&[member(10, 7), member(5, 8), member(1, 7)], MAX);
        assert_eq!(steps(&mut group, at(0)), [Step::Serve(0), Step::Serve(1)]);
        group.ended(0, FAILED, at(0));
        assert_eq!(
            steps(&mut group, at(0)),
            [Step::Serve(2)],
            "it reads the same channel"
        );
        group.ended(1, Ended::Empty, at(1));
        assert_eq!(steps(&mut group, at(1)), [Step::Serve(1)]);
    }

    /// What upstream tests: priorities 3, 2, 1, one event a turn, sinks that fail after so many events.
    #[test]
    fn flumes_own_test_comes_out_as_in_flume() {
        let mut group = group(&[3, 2, 1]);
        let (mut room, mut written) = ([10, 50, 100], [0; 3]);
        let mut send = |group: &mut Failover, room: &mut [u32; 3], mut events: u32, now: Time| {
            while events > 0 {
                for step in steps(group, now) {
                    let (Step::Serve(sink) | Step::Probe(sink)) = step else {
                        continue;
                    };
                    let ended = match (room[sink], events) {
                        (0, _) => FAILED,
                        (_, 0) => Ended::Empty,
                        _ => {
                            room[sink] -= 1;
                            written[sink] += 1;
                            events -= 1;
                            Ended::Delivered
                        }
                    };
                    group.ended(sink, ended, now);
                }
            }
            written
        };
        let max = Duration::from_secs(10);
        group.penalty_max = max;
        assert_eq!(send(&mut group, &mut room, 15, at(0)), [10, 5, 0]);
        assert_eq!(send(&mut group, &mut room, 50, at(0)), [10, 50, 5]);
        room[1] += 20;
        assert_eq!(send(&mut group, &mut room, 100, at(5)), [10, 70, 85]);
    }

    impl Machine for Failover {
        fn poll(&mut self, now: Time) -> Option<Step> {
            Failover::poll(self, now)
        }

        fn poll_timeout(&self, _: Time) -> Option<Time> {
            Failover::poll_timeout(self)
        }

        fn ended(&mut self, sink: usize, ended: Ended, now: Time) {
            Failover::ended(self, sink, ended, now);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn whatever_happens_live_sinks_serve_by_priority_and_nothing_starves(
            seed: u64,
            channels in prop::collection::vec(0..3usize, 1..6),
        ) {
            let members: Vec<Member> = channels
                .iter()
                .enumerate()
                .map(|(at, channel)| Member { priority: 100 - at as i32, channel: *channel })
                .collect();
            let mut world = World::new(seed, &channels, Failover::new(&members, MAX));
            world.run(seconds(600));
            // All is well for longer than any penalty and any turn: what comes now goes to the best of each channel.
            world.heal();
            world.run(seconds(120));
            let before = world.delivered.clone();
            world.run(seconds(60));
            for (at, channel) in channels.iter().enumerate() {
                let best = channels.iter().position(|c| c == channel) == Some(at);
                prop_assert_eq!(best, world.delivered[at] > before[at], "sink {} of {:?}", at, &channels);
            }
            world.check_pauses(Duration::from_secs(2));
        }
    }
}
