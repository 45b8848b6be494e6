//! The folder of a shard as the log sees it.

use std::fmt;

/// What a log asks of the world. Names are those of files inside one folder.
///
/// What [`sync`](Self::sync) has returned `Ok` for survives any crash, as does an entry of the folder for which
/// [`sync_folder`](Self::sync_folder) has; of the rest any part may.
pub trait Disk {
    /// An open file.
    type File: Clone;

    /// The names that are there, in any order.
    ///
    /// # Errors
    /// The world's.
    fn list(&mut self) -> Result<Vec<String>, DiskError>;

    /// Makes a new file of `bytes` that are allocated and read as zero.
    ///
    /// # Errors
    /// [`DiskErrorKind::Full`] if there is no room: then the file is not there. Else the world's.
    fn create(&mut self, name: &str, bytes: u64) -> Result<Self::File, DiskError>;

    /// Opens a file that is there.
    ///
    /// # Errors
    /// The world's.
    fn open(&mut self, name: &str) -> Result<Self::File, DiskError>;

    /// How long a file is.
    ///
    /// # Errors
    /// The world's.
    fn len(&mut self, file: &Self::File) -> Result<u64, DiskError>;

    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    ///
    /// # Errors
    /// The world's.
    fn read_at(&self, file: &Self::File, at: u64, buf: &mut [u8]) -> Result<usize, DiskError>;

    /// Forgets what the system keeps of the file in memory: what is read from now on is on the disk or can still be
    /// synced to it, not what a sync that failed (in an earlier process, say) has left behind.
    ///
    /// # Errors
    /// The world's.
    fn reread(&mut self, file: &Self::File) -> Result<(), DiskError>;

    /// Writes all of `bytes` into what is allocated.
    ///
    /// # Errors
    /// The world's; any part may have been written.
    fn write_at(&mut self, file: &Self::File, at: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Makes what was written to the file durable.
    ///
    /// # Errors
    /// The world's; what is durable is unknown, and a second call would not tell.
    fn sync(&mut self, file: &Self::File) -> Result<(), DiskError>;

    /// Renames a file to a name that is not there.
    ///
    /// # Errors
    /// The world's.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError>;

    /// Removes a file.
    ///
    /// # Errors
    /// The world's.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The world's.
    fn sync_folder(&mut self) -> Result<(), DiskError>;
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// No room.
    Full,
    /// No such file.
    Missing,
    /// Anything else.
    Other,
}

/// A failure of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskError {
    /// What kind.
    pub kind: DiskErrorKind,
    /// What was tried, on which file, and what the system said.
    pub text: String,
}

impl DiskError {
    /// One of a kind.
    pub fn new(kind: DiskErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for DiskError {}
