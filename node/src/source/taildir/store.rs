//! The position file on disk: read once, then written whole beside its place, synced, and renamed into it.
//!
//! A crash at any moment leaves the old file or the new one, never half of one (Flume truncates and writes in place).
//! Whoever writes it holds a lock on it, so that two sources with one position file, which would take each other's
//! positions away, are noticed; the lock goes with the process. A link is followed, the file that it leads to is
//! replaced. Owner: whoever runs the node; the mode of the file before stays. Its time of modification is set to when the
//! folders were listed for it, its time of birth is that of the writing: a start needs both ([`identity`](super::identity)).

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest text that is read, in bytes: a hundred thousand files with paths of two kilobytes and a half.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// How much the clock of a file system may be behind ours.
const CLOCKS: Duration = Duration::from_secs(1);

/// How often, and how long each time, the clock of a file system is waited for: it ticks 100 to 1,000 times a second.
const TICKS: u32 = 20;
const TICK: Duration = Duration::from_millis(2);

/// What stood in the position file at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Before {
    /// All of it.
    pub(super) text: Vec<u8>,
    /// When it was written, in nanoseconds since 1970.
    pub(super) at_ns: u64,
    /// When folders were listed for it, or a little earlier.
    pub(super) listed_ns: u64,
}

/// The place of the position file, and the lock on what stands there.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    held: Option<File>,
}

impl Store {
    /// Makes the folders above, locks the file and reads it, if there is one.
    ///
    /// # Errors
    /// The file is somebody else's, or the file system refuses.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Before>)> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error),
        };
        let mut store = Self { path, held: None };
        let file = match File::open(&store.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((store, None)),
            Err(error) => return Err(error),
        };
        lock(&file)?;
        let meta = file.metadata()?;
        let listed_ns = ns(meta.modified()?);
        // Flume writes in place, so that only the time of modification moves; a file of ours is made anew.
        let at_ns = listed_ns.max(meta.created().map_or(0, ns));
        let mut text = Vec::new();
        (&file).take(TEXT_BYTES_MAX + 1).read_to_end(&mut text)?;
        if text.len() as u64 > TEXT_BYTES_MAX {
            let what = format!("it has over {TEXT_BYTES_MAX} bytes: that is no position file");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
        }
        store.held = Some(file);
        let before = Before {
            text,
            at_ns,
            listed_ns,
        };
        Ok((store, Some(before)))
    }

    /// Puts the file aside, so that nobody takes it for good and somebody can look at it. Returns its new path.
    ///
    /// # Errors
    /// The file system refuses.
    pub(super) fn put_aside(&mut self, unix_ms: u64) -> io::Result<PathBuf> {
        let aside = beside(&self.path, "", &format!(".bad-{unix_ms}"));
        fs::rename(&self.path, &aside)?;
        self.held = None;
        Ok(aside)
    }

    /// Replaces the file by one that is made of what was listed then, of files of which the youngest was born at
    /// `youngest_ns` (nanoseconds since 1970). When this returns, it is on disk.
    ///
    /// # Errors
    /// The file is somebody else's by now, or the file system refuses; the old file is still there.
    pub(super) fn write(&mut self, text: &str, listed: SystemTime, youngest_ns: u64) -> io::Result<()> {
        self.claim()?;
        let temporary = beside(&self.path, ".", ".new");
        let written = self.write_beside(&temporary, text, listed, youngest_ns);
        if written.is_err() {
            // It may not even be there.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_beside(
        &mut self,
        temporary: &Path,
        text: &str,
        listed: SystemTime,
        youngest_ns: u64,
    ) -> io::Result<()> {
        let mut file = younger(temporary, youngest_ns)?;
        lock(&file)?;
        file.write_all(text.as_bytes())?;
        if let Some(held) = &self.held {
            file.set_permissions(held.metadata()?.permissions())?;
        }
        file.set_modified(listed.checked_sub(CLOCKS).unwrap_or(UNIX_EPOCH))?;
        file.sync_all()?;
        fs::rename(temporary, &self.path)?;
        self.held = Some(file);
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder)?.sync_all()
    }

    /// Makes sure that the file at the place is ours, or nobody's.
    fn claim(&mut self) -> io::Result<()> {
        let there = match File::open(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(held) = &self.held {
            let (held, there) = (held.metadata()?, there.metadata()?);
            if (held.dev(), held.ino()) == (there.dev(), there.ino()) {
                return Ok(());
            }
        }
        lock(&there)
    }
}

/// A new file that is younger than `ns`, as all that it tells of must be older than itself. Clocks of file systems stand
/// still for milliseconds; if a birth is in the future, or births are not told, this one is as good as any.
fn younger(path: &Path, youngest_ns: u64) -> io::Result<File> {
    for _ in 0..TICKS {
        // One that was left there would be no younger for being written anew.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::create_new(path)?;
        let born = file.metadata()?.created().map_or(u64::MAX, ns);
        if born > youngest_ns {
            return Ok(file);
        }
        std::thread::sleep(TICK);
    }
    File::create(path)
}

fn ns(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "it is in use: every taildir source needs a positionFile of its own",
        )),
        // Not all file systems can lock, and some only what is open for writing: then nobody is noticed.
        Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Another name in the same folder.
fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::TempDir;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn it_is_replaced_as_a_whole_and_read_back() {
        let dir = TempDir::new();
        let path = dir.path().join("new/folders/p.json");
        let (mut store, before) = Store::open(&path).unwrap();
        assert_eq!(before, None);
        store.write("one", SystemTime::now(), 0).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        store.write("two", SystemTime::now(), 0).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        drop(store);
        let (_, before) = Store::open(&path).unwrap();
        assert_eq!(before.unwrap().text, b"two");
        let names = fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(names.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn it_is_younger_than_the_files_that_it_tells_of() {
        let dir = TempDir::new();
        let path = dir.path().join("p.json");
        let (mut store, _) = Store::open(&path).unwrap();
        for round in 0..20 {
            let told = dir.path().join(format!("{round}.log"));
            let born = ns(File::create(told).unwrap().metadata().unwrap().created().unwrap());
            store.write("one", SystemTime::now(), born).unwrap();
            let written = ns(fs::metadata(&path).unwrap().created().unwrap());
            assert!(written > born, "{written} is not after {born}");
        }
        store.write("two", SystemTime::now(), u64::MAX).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "two",
            "a clock that is wrong stops nothing"
        );
    }

    #[test]
    fn two_sources_with_one_file_are_noticed() {
        let dir = TempDir::new();
        let path = dir.path().join("p.json");
        let (mut one, _) = Store::open(&path).unwrap();
        // Both found nothing.
        let (mut two, _) = Store::open(&path).unwrap();
        one.write("one", SystemTime::now(), 0).unwrap();
        let error = two.write("two", SystemTime::now(), 0).unwrap_err();
        assert!(error.to_string().contains("positionFile of its own"), "{error}");
        assert!(Store::open(&path).is_err());
        drop(one);
        two.write("two", SystemTime::now(), 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_file_that_an_operator_put_there_is_replaced() {
        let dir = TempDir::new();
        let path = dir.path().join("p.json");
        let (mut store, _) = Store::open(&path).unwrap();
        store.write("one", SystemTime::now(), 0).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        store.write("two", SystemTime::now(), 0).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn a_link_stays_one() {
        let dir = TempDir::new();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "x").unwrap();
        symlink(&target, &link).unwrap();
        let (mut store, _) = Store::open(&link).unwrap();
        store.write("y", SystemTime::now(), 0).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "y");
    }

    #[test]
    fn a_bad_file_is_put_aside_and_one_that_cannot_be_written_leaves_the_old() {
        let dir = TempDir::new();
        let path = dir.path().join("p.json");
        fs::write(&path, "\u{0}garbage").unwrap();
        let (mut store, _) = Store::open(&path).unwrap();
        let aside = store.put_aside(7).unwrap();
        assert_eq!(aside, dir.path().join("p.json.bad-7"));
        assert_eq!(fs::read_to_string(aside).unwrap(), "\u{0}garbage");
        store.write("good", SystemTime::now(), 0).unwrap();
        // A folder in the way of the temporary file.
        fs::create_dir(dir.path().join(".p.json.new")).unwrap();
        assert!(store.write("more", SystemTime::now(), 0).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "good");
    }
}
