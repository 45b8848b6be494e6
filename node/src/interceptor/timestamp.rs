//! `timestamp`: a header with the time at which the batch was received, in milliseconds since 1970; Flume's
//! TimestampInterceptor.
//!
//! One look at the clock and one edit a batch (Flume looks once an event). A time that is there already is replaced,
//! unless `preserveExisting` says otherwise. It cannot fail. Source: `flume/sources.md` 7.

use crate::component::context::Clock;
use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use proto::event::Batch;
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "timestamp",
    classes: &["org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys).build(ctx.clock.clone())?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `headerName`: default `timestamp`.
    pub header: String,
    /// `preserveExisting`: an event that has the header keeps it; default false.
    pub preserve_existing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: "timestamp".to_owned(),
            preserve_existing: false,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        // Whoever chose this interceptor has read it.
        let _ = keys.text("type");
        let default = Self::default();
        Self {
            header: keys.text("headerName").unwrap_or(default.header),
            preserve_existing: keys.flag("preserveExisting", default.preserve_existing),
        }
    }

    /// The interceptor.
    pub fn build(self, clock: Arc<dyn Clock>) -> Result<Timestamp, BuildError> {
        Ok(Timestamp { config: self, clock })
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct Timestamp {
    config: Config,
    clock: Arc<dyn Clock>,
}

impl Interceptor for Timestamp {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let now = self.clock.unix_ms().to_string();
        let mut edit = batch.edit();
        if self.config.preserve_existing {
            edit.set_all_absent(&self.config.header, &now);
        } else {
            edit.set_all(&self.config.header, &now);
        }
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::time::Time;
    use proto::event::{BatchBuilder, EventLimits};

    #[derive(Debug)]
    struct At(u64);

    impl Clock for At {
        fn unix_ms(&self) -> u64 {
            self.0
        }
        fn now(&self) -> Time {
            Time::ZERO
        }
    }

    fn stamped(pairs: &[(&str, &str)], header: &str) -> Vec<Option<String>> {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let interceptor = Config::read(&mut keys).build(Arc::new(At(17))).unwrap();
        assert_eq!(keys.finish(), []);
        let mut builder = BatchBuilder::new(EventLimits::default());
        builder.push([("timestamp", "5")], b"a").unwrap();
        builder.push([("x", "y")], b"b").unwrap();
        let batch = interceptor.intercept(builder.finish()).unwrap();
        batch
            .iter()
            .map(|e| e.header(header).map(str::to_owned))
            .collect()
    }

    #[test]
    fn every_event_has_the_time() {
        assert_eq!(stamped(&[], "timestamp"), [Some("17".into()), Some("17".into())]);
        assert_eq!(
            stamped(&[("headerName", "t")], "t"),
            [Some("17".into()), Some("17".into())]
        );
        assert_eq!(
            stamped(&[("headerName", "t")], "timestamp"),
            [Some("5".into()), None]
        );
    }

    #[test]
    fn a_time_that_is_there_is_kept_if_asked_for() {
        let kept = stamped(&[("preserveExisting", "TRUE")], "timestamp");
        assert_eq!(kept, [Some("5".into()), Some("17".into())]);
    }
}
