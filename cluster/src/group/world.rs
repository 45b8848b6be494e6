//! A small world for a group's machine, under one seed: sinks that go and come back, turns that take from no time
//! to a connect timeout, channels that fill at random. It checks at every step what must always hold.

use super::Ended;
use super::failover::Step;
use crate::time::Time;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// Either machine.
pub trait Machine {
    fn poll(&mut self, now: Time) -> Option<Step>;
    fn poll_timeout(&self, now: Time) -> Option<Time>;
    fn ended(&mut self, sink: usize, ended: Ended, now: Time);
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Between two events of a channel, on average twice this at most.
const EVENTS_EVERY_MS: u64 = 400;
/// A turn waits for events for so long.
const IDLE: Duration = Duration::from_millis(250);
/// A turn at a sink that is away takes up to this.
const TIMEOUT_MS: u64 = 20_000;

struct Turn {
    ends_at: Time,
    ended: Ended,
    serves: bool,
}

pub struct World<M> {
    machine: M,
    rng: SmallRng,
    now: Time,
    channels: Vec<usize>,
    /// Events that wait, by channel.
    queued: [u64; 3],
    up: Vec<bool>,
    turns: Vec<Option<Turn>>,
    healed: bool,
    next_event: Time,
    next_change: Time,
    /// By sink.
    pub delivered: Vec<u64>,
    /// When each sink failed, and when it was asked again.
    last_failure: Vec<Option<Time>>,
    pauses: Vec<Duration>,
}

impl<M: Machine> World<M> {
    pub fn new(seed: u64, channels: &[usize], machine: M) -> Self {
        let sinks = channels.len();
        Self {
            machine,
            rng: SmallRng::seed_from_u64(seed),
            now: Time::ZERO + seconds(5),
            channels: channels.to_vec(),
            queued: [0; 3],
            up: vec![true; sinks],
            turns: (0..sinks).map(|_| None).collect(),
            healed: false,
            next_event: Time::ZERO,
            next_change: Time::ZERO,
            delivered: vec![0; sinks],
            last_failure: vec![None; sinks],
            pauses: Vec::new(),
        }
    }

    /// From now on every sink is up.
    pub fn heal(&mut self) {
        self.healed = true;
        self.up.fill(true);
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut stands_still = 0;
        while self.now < end {
            let before = self.now;
            self.give_turns();
            self.advance();
            stands_still = if self.now > before { 0 } else { stands_still + 1 };
            assert!(stands_still < 1_000, "it asks again and again at {before:?}");
        }
    }

    /// A sink that failed was never asked again sooner than this.
    pub fn check_pauses(&self, least: Duration) {
        assert!(
            self.pauses.iter().all(|pause| *pause >= least),
            "{:?}",
            self.pauses
        );
    }

    fn give_turns(&mut self) {
        let mut steps = 0;
        while let Some(step) = self.machine.poll(self.now) {
            steps += 1;
            assert!(steps <= 4 * self.channels.len(), "it never stops asking");
            match step {
                Step::Withdraw(sink) => {
                    assert!(self.turns[sink].take().is_some_and(|turn| turn.serves));
                }
                Step::Serve(sink) => self.begin(sink, true),
                Step::Probe(sink) => self.begin(sink, false),
            }
        }
    }

    fn begin(&mut self, sink: usize, serves: bool) {
        assert!(self.turns[sink].is_none(), "two turns at sink {sink}");
        if let Some(failed_at) = self.last_failure[sink].take() {
            self.pauses.push(self.now - failed_at);
        }
        let channel = self.channels[sink];
        if serves {
            let others = (0..self.channels.len()).filter(|at| self.channels[*at] == channel);
            let serving = |at: usize| self.turns[at].as_ref().is_some_and(|turn| turn.serves);
            assert!(
                !others.into_iter().any(serving),
                "two sinks serve channel {channel}"
            );
        }
        let (ended, takes) = if !self.up[sink] {
            let millis = [0, 1, TIMEOUT_MS][self.rng.random_range(0..3)];
            (Ended::Failed(Duration::ZERO), Duration::from_millis(millis))
        } else if self.queued[channel] > 0 {
            self.queued[channel] -= 1;
            let slow = self.rng.random_range(0..50) == 0 && !self.healed;
            let millis = if slow { 3_000 } else { self.rng.random_range(1..20) };
            (Ended::Delivered, Duration::from_millis(millis))
        } else {
            (Ended::Empty, IDLE)
        };
        self.turns[sink] = Some(Turn {
            ends_at: self.now + takes,
            ended,
            serves,
        });
    }

    /// On to the next moment at which something happens.
    fn advance(&mut self) {
        let turns = self.turns.iter().flatten().map(|turn| turn.ends_at);
        let own = [self.next_event, self.next_change].into_iter();
        let timeout = self.machine.poll_timeout(self.now);
        let next = turns.chain(own).chain(timeout).min().unwrap_or(self.now);
        self.now = self.now.max(next);
        for sink in 0..self.turns.len() {
            if self.turns[sink]
                .as_ref()
                .is_some_and(|turn| turn.ends_at <= self.now)
                && let Some(turn) = self.turns[sink].take()
            {
                match turn.ended {
                    Ended::Delivered => self.delivered[sink] += 1,
                    Ended::Failed(_) => self.last_failure[sink] = Some(self.now),
                    Ended::Empty => {}
                }
                self.machine.ended(sink, turn.ended, self.now);
            }
        }
        if self.next_event <= self.now {
            self.next_event = self.now + Duration::from_millis(self.rng.random_range(1..EVENTS_EVERY_MS));
            self.queued[self.rng.random_range(0..3)] += 1;
        }
        if self.next_change <= self.now {
            self.next_change = self.now + Duration::from_millis(self.rng.random_range(1..30_000));
            let sink = self.rng.random_range(0..self.up.len());
            self.up[sink] = self.healed || self.rng.random_range(0..3) > 0;
        }
    }
}
