//! How near does the file channel come to the disk below it?
//!
//! Run it with `cargo bench -p node --bench file_channel` (about a minute and at most 1 GB at a time, removed at the end;
//! `MILLRACE_BENCH_DIR` says where, `MILLRACE_BENCH_ROUNDS` how often). Without `--bench` among its arguments, as under
//! `cargo test --benches`, it is short and only shows that everything still runs. It asserts no speed.
//!
//! A disk is never the same twice, least of all one that others use. So each round measures the disk itself in the same
//! seconds as the channel, turn by turn, and what counts is the ratio:
//!
//! - **throughput**: [`PUTTERS`] tasks that put [`EVENTS`] events of [`BODY_BYTES`] bytes and wait for the answer, beside
//!   one thread that writes fresh files: pieces of 4 MiB, and pieces as large as all that the putters can have on their
//!   way, each followed by `fdatasync`. The channel's files are `fresh` when nobody takes, and `used again` when a taker
//!   keeps up.
//! - **latency**: the 99th percentile of those answers, beside that of the disk for pieces of that size.
//! - **alone**: one event at a time, and after each one a page written and synced into a file that is there.

use bytes::Bytes;
use node::channel::file::{Config, FileChannel};
use node::component::channel::{Channel, Claim, Want};
use node::component::keys::Keys;
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const PUTTERS: usize = 16;
const EVENTS: usize = 100;
const BODY_BYTES: usize = 512;
/// All that the putters can have on their way.
const GROUP_BYTES: usize = PUTTERS * EVENTS * BODY_BYTES;
const PAGE_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 4 << 20;

/// How much is measured.
struct Size {
    /// Of each throughput.
    bytes: usize,
    /// Events one by one.
    alone: usize,
    rounds: usize,
}

fn main() {
    let thorough = std::env::args().any(|argument| argument == "--bench");
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let size = if thorough {
        Size {
            bytes: 256 << 20,
            alone: 1_000,
            rounds: number("MILLRACE_BENCH_ROUNDS").unwrap_or(3),
        }
    } else {
        Size {
            bytes: 8 << 20,
            alone: 20,
            rounds: 1,
        }
    };
    let folder = Folder::new();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the operating system gives us two threads");
    for round in 1..=size.rounds {
        println!("round {round} of {}", size.rounds);
        throughput(&runtime, &folder.0, &size);
        alone(&runtime, &folder.0, size.alone);
    }
}

/// A folder on the disk that is measured; goes with all that is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let place =
            std::env::var_os("MILLRACE_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
        let folder = place.join(format!("file-channel-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was measured: bytes a second, and how long each piece or answer took.
struct Figures {
    bytes_per_second: f64,
    times: Vec<Duration>,
}

impl Figures {
    fn new(bytes: usize, elapsed: Duration, mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self {
            bytes_per_second: bytes as f64 / elapsed.as_secs_f64(),
            times,
        }
    }

    fn quantile_us(&self, quantile: f64) -> f64 {
        let at = (self.times.len() as f64 * quantile) as usize;
        self.times[at.min(self.times.len() - 1)].as_secs_f64() * 1e6
    }

    fn print(&self, name: &str, beside: &str) {
        println!(
            "  {name:<34} {:>8.1} MB/s  p50 {:>7.0} µs  p99 {:>7.0} µs  {beside}",
            self.bytes_per_second / 1e6,
            self.quantile_us(0.5),
            self.quantile_us(0.99)
        );
    }
}

fn throughput(runtime: &Runtime, folder: &Path, size: &Size) {
    let large = raw_fresh(folder, LARGE_BYTES, size.bytes);
    let fresh = puts(runtime, folder, size.bytes, false);
    let group = raw_fresh(folder, GROUP_BYTES, size.bytes);
    let used = puts(runtime, folder, size.bytes, true);
    large.print("disk, fresh file, 4 MiB", "");
    group.print("disk, fresh file, 800 KiB", "");
    for (name, figures) in [
        ("channel, fresh files", fresh),
        ("channel, files used again", used),
    ] {
        let beside = format!(
            "{:.2} and {:.2} of the disk's bytes, {:.2} of its p99",
            figures.bytes_per_second / large.bytes_per_second,
            figures.bytes_per_second / group.bytes_per_second,
            figures.quantile_us(0.99) / group.quantile_us(0.99)
        );
        figures.print(name, &beside);
    }
}

/// Pieces behind each other in a new file, each synced.
fn raw_fresh(folder: &Path, piece: usize, bytes: usize) -> Figures {
    let path = folder.join("raw");
    let file = new_file(&path);
    let data: Vec<u8> = (0..piece).map(|n| (n * 31 % 251) as u8).collect();
    let mut times = Vec::new();
    let begun = Instant::now();
    for at in 0..bytes / piece {
        let begun = Instant::now();
        file.write_all_at(&data, (at * piece) as u64)
            .expect("the disk writes");
        file.sync_data().expect("the disk syncs");
        times.push(begun.elapsed());
    }
    let figures = Figures::new(bytes / piece * piece, begun.elapsed(), times);
    std::fs::remove_file(&path).expect("it is there");
    figures
}

fn new_file(path: &Path) -> File {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.expect("a file can be made")
}

fn batch(events: usize) -> Batch {
    let body = [b'x'; BODY_BYTES];
    let mut builder = BatchBuilder::new(EventLimits::default());
    for _ in 0..events {
        builder.push([("host", "h1")], &body).expect("it is small");
    }
    builder.finish()
}

fn channel(folder: &Path) -> FileChannel {
    let folder = folder.to_str().expect("a path of text");
    let pairs = [
        ("dataDirs", folder),
        ("capacity", "100000000"),
        ("keep-alive", "30"),
        ("minimumRequiredSpace", "1048576"),
    ];
    let mut keys = Keys::of("channel c1 (file)", &pairs);
    let config = Config::read(&mut keys);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    let channel = config.build(&"c1".into()).expect("its settings are fine");
    channel.attach();
    channel
}

async fn put(channel: &FileChannel, batch: Batch) {
    let ticket = channel.reserve(Claim::of(&batch)).await.expect("there is room");
    let put = channel.commit_put(ticket, batch, None).await;
    put.expect("the disk is in order");
}

fn puts(runtime: &Runtime, folder: &Path, bytes: usize, with_taker: bool) -> Figures {
    let folder = folder.join("channel");
    let channel = Arc::new(channel(&folder));
    let each = bytes / GROUP_BYTES;
    let figures = runtime.block_on(async {
        channel.serves().await;
        let over = Arc::new(AtomicBool::new(false));
        let taker = tokio::spawn(taker(channel.clone(), with_taker, over.clone()));
        let begun = Instant::now();
        let putters: Vec<_> = (0..PUTTERS)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move {
                    let (batch, mut times) = (batch(EVENTS), Vec::with_capacity(each));
                    for _ in 0..each {
                        let begun = Instant::now();
                        put(&channel, batch.clone()).await;
                        times.push(begun.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for putter in putters {
            times.extend(putter.await.expect("a putter does not panic"));
        }
        let figures = Figures::new(each * GROUP_BYTES, begun.elapsed(), times);
        over.store(true, Relaxed);
        taker.await.expect("the taker does not panic");
        figures
    });
    channel.check().expect("the books balance");
    drop(channel);
    std::fs::remove_dir_all(&folder).expect("it is there");
    figures
}

async fn taker(channel: Arc<FileChannel>, at_work: bool, over: Arc<AtomicBool>) {
    while at_work && !over.load(Relaxed) {
        let taken = channel
            .take(Want::events(10_000), Duration::from_millis(100))
            .await;
        if let Some((ticket, _)) = taken.expect("the channel serves") {
            channel
                .commit_take(ticket, None)
                .await
                .expect("the disk is in order");
        }
    }
}

/// Turn by turn: a page into a file that is there, and an event.
fn alone(runtime: &Runtime, folder: &Path, events: usize) {
    let (path, own) = (folder.join("raw"), folder.join("channel"));
    let page = Bytes::from(vec![7; PAGE_BYTES]);
    let file = new_file(&path);
    for at in 0..events {
        file.write_all_at(&page, (at * PAGE_BYTES) as u64)
            .expect("the disk writes");
    }
    file.sync_all().expect("the disk syncs");
    let channel = channel(&own);
    let (mut disk, mut ours) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        channel.serves().await;
        let one = batch(1);
        for at in 0..events {
            let begun = Instant::now();
            file.write_all_at(&page, (at * PAGE_BYTES) as u64)
                .expect("the disk writes");
            file.sync_data().expect("the disk syncs");
            disk.push(begun.elapsed());
            let begun = Instant::now();
            put(&channel, one.clone()).await;
            ours.push(begun.elapsed());
        }
    });
    drop(channel);
    std::fs::remove_dir_all(&own).expect("it is there");
    std::fs::remove_file(&path).expect("it is there");
    let total = |times: &[Duration]| times.iter().sum::<Duration>();
    let disk = Figures::new(events * PAGE_BYTES, total(&disk), disk);
    let ours = Figures::new(events * BODY_BYTES, total(&ours), ours);
    disk.print("disk, a page", "");
    let more = ours.quantile_us(0.5) - disk.quantile_us(0.5);
    ours.print("channel, an event alone", &format!("{more:+.0} µs at p50"));
}
