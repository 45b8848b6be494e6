#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod flume_queue;
pub mod group;
pub mod intensity;
pub mod journal;
pub mod sim;
pub mod time;
