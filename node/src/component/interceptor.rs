//! Interceptors: look at, edit and drop the events of a batch between source and selector.

use super::error::RunError;
use proto::event::Batch;

/// Works on whole batches, through their overlay: what was received is never touched or copied.
pub trait Interceptor: Send + Sync + 'static {
    /// The batch as it goes on. Dropping events is a success; an error refuses the whole batch to the sender.
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError>;
}
