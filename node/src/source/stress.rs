//! `stress`: makes equal events as fast as the channels take them, Flume's StressSource. For tests of a flow.
//!
//! Every body is `size` bytes of 0x7F. `maxTotalEvents` counts what was offered, refused or not, and the last batch is
//! shortened to meet it; `maxSuccessfulEvents` counts what was taken. When either is reached the source does nothing
//! until it is stopped. `maxEventsPerSecond` spreads the puts evenly. Both counts start anew with the source.
//!
//! Failures: a refused put is not made up for, as in Flume; the next one waits with jitter, at first up to
//! `backoffSleepIncrement`, at last up to `maxBackoffSleep`. A put that can never fit parks the source.
//! Source: `flume/sources.md` 5.17 and 2; the alias is ours, Flume knows only the class.

use crate::component::channel::ChannelError;
use crate::component::context::Shutdown;
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use bytes::Bytes;
use cluster::backoff::Backoff;
use proto::event::{Batch, EventLimits, IndexBuilder};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "stress",
    classes: &["org.apache.flume.source.StressSource"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Every byte of a body.
const BYTE: u8 = 0x7f;
/// How long a put that is under way may take after the source was asked to stop.
const LAST_PUT: Duration = Duration::from_secs(2);

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `size`: bytes of a body; default 500; at most 64 MiB.
    pub body_bytes: usize,
    /// `maxTotalEvents`: events that are offered; default -1, which is no limit.
    pub offered_max: Option<u64>,
    /// `maxSuccessfulEvents`: events that are taken; default -1, which is no limit.
    pub taken_max: Option<u64>,
    /// `batchSize`: events in one put; default 1; over 0, at most 1,000,000.
    pub batch_size_events: usize,
    /// `maxEventsPerSecond`: default 0, which is no limit.
    pub events_per_second_max: u32,
    /// `backoffSleepIncrement`: milliseconds of the longest first wait after a refused put; default 1,000.
    pub backoff_first: Duration,
    /// `maxBackoffSleep`: milliseconds of the longest wait of all; default 5,000.
    pub backoff_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            body_bytes: 500,
            offered_max: None,
            taken_max: None,
            batch_size_events: 1,
            events_per_second_max: 0,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let (default, limits) = (Self::default(), EventLimits::default());
        let most = i32::MAX as u64;
        Self {
            body_bytes: keys.number("size", default.body_bytes, 0..=limits.body_bytes),
            offered_max: count(keys, "maxTotalEvents"),
            taken_max: count(keys, "maxSuccessfulEvents"),
            batch_size_events: keys.number("batchSize", default.batch_size_events, 1..=limits.events),
            events_per_second_max: keys.number("maxEventsPerSecond", 0, 0..=i32::MAX as u32),
            backoff_first: keys.millis("backoffSleepIncrement", default.backoff_first, 1..=most),
            backoff_max: keys.millis("maxBackoffSleep", default.backoff_max, 1..=most),
        }
    }

    /// The source.
    pub fn build(self) -> Result<Stress, BuildError> {
        Ok(Stress(self))
    }
}

fn count(keys: &mut Keys, key: &str) -> Option<u64> {
    u64::try_from(keys.number(key, -1, i64::MIN..=i64::MAX)).ok()
}

/// The source.
#[derive(Debug)]
pub struct Stress(Config);

impl Source for Stress {
    fn batch_size(&self) -> Option<usize> {
        Some(self.0.batch_size_events)
    }

    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        ctx.ready();
        tokio::select! {
            biased;
            done = self.offer(&ctx) => done?,
            // Nobody waits for an answer, so a put that takes too long may be dropped.
            () = last_call(&ctx.shutdown) => {}
        }
        ctx.shutdown.requested().await;
        Ok(())
    }
}

impl Stress {
    /// Offers batches until a limit is reached or the source is to stop.
    async fn offer(&self, ctx: &SourceContext) -> Result<(), RunError> {
        let whole = self.batch()?;
        let mut backoff = Backoff::new(self.0.backoff_first, self.0.backoff_max, ctx.seed);
        let (mut offered, mut taken, mut due) = (0, 0, Instant::now());
        while !ctx.shutdown.is_requested() {
            let batch = whole.clone().split_front(self.left(offered, taken));
            if batch.is_empty() {
                break;
            }
            let events = batch.len() as u64;
            if self.0.events_per_second_max > 0 {
                if self.wait_until(due, &ctx.shutdown).await {
                    break;
                }
                let share = events as f64 / f64::from(self.0.events_per_second_max);
                due = due.max(Instant::now()) + Duration::from_secs_f64(share);
            }
            offered += events;
            match ctx.put(batch).await {
                Ok(()) => {
                    taken += events;
                    ctx.counters.accepted.add(events);
                    backoff.reset();
                }
                Err(error @ ChannelError::Bug(_)) => return Err(error.into()),
                Err(error @ (ChannelError::TooLarge { .. } | ChannelError::NeverFits { .. })) => {
                    return Err(RunError::reconfigure(format!("batchSize: {error}")));
                }
                Err(error) => {
                    ctx.counters.channel_write_failures.add(1);
                    let wait = backoff.fail();
                    warn!(%error, attempt = backoff.failures(), "put refused");
                    if ctx.shutdown.sleep(wait).await {
                        break;
                    }
                }
            }
            // A channel that always has room would never let the others on this thread have their turn.
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    /// Events of the next batch; 0 when a limit is reached.
    fn left(&self, offered: u64, taken: u64) -> usize {
        let left = |max: Option<u64>, count: u64| max.map_or(u64::MAX, |max| max.saturating_sub(count));
        let left = left(self.0.offered_max, offered).min(left(self.0.taken_max, taken));
        usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(self.0.batch_size_events)
    }

    async fn wait_until(&self, due: Instant, shutdown: &Shutdown) -> bool {
        tokio::select! {
            () = shutdown.requested() => true,
            () = sleep_until(due) => false,
        }
    }

    /// A whole batch; all of its events are the same bytes.
    fn batch(&self) -> Result<Batch, RunError> {
        let body = Bytes::from(vec![BYTE; self.0.body_bytes]);
        let mut index = IndexBuilder::new(EventLimits::default());
        for _ in 0..self.0.batch_size_events {
            index
                .end(&body, 0..body.len())
                .map_err(|e| RunError::bug(e.to_string()))?;
        }
        Ok(index.finish(body))
    }
}

async fn last_call(shutdown: &Shutdown) {
    shutdown.requested().await;
    sleep(LAST_PUT).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running, *};
    use crate::component::contract::{Recorder, soon};

    fn stress(pairs: &[(&str, &str)]) -> Box<dyn DynSource> {
        let mut keys = Keys::of("source r1 (stress)", pairs);
        let source = Config::read(&mut keys).build().unwrap();
        assert_eq!(keys.finish(), []);
        Box::new(source)
    }

    /// What it delivers for the parts of the contract that do not look at bodies.
    fn some() -> Box<dyn DynSource> {
        let total = BODIES.to_string();
        stress(&[
            ("maxTotalEvents", &total),
            ("batchSize", "4"),
            ("backoffSleepIncrement", "5"),
            ("maxBackoffSleep", "10"),
        ])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_keeps_the_contract_as_far_as_equal_events_can() {
        it_says_that_it_is_ready(&some).await;
        it_stops_when_there_is_nothing_more(&some).await;
        it_stops_while_the_channel_refuses(&some).await;
        it_stops_while_a_put_hangs(&some).await;
        dropped_in_the_middle_it_leaves_no_task_behind(&some).await;
    }

    #[tokio::test]
    async fn case_115_three_events_of_four_bytes() {
        let running = Running::start(stress(&[("maxTotalEvents", "3"), ("size", "4")]), Recorder::new());
        let recorder = running.recorder.clone();
        recorder.until(|seen| seen.events == 3).await;
        running.stop().await.unwrap();
        assert_eq!(recorder.bodies(), ["\u{7f}\u{7f}\u{7f}\u{7f}"; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_batch_is_shortened_and_then_it_idles() {
        for limit in ["maxTotalEvents", "maxSuccessfulEvents"] {
            let running = Running::start(
                stress(&[(limit, "5"), ("batchSize", "2"), ("size", "0")]),
                Recorder::new(),
            );
            let recorder = running.recorder.clone();
            recorder.until(|seen| seen.events == 5).await;
            sleep(Duration::from_secs(3_600)).await;
            running.stop().await.unwrap();
            assert_eq!(
                recorder.batches(),
                [vec!["", ""], vec!["", ""], vec![""]],
                "{limit}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refused_events_count_as_offered_and_not_as_taken() {
        for (limit, taken) in [("maxTotalEvents", 3), ("maxSuccessfulEvents", 5)] {
            let recorder = Recorder::new();
            recorder.refuse(2);
            let running = Running::start(stress(&[(limit, "5")]), recorder.clone());
            recorder.until(|seen| seen.events == taken).await;
            sleep(Duration::from_secs(3_600)).await;
            assert_eq!(running.ctx.counters.accepted.value(), taken as u64, "{limit}");
            running.stop().await.unwrap();
            assert_eq!(recorder.seen().refused, 2);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let running = Running::start(
            stress(&[("maxEventsPerSecond", "100"), ("batchSize", "10")]),
            Recorder::new(),
        );
        let (recorder, before) = (running.recorder.clone(), Instant::now());
        soon(async {
            while recorder.seen().events < 1_000 {
                sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        let passed = before.elapsed().as_millis();
        assert!((9_800..10_200).contains(&passed), "{passed}");
        running.stop().await.unwrap();
    }

    #[test]
    fn mistakes_are_all_named() {
        let mut keys = Keys::of("source r1 (stress)", &[("batchSize", "0"), ("size", "-1")]);
        Config::read(&mut keys);
        let found: Vec<String> = keys.finish().iter().filter_map(|f| f.property.clone()).collect();
        assert_eq!(found, ["size", "batchSize"]);
    }
}
