//! Load balancing: the sinks take turns, round robin or at random.
//!
//! A round goes through the usable sinks, each asked once, until one does not fail; its first one is the next in
//! the circle, or drawn. A turn that found nothing is none: the sink that has waited goes on waiting, so that
//! single events are dealt out as evenly as a stream. A sink whose turn takes long (it connects, or its peer is
//! slow) is passed over until that turn has ended; Flume's other sinks wait for it.
//!
//! With back-off a sink that failed is left out for 2, 4, 8, 16, 30 s (`maxTimeOut`). As in Flume a success does
//! not shorten the next one, only an hour without a failure does. When all of a round have failed, the next one
//! begins after a pause of up to 100 ms, doubled up to 5 s, with full jitter (Flume: always 5 s).

use super::{Change, Ended, distinct, penalty};
use crate::backoff::Backoff;
use crate::time::Time;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Longest first pause after a round in which all have failed.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Longest pause of all: Flume's after a failed delivery.
const PAUSE_CAP: Duration = Duration::from_secs(5);
/// Failures further apart than this and the last time-out do not belong together.
const MEMORY: Duration = Duration::from_secs(3_600);
/// Flume's EXP_BACKOFF_COUNTER_LIMIT.
const LEVEL_MAX: u32 = 16;

/// How a round is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One after the other in a circle.
    RoundRobin,
    /// Drawn anew for every round.
    Random,
}

/// What the machine is told at its birth.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How a round is ordered.
    pub order: Order,
    /// The longest time-out of a sink that failed; none: it is asked again in the next round.
    pub timeout_max: Option<Duration>,
    /// A turn that takes longer does not hold up the others.
    pub patience: Duration,
    /// Seed of draws and jitter.
    pub seed: u64,
}

/// The machine. Call in this order: [`poll`](Self::poll) until `None`, wait for the end of a turn or for
/// [`poll_timeout`](Self::poll_timeout), [`ended`](Self::ended).
#[derive(Debug, Clone)]
pub struct Balance {
    settings: Settings,
    sinks: Vec<Sink>,
    circles: Vec<Circle>,
    rng: SmallRng,
}

#[derive(Debug, Clone)]
struct Sink {
    circle: usize,
    has_turn: bool,
    /// In a row.
    failures: u32,
    /// Of its time-outs; 0 before the first failure.
    level: u32,
    failed_at: Time,
    /// Left out up to and with this moment.
    out_until: Option<Time>,
}

impl Sink {
    fn usable(&self, now: Time) -> bool {
        !self.has_turn && self.out_until.is_none_or(|until| until < now)
    }
}

/// The sinks of one channel.
#[derive(Debug, Clone)]
struct Circle {
    sinks: Vec<usize>,
    /// Where the next round begins, as a place in `sinks`.
    next: usize,
    /// The sinks of this round; those before `asked` had their turn in it.
    round: Vec<usize>,
    asked: usize,
    /// The last one asked, and since when, while the round waits for it.
    current: Option<(usize, Time)>,
    pauses: Backoff,
    paused_until: Option<Time>,
}

impl Circle {
    fn end_round(&mut self) {
        self.round.clear();
        self.asked = 0;
        self.current = None;
    }
}

impl Balance {
    /// The channel of each sink, as a number.
    pub fn new(channels: &[usize], settings: Settings) -> Self {
        let mut rng = SmallRng::seed_from_u64(settings.seed);
        let numbers = distinct(channels.iter().copied());
        let circle = |number: &usize| Circle {
            sinks: (0..channels.len())
                .filter(|at| channels[*at] == *number)
                .collect(),
            next: 0,
            round: Vec::new(),
            asked: 0,
            current: None,
            pauses: Backoff::new(PAUSE_FIRST, PAUSE_CAP, rng.random()),
            paused_until: None,
        };
        let circles: Vec<Circle> = numbers.iter().map(circle).collect();
        let sink = |channel: &usize| Sink {
            circle: numbers.iter().position(|n| n == channel).unwrap_or_default(),
            has_turn: false,
            failures: 0,
            level: 0,
            failed_at: Time::ZERO,
            out_until: None,
        };
        let sinks = channels.iter().map(sink).collect();
        Self {
            settings,
            sinks,
            circles,
            rng,
        }
    }

    /// The sink that is to have a turn now, if there is one.
    pub fn poll(&mut self, now: Time) -> Option<usize> {
        (0..self.circles.len()).find_map(|at| self.poll_circle(at, now))
    }

    fn poll_circle(&mut self, at: usize, now: Time) -> Option<usize> {
        let circle = &mut self.circles[at];
        if circle.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        circle.paused_until = None;
        if let Some((_, since)) = circle.current {
            if now - since < self.settings.patience {
                return None;
            }
            circle.end_round();
        }
        if circle.round.is_empty() {
            self.begin_round(at, now);
        }
        let circle = &mut self.circles[at];
        if circle.round.is_empty() {
            return None; // all have turns or are left out
        }
        let Some(sink) = circle.round.get(circle.asked).copied() else {
            circle.end_round();
            circle.paused_until = Some(now + circle.pauses.fail());
            return None;
        };
        circle.asked += 1;
        circle.current = Some((sink, now));
        self.sinks[sink].has_turn = true;
        Some(sink)
    }

    fn begin_round(&mut self, at: usize, now: Time) {
        let circle = &mut self.circles[at];
        let size = circle.sinks.len();
        let places = (0..size).map(|n| (circle.next + n) % size);
        let usable = places.filter(|place| self.sinks[circle.sinks[*place]].usable(now));
        circle.round.extend(usable);
        let Some(first) = circle.round.first() else {
            return;
        };
        match self.settings.order {
            Order::RoundRobin => circle.next = (first + 1) % size,
            Order::Random => circle.round.shuffle(&mut self.rng),
        }
        circle
            .round
            .iter_mut()
            .for_each(|place| *place = circle.sinks[*place]);
    }

    /// When there may be something to do, even if no turn ends.
    pub fn poll_timeout(&self, now: Time) -> Option<Time> {
        let patience = self.settings.patience;
        let circles = self.circles.iter().filter_map(|circle| {
            let passed_over = circle.current.map(|(_, since)| since + patience);
            circle.paused_until.or(passed_over)
        });
        let outs = self.sinks.iter().filter(|sink| !sink.has_turn);
        let outs = outs
            .filter_map(|sink| sink.out_until)
            .filter(|until| *until >= now);
        circles
            .chain(outs.map(|until| until + Duration::from_nanos(1)))
            .min()
    }

    /// A turn of this sink has ended.
    pub fn ended(&mut self, at: usize, ended: Ended, now: Time) -> Option<Change> {
        let sink = &mut self.sinks[at];
        sink.has_turn = false;
        let circle = &mut self.circles[sink.circle];
        let awaited = circle.current.is_some_and(|(current, _)| current == at);
        if let Ended::Failed(not_before) = ended {
            if awaited {
                circle.current = None; // the round goes on
            }
            let wait = self.fail(at, not_before, now);
            return Some(Change::Failed(self.sinks[at].failures, wait));
        }
        circle.pauses.reset();
        circle.paused_until = None;
        if awaited {
            circle.end_round();
        }
        if awaited && ended == Ended::Empty {
            circle.next = circle
                .sinks
                .iter()
                .position(|sink| *sink == at)
                .unwrap_or_default();
        }
        let had_failed = std::mem::take(&mut sink.failures) > 0;
        had_failed.then_some(Change::Recovered)
    }

    fn fail(&mut self, at: usize, not_before: Duration, now: Time) -> Duration {
        let sink = &mut self.sinks[at];
        sink.failures = sink.failures.saturating_add(1);
        let mut wait = not_before;
        if let Some(cap) = self.settings.timeout_max {
            let fresh = sink.level == 0 || now - sink.failed_at >= penalty(sink.level, cap) + MEMORY;
            sink.level = if fresh { 1 } else { (sink.level + 1).min(LEVEL_MAX) };
            sink.failed_at = now;
            wait = wait.max(penalty(sink.level, cap));
        }
        sink.out_until = (!wait.is_zero()).then(|| now + wait);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::super::failover::Step;
    use super::super::world::{Machine, World, seconds};
    use super::*;
    use proptest::prelude::*;

    const MAX: Duration = Duration::from_secs(30);
    const FAILED: Ended = Ended::Failed(Duration::ZERO);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn settings(order: Order, backoff: bool, seed: u64) -> Settings {
        Settings {
            order,
            timeout_max: backoff.then_some(MAX),
            patience: Duration::from_millis(500),
            seed,
        }
    }

    fn robin(sinks: usize, backoff: bool) -> Balance {
        Balance::new(&vec![0; sinks], settings(Order::RoundRobin, backoff, 1))
    }

    /// Rounds with one event each; `dead` sinks fail. Who was asked, failed ones in brackets.
    fn rounds(machine: &mut Balance, count: usize, dead: &[usize], now: Time) -> String {
        let mut asked = String::new();
        for _ in 0..count {
            while let Some(sink) = machine.poll(now) {
                let failed = dead.contains(&sink);
                asked += &if failed {
                    format!("({sink})")
                } else {
                    sink.to_string()
                };
                machine.ended(sink, if failed { FAILED } else { Ended::Delivered }, now);
                if !failed {
                    break;
                }
            }
        }
        asked
    }

    #[test]
    fn round_robin_deals_out_evenly_and_in_order() {
        assert_eq!(rounds(&mut robin(3, false), 9, &[], at(0)), "012012012");
    }

    #[test]
    fn without_back_off_the_share_of_a_dead_sink_goes_to_its_successor() {
        assert_eq!(rounds(&mut robin(3, false), 9, &[1], at(0)), "0(1)220(1)220(1)22");
    }

    #[test]
    fn with_back_off_a_dead_sink_is_left_out_and_the_others_share_evenly() {
        let mut group = robin(3, true);
        assert_eq!(rounds(&mut group, 6, &[1], at(0)), "0(1)22020");
        assert_eq!(
            rounds(&mut group, 2, &[1], at(2_000)),
            "20",
            "up to and with the two seconds"
        );
        assert_eq!(rounds(&mut group, 3, &[1], at(2_001)), "(1)220");
        assert_eq!(rounds(&mut group, 2, &[1], at(6_001)), "20", "four seconds");
        assert_eq!(rounds(&mut group, 3, &[], at(6_002)), "120");
    }

    #[test]
    fn time_outs_grow_as_in_flume_and_only_an_hour_of_quiet_shortens_them() {
        let mut group = robin(2, true);
        let mut now = at(0);
        let mut fail = |now: &mut Time, quiet: Duration| {
            *now = *now + quiet;
            while group.poll(*now) != Some(0) {
                group.ended(1, Ended::Delivered, *now);
            }
            let Some(Change::Failed(_, wait)) = group.ended(0, FAILED, *now) else {
                panic!("a failure is a failure");
            };
            group.poll(*now);
            group.ended(1, Ended::Delivered, *now);
            *now = *now + wait + Duration::from_nanos(1);
            wait.as_secs()
        };
        let waits: Vec<u64> = (0..100).map(|_| fail(&mut now, Duration::ZERO)).collect();
        assert_eq!(waits[..6], [2, 4, 8, 16, 30, 30]);
        assert!(waits[6..].iter().all(|wait| *wait == 30), "{waits:?}");
        assert_eq!(fail(&mut now, Duration::from_secs(3_000)), 30);
        assert_eq!(fail(&mut now, Duration::from_secs(3_601)), 2);
    }

    #[test]
    fn a_round_in_which_all_have_failed_is_followed_by_a_pause_that_grows() {
        let mut group = robin(2, false);
        let mut now = at(0);
        for longest in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            assert_eq!(rounds(&mut group, 1, &[0, 1], now).len(), "(0)(1)".len());
            let next = group.poll_timeout(now).unwrap();
            assert!(next - now <= Duration::from_millis(longest), "{:?}", next - now);
            now = next;
        }
        assert_eq!(rounds(&mut group, 1, &[], now).len(), 1);
    }

    #[test]
    fn when_all_are_left_out_the_first_to_come_back_is_waited_for() {
        for order in [Order::RoundRobin, Order::Random] {
            let mut group = Balance::new(&[0, 0], settings(order, true, 3));
            rounds(&mut group, 1, &[0, 1], at(0));
            while let Some(next) = group.poll_timeout(at(0)).filter(|next| *next < at(2_000)) {
                assert_eq!(group.poll(next), None);
            }
            assert_eq!(group.poll(at(2_000)), None);
            assert!(group.poll(at(2_001)).is_some(), "{order:?}");
        }
    }

    #[test]
    fn a_sink_that_waits_for_events_keeps_its_turn() {
        let mut group = robin(2, false);
        assert_eq!(group.poll(at(0)), Some(0));
        group.ended(0, Ended::Empty, at(250));
        assert_eq!(group.poll(at(250)), Some(0));
        group.ended(0, Ended::Delivered, at(300));
        assert_eq!(group.poll(at(300)), Some(1));
    }

    #[test]
    fn a_turn_that_takes_long_holds_nobody_up() {
        let mut group = robin(3, false);
        assert_eq!(group.poll(at(0)), Some(0));
        assert_eq!(group.poll(at(499)), None);
        assert_eq!(group.poll_timeout(at(499)), Some(at(500)));
        assert_eq!(rounds(&mut group, 4, &[], at(500)), "1212");
        assert_eq!(
            group.ended(0, FAILED, at(20_000)),
            Some(Change::Failed(1, Duration::ZERO))
        );
        assert_eq!(rounds(&mut group, 3, &[], at(20_000)), "012");
    }

    #[test]
    fn sinks_of_different_channels_do_not_wait_for_each_other() {
        let mut group = Balance::new(&[4, 9, 4], settings(Order::RoundRobin, false, 1));
        let first: Vec<usize> = std::iter::from_fn(|| group.poll(at(0))).collect();
        assert_eq!(first, [0, 1]);
        group.ended(0, Ended::Delivered, at(1));
        assert_eq!(group.poll(at(1)), Some(2));
        group.ended(2, FAILED, at(1));
        assert_eq!(group.poll(at(1)), Some(0), "the only other one of this channel");
    }

    #[test]
    fn draws_are_even_and_repeat_with_their_seed() {
        let asked = |seed| {
            let mut group = Balance::new(&[0; 4], settings(Order::Random, false, seed));
            rounds(&mut group, 4_000, &[], at(0))
        };
        let all = asked(5);
        for sink in '0'..='3' {
            let share = all.matches(sink).count();
            assert!((900..1_100).contains(&share), "sink {sink}: {share} of 4000");
        }
        assert_eq!(all, asked(5));
        assert_ne!(all, asked(6));
    }

    impl Machine for Balance {
        fn poll(&mut self, now: Time) -> Option<Step> {
            Balance::poll(self, now).map(Step::Probe)
        }

        fn poll_timeout(&self, now: Time) -> Option<Time> {
            Balance::poll_timeout(self, now)
        }

        fn ended(&mut self, sink: usize, ended: Ended, now: Time) {
            Balance::ended(self, sink, ended, now);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn whatever_happens_every_sink_that_is_well_has_its_turns(
            seed: u64,
            channels in prop::collection::vec(0..3usize, 1..6),
            random: bool,
            backoff: bool,
        ) {
            let order = if random { Order::Random } else { Order::RoundRobin };
            let machine = Balance::new(&channels, settings(order, backoff, seed));
            let mut world = World::new(seed, &channels, machine);
            world.run(seconds(600));
            world.heal();
            world.run(seconds(120));
            let before = world.delivered.clone();
            world.run(seconds(60));
            for (at, (now, before)) in world.delivered.iter().zip(&before).enumerate() {
                prop_assert!(now > before, "sink {} of {:?} starves", at, &channels);
            }
            if backoff {
                world.check_pauses(Duration::from_secs(2));
            }
        }
    }
}
