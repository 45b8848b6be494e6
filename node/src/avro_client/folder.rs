//! A folder of complete files, each of which is renamed once it was sent: Flume's spooling folder, for the client.
//!
//! Sent are regular files of the folder itself, oldest first, except hidden ones and those named `….COMPLETED`. Like
//! Flume this assumes that a file does not change once it is there; one that did is not renamed, and ends the command.

use super::Failure;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What is added to the name of a file that was sent.
const COMPLETED: &str = ".COMPLETED";

/// The folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
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
        let path = path.to_owned();
        Ok(Self { path })
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

    /// All of it was sent: renames it.
    ///
    /// # Errors
    /// It was changed meanwhile, its new name is taken, or it cannot be renamed.
    pub fn complete(&self) -> Result<(), Failure> {
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
        files[0].complete().unwrap();
        assert!(folder.0.join("a.COMPLETED").exists());

        fs::write(folder.0.join("b"), "more").unwrap();
        let error = files[1].complete().unwrap_err().to_string();
        assert!(error.contains("changed while it was sent"), "{error}");
        let error = files[2].complete().unwrap_err().to_string();
        assert!(error.contains("c.COMPLETED is there already"), "{error}");
        assert_eq!(folder.names(), ["c", "b"]);
    }

    #[test]
    fn what_is_no_folder_says_what_to_do() {
        let folder = Temporary::new("file");
        folder.file("a", 1);
        let error = Folder::open(&folder.0.join("a")).unwrap_err().to_string();
        assert!(
            error.contains("is no folder; to send one file: --filename"),
            "{error}"
        );
        assert!(Folder::open(&folder.0.join("nosuch")).is_err());
    }
}
