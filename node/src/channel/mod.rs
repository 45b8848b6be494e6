//! Channels: one file or folder each, and the list of them. Some hold two types that are one at heart.

pub mod file;
pub mod memory;

use crate::component::channel::Channel;
use crate::component::registry::Type;
use std::sync::Arc;

/// The channel types of this version.
pub const ALL: &[Type<Arc<dyn Channel>>] = &[
    file::TYPE,
    file::SPILLABLE,
    memory::TYPE,
    memory::PSEUDO_TRANSACTION,
];
