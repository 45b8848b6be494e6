//! `embedded`: events from the program that this node runs in, Flume's EmbeddedSource.
//!
//! The program holds an [`Embedded`] and puts events into it, one or many at a time; each call returns when every
//! required channel has committed, or with the reason why not, and nothing is retried behind its back. While the
//! source is not running (start, restart, stop) calls are refused as unavailable.
//!
//! Source: `flume/runtime.md` 11.1 (EmbeddedAgent's put and putAll).

use crate::component::channel::ChannelError;
use crate::component::error::{BuildError, RunError};
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use proto::event::{Batch, BatchBuilder, Event, EventError, EventLimits};
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error as ThisError;

/// How the list names it. Only a program can build one: it registers its own end under this name with
/// `Node::builder().source("embedded", …)`, which takes the place of this.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "embedded",
    classes: &["org.apache.flume.agent.embedded.EmbeddedSource"],
    in_flume_metrics: true,
    build: |_, _| {
        Err(BuildError(
            "runs only in a program that registers its own end of it".to_owned(),
        ))
    },
};

/// Why an event was not taken.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The source is not running now.
    #[error("the embedded source is not running")]
    NotRunning,
    /// A channel refused; with fan-out others may hold the event.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The event is over a limit.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// The program's end. Cheap to clone, works from any thread.
#[derive(Clone, Default)]
pub struct Embedded {
    /// The running source's context, if it runs.
    slot: Arc<RwLock<Option<SourceContext>>>,
    /// Held for reading by every put under way: the source ends when it can have it for itself.
    under_way: Arc<tokio::sync::RwLock<()>>,
}

impl Embedded {
    /// An end without a source yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The source's end, to be built by the node at each of its starts.
    pub fn source(&self) -> EmbeddedSource {
        EmbeddedSource { slot: self.clone() }
    }

    /// Puts one event.
    pub async fn put(&self, event: &Event) -> Result<(), Error> {
        self.put_all(std::slice::from_ref(event)).await
    }

    /// Puts events in one transaction of each channel.
    pub async fn put_all(&self, events: &[Event]) -> Result<(), Error> {
        let mut builder = BatchBuilder::new(EventLimits::default());
        for event in events {
            builder.push(event.headers(), &event.body)?;
        }
        self.put_batch(builder.finish()).await
    }

    /// Puts a batch that the program has built.
    pub async fn put_batch(&self, batch: Batch) -> Result<(), Error> {
        let _under_way = self.under_way.read().await;
        let ctx = self
            .slot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or(Error::NotRunning)?;
        let events = batch.len() as u64;
        ctx.counters.batches_received.add(1);
        ctx.counters.received.add(events);
        ctx.put(batch)
            .await
            .inspect_err(|_| ctx.counters.channel_write_failures.add(1))?;
        ctx.counters.batches_accepted.add(1);
        ctx.counters.accepted.add(events);
        Ok(())
    }

    fn set(&self, ctx: Option<SourceContext>) {
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = ctx;
    }
}

/// The source of an [`Embedded`].
pub struct EmbeddedSource {
    slot: Embedded,
}

impl Source for EmbeddedSource {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        struct Cleared<'a>(&'a Embedded);
        impl Drop for Cleared<'_> {
            fn drop(&mut self) {
                self.0.set(None);
            }
        }
        self.slot.set(Some(ctx.clone()));
        let _cleared = Cleared(&self.slot);
        ctx.ready();
        ctx.shutdown.requested().await;
        self.slot.set(None);
        // Puts under way are finished or refused by the channels within keep-alive.
        let _all = self.slot.under_way.write().await;
        Ok(())
    }
}
