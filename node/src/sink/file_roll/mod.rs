//! `file_roll`: writes events into files of a directory, a new one every interval, Flume's RollingFileSink.
//!
//! Promise: at least once. A transaction is serialised into one buffer, written with one call and then committed;
//! it is not synced to disk, as in Flume. A file never loses what it has: names that exist are passed over (Flume
//! truncates them).
//!
//! | failure | what happens |
//! |---|---|
//! | directory missing, file cannot be opened | nothing is taken; the sink is tried again later |
//! | write fails in the middle | the file is cut back to where the transaction began and closed; the events come again, into the next file, not doubled |
//! | commit refused because the channel was restarted | the file is cut back too, as the events come again |
//! | commit fails otherwise | what is written stays; the events may come again |
//! | the process dies, or the turn is dropped, between write and commit | the events come again, doubled |
//!
//! Other differences: a file is opened for the first events, not before, so that an idle sink leaves no empty
//! files; a file closes on time, or up to a second late when idle, and only if something is in it; `batchSize` 0
//! is refused (Flume spins); an unknown serializer is refused at the start (Flume fails every delivery).
//!
//! Syncing and keeping the file's length with the commit (so that the last row of the table cuts back as well)
//! have their places in `Output` and in `deliver`. Source: `flume/channels-and-sinks.md` 6.3.

mod names;

pub use self::names::Naming;

use self::names::Names;
use crate::component::channel::{ChannelError, Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::{BuildContext, Type};
use crate::component::serializer::Serializer;
use crate::component::sink::{DynSink, Sink, SinkContext};
use cluster::time::Time;
use proto::event::Batch;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
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

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `sink.directory`: required; must exist when events come.
    pub directory: PathBuf,
    /// `sink.rollInterval`: seconds until a file is closed; default 30; 0 or less is never.
    pub roll_interval: Option<Duration>,
    /// `sink.batchSize`: events in one transaction; default 100.
    pub batch_size_events: usize,
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
            create: create_file,
        })
    }
}

/// Finds and builds the serializer; what is wrong with it is noted at the property too.
fn serializer(keys: &mut Keys, name: &str, ctx: &BuildContext) -> Result<Box<dyn Serializer>, BuildError> {
    let mut part = keys.below("sink.serializer.");
    let built = match ctx.types.serializers.find(name) {
        Some(found) => found.build(&mut part, ctx).map_err(|e| e.0),
        None => Err("unknown (expected TEXT or HEADER_AND_TEXT)".to_owned()),
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
    /// Makes a file that must not exist; tests put in files that fail.
    create: fn(&Path) -> io::Result<Box<dyn Output>>,
}

struct Open {
    output: Box<dyn Output>,
    path: PathBuf,
    since: Time,
    /// Bytes of the transactions so far.
    len: u64,
}

/// What is asked of an open file.
trait Output: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn cut(&mut self, len: u64) -> io::Result<()>;
}

impl Output for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.flush()
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// Opened for appending, so that what follows a cut stands at the cut.
fn create_file(path: &Path) -> io::Result<Box<dyn Output>> {
    let file = OpenOptions::new().append(true).create_new(true).open(path)?;
    Ok(Box::new(file))
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

    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        self.roll(ctx);
        let events = lease.batch().len() as u64;
        ctx.counters.attempted.add(events);
        let before = self.deliver(lease.batch(), ctx)?;
        match lease.commit().await {
            Ok(()) => {
                ctx.counters.delivered.add(events);
                Ok(())
            }
            Err(error) => {
                if error == ChannelError::Fenced {
                    self.take_back(before, ctx);
                }
                Err(error.into())
            }
        }
    }

    async fn idle(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        self.roll(ctx);
        Ok(())
    }

    async fn stop(&mut self, ctx: &SinkContext) {
        self.close(ctx);
    }
}

impl FileRoll {
    /// Closes the file when its time is over.
    fn roll(&mut self, ctx: &SinkContext) {
        let (Some(open), Some(interval)) = (&self.open, self.config.roll_interval) else {
            return;
        };
        if ctx.clock.now() - open.since >= interval {
            self.close(ctx);
        }
    }

    /// Writes a transaction and returns how long the file was before.
    fn deliver(&mut self, batch: &Batch, ctx: &SinkContext) -> Result<u64, RunError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.open_next(ctx)?,
        };
        let before = open.len;
        self.buffer.clear();
        if before == 0 {
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
        self.open = Some(open);
        if let Err(why) = failed {
            self.take_back(before, ctx);
            return Err(why);
        }
        Ok(before)
    }

    /// Cuts the file back to `len` and leaves it; a file in which nothing is left goes.
    fn take_back(&mut self, len: u64, ctx: &SinkContext) {
        let Some(mut open) = self.open.take() else { return };
        let cut = open.output.cut(len);
        drop(open.output);
        ctx.counters.connections_closed.add(1);
        let gone = if len == 0 && cut.is_ok() {
            std::fs::remove_file(&open.path)
        } else {
            Ok(())
        };
        if let Err(why) = cut.and(gone) {
            error!(path = %open.path.display(), error = %why, "file cannot be cut back: its last events will be doubled");
        }
    }

    fn open_next(&mut self, ctx: &SinkContext) -> Result<Open, RunError> {
        loop {
            let name = self.names.next(&self.config, ctx.clock.unix_ms());
            let path = self.config.directory.join(name);
            match (self.create)(&path) {
                Ok(output) => {
                    ctx.counters.connections_created.add(1);
                    debug!(path = %path.display(), "file opened");
                    let since = ctx.clock.now();
                    return Ok(Open {
                        output,
                        path,
                        since,
                        len: 0,
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
        if let Err(why) = open.output.append(&self.buffer) {
            warn!(path = %open.path.display(), error = %why, "end of file could not be written; its events are there");
        }
        ctx.counters.connections_closed.add(1);
        debug!(path = %open.path.display(), bytes = open.len, "file closed");
    }
}

#[cfg(test)]
mod tests {
    use super::names::local_seconds;
    use super::*;
    use crate::component::channel::ChannelHandle;
    use crate::component::contract::{self, ManualClock, TempDir, memory_channel, put, sink as suite};
    use crate::component::registry::Types;
    use std::sync::Arc;

    const MILLIS: u64 = 1_700_000_000_000;

    struct Directory {
        directory: TempDir,
        pairs: Vec<(&'static str, &'static str)>,
        clock: Arc<ManualClock>,
    }

    impl Directory {
        fn new(pairs: &[(&'static str, &'static str)]) -> Self {
            Self {
                directory: TempDir::new(),
                pairs: pairs.to_vec(),
                clock: ManualClock::at(MILLIS),
            }
        }

        fn keys(&self) -> Keys {
            let mut pairs = vec![("sink.directory", self.directory.path().to_str().unwrap())];
            pairs.extend(&self.pairs);
            Keys::of("sink k1 (file_roll)", &pairs)
        }

        fn try_build(&self) -> (Result<Box<dyn DynSink>, String>, Vec<String>) {
            let mut types = Types::default();
            types.serializers.list(crate::serializer::ALL);
            let ctx = contract::build_context("k1", self.clock.clone(), types);
            let mut keys = self.keys();
            let built = (TYPE.build)(&mut keys, &ctx).map_err(|e| e.to_string());
            (built, keys.finish().iter().map(|f| f.to_string()).collect())
        }

        /// With files that [`create_failing`] makes.
        fn build_failing(&self) -> Box<dyn DynSink> {
            let text = crate::serializer::text::Config::default().build().unwrap();
            let config = Config::read(&mut self.keys());
            let mut sink = config.build(Box::new(text), MILLIS).unwrap();
            sink.create = create_failing;
            Box::new(sink)
        }

        fn ctx(&self) -> SinkContext {
            let mut common = contract::common("k1");
            common.clock = self.clock.clone();
            SinkContext::new(common, Default::default(), "sink/k1".into(), None)
        }

        /// Names and contents, in order of names.
        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = std::fs::read_dir(self.directory.path())
                .unwrap()
                .map(|entry| {
                    let path = entry.unwrap().path();
                    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                    (name, std::fs::read_to_string(&path).unwrap())
                })
                .collect();
            // 9 before 10.
            files.sort_by_key(|(name, _)| (name.len(), name.clone()));
            files
        }
    }

    impl suite::Fixture for Directory {
        fn build(&self) -> Box<dyn DynSink> {
            let (built, findings) = self.try_build();
            assert!(findings.is_empty(), "{findings:?}");
            built.unwrap()
        }

        fn delivered(&self) -> Option<Vec<String>> {
            let text: String = self.files().into_iter().map(|(_, text)| text).collect();
            Some(text.lines().map(str::to_owned).collect())
        }
    }

    suite::suite!(|| Directory::new(&[]));

    /// A file that takes 5 bytes of a transaction and then fails, if that has a `!` in it.
    struct Failing(Box<dyn Output>);

    impl Output for Failing {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            if bytes.contains(&b'!') {
                self.0.append(&bytes[..5])?;
                return Err(ErrorKind::StorageFull.into());
            }
            self.0.append(bytes)
        }

        fn cut(&mut self, len: u64) -> io::Result<()> {
            self.0.cut(len)
        }
    }

    fn create_failing(path: &Path) -> io::Result<Box<dyn Output>> {
        Ok(Box::new(Failing(create_file(path)?)))
    }

    async fn deliver(
        sink: &mut Box<dyn DynSink>,
        channel: &ChannelHandle,
        ctx: &SinkContext,
        events: &[&str],
    ) -> Result<(), RunError> {
        put(channel, events.iter().map(|e| e.as_bytes()).collect()).await;
        let lease = channel.take(sink.want(), Duration::ZERO).await.unwrap();
        sink.process(lease.unwrap(), ctx).await
    }

    /// One transaction with these properties; the only file.
    async fn check(pairs: &[(&'static str, &'static str)], name: &str, content: &str) {
        let directory = Directory::new(pairs);
        let (channel, ctx) = (memory_channel(10), directory.ctx());
        let mut sink = suite::Fixture::build(&directory);
        deliver(&mut sink, &channel, &ctx, &["e1", "e2"]).await.unwrap();
        sink.stop(&ctx).await;
        assert_eq!(directory.files(), [(name.to_owned(), content.to_owned())]);
    }

    #[tokio::test]
    async fn names_and_contents_are_those_of_flume() {
        check(&[], "1700000000000-1", "e1\ne2\n").await;
        check(
            &[
                ("sink.pathManager.prefix", "p_"),
                ("sink.pathManager.extension", "log"),
            ],
            "p_1700000000000-1.log",
            "e1\ne2\n",
        )
        .await;
        check(
            &[("sink.serializer", "HEADER_AND_TEXT")],
            "1700000000000-1",
            "{} e1\n{} e2\n",
        )
        .await;
        check(
            &[
                (
                    "sink.serializer",
                    "org.apache.flume.serialization.BodyTextEventSerializer$Builder",
                ),
                ("sink.serializer.appendNewline", "false"),
            ],
            "1700000000000-1",
            "e1e2",
        )
        .await;
        let local = local_seconds(MILLIS, jiff::tz::TimeZone::system());
        let name = format!("p_{local}-1.log");
        check(
            &[
                ("sink.pathManager", "rolltime"),
                ("sink.pathManager.prefix", "p_"),
                ("sink.pathManager.extension", "log"),
            ],
            &name,
            "e1\ne2\n",
        )
        .await;
    }

    #[tokio::test]
    async fn a_file_closes_when_its_time_is_over_and_an_idle_sink_leaves_no_files() {
        let directory = Directory::new(&[("sink.rollInterval", "5")]);
        let (channel, ctx) = (memory_channel(10), directory.ctx());
        let mut sink = suite::Fixture::build(&directory);
        for (event, seconds) in [("a", 2), ("b", 3), ("c", 0)] {
            deliver(&mut sink, &channel, &ctx, &[event]).await.unwrap();
            directory.clock.advance(Duration::from_secs(seconds));
        }
        for _ in 0..3 {
            directory.clock.advance(Duration::from_secs(60));
            sink.idle(&ctx).await.unwrap();
        }
        let counts = |c: &SinkContext| {
            (
                c.counters.connections_created.value(),
                c.counters.connections_closed.value(),
            )
        };
        assert_eq!(counts(&ctx), (2, 2));
        let contents: Vec<String> = directory.files().into_iter().map(|(_, text)| text).collect();
        assert_eq!(contents, ["a\nb\n", "c\n"]);
    }

    #[test]
    fn without_an_interval_a_file_never_closes() {
        for never in ["0", "-1"] {
            let mut keys = Keys::of("k", &[("sink.directory", "/"), ("sink.rollInterval", never)]);
            assert_eq!(Config::read(&mut keys).roll_interval, None);
        }
    }

    #[tokio::test]
    async fn a_file_that_exists_keeps_what_it_has() {
        let directory = Directory::new(&[]);
        for _ in 0..3 {
            let (channel, ctx) = (memory_channel(10), directory.ctx());
            let mut sink = suite::Fixture::build(&directory);
            deliver(&mut sink, &channel, &ctx, &["x"]).await.unwrap();
            sink.stop(&ctx).await;
        }
        let names: Vec<String> = directory.files().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["1700000000000-1", "1700000000000-2", "1700000000000-3"]);
        assert_eq!(suite::Fixture::delivered(&directory).unwrap(), ["x", "x", "x"]);
    }

    #[tokio::test]
    async fn a_write_that_fails_in_the_middle_leaves_nothing_behind_and_the_events_queued() {
        let directory = Directory::new(&[]);
        let (channel, ctx) = (memory_channel(10), directory.ctx());
        let mut sink = directory.build_failing();
        deliver(&mut sink, &channel, &ctx, &["kept"]).await.unwrap();
        for _ in 0..2 {
            // The first time behind other events, the second time in a new file.
            let failed = deliver(&mut sink, &channel, &ctx, &["half of it!"])
                .await
                .unwrap_err();
            assert!(failed.to_string().contains("failed to write file"), "{failed}");
        }
        assert_eq!(channel.channel().queued(), 2);
        assert_eq!(
            directory.files(),
            [("1700000000000-1".to_owned(), "kept\n".to_owned())]
        );
        let mut healed = suite::Fixture::build(&directory);
        suite::drain(&mut healed, &channel, &ctx).await;
        assert_eq!(
            suite::Fixture::delivered(&directory).unwrap(),
            ["kept", "half of it!", "half of it!"]
        );
    }

    #[tokio::test]
    async fn events_of_a_refused_commit_are_not_doubled() {
        let directory = Directory::new(&[]);
        let (channel, ctx) = (memory_channel(10), directory.ctx());
        let mut sink = suite::Fixture::build(&directory);
        deliver(&mut sink, &channel, &ctx, &["a"]).await.unwrap();
        put(&channel, [&b"b"[..]].into_iter().collect()).await;
        let lease = channel.take(sink.want(), Duration::ZERO).await.unwrap().unwrap();
        channel.channel().attach();
        sink.process(lease, &ctx).await.unwrap_err();
        suite::drain(&mut sink, &channel, &ctx).await;
        assert_eq!(suite::Fixture::delivered(&directory).unwrap(), ["a", "b"]);
    }

    #[tokio::test]
    async fn a_missing_directory_is_named_and_waited_for() {
        let directory = Directory::new(&[]);
        let path = directory.directory.path();
        let (channel, ctx) = (memory_channel(10), directory.ctx());
        let mut sink = suite::Fixture::build(&directory);
        std::fs::remove_dir(path).unwrap();
        let failed = deliver(&mut sink, &channel, &ctx, &["a"]).await.unwrap_err();
        let expected = format!("(sink.directory {} is not there)", path.display());
        assert!(failed.to_string().contains(&expected), "{failed}");
        assert_eq!(ctx.counters.connections_failed.value(), 1);
        std::fs::create_dir(path).unwrap();
        suite::drain(&mut sink, &channel, &ctx).await;
        assert_eq!(
            directory.files(),
            [("1700000000000-1".to_owned(), "a\n".to_owned())]
        );
    }

    #[test]
    fn serializers_and_path_managers_that_are_not_there_are_refused() {
        for (pair, expected) in [
            (
                ("sink.serializer", "nosuch"),
                "unknown (expected TEXT or HEADER_AND_TEXT)",
            ),
            (("sink.serializer", "avro_event"), "known, not in this version"),
            (
                ("sink.pathManager", "daily"),
                "expected DEFAULT or ROLLTIME, found \"daily\"",
            ),
            (("sink.batchSize", "0"), "expected 1 to"),
        ] {
            let (_, findings) = Directory::new(&[pair]).try_build();
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].contains(expected), "{findings:?}");
        }
    }
}
