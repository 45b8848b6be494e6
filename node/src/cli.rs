//! The command line, in Flume's spelling: `node agent -n a1 -f a1.properties`.
//!
//! [`parse`] only reads; it prints nothing and starts nothing, so that tests can ask for every answer. `main` prints
//! what it returns and uses the exit codes below. Flume's own agent ends with 0 after most fatal errors; here a
//! script can tell them apart:
//!
//! | code | constant | meaning |
//! |---:|---|---|
//! | 0 | [`EXIT_OK`] | done, or stopped in order |
//! | 1 | [`EXIT_UNKNOWN_COMMAND`] | no command, or one that does not exist; Flume's code |
//! | 64 | [`EXIT_USAGE`] | options that cannot be understood |
//! | 70 | [`EXIT_GAVE_UP`] | the root supervisor gave up on a component |
//! | 75 | [`EXIT_EVENTS_LEFT`] | stopped with events left in memory channels |
//! | 78 | [`EXIT_CONFIGURATION`] | the configuration cannot be read or run |
//!
//! What decides the log level, first to last: `--log-level`, `-Dflume.root.logger=LEVEL,…`, `MILLRACE_LOG`, `info`.
//!
//! Source: `flume/runtime.md` 1. Unlike there, `-h`, `--help`, `-V` and `--version` work as commands, too.

use crate::telemetry::log;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Done, or stopped in order.
pub const EXIT_OK: u8 = 0;
/// No command, or one that does not exist.
pub const EXIT_UNKNOWN_COMMAND: u8 = 1;
/// Options that cannot be understood.
pub const EXIT_USAGE: u8 = 64;
/// The root supervisor gave up on a component.
pub const EXIT_GAVE_UP: u8 = 70;
/// Stopped with events left in memory channels.
pub const EXIT_EVENTS_LEFT: u8 = 75;
/// The configuration cannot be read or run.
pub const EXIT_CONFIGURATION: u8 = 78;

const USAGE: &str = "\
Millrace runs Apache Flume agents: sources, channels and sinks from a .properties file.

Usage: node <command> [options]

Commands:
  agent      run an agent
  version    print the version
  help       print this text

Run an agent:
  node agent --name a1 --conf-file a1.properties

Look inside while it runs:
  node agent -n a1 -f a1.properties --admin :9090
  curl http://127.0.0.1:9090/metrics

`node agent --help` lists the options.
";

const AGENT_EXAMPLE: &str = "\
Example:
  node agent -n a1 -f a1.properties -Dflume.root.logger=DEBUG,console";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Command {
    /// Run an agent.
    Agent(AgentOptions),
    /// Print [`version_text`].
    Version,
    /// Print [`usage`].
    Help,
}

/// The options of `agent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentOptions {
    /// Which agent of the files to run (`-n`).
    pub name: String,
    /// In their order, at least one; relative to the working directory (`-f`).
    pub conf_files: Vec<PathBuf>,
    /// The configuration directory, if any (`-c`).
    pub conf_dir: Option<PathBuf>,
    /// Java's system properties, in their order (`-D`).
    pub properties: Vec<(String, String)>,
    /// What `-Xmx` says, in bytes: Flume sizes byte capacities of channels by it.
    pub max_heap_bytes: Option<u64>,
    /// Whether to look for changes of the files (off by `--no-reload-conf`).
    pub reload: bool,
    /// Where operators may look in (`--admin`).
    pub admin: Option<SocketAddr>,
    /// How log lines look.
    pub log_format: log::Format,
    /// The filter of log lines, known to be understood by [`log::filter`].
    pub log_level: String,
    /// Seed of every random decision, for replays.
    pub seed: Option<u64>,
    /// To be told on standard error before anything starts.
    pub warnings: Vec<String>,
}

impl AgentOptions {
    /// A system property; the last `-D` of a key counts.
    pub fn property(&self, key: &str) -> Option<&str> {
        let mut latest = self.properties.iter().rev();
        latest.find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }
}

/// The process is to end now, saying this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliExit {
    /// Its exit code.
    pub code: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

/// Reads a command line, the name of the program first.
///
/// # Errors
/// Whatever ends the process at once: mistakes, and `agent --help` (with code 0).
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Command, CliExit> {
    let mut args = args.skip(1);
    let word = args
        .next()
        .map(|w| w.to_string_lossy().into_owned())
        .unwrap_or_default();
    match word.as_str() {
        "agent" => agent(args, Vec::new()).map(Command::Agent),
        "node" => {
            let deprecated = "Warning: the command \"node\" is deprecated, use \"agent\"".to_owned();
            agent(args, vec![deprecated]).map(Command::Agent)
        }
        "version" | "--version" | "-V" => Ok(Command::Version),
        "help" | "--help" | "-h" => Ok(Command::Help),
        unknown => Err(CliExit {
            code: EXIT_UNKNOWN_COMMAND,
            stdout: usage().to_owned(),
            stderr: format!("Error: Unknown or unspecified command '{unknown}'\n"),
        }),
    }
}

/// What `node help` prints.
pub fn usage() -> &'static str {
    USAGE
}

/// What `node version` prints.
pub fn version_text() -> String {
    format!(
        "Millrace {}\nruns Apache Flume 1.x configurations\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Run an agent from one or more Flume configuration files.
#[derive(Debug, Parser)]
#[command(name = "node agent", bin_name = "node agent", infer_long_args = true, after_help = AGENT_EXAMPLE)]
struct AgentArgs {
    /// Name of the agent to run, as in `a1.sources = …`
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Configuration file; repeat it to add files, later ones win
    #[arg(short = 'f', long = "conf-file", value_name = "FILE")]
    conf_files: Vec<PathBuf>,
    /// Configuration directory; relative -f do not start there
    #[arg(short, long, value_name = "DIR")]
    conf: Option<PathBuf>,
    /// Set a Java system property, for example -Dflume.monitoring.type=http
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = system_property)]
    properties: Vec<(String, String)>,
    /// JVM option; -Xmx512m is what channels size themselves by, others have no effect
    #[arg(short = 'X', value_name = "OPTION", value_parser = jvm_option)]
    jvm: Vec<JvmOption>,
    /// Read the configuration once, do not look for changes
    #[arg(long)]
    no_reload_conf: bool,
    /// Serve /metrics, /healthz and /readyz here: host:port, or a port of 127.0.0.1
    #[arg(long, value_name = "ADDR", value_parser = admin_address)]
    admin: Option<SocketAddr>,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, env = "MILLRACE_LOG_FORMAT")]
    log_format: FormatArg,
    /// Which log lines to write: error, warn, info, debug, trace, or target=level,…
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "MILLRACE_LOG", value_parser = log_level)]
    log_level: String,
    /// Seed of random decisions
    #[arg(long, hide = true)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum FormatArg {
    #[default]
    Human,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JvmOption {
    MaxHeapBytes(u64),
    WithoutEffect,
}

fn agent(args: impl Iterator<Item = OsString>, warnings: Vec<String>) -> Result<AgentOptions, CliExit> {
    let line = std::iter::once(OsString::from("node agent")).chain(args);
    let matches = AgentArgs::command().try_get_matches_from(line).map_err(exit)?;
    let source = matches.value_source("log_level");
    let args = AgentArgs::from_arg_matches(&matches).map_err(exit)?;
    let mut missing = Vec::new();
    if args.name.as_deref().is_none_or(str::is_empty) {
        missing.push("Error: Missing required option: n (--name NAME, the agent to run)");
    }
    if args.conf_files.is_empty() {
        missing.push("Error: No configuration was provided (--conf-file FILE)");
    }
    let (Some(name), true) = (args.name, missing.is_empty()) else {
        return Err(wrong(missing.join("\n")));
    };
    let mut options = AgentOptions {
        name,
        conf_files: args.conf_files,
        conf_dir: args.conf,
        properties: args.properties,
        max_heap_bytes: args.jvm.iter().rev().find_map(|option| match option {
            JvmOption::MaxHeapBytes(bytes) => Some(*bytes),
            JvmOption::WithoutEffect => None,
        }),
        reload: !args.no_reload_conf,
        admin: args.admin,
        log_format: match args.log_format {
            FormatArg::Human => log::Format::Human,
            FormatArg::Json => log::Format::Json,
        },
        log_level: args.log_level,
        seed: args.seed,
        warnings,
    };
    if source != Some(ValueSource::CommandLine) {
        take_root_logger(&mut options);
    }
    Ok(options)
}

fn take_root_logger(options: &mut AgentOptions) {
    let Some(value) = options.property("flume.root.logger") else {
        return;
    };
    match log::root_logger_level(value) {
        Some(level) => options.log_level = level.to_owned(),
        None => options.warnings.push(format!(
            "Warning: -Dflume.root.logger={value} names no level; {} is used",
            options.log_level
        )),
    }
}

fn system_property(text: &str) -> Result<(String, String), String> {
    // As Java: without `=` the value is empty.
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err("expected KEY=VALUE".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn jvm_option(text: &str) -> Result<JvmOption, String> {
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

fn log_level(text: &str) -> Result<String, String> {
    log::filter(text)
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

fn exit(error: clap::Error) -> CliExit {
    if error.kind() == ErrorKind::DisplayHelp {
        return CliExit {
            code: EXIT_OK,
            stdout: error.to_string(),
            stderr: String::new(),
        };
    }
    match argument_without_value(&error) {
        Some(option) => wrong(format!("Error: Option {option} requires an argument")),
        None => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let (text, _) = text.split_once("\n\nUsage:").unwrap_or((text, ""));
            let text = text.replace("\n\nFor more information, try '--help'.", "");
            wrong(format!("Error: {}", text.trim_end()))
        }
    }
}

/// The option that stands last and lacks its value, as Flume's launcher names it.
fn argument_without_value(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if value.is_empty() && error.kind() == ErrorKind::InvalidValue => {
            argument.split(' ').next().map(str::to_owned)
        }
        _ => None,
    }
}

fn wrong(text: String) -> CliExit {
    CliExit {
        code: EXIT_USAGE,
        stdout: String::new(),
        stderr: format!("{text}\n`node agent --help` lists the options.\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, CliExit> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn options(rest: &str) -> AgentOptions {
        match parsed(&format!("node agent -n a1 -f b {rest}")) {
            Ok(Command::Agent(options)) => options,
            other => panic!("{rest}: {other:?}"),
        }
    }

    /// The first line of what is wrong with `agent …`.
    fn mistake(line: &str) -> String {
        let exit = parsed(&format!("node agent {line}")).unwrap_err();
        assert_eq!((exit.code, exit.stdout.as_str()), (EXIT_USAGE, ""), "{exit:?}");
        exit.stderr.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn an_unknown_command_is_answered_as_flume_does() {
        for (line, word) in [
            ("node", ""),
            ("node bogus", "bogus"),
            ("node password", "password"),
        ] {
            let exit = parsed(line).unwrap_err();
            assert_eq!(exit.code, EXIT_UNKNOWN_COMMAND);
            assert_eq!(
                exit.stderr,
                format!("Error: Unknown or unspecified command '{word}'\n")
            );
            assert_eq!(exit.stdout, usage());
        }
    }

    #[test]
    fn help_and_version_are_commands() {
        assert_eq!(parsed("node help"), Ok(Command::Help));
        assert_eq!(parsed("node version extra"), Ok(Command::Version));
        assert!(version_text().starts_with("Millrace 0."), "{}", version_text());
        assert!(usage().contains("node agent --name a1 --conf-file a1.properties"));
    }

    #[test]
    fn the_options_of_an_agent_are_read() {
        let all = options(
            "-f o -c conf -Da=b -D c=d=e -Dempty --no-reload-conf --admin :9090 --log-format json --seed 7",
        );
        assert_eq!(all.name, "a1");
        assert_eq!(all.conf_files, [PathBuf::from("b"), PathBuf::from("o")]);
        assert_eq!(all.conf_dir, Some(PathBuf::from("conf")));
        let pairs: Vec<(&str, &str)> = all
            .properties
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(pairs, [("a", "b"), ("c", "d=e"), ("empty", "")]);
        assert!(!all.reload);
        assert_eq!(all.admin, Some(([127, 0, 0, 1], 9090).into()));
        assert_eq!(all.log_format, log::Format::Json);
        assert_eq!(all.seed, Some(7));
        assert_eq!(all.warnings, [""; 0]);
    }

    #[test]
    fn long_options_may_be_written_with_equals_and_abbreviated() {
        let Ok(Command::Agent(short)) = parsed("node agent --na=a1 --conf-f b --conf dir --no-rel") else {
            panic!("an abbreviation was not understood");
        };
        assert_eq!((short.name.as_str(), short.reload), ("a1", false));
        assert_eq!(short.conf_dir, Some(PathBuf::from("dir")));
        assert!(mistake("-n a1 -f b --con x").contains("--con"));
    }

    #[test]
    fn the_deprecated_command_works_with_a_warning() {
        let Ok(Command::Agent(old)) = parsed("node node -n a1 -f b") else {
            panic!("`node node` was not understood");
        };
        assert_eq!(
            old.warnings,
            ["Warning: the command \"node\" is deprecated, use \"agent\""]
        );
    }

    #[test]
    fn what_is_missing_is_named_all_at_once() {
        let exit = parsed("node agent").unwrap_err();
        assert_eq!(exit.code, EXIT_USAGE);
        assert_eq!(
            exit.stderr,
            "Error: Missing required option: n (--name NAME, the agent to run)\n\
             Error: No configuration was provided (--conf-file FILE)\n\
             `node agent --help` lists the options.\n"
        );
        assert_eq!(mistake("--conf"), "Error: Option --conf requires an argument");
        assert_eq!(
            mistake("-n a1 -f"),
            "Error: Option --conf-file requires an argument"
        );
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        assert_eq!(
            mistake("-n a1 -f b --bogus"),
            "Error: unexpected argument '--bogus' found"
        );
        assert_eq!(
            mistake("-n a1 -f b --admin here"),
            "Error: invalid value 'here' for '--admin <ADDR>': expected an address such as 127.0.0.1:9090 or [::1]:9090, or a port"
        );
        assert_eq!(
            mistake("-n a1 -f b -Xmx5x"),
            "Error: invalid value 'mx5x' for '-X <OPTION>': expected a size such as -Xmx512m or -Xmx2g"
        );
        assert!(mistake("-n a1 -f b --log-level inf").contains("expected off, error, warn"));
        assert!(mistake("-n a1 -f b -D =x").contains("expected KEY=VALUE"));
    }

    #[test]
    fn help_of_the_agent_is_no_mistake() {
        for line in ["node agent -h", "node agent -n a1 --help"] {
            let exit = parsed(line).unwrap_err();
            assert_eq!((exit.code, exit.stderr.as_str()), (EXIT_OK, ""));
            for option in ["--name", "--conf-file", "--no-reload-conf", "--admin", "Example:"] {
                assert!(exit.stdout.contains(option), "{}", exit.stdout);
            }
            assert!(!exit.stdout.contains("--seed"), "{}", exit.stdout);
        }
    }

    #[test]
    fn the_heap_is_what_the_last_xmx_says() {
        let heap = |rest| options(rest).max_heap_bytes;
        assert_eq!(heap("-Xmx512m"), Some(512 << 20));
        assert_eq!(heap("-Xmx20m -Xms1g -XX:+UseG1GC -Xmx2G"), Some(2 << 30));
        assert_eq!(heap("-Xmx64k"), Some(64 << 10));
        assert_eq!(heap("-Xmx1048576"), Some(1 << 20));
        assert_eq!(heap("-Xms1g -Xss1m"), None);
        for bad in [
            "-Xmx",
            "-Xmx-1",
            "-Xmx+1",
            "-Xmxm",
            "-Xmx0",
            "-Xmx99999999999999g",
        ] {
            assert!(mistake(&format!("-n a1 -f b {bad}")).starts_with("Error: "));
        }
    }

    #[test]
    fn admin_takes_a_port_or_an_address() {
        let admin = |text: &str| options(&format!("--admin {text}")).admin.map(|a| a.to_string());
        assert_eq!(admin("9090").as_deref(), Some("127.0.0.1:9090"));
        assert_eq!(admin("0.0.0.0:1").as_deref(), Some("0.0.0.0:1"));
        assert_eq!(admin("[::1]:9").as_deref(), Some("[::1]:9"));
    }

    #[test]
    fn the_level_comes_from_the_nearest_place() {
        assert_eq!(options("--log-level debug").log_level, "debug");
        let root = "-Dflume.root.logger=DEBUG,console";
        assert_eq!(options(root).log_level, "debug");
        assert_eq!(
            options(&format!("{root} --log-level node=trace")).log_level,
            "node=trace"
        );
        let odd = options("-Dflume.root.logger=console");
        assert_eq!(odd.warnings.len(), 1, "{odd:?}");
    }
}
