//! From words to arguments: what the command line, `flume.opts`, `flume-env.sh` and the environment say together.
//!
//! For an option, the command line wins over `flume.opts`; `-D` and `-X` add up. System properties come from
//! `JAVA_OPTS`, then `FLUME_JAVA_OPTS`, then the command line, and the last one of a key counts, as for a JVM.

use super::arguments::{InputArgs, JvmOption, jvm_option, system_property};
use super::spelling::{Given, Spelling};
use super::{CliExit, EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE};
use crate::component::keys::Finding;
use crate::config::{ConfigError, Property, Sources, env_file, options_file, sources};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a command line is read in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct World {
    /// The environment of the caller.
    pub environment: BTreeMap<String, String>,
    /// Where `flume.opts` is looked for after the configuration directory.
    pub options_folder: Option<PathBuf>,
}

impl World {
    /// The environment of this process, and `/etc/flume`.
    pub fn of_process() -> Self {
        Self {
            environment: sources::process_environment(),
            options_folder: Some(PathBuf::from(options_file::SYSTEM_FOLDER)),
        }
    }
}

/// A command line, read.
pub struct Words<A> {
    /// The options.
    pub args: A,
    /// Words that belong to no option.
    pub others: Vec<OsString>,
    /// To be told.
    pub warnings: Vec<String>,
}

/// Reads the words of a command.
pub fn words<A: CommandFactory + FromArgMatches>(
    words: impl Iterator<Item = OsString>,
    options_folder: Option<&World>,
) -> Result<Words<A>, CliExit> {
    let mut command = A::command();
    let spelling = Spelling::of(&mut command);
    let spelled = spelling
        .spell(words)
        .map_err(|text| wrong(&command, &format!("Error: {text}")))?;
    let mut warnings: Vec<String> = spelled
        .jvm_agents
        .iter()
        .map(|agent| format!("Warning: {agent} has no effect: there is no Java here"))
        .collect();
    let mut given = Vec::new();
    if let Some(world) = options_folder {
        let conf = spelled.given.iter().rev().find(|g| g.long == "conf");
        let conf = conf.and_then(|g| g.value.as_ref()).map(Path::new);
        let folders: Vec<&Path> = conf.into_iter().chain(world.options_folder.as_deref()).collect();
        if let Some(file) = options_file::read(&folders).map_err(|e| unreadable(&e))? {
            warnings.extend(file.findings.iter().map(Finding::to_string));
            let options = from_file(&spelling, &file.properties).map_err(|text| wrong(&command, &text))?;
            given.extend(options.into_iter().filter(|option| {
                let adds_up = option.long.len() == 1;
                adds_up || spelled.given.iter().all(|g| g.long != option.long)
            }));
        }
    }
    given.extend(spelled.given);
    let line = std::iter::once(OsString::from("node")).chain(given.into_iter().flat_map(plain));
    let args = command
        .clone()
        .try_get_matches_from(line)
        .and_then(|matches| A::from_arg_matches(&matches))
        .map_err(|error| exit(&command, &error))?;
    Ok(Words {
        args,
        others: spelled.words,
        warnings,
    })
}

/// The options of a file, all mistakes at once.
fn from_file(spelling: &Spelling, properties: &[Property]) -> Result<Vec<Given>, String> {
    let (mut given, mut mistakes) = (Vec::new(), Vec::new());
    for property in properties {
        match spelling.named(&property.key) {
            Some(("conf" | "help", _)) => mistakes.push(format!(
                "Error: {}: {}: works on the command line only",
                property.place, property.key
            )),
            Some((long, true)) => given.push(Given {
                long: long.to_owned(),
                value: Some(property.value.clone().into()),
            }),
            Some((long, false)) if options_file::is_set(&property.value) => given.push(Given {
                long: long.to_owned(),
                value: None,
            }),
            Some((_, false)) => {}
            None => {
                let near = spelling.nearest(&property.key);
                let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
                mistakes.push(format!(
                    "Error: {}: unknown option \"{}\"{hint}",
                    property.place, property.key
                ));
            }
        }
    }
    if mistakes.is_empty() {
        Ok(given)
    } else {
        Err(mistakes.join("\n"))
    }
}

/// As clap takes it without a doubt.
fn plain(given: Given) -> Vec<OsString> {
    let Given { long, value } = given;
    match value {
        Some(value) if long.len() == 1 => vec![format!("-{long}").into(), value],
        Some(value) => {
            let mut word = OsString::from(format!("--{long}="));
            word.push(value);
            vec![word]
        }
        None => vec![format!("--{long}").into()],
    }
}

/// What is common to all commands that read a configuration.
pub struct Inputs {
    /// Without the name of an agent.
    pub sources: Sources,
    /// What `-Xmx` says, in bytes.
    pub max_heap_bytes: Option<u64>,
    /// To be told.
    pub warnings: Vec<String>,
}

/// Reads `flume-env.sh` and puts all of it together.
pub fn inputs(args: InputArgs, world: &World) -> Result<Inputs, CliExit> {
    let environment = world.environment.clone();
    let file = env_file::read(args.conf.as_deref(), environment).map_err(|e| unreadable(&e))?;
    let mut warnings: Vec<String> = file.findings.iter().map(Finding::to_string).collect();
    let (mut properties, mut jvm) = (Vec::new(), Vec::new());
    for option in &file.java_options {
        let read = if let Some(property) = option.strip_prefix("-D") {
            system_property(property).map(|pair| properties.push(pair))
        } else if let Some(rest) = option.strip_prefix("-X") {
            jvm_option(rest).map(|option| jvm.push(option))
        } else {
            Ok(())
        };
        if let Err(why) = read {
            warnings.push(format!("Warning: JAVA_OPTS: {option}: {why}"));
        }
    }
    properties.extend(args.properties);
    jvm.extend(args.jvm);
    let mut sources = Sources {
        uris: args.conf_uris,
        files: args.conf_files,
        system_properties: properties.into_iter().collect(),
        conf_dir: args.conf,
        environment: file.environment,
        started: Some(jiff::Zoned::now()),
        agent: args.name,
        ..Sources::default()
    };
    sources.complete();
    let max_heap_bytes = jvm.iter().rev().find_map(|option| match option {
        JvmOption::MaxHeapBytes(bytes) => Some(*bytes),
        JvmOption::WithoutEffect => None,
    });
    Ok(Inputs {
        sources,
        max_heap_bytes,
        warnings,
    })
}

/// A mistake in the options of a command.
pub fn wrong(command: &clap::Command, text: &str) -> CliExit {
    let name = command.get_bin_name().unwrap_or("node agent");
    CliExit {
        code: EXIT_USAGE,
        stdout: String::new(),
        stderr: format!("{text}\n`{name} --help` lists the options.\n"),
    }
}

/// A configuration that cannot be had.
pub fn unreadable(error: &ConfigError) -> CliExit {
    refused(&format!("Error: {error}"))
}

/// The configuration cannot be run, for these reasons.
pub fn refused(text: &str) -> CliExit {
    CliExit {
        code: EXIT_CONFIGURATION,
        stdout: String::new(),
        stderr: format!("{text}\n"),
    }
}

fn exit(command: &clap::Command, error: &clap::Error) -> CliExit {
    let text = error.to_string();
    if error.kind() == ErrorKind::DisplayHelp {
        return CliExit {
            code: EXIT_OK,
            stdout: text,
            stderr: String::new(),
        };
    }
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (text, _) = text.split_once("\n\nUsage:").unwrap_or((text, ""));
    let text = text.replace("\n\nFor more information, try '--help'.", "");
    wrong(command, &format!("Error: {}", text.trim_end()))
}
