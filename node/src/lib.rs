#![doc = include_str!("../README.md")]

pub mod channel;
pub mod component;
pub mod flow;
pub mod interceptor;
pub mod processor;
pub mod selector;
pub mod serializer;
pub mod sink;
pub mod source;
pub mod supervise;
pub mod telemetry;
