//! The supervisor actor: starts children by rank, sees every end, answers by policy, stops by rank.

use super::child::{ChildSpec, Children, Strategy};
use super::policy::{Answer, Policy};
use crate::component::context::derived_seed;
use crate::component::error::{Kind, RunError};
use crate::component::fault::Stage;
use crate::flow::board::State;
use crate::flow::env::Env;
use crate::flow::watched::{self, Exit, ExitNote, Stop, Watched};
use crate::telemetry::{Counter, Gauge, metric};
use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, SpawnHandle,
    WrapFuture,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

const TICK: Duration = Duration::from_secs(5);

/// How long a leaf has to stop after a second signal.
const HURRY: Duration = Duration::from_millis(500);

/// What a supervisor is made of.
#[derive(Clone)]
pub struct SupervisorRecipe {
    /// `pipelines`; for logs and fault points.
    pub title: String,
    /// Whom a failure concerns.
    pub strategy: Strategy,
    /// In start order within a rank; may change while it runs, see [`SupervisorRecipe::reconcile`].
    pub children: Children,
    /// The node.
    pub env: Env,
    /// The running actor, if any.
    actor: Rc<RefCell<Option<Recipient<Reconcile>>>>,
}

impl SupervisorRecipe {
    /// A recipe.
    pub fn new(title: impl Into<String>, strategy: Strategy, children: Vec<ChildSpec>, env: Env) -> Self {
        let children = Rc::new(RefCell::new(children));
        Self {
            title: title.into(),
            strategy,
            children,
            env,
            actor: Rc::default(),
        }
    }

    /// Has the running actor stop the children that are no longer listed and start those that are new; resolves
    /// when the former have ended. Without a running actor the next one begins with the list as it is.
    pub async fn reconcile(&self) {
        let (done, ended) = oneshot::channel();
        let actor = self.actor.borrow().clone();
        if let Some(actor) = actor
            && actor.send(Reconcile(done)).await.is_ok()
        {
            // An actor that dies drops its promise, and its children with it.
            let _ = ended.await;
        }
    }
}

/// The list of children has changed.
#[derive(Message)]
#[rtype(result = "()")]
struct Reconcile(oneshot::Sender<()>);

/// Starts the actor.
pub fn supervisor(recipe: &SupervisorRecipe) -> Watched {
    let note = ExitNote::default();
    let actor = Supervisor {
        recipe: recipe.clone(),
        children: Vec::new(),
        note: note.clone(),
        stopping: None,
        waiting: Vec::new(),
    };
    watched::start(actor, note)
}

struct Supervisor {
    recipe: SupervisorRecipe,
    children: Vec<Child>,
    note: ExitNote,
    /// The rank that is being stopped; ranks above are gone.
    stopping: Option<u8>,
    /// Who waits until no child runs that is not listed.
    waiting: Vec<oneshot::Sender<()>>,
}

struct Child {
    spec: ChildSpec,
    policy: Policy,
    running: Option<Running>,
    /// The timer of its next start.
    pending: Option<SpawnHandle>,
    /// How often it has been started: an end that was reported late is told from a new one.
    starts: u64,
    /// No longer listed: it goes as soon as it has ended.
    leaving: bool,
    /// Asked to stop, or about to be once its gate opens; until it is told, it is kept alive also while its
    /// supervisor stops: a drain needs its sinks.
    told: bool,
    all_starts: Counter,
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
            all_starts: env.registry.counter(metric::CHILD_STARTS, &labels),
            restarts: env.registry.counter(metric::CHILD_RESTARTS, &labels),
            parked: env.registry.gauge(metric::CHILD_PARKED, &labels),
            running: None,
            pending: None,
            starts: 0,
            leaving: false,
            told: false,
            spec,
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        *self.recipe.actor.borrow_mut() = Some(ctx.address().recipient());
        self.start_listed(ctx);
        let armed = self.recipe.env.faults.armed();
        let tick = if armed { Duration::from_millis(5) } else { TICK };
        ctx.run_interval(tick, |this, _| {
            this.recipe
                .env
                .faults
                .point(Stage::SupervisorTick, &this.recipe.title);
        });
    }
}

impl Supervisor {
    /// Starts what is listed and not there yet, lower ranks first.
    fn start_listed(&mut self, ctx: &mut Context<Self>) {
        let known = |id: u64| self.children.iter().any(|c| c.spec.id == id);
        let mut new: Vec<ChildSpec> = self
            .recipe
            .children
            .borrow()
            .iter()
            .filter(|spec| !known(spec.id))
            .cloned()
            .collect();
        new.sort_by_key(|spec| spec.rank);
        for spec in new {
            let id = spec.id;
            self.children.push(Child::new(spec, &self.recipe.env));
            self.start_child(id, ctx);
        }
    }

    fn child(&mut self, id: u64) -> Option<&mut Child> {
        self.children.iter_mut().find(|c| c.spec.id == id)
    }

    fn start_child(&mut self, id: u64, ctx: &mut Context<Self>) {
        let now = self.recipe.env.clock.now();
        let Some(child) = self.child(id).filter(|c| !c.leaving && !c.told) else {
            return;
        };
        let watched = (child.spec.start)();
        child.starts += 1;
        child.all_starts.add(1);
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
        ctx.spawn(end.map(move |exit, this, ctx| this.child_ended(id, starts, exit, ctx)));
    }

    fn child_ended(&mut self, id: u64, starts: u64, exit: Exit, ctx: &mut Context<Self>) {
        let env = self.recipe.env.clone();
        let Some(child) = self
            .child(id)
            .filter(|c| c.starts == starts && c.running.is_some())
        else {
            return; // one that was killed to make room for its successor
        };
        child.running = None;
        if matches!(exit, Exit::Panicked(_)) {
            env.registry.counter(metric::NODE_PANICS, &[]).add(1);
        }
        if child.leaving {
            self.forget(id);
        } else if child.told {
            child.show(&env, State::Stopped);
        } else {
            let answer = child.policy.ended(env.clock.now(), &exit);
            self.answer(id, answer, &exit, ctx);
        }
        if self.stopping.is_some() {
            self.stop_next(ctx);
        }
    }

    fn answer(&mut self, id: u64, answer: Answer, exit: &Exit, ctx: &mut Context<Self>) {
        let env = self.recipe.env.clone();
        let supervisor = self.recipe.title.clone();
        let Some(child) = self.child(id) else { return };
        let title = child.spec.title.as_str();
        match answer {
            Answer::LeaveStopped => {
                tracing::info!(child = title, "finished");
                child.show(&env, State::Stopped);
            }
            Answer::Retry(wait) => {
                tracing::warn!(child = title, %exit, ?wait, "not possible now; it is tried again");
                child.show(&env, State::Waiting(exit.to_string()));
                self.start_later(id, wait, ctx);
            }
            Answer::Restart(wait) => {
                tracing::error!(child = title, %exit, ?wait, "crashed; it is started again");
                child.show(&env, State::Waiting(exit.to_string()));
                self.start_later(id, wait, ctx);
                self.take_along(id, wait, ctx);
            }
            Answer::Park(wait) => {
                tracing::error!(child = title, %exit, retry_in = ?wait, "parked; the rest goes on without it");
                child.show(&env, State::Parked(exit.to_string()));
                child.parked.set(1);
                if let Some(wait) = wait {
                    self.start_later(id, wait, ctx);
                }
            }
            Answer::Escalate => {
                let error = match exit {
                    Exit::Failed(error) if error.kind() == Kind::Fatal => {
                        tracing::error!(child = title, %exit, %supervisor, "fatal; giving up");
                        RunError::fatal(format!("{title}: {exit}"))
                    }
                    _ => {
                        tracing::error!(child = title, %exit, %supervisor, "crashed too often; giving up");
                        RunError::bug(format!("{title} crashed too often: {exit}"))
                    }
                };
                self.note.leave(Exit::Failed(error));
                ctx.stop();
            }
        }
    }

    fn start_later(&mut self, id: u64, wait: Duration, ctx: &mut Context<Self>) {
        let Some(child) = self.child(id) else { return };
        child.restarts.add(1);
        if let Some(earlier) = child.pending.take() {
            ctx.cancel_future(earlier);
        }
        child.pending = Some(ctx.run_later(wait, move |this, ctx| this.start_child(id, ctx)));
    }

    /// Kills those who lean on a crashed child; they start again after it.
    fn take_along(&mut self, crashed: u64, wait: Duration, ctx: &mut Context<Self>) {
        let place = self.children.iter().position(|c| c.spec.id == crashed);
        let concerned = |(at, child): (usize, &Child)| {
            let leans = match self.recipe.strategy {
                Strategy::OneForOne => false,
                Strategy::RestForOne => Some(at) > place,
            };
            (leans && !child.leaving).then_some(child.spec.id)
        };
        let affected: Vec<u64> = self.children.iter().enumerate().filter_map(concerned).collect();
        for id in affected {
            if let Some(running) = self.child(id).and_then(|c| c.running.take()) {
                running.kill.abort();
                self.start_later(id, wait, ctx);
            }
        }
    }

    /// Takes a child out that is no longer listed and has ended.
    fn forget(&mut self, id: u64) {
        let Some(at) = self.children.iter().position(|c| c.spec.id == id) else {
            return;
        };
        let gone = self.children.remove(at);
        gone.parked.set(0);
        let titled = |c: &Child| c.spec.title == gone.spec.title;
        if !self.children.iter().any(titled) {
            self.recipe.env.board.remove(&gone.spec.title);
        }
        self.tell_waiting();
    }

    fn tell_waiting(&mut self) {
        if !self.children.iter().any(|c| c.leaving) {
            for done in self.waiting.drain(..) {
                let _ = done.send(());
            }
        }
    }

    /// Stops the highest rank that is still alive; when nothing is any more, itself.
    fn stop_next(&mut self, ctx: &mut Context<Self>) {
        let alive = |c: &&Child| c.running.is_some() || c.pending.is_some();
        let Some(rank) = self.children.iter().filter(alive).map(|c| c.spec.rank).max() else {
            self.note.leave(Exit::Finished);
            ctx.stop();
            return;
        };
        if self.stopping == Some(rank) {
            return; // under way
        }
        self.stopping = Some(rank);
        let of_rank = |c: &&Child| c.spec.rank == rank && alive(c) && !c.leaving;
        let ids: Vec<u64> = self.children.iter().filter(of_rank).map(|c| c.spec.id).collect();
        for id in ids {
            let hurry = self.recipe.env.hurry.clone();
            let gate = self.child(id).and_then(|c| c.spec.gate.clone());
            let opened = async move {
                if let Some(gate) = gate {
                    tokio::select! {
                        () = gate() => {}
                        () = hurry.cancelled() => {}
                    }
                }
            };
            ctx.spawn(
                opened
                    .into_actor(self)
                    .map(move |(), this, ctx| this.tell(id, ctx)),
            );
        }
    }

    /// Asks a child to stop; kills it if it takes too long. From here on it is not started again.
    fn tell(&mut self, id: u64, ctx: &mut Context<Self>) {
        let hurry = self.recipe.env.hurry.clone();
        let stopping = self.stopping.is_some();
        let Some(child) = self.child(id) else { return };
        child.told = true;
        if let Some(pending) = child.pending.take() {
            ctx.cancel_future(pending);
        }
        let Some(running) = &child.running else {
            if stopping {
                self.stop_next(ctx);
            }
            return;
        };
        let (stop, kill) = (running.stop.clone(), running.kill.clone());
        let (deadline, leaf, starts) = (child.spec.shutdown, child.spec.leaf, child.starts);
        let ask = async move {
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
            let late = this
                .child(id)
                .filter(|c| c.starts == starts && c.running.is_some());
            if let Some(child) = late {
                tracing::warn!(child = %child.spec.title, "did not stop in time; killed");
                kill.abort();
            }
        }));
    }
}

impl Child {
    fn show(&self, env: &Env, state: State) {
        if self.spec.leaf {
            env.board.set(&self.spec.title, state);
        }
    }
}

impl Handler<Stop> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        if self.stopping.is_none() {
            self.stopping = Some(u8::MAX);
            self.stop_next(ctx);
        }
    }
}

impl Handler<Reconcile> for Supervisor {
    type Result = ();

    fn handle(&mut self, Reconcile(done): Reconcile, ctx: &mut Self::Context) {
        self.waiting.push(done);
        let listed: Vec<u64> = self.recipe.children.borrow().iter().map(|spec| spec.id).collect();
        let unlisted = |c: &&mut Child| !c.leaving && !listed.contains(&c.spec.id);
        let mut leaving = Vec::new();
        for child in self.children.iter_mut().filter(unlisted) {
            child.leaving = true;
            if let Some(pending) = child.pending.take() {
                ctx.cancel_future(pending);
            }
            leaving.push((child.spec.id, child.running.is_some()));
        }
        for (id, running) in leaving {
            if running {
                self.tell(id, ctx);
            } else {
                self.forget(id);
            }
        }
        if self.stopping.is_none() {
            self.start_listed(ctx);
        }
        self.tell_waiting();
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
