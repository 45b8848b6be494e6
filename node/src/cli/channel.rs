//! The commands `channel …`, which work on the files of file channels.

use super::reading::World;
use super::{CliExit, EXIT_OK, channel_files, channel_import};
use std::ffi::OsString;

pub(super) const USAGE: &str = "\
Look at and repair the folders of file channels, and take over Flume's.

Usage: node channel <verb> DIR... [options]

  inspect  tell what a channel holds
  verify   read all of it, name what is damaged
  repair   give up what is damaged, keep the rest (--skip)
  export   write every undelivered event to a file
  import   move what is left in a file channel of Flume's into one of ours

DIR is one of a channel's dataDirs. All but repair and import write nothing and work while an agent runs.
`node channel verify --help` lists the options; so do the others.

Exit codes: 0 all is well; 64 usage; 65 damaged; 66 cannot be read; 73 in use by an agent; 74 the result cannot be
written; 78 the configuration names no such channel.
";

/// What is to be done with a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelCommand {
    /// Look at it, or repair it.
    Files(crate::channel_files::Options),
    /// Take over what is left in one of Flume's.
    Import(crate::channel_import::Options),
}

/// Reads the words after `channel`.
pub(super) fn read(
    mut words: impl Iterator<Item = OsString>,
    world: &World,
) -> Result<ChannelCommand, CliExit> {
    let word = words
        .next()
        .map(|w| w.to_string_lossy().into_owned())
        .unwrap_or_default();
    match word.as_str() {
        "import" => channel_import::read(words, world).map(ChannelCommand::Import),
        "help" | "--help" | "-h" => Err(CliExit {
            code: EXIT_OK,
            stdout: USAGE.to_owned(),
            stderr: String::new(),
        }),
        verb => channel_files::read(verb, words, world).map(ChannelCommand::Files),
    }
}
