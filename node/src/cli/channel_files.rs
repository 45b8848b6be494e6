//! The commands `channel …` that look at or repair file channels: what is to be done with their folders, and which.
//!
//! `node channel VERB DIR...`; instead of folders a configuration may say where they are: `-f FILE [-n AGENT] [-c CHANNEL]`.
//! Flume has no such command; its tool for damaged files works on a stopped agent only.

use super::CliExit;
use super::arguments::InputArgs;
use super::reading::{self, World};
use crate::channel_files::{Action, Format, Options, Places};
use clap::{Args, CommandFactory, Parser, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const INSPECT_HELP: &str = "\
Example:
  node channel inspect /var/lib/flume/c1/data";

const VERIFY_HELP: &str = "\
Exit code 0 if everything can be read, 65 if something is damaged, 66 if it cannot be looked at.

Example:
  node channel verify -f a1.properties -c c1";

const REPAIR_HELP: &str = "\
The agent must be stopped. Damaged files are copied to millrace/quarantine before anything is changed. After it, the channel
starts without onCorruption = skip. An interrupted repair is begun again by the same command.

Example:
  node channel repair /var/lib/flume/c1/data --skip";

const EXPORT_HELP: &str = "\
Name all the dataDirs of one channel, so that events come in its order. The channel stays as it is.

Examples:
  node channel export /var/lib/flume/c1/data -o c1.avro
  node channel export /var/lib/flume/c1/data --format json | head";

/// What `channel` can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Verb {
    Inspect,
    Verify,
    Repair,
    Export,
}

/// Where the configuration says which folders are meant.
#[derive(Debug, Args)]
struct PlacesArgs {
    /// Configuration file whose file channels are meant, instead of folders
    #[arg(short = 'f', long = "conf-file", value_name = "FILE")]
    conf_files: Vec<PathBuf>,
    /// Its agent, if there are several
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// The channel, if there are several
    #[arg(short, long, value_name = "NAME")]
    channel: Option<String>,
}

/// Tell what file channels hold, also of a running agent.
#[derive(Debug, Parser)]
#[command(name = "node channel inspect", bin_name = "node channel inspect", after_help = INSPECT_HELP)]
struct InspectArgs {
    #[command(flatten)]
    places: PlacesArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Every block and record as well
    #[arg(short, long)]
    verbose: bool,
}

/// Read every block of file channels and name what is damaged, also of a running agent.
#[derive(Debug, Parser)]
#[command(name = "node channel verify", bin_name = "node channel verify", after_help = VERIFY_HELP)]
struct VerifyArgs {
    #[command(flatten)]
    places: PlacesArgs,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Give up what file channels have lost to damage, and keep the rest.
#[derive(Debug, Parser)]
#[command(name = "node channel repair", bin_name = "node channel repair", after_help = REPAIR_HELP)]
struct RepairArgs {
    #[command(flatten)]
    places: PlacesArgs,
    /// Yes: events that cannot be read are given up
    #[arg(long)]
    skip: bool,
}

/// Write every undelivered event of a file channel, in order, also of a running agent.
#[derive(Debug, Parser)]
#[command(name = "node channel export", bin_name = "node channel export", after_help = EXPORT_HELP)]
struct ExportArgs {
    #[command(flatten)]
    places: PlacesArgs,
    /// How: a container of Flume's events, headers and body, a JSON object, or the body, a line each
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "avro")]
    format: FormatArg,
    /// File to write, which must not be there; - or none for standard output
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    output: Option<PathBuf>,
    /// Leave out what is damaged, instead of stopping there
    #[arg(long)]
    skip_damage: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArg {
    Avro,
    HeaderAndText,
    Json,
    Text,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Avro => Self::Avro,
            FormatArg::HeaderAndText => Self::HeaderAndText,
            FormatArg::Json => Self::Json,
            FormatArg::Text => Self::Text,
        }
    }
}

/// Reads the words after `channel VERB`.
pub(super) fn read(
    verb: &str,
    words: impl Iterator<Item = OsString>,
    world: &World,
) -> Result<Options, CliExit> {
    match Verb::from_str(verb, false) {
        Ok(Verb::Inspect) => {
            let words = reading::words::<InspectArgs>(words, None)?;
            let (json, verbose) = (words.args.json, words.args.verbose);
            let action = Action::Inspect { json, verbose };
            options::<InspectArgs>(words.args.places, words.others, words.warnings, action, world)
        }
        Ok(Verb::Verify) => {
            let words = reading::words::<VerifyArgs>(words, None)?;
            let action = Action::Verify {
                json: words.args.json,
            };
            options::<VerifyArgs>(words.args.places, words.others, words.warnings, action, world)
        }
        Ok(Verb::Repair) => {
            let words = reading::words::<RepairArgs>(words, None)?;
            if !words.args.skip {
                let text = "Error: a repair gives up events that cannot be read; --skip says that this is meant. \
                            `node channel verify DIR` tells which they are";
                return Err(reading::wrong(&RepairArgs::command(), text));
            }
            options::<RepairArgs>(
                words.args.places,
                words.others,
                words.warnings,
                Action::Repair,
                world,
            )
        }
        Ok(Verb::Export) => {
            let words = reading::words::<ExportArgs>(words, None)?;
            let args = words.args;
            let action = Action::Export {
                format: args.format.into(),
                output: args.output.filter(|path| path.as_os_str() != "-"),
                skip_damage: args.skip_damage,
            };
            options::<ExportArgs>(args.places, words.others, words.warnings, action, world)
        }
        Err(_) => Err(CliExit {
            code: super::EXIT_USAGE,
            stdout: super::channel::USAGE.to_owned(),
            stderr: format!("Error: Unknown or unspecified verb '{verb}' of channel\n"),
        }),
    }
}

fn options<A: CommandFactory>(
    args: PlacesArgs,
    dirs: Vec<OsString>,
    mut warnings: Vec<String>,
    action: Action,
    world: &World,
) -> Result<Options, CliExit> {
    let wrong = |text: &str| Err(reading::wrong(&A::command(), text));
    let places = match (args.conf_files.is_empty(), dirs.is_empty()) {
        (true, true) => return wrong("Error: No folder was named (DIR, or --conf-file FILE)"),
        (false, false) => return wrong("Error: folders and --conf-file cannot be used simultaneously"),
        (true, false) if args.name.is_some() || args.channel.is_some() => {
            return wrong("Error: --name and --channel belong to --conf-file");
        }
        (true, false) => Places::Folders(dirs.into_iter().map(PathBuf::from).collect()),
        (false, true) => {
            let inputs = InputArgs {
                name: args.name,
                conf_files: args.conf_files,
                conf_uris: Vec::new(),
                conf: None,
                properties: Vec::new(),
                jvm: Vec::new(),
            };
            let inputs = reading::inputs(inputs, world)?;
            warnings.extend(inputs.warnings);
            Places::Configured {
                sources: Box::new(inputs.sources),
                channel: args.channel,
            }
        }
    };
    Ok(Options {
        places,
        action,
        warnings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::channel::ChannelCommand;
    use crate::cli::{Command, EXIT_OK, EXIT_USAGE, parse_in};

    fn parsed(line: &str) -> Result<Options, CliExit> {
        let words = format!("node channel {line}");
        match parse_in(words.split_whitespace().map(OsString::from), &World::default())? {
            Command::Channel(ChannelCommand::Files(options)) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn folders_or_a_configuration_say_which_channels_are_meant() {
        let options = parsed("inspect a b --json -v").unwrap();
        assert_eq!(options.places, Places::Folders(vec!["a".into(), "b".into()]));
        assert_eq!(
            options.action,
            Action::Inspect {
                json: true,
                verbose: true
            }
        );
        let options = parsed("verify -f x.properties -n a1 -c c1").unwrap();
        let Places::Configured { sources, channel } = options.places else {
            panic!("{:?}", options.places);
        };
        assert_eq!(
            (sources.agent.as_deref(), channel.as_deref()),
            (Some("a1"), Some("c1"))
        );
        assert_eq!(sources.files, [PathBuf::from("x.properties")]);
        assert!(!sources.run_commands);
    }

    #[test]
    fn an_export_goes_to_a_file_or_to_standard_output() {
        let action = |line: &str| parsed(line).unwrap().action;
        let export = |format, output: Option<&str>, skip_damage| Action::Export {
            format,
            output: output.map(PathBuf::from),
            skip_damage,
        };
        assert_eq!(action("export d"), export(Format::Avro, None, false));
        assert_eq!(action("export d -o -"), export(Format::Avro, None, false));
        assert_eq!(
            action("export d --format header-and-text -o x --skip-damage"),
            export(Format::HeaderAndText, Some("x"), true)
        );
    }

    #[test]
    fn mistakes_say_what_is_missing() {
        for (line, text) in [
            ("", "Unknown or unspecified verb ''"),
            ("mend d", "Unknown or unspecified verb 'mend'"),
            ("verify", "No folder was named"),
            ("verify d -f x", "cannot be used simultaneously"),
            ("verify d -c c1", "--name and --channel belong to --conf-file"),
            ("repair d", "--skip says that this is meant"),
            ("export d --format xml", "invalid value 'xml'"),
        ] {
            let exit = parsed(line).unwrap_err();
            assert_eq!(exit.code, EXIT_USAGE, "{line}");
            assert!(exit.stderr.contains(text), "{line}: {}", exit.stderr);
        }
        let help = parsed("--help").unwrap_err();
        assert!(help.code == EXIT_OK && help.stdout.contains("repair"), "{help:?}");
    }
}
