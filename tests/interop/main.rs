//! Real nodes with the real software of others: foreign peers, fetched and started by the tests.
//!
//! | file               | what is shown                                                                     |
//! |--------------------|-----------------------------------------------------------------------------------|
//! | `flume_avro.rs`    | Flume's avro sink to our source, our sink to Flume's source, on every kind of wire |
//! | `flume_clients.rs` | Flume's client SDK and its avro-client to us, our avro-client to Flume            |
//! | `flume_http.rs`    | our http source beside Flume's: the same answers, the same events, for strange JSON too |
//! | `flume.rs`         | the peer: Flume 1.11 by its Maven coordinates, one JVM each                       |
//! | `strange_json.rs`  | random texts of lenient JSON                                                      |
//! | `events.rs`        | the events that are sent, and what a file_roll sink of either side made of them   |
//!
//! A peer that cannot be had is a loud skip, and with `MILLRACE_PEERS=required` a failure (`tests::peer`). Each test has
//! its own ports and its own folder; at most two JVMs run at once. Every event is checked, headers and body, once and
//! in order.

mod events;
mod flume;
mod flume_avro;
mod flume_clients;
mod flume_http;
mod strange_json;
