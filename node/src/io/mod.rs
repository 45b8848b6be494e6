//! The shared edges of the world: listeners, TLS, names of addresses, and what sources over sockets have in common.

pub mod address;
pub mod datagrams;
pub mod deliver;
pub mod host_names;
pub mod listen;
pub mod pump;
pub mod read_buffer;
pub mod serve;
pub mod syslog;
pub mod tls;
