//! What became of names since the last look: which file went through a matching name and stands elsewhere now.
//!
//! A writer at full speed makes, fills and rotates away a file between two looks: `app.log` is another file each time
//! somebody looks, and nobody has ever seen those in between. The kernel tells of every name in order, so each can be
//! followed from its matching name to the one that it has now. Nothing here touches a disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Halves of renames that are waited for; more were renames to folders that nobody watches.
const HALVES_MAX: usize = 1_024;

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

/// The names since the last call of [`passed`](Self::passed).
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Renamed from somewhere and not to anywhere yet: what the name was.
    halves: HashMap<u32, PathBuf>,
    /// By present path: the first matching name, or the first of all; and the order.
    moved: HashMap<PathBuf, (PathBuf, u64)>,
    count: u64,
}

impl Names {
    /// Takes note of a change; `matches` says whether a name is one of a file that is followed.
    pub(super) fn note(&mut self, change: Change, matches: impl Fn(&Path) -> bool) {
        match change {
            Change::From { path, cookie } => {
                let was = self.moved.remove(&path).map_or(path, |(was, _)| was);
                if self.halves.len() >= HALVES_MAX {
                    self.halves.clear();
                }
                self.halves.insert(cookie, was);
            }
            Change::To { path, cookie } => match self.halves.remove(&cookie) {
                Some(was) => {
                    let was = if matches(&was) { was } else { path.clone() };
                    self.count += 1;
                    self.moved.insert(path, (was, self.count));
                }
                // From a folder that nobody watches.
                None => drop(self.moved.remove(&path)),
            },
            Change::Other { path } => drop(self.moved.remove(&path)),
        }
    }

    /// The files that lost a matching name, in the order in which they came to their present one, and forgets them.
    pub(super) fn passed(&mut self, matches: impl Fn(&Path) -> bool) -> Vec<Passed> {
        let mut passed: Vec<(u64, Passed)> = self
            .moved
            .drain()
            .filter(|(is, (was, _))| matches(was) && !matches(is))
            .map(|(is, (was, count))| (count, Passed { was, is }))
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
        let passed = names.passed(matches);
        let shown: Vec<String> = passed
            .iter()
            .map(|p| format!("{}>{}", p.was.display(), p.is.display()))
            .collect();
        assert_eq!(shown.join(" "), expected, "{changes}");
        assert_eq!(names.passed(matches), []);
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
    fn halves_are_bounded() {
        let mut names = Names::default();
        for cookie in 0..3 * HALVES_MAX as u32 {
            let path = PathBuf::from("a.log");
            names.note(Change::From { path, cookie }, matches);
        }
        assert!(names.halves.len() <= HALVES_MAX);
    }
}
