//! The options as clap knows them: their help texts and their values. How they may be spelled is the business of
//! [`spelling`](super::spelling).

use crate::telemetry::log;
use clap::{Args, Parser, ValueEnum};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

const AGENT_HELP: &str = "\
Options may be abbreviated (--no-rel) and written with one dash (-name a1), as in Flume. They may also stand in
flume.opts, in the configuration directory or in /etc/flume; flume-env.sh beside it gives JAVA_OPTS and variables.

Example:
  node agent -n a1 -f a1.properties -Dflume.root.logger=DEBUG,console";

const CHECK_HELP: &str = "\
Exit code 1 if there is an error. Commands of config filters are not run.

Example:
  node check -f a1.properties -n a1";

const EXPLAIN_HELP: &str = "\
Example:
  node explain -f a1.properties --svg > flow.svg";

const AVRO_CLIENT_HELP: &str = "\
Every line becomes an event. --dirname takes a folder of files that do not change any more; each is renamed to
FILE.COMPLETED once it is sent. A batch that fails may arrive twice, if only its answer was lost.

Exit codes: 0 all sent; 64 usage; 66 a file cannot be read; 69 no server would take anything; 75 not everything
was sent; 78 the file of -P is wrong.

Examples:
  node avro-client -H 127.0.0.1 -p 41414 -F access.log
  tail -F access.log | node avro-client -H 127.0.0.1 -p 41414 -R headers.properties";

const CHANNEL_IMPORT_HELP: &str = "\
Flume must be stopped. Every event that it would still deliver is moved once, in the order of its queue; what was rolled
back or never committed is not. Killed half-way, the same command goes on. Nothing is deleted: Flume's files are in
flume-imported/ afterwards, in the same folders.

Exit codes: 0 all moved; 64 usage; 66 Flume's files cannot be read, are damaged or in use; 75 a part was moved, run it
again; 78 the configuration or the target cannot be used.

Examples:
  node channel import -f a1.properties -n a1 -c c1
  node channel import /flume/data1,/flume/data2 --checkpoint-dir /flume/checkpoint --into /millrace/data --dry-run";

/// The heading of what is understood and does nothing.
const NOT_YET: &str = "Not in this version";

/// What all commands that read a configuration have in common.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// Name of the agent, as in `a1.sources = …`
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// Configuration file; repeat it to add files, later ones win
    #[arg(short = 'f', long = "conf-file", value_name = "FILE")]
    pub conf_files: Vec<PathBuf>,
    /// The same as a URI, file:///path; read before those of -f
    #[arg(short = 'u', long = "conf-uri", value_name = "URI")]
    pub conf_uris: Vec<String>,
    /// Configuration directory with flume-env.sh and flume.opts; relative -f do not start there
    #[arg(short, long, value_name = "DIR")]
    pub conf: Option<PathBuf>,
    /// Set a Java system property, for example -Dflume.monitoring.type=http
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = system_property, allow_hyphen_values = true)]
    pub properties: Vec<(String, String)>,
    /// JVM option; -Xmx512m is what channels size themselves by, others have no effect
    #[arg(short = 'X', value_name = "OPTION", value_parser = jvm_option, allow_hyphen_values = true)]
    pub jvm: Vec<JvmOption>,
}

/// Run an agent from one or more Flume configuration files.
#[derive(Debug, Parser)]
#[command(name = "node agent", bin_name = "node agent", after_help = AGENT_HELP)]
pub struct AgentArgs {
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Read the configuration once, do not look for changes
    #[arg(long)]
    pub no_reload_conf: bool,
    /// Seconds between looks for changes; 0 means 30
    #[arg(short = 'i', long, value_name = "SECONDS")]
    pub poll_interval: Option<u64>,
    /// Start what can be started and drop the rest, as Flume does [env: MILLRACE_LENIENT=1]
    #[arg(long)]
    pub lenient: bool,
    /// Say what would be run, and end
    #[arg(short = 'd', long)]
    pub dryrun: bool,
    /// Serve /metrics, /healthz and /readyz here: host:port, or a port of 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = admin_address)]
    pub admin: Option<SocketAddr>,
    /// How log lines look [default: human] [env: MILLRACE_LOG_FORMAT]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<FormatArg>,
    /// Which log lines to write: error, warn, info, debug, trace, or target=level,… [default: info] [env: MILLRACE_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = log_level)]
    pub log_level: Option<String>,
    /// Seed of random decisions
    #[arg(long, hide = true)]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub unbuilt: UnbuiltArgs,
}

/// Flume's options that this version only understands.
#[derive(Debug, Args)]
#[command(next_help_heading = NOT_YET)]
pub struct UnbuiltArgs {
    /// Configuration in ZooKeeper
    #[arg(short = 'z', long = "zkConnString", value_name = "HOST:PORT,…")]
    pub zk_connect: Option<String>,
    /// Its path in ZooKeeper
    #[arg(short = 'p', long = "zkBasePath", value_name = "PATH")]
    pub zk_base_path: Option<String>,
    /// Directory for copies of the configuration
    #[arg(short = 'b', long, value_name = "DIR")]
    pub backup_directory: Option<PathBuf>,
    /// User for configuration over HTTP; also -user
    #[arg(long, value_name = "USER")]
    pub conf_user: Option<String>,
    /// Password for configuration over HTTP; also -pwd
    #[arg(long, value_name = "PASSWORD")]
    pub conf_password: Option<String>,
    /// Java class that authorises; it cannot work in Flume 1.11 either
    #[arg(short = 'a', long, value_name = "CLASS")]
    pub auth_provider: Option<String>,
    /// Java class that brings the configuration; it cannot work in Flume 1.11 either; also -prov
    #[arg(long, value_name = "CLASS")]
    pub conf_provider: Option<String>,
    /// Java class path
    #[arg(short = 'C', long, value_name = "PATH")]
    pub classpath: Option<String>,
    /// Directories of Java plugins
    #[arg(long, value_name = "DIR:DIR")]
    pub plugins_path: Option<String>,
}

/// Name every mistake in Flume configuration files, without running anything.
#[derive(Debug, Parser)]
#[command(name = "node check", bin_name = "node check", after_help = CHECK_HELP)]
pub struct CheckArgs {
    #[command(flatten)]
    pub inputs: InputArgs,
    /// Write the findings as JSON
    #[arg(long)]
    pub json: bool,
}

/// Show the flow graph of Flume configuration files.
#[derive(Debug, Parser)]
#[command(name = "node explain", bin_name = "node explain", after_help = EXPLAIN_HELP)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub inputs: InputArgs,
    /// As a picture
    #[arg(long, conflicts_with = "plan")]
    pub svg: bool,
    /// As the list of what is started, in its order
    #[arg(long)]
    pub plan: bool,
}

/// Send lines of text to an avro source.
#[derive(Debug, Parser)]
#[command(name = "node avro-client", bin_name = "node avro-client", after_help = AVRO_CLIENT_HELP)]
pub struct AvroClientArgs {
    /// Name or address of the avro source
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Its port
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Properties file of Flume's client SDK (hosts, client.type, batch-size, …) instead of -H and -p
    #[arg(short = 'P', long = "rpcProps", value_name = "FILE")]
    pub rpc_props: Option<PathBuf>,
    /// File to send; standard input if neither this nor --dirname is given
    #[arg(short = 'F', long, value_name = "FILE")]
    pub filename: Option<PathBuf>,
    /// Folder of files to send
    #[arg(long, value_name = "DIR")]
    pub dirname: Option<PathBuf>,
    /// Properties file whose keys and values become headers of every event
    #[arg(short = 'R', long = "headerFile", value_name = "FILE")]
    pub header_file: Option<PathBuf>,
    /// Events in one batch [default: 100, or what the file of -P says]
    #[arg(long, value_name = "EVENTS", value_parser = batch_size)]
    pub batch_size: Option<usize>,
    /// How long to try a batch again that the server refuses, or that was lost with the connection
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub retry: u64,
    #[command(flatten)]
    pub launcher: LauncherArgs,
}

/// Move what is left in a file channel of Flume's into one of ours, each event once.
#[derive(Debug, Parser)]
#[command(name = "node channel import", bin_name = "node channel import", after_help = CHANNEL_IMPORT_HELP,
    override_usage = "node channel import DIR[,DIR…] --into DIR[,DIR…] [options]\n       node channel import -f FILE -n AGENT -c CHANNEL [options]")]
pub struct ChannelImportArgs {
    /// Our dataDirs; they may be the same folders
    #[arg(long, value_name = "DIR,…")]
    pub into: Option<String>,
    /// Flume's checkpointDir, and its backupCheckpointDir: with several dataDirs they show what was delivered long ago
    #[arg(long, value_name = "DIR,…")]
    pub checkpoint_dir: Option<String>,
    /// Configuration file that has the channel, instead of folders; repeat it to add files
    #[arg(short = 'f', long = "conf-file", value_name = "FILE")]
    pub conf_files: Vec<PathBuf>,
    /// Name of the agent in it
    #[arg(short, long, value_name = "NAME")]
    pub name: Option<String>,
    /// Name of the channel in it
    #[arg(short, long, value_name = "NAME")]
    pub channel: Option<String>,
    /// Count what would be moved, touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Leave Flume's files where they are; only with --into other folders
    #[arg(long)]
    pub keep: bool,
    /// Leave out what is damaged
    #[arg(long)]
    pub skip_corrupt: bool,
    /// Key of encrypted files: its alias in Flume, and a file with its bytes or hexadecimal digits
    #[arg(long = "key", value_name = "ALIAS=FILE", value_parser = key_file)]
    pub keys: Vec<(String, PathBuf)>,
    /// Configuration directory with flume-env.sh
    #[arg(long, value_name = "DIR")]
    pub conf: Option<PathBuf>,
    /// Set a Java system property
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = system_property, allow_hyphen_values = true)]
    pub properties: Vec<(String, String)>,
}

/// What Flume's launcher takes for every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "What Flume's launcher takes")]
pub struct LauncherArgs {
    /// Configuration directory with flume-env.sh
    #[arg(short, long, value_name = "DIR")]
    pub conf: Option<PathBuf>,
    /// Set a Java system property; those of TLS (javax.net.ssl.trustStore, …) hold where the file of -P says nothing
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = system_property, allow_hyphen_values = true)]
    pub properties: Vec<(String, String)>,
    /// JVM option; without effect
    #[arg(short = 'X', value_name = "OPTION", value_parser = jvm_option, allow_hyphen_values = true)]
    pub jvm: Vec<JvmOption>,
    /// Java class path; without effect
    #[arg(short = 'C', long, value_name = "PATH")]
    pub classpath: Option<String>,
    /// Directories of Java plugins; without effect
    #[arg(long, value_name = "DIR:DIR")]
    pub plugins_path: Option<String>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FormatArg {
    Human,
    Json,
}

impl From<FormatArg> for log::Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Human => Self::Human,
            FormatArg::Json => Self::Json,
        }
    }
}

/// An option to the JVM, by what it means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JvmOption {
    MaxHeapBytes(u64),
    WithoutEffect,
}

/// Reads what follows `-D`. As in Java: without `=` the value is empty.
pub fn system_property(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads what follows `-X`.
pub fn jvm_option(text: &str) -> Result<JvmOption, String> {
    let Some(size) = text.strip_prefix("mx") else {
        return Ok(JvmOption::WithoutEffect);
    };
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &size[digits.len()..] {
        "" => Some(1),
        "k" | "K" => Some(1 << 10),
        "m" | "M" => Some(1 << 20),
        "g" | "G" => Some(1 << 30),
        "t" | "T" => Some(1u64 << 40),
        _ => None,
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    let bytes = digits.parse::<u64>().ok().filter(|_| plain);
    match bytes.zip(unit).and_then(|(n, unit)| n.checked_mul(unit)) {
        Some(bytes) if bytes > 0 => Ok(JvmOption::MaxHeapBytes(bytes)),
        _ => Err("expected a size such as -Xmx512m or -Xmx2g".to_owned()),
    }
}

/// Reads what follows `--key`.
fn key_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((alias, file)) if !alias.is_empty() && !file.is_empty() => Ok((alias.to_owned(), file.into())),
        _ => Err("expected ALIAS=FILE".to_owned()),
    }
}

/// Reads a filter of log lines.
pub fn log_level(text: &str) -> Result<String, String> {
    log::filter(text)
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

fn batch_size(text: &str) -> Result<usize, String> {
    let size = text.parse().ok().filter(|size| (1..=1_000_000).contains(size));
    size.ok_or_else(|| "expected 1 to 1000000".to_owned())
}

fn admin_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix(':').unwrap_or(text);
    let port = port
        .parse()
        .map_err(|_| "expected an address such as 127.0.0.1:9090 or [::1]:9090, or a port".to_owned())?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}
