//! A folder of a test's own below the system's temporary one, removed when the test is over.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Folders made by this process.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A new, empty folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes a folder; the name only helps a human to recognise it.
    ///
    /// # Panics
    /// When the system's temporary folder is not writable.
    pub fn new(name: &str) -> Self {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("millrace-{name}-{}-{number}", process::id()));
        // A former process may have had our number and been killed.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path }
    }

    /// Where it is, an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it, as text for a configuration.
    pub fn at(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    /// Makes a folder in it.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes a whole file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Appends to a file in one write, as a program that logs does.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn append(&self, name: &str, text: &str) {
        let path = self.path.join(name);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_own_and_goes_with_its_value() {
        let (one, two) = (Folder::new("same"), Folder::new("same"));
        assert_ne!(one.path(), two.path());
        let file = one.write("a", "1");
        one.append("a", "2");
        assert_eq!(fs::read_to_string(&file).unwrap(), "12");
        assert_eq!(one.at("a"), file.display().to_string());
        drop(one);
        assert!(!file.exists());
        assert!(two.make("b").is_dir());
    }
}
