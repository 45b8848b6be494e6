//! Which file is next: a walk over the directory, its result kept for a while.
//!
//! Flume lists the directory for every file. Here a listing is used until it is at its end, or until `pollDelay` has
//! passed (ten times what it took to make, if that is longer), so that ten thousand small files cost one listing and
//! not ten thousand. Of more candidates than [`LISTED_MAX`] the first ones in order are kept and the rest found later.

use super::{Config, Order, Policy};
use crate::component::context::Clock;
use crate::component::error::RunError;
use cluster::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::warn;

/// Files of one listing that are kept.
const LISTED_MAX: usize = 10_000;

/// Files that wait, as the last listing has found them.
#[derive(Default)]
pub(super) struct Candidates {
    /// The next one is the last.
    listed: Vec<PathBuf>,
    good_until: Option<Time>,
}

/// The next one is the smallest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Milliseconds, counted so that less is sooner.
    at: i64,
    name: Box<OsStr>,
    path: PathBuf,
}

impl Candidates {
    /// The next file, if one waits.
    pub(super) fn next(&mut self, config: &Config, clock: &dyn Clock) -> Result<Option<PathBuf>, RunError> {
        let stale = config.order != Order::Random && self.good_until.is_none_or(|until| clock.now() >= until);
        if stale || self.listed.is_empty() {
            let begin = clock.now();
            self.listed = list(config, LISTED_MAX).map_err(|why| {
                RunError::retry(format!("cannot list {}", config.directory.display())).caused_by(why)
            })?;
            let took: Duration = clock.now() - begin;
            self.good_until = Some(clock.now() + config.poll_delay.max(10 * took));
        }
        Ok(self.listed.pop())
    }

    /// Whether a file would be read, were it found now.
    pub(super) fn is_candidate(&self, config: &Config, path: &Path) -> bool {
        let inside = path.strip_prefix(&config.directory);
        let Ok(inside) = inside else { return false };
        let mut parents = inside.parent().into_iter().flat_map(Path::iter);
        let visible = parents.all(|name| config.recursive && enters(config, name));
        visible
            && inside.file_name().is_some_and(|name| accepts(config, name, path))
            && is_file(path).is_some()
    }
}

/// The first files in order, the next one last.
fn list(config: &Config, most: usize) -> io::Result<Vec<PathBuf>> {
    let mut kept: BinaryHeap<Rank> = BinaryHeap::new();
    let mut directories = vec![config.directory.clone()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(why) if directory == config.directory => return Err(why),
            Err(why) => {
                warn!(directory = %directory.display(), error = %why, "directory cannot be listed");
                continue;
            }
        };
        for entry in entries {
            let entry = entry?;
            let (name, path) = (entry.file_name(), entry.path());
            // Not followed: a link to a directory is no directory to be searched.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if config.recursive && enters(config, &name) {
                    directories.push(path);
                }
                continue;
            }
            if !accepts(config, &name, &path) {
                continue;
            }
            let Some(file) = is_file(&path) else { continue };
            let at = match config.order {
                Order::Oldest => modified_ms(&file),
                Order::Youngest => -modified_ms(&file),
                Order::Random => kept.len() as i64,
            };
            kept.push(Rank {
                at,
                name: name.into(),
                path,
            });
            if kept.len() > most {
                kept.pop();
            }
        }
    }
    let mut sorted: Vec<Reverse<Rank>> = kept.into_iter().map(Reverse).collect();
    sorted.sort_unstable();
    Ok(sorted.into_iter().map(|Reverse(rank)| rank.path).collect())
}

/// Whether a directory below is searched.
fn enters(config: &Config, name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    !name.starts_with('.') && !config.ignore.matches(&name)
}

/// Whether a file of that name is read.
fn accepts(config: &Config, name: &OsStr, path: &Path) -> bool {
    let name = name.to_string_lossy();
    if name.ends_with(&config.suffix) || name.starts_with('.') {
        return false;
    }
    let wanted = config.include.matches(&name) && !config.ignore.matches(&name);
    wanted && (config.policy != Policy::Marker || !config.marker(path).exists())
}

/// A file, or a link to one.
fn is_file(path: &Path) -> Option<Metadata> {
    fs::metadata(path).ok().filter(Metadata::is_file)
}

/// When a file was last modified, in milliseconds since 1970, as Java sees it.
pub(super) fn modified_ms(file: &Metadata) -> i64 {
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let modified: Result<SystemTime, io::Error> = file.modified();
    modified.map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Spool, age};
    use super::*;

    fn names(config: &Config, most: usize) -> Vec<String> {
        let listed = list(config, most).unwrap();
        let inside = |path: &PathBuf| path.strip_prefix(&config.directory).unwrap().to_owned();
        let names = listed.iter().rev().map(inside);
        names.map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn files_come_by_age_and_then_by_name() {
        let spool = Spool::new(&[("b", "x"), ("a", "x"), ("c", "x")]);
        age(&spool.at("c"), 20);
        for name in ["a", "b"] {
            age(&spool.at(name), 10);
        }
        assert_eq!(names(&spool.config(&[]), 9), ["c", "a", "b"]);
        assert_eq!(names(&spool.config(&[]), 2), ["c", "a"]);
        assert_eq!(
            names(&spool.config(&[("consumeOrder", "YOUNGEST")]), 9),
            ["a", "b", "c"]
        );
        assert_eq!(names(&spool.config(&[("consumeOrder", "random")]), 9).len(), 3);
    }

    #[test]
    fn what_is_hidden_done_ignored_or_no_file_is_no_candidate() {
        let spool = Spool::new(&[
            ("a.log", "x"),
            ("b.log.COMPLETED", "x"),
            (".dot", "x"),
            ("x.tmp", "x"),
            (".hid/h.log", "x"),
            ("skip.tmp/s.log", "x"),
            ("sub/deep/d.log", "x"),
        ]);
        std::os::unix::fs::symlink(spool.at("a.log"), spool.at("link")).unwrap();
        std::os::unix::fs::symlink(spool.at("sub"), spool.at("linked")).unwrap();
        let ignore = ("ignorePattern", r".*\.tmp$");
        let sorted = |pairs: &[(&'static str, &'static str)]| {
            let mut names = names(&spool.config(pairs), 99);
            names.sort();
            names
        };
        assert_eq!(sorted(&[ignore]), ["a.log", "link"]);
        let recursive = ("recursiveDirectorySearch", "true");
        assert_eq!(sorted(&[ignore, recursive]), ["a.log", "link", "sub/deep/d.log"]);
        assert_eq!(
            sorted(&[recursive, ("includePattern", r"[^.]*\.log")]),
            ["a.log", "skip.tmp/s.log", "sub/deep/d.log"]
        );
        let config = spool.config(&[ignore, recursive]);
        let candidates = Candidates::default();
        for (name, expected) in [
            ("a.log", true),
            ("sub/deep/d.log", true),
            (".hid/h.log", false),
            ("skip.tmp/s.log", false),
            ("x.tmp", false),
            ("sub/deep", false),
            ("nosuch", false),
        ] {
            assert_eq!(
                candidates.is_candidate(&config, &spool.at(name)),
                expected,
                "{name}"
            );
        }
        assert!(!candidates.is_candidate(&config, Path::new("/etc/passwd")));
    }
}
