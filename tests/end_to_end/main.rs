//! Whole flows through real nodes: processes, files, sockets and signals, as an operator meets them.
//!
//! | file                    | what is shown                                                                |
//! |-------------------------|------------------------------------------------------------------------------|
//! | `tail_to_logger.rs`     | a growing file, line by line, into the log                                   |
//! | `taildir.rs`            | rotation at full speed, a killed node, positions                             |
//! | `two_agents.rs`         | from one node to the next, which may come later                              |
//! | `three_agents.rs`       | a chain into files, and its orderly end                                      |
//! | `avro_client.rs`        | `node avro-client`: files, folders, standard input; its words and exit codes |
//! | `channel_tools.rs`      | `node channel`, on agents at work and stopped ones; damaged channels         |
//! | `avro_source.rs`        | hostile peers, and Flume's own bytes                                         |
//! | `channel_import.rs`     | `node channel import`, killed again and again                                |
//! | `http.rs`               | JSON and blobs over HTTP, hop by hop, hostile clients                        |
//! | `netcat.rs`             | answers to lines, full channels, datagrams                                   |
//! | `syslog.rs`             | `logger`, back-pressure, busy ports, what was sent before a stop             |
//! | `avro_tls.rs`           | two nodes with compression, TLS and both; peers that are not trusted         |
//! | `lifecycle.rs`          | mistakes, busy ports, signals, exit codes, health                            |
//! | `inspect.rs`            | `check`, `explain`, `--lenient`, polling                                     |
//! | `interceptors.rs`       | events edited, dropped and routed on their way                               |
//! | `refused_folders.rs`    | data folders that cannot be used, in use, or of another key                  |
//! | `reload.rs`             | the file is edited while the node runs                                       |
//! | `spooldir.rs`           | files of a directory into files, over restarts and kills                     |
//! | `spill_to_disk.rs`      | a burst larger than memory, kills and stops of a channel that spills         |
//! | `spool_directory.rs`    | whole files, read once, with their names                                     |
//! | `http_flows.rs`         | HTTP: filter, replicating, multiplexing, two agents into one                 |
//! | `failover.rs`           | the standby takes over and gives back, under kills                           |
//! | `load_balance.rs`       | sinks in turn and at random                                                  |
//! | `tiers.rs`              | three tiers, with a fan-out at the first                                     |
//! | `published_examples.rs` | the folders of `examples/`, started as their READMEs say                     |
//!
//! The published cases of Flume's users start the folders of `examples/` (`example.rs`).
//!
//! Every test has its own ports and its own folder, so all of them run at once. Events carry their number, and the
//! ledger of the harness says what became of each.

mod avro_client;
mod avro_source;
mod avro_tls;
mod channel_import;
mod channel_tools;
mod example;
mod failover;
mod http;
mod http_flows;
mod inspect;
mod interceptors;
mod lifecycle;
mod load_balance;
mod netcat;
mod published_examples;
mod refused_folders;
mod reload;
mod spill_to_disk;
mod spool_directory;
mod spooldir;
mod syslog;
mod tail_to_logger;
mod taildir;
mod three_agents;
mod tiers;
mod two_agents;

use tests::ledger::Ledger;
use tests::logger::Logged;

/// Fails unless these are the bodies `<prefix>1` to `<prefix><count>`, each once and in order.
#[track_caller]
fn assert_numbered(events: &[Logged], prefix: &str, count: u64) {
    let mut ledger = Ledger::new();
    ledger.sent("r1", 1..=count);
    for event in events {
        ledger.saw_text("r1", prefix, &event.text());
    }
    ledger.assert_once_and_in_order();
}
