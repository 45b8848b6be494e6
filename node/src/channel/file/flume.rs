//! What Flume's own file channel leaves in the folders that are ours now, by its names; and the command that moves it here.
//!
//! ```text
//!   <dataDir>/log-7, log-7.meta      a channel of Flume's
//!   <dataDir>/flume-importing/       the same while `node channel import` moves its events; Flume does not look in there
//!   <dataDir>/flume-imported/        the same afterwards; of no use any more
//! ```

use crate::component::keys::Keys;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Where the files are while their events are being moved.
pub const IMPORTING: &str = "flume-importing";
/// Where they are afterwards; `flume-imported-2` and so on if that is taken.
pub const IMPORTED: &str = "flume-imported";

/// The number of a data file, if this is the name of one.
pub fn log_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("log-")?;
    let is_plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // Flume's numbers are Java's.
    digits.parse().ok().filter(|n| is_plain && *n <= i32::MAX as u32)
}

/// The data files right in a folder, by their numbers; none if there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn logs(folder: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some(number) = log_number(&entry.file_name().to_string_lossy()) {
            logs.push((number, entry.path()));
        }
    }
    logs.sort_unstable();
    Ok(logs)
}

/// Data files whose events are still to be moved.
pub(super) fn count(data_dir: &Path) -> io::Result<usize> {
    Ok(logs(data_dir)?.len() + logs(&data_dir.join(IMPORTING))?.len())
}

/// The command line that moves what Flume left in these folders into this channel.
pub(super) fn import_command(data_dirs: &[PathBuf], keys: &Keys) -> String {
    let is_encrypted = keys.given().any(|(key, _)| key.starts_with("encryption."));
    let declared = keys.place();
    if is_encrypted && declared.line > 0 {
        // Folders do not say where the keys are.
        let channel = keys.component().split(' ').nth(1).unwrap_or_default();
        let file = quoted(&declared.file.display().to_string());
        return format!("node channel import -f {file} -c {}", quoted(channel));
    }
    let list = |paths: &[PathBuf]| {
        let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        quoted(&names.join(","))
    };
    let names = ["checkpointDir", "backupCheckpointDir"];
    let folders: Vec<PathBuf> = names
        .iter()
        .filter_map(|key| keys.peek(key))
        .map(PathBuf::from)
        .collect();
    let checkpoint = match folders.as_slice() {
        [] => String::new(),
        some => format!(" --checkpoint-dir {}", list(some)),
    };
    let dirs = list(data_dirs);
    format!("node channel import {dirs}{checkpoint} --into {dirs}")
}

/// As a shell takes it for one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flumes_data_files_have_a_number() {
        for (name, number) in [
            ("log-1", Some(1)),
            ("log-0012", Some(12)),
            ("log-2147483647", Some(2_147_483_647)),
            ("log-2147483648", None),
            ("log-1.meta", None),
            ("log-", None),
            ("log-+1", None),
            ("in_use.lock", None),
        ] {
            assert_eq!(log_number(name), number, "{name}");
        }
    }

    #[test]
    fn the_command_can_be_copied_into_a_shell() {
        let dirs = [PathBuf::from("/a b/data"), PathBuf::from("/c")];
        let keys = Keys::of("channel c1 (file)", &[("checkpointDir", "/it's")]);
        assert_eq!(
            import_command(&dirs, &keys),
            r"node channel import '/a b/data,/c' --checkpoint-dir '/it'\''s' --into '/a b/data,/c'"
        );
    }
}
