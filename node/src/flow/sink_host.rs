//! The actor of a sink, and the port through which its processor gives it turns.
//!
//! The sink's task waits for turns. In a turn it has the sink get ready, takes a lease from its own channel and has
//! the sink process it. The port outlives the task: after a restart the processor finds the new task behind the same
//! port, and a turn waits for a task that is just being replaced.
//!
//! A turn whose giver has gone is withdrawn: what was taken is delivered, and nothing more is taken.

use super::board::State;
use super::env::Env;
use super::source_host::Rebuild;
use super::task_host::{Slot, Task, TaskRecipe};
use crate::component::BoxFuture;
use crate::component::channel::{ChannelHandle, Lease};
use crate::component::counters::SinkCounters;
use crate::component::error::{Kind, RunError};
use crate::component::fault::Stage;
use crate::component::processor::{Round, Turn};
use crate::component::sink::{DynSink, SinkContext};
use crate::telemetry::FlumeEntry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// How long a turn waits at least for a task behind the port.
const ATTACH: Duration = SinkContext::IDLE;

struct Request {
    wait: Duration,
    slice: Duration,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<Round, RunError>>;

/// Where a processor reaches a sink's task, whichever task it is at the moment.
pub struct SinkPort {
    name: Arc<str>,
    task: watch::Sender<Option<mpsc::Sender<Request>>>,
}

impl SinkPort {
    /// A port behind which no task is yet.
    pub fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            task: watch::Sender::new(None),
        })
    }

    async fn send_turn(&self, wait: Duration, slice: Duration) -> Result<Round, RunError> {
        let away = || RunError::retry(format!("sink {} is not running", self.name));
        let mut tasks = self.task.subscribe();
        let deadline = Instant::now() + wait.max(ATTACH);
        let answer = loop {
            // A task that has ended takes itself out of the port a moment later.
            let attached = tasks.wait_for(|task| task.as_ref().is_some_and(|task| !task.is_closed()));
            let task = match tokio::time::timeout_at(deadline, attached).await {
                Ok(Ok(task)) => task.clone().ok_or_else(away)?,
                _ => return Err(away()),
            };
            let (reply, answer) = oneshot::channel();
            if task.send(Request { wait, slice, reply }).await.is_ok() {
                break answer;
            }
        };
        answer
            .await
            .map_err(|_| RunError::retry(format!("sink {} ended during its turn", self.name)))?
    }
}

impl Turn for SinkPort {
    fn name(&self) -> &str {
        &self.name
    }

    fn turn(&self, wait: Duration, slice: Duration) -> BoxFuture<'_, Result<Round, RunError>> {
        Box::pin(self.send_turn(wait, slice))
    }
}

/// What a sink's actor is made of.
#[derive(Clone)]
pub struct SinkRecipe {
    /// The sink's name.
    pub name: String,
    /// Builds the sink.
    pub build: Rebuild<Box<dyn DynSink>>,
    /// Where it takes from.
    pub channel: ChannelHandle,
    /// Where its processor reaches it.
    pub port: Arc<SinkPort>,
    /// What it counts.
    pub counters: SinkCounters,
    /// Its entry in Flume's JSON.
    pub entry: Arc<FlumeEntry>,
    /// The node.
    pub env: Env,
}

impl SinkRecipe {
    /// As a hosted task.
    pub fn task(self) -> TaskRecipe {
        let (title, name, env) = (format!("sink {}", self.name), self.name.clone(), self.env.clone());
        let make = move |shutdown| {
            self.env.faults.point(Stage::SinkStart, &self.name);
            let sink = (self.build)()?;
            let blocking = sink.blocking();
            let owner: Arc<str> = format!("sink/{}", self.name).into();
            let mut common = self.env.common(&self.name);
            common.shutdown = shutdown;
            let (entry, clock) = (self.entry.clone(), self.env.clock.clone());
            let worker = Worker {
                sink,
                ctx: SinkContext::new(common, self.counters.clone(), owner, None),
                channel: self.channel.clone(),
                port: self.port.clone(),
                attached: None,
                quiet_since: Instant::now(),
                entry: entry.clone(),
                env: self.env.clone(),
            };
            Ok(Task {
                blocking,
                run: Box::pin(worker.run()),
                ended: Box::new(move || entry.stopped(clock.unix_ms())),
            })
        };
        TaskRecipe {
            title,
            name,
            tick: Stage::SinkTick,
            make: Arc::new(make),
            slot: Slot::default(),
            env,
        }
    }
}

struct Worker {
    sink: Box<dyn DynSink>,
    ctx: SinkContext,
    channel: ChannelHandle,
    port: Arc<SinkPort>,
    /// What it has hung into the port.
    attached: Option<mpsc::Sender<Request>>,
    /// When it last held a lease, or was last told that it is idle.
    quiet_since: Instant,
    entry: Arc<FlumeEntry>,
    env: Env,
}

impl Worker {
    async fn run(mut self) -> Result<(), RunError> {
        let shutdown = self.ctx.shutdown.clone();
        self.entry.started(self.env.clock.unix_ms());
        tokio::select! {
            biased;
            () = self.channel.serves() => {}
            () = shutdown.requested() => return Ok(()),
        }
        // Not before now: a predecessor may have committed its own until it ended.
        self.ctx.position = self.channel.position(&self.ctx.owner);
        tokio::select! {
            biased;
            started = self.sink.start(&self.ctx) => started?,
            () = shutdown.requested() => return Ok(()),
        }
        let (task, mut turns) = mpsc::channel::<Request>(1);
        self.port.task.send_replace(Some(task.clone()));
        self.attached = Some(task);
        self.env
            .board
            .set(&format!("sink {}", self.ctx.name), State::Running);
        self.quiet_since = Instant::now();
        // What went wrong between two turns is the next one's failure.
        let mut failed_idle = None;
        loop {
            let request = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                request = turns.recv() => request,
                () = tokio::time::sleep_until(self.quiet_since + SinkContext::IDLE) => {
                    match self.idle().await {
                        Err(error) if is_fatal(&error) => return Err(error),
                        idled => failed_idle = idled.err().or(failed_idle),
                    }
                    continue;
                }
            };
            let Some(Request {
                wait,
                slice,
                mut reply,
            }) = request
            else {
                break;
            };
            if reply.is_closed() {
                continue; // withdrawn before it began
            }
            let result = match failed_idle.take() {
                Some(error) => Err(error),
                None => self.turns(wait, slice, &mut reply).await,
            };
            if result.as_ref().is_err_and(is_fatal) {
                // The error goes to the supervisor; the processor hears that the sink has ended.
                return result.map(|_| ());
            }
            let _ = reply.send(result);
        }
        // It ends in order, which is no failure: turns wait for its successor, if there is one.
        self.detach();
        turns.close();
        while let Ok(Request { reply, .. }) = turns.try_recv() {
            let _ = reply.send(Ok(Round::Empty));
        }
        self.sink.stop(&self.ctx).await;
        Ok(())
    }

    async fn turns(&mut self, wait: Duration, slice: Duration, reply: &mut Reply) -> Result<Round, RunError> {
        let begin = self.ctx.clock.now();
        loop {
            let round = self.turn(wait, reply).await?;
            let over = round == Round::Empty || self.ctx.clock.now() - begin >= slice;
            if over || reply.is_closed() || self.ctx.shutdown.is_requested() {
                return Ok(round);
            }
        }
    }

    async fn turn(&mut self, wait: Duration, reply: &mut Reply) -> Result<Round, RunError> {
        if let Err(error) = self.sink.ready(&self.ctx).await {
            self.ctx.counters.write_failures.add(1);
            return Err(error);
        }
        let taken = tokio::select! {
            biased;
            // Withdrawn: what comes now is for somebody else.
            () = reply.closed() => return Ok(Round::Empty),
            taken = self.channel.take(self.sink.want(), wait) => taken,
            () = self.ctx.shutdown.requested() => Ok(None),
        };
        match taken {
            Ok(Some(lease)) => {
                let processed = self.process(lease).await;
                self.quiet_since = Instant::now();
                processed
            }
            Ok(None) if self.quiet_since.elapsed() < SinkContext::IDLE => Ok(Round::Empty),
            Ok(None) => self.idle().await.map(|()| Round::Empty),
            Err(error) => {
                self.ctx.counters.channel_read_failures.add(1);
                Err(error.into())
            }
        }
    }

    async fn idle(&mut self) -> Result<(), RunError> {
        let idled = self.sink.idle(&self.ctx).await;
        self.quiet_since = Instant::now();
        idled
    }

    async fn process(&mut self, lease: Lease) -> Result<Round, RunError> {
        self.ctx.faults.point(Stage::SinkTaken, &self.ctx.name);
        let processed = self.sink.process(lease, &self.ctx).await;
        self.ctx.faults.point(Stage::SinkProcessed, &self.ctx.name);
        if let Err(error) = &processed {
            self.ctx.counters.write_failures.add(1);
            if error.kind() == Kind::RejectEvents {
                self.ctx.counters.rejected_batches.add(1);
            }
        }
        processed.map(|()| Round::Delivered)
    }
}

impl Worker {
    fn detach(&self) {
        // Its successor may hang there already.
        let mine = |held: &Option<mpsc::Sender<Request>>| match (held, &self.attached) {
            (Some(held), Some(mine)) => held.same_channel(mine),
            _ => false,
        };
        self.port.task.send_if_modified(|held| {
            let clear = mine(held);
            if clear {
                *held = None;
            }
            clear
        });
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.detach();
    }
}

/// Whether the supervisor has to know.
fn is_fatal(error: &RunError) -> bool {
    matches!(error.kind(), Kind::Bug | Kind::Reconfigure)
}
