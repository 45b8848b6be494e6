//! Sink processors: one file each, and the list of them.

pub mod default;
pub mod failover;
pub mod load_balance;

use crate::component::processor::DynProcessor;
use crate::component::registry::Type;

/// The processor types of this version.
pub const ALL: &[Type<Box<dyn DynProcessor>>] = &[default::TYPE, failover::TYPE, load_balance::TYPE];
