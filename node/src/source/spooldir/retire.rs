//! What becomes of a file that is done, and whether it can.

use super::{Config, Policy, with_suffix};
use crate::component::error::RunError;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use tracing::{debug, warn};

/// What is made and taken away to see whether that can be done.
pub(super) const CANARY: &str = ".flume-spooldir-perm-check.canary";

/// Why a file cannot be retired.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The rules of the spool directory were broken.
    Rule(String),
    /// The file system says no.
    Io(RunError),
}

/// Whether directories are as they must be; makes the tracker directory.
pub(super) fn check(config: &Config) -> Result<(), RunError> {
    let directory = &config.directory;
    match fs::metadata(directory) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => {
            return Err(RunError::retry(format!(
                "Path is not a directory: {}",
                directory.display()
            )));
        }
        Err(why) => {
            let message = format!("Directory does not exist: {}", directory.display());
            return Err(RunError::retry(message).caused_by(why));
        }
    }
    if config.policy != Policy::Marker {
        canary(directory).map_err(|why| {
            let message = format!(
                "Unable to read and modify files in the spooling directory: {}",
                directory.display()
            );
            RunError::retry(message).caused_by(why)
        })?;
    }
    let tracker = &config.tracker_directory;
    match fs::create_dir(tracker) {
        Ok(()) => Ok(()),
        Err(_) if tracker.is_dir() => Ok(()),
        Err(why) => {
            let message = format!("Unable to make the tracker directory {}", tracker.display());
            Err(RunError::retry(message).caused_by(why))
        }
    }
}

/// Makes a file and takes it away again, as Flume does; but a hidden one, so that what a killed start leaves behind is no
/// file to be sent (it would be an empty event), and always the same, so that the next start takes it away.
fn canary(directory: &Path) -> io::Result<()> {
    let path = directory.join(CANARY);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)?;
    match fs::remove_file(&path) {
        // Another source has the same directory, and was as quick.
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Renames or deletes a file, or makes its marker. Returns the directory that has changed.
pub(super) fn retire(config: &Config, path: &Path) -> Result<PathBuf, Refusal> {
    match config.policy {
        Policy::Rename => rename(config, path),
        Policy::Marker => mark(config, path),
        Policy::Delete => delete(path),
    }
}

fn rename(config: &Config, path: &Path) -> Result<PathBuf, Refusal> {
    let target = with_suffix(path, &config.suffix);
    let used = || {
        let target = target.display();
        Refusal::Rule(format!(
            "File name has been re-used with different files. Spooling assumptions violated for {target}"
        ))
    };
    match renameat_with(CWD, path, CWD, &target, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Ok(()) => {}
        Err(why) if why.kind() == ErrorKind::AlreadyExists => return Err(used()),
        // A file system that cannot be asked not to replace.
        Err(why) if matches!(why.raw_os_error(), Some(EINVAL | ENOSYS | EOPNOTSUPP)) => {
            if fs::symlink_metadata(&target).is_ok() {
                return Err(used());
            }
            fs::rename(path, &target).map_err(|why| not_moved(path, &target, why))?;
        }
        Err(why) => return Err(not_moved(path, &target, why)),
    }
    debug!(path = %path.display(), target = %target.display(), "file renamed");
    Ok(parent(path))
}

const EINVAL: i32 = rustix::io::Errno::INVAL.raw_os_error();
const ENOSYS: i32 = rustix::io::Errno::NOSYS.raw_os_error();
const EOPNOTSUPP: i32 = rustix::io::Errno::OPNOTSUPP.raw_os_error();

fn not_moved(path: &Path, target: &Path, why: io::Error) -> Refusal {
    let message = format!("Unable to move {} to {}", path.display(), target.display());
    Refusal::Io(RunError::retry(message).caused_by(why))
}

fn mark(config: &Config, path: &Path) -> Result<PathBuf, Refusal> {
    let marker = config.marker(path);
    let folder = parent(&marker);
    let made = fs::create_dir_all(&folder).and_then(|()| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&marker)
    });
    made.map_err(|why| {
        let message = format!("Unable to make the marker {}", marker.display());
        Refusal::Io(RunError::retry(message).caused_by(why))
    })?;
    Ok(folder)
}

fn delete(path: &Path) -> Result<PathBuf, Refusal> {
    match fs::remove_file(path) {
        Ok(()) => {}
        Err(why) if why.kind() == ErrorKind::NotFound => {
            warn!(path = %path.display(), "Unable to delete nonexistent file");
        }
        Err(why) => {
            let message = format!("Unable to delete spool file: {}", path.display());
            return Err(Refusal::Io(RunError::retry(message).caused_by(why)));
        }
    }
    Ok(parent(path))
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Names in a directory are on the disk.
pub(super) fn sync_directory(path: &Path) -> Result<(), RunError> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced
        .map_err(|why| RunError::retry(format!("Unable to sync directory {}", path.display())).caused_by(why))
}
