//! From properties to running children: names and edges, the ordered plan, the recipes.
//!
//! [`catalog`] is what Flume knows: types and properties; [`graph`] reads what an agent's properties say; [`plan`] orders it into pipelines and is a value that can be
//! printed; `apply` builds every component once, so that all mistakes are named before anything starts, and
//! turns the plan into recipes for supervisors.

pub(crate) mod apply;
pub mod catalog;
pub mod diff;
pub mod explain;
pub mod graph;
pub(crate) mod live;
pub mod plan;
mod types;
mod unbuilt;

pub use types::all_types;
