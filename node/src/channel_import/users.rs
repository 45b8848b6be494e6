//! Who has files of a folder open, by what the system tells of all processes.
//!
//! Flume's lock does not say it: right after taking it, Flume opens and closes the lock file once more to try whether locks
//! work, and with that close POSIX lets go of every lock of the process on the file. Seen with Flume 1.9 and 1.11 on Linux:
//! /proc/locks names no lock of a running one. (A Flume that *starts* does notice a lock of ours.) But it keeps its data
//! files and `in_use.lock` open all the time.

use std::fs;
use std::path::{Path, PathBuf};

/// What is known of a folder's users.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Users {
    /// Processes that have one of its files open, and what they are called.
    pub found: Vec<(u32, String)>,
    /// JVMs of which nothing can be seen from here, because they are another user's.
    pub hidden: Vec<u32>,
}

/// Looks through all processes but this one.
pub fn of(folders: &[&Path]) -> Users {
    let folders: Vec<PathBuf> = folders
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .collect();
    let mut users = Users::default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for id in ids.filter(|id| *id != std::process::id()) {
        let name = || {
            fs::read_to_string(format!("/proc/{id}/comm"))
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        match fs::read_dir(format!("/proc/{id}/fd")) {
            Ok(open) => {
                let mut open = open
                    .flatten()
                    .filter_map(|entry| fs::read_link(entry.path()).ok());
                if open.any(|file| folders.iter().any(|folder| file.parent() == Some(folder))) {
                    users.found.push((id, name()));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && name() == "java" => {
                users.hidden.push(id);
            }
            // It has ended meanwhile, or cannot be a Flume.
            Err(_) => {}
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::TempDir;
    use std::process::{Command, Stdio};

    #[test]
    fn another_process_that_has_a_file_open_is_found() {
        let folder = TempDir::new();
        let path = folder.path().join("log-1");
        fs::write(&path, b"x").unwrap();
        let _ours = fs::File::open(&path).unwrap();
        assert_eq!(of(&[folder.path()]).found, [], "we ourselves do not count");
        // `cat` stays as long as its input is open; the file is what it would complain to.
        let mut other = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(fs::File::options().append(true).open(&path).unwrap())
            .spawn()
            .unwrap();
        let found = of(&[folder.path()]).found;
        drop(other.stdin.take());
        other.wait().unwrap();
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [other.id()]);
        assert_eq!(of(&[folder.path()]).found, []);
    }
}
