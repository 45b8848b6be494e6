//! Spool directories: what is read, in which order, what becomes of it, and what is fatal.

use super::*;
use crate::component::contract::source::{self as contract, BODIES, Running};
use crate::component::contract::{self as world, Log, Recorder, TempDir, soon};
use crate::component::error::Kind;
use crate::component::registry::Types;
use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

/// A directory with files in it, and sources over it.
pub(super) struct Spool(Arc<TempDir>);

impl Spool {
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let spool = Self(Arc::new(TempDir::new()));
        for (name, content) in files {
            spool.write(name, content.as_bytes());
        }
        spool
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn keys(&self, pairs: &[(&str, &str)]) -> Keys {
        let directory = self.0.path().to_str().unwrap();
        let all: Vec<(&str, &str)> = [("spoolDir", directory), ("pollDelay", "10")]
            .into_iter()
            .chain(pairs.iter().copied())
            .collect();
        Keys::of("source r1 (spooldir)", &all)
    }

    pub(super) fn config(&self, pairs: &[(&str, &str)]) -> Config {
        Config::read(&mut self.keys(pairs))
    }

    fn try_source(&self, pairs: &[(&str, &str)]) -> (Option<Box<dyn DynSource>>, Vec<String>) {
        let mut types = Types::default();
        types.deserializers.list(crate::deserializer::ALL);
        let ctx = world::build_context("r1", world::ManualClock::at(0), types);
        let mut keys = self.keys(pairs);
        let built = (TYPE.build)(&mut keys, &ctx).ok();
        (built, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn source(&self, pairs: &[(&str, &str)]) -> Box<dyn DynSource> {
        let (source, findings) = self.try_source(pairs);
        assert!(findings.is_empty(), "{findings:?}");
        source.unwrap()
    }

    /// Runs a source until so many more events have come and these files are there.
    async fn run(&self, pairs: &[(&str, &str)], recorder: &Arc<Recorder>, events: usize, there: &[&str]) {
        let expected = recorder.seen().events + events;
        let running = Running::start(self.source(pairs), recorder.clone());
        recorder.until(|seen| seen.events >= expected).await;
        for name in there {
            until(|| self.at(name).exists()).await;
        }
        running.stop().await.unwrap();
        assert_eq!(recorder.seen().events, expected);
    }

    /// Runs a source until it gives up.
    async fn fails(&self, pairs: &[(&str, &str)], recorder: &Arc<Recorder>) -> RunError {
        soon(self.source(pairs).run(recorder.context()))
            .await
            .unwrap_err()
    }

    /// Names of all files but the tracker's, in order.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.0.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if !path.ends_with(".flumespool-main.meta") {
                    names.push(
                        path.strip_prefix(self.0.path())
                            .unwrap()
                            .to_str()
                            .unwrap()
                            .to_owned(),
                    );
                }
            }
        }
        names.sort();
        names
    }
}

/// Makes a file older.
pub(super) fn age(path: &Path, seconds: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 - seconds);
    file.set_modified(time).unwrap();
}

async fn until(mut this: impl FnMut() -> bool) {
    soon(async {
        while !this() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn numbers() -> String {
    (0..BODIES).map(|n| format!("{n}\n")).collect()
}

/// What the sources of the suite read; they go when all tests have ended.
fn suite_source() -> Box<dyn DynSource> {
    let spool = Spool::new(&[]);
    let text = numbers();
    let (first, second) = text.split_at(text.find("10\n").unwrap());
    spool.write("a", first.as_bytes());
    spool.write("b", second.as_bytes());
    age(&spool.at("a"), 10);
    let source = spool.source(&[("batchSize", "4")]);
    Box::new(Keeping(source, spool.0))
}

/// A source whose directory lives as long as it does.
struct Keeping(Box<dyn DynSource>, Arc<TempDir>);

impl DynSource for Keeping {
    fn blocking(&self) -> bool {
        self.0.blocking()
    }
    fn batch_size(&self) -> Option<usize> {
        self.0.batch_size()
    }
    fn run(
        self: Box<Self>,
        ctx: SourceContext,
    ) -> crate::component::BoxFuture<'static, Result<(), RunError>> {
        let Keeping(source, directory) = *self;
        Box::pin(async move {
            let _while_it_runs = directory;
            source.run(ctx).await
        })
    }
}

contract::suite!(|| suite_source());

#[tokio::test]
async fn lines_of_a_file_come_with_their_headers_and_the_file_is_renamed() {
    let spool = Spool::new(&[("a.log", "l1\nl2\r\n\nlast")]);
    let recorder = Recorder::new();
    let pairs = [("fileHeader", "true"), ("basenameHeader", "TRUE")];
    spool.run(&pairs, &recorder, 4, &["a.log.COMPLETED"]).await;
    assert_eq!(recorder.bodies(), ["l1", "l2\r", "", "last"]);
    let absolute = spool.at("a.log");
    for event in recorder.committed()[0].iter() {
        let headers: Vec<(&str, &str)> = event.headers().collect();
        assert_eq!(
            headers,
            [("file", absolute.to_str().unwrap()), ("basename", "a.log")]
        );
    }
    assert_eq!(spool.names(), ["a.log.COMPLETED"]);
    assert!(!spool.at(".flumespool/.flumespool-main.meta").exists());
}

#[tokio::test]
async fn headers_and_suffix_have_the_names_that_are_set() {
    let spool = Spool::new(&[("a", "x\n")]);
    let recorder = Recorder::new();
    let pairs = [
        ("fileHeader", "true"),
        ("fileHeaderKey", "f"),
        ("basenameHeader", "true"),
        ("basenameHeaderKey", "b"),
        ("fileSuffix", ".done"),
    ];
    spool.run(&pairs, &recorder, 1, &["a.done"]).await;
    let batch = &recorder.committed()[0];
    assert_eq!(batch.get(0).unwrap().header("b"), Some("a"));
    assert_eq!(batch.get(0).unwrap().header("f"), spool.at("a").to_str());
}

#[tokio::test]
async fn an_empty_file_is_one_empty_event_and_only_once() {
    let spool = Spool::new(&[("a", "")]);
    let recorder = Recorder::new();
    spool
        .run(&[("basenameHeader", "true")], &recorder, 1, &["a.COMPLETED"])
        .await;
    assert_eq!(recorder.bodies(), [""]);
    assert_eq!(
        recorder.committed()[0].get(0).unwrap().header("basename"),
        Some("a")
    );
    // As if it had been killed before the name was changed.
    fs::rename(spool.at("a.COMPLETED"), spool.at("a")).unwrap();
    spool.run(&[], &recorder, 0, &["a.COMPLETED"]).await;
}

#[tokio::test]
async fn directories_below_are_searched_if_that_is_wanted() {
    let spool = Spool::new(&[("sub/s.log", "s\n")]);
    let recorder = Recorder::new();
    let pairs = [("recursiveDirectorySearch", "true")];
    spool.run(&pairs, &recorder, 1, &["sub/s.log.COMPLETED"]).await;
    assert_eq!(recorder.bodies(), ["s"]);
}

#[tokio::test]
async fn files_come_in_the_order_that_is_asked_for_and_no_batch_spans_two() {
    for (order, expected) in [("oldest", "zab"), ("Youngest", "abz")] {
        let spool = Spool::new(&[("b", "b1\nb2\n"), ("a", "a1\na2\n"), ("z", "z1\nz2\n")]);
        for (name, seconds) in [("a", 5), ("b", 5), ("z", 9)] {
            age(&spool.at(name), seconds);
        }
        let recorder = Recorder::new();
        let last = format!("{}.COMPLETED", &expected[2..]);
        spool
            .run(&[("consumeOrder", order)], &recorder, 6, &[&last])
            .await;
        let batches: Vec<Vec<String>> = expected
            .chars()
            .map(|c| vec![format!("{c}1"), format!("{c}2")])
            .collect();
        assert_eq!(recorder.batches(), batches);
    }
    let spool = Spool::new(&[("b", "b\n"), ("a", "a\n"), ("c", "")]);
    let recorder = Recorder::new();
    spool
        .run(
            &[("consumeOrder", "random")],
            &recorder,
            3,
            &["a.COMPLETED", "b.COMPLETED", "c.COMPLETED"],
        )
        .await;
    let mut all = recorder.bodies();
    all.sort();
    assert_eq!(all, ["", "a", "b"]);
}

#[tokio::test]
async fn a_file_is_deleted_if_that_is_the_policy() {
    let spool = Spool::new(&[("a", "x\n")]);
    let recorder = Recorder::new();
    let running = Running::start(spool.source(&[("deletePolicy", "IMMEDIATE")]), recorder.clone());
    until(|| spool.names().is_empty()).await;
    running.stop().await.unwrap();
    assert_eq!(recorder.bodies(), ["x"]);
}

#[tokio::test]
async fn a_marker_in_the_tracker_directory_keeps_a_file_from_being_read_again() {
    let spool = Spool::new(&[("f1", "x\n"), ("sub/f2", "y\n")]);
    let pairs = [
        ("trackingPolicy", "tracker_dir"),
        ("recursiveDirectorySearch", "true"),
    ];
    let recorder = Recorder::new();
    let markers = [".flumespool/f1.COMPLETED", ".flumespool/sub/f2.COMPLETED"];
    spool.run(&pairs, &recorder, 2, &markers).await;
    assert_eq!(spool.names(), [markers[0], markers[1], "f1", "sub/f2"]);
    assert_eq!(fs::metadata(spool.at(markers[0])).unwrap().len(), 0);
    assert!(
        spool.at(".flumespool/.flumespool-main.meta").exists(),
        "left in place, as in Flume"
    );
    for forget in [false, true] {
        if forget {
            recorder.forget_position();
        }
        spool.write(if forget { "g" } else { "f" }, b"new\n");
        spool.run(&pairs, &recorder, 1, &[]).await;
    }
    assert_eq!(recorder.bodies()[2..], ["new", "new"]);
}

#[tokio::test]
async fn a_name_that_is_used_again_is_fatal_after_its_lines() {
    let spool = Spool::new(&[("a.log.COMPLETED", "old\n"), ("a.log", "new\n"), ("z.log", "z\n")]);
    age(&spool.at("a.log"), 9);
    let (recorder, log) = (Recorder::new(), Log::capture());
    let error = spool.fails(&[], &recorder).await;
    assert_eq!(error.kind(), Kind::Reconfigure);
    assert!(
        error
            .to_string()
            .contains("File name has been re-used with different files"),
        "{error}"
    );
    assert!(
        log.text().contains("FATAL: Spool Directory source r1"),
        "{}",
        log.text()
    );
    assert_eq!(recorder.bodies(), ["new"]);
    assert_eq!(spool.names(), ["a.log", "a.log.COMPLETED", "z.log"]);
    // The operator has mended it.
    fs::rename(
        spool.at("a.log.COMPLETED"),
        spool.at("a.log.COMPLETED.1.COMPLETED"),
    )
    .unwrap();
    spool
        .run(&[], &recorder, 1, &["a.log.COMPLETED", "z.log.COMPLETED"])
        .await;
    assert_eq!(recorder.bodies(), ["new", "z"]);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_read_is_read_to_its_end_and_then_fatal() {
    let spool = Spool::new(&[("a", "1\n2\n")]);
    age(&spool.at("a"), 9);
    let recorder = Recorder::new();
    recorder.refuse(u64::MAX);
    let source = spool.source(&[("batchSize", "1"), ("maxBackoff", "1")]);
    let task = tokio::spawn(source.run(recorder.context()));
    recorder.until(|seen| seen.refused > 0).await;
    spool.write("a", b"1\n2\n3\n");
    recorder.refuse(0);
    let error = soon(task).await.unwrap().unwrap_err();
    assert!(
        error
            .to_string()
            .contains("File has been modified since being read"),
        "{error}"
    );
    assert_eq!(recorder.bodies(), ["1", "2", "3"]);
    assert_eq!(spool.names(), ["a"]);
}

#[tokio::test]
async fn a_file_that_vanishes_while_it_is_read_is_fatal_unless_it_was_to_go() {
    for (policy, fatal) in [("never", true), ("immediate", false)] {
        let spool = Spool::new(&[("a", "1\n2\n")]);
        let recorder = Recorder::new();
        recorder.refuse(u64::MAX);
        let source = spool.source(&[("deletePolicy", policy), ("maxBackoff", "1")]);
        let running = Running::start(source, recorder.clone());
        recorder.until(|seen| seen.refused > 0).await;
        fs::remove_file(spool.at("a")).unwrap();
        recorder.refuse(0);
        recorder.until(|seen| seen.events == 2).await;
        spool.write("b", b"3\n");
        if !fatal {
            recorder.until(|seen| seen.events == 3).await;
        }
        let ended = running.stop().await;
        assert_eq!(ended.is_err(), fatal, "{ended:?}");
    }
}

#[tokio::test]
async fn bytes_that_cannot_be_read_are_fatal_replaced_or_left_out() {
    let text = b"ok\nb\xffd\nafter\n";
    let spool = Spool::new(&[]);
    spool.write("a", text);
    let recorder = Recorder::new();
    let ctx = recorder.context();
    let error = soon(spool.source(&[]).run(ctx.clone())).await.unwrap_err();
    assert!(
        error.to_string().contains("a: byte 4: malformed input"),
        "{error}"
    );
    assert_eq!(error.kind(), Kind::Reconfigure);
    assert_eq!(ctx.counters.read_failures.value(), 1);
    assert_eq!(
        recorder.bodies(),
        [""; 0],
        "not even the line before, as in Flume"
    );
    assert_eq!(spool.names(), ["a"]);
    for (word, expected) in [("REPLACE", "b\u{fffd}d"), ("Ignore", "bd")] {
        let spool = Spool::new(&[]);
        spool.write("a", text);
        let recorder = Recorder::new();
        let pairs = [("decodeErrorPolicy", word)];
        spool.run(&pairs, &recorder, 3, &["a.COMPLETED"]).await;
        assert_eq!(recorder.bodies(), ["ok", expected, "after"]);
    }
}

#[tokio::test]
async fn lines_are_cut_where_the_deserializer_or_the_old_spelling_says_so() {
    let spool = Spool::new(&[("a", "abcdefghijk\nabcde\n")]);
    let recorder = Recorder::new();
    let pairs = [
        (
            "deserializer",
            "org.apache.flume.serialization.LineDeserializer$Builder",
        ),
        ("deserializer.maxLineLength", "5"),
    ];
    spool.run(&pairs, &recorder, 4, &["a.COMPLETED"]).await;
    assert_eq!(recorder.bodies(), ["abcde", "fghij", "k", "abcde"]);
    let spool = Spool::new(&[("a", "abcdef\n")]);
    let pairs = [("bufferMaxLineLength", "3"), ("deserializer.maxLineLength", "5")];
    let (source, findings) = spool.try_source(&pairs);
    assert!(
        findings.len() == 1 && findings[0].contains("warning[deprecated]"),
        "{findings:?}"
    );
    let (recorder, source) = (Recorder::new(), source.unwrap());
    let running = Running::start(source, recorder.clone());
    recorder.until(|seen| seen.events == 2).await;
    running.stop().await.unwrap();
    assert_eq!(recorder.bodies(), ["abc", "def"]);
}

#[tokio::test]
async fn a_blob_is_a_whole_file() {
    let spool = Spool::new(&[("a", "1\n2\n")]);
    let recorder = Recorder::new();
    let class = "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";
    spool
        .run(&[("deserializer", class)], &recorder, 1, &["a.COMPLETED"])
        .await;
    assert_eq!(recorder.bodies(), ["1\n2\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_full_channel_is_asked_again_after_longer_and_longer_times() {
    let spool = Spool::new(&[("a", "1\n2\n3\n")]);
    let (recorder, log) = (Recorder::new(), Log::capture());
    recorder.refuse(6);
    let ctx = recorder.context();
    let task = tokio::spawn(spool.source(&[]).run(ctx.clone()));
    recorder.until(|seen| seen.events == 3).await;
    ctx.shutdown.request();
    task.await.unwrap().unwrap();
    let text = log.text();
    let waits: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_once("try again after ")?.1.split_once(" ms"))
        .map(|(wait, _)| wait)
        .collect();
    assert_eq!(waits, ["250", "500", "1000", "2000", "4000", "4000"]);
    assert_eq!(ctx.counters.channel_write_failures.value(), 6);
    assert_eq!(
        ctx.counters.received.value(),
        7 * 3,
        "every attempt counts, as in Flume"
    );
    assert_eq!(ctx.counters.accepted.value(), 3);
    assert_eq!(ctx.counters.batches_received.value(), 7);
    assert_eq!(ctx.counters.batches_accepted.value(), 1);
}

#[tokio::test]
async fn a_batch_that_no_channel_can_hold_is_put_in_smaller_ones_and_a_single_event_is_fatal() {
    let spool = Spool::new(&[("a", "12\n34\n56\n78\n9\nabcdefgh\nrest\n")]);
    let recorder = Recorder::new();
    recorder.limit(5);
    let error = spool.fails(&[], &recorder).await;
    assert!(
        error
            .to_string()
            .contains("a: byte 14: no channel can ever hold this event"),
        "{error}"
    );
    assert_eq!(recorder.bodies(), ["12", "34", "56", "78", "9"]);
    recorder.limit(0);
    spool.run(&[], &recorder, 2, &["a.COMPLETED"]).await;
    assert_eq!(recorder.bodies()[5..], ["abcdefgh", "rest"]);
}

/// Lets a source put one batch after the other, with an end to the source behind each: nothing may be missing or
/// doubled.
async fn interrupted_everywhere(forget: bool, killed: bool) {
    let text = numbers();
    let spool = Spool::new(&[("a", &text), ("b", "b1\nb2\n"), ("c", "")]);
    for (name, seconds) in [("a", 9), ("b", 8)] {
        age(&spool.at(name), seconds);
    }
    let recorder = Recorder::new();
    while recorder.seen().events < BODIES + 3 {
        recorder.accept(Some(1));
        let (events, refused) = (recorder.seen().events, recorder.seen().refused);
        let running = Running::start(spool.source(&[("batchSize", "3")]), recorder.clone());
        recorder
            .until(|seen| seen.events > events && (seen.refused > refused || seen.events == BODIES + 3))
            .await;
        if killed {
            running.abort().await;
        } else {
            running.stop().await.unwrap();
        }
        if forget {
            recorder.forget_position();
        }
    }
    recorder.accept(None);
    let done = ["a.COMPLETED", "b.COMPLETED", "c.COMPLETED"];
    spool.run(&[], &recorder, 0, &done).await;
    let expected: Vec<String> = text.lines().chain(["b1", "b2", ""]).map(str::to_owned).collect();
    assert_eq!(recorder.bodies(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_stopped_and_started_goes_on_by_its_position_or_its_tracker_file() {
    interrupted_everywhere(false, false).await;
    interrupted_everywhere(true, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_killed_goes_on_by_its_position() {
    interrupted_everywhere(false, true).await;
}

#[tokio::test]
async fn a_container_is_gone_on_with_inside_of_a_block_and_by_the_tracker_file_after_an_orderly_stop() {
    use proto::avro::container::{Codec, ContainerWriter};
    let mut writer = ContainerWriter::new("\"string\"", Codec::Snappy, *b"0123456789abcdef", 1);
    let mut container = Vec::new();
    writer.header(&[], &mut container);
    for (n, letter) in (b'a'..=b'p').enumerate() {
        writer.push(|block| block.extend_from_slice(&[2, letter]));
        if n % 7 == 6 {
            writer.end_block(&mut container);
        }
    }
    writer.end_block(&mut container);
    for forget in [false, true] {
        let spool = Spool::new(&[]);
        spool.write("a.avro", &container);
        let recorder = Recorder::new();
        let pairs = [("deserializer", "Avro"), ("batchSize", "3")];
        while recorder.seen().events < 16 {
            recorder.accept(Some(1));
            let (events, refused) = (recorder.seen().events, recorder.seen().refused);
            let running = Running::start(spool.source(&pairs), recorder.clone());
            recorder
                .until(|seen| seen.events > events && (seen.refused > refused || seen.events == 16))
                .await;
            running.stop().await.unwrap();
            if forget {
                recorder.forget_position();
            }
        }
        recorder.accept(None);
        spool.run(&pairs, &recorder, 0, &["a.avro.COMPLETED"]).await;
        let expected: Vec<String> = ('a'..='p').map(|c| format!("\u{2}{c}")).collect();
        assert_eq!(recorder.bodies(), expected, "{forget}");
    }
}

#[tokio::test]
async fn the_file_under_way_is_taken_up_first_whatever_came_in_between() {
    for forget in [false, true] {
        let spool = Spool::new(&[("b", "b1\nb2\n")]);
        let recorder = Recorder::new();
        recorder.accept(Some(1));
        let running = Running::start(spool.source(&[("batchSize", "1")]), recorder.clone());
        recorder.until(|seen| seen.refused > 0).await;
        running.stop().await.unwrap();
        recorder.accept(None);
        if forget {
            recorder.forget_position();
        }
        spool.write("old", b"old\n");
        age(&spool.at("old"), 99);
        spool.run(&[], &recorder, 2, &["old.COMPLETED"]).await;
        assert_eq!(recorder.bodies(), ["b1", "b2", "old"]);
    }
}

#[tokio::test]
async fn a_tracker_file_of_flume_is_gone_on_from_and_one_at_the_end_only_renames() {
    for (offset, expected) in [(3, &["l2"][..]), (6, &[])] {
        let spool = Spool::new(&[("a.log", "l1\nl2\n")]);
        flumes_tracker(&spool, "a.log", offset);
        let recorder = Recorder::new();
        spool
            .run(&[], &recorder, expected.len(), &["a.log.COMPLETED"])
            .await;
        assert_eq!(recorder.bodies(), expected);
    }
    // About another file it says nothing, and goes.
    let spool = Spool::new(&[("a.log", "l1\nl2\n")]);
    flumes_tracker(&spool, "b.log", 3);
    let recorder = Recorder::new();
    spool.run(&[], &recorder, 2, &["a.log.COMPLETED"]).await;
    assert!(!spool.at(".flumespool/.flumespool-main.meta").exists());
}

/// What Flume leaves, byte for byte but for the path and the offset.
fn flumes_tracker(spool: &Spool, name: &str, offset: i64) {
    use proto::avro::container::{Codec, ContainerWriter};
    use proto::avro::datum::put_long;
    let schema = r#"{"type":"record","name":"TransferStateFileMeta","namespace":"org.apache.flume.serialization","fields":[{"name":"offset","type":"long"}]}"#;
    let mut writer = ContainerWriter::new(schema, Codec::Null, *b"0123456789abcdef", 1);
    let mut file = Vec::new();
    writer.header(
        &[("file", spool.at(name).to_str().unwrap().as_bytes())],
        &mut file,
    );
    for offset in [0, offset] {
        writer.push(|block| put_long(block, offset));
        writer.end_block(&mut file);
    }
    spool.write(".flumespool/.flumespool-main.meta", &file);
}

#[tokio::test]
async fn a_missing_directory_is_waited_for() {
    let spool = Spool::new(&[]);
    let missing = spool.at("nosuch");
    let pairs = [("trackerDir", "deep/er")];
    let source = |directory: &str| {
        let mut keys = Keys::of("source r1 (spooldir)", &[("spoolDir", directory), pairs[0]]);
        let line = crate::deserializer::line::Config::default().build().unwrap();
        Box::new(Config::read(&mut keys).build(Box::new(line)).unwrap()) as Box<dyn DynSource>
    };
    let recorder = Recorder::new();
    let error = soon(source(missing.to_str().unwrap()).run(recorder.context()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("Directory does not exist"), "{error}");
    assert!(matches!(error.kind(), Kind::RetryAfter(_)));
    // A start that was killed in the middle of the check has left it.
    std::fs::write(spool.0.path().join(super::retire::CANARY), "").unwrap();
    let error = soon(source(spool.0.path().to_str().unwrap()).run(recorder.context()))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Unable to make the tracker directory"),
        "{error}"
    );
    assert_eq!(spool.names(), [""; 0], "the canary is gone");
}

#[tokio::test]
async fn directories_are_synced_when_a_channel_is_durable() {
    // Nothing more can be seen of it than that it does no harm, in either kind of directory.
    for pairs in [
        &[][..],
        &[("trackingPolicy", "tracker_dir")],
        &[("deletePolicy", "immediate")],
    ] {
        let spool = Spool::new(&[("a", "x\n"), ("b", "y\n")]);
        let recorder = Recorder::new();
        recorder.be_durable();
        spool.run(pairs, &recorder, 2, &[]).await;
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    let spool = Spool::new(&[]);
    let (source, findings) = spool.try_source(&[
        ("deletePolicy", "delay"),
        ("trackingPolicy", "x"),
        ("consumeOrder", "x"),
        ("decodeErrorPolicy", "x"),
        ("inputCharset", "x"),
        ("includePattern", "["),
        ("batchSize", "0"),
        ("maxBackoff", "0"),
        ("pollDelay", "x"),
        ("bufferMaxLines", "7"),
        ("fileHeadr", "true"),
        ("deserializer", "nosuch"),
    ]);
    assert!(source.is_none());
    let text = findings.join("\n");
    for expected in [
        "deletePolicy: expected never or immediate, found \"delay\"",
        "trackingPolicy: expected rename or tracker_dir, found \"x\"",
        "consumeOrder: expected oldest or youngest or random, found \"x\"",
        "decodeErrorPolicy: expected FAIL or REPLACE or IGNORE, found \"x\"",
        "inputCharset: expected a charset",
        "includePattern: expected a Java pattern, found \"[\"",
        "batchSize: expected 1 to",
        "maxBackoff: expected 1 to",
        "pollDelay: expected 1 to",
        "bufferMaxLines: has no effect",
        "fileHeadr: unknown, ignored; did you mean \"fileHeader\"?",
        "error[unknown-type]: source r1 (spooldir): deserializer: expected LINE, AVRO, BLOB or one of their classes, found \"nosuch\"",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert_eq!(findings.len(), 12, "{text}");
}
