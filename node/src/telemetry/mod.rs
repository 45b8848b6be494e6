//! What operators see of a node: cells that components count in, read by two pages.
//!
//! Each node has one [`Registry`]; nothing is process-global, so that two nodes in one process (tests, embedding
//! programs) never mix. A [`Counter`] is one shared atomic; the Prometheus page and Flume's JSON both read it.
//! Flume's counters start at zero with their component: there the JSON shows the cell minus its value then.

mod flume;
pub mod log;
pub mod metric;
mod registry;

pub use flume::{ComponentKind, FlumeEntry};
pub use registry::{Counter, Gauge, Registry};
