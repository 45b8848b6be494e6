//! `null`: throws events away, Flume's NullSink.
//!
//! Promise: every event is taken and committed; nothing else happens to it. Every `logEveryNEvents` events a log
//! line says how many there were; Flume counts its null takes too, here only events count.
//! Failures: only the commit can fail; the events then come again.
//! Source: `flume/channels-and-sinks.md` 6.1.

use crate::component::channel::{Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::sink::{DynSink, Sink, SinkContext};
use tracing::info;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSink>> = Type {
    alias: "null",
    classes: &["org.apache.flume.sink.NullSink"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `batchSize`: events in one transaction; default 100; over 0.
    pub batch_size_events: usize,
    /// `logEveryNEvents`: events between two log lines; default 10,000; over 0.
    pub log_every_events: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            batch_size_events: 100,
            log_every_events: 10_000,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        Self {
            batch_size_events: keys.number("batchSize", default.batch_size_events, 1..=i32::MAX as usize),
            log_every_events: keys.number("logEveryNEvents", default.log_every_events, 1..=i32::MAX as u64),
        }
    }

    /// The sink.
    pub fn build(self) -> Result<Null, BuildError> {
        Ok(Null {
            config: self,
            events: 0,
        })
    }
}

/// The sink.
#[derive(Debug)]
pub struct Null {
    config: Config,
    /// Thrown away so far.
    events: u64,
}

impl Sink for Null {
    fn want(&self) -> Want {
        Want::events(self.config.batch_size_events)
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.config.batch_size_events)
    }

    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        let events = lease.batch().len();
        ctx.counters.attempted.add(events as u64);
        lease.commit().await?;
        ctx.counters.delivered.add(events as u64);
        ctx.counters.batch(events, self.config.batch_size_events);
        if let Some(total) = self.count(events as u64) {
            info!("Null sink {} successful processed {total} events.", ctx.name);
        }
        Ok(())
    }
}

impl Null {
    /// Counts; returns what to log when a multiple of `logEveryNEvents` was reached.
    fn count(&mut self, events: u64) -> Option<u64> {
        let every = self.config.log_every_events;
        let reached = self.events / every;
        self.events += events;
        (self.events / every > reached).then_some(self.events / every * every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::sink as contract;

    struct Nowhere;

    impl contract::Fixture for Nowhere {
        fn build(&self) -> Box<dyn DynSink> {
            Box::new(Config::default().build().unwrap())
        }

        fn delivered(&self) -> Option<Vec<String>> {
            None
        }
    }

    contract::suite!(|| Nowhere);

    #[test]
    fn a_line_is_due_whenever_a_multiple_is_reached() {
        let mut keys = Keys::of("sink k1 (null)", &[("logEveryNEvents", "10")]);
        let mut null = Config::read(&mut keys).build().unwrap();
        let due: Vec<_> = [5, 4, 1, 25, 5].into_iter().map(|n| null.count(n)).collect();
        assert_eq!(due, [None, None, Some(10), Some(30), Some(40)]);
    }

    #[test]
    fn sizes_of_zero_are_refused() {
        let mut keys = Keys::of("sink k1 (null)", &[("batchSize", "0"), ("logEveryNEvents", "0")]);
        Config::read(&mut keys);
        let texts: Vec<String> = keys.finish().iter().map(|f| f.to_string()).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].contains("batchSize: expected 1 to"), "{texts:?}");
    }
}
