//! The folder of a shard: who owns it, and the disk behind [`cluster::journal::Disk`].
//!
//! ```text
//!   <dataDir>/in_use.lock          locked as Flume locks it (fcntl), so that no Java agent uses the folder meanwhile
//!   <dataDir>/millrace/LOCK        locked against another node and another channel of this one
//!   <dataDir>/millrace/META        whose folder it is; written once: temporary file, sync, rename, sync of the folder
//!   <dataDir>/millrace/seg-….wal   the log; free-….wal are files for its next segments
//! ```

use cluster::journal::{Disk, DiskError, DiskErrorKind};
use proto::journal::{MetaPage, PAGE_BYTES, PageError};
use rustix::fs::{Advice, FallocateFlags, FlockOperation};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// Our part of a data folder.
pub const FOLDER: &str = "millrace";
const META: &str = "META";

/// Why a folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The system.
    #[error("{path}: {error}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Another process or another channel has it.
    #[error("Cannot lock {path}. The directory is already locked: another agent or another channel uses it")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// Its META says something else.
    #[error("{path}: {why}")]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: PageError,
    },
    /// It belongs to another channel, or is not the shard that it should be.
    #[error("{path}: {why}")]
    Other {
        /// The folder.
        path: PathBuf,
        /// What is there, what was expected.
        why: String,
    },
}

impl FolderError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// What one can know of a folder without touching it.
#[derive(Debug)]
pub enum Found {
    /// Nothing of ours; the folder may not even be there.
    Nothing,
    /// A log of ours.
    Ours,
    /// A file channel of Flume's, with so many data files.
    Flume(usize),
}

/// Looks, touches nothing.
///
/// # Errors
/// What is there cannot be read, or is not ours.
pub fn look(data_dir: &Path) -> Result<Found, FolderError> {
    let meta = data_dir.join(FOLDER).join(META);
    match read_meta(&meta)? {
        Some(_) => return Ok(Found::Ours),
        None if has_segments(&data_dir.join(FOLDER)) => {
            return Err(FolderError::Other {
                path: data_dir.join(FOLDER),
                why: "there are segments of a log, but no META that says whose they are".to_owned(),
            });
        }
        None => {}
    }
    let logs = match fs::read_dir(data_dir) {
        Ok(entries) => entries
            .flatten()
            .filter(|e| is_flume_log(&e.file_name().to_string_lossy()))
            .count(),
        Err(error) if error.kind() == ErrorKind::NotFound => 0,
        Err(error) => return Err(FolderError::io(data_dir)(error)),
    };
    Ok(if logs > 0 {
        Found::Flume(logs)
    } else {
        Found::Nothing
    })
}

/// Whose a data folder is; none if it is nobody's, or not there.
///
/// # Errors
/// The page cannot be read, or is not ours.
pub fn meta(data_dir: &Path) -> Result<Option<MetaPage>, FolderError> {
    read_meta(&data_dir.join(FOLDER).join(META))
}

fn has_segments(folder: &Path) -> bool {
    let is_segment = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("seg-");
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(is_segment))
}

fn is_flume_log(name: &str) -> bool {
    name.strip_prefix("log-")
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

fn read_meta(path: &Path) -> Result<Option<MetaPage>, FolderError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(PAGE_BYTES as u64)
                .read_to_end(&mut bytes)
                .map_err(FolderError::io(path))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FolderError::io(path)(error)),
    }
    let page = MetaPage::decode(&bytes).map_err(|why| FolderError::Meta {
        path: path.to_owned(),
        why,
    })?;
    Ok(Some(page))
}

/// A folder that is ours as long as the value lives.
#[derive(Debug)]
pub struct Folder {
    /// The disk of its log.
    pub disk: RealDisk,
    /// Whose it is.
    pub meta: MetaPage,
    _locks: [File; 2],
}

impl Folder {
    /// Locks the folder and reads, or first writes, what it is. `fresh` is what a folder without META becomes.
    ///
    /// # Errors
    /// Somebody else has it, it is another channel's, or the system refuses.
    pub fn own(data_dir: &Path, fresh: &MetaPage, minimum_free_bytes: u64) -> Result<Self, FolderError> {
        let path = data_dir.join(FOLDER);
        make_folder(&path)?;
        let ours = lock_file(&path.join("LOCK"))?;
        let locked = || FolderError::Locked {
            path: data_dir.to_owned(),
        };
        match ours.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked()),
            Err(TryLockError::Error(error)) => return Err(FolderError::io(&path)(error)),
        }
        let java = lock_file(&data_dir.join("in_use.lock"))?;
        match rustix::fs::fcntl_lock(&java, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Err(locked()),
            Err(error) => return Err(FolderError::io(data_dir)(error.into())),
        }
        let disk = RealDisk {
            path: path.clone(),
            minimum_free_bytes,
        };
        let meta = match read_meta(&path.join(META))? {
            Some(meta) => meta,
            None => {
                write_meta(&path, fresh)?;
                fresh.clone()
            }
        };
        if (meta.shard_number, meta.shards) != (fresh.shard_number, fresh.shards) {
            let why = format!(
                "is folder {} of {} of a channel, here it is number {} of {}: dataDirs must name the same folders in the same order",
                meta.shard_number + 1,
                meta.shards,
                fresh.shard_number + 1,
                fresh.shards
            );
            return Err(FolderError::Other { path, why });
        }
        Ok(Self {
            disk,
            meta,
            _locks: [ours, java],
        })
    }
}

/// Everything below what is there is made with mode 0700.
fn make_folder(path: &Path) -> Result<(), FolderError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FolderError::io(path))
}

fn lock_file(path: &Path) -> Result<File, FolderError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(FolderError::io(path))
}

fn write_meta(folder: &Path, meta: &MetaPage) -> Result<(), FolderError> {
    let (temporary, path) = (folder.join("META.tmp"), folder.join(META));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(&meta.encode())?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(folder)?.sync_all()?;
        // The folder itself may be new as well.
        folder
            .parent()
            .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    };
    write().map_err(FolderError::io(&path))
}

/// The files of one folder.
#[derive(Debug, Clone)]
pub struct RealDisk {
    path: PathBuf,
    /// So much must be free besides a new segment; small files are exempt.
    minimum_free_bytes: u64,
}

impl RealDisk {
    fn failed<'a>(&'a self, what: &'a str, name: &'a str) -> impl Fn(io::Error) -> DiskError + 'a {
        move |error| {
            let kind = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskErrorKind::Full,
                ErrorKind::NotFound => DiskErrorKind::Missing,
                _ => DiskErrorKind::Other,
            };
            DiskError::new(
                kind,
                format!("{what} {}: {error}", self.path.join(name).display()),
            )
        }
    }

    fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        if bytes > SMALL_BYTES {
            let free = rustix::fs::fstatvfs(file)?;
            let free = free.f_bavail.saturating_mul(free.f_frsize);
            if free < bytes.saturating_add(self.minimum_free_bytes) {
                let message = format!(
                    "Usable space exhausted, only {free} bytes remaining, required {} bytes",
                    bytes.saturating_add(self.minimum_free_bytes)
                );
                return Err(io::Error::new(ErrorKind::StorageFull, message));
            }
        }
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // A file system that cannot: what is written is allocated.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                let zeroes = vec![0; 1 << 20];
                let mut at = 0;
                while at < bytes {
                    let n = zeroes.len().min((bytes - at) as usize);
                    file.write_all_at(&zeroes[..n], at)?;
                    at += n as u64;
                }
                Ok(())
            }
            other => other.map_err(io::Error::from),
        }
    }
}

/// Files up to this long may use up what `minimumRequiredSpace` keeps free: they let a full channel drain.
const SMALL_BYTES: u64 = 16 << 20;

impl Disk for RealDisk {
    type File = Arc<File>;

    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        let read = || -> io::Result<Vec<String>> {
            fs::read_dir(&self.path)?
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect()
        };
        read().map_err(self.failed("cannot list", ""))
    }

    fn create(&mut self, name: &str, bytes: u64) -> Result<Arc<File>, DiskError> {
        let path = self.path.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(self.failed("cannot create", name))?;
        if let Err(error) = self.allocate(&file, bytes) {
            let _ = fs::remove_file(&path);
            return Err(self.failed("cannot allocate", name)(error));
        }
        Ok(Arc::new(file))
    }

    fn open(&mut self, name: &str) -> Result<Arc<File>, DiskError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name));
        Ok(Arc::new(file.map_err(self.failed("cannot open", name))?))
    }

    fn len(&mut self, file: &Arc<File>) -> Result<u64, DiskError> {
        Ok(file
            .metadata()
            .map_err(self.failed("cannot look at a file in", ""))?
            .len())
    }

    fn read_at(&self, file: &Arc<File>, at: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        while done < buf.len() {
            match file.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("cannot read a segment in", "")(error)),
            }
        }
        Ok(done)
    }

    fn reread(&mut self, file: &Arc<File>) -> Result<(), DiskError> {
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed)
            .map_err(|error| self.failed("cannot drop the cache of a segment in", "")(error.into()))
    }

    fn write_at(&mut self, file: &Arc<File>, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        file.write_all_at(bytes, at)
            .map_err(self.failed("cannot write to a segment in", ""))
    }

    fn sync(&mut self, file: &Arc<File>) -> Result<(), DiskError> {
        file.sync_data()
            .map_err(self.failed("cannot sync a segment in", ""))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), DiskError> {
        fs::rename(self.path.join(from), self.path.join(to)).map_err(self.failed("cannot rename", from))
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        fs::remove_file(self.path.join(name)).map_err(self.failed("cannot remove", name))
    }

    fn sync_folder(&mut self) -> Result<(), DiskError> {
        let sync = || File::open(&self.path)?.sync_all();
        sync().map_err(self.failed("cannot sync", ""))
    }
}
