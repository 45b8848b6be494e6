//! Positions from before the start whose files no listing has shown yet.
//!
//! A folder that is listed while files in it are renamed may show some of them under neither name (POSIX leaves it
//! open, and ext4 does it), so a file that is not in the first listing need not be gone. Were its position given up
//! there, the file would be read from 0 again when the next listing shows it: all of its lines twice. So it waits, and
//! stays in the position file, until
//!
//! - a listing shows the file: read on from there;
//! - a listing of a folder in which nothing moved for a second does not show it: gone, Flume's "Missing file";
//! - its number is another file's by now: gone as well;
//! - [`LISTINGS_MAX`] listings of a folder that never rests did not show it: gone.

use super::folders::Folders;
use super::identity::{Seen, Stored, belongs};
use std::collections::HashMap;
use std::path::Path;
use tracing::info;

/// Listings that a file is looked for in. That one listing misses a file is rare, that so many in a row do is not seen.
const LISTINGS_MAX: u32 = 100;

/// The positions that wait for their files.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    by_number: HashMap<u64, Vec<Stored>>,
    listings: u32,
}

impl Awaited {
    /// Those that a start knows of.
    pub(super) fn new(stored: impl IntoIterator<Item = Stored>) -> Self {
        let mut awaited = Self::default();
        awaited.put_back(stored);
        awaited
    }

    /// Those that were taken and could not be followed.
    pub(super) fn put_back(&mut self, stored: impl IntoIterator<Item = Stored>) {
        for stored in stored {
            self.by_number.entry(stored.number).or_default().push(stored);
        }
    }

    /// The numbers that are looked for.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.by_number.keys().copied()
    }

    /// The position of this file, with its own path if there are several.
    pub(super) fn take(&mut self, seen: &Seen) -> Option<Stored> {
        let all = self.by_number.get_mut(&seen.inode.number)?;
        let name = seen.path.to_string_lossy();
        let place = all
            .iter()
            .position(|s| s.path == name && belongs(s, seen))
            .or_else(|| all.iter().position(|s| belongs(s, seen)));
        let found = place.map(|place| all.swap_remove(place));
        if found.is_none() {
            // Whoever had the number in this file system is gone.
            let folder = seen.path.parent();
            all.retain(|stored| Path::new(&stored.path).parent() != folder || !is_missing(stored));
        }
        if all.is_empty() {
            self.by_number.remove(&seen.inode.number);
        }
        found
    }

    /// Takes the position of a file that has a name which no pattern matches.
    pub(super) fn take_stray(
        &mut self,
        number: u64,
        look: impl Fn(&Stored) -> Option<Seen>,
    ) -> Option<(Seen, Stored)> {
        let all = self.by_number.get_mut(&number)?;
        let found = all.iter().enumerate().find_map(|(place, stored)| {
            // Nobody would follow such a file by mistake, so less proof will do.
            let trusted = stored.clone().trusted();
            let seen = look(&trusted)?;
            (belongs(&trusted, &seen) && stored.pos <= seen.size).then_some((place, seen))
        });
        let (place, seen) = found?;
        let stored = all.swap_remove(place);
        if all.is_empty() {
            self.by_number.remove(&number);
        }
        Some((seen, stored))
    }

    /// The folders were listed: gives up what cannot come any more. Says whether that was anything.
    pub(super) fn listed(&mut self, folders: &Folders) -> bool {
        if self.by_number.is_empty() {
            return false;
        }
        self.listings += 1;
        let last = self.listings >= LISTINGS_MAX;
        let mut any = false;
        self.by_number.retain(|_, all| {
            all.retain(|stored| {
                let rests = || {
                    let folder = Path::new(&stored.path).parent();
                    folder.is_none_or(|folder| folders.rests(folder))
                };
                let gone = (last || rests()) && is_missing(stored);
                any |= gone;
                !gone
            });
            !all.is_empty()
        });
        any
    }

    /// As the position file has them.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u64, u64, &str)> + '_ {
        let all = self.by_number.values().flatten();
        all.map(|stored| (stored.number, stored.pos, stored.path.as_str()))
    }
}

/// Tells that a position is given up.
fn is_missing(stored: &Stored) -> bool {
    let (file, inode, pos) = (&stored.path, stored.number, stored.pos);
    info!("Missing file: {file}, inode: {inode}, pos: {pos}");
    true
}

#[cfg(test)]
mod tests {
    use super::super::Group;
    use super::super::identity::{Inode, Proof};
    use super::*;
    use crate::component::contract::TempDir;
    use crate::java::regex::Regex;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    fn stored(number: u64, path: &Path) -> Stored {
        let proof = Proof::Written {
            at_ns: 100,
            listed_ns: 90,
            ours: false,
        };
        let path = path.to_string_lossy().into_owned();
        Stored {
            number,
            pos: 7,
            path,
            proof,
        }
    }

    fn seen(number: u64, path: &Path, born_ns: u64) -> Seen {
        Seen {
            inode: Inode { device: 1, number },
            path: path.into(),
            group: 0,
            size: 10,
            modified_ns: 95,
            changed_ns: 95,
            born_ns: Some(born_ns),
        }
    }

    fn folders(path: &Path) -> Folders {
        let group = Group {
            name: "g".to_owned(),
            folder: path.to_owned(),
            pattern: Regex::new("a\\.log.*").unwrap(),
            headers: Vec::new(),
        };
        Folders::new(&[group], true)
    }

    #[test]
    fn a_file_that_a_listing_missed_is_known_by_the_next() {
        let dir = TempDir::new();
        let (then, now) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut awaited = Awaited::new([stored(5, &then)]);
        let mut folders = folders(dir.path());
        folders.list(|_| false);
        assert!(!awaited.listed(&folders), "the folder does not rest");
        assert_eq!(awaited.entries().count(), 1, "the position file still has it");
        let found = awaited.take(&seen(5, &now, 50)).unwrap();
        assert_eq!((found.pos, found.path), (7, then.to_string_lossy().into_owned()));
        assert_eq!(awaited.entries().count(), 0);
    }

    #[test]
    fn it_is_given_up_when_the_folder_rests_without_it() {
        let dir = TempDir::new();
        let mut awaited = Awaited::new([stored(5, &dir.path().join("a.log"))]);
        let hour = SystemTime::now() - Duration::from_secs(3_600);
        File::open(dir.path()).unwrap().set_modified(hour).unwrap();
        let mut folders = folders(dir.path());
        folders.list(|_| false);
        std::fs::write(dir.path().join("b.log"), "x").unwrap();
        assert!(!awaited.listed(&folders), "something came after the listing");
        File::open(dir.path()).unwrap().set_modified(hour).unwrap();
        folders.list(|_| false);
        assert!(awaited.listed(&folders));
        assert_eq!(awaited.entries().count(), 0);
        assert!(!awaited.listed(&folders), "there is nothing more to give up");
    }

    #[test]
    fn it_is_given_up_after_many_listings_of_a_folder_that_never_rests() {
        let dir = TempDir::new();
        let mut awaited = Awaited::new([stored(5, &dir.path().join("a.log"))]);
        let mut folders = folders(dir.path());
        folders.list(|_| false);
        for _ in 1..LISTINGS_MAX {
            assert!(!awaited.listed(&folders));
        }
        assert!(awaited.listed(&folders));
    }

    #[test]
    fn it_is_given_up_when_its_number_is_another_files() {
        let dir = TempDir::new();
        let path = dir.path().join("a.log");
        let mut awaited = Awaited::new([stored(5, &path), stored(5, Path::new("/elsewhere/a.log"))]);
        assert_eq!(awaited.take(&seen(5, &path, 150)), None, "born later");
        let left: Vec<_> = awaited.entries().map(|(_, _, path)| path.to_owned()).collect();
        assert_eq!(left, ["/elsewhere/a.log"], "which may be another file system");
    }

    #[test]
    fn one_with_a_name_that_does_not_match_is_found_by_its_number() {
        let dir = TempDir::new();
        let (then, now) = (dir.path().join("a.log"), dir.path().join("old"));
        let mut awaited = Awaited::new([stored(5, &then)]);
        assert!(awaited.take_stray(6, |_| None).is_none());
        let (file, known) = awaited.take_stray(5, |_| Some(seen(5, &now, 50))).unwrap();
        assert_eq!((&*file.path, known.pos), (&*now, 7));
        assert_eq!(awaited.entries().count(), 0);
    }
}
