//! How near does the file channel come to the disk below it?
//!
//! Run it with `cargo bench -p node --bench file_channel` (about a minute and at most 1 GB at a time, removed at the end;
//! `MILLRACE_BENCH_DIR` says where, `MILLRACE_BENCH_ROUNDS` how often). Without `--bench` among its arguments, as under
//! `cargo test --benches`, it is short and only shows that everything still runs. It asserts no speed.
//!
//! A disk is never the same twice, least of all one that others use. So disk and channel are measured turn by turn, in
//! [`SLICES`] slices a round, and what counts is the ratio of the sums:
//!
//! - **throughput**: [`PUTTERS`] tasks that put [`EVENTS`] events of [`BODY_BYTES`] bytes and wait for the answer, beside
//!   one thread that writes fresh files: pieces of 4 MiB, pieces as large as all that the putters can have on their way,
//!   and half of that, which is what a commit holds when the other half is on its way; each followed by `fdatasync`. The
//!   channel's files are `fresh` when nobody takes, and `used again` when a taker keeps up.
//! - **latency**: the 99th percentile of those answers, beside that of the disk for pieces of all the putters.
//! - **alone**: one event at a time, in a channel whose files are fresh and in one whose files are used again; before
//!   each one, a page is written and synced over an old one, and one behind the end of a file.

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
const SLICES: usize = 8;

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
        let used = throughput(&runtime, &folder.0, &size);
        alone(&runtime, &folder.0, "used again", &used.channel, size.alone);
        drop(used);
        let fresh = Subject::new(&runtime, &folder.0, "fresh");
        alone(&runtime, &folder.0, "fresh", &fresh.channel, size.alone);
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

/// What was measured: bytes, in how long, and how long each piece or answer took.
#[derive(Default)]
struct Figures {
    bytes: usize,
    elapsed: Duration,
    times: Vec<Duration>,
}

impl Figures {
    fn add(&mut self, bytes: usize, elapsed: Duration, times: Vec<Duration>) {
        self.bytes += bytes;
        self.elapsed += elapsed;
        self.times.extend(times);
        self.times.sort_unstable();
    }

    fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.elapsed.as_secs_f64()
    }

    fn quantile_us(&self, quantile: f64) -> f64 {
        let at = (self.times.len() as f64 * quantile) as usize;
        self.times[at.min(self.times.len() - 1)].as_secs_f64() * 1e6
    }

    fn print(&self, name: &str, beside: &str) {
        println!(
            "  {name:<34} {:>8.1} MB/s  p50 {:>7.0} µs  p99 {:>7.0} µs  {beside}",
            self.bytes_per_second() / 1e6,
            self.quantile_us(0.5),
            self.quantile_us(0.99)
        );
    }
}

/// A channel in a folder of its own, which goes with it.
struct Subject {
    channel: Arc<FileChannel>,
    folder: PathBuf,
}

impl Subject {
    fn new(runtime: &Runtime, folder: &Path, name: &str) -> Self {
        let folder = folder.join(name.replace(' ', "-"));
        let channel = Arc::new(channel(&folder));
        runtime.block_on(channel.serves());
        Self { channel, folder }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Returns the channel whose files are used again.
fn throughput(runtime: &Runtime, folder: &Path, size: &Size) -> Subject {
    let disk = [LARGE_BYTES, GROUP_BYTES, GROUP_BYTES / 2];
    let mut raw: [Figures; 3] = Default::default();
    let channels = ["fresh", "used again"].map(|name| Subject::new(runtime, folder, name));
    let mut ours: [Figures; 2] = Default::default();
    for slice in 0..=SLICES {
        let mut raw_now: [Figures; 3] = Default::default();
        let mut ours_now: [Figures; 2] = Default::default();
        for (n, piece) in disk.into_iter().enumerate() {
            raw_fresh(folder, piece, size.bytes / SLICES, &mut raw_now[n]);
            if let Some(channel) = channels.get(n) {
                puts(
                    runtime,
                    &channel.channel,
                    size.bytes / SLICES,
                    n == 1,
                    &mut ours_now[n],
                );
            }
        }
        // The first one warms up: until then, no file can be used again.
        if slice > 0 {
            let add = |(sum, now): (&mut Figures, Figures)| sum.add(now.bytes, now.elapsed, now.times);
            raw.iter_mut().zip(raw_now).for_each(add);
            ours.iter_mut().zip(ours_now).for_each(add);
        }
    }
    for (piece, figures) in disk.iter().zip(&raw) {
        figures.print(&format!("disk, fresh file, {} KiB", piece >> 10), "");
    }
    for (name, figures) in ["channel, fresh files", "channel, files used again"]
        .iter()
        .zip(&ours)
    {
        let of = |raw: &Figures| figures.bytes_per_second() / raw.bytes_per_second();
        let beside = format!(
            "{:.2}, {:.2}, {:.2} of the disk's bytes, {:.2} of its p99",
            of(&raw[0]),
            of(&raw[1]),
            of(&raw[2]),
            figures.quantile_us(0.99) / raw[1].quantile_us(0.99)
        );
        figures.print(name, &beside);
    }
    let [_, used] = channels;
    used
}

/// Pieces behind each other in a new file, each synced.
fn raw_fresh(folder: &Path, piece: usize, bytes: usize, figures: &mut Figures) {
    let path = folder.join("raw");
    let file = new_file(&path);
    let data: Vec<u8> = (0..piece).map(|n| (n * 31 % 251) as u8).collect();
    let mut times = Vec::new();
    let begun = Instant::now();
    for at in 0..bytes.div_ceil(piece) {
        let begun = Instant::now();
        file.write_all_at(&data, (at * piece) as u64)
            .expect("the disk writes");
        file.sync_data().expect("the disk syncs");
        times.push(begun.elapsed());
    }
    figures.add(bytes.div_ceil(piece) * piece, begun.elapsed(), times);
    std::fs::remove_file(&path).expect("it is there");
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

fn puts(
    runtime: &Runtime,
    channel: &Arc<FileChannel>,
    bytes: usize,
    with_taker: bool,
    figures: &mut Figures,
) {
    let each = bytes.div_ceil(GROUP_BYTES);
    runtime.block_on(async {
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
        figures.add(each * GROUP_BYTES, begun.elapsed(), times);
        over.store(true, Relaxed);
        taker.await.expect("the taker does not panic");
    });
    channel.check().expect("the books balance");
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
fn alone(runtime: &Runtime, folder: &Path, name: &str, channel: &FileChannel, events: usize) {
    let path = folder.join("raw");
    let page = Bytes::from(vec![7; PAGE_BYTES]);
    let file = new_file(&path);
    for at in 0..events {
        file.write_all_at(&page, (at * PAGE_BYTES) as u64)
            .expect("the disk writes");
    }
    file.sync_all().expect("the disk syncs");
    let write = |at: usize| {
        let begun = Instant::now();
        file.write_all_at(&page, (at * PAGE_BYTES) as u64)
            .expect("the disk writes");
        file.sync_data().expect("the disk syncs");
        begun.elapsed()
    };
    let mut times: [Vec<Duration>; 3] = Default::default();
    runtime.block_on(async {
        let one = batch(1);
        for at in 0..events {
            times[0].push(write(at));
            times[1].push(write(events + at));
            let begun = Instant::now();
            put(channel, one.clone()).await;
            times[2].push(begun.elapsed());
        }
    });
    std::fs::remove_file(&path).expect("it is there");
    let figures = |bytes, times: Vec<Duration>| {
        let mut figures = Figures::default();
        figures.add(events * bytes, times.iter().sum(), times);
        figures
    };
    let [over, behind, ours] = times;
    let (over, behind) = (figures(PAGE_BYTES, over), figures(PAGE_BYTES, behind));
    over.print("disk, a page over an old one", "");
    behind.print("disk, a page behind the end", "");
    let ours = figures(BODY_BYTES, ours);
    let more = |disk: &Figures| ours.quantile_us(0.5) - disk.quantile_us(0.5);
    let beside = format!("{:+.0}, {:+.0} µs at p50", more(&over), more(&behind));
    ours.print(&format!("channel, alone, {name}"), &beside);
}
