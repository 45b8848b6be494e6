//! The command `channel import`: folders, or a channel of a configuration.

use super::CliExit;
use super::arguments::{ChannelImportArgs, InputArgs};
use super::reading::{self, World};
use crate::channel_import::{From, Options};
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::PathBuf;

/// Reads the words after `channel import`.
pub(super) fn read(words: impl Iterator<Item = OsString>, world: &World) -> Result<Options, CliExit> {
    let words = reading::words::<ChannelImportArgs>(words, None)?;
    let args = words.args;
    let mut warnings = words.warnings;
    let others: Vec<String> = words
        .others
        .iter()
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    let data = list(&others.join(","));
    let into = args.into.as_deref().map(list);
    let usage = |text: &str| {
        Err(reading::wrong(
            &ChannelImportArgs::command(),
            &format!("Error: {text}"),
        ))
    };
    let from = match (data.is_empty(), args.conf_files.is_empty()) {
        (false, true) => {
            let Some(into) = into.filter(|into| !into.is_empty()) else {
                let same = others.join(",");
                return usage(&format!("into which folders? Into the same ones: --into {same}"));
            };
            if args.channel.is_some() || args.name.is_some() {
                return usage("-n and -c name a channel of a configuration: give that with -f");
            }
            From::Folders {
                data,
                checkpoints: args.checkpoint_dir.as_deref().map(list).unwrap_or_default(),
                into,
            }
        }
        (true, false) => {
            let Some(channel) = args.channel else {
                return usage("which channel of the configuration? Name it with -c");
            };
            if into.is_some() || args.checkpoint_dir.is_some() {
                return usage(
                    "--into and --checkpoint-dir go with folders; with -f, they are those of the channel",
                );
            }
            let inputs = InputArgs {
                name: args.name.clone(),
                conf_files: args.conf_files,
                conf_uris: Vec::new(),
                conf: args.conf,
                properties: args.properties,
                jvm: Vec::new(),
            };
            let inputs = reading::inputs(inputs, world)?;
            warnings.extend(inputs.warnings);
            let mut sources = inputs.sources;
            // As the agent would read it.
            sources.run_commands = true;
            From::Channel {
                sources: Box::new(sources),
                agent: args.name,
                channel,
            }
        }
        (false, false) => return usage("either folders, or -f with a configuration"),
        (true, true) => {
            return usage("which folders? Those of the dataDirs of Flume's channel, separated by commas");
        }
    };
    Ok(Options {
        from,
        dry_run: args.dry_run,
        keep: args.keep,
        skip_damage: args.skip_corrupt,
        keys: args.keys,
        warnings,
    })
}

/// As in `dataDirs`: separated by commas, without blanks around them.
fn list(text: &str) -> Vec<PathBuf> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let mut all: Vec<PathBuf> = Vec::new();
    for name in names.map(PathBuf::from) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::channel::ChannelCommand;
    use crate::cli::{Command, EXIT_OK, EXIT_USAGE, parse_in};

    fn parsed(line: &str) -> Result<Options, CliExit> {
        let words = format!("node channel {line}");
        match parse_in(words.split_whitespace().map(OsString::from), &World::default())? {
            Command::Channel(ChannelCommand::Import(options)) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn folders_or_a_channel_of_a_configuration_are_named() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let options =
            parsed("import /a,/b /c --checkpoint-dir /k,/l --into /x,/y --key k1=/key --dry-run").unwrap();
        let expected = From::Folders {
            data: paths(&["/a", "/b", "/c"]),
            checkpoints: paths(&["/k", "/l"]),
            into: paths(&["/x", "/y"]),
        };
        assert_eq!(options.from, expected);
        assert!(options.dry_run && !options.keep && !options.skip_damage);
        assert_eq!(options.keys, [("k1".to_owned(), PathBuf::from("/key"))]);
        let options = parsed("import -f a.properties -n a1 -c c1 --skip-corrupt").unwrap();
        let From::Channel {
            sources,
            agent,
            channel,
        } = options.from
        else {
            panic!("{:?}", options.from);
        };
        assert_eq!(sources.files, paths(&["a.properties"]));
        assert_eq!((agent.as_deref(), channel.as_str()), (Some("a1"), "c1"));
        assert!(options.skip_damage);
    }

    #[test]
    fn mistakes_are_named() {
        for (line, text) in [
            ("import", "which folders?"),
            ("import /a", "Into the same ones: --into /a"),
            ("import /a --into /b -c c1", "give that with -f"),
            ("import /a --into /b -f a.properties", "either folders, or -f"),
            ("import -f a.properties", "Name it with -c"),
            (
                "import -f a.properties -c c1 --into /x",
                "--into and --checkpoint-dir go with folders",
            ),
            ("import /a --into /b --key k1", "expected ALIAS=FILE"),
            ("import /a --into /b --dryrun", "did you mean '--dry-run'?"),
            ("bogus", "Unknown or unspecified verb 'bogus'"),
            ("", "Unknown or unspecified verb ''"),
        ] {
            let exit = parsed(line).unwrap_err();
            assert_eq!(exit.code, EXIT_USAGE, "{line}");
            assert!(exit.stderr.contains(text), "{line}: {}", exit.stderr);
        }
    }

    #[test]
    fn help_shows_both_forms() {
        let exit = parsed("import --help").unwrap_err();
        assert_eq!(exit.code, EXIT_OK);
        assert!(
            exit.stdout
                .contains("node channel import DIR[,DIR…] --into DIR[,DIR…]"),
            "{}",
            exit.stdout
        );
        assert!(
            exit.stdout
                .contains("node channel import -f FILE -n AGENT -c CHANNEL"),
            "{}",
            exit.stdout
        );
        assert_eq!(parsed("help").unwrap_err().code, EXIT_OK);
    }
}
