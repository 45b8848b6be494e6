//! `default`: the one sink has every turn, Flume's DefaultSinkProcessor.
//!
//! Every sink outside of a group has one; a group of it must have exactly one sink, which the host checks before
//! it builds. Promise and failures are those of the sink: its result passes through.
//! Source: `flume/channels-and-sinks.md` 4.2.

use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::processor::{DynProcessor, Processor, ProcessorContext, Round};
use crate::component::registry::Type;
use crate::component::sink::SinkContext;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynProcessor>> = Type {
    alias: "default",
    classes: &["org.apache.flume.sink.DefaultSinkProcessor"],
    in_flume_metrics: false,
    build: |keys, ctx| {
        let sinks = ctx.channels.len();
        if sinks != 1 {
            keys.wrong(
                "sinks",
                &format!("a default processor has exactly one sink, found {sinks}"),
            );
        }
        Ok(Box::new(Config::read(keys).build()?))
    },
};

/// Settings; there are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {}

impl Config {
    /// Reads the properties.
    pub fn read(_: &mut Keys) -> Self {
        Self {}
    }

    /// The processor.
    pub fn build(self) -> Result<OneSink, BuildError> {
        Ok(OneSink)
    }
}

/// The processor.
#[derive(Debug)]
pub struct OneSink;

impl Processor for OneSink {
    async fn process(&mut self, ctx: &ProcessorContext) -> Result<Round, RunError> {
        match ctx.sinks.first() {
            Some(sink) => sink.turns(SinkContext::IDLE, SinkContext::IDLE).await,
            None => Err(RunError::bug("default processor: its group has no sink")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::BoxFuture;
    use crate::component::contract::common;
    use crate::component::processor::{SinkHandle, Turn};
    use std::sync::Arc;
    use std::time::Duration;

    struct Scripted(fn() -> Result<Round, RunError>);

    impl Turn for Scripted {
        fn name(&self) -> &str {
            "k1"
        }

        fn turn(&self, _: Duration, _: Duration) -> BoxFuture<'_, Result<Round, RunError>> {
            Box::pin(std::future::ready((self.0)()))
        }
    }

    async fn round(sinks: Vec<SinkHandle>) -> Result<Round, RunError> {
        let ctx = ProcessorContext {
            common: common("g1"),
            sinks,
        };
        Processor::process(&mut Config::default().build().unwrap(), &ctx).await
    }

    #[tokio::test]
    async fn the_result_of_the_sink_passes_through() {
        let sink = |turn| vec![SinkHandle::new(Arc::new(Scripted(turn)), "c1")];
        assert_eq!(
            round(sink(|| Ok(Round::Delivered))).await.unwrap(),
            Round::Delivered
        );
        assert_eq!(round(sink(|| Ok(Round::Empty))).await.unwrap(), Round::Empty);
        let failed = round(sink(|| Err(RunError::retry("away")))).await;
        assert_eq!(failed.unwrap_err().to_string(), "away");
    }

    #[tokio::test]
    async fn a_group_without_a_sink_is_a_bug_and_no_panic() {
        assert!(round(vec![]).await.is_err());
    }
}
