//! Fault points: places where a test can make a component panic.
//!
//! A node carries a [`Faults`]; in production it is empty and a point costs one comparison a batch. A test hands
//! in a function that is called at every point with its stage and component and that may panic, which is how
//! "any panic leaves events queued" is proved instead of hoped.

use std::fmt;
use std::sync::Arc;

/// Where in the life of a component or a batch a fault point stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// A channel's actor starts.
    ChannelStart,
    /// A channel's actor looks after its channel.
    ChannelTick,
    /// A sink is built and started.
    SinkStart,
    /// A sink's task holds a lease that the sink has not seen.
    SinkTaken,
    /// The sink has returned.
    SinkProcessed,
    /// A sink's actor looks after its task.
    SinkTick,
    /// A processor starts its rounds.
    ProcessorStart,
    /// A processor starts one round.
    ProcessorRound,
    /// A processor's actor looks after its task.
    ProcessorTick,
    /// A source is built and about to run.
    SourceStart,
    /// A source's batch comes in.
    Put,
    /// Space is reserved in every required channel; nothing is committed.
    PutReserved,
    /// Every required channel has committed.
    PutCommitted,
    /// A source's actor looks after its task.
    SourceTick,
    /// A lease's commit is asked for, not begun.
    TakeCommit,
    /// An endpoint's actor looks after its task.
    EndpointTick,
    /// A supervisor looks after its children.
    SupervisorTick,
}

impl Stage {
    /// All stages.
    pub const ALL: [Stage; 17] = [
        Stage::ChannelStart,
        Stage::ChannelTick,
        Stage::SinkStart,
        Stage::SinkTaken,
        Stage::SinkProcessed,
        Stage::SinkTick,
        Stage::ProcessorStart,
        Stage::ProcessorRound,
        Stage::ProcessorTick,
        Stage::SourceStart,
        Stage::Put,
        Stage::PutReserved,
        Stage::PutCommitted,
        Stage::SourceTick,
        Stage::TakeCommit,
        Stage::EndpointTick,
        Stage::SupervisorTick,
    ];
}

type Hook = dyn Fn(Stage, &str) + Send + Sync;

/// The fault points of one node.
#[derive(Clone, Default)]
pub struct Faults(Option<Arc<Hook>>);

impl Faults {
    /// Calls `hook` at every point; it may panic.
    pub fn new(hook: impl Fn(Stage, &str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// A point that the component `name` has come to.
    pub fn point(&self, stage: Stage, name: &str) {
        if let Some(hook) = &self.0 {
            hook(stage, name);
        }
    }

    /// Whether a hook is set; actors then tick often.
    pub fn armed(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.armed() { "Faults(armed)" } else { "Faults" })
    }
}
