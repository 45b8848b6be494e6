//! The actor of a source: builds it from its recipe and runs it over its [`Ingest`].

use super::board::State;
use super::env::Env;
use super::ingest::Ingest;
use super::task_host::{Slot, Task, TaskRecipe};
use crate::component::counters::SourceCounters;
use crate::component::error::RunError;
use crate::component::fault::Stage;
use crate::component::source::{DynSource, SourceContext};
use crate::telemetry::FlumeEntry;
use std::sync::Arc;

/// Builds a new value of a component from its properties.
pub type Rebuild<T> = Arc<dyn Fn() -> Result<T, RunError> + Send + Sync>;

/// What a source's actor is made of.
#[derive(Clone)]
pub struct SourceRecipe {
    /// The source's name.
    pub name: String,
    /// Builds the source.
    pub build: Rebuild<Box<dyn DynSource>>,
    /// Where its batches go.
    pub ingest: Arc<Ingest>,
    /// What it counts.
    pub counters: SourceCounters,
    /// Its entry in Flume's JSON.
    pub entry: Arc<FlumeEntry>,
    /// The node.
    pub env: Env,
}

impl SourceRecipe {
    /// As a hosted task.
    pub fn task(self) -> TaskRecipe {
        let title = format!("source {}", self.name);
        let (name, env, board_title) = (self.name.clone(), self.env.clone(), title.clone());
        let make = move |shutdown| {
            self.env.faults.point(Stage::SourceStart, &self.name);
            let source = (self.build)()?;
            let mut common = self.env.common(&self.name);
            common.shutdown = shutdown;
            let (board, ready_title) = (self.env.board.clone(), board_title.clone());
            let ready = Arc::new(move || board.set(&ready_title, State::Running));
            let ctx = SourceContext::new(common, self.counters.clone(), self.ingest.clone(), ready);
            let (entry, clock) = (self.entry.clone(), self.env.clock.clone());
            let (started, start_clock) = (entry.clone(), clock.clone());
            let channels = self.ingest.clone();
            Ok(Task {
                blocking: source.blocking(),
                run: Box::pin(async move {
                    // Not before now: where the source stands is in its channels.
                    tokio::select! {
                        () = channels.serve() => {}
                        () = ctx.shutdown.requested() => return Ok(()),
                    }
                    started.started(start_clock.unix_ms());
                    source.run(ctx).await
                }),
                ended: Box::new(move || entry.stopped(clock.unix_ms())),
            })
        };
        TaskRecipe {
            title,
            name,
            tick: Stage::SourceTick,
            make: Arc::new(make),
            slot: Slot::default(),
            env,
        }
    }
}
