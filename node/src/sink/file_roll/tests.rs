//! What is written, named, cut back and closed; with files that fail and channels that are durable.

use super::names::local_seconds;
use super::*;
use crate::component::channel::ChannelHandle;
use crate::component::contract::{
    self, ManualClock, TempDir, durable_channel, memory_channel, put, sink as suite,
};
use crate::component::fault::{Faults, Stage};
use crate::component::registry::Types;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const MILLIS: u64 = 1_700_000_000_000;

struct Directory {
    directory: TempDir,
    pairs: Vec<(&'static str, &'static str)>,
    clock: Arc<ManualClock>,
    durable: bool,
}

impl Directory {
    fn new(pairs: &[(&'static str, &'static str)]) -> Self {
        Self {
            directory: TempDir::new(),
            pairs: pairs.to_vec(),
            clock: ManualClock::at(MILLIS),
            durable: false,
        }
    }

    fn durable(pairs: &[(&'static str, &'static str)]) -> Self {
        Self {
            durable: true,
            ..Self::new(pairs)
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
    fn contents(&self) -> Vec<(String, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read(&path).unwrap())
            })
            .collect();
        // 9 before 10.
        files.sort_by_key(|(name, _)| (name.len(), name.clone()));
        files
    }

    fn files(&self) -> Vec<(String, String)> {
        let text = |(name, bytes)| (name, String::from_utf8(bytes).unwrap());
        self.contents().into_iter().map(text).collect()
    }

    fn serializer(&self) -> &str {
        let named = self.pairs.iter().find(|(key, _)| *key == "sink.serializer");
        named.map_or("TEXT", |(_, name)| name)
    }
}

impl suite::Fixture for Directory {
    fn build(&self) -> Box<dyn DynSink> {
        let (built, findings) = self.try_build();
        assert!(findings.is_empty(), "{findings:?}");
        built.unwrap()
    }

    fn channel(&self, capacity: usize) -> ChannelHandle {
        match self.durable {
            true => durable_channel(capacity, Faults::default()).1,
            false => memory_channel(capacity),
        }
    }

    fn delivered(&self) -> Option<Vec<String>> {
        let files = self.contents().into_iter();
        let files = files.filter(|(name, _)| !name.starts_with('.'));
        Some(match self.serializer() {
            "AVRO_EVENT" => files.flat_map(|(_, bytes)| events_of(&bytes)).collect(),
            _ => {
                let text: Vec<u8> = files.flat_map(|(_, bytes)| bytes).collect();
                let text = String::from_utf8(text).unwrap();
                text.lines()
                    .map(|line| line.trim_start_matches("{} ").to_owned())
                    .collect()
            }
        })
    }
}

/// Bodies of a container, which must be whole.
fn events_of(file: &[u8]) -> Vec<String> {
    use proto::avro::container::{ContainerReader, Objects};
    let (mut reader, mut buf) = (ContainerReader::default(), bytes::BytesMut::from(file));
    let mut bodies = Vec::new();
    while let Some(block) = reader.next_block(&mut buf).unwrap() {
        let mut objects = Objects::new(reader.header().unwrap(), block).unwrap();
        while let Some(range) = objects.next_object().unwrap() {
            let object = objects.block().data.slice(range);
            bodies.extend(contract::bodies(
                &proto::avro::decode_event(&object, Default::default()).unwrap(),
            ));
        }
    }
    reader.finish(&buf).unwrap();
    bodies
}

suite::suite!(|| Directory::new(&[]));

const AVRO: &[(&str, &str)] = &[
    ("sink.serializer", "AVRO_EVENT"),
    ("sink.serializer.compressionCodec", "deflate"),
];

mod with_a_durable_channel {
    use super::*;
    suite::suite!(|| Directory::durable(&[]));
}

mod as_avro_events {
    use super::*;
    suite::suite!(|| Directory::new(AVRO));
}

mod as_avro_events_with_a_durable_channel {
    use super::*;
    suite::suite!(|| Directory::durable(AVRO));
}

mod as_headers_and_text_always_synced {
    use super::*;
    suite::suite!(|| Directory::new(&[("sink.serializer", "HEADER_AND_TEXT"), ("sink.sync", "always")]));
}

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

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

fn create_failing(path: &Path) -> io::Result<Box<dyn Output>> {
    Ok(Box::new(Failing(output::create(path)?)))
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
            "unknown (expected TEXT, HEADER_AND_TEXT or AVRO_EVENT)",
        ),
        (
            (
                "sink.serializer",
                "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
            ),
            "known, not in this version (expected TEXT",
        ),
        (
            ("sink.sync", "x"),
            "expected channel, always or never, found \"x\"",
        ),
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

/// Counts syncs; the third one fails, if that is wanted.
struct Counting(Box<dyn Output>);

static SYNCS: AtomicUsize = AtomicUsize::new(0);

impl Output for Counting {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.0.cut(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        match SYNCS.fetch_add(1, SeqCst) {
            2 => Err(ErrorKind::Other.into()),
            _ => self.0.sync(),
        }
    }
}

fn create_counting(path: &Path) -> io::Result<Box<dyn Output>> {
    Ok(Box::new(Counting(output::create(path)?)))
}

/// What is queued, in turns.
async fn turns(
    sink: &mut Box<dyn DynSink>,
    channel: &ChannelHandle,
    ctx: &SinkContext,
) -> Result<(), RunError> {
    while let Some(lease) = channel.take(sink.want(), Duration::ZERO).await.unwrap() {
        sink.process(lease, ctx).await?;
    }
    Ok(())
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

async fn fill(channel: &ChannelHandle, count: usize) {
    for text in texts(count) {
        put(channel, [text.as_bytes()].into_iter().collect()).await;
    }
}

#[tokio::test]
async fn leases_of_a_durable_channel_share_a_sync_which_may_fail_without_loss_or_doubling() {
    let directory = Directory::durable(&[("sink.batchSize", "10")]);
    let ((_, channel), ctx) = (durable_channel(1_000, Faults::default()), directory.ctx());
    let text = crate::serializer::text::Config::default().build().unwrap();
    let mut roll = Config::read(&mut directory.keys())
        .build(Box::new(text), MILLIS)
        .unwrap();
    roll.create = create_counting;
    let mut sink: Box<dyn DynSink> = Box::new(roll);
    fill(&channel, 25).await;
    for (held, syncs) in [(25, 0), (25, 0), (0, 1)] {
        let lease = channel.take(sink.want(), Duration::ZERO).await.unwrap().unwrap();
        sink.process(lease, &ctx).await.unwrap();
        assert_eq!((channel.channel().held(), SYNCS.load(SeqCst)), (held, syncs));
    }
    // Time is over although more is queued.
    fill(&channel, 30).await;
    for held in [30, 10] {
        let lease = channel.take(sink.want(), Duration::ZERO).await.unwrap().unwrap();
        sink.process(lease, &ctx).await.unwrap();
        assert_eq!(channel.channel().held(), held);
        directory.clock.advance(HELD_TIME_MAX);
    }
    // The third one fails: the last ten come again.
    let failed = turns(&mut sink, &channel, &ctx).await.unwrap_err();
    assert!(failed.to_string().contains("failed to sync file"), "{failed}");
    assert_eq!(channel.channel().queued(), 10);
    assert_eq!(ctx.counters.delivered.value(), 45);
    turns(&mut sink, &channel, &ctx).await.unwrap();
    sink.stop(&ctx).await;
    let expected = [texts(25), texts(30)].concat();
    assert_eq!(suite::Fixture::delivered(&directory).unwrap(), expected);
    assert_eq!(directory.files().len(), 2);
    assert_eq!(directory.files()[0].1.lines().count(), 45);
}

#[tokio::test]
async fn what_is_kept_is_committed_when_nothing_more_comes_after_all() {
    let directory = Directory::durable(&[]);
    let ((_, channel), ctx) = (durable_channel(10, Faults::default()), directory.ctx());
    let mut sink = suite::Fixture::build(&directory);
    put(&channel, [&b"a"[..]].into_iter().collect()).await;
    let lease = channel.take(sink.want(), Duration::ZERO).await.unwrap().unwrap();
    put(&channel, [&b"b"[..]].into_iter().collect()).await;
    sink.process(lease, &ctx).await.unwrap();
    // Another sink takes it.
    let other = channel.take(sink.want(), Duration::ZERO).await.unwrap().unwrap();
    assert_eq!(channel.channel().held(), 2);
    sink.idle(&ctx).await.unwrap();
    assert_eq!(channel.channel().held(), 1);
    drop(other);
}

/// Lives that each end with a panic at some commit; nothing may be missing or doubled after the last one.
async fn dies_at_every(period: usize, durable: bool, pairs: &'static [(&'static str, &'static str)]) {
    const EVENTS: usize = 60;
    let commits = Arc::new(AtomicUsize::new(0));
    let count = commits.clone();
    let faults = Faults::new(move |stage, _| {
        if stage == Stage::TakeCommit && count.fetch_add(1, SeqCst).is_multiple_of(period) {
            panic!("as if the process died");
        }
    });
    let mut pairs = pairs.to_vec();
    pairs.extend([("sink.batchSize", "3"), ("sink.rollInterval", "5")]);
    let mut directory = Directory::new(&pairs);
    directory.durable = durable;
    let channel = match durable {
        true => durable_channel(1_000, faults).1,
        false => {
            let memory = memory_channel(1_000);
            ChannelHandle::new("c1", memory.channel().clone(), Default::default(), faults)
        }
    };
    fill(&channel, EVENTS).await;
    let mut lives = 0;
    while channel.channel().held() > 0 {
        lives += 1;
        let mut ctx = directory.ctx();
        ctx.position = channel.position("sink/k1");
        let mut sink = suite::Fixture::build(&directory);
        let life = async {
            sink.start(&ctx).await.unwrap();
            while let Some(lease) = channel.take(sink.want(), Duration::ZERO).await.unwrap() {
                directory.clock.advance(Duration::from_secs(2));
                sink.process(lease, &ctx).await.unwrap();
            }
            sink.stop(&ctx).await;
        };
        let _ = AssertUnwindSafe(life).catch_unwind().await;
    }
    assert!(lives > 1);
    channel.channel().check().unwrap();
    assert_eq!(
        suite::Fixture::delivered(&directory).unwrap(),
        texts(EVENTS),
        "{period} {durable}"
    );
    let hidden = directory
        .contents()
        .into_iter()
        .filter(|(name, _)| name.starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

#[tokio::test]
async fn a_sink_that_dies_between_write_and_commit_neither_loses_nor_doubles() {
    for period in 2..9 {
        for durable in [false, true] {
            for pairs in [&[][..], AVRO] {
                dies_at_every(period, durable, pairs).await;
            }
        }
    }
}

#[tokio::test]
async fn a_commit_of_which_nobody_knows_is_asked_for() {
    for happens in [false, true] {
        let directory = Directory::durable(&[]);
        let ((trouble, channel), ctx) = (durable_channel(10, Faults::default()), directory.ctx());
        let mut sink = suite::Fixture::build(&directory);
        deliver(&mut sink, &channel, &ctx, &["a"]).await.unwrap();
        trouble.fail_commit(happens);
        deliver(&mut sink, &channel, &ctx, &["b"]).await.unwrap_err();
        // Its actor starts it anew.
        channel.channel().attach();
        deliver(&mut sink, &channel, &ctx, &["c"]).await.unwrap();
        sink.stop(&ctx).await;
        assert_eq!(
            suite::Fixture::delivered(&directory).unwrap(),
            ["a", "b", "c"],
            "{happens}"
        );
        assert_eq!(directory.files().len(), 2);
    }
}

#[tokio::test]
async fn what_a_predecessor_has_written_and_not_committed_is_cut_off_at_the_start() {
    let directory = Directory::durable(&[]);
    let ((_, channel), mut ctx) = (durable_channel(10, Faults::default()), directory.ctx());
    let mut sink = suite::Fixture::build(&directory);
    deliver(&mut sink, &channel, &ctx, &["a"]).await.unwrap();
    drop(sink);
    let path = directory.directory.path().join("1700000000000-1");
    std::fs::write(&path, "a\nnot committed").unwrap();
    ctx.position = channel.position("sink/k1");
    let mut sink = suite::Fixture::build(&directory);
    sink.start(&ctx).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\n");
    // Whoever takes files away takes nothing from it.
    std::fs::remove_file(&path).unwrap();
    let mut sink = suite::Fixture::build(&directory);
    sink.start(&ctx).await.unwrap();
    deliver(&mut sink, &channel, &ctx, &["b"]).await.unwrap();
    sink.stop(&ctx).await;
    assert_eq!(suite::Fixture::delivered(&directory).unwrap(), ["b"]);
}
