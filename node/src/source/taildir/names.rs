//! What became of names since the last look: which file went through a matching name and stands elsewhere now.
//!
//! A writer at full speed makes, fills and rotates away a file between two looks: `app.log` is another file each time
//! somebody looks, and nobody has ever seen those in between. The kernel tells of every name in order, so each can be
//! followed from its matching name to the one that it has now, and on from there: whoever looks for it may be late by
//! a rename, and is told again. Nothing here touches a disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Halves of renames that are waited for; more were renames to folders that nobody watches.
const HALVES_MAX: usize = 1_024;
/// Files elsewhere that are remembered; of more, nobody is told.
const MOVED_MAX: usize = 65_536;

/// Something that happened to a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// A file was renamed from this; `cookie` is that of where it went.
    From { path: PathBuf, cookie: u32 },
    /// A file was renamed to this, in place of what was there.
    To { path: PathBuf, cookie: u32 },
    /// A file was made here, or the one that was here is gone.
    Other { path: PathBuf },
}

/// A file that had a matching name and does not have it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Passed {
    /// The name that matched.
    pub(super) was: PathBuf,
    /// Where it is.
    pub(super) is: PathBuf,
}

/// Files that had a matching name and stand elsewhere.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Renamed from somewhere and not to anywhere yet: what the name was.
    halves: HashMap<u32, PathBuf>,
    /// By present path.
    moved: HashMap<PathBuf, Moved>,
    count: u64,
}

#[derive(Debug)]
struct Moved {
    /// The first matching name.
    was: PathBuf,
    /// When it came here, as a count of renames.
    count: u64,
    /// It was told of since it came here. It stays until the next time all the same: whoever was told may come too late,
    /// and the rename that was quicker tells where it is then.
    told: bool,
}

impl Names {
    /// Takes note of a change; `matches` says whether a name is one of a file that is followed.
    pub(super) fn note(&mut self, change: Change, matches: impl Fn(&Path) -> bool) {
        match change {
            Change::From { path, cookie } => {
                let was = self.moved.remove(&path).map_or(path, |moved| moved.was);
                if self.halves.len() >= HALVES_MAX {
                    self.halves.clear();
                }
                self.halves.insert(cookie, was);
            }
            Change::To { path, cookie } => {
                // What was here is gone, and what comes from a folder that nobody watches never matched.
                self.moved.remove(&path);
                let was = self.halves.remove(&cookie);
                if let Some(was) = was.filter(|was| matches(was) && !matches(&path)) {
                    self.remember(path, was);
                }
            }
            Change::Other { path } => drop(self.moved.remove(&path)),
        }
    }

    fn remember(&mut self, path: PathBuf, was: PathBuf) {
        if self.moved.len() >= MOVED_MAX {
            return;
        }
        self.count += 1;
        let (count, told) = (self.count, false);
        self.moved.insert(path, Moved { was, count, told });
    }

    /// The files that came to where they are since they were told of, in that order. Whoever is told looks for them before
    /// he takes note of more changes; those of which no change was noted until the next call were found where they are,
    /// and are forgotten then.
    pub(super) fn passed(&mut self) -> Vec<Passed> {
        self.moved.retain(|_, moved| !moved.told);
        let mut passed: Vec<(u64, Passed)> = self
            .moved
            .iter_mut()
            .map(|(is, moved)| {
                moved.told = true;
                let (was, is) = (moved.was.clone(), is.clone());
                (moved.count, Passed { was, is })
            })
            .collect();
        passed.sort_by_key(|(count, _)| *count);
        passed.into_iter().map(|(_, passed)| passed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(path: &Path) -> bool {
        path.extension().is_some_and(|e| e == "log")
    }

    /// `a>b` is a rename, `a>` one to elsewhere, `>b` one from elsewhere, `a` a file that was made or is gone.
    fn check(changes: &str, expected: &str) {
        let mut names = Names::default();
        assert_eq!(told(&mut names, changes), expected, "{changes}");
        assert_eq!(names.passed(), []);
    }

    fn told(names: &mut Names, changes: &str) -> String {
        for (cookie, change) in changes.split_whitespace().enumerate() {
            let cookie = cookie as u32;
            let path = |name: &str| PathBuf::from(name);
            let Some((from, to)) = change.split_once('>') else {
                names.note(Change::Other { path: path(change) }, matches);
                continue;
            };
            if !from.is_empty() {
                let path = path(from);
                names.note(Change::From { path, cookie }, matches);
            }
            if !to.is_empty() {
                names.note(
                    Change::To {
                        path: path(to),
                        cookie,
                    },
                    matches,
                );
            }
        }
        let passed = names.passed().into_iter();
        let shown: Vec<String> = passed
            .map(|p| format!("{}>{}", p.was.display(), p.is.display()))
            .collect();
        shown.join(" ")
    }

    #[test]
    fn a_file_is_followed_through_all_its_names() {
        check("a.log a.log>a.1", "a.log>a.1");
        check("a.log>a.1 a.log a.1>a.2 a.log>a.1 a.log", "a.log>a.2 a.log>a.1");
        check("x>a.log a.log>a.1", "a.log>a.1");
    }

    #[test]
    fn what_matches_still_or_never_did_is_no_matter_of_names() {
        check("a.log>b.log", "");
        check("a.log>a.1 a.1>b.log", "");
        check("x>y", "");
    }

    #[test]
    fn a_file_that_is_gone_or_replaced_is_forgotten() {
        check("a.log>a.1 a.1", "");
        check("a.log>a.1 x>a.1", "");
        check("a.log>a.1 a.log>a.1", "a.log>a.1");
        check("a.log>a.1 >a.1", "");
        check("a.log>a.1 a.1>", "");
        check("a.log> >a.1", "");
    }

    #[test]
    fn whoever_was_told_too_late_is_told_again() {
        let mut names = Names::default();
        assert_eq!(told(&mut names, "a.log>a.1"), "a.log>a.1");
        assert_eq!(told(&mut names, "a.1>a.2 a.log>a.1"), "a.log>a.2 a.log>a.1");
        assert_eq!(told(&mut names, "a.2>a.3"), "a.log>a.3");
        assert_eq!(told(&mut names, "a.1>a.2"), "", "it was found at a.1");
        assert_eq!(told(&mut names, ""), "");
        assert_eq!(told(&mut names, "a.3>a.4"), "", "and this one at a.3");
    }

    #[test]
    fn halves_and_files_elsewhere_are_bounded() {
        let mut names = Names::default();
        for cookie in 0..3 * HALVES_MAX as u32 {
            let path = PathBuf::from("a.log");
            names.note(Change::From { path, cookie }, matches);
        }
        assert!(names.halves.len() <= HALVES_MAX);
        for cookie in 0..MOVED_MAX as u32 + 10 {
            let (path, to) = (PathBuf::from("a.log"), PathBuf::from(cookie.to_string()));
            names.note(Change::From { path, cookie }, matches);
            names.note(Change::To { path: to, cookie }, matches);
        }
        assert_eq!(names.passed().len(), MOVED_MAX);
        assert_eq!(told(&mut names, ""), "");
        assert_eq!(told(&mut names, "a.log>a.1"), "a.log>a.1");
    }
}
