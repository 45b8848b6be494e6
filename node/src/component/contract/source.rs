//! What every source promises. A source's tests call [`suite!`] with a function that makes a source which
//! delivers [`BODIES`] (in batches of its own choice) and then has nothing more.

use super::{Recorder, soon};
use crate::component::channel::ChannelError;
use crate::component::context::Shutdown;
use crate::component::error::RunError;
use crate::component::source::{DynSource, Source, SourceContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Makes the suite's tests for one source.
macro_rules! suite {
    ($make:expr) => {
        $crate::component::contract::source::suite!(@each $make;
            everything_arrives_once_in_order_and_is_counted,
            it_says_that_it_is_ready,
            a_refused_put_comes_again_without_loss_doubling_or_reordering,
            an_interceptor_that_fails_is_a_refused_put,
            it_stops_when_there_is_nothing_more,
            it_stops_while_the_channel_refuses,
            it_stops_while_a_put_hangs,
            dropped_in_the_middle_it_leaves_no_task_behind,
        );
    };
    (@each $make:expr; $($name:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::component::contract::source::$name(&$make).await;
            }
        )*
    };
}
pub(crate) use suite;

/// How many bodies a source under test delivers: the numbers from 0.
pub const BODIES: usize = 25;

/// The longest that a source may take to stop.
const STOP_MAX: Duration = Duration::from_secs(5);

type Make<'a> = &'a (dyn Fn() -> Box<dyn DynSource> + Sync);

/// A source that is a function: for sources that a test feeds while they run, and over sockets that it has bound.
pub fn of<F, R>(run: F) -> Box<dyn DynSource>
where
    F: FnOnce(SourceContext) -> R + Send + 'static,
    R: Future<Output = Result<(), RunError>> + Send + 'static,
{
    struct Of<F>(F);
    impl<F, R> Source for Of<F>
    where
        F: FnOnce(SourceContext) -> R + Send + 'static,
        R: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
            (self.0)(ctx).await
        }
    }
    Box::new(Of(run))
}

/// A source at work.
pub struct Running {
    pub recorder: Arc<Recorder>,
    pub ctx: SourceContext,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    pub fn start(source: Box<dyn DynSource>, recorder: Arc<Recorder>) -> Self {
        let ctx = recorder.context();
        let task = tokio::spawn(source.run(ctx.clone()));
        Self {
            recorder,
            shutdown: ctx.shutdown.clone(),
            ctx,
            task,
        }
    }

    /// Ends it at its next await, without a word.
    pub async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// Asks it to stop and returns what it says.
    pub async fn stop(self) -> Result<(), RunError> {
        self.shutdown.request();
        let stopped = tokio::time::timeout(STOP_MAX, self.task).await;
        stopped.expect("stops within five seconds").unwrap()
    }
}

fn numbers() -> Vec<String> {
    (0..BODIES).map(|n| n.to_string()).collect()
}

pub async fn everything_arrives_once_in_order_and_is_counted(make: Make<'_>) {
    let running = Running::start(make(), Recorder::new());
    let recorder = running.recorder.clone();
    recorder.until(|seen| seen.events >= BODIES).await;
    let accepted = running.ctx.counters.accepted.clone();
    running.stop().await.unwrap();
    assert_eq!(recorder.bodies(), numbers());
    assert_eq!(accepted.value(), BODIES as u64);
    assert!(recorder.batches().iter().all(|batch| !batch.is_empty()));
}

pub async fn it_says_that_it_is_ready(make: Make<'_>) {
    let ready = Arc::new(AtomicUsize::new(0));
    let (recorder, told) = (Recorder::new(), ready.clone());
    let ctx = SourceContext::new(
        super::common("r1"),
        Default::default(),
        recorder.clone(),
        Arc::new(move || {
            told.fetch_add(1, SeqCst);
        }),
    );
    let shutdown = ctx.shutdown.clone();
    let task = tokio::spawn(make().run(ctx));
    recorder.until(|seen| seen.puts > 0).await;
    assert_eq!(ready.load(SeqCst), 1);
    shutdown.request();
    soon(task).await.unwrap().unwrap();
}

pub async fn a_refused_put_comes_again_without_loss_doubling_or_reordering(make: Make<'_>) {
    let recorder = Recorder::new();
    recorder.refuse(3);
    let running = Running::start(make(), recorder.clone());
    recorder.until(|seen| seen.refused == 3).await;
    recorder.until(|seen| seen.events > 0).await;
    recorder.refuse(1);
    recorder.until(|seen| seen.events >= BODIES).await;
    let counters = running.ctx.counters.clone();
    running.stop().await.unwrap();
    assert_eq!(recorder.bodies(), numbers());
    assert_eq!(counters.accepted.value(), BODIES as u64);
}

pub async fn an_interceptor_that_fails_is_a_refused_put(make: Make<'_>) {
    let recorder = Recorder::new();
    recorder.refuse_with(2, ChannelError::Interceptor("as told".to_owned()));
    let running = Running::start(make(), recorder.clone());
    recorder.until(|seen| seen.refused == 2).await;
    recorder.until(|seen| seen.events >= BODIES).await;
    running.stop().await.expect("it has gone on");
    assert_eq!(recorder.bodies(), numbers());
}

pub async fn it_stops_when_there_is_nothing_more(make: Make<'_>) {
    let running = Running::start(make(), Recorder::new());
    running.recorder.until(|seen| seen.events >= BODIES).await;
    running.stop().await.unwrap();
}

pub async fn it_stops_while_the_channel_refuses(make: Make<'_>) {
    let recorder = Recorder::new();
    recorder.refuse(u64::MAX);
    let running = Running::start(make(), recorder.clone());
    recorder.until(|seen| seen.refused > 0).await;
    running.stop().await.unwrap();
    assert_eq!(recorder.bodies(), Vec::<String>::new());
}

pub async fn it_stops_while_a_put_hangs(make: Make<'_>) {
    let recorder = Recorder::new();
    recorder.hang();
    let running = Running::start(make(), recorder.clone());
    recorder.until(|seen| seen.puts > 0).await;
    running.stop().await.unwrap();
}

pub async fn dropped_in_the_middle_it_leaves_no_task_behind(make: Make<'_>) {
    let recorder = Recorder::new();
    recorder.hang();
    let running = Running::start(make(), recorder.clone());
    recorder.until(|seen| seen.puts > 0).await;
    running.task.abort();
    assert!(running.task.await.unwrap_err().is_cancelled());
    drop((running.ctx, running.recorder));
    // Whoever lives on has the context, and the context has the recorder.
    soon(async {
        while Arc::strong_count(&recorder) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
