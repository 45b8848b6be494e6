//! Sources: where events come from.

use super::BoxFuture;
use super::channel::ChannelError;
use super::context::Common;
use super::counters::SourceCounters;
use super::error::RunError;
use bytes::Bytes;
use proto::event::Batch;
use std::ops::Deref;
use std::sync::Arc;

/// Takes events in from somewhere.
pub trait Source: Send + 'static {
    /// A source that blocks (file reads, foreign clients) gets a thread of its own, named after it.
    const BLOCKING: bool = false;

    /// The most events that one put will hold, if the source knows: checked against the channels'
    /// transactionCapacity before anything starts.
    fn batch_size(&self) -> Option<usize> {
        None
    }

    /// Runs until [`Shutdown::requested`](super::context::Shutdown::requested), then finishes what is under way
    /// and returns `Ok`. An error ends this value; supervision builds a new one when the error's kind allows it.
    fn run(self, ctx: SourceContext) -> impl Future<Output = Result<(), RunError>> + Send;
}

/// What a source puts its batches into: interceptors, selector and channels behind them.
pub trait Put: Send + Sync {
    /// See [`SourceContext::put`].
    fn put(&self, batch: Batch, position: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>>;

    /// See [`SourceContext::position`].
    fn position(&self) -> Option<Bytes>;

    /// See [`SourceContext::transaction_capacity`].
    fn transaction_capacity(&self) -> Option<usize>;

    /// See [`SourceContext::durable`].
    fn durable(&self) -> bool {
        false
    }
}

/// What a running source is given. Cheap to clone: a connection's task takes its own.
#[derive(Clone)]
pub struct SourceContext {
    common: Common,
    /// What the source counts.
    pub counters: SourceCounters,
    put: Arc<dyn Put>,
    ready: Arc<dyn Fn() + Send + Sync>,
}

impl SourceContext {
    /// A context over a way to put; `ready` is called when the source serves.
    pub fn new(
        common: Common,
        counters: SourceCounters,
        put: Arc<dyn Put>,
        ready: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            common,
            counters,
            put,
            ready,
        }
    }

    /// Puts a batch through interceptors and selector into the channels. `Ok` means that every required channel
    /// has committed it, each as safely as that channel can: only now may the sender be told. An error means
    /// that the batch must come again; some channels may hold it already.
    pub async fn put(&self, batch: Batch) -> Result<(), ChannelError> {
        self.put_all(batch, None).await
    }

    /// As [`put`](Self::put), keeping the source's own position in the same commit.
    pub async fn put_at(&self, batch: Batch, position: Bytes) -> Result<(), ChannelError> {
        self.put_all(batch, Some(position)).await
    }

    async fn put_all(&self, batch: Batch, position: Option<Bytes>) -> Result<(), ChannelError> {
        self.put.put(batch, position).await
    }

    /// The position that came with the last batch that every required channel has committed.
    pub fn position(&self) -> Option<Bytes> {
        self.put.position()
    }

    /// The most events that one put may hold, over all required channels; none if nothing restricts it.
    pub fn transaction_capacity(&self) -> Option<usize> {
        self.put.transaction_capacity()
    }

    /// Whether a required channel keeps events and position beyond the process, so that what the source does after
    /// a commit must be as safe before the position forgets it.
    pub fn durable(&self) -> bool {
        self.put.durable()
    }

    /// The source serves from now on (listens, reads, has its child running).
    pub fn ready(&self) {
        (self.ready)();
    }
}

impl Deref for SourceContext {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

/// [`Source`] as an object.
pub trait DynSource: Send {
    /// See [`Source::BLOCKING`].
    fn blocking(&self) -> bool;
    /// See [`Source::batch_size`].
    fn batch_size(&self) -> Option<usize>;
    /// See [`Source::run`].
    fn run(self: Box<Self>, ctx: SourceContext) -> BoxFuture<'static, Result<(), RunError>>;
}

impl<S: Source> DynSource for S {
    fn blocking(&self) -> bool {
        S::BLOCKING
    }

    fn batch_size(&self) -> Option<usize> {
        Source::batch_size(self)
    }

    fn run(self: Box<Self>, ctx: SourceContext) -> BoxFuture<'static, Result<(), RunError>> {
        Box::pin(async move { Source::run(*self, ctx).await })
    }
}
