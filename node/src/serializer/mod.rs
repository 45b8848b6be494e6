//! Event serializers: one file each, and the list of them. Whoever has a serializer hands it the keys below its
//! own prefix (`sink.serializer.` of `file_roll`).

pub mod header_and_text;
pub mod text;

use crate::component::error::BuildError;
use crate::component::registry::Type;
use crate::component::serializer::Serializer;

/// The serializer types of this version.
pub const ALL: &[Type<Box<dyn Serializer>>] = &[text::TYPE, header_and_text::TYPE, AVRO_EVENT];

/// Flume's Avro containers: in the list, so that who names them is told the truth instead of "unknown".
const AVRO_EVENT: Type<Box<dyn Serializer>> = Type {
    alias: "avro_event",
    classes: &[
        "org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder",
        "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
    ],
    in_flume_metrics: false,
    build: |_, _| {
        Err(BuildError(
            "known, not in this version (expected TEXT or HEADER_AND_TEXT)".to_owned(),
        ))
    },
};
