//! Sinks: where events go.

use super::BoxFuture;
use super::channel::{Lease, Want};
use super::context::Common;
use super::counters::SinkCounters;
use super::error::RunError;
use bytes::Bytes;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Delivers events somewhere.
pub trait Sink: Send + 'static {
    /// A sink that blocks (file writes, foreign clients) gets a thread of its own, named after it.
    const BLOCKING: bool = false;

    /// How much a lease may hold.
    fn want(&self) -> Want;

    /// The configured batch size, if the type has one: checked against the channel's transactionCapacity before
    /// anything starts.
    fn batch_size(&self) -> Option<usize> {
        None
    }

    /// Opens what may be opened before the first lease. A peer that is away is no error here.
    fn start(&mut self, ctx: &SinkContext) -> impl Future<Output = Result<(), RunError>> + Send {
        let _ = ctx;
        std::future::ready(Ok(()))
    }

    /// Gets ready for a lease before it is taken: connects, if it must. A sink that cannot takes nothing, so that
    /// the events stay free for the other sinks of its group while it tries. Called often: cheap when there is
    /// nothing to do.
    fn ready(&mut self, ctx: &SinkContext) -> impl Future<Output = Result<(), RunError>> + Send {
        let _ = ctx;
        std::future::ready(Ok(()))
    }

    /// Delivers a lease and commits it. A lease that is dropped is rolled back. A pipelining sink keeps leases
    /// and commits them later, in any order; `Ok` then only means that it wants the next one.
    fn process(
        &mut self,
        lease: Lease,
        ctx: &SinkContext,
    ) -> impl Future<Output = Result<(), RunError>> + Send;

    /// Nothing was taken for [`SinkContext::IDLE`], because nothing was there or because another sink of the group
    /// has the turns: the time to roll files, flush, complete kept leases. Called again every so often.
    fn idle(&mut self, ctx: &SinkContext) -> impl Future<Output = Result<(), RunError>> + Send {
        let _ = ctx;
        std::future::ready(Ok(()))
    }

    /// Finishes what is under way and closes.
    fn stop(&mut self, ctx: &SinkContext) -> impl Future<Output = ()> + Send {
        let _ = ctx;
        std::future::ready(())
    }
}

/// What a running sink is given.
#[derive(Debug, Clone)]
pub struct SinkContext {
    common: Common,
    /// What the sink counts.
    pub counters: SinkCounters,
    /// The position that this sink last committed with a lease.
    pub position: Option<Bytes>,
    /// How its own positions are named.
    pub owner: Arc<str>,
}

impl SinkContext {
    /// How long a take waits when nothing is there.
    pub const IDLE: Duration = Duration::from_secs(1);

    /// A context.
    pub fn new(common: Common, counters: SinkCounters, owner: Arc<str>, position: Option<Bytes>) -> Self {
        Self {
            common,
            counters,
            position,
            owner,
        }
    }
}

impl Deref for SinkContext {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

/// [`Sink`] as an object.
pub trait DynSink: Send {
    /// See [`Sink::BLOCKING`].
    fn blocking(&self) -> bool;
    /// See [`Sink::want`].
    fn want(&self) -> Want;
    /// See [`Sink::batch_size`].
    fn batch_size(&self) -> Option<usize>;
    /// See [`Sink::start`].
    fn start<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>>;
    /// See [`Sink::ready`].
    fn ready<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>>;
    /// See [`Sink::process`].
    fn process<'a>(&'a mut self, lease: Lease, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>>;
    /// See [`Sink::idle`].
    fn idle<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>>;
    /// See [`Sink::stop`].
    fn stop<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, ()>;
}

impl<S: Sink> DynSink for S {
    fn blocking(&self) -> bool {
        S::BLOCKING
    }

    fn want(&self) -> Want {
        Sink::want(self)
    }

    fn batch_size(&self) -> Option<usize> {
        Sink::batch_size(self)
    }

    fn start<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(Sink::start(self, ctx))
    }

    fn ready<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(Sink::ready(self, ctx))
    }

    fn process<'a>(&'a mut self, lease: Lease, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(Sink::process(self, lease, ctx))
    }

    fn idle<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(Sink::idle(self, ctx))
    }

    fn stop<'a>(&'a mut self, ctx: &'a SinkContext) -> BoxFuture<'a, ()> {
        Box::pin(Sink::stop(self, ctx))
    }
}
