//! The repository as tidy sees it: every file that is tracked, or would be by the next `git add`, with its text.
//!
//! A [`Tree`] is a plain value, so that a check runs on the real repository and, in its own tests, on three made-up
//! lines. Without git (a source archive) the folders are walked instead, leaving out what builds put there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scan::Source;

/// One offence, with the place and the way to mend it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sin {
    pub path: String,
    /// From 1; 0 means the whole file, or that it is missing.
    pub line: usize,
    /// What, and how to mend it.
    pub what: String,
}

impl Sin {
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Sin {
        Sin {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

/// A file, its path relative to the root and with `/` between folders.
#[derive(Debug)]
pub struct File {
    pub path: String,
    /// Bytes that are no UTF-8 are replaced: captures and images are only searched for paths.
    pub text: String,
}

/// All files, sorted by path, and the Rust among them scanned.
#[derive(Debug)]
pub struct Tree {
    pub files: Vec<File>,
    pub rust: Vec<Source>,
}

impl Tree {
    /// Reads the workspace that this test belongs to.
    pub fn of_the_workspace() -> Tree {
        let root = root();
        let paths = listed_by_git(&root).unwrap_or_else(|| walked(&root));
        let mut files = Vec::new();
        for path in paths {
            // A file removed but still in the index is gone already.
            if let Ok(bytes) = fs::read(root.join(&path)) {
                files.push(File {
                    path,
                    text: String::from_utf8_lossy(&bytes).into_owned(),
                });
            }
        }
        let tree = Tree::new(files);
        assert!(
            tree.has("Cargo.toml") && !tree.rust.is_empty(),
            "{}: no workspace found",
            root.display()
        );
        tree
    }

    pub fn new(mut files: Vec<File>) -> Tree {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup_by(|a, b| a.path == b.path);
        let mut rust: Vec<Source> = files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| Source::new(&file.path, &file.text))
            .collect();
        let external: Vec<String> = rust.iter().flat_map(Source::external_test_modules).collect();
        for source in &mut rust {
            let inside = |module: &String| {
                source.path == format!("{module}.rs") || source.path.starts_with(&format!("{module}/"))
            };
            source.is_test |= external.iter().any(inside);
        }
        Tree { files, rust }
    }

    /// A made-up tree, for the tests of the checks.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Tree::new(files.iter().map(file).collect())
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.text.as_str())
    }

    pub fn has(&self, path: &str) -> bool {
        self.text(path).is_some()
    }

    /// Whether a file or a folder of that path exists; the empty path is the root.
    pub fn has_file_or_folder(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self
                .files
                .iter()
                .any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

/// The folder that holds the workspace's Cargo.toml.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("the tests crate lives in a folder of the workspace")
        .to_path_buf()
}

/// What git tracks or would track, or None where there is no git or no repository of our own.
fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(
        listed
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(str::to_owned)
            .collect(),
    )
}

fn walked(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(root.join(&folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && is_built(&path, &name) => {}
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ => found.push(path),
            }
        }
    }
    found
}

/// Folders that are never tracked.
fn is_built(path: &str, name: &str) -> bool {
    name == ".git" || name == "target" || path.ends_with("fuzz/artifacts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_a_test_module_of_its_parent_is_a_test() {
        let tree = Tree::of(&[
            (
                "node/src/flow/mod.rs",
                "//! x\n#[cfg(test)]\nmod proofs;\nmod ingest;\n",
            ),
            ("node/src/flow/proofs.rs", "//! x\n"),
            ("node/src/flow/ingest.rs", "//! x\n"),
        ]);
        let tests: Vec<&str> = tree
            .rust
            .iter()
            .filter(|s| s.is_test)
            .map(|s| s.path.as_str())
            .collect();
        assert_eq!(tests, ["node/src/flow/proofs.rs"]);
    }

    #[test]
    fn a_walk_finds_what_git_lists() {
        let walked = walked(&root());
        assert!(walked.iter().any(|path| path == "tests/tidy/tree.rs"));
        assert!(
            !walked
                .iter()
                .any(|path| path.starts_with("target/") || path.starts_with(".git/"))
        );
    }
}
