//! The commands `channel inspect`, `verify`, `repair` and `export`: the folders of file channels, looked at from outside.
//!
//! Promise: all but `repair` take no lock, make no file in a channel's folder and write no byte there, so they may look at
//! the channel of a node that is at work; what they tell is then of one moment. `repair` takes the channel's locks, changes
//! nothing in place, puts damaged files aside before it begins, and may be interrupted and begun again.
//!
//! | file | what |
//! |---|---|
//! | `place` | from the words of a command line to folders, and the one place where a log is opened for reading |
//! | `disk` | files that cannot be written |
//! | `queued` | the undelivered events of a log, in order |
//! | `inspect`, `verify`, `repair`, `export` | the commands |
//! | `progress` | what a person sees meanwhile |
//!
//! Failures: a folder that cannot be read is told and does not keep the others from being looked at; the worst of all
//! decides the exit code. Source: the design's section 3; [`cluster::journal`] has the rules.

mod disk;
mod export;
mod inspect;
mod place;
mod progress;
mod queued;
mod repair;
mod verify;

pub use place::Places;
use std::io::Write;
use std::path::PathBuf;

/// What is to be done with which folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which channels.
    pub places: Places,
    /// What to do.
    pub action: Action,
    /// To be told on standard error first.
    pub warnings: Vec<String>,
}

/// What to do with channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Tell what they hold.
    Inspect {
        /// As JSON.
        json: bool,
        /// Every block and record.
        verbose: bool,
    },
    /// Read everything, and tell what cannot be read.
    Verify {
        /// As JSON.
        json: bool,
    },
    /// Give up what cannot be read, keep the rest.
    Repair,
    /// Write every undelivered event somewhere else.
    Export {
        /// How.
        format: Format,
        /// Where; none for standard output.
        output: Option<PathBuf>,
        /// Leave out what cannot be read, instead of stopping there.
        skip_damage: bool,
    },
}

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An Avro container of Flume's events, as the serializer `avro_event` writes.
    Avro,
    /// A line of headers and body each, as the serializer `header_and_text` writes.
    HeaderAndText,
    /// A JSON object a line.
    Json,
    /// A line of the body each, as the serializer `text` writes.
    Text,
}

/// What has come of it; the worst of several folders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    #[default]
    Done,
    /// Something is damaged.
    Damaged,
    /// Something cannot be read, or is no channel.
    Unreadable,
    /// A node is at work there.
    InUse,
    /// The result cannot be written.
    Unwritable,
    /// The configuration names no such channel.
    Configuration,
}

/// Does it. Results go to standard output, what is to be told besides to standard error.
pub fn run(options: &Options) -> Outcome {
    let places = match options.places.resolve() {
        Ok(places) => places,
        Err(failure) => {
            eprintln!("Error: {}", failure.message);
            return failure.outcome;
        }
    };
    match &options.action {
        Action::Inspect { json, verbose } => inspect::run(&places, *json, *verbose),
        Action::Verify { json } => verify::run(&places, *json),
        Action::Repair => repair::run(&places),
        Action::Export {
            format,
            output,
            skip_damage,
        } => export::run(&places, *format, output.as_deref(), *skip_damage),
    }
}

/// Writes a result. Who has read enough of it may close the pipe.
fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Why something was not done.
#[derive(Debug)]
pub struct Failure {
    outcome: Outcome,
    message: String,
}

impl Failure {
    fn new(outcome: Outcome, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { outcome, message }
    }

    fn unreadable(message: impl Into<String>) -> Self {
        Self::new(Outcome::Unreadable, message)
    }

    /// Tells it.
    fn tell(&self) -> Outcome {
        eprintln!("Error: {}", self.message);
        self.outcome
    }
}
