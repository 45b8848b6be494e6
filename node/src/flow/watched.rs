//! Starting an actor so that its end is seen, panic included.
//!
//! actix's own `start` hides the actor's future; when it panics nobody is told, and `actix::Supervisor` does not
//! bring it back. Here the future is spawned by us and its `JoinHandle` awaited.

use crate::component::error::RunError;
use actix::{Actor, Context, Handler, Message, Recipient};
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::{AbortHandle, JoinHandle};

/// Control messages that may wait in an actor's mailbox.
const MAILBOX_MESSAGES: usize = 16;

/// Asks an actor to finish what is under way and to end.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop;

/// How an actor ended.
#[derive(Debug)]
pub enum Exit {
    /// By itself or because it was told to.
    Finished,
    /// With an error whose kind says what to do.
    Failed(RunError),
    /// It, or the task that it hosts, panicked.
    Panicked(String),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
        }
    }
}

/// Where an actor leaves word of how it ended, for it is gone when somebody asks.
#[derive(Debug, Clone, Default)]
pub struct ExitNote(Arc<Mutex<Option<Exit>>>);

impl ExitNote {
    /// Leaves word; the first one counts.
    pub fn leave(&self, exit: Exit) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(exit);
    }

    fn read(&self) -> Option<Exit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A running actor whose end will be seen. Dropping it kills the actor.
#[derive(Debug)]
pub struct Watched {
    stop: Recipient<Stop>,
    task: JoinHandle<()>,
    note: ExitNote,
}

/// Starts an actor on this thread's arbiter. `note` is where it leaves word of its end.
pub fn start<A>(actor: A, note: ExitNote) -> Watched
where
    A: Actor<Context = Context<A>> + Handler<Stop>,
{
    let mut ctx = Context::new();
    ctx.set_mailbox_capacity(MAILBOX_MESSAGES);
    let stop = actix::AsyncContext::address(&ctx).recipient();
    let task = actix_rt::spawn(ctx.into_future(actor));
    Watched { stop, task, note }
}

impl Watched {
    /// For asking it to stop.
    pub fn stop_recipient(&self) -> Recipient<Stop> {
        self.stop.clone()
    }

    /// For killing it.
    pub fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    /// Waits for its end.
    pub async fn exit(mut self) -> Exit {
        match (&mut self.task).await {
            Ok(()) => self.note.read().unwrap_or(Exit::Finished),
            Err(error) if error.is_panic() => Exit::Panicked(panic_text(&*error.into_panic())),
            Err(_) => Exit::Failed(RunError::retry("aborted")),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a panic said.
pub fn panic_text(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "without a text".to_owned(),
    }
}
