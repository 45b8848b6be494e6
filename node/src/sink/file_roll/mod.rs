//! `file_roll`: writes events into files of a directory, a new one every interval, Flume's RollingFileSink.
//!
//! Promise: exactly once, as far as the channel allows. A transaction is serialised into one buffer, written with one
//! call, synced, and then committed together with the file and its length; at the start the file is cut back to what
//! is committed (`ledger`). So what is in the files is what the channel has let go, whatever dies in between. A
//! file never loses what it has: names that exist are passed over (Flume truncates them).
//!
//! Whether there is a sync is `sink.sync`: as the channel (the default), always, never. A channel in memory is gone
//! with the machine, and a killed process leaves what it has written to the kernel: there is nothing to gain. For a
//! durable one many leases are written, synced once and committed in order; a sync is due when no more is queued,
//! after `HELD_BYTES_MAX`, `HELD_LEASES_MAX` or `HELD_TIME_MAX`.
//!
//! ```text
//!   durable  write write write  sync  commit commit commit      memory  write commit  write commit
//! ```
//!
//! | failure | what happens |
//! |---|---|
//! | directory missing, file cannot be opened | nothing is taken; the sink is tried again later |
//! | write or sync fails | the file is cut back to what is committed and closed; the events come again, into the next file, not doubled |
//! | commit refused because the channel was restarted | the file is cut back too, as the events come again |
//! | commit fails otherwise | with the next lease the channel is asked what is committed, and the file is cut back to it |
//! | the process or the sink dies between write and commit | the file is cut back, or removed if it is new, when the sink is built again; with a memory channel that is the case inside of one process |
//! | the machine dies | durable channel: the same; what was not synced is not committed |
//!
//! Other differences: a file is opened for the first events, not before, so that an idle sink leaves no empty
//! files; a file closes on time, or up to a second late when idle, and only if something is in it; `batchSize` 0
//! is refused (Flume spins); an unknown serializer is refused at the start (Flume fails every delivery).
//! Between the creation of a file and its first commit a hidden note lies beside it.
//! Source: `flume/channels-and-sinks.md` 6.3.

mod ledger;
mod names;
mod output;

pub use self::names::Naming;

use self::ledger::Note;
use self::names::Names;
use self::output::Output;
use crate::component::channel::{ChannelError, Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::{BuildContext, Type};
use crate::component::serializer::Serializer;
use crate::component::sink::{DynSink, Sink, SinkContext};
use bytes::Bytes;
use cluster::time::Time;
use proto::event::Batch;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tracing::{debug, error, warn};

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSink>> = Type {
    alias: "file_roll",
    classes: &["org.apache.flume.sink.RollingFileSink"],
    in_flume_metrics: true,
    build: |keys, ctx| {
        let config = Config::read(keys);
        let serializer = serializer(keys, &config.serializer, ctx)?;
        Ok(Box::new(config.build(serializer, ctx.clock.unix_ms())?))
    },
};

/// Bytes of bodies in one transaction, unless a single event is larger; bounds the memory of the buffer.
const TRANSACTION_BYTES_MAX: usize = 16 << 20;

/// Bytes of the buffer that are kept between transactions.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// Bytes of events that may be written and not committed.
const HELD_BYTES_MAX: u64 = 16 << 20;
/// Leases that may be written and not committed.
const HELD_LEASES_MAX: usize = 512;
/// How long a lease may be written and not committed while others come.
const HELD_TIME_MAX: Duration = Duration::from_millis(50);

/// When what is written is synced before it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// When the channel survives the process.
    Channel,
    /// Always.
    Always,
    /// Never: a machine that dies may have committed what is not in the file.
    Never,
}

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `sink.directory`: required; must exist when events come.
    pub directory: PathBuf,
    /// `sink.rollInterval`: seconds until a file is closed; default 30; 0 or less is never.
    pub roll_interval: Option<Duration>,
    /// `sink.batchSize`: events in one transaction; default 100.
    pub batch_size_events: usize,
    /// `sink.sync`: channel, always or never, any case; default channel. Ours, Flume never does.
    pub sync: Sync,
    /// `sink.serializer`: default TEXT; its own keys are below `sink.serializer.`.
    pub serializer: String,
    /// `sink.pathManager`: default DEFAULT.
    pub naming: Naming,
    /// `sink.pathManager.prefix`: what names start with; default nothing.
    pub prefix: String,
    /// `sink.pathManager.extension`: what follows a dot at their end; default nothing, no dot either.
    pub extension: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            directory: PathBuf::new(),
            roll_interval: Some(Duration::from_secs(30)),
            batch_size_events: 100,
            sync: Sync::Channel,
            serializer: "TEXT".to_owned(),
            naming: Naming::Millis,
            prefix: String::new(),
            extension: String::new(),
        }
    }
}

impl Config {
    /// Reads the properties, those of the serializer excepted.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        let directory = keys.required("sink.directory").into();
        let roll_secs = keys.number("sink.rollInterval", 30, i64::MIN..=i64::MAX);
        let batch_size = keys.number("sink.batchSize", default.batch_size_events, 1..=i32::MAX as usize);
        Self {
            directory,
            roll_interval: u64::try_from(roll_secs)
                .ok()
                .filter(|secs| *secs > 0)
                .map(Duration::from_secs),
            batch_size_events: batch_size,
            sync: sync(keys),
            serializer: keys.text("sink.serializer").unwrap_or(default.serializer),
            naming: Naming::read(keys),
            prefix: keys.text("sink.pathManager.prefix").unwrap_or_default(),
            extension: keys.text("sink.pathManager.extension").unwrap_or_default(),
        }
    }

    /// The sink; `unix_ms` goes into the names of its files.
    pub fn build(self, serializer: Box<dyn Serializer>, unix_ms: u64) -> Result<FileRoll, BuildError> {
        Ok(FileRoll {
            names: Names::new(self.naming, unix_ms),
            config: self,
            serializer,
            open: None,
            buffer: Vec::new(),
            held: Vec::new(),
            held_bytes: 0,
            held_since: Time::ZERO,
            committed: None,
            note: None,
            doubt: true,
            create: output::create,
        })
    }
}

fn sync(keys: &mut Keys) -> Sync {
    let Some(word) = keys.text("sink.sync") else {
        return Sync::Channel;
    };
    match word.to_ascii_lowercase().as_str() {
        "channel" => Sync::Channel,
        "always" => Sync::Always,
        "never" => Sync::Never,
        _ => {
            let message = format!("expected channel, always or never, found \"{word}\"");
            keys.wrong("sink.sync", &message);
            Sync::Channel
        }
    }
}

const EXPECTED: &str = "expected TEXT, HEADER_AND_TEXT or AVRO_EVENT";
/// Takes the schema of a file from the headers of its first event.
const SCHEMA_FROM_EVENTS: &str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";

/// Finds and builds the serializer; what is wrong with it is noted at the property too.
fn serializer(keys: &mut Keys, name: &str, ctx: &BuildContext) -> Result<Box<dyn Serializer>, BuildError> {
    let mut part = keys.below("sink.serializer.");
    let built = match ctx.types.serializers.find(name) {
        Some(found) => found.build(&mut part, ctx).map_err(|e| e.0),
        None if name == SCHEMA_FROM_EVENTS => Err(format!("known, not in this version ({EXPECTED})")),
        None => Err(format!("unknown ({EXPECTED})")),
    };
    keys.absorb(part);
    built.map_err(|why| {
        let message = format!("serializer \"{name}\": {why}");
        keys.wrong("sink.serializer", &message);
        BuildError(format!("sink.serializer: {message}"))
    })
}

/// The sink.
pub struct FileRoll {
    config: Config,
    serializer: Box<dyn Serializer>,
    names: Names,
    open: Option<Open>,
    buffer: Vec<u8>,
    /// Written, not committed, in order.
    held: Vec<Held>,
    /// Bytes of their events.
    held_bytes: u64,
    held_since: Time,
    /// The position that was committed last.
    committed: Option<Bytes>,
    /// Of an open file without a commit.
    note: Option<Note>,
    /// What is committed is to be asked for before anything is written.
    doubt: bool,
    /// Makes a file that must not exist; tests put in files that fail.
    create: fn(&Path) -> io::Result<Box<dyn Output>>,
}

struct Open {
    output: Box<dyn Output>,
    path: PathBuf,
    since: Time,
    /// Bytes of the transactions so far.
    len: u64,
    /// Bytes of those that are committed.
    committed: u64,
    /// Whether what is written is synced before it is committed.
    sync: bool,
}

/// A lease whose events are written.
struct Held {
    lease: Lease,
    /// Bytes of the file with it.
    len: u64,
}

impl Sink for FileRoll {
    const BLOCKING: bool = true;

    fn want(&self) -> Want {
        Want {
            events: self.config.batch_size_events,
            bytes: TRANSACTION_BYTES_MAX,
        }
    }

    fn batch_size(&self) -> Option<usize> {
        Some(self.config.batch_size_events)
    }

    async fn start(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        self.mend(ctx, ctx.position.clone(), None);
        Ok(())
    }

    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        if self.doubt {
            self.mend(ctx, lease.position(&ctx.owner), Some(lease.durable()));
            self.doubt = false;
        }
        self.roll(ctx).await?;
        let durable = lease.durable();
        let sync = match self.config.sync {
            Sync::Channel => durable,
            Sync::Always => true,
            Sync::Never => false,
        };
        ctx.counters.attempted.add(lease.batch().len() as u64);
        if self.open.is_none() {
            self.open = Some(self.open_next(durable, sync, ctx)?);
        }
        let len = self.write(lease.batch(), sync, ctx)?;
        if self.held.is_empty() {
            (self.held_bytes, self.held_since) = (0, ctx.clock.now());
        }
        self.held_bytes += lease.batch().used_bytes() as u64;
        let more = sync && lease.more_queued();
        self.held.push(Held { lease, len });
        if more && !self.is_full(ctx) {
            return Ok(());
        }
        self.settle(ctx).await
    }

    async fn idle(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        self.settle(ctx).await?;
        self.roll(ctx).await
    }

    async fn stop(&mut self, ctx: &SinkContext) {
        match self.settle(ctx).await {
            Ok(()) => self.close(ctx),
            Err(why) => error!(error = %why, "the last events are not committed"),
        }
    }
}

impl FileRoll {
    /// Holds the files against what is committed.
    fn mend(&mut self, ctx: &SinkContext, position: Option<Bytes>, durable: Option<bool>) {
        if self.open.take().is_some() {
            ctx.counters.connections_closed.add(1);
        }
        self.note = None;
        if let Some(position) = &position {
            self.buffer.clear();
            self.serializer.footer(&mut self.buffer);
            ledger::cut_back(position, &self.buffer);
        }
        Note::of(&self.config.directory, &ctx.name).mend(position.as_deref(), durable);
        self.committed = position;
    }

    /// Closes the file when its time is over.
    async fn roll(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        let (Some(open), Some(interval)) = (&self.open, self.config.roll_interval) else {
            return Ok(());
        };
        if ctx.clock.now() - open.since >= interval {
            self.settle(ctx).await?;
            self.close(ctx);
        }
        Ok(())
    }

    /// Writes a transaction and returns how long the file is with it.
    fn write(&mut self, batch: &Batch, sync: bool, ctx: &SinkContext) -> Result<u64, RunError> {
        let Some(open) = &mut self.open else {
            return Err(RunError::bug("no file is open"));
        };
        open.sync |= sync;
        self.buffer.clear();
        if open.len == 0 {
            self.serializer.header(&mut self.buffer);
        }
        self.serializer.write(batch, &mut self.buffer);
        let written = open.output.append(&self.buffer);
        open.len += self.buffer.len() as u64;
        // One transaction of large events is no reason to keep so much for ever.
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        let failed = written.map_err(|why| {
            RunError::retry(format!("failed to write file {}", open.path.display())).caused_by(why)
        });
        let len = open.len;
        if let Err(why) = failed {
            self.take_back(ctx);
            return Err(why);
        }
        Ok(len)
    }

    /// Whether what is written has waited enough.
    fn is_full(&self, ctx: &SinkContext) -> bool {
        self.held_bytes >= HELD_BYTES_MAX
            || self.held.len() >= HELD_LEASES_MAX
            || ctx.clock.now() - self.held_since >= HELD_TIME_MAX
    }

    /// Syncs what is written and commits it.
    async fn settle(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        let Some(open) = self.open.as_mut().filter(|_| !self.held.is_empty()) else {
            return Ok(());
        };
        if open.sync
            && let Err(why) = open.output.sync()
        {
            let failed = RunError::retry(format!("failed to sync file {}", open.path.display()));
            // The kernel may have dropped what it could not write: it must all be written again.
            self.take_back(ctx);
            return Err(failed.caused_by(why));
        }
        // Until the end nobody knows: whoever drops this in the middle must ask.
        self.doubt = true;
        let failed = commit(open, &mut self.committed, self.held.drain(..), ctx).await;
        if open.committed > 0
            && let Some(note) = self.note.take()
        {
            note.remove();
        }
        match failed {
            None => self.doubt = false,
            Some(ChannelError::Fenced) => {
                self.doubt = false;
                self.take_back(ctx);
            }
            Some(_) => {}
        }
        failed.map_or(Ok(()), |why| Err(why.into()))
    }

    /// Cuts the file back to what is committed and leaves it; a file in which nothing is left goes.
    fn take_back(&mut self, ctx: &SinkContext) {
        // Back into the channel.
        self.held.clear();
        let Some(mut open) = self.open.take() else { return };
        let len = open.committed;
        let cut = open.output.cut(len);
        drop(open.output);
        ctx.counters.connections_closed.add(1);
        let gone = if len == 0 && cut.is_ok() {
            std::fs::remove_file(&open.path)
        } else {
            Ok(())
        };
        match cut.and(gone) {
            Ok(()) => {
                if let Some(note) = self.note.take() {
                    note.remove();
                }
            }
            Err(why) => {
                self.doubt = true;
                error!(path = %open.path.display(), error = %why, "file cannot be cut back now; it is tried again with the next events");
            }
        }
    }

    fn open_next(&mut self, durable: bool, sync: bool, ctx: &SinkContext) -> Result<Open, RunError> {
        loop {
            let name = self.names.next(&self.config, ctx.clock.unix_ms());
            let path = self.config.directory.join(name);
            // The position has to find it from anywhere.
            let path = std::path::absolute(&path).unwrap_or(path);
            match (self.create)(&path) {
                Ok(output) => {
                    let note = Note::of(&self.config.directory, &ctx.name);
                    if let Err(why) = note.write(&path, self.committed.as_deref(), durable, sync) {
                        let _ = std::fs::remove_file(&path);
                        ctx.counters.connections_failed.add(1);
                        self.names.give_back();
                        let what = format!("failed to note that {} was opened", path.display());
                        return Err(RunError::retry(what).caused_by(why));
                    }
                    self.note = Some(note);
                    ctx.counters.connections_created.add(1);
                    debug!(path = %path.display(), "file opened");
                    return Ok(Open {
                        output,
                        path,
                        since: ctx.clock.now(),
                        len: 0,
                        committed: 0,
                        sync,
                    });
                }
                // Another file's: the count goes up, so this ends.
                Err(why) if why.kind() == ErrorKind::AlreadyExists => {}
                Err(why) => {
                    ctx.counters.connections_failed.add(1);
                    self.names.give_back();
                    return Err(self.not_opened(&path).caused_by(why));
                }
            }
        }
    }

    fn not_opened(&self, path: &Path) -> RunError {
        let directory = self.config.directory.display();
        let why = if self.config.directory.is_dir() {
            String::new()
        } else {
            format!(" (sink.directory {directory} is not there)")
        };
        RunError::retry(format!(
            "Failed to open file {} while delivering event{why}",
            path.display()
        ))
    }

    fn close(&mut self, ctx: &SinkContext) {
        let Some(mut open) = self.open.take() else { return };
        self.buffer.clear();
        self.serializer.footer(&mut self.buffer);
        let ended = if self.buffer.is_empty() {
            Ok(())
        } else {
            let appended = open.output.append(&self.buffer);
            appended.and_then(|()| if open.sync { open.output.sync() } else { Ok(()) })
        };
        if let Err(why) = ended {
            warn!(path = %open.path.display(), error = %why, "end of file could not be written; its events are there");
        }
        ctx.counters.connections_closed.add(1);
        debug!(path = %open.path.display(), bytes = open.len, "file closed");
    }
}

/// Commits leases in order, all under way at once, each with the file's length; the first failure, if there is one.
async fn commit(
    open: &mut Open,
    committed: &mut Option<Bytes>,
    held: impl Iterator<Item = Held>,
    ctx: &SinkContext,
) -> Option<ChannelError> {
    type Commit = Pin<Box<dyn Future<Output = Result<(), ChannelError>> + Send>>;
    let mut commits: Vec<(u64, u64, Bytes, Commit)> = held
        .map(|held| {
            let events = held.lease.batch().len() as u64;
            let position = ledger::position(&ctx.owner, &open.path, held.len);
            let bytes = position.bytes.clone();
            let commit: Commit = Box::pin(held.lease.commit_with(position));
            (events, held.len, bytes, commit)
        })
        .collect();
    let mut begun = Vec::with_capacity(commits.len());
    for (_, _, _, commit) in &mut commits {
        begun.push(futures_util::poll!(commit.as_mut()));
    }
    let mut failed = None;
    for ((events, len, bytes, commit), begun) in commits.into_iter().zip(begun) {
        let done = match begun {
            Poll::Ready(done) => done,
            Poll::Pending => commit.await,
        };
        match done {
            Ok(()) => {
                ctx.counters.delivered.add(events);
                open.committed = len;
                *committed = Some(bytes);
                if failed.is_some() {
                    error!(path = %open.path.display(), "a commit before this one has failed: its events will be doubled");
                }
            }
            Err(why) => failed = failed.or(Some(why)),
        }
    }
    failed
}

#[cfg(test)]
mod tests;
