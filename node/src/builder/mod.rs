//! A node in a program: [`Node::builder`] takes a configuration and a user's own component types, names all
//! mistakes before anything starts, and gives a [`Node`] that can be watched and stopped.
//!
//! Two kinds of threads: one control thread with all actors, and the data runtime on which sources, sinks and
//! connections run. Several nodes in one process share nothing.

mod configuration;
mod control;
mod running;

pub use running::{Node, Outcome, Reloaded, Stopper};

use crate::admin::{self, AdminState};
use crate::component::channel::Channel;
use crate::component::context::{Clock, SystemClock};
use crate::component::deserializer::Deserializer;
use crate::component::fault::Faults;
use crate::component::interceptor::Interceptor;
use crate::component::keys::{Finding, Keys, Severity};
use crate::component::registry::{BuildContext, Built, Types};
use crate::component::selector::Selector;
use crate::component::serializer::Serializer;
use crate::component::sink::{DynSink, Sink};
use crate::component::source::{DynSource, Source};
use crate::config::{ConfigError, Sources, check};
use crate::flow::board::{Board, State};
use crate::flow::env::Env;
use crate::flow::task_host::TaskRecipe;
use crate::telemetry::Registry;
use crate::topology::apply::{Reuse, Site, apply};
use crate::topology::{all_types, plan};
use configuration::{Configuration, Watch};
use control::{Control, endpoint, watcher};
use running::NodeState;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration has errors; all of them and the warnings.
    #[error("{}", told(.0))]
    Findings(Vec<Finding>),
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The machine refuses threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
}

fn told(findings: &[Finding]) -> String {
    match findings.iter().filter(|f| f.severity == Severity::Error).count() {
        1 => "1 error".to_owned(),
        n => format!("{n} errors"),
    }
}

/// Collects what a node is to run.
#[derive(Default)]
pub struct NodeBuilder {
    types: Option<Types>,
    agent: String,
    sources: Option<Sources>,
    seed: u64,
    workers: usize,
    faults: Faults,
    clock: Option<Arc<dyn Clock>>,
    max_heap_bytes: Option<u64>,
    admin: Option<SocketAddr>,
    flume_metrics: Option<SocketAddr>,
    poll_interval: Duration,
    lenient: bool,
}

impl NodeBuilder {
    /// The agent of the configuration to run.
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agent = name.into();
        self
    }

    /// Everything that a configuration is read from; takes the place of files and properties named before.
    pub fn configuration(mut self, sources: Sources) -> Self {
        self.sources = Some(sources);
        self
    }

    /// Adds a `.properties` file; later ones win.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.sources().files.push(path.into());
        self
    }

    /// Sets one property, `a1.sources.r1.type` say; wins over files.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.sources().given.push((key.into(), value.into()));
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

    /// Registers an event deserializer type under a name of any form.
    pub fn deserializer<D: Deserializer>(
        mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<D> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |keys: &mut Keys, ctx: &BuildContext| {
            build(keys, ctx).map(|d| -> Box<dyn Deserializer> { Box::new(d) })
        };
        self.types().deserializers.add(name, boxed);
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

    /// Looks for changes of the files this often and reloads them; zero (the default) never does.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// Starts what is without errors, as Flume does, and leaves the rest out.
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.lenient = lenient;
        self
    }

    /// Reads and checks everything, then starts. With errors nothing is started, unless it is lenient.
    pub fn start(mut self) -> Result<Node, StartError> {
        let types = Arc::new(self.types.take().unwrap_or_else(all_types));
        let sources = self.sources().clone();
        let configuration = Configuration {
            agent: self.agent.clone(),
            sources,
        };
        let seen = configuration.fingerprint();
        let read = configuration.read()?;
        let runtime = self.runtime()?;
        let env = self.env(&runtime);
        let site = Site {
            env: env.clone(),
            types,
            max_heap_bytes: self.max_heap_bytes,
            tls: read.tls(),
        };
        let mut findings = read.findings(&site);
        let graph = read.graph;
        let (applied, found) = apply(&plan::plan(graph.clone()), &site, &Reuse::default());
        findings.extend(found);
        let findings = check::tidy(findings);
        if !self.lenient && findings.iter().any(|f| f.severity == Severity::Error) {
            runtime.shutdown_background();
            return Err(StartError::Findings(findings));
        }
        let (commands, orders) = mpsc::unbounded_channel();
        let shared = Arc::new(NodeState::new(
            &env,
            applied.channels.values().map(|c| c.handle.clone()).collect(),
        ));
        for child in &applied.children {
            // So that nothing is ready before it has started, whenever somebody asks.
            env.board.set(&child.id.to_string(), State::Starting);
        }
        let mut endpoints = self.endpoints(&shared, &env);
        let watch = Watch::new(configuration.clone(), self.poll_interval, seen);
        endpoints.push(watcher(watch.clone(), commands.clone(), &env));
        let control = Control {
            state: shared.clone(),
            site,
            graph,
            applied,
            endpoints,
            orders,
            configuration,
            lenient: self.lenient,
        };
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || control.run(runtime))?;
        Ok(Node::new(shared, thread, handle, findings, commands, watch))
    }

    fn sources(&mut self) -> &mut Sources {
        self.sources
            .get_or_insert_with(|| Sources::of_files(Vec::<PathBuf>::new()))
    }

    fn types(&mut self) -> &mut Types {
        self.types.get_or_insert_with(all_types)
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
