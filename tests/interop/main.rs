//! Real nodes with the real software of others: foreign peers, fetched and started by the tests.
//!
//! | file               | what is shown                                                                     |
//! |--------------------|-----------------------------------------------------------------------------------|
//! | `flume_avro.rs`    | Flume's avro sink to our source, our sink to Flume's, plain, compressed, encrypted |
//! | `flume_clients.rs` | Flume's client SDK and its avro-client to us, our avro-client to Flume            |
//! | `flume_files.rs`   | files that Flume has begun to read and we go on with, and the reverse             |
//! | `flume_channel.rs` | file channels of a Flume that was killed at random, taken over by us              |
//! | `flume.rs`         | the peer: Flume 1.11 and 1.9 by their Maven coordinates, one JVM each             |
//! | `hop.rs`           | one hop over Avro with Flume at one end                                           |
//! | `flume_http.rs`    | our http source beside Flume's: the same answers, the same events, for strange JSON too |
//! | `container.rs`     | Avro files, read by hand                                                          |
//! | `strange_json.rs`  | random texts of lenient JSON                                                      |
//! | `events.rs`        | the events that are sent, and what a file_roll sink of either side made of them   |
//!
//! A peer that cannot be had is a loud skip, and with `MILLRACE_PEERS=required` a failure (`tests::peer`). Each test has
//! its own ports and its own folder; at most two JVMs run at once. Every event is checked, headers and body, once and
//! in order.

mod container;
mod events;
mod flume;
mod flume_avro;
mod flume_channel;
mod flume_clients;
mod flume_files;
mod flume_http;
mod hop;
mod strange_json;
