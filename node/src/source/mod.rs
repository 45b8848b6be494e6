//! Sources: one file each, and the list of them.

pub mod avro;
pub mod embedded;
pub mod exec;
pub mod http;
pub mod netcat;
pub mod netcat_udp;
pub mod seq;
pub mod spooldir;
pub mod stress;
pub mod syslog_multiport;
pub mod syslog_tcp;
pub mod syslog_udp;
pub mod taildir;

use crate::component::registry::Type;
use crate::component::source::DynSource;

/// The source types of this version.
pub const ALL: &[Type<Box<dyn DynSource>>] = &[
    avro::TYPE,
    embedded::TYPE,
    exec::TYPE,
    http::TYPE,
    netcat::TYPE,
    netcat_udp::TYPE,
    seq::TYPE,
    spooldir::TYPE,
    stress::TYPE,
    syslog_multiport::TYPE,
    syslog_tcp::TYPE,
    syslog_udp::TYPE,
    taildir::TYPE,
];
