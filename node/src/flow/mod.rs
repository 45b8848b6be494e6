//! The actors around components, and the way of a batch from a source into channels.
//!
//! ```text
//!   source task --put--> Ingest: interceptors > selector > reserve everywhere > commit everywhere
//!                                                                |
//!   processor task --turn--> sink task --take, process, commit-- channel
//! ```
//!
//! Every source, channel, sink and processor has an actor on the control thread: [`channel_host`] for channels,
//! [`task_host`] for the others. The actor starts, watches and stops; the work itself runs as a task on the data
//! runtime, or on a named thread when the component blocks. Actors get control messages only.

pub mod board;
pub mod channel_host;
pub mod env;
pub mod ingest;
pub mod processor_host;
pub mod sink_host;
pub mod source_host;
pub mod task_host;
pub mod transaction;
pub mod watched;
