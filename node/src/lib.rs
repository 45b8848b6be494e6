#![doc = include_str!("../README.md")]

pub mod admin;
pub mod avro_client;
pub mod builder;
pub mod channel;
pub mod channel_files;
pub mod channel_import;
pub mod cli;
pub mod component;
pub mod config;
pub mod deserializer;
pub mod flow;
pub mod interceptor;
pub mod io;
pub mod java;
pub mod processor;
pub mod selector;
pub mod serializer;
pub mod sink;
pub mod source;
pub(crate) mod supervise;
pub mod telemetry;
pub mod topology;

pub use builder::{Node, NodeBuilder, Outcome, Reloaded, StartError, Stopper};
