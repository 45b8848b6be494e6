//! Configuration: from files to checked properties.
//!
//! [`load`] does it all, and again whenever it is called: it reads the files of its [`Sources`] ([`properties`]),
//! lays them over each other ([`merge`]), resolves `${…}` ([`lookup`], with [`date`] and [`platform`]) and asks the
//! config filters ([`filter`]). What stands beside a configuration is read once, by the command line: `flume-env.sh`
//! ([`env_file`]) and `flume.opts` ([`options_file`]).
//!
//! Several files make one set, as in Flume: in their order, and a later definition of a key wins. What lost is kept
//! and named, because a key that stands twice is more often a slip than a wish. The texts that operators may look
//! for in a log (`Unable to read file`, `Configuration property ignored`) are Flume's own.
//!
//! Source: `flume/runtime.md` 2.1 to 2.4, 3.1.

pub mod check;
pub mod date;
pub mod env_file;
pub mod filter;
pub mod lookup;
pub mod options_file;
pub mod platform;
pub mod properties;
pub mod sources;

use crate::component::keys::{Entry, Finding, Place, Severity};
use crate::io::tls::TlsDefaults;
pub use properties::{Parsed, Property};
pub use sources::Sources;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// A URI that names no file.
    #[error("Unable to read {uri}: {reason}")]
    Uri {
        /// As it was given on the command line.
        uri: String,
        /// What was expected.
        reason: &'static str,
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
    /// The files that were read, in their order: a change of one of them is a reason to load again.
    pub files: Vec<PathBuf>,
    /// Keys whose values are not known, because the command of a config filter was not to be run.
    pub unknown_values: BTreeSet<String>,
    /// What TLS settings of components default to.
    pub tls: Arc<TlsDefaults>,
}

impl Loaded {
    /// The properties by key.
    pub fn entries(&self) -> BTreeMap<String, Entry> {
        let entry = |p: &Property| Entry {
            value: p.value.clone(),
            place: p.place.clone(),
        };
        self.properties
            .iter()
            .map(|p| (p.key.clone(), entry(p)))
            .collect()
    }
}

/// Reads everything that `sources` name: files, look-ups, config filters. It blocks, for seconds if a config filter
/// runs slow commands.
///
/// # Errors
/// The first file that cannot be read. All else is a finding.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let paths = sources.paths()?;
    let mut parsed = Vec::with_capacity(paths.len() + 1);
    for path in &paths {
        let bytes = read(path)?;
        parsed.push(match sources::unsupported(path) {
            Some(finding) => Parsed {
                findings: vec![finding],
                ..Parsed::default()
            },
            None => properties::parse(path, &bytes),
        });
    }
    parsed.push(given(&sources.given));
    let mut loaded = merge(parsed);
    loaded.files = paths;
    sources.note_lookups(&mut loaded);
    let now = sources.started.clone().unwrap_or_else(jiff::Zoned::now);
    let scope = lookup::Scope {
        system: &sources.system_properties,
        environment: &sources.environment,
        env_fallback: sources.env_fallback,
        now: &now,
    };
    let found = lookup::resolve(&mut loaded.properties, &scope);
    loaded.findings.extend(found);
    filter::apply(&mut loaded, sources);
    loaded.tls = Arc::new(sources.tls_defaults());
    Ok(loaded)
}

fn given(pairs: &[(String, String)]) -> Parsed {
    let place = Place {
        file: Path::new("(given)").into(),
        line: 0,
    };
    let property = |(key, value): &(String, String)| Property {
        key: properties::trim(key).to_owned(),
        value: properties::trim(value).to_owned(),
        place: place.clone(),
    };
    Parsed {
        properties: pairs.iter().map(property).filter(|p| !p.key.is_empty()).collect(),
        ..Parsed::default()
    }
}

/// Something about one property of the set.
fn finding(about: &Property, severity: Severity, code: &'static str, message: String) -> Finding {
    Finding {
        place: about.place.clone(),
        severity,
        code,
        component: properties::COMPONENT.to_owned(),
        property: Some(about.key.clone()),
        message,
    }
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
    // Not the values: they may be passwords.
    let message = format!("replaces another value at {}", loses.place);
    finding(wins, Severity::Warning, "defined-twice", message)
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

    /// Loads files of a folder of its own; `{}` in URIs is the folder.
    fn loaded(name: &str, files: &[(&str, &str)], mut sources: Sources) -> Result<Loaded, ConfigError> {
        let folder = std::env::temp_dir().join(format!("millrace-load-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (file, text) in files {
            std::fs::write(folder.join(file), text).unwrap();
        }
        let here = folder.display().to_string();
        sources.uris = sources.uris.iter().map(|uri| uri.replace("{}", &here)).collect();
        sources.files = sources.files.iter().map(|file| folder.join(file)).collect();
        let loaded = load(&sources);
        std::fs::remove_dir_all(&folder).unwrap();
        loaded
    }

    #[test]
    fn files_come_after_uris_and_what_a_program_gives_comes_last() {
        let sources = Sources {
            uris: vec!["file://{}/b".to_owned()],
            files: vec!["o".into()],
            given: vec![("a1.w".to_owned(), " ${a1.x} ".to_owned())],
            ..Sources::default()
        };
        let files = [("b", "a1.x = 1\na1.y = 1\na1.w = 1"), ("o", "a1.x = ${a1.y}2")];
        let loaded = loaded("uris", &files, sources).unwrap();
        assert_eq!(
            pairs(&loaded.properties),
            [("a1.y", "1"), ("a1.x", "12"), ("a1.w", "12")]
        );
        assert_eq!(loaded.properties[1].place.line, 1);
        assert_eq!(loaded.files.len(), 2);
        assert!(loaded.files[0].ends_with("b"));
    }

    #[test]
    fn look_ups_come_before_config_filters() {
        let text = "f = f1\na1.configfilters = ${f}\na1.configfilters.f1.type = ${env:T}\n\
                    a1.sinks.k1.x = ${${f}['${env:K}']} ${f1['K']}\na1.sinks.k1.y = ${a1.sinks.k1.x}";
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let sources = Sources {
            files: vec!["b".into()],
            environment: [pair("T", "env"), pair("K", "key"), pair("key", "sesame")].into(),
            ..Sources::default()
        };
        let loaded = loaded("filters", &[("b", text)], sources).unwrap();
        assert_eq!(loaded.properties[3].value, "${${f}['${env:K}']} key");
        assert_eq!(loaded.properties[4].value, "${${f}['${env:K}']} key");
        assert_eq!(loaded.findings, []);
    }

    #[test]
    fn yaml_is_named_as_in_acceptance_case_16() {
        let sources = Sources {
            files: vec!["x.yaml".into(), "b".into()],
            ..Sources::default()
        };
        let loaded = loaded("yaml", &[("x.yaml", "a: 1"), ("b", "a1.x = 1")], sources).unwrap();
        assert_eq!(pairs(&loaded.properties), [("a1.x", "1")]);
        let text = loaded.findings[0].to_string();
        assert!(
            text.contains("error[unsupported-file]: configuration: File extension type yaml is unsupported")
        );
    }

    #[test]
    fn a_missing_file_as_in_acceptance_case_6() {
        let error = load(&Sources::of_files(["missing"])).unwrap_err().to_string();
        assert!(error.starts_with("Unable to read file missing: "), "{error}");
    }

    #[test]
    fn an_inline_comment_is_part_of_the_value_as_in_acceptance_case_15() {
        let sources = Sources {
            files: vec!["b".into()],
            ..Sources::default()
        };
        let text = "a1.sources.s1.port = 43101 # inline comment";
        let loaded = loaded("inline", &[("b", text)], sources).unwrap();
        assert_eq!(loaded.properties[0].value, "43101 # inline comment");
    }

    #[test]
    fn lookups_of_ones_own_are_not_in_this_version() {
        let sources = Sources {
            system_properties: [("lookups".to_owned(), "x".to_owned())].into(),
            ..Sources::default()
        };
        let text = load(&sources).unwrap().findings[0].to_string();
        assert!(
            text.contains("warning[not-in-this-version]: configuration: -Dlookups: "),
            "{text}"
        );
    }
}
