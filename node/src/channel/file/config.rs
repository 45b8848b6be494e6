//! The settings of a file channel: Flume's, what of them means nothing here, and ours.

use super::encryption::{self, KeyRing, LiveKeys};
use super::examine;
use super::flume;
use super::folder::{self, Found};
use super::spillable::SAVED;
use crate::component::channel::ChannelLimits;
use crate::component::keys::Keys;
use cluster::journal::cipher_of;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a segment, unless `maxFileSize` is less.
pub const SEGMENT_BYTES: u64 = 64 << 20;
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `dataDirs`: folders, separated by commas; each is a shard with a log of its own. Default
    /// `~/.flume/file-channel/data`.
    pub data_dirs: Vec<PathBuf>,
    /// `capacity`: events; default 1,000,000.
    pub capacity: usize,
    /// `transactionCapacity`: events in one put or take; default 10,000; at most `capacity`.
    pub transaction_capacity: usize,
    /// `keep-alive`: seconds that a put waits for room; default 3.
    pub keep_alive: Duration,
    /// `minimumRequiredSpace`: bytes that stay free on the disk; default 500 MiB, at least 1 MiB. Puts are refused
    /// below, takes go on.
    pub minimum_required_space: u64,
    /// `maxFileSize`: bytes of a segment, as far as that is less than 64 MiB.
    pub segment_bytes: u64,
    /// `durability` (ours): when what is committed is synced; default with every commit.
    pub durability: Durability,
    /// `onIoError` (ours): whether the process ends when a write or sync fails, or the channel opens anew, and rests when
    /// that happens twice within ten minutes; default park.
    pub exits_on_io_error: bool,
    /// `onCorruption` (ours): whether damage is skipped and reported, or stops the channel; default stop.
    pub skip_damage: bool,
    /// `encryption.*`: the keys, and which of them new segments are encrypted with, if any.
    pub keys: KeyRing,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let capacity = keys.lenient_number("capacity", 1_000_000, 1..=i32::MAX as usize);
        let transaction_capacity = keys.lenient_number("transactionCapacity", 10_000, 1..=i32::MAX as usize);
        let keep_alive = Duration::from_secs(keys.number("keep-alive", 3, 0..=i32::MAX as u64));
        if transaction_capacity > capacity {
            let message = format!(
                "File Channel transaction capacity cannot be greater than the capacity of the channel. Found \
                 {transaction_capacity}, allowed are 1 to {capacity} (capacity; 1000000 unless it is set)"
            );
            keys.wrong("transactionCapacity", &message);
        }
        Self::read_with(keys, capacity, transaction_capacity, keep_alive)
    }

    /// Reads all properties but the sizes of the queue.
    pub(super) fn read_with(
        keys: &mut Keys,
        capacity: usize,
        transaction_capacity: usize,
        keep_alive: Duration,
    ) -> Self {
        let minimum = keys.number("minimumRequiredSpace", 524_288_000, 0..=i64::MAX as u64);
        let max_file = keys.number("maxFileSize", 1_623_195_647, 1..=i64::MAX as u64);
        let config = Self {
            data_dirs: data_dirs(keys),
            capacity,
            transaction_capacity,
            keep_alive,
            minimum_required_space: minimum.max(1 << 20),
            segment_bytes: max_file.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES),
            skip_damage: one_of(keys, "onCorruption", ["stop", "skip"]),
            exits_on_io_error: one_of(keys, "onIoError", ["park", "exit"]),
            durability: Durability::read(keys),
            keys: encryption::read(keys),
        };
        for (key, why) in WITHOUT_MEANING {
            keys.without_effect(key, why);
        }
        config
    }

    /// What every put and take is held against.
    pub fn limits(&self) -> ChannelLimits {
        ChannelLimits {
            capacity: self.capacity,
            transaction_capacity: Some(self.transaction_capacity),
            keep_alive: self.keep_alive,
            durable: true,
        }
    }

    /// Looks at the folders without touching them: what cannot be used is told before anything starts.
    pub fn look(&self, keys: &mut Keys) {
        let mut flumes = Vec::new();
        for path in &self.data_dirs {
            // It may be free when the agent starts, and it is this agent itself that a file is checked for.
            if let Some(holder) = examine::holder(path).filter(|h| h.process != std::process::id()) {
                let message = format!("{} is in use now, by {holder}", path.display());
                keys.warn("dataDirs", "in-use", message);
            }
            match folder::look(path) {
                Ok(Found::Nothing) => {}
                Ok(Found::Ours) => self.look_at_key(path, keys),
                Ok(Found::Flume(files)) => flumes.push(format!("{} ({files} data files)", path.display())),
                Err(why) => keys.wrong("dataDirs", &why.to_string()),
            }
        }
        if !flumes.is_empty() {
            let message = format!(
                "holds a file channel of Flume's: {}. Its events are moved into this one, each of them once, by: {}",
                flumes.join(", "),
                flume::import_command(&self.data_dirs, keys)
            );
            keys.wrong("dataDirs", &message);
        }
    }

    /// Whether the newest segment can be read; which others are needed shows when that is.
    fn look_at_key(&self, path: &Path, keys: &mut Keys) {
        let Ok(Some((segment, head))) = examine::newest_segment(path) else {
            return;
        };
        if let Err(why) = cipher_of(Some(&self.keys), &head) {
            let advice = encryption::advice(&why, &self.keys);
            let message = format!("{} {why}; {advice}", segment.display());
            keys.wrong(encryption::blamed(&self.keys), &message);
        }
    }
}

const WITHOUT_MEANING: [(&str, &str); 10] = [
    (
        "checkpointDir",
        "has no effect: there is no checkpoint, the log holds it all",
    ),
    ("useDualCheckpoints", "has no effect: there is no checkpoint"),
    ("backupCheckpointDir", "has no effect: there is no checkpoint"),
    (
        "compressBackupCheckpoint",
        "has no effect: there is no checkpoint",
    ),
    ("checkpointInterval", "has no effect: there is no checkpoint"),
    ("checkpointOnClose", "has no effect: there is no checkpoint"),
    (
        "use-log-replay-v1",
        "has no effect: there is one way to replay, and it is fast",
    ),
    ("use-fast-replay", "has no effect: every replay is fast"),
    (
        "fsyncPerTransaction",
        "has no effect: every commit is synced, as in Flume 1.11",
    ),
    ("fsyncInterval", "has no effect: every commit is synced"),
];

fn data_dirs(keys: &mut Keys) -> Vec<PathBuf> {
    let home = std::env::var("HOME").unwrap_or_else(|_| ".".to_owned());
    let text = keys
        .text("dataDirs")
        .unwrap_or_else(|| "~/.flume/file-channel/data".to_owned());
    let mut dirs: Vec<PathBuf> = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let path = match name.strip_prefix("~/") {
            Some(rest) if keys.peek("dataDirs").is_none() => Path::new(&home).join(rest),
            _ => PathBuf::from(name),
        };
        if dirs.contains(&path) {
            keys.wrong("dataDirs", &format!("\"{name}\" stands there twice"));
        } else {
            dirs.push(path);
        }
    }
    if dirs.is_empty() {
        keys.wrong(
            "dataDirs",
            &format!("expected folders, separated by commas, found \"{text}\""),
        );
    }
    dirs
}

/// Whether a word is the second one; the first one is the default.
fn one_of(keys: &mut Keys, key: &str, words: [&str; 2]) -> bool {
    let Some(text) = keys.text(key) else {
        return false;
    };
    let second = text.eq_ignore_ascii_case(words[1]);
    if !second && !text.eq_ignore_ascii_case(words[0]) {
        let message = format!("expected {} or {}, found \"{text}\"", words[0], words[1]);
        keys.wrong(key, &message);
    }
    second
}

/// When what is committed is synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before it is acknowledged.
    Commit,
    /// At most so much later: a power cut loses what came since.
    Interval(Duration),
    /// When the system sees fit, and when a segment ends.
    None,
}

impl Durability {
    fn read(keys: &mut Keys) -> Self {
        const KEY: &str = "durability";
        let text = keys.text(KEY).unwrap_or_else(|| "commit".to_owned());
        let millis = text
            .strip_prefix("interval:")
            .and_then(|ms| ms.trim().parse().ok())
            .filter(|ms| (1..=60_000).contains(ms));
        let durability = match (text.as_str(), millis) {
            ("commit", _) => return Self::Commit,
            ("none", _) => Self::None,
            (_, Some(ms)) => Self::Interval(Duration::from_millis(ms)),
            _ => {
                let message = format!("expected commit, interval:<1 to 60000 ms> or none, found \"{text}\"");
                keys.wrong(KEY, &message);
                return Self::Commit;
            }
        };
        let message = format!(
            "\"{text}\" is weaker than commit: events are acknowledged before they are on the disk, and a power cut loses \
             the last ones; a kill of the process does not"
        );
        keys.warn(KEY, "weaker", message);
        durability
    }
}

/// What the thread of a channel needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The channel's name.
    pub name: Arc<str>,
    pub data_dirs: Vec<PathBuf>,
    pub minimum_required_space: u64,
    pub segment_bytes: u64,
    pub skip_damage: bool,
    /// Changed by a reload.
    pub keys: Arc<LiveKeys>,
    /// Whether positions are kept in the log, with the events that they belong to.
    pub keeps_positions: bool,
    pub durability: Durability,
    pub exits_on_io_error: bool,
}

impl Settings {
    /// Where the log is of what is saved of memory.
    pub fn saved_dir(&self) -> PathBuf {
        let first = self.data_dirs.first().cloned().unwrap_or_default();
        first.join(SAVED)
    }

    /// Whether no log is in any folder.
    pub fn nothing_is_there(&self) -> bool {
        self.data_dirs
            .iter()
            .all(|dir| matches!(folder::look(dir), Ok(Found::Nothing)))
    }
}
