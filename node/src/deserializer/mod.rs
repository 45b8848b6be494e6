//! Event deserializers: one file or folder each, and the list of them. A source hands one the keys below its own
//! `deserializer.` and opens each of its files through it.

pub mod avro;
pub mod blob;
pub mod line;

use crate::component::deserializer::Deserializer;
use crate::component::registry::Type;

/// The deserializer types of this version.
pub const ALL: &[Type<Box<dyn Deserializer>>] = &[line::TYPE, avro::TYPE, blob::TYPE];
