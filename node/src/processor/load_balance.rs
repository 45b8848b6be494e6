//! `load_balance`: the sinks take turns, one lease each, Flume's LoadBalancingSinkProcessor.
//!
//! Promise: that of its sinks. A turn that fails has put its events back before the next sink is asked.
//!
//! Failures: whatever the failure, the next sink of the round is asked at once. With `backoff = true` the sink is
//! left out for 2, 4, 8, 16, 30 s (`selector.maxTimeOut`). When all have failed the round fails and is tried again
//! after a short pause. A sink whose turn takes longer than half a second (its peer does not answer) is passed over
//! until that turn has ended. The decisions are [`cluster::group::balance`]'s.
//!
//! Sinks of different channels: the sinks of each channel take turns among themselves, at their own pace.
//!
//! Source: `flume/channels-and-sinks.md` 4.4. Differences: nobody waits for a dead sink or for the empty channel of
//! another one; `random` with all sinks left out waits for the first one instead of failing; a turn without events
//! does not count as one.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::{Keys, Severity};
use crate::component::processor::{
    DynProcessor, Processor, ProcessorContext, Round, Turns, ended, none_left, report,
};
use crate::component::registry::Type;
use cluster::group::balance::{Balance, Order, Settings};
use std::time::Duration;

/// What is told of a sink's first failure, and of a round without any sink left; the second is Flume's.
const FAILED: &str = "failed, the next one is asked";
const NONE_LEFT: &str = "All configured sinks have failed";

/// How the list names it.
pub const TYPE: Type<Box<dyn DynProcessor>> = Type {
    alias: "load_balance",
    classes: &["org.apache.flume.sink.LoadBalancingSinkProcessor"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, ctx.channels.len()).build()?)),
};

/// How long a sink waits for events in its turn.
const WAIT: Duration = Duration::from_millis(250);
/// A turn that takes longer does not hold up the others.
const PATIENCE: Duration = Duration::from_millis(500);

/// Settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// `selector`: `round_robin` (the default) or `random`, in any case.
    pub order: Order,
    /// `backoff`: whether a sink that failed is left out for a while; default false.
    pub backoff: bool,
    /// `selector.maxTimeOut`: for how long at most; default 30,000 ms, which 0 stands for as well.
    pub timeout_max: Duration,
}

impl Config {
    /// The default of `selector.maxTimeOut`.
    const TIMEOUT_MAX_MS: u64 = 30_000;

    /// Reads the properties of a group of so many sinks.
    pub fn read(keys: &mut Keys, sinks: usize) -> Self {
        if sinks == 1 {
            let message = "a load_balance group needs at least two sinks, found 1".to_owned();
            keys.note(Severity::Error, "type", "one-sink", message);
        }
        let order = order(keys);
        let backoff = keys.flag("backoff", false);
        let millis = keys.number("selector.maxTimeOut", Self::TIMEOUT_MAX_MS, 0..=i64::MAX as u64);
        let millis = if millis == 0 { Self::TIMEOUT_MAX_MS } else { millis };
        Self {
            order,
            backoff,
            timeout_max: Duration::from_millis(millis),
        }
    }

    /// The processor.
    pub fn build(self) -> Result<InTurn, BuildError> {
        Ok(InTurn {
            config: self,
            machine: None,
            turns: Turns::default(),
        })
    }
}

fn order(keys: &mut Keys) -> Order {
    let Some(found) = keys.text("selector") else {
        return Order::RoundRobin;
    };
    let is = |word: &str| found.eq_ignore_ascii_case(word);
    if is("random") {
        return Order::Random;
    }
    if found.contains('.') {
        let message = format!("\"{found}\" is a Java class of somebody else's, and no Java runs here");
        keys.note(Severity::Error, "selector", "java-class", message);
    } else if !is("round_robin") {
        keys.wrong(
            "selector",
            &format!("expected round_robin or random, found \"{found}\""),
        );
    }
    Order::RoundRobin
}

/// The processor.
#[derive(Debug)]
pub struct InTurn {
    config: Config,
    /// Made at the first round, when the sinks are known.
    machine: Option<Balance>,
    turns: Turns,
}

impl Processor for InTurn {
    async fn process(&mut self, ctx: &ProcessorContext) -> Result<Round, RunError> {
        let (clock, sinks) = (&ctx.common.clock, &ctx.sinks);
        let config = self.config;
        let machine = self.machine.get_or_insert_with(|| machine(config, ctx));
        let mut last = None;
        loop {
            while let Some(at) = machine.poll(clock.now()) {
                self.turns.give(at, &sinks[at], WAIT, Duration::ZERO);
            }
            let now = clock.now();
            let next = machine.poll_timeout(now).map(|at| at - now);
            let Some((at, result)) = self.turns.ended(next).await else {
                if self.turns.is_empty() {
                    return Err(none_left(NONE_LEFT, next, last));
                }
                continue; // time for another sink
            };
            let change = machine.ended(at, ended(&result), clock.now());
            report(&ctx.common.name, sinks[at].name(), change, &result, FAILED);
            match result {
                Ok(round) => return Ok(round),
                Err(error) => last = Some(error),
            }
        }
    }
}

fn machine(config: Config, ctx: &ProcessorContext) -> Balance {
    let settings = Settings {
        order: config.order,
        timeout_max: config.backoff.then_some(config.timeout_max),
        patience: PATIENCE,
        seed: ctx.common.seed,
    };
    Balance::new(&ctx.channels(), settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::Log;
    use crate::component::contract::group::{Script, Scripted};

    fn read(sinks: usize, pairs: &[(&str, &str)]) -> (Config, String) {
        let mut keys = Keys::of("group g1 (load_balance)", pairs);
        let config = Config::read(&mut keys, sinks);
        let findings = keys
            .finish()
            .iter()
            .map(|f| format!("{} {}\n", f.severity, f.code))
            .collect();
        (config, findings)
    }

    fn in_turn(backoff: bool) -> InTurn {
        let config = Config {
            order: Order::RoundRobin,
            backoff,
            timeout_max: Duration::from_secs(30),
        };
        config.build().unwrap()
    }

    #[test]
    fn settings_are_read() {
        let (defaults, findings) = read(2, &[]);
        let expected = Config {
            order: Order::RoundRobin,
            backoff: false,
            timeout_max: Duration::from_secs(30),
        };
        assert_eq!((defaults, findings.as_str()), (expected, ""));
        let given = [
            ("selector", "RANDOM"),
            ("backoff", "True"),
            ("selector.maxTimeOut", "5000"),
        ];
        let expected = Config {
            order: Order::Random,
            backoff: true,
            timeout_max: Duration::from_secs(5),
        };
        assert_eq!(read(2, &given), (expected, String::new()));
        assert_eq!(
            read(2, &[("selector.maxTimeOut", "0")]).0.timeout_max,
            Duration::from_secs(30)
        );
    }

    #[test]
    fn mistakes_are_found_at_the_start() {
        assert_eq!(read(1, &[]).1, "error one-sink\n");
        assert_eq!(read(2, &[("selector", "robin")]).1, "error bad-value\n");
        assert_eq!(
            read(2, &[("selector", "com.acme.Selector")]).1,
            "error java-class\n"
        );
        assert_eq!(read(2, &[("selector.maxTimeOut", "-1")]).1, "error bad-value\n");
    }

    #[tokio::test]
    async fn nine_events_over_three_sinks_are_three_each() {
        let script = Script::of(&["k1", "k2", "k3"]);
        script.rounds(&mut in_turn(false), 9).await.unwrap();
        assert_eq!(script.taken(), "k1 k2 k3 k1 k2 k3 k1 k2 k3");
    }

    #[tokio::test]
    async fn a_failed_turn_goes_to_the_next_sink_of_the_same_round() {
        for failure in [Scripted::Retry, Scripted::Reject, Scripted::NotRunning] {
            let (log, script) = (Log::capture(), Script::of(&["k1", "k2", "k3"]));
            script.set("k2", failure);
            script.rounds(&mut in_turn(false), 9).await.unwrap();
            assert_eq!(script.taken(), "k1 (k2) k3 k3 k1 (k2) k3 k3 k1 (k2) k3 k3");
            let warnings = log.text().matches("Sink k2 failed").count();
            assert_eq!(warnings, 1, "only the first one of a row is news");
        }
    }

    #[tokio::test]
    async fn with_back_off_a_failed_sink_is_left_out_for_a_while() {
        let script = Script::of(&["k1", "k2", "k3"]);
        let mut group = in_turn(true);
        script.set("k2", Scripted::Retry);
        script.rounds(&mut group, 4).await.unwrap();
        script.set("k2", Scripted::Deliver);
        script.advance(Duration::from_millis(2_001));
        script.rounds(&mut group, 3).await.unwrap();
        assert_eq!(script.taken(), "k1 (k2) k3 k3 k1 k2 k3 k1");
    }

    #[tokio::test]
    async fn when_all_have_failed_the_round_fails() {
        let script = Script::of(&["k1", "k2"]);
        script.set("k1", Scripted::Retry);
        script.set("k2", Scripted::Retry);
        let mut group = in_turn(true);
        let error = script.rounds(&mut group, 1).await.unwrap_err();
        assert_eq!(error.to_string(), "All configured sinks have failed: k2 is away");
        script.advance(Duration::from_millis(2_001));
        script.set("k1", Scripted::Deliver);
        script.rounds(&mut group, 1).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_hangs_is_passed_over() {
        let script = Script::of(&["k1", "k2"]).with_the_clock_of_tokio();
        let mut group = in_turn(false);
        script.set("k1", Scripted::Hang);
        script.rounds(&mut group, 4).await.unwrap();
        assert_eq!(script.taken(), "k2 k2 k2 k2");
        script.release("k1", Scripted::Deliver);
        script.set("k1", Scripted::Deliver);
        script.rounds(&mut group, 5).await.unwrap();
        assert!(script.taken().matches("k1").count() >= 2, "{}", script.taken());
    }

    #[tokio::test]
    async fn the_channel_of_one_sink_does_not_wait_for_another_one() {
        let script = Script::over(&[("k1", "c1"), ("k2", "c2"), ("k3", "c2")]);
        let mut group = in_turn(false);
        script.set("k1", Scripted::Hang);
        script.rounds(&mut group, 4).await.unwrap();
        assert_eq!(script.taken(), "k2 k3 k2 k3");
    }
}
