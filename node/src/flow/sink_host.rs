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
    matches!(error.kind(), Kind::Bug | Kind::Reconfigure | Kind::Fatal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::channel::Want;
    use crate::component::context::{Shutdown, SystemClock};
    use crate::component::contract::{memory_channel, put, soon};
    use crate::component::fault::Faults;
    use crate::component::sink::Sink;
    use crate::flow::board::Board;
    use crate::telemetry::{ComponentKind, Registry};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use tokio_util::sync::CancellationToken;

    const SECOND: Duration = Duration::from_secs(1);

    /// What the sink does, and what became of it.
    #[derive(Default)]
    struct Does {
        unready: AtomicBool,
        fails_when_idle: AtomicBool,
        idled: AtomicUsize,
    }

    struct Told(Arc<Does>);

    impl Sink for Told {
        fn want(&self) -> Want {
            Want::events(1)
        }

        async fn ready(&mut self, _: &SinkContext) -> Result<(), RunError> {
            match self.0.unready.load(SeqCst) {
                true => Err(RunError::retry("not connected")),
                false => Ok(()),
            }
        }

        async fn process(&mut self, lease: Lease, _: &SinkContext) -> Result<(), RunError> {
            lease.commit().await.map_err(RunError::from)
        }

        async fn idle(&mut self, _: &SinkContext) -> Result<(), RunError> {
            self.0.idled.fetch_add(1, SeqCst);
            match self.0.fails_when_idle.swap(false, SeqCst) {
                true => Err(RunError::retry("cannot roll")),
                false => Ok(()),
            }
        }
    }

    struct Hosted {
        does: Arc<Does>,
        channel: ChannelHandle,
        port: Arc<SinkPort>,
        recipe: TaskRecipe,
    }

    impl Hosted {
        fn new() -> Self {
            let (does, channel, port) = (Arc::<Does>::default(), memory_channel(100), SinkPort::new("k1"));
            let registry = Arc::new(Registry::default());
            let env = Env {
                runtime: tokio::runtime::Handle::current(),
                registry: registry.clone(),
                board: Arc::new(Board::default()),
                clock: Arc::new(SystemClock::default()),
                seed: 0,
                faults: Faults::default(),
                hurry: CancellationToken::new(),
            };
            let told = does.clone();
            let recipe = SinkRecipe {
                name: "k1".to_owned(),
                build: Arc::new(move || Ok(Box::new(Told(told.clone())))),
                channel: channel.clone(),
                port: port.clone(),
                counters: SinkCounters::default(),
                entry: FlumeEntry::new(&registry, ComponentKind::Sink, "k1", "told"),
                env,
            };
            Self {
                does,
                channel,
                port,
                recipe: recipe.task(),
            }
        }

        fn start(&self) -> Shutdown {
            let shutdown = Shutdown::new();
            let task = (self.recipe.make)(shutdown.clone()).unwrap();
            tokio::spawn(task.run);
            shutdown
        }

        async fn put(&self) {
            put(&self.channel, [b"event".as_slice()].into_iter().collect()).await;
        }
    }

    #[tokio::test]
    async fn a_withdrawn_turn_takes_nothing_more() {
        let hosted = Hosted::new();
        hosted.start();
        let waiting = hosted.port.turn(Duration::from_secs(60), Duration::ZERO);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), waiting)
                .await
                .is_err()
        );
        hosted.put().await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hosted.channel.channel().queued(), 1);
        let next = soon(hosted.port.turn(Duration::ZERO, Duration::ZERO)).await;
        assert_eq!(next.unwrap(), Round::Delivered);
    }

    #[tokio::test]
    async fn a_sink_that_is_not_ready_takes_nothing() {
        let hosted = Hosted::new();
        hosted.does.unready.store(true, SeqCst);
        hosted.put().await;
        hosted.start();
        let refused = soon(hosted.port.turn(SECOND, Duration::ZERO)).await;
        assert_eq!(refused.unwrap_err().to_string(), "not connected");
        assert_eq!(hosted.channel.channel().queued(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_without_turns_hears_that_it_is_idle_and_its_next_turn_tells_of_a_failure() {
        let hosted = Hosted::new();
        hosted.start();
        tokio::time::sleep(SECOND * 7 / 2).await;
        assert_eq!(hosted.does.idled.load(SeqCst), 3);
        hosted.does.fails_when_idle.store(true, SeqCst);
        tokio::time::sleep(SECOND).await;
        let told = hosted.port.turn(Duration::ZERO, Duration::ZERO).await;
        assert_eq!(told.unwrap_err().to_string(), "cannot roll");
        let next = hosted.port.turn(Duration::ZERO, Duration::ZERO).await;
        assert_eq!(next.unwrap(), Round::Empty);
    }

    #[tokio::test(start_paused = true)]
    async fn short_turns_without_events_are_idle_once_a_second() {
        let hosted = Hosted::new();
        hosted.start();
        for _ in 0..30 {
            let round = hosted.port.turn(SECOND / 10, Duration::ZERO).await;
            assert_eq!(round.unwrap(), Round::Empty);
        }
        let idled = hosted.does.idled.load(SeqCst);
        assert!((2..=3).contains(&idled), "{idled} times in 3 seconds");
    }

    #[tokio::test]
    async fn a_turn_waits_for_the_successor_of_a_sink_that_ended_in_order() {
        let hosted = Hosted::new();
        let first = hosted.start();
        let mut waiting = hosted.port.turn(Duration::from_secs(60), Duration::ZERO);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), &mut waiting)
                .await
                .is_err()
        );
        first.request();
        assert_eq!(soon(waiting).await.unwrap(), Round::Empty, "no failure");
        hosted.put().await;
        let next = hosted.port.turn(SECOND, Duration::ZERO);
        let (round, _) = tokio::join!(soon(next), async { hosted.start() });
        assert_eq!(round.unwrap(), Round::Delivered);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_task_a_turn_fails_after_a_second() {
        let hosted = Hosted::new();
        let failed = hosted.port.turn(Duration::ZERO, Duration::ZERO).await;
        assert_eq!(failed.unwrap_err().to_string(), "sink k1 is not running");
    }
}
