//! The supervisor actor: starts children by rank, sees every end, answers by policy, stops by rank.

use super::child::{ChildSpec, Strategy};
use super::policy::{Answer, Policy};
use crate::component::context::derived_seed;
use crate::component::error::RunError;
use crate::component::fault::Stage;
use crate::flow::board::State;
use crate::flow::env::Env;
use crate::flow::watched::{self, Exit, ExitNote, Stop, Watched};
use crate::telemetry::{Counter, Gauge, metric};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, WrapFuture,
};
use std::time::Duration;
use tokio::task::AbortHandle;

const TICK: Duration = Duration::from_secs(5);

/// What a supervisor is made of.
#[derive(Clone)]
pub struct SupervisorRecipe {
    /// `pipelines`; for logs and fault points.
    pub title: String,
    /// Whom a failure concerns.
    pub strategy: Strategy,
    /// In start order within a rank.
    pub children: Vec<ChildSpec>,
    /// The node.
    pub env: Env,
}

/// Starts the actor.
pub fn supervisor(recipe: &SupervisorRecipe) -> Watched {
    let note = ExitNote::default();
    let children = recipe
        .children
        .iter()
        .map(|spec| Child::new(spec.clone(), &recipe.env))
        .collect();
    let actor = Supervisor {
        title: recipe.title.clone(),
        strategy: recipe.strategy,
        children,
        env: recipe.env.clone(),
        note: note.clone(),
        stopping: None,
    };
    watched::start(actor, note)
}

struct Supervisor {
    title: String,
    strategy: Strategy,
    children: Vec<Child>,
    env: Env,
    note: ExitNote,
    /// The rank that is being stopped; ranks above are gone.
    stopping: Option<u8>,
}

struct Child {
    spec: ChildSpec,
    policy: Policy,
    running: Option<Running>,
    /// The timer of its next start.
    pending: Option<SpawnHandle>,
    /// How often it has been started: an end that was reported late is told from a new one.
    starts: u64,
    restarts: Counter,
    parked: Gauge,
}

struct Running {
    stop: Recipient<Stop>,
    kill: AbortHandle,
}

impl Child {
    fn new(spec: ChildSpec, env: &Env) -> Self {
        let labels = [("child", spec.title.as_str())];
        Self {
            policy: Policy::new(spec.leaf, derived_seed(env.seed, &spec.title)),
            restarts: env.registry.counter(metric::CHILD_RESTARTS, &labels),
            parked: env.registry.gauge(metric::CHILD_PARKED, &labels),
            running: None,
            pending: None,
            starts: 0,
            spec,
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let mut order: Vec<usize> = (0..self.children.len()).collect();
        order.sort_by_key(|&at| self.children[at].spec.rank);
        for at in order {
            self.start_child(at, ctx);
        }
        let tick = if self.env.faults.armed() {
            Duration::from_millis(5)
        } else {
            TICK
        };
        ctx.run_interval(tick, |this, _| {
            this.env.faults.point(Stage::SupervisorTick, &this.title)
        });
    }
}

impl Supervisor {
    fn start_child(&mut self, at: usize, ctx: &mut Context<Self>) {
        if self.stopping.is_some() {
            return;
        }
        let now = self.env.clock.now();
        let child = &mut self.children[at];
        let watched = (child.spec.start)();
        child.starts += 1;
        child.parked.set(0);
        child.pending = None;
        child.policy.started(now);
        child.running = Some(Running {
            stop: watched.stop_recipient(),
            kill: watched.abort_handle(),
        });
        tracing::debug!(child = %child.spec.title, start = child.starts, "started");
        let starts = child.starts;
        let end = watched.exit().into_actor(self);
        ctx.spawn(end.map(move |exit, this, ctx| this.child_ended(at, starts, exit, ctx)));
    }

    fn child_ended(&mut self, at: usize, starts: u64, exit: Exit, ctx: &mut Context<Self>) {
        let now = self.env.clock.now();
        let child = &mut self.children[at];
        if child.starts != starts || child.running.is_none() {
            return; // one that was killed to make room for its successor
        }
        child.running = None;
        if matches!(exit, Exit::Panicked(_)) {
            self.env.registry.counter(metric::NODE_PANICS, &[]).add(1);
        }
        let board = |state| {
            if child.spec.leaf {
                self.env.board.set(&child.spec.title, state);
            }
        };
        if self.stopping.is_some() {
            board(State::Stopped);
            self.stop_next(ctx);
            return;
        }
        let title = child.spec.title.as_str();
        match child.policy.ended(now, &exit) {
            Answer::LeaveStopped => {
                tracing::info!(child = title, "finished");
                board(State::Stopped);
            }
            Answer::Retry(wait) => {
                tracing::warn!(child = title, %exit, ?wait, "not possible now; it is tried again");
                board(State::Waiting(exit.to_string()));
                self.start_later(at, wait, ctx);
            }
            Answer::Restart(wait) => {
                tracing::error!(child = title, %exit, ?wait, "crashed; it is started again");
                board(State::Waiting(exit.to_string()));
                self.start_later(at, wait, ctx);
                self.take_along(at, wait, ctx);
            }
            Answer::Park(wait) => {
                tracing::error!(child = title, %exit, retry_in = ?wait, "parked; the rest goes on without it");
                board(State::Parked(exit.to_string()));
                child.parked.set(1);
                if let Some(wait) = wait {
                    self.start_later(at, wait, ctx);
                }
            }
            Answer::Escalate => {
                tracing::error!(child = title, %exit, supervisor = %self.title, "crashed too often; giving up");
                self.note.leave(Exit::Failed(RunError::bug(format!(
                    "{title} crashed too often: {exit}"
                ))));
                ctx.stop();
            }
        }
    }

    fn start_later(&mut self, at: usize, wait: Duration, ctx: &mut Context<Self>) {
        let child = &mut self.children[at];
        child.restarts.add(1);
        if let Some(earlier) = child.pending.take() {
            ctx.cancel_future(earlier);
        }
        child.pending = Some(ctx.run_later(wait, move |this, ctx| this.start_child(at, ctx)));
    }

    /// Kills those who lean on a crashed child; they start again after it.
    fn take_along(&mut self, crashed: usize, wait: Duration, ctx: &mut Context<Self>) {
        let concerned = |at: usize| match self.strategy {
            Strategy::OneForOne => false,
            Strategy::RestForOne => at > crashed,
            Strategy::OneForAll => at != crashed,
        };
        let affected: Vec<usize> = (0..self.children.len()).filter(|&at| concerned(at)).collect();
        for at in affected {
            if let Some(running) = self.children[at].running.take() {
                running.kill.abort();
                self.start_later(at, wait, ctx);
            }
        }
    }

    /// Stops the highest rank that still runs; when nothing runs any more, itself.
    fn stop_next(&mut self, ctx: &mut Context<Self>) {
        let running = self.children.iter().filter(|c| c.running.is_some());
        let Some(rank) = running.map(|c| c.spec.rank).max() else {
            self.note.leave(Exit::Finished);
            ctx.stop();
            return;
        };
        if self.stopping == Some(rank) {
            return; // under way
        }
        self.stopping = Some(rank);
        for at in 0..self.children.len() {
            if self.children[at].spec.rank == rank && self.children[at].running.is_some() {
                self.stop_child(at, ctx);
            }
        }
    }

    fn stop_child(&mut self, at: usize, ctx: &mut Context<Self>) {
        let child = &self.children[at];
        let Some(running) = &child.running else { return };
        let (stop, kill) = (running.stop.clone(), running.kill.clone());
        let (gate, hurry) = (child.spec.gate.clone(), self.env.hurry.clone());
        let (deadline, leaf, starts) = (child.spec.shutdown, child.spec.leaf, child.starts);
        let ask = async move {
            if let Some(gate) = gate {
                tokio::select! {
                    () = gate() => {}
                    () = hurry.cancelled() => {}
                }
            }
            let _ = stop.send(Stop).await;
            // Supervisors hurry by themselves, their leaves do; killing them would skip the order.
            let hurried = async {
                hurry.cancelled().await;
                tokio::time::sleep(HURRY).await;
            };
            tokio::select! {
                () = tokio::time::sleep(deadline) => {}
                () = hurried, if leaf => {}
            }
        };
        ctx.spawn(ask.into_actor(self).map(move |(), this, _| {
            let child = &this.children[at];
            if child.starts == starts && child.running.is_some() {
                tracing::warn!(child = %child.spec.title, "did not stop in time; killed");
                kill.abort();
            }
        }));
    }
}

/// How long a leaf has to stop after a second signal.
const HURRY: Duration = Duration::from_millis(500);

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        if self.stopping.is_none() {
            self.stopping = Some(u8::MAX);
            for child in &mut self.children {
                if let Some(pending) = child.pending.take() {
                    ctx.cancel_future(pending);
                }
            }
            self.stop_next(ctx);
        }
    }
}

impl Drop for Supervisor {
    /// A supervisor that dies takes its children along: the next one starts them anew.
    fn drop(&mut self) {
        for running in self.children.iter_mut().filter_map(|c| c.running.take()) {
            running.kill.abort();
        }
    }
}
