//! What all actors of a node share.

use super::board::Board;
use crate::component::context::{Clock, Common, Shutdown, derived_seed};
use crate::component::fault::Faults;
use crate::telemetry::Registry;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// One per node; cheap to clone.
#[derive(Debug, Clone)]
pub struct Env {
    /// Where sources, sinks and connections run.
    pub runtime: tokio::runtime::Handle,
    /// The node's metrics.
    pub registry: Arc<Registry>,
    /// Which component is in which state.
    pub board: Arc<Board>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The node's seed.
    pub seed: u64,
    /// Fault points.
    pub faults: Faults,
    /// Cancelled when a stop must not wait for anything any more.
    pub hurry: CancellationToken,
}

impl Env {
    /// What a component of this name is given at its next start.
    pub fn common(&self, name: &str) -> Common {
        Common {
            name: name.into(),
            clock: self.clock.clone(),
            seed: derived_seed(self.seed, name),
            shutdown: Shutdown::new(),
            faults: self.faults.clone(),
        }
    }
}
