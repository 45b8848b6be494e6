//! What can be known of a data folder without touching it: whether it can be used, whose it is, who is using it.
//!
//! Nothing here makes, opens for writing or locks a file: `node check` may look at the folders of an agent that is
//! running. What is found is said together with what to do about it.

use super::flume;
use super::folder::{FOLDER, FolderError};
use super::spillable::SAVED;
use proto::journal::{PAGE_BYTES, PageError, SegmentHead};
use rustix::fs::{Access, AtFlags, CWD};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Names of files that a message shows.
const NAMES_SHOWN: usize = 3;
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1_000_000;

/// Whether this process may use the folder, or make it.
///
/// # Errors
/// Something else is in its place, or this process may not read or write it or one of its files.
pub fn usable(data_dir: &Path) -> Result<(), FolderError> {
    let all = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
    if !is_there(data_dir) {
        let mut above = data_dir.parent();
        while let Some(path) = above.filter(|path| !path.as_os_str().is_empty() && !is_there(path)) {
            above = path.parent();
        }
        let above = above
            .filter(|path| !path.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        return allowed(above, Access::WRITE_OK | Access::EXEC_OK, data_dir);
    }
    allowed(data_dir, all, data_dir)?;
    let ours = data_dir.join(FOLDER);
    if is_there(&ours) {
        allowed(&ours, all, data_dir)?;
    }
    let both = Access::READ_OK | Access::WRITE_OK;
    for (path, access) in [
        (data_dir.join("in_use.lock"), both),
        (ours.join("LOCK"), both),
        (ours.join("META"), Access::READ_OK),
    ] {
        if is_there(&path) {
            accessible(&path, access)?;
        }
    }
    Ok(())
}

fn is_there(path: &Path) -> bool {
    // What may not be looked at is there; what is below a file is not, and the file is told.
    !matches!(fs::symlink_metadata(path), Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory))
}

fn allowed(path: &Path, access: Access, wanted: &Path) -> Result<(), FolderError> {
    let metadata = fs::metadata(path).map_err(|error| FolderError::Io {
        path: path.to_owned(),
        error,
    })?;
    if !metadata.is_dir() {
        let why = if path == wanted {
            "is a file, and a folder is needed: move it away, or name another folder".to_owned()
        } else {
            format!(
                "is a file, so that {} cannot be made in it: name another folder",
                wanted.display()
            )
        };
        return Err(other(path, why));
    }
    accessible(path, access)
}

fn accessible(path: &Path, access: Access) -> Result<(), FolderError> {
    use rustix::io::Errno;
    let why = match rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS) {
        Err(Errno::ROFS) => {
            "is on a file system that is mounted read-only: mount it for writing, or name another folder"
        }
        Err(Errno::ACCESS | Errno::PERM) => "",
        // What else there may be is told by whoever opens it.
        _ => return Ok(()),
    };
    if !why.is_empty() {
        return Err(other(path, why.to_owned()));
    }
    let verb = |one: Access| rustix::fs::accessat(CWD, path, one, AtFlags::EACCESS).is_err();
    let missing = match (
        verb(Access::READ_OK),
        access.contains(Access::WRITE_OK) && verb(Access::WRITE_OK),
    ) {
        (true, true) => "neither read nor written",
        (true, false) => "not be read",
        (false, true) => "not be written",
        (false, false) => "not be entered",
    };
    let missing = missing
        .strip_prefix("not be ")
        .map_or(format!("can be {missing}"), |verb| format!("cannot be {verb}"));
    let user = rustix::process::geteuid().as_raw();
    let owner = fs::metadata(path).map_or(String::new(), |metadata| {
        format!(
            ": it belongs to user {} and has mode {:04o}",
            metadata.uid(),
            metadata.mode() & 0o7777
        )
    });
    let why = format!(
        "{missing} by user {user}, who runs this{owner}; chown or chmod it, or run the agent as its owner"
    );
    Err(other(path, why))
}

fn other(path: &Path, why: String) -> FolderError {
    FolderError::Other {
        path: path.to_owned(),
        why,
    }
}

/// Whether a folder in which there is no log yet may become one's: nothing of another program is in it.
///
/// # Errors
/// Something is.
pub fn vacant(data_dir: &Path) -> Result<(), FolderError> {
    // What Flume leaves when its data files are gone, what file systems and their tools put anywhere.
    let common = |name: &str| {
        [FOLDER, "in_use.lock", "checkpoint", "lost+found", SAVED].contains(&name)
            || name.starts_with('.')
            || name.starts_with(flume::IMPORTED)
    };
    // What a start leaves that was interrupted before it wrote META.
    let begun = |name: &str| ["LOCK", "META.tmp"].contains(&name);
    strangers(data_dir, common)?;
    strangers(&data_dir.join(FOLDER), begun)
}

/// What is in a folder, at most so much of it that nothing grows; nothing if it is not there.
///
/// # Errors
/// It cannot be listed: nobody knows what is there.
pub fn names(folder: &Path) -> Result<Vec<String>, FolderError> {
    let failed = FolderError::io(folder);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let names = entries.take(ENTRIES_MAX).map(|entry| entry.map(name));
    names.collect::<Result<_, _>>().map_err(failed)
}

fn strangers(folder: &Path, known: impl Fn(&str) -> bool) -> Result<(), FolderError> {
    let mut strange = names(folder)?;
    strange.retain(|name| !known(name));
    if strange.is_empty() {
        return Ok(());
    }
    strange.sort_unstable();
    let more = strange.len().saturating_sub(NAMES_SHOWN);
    strange.truncate(NAMES_SHOWN);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let why = format!(
        "belongs to another program: there is no log of Millrace, but {}{more}; name an empty folder, or move these away",
        strange.join(", ")
    );
    Err(other(folder, why))
}

/// The newest segment whose header can be read, with the name of its file.
///
/// # Errors
/// A newer version wrote it, or the folder cannot be listed.
pub fn newest_segment(data_dir: &Path) -> Result<Option<(PathBuf, SegmentHead)>, FolderError> {
    let folder = data_dir.join(FOLDER);
    let mut names = names(&folder)?;
    names.retain(|name| name.starts_with("seg-") && name.ends_with(".wal"));
    names.sort_unstable();
    for path in names.iter().rev().map(|name| folder.join(name)) {
        let mut page = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(PAGE_BYTES as u64).read_to_end(&mut page));
        match read.map(|_| SegmentHead::decode(&page)) {
            Ok(Ok(head)) => return Ok(Some((path, head))),
            Ok(Err(why @ PageError::Newer(_))) => return Err(FolderError::Meta { path, why }),
            // Damage is for recovery to tell, and what cannot be opened.
            Ok(Err(_)) | Err(_) => {}
        }
    }
    Ok(None)
}

/// Another process that has locked a folder, as far as the system tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id.
    pub process: u32,
    /// What it is called; empty if that is not told.
    pub name: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.process)?;
        if self.name.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.name)
        }
    }
}

/// Who has locked the folder, as Flume does or as we do; none also where the system does not tell.
pub fn holder(data_dir: &Path) -> Option<Holder> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    let locks = [data_dir.join("in_use.lock"), data_dir.join(FOLDER).join("LOCK")];
    let files = locks.iter().filter_map(|path| fs::metadata(path).ok());
    let files: Vec<String> = files
        .map(|metadata| identity(metadata.dev(), metadata.ino()))
        .collect();
    let process = table.lines().find_map(|line| locker(line, &files))?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(Holder {
        process,
        name: name.trim().to_owned(),
    })
}

/// As the table of locks names a file.
fn identity(device: u64, inode: u64) -> String {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    format!("{major:02x}:{minor:02x}:{inode}")
}

/// The process of a line `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`, if it is about one of these files.
fn locker(line: &str, files: &[String]) -> Option<u32> {
    let mut words = line.split_ascii_whitespace().skip(1);
    // One that waits for another's lock has an arrow there.
    let _kind = words.next().filter(|word| *word != "->")?;
    let process = words.nth(2)?.parse().ok()?;
    let file = words.next()?;
    files.iter().any(|f| f == file).then_some(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_of_locks_names_the_process_that_holds_a_file() {
        let files = ["fe:00:1234".to_owned(), "08:01:7".to_owned()];
        let cases = [
            ("1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 0 EOF", Some(4_711)),
            ("12: FLOCK  ADVISORY  WRITE 12 08:01:7 0 EOF", Some(12)),
            ("1: POSIX  ADVISORY  WRITE 4711 fe:00:12345 0 EOF", None),
            ("1: -> POSIX  ADVISORY  WRITE 4712 fe:00:1234 0 EOF", None),
            // A lock of an open file, of no process.
            ("2: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF", None),
            ("", None),
            ("3: POSIX", None),
        ];
        for (line, process) in cases {
            assert_eq!(locker(line, &files), process, "{line}");
        }
    }
}
