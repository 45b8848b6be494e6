//! The types of this version, from the list of each folder.

use crate::component::registry::Types;
use crate::{channel, deserializer, interceptor, processor, selector, serializer, sink, source};

/// All of ours; a user's own are added to it.
pub fn all_types() -> Types {
    let mut types = Types::default();
    types.sources.list(source::ALL);
    types.channels.list(channel::ALL);
    types.sinks.list(sink::ALL);
    types.processors.list(processor::ALL);
    types.interceptors.list(interceptor::ALL);
    types.selectors.list(selector::ALL);
    types.serializers.list(serializer::ALL);
    types.deserializers.list(deserializer::ALL);
    types
}
