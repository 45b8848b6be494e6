//! Sinks: one file each, and the list of them.

pub mod avro;
pub mod file_roll;
pub mod http;
pub mod logger;
pub mod null;

use crate::component::registry::Type;
use crate::component::sink::DynSink;

/// The sink types of this version.
pub const ALL: &[Type<Box<dyn DynSink>>] =
    &[avro::TYPE, null::TYPE, logger::TYPE, file_roll::TYPE, http::TYPE];
