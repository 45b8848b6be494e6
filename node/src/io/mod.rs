//! The shared edges of the world: listeners, TLS and its key stores, names of addresses.

pub mod address;
pub mod keystore;
pub mod listen;
pub mod tls;
