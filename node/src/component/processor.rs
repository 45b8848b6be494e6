//! Sink processors: which sink of a group has its turn.
//!
//! A processor does not carry events. It gives a sink its turn; the sink's own task takes a lease from the sink's
//! own channel and delivers it. So the sinks of a group may read different channels, and a turn that fails has
//! put its events back before the next sink is asked.
//!
//! A processor that gives several sinks turns at the same time keeps them in [`Turns`].

use super::BoxFuture;
use super::context::Common;
use super::error::{Kind, RunError};
use cluster::group::{Change, Ended};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
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
    /// until `slice` is over, nothing is there any more, or one fails. Dropping the future withdraws the turn: the
    /// sink finishes the lease that it has, if any, and takes nothing more.
    fn turn(&self, wait: Duration, slice: Duration) -> BoxFuture<'_, Result<Round, RunError>>;
}

/// A sink as its processor sees it.
#[derive(Clone)]
pub struct SinkHandle {
    turn: Arc<dyn Turn>,
    channel: Arc<str>,
}

impl fmt::Debug for SinkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SinkHandle({} <- {})", self.name(), self.channel)
    }
}

impl SinkHandle {
    /// A handle over the task of a sink that reads this channel.
    pub fn new(turn: Arc<dyn Turn>, channel: &str) -> Self {
        Self {
            turn,
            channel: channel.into(),
        }
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        self.turn.name()
    }

    /// The name of the channel that it reads.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// One turn; waits up to `wait` when nothing is there.
    pub async fn turn(&self, wait: Duration) -> Result<Round, RunError> {
        self.turn.turn(wait, Duration::ZERO).await
    }

    /// Turn after turn for a while: for a processor that would not choose another sink in the meantime, so that
    /// single events need not go to and fro between two tasks.
    pub async fn turns(&self, wait: Duration, slice: Duration) -> Result<Round, RunError> {
        self.turn.turn(wait, slice).await
    }
}

/// Turns under way, at most one a sink; sinks are known by their place in the group.
#[derive(Default)]
pub struct Turns {
    under_way: Vec<Option<BoxFuture<'static, Result<Round, RunError>>>>,
    /// Who is looked at first: so that a sink that is always ready cannot hide another one.
    first: usize,
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Turns({} under way)", self.under_way.iter().flatten().count())
    }
}

impl Turns {
    /// Gives a turn; see [`SinkHandle::turns`]. One that the sink still had is withdrawn.
    pub fn give(&mut self, at: usize, sink: &SinkHandle, wait: Duration, slice: Duration) {
        if self.under_way.len() <= at {
            self.under_way.resize_with(at + 1, || None);
        }
        let sink = sink.clone();
        self.under_way[at] = Some(Box::pin(async move { sink.turns(wait, slice).await }));
    }

    /// The sink finishes the lease that it has, if any, and takes nothing more.
    pub fn withdraw(&mut self, at: usize) {
        if let Some(turn) = self.under_way.get_mut(at) {
            *turn = None;
        }
    }

    /// Whether no turn is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way.iter().all(Option::is_none)
    }

    /// The next turn that ends; none if there is none, or not within the limit.
    pub async fn ended(&mut self, limit: Option<Duration>) -> Option<(usize, Result<Round, RunError>)> {
        if self.is_empty() {
            return None;
        }
        let next = poll_fn(|ctx| self.poll(ctx));
        match limit {
            Some(limit) => tokio::time::timeout(limit, next).await.ok(),
            None => Some(next.await),
        }
    }

    fn poll(&mut self, ctx: &mut Context<'_>) -> Poll<(usize, Result<Round, RunError>)> {
        let count = self.under_way.len();
        for at in (0..count).map(|n| (self.first + n) % count) {
            let Some(turn) = &mut self.under_way[at] else {
                continue;
            };
            if let Poll::Ready(result) = turn.as_mut().poll(ctx) {
                self.under_way[at] = None;
                self.first = at + 1;
                return Poll::Ready((at, result));
            }
        }
        Poll::Pending
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

impl ProcessorContext {
    /// For each sink a number that stands for its channel.
    pub fn channels(&self) -> Vec<usize> {
        let first = |sink: &SinkHandle| self.sinks.iter().position(|s| s.channel() == sink.channel());
        self.sinks.iter().filter_map(first).collect()
    }
}

/// How a turn ended, as the machines that choose sinks hear it. Every failure is one of the sink: what it will not
/// take, another one may.
pub fn ended(result: &Result<Round, RunError>) -> Ended {
    match result {
        Ok(Round::Delivered) => Ended::Delivered,
        Ok(Round::Empty) => Ended::Empty,
        Err(error) => Ended::Failed(match error.kind() {
            Kind::RetryAfter(after) => after,
            _ => Duration::ZERO,
        }),
    }
}

/// Tells what became of a sink: its first failure of a row is news, in the words of `failed`, and that it is back.
pub fn report(
    group: &str,
    sink: &str,
    change: Option<Change>,
    result: &Result<Round, RunError>,
    failed: &str,
) {
    let error = result.as_ref().err().map(tracing::field::display);
    match change {
        Some(Change::Failed(1, left_out)) => {
            tracing::warn!(group, error, ?left_out, "Sink {sink} {failed}");
        }
        Some(Change::Failed(attempt, left_out)) => {
            tracing::debug!(group, error, attempt, ?left_out, "Sink {sink} failed again");
        }
        Some(Change::Recovered) => tracing::info!(group, "Sink {sink} is back"),
        None => {}
    }
}

/// The failure of a round in which no sink is left to ask, to be tried again when the next one may be.
pub fn none_left(message: &'static str, next: Option<Duration>, last: Option<RunError>) -> RunError {
    let all = RunError::retry_after(next.unwrap_or_default(), message);
    match last {
        Some(last) => all.caused_by(last),
        None => all,
    }
}

/// Chooses sinks.
pub trait Processor: Send + 'static {
    /// One round: gives one or more sinks a turn. The host calls again at once after `Ok`, after a wait with
    /// back-off after an error. It may drop the future when the processor is to stop.
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
