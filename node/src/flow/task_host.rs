//! The actor that hosts a component's task: sources, sinks, processors and endpoints.
//!
//! The task runs on the data runtime, or on a named thread of its own when the component blocks. However the
//! task ends (well, with an error, with a panic) the actor leaves word and ends too; however the actor ends, the
//! task is cancelled at its next await and its drops give back what it held.

use super::board::State;
use super::env::Env;
use super::watched::{Exit, ExitNote, Stop, Watched, panic_text, start};
use crate::component::BoxFuture;
use crate::component::context::Shutdown;
use crate::component::error::RunError;
use crate::component::fault::Stage;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_secs(5);

/// A task that is ready to run.
pub struct Task {
    /// Runs until the shutdown is requested.
    pub run: BoxFuture<'static, Result<(), RunError>>,
    /// Whether it needs a thread of its own.
    pub blocking: bool,
    /// Called once when the task has begun and ended, whichever way.
    pub ended: Box<dyn FnOnce() + Send>,
}

type Make = Arc<dyn Fn(Shutdown) -> Result<Task, RunError> + Send + Sync>;

/// What a hosted task's actor is made of; every start makes a new task.
#[derive(Clone)]
pub struct TaskRecipe {
    /// `source r1`, for board and thread names.
    pub title: String,
    /// The component's name, for fault points.
    pub name: String,
    /// The fault point that its actor ticks at.
    pub tick: Stage,
    /// Makes the task.
    pub make: Make,
    /// Held by the task that runs: a successor starts only when the task before it has really ended.
    pub slot: Slot,
    /// The node.
    pub env: Env,
}

/// One place, for one task at a time.
pub type Slot = Arc<tokio::sync::Mutex<()>>;

struct TaskHost {
    recipe: TaskRecipe,
    note: ExitNote,
    shutdown: Shutdown,
    kill: CancellationToken,
}

/// Starts the actor.
pub fn task_host(recipe: &TaskRecipe) -> Watched {
    let note = ExitNote::default();
    let host = TaskHost {
        recipe: recipe.clone(),
        note: note.clone(),
        shutdown: Shutdown::new(),
        kill: CancellationToken::new(),
    };
    start(host, note)
}

impl Actor for TaskHost {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.recipe.env.board.set(&self.recipe.title, State::Starting);
        let task = match (self.recipe.make)(self.shutdown.clone()) {
            Ok(task) => task,
            Err(error) => {
                self.note.leave(Exit::Failed(error));
                ctx.stop();
                return;
            }
        };
        let end = self.launch(task).into_actor(self).map(|exit, host, ctx| {
            host.note.leave(exit);
            ctx.stop();
        });
        ctx.spawn(end);
        let faults = &self.recipe.env.faults;
        let tick = if faults.armed() {
            Duration::from_millis(5)
        } else {
            TICK
        };
        ctx.run_interval(tick, |host, _| {
            host.recipe.env.faults.point(host.recipe.tick, &host.recipe.name)
        });
    }
}

impl TaskHost {
    /// Runs the task elsewhere; the returned future resolves with its end.
    fn launch(&self, task: Task) -> impl Future<Output = Exit> + use<> {
        let (told, end) = oneshot::channel();
        let kill = self.kill.clone();
        let Task { run, blocking, ended } = task;
        let slot = self.recipe.slot.clone();
        let guarded = async move {
            let alone = async move {
                let _slot = slot.lock().await;
                // Dropped before the place is free: what the successor begins must not be ended by us.
                let _ended = OnDrop(Some(ended));
                run.await
            };
            let caught = futures_util::FutureExt::catch_unwind(AssertUnwindSafe(alone));
            let exit = tokio::select! {
                biased;
                () = kill.cancelled() => return,
                ended = caught => match ended {
                    Ok(Ok(())) => Exit::Finished,
                    Ok(Err(error)) => Exit::Failed(error),
                    Err(panic) => Exit::Panicked(panic_text(&*panic)),
                },
            };
            let _ = told.send(exit);
        };
        if blocking {
            let runtime = self.recipe.env.runtime.clone();
            // Linux shows 15 bytes of a thread's name.
            let name = self.recipe.title.replace(' ', "-");
            let spawned = std::thread::Builder::new()
                .name(name)
                .spawn(move || runtime.block_on(guarded));
            if let Err(error) = spawned {
                tracing::error!(component = %self.recipe.title, %error, "no thread for a blocking component");
            }
        } else {
            self.recipe.env.runtime.spawn(guarded);
        }
        async {
            end.await
                .unwrap_or_else(|_| Exit::Failed(RunError::retry("its task was dropped")))
        }
    }
}

/// Runs what must run however the task ends; also when it is dropped.
struct OnDrop(Option<Box<dyn FnOnce() + Send>>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        if let Some(ended) = self.0.take() {
            ended();
        }
    }
}

impl Handler<Stop> for TaskHost {
    type Result = ();

    fn handle(&mut self, _: Stop, _: &mut Self::Context) {
        self.shutdown.request();
    }
}

impl Drop for TaskHost {
    fn drop(&mut self) {
        self.shutdown.request();
        self.kill.cancel();
    }
}
