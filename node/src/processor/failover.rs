//! `failover`: the live sink with the highest priority has all turns, Flume's FailoverSinkProcessor.
//!
//! Promise: that of its sinks. A turn that fails has put its events back before the next sink is asked, so a
//! failover loses nothing; what a dying peer had stored without answering is sent again, as after any failure.
//!
//! Failures: any failed turn (peer away, events rejected, sink not running) sends the sink to the failed ones for 2,
//! 4, 8, 16, 30 s (`maxpenalty`), and the next lower one goes on at once. A sink whose time is up is probed beside
//! the turns of the others and takes its place back as soon as it is well. Without a live sink the round fails, and
//! the next one waits for the first probe. The decisions are [`cluster::group::failover`]'s.
//!
//! Sinks of different channels: priorities decide among the sinks of one channel; a channel that only one sink reads
//! is emptied by it whenever it is well. (Flume leaves the channel of the standby full, until its source fails.)
//!
//! Source: `flume/channels-and-sinks.md` 4.3. Differences: penalties never overflow; a recovered sink without events
//! neither stays failed nor starves the others; nobody waits for a probe.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::{Keys, Severity, nearest};
use crate::component::processor::{
    DynProcessor, Processor, ProcessorContext, Round, Turns, ended, none_left, report,
};
use crate::component::registry::Type;
use crate::component::sink::SinkContext;
use cluster::group::failover::{Failover, Member, Step};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is told of a sink's first failure, and of a round without any sink left; both Flume's words.
const FAILED: &str = "failed and has been sent to failover list";
const NONE_LEFT: &str = "All sinks failed to process, nothing left to failover to";

/// How the list names it.
pub const TYPE: Type<Box<dyn DynProcessor>> = Type {
    alias: "failover",
    classes: &["org.apache.flume.sink.FailoverSinkProcessor"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, &ctx.channels).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `priority.<sink>`: the higher, the sooner; any whole number of 32 bits. Sinks without one get -1, -2, ... in
    /// the order of Java's hash sets (passing over what others have), as in Flume.
    pub priorities: BTreeMap<String, i32>,
    /// `maxpenalty`: the longest that a sink is left alone after a failure; default 30,000 ms, at least 1.
    pub penalty_max: Duration,
}

impl Config {
    /// Reads the properties of a group of these sinks, given in the order of Java's hash sets.
    pub fn read(keys: &mut Keys, sinks: &[Arc<str>]) -> Self {
        let given = given(keys, sinks);
        strangers(keys, sinks);
        drop(keys.below("priority."));
        if sinks.len() == 1 {
            let message = "a failover group of one sink has nothing to fail over to".to_owned();
            keys.note(Severity::Warning, "type", "one-sink", message);
        }
        Self {
            priorities: complete(given, sinks),
            penalty_max: Duration::from_millis(keys.lenient_number(
                "maxpenalty",
                30_000,
                1..=i32::MAX as u64,
            )),
        }
    }

    /// The processor.
    pub fn build(self) -> Result<Highest, BuildError> {
        Ok(Highest {
            config: self,
            machine: None,
            turns: Turns::default(),
        })
    }
}

/// The priorities that are set, each of them once.
fn given(keys: &mut Keys, sinks: &[Arc<str>]) -> BTreeMap<String, i32> {
    let mut taken: BTreeMap<i32, &str> = BTreeMap::new();
    for sink in sinks {
        let key = format!("priority.{sink}");
        let Some(text) = keys.peek(&key).map(str::to_owned) else {
            let message = "not there: the sink comes after all that have a priority".to_owned();
            keys.warn(&key, "no-priority", message);
            continue;
        };
        let Ok(priority) = text.parse::<i32>() else {
            let message =
                format!("expected a whole number, found \"{text}\"; it counts as not there, as in Flume");
            keys.warn(&key, "bad-number", message);
            continue;
        };
        if let Some(other) = taken.insert(priority, sink) {
            let message = format!("{priority} is the priority of {other} too: one of the two is never used");
            keys.note(Severity::Error, &key, "same-priority", message);
        }
    }
    taken
        .into_iter()
        .map(|(priority, sink)| (sink.to_owned(), priority))
        .collect()
}

/// Priorities of sinks that the group has not.
fn strangers(keys: &mut Keys, sinks: &[Arc<str>]) {
    let named = keys.given().filter_map(|(key, _)| key.strip_prefix("priority."));
    let strangers: Vec<String> = named
        .filter(|name| !sinks.iter().any(|sink| **sink == **name))
        .map(str::to_owned)
        .collect();
    for name in strangers {
        let near = nearest(&name, sinks.iter().map(AsRef::as_ref));
        let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
        let message = format!(
            "\"{name}\" is no sink of this group; there are: {}{hint}",
            sinks.join(", ")
        );
        keys.warn(&format!("priority.{name}"), "unknown-name", message);
    }
}

fn complete(mut priorities: BTreeMap<String, i32>, sinks: &[Arc<str>]) -> BTreeMap<String, i32> {
    let mut next = -1;
    for sink in sinks {
        if !priorities.contains_key(&**sink) {
            while priorities.values().any(|taken| *taken == next) {
                next -= 1;
            }
            priorities.insert(sink.to_string(), next);
        }
    }
    priorities
}

/// The processor.
#[derive(Debug)]
pub struct Highest {
    config: Config,
    /// Made at the first round, when the sinks are known.
    machine: Option<Failover>,
    turns: Turns,
}

impl Processor for Highest {
    async fn process(&mut self, ctx: &ProcessorContext) -> Result<Round, RunError> {
        let (clock, sinks) = (&ctx.common.clock, &ctx.sinks);
        let config = &self.config;
        let machine = self.machine.get_or_insert_with(|| machine(config, ctx));
        let mut last = None;
        loop {
            while let Some(step) = machine.poll(clock.now()) {
                match step {
                    Step::Serve(at) => {
                        let (wait, slice) = (SinkContext::IDLE, SinkContext::IDLE);
                        self.turns.give(at, &sinks[at], wait, slice);
                    }
                    Step::Probe(at) => self.turns.give(at, &sinks[at], Duration::ZERO, Duration::ZERO),
                    Step::Withdraw(at) => self.turns.withdraw(at),
                }
            }
            let next = machine.poll_timeout().map(|at| at - clock.now());
            let Some((at, result)) = self.turns.ended(next).await else {
                if self.turns.is_empty() {
                    return Err(none_left(NONE_LEFT, next, last));
                }
                continue; // time for a probe
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

fn machine(config: &Config, ctx: &ProcessorContext) -> Failover {
    let members = ctx
        .sinks
        .iter()
        .zip(ctx.channels())
        .map(|(sink, channel)| Member {
            priority: config.priorities.get(sink.name()).copied().unwrap_or(i32::MIN),
            channel,
        });
    Failover::new(&members.collect::<Vec<_>>(), config.penalty_max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::group::{Script, Scripted};
    use crate::component::contract::{Log, soon};

    fn read(sinks: &[&str], pairs: &[(&str, &str)]) -> (Config, String) {
        let mut keys = Keys::of("group g1 (failover)", pairs);
        let sinks: Vec<Arc<str>> = sinks.iter().map(|sink| Arc::from(*sink)).collect();
        let config = Config::read(&mut keys, &sinks);
        let findings = keys
            .finish()
            .iter()
            .map(|f| format!("{} {}\n", f.severity, f.code))
            .collect();
        (config, findings)
    }

    fn highest(sinks: &[(&str, i32)]) -> Highest {
        let priorities = sinks
            .iter()
            .map(|(name, priority)| ((*name).to_owned(), *priority));
        let config = Config {
            priorities: priorities.collect(),
            penalty_max: Duration::from_secs(30),
        };
        config.build().unwrap()
    }

    #[test]
    fn priorities_and_penalty_are_read() {
        let (config, findings) = read(
            &["k1", "k2"],
            &[
                ("priority.k1", "10"),
                ("priority.k2", "-5"),
                ("maxpenalty", "10000"),
            ],
        );
        assert_eq!(config.priorities["k1"], 10);
        assert_eq!(config.priorities["k2"], -5);
        assert_eq!(config.penalty_max, Duration::from_secs(10));
        assert_eq!(findings, "");
    }

    #[test]
    fn sinks_without_priority_come_in_javas_order_and_nobody_is_dropped() {
        let (config, findings) = read(
            &["k3", "k1", "k2", "k4"],
            &[("priority.k1", "-2"), ("priority.k4", "x")],
        );
        let priority = |sink| config.priorities[sink];
        assert_eq!(["k1", "k3", "k2", "k4"].map(priority), [-2, -1, -3, -4]);
        let told = "warning no-priority\nwarning no-priority\nwarning bad-number\n";
        assert_eq!(findings, told);
    }

    #[test]
    fn mistakes_are_found_at_the_start() {
        let same = [("priority.k1", "5"), ("priority.k2", "5"), ("priority.k9", "1")];
        assert_eq!(
            read(&["k1", "k2"], &same).1,
            "error same-priority\nwarning unknown-name\n"
        );
        assert_eq!(read(&["k1"], &[("priority.k1", "5")]).1, "warning one-sink\n");
        let odd = [("priority.k1", "5"), ("priority.k2", "6"), ("maxpenalty", "0")];
        let (config, findings) = read(&["k1", "k2"], &odd);
        assert_eq!(
            (config.penalty_max, findings.as_str()),
            (Duration::from_secs(30), "warning bad-number\n")
        );
    }

    #[tokio::test]
    async fn all_turns_go_to_the_highest_and_to_the_next_one_after_its_failure() {
        let (log, script) = (Log::capture(), Script::of(&["k2", "k1"]));
        let mut group = highest(&[("k1", 10), ("k2", 5)]);
        script.rounds(&mut group, 3).await.unwrap();
        assert_eq!(script.taken(), "k1 k1 k1");
        for failure in [Scripted::Retry, Scripted::Reject, Scripted::NotRunning] {
            let script = Script::of(&["k2", "k1"]);
            script.set("k1", failure);
            script
                .rounds(&mut highest(&[("k1", 10), ("k2", 5)]), 3)
                .await
                .unwrap();
            assert_eq!(script.taken(), "(k1) k2 k2 k2", "in the same round, {failure:?}");
        }
        let warnings = log
            .text()
            .matches("Sink k1 failed and has been sent to failover list")
            .count();
        assert_eq!(warnings, 3);
    }

    #[tokio::test]
    async fn a_recovered_sink_is_taken_back_by_priority() {
        let (log, script) = (Log::capture(), Script::of(&["k1", "k2"]));
        let mut group = highest(&[("k1", 10), ("k2", 5)]);
        script.set("k1", Scripted::Retry);
        script.rounds(&mut group, 1).await.unwrap();
        script.set("k1", Scripted::Deliver);
        script.advance(Duration::from_millis(1_999));
        script.rounds(&mut group, 2).await.unwrap();
        script.advance(Duration::from_millis(1));
        script.rounds(&mut group, 3).await.unwrap();
        let taken = script.taken();
        assert!(
            taken.starts_with("(k1) k2 k2 k2 ") && taken.ends_with(" k1 k1"),
            "{taken}"
        );
        assert!(log.text().contains("Sink k1 is back"), "{}", log.text());
    }

    #[tokio::test]
    async fn a_probe_that_hangs_holds_nobody_up_and_the_stand_in_is_withdrawn_at_its_end() {
        let script = Script::of(&["k1", "k2"]);
        let mut group = highest(&[("k1", 10), ("k2", 5)]);
        script.set("k1", Scripted::Retry);
        script.rounds(&mut group, 1).await.unwrap();
        script.set("k1", Scripted::Hang);
        script.advance(Duration::from_secs(2));
        script.rounds(&mut group, 5).await.unwrap();
        assert_eq!(script.taken(), "(k1) k2 k2 k2 k2 k2 k2");
        // Now the stand-in waits for events, and the probe comes to a good end.
        script.set("k2", Scripted::Hang);
        let probe_ends = async {
            tokio::task::yield_now().await;
            script.set("k1", Scripted::Deliver);
            script.release("k1", Scripted::Deliver);
        };
        let (rounds, ()) = tokio::join!(soon(script.rounds(&mut group, 3)), probe_ends);
        rounds.unwrap();
        assert!(script.taken().ends_with("k2 k1 k1 k1"), "{}", script.taken());
        assert_eq!(script.withdrawn(), ["k2"]);
    }

    #[tokio::test]
    async fn without_a_live_sink_the_round_fails_until_the_first_probe() {
        let script = Script::of(&["k1", "k2"]);
        let mut group = highest(&[("k1", 10), ("k2", 5)]);
        script.set("k1", Scripted::Retry);
        script.set("k2", Scripted::Retry);
        for seconds in [2, 4, 8, 16, 30, 30] {
            let error = script.rounds(&mut group, 1).await.unwrap_err();
            let text = "All sinks failed to process, nothing left to failover to: k";
            assert!(error.to_string().starts_with(text), "{error}");
            let wait = Duration::from_secs(seconds);
            assert_eq!(error.kind(), crate::component::error::Kind::RetryAfter(wait));
            script.advance(wait);
        }
        script.set("k2", Scripted::Deliver);
        script.rounds(&mut group, 1).await.unwrap();
    }

    #[tokio::test]
    async fn the_channel_of_one_sink_does_not_wait_for_another_one() {
        let script = Script::over(&[("k1", "c1"), ("k2", "c2")]);
        let mut group = highest(&[("k1", 10), ("k2", 5)]);
        script.set("k1", Scripted::Hang);
        script.rounds(&mut group, 3).await.unwrap();
        assert_eq!(script.taken(), "k2 k2 k2");
        script.release("k1", Scripted::Retry);
        script.rounds(&mut group, 3).await.unwrap();
        assert!(script.taken().ends_with("k2 k2"), "{}", script.taken());
    }
}
