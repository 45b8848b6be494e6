//! A world in memory for the machines of this crate: it fails and crashes when a seed says so.

pub mod disk;
pub mod keys;
