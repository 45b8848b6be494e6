//! The folders of the file groups: which files there match, and what became of those that do not any more.
//!
//! A pattern is a folder, taken literally, and a Java regular expression for the whole file name. Sub-folders and
//! whatever is no regular file never match; links are followed; a file that two groups match belongs to the first.
//! With `cachePatternMatching` a folder is listed only when its time of modification says that something came or
//! went, or is so young (a second) that it may have missed something. Source: `flume/sources.md` 5.6.

use super::Group;
use super::identity::{Inode, Seen};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A folder that was modified so lately may be modified again without its time showing it.
const TOO_YOUNG: Duration = Duration::from_secs(1);

/// All folders of a source.
#[derive(Debug)]
pub(super) struct Folders {
    all: Vec<Folder>,
    caching: bool,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Its groups, by their place in the configuration.
    groups: Vec<(usize, Group)>,
    /// Its time of modification when it was listed, if that settles what is in it.
    settled: Option<SystemTime>,
}

/// What is in the folders.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files that match.
    pub(super) seen: Vec<Seen>,
    /// Files under other names whose inode number was asked for.
    pub(super) strays: Vec<(u64, PathBuf)>,
    /// Folders that could not be listed; nothing is known of their files.
    pub(super) failed: Vec<(PathBuf, io::Error)>,
}

impl Folders {
    pub(super) fn new(groups: &[Group], caching: bool) -> Self {
        let mut all: Vec<Folder> = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            let known = all.iter_mut().find(|f| f.path == group.folder);
            match known {
                Some(folder) => folder.groups.push((place, group.clone())),
                None => all.push(Folder {
                    path: group.folder.clone(),
                    groups: vec![(place, group.clone())],
                    settled: None,
                }),
            }
        }
        Self { all, caching }
    }

    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.all.iter().map(|f| f.path.clone()).collect()
    }

    /// The group of a file of this path, by its place in the configuration.
    pub(super) fn group_of(&self, path: &Path) -> Option<usize> {
        let folder = self.all.iter().find(|f| Some(&*f.path) == path.parent())?;
        folder.group_of(&path.file_name()?.to_string_lossy())
    }

    /// Whether a listing may show something new.
    pub(super) fn may_have_changed(&self) -> bool {
        !self.caching
            || self.all.iter().any(|folder| {
                let modified = fs::metadata(&folder.path).and_then(|m| m.modified());
                modified.ok() != folder.settled || folder.settled.is_none()
            })
    }

    /// Whether the last listing of this folder shows all that is in it: nothing moved while it was made, nor for a second
    /// before.
    pub(super) fn rests(&self, folder: &Path) -> bool {
        let Some(folder) = self.all.iter().find(|f| f.path == folder) else {
            return true; // not listed, so nothing of it will ever be seen
        };
        let modified = fs::metadata(&folder.path).and_then(|m| m.modified());
        folder.settled.is_some() && modified.ok() == folder.settled
    }

    /// Lists all folders. `wanted` says which inode numbers are looked for under other names.
    pub(super) fn list(&mut self, wanted: impl Fn(u64) -> bool) -> Listing {
        let mut listing = Listing::default();
        for folder in &mut self.all {
            folder.settled = None;
            if let Err(error) = folder.list(&wanted, &mut listing) {
                listing.failed.push((folder.path.clone(), error));
            }
        }
        listing
    }
}

impl Folder {
    fn group_of(&self, name: &str) -> Option<usize> {
        let mut groups = self.groups.iter();
        groups
            .find(|(_, group)| group.pattern.matches(name))
            .map(|(place, _)| *place)
    }

    fn list(&mut self, wanted: &impl Fn(u64) -> bool, listing: &mut Listing) -> io::Result<()> {
        // Before it is read: what comes while it is read makes it younger.
        let modified = fs::metadata(&self.path)?.modified()?;
        let (seen, strays) = (listing.seen.len(), listing.strays.len());
        for entry in fs::read_dir(&self.path)? {
            let entry = entry.inspect_err(|_| {
                // Half a listing is none.
                listing.seen.truncate(seen);
                listing.strays.truncate(strays);
            })?;
            let name = entry.file_name();
            let path = entry.path();
            match self.group_of(&name.to_string_lossy()) {
                // It may be gone by now, or lead nowhere.
                Some(group) => listing.seen.extend(look_at(path.into(), group)),
                None if wanted(entry.ino()) => listing.strays.push((entry.ino(), path)),
                None => {}
            }
        }
        let age = SystemTime::now().duration_since(modified);
        // A time in the future is another machine's clock.
        self.settled = age.is_ok_and(|age| age > TOO_YOUNG).then_some(modified);
        Ok(())
    }
}

/// What a listing shows of a file; none if it is no file.
pub(super) fn look_at(path: Arc<Path>, group: usize) -> Option<Seen> {
    let meta = fs::metadata(&path).ok().filter(Metadata::is_file)?;
    Some(Seen {
        inode: inode_of(&meta),
        path,
        group,
        size: meta.len(),
        modified_ns: modified_ns(&meta),
        changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        born_ns: born_ns(&meta),
    })
}

fn ns(seconds: i64, nanos: i64) -> u64 {
    let nanos = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    u64::try_from(nanos).unwrap_or(0)
}

/// When it was modified last, in nanoseconds since 1970.
pub(super) fn modified_ns(meta: &Metadata) -> u64 {
    ns(meta.mtime(), meta.mtime_nsec())
}

/// Which file it is.
pub(super) fn inode_of(meta: &Metadata) -> Inode {
    Inode {
        device: meta.dev(),
        number: meta.ino(),
    }
}

/// When it was made, in nanoseconds since 1970, if the file system says so.
pub(super) fn born_ns(meta: &Metadata) -> Option<u64> {
    let born = meta.created().ok()?.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(born.as_nanos()).ok().filter(|ns| *ns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::TempDir;
    use crate::java::regex::Regex;
    use std::os::unix::fs::symlink;

    fn group(folder: &Path, pattern: &str) -> Group {
        Group {
            name: "g".to_owned(),
            folder: folder.to_owned(),
            pattern: Regex::new(pattern).unwrap(),
            headers: Vec::new(),
        }
    }

    fn names(listing: &Listing) -> Vec<(String, usize)> {
        let name = |s: &Seen| s.path.file_name().unwrap().to_string_lossy().into_owned();
        let mut names: Vec<_> = listing.seen.iter().map(|s| (name(s), s.group)).collect();
        names.sort();
        names
    }

    #[test]
    fn whole_names_of_regular_files_match_the_first_group() {
        let dir = TempDir::new();
        let at = |name: &str| dir.path().join(name);
        for name in ["a.log", "b.log", "c.logs", ".hidden.log"] {
            fs::write(at(name), "x").unwrap();
        }
        fs::create_dir(at("folder.log")).unwrap();
        symlink(at("c.logs"), at("link.log")).unwrap();
        symlink(at("nowhere"), at("broken.log")).unwrap();
        let groups = [group(dir.path(), "b\\.log"), group(dir.path(), ".*\\.log")];
        let listing = Folders::new(&groups, true).list(|_| false);
        let found = [(".hidden.log", 1), ("a.log", 1), ("b.log", 0), ("link.log", 1)];
        assert_eq!(names(&listing), found.map(|(n, g)| (n.to_owned(), g)));
        assert!(listing.failed.is_empty());
    }

    #[test]
    fn a_wanted_inode_is_found_under_another_name() {
        let dir = TempDir::new();
        fs::write(dir.path().join("a.log.1"), "x").unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        let number = fs::metadata(dir.path().join("a.log.1")).unwrap().ino();
        let listing = Folders::new(&[group(dir.path(), "a\\.log")], true).list(|n| n == number);
        assert_eq!(listing.strays, [(number, dir.path().join("a.log.1"))]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_empty_folder() {
        let dir = TempDir::new();
        let groups = [group(dir.path(), ".*"), group(&dir.path().join("none"), ".*")];
        let mut folders = Folders::new(&groups, true);
        fs::write(dir.path().join("a"), "x").unwrap();
        let listing = folders.list(|_| false);
        assert_eq!(listing.seen.len(), 1);
        assert_eq!(listing.failed[0].0, dir.path().join("none"));
        assert!(folders.may_have_changed());
    }

    #[test]
    fn a_settled_folder_is_listed_again_only_when_its_time_changes() {
        let dir = TempDir::new();
        let mut folders = Folders::new(&[group(dir.path(), ".*")], true);
        folders.list(|_| false);
        assert!(folders.may_have_changed(), "it is too young to be sure");
        let hour = SystemTime::now() - Duration::from_secs(3_600);
        let touch = || fs::File::open(dir.path()).unwrap().set_modified(hour).unwrap();
        touch();
        folders.list(|_| false);
        assert!(!folders.may_have_changed());
        fs::write(dir.path().join("new"), "x").unwrap();
        assert!(folders.may_have_changed());
        touch();
        let mut uncached = Folders::new(&[group(dir.path(), ".*")], false);
        uncached.list(|_| false);
        assert!(uncached.may_have_changed());
    }
}
