//! Keeping actors alive: our own supervision, because actix's does not see panics.
//!
//! ```text
//!   node (one for one; 5 in 60 s, then the process exits with 70)
//!   |- platform (rest for one): endpoints
//!   '- pipelines (one for one)
//!      '- pipeline P = one connected part of the flow graph (one for one)
//!         rank 0 channels, rank 1 sinks, rank 2 processors, rank 3 sources
//! ```
//!
//! Ranks start upwards and stop downwards. A child is a recipe: whatever happened to the old one, the new one is
//! built from scratch. Expected errors (`retry`) wait and start again without being counted; panics and bugs are
//! counted, and one too many parks a leaf or takes the supervisor down with all its children. A child that
//! does not stop in time is killed, which rolls back what it held.

mod child;
mod policy;
mod root;
mod supervisor;

pub use child::{ChildSpec, Gate, Strategy};
pub use root::supervise_root;
pub use supervisor::{SupervisorRecipe, supervisor};
