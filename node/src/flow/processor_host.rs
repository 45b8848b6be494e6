//! The actor of a sink processor: round after round, with back-off after errors.
//!
//! Flume sleeps 5 s after any failure. Here the wait starts at 100 ms and grows to those 5 s with full jitter, so
//! a peer that was away for a moment is found again at once.

use super::board::State;
use super::env::Env;
use super::source_host::Rebuild;
use super::task_host::{Slot, Task, TaskRecipe};
use crate::component::error::{Kind, RunError};
use crate::component::fault::Stage;
use crate::component::processor::{DynProcessor, ProcessorContext, SinkHandle};
use cluster::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;

/// Longest first wait after a failure.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait of all: Flume's pause after a failed delivery.
const BACKOFF_CAP: Duration = Duration::from_secs(5);

/// What a processor's actor is made of.
#[derive(Clone)]
pub struct ProcessorRecipe {
    /// The group's name, or the sink's when it is in none.
    pub name: String,
    /// Builds the processor.
    pub build: Rebuild<Box<dyn DynProcessor>>,
    /// The sinks, in Flume's order.
    pub sinks: Vec<SinkHandle>,
    /// The node.
    pub env: Env,
}

impl ProcessorRecipe {
    /// As a hosted task.
    pub fn task(self) -> TaskRecipe {
        let (title, name, env) = (
            format!("processor {}", self.name),
            self.name.clone(),
            self.env.clone(),
        );
        let board_title = title.clone();
        let make = move |shutdown| {
            self.env.faults.point(Stage::ProcessorStart, &self.name);
            let processor = (self.build)()?;
            let mut common = self.env.common(&self.name);
            common.shutdown = shutdown;
            let ctx = ProcessorContext {
                common,
                sinks: self.sinks.clone(),
            };
            self.env.board.set(&board_title, State::Running);
            Ok(Task {
                blocking: false,
                run: Box::pin(rounds(processor, ctx)),
                ended: Box::new(|| {}),
            })
        };
        TaskRecipe {
            title,
            name,
            tick: Stage::ProcessorTick,
            make: Arc::new(make),
            slot: Slot::default(),
            env,
        }
    }
}

async fn rounds(mut processor: Box<dyn DynProcessor>, ctx: ProcessorContext) -> Result<(), RunError> {
    let common = &ctx.common;
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_CAP, common.seed);
    let mut told = String::new();
    while !common.shutdown.is_requested() {
        common.faults.point(Stage::ProcessorRound, &common.name);
        let round = tokio::select! {
            biased;
            round = processor.process(&ctx) => round,
            // A turn under way is withdrawn: the sink finishes the lease that it has.
            () = common.shutdown.requested() => break,
        };
        let Err(error) = round else {
            backoff.reset();
            continue;
        };
        let wait = match error.kind() {
            Kind::Bug | Kind::Reconfigure | Kind::Fatal => return Err(error),
            Kind::RetryAfter(after) => backoff.fail().max(after),
            Kind::RejectEvents => backoff.fail().max(BACKOFF_CAP),
        };
        // The first failure of a row is news, and so is another reason; the others say how long it lasts.
        let text = error.to_string();
        if backoff.failures() == 1 || text != told {
            told = text;
            tracing::warn!(processor = %common.name, %error, "Unable to deliver event; it stays queued");
        } else {
            tracing::debug!(processor = %common.name, %error, attempt = backoff.failures(), "still unable to deliver");
        }
        common.shutdown.sleep(wait).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{Log, common};
    use crate::component::processor::{Processor, Round};

    /// Fails for these reasons, one a round, and then asks to stop.
    struct Failing(Vec<&'static str>);

    impl Processor for Failing {
        async fn process(&mut self, ctx: &ProcessorContext) -> Result<Round, RunError> {
            if self.0.is_empty() {
                ctx.common.shutdown.request();
                return Ok(Round::Empty);
            }
            Err(RunError::retry(self.0.remove(0)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_of_a_row_is_told_and_every_other_reason() {
        let log = Log::capture();
        let ctx = ProcessorContext {
            common: common("g1"),
            sinks: Vec::new(),
        };
        let reasons = vec!["refused", "refused", "not trusted", "not trusted", "refused"];
        rounds(Box::new(Failing(reasons)), ctx).await.unwrap();
        let text = log.text();
        let told: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split("error=").nth(1))
            .collect();
        assert_eq!(told, ["refused", "not trusted", "refused"]);
    }
}
