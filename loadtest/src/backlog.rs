//! A file channel with a backlog: it is piled up, the node is killed, and another one starts over it.
//!
//! ```text
//!   drive ──avro──> node (avro source, file channel, nobody takes)     until there are enough bytes, then kill -9
//!                   node (the same folder, avro sink) ──avro──> collect    from exec to the first event; memory; speed
//! ```
//!
//! Everything is removed at the end, also when something fails.

use crate::connection::CallShape;
use crate::drive::{Plan, drive};
use crate::ledger::{SentBy, Verdict};
use crate::progress::Progress;
use crate::serve::{Mode, Server};
use crate::subject::free_ports;
use crate::usage;
use crate::wire::Buffers;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a node may take to listen, and its first event to come.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// Seconds of driving between two looks at how much there is.
const SLICE: Duration = Duration::from_secs(2);
/// Slices without any event after which the subject is given up.
const IDLE_SLICES_MAX: u32 = 5;
/// After the last expected event, a duplicate may still follow; this long is waited for it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// What is measured.
#[derive(Debug)]
pub struct Settings {
    /// The subject's binary.
    pub node: PathBuf,
    /// In which a folder is made.
    pub folder: PathBuf,
    /// Of bodies.
    pub bytes: u64,
    /// Bytes of a body.
    pub body: usize,
    /// How long is drained.
    pub drain: Duration,
}

/// What was found.
#[derive(Debug)]
pub struct Figures {
    events: u64,
    disk_bytes: u64,
    fill_seconds: f64,
    fill_peak_kib: u64,
    first_event: Duration,
    start_resident_kib: u64,
    drained: u64,
    drain_seconds: f64,
    drain_peak_kib: u64,
    /// When everything was drained.
    verdict: Option<Verdict>,
}

impl Figures {
    /// Events came out, and what can be said about them is good.
    pub fn is_good(&self) -> bool {
        self.drained > 0 && self.verdict.is_none_or(|verdict| verdict.is_clean())
    }

    /// In base units.
    pub fn json(&self) -> Value {
        json!({
            "name": "backlog",
            "good": self.is_good(),
            "events": self.events,
            "disk_bytes": self.disk_bytes,
            "fill_events_per_second": self.events as f64 / self.fill_seconds,
            "fill_peak_rss_kib": self.fill_peak_kib,
            "first_event_seconds": self.first_event.as_secs_f64(),
            "rss_at_first_event_kib": self.start_resident_kib,
            "drained_events": self.drained,
            "drain_events_per_second": self.drained as f64 / self.drain_seconds,
            "drain_peak_rss_kib": self.drain_peak_kib,
            "verified": self.verdict.map(|verdict| verdict.is_clean()),
        })
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |kib: u64| kib as f64 / 1024.0;
        writeln!(
            out,
            "backlog{}",
            if self.is_good() { "" } else { "  << NOT GOOD" }
        )?;
        let lines = [
            ("events piled up", self.events as f64),
            ("MB on the disk", self.disk_bytes as f64 / 1e6),
            ("fill events/s", self.events as f64 / self.fill_seconds),
            ("fill peak RSS MiB", mib(self.fill_peak_kib)),
            ("first event out ms", self.first_event.as_secs_f64() * 1e3),
            ("RSS at it MiB", mib(self.start_resident_kib)),
            ("drained events", self.drained as f64),
            ("drain events/s", self.drained as f64 / self.drain_seconds),
            ("drain peak RSS MiB", mib(self.drain_peak_kib)),
        ];
        for (name, value) in lines {
            writeln!(out, "  {name:<22} {value:>14.1}")?;
        }
        match &self.verdict {
            Some(verdict) => write!(out, "{verdict}"),
            None => write!(out, "  not all was drained, so nothing was verified"),
        }
    }
}

/// Piles up, kills, starts again, drains.
///
/// # Errors
/// The subject or the driver fails, or there is no room for so much.
pub fn run(settings: &Settings) -> Result<Figures> {
    ensure!(
        settings.body >= crate::identity::BODY_SIZE_MIN,
        "body: expected at least 32 bytes"
    );
    let room =
        rustix::fs::statvfs(&settings.folder).with_context(|| settings.folder.display().to_string())?;
    let (free, need) = (
        room.f_bavail * room.f_frsize,
        settings.bytes + settings.bytes / 10 + (1 << 30),
    );
    ensure!(
        free > need,
        "{}: {free} bytes are free, and {need} are needed",
        settings.folder.display()
    );
    let folder = Folder(
        settings
            .folder
            .join(format!("loadtest-backlog-{}", std::process::id())),
    );
    std::fs::create_dir_all(&folder.0)?;
    let node = std::path::absolute(&settings.node)?;
    let collector = Server::start((Ipv4Addr::LOCALHOST, 0).into(), Mode::Verify)?;

    let ports = free_ports(vec!["in".to_owned()])?;
    let port = *ports.get("in").ok_or_else(|| anyhow!("no port"))?;
    let mut filling = Node::start(&node, &folder.0, "fill", &configuration(port, None))?;
    filling.wait_until(|| usage::is_listening(port))?;
    let begun = Instant::now();
    let sent = fill((Ipv4Addr::LOCALHOST, port).into(), settings)?;
    let fill_seconds = begun.elapsed().as_secs_f64();
    let fill_peak_kib = filling.memory()?.peak_kib;
    drop(filling); // killed

    let events = sent.iter().map(SentBy::acknowledged).sum();
    let disk_bytes = bytes_in(&folder.0.join("data/millrace"))?;
    let mut draining = Node::start(
        &node,
        &folder.0,
        "drain",
        &configuration(port, Some(collector.address())),
    )?;
    draining.wait_until(|| collector.distinct() > 0)?;
    let (first_event, start) = (draining.begun.elapsed(), draining.memory()?);
    let drained_from = Instant::now();
    let mut progress = Progress::new("drain", settings.drain);
    let mut last = (0, Instant::now());
    while collector.distinct() < events && drained_from.elapsed() < settings.drain {
        progress.show(collector.distinct());
        std::thread::sleep(Duration::from_millis(20));
        let now = collector.distinct();
        if now > last.0 {
            last = (now, Instant::now());
        }
        ensure!(
            last.1.elapsed() < START_TIME_MAX,
            "nothing comes out any more\n{}",
            draining.log()
        );
    }
    progress.done();
    let (drained, drain_seconds) = (collector.distinct(), drained_from.elapsed().as_secs_f64());
    let verdict = (drained == events).then(|| {
        std::thread::sleep(AFTERMATH);
        collector.verdict(Some(&sent))
    });
    Ok(Figures {
        events,
        disk_bytes,
        fill_seconds,
        fill_peak_kib,
        first_event,
        start_resident_kib: start.resident_kib,
        drained,
        drain_seconds,
        drain_peak_kib: draining.memory()?.peak_kib,
        verdict,
    })
}

/// Without an end, nobody takes.
fn configuration(port: u16, end: Option<SocketAddr>) -> String {
    let mut text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = {}\n\
         a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.dataDirs = ./data\na1.channels.c1.checkpointDir = ./checkpoint\n\
         a1.channels.c1.capacity = 1000000000\na1.channels.c1.transactionCapacity = 10000\n",
        if end.is_some() { "k1" } else { "" }
    );
    if let Some(end) = end {
        text += &format!(
            "a1.sinks.k1.type = avro\na1.sinks.k1.hostname = {}\na1.sinks.k1.port = {}\na1.sinks.k1.batch-size = 1000\n\
             a1.sinks.k1.channel = c1\n",
            end.ip(),
            end.port()
        );
    }
    text
}

/// Drives until there is enough.
fn fill(target: SocketAddr, settings: &Settings) -> Result<Vec<SentBy>> {
    let plan = Plan {
        target,
        connections: 4,
        threads: 1,
        shape: CallShape {
            batch: 1_000,
            body: settings.body,
            buffers: Buffers::One,
            in_flight: 1,
        },
        warm_up: Duration::ZERO,
        measure: SLICE,
    };
    let (mut all, mut events, mut idle) = (Vec::new(), 0, 0);
    while events * (settings.body as u64) < settings.bytes {
        let outcome = drive(&plan, "fill", |_| Ok(()))?;
        ensure!(
            outcome.errors == 0,
            "{} calls were answered with an error",
            outcome.errors
        );
        let more: u64 = outcome.sent.iter().map(SentBy::acknowledged).sum();
        idle = if more == 0 { idle + 1 } else { 0 };
        ensure!(idle < IDLE_SLICES_MAX, "the subject takes nothing");
        events += more;
        all.extend(outcome.sent);
    }
    Ok(all)
}

fn bytes_in(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// Goes with all that is in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A node; dropping it kills it.
struct Node {
    child: Child,
    log: PathBuf,
    begun: Instant,
}

impl Node {
    fn start(node: &Path, folder: &Path, name: &str, configuration: &str) -> Result<Self> {
        let (file, log) = (
            folder.join(format!("{name}.properties")),
            folder.join(format!("{name}.log")),
        );
        std::fs::write(&file, configuration)?;
        let output = File::create(&log)?;
        let begun = Instant::now();
        let child = Command::new(node)
            .args(["agent", "-n", "a1", "-f"])
            .arg(&file)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", node.display()))?;
        Ok(Self { child, log, begun })
    }

    fn wait_until(&mut self, is_so: impl Fn() -> bool) -> Result<()> {
        while !is_so() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the node ended with {status}\n{}", self.log());
            }
            ensure!(
                self.begun.elapsed() < START_TIME_MAX,
                "the node does not start\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn memory(&self) -> Result<usage::Memory> {
        usage::memory_of_process(self.child.id())
    }

    fn log(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only for a child that has already been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_end_nobody_takes() {
        assert!(configuration(7, None).contains("a1.sinks = \n"));
        let end = (Ipv4Addr::LOCALHOST, 9).into();
        assert!(configuration(7, Some(end)).contains("a1.sinks.k1.port = 9\n"));
    }

    #[test]
    fn too_little_room_is_told_before_anything_starts() {
        let settings = Settings {
            node: "/nowhere".into(),
            folder: std::env::temp_dir(),
            bytes: u64::MAX / 4,
            body: 512,
            drain: Duration::ZERO,
        };
        let refused = run(&settings).unwrap_err().to_string();
        assert!(refused.contains("are needed"), "{refused}");
    }
}
