//! Channel selectors: one file each, and the list of them. A selector reads the keys below `selector.`.

pub mod load_balancing;
pub mod multiplexing;
pub mod replicating;

use crate::component::registry::Type;
use crate::component::selector::Selector;

/// The selector types of this version.
pub const ALL: &[Type<Box<dyn Selector>>] = &[replicating::TYPE, multiplexing::TYPE, load_balancing::TYPE];
