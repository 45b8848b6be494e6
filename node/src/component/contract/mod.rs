//! Contract suites: the promises of the traits as tests that run over every implementation.

#![allow(missing_docs, reason = "the names of tests are sentences")]

pub mod channel;
