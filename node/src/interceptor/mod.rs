//! Interceptors: one file each, and the list of them. The list is empty in this version: the contract
//! ([`Interceptor`]), its place in the way of a batch and a user's own interceptors are there, Flume's types come
//! with an issue of their own. A source that names one is refused with the name.

use crate::component::interceptor::Interceptor;
use crate::component::registry::Type;

/// The interceptor types of this version.
pub const ALL: &[Type<Box<dyn Interceptor>>] = &[];
