//! A running node and its handles.

use super::StartError;
use super::configuration::Watch;
use crate::admin::Health;
use crate::component::channel::ChannelHandle;
use crate::component::keys::Finding;
use crate::flow::board::Board;
use crate::flow::env::Env;
use crate::telemetry::Registry;
use crate::topology::diff::Changes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

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

/// What a reload did, and what was found in the configuration.
#[derive(Debug)]
pub struct Reloaded {
    /// What was stopped, started and changed.
    pub changes: Changes,
    /// Warnings and notes.
    pub findings: Vec<Finding>,
}

/// An order to the control thread.
pub enum Order {
    /// Read the configuration again and change to it; with other given properties if there are any.
    Reload {
        /// Takes the place of what was given before.
        given: Option<Vec<(String, String)>>,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Reloaded, StartError>>,
    },
}

/// What the node's threads and its owner share.
pub struct NodeState {
    pub(super) registry: Arc<Registry>,
    pub(super) board: Arc<Board>,
    channels: Mutex<Vec<ChannelHandle>>,
    pub(super) stop: CancellationToken,
    hurry: CancellationToken,
}

impl NodeState {
    pub(super) fn new(env: &Env, channels: Vec<ChannelHandle>) -> Self {
        Self {
            registry: env.registry.clone(),
            board: env.board.clone(),
            channels: Mutex::new(channels),
            stop: CancellationToken::new(),
            hurry: env.hurry.clone(),
        }
    }

    pub(super) fn channels(&self) -> MutexGuard<'_, Vec<ChannelHandle>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn outcome(&self) -> Outcome {
        let mut left = 0;
        for channel in self.channels().iter() {
            let events = channel.channel().close();
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
    orders: mpsc::UnboundedSender<Order>,
    watch: Watch,
}

impl Node {
    pub(super) fn new(
        state: Arc<NodeState>,
        control: JoinHandle<Outcome>,
        runtime: tokio::runtime::Handle,
        findings: Vec<Finding>,
        orders: mpsc::UnboundedSender<Order>,
        watch: Watch,
    ) -> Self {
        Self {
            state,
            control,
            runtime,
            findings,
            orders,
            watch,
        }
    }

    /// Starts to describe a node.
    pub fn builder() -> super::NodeBuilder {
        super::NodeBuilder::default()
    }

    /// Warnings and notes about the configuration; errors too, if the start was lenient.
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
    pub fn channel(&self, name: &str) -> Option<ChannelHandle> {
        self.state.channels().iter().find(|c| c.name() == name).cloned()
    }

    /// The runtime of sources and sinks; it goes away with the node.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Reads the configuration again and changes to it: only what differs restarts. `given` takes the place of
    /// the properties given before. With errors nothing changes. Blocks until it is done; not for use on a
    /// runtime's thread.
    pub fn reload(&self, given: Option<Vec<(String, String)>>) -> Result<Reloaded, StartError> {
        let (reply, answer) = oneshot::channel();
        self.orders
            .send(Order::Reload { given, reply })
            .map_err(|_| StartError::Stopping)?;
        answer.blocking_recv().unwrap_or(Err(StartError::Stopping))
    }

    /// For stopping it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            state: self.state.clone(),
            watch: self.watch.clone(),
        }
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

/// Stops or reloads a node from elsewhere. Cheap to clone.
#[derive(Clone)]
pub struct Stopper {
    state: Arc<NodeState>,
    watch: Watch,
}

impl Stopper {
    /// The first call drains, the second one hurries.
    pub fn stop(&self) {
        if self.state.stop.is_cancelled() {
            self.state.hurry.cancel();
        }
        self.state.stop.cancel();
    }

    /// Has the node read its files again, as soon as two reads agree.
    pub fn reload(&self) {
        self.watch.ask();
    }
}
