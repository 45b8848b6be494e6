//! `taildir`: follows files whose names match patterns, line by line, through rotation; Flume's TaildirSource.
//!
//! Promise: every line that ends in LF is put once and in order within its file, and where reading stands is kept in
//! the same commit as the lines. With a durable channel, or a memory channel that lives on in the process, a restart
//! goes on exactly there. From the position file alone (a killed process and a memory channel) up to
//! `writePosInterval` of lines come again, and what the memory channel held is gone with it.
//!
//! | what happens | what is done |
//! |---|---|
//! | a file is renamed, and still matches | read on where it was (Flume: re-sent from 0) |
//! | a file is renamed to what does not match, or deleted | read to its end through the open handle, closed when idle |
//! | it came and went between two looks | seen in what inotify tells of names: read to its end |
//! | renamed while the node is down | found by its inode number in the same folder, and read to its end |
//! | renamed while the folder is listed, and missed by it | its position waits for it (`awaited`) |
//! | another file under the same path | read from 0 |
//! | a file gets smaller, or what stood before the offset is another text | cut (copytruncate): read from 0 |
//! | an inode number is given away again | seen by the time of birth: read from 0 |
//! | a line has no end yet | it waits, also over idleTimeout (Flume: two events) |
//! | it never gets one: its file was renamed or is gone, and is idle | an event without its end |
//! | a line over `maxLineBytes` | cut there, counted as refused input |
//! | a channel refuses | put again with back-off; rotation is followed meanwhile |
//! | no put can ever hold a line | dropped, counted as refused input, an error in the log |
//! | a file cannot be opened or read | counted, tried again every 5 s; the others go on |
//! | a folder is not there at start | the source waits for it; later: its files stay as they are |
//! | the position file is no JSON from some place on | put aside as `.bad-<time>`, an error; what stands before counts |
//! | it is JSON of another meaning | the source does not start before it is mended, as in Flume |
//!
//! The position file is Flume's, byte by byte (`position_file`), replaced as a whole (`store`). What a batch
//! carries is in `deltas`, which file is which in `identity`, when to look in `pace`, what
//! inotify tells in `watch`.
//! Limits: `maxOpenFiles`, 100,000 files, 8 MiB of lines in a batch. Source: `flume/sources.md` 5.6, 2 and cases 38-48.

mod awaited;
mod deltas;
mod file;
mod folders;
mod identity;
mod lines;
mod look;
#[cfg(test)]
mod model;
mod names;
mod pace;
mod position_file;
mod positions;
mod reader;
mod rest;
mod start;
mod store;
mod tail;
#[cfg(test)]
mod tests;
mod turn;
mod watch;

use self::reader::Shape;
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::java::regex::Regex;
use proto::event::EventLimits;
use std::path::PathBuf;
use std::time::Duration;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "taildir",
    classes: &["org.apache.flume.source.taildir.TaildirSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Headers of a group that there may be: an event has room for these, its file and its offset.
const HEADERS_MAX: usize = 1_000;

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `filegroups` and `filegroups.<g>`: required; a folder that must exist and, behind the last slash, a Java regular
    /// expression for whole file names. Groups without pattern are passed over, with a warning.
    pub groups: Vec<Group>,
    /// `positionFile`: default `~/.flume/taildir_position.json`; folders above are made.
    pub position_file: PathBuf,
    /// `byteOffsetHeader`: whether the header `byteoffset` has the place of a line's first byte; default false.
    pub byte_offset: bool,
    /// `fileHeader` and `fileHeaderKey`: the header with the absolute path, if it is wanted; default none, key `file`.
    pub file_header: Option<String>,
    /// `skipToEnd`: whether files that are there at the very first start are read from their end; default false.
    pub skip_to_end: bool,
    /// `idleTimeout`: milliseconds without news after which a file is closed; default 120,000.
    pub idle_timeout: Duration,
    /// `writePosInterval`: milliseconds between writes of the position file; default 3,000; over 0. The first one is
    /// at the start.
    pub position_interval: Duration,
    /// `batchSize`: lines in one put; default 100; over 0, at most 1,000,000.
    pub batch_size_events: usize,
    /// `maxBatchCount`: puts of one file before the next one's turn; default 2^63 - 1; 0 and less is the default, with a
    /// warning.
    pub batches_max: u64,
    /// `cachePatternMatching`: whether folders are listed only when they seem to have changed; default true.
    pub caching: bool,
    /// `backoffSleepIncrement`: milliseconds by which polls of quiet files get slower; default 1,000. inotify is
    /// quicker where it works; where it does not, polls never take longer than a second.
    pub poll_first: Duration,
    /// `maxBackoffSleep`: milliseconds of the slowest poll; default 5,000.
    pub poll_max: Duration,
    /// `maxLineBytes`: longest line; default and most 64 MiB. Ours, Flume has no limit.
    pub max_line_bytes: usize,
    /// `maxOpenFiles`: handles that are kept open; default 256; at least 1. Ours, Flume has no limit.
    pub open_files_max: usize,
    /// Files that are followed at most; 100,000. Not a property.
    pub files_max: usize,
}

/// A group of files.
#[derive(Debug, Clone)]
pub struct Group {
    /// Its name in `filegroups`.
    pub name: String,
    /// Where its files are; absolute.
    pub folder: PathBuf,
    /// What a file's whole name must match.
    pub pattern: Regex,
    /// `headers.<g>.<key>`: headers of each of its lines.
    pub headers: Vec<(String, String)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            position_file: PathBuf::new(),
            byte_offset: false,
            file_header: None,
            skip_to_end: false,
            idle_timeout: Duration::from_secs(120),
            position_interval: Duration::from_secs(3),
            batch_size_events: 100,
            batches_max: i64::MAX as u64,
            caching: true,
            poll_first: Duration::from_secs(1),
            poll_max: Duration::from_secs(5),
            max_line_bytes: EventLimits::default().body_bytes,
            open_files_max: 256,
            files_max: tail::FILES_MAX,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        let file_header = keys.flag("fileHeader", false);
        let file_header_key = keys.text("fileHeaderKey").unwrap_or_else(|| "file".to_owned());
        let (batch_max, most) = (EventLimits::default().events, i32::MAX as u64);
        let line_max = default.max_line_bytes;
        Self {
            groups: groups(keys),
            position_file: position_file(keys),
            byte_offset: keys.flag("byteOffsetHeader", default.byte_offset),
            file_header: file_header.then_some(file_header_key),
            skip_to_end: keys.flag("skipToEnd", default.skip_to_end),
            idle_timeout: keys.millis("idleTimeout", default.idle_timeout, 0..=most),
            position_interval: keys.millis("writePosInterval", default.position_interval, 1..=most),
            batch_size_events: keys.number("batchSize", default.batch_size_events, 1..=batch_max),
            batches_max: keys.lenient_number("maxBatchCount", default.batches_max, 1..=i64::MAX as u64),
            caching: keys.flag("cachePatternMatching", default.caching),
            poll_first: keys.millis("backoffSleepIncrement", default.poll_first, 1..=most),
            poll_max: keys.millis("maxBackoffSleep", default.poll_max, 1..=most),
            max_line_bytes: keys.number("maxLineBytes", line_max, 1..=line_max),
            open_files_max: keys.number("maxOpenFiles", default.open_files_max, 1..=1_000_000),
            ..default
        }
    }

    /// The source.
    pub fn build(self) -> Result<Taildir, BuildError> {
        Ok(Taildir(self))
    }

    fn shape(&self) -> Shape {
        Shape {
            batch_lines: self.batch_size_events,
            line_bytes: self.max_line_bytes,
            byte_offset: self.byte_offset,
        }
    }
}

fn position_file(keys: &mut Keys) -> PathBuf {
    if let Some(path) = keys.text("positionFile") {
        return path.into();
    }
    let Some(home) = std::env::home_dir() else {
        keys.wrong(
            "positionFile",
            "required, as there is no home folder for its default",
        );
        return PathBuf::new();
    };
    home.join(".flume/taildir_position.json")
}

fn groups(keys: &mut Keys) -> Vec<Group> {
    let listed = keys.required("filegroups");
    // Whoever sets them is told below which have no effect.
    drop(keys.below("filegroups."));
    let mut groups: Vec<Group> = Vec::new();
    let mut has_pattern = false;
    for name in listed.split_whitespace() {
        if groups.iter().any(|g| g.name == name) {
            continue;
        }
        let key = format!("filegroups.{name}");
        let Some(pattern) = keys.peek(&key).map(str::to_owned) else {
            let message = "the group is listed, but has no pattern".to_owned();
            keys.warn(&key, "not-configured", message);
            continue;
        };
        has_pattern = true;
        groups.extend(group(keys, &key, name, &pattern));
    }
    if !listed.is_empty() && !has_pattern {
        keys.wrong("filegroups", "none of its groups has a pattern");
    }
    let unlisted = |name: &str| !listed.split_whitespace().any(|g| g == name);
    let given: Vec<String> = keys.given().map(|(key, _)| key.to_owned()).collect();
    for key in &given {
        if key.strip_prefix("filegroups.").is_some_and(unlisted) {
            let message =
                format!("the group is not listed in filegroups (\"{listed}\"), so its files are not read");
            keys.warn(key, "not-listed", message);
        }
    }
    headers(keys, &mut groups);
    groups
}

fn group(keys: &mut Keys, key: &str, name: &str, value: &str) -> Option<Group> {
    let Some((folder, file)) = value.rsplit_once('/') else {
        let message = format!("expected a folder, a slash and a pattern for file names, found \"{value}\"");
        keys.wrong(key, &message);
        return None;
    };
    if folder.contains('*') {
        let message = "only the file name is a pattern: a folder with this very name is looked for";
        keys.warn(key, "folder-pattern", message.to_owned());
    }
    if file.starts_with('*') {
        let message =
            format!("the file name is a regular expression: \"{file}\" is none; did you mean \".{file}\"?");
        keys.wrong(key, &message);
        return None;
    }
    let folder = if folder.is_empty() { "/" } else { folder };
    let folder = match std::path::absolute(folder) {
        Ok(folder) => folder,
        Err(error) => {
            keys.wrong(key, &format!("\"{folder}\" cannot be made absolute: {error}"));
            return None;
        }
    };
    match Regex::new(file) {
        Ok(pattern) => Some(Group {
            name: name.to_owned(),
            folder,
            pattern,
            headers: Vec::new(),
        }),
        Err(error) => {
            keys.wrong(key, &format!("\"{file}\" is no regular expression: {error}"));
            None
        }
    }
}

/// `headers.<group>.<key>`.
fn headers(keys: &mut Keys, groups: &mut [Group]) {
    drop(keys.below("headers."));
    let given: Vec<(String, String)> = keys
        .given()
        .filter(|(key, _)| key.starts_with("headers."))
        .map(|(key, entry)| (key.to_owned(), entry.value.clone()))
        .collect();
    for (key, value) in given {
        let name = key.strip_prefix("headers.").unwrap_or_default();
        let Some((group, header)) = name.split_once('.').filter(|(_, header)| !header.is_empty()) else {
            keys.wrong(&key, "expected headers.<group>.<key>, found no key");
            continue;
        };
        let Some(group) = groups.iter_mut().find(|g| g.name == group) else {
            let message = format!("\"{group}\" is no group that is read, so the header is never set");
            keys.warn(&key, "not-listed", message);
            continue;
        };
        let limits = EventLimits::default();
        if header.len() > limits.key_bytes || value.len() > limits.value_bytes {
            keys.wrong(&key, "the header is longer than an event can carry");
        } else if group.headers.len() >= HEADERS_MAX {
            keys.wrong(
                &key,
                &format!("expected at most {HEADERS_MAX} headers of a group"),
            );
        } else {
            group.headers.push((header.to_owned(), value));
        }
    }
}

/// The source.
#[derive(Debug)]
pub struct Taildir(Config);

impl Source for Taildir {
    // Reads of files block.
    const BLOCKING: bool = true;

    fn batch_size(&self) -> Option<usize> {
        Some(self.0.batch_size_events)
    }

    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let tail = start::start(&self.0, &ctx).await?;
        ctx.ready();
        tail.run().await
    }
}
