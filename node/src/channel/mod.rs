//! Channels: one file each, and the list of them.

pub mod file;
pub mod memory;

use crate::component::channel::Channel;
use crate::component::registry::Type;
use std::sync::Arc;

/// The channel types of this version.
pub const ALL: &[Type<Arc<dyn Channel>>] = &[file::TYPE, memory::TYPE];
