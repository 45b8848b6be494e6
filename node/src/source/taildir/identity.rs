//! Which file is which: what a listing means for files that are known, and where a file is read on from at start.
//!
//! Paths move under log rotation and inode numbers are given away again as soon as a file is deleted, so neither is
//! a file. What a file keeps is device, inode number and time of birth together (statx; ext4, xfs, btrfs, tmpfs have
//! it). Where the file system tells no birth, Flume's rule is left: inode number and path.
//!
//! | while it runs | it is |
//! |---|---|
//! | known inode, same birth, same path | the same file |
//! | known inode, same birth, other path | renamed; its offset stays (Flume: re-sent from 0) |
//! | known inode, other birth | another file: the old one was deleted, the number was given away |
//! | unknown inode | a new file, read from 0 |
//! | known, in no listing | gone: drained through its open handle, or under its new name in the same folder |
//!
//! | entry of the position file, at start | it is |
//! |---|---|
//! | same inode and path, born before the position file was written | the same file |
//! | the same, but born after | another file under the old number and name: read from 0 |
//! | same inode and folder, other name, born before, and either Millrace wrote the file or the inode was changed since, as a rename changes it | renamed while nobody looked |
//! | same inode and folder, other name that no pattern matches, born before | renamed out: read to its end |
//! | same inode, otherwise | a stranger (Flume's rule; case 44) |
//!
//! Nothing here touches a disk. Source: `flume/sources.md` 5.6, "File identity", and cases 40 to 45.

use super::deltas::Delta;
use super::position_file::Entry;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A file's place in its file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Inode {
    /// The file system.
    pub(super) device: u64,
    /// The number there.
    pub(super) number: u64,
}

/// A file as a listing shows it. Times are nanoseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) inode: Inode,
    pub(super) path: Arc<Path>,
    /// Place of its group in the configuration.
    pub(super) group: usize,
    pub(super) size: u64,
    pub(super) modified_ns: u64,
    /// When the inode was changed last: by a write, a rename or a new mode.
    pub(super) changed_ns: u64,
    /// When it was made, if the file system says so.
    pub(super) born_ns: Option<u64>,
}

/// What a listing says about a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing new.
    Same,
    /// Another path.
    Renamed,
    /// Never seen.
    New,
    /// Another file under a known number.
    Reborn,
}

/// What a listing says about the file of this inode, of which path and birth may be known.
pub(super) fn fate(known: Option<(&Path, Option<u64>)>, seen: &Seen) -> Fate {
    match known {
        None => Fate::New,
        Some((_, Some(born))) if seen.born_ns.is_some_and(|b| b != born) => Fate::Reborn,
        Some((path, _)) if path != &*seen.path => Fate::Renamed,
        Some(_) => Fate::Same,
    }
}

/// Keeps one path of each file that a listing shows under several (links): the known one, else the first.
pub(super) fn one_path_each<'a>(
    seen: Vec<Seen>,
    known_path: impl Fn(Inode) -> Option<&'a Path>,
) -> Vec<Seen> {
    let mut kept: Vec<Seen> = Vec::with_capacity(seen.len());
    let mut places: HashMap<Inode, usize> = HashMap::with_capacity(seen.len());
    for file in seen {
        match places.get(&file.inode) {
            None => {
                places.insert(file.inode, kept.len());
                kept.push(file);
            }
            Some(place) if known_path(file.inode) == Some(&*file.path) => kept[*place] = file,
            Some(_) => {}
        }
    }
    kept
}

/// A position from before the start, and what shows whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    /// Inode number.
    pub(super) number: u64,
    /// Bytes that are in the channels.
    pub(super) pos: u64,
    /// Path.
    pub(super) path: String,
    /// What shows whose it is.
    pub(super) proof: Proof,
}

/// What shows which file a stored position belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// It came with a batch and names the file's birth.
    Born(Option<u64>),
    /// It stands in the position file, which was written then, surely by us or perhaps by somebody else.
    Written {
        /// When it was written; files that are younger are not in it.
        at_ns: u64,
        /// When folders were listed for it; renames since then it does not know.
        listed_ns: u64,
        /// Whether it is known that it is ours.
        ours: bool,
    },
}

impl Stored {
    /// As if it were known to be ours: for files that no pattern matches any more, which nobody would follow by mistake.
    pub(super) fn trusted(mut self) -> Self {
        if let Proof::Written { ours, .. } = &mut self.proof {
            *ours = true;
        }
        self
    }
}

/// The entries of a position file with the files laid over it that moved on since.
pub(super) fn stored(
    entries: Vec<Entry>,
    at_ns: u64,
    listed_ns: u64,
    deltas: Option<Vec<Delta>>,
) -> Vec<Stored> {
    let ours = deltas.is_some();
    let proof = Proof::Written {
        at_ns,
        listed_ns,
        ours,
    };
    let mut all: Vec<Stored> = entries
        .into_iter()
        .map(|e| Stored {
            number: e.inode,
            pos: e.pos,
            path: e.file,
            proof,
        })
        .collect();
    for delta in deltas.into_iter().flatten() {
        let same_number = |s: &&mut Stored| s.number == delta.inode;
        let same_file = |s: &&mut Stored| s.number == delta.inode && s.path == delta.path;
        let numbered = all.iter_mut().filter(same_number).count();
        let place = match all.iter_mut().find(same_file) {
            Some(place) => Some(place),
            // Two file systems may have the same number; one file was renamed.
            None if numbered == 1 => all.iter_mut().find(same_number),
            None => None,
        };
        let new = Stored {
            number: delta.inode,
            pos: delta.pos,
            path: delta.path.clone(),
            proof: Proof::Born(delta.born_ns),
        };
        match place {
            Some(place) => *place = new,
            None => all.push(new),
        }
    }
    all
}

/// Whether a stored position is that of a file which a listing shows.
pub(super) fn belongs(stored: &Stored, seen: &Seen) -> bool {
    if stored.number != seen.inode.number {
        return false;
    }
    let same_path = stored.path == seen.path.to_string_lossy();
    match (stored.proof, seen.born_ns) {
        (Proof::Born(Some(then)), Some(now)) => then == now,
        (Proof::Born(_), _) => same_path,
        (Proof::Written { .. }, None) => same_path,
        (
            Proof::Written {
                at_ns,
                listed_ns,
                ours,
            },
            Some(born),
        ) => {
            // Two file systems may have the same number, one folder is in one of them.
            let same_folder = || Path::new(&stored.path).parent() == seen.path.parent();
            // Clocks of file systems stand still for milliseconds: another name needs a surer sign.
            let renamed = || born < at_ns && (ours || seen.changed_ns > listed_ns) && same_folder();
            (same_path && born <= at_ns) || renamed()
        }
    }
}

/// The order in which files have their turns: the gone ones in the order in which they went, which is that of their age,
/// then group by group the least recently modified first, the longer known first among equals.
pub(super) fn turn_key(
    gone_as: Option<u64>,
    group: usize,
    modified_ns: u64,
    known_as: u64,
) -> impl Ord + Clone {
    match gone_as {
        Some(gone_as) => (0, 0, gone_as, 0),
        None => (1, group, modified_ns, known_as),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(number: u64, path: &str) -> Seen {
        Seen {
            inode: Inode { device: 1, number },
            path: Path::new(path).into(),
            group: 0,
            size: 10,
            modified_ns: 500,
            changed_ns: 500,
            born_ns: Some(100),
        }
    }

    fn entry(inode: u64, pos: u64, file: &str) -> Entry {
        let file = file.to_owned();
        Entry { inode, pos, file }
    }

    fn delta(inode: u64, born: u64, pos: u64, path: &str) -> Delta {
        let (born_ns, path) = (Some(born), path.to_owned());
        Delta {
            inode,
            born_ns,
            pos,
            path,
        }
    }

    #[test]
    fn a_file_is_device_inode_and_birth() {
        let a = Path::new("/d/a");
        assert_eq!(fate(None, &seen(1, "/d/a")), Fate::New);
        assert_eq!(fate(Some((a, Some(100))), &seen(1, "/d/a")), Fate::Same);
        assert_eq!(fate(Some((a, Some(100))), &seen(1, "/d/b")), Fate::Renamed);
        assert_eq!(fate(Some((a, Some(99))), &seen(1, "/d/a")), Fate::Reborn);
        assert_eq!(
            fate(Some((a, None)), &seen(1, "/d/b")),
            Fate::Renamed,
            "without births"
        );
    }

    #[test]
    fn of_a_file_with_two_names_the_known_one_stays() {
        let listing = || vec![seen(1, "/d/a"), seen(1, "/d/b"), seen(2, "/d/c")];
        let paths = |seen: Vec<Seen>| -> Vec<String> {
            seen.iter()
                .map(|s| s.path.to_string_lossy().into_owned())
                .collect()
        };
        let b = Path::new("/d/b");
        let known = |i: Inode| (i.number == 1).then_some(b);
        assert_eq!(paths(one_path_each(listing(), known)), ["/d/b", "/d/c"]);
        assert_eq!(paths(one_path_each(listing(), |_| None)), ["/d/a", "/d/c"]);
    }

    fn written(path: &str, at_ns: u64, ours: bool) -> Stored {
        Stored {
            number: 1,
            pos: 3,
            path: path.to_owned(),
            proof: Proof::Written {
                at_ns,
                listed_ns: at_ns,
                ours,
            },
        }
    }

    #[test]
    fn an_entry_of_flumes_needs_inode_and_path() {
        let file = Seen {
            changed_ns: 200,
            ..seen(1, "/d/a")
        };
        assert!(belongs(&written("/d/a", 300, false), &file));
        assert!(!belongs(&written("/d/b", 300, false), &file), "case 44");
        assert!(!belongs(&written("/d/a", 300, false), &seen(2, "/d/a")));
    }

    #[test]
    fn a_rename_while_nobody_looked_is_seen_by_the_time_of_change() {
        let file = seen(1, "/d/a.1");
        assert!(belongs(&written("/d/a", 300, false), &file), "changed at 500");
        assert!(!belongs(&written("/d/a", 600, false), &file));
        assert!(
            !belongs(&written("/e/a", 300, true), &file),
            "perhaps another file system"
        );
        assert!(
            belongs(&written("/d/a", 600, true), &file),
            "nobody else wrote this file"
        );
        let no_birth = Seen {
            born_ns: None,
            ..file
        };
        assert!(!belongs(&written("/d/a", 300, true), &no_birth), "Flume's rule");
    }

    #[test]
    fn a_file_born_after_the_position_file_was_written_is_another_one() {
        let file = seen(1, "/d/a");
        assert!(!belongs(&written("/d/a", 99, true), &file));
        assert!(belongs(&written("/d/a", 100, true), &file));
    }

    #[test]
    fn what_moved_on_is_laid_over_the_position_file() {
        let entries = vec![entry(1, 3, "/d/a"), entry(2, 4, "/d/b"), entry(3, 5, "/e/a")];
        let deltas = vec![
            delta(1, 7, 30, "/d/a"),
            delta(2, 7, 40, "/d/b.1"),
            delta(9, 7, 1, "/d/new"),
            delta(1, 7, 31, "/d/a"),
        ];
        let all = stored(entries, 300, 300, Some(deltas));
        let short: Vec<(u64, u64, &str)> = all.iter().map(|s| (s.number, s.pos, s.path.as_str())).collect();
        assert_eq!(
            short,
            [
                (1, 31, "/d/a"),
                (2, 40, "/d/b.1"),
                (3, 5, "/e/a"),
                (9, 1, "/d/new")
            ]
        );
        assert!(belongs(
            &all[1],
            &Seen {
                born_ns: Some(7),
                ..seen(2, "/d/anything")
            }
        ));
        assert!(!belongs(
            &all[1],
            &Seen {
                born_ns: Some(8),
                ..seen(2, "/d/b.1")
            }
        ));
    }

    #[test]
    fn two_file_systems_may_have_the_same_number() {
        let entries = vec![entry(1, 3, "/d/a"), entry(1, 4, "/e/a")];
        let all = stored(entries, 300, 300, Some(vec![delta(1, 7, 40, "/e/a")]));
        assert_eq!((all[0].pos, all[1].pos), (3, 40));
    }

    #[test]
    fn gone_files_come_first_and_then_the_least_recently_modified() {
        let mut keys = [
            ("new", turn_key(None, 0, 5, 9)),
            ("other group", turn_key(None, 1, 1, 1)),
            ("known", turn_key(None, 0, 5, 2)),
            ("old", turn_key(None, 0, 3, 8)),
            ("gone", turn_key(Some(1), 1, 9, 3)),
            ("then gone", turn_key(Some(2), 0, 4, 1)),
        ];
        keys.sort_by(|a, b| a.1.cmp(&b.1));
        assert_eq!(
            keys.map(|(name, _)| name),
            ["gone", "then gone", "old", "known", "new", "other group"]
        );
    }
}
