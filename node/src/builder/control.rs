//! The control thread: all actors, from the first start to the last stop, and the orders to change what runs.

use super::StartError;
use super::configuration::{Configuration, Watch};
use super::running::{NodeState, Order, Outcome, Reloaded};
use crate::admin;
use crate::component::context::Shutdown;
use crate::component::error::RunError;
use crate::component::fault::Stage;
use crate::component::keys::{Finding, Severity};
use crate::config::check;
use crate::flow::board::State;
use crate::flow::env::Env;
use crate::flow::task_host::{Slot, Task, TaskRecipe, task_host};
use crate::flow::watched::Exit;
use crate::supervise::{ChildSpec, Strategy, SupervisorRecipe, supervise_root, supervisor};
use crate::topology::apply::{Applied, Site};
use crate::topology::graph::Graph;
use crate::topology::live::Live;
use axum::Router;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long tasks that outlive their actors may take before the data runtime goes away.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(1);

/// What the control thread begins with.
pub struct Control {
    pub(super) state: Arc<NodeState>,
    pub(super) site: Site,
    pub(super) graph: Graph,
    pub(super) applied: Applied,
    pub(super) endpoints: Vec<TaskRecipe>,
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) configuration: Configuration,
    pub(super) lenient: bool,
}

impl Control {
    /// Runs until the node has stopped.
    pub fn run(self, runtime: tokio::runtime::Runtime) -> Outcome {
        let state = self.state.clone();
        let system = actix_rt::System::new();
        let exit = system.block_on(self.supervise());
        let outcome = match exit {
            Exit::Finished => state.outcome(),
            failed => {
                tracing::error!(exit = %failed, "the root supervisor gave up");
                state.outcome(); // channels are closed all the same
                Outcome::GaveUp
            }
        };
        runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
        outcome
    }

    async fn supervise(self) -> Exit {
        let env = self.site.env.clone();
        let endpoints = self
            .endpoints
            .into_iter()
            .map(|recipe| ChildSpec::leaf(recipe.title.clone(), 0, move || task_host(&recipe)));
        let platform =
            SupervisorRecipe::new("platform", Strategy::RestForOne, endpoints.collect(), env.clone());
        let flows = SupervisorRecipe::new("pipelines", Strategy::OneForOne, Vec::new(), env.clone());
        let runtime = self.site.env.runtime.clone();
        let mut live = Live::new(self.site, flows.clone());
        // Nothing runs yet, so this only fills the lists that the supervisors begin with.
        live.start(self.graph, self.applied).await;
        let below = vec![
            ChildSpec::supervisor("platform", 0, move || supervisor(&platform)),
            ChildSpec::supervisor("pipelines", 1, move || supervisor(&flows)),
        ];
        let root = SupervisorRecipe::new("node", Strategy::OneForOne, below, env);
        let reloader = Reloader {
            live,
            runtime,
            state: self.state.clone(),
            configuration: self.configuration,
            lenient: self.lenient,
        };
        actix_rt::spawn(reloader.obey(self.orders));
        supervise_root(&root, &self.state.stop).await
    }
}

/// Carries out orders, one after the other.
struct Reloader {
    live: Live,
    runtime: tokio::runtime::Handle,
    state: Arc<NodeState>,
    configuration: Configuration,
    lenient: bool,
}

impl Reloader {
    async fn obey(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(Order::Reload { given, reply }) = orders.recv().await {
            let result = if self.state.stop.is_cancelled() {
                Err(StartError::Stopping)
            } else {
                self.reload(given).await
            };
            report(&result);
            let _ = reply.send(result);
        }
    }

    async fn reload(&mut self, given: Option<Vec<(String, String)>>) -> Result<Reloaded, StartError> {
        let mut next = self.configuration.clone();
        if let Some(given) = given {
            next.sources.given = given;
        }
        // Elsewhere, as it may run commands of config filters; actors go on meanwhile.
        let reading = self.runtime.spawn_blocking(move || (next.read(), next));
        let (read, next) = reading.await.map_err(|_| StartError::Stopping)?;
        let read = read?;
        let findings = read.findings(self.live.site());
        let graph = read.graph;
        let refused = |f: &Finding| f.severity == Severity::Error;
        if !self.lenient && findings.iter().any(refused) {
            return Err(StartError::Findings(check::tidy(findings)));
        }
        let changed = self.live.reload(graph, self.lenient).await;
        *self.state.channels() = self.live.channels();
        match changed {
            Ok((changes, more)) => {
                self.configuration = next;
                let findings = check::tidy(findings.into_iter().chain(more).collect());
                Ok(Reloaded { changes, findings })
            }
            Err(more) => Err(StartError::Findings(check::tidy(
                findings.into_iter().chain(more).collect(),
            ))),
        }
    }
}

fn report(result: &Result<Reloaded, StartError>) {
    match result {
        Ok(done) => {
            done.findings
                .iter()
                .for_each(|finding| tracing::warn!("{finding}"));
            tracing::info!(changes = %done.changes, "configuration reloaded");
        }
        Err(StartError::Findings(findings)) => {
            findings.iter().for_each(|finding| tracing::error!("{finding}"));
            tracing::error!("the new configuration has errors; nothing has changed");
        }
        Err(error) => tracing::error!(%error, "the configuration was not reloaded; nothing has changed"),
    }
}

/// The watcher of the configuration's files as a hosted task.
pub fn watcher(watch: Watch, orders: mpsc::UnboundedSender<Order>, env: &Env) -> TaskRecipe {
    const TITLE: &str = "config watcher";
    let board = env.board.clone();
    board.set(TITLE, State::Starting);
    let make = move |shutdown: Shutdown| {
        let (watch, orders, board) = (watch.clone(), orders.clone(), board.clone());
        let run = async move {
            board.set(TITLE, State::Running);
            loop {
                tokio::select! {
                    () = shutdown.requested() => return Ok(()),
                    () = watch.changed() => {}
                }
                tracing::info!("Reloading configuration");
                let (reply, done) = oneshot::channel();
                if orders.send(Order::Reload { given: None, reply }).is_err() {
                    return Ok(());
                }
                let _ = done.await;
            }
        };
        Ok(Task {
            run: Box::pin(run),
            blocking: false,
            ended: Box::new(|| {}),
        })
    };
    hosted(TITLE, Arc::new(make), env)
}

/// An HTTP endpoint as a hosted task.
pub fn endpoint(title: &'static str, address: SocketAddr, router: Router, env: &Env) -> TaskRecipe {
    let board = env.board.clone();
    board.set(title, State::Starting);
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
    hosted(title, Arc::new(make), env)
}

type Make = Arc<dyn Fn(Shutdown) -> Result<Task, RunError> + Send + Sync>;

fn hosted(title: &str, make: Make, env: &Env) -> TaskRecipe {
    TaskRecipe {
        title: title.to_owned(),
        name: title.to_owned(),
        tick: Stage::EndpointTick,
        make,
        slot: Slot::default(),
        env: env.clone(),
    }
}
