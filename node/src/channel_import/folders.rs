//! Flume's folders: nobody else has them, and their files are set aside before and kept after the import.
//!
//! The locks are the ones that Flume asks for, on `in_use.lock` by fcntl: none can start meanwhile. One that runs is noticed
//! by its open files (`users`), since it loses its own lock at once. Files are moved by rename and the folders synced; a crash in between leaves some here and some there,
//! which is read as one.

use super::place::Place;
use super::progress::Progress;
use super::{Failure, Fault, users};
use crate::channel::file::flume::{IMPORTED, IMPORTING, logs};
use rustix::fs::FlockOperation;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const LOCK: &str = "in_use.lock";

/// Names of what a checkpoint is made of.
const CHECKPOINT: [&str; 6] = [
    "checkpoint",
    "checkpoint.meta",
    "inflightputs",
    "inflighttakes",
    "backupComplete",
    "checkpoint.snappy",
];

/// A data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The number in its name.
    pub number: u32,
    /// Which of the data folders it is in.
    pub folder: usize,
    /// Where it is.
    pub path: PathBuf,
}

/// The folders of a channel of Flume's, locked.
#[derive(Debug)]
pub struct Folders {
    data: Vec<PathBuf>,
    checkpoints: Vec<PathBuf>,
    logs: BTreeMap<u32, Log>,
    _locks: Vec<File>,
}

impl Folders {
    /// Locks the folders and lists their data files. `is_dry` leaves everything untouched.
    pub fn own(place: &Place, is_dry: bool, progress: &Progress) -> Result<Self, Failure> {
        let mut folders = Self {
            data: place.data.clone(),
            checkpoints: place
                .checkpoints
                .iter()
                .filter(|path| path.is_dir())
                .cloned()
                .collect(),
            logs: BTreeMap::new(),
            _locks: Vec::new(),
        };
        let mut wrong = Vec::new();
        for path in &folders.data {
            match fs::metadata(path) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => wrong.push(format!("{}: expected a folder, found a file", path.display())),
                Err(error) => wrong.push(format!("{}: {error}", path.display())),
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::input(wrong.join("\n")));
        }
        for path in folders.data.iter().chain(&folders.checkpoints) {
            match lock(path, is_dry) {
                Ok(lock) => folders._locks.extend(lock),
                Err(why) => wrong.push(why),
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::input(wrong.join("\n")));
        }
        folders.is_unused(progress)?;
        folders.list()?;
        Ok(folders)
    }

    /// Refuses when a process has a file open in there. With the locks held, no other comes.
    fn is_unused(&self, progress: &Progress) -> Result<(), Failure> {
        let all: Vec<&Path> = self
            .data
            .iter()
            .chain(&self.checkpoints)
            .map(PathBuf::as_path)
            .collect();
        let users = users::of(&all);
        let names: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
        let names = names.join(", ");
        if let Some((id, name)) = users.found.first() {
            return Err(Failure::input(format!(
                "{names} is in use by process {id} ({name}): stop the agent, of Flume or of ours, and run the command again"
            )));
        }
        if !users.hidden.is_empty() {
            let ids: Vec<String> = users.hidden.iter().map(u32::to_string).collect();
            progress.say(&format!(
                "Warning: the open files of other users' JVMs cannot be seen (process {}), and Flume's lock does not hold: make \
                 sure that none of them is the Flume of {names}",
                ids.join(", ")
            ));
        }
        Ok(())
    }

    fn list(&mut self) -> Result<(), Failure> {
        self.logs.clear();
        for (folder, path) in self.data.iter().enumerate() {
            for place in [path.clone(), path.join(IMPORTING)] {
                let found =
                    logs(&place).map_err(|error| Failure::input(format!("{}: {error}", place.display())))?;
                for (number, path) in found {
                    let log = Log { number, folder, path };
                    let path = log.path.display().to_string();
                    if let Some(other) = self.logs.insert(number, log) {
                        return Err(Failure::input(format!(
                            "{path} and {} have one number: Flume gives each only once in all dataDirs of a channel. \
                             They are of different channels, or one is a copy",
                            other.path.display()
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// The data files by their numbers.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.logs.values()
    }

    /// How many data folders there are.
    pub fn count(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no data file.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// Folders where a checkpoint may be, the ones of before an interruption included.
    pub fn checkpoints(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.checkpoints
            .iter()
            .flat_map(|path| [path.join(IMPORTING), path.clone()])
    }

    /// Whether an earlier run has set files aside.
    pub fn has_importing(&self) -> bool {
        self.data.iter().any(|path| path.join(IMPORTING).is_dir())
    }

    /// Whether an earlier run has come to its end.
    pub fn has_imported(&self) -> bool {
        self.data.iter().any(|path| path.join(IMPORTED).is_dir())
    }

    /// Puts all files where Flume does not look.
    pub fn set_aside(&mut self) -> Result<(), Failure> {
        let by_folder: Vec<PathBuf> = self.data.clone();
        for path in &by_folder {
            let names = names(path, |name| {
                let stem = name.split('.').next().unwrap_or_default();
                crate::channel::file::flume::log_number(stem).is_some()
            });
            set_aside(path, names.map_err(moving(path))?).map_err(moving(path))?;
        }
        for path in &self.checkpoints {
            let names = names(path, |name| CHECKPOINT.contains(&name));
            set_aside(path, names.map_err(moving(path))?).map_err(moving(path))?;
        }
        self.list()
    }

    /// All events are moved: the folders get the name that says so.
    pub fn finish(&mut self) -> Result<(), Failure> {
        for path in self.data.iter().chain(&self.checkpoints) {
            finish(path).map_err(|error| {
                Failure::new(
                    Fault::Unfinished,
                    format!(
                        "all events are moved, but {} cannot be renamed to {IMPORTED}: {error}. Run the command again",
                        path.join(IMPORTING).display()
                    ),
                )
            })?;
        }
        self.list()
    }
}

fn moving(path: &Path) -> impl Fn(io::Error) -> Failure + '_ {
    move |error| {
        let path = path.display();
        Failure::input(format!(
            "{path}: cannot move Flume's files to {IMPORTING}: {error}"
        ))
    }
}

fn names(path: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_wanted(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn set_aside(path: &Path, names: Vec<String>) -> io::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let aside = path.join(IMPORTING);
    match fs::create_dir(&aside) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => other?,
    }
    sync(path)?;
    for name in names {
        fs::rename(path.join(&name), aside.join(&name))?;
    }
    sync(&aside)?;
    sync(path)
}

fn finish(path: &Path) -> io::Result<()> {
    let aside = path.join(IMPORTING);
    if !aside.is_dir() {
        return Ok(());
    }
    let name = |n: usize| match n {
        1 => path.join(IMPORTED),
        n => path.join(format!("{IMPORTED}-{n}")),
    };
    let free = (1..).map(name).find(|name| !name.exists());
    fs::rename(&aside, free.unwrap_or_else(|| path.join(IMPORTED)))?;
    sync(path)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Flume's lock on a folder. One that is not there is made, unless nothing is to be touched.
fn lock(folder: &Path, is_dry: bool) -> Result<Option<File>, String> {
    let path = folder.join(LOCK);
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(!is_dry)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_dry && error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(format!(
            "{} is in use: stop the agent that uses it, of Flume or of ours, and run the command again",
            folder.display()
        )),
        Err(error) => Err(format!("{}: {}", path.display(), io::Error::from(error))),
    }
}
