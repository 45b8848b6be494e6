//! The actors around components, and the way of a batch from a source into channels.
//!
//! ```text
//!   source task --put--> Ingest: interceptors > selector > reserve everywhere > commit everywhere
//!                                                                |
//!   processor task --turn--> sink task --take, process, commit-- channel
//! ```
//!
//! Every source, channel, sink and processor has an actor on the control thread: `channel_host` for channels,
//! `task_host` for the others. The actor starts, watches and stops; the work itself runs as a task on the data
//! runtime, or on a named thread when the component blocks. Actors get control messages only.

pub mod board;
pub(crate) mod channel_host;
pub(crate) mod env;
pub(crate) mod ingest;
pub(crate) mod processor_host;
pub(crate) mod sink_host;
pub(crate) mod source_host;
pub(crate) mod task_host;
pub mod transaction;
pub(crate) mod watched;
