//! The actor of a sink, and the port through which its processor gives it turns.
//!
//! The sink's task waits for turns. In a turn it takes a lease from its own channel and has the sink process it.
//! The port outlives the task: after a restart the processor finds the new task behind the same port.

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

struct Request {
    wait: Duration,
    slice: Duration,
    reply: oneshot::Sender<Result<Round, RunError>>,
}

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
        let mut tasks = self.task.subscribe();
        let attached = async {
            tasks
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|task| task.clone())
        };
        let task = tokio::time::timeout(wait, attached).await.ok().flatten();
        let away = || RunError::retry(format!("sink {} is not running", self.name));
        let task = task.ok_or_else(away)?;
        let (reply, answer) = oneshot::channel();
        task.send(Request { wait, slice, reply })
            .await
            .map_err(|_| away())?;
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
    entry: Arc<FlumeEntry>,
    env: Env,
}

impl Worker {
    async fn run(mut self) -> Result<(), RunError> {
        let shutdown = self.ctx.shutdown.clone();
        self.entry.started(self.env.clock.unix_ms());
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
        loop {
            let request = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                request = turns.recv() => request,
            };
            let Some(Request { wait, slice, reply }) = request else {
                break;
            };
            let result = self.turns(wait, slice).await;
            let fatal = match &result {
                Err(error) => matches!(error.kind(), Kind::Bug | Kind::Reconfigure),
                Ok(_) => false,
            };
            if fatal {
                // The error goes to the supervisor; the processor hears that the sink has ended.
                return result.map(|_| ());
            }
            let _ = reply.send(result);
        }
        self.sink.stop(&self.ctx).await;
        Ok(())
    }

    async fn turns(&mut self, wait: Duration, slice: Duration) -> Result<Round, RunError> {
        let begin = self.ctx.clock.now();
        loop {
            let round = self.turn(wait).await?;
            let over = round == Round::Empty || self.ctx.clock.now() - begin >= slice;
            if over || self.ctx.shutdown.is_requested() {
                return Ok(round);
            }
        }
    }

    async fn turn(&mut self, wait: Duration) -> Result<Round, RunError> {
        let taken = tokio::select! {
            biased;
            taken = self.channel.take(self.sink.want(), wait) => taken,
            () = self.ctx.shutdown.requested() => Ok(None),
        };
        match taken {
            Ok(Some(lease)) => self.process(lease).await,
            Ok(None) => self.sink.idle(&self.ctx).await.map(|()| Round::Empty),
            Err(error) => {
                self.ctx.counters.channel_read_failures.add(1);
                Err(error.into())
            }
        }
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

impl Drop for Worker {
    fn drop(&mut self) {
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
