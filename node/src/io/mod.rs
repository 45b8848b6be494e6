//! The shared edges of the world: listeners, Avro connections, compression, TLS and its key stores, names of addresses,
//! and what sources over sockets have in common.

pub mod address;
pub mod avro_client;
pub mod datagrams;
pub mod deflate;
pub mod deliver;
pub mod host_names;
pub mod keystore;
pub mod listen;
pub mod pump;
pub mod read_buffer;
pub mod serve;
pub mod stream;
pub mod syslog;
pub mod tls;
