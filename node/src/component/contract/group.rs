//! Sinks of a group that do as a script says, with a clock that is moved by hand: for the tests of processors.

use super::{ManualClock, common};
use crate::component::BoxFuture;
use crate::component::context::Clock;
use crate::component::error::RunError;
use crate::component::processor::{Processor, ProcessorContext, Round, SinkHandle, Turn};
use cluster::time::Time;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// What a sink does in its turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripted {
    Deliver,
    Empty,
    Retry,
    Reject,
    NotRunning,
    /// The turn does not end until it is released.
    Hang,
}

#[derive(Default)]
struct State {
    acts: BTreeMap<String, Scripted>,
    /// Deliveries, and failures in brackets.
    taken: Vec<String>,
    withdrawn: Vec<String>,
}

/// The sinks of one group.
pub struct Script {
    state: Arc<Mutex<State>>,
    releases: BTreeMap<String, watch::Sender<Option<Scripted>>>,
    clock: Arc<ManualClock>,
    ctx: ProcessorContext,
}

struct Actor {
    name: String,
    state: Arc<Mutex<State>>,
    release: watch::Sender<Option<Scripted>>,
}

impl Script {
    /// Sinks of one channel, which deliver.
    pub fn of(sinks: &[&str]) -> Self {
        Self::over(&sinks.iter().map(|sink| (*sink, "c1")).collect::<Vec<_>>())
    }

    /// Sinks with their channels.
    pub fn over(sinks: &[(&str, &str)]) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let clock = ManualClock::at(0);
        let mut common = common("g1");
        common.clock = clock.clone();
        let mut releases = BTreeMap::new();
        let mut handles = Vec::new();
        for (name, channel) in sinks {
            let release = watch::Sender::new(None);
            releases.insert((*name).to_owned(), release.clone());
            let actor = Actor {
                name: (*name).to_owned(),
                state: state.clone(),
                release,
            };
            handles.push(SinkHandle::new(Arc::new(actor), channel));
        }
        let ctx = ProcessorContext {
            common,
            sinks: handles,
        };
        Self {
            state,
            releases,
            clock,
            ctx,
        }
    }

    /// Time passes as the runtime has it, which may be paused.
    pub fn with_the_clock_of_tokio(mut self) -> Self {
        self.ctx.common.clock = Arc::new(TokioClock(tokio::time::Instant::now()));
        self
    }

    pub fn set(&self, sink: &str, act: Scripted) {
        self.state().acts.insert(sink.to_owned(), act);
    }

    /// Ends a turn that hangs.
    pub fn release(&self, sink: &str, act: Scripted) {
        self.releases[sink].send_replace(Some(act));
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// So many rounds, or as many as there are before one fails.
    pub async fn rounds(&self, processor: &mut impl Processor, count: usize) -> Result<(), RunError> {
        for _ in 0..count {
            processor.process(&self.ctx).await?;
        }
        Ok(())
    }

    /// Who has delivered, in order; failures stand in brackets.
    pub fn taken(&self) -> String {
        self.state().taken.join(" ")
    }

    /// Whose turns were taken away.
    pub fn withdrawn(&self) -> Vec<String> {
        self.state().withdrawn.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Actor {
    async fn act(&self) -> Result<Round, RunError> {
        let act = self.state.lock().unwrap().acts.get(&self.name).copied();
        let mut act = act.unwrap_or(Scripted::Deliver);
        if act == Scripted::Hang {
            let withdrawn = Withdrawn(Some(self));
            let mut release = self.release.subscribe();
            act = release
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|act| *act)
                .unwrap_or(Scripted::Retry);
            self.release.send_replace(None);
            withdrawn.forget();
        }
        let mut state = self.state.lock().unwrap();
        let failed = |error| Err(error);
        let result = match act {
            Scripted::Deliver => Ok(Round::Delivered),
            Scripted::Empty => Ok(Round::Empty),
            Scripted::Reject => failed(RunError::reject(format!("{} rejects", self.name))),
            Scripted::NotRunning => failed(RunError::retry(format!("sink {} is not running", self.name))),
            Scripted::Retry | Scripted::Hang => failed(RunError::retry(format!("{} is away", self.name))),
        };
        match &result {
            Ok(Round::Delivered) => state.taken.push(self.name.clone()),
            Ok(Round::Empty) => {}
            Err(_) => state.taken.push(format!("({})", self.name)),
        }
        result
    }
}

impl Turn for Actor {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&self, _: Duration, _: Duration) -> BoxFuture<'_, Result<Round, RunError>> {
        Box::pin(self.act())
    }
}

/// Notes that a turn was dropped.
struct Withdrawn<'a>(Option<&'a Actor>);

impl Withdrawn<'_> {
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        if let Some(actor) = self.0 {
            actor.state.lock().unwrap().withdrawn.push(actor.name.clone());
        }
    }
}

#[derive(Debug)]
struct TokioClock(tokio::time::Instant);

impl Clock for TokioClock {
    fn unix_ms(&self) -> u64 {
        self.now().nanos() / 1_000_000
    }

    fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}
