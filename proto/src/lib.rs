#![doc = include_str!("../README.md")]

pub mod avro;
pub mod cursor;
pub mod event;
pub mod flume_log;
pub mod java;
pub mod journal;
pub mod json;
pub mod syslog;
