//! The commands that look at a configuration and run nothing: `check` and `explain`.
//!
//! Both take the inputs of `agent`, so that look-ups say the same; words that belong to no option are files. They
//! read no `flume.opts`, which is about running, and run no commands of config filters.

use super::CliExit;
use super::arguments::{CheckArgs, ExplainArgs, InputArgs};
use super::reading::{self, Inputs, World};
use crate::config::Sources;
use clap::CommandFactory;
use std::ffi::OsString;

/// The options of `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckOptions {
    /// What to read; its `agent` is the one to check, none for all of them.
    pub sources: Sources,
    /// What `-Xmx` says, in bytes.
    pub max_heap_bytes: Option<u64>,
    /// Whether to write JSON.
    pub json: bool,
    /// To be told on standard error first.
    pub warnings: Vec<String>,
}

/// The options of `explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainOptions {
    /// What to read; its `agent` is the one to show, none for all of them.
    pub sources: Sources,
    /// What `-Xmx` says, in bytes.
    pub max_heap_bytes: Option<u64>,
    /// What to show.
    pub view: View,
    /// To be told on standard error first.
    pub warnings: Vec<String>,
}

/// What `explain` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// The flow graph as text.
    Text,
    /// The flow graph as a picture.
    Svg,
    /// The children in the order of their start.
    Plan,
}

/// Reads the words after `check`.
pub(super) fn read_check(
    words: impl Iterator<Item = OsString>,
    world: &World,
) -> Result<CheckOptions, CliExit> {
    let words = reading::words::<CheckArgs>(words, None)?;
    let json = words.args.json;
    let inputs = inputs::<CheckArgs>(words.args.inputs, words.others, words.warnings, world)?;
    Ok(CheckOptions {
        sources: inputs.sources,
        max_heap_bytes: inputs.max_heap_bytes,
        json,
        warnings: inputs.warnings,
    })
}

/// Reads the words after `explain`.
pub(super) fn read_explain(
    words: impl Iterator<Item = OsString>,
    world: &World,
) -> Result<ExplainOptions, CliExit> {
    let words = reading::words::<ExplainArgs>(words, None)?;
    let view = match (words.args.svg, words.args.plan) {
        (true, _) => View::Svg,
        (_, true) => View::Plan,
        _ => View::Text,
    };
    let inputs = inputs::<ExplainArgs>(words.args.inputs, words.others, words.warnings, world)?;
    Ok(ExplainOptions {
        sources: inputs.sources,
        max_heap_bytes: inputs.max_heap_bytes,
        view,
        warnings: inputs.warnings,
    })
}

fn inputs<A: CommandFactory>(
    mut args: InputArgs,
    files: Vec<OsString>,
    warnings: Vec<String>,
    world: &World,
) -> Result<Inputs, CliExit> {
    args.conf_files.extend(files.into_iter().map(Into::into));
    if args.conf_files.is_empty() && args.conf_uris.is_empty() {
        let text = "Error: No configuration was provided (--conf-file FILE)";
        return Err(reading::wrong(&A::command(), text));
    }
    let mut inputs = reading::inputs(args, world)?;
    inputs.sources.paths().map_err(|e| reading::unreadable(&e))?;
    inputs.warnings.splice(0..0, warnings);
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use crate::cli::{Command, EXIT_CONFIGURATION, EXIT_OK, EXIT_USAGE, View, World, parse_in};
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn parsed(line: &str) -> Result<Command, crate::cli::CliExit> {
        parse_in(line.split_whitespace().map(OsString::from), &World::default())
    }

    #[test]
    fn a_check_takes_files_in_both_ways() {
        let Ok(Command::Check(options)) = parsed("node check -f a b --json -n a1 -Dx=y c -Xmx1m") else {
            panic!("not understood");
        };
        assert_eq!(options.sources.files, ["a", "b", "c"].map(PathBuf::from));
        assert_eq!(options.sources.agent.as_deref(), Some("a1"));
        assert_eq!(options.sources.system_properties["x"], "y");
        assert_eq!((options.max_heap_bytes, options.json), (Some(1 << 20), true));
        assert!(!options.sources.run_commands);
    }

    #[test]
    fn explain_shows_one_of_three() {
        let view = |rest: &str| match parsed(&format!("node explain a {rest}")) {
            Ok(Command::Explain(options)) => options.view,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            (view(""), view("--svg"), view("-plan")),
            (View::Text, View::Svg, View::Plan)
        );
        assert_eq!(
            parsed("node explain a --svg --plan").unwrap_err().code,
            EXIT_USAGE
        );
    }

    #[test]
    fn mistakes_name_the_command() {
        let exit = parsed("node check").unwrap_err();
        assert_eq!(
            (exit.code, exit.stderr.as_str()),
            (
                EXIT_USAGE,
                "Error: No configuration was provided (--conf-file FILE)\n`node check --help` lists the options.\n"
            )
        );
        assert_eq!(
            parsed("node check -u http://h/x").unwrap_err().code,
            EXIT_CONFIGURATION
        );
        let help = parsed("node explain --help").unwrap_err();
        assert!(help.code == EXIT_OK && help.stdout.contains("--svg"), "{help:?}");
    }
}
