//! Where the source stands: the position that is committed with each batch, and what it and the tracker file say at
//! the start.
//!
//! A position is one line, `1 offset skip done inode birth size modified path`. The path alone does not say that it
//! is the same file: after a crash another one may have its name, or its inode's number. So it must have the same
//! inode and the same time of birth, or the same size and time of modification; see [`Identity::is`].

use super::candidates::modified_ms;
use crate::component::deserializer::Place;
use bytes::Bytes;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use tracing::warn;

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not know.
    birth_ns: u64,
    /// When it was opened.
    pub(super) size: u64,
    /// When it was opened.
    pub(super) modified_ms: i64,
}

impl Identity {
    pub(crate) fn of(file: &Metadata) -> Self {
        let birth = file
            .created()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        Self {
            inode: file.ino(),
            birth_ns: birth.map_or(0, |at| at.as_nanos() as u64),
            size: file.len(),
            modified_ms: modified_ms(file),
        }
    }

    /// Whether it is that file, of which `read` bytes were read.
    pub(crate) fn is(&self, that: &Identity, read: u64) -> bool {
        let born = self.birth_ns != 0 && (self.inode, self.birth_ns) == (that.inode, that.birth_ns);
        let unchanged = (self.size, self.modified_ms) == (that.size, that.modified_ms);
        // Of a file that is shorter now it is not known what was read.
        (born && self.size >= read) || unchanged
    }

    fn read(words: &mut dyn Iterator<Item = &str>) -> Option<Self> {
        Some(Self {
            inode: words.next()?.parse().ok()?,
            birth_ns: words.next()?.parse().ok()?,
            size: words.next()?.parse().ok()?,
            modified_ms: words.next()?.parse().ok()?,
        })
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::read(&mut text.split(' '))
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            inode,
            birth_ns,
            size,
            modified_ms,
        } = self;
        write!(f, "{inode} {birth_ns} {size} {modified_ms}")
    }
}

/// What is committed with a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) place: Place,
    /// All of the file is committed, also if its place is at the start: an empty file's only event.
    pub(crate) done: bool,
}

impl Position {
    pub(super) fn encode(&self) -> Bytes {
        let Place { offset, skip } = self.place;
        let done = u8::from(self.done);
        let mut bytes = format!("1 {offset} {skip} {done} {} ", self.identity).into_bytes();
        bytes.extend_from_slice(self.path.as_os_str().as_bytes());
        bytes.into()
    }

    /// None if it is not one of ours, or of a later version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = bytes.splitn(9, |b| *b == b' ');
        let words: Option<Vec<&str>> = parts
            .by_ref()
            .take(8)
            .map(|word| std::str::from_utf8(word).ok())
            .collect();
        let path = PathBuf::from(OsStr::from_bytes(parts.next()?));
        let mut words = words?.into_iter();
        let version = words.next()?;
        let place = Place {
            offset: words.next()?.parse().ok()?,
            skip: words.next()?.parse().ok()?,
        };
        let done = words.next()? == "1";
        let identity = Identity::read(&mut words)?;
        (version == "1").then_some(Self {
            path,
            identity,
            place,
            done,
        })
    }
}

/// What a tracker file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) path: PathBuf,
    pub(crate) place: Place,
    /// If we have written it, not Flume.
    pub(crate) identity: Option<Identity>,
    pub(crate) done: bool,
}

/// Where to begin with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resume {
    pub(super) path: PathBuf,
    pub(super) place: Place,
    pub(super) done: bool,
}

impl Resume {
    pub(super) fn at_start(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            place: Place::default(),
            done: false,
        }
    }
}

/// Which file was under way, and where. The position knows best about its own file, for it is as safe as the events
/// are; the tracker file is asked about another one, or if there is no position.
pub(super) fn resume(position: Option<Position>, mark: Option<Mark>) -> Option<Resume> {
    if let Some(position) = &position
        && let Ok(file) = fs::metadata(&position.path)
    {
        if Identity::of(&file).is(&position.identity, position.place.offset) {
            let further =
                |mark: &Mark| mark.path == position.path && mark.place.offset > position.place.offset;
            if let Some(mark) = mark.filter(further) {
                let (path, at, tracked) = (mark.path.display(), position.place.offset, mark.place.offset);
                warn!(%path, at, tracked, "the tracker file is further than the channel, which has lost events: they are read again");
            }
            return Some(Resume {
                path: position.path.clone(),
                place: position.place,
                // More has come since its only event.
                done: position.done && file.len() == position.identity.size,
            });
        }
        warn!(path = %position.path.display(), "another file has the name of the one that was under way: it is read from its start");
    }
    let mark = mark?;
    let file = fs::metadata(&mark.path).ok()?;
    let stale = match mark.identity {
        Some(identity) => !Identity::of(&file).is(&identity, mark.place.offset),
        // Flume's: it knows the name only. The position has just said that the name is another file's.
        None => position.is_some_and(|position| position.path == mark.path),
    };
    (!stale).then_some(Resume {
        path: mark.path,
        place: mark.place,
        done: mark.done,
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Spool;
    use super::*;

    fn place(offset: u64) -> Place {
        Place { offset, skip: 2 }
    }

    fn position(path: &Path, offset: u64) -> Position {
        Position {
            path: path.to_owned(),
            identity: Identity::of(&fs::metadata(path).unwrap()),
            place: place(offset),
            done: false,
        }
    }

    fn mark(path: &Path, offset: u64) -> Mark {
        Mark {
            path: path.to_owned(),
            place: place(offset),
            identity: None,
            done: false,
        }
    }

    #[test]
    fn positions_survive_whatever_the_path_is() {
        let spool = Spool::new(&[("a b  c", "x")]);
        let mut position = position(&spool.at("a b  c"), 7);
        position.done = true;
        assert_eq!(Position::decode(&position.encode()), Some(position));
        for other in ["", "2 0 0 0 1 1 1 1 /a", "1 0 0 0 1 1 1 1", "1 x 0 0 1 1 1 1 /a"] {
            assert_eq!(Position::decode(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn the_position_knows_best_about_its_own_file() {
        let spool = Spool::new(&[("a", "0123456789"), ("b", "x")]);
        let (a, b) = (spool.at("a"), spool.at("b"));
        let at = |position, mark| resume(position, mark).map(|r| (r.path, r.place.offset));
        assert_eq!(at(Some(position(&a, 5)), Some(mark(&a, 3))), Some((a.clone(), 5)));
        assert_eq!(at(Some(position(&a, 5)), Some(mark(&a, 8))), Some((a.clone(), 5)));
        assert_eq!(at(Some(position(&a, 5)), Some(mark(&b, 1))), Some((a.clone(), 5)));
        assert_eq!(at(None, Some(mark(&a, 3))), Some((a.clone(), 3)));
        let gone = position(&b, 1);
        fs::remove_file(&b).unwrap();
        assert_eq!(at(Some(gone.clone()), Some(mark(&a, 3))), Some((a, 3)));
        assert_eq!(at(Some(gone), Some(mark(&b, 3))), None);
        assert_eq!(at(None, None), None);
    }

    #[test]
    fn another_file_of_the_same_name_is_read_from_its_start() {
        let spool = Spool::new(&[("a", "0123456789")]);
        let a = spool.at("a");
        let (old, tracked) = (position(&a, 5), mark(&a, 5));
        fs::rename(&a, spool.at("away")).unwrap();
        fs::write(&a, "another, longer one").unwrap();
        assert_eq!(resume(Some(old.clone()), Some(tracked)), None);
        let ours = Mark {
            identity: Some(old.identity),
            ..mark(&a, 5)
        };
        assert_eq!(resume(None, Some(ours)), None);
    }

    #[test]
    fn a_file_that_was_moved_to_another_disk_is_the_same_and_a_cut_one_is_not() {
        let spool = Spool::new(&[("a", "0123456789")]);
        let a = spool.at("a");
        let mut moved = position(&a, 5);
        moved.identity.inode += 1;
        assert!(resume(Some(moved), None).is_some());
        let cut = position(&a, 5);
        fs::write(&a, "0123").unwrap();
        assert_eq!(resume(Some(cut), None), None);
        let appended = position(&a, 2);
        fs::write(&a, "0123 and more").unwrap();
        assert_eq!(resume(Some(appended), None).unwrap().place, place(2));
    }
}
