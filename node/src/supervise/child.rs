//! What a supervisor knows of a child before it starts.

use crate::component::BoxFuture;
use crate::flow::watched::Watched;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Whom a failure concerns besides the child itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody.
    OneForOne,
    /// Those that started after it: they lean on it.
    RestForOne,
}

/// Resolves when a child may be stopped; a second signal does not wait for it.
pub type Gate = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// The children that a supervisor is to have. Its recipe and whoever reconfigures the node share the list: a
/// supervisor that crashes comes back with what the list says then.
pub type Children = Rc<RefCell<Vec<ChildSpec>>>;

/// A child: its recipe and the rules for it.
#[derive(Clone)]
pub struct ChildSpec {
    /// Unique in the process: a child with another recipe is another child.
    pub id: u64,
    /// `source r1`; unique in the node.
    pub title: String,
    /// Ranks start upwards and stop downwards.
    pub rank: u8,
    /// Starts a new actor.
    pub start: Rc<dyn Fn() -> Watched>,
    /// How long it may take to stop before it is killed.
    pub shutdown: Duration,
    /// What must be so before it is asked to stop.
    pub gate: Option<Gate>,
    /// A leaf is parked when it fails too often; a supervisor takes its own supervisor with it.
    pub leaf: bool,
}

impl ChildSpec {
    /// How long a child may take to stop.
    pub const SHUTDOWN: Duration = Duration::from_secs(10);
    /// Supervisors wait for all their children, one rank after the other, and for draining.
    pub const SHUTDOWN_OF_SUPERVISORS: Duration = Duration::from_secs(90);

    /// A leaf.
    pub fn leaf(title: impl Into<String>, rank: u8, start: impl Fn() -> Watched + 'static) -> Self {
        Self::new(title.into(), rank, Rc::new(start), Self::SHUTDOWN, true)
    }

    /// A supervisor.
    pub fn supervisor(title: impl Into<String>, rank: u8, start: impl Fn() -> Watched + 'static) -> Self {
        Self::new(
            title.into(),
            rank,
            Rc::new(start),
            Self::SHUTDOWN_OF_SUPERVISORS,
            false,
        )
    }

    fn new(title: String, rank: u8, start: Rc<dyn Fn() -> Watched>, shutdown: Duration, leaf: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            title,
            rank,
            start,
            shutdown,
            gate: None,
            leaf,
        }
    }
}
