//! The shared edges of the world: listeners, TLS and its key stores, compression, names of addresses.

pub mod address;
pub mod deflate;
pub mod keystore;
pub mod listen;
pub mod stream;
pub mod tls;
