#![doc = include_str!("../README.md")]

pub mod channel;
pub mod component;
pub mod config;
pub mod telemetry;
