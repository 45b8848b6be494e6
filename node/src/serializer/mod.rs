//! Event serializers: one file each, and the list of them. Whoever has a serializer hands it the keys below its
//! own prefix (`sink.serializer.` of `file_roll`).

pub mod avro_event;
pub mod header_and_text;
pub mod text;

use crate::component::registry::Type;
use crate::component::serializer::Serializer;

/// The serializer types of this version.
pub const ALL: &[Type<Box<dyn Serializer>>] = &[text::TYPE, header_and_text::TYPE, avro_event::TYPE];
