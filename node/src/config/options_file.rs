//! `flume.opts`: options of an agent that need not be typed.
//!
//! ```text
//! name = a1
//! conf-file = /etc/flume/base.properties
//! conf-file = /etc/flume/site.properties
//! no-reload-conf = true
//! ```
//!
//! It is looked for in the configuration directory (`-c`), then as `/etc/flume/flume.opts`; the first one found is
//! read. (Flume looks in `/etc` first; but who names a directory means it.) It is a properties file whose keys are
//! short or long names of options, exactly. A flag is set by `true`, `yes` or `1`. Repeated keys add up for options
//! that may be repeated, as the guide says; in Flume 1.11 the last one counts. What stands on the command line wins.
//! Which options there are is the business of the command line, so this file only reads.
//!
//! Source: `flume/runtime.md` 1.2.

use super::{ConfigError, Parsed, properties};
use std::io::ErrorKind;
use std::path::Path;

/// The file's name.
pub const FILE_NAME: &str = "flume.opts";

/// Where it is looked for last.
pub const SYSTEM_FOLDER: &str = "/etc/flume";

/// Reads the options file of the first of these folders that has one; none if none has.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read(folders: &[&Path]) -> Result<Option<Parsed>, ConfigError> {
    for folder in folders {
        let path = folder.join(FILE_NAME);
        match super::read(&path) {
            Ok(bytes) => return Ok(Some(properties::parse(&path, &bytes))),
            Err(ConfigError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whether the value sets a flag.
pub fn is_set(value: &str) -> bool {
    ["true", "yes", "1"]
        .iter()
        .any(|yes| value.eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_with_a_file_counts_and_keys_repeat() {
        let root = std::env::temp_dir().join(format!("millrace-opts-{}", std::process::id()));
        let (near, far) = (root.join("near"), root.join("far"));
        std::fs::create_dir_all(&near).unwrap();
        std::fs::create_dir_all(&far).unwrap();
        std::fs::write(far.join(FILE_NAME), "f = a\nf = b").unwrap();
        let pairs = |folders: &[&Path]| {
            let read = read(folders).unwrap();
            read.map(|parsed| parsed.properties.into_iter().map(|p| p.value).collect::<Vec<_>>())
        };
        let found = pairs(&[&near, &far]);
        std::fs::write(near.join(FILE_NAME), "f = c").unwrap();
        let nearest = pairs(&[&near, &far]);
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(nearest, Some(vec!["c".to_owned()]));
        assert_eq!(pairs(&[&near, &far]), None);
    }

    #[test]
    fn flags_are_set_by_three_words() {
        assert!(is_set("true") && is_set("YES") && is_set("1"));
        assert!(!is_set("on") && !is_set("") && !is_set("false"));
    }
}
