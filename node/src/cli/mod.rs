//! The command line, in Flume's spelling: `node agent -n a1 -f a1.properties`.
//!
//! [`parse`] prints nothing and starts nothing, so that tests can ask for every answer; it reads `flume-env.sh` and
//! `flume.opts`, which belong to the command line. `main` prints what it returns and uses the exit codes below.
//! Flume's own agent ends with 0 after most fatal errors; here a script can tell them apart:
//!
//! | code | constant | meaning |
//! |---:|---|---|
//! | 0 | [`EXIT_OK`] | done, or stopped in order |
//! | 1 | [`EXIT_UNKNOWN_COMMAND`] | no command, or one that does not exist; Flume's code |
//! | 1 | [`EXIT_FOUND_ERRORS`] | `check` found errors |
//! | 64 | [`EXIT_USAGE`] | options that cannot be understood |
//! | 65 | [`EXIT_DAMAGED`] | `channel` found damage |
//! | 66 | [`EXIT_NO_INPUT`] | what `avro-client` is to send, `channel` to look at or `channel import` to move, cannot be read or is in use |
//! | 69 | [`EXIT_UNREACHABLE`] | no server would take anything of `avro-client` |
//! | 70 | [`EXIT_GAVE_UP`] | the root supervisor gave up on a component |
//! | 73 | [`EXIT_IN_USE`] | the channel that `channel repair` is to repair is in use |
//! | 74 | [`EXIT_UNWRITABLE`] | what `channel` is to write cannot be written |
//! | 75 | [`EXIT_EVENTS_LEFT`] | stopped with events left in memory channels; not sent by `avro-client`, not moved by `channel import` |
//! | 78 | [`EXIT_CONFIGURATION`] | the configuration cannot be read or run |
//!
//! `spelling` makes one spelling of Flume's many, `arguments` are the options with their help texts, and `reading`
//! puts together what the words, `flume.opts`, `flume-env.sh` and the environment say.
//!
//! Source: `flume/runtime.md` 1. Unlike there, `-h`, `--help`, `-V` and `--version` work as commands, too.

pub mod agent;
mod arguments;
mod avro_client;
pub mod channel;
mod channel_files;
mod channel_import;
pub mod inspect;
mod reading;
mod spelling;

pub use agent::{AgentOptions, dry_run};
pub use inspect::{CheckOptions, ExplainOptions, View};
pub use reading::World;
use std::ffi::OsString;

/// Done, or stopped in order.
pub const EXIT_OK: u8 = 0;
/// No command, or one that does not exist.
pub const EXIT_UNKNOWN_COMMAND: u8 = 1;
/// `check` found errors.
pub const EXIT_FOUND_ERRORS: u8 = 1;
/// Options that cannot be understood.
pub const EXIT_USAGE: u8 = 64;
/// Something of a file channel is damaged.
pub const EXIT_DAMAGED: u8 = 65;
/// What is to be sent, or looked at, cannot be read.
pub const EXIT_NO_INPUT: u8 = 66;
/// No server would take anything.
pub const EXIT_UNREACHABLE: u8 = 69;
/// The root supervisor gave up on a component.
pub const EXIT_GAVE_UP: u8 = 70;
/// A node is at work where nobody may be.
pub const EXIT_IN_USE: u8 = 73;
/// The result cannot be written.
pub const EXIT_UNWRITABLE: u8 = 74;
/// Stopped with events left in memory channels, or unsent.
pub const EXIT_EVENTS_LEFT: u8 = 75;
/// The configuration cannot be read or run.
pub const EXIT_CONFIGURATION: u8 = 78;

const USAGE: &str = "\
Millrace runs Apache Flume agents: sources, channels and sinks from a .properties file.

Usage: node <command> [options]

Commands:
  agent        run an agent
  avro-client  send lines of text to an avro source
  channel      look at, repair and export the folders of file channels; take over Flume's
  check        name every mistake in configuration files
  explain      show the flow graph of configuration files
  version      print the version
  help         print this text

Check a configuration, look at it, run it:
  node check -f a1.properties
  node explain -f a1.properties
  node agent --name a1 --conf-file a1.properties

Look inside while it runs:
  node agent -n a1 -f a1.properties --admin :9090
  curl http://127.0.0.1:9090/metrics

Send a file:
  node avro-client -H 127.0.0.1 -p 41414 -F a.log

Take over what is left in a file channel of Flume's:
  node channel import -f a1.properties -n a1 -c c1

`node agent --help` lists the options; so do avro-client, channel, check and explain.
";

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run an agent.
    Agent(AgentOptions),
    /// Send lines to an avro source.
    AvroClient(crate::avro_client::Options),
    /// Work on the files of file channels.
    Channel(channel::ChannelCommand),
    /// Name the mistakes of a configuration.
    Check(CheckOptions),
    /// Show the flow graph of a configuration.
    Explain(ExplainOptions),
    /// Print [`version_text`].
    Version,
    /// Print [`usage`].
    Help,
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
    parse_in(args, &World::of_process())
}

/// The same in another environment, for tests.
///
/// # Errors
/// As [`parse`].
pub fn parse_in(args: impl Iterator<Item = OsString>, world: &World) -> Result<Command, CliExit> {
    let mut args = args.skip(1);
    let word = args
        .next()
        .map(|w| w.to_string_lossy().into_owned())
        .unwrap_or_default();
    match word.as_str() {
        "agent" => agent::read(args, world).map(Command::Agent),
        "node" => agent::read(args, world).map(|mut options| {
            let deprecated = "Warning: the command \"node\" is deprecated, use \"agent\"".to_owned();
            options.warnings.insert(0, deprecated);
            Command::Agent(options)
        }),
        "avro-client" => avro_client::read(args, world).map(Command::AvroClient),
        "channel" => channel::read(args, world).map(Command::Channel),
        "check" => inspect::read_check(args, world).map(Command::Check),
        "explain" => inspect::read_explain(args, world).map(Command::Explain),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, CliExit> {
        parse_in(line.split_whitespace().map(OsString::from), &World::default())
    }

    #[test]
    fn an_unknown_command_is_answered_as_in_acceptance_cases_1_and_2() {
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
    fn the_deprecated_command_works_with_a_warning() {
        let Ok(Command::Agent(old)) = parsed("node node -n a1 -f b") else {
            panic!("`node node` was not understood");
        };
        assert_eq!(
            old.warnings,
            ["Warning: the command \"node\" is deprecated, use \"agent\""]
        );
    }
}
