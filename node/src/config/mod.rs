//! Configuration: from files to checked properties.
//!
//! [`properties`] reads one file's text; [`read_files`] reads several into one set, as Flume does with repeated
//! `-f`: in their order, and a later definition of a key wins. What lost is kept and named, because a key that
//! stands twice is more often a slip than a wish. The texts that operators may look for in a log
//! (`Unable to read file`, `Configuration property ignored`) are Flume's own.
//!
//! Source: `flume/runtime.md` 2.1, 2.2, 3.1.

pub mod check;
pub mod properties;

use crate::component::keys::{Finding, Severity};
pub use properties::{Parsed, Property};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest configuration file that is read; `-f /dev/zero` must not eat the machine.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// A configuration that cannot be had at all; what is wrong inside a file is a [`Finding`] instead.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is missing, a directory, or not ours to read.
    #[error("Unable to read file {}: {source}", path.display())]
    Unreadable {
        /// As it was named on the command line.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("Unable to read file {}: larger than {} MiB", path.display(), FILE_BYTES_MAX >> 20)]
    TooLarge {
        /// As it was named on the command line.
        path: PathBuf,
    },
}

/// What several files say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// One property per key, with its last definition, in the order of those definitions. None is empty.
    pub properties: Vec<Property>,
    /// Definitions that a later one of the same key replaced, in the order in which they were read.
    pub overridden: Vec<Property>,
    /// What is noteworthy in the files, in their order, then the keys that stand twice.
    pub findings: Vec<Finding>,
}

/// Reads `paths` in their order into one set of properties. A relative path is relative to the working directory.
///
/// # Errors
/// The first file that cannot be read.
pub fn read_files<P: AsRef<Path>>(paths: &[P]) -> Result<Loaded, ConfigError> {
    let mut parsed = Vec::with_capacity(paths.len());
    for path in paths {
        let path = path.as_ref();
        parsed.push(properties::parse(path, &read(path)?));
    }
    Ok(merge(parsed))
}

/// Lays the definitions of several files over each other.
///
/// A key whose last definition is empty is gone, as in Flume: so a later file can take a property back.
pub fn merge(files: impl IntoIterator<Item = Parsed>) -> Loaded {
    let mut all: Vec<Property> = Vec::new();
    let mut findings = Vec::new();
    for file in files {
        all.extend(file.properties);
        findings.extend(file.findings);
    }
    let last: HashMap<String, usize> = all
        .iter()
        .enumerate()
        .map(|(at, property)| (property.key.clone(), at))
        .collect();
    let mut loaded = Loaded {
        findings,
        ..Loaded::default()
    };
    let mut repeated = Vec::new();
    for (at, property) in all.iter().enumerate() {
        let wins = &all[last[&property.key]];
        if last[&property.key] != at {
            if wins.value != property.value {
                repeated.push(replaced(property, wins));
            }
            loaded.overridden.push(property.clone());
        } else if !property.value.is_empty() {
            loaded.properties.push(property.clone());
        }
    }
    loaded.findings.extend(repeated);
    loaded
}

fn replaced(loses: &Property, wins: &Property) -> Finding {
    Finding {
        place: wins.place.clone(),
        severity: Severity::Warning,
        code: "defined-twice",
        component: properties::COMPONENT.to_owned(),
        property: Some(wins.key.clone()),
        // Not the values: they may be passwords.
        message: format!("replaces another value at {}", loses.place),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(files: &[(&str, &str)]) -> Loaded {
        merge(
            files
                .iter()
                .map(|(name, text)| properties::parse(Path::new(name), text.as_bytes())),
        )
    }

    fn pairs(properties: &[Property]) -> Vec<(&str, &str)> {
        properties
            .iter()
            .map(|p| (p.key.as_str(), p.value.as_str()))
            .collect()
    }

    #[test]
    fn a_later_file_wins_and_both_places_are_named() {
        let loaded = merged(&[
            ("b", "a1.sinks.k1.type = null\na1.sinks = k1\n"),
            ("o", "\na1.sinks.k1.type = logger\n"),
        ]);
        assert_eq!(
            pairs(&loaded.properties),
            [("a1.sinks", "k1"), ("a1.sinks.k1.type", "logger")]
        );
        assert_eq!(pairs(&loaded.overridden), [("a1.sinks.k1.type", "null")]);
        let texts: Vec<String> = loaded.findings.iter().map(Finding::to_string).collect();
        assert_eq!(
            texts,
            ["o:2: warning[defined-twice]: configuration: a1.sinks.k1.type: replaces another value at b:1"]
        );
    }

    #[test]
    fn the_same_value_twice_is_not_worth_a_word() {
        let loaded = merged(&[("b", "a.b = 1\na.b: 1")]);
        assert_eq!(pairs(&loaded.properties), [("a.b", "1")]);
        assert_eq!(loaded.overridden.len(), 1);
        assert_eq!(loaded.findings, []);
    }

    #[test]
    fn an_empty_value_takes_a_property_back() {
        let loaded = merged(&[("b", "a.b = 1"), ("o", "a.b =")]);
        assert_eq!(pairs(&loaded.properties), []);
        assert_eq!(loaded.findings.len(), 2, "{:?}", loaded.findings);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_the_reason() {
        let text = |path: &str| read_files(&[path]).map_err(|e| e.to_string());
        let missing = text("no/such/file").unwrap_err();
        assert!(
            missing.starts_with("Unable to read file no/such/file: No such file"),
            "{missing}"
        );
        let folder = text(".").unwrap_err();
        assert!(folder.contains("directory"), "{folder}");
        #[cfg(unix)]
        assert_eq!(
            text("/dev/zero").unwrap_err(),
            "Unable to read file /dev/zero: larger than 64 MiB"
        );
    }

    #[test]
    fn files_are_read_from_disk_in_their_order() {
        let folder = std::env::temp_dir().join(format!("millrace-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let paths = [folder.join("one.properties"), folder.join("two.properties")];
        std::fs::write(&paths[0], "a.x = 1\na.y = 1").unwrap();
        std::fs::write(&paths[1], "a.x = 2").unwrap();
        let loaded = read_files(&paths);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(pairs(&loaded.unwrap().properties), [("a.y", "1"), ("a.x", "2")]);
    }
}
