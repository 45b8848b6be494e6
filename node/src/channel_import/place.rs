//! From where to where: what the command line says, and the configuration that it names.

use super::Failure;
use crate::channel::file;
use crate::component::keys::{Entry, Finding, Keys, Place as At, Severity};
use crate::config::{self, Sources};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is moved from where to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Flume's folders and ours.
    pub from: From,
    /// Only count.
    pub dry_run: bool,
    /// Leave Flume's files where they are.
    pub keep: bool,
    /// Leave out what is damaged.
    pub skip_damage: bool,
    /// Keys of encrypted files: the name of the key, the file that holds it.
    pub keys: Vec<(String, PathBuf)>,
    /// To be told on standard error first.
    pub warnings: Vec<String>,
}

/// Where the folders are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum From {
    /// On the command line.
    Folders {
        /// Flume's `dataDirs`.
        data: Vec<PathBuf>,
        /// Flume's `checkpointDir`, and its `backupCheckpointDir` if it has one.
        checkpoints: Vec<PathBuf>,
        /// Our `dataDirs`.
        into: Vec<PathBuf>,
    },
    /// In a configuration: one channel, whose folders become ours.
    Channel {
        /// The files.
        sources: Box<Sources>,
        /// The agent; it may be left out if only one has such a channel.
        agent: Option<String>,
        /// The channel.
        channel: String,
    },
}

/// The folders, and the settings of our channel.
#[derive(Debug)]
pub struct Place {
    /// Flume's `dataDirs`.
    pub data: Vec<PathBuf>,
    /// Flume's `checkpointDir` and `backupCheckpointDir`, as far as they are known.
    pub checkpoints: Vec<PathBuf>,
    /// Of our channel.
    pub config: file::Config,
    /// Its name.
    pub channel: String,
    /// To be told first.
    pub warnings: Vec<String>,
}

/// So that nothing but the disk limits what is moved; the agent goes by its own settings afterwards.
const UNLIMITED: [(&str, &str); 3] = [
    ("capacity", "2147483647"),
    ("transactionCapacity", "2147483647"),
    ("keep-alive", "60"),
];

impl Place {
    /// Reads the configuration, if one is named.
    pub(super) fn of(options: &Options) -> Result<Self, Failure> {
        match &options.from {
            From::Folders {
                data,
                checkpoints,
                into,
            } => Self::of_folders(options, data, checkpoints, into),
            From::Channel {
                sources,
                agent,
                channel,
            } => Self::of_channel(options, sources, agent.as_deref(), channel),
        }
    }

    fn of_folders(
        options: &Options,
        data: &[PathBuf],
        checkpoints: &[PathBuf],
        into: &[PathBuf],
    ) -> Result<Self, Failure> {
        if options.keep && same(data, into) {
            return Err(kept_in_place());
        }
        let names: Vec<String> = into.iter().map(|path| path.display().to_string()).collect();
        let names = names.join(",");
        let mut pairs = vec![("dataDirs", names.as_str())];
        pairs.extend(UNLIMITED);
        let mut keys = Keys::of("--into", &pairs);
        let config = file::Config::read(&mut keys);
        refuse(&keys.finish())?;
        Ok(Self {
            data: data.to_vec(),
            checkpoints: checkpoints.to_vec(),
            config,
            channel: "imported".to_owned(),
            warnings: options.warnings.clone(),
        })
    }

    fn of_channel(
        options: &Options,
        sources: &Sources,
        agent: Option<&str>,
        channel: &str,
    ) -> Result<Self, Failure> {
        let loaded = config::load(sources).map_err(|error| Failure::settings(error.to_string()))?;
        let entries = loaded.entries();
        let mut warnings = options.warnings.clone();
        warnings.extend(
            loaded
                .findings
                .iter()
                .filter(|f| f.severity > Severity::Note)
                .map(Finding::to_string),
        );
        let agent = match agent {
            Some(agent) => agent.to_owned(),
            None => only_agent(&entries, channel)?,
        };
        let prefix = format!("{agent}.channels.{channel}.");
        let mut of_channel: BTreeMap<String, Entry> = entries
            .iter()
            .filter_map(|(key, entry)| Some((key.strip_prefix(&prefix)?.to_owned(), entry.clone())))
            .collect();
        let Some(kind) = of_channel.remove("type") else {
            return Err(Failure::settings(format!(
                "there is no {prefix}type in the configuration; -n names the agent, -c the channel"
            )));
        };
        let is_file =
            kind.value.eq_ignore_ascii_case(file::TYPE.alias) || file::TYPE.classes.contains(&&*kind.value);
        if !is_file {
            return Err(Failure::settings(format!(
                "{}: {prefix}type: expected file, found \"{}\": only a file channel leaves files to import",
                kind.place, kind.value
            )));
        }
        for (key, value) in UNLIMITED {
            let entry = Entry {
                value: value.to_owned(),
                place: kind.place.clone(),
            };
            of_channel.insert(key.to_owned(), entry);
        }
        let mut keys = Keys::new(
            format!("channel {channel} (file)"),
            kind.place.clone(),
            of_channel,
        );
        let config = file::Config::read(&mut keys);
        let mut checkpoints = vec![checkpoint_dir(&keys)];
        checkpoints.extend(keys.peek("backupCheckpointDir").map(PathBuf::from));
        refuse(&keys.finish())?;
        if options.keep {
            return Err(kept_in_place());
        }
        Ok(Self {
            data: config.data_dirs.clone(),
            checkpoints,
            config,
            channel: channel.to_owned(),
            warnings,
        })
    }

    /// Our `dataDirs`.
    pub fn target_folders(&self) -> &[PathBuf] {
        &self.config.data_dirs
    }

    /// Says that there is nothing to import.
    pub(super) fn nothing_there(&self) -> Failure {
        let names: Vec<String> = self.data.iter().map(|path| path.display().to_string()).collect();
        Failure::input(format!(
            "there is no file channel of Flume's in {}: no file is named log-1, log-2 and so on. The folders are those of \
             the channel's dataDirs",
            names.join(", ")
        ))
    }
}

fn same(data: &[PathBuf], into: &[PathBuf]) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    data.iter().any(|a| into.iter().any(|b| real(a) == real(b)))
}

fn kept_in_place() -> Failure {
    Failure::settings(
        "--keep leaves Flume's files where they are, and an agent refuses folders that hold both: name other folders with \
         --into, or leave out --keep (nothing is deleted; the files go into flume-imported)",
    )
}

fn checkpoint_dir(keys: &Keys) -> PathBuf {
    if let Some(folder) = keys.peek("checkpointDir") {
        return PathBuf::from(folder);
    }
    let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
    Path::new(&home).join(".flume/file-channel/checkpoint")
}

/// The one agent that has a channel of this name.
fn only_agent(entries: &BTreeMap<String, Entry>, channel: &str) -> Result<String, Failure> {
    let suffix = format!(".channels.{channel}.type");
    let agents: Vec<&str> = entries
        .keys()
        .filter_map(|key| key.strip_suffix(&suffix))
        .collect();
    match agents.as_slice() {
        [agent] => Ok((*agent).to_owned()),
        [] => Err(Failure::settings(format!(
            "no agent of the configuration has a channel {channel}"
        ))),
        several => Err(Failure::settings(format!(
            "several agents have a channel {channel}; name one: -n {}",
            several.join(", -n ")
        ))),
    }
}

fn refuse(findings: &[Finding]) -> Result<(), Failure> {
    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
    let errors: Vec<String> = errors.map(with_place).collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::settings(errors.join("\n")))
    }
}

/// What was given on the command line stands in no line.
fn with_place(finding: &Finding) -> String {
    match finding.place {
        At { line: 0, .. } => format!("{}: {}", finding.component, finding.message),
        _ => finding.to_string(),
    }
}
