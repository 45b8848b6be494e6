//! The acceptance cases 38 to 48 of `flume/sources.md`, and what else the source promises, step by step in virtual time
//! over real files.
// tidy: long file, because each case of the reference stands beside its neighbours, over one bench.

use super::tail::Tail;
use super::{Config, start};
use crate::component::BoxFuture;
use crate::component::channel::ChannelError;
use crate::component::contract::source::{BODIES, Running};
use crate::component::contract::{Recorder, TempDir, common, soon, source as contract};
use crate::component::counters::SourceCounters;
use crate::component::error::RunError;
use crate::component::keys::{Keys, Severity};
use crate::component::source::{DynSource, Put, SourceContext};
use bytes::Bytes;
use proto::event::Batch;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A channel that keeps what is put with its position, and refuses when it is told to.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) events: Mutex<Vec<(String, String)>>,
    position: Mutex<Option<Bytes>>,
    pub(super) refusals_left: AtomicU64,
    /// 0 is no limit.
    pub(super) body_bytes_max: AtomicU64,
}

impl Channel {
    pub(super) fn bodies(&self) -> Vec<String> {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// `headers | body` of each event, as the reference writes it.
    fn shown(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .map(|(headers, body)| format!("{headers} | {body}"))
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// The process is gone, and a memory channel with it.
    pub(super) fn forget_position(&self) {
        *self.position.lock().unwrap() = None;
    }
}

impl Put for Channel {
    fn put(&self, batch: Batch, position: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
        Box::pin(async move {
            let refuse = |left: u64| left.checked_sub(1);
            if self.refusals_left.fetch_update(SeqCst, SeqCst, refuse).is_ok() {
                return Err(ChannelError::Full);
            }
            let (bytes, allowed) = (batch.body_bytes(), self.body_bytes_max.load(SeqCst) as usize);
            if allowed > 0 && bytes > allowed {
                return Err(ChannelError::NeverFits { bytes, allowed });
            }
            let shown = batch.iter().map(|event| {
                let mut headers: Vec<String> = event.headers().map(|(k, v)| format!("{k}={v}")).collect();
                headers.sort();
                let body = String::from_utf8_lossy(event.body()).into_owned();
                (headers.join(","), body)
            });
            self.events.lock().unwrap().extend(shown);
            if position.is_some() {
                *self.position.lock().unwrap() = position;
            }
            Ok(())
        })
    }

    fn position(&self) -> Option<Bytes> {
        self.position.lock().unwrap().clone()
    }

    fn transaction_capacity(&self) -> Option<usize> {
        None
    }
}

/// A folder `d` with files, a position file beside it, and a channel.
pub(super) struct World {
    dir: TempDir,
    pub(super) config: Config,
    pub(super) channel: Arc<Channel>,
    pub(super) ctx: SourceContext,
}

impl World {
    /// Follows `d/.*\.log` unless `pairs` say otherwise; in them `{d}` is the folder.
    pub(super) fn new(pairs: &[(&str, &str)]) -> Self {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join("d")).unwrap();
        let config = config(&dir, pairs);
        let channel = Arc::new(Channel::default());
        let ctx = SourceContext::new(
            common("r1"),
            SourceCounters::default(),
            channel.clone(),
            Arc::new(|| ()),
        );
        Self {
            dir,
            config,
            channel,
            ctx,
        }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("d").join(name)
    }

    pub(super) fn append(&self, name: &str, text: &str) {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(self.at(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    fn inode(&self, name: &str) -> u64 {
        fs::metadata(self.at(name)).unwrap().ino()
    }

    fn position_file(&self) -> String {
        fs::read_to_string(&self.config.position_file).unwrap()
    }

    fn write_position_file(&self, text: &str) {
        fs::create_dir_all(self.config.position_file.parent().unwrap()).unwrap();
        fs::write(&self.config.position_file, text).unwrap();
    }

    pub(super) async fn start(&self) -> Tail<'_> {
        start::start(&self.config, &self.ctx).await.unwrap()
    }

    /// Waits until the clock of the file system goes on: it stands still for milliseconds, in which tests do much.
    pub(super) fn tick(&self) {
        let probe = self.dir.path().join("probe");
        let born = || {
            File::create(&probe).unwrap();
            let born = fs::metadata(&probe).unwrap().created().ok();
            fs::remove_file(&probe).unwrap();
            born
        };
        let first = born();
        while first.is_some() && born() == first {
            std::thread::yield_now();
        }
    }

    /// Steps until nothing more comes.
    pub(super) async fn settle(&self, tail: &mut Tail<'_>) {
        loop {
            let before = self.channel.len();
            tail.list_again = true;
            while tail.step().await.unwrap() {}
            if self.channel.len() == before {
                return;
            }
        }
    }

    /// Lets time pass in pieces.
    pub(super) async fn pass(&self, tail: &mut Tail<'_>, time: Duration) {
        for _ in 0..8 {
            tokio::time::advance(time / 8).await;
            self.settle(tail).await;
        }
    }

    /// What is in the channel after a start and a while.
    async fn read_all(&self) -> Vec<String> {
        let mut tail = self.start().await;
        self.settle(&mut tail).await;
        tail.finish().await.unwrap();
        self.channel.bodies()
    }
}

fn config(dir: &TempDir, pairs: &[(&str, &str)]) -> Config {
    let d = dir.path().join("d").display().to_string();
    let mut all = vec![
        ("filegroups".to_owned(), "f1".to_owned()),
        ("filegroups.f1".to_owned(), format!("{d}/.*\\.log")),
        (
            "positionFile".to_owned(),
            dir.path().join("new/p.json").display().to_string(),
        ),
    ];
    all.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), v.replace("{d}", &d))));
    let all: Vec<(&str, &str)> = all.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut keys = Keys::of("source r1 (taildir)", &all);
    let config = Config::read(&mut keys);
    assert_eq!(keys.finish(), []);
    config
}

/// A source with the folder that it reads.
struct WithFolder(Box<dyn DynSource>, TempDir);

impl DynSource for WithFolder {
    fn blocking(&self) -> bool {
        self.0.blocking()
    }

    fn batch_size(&self) -> Option<usize> {
        self.0.batch_size()
    }

    fn run(self: Box<Self>, ctx: SourceContext) -> BoxFuture<'static, Result<(), RunError>> {
        Box::pin(async move {
            let _folder = self.1;
            self.0.run(ctx).await
        })
    }
}

fn source() -> Box<dyn DynSource> {
    let dir = TempDir::new();
    let d = dir.path().join("d");
    fs::create_dir(&d).unwrap();
    let lines: String = (0..BODIES).map(|n| format!("{n}\n")).collect();
    fs::write(d.join("a.log"), lines).unwrap();
    let source = config(&dir, &[("batchSize", "4")]).build().unwrap();
    Box::new(WithFolder(Box::new(source), dir))
}

contract::suite!(source);

#[tokio::test(start_paused = true)]
async fn cases_38_and_39_headers_offsets_position_file_and_a_line_in_two_pieces() {
    let world = World::new(&[
        ("headers.f1.hk", "hv"),
        ("fileHeader", "true"),
        ("byteOffsetHeader", "true"),
    ]);
    world.append("a.log", "a1\na2\r\npart");
    let path = world.at("a.log").display().to_string();
    let shown = |offset: u64, body: &str| format!("byteoffset={offset},file={path},hk=hv | {body}");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    assert_eq!(world.channel.shown(), [shown(0, "a1"), shown(3, "a2")]);
    tokio::time::advance(Duration::from_secs(3)).await;
    world.settle(&mut tail).await;
    tail.write_now().await.unwrap();
    let inode = world.inode("a.log");
    let expected = format!("[{{\"inode\":{inode},\"pos\":7,\"file\":\"{path}\"}}]");
    assert_eq!(world.position_file(), expected);

    world.append("a.log", "ial\nnext\n");
    world.settle(&mut tail).await;
    assert_eq!(
        world.channel.shown()[2..],
        [shown(7, "partial"), shown(15, "next")]
    );
}

#[tokio::test(start_paused = true)]
async fn case_40_a_renamed_file_is_not_sent_again() {
    let world = World::new(&[("fileHeader", "true")]);
    world.append("b.log", "b1\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.rename("b.log", "b2.log");
    world.append("b2.log", "b2\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["b1", "b2"]);
    let new = world.at("b2.log").display().to_string();
    assert_eq!(world.channel.shown()[1], format!("file={new} | b2"));
    tail.finish().await.unwrap();
    assert!(world.position_file().contains("\"pos\":6,") && world.position_file().contains("b2.log"));
}

#[tokio::test(start_paused = true)]
async fn case_41_a_truncated_file_is_read_from_its_start() {
    let world = World::new(&[("byteOffsetHeader", "true")]);
    world.append("a.log", "a long line\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    fs::write(world.at("a.log"), "tr\n").unwrap();
    world.settle(&mut tail).await;
    assert_eq!(
        world.channel.shown(),
        ["byteoffset=0 | a long line", "byteoffset=0 | tr"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_cut_and_grew_beyond_its_offset_is_read_from_its_start() {
    let world = World::new(&[]);
    world.append("a.log", "one\ntwo\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    fs::write(world.at("a.log"), "three\nfour\nfive\n").unwrap();
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["one", "two", "three", "four", "five"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_cut_and_is_as_large_as_before_is_read_from_its_start() {
    let world = World::new(&[]);
    world.append("a.log", "one\ntwo\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    fs::write(world.at("a.log"), "six\nten\n").unwrap();
    // The clock of the file system may not have ticked.
    let later = std::time::SystemTime::now() + Duration::from_secs(1);
    let file = File::options().append(true).open(world.at("a.log")).unwrap();
    file.set_modified(later).unwrap();
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["one", "two", "six", "ten"]);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_goes_on_behind_the_hole_of_a_truncation_loses_nothing() {
    let world = World::new(&[]);
    world.append("a.log", "one\ntwo\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    // Not opened for appending, so its place stays.
    let file = File::options().write(true).open(world.at("a.log")).unwrap();
    file.set_len(0).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"three\n", 8).unwrap();
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn case_42_a_line_in_two_pieces_stays_one_over_the_idle_timeout() {
    let world = World::new(&[("idleTimeout", "4000"), ("byteOffsetHeader", "true")]);
    world.append("a.log", "full\npart");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.pass(&mut tail, Duration::from_secs(30)).await;
    assert_eq!(world.channel.shown(), ["byteoffset=0 | full"]);
    world.append("a.log", "ial\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.shown()[1..], ["byteoffset=5 | partial"]);
    world.pass(&mut tail, Duration::from_secs(30)).await;
    assert_eq!(tail.open.len(), 0, "closed when idle");
    world.append("a.log", "more\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.shown()[2..], ["byteoffset=13 | more"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_line_that_nobody_will_complete_is_delivered_when_its_file_is_gone_and_idle() {
    for go in ["rename out", "rename in", "delete"] {
        let world = World::new(&[("idleTimeout", "4000")]);
        world.append("a.log", "full\npart");
        let mut tail = world.start().await;
        world.settle(&mut tail).await;
        match go {
            "rename out" => world.rename("a.log", "a.log.1"),
            "rename in" => world.rename("a.log", "a1.log"),
            _ => fs::remove_file(world.at("a.log")).unwrap(),
        }
        world.settle(&mut tail).await;
        assert_eq!(world.channel.bodies(), ["full"], "{go}: not idle yet");
        world.pass(&mut tail, Duration::from_secs(8)).await;
        assert_eq!(world.channel.bodies(), ["full", "part"], "{go}");
        world.pass(&mut tail, Duration::from_secs(60)).await;
        assert_eq!(world.channel.len(), 2, "{go}");
        assert_eq!(tail.open.len(), 0, "{go}");
        assert_eq!(tail.files.len(), usize::from(go == "rename in"), "{go}");
    }
}

#[tokio::test(start_paused = true)]
async fn case_43_a_position_file_of_flumes_is_taken_over() {
    let world = World::new(&[]);
    world.append("a.log", "a1\na2\n");
    let (inode, path) = (world.inode("a.log"), world.at("a.log"));
    world.write_position_file(&format!(
        "[{{\"inode\":{inode},\"pos\":3,\"file\":\"{}\"}}]",
        path.display()
    ));
    assert_eq!(world.read_all().await, ["a2"]);
}

#[tokio::test(start_paused = true)]
async fn case_44_an_entry_with_another_path_is_ignored() {
    let world = World::new(&[]);
    world.append("a.log", "a1\na2\n");
    let (inode, path) = (world.inode("a.log"), world.at("other.log"));
    world.write_position_file(&format!(
        "[{{\"inode\":{inode},\"pos\":3,\"file\":\"{}\"}}]",
        path.display()
    ));
    assert_eq!(world.read_all().await, ["a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn case_45_skip_to_end_is_for_files_that_are_there_at_the_first_start() {
    let world = World::new(&[("skipToEnd", "true")]);
    world.append("old.log", "old\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.append("new.log", "new\n");
    world.append("old.log", "more\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["more", "new"]);
    // The component fails and comes back: nothing that came meanwhile is skipped.
    drop(tail);
    world.append("newer.log", "newer\n");
    assert_eq!(world.read_all().await, ["more", "new", "newer"]);
}

#[tokio::test]
async fn case_46_a_folder_that_is_not_there_is_waited_for() {
    let world = World::new(&[("filegroups.f1", "{d}/later/.*")]);
    let error = start::start(&world.config, &world.ctx).await.err().unwrap();
    assert!(
        matches!(error.kind(), crate::component::error::Kind::RetryAfter(_)),
        "{error}"
    );
    assert!(error.to_string().contains("filegroups.f1: folder "), "{error}");
    fs::create_dir(world.at("later")).unwrap();
    world.append("later/x", "x\n");
    assert_eq!(world.read_all().await, ["x"]);
}

#[tokio::test(start_paused = true)]
async fn case_47_files_take_turns_of_max_batch_count() {
    let world = World::new(&[("batchSize", "1"), ("maxBatchCount", "2")]);
    world.append("f1.log", "11\n12\n13\n14\n");
    // Times of modification tell files apart only every few milliseconds.
    let later = fs::metadata(world.at("f1.log")).unwrap().modified().unwrap() + Duration::from_secs(1);
    world.append("f2.log", "21\n22\n23\n24\n");
    let file = File::options().append(true).open(world.at("f2.log")).unwrap();
    file.set_modified(later).unwrap();
    let expected = ["11", "12", "21", "22", "13", "14", "23", "24"];
    assert_eq!(world.read_all().await, expected);
}

#[tokio::test(start_paused = true)]
async fn case_48_a_lone_cr_is_data() {
    let world = World::new(&[]);
    world.append("a.log", "x1\rx2\nx3\r\n\n");
    assert_eq!(world.read_all().await, ["x1\rx2", "x3", ""]);
}

#[tokio::test(start_paused = true)]
async fn a_file_rotated_away_is_read_to_its_end_and_before_its_successor() {
    for out in ["a.log.1", "a1.log"] {
        let world = World::new(&[]);
        world.append("a.log", "1\n");
        let mut tail = world.start().await;
        world.settle(&mut tail).await;
        let mut writer = File::options().append(true).open(world.at("a.log")).unwrap();
        writer.write_all(b"2\n").unwrap();
        world.rename("a.log", out);
        writer.write_all(b"3\n").unwrap();
        world.append("a.log", "4\n");
        world.settle(&mut tail).await;
        assert_eq!(world.channel.bodies(), ["1", "2", "3", "4"], "{out}");
        // Its writer was slow to reopen.
        writer.write_all(b"5\n").unwrap();
        world.settle(&mut tail).await;
        assert_eq!(world.channel.bodies()[4..], ["5"], "{out}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_came_and_was_rotated_away_between_two_looks_is_read() {
    let world = World::new(&[("fileHeader", "true")]);
    world.append("a.log", "1\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    for number in 2..=5 {
        if world.at("a.log.1").exists() {
            world.rename("a.log.1", &format!("a.log.{number}"));
        }
        world.rename("a.log", "a.log.1");
        world.append("a.log", &format!("{number}\n"));
    }
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2", "3", "4", "5"]);
    let path = world.at("a.log").display().to_string();
    assert!(
        world
            .channel
            .shown()
            .iter()
            .all(|e| e.starts_with(&format!("file={path} ")))
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_away_for_long_is_not_sent_again_when_it_comes_back() {
    let world = World::new(&[("idleTimeout", "1000")]);
    world.append("a.log", "1\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.rename("a.log", "away");
    world.pass(&mut tail, Duration::from_secs(60)).await;
    assert_eq!(tail.files.len(), 0);
    world.rename("away", "away.1");
    world.pass(&mut tail, Duration::from_secs(60)).await;
    world.append("away.1", "2\n");
    world.rename("away.1", "b.log");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_file_deleted_while_it_is_open_is_read_to_its_end() {
    let world = World::new(&[("idleTimeout", "1000")]);
    world.append("a.log", "1\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.append("a.log", "2\n");
    fs::remove_file(world.at("a.log")).unwrap();
    world.append("a.log", "3\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2", "3"]);
    world.pass(&mut tail, Duration::from_secs(9)).await;
    assert_eq!(tail.files.len(), 1);
    tail.finish().await.unwrap();
    assert!(!world.position_file().contains(",{"), "{}", world.position_file());
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_the_node_is_down_loses_nothing_and_doubles_nothing() {
    let world = World::new(&[]);
    for name in ["in.log", "out.log", "cut.log", "new.log"] {
        world.append(name, "before\n");
    }
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.tick();
    tail.finish().await.unwrap();
    drop(tail);
    // Clocks of file systems stand still for milliseconds; a machine takes longer to come back.
    world.tick();
    // A killed process: the channel is gone, the position file is there.
    world.channel.forget_position();
    world.channel.events.lock().unwrap().clear();
    tokio::time::advance(Duration::from_secs(60)).await;

    world.append("in.log", "in 2\n");
    world.rename("in.log", "in1.log");
    world.append("out.log", "out 2\nout 3");
    world.rename("out.log", "out.log.1");
    world.append("out.log", "out 4\n");
    fs::write(world.at("cut.log"), "cut\n").unwrap();
    fs::remove_file(world.at("new.log")).unwrap();
    world.append("new.log", "another file of this name\n");

    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.pass(&mut tail, Duration::from_secs(300)).await;
    let mut bodies = world.channel.bodies();
    bodies.sort();
    let expected = [
        "another file of this name",
        "cut",
        "in 2",
        "out 2",
        "out 3",
        "out 4",
    ];
    assert_eq!(bodies, expected);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_exactly_where_the_last_commit_was() {
    let world = World::new(&[("batchSize", "3")]);
    world.append("a.log", "1\n2\n3\n4\n5\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    // Neither written to the position file nor finished: a panic.
    drop(tail);
    world.append("a.log", "6\n");
    world.rename("a.log", "b.log");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2", "3", "4", "5", "6"]);
    drop(tail);
    // An operator who wants everything again deletes the position file.
    fs::remove_file(&world.config.position_file).unwrap();
    assert_eq!(world.read_all().await.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_position_of_another_version_leaves_the_position_file() {
    let world = World::new(&[]);
    world.append("a.log", "1\n");
    assert_eq!(world.read_all().await, ["1"]);
    *world.channel.position.lock().unwrap() = Some(Bytes::from_static(b"\xffgarbage"));
    world.append("a.log", "2\n");
    assert_eq!(world.read_all().await, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn half_a_position_file_is_put_aside_and_its_whole_entries_count() {
    let world = World::new(&[]);
    world.append("a.log", "a1\na2\n");
    world.append("b.log", "b1\nb2\n");
    let (inode, path) = (world.inode("a.log"), world.at("a.log"));
    let whole = format!("[{{\"inode\":{inode},\"pos\":3,\"file\":\"{}\"}}", path.display());
    world.write_position_file(&format!("{whole},{{\"inode\":12"));
    let mut bodies = world.read_all().await;
    bodies.sort();
    assert_eq!(bodies, ["a2", "b1", "b2"]);
    let folder = fs::read_dir(world.config.position_file.parent().unwrap()).unwrap();
    let names: Vec<String> = folder
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.iter().any(|n| n.starts_with("p.json.bad-")), "{names:?}");
    assert_eq!(world.ctx.counters.read_failures.value(), 1);
}

#[tokio::test]
async fn a_position_file_of_another_meaning_stops_the_start_and_stays() {
    let world = World::new(&[]);
    world.write_position_file("[{\"inode\":1,\"file\":\"x\"}]");
    let error = start::start(&world.config, &world.ctx).await.err().unwrap();
    assert!(
        error.to_string().contains("entry 1: \"pos\" is missing"),
        "{error}"
    );
    assert_eq!(world.position_file(), "[{\"inode\":1,\"file\":\"x\"}]");
}

#[tokio::test(start_paused = true)]
async fn lines_over_the_limit_are_cut_and_counted_wherever_their_end_is() {
    let world = World::new(&[("maxLineBytes", "10")]);
    let long = "x".repeat(300_000);
    world.append("a.log", &format!("0123456789\n{long}\r\nafter\n{long}"));
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["0123456789", "xxxxxxxxxx", "after"]);
    // Its end comes in pieces.
    world.append("a.log", &long);
    world.settle(&mut tail).await;
    world.append("a.log", "\nend\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies()[3..], ["xxxxxxxxxx", "end"]);
    assert_eq!(world.ctx.counters.refused_inputs.value(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_line_far_longer_than_a_read_is_whole() {
    let world = World::new(&[("batchSize", "2")]);
    let long = "y".repeat(1 << 20);
    world.append("a.log", &format!("{long}\nshort\n{long}"));
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.append("a.log", &format!("{long}\n"));
    world.settle(&mut tail).await;
    let lengths: Vec<usize> = world.channel.bodies().iter().map(String::len).collect();
    assert_eq!(lengths, [1 << 20, 5, 2 << 20]);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_no_channel_can_hold_is_dropped_and_the_others_are_not() {
    let world = World::new(&[]);
    world.channel.body_bytes_max.store(6, SeqCst);
    world.append("a.log", "1\n22\n333\ntoo long a line\n55555\n6\n");
    let bodies = world.read_all().await;
    assert_eq!(bodies, ["1", "22", "333", "55555", "6"]);
    assert_eq!(world.ctx.counters.refused_inputs.value(), 1);
    assert_eq!(world.ctx.counters.accepted.value(), 5);
}

#[tokio::test(start_paused = true)]
async fn rotation_is_followed_while_the_channel_refuses() {
    let world = World::new(&[]);
    world.append("a.log", "1\n");
    let mut tail = world.start().await;
    world.channel.refusals_left.store(200, SeqCst);
    let (_, ()) = tokio::join!(world.settle(&mut tail), async {
        for number in 2..6 {
            // Twenty refusals on; each waits in virtual time.
            let left = world.channel.refusals_left.load(SeqCst);
            while world.channel.refusals_left.load(SeqCst) + 20 > left {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            world.rename("a.log", "a.log.1");
            world.append("a.log", &format!("{number}\n"));
        }
    });
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2", "3", "4", "5"]);
    assert_eq!(world.ctx.counters.channel_write_failures.value(), 200);
}

#[tokio::test(start_paused = true)]
async fn handles_are_bounded_and_every_file_is_read() {
    let world = World::new(&[("maxOpenFiles", "3"), ("fileHeader", "true")]);
    for n in 0..20 {
        world.append(&format!("{n}.log"), &format!("{n} a\n{n} b\n"));
    }
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    for n in 0..20 {
        world.append(&format!("{n}.log"), &format!("{n} c\n"));
        world.rename(&format!("{n}.log"), &format!("{n}.log.1"));
        world.settle(&mut tail).await;
        assert!(tail.open.len() <= 4, "{}", tail.open.len());
    }
    assert_eq!(world.channel.len(), 60);
}

#[tokio::test(start_paused = true)]
async fn files_beyond_the_limit_wait_until_others_are_gone() {
    let mut world = World::new(&[("idleTimeout", "1000")]);
    world.config.files_max = 2;
    for name in ["a.log", "b.log", "c.log"] {
        world.append(name, "x\n");
    }
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    assert_eq!((tail.files.len(), world.channel.len()), (2, 2));
    assert!(world.ctx.counters.refused_inputs.value() > 0);
    let known = tail.files.values().next().unwrap().path.clone();
    fs::remove_file(known).unwrap();
    world.pass(&mut tail, Duration::from_secs(10)).await;
    assert_eq!((tail.files.len(), world.channel.len()), (2, 3));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_is_counted_and_the_others_go_on() {
    let world = World::new(&[("maxOpenFiles", "1")]);
    world.append("a.log", "a\n");
    world.append("z.log", "z\n");
    let mut tail = world.start().await;
    // Reading a folder fails, for root as well.
    let file = tail
        .files
        .values_mut()
        .find(|f| f.name.ends_with("z.log"))
        .unwrap();
    file.handle = Some(File::open(world.at("")).unwrap());
    file.size = 1;
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["a"]);
    assert!(world.ctx.counters.read_failures.value() > 0);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_cannot_be_listed_keeps_its_files() {
    let world = World::new(&[("filegroups.f1", "{d}/sub/.*")]);
    fs::create_dir(world.at("sub")).unwrap();
    world.append("sub/a", "1\n");
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    world.rename("sub", "away");
    world.append("away/a", "2\n");
    world.settle(&mut tail).await;
    world.pass(&mut tail, Duration::from_secs(600)).await;
    world.rename("away", "sub");
    world.append("sub/a", "3\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_position_file_that_cannot_be_written_stops_the_start_or_is_counted() {
    let world = World::new(&[]);
    world.append("a.log", "1\n");
    let mut tail = world.start().await;
    let in_the_way = world.config.position_file.with_file_name(".p.json.new");
    fs::create_dir(&in_the_way).unwrap();
    world.settle(&mut tail).await;
    assert!(tail.write_now().await.is_err());
    assert_eq!(world.ctx.counters.processing_failures.value(), 1);
    world.append("a.log", "2\n");
    world.settle(&mut tail).await;
    assert_eq!(world.channel.bodies(), ["1", "2"], "lines go on");
    drop(tail);
    assert!(start::start(&world.config, &world.ctx).await.is_err());
    fs::remove_dir(in_the_way).unwrap();
    world.append("a.log", "3\n");
    assert_eq!(world.read_all().await, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn many_changed_files_do_not_make_positions_long() {
    let world = World::new(&[]);
    for n in 0..600 {
        world.append(&format!("{n}.log"), "x\n");
    }
    let mut tail = world.start().await;
    world.settle(&mut tail).await;
    tail.write_now().await.unwrap();
    let first = world.channel.position().unwrap().len();
    // The task that writes is quicker or slower; what it does not have yet is in the position.
    assert!(first < 700 * 200, "{first}");
    world.append("7.log", "y\n");
    world.settle(&mut tail).await;
    let last = world.channel.position().unwrap().len();
    assert!(last < 1_000, "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inotify_wakes_it_long_before_the_next_poll() {
    let dir = TempDir::new();
    fs::create_dir(dir.path().join("d")).unwrap();
    // Without a ring a test would wait for an hour.
    let hour = "3600000";
    let config = config(
        &dir,
        &[("backoffSleepIncrement", hour), ("maxBackoffSleep", hour)],
    );
    let running = Running::start(Box::new(config.build().unwrap()), Recorder::new());
    let recorder = running.recorder.clone();
    let path = dir.path().join("d/a.log");
    for number in 1..=3 {
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        file.write_all(b"x\n").unwrap();
        recorder.until(|seen| seen.events == number).await;
        // Long enough for silence to be noticed; it wakes from either.
        let quiet = tokio::time::sleep(Duration::from_millis(if number == 2 { 300 } else { 0 }));
        soon(quiet).await;
    }
    running.stop().await.unwrap();
}

fn findings(pairs: &[(&str, &str)]) -> Vec<(Severity, String)> {
    let mut keys = Keys::of("source r1 (taildir)", pairs);
    Config::read(&mut keys);
    let found = keys.finish().into_iter();
    found
        .map(|f| {
            (
                f.severity,
                format!("{}: {}", f.property.unwrap_or_default(), f.message),
            )
        })
        .collect()
}

#[test]
fn defaults_are_flumes() {
    let mut keys = Keys::of(
        "source r1 (taildir)",
        &[("filegroups", "g"), ("filegroups.g", "/d/x")],
    );
    let config = Config::read(&mut keys);
    assert_eq!(keys.finish(), []);
    assert_eq!(config.idle_timeout, Duration::from_secs(120));
    assert_eq!(config.position_interval, Duration::from_secs(3));
    assert_eq!(
        (config.batch_size_events, config.batches_max),
        (100, i64::MAX as u64)
    );
    assert_eq!((config.file_header, config.byte_offset), (None, false));
    assert!(config.position_file.ends_with(".flume/taildir_position.json"));
}

#[test]
fn mistakes_in_groups_and_headers_are_all_named() {
    let found = findings(&[
        ("positionFile", "/p"),
        ("filegroups", "f1 f2 f3 f5 f6"),
        ("filegroups.f1", "/d/*.log"),
        ("filegroups.f2", "/var/*/x"),
        ("filegroups.f4", "/d/x"),
        ("filegroups.f5", "no-folder"),
        ("filegroups.f6", "/d/a(b"),
        ("headers.f2", "no key"),
        ("headers.f9.k", "v"),
        ("maxBatchCount", "0"),
        ("writePosInterval", "0"),
        ("batchSize", "0"),
    ]);
    let errors = |of: Severity| -> Vec<&str> {
        let of = found.iter().filter(move |(s, _)| *s == of);
        of.map(|(_, text)| text.split(':').next().unwrap()).collect()
    };
    assert_eq!(
        errors(Severity::Error),
        [
            "filegroups.f1",
            "filegroups.f5",
            "filegroups.f6",
            "headers.f2",
            "writePosInterval",
            "batchSize"
        ]
    );
    assert_eq!(
        errors(Severity::Warning),
        [
            "filegroups.f2",
            "filegroups.f3",
            "filegroups.f4",
            "headers.f9.k",
            "maxBatchCount"
        ]
    );
}

#[test]
fn groups_without_any_pattern_are_an_error() {
    let found = findings(&[("positionFile", "/p"), ("filegroups", "f1")]);
    assert_eq!(found[1].1, "filegroups: none of its groups has a pattern");
    assert_eq!(found[1].0, Severity::Error);
}
