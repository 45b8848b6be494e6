//! A folder of complete files, each of which is renamed once it was sent: Flume's spooling folder, for the client.
//!
//! Sent are regular files of the folder itself, oldest first, except hidden ones and those named `….COMPLETED`. Like
//! Flume this assumes that a file does not change once it is there; one that did is not renamed, and ends the command.
//!
//! After each batch the tracker file in `.flumespool` says how far it got, in Flume's format, so that a command that
//! was interrupted is taken up by the next one, or by Flume's client, at most one batch early.

use super::Failure;
use crate::component::deserializer::Place;
use crate::source::spooldir::position::{Identity, Position};
use crate::source::spooldir::tracker::Tracker;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where the tracker file is, below the folder.
const TRACKER: &str = ".flumespool";

/// What is added to the name of a file that was sent.
const COMPLETED: &str = ".COMPLETED";

/// The folder.
pub struct Folder {
    path: PathBuf,
    tracker: Tracker,
}

impl Folder {
    /// One that is there.
    ///
    /// # Errors
    /// It is not there, or no folder.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let metadata = fs::metadata(path).map_err(|error| failed(path, &error))?;
        if !metadata.is_dir() {
            let path = path.display();
            return Err(Failure::input(format!(
                "{path} is no folder; to send one file: --filename {path}"
            )));
        }
        let tracker = path.join(TRACKER);
        fs::create_dir_all(&tracker).map_err(|error| failed(&tracker, &error))?;
        Ok(Self {
            path: path.to_owned(),
            tracker: Tracker::new(&tracker),
        })
    }

    /// Puts the file where reading goes on: at its start, or where an interrupted command was. Returns the byte before
    /// that, if there is one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resume(&self, complete: &Complete, file: &mut File) -> Result<Option<u8>, Failure> {
        let path = &complete.path;
        let Some(mark) = self.tracker.read(&self.path).filter(|mark| mark.path == *path) else {
            return Ok(None);
        };
        let unreadable = |error: io::Error| failed(path, &error);
        let now = file.metadata().map_err(unreadable)?;
        let offset = mark.place.offset;
        let is_same = mark
            .identity
            .is_none_or(|identity| Identity::of(&now).is(&identity, offset));
        if !is_same || offset == 0 || offset > now.len() {
            return Ok(None);
        }
        let mut before = [0];
        file.seek(SeekFrom::Start(offset - 1)).map_err(unreadable)?;
        file.read_exact(&mut before).map_err(unreadable)?;
        Ok(Some(before[0]))
    }

    /// So many bytes of the file are sent.
    ///
    /// # Errors
    /// The tracker file cannot be written.
    pub fn note(&mut self, complete: &Complete, offset: u64) -> Result<(), Failure> {
        let position = Position {
            path: complete.path.clone(),
            identity: complete.identity,
            place: Place { offset, skip: 0 },
            done: false,
        };
        let stored = self.tracker.store(&position);
        stored.map_err(|error| failed(&self.path.join(TRACKER), &error))
    }

    /// All of the file was sent: renames it.
    ///
    /// # Errors
    /// It was changed meanwhile, its new name is taken, or it cannot be renamed.
    pub fn complete(&mut self, file: &Complete) -> Result<(), Failure> {
        file.rename()?;
        let deleted = self.tracker.delete();
        deleted.map_err(|error| failed(&self.path.join(TRACKER), &error))
    }

    /// What is to be sent, oldest first, equals by name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn files(&self) -> Result<Vec<Complete>, Failure> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(|error| failed(&self.path, &error))? {
            let entry = entry.map_err(|error| failed(&self.path, &error))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') || name.ends_with(COMPLETED) {
                continue;
            }
            let path = entry.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => files.push(Complete {
                    state: State::of(&metadata),
                    identity: Identity::of(&metadata),
                    path,
                }),
                Ok(_) => {}
                // Gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path, &error)),
            }
        }
        files.sort_by(|a, b| (a.state.modified, &a.path).cmp(&(b.state.modified, &b.path)));
        Ok(files)
    }
}

/// A file of the folder.
#[derive(Debug)]
pub struct Complete {
    path: PathBuf,
    state: State,
    identity: Identity,
}

/// What shows that a file was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

impl Complete {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn rename(&self) -> Result<(), Failure> {
        let path = &self.path;
        let now = fs::metadata(path).map_err(|error| failed(path, &error))?;
        if State::of(&now) != self.state {
            return Err(Failure::input(format!(
                "{}: changed while it was sent, and so it is not renamed; a file must be complete when it comes into the folder",
                path.display()
            )));
        }
        let mut name = path.clone().into_os_string();
        name.push(COMPLETED);
        let name = PathBuf::from(name);
        if name.exists() {
            return Err(Failure::input(format!(
                "{}: sent, but it cannot be renamed: {} is there already",
                path.display(),
                name.display()
            )));
        }
        fs::rename(path, &name).map_err(|error| failed(path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::Duration;

    /// A folder that goes with its value.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("millrace-avro-client-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        /// A file that is so many seconds old.
        fn file(&self, name: &str, age: u64) {
            let file = File::create(self.0.join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age))
                .unwrap();
        }

        fn names(&self) -> Vec<String> {
            let files = Folder::open(&self.0).unwrap().files().unwrap();
            let name = |file: &Complete| file.path().file_name().unwrap().to_string_lossy().into_owned();
            files.iter().map(name).collect()
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn files_come_oldest_first_and_only_those_to_be_sent() {
        let folder = Temporary::new("order");
        for (name, age) in [("a", 5), ("c", 50), ("b", 50), (".hidden", 9), ("d.COMPLETED", 9)] {
            folder.file(name, age);
        }
        fs::create_dir(folder.0.join("below")).unwrap();
        let same = SystemTime::now() - Duration::from_secs(500);
        for name in ["b", "c"] {
            let file = File::options().write(true).open(folder.0.join(name)).unwrap();
            file.set_modified(same).unwrap();
        }
        assert_eq!(folder.names(), ["b", "c", "a"]);
    }

    #[test]
    fn a_file_that_was_sent_is_renamed_and_one_that_changed_is_not() {
        let folder = Temporary::new("rename");
        folder.file("a", 5);
        folder.file("b", 4);
        folder.file("c", 3);
        folder.file("c.COMPLETED", 1);
        let files = Folder::open(&folder.0).unwrap().files().unwrap();
        files[0].rename().unwrap();
        assert!(folder.0.join("a.COMPLETED").exists());

        fs::write(folder.0.join("b"), "more").unwrap();
        let error = files[1].rename().unwrap_err().to_string();
        assert!(error.contains("changed while it was sent"), "{error}");
        let error = files[2].rename().unwrap_err().to_string();
        assert!(error.contains("c.COMPLETED is there already"), "{error}");
        assert_eq!(folder.names(), ["c", "b"]);
    }

    #[test]
    fn a_file_is_taken_up_where_it_was_left_and_another_one_from_its_start() {
        let temporary = Temporary::new("resume");
        fs::write(temporary.0.join("a"), "1\r\n2\n").unwrap();
        fs::write(temporary.0.join("b"), "1\n2\n").unwrap();
        let mut folder = Folder::open(&temporary.0).unwrap();
        let files = folder.files().unwrap();
        let rest = |folder: &Folder, complete: &Complete| {
            let mut file = File::open(complete.path()).unwrap();
            let before = folder.resume(complete, &mut file).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            (before, text)
        };
        assert_eq!(rest(&folder, &files[0]), (None, "1\r\n2\n".to_owned()));
        folder.note(&files[0], 2).unwrap();
        let folder = Folder::open(&temporary.0).unwrap();
        assert_eq!(rest(&folder, &files[0]), (Some(b'\r'), "\n2\n".to_owned()));
        assert_eq!(rest(&folder, &files[1]), (None, "1\n2\n".to_owned()));

        // Another file of that name.
        fs::remove_file(temporary.0.join("a")).unwrap();
        fs::write(temporary.0.join("a"), "other\nlines\n").unwrap();
        let mut folder = Folder::open(&temporary.0).unwrap();
        let files = folder.files().unwrap();
        assert_eq!(rest(&folder, &files[0]).0, None);
        folder.note(&files[0], 6).unwrap();
        folder.complete(&files[0]).unwrap();
        assert!(!temporary.0.join(".flumespool/.flumespool-main.meta").exists());
    }

    #[test]
    fn what_is_no_folder_says_what_to_do() {
        let folder = Temporary::new("file");
        folder.file("a", 1);
        let error = Folder::open(&folder.0.join("a")).err().unwrap().to_string();
        assert!(
            error.contains("is no folder; to send one file: --filename"),
            "{error}"
        );
        assert!(Folder::open(&folder.0.join("nosuch")).is_err());
    }
}
