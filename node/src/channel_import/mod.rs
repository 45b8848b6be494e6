//! The command `channel import`: what is left in a file channel of Flume's moves into one of ours, each event once.
//!
//! ```text
//!   lock in_use.lock ──> read all data files ──> open our channel ──> move the files aside ──> events, in order ──> done
//!   (no Flume runs)      (which events are       (its position says    log-N to               batch by batch, the
//!                        left: pointers only)     how far we came)     flume-importing/       position in each commit
//! ```
//!
//! Promise: every event that Flume would still deliver is in our channel once, in the order of Flume's queue, however
//! often the command is killed and run again. Before the first event is moved, the data files go into a folder where
//! Flume does not look, so that it cannot send them too; a position in the same commit as the events says how many are
//! there; the same files give the same queue. An agent refuses to start on the folders until all is moved. Nothing is ever
//! deleted: the files are in `flume-imported/` at the end.
//!
//! | failure | what happens |
//! |---|---|
//! | Flume runs, or an agent of ours | refused, nothing is touched |
//! | no checkpoint, or a broken one | the data files alone tell what is left; see [`cluster::flume_queue`] |
//! | the last record was not written whole | it was never committed, and is left out |
//! | damage before that | all places are named, nothing is touched; `--skip-corrupt` leaves them out |
//! | encrypted files without their key | refused, with the names of the keys |
//! | disk full, kill, power cut | what is committed stays; the same command goes on behind it |
//!
//! Memory: the pointers of what is left, about 40 bytes an event while the files are read and 8 after that, and some
//! mebibytes of buffers. Source: `flume/channels-and-sinks.md` 3.2.4 to 3.2.9.

mod bodies;
mod checkpoint;
mod cipher;
mod files;
mod folders;
mod place;
mod progress;
mod report;
mod target;
mod users;

pub use place::{From, Options};
pub use report::{Imported, Places};

use bodies::Bodies;
use cipher::KeyRing;
use files::{LogFile, Replayed};
use folders::Folders;
use place::Place;
use progress::Progress;
use std::time::Instant;
use target::{Standing, Target};

/// Whose fault it is that not everything was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Flume's files cannot be read, or are in use.
    Input,
    /// The configuration, or the folders that are named, are wrong.
    Settings,
    /// A part was moved: the same command goes on.
    Unfinished,
}

/// Not everything was moved.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    message: String,
}

impl Failure {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { fault, message }
    }

    fn input(message: impl Into<String>) -> Self {
        Self::new(Fault::Input, message)
    }

    fn settings(message: impl Into<String>) -> Self {
        Self::new(Fault::Settings, message)
    }
}

/// Moves everything, blocking until it is done. Warnings and progress go to standard error, the result is returned.
///
/// # Errors
/// What is wrong, and whether something was moved before.
pub fn run(options: &Options) -> Result<Imported, Failure> {
    let begun = Instant::now();
    let place = Place::of(options)?;
    let progress = Progress::start();
    place.warnings.iter().for_each(|warning| progress.say(warning));
    let mut imported = import(options, &place, &progress)?;
    progress.finish();
    imported.took = begun.elapsed();
    Ok(imported)
}

fn import(options: &Options, place: &Place, progress: &Progress) -> Result<Imported, Failure> {
    let mut keys = KeyRing::read(&options.keys)?;
    keys.complete(place.config.keys.secrets());
    let mut folders = Folders::own(place, options.dry_run, progress)?;
    let mut imported = Imported {
        is_dry_run: options.dry_run,
        into: place.target_folders().to_vec(),
        ..Imported::default()
    };
    if folders.is_empty() {
        return nothing(place, &folders, imported);
    }
    let mut files = files::open_all(&folders, &keys, options.skip_damage, progress)?;
    let mut read = read(options, &folders, &files, progress)?;
    if options.dry_run {
        imported.read(&read);
        imported.events = read.left.events.len() as u64;
        return Ok(imported);
    }
    let mut target = Target::open(place)?;
    if target.standing() == Standing::Whole && folders.has_importing() {
        // An earlier run has moved all of that, and was killed before it could say so.
        folders.finish()?;
        if folders.is_empty() {
            return nothing(place, &folders, imported);
        }
        files = files::open_all(&folders, &keys, options.skip_damage, progress)?;
        read = self::read(options, &folders, &files, progress)?;
    }
    imported.read(&read);
    let done = target.begin(read.digest, read.left.events.len() as u64)?;
    imported.before = done;
    if !options.keep {
        folders.set_aside()?;
    }
    let mut bodies = Bodies::open(&folders, &files)?;
    let left = &read.left.events[done as usize..];
    target.move_all(left, &mut bodies, options.skip_damage, progress, &mut imported)?;
    target.end()?;
    if !options.keep {
        folders.finish()?;
    }
    Ok(imported)
}

/// What is said where no data file is.
fn nothing(place: &Place, folders: &Folders, imported: Imported) -> Result<Imported, Failure> {
    if folders.has_imported() {
        let was_imported = true;
        Ok(Imported {
            was_imported,
            ..imported
        })
    } else {
        Err(place.nothing_there())
    }
}

/// Reads all data files; says what is wrong with them, all at once.
fn read(
    options: &Options,
    folders: &Folders,
    files: &[LogFile],
    progress: &Progress,
) -> Result<Replayed, Failure> {
    let checkpoint = checkpoint::read(folders, files, progress);
    let read = files::replay(folders, files, checkpoint, progress)?;
    if options.skip_damage || read.places.is_empty() {
        return Ok(read);
    }
    Err(Failure::input(format!(
        "{}\nNothing was moved. --skip-corrupt leaves these places out and moves the rest: an event is lost if it stood \
         there, a transaction has not happened if its commit did, so what it took comes again",
        read.places
    )))
}

#[cfg(test)]
mod tests;
