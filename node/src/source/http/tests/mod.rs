//! A source at work, and a client that speaks HTTP byte by byte.

mod client;
mod config;
mod limits;
mod lives;
mod requests;
mod secure;
