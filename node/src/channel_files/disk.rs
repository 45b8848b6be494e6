//! A folder whose files can only be read: what looks at a channel cannot change it, whatever it does.

use crate::channel::file::folder;
use cluster::journal::{Disk, DiskError, DiskErrorKind};
use rustix::fs::Advice;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::sync::Arc;

/// The folder.
#[derive(Debug, Clone)]
pub struct ReadOnlyDisk {
    path: PathBuf,
    /// What is read comes from the disk, not from what the system remembers of it.
    from_the_disk: bool,
}

impl ReadOnlyDisk {
    pub fn new(path: PathBuf, from_the_disk: bool) -> Self {
        Self { path, from_the_disk }
    }

    fn failed(&self, what: &str, name: &str, error: &io::Error) -> DiskError {
        let kind = match error.kind() {
            ErrorKind::NotFound => DiskErrorKind::Missing,
            _ => DiskErrorKind::Other,
        };
        let path = self.path.join(name);
        DiskError::new(kind, format!("cannot {what} {}: {error}", path.display()))
    }

    fn refused<T>(&self, name: &str) -> Result<T, DiskError> {
        let path = self.path.join(name);
        Err(DiskError::new(
            DiskErrorKind::Other,
            format!("{}: is only read", path.display()),
        ))
    }
}

impl Disk for ReadOnlyDisk {
    type File = Arc<File>;

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let read = || -> io::Result<Vec<String>> {
            fs::read_dir(&self.path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        };
        read().map_err(|error| self.failed("list", "", &error))
    }

    fn create(&mut self, name: &str, _: u64) -> Result<Arc<File>, DiskError> {
        self.refused(name)
    }

    fn open(&mut self, name: &str) -> Result<Arc<File>, DiskError> {
        let file = File::open(self.path.join(name)).map_err(|error| self.failed("open", name, &error))?;
        let file = Arc::new(file);
        if self.from_the_disk {
            self.reread(&file)?;
        }
        Ok(file)
    }

    fn len(&mut self, file: &Arc<File>) -> Result<u64, DiskError> {
        let metadata = file.metadata();
        Ok(metadata
            .map_err(|error| self.failed("look at a file in", "", &error))?
            .len())
    }

    fn read_at(&self, file: &Arc<File>, at: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        folder::read_at(file, at, buf).map_err(|error| self.failed("read a segment in", "", &error))
    }

    fn reread(&mut self, file: &Arc<File>) -> Result<(), DiskError> {
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed)
            .map_err(|error| self.failed("drop the cache of a segment in", "", &error.into()))
    }

    fn write_at(&mut self, _: &Arc<File>, _: u64, _: &[u8]) -> Result<(), DiskError> {
        self.refused("")
    }

    fn sync(&mut self, _: &Arc<File>) -> Result<(), DiskError> {
        self.refused("")
    }

    fn rename(&mut self, from: &str, _: &str) -> Result<(), DiskError> {
        self.refused(from)
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        self.refused(name)
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        self.refused("")
    }
}
