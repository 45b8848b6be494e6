//! The folder of a shard: who owns it, and the disk behind [`cluster::journal::Disk`].
//!
//! ```text
//!   <dataDir>/in_use.lock          locked as Flume locks it (fcntl), so that no Java agent uses the folder meanwhile
//!   <dataDir>/millrace/LOCK        locked against another node and another channel of this one
//!   <dataDir>/millrace/META        whose folder it is; written once: temporary file, sync, rename, sync of the folder
//!   <dataDir>/millrace/seg-….wal   the log; free-….wal are files for its next segments
//! ```

use super::examine::{self, Holder};
use super::flume;
use cluster::journal::{Disk, DiskError, DiskErrorKind};
use proto::journal::{MetaPage, PAGE_BYTES, PageError};
use rustix::fs::{Advice, FallocateFlags, FlockOperation, Mode, OFlags};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
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
    #[error("Cannot lock {path}. The directory is already locked: {} uses it; stop that, or name another folder", user(.holder))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who, if the system tells.
        holder: Option<Holder>,
    },
    /// Its META says something else.
    #[error("{path}: {why}")]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: PageError,
    },
    /// It belongs to another channel or program, is not the shard that it should be, or may not be used.
    #[error("{path} {why}")]
    Other {
        /// The folder.
        path: PathBuf,
        /// What is there, what was expected.
        why: String,
    },
}

fn user(holder: &Option<Holder>) -> String {
    match holder {
        Some(holder) if holder.process == std::process::id() => "another channel of this agent".to_owned(),
        Some(holder) => holder.to_string(),
        None => "another agent or another channel".to_owned(),
    }
}

impl FolderError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
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
    examine::usable(data_dir)?;
    let meta = data_dir.join(FOLDER).join(META);
    // Before ours: what is Flume's must be moved first, or nobody would ever deliver it.
    let logs = flume::count(data_dir).map_err(FolderError::io(data_dir))?;
    if logs > 0 {
        read_meta(&meta)?;
        return Ok(Found::Flume(logs));
    }
    match read_meta(&meta)? {
        Some(_) => {
            examine::newest_segment(data_dir)?;
            return Ok(Found::Ours);
        }
        None if has_segments(&data_dir.join(FOLDER))? => {
            return Err(FolderError::Other {
                path: data_dir.join(FOLDER),
                why: "has segments of a log, but no META that says whose they are: bring META back from where they \
                      were copied from, or move them away"
                    .to_owned(),
            });
        }
        None => {}
    }
    examine::vacant(data_dir)?;
    Ok(Found::Nothing)
}

/// Whose a data folder is; none if it is nobody's, or not there.
///
/// # Errors
/// The page cannot be read, or is not ours.
pub fn meta(data_dir: &Path) -> Result<Option<MetaPage>, FolderError> {
    read_meta(&data_dir.join(FOLDER).join(META))
}

fn has_segments(folder: &Path) -> Result<bool, FolderError> {
    Ok(examine::names(folder)?
        .iter()
        .any(|name| name.starts_with("seg-")))
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
    _locks: (Option<File>, Option<File>),
}

/// One folder at a time is locked. A process that closes `in_use.lock` loses the lock that it has on it by another opening:
/// so nobody opens it before having `LOCK`, or finding that nobody can have that.
static LOCKING: Mutex<()> = Mutex::new(());

impl Folder {
    /// Locks the folder and reads, or first writes, what it is. `fresh` is what a folder without META becomes.
    ///
    /// # Errors
    /// Somebody else has it, it is another channel's or program's, or the system refuses; then nothing was touched.
    pub fn own(data_dir: &Path, fresh: &MetaPage, minimum_free_bytes: u64) -> Result<Self, FolderError> {
        let _alone = LOCKING.lock().unwrap_or_else(PoisonError::into_inner);
        look(data_dir)?;
        let path = data_dir.join(FOLDER);
        let (ours, java) = (path.join("LOCK"), data_dir.join("in_use.lock"));
        let mut locks = (
            lock_ours(data_dir, &ours, false)?,
            lock_java(data_dir, &java, false)?,
        );
        // Nobody is there: only now something is made.
        make_folder(&path)?;
        if locks.0.is_none() {
            locks.0 = lock_ours(data_dir, &ours, true)?;
        }
        if locks.1.is_none() {
            locks.1 = lock_java(data_dir, &java, true)?;
        }
        let disk = RealDisk {
            path: path.clone(),
            minimum_free_bytes,
            read_soon: Arc::default(),
            direct: Direct::default(),
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
            _locks: locks,
        })
    }
}

fn locked(data_dir: &Path) -> FolderError {
    FolderError::Locked {
        path: data_dir.to_owned(),
        holder: examine::holder(data_dir),
    }
}

/// Locks the file as we do; none if it is not there and is not to be made.
fn lock_ours(data_dir: &Path, path: &Path, make: bool) -> Result<Option<File>, FolderError> {
    let Some(file) = lock_file(path, make)? else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(locked(data_dir)),
        Err(TryLockError::Error(error)) => Err(FolderError::io(path)(error)),
    }
}

/// Locks the file as Flume does; none if it is not there and is not to be made.
fn lock_java(data_dir: &Path, path: &Path, make: bool) -> Result<Option<File>, FolderError> {
    let Some(file) = lock_file(path, make)? else {
        return Ok(None);
    };
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(locked(data_dir)),
        Err(error) => Err(FolderError::io(path)(error.into())),
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

fn lock_file(path: &Path, make: bool) -> Result<Option<File>, FolderError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(make)
        .truncate(false)
        .mode(0o600)
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound && !make => Ok(None),
        Err(error) => Err(FolderError::io(path)(error)),
    }
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
    /// What is written is read back soon: shared by all clones.
    read_soon: Arc<AtomicBool>,
    direct: Direct,
}

/// Writing past the system's cache: what nobody reads back soon need not be copied into it, and a sync has less to do,
/// least of all in space that was only allocated. Whole pages only, from memory that begins at one.
#[derive(Debug, Default)]
struct Direct {
    /// The file that is written at the moment, and itself once more, opened for this; none if its file system refuses.
    open: Option<(Arc<File>, Option<File>)>,
    /// Memory with a page's border in it.
    pages: Vec<u8>,
}

/// Each has its own.
impl Clone for Direct {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// Bytes that one direct write has, at most.
const DIRECT_BYTES: usize = 1 << 20;

impl Direct {
    /// Writes, and says whether it could.
    fn write_at(&mut self, file: &Arc<File>, at: u64, bytes: &[u8]) -> io::Result<bool> {
        if !(at as usize | bytes.len()).is_multiple_of(PAGE_BYTES) {
            return Ok(false);
        }
        if self.open.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, file)) {
            // By its descriptor, as its name may be another one by now.
            let again = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
            let direct = rustix::fs::open(again, flags, Mode::empty()).ok().map(File::from);
            self.open = Some((file.clone(), direct));
        }
        let Some((_, Some(direct))) = &self.open else {
            return Ok(false);
        };
        if self.pages.is_empty() {
            self.pages = vec![0; DIRECT_BYTES + PAGE_BYTES];
        }
        let start = self.pages.as_ptr().align_offset(PAGE_BYTES);
        for (n, piece) in bytes.chunks(DIRECT_BYTES).enumerate() {
            let pages = &mut self.pages[start..start + piece.len()];
            pages.copy_from_slice(piece);
            match direct.write_all_at(pages, at + (n * DIRECT_BYTES) as u64) {
                Ok(()) => {}
                // Pages are not what this device wants. What was written is written once more, the same.
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    self.open = Some((file.clone(), None));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl RealDisk {
    /// Says whether what is written from now on is read back soon, so that the system had better keep it.
    pub fn read_soon(&self, soon: bool) {
        self.read_soon.store(soon, Relaxed);
    }

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

/// Reads up to `buf.len()` bytes from a place; fewer only at the end of the file.
///
/// # Errors
/// The file system's.
pub fn read_at(file: &File, at: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
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
        read_at(file, at, buf).map_err(self.failed("cannot read a segment in", ""))
    }

    fn reread(&mut self, file: &Arc<File>) -> Result<(), DiskError> {
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed)
            .map_err(|error| self.failed("cannot drop the cache of a segment in", "")(error.into()))
    }

    fn write_at(&mut self, file: &Arc<File>, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let direct = !self.read_soon.load(Relaxed);
        let mut write = || -> io::Result<()> {
            if direct && self.direct.write_at(file, at, bytes)? {
                return Ok(());
            }
            file.write_all_at(bytes, at)
        };
        write().map_err(self.failed("cannot write to a segment in", ""))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::TempDir;

    fn own(folder: &TempDir) -> Folder {
        let fresh = MetaPage {
            shards: 1,
            ..MetaPage::default()
        };
        Folder::own(folder.path(), &fresh, 0).unwrap()
    }

    #[test]
    fn whichever_way_it_is_written_it_is_read_back() {
        let folder = TempDir::new();
        let mut disk = own(&folder).disk;
        let bytes = 3 * DIRECT_BYTES;
        let file = disk.create("a", bytes as u64).unwrap();
        let all: Vec<u8> = (0..bytes).map(|n| (n * 7 % 251) as u8).collect();
        // Longer than one direct write, then a page, then what is no page, then through the cache.
        let ends = [
            0,
            DIRECT_BYTES + PAGE_BYTES,
            DIRECT_BYTES + 2 * PAGE_BYTES,
            2 * DIRECT_BYTES - 5,
            bytes,
        ];
        for (n, part) in ends.windows(2).enumerate() {
            disk.read_soon(n == 3);
            disk.write_at(&file, part[0] as u64, &all[part[0]..part[1]])
                .unwrap();
        }
        disk.sync(&file).unwrap();
        let mut read = vec![0; bytes];
        assert_eq!(disk.read_at(&file, 0, &mut read).unwrap(), bytes);
        assert!(read == all);
    }

    #[test]
    fn a_file_that_cannot_be_written_directly_is_left_to_the_cache() {
        let folder = TempDir::new();
        let mut disk = own(&folder).disk;
        let file = disk.create("a", PAGE_BYTES as u64).unwrap();
        disk.direct.open = Some((file.clone(), None));
        assert!(!disk.direct.write_at(&file, 0, &[1; PAGE_BYTES]).unwrap());
        disk.write_at(&file, 0, &[2; PAGE_BYTES]).unwrap();
        let mut read = [0; PAGE_BYTES];
        disk.read_at(&file, 0, &mut read).unwrap();
        assert_eq!(read, [2; PAGE_BYTES]);
    }
}
