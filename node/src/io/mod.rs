//! The shared edges of the world: listeners, Avro connections, TLS and its key stores, names of addresses.

pub mod address;
pub mod avro_client;
pub mod keystore;
pub mod listen;
pub mod tls;
