//! Sources: one file each, and the list of them.

pub mod avro;
pub mod embedded;
pub mod exec;
pub mod seq;
pub mod spooldir;

use crate::component::registry::Type;
use crate::component::source::DynSource;

/// The source types of this version.
pub const ALL: &[Type<Box<dyn DynSource>>] =
    &[avro::TYPE, embedded::TYPE, exec::TYPE, seq::TYPE, spooldir::TYPE];
