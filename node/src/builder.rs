//! A node in a program: [`Node::builder`] takes a configuration and a user's own component types, names all
//! mistakes before anything starts, and gives a [`Node`] that can be watched and stopped.
//!
//! Two kinds of threads: one control thread with all actors, and the data runtime on which sources, sinks and
//! connections run. Several nodes in one process share nothing.

use crate::admin::{self, AdminState, Health};
use crate::component::channel::{Channel, ChannelHandle};
use crate::component::context::{Clock, Shutdown, SystemClock};
use crate::component::error::RunError;
use crate::component::fault::{Faults, Stage};
use crate::component::interceptor::Interceptor;
use crate::component::keys::{Entry, Finding, Keys, Place, Severity};
use crate::component::registry::{BuildContext, Built, Types};
use crate::component::selector::Selector;
use crate::component::serializer::Serializer;
use crate::component::sink::{DynSink, Sink};
use crate::component::source::{DynSource, Source};
use crate::config::{self, ConfigError, Property};
use crate::flow::board::{Board, State};
use crate::flow::env::Env;
use crate::flow::task_host::{Slot, Task, TaskRecipe, task_host};
use crate::flow::watched::Exit;
use crate::supervise::{ChildSpec, Strategy, SupervisorRecipe, supervise_root, supervisor};
use crate::telemetry::Registry;
use crate::topology::apply::{Site, SupervisorPlan, apply};
use crate::topology::{all_types, graph, plan};
use axum::Router;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// How long tasks that outlive their actors may take before the data runtime goes away.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(1);

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration has errors; all of them and the warnings.
    #[error("the configuration has {} errors", .0.iter().filter(|f| f.severity == Severity::Error).count())]
    Findings(Vec<Finding>),
    /// The machine refuses threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
}

/// How a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was stopped; so many events were left in memory channels and are lost.
    Stopped {
        /// Events lost.
        left: usize,
    },
    /// Its root supervisor gave up.
    GaveUp,
}

/// Collects what a node is to run.
#[derive(Default)]
pub struct NodeBuilder {
    types: Option<Types>,
    agent: String,
    files: Vec<PathBuf>,
    given: Vec<(String, String)>,
    seed: u64,
    workers: usize,
    faults: Faults,
    clock: Option<Arc<dyn Clock>>,
    max_heap_bytes: Option<u64>,
    admin: Option<SocketAddr>,
    flume_metrics: Option<SocketAddr>,
}

impl NodeBuilder {
    /// The agent of the configuration to run.
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agent = name.into();
        self
    }

    /// Adds a `.properties` file; later ones win.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Sets one property, `a1.sources.r1.type` say; wins over files.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.given.push((key.into(), value.into()));
        self
    }

    /// Registers a source type under a name of any form.
    pub fn source<S: Source>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<S> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|s| -> Box<dyn DynSource> { Box::new(s) })
        };
        self.types().sources.add(name, boxed);
        self
    }

    /// Registers a sink type under a name of any form.
    pub fn sink<S: Sink>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<S> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|s| -> Box<dyn DynSink> { Box::new(s) })
        };
        self.types().sinks.add(name, boxed);
        self
    }

    /// Registers a channel type under a name of any form.
    pub fn channel<C: Channel>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<C> + Send + Sync + 'static,
    ) -> Self {
        let shared = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|c| -> Arc<dyn Channel> { Arc::new(c) })
        };
        self.types().channels.add(name, shared);
        self
    }

    /// Registers an interceptor type under a name of any form.
    pub fn interceptor<I: Interceptor>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<I> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|i| -> Box<dyn Interceptor> { Box::new(i) })
        };
        self.types().interceptors.add(name, boxed);
        self
    }

    /// Registers a channel selector type under a name of any form.
    pub fn selector<S: Selector>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<S> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|s| -> Box<dyn Selector> { Box::new(s) })
        };
        self.types().selectors.add(name, boxed);
        self
    }

    /// Registers an event serializer type under a name of any form.
    pub fn serializer<S: Serializer>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<S> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|s| -> Box<dyn Serializer> { Box::new(s) })
        };
        self.types().serializers.add(name, boxed);
        self
    }

    /// Seed of every random choice of this node.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Threads of the data runtime; 0 (the default) is one for each core.
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.workers = threads;
        self
    }

    /// Fault points, for tests.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Other clocks, for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// What Flume's defaults mean by "max heap", in bytes.
    pub fn max_heap_bytes(mut self, bytes: Option<u64>) -> Self {
        self.max_heap_bytes = bytes;
        self
    }

    /// Serves operators: Prometheus text, `/healthz`, `/readyz`.
    pub fn admin(mut self, address: Option<SocketAddr>) -> Self {
        self.admin = address;
        self
    }

    /// Serves Flume's JSON metrics.
    pub fn flume_metrics(mut self, address: Option<SocketAddr>) -> Self {
        self.flume_metrics = address;
        self
    }

    /// Reads and checks everything, then starts. With errors nothing is started.
    pub fn start(mut self) -> Result<Node, StartError> {
        let types = Arc::new(self.types.take().unwrap_or_else(all_types));
        let loaded = config::read_files(&self.files)?;
        let mut findings = loaded.findings;
        let properties = self.properties(loaded.properties);
        let first = self.files.first().map_or(Path::new("(given)"), PathBuf::as_path);
        let place = Place {
            file: first.into(),
            line: 0,
        };
        let (graph, found) = graph::read(&properties, &self.agent, &place);
        findings.extend(found);
        let runtime = self.runtime()?;
        let env = self.env(&runtime);
        let site = Site {
            env: env.clone(),
            types,
            max_heap_bytes: self.max_heap_bytes,
        };
        let (applied, found) = apply(&plan::plan(graph), &site);
        findings.extend(found);
        if findings.iter().any(|f| f.severity == Severity::Error) {
            runtime.shutdown_background();
            return Err(StartError::Findings(findings));
        }
        let shared = Arc::new(NodeState {
            registry: env.registry.clone(),
            board: env.board.clone(),
            channels: applied.channels,
            stop: CancellationToken::new(),
            hurry: env.hurry.clone(),
        });
        let endpoints = self.endpoints(&shared, &env);
        let (thread_shared, runtime_handle) = (shared.clone(), runtime.handle().clone());
        let control = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control(thread_shared, env, applied.pipelines, endpoints, runtime))?;
        Ok(Node {
            state: shared,
            control,
            runtime: runtime_handle,
            findings,
        })
    }

    fn types(&mut self) -> &mut Types {
        self.types.get_or_insert_with(all_types)
    }

    fn properties(&self, read: Vec<Property>) -> BTreeMap<String, Entry> {
        let mut all: BTreeMap<String, Entry> = read
            .into_iter()
            .map(|p| {
                (
                    p.key,
                    Entry {
                        value: p.value,
                        place: p.place,
                    },
                )
            })
            .collect();
        let place = Place {
            file: Path::new("(given)").into(),
            line: 0,
        };
        for (key, value) in &self.given {
            all.insert(
                key.clone(),
                Entry {
                    value: value.trim().to_owned(),
                    place: place.clone(),
                },
            );
        }
        all
    }

    fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if self.workers > 0 {
            builder.worker_threads(self.workers);
        }
        builder.thread_name("data").enable_all().build()
    }

    fn env(&self, runtime: &tokio::runtime::Runtime) -> Env {
        Env {
            runtime: runtime.handle().clone(),
            registry: Arc::new(Registry::default()),
            board: Arc::new(Board::default()),
            clock: self
                .clock
                .clone()
                .unwrap_or_else(|| Arc::new(SystemClock::default())),
            seed: self.seed,
            faults: self.faults.clone(),
            hurry: CancellationToken::new(),
        }
    }

    fn endpoints(&self, state: &Arc<NodeState>, env: &Env) -> Vec<TaskRecipe> {
        let mut recipes = Vec::new();
        if let Some(address) = self.admin {
            let shown = AdminState {
                registry: state.registry.clone(),
                health: state.clone(),
            };
            recipes.push(endpoint("endpoint admin", address, admin::operator(shown), env));
        }
        if let Some(address) = self.flume_metrics {
            let router = admin::flume_metrics(state.registry.clone());
            recipes.push(endpoint("endpoint flume-metrics", address, router, env));
        }
        recipes
    }
}

/// An HTTP endpoint as a hosted task.
fn endpoint(title: &'static str, address: SocketAddr, router: Router, env: &Env) -> TaskRecipe {
    let board = env.board.clone();
    let make = move |shutdown: Shutdown| {
        let (board, router) = (board.clone(), router.clone());
        let serve = async move {
            let failed = |e| RunError::retry(format!("cannot listen on {address}")).caused_by(e);
            let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
            board.set(title, State::Running);
            tracing::info!(endpoint = title, %address, "listens");
            admin::serve(listener, router, shutdown).await.map_err(failed)
        };
        Ok(Task {
            run: Box::pin(serve),
            blocking: false,
            ended: Box::new(|| {}),
        })
    };
    TaskRecipe {
        title: title.to_owned(),
        name: title.to_owned(),
        tick: Stage::EndpointTick,
        make: Arc::new(make),
        slot: Slot::default(),
        env: env.clone(),
    }
}

/// The control thread: the actors, from the first start to the last stop.
fn control(
    state: Arc<NodeState>,
    env: Env,
    pipelines: Vec<SupervisorPlan>,
    endpoints: Vec<TaskRecipe>,
    runtime: tokio::runtime::Runtime,
) -> Outcome {
    let system = actix_rt::System::new();
    let exit = system.block_on(async {
        let endpoints = endpoints
            .into_iter()
            .map(|recipe| ChildSpec::leaf(recipe.title.clone(), 0, move || task_host(&recipe)));
        let platform =
            SupervisorRecipe::new("platform", Strategy::RestForOne, endpoints.collect(), env.clone());
        let pipelines = pipelines.into_iter().map(SupervisorPlan::into_child).collect();
        let flows = SupervisorRecipe::new("pipelines", Strategy::OneForOne, pipelines, env.clone());
        let below = vec![
            ChildSpec::supervisor("platform", 0, move || supervisor(&platform)),
            ChildSpec::supervisor("pipelines", 1, move || supervisor(&flows)),
        ];
        let root = SupervisorRecipe::new("node", Strategy::OneForOne, below, env);
        supervise_root(&root, &state.stop).await
    });
    let outcome = match exit {
        Exit::Finished => state.outcome(),
        failed => {
            tracing::error!(exit = %failed, "the root supervisor gave up");
            Outcome::GaveUp
        }
    };
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    outcome
}

/// What the node's threads and its owner share.
struct NodeState {
    registry: Arc<Registry>,
    board: Arc<Board>,
    channels: Vec<ChannelHandle>,
    stop: CancellationToken,
    hurry: CancellationToken,
}

impl NodeState {
    fn outcome(&self) -> Outcome {
        let volatile = self.channels.iter().filter(|c| !c.limits().durable);
        let mut left = 0;
        for channel in volatile {
            let events = channel.channel().held();
            if events > 0 {
                channel.counters().dropped.add(events as u64);
                tracing::error!(
                    channel = channel.name(),
                    events,
                    "events were left in a memory channel and are lost"
                );
            }
            left += events;
        }
        Outcome::Stopped { left }
    }
}

impl Health for NodeState {
    fn not_ready(&self) -> Vec<String> {
        if self.stop.is_cancelled() {
            vec!["node: stopping".to_owned()]
        } else {
            self.board.not_ready()
        }
    }

    fn alive(&self) -> bool {
        true
    }
}

/// A running node.
pub struct Node {
    state: Arc<NodeState>,
    control: JoinHandle<Outcome>,
    runtime: tokio::runtime::Handle,
    findings: Vec<Finding>,
}

impl Node {
    /// Starts to describe a node.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Warnings and notes about the configuration.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The node's metrics.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.state.registry
    }

    /// The state of every component.
    pub fn board(&self) -> &Arc<Board> {
        &self.state.board
    }

    /// A channel by name.
    pub fn channel(&self, name: &str) -> Option<&ChannelHandle> {
        self.state.channels.iter().find(|c| c.name() == name)
    }

    /// The runtime of sources and sinks; it goes away with the node.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// For stopping it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.state.clone())
    }

    /// Asks it to stop: sources first, then sinks once memory channels are empty (at most 30 s), channels last.
    pub fn stop(&self) {
        self.stopper().stop();
    }

    /// Waits for its end. Blocks; not for use on a runtime's thread.
    pub fn wait(self) -> Outcome {
        self.control.join().unwrap_or(Outcome::GaveUp)
    }
}

/// Stops a node. Cheap to clone.
#[derive(Clone)]
pub struct Stopper(Arc<NodeState>);

impl Stopper {
    /// The first call drains, the second one hurries.
    pub fn stop(&self) {
        if self.0.stop.is_cancelled() {
            self.0.hurry.cancel();
        }
        self.0.stop.cancel();
    }
}
