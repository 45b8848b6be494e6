//! One file that is followed: which one it is, where reading stands in it, and its open handle.

use super::folders::{born_ns, inode_of, modified_ns};
use super::identity::{Inode, Seen, turn_key};
use super::positions::{Kept, Mark};
use super::reader::{Before, LINE_BYTES_GUESS, Place};
use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// A file that is followed.
#[derive(Debug)]
pub(super) struct Tailed {
    pub(super) inode: Inode,
    pub(super) born_ns: Option<u64>,
    /// Where it stands, or stood last.
    pub(super) path: Arc<Path>,
    /// The path as text; what is no UTF-8 is replaced.
    pub(super) name: String,
    pub(super) group: usize,
    /// When it was modified last, as the last listing had it: for the order of turns.
    pub(super) modified_ns: u64,
    /// As the last look had it.
    pub(super) touched_ns: u64,
    /// Counts the files that ever were followed.
    pub(super) known_as: u64,
    pub(super) place: Place,
    /// As it was seen last.
    pub(super) size: u64,
    pub(super) line_bytes: usize,
    pub(super) handle: Option<File>,
    /// When the handle was used last, as a count of uses.
    pub(super) used: u64,
    /// When it last had something new to read, or another name.
    pub(super) active: Instant,
    /// In no listing any more: renamed to what matches no pattern, or deleted.
    pub(super) gone: bool,
    /// Counts the files that ever went.
    pub(super) gone_as: u64,
    /// How often it was not where it was.
    pub(super) missed: u8,
    /// It was renamed since it was followed: nobody will complete its last line.
    pub(super) renamed: bool,
    /// What is left without an end is to be an event now.
    pub(super) wants_rest: bool,
    pub(super) kept: Kept,
    /// It could not be opened or read; not to be tried before.
    pub(super) retry_at: Option<Instant>,
}

/// What a look at a file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// So many bytes, modified then.
    There { size: u64, modified_ns: u64 },
    /// The path leads to nothing, or to another file: folders are to be listed.
    Elsewhere,
}

impl Tailed {
    pub(super) fn new(seen: &Seen, known_as: u64, offset: u64, now: Instant) -> Self {
        Self {
            inode: seen.inode,
            born_ns: seen.born_ns,
            path: seen.path.clone(),
            name: seen.path.to_string_lossy().into_owned(),
            group: seen.group,
            modified_ns: seen.modified_ns,
            touched_ns: seen.modified_ns,
            known_as,
            place: Place::at(offset),
            size: seen.size,
            line_bytes: LINE_BYTES_GUESS,
            handle: None,
            used: 0,
            active: now,
            gone: false,
            gone_as: 0,
            missed: 0,
            renamed: false,
            wants_rest: false,
            kept: Kept::default(),
            retry_at: None,
        }
    }

    /// When it has its turn among others.
    pub(super) fn turn_key(&self) -> impl Ord + Clone + use<> {
        let gone_as = self.gone.then_some(self.gone_as);
        turn_key(gone_as, self.group, self.modified_ns, self.known_as)
    }

    /// As positions see it.
    pub(super) fn mark(&self) -> Mark<'_> {
        Mark {
            inode: self.inode.number,
            born_ns: self.born_ns,
            pos: self.place.offset,
            path: &self.name,
        }
    }

    /// As the position file has it.
    pub(super) fn entry(&self) -> (u64, u64, &str) {
        (self.inode.number, self.place.offset, &self.name)
    }

    /// Whether all of it is in the channels.
    pub(super) fn is_read(&self) -> bool {
        self.place.offset >= self.size
    }

    /// Opens it, if it is not open. False if the path leads to another file by now, or to nothing.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        if self.handle.is_some() {
            return Ok(true);
        }
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        let same_birth = self.born_ns.is_none() || self.born_ns == born_ns(&meta);
        if inode_of(&meta) != self.inode || !same_birth {
            return Ok(false);
        }
        if self.place.before == Before::default() && self.place.offset <= meta.len() {
            self.place.before = Before::read(&file, self.place.offset)?;
        }
        self.handle = Some(file);
        Ok(true)
    }

    /// How large it is now, and how old.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn look(&self) -> io::Result<Sight> {
        let there = |meta: &Metadata| Sight::There {
            size: meta.len(),
            modified_ns: modified_ns(meta),
        };
        if let Some(file) = &self.handle {
            return Ok(there(&file.metadata()?));
        }
        match std::fs::metadata(&self.path) {
            Ok(meta) if inode_of(&meta) == self.inode => Ok(there(&meta)),
            Ok(_) => Ok(Sight::Elsewhere),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sight::Elsewhere),
            Err(error) => Err(error),
        }
    }

    /// Whether what was read of it is not there any more: it was cut, or cut and written anew.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn was_cut(&self) -> io::Result<bool> {
        if self.size < self.place.offset {
            return Ok(true);
        }
        match &self.handle {
            Some(file) => self.place.before.is_gone(file, self.place.offset),
            None => Ok(false),
        }
    }
}

/// Files that were followed once, and how far they were read: whoever comes back under a matching name is not sent again.
#[derive(Debug, Default)]
pub(super) struct Former {
    offsets: HashMap<(Inode, u64), u64>,
    order: VecDeque<(Inode, u64)>,
}

impl Former {
    /// Files that are remembered.
    const MAX: usize = 10_000;

    /// Remembers a file, if its file system tells births.
    pub(super) fn put(&mut self, file: &Tailed) {
        let Some(born_ns) = file.born_ns else { return };
        let key = (file.inode, born_ns);
        if self.offsets.insert(key, file.place.offset).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > Self::MAX
            && let Some(first) = self.order.pop_front()
        {
            self.offsets.remove(&first);
        }
    }

    /// Where to read a file on; 0 for one that is not remembered or has become shorter.
    pub(super) fn offset_of(&self, seen: &Seen) -> u64 {
        let born_ns = seen.born_ns.unwrap_or(0);
        let known = self.offsets.get(&(seen.inode, born_ns)).copied();
        known.filter(|offset| *offset <= seen.size).unwrap_or(0)
    }
}

/// The text of a position file with these files, and with those that are not seen yet.
pub(super) fn entries<'a>(
    files: impl Iterator<Item = &'a Tailed>,
    awaited: impl Iterator<Item = (u64, u64, &'a str)>,
) -> String {
    super::position_file::write(files.map(Tailed::entry).chain(awaited))
}
