//! `seq`: makes events that count up from 0, Flume's SequenceGeneratorSource. For tests of a flow.
//!
//! Promise: every number once and in order while the source lives; a source that is built anew starts at 0 again,
//! as in Flume. After `totalEvents` it does nothing until it is stopped.
//!
//! Failures: a refused put comes again with the same numbers after a wait with jitter, at first up to
//! `backoffSleepIncrement`, at last up to `maxBackoffSleep` (Flume tries again at once and spins). A put that can
//! never fit, because `batchSize` exceeds a transaction capacity, parks the source.
//! Source: `flume/sources.md` 5.10 and 2.

use crate::component::channel::ChannelError;
use crate::component::context::Shutdown;
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use cluster::backoff::Backoff;
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::io::Write;
use std::ops::Range;
use std::pin::pin;
use std::time::Duration;
use tracing::warn;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "seq",
    classes: &["org.apache.flume.source.SequenceGeneratorSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// How long a put that is under way may take after the source was asked to stop.
const LAST_PUT: Duration = Duration::from_secs(2);

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `batchSize`: events in one put; default 1; over 0, at most 1,000,000.
    pub batch_size_events: u64,
    /// `totalEvents`: events after which it is done; default 2^63 - 1.
    pub total_events: u64,
    /// `backoffSleepIncrement`: milliseconds of the longest first wait after a refused put; default 1,000.
    pub backoff_first: Duration,
    /// `maxBackoffSleep`: milliseconds of the longest wait of all; default 5,000.
    pub backoff_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_size_events: 1,
            total_events: i64::MAX as u64,
            backoff_first: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        let batch_max = EventLimits::default().events as u64;
        let total = keys.number("totalEvents", i64::MAX, i64::MIN..=i64::MAX);
        Self {
            batch_size_events: keys.number("batchSize", default.batch_size_events, 1..=batch_max),
            total_events: u64::try_from(total).unwrap_or(0),
            backoff_first: keys.millis(
                "backoffSleepIncrement",
                default.backoff_first,
                1..=i32::MAX as u64,
            ),
            backoff_max: keys.millis("maxBackoffSleep", default.backoff_max, 1..=i32::MAX as u64),
        }
    }

    /// The source.
    pub fn build(self) -> Result<Seq, BuildError> {
        Ok(Seq(self))
    }
}

/// The source.
#[derive(Debug)]
pub struct Seq(Config);

impl Source for Seq {
    fn batch_size(&self) -> Option<usize> {
        Some(self.0.batch_size_events as usize)
    }

    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        ctx.ready();
        tokio::select! {
            biased;
            done = self.count(&ctx) => done?,
            // Nobody waits for an answer, so a put that takes too long may be dropped.
            () = last_call(&ctx.shutdown) => {}
        }
        ctx.shutdown.requested().await;
        Ok(())
    }
}

impl Seq {
    async fn count(&self, ctx: &SourceContext) -> Result<(), RunError> {
        let mut backoff = Backoff::new(self.0.backoff_first, self.0.backoff_max, ctx.seed);
        let mut next = 0;
        while next < self.0.total_events && !ctx.shutdown.is_requested() {
            let until = (next + self.0.batch_size_events).min(self.0.total_events);
            if self.put(numbers(next..until)?, ctx, &mut backoff).await? {
                next = until;
            }
            // A channel that always has room would never let the others on this thread have their turn.
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    /// Puts until the batch is in, or returns false when it is refused and the source is to stop.
    async fn put(&self, batch: Batch, ctx: &SourceContext, backoff: &mut Backoff) -> Result<bool, RunError> {
        let events = batch.len() as u64;
        while let Err(error) = ctx.put(batch.clone()).await {
            ctx.counters.channel_write_failures.add(1);
            match error {
                ChannelError::Bug(_) => return Err(error.into()),
                ChannelError::TooLarge { .. } | ChannelError::NeverFits { .. } => {
                    return Err(RunError::reconfigure(format!("batchSize: {error}")));
                }
                _ => {}
            }
            let wait = backoff.fail();
            warn!(%error, attempt = backoff.failures(), "put refused; the same events are tried again");
            if ctx.shutdown.sleep(wait).await {
                return Ok(false);
            }
        }
        backoff.reset();
        ctx.counters.accepted.add(events);
        // Flume counts batches only where they may have more than one event.
        if self.0.batch_size_events > 1 {
            ctx.counters.batches_accepted.add(1);
        }
        Ok(true)
    }
}

fn numbers(range: Range<u64>) -> Result<Batch, RunError> {
    let bytes = (range.end - range.start) as usize * 24;
    let mut builder = BatchBuilder::with_capacity(EventLimits::default(), bytes);
    let mut digits = Vec::with_capacity(20);
    for n in range {
        digits.clear();
        // Writing to a Vec cannot fail.
        let _ = write!(digits, "{n}");
        builder
            .push(std::iter::empty::<(&str, &str)>(), &digits)
            .map_err(|e| RunError::bug(e.to_string()))?;
    }
    Ok(builder.finish())
}

async fn last_call(shutdown: &Shutdown) {
    pin!(shutdown.requested()).await;
    tokio::time::sleep(LAST_PUT).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running};
    use crate::component::contract::{Recorder, source as contract};

    fn seq(pairs: &[(&str, &str)]) -> Box<dyn DynSource> {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let source = Config::read(&mut keys).build().unwrap();
        assert_eq!(keys.finish(), []);
        Box::new(source)
    }

    contract::suite!(|| seq(&[
        ("totalEvents", &BODIES.to_string()),
        ("batchSize", "4"),
        ("backoffSleepIncrement", "5"),
        ("maxBackoffSleep", "10"),
    ]));

    #[tokio::test(start_paused = true)]
    async fn batches_are_full_but_the_last_and_then_it_idles() {
        let running = Running::start(seq(&[("batchSize", "2"), ("totalEvents", "5")]), Recorder::new());
        let (recorder, counters) = (running.recorder.clone(), running.ctx.counters.clone());
        recorder.until(|seen| seen.events == 5).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        running.stop().await.unwrap();
        assert_eq!(recorder.batches(), [vec!["0", "1"], vec!["2", "3"], vec!["4"]]);
        assert_eq!(counters.received.value(), 0);
        assert_eq!(counters.accepted.value(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_put_waits_instead_of_spinning() {
        let recorder = Recorder::new();
        recorder.refuse(4);
        let before = tokio::time::Instant::now();
        let running = Running::start(seq(&[]), recorder.clone());
        recorder.until(|seen| seen.events > 0).await;
        running.stop().await.unwrap();
        assert!(
            before.elapsed() > Duration::from_secs(1),
            "{:?}",
            before.elapsed()
        );
        assert_eq!(recorder.batches()[0], ["0"]);
    }

    #[tokio::test]
    async fn one_that_never_ends_stops_when_asked() {
        let running = Running::start(seq(&[("batchSize", "100")]), Recorder::new());
        running.recorder.until(|seen| seen.puts > 200).await;
        running.stop().await.unwrap();
    }

    #[test]
    fn a_batch_size_of_zero_is_refused() {
        let mut keys = Keys::of("source r1 (seq)", &[("batchSize", "0")]);
        Config::read(&mut keys);
        assert!(keys.has_errors());
    }
}
