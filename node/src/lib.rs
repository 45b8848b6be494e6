#![doc = include_str!("../README.md")]

pub mod admin;
pub mod channel;
pub mod cli;
pub mod component;
pub mod config;
pub mod telemetry;
