//! The commands `channel …`, which work on the files of file channels.

use super::reading::World;
use super::{CliExit, EXIT_OK, EXIT_USAGE, channel_import};
use std::ffi::OsString;

const USAGE: &str = "\
Usage: node channel <command> [options]

Commands:
  import   move what is left in a file channel of Flume's into one of ours

`node channel import --help` lists the options.
";

/// What is to be done with a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelCommand {
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
        unknown => Err(CliExit {
            code: EXIT_USAGE,
            stdout: String::new(),
            stderr: format!("Error: Unknown or unspecified command 'channel {unknown}'\n{USAGE}"),
        }),
    }
}
