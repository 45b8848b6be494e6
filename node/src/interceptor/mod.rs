//! Interceptors: one file each, and the list of them. `morphline` is not in this version; a source that names it is
//! refused with the name. A user's own interceptors are registered with the node's builder.

pub mod constant;
pub mod host;
pub mod regex_extractor;
pub mod regex_filter;
pub mod remove_header;
pub mod search_replace;
pub mod timestamp;
pub mod uuid;

use crate::component::interceptor::Interceptor;
use crate::component::registry::Type;

/// The interceptor types of this version.
pub const ALL: &[Type<Box<dyn Interceptor>>] = &[
    timestamp::TYPE,
    host::TYPE,
    constant::TYPE,
    remove_header::TYPE,
    uuid::TYPE,
    search_replace::TYPE,
    regex_filter::TYPE,
    regex_extractor::TYPE,
];
