//! The files: made, appended to, synced and cut.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What is asked of an open file.
pub(super) trait Output: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// What was appended is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Output for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Makes a file that must not exist. Opened for appending, so that what follows a cut stands at the cut.
pub(super) fn create(path: &Path) -> io::Result<Box<dyn Output>> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    Ok(Box::new(file))
}

/// The names in a directory are on the disk.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
