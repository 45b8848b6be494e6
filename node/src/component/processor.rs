//! Sink processors: which sink of a group has its turn.
//!
//! A processor does not carry events. It gives a sink its turn; the sink's own task takes a lease from the sink's
//! own channel and delivers it. So the sinks of a group may read different channels, and a turn that fails has
//! put its events back before the next sink is asked.

use super::BoxFuture;
use super::context::Common;
use super::error::RunError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What a turn found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// A lease was delivered, or is under way in a pipelining sink.
    Delivered,
    /// Nothing was there to take.
    Empty,
}

/// The way to a sink's task.
pub trait Turn: Send + Sync {
    /// The sink's name.
    fn name(&self) -> &str;

    /// Takes (waiting up to `wait` when nothing is there) and delivers one lease; then goes on, lease after lease,
    /// until `slice` is over, nothing is there any more, or one fails.
    fn turn(&self, wait: Duration, slice: Duration) -> BoxFuture<'_, Result<Round, RunError>>;
}

/// A sink as its processor sees it.
#[derive(Clone)]
pub struct SinkHandle(Arc<dyn Turn>);

impl fmt::Debug for SinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkHandle({})", self.name())
    }
}

impl SinkHandle {
    /// A handle over a sink's task.
    pub fn new(turn: Arc<dyn Turn>) -> Self {
        Self(turn)
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// One turn; waits up to `wait` when nothing is there.
    pub async fn turn(&self, wait: Duration) -> Result<Round, RunError> {
        self.0.turn(wait, Duration::ZERO).await
    }

    /// Turn after turn for a while: for a processor that would not choose another sink in the meantime, so that
    /// single events need not go to and fro between two tasks.
    pub async fn turns(&self, wait: Duration, slice: Duration) -> Result<Round, RunError> {
        self.0.turn(wait, slice).await
    }
}

/// What a running processor is given.
#[derive(Debug, Clone)]
pub struct ProcessorContext {
    /// Names, clock, seed, shutdown.
    pub common: Common,
    /// The group's sinks, in Flume's order.
    pub sinks: Vec<SinkHandle>,
}

/// Chooses sinks.
pub trait Processor: Send + 'static {
    /// One round: gives one or more sinks a turn. The host calls again at once after `Delivered`, after a wait
    /// with back-off after an error.
    fn process(&mut self, ctx: &ProcessorContext) -> impl Future<Output = Result<Round, RunError>> + Send;
}

/// [`Processor`] as an object.
pub trait DynProcessor: Send {
    /// See [`Processor::process`].
    fn process<'a>(&'a mut self, ctx: &'a ProcessorContext) -> BoxFuture<'a, Result<Round, RunError>>;
}

impl<P: Processor> DynProcessor for P {
    fn process<'a>(&'a mut self, ctx: &'a ProcessorContext) -> BoxFuture<'a, Result<Round, RunError>> {
        Box::pin(Processor::process(self, ctx))
    }
}
