//! `spooldir`: reads files that are put into a directory, each once, Flume's SpoolDirectorySource.
//!
//! Files must not change after they are put there, and no name may be used twice. One file is read at a time, in
//! batches of `batchSize`; a file that is done is renamed, deleted or gets a marker. Sources: `flume/sources.md` 5.5
//! and 6.
//!
//! Promise: each batch is put with its position (the file, and where reading goes on), so that nothing is doubled
//! or lost by what the position survives: a restart of the source and any panic with a memory channel, a crash of
//! the machine with a durable one. Flume's tracker file is written after each commit as well; it is what a process
//! goes on from that finds no position (memory channel, or Flume ran before), at most one batch early, as in Flume.
//!
//! ```text
//!   put(batch, position) -> tracker file -> .. -> end of file -> is it unchanged? -> rename -> sync directory
//! ```
//!
//! That is the order in which things happen; a crash between any two is mended at the start: the file that the
//! position names is taken up first, whatever `consumeOrder` says, and if all of it is committed it is only renamed.
//! The directory is synced before the next file begins if a channel is durable, for the position forgets a file then.
//!
//! | failure | what happens |
//! |---|---|
//! | a channel refuses | the same batch again after 250 ms, then twice that each time up to `maxBackoff`, without end |
//! | the directory is missing, not readable or not writable; a file system that fails | the source fails and is tried again |
//! | a file that cannot be opened | passed over, tried again at the next look |
//! | a file that changed while it was read, a name that was used before | fatal: an operator must act; its events are delivered |
//! | bytes or a format that cannot be read | fatal; what stands before was delivered, but for the batch with them |
//! | an event that no channel can ever hold | fatal: it would be lost otherwise |
//!
//! Fatal is: an error in the log, and the source parked until its configuration changes, as the health page says.
//! The directory is only looked at every `pollDelay`: looking as soon as something stirs would meet files that are
//! still being copied more often.

mod candidates;
pub(crate) mod position;
mod reading;
mod retire;
pub(crate) mod tracker;

use self::candidates::Candidates;
use self::position::{Position, Resume};
use self::tracker::Tracker;
use crate::component::channel::Want;
use crate::component::context::Shutdown;
use crate::component::deserializer::Deserializer;
use crate::component::error::{BuildError, RunError};
use crate::component::keys::{Keys, Severity};
use crate::component::registry::{BuildContext, Type};
use crate::component::source::{DynSource, Source, SourceContext};
use crate::java::charset::{Charset, Malformed};
use crate::java::regex::Regex;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::error;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "spooldir",
    classes: &["org.apache.flume.source.SpoolDirectorySource"],
    in_flume_metrics: true,
    build: |keys, ctx| {
        let config = Config::read(keys);
        let deserializer = deserializer(keys, &config.deserializer, ctx)?;
        Ok(Box::new(config.build(deserializer)?))
    },
};

/// Bytes of bodies in one batch, unless a single event is larger.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The first wait after a channel has refused.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
/// How long after the request to stop a put may take.
const LAST_PUT: Duration = Duration::from_secs(2);

/// What becomes of a file that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// It gets `fileSuffix`.
    Rename,
    /// An empty file of its name and `fileSuffix` is made in the tracker directory.
    Marker,
    /// It is deleted.
    Delete,
}

/// Which file is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The one that was modified first; of several the first by name.
    Oldest,
    /// The one that was modified last; of several the first by name.
    Youngest,
    /// As the directory has them.
    Random,
}

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `spoolDir`: required.
    pub directory: PathBuf,
    /// `fileSuffix`: names with it are done; default `.COMPLETED`.
    pub suffix: String,
    /// `deletePolicy` never or immediate, `trackingPolicy` rename or tracker_dir, any case; default to rename.
    pub policy: Policy,
    /// `trackerDir`: below `spoolDir` if relative; default `.flumespool`.
    pub tracker_directory: PathBuf,
    /// `fileHeaderKey` (default `file`) if `fileHeader` is true: the header for the absolute path.
    pub file_header: Option<String>,
    /// `basenameHeaderKey` (default `basename`) if `basenameHeader` is true: the header for the name.
    pub basename_header: Option<String>,
    /// `includePattern`: whole names that are read; default all.
    pub include: Regex,
    /// `ignorePattern`: whole names, also of directories, that are not; default none. Wins.
    pub ignore: Regex,
    /// `consumeOrder`: default oldest.
    pub order: Order,
    /// `pollDelay`: milliseconds between looks at the directory; default 500.
    pub poll_delay: Duration,
    /// `recursiveDirectorySearch`: default false.
    pub recursive: bool,
    /// `maxBackoff`: milliseconds, the longest wait after a channel has refused; default 4,000.
    pub backoff_max: Duration,
    /// `batchSize`: events in one put; default 100.
    pub batch_size_events: usize,
    /// `inputCharset`: default UTF-8.
    pub charset: Charset,
    /// `decodeErrorPolicy`: FAIL, REPLACE or IGNORE, any case; default FAIL.
    pub malformed: Malformed,
    /// `deserializer`: default LINE; its own keys are below `deserializer.`.
    pub deserializer: String,
}

impl Config {
    /// Reads the properties, those of the deserializer excepted.
    pub fn read(keys: &mut Keys) -> Self {
        let directory = PathBuf::from(as_java(&keys.required("spoolDir")));
        let tracker = as_java(&keys.text("trackerDir").unwrap_or(".flumespool".to_owned()));
        let file_key = keys.text("fileHeaderKey").unwrap_or("file".to_owned());
        let basename_key = keys.text("basenameHeaderKey").unwrap_or("basename".to_owned());
        keys.without_effect("bufferMaxLines", "has no effect since Flume 1.4");
        Self {
            tracker_directory: directory.join(tracker),
            directory,
            suffix: keys.text("fileSuffix").unwrap_or(".COMPLETED".to_owned()),
            policy: policy(keys),
            file_header: keys.flag("fileHeader", false).then_some(file_key),
            basename_header: keys.flag("basenameHeader", false).then_some(basename_key),
            include: pattern(keys, "includePattern", "^.*$"),
            ignore: pattern(keys, "ignorePattern", "^$"),
            order: word(
                keys,
                "consumeOrder",
                &[
                    ("oldest", Order::Oldest),
                    ("youngest", Order::Youngest),
                    ("random", Order::Random),
                ],
            ),
            poll_delay: keys.millis("pollDelay", Duration::from_millis(500), 1..=i32::MAX as u64),
            recursive: keys.flag("recursiveDirectorySearch", false),
            backoff_max: keys.millis("maxBackoff", Duration::from_secs(4), 1..=i32::MAX as u64),
            batch_size_events: keys.number("batchSize", 100, 1..=i32::MAX as usize),
            charset: charset(keys),
            malformed: word(
                keys,
                "decodeErrorPolicy",
                &[
                    ("FAIL", Malformed::Fail),
                    ("REPLACE", Malformed::Replace),
                    ("IGNORE", Malformed::Ignore),
                ],
            ),
            deserializer: keys.text("deserializer").unwrap_or("LINE".to_owned()),
        }
    }

    /// The source.
    pub fn build(self, deserializer: Box<dyn Deserializer>) -> Result<Spooldir, BuildError> {
        Ok(Spooldir {
            want: Want {
                events: self.batch_size_events,
                bytes: BATCH_BYTES_MAX,
            },
            tracker: Tracker::new(&self.tracker_directory),
            candidates: Candidates::default(),
            deserializer,
            config: self,
        })
    }

    fn headers<'a>(&'a self, absolute: &'a str, basename: &'a str) -> Vec<(&'a str, &'a str)> {
        let file = self.file_header.as_deref().map(|key| (key, absolute));
        let base = self.basename_header.as_deref().map(|key| (key, basename));
        file.into_iter().chain(base).collect()
    }

    /// The file that says, in the tracker directory, that a file is done.
    fn marker(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix(&self.directory).unwrap_or(path);
        with_suffix(&self.tracker_directory.join(relative), &self.suffix)
    }
}

/// A path as Java's File writes it: Flume's tracker names files so.
fn as_java(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn policy(keys: &mut Keys) -> Policy {
    let immediate = word(keys, "deletePolicy", &[("never", false), ("immediate", true)]);
    let marker = word(
        keys,
        "trackingPolicy",
        &[("rename", false), ("tracker_dir", true)],
    );
    match (immediate, marker) {
        (true, true) => {
            let message = "deletePolicy is immediate, so files are deleted; set it to never to keep them";
            keys.warn("trackingPolicy", "no-effect", message.to_owned());
            Policy::Delete
        }
        (true, false) => Policy::Delete,
        (false, true) => Policy::Marker,
        (false, false) => Policy::Rename,
    }
}

/// One of these, in any case; the first is the default.
fn word<T: Copy>(keys: &mut Keys, key: &str, words: &[(&str, T)]) -> T {
    let default = words[0].1;
    let Some(given) = keys.text(key) else {
        return default;
    };
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&given));
    found.map_or_else(
        || {
            let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("expected {}, found \"{given}\"", list.join(" or "));
            keys.wrong(key, &message);
            default
        },
        |(_, value)| *value,
    )
}

fn pattern(keys: &mut Keys, key: &str, default: &str) -> Regex {
    let given = keys.text(key).unwrap_or(default.to_owned());
    Regex::new(&given).unwrap_or_else(|why| {
        keys.wrong(key, &format!("expected a Java pattern, found \"{given}\": {why}"));
        Regex::new(default).expect("the default is a good pattern")
    })
}

fn charset(keys: &mut Keys) -> Charset {
    let Some(name) = keys.text("inputCharset") else {
        return Charset::Utf8;
    };
    Charset::named(&name).unwrap_or_else(|| {
        let message = format!("expected a charset such as UTF-8, ISO-8859-1 or UTF-16, found \"{name}\"");
        keys.wrong("inputCharset", &message);
        Charset::Utf8
    })
}

/// Finds and builds the deserializer; what is wrong with it is noted at the property too.
fn deserializer(
    keys: &mut Keys,
    name: &str,
    ctx: &BuildContext,
) -> Result<Box<dyn Deserializer>, BuildError> {
    let mut part = keys.below("deserializer.");
    if let Some(old) = keys.entry_of("bufferMaxLineLength") {
        let message = "an old spelling of deserializer.maxLineLength";
        keys.warn("bufferMaxLineLength", "deprecated", message.to_owned());
        if name.eq_ignore_ascii_case("LINE") {
            part.replace("maxLineLength", old);
        }
    }
    let Some(found) = ctx.types.deserializers.find(name) else {
        // Which keys it has is not known: no word about those.
        let message = format!("expected LINE, AVRO, BLOB or one of their classes, found \"{name}\"");
        keys.note(Severity::Error, "deserializer", "unknown-type", message.clone());
        return Err(BuildError(format!("deserializer: {message}")));
    };
    let built = found.build(&mut part, ctx);
    keys.absorb(part);
    built.map_err(|why| {
        let message = format!("deserializer \"{name}\": {why}");
        keys.wrong("deserializer", &message);
        BuildError(format!("deserializer: {message}"))
    })
}

/// The source.
pub struct Spooldir {
    config: Config,
    deserializer: Box<dyn Deserializer>,
    want: Want,
    tracker: Tracker,
    candidates: Candidates,
}

/// How a step ended that may be ended by the request to stop.
#[derive(Debug, PartialEq, Eq)]
enum Flow {
    Done,
    Stopped,
}

impl Source for Spooldir {
    const BLOCKING: bool = true;

    fn batch_size(&self) -> Option<usize> {
        Some(self.config.batch_size_events)
    }

    async fn run(mut self, ctx: SourceContext) -> Result<(), RunError> {
        retire::check(&self.config)?;
        ctx.ready();
        if let Some(resume) = self.resume(&ctx)?
            && self.read_file(&ctx, &resume.path, &resume).await? == Flow::Stopped
        {
            return Ok(());
        }
        loop {
            while let Some(path) = self.candidates.next(&self.config, &*ctx.clock)? {
                let start = Resume::at_start(&path);
                if ctx.shutdown.is_requested() || self.read_file(&ctx, &path, &start).await? == Flow::Stopped
                {
                    return Ok(());
                }
            }
            if ctx.shutdown.sleep(self.config.poll_delay).await {
                return Ok(());
            }
        }
    }
}

impl Spooldir {
    /// The file that was under way, if it still waits to be read.
    fn resume(&self, ctx: &SourceContext) -> Result<Option<Resume>, RunError> {
        let mark = self.tracker.read(&self.config.directory);
        let position = ctx.position().and_then(|bytes| Position::decode(&bytes));
        let resume = position::resume(position, mark);
        Ok(resume.filter(|resume| self.candidates.is_candidate(&self.config, &resume.path)))
    }
}

/// Resolves when the source has had all the time for a last put.
async fn last_call(shutdown: &Shutdown) {
    shutdown.requested().await;
    tokio::time::sleep(LAST_PUT).await;
}

/// Only an operator can help.
fn fatal(ctx: &SourceContext, config: &Config, why: String) -> RunError {
    let (name, directory) = (&ctx.name, config.directory.display());
    error!(
        "FATAL: Spool Directory source {name}: {{ spoolDir: {directory} }}: {why}. Restart or reconfigure Flume to \
         continue processing."
    );
    RunError::reconfigure(why)
}

#[cfg(test)]
mod tests;
