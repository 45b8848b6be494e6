//! The shared edges of the world: listeners, TLS, names of addresses.

pub mod address;
pub mod avro_client;
pub mod listen;
pub mod tls;
