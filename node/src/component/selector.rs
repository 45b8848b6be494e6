//! Channel selectors: which channels get which events.

use proto::event::Batch;

/// Where the events of one batch go. Numbers are places in the source's list of channels.
#[derive(Debug, Default)]
pub struct Routes {
    /// Every one of these must commit before the source hears `Ok`.
    pub required: Vec<(usize, Batch)>,
    /// Tried once each afterwards; failures are logged.
    pub optional: Vec<(usize, Batch)>,
}

/// Routes batches.
pub trait Selector: Send + Sync + 'static {
    /// Routes a batch; an event in no route vanishes with success, as in Flume.
    fn route(&self, batch: Batch) -> Routes;

    /// Channels that a batch may need, for a source's position and batch size.
    fn required(&self) -> Vec<usize>;
}
