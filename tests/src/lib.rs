//! The harness of the tests that use a node as an operator does: as a process, through its files, ports and signals.
//!
//! | module    | what it is for                                                           |
//! |-----------|--------------------------------------------------------------------------|
//! | `binary`  | the `node` binary, built once                                            |
//! | `process` | a running node: its output, signals, exit code, memory and time          |
//! | `folder`  | a folder of a test's own, gone with it                                   |
//! | `port`    | ports nobody else has                                                    |
//! | `wait`    | waiting for something that happens elsewhere; the only place that sleeps |
//! | `ledger`  | whether every event came once and in order                               |
//! | `logger`  | reading the lines of the logger sink back into events                    |
//! | `avro`    | an Avro RPC client of its own, and raw connections for hostile input     |
//! | `http`    | pages of metrics and health; events for http sources                     |
//! | `netcat`  | lines, each of which is answered                                         |
//! | `peer`    | foreign systems that may be missing                                      |
//! | `seeds`   | numbers that decide a randomised test, and how to run one again          |
//! | `volume`  | a file system of a test's own, to fill it and to cut its power           |
//!
//! Nothing here uses the crates `proto` or `node`: a mistake of theirs must not hide by being made on both sides. And
//! everything here panics where a test would have to fail anyway, with a message that says what was waited for.

pub mod avro;
pub mod binary;
pub mod folder;
pub mod http;
pub mod ledger;
pub mod logger;
pub mod netcat;
pub mod peer;
pub mod port;
pub mod process;
pub mod seeds;
pub mod volume;
pub mod wait;
