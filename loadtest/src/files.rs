//! Folders that the subject writes files into, each event a line.

use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long files may take to grow to their end in all, and without any progress.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);
const DRAIN_PATIENCE: Duration = Duration::from_secs(8);

/// What lies in a folder.
#[derive(Debug)]
pub struct Files {
    /// In the order in which they were written: by time and number of their names.
    pub paths: Vec<PathBuf>,
    /// Bytes of all.
    pub size: u64,
}

/// What lies there now.
///
/// # Errors
/// The folder cannot be read.
pub fn files_in(folder: &Path) -> Result<Files> {
    let (mut named, mut size) = (Vec::new(), 0);
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        // Hidden files are the subject's own.
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.file_type()?.is_file() {
            size += entry.metadata()?.len();
            named.push((numbers_of(&name), entry.path()));
        }
    }
    named.sort();
    Ok(Files {
        paths: named.into_iter().map(|(_, path)| path).collect(),
        size,
    })
}

/// The numbers in a name, which order `9-10` behind `9-9`.
fn numbers_of(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// Waits until the files have so many bytes, or do not grow any more.
///
/// # Errors
/// The folder cannot be read.
pub fn grown_to(folder: &Path, bytes: u64) -> Result<Files> {
    let deadline = Instant::now() + DRAIN_TIME_MAX;
    let (mut size, mut grown) = (0, Instant::now());
    while size < bytes && grown.elapsed() < DRAIN_PATIENCE && Instant::now() < deadline {
        let now = files_in(folder)?.size;
        if now > size {
            (size, grown) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    files_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_of_their_numbers() {
        let mut names = vec!["1700-10", "1700-9", "1699-11"];
        names.sort_by_key(|name| numbers_of(name));
        assert_eq!(names, ["1699-11", "1700-9", "1700-10"]);
    }
}
