//! What a plan becomes: children that may cross threads, and what of the running ones they reuse.

use crate::component::channel::ChannelHandle;
use crate::flow::channel_host::{ChannelRecipe, channel_host};
use crate::flow::sink_host::SinkPort;
use crate::flow::task_host::{TaskRecipe, task_host};
use crate::supervise::{ChildSpec, Gate};
use crate::telemetry::FlumeEntry;
use crate::topology::diff::Id;
use std::collections::BTreeMap;
use std::sync::Arc;

const RANK_CHANNEL: u8 = 0;
const RANK_SINK: u8 = 1;
const RANK_PROCESSOR: u8 = 2;
const RANK_SOURCE: u8 = 3;

/// A plan made ready to run.
#[derive(Default)]
pub struct Applied {
    /// Every child, in the order of pipelines.
    pub children: Vec<Planned>,
    /// The channels by name.
    pub channels: BTreeMap<String, LiveChannel>,
    /// The sinks' ports by name.
    pub ports: BTreeMap<String, Arc<SinkPort>>,
}

/// What goes on when a configuration changes, and must not be made anew.
#[derive(Clone, Default)]
pub struct Reuse {
    /// Channels that stay.
    pub channels: BTreeMap<String, LiveChannel>,
    /// Ports of sinks: their processors go on holding them.
    pub ports: BTreeMap<String, Arc<SinkPort>>,
}

/// A channel and where it is shown.
#[derive(Clone)]
pub struct LiveChannel {
    /// The way to it.
    pub handle: ChannelHandle,
    /// Its entry in Flume's JSON.
    pub entry: Arc<FlumeEntry>,
}

/// A child before it exists: made of what may cross threads.
pub struct Planned {
    /// Which one.
    pub id: Id,
    /// The name of its pipeline: of that one's first channel.
    pub pipeline: String,
    /// What its actor is made of.
    pub recipe: ActorRecipe,
    /// What must be so before it is asked to stop.
    pub gate: Option<Gate>,
}

/// The recipe of an actor.
#[derive(Clone)]
pub enum ActorRecipe {
    /// Of a channel.
    Channel(ChannelRecipe),
    /// Of a source, a sink or a processor.
    Task(TaskRecipe),
}

impl Planned {
    /// As a child of its pipeline's supervisor.
    pub fn spec(&self) -> ChildSpec {
        let rank = match self.id {
            Id::Channel(_) => RANK_CHANNEL,
            Id::Sink(_) => RANK_SINK,
            Id::Processor(_) => RANK_PROCESSOR,
            Id::Source(_) => RANK_SOURCE,
        };
        let mut spec = match self.recipe.clone() {
            ActorRecipe::Channel(recipe) => {
                ChildSpec::leaf(self.id.to_string(), rank, move || channel_host(&recipe))
            }
            ActorRecipe::Task(recipe) => {
                ChildSpec::leaf(self.id.to_string(), rank, move || task_host(&recipe))
            }
        };
        spec.gate = self.gate.clone();
        spec
    }
}
