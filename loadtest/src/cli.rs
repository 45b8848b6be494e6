//! The command line.

use crate::wire::Buffers;
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

/// Drives a node from outside, verifies what comes out, and measures. Loopback addresses only.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send events to an Avro source as fast as it answers.
    Drive(Drive),
    /// Be an Avro sink's peer that checks every event; exit status 1 unless all is clean.
    Collect(Serve),
    /// Be an Avro sink's peer that answers OK without looking: the upper bound.
    Swallow(Serve),
    /// Start a node for each case, drive it, and report.
    Run(Run),
    /// Pile up events in a file channel, kill the node, and measure how soon the first comes out of the next one.
    Backlog(Backlog),
}

/// See [`Command::Drive`].
#[derive(Debug, Args)]
pub struct Drive {
    /// Where the subject listens; loopback only.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub target: SocketAddr,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    pub connections: usize,
    /// Threads of the driver.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Events per call; 1 sends `append`, more `appendBatch`.
    #[arg(long, default_value_t = 1000)]
    pub batch: usize,
    /// Bytes of each body, at least 32.
    #[arg(long, default_value_t = 500)]
    pub body: usize,
    /// Calls outstanding per connection.
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
    /// Seconds in which figures are taken.
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pub warm_up: f64,
    /// Cut of the frames: all in one buffer, or as the Java client does.
    #[arg(long, value_enum, default_value_t = Buffers::One)]
    pub frame_buffers: Buffers,
    /// Write the figures here as well.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// See [`Command::Collect`] and [`Command::Swallow`].
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen; loopback only.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub listen: SocketAddr,
    /// End after this time at the latest.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub seconds: f64,
    /// End when nothing has come for so many seconds after something had.
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    pub idle: f64,
    /// End when so many different events have come, and fail if fewer do (`collect` only).
    #[arg(long, value_name = "EVENTS")]
    pub expect: Option<u64>,
}

/// See [`Command::Run`].
#[derive(Debug, Args)]
pub struct Run {
    /// Names of cases.
    #[arg(value_name = "CASE", required_unless_present_any = ["all", "list"])]
    pub cases: Vec<String>,
    /// Run every case.
    #[arg(long, conflicts_with = "cases")]
    pub all: bool,
    /// Only list the cases.
    #[arg(long, conflicts_with_all = ["cases", "all"])]
    pub list: bool,
    /// The subject's binary [default: `node` beside this one, else ../target/release/node].
    #[arg(long, value_name = "PATH")]
    pub node: Option<PathBuf>,
    /// One more argument for the subject's command line; may be repeated.
    #[arg(long = "node-arg", value_name = "ARG", allow_hyphen_values = true)]
    pub node_arguments: Vec<String>,
    /// Another program with the same command line, to run each case as well and compare: the real Flume by
    /// tests/interop/peers/flume/flume-ng.
    #[arg(long, value_name = "PATH")]
    pub beside: Option<PathBuf>,
    /// Folder of the cases [default: the one this was built from].
    #[arg(long, value_name = "FOLDER")]
    pub cases_in: Option<PathBuf>,
    /// Measure so long instead of what the cases say.
    #[arg(long, value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Threads of the driver.
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Write the figures here as well.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// See [`Command::Backlog`].
#[derive(Debug, Args)]
pub struct Backlog {
    /// Bytes of bodies to pile up, as 2G or 500M; so much and a tenth more must be free in the folder.
    #[arg(long, default_value = "2G", value_parser = bytes)]
    pub size: u64,
    /// Bytes of each body, at least 32.
    #[arg(long, default_value_t = 512)]
    pub body: usize,
    /// Where the channel's files are, while it runs [default: the temporary folder].
    #[arg(long = "in", value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// The subject's binary [default: `node` beside this one, else ../target/release/node].
    #[arg(long, value_name = "PATH")]
    pub node: Option<PathBuf>,
    /// Drain for so long at most; what is left then is thrown away. When all is out, it is verified.
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    pub drain: f64,
    /// Write the figures here as well.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A number of bytes with K, M or G for powers of ten.
fn bytes(text: &str) -> Result<u64> {
    let (digits, unit) = match text.char_indices().last() {
        Some((at, 'K' | 'k')) => (&text[..at], 1_000),
        Some((at, 'M' | 'm')) => (&text[..at], 1_000_000),
        Some((at, 'G' | 'g')) => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.parse().context("expected bytes, as 500M or 2G")?;
    number.checked_mul(unit).context("too many bytes")
}

fn address(text: &str) -> Result<SocketAddr> {
    let mut found = text
        .to_socket_addrs()
        .with_context(|| format!("{text}: expected HOST:PORT"))?;
    found
        .find(|address| address.ip().is_loopback())
        .context("only loopback addresses are allowed")
}

fn seconds(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse()?;
    let limit = crate::drive::SECONDS_MAX as f64;
    anyhow::ensure!((0.0..=limit).contains(&seconds), "expected 0 to {limit} seconds");
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("20G").unwrap(), 20_000_000_000);
        assert_eq!((bytes("7").unwrap(), bytes("5k").unwrap()), (7, 5_000));
        assert!(
            bytes("").is_err()
                && bytes("G").is_err()
                && bytes("99999999999G").is_err()
                && bytes("5 €").is_err()
        );
    }

    #[test]
    fn only_loopback_is_accepted() {
        assert!(address("127.0.0.1:1").is_ok());
        assert!(address("[::1]:1").is_ok());
        assert!(address("192.0.2.1:1").is_err());
        assert!(address("0.0.0.0:1").is_err());
        assert!(address("127.0.0.1").is_err());
    }

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
