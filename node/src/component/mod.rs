//! The contract between the node and its components: what a source, channel, sink, processor, interceptor,
//! selector or serializer is, and what it is given. A component author writes one of these traits and never
//! meets an actor.
//!
//! | trait | promise |
//! |---|---|
//! | [`Source`](source::Source) | runs until told to stop; acknowledges only what `put` has returned `Ok` for |
//! | [`Channel`](channel::Channel) | what is committed stays until its take is committed, in order |
//! | [`Sink`](sink::Sink) | commits a lease only when its events are safe elsewhere |
//! | [`Processor`](processor::Processor) | chooses which sink of a group has its turn |
//! | [`Interceptor`](interceptor::Interceptor) | looks at, edits and drops events of a batch |
//! | [`Selector`](selector::Selector) | says which channels get which events |
//! | [`Serializer`](serializer::Serializer) | events to the bytes of a file |
//! | [`Deserializer`](deserializer::Deserializer) | a file to events, and where to go on |
//!
//! Async methods are `Send` and cancel-safe: a dropped future leaves events queued, never lost.

pub mod channel;
pub mod context;
pub mod counters;
pub mod deserializer;
pub mod error;
pub mod fault;
pub mod interceptor;
pub mod keys;
pub mod processor;
pub mod queue;
pub mod registry;
pub mod selector;
pub mod serializer;
pub mod sink;
pub mod source;

#[cfg(test)]
pub mod contract;

/// A boxed future, for traits that are used as objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
