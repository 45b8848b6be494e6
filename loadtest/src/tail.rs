//! The file driver: writers that append lines as fast as they are read, and rotate their files away.
//!
//! What the lines come to is the verifying sink end, or files of the subject's folder [`OUT`], where each is a line again.
//!
//! A writer has a file `files/<number>.log`, writes it in pieces that cut lines anywhere, as buffered writers do, and
//! after so many lines renames it to `files/<number>.log.<rotation>` and makes a new one at once. It never is more than
//! [`BACKLOG_MAX`] lines ahead of that, so that the figure is what goes through, and removes what went through. An event
//! counts when the sink end has verified it, or when its line is in a file: those are verified in the end.

use crate::case::{Case, PORT_COLLECT, PORT_TARGET};
use crate::drive::{CONNECTIONS_MAX, SECONDS_MAX, THREAD_NAME};
use crate::files;
use crate::identity::{BODY_SIZE_MAX, LINE_SIZE_MIN, Line, Producer, Verifier};
use crate::ledger::{Ledger, SentBy, Verdict};
use crate::report::Report;
use crate::run::Settings;
use crate::serve::{Mode, Server};
use crate::subject::{Started, Subject, free_ports};
use crate::window::Measured;
use anyhow::{Context as _, Result, anyhow, ensure};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Name of the folder, in that of the subject, in which the writers' files are.
pub const FILES: &str = "files";

/// Name of the folder, in that of the subject, into which a case with `files` has it write.
pub const OUT: &str = "out";

/// Lines that are written and not verified yet, over all writers.
const BACKLOG_MAX: u64 = 200_000;
/// How long a writer waits that is too far ahead.
const PAUSE: Duration = Duration::from_micros(200);
/// Bytes of a write: not a multiple of any line.
const PIECE: usize = 8_191;
/// How long lines may take to come out in all, and without any progress.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);
const DRAIN_PATIENCE: Duration = Duration::from_secs(8);
/// After the last expected line, a duplicate may still follow; this long is waited for it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// One case from start to stop.
///
/// # Errors
/// When subject or driver fail; an unclean verdict is no error but in the report.
pub fn run(case: &Case, settings: &Settings) -> Result<Report> {
    let measure = settings.seconds.map_or(case.measure, Duration::from_secs_f64);
    check(case, measure)?;
    let (subject, started, end) = start(case, settings)?;
    let writers = Writers::start(&subject.folder().join(FILES), case, &end)?;

    let measured = Measured::over(case, measure, &subject, || writers.all_alive(), || end.look())?;
    let (sent, rotations) = writers.stop().with_context(|| subject.diagnosis())?;
    eprintln!("{}: {rotations} rotations", case.name);
    let verdict = end.verdict(&sent)?;
    measured.report(case, subject, started, sent, Some(verdict))
}

/// Where lines come out.
enum End {
    Collector(Server),
    Files {
        folder: PathBuf,
        line_bytes: u64,
        /// Lines that were there when it was last looked.
        seen: AtomicU64,
    },
}

impl End {
    /// Lines that have come out, as far as is known.
    fn seen(&self) -> u64 {
        match self {
            Self::Collector(server) => server.distinct(),
            Self::Files { seen, .. } => seen.load(Relaxed),
        }
    }

    /// Looks, and says how many have come out now.
    fn look(&self) -> Result<u64> {
        if let Self::Files {
            folder,
            line_bytes,
            seen,
        } = self
        {
            seen.store(files::files_in(folder)?.size / line_bytes, Relaxed);
        }
        Ok(self.seen())
    }

    /// Waits for the rest, and for what is too much.
    fn verdict(&self, sent: &[SentBy]) -> Result<Verdict> {
        let expected = sent.iter().map(SentBy::acknowledged).sum();
        match self {
            Self::Collector(server) => {
                server.wait_for(expected, DRAIN_PATIENCE, Instant::now() + DRAIN_TIME_MAX);
                std::thread::sleep(AFTERMATH);
                Ok(server.verdict(Some(sent)))
            }
            Self::Files {
                folder, line_bytes, ..
            } => {
                files::grown_to(folder, expected * line_bytes)?;
                std::thread::sleep(AFTERMATH);
                lines_in(folder, *line_bytes as usize, sent)
            }
        }
    }
}

/// What the lines of a folder's files say about those that were sent.
fn lines_in(folder: &Path, line_bytes: usize, sent: &[SentBy]) -> Result<Verdict> {
    let (mut ledger, mut verifier, mut line) = (Ledger::default(), Verifier::default(), Vec::new());
    for path in files::files_in(folder)?.paths {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        while reader.read_until(b'\n', &mut line)? > 0 {
            ensure!(
                line.len() <= 2 * line_bytes,
                "{}: a line of {} bytes",
                path.display(),
                line.len()
            );
            match line.strip_suffix(b"\n").and_then(|line| verifier.check(line)) {
                Some((producer, number)) => ledger.record(producer, number),
                None => ledger.record_corrupt(),
            }
            line.clear();
        }
    }
    Ok(ledger.verdict(Some(sent)))
}

fn start(case: &Case, settings: &Settings) -> Result<(Subject, Started, Arc<End>)> {
    let collector = match case.files {
        true => None,
        false => Some(Server::start((Ipv4Addr::LOCALHOST, 0).into(), Mode::Verify)?),
    };
    let mut ports = free_ports(vec![PORT_TARGET.to_owned()])?;
    // Nothing of the subject listens, so that it is its page of metrics that shows when it is up.
    let metrics = ports
        .get(PORT_TARGET)
        .ok_or_else(|| anyhow!("no port for metrics"))?;
    let mut arguments = settings.node_arguments.clone();
    arguments.push("-Dflume.monitoring.type=http".to_owned());
    arguments.push(format!("-Dflume.monitoring.port={metrics}"));
    let address = collector.as_ref().map(Server::address);
    ports.extend(address.map(|address| (PORT_COLLECT.to_owned(), address.port())));
    let node = std::path::absolute(&settings.node)?;
    let (subject, started) = Subject::start(case, &node, &arguments, &ports)?;
    let end = match collector {
        Some(collector) => End::Collector(collector),
        None => End::Files {
            folder: subject.folder().join(OUT),
            line_bytes: case.shape.body as u64 + 1,
            seen: AtomicU64::new(0),
        },
    };
    Ok((subject, started, Arc::new(end)))
}

fn check(case: &Case, measure: Duration) -> Result<()> {
    ensure!(
        (1..=CONNECTIONS_MAX).contains(&case.connections),
        "connections: expected 1 to {CONNECTIONS_MAX} files"
    );
    ensure!(
        (LINE_SIZE_MIN..=BODY_SIZE_MAX).contains(&case.shape.body),
        "body: expected {LINE_SIZE_MIN} to {BODY_SIZE_MAX} bytes of a line"
    );
    ensure!(
        (1..=10_000).contains(&case.shape.batch),
        "batch: expected 1 to 10000 lines at once"
    );
    ensure!(
        measure > Duration::ZERO && measure.as_secs() <= SECONDS_MAX,
        "seconds: expected more than 0, at most {SECONDS_MAX}"
    );
    Ok(())
}

/// Threads that write, one for each file.
struct Writers {
    threads: Vec<JoinHandle<Result<(SentBy, u64)>>>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    fn start(folder: &Path, case: &Case, end: &Arc<End>) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (run, all) = (rand::random(), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for connection in 0..case.connections as u32 {
            let producer = Producer { run, connection };
            let path = folder.join(format!("{connection}.log"));
            let mut writer = Writer::new(producer, path, case)?;
            let (stop, end, all) = (stop.clone(), end.clone(), all.clone());
            let write = move || {
                while !stop.load(Relaxed) {
                    if all.load(Relaxed) >= end.seen() + BACKLOG_MAX {
                        std::thread::sleep(PAUSE);
                        continue;
                    }
                    all.fetch_add(writer.write()?, Relaxed);
                }
                Ok(writer.done())
            };
            let thread = std::thread::Builder::new().name(format!("{THREAD_NAME}-{connection}"));
            threads.push(thread.spawn(write)?);
        }
        Ok(Self { threads, stop })
    }

    fn all_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Lets all finish what they write; tells what they have written, and how often they rotated.
    fn stop(self) -> Result<(Vec<SentBy>, u64)> {
        self.stop.store(true, Relaxed);
        let (mut sent, mut rotations) = (Vec::new(), 0);
        for thread in self.threads {
            let (by, rotated) = thread.join().map_err(|_| anyhow!("a driver thread panicked"))??;
            sent.push(by);
            rotations += rotated;
        }
        Ok((sent, rotations))
    }
}

/// One file and those that it was before.
struct Writer {
    producer: Producer,
    path: PathBuf,
    file: File,
    line: Line,
    chunk: Vec<u8>,
    batch: u64,
    /// 0 for never.
    lines_per_file: u64,
    next: u64,
    in_file: u64,
    rotations: u64,
    /// With the number after their last line.
    old: VecDeque<(PathBuf, u64)>,
}

impl Writer {
    fn new(producer: Producer, path: PathBuf, case: &Case) -> Result<Self> {
        Ok(Self {
            producer,
            file: create(&path)?,
            path,
            line: Line::new(producer, case.shape.body),
            chunk: Vec::new(),
            batch: case.shape.batch as u64,
            lines_per_file: case.lines_per_file,
            next: 0,
            in_file: 0,
            rotations: 0,
            old: VecDeque::new(),
        })
    }

    /// Writes some lines, and rotates if the file has enough. Says how many lines.
    fn write(&mut self) -> Result<u64> {
        let mut lines = self.batch;
        if self.lines_per_file > 0 {
            lines = lines.min(self.lines_per_file - self.in_file);
        }
        self.chunk.clear();
        for number in self.next..self.next + lines {
            self.line.put(number, &mut self.chunk);
        }
        for piece in self.chunk.chunks(PIECE) {
            self.file.write_all(piece).context("write a line")?;
        }
        self.next += lines;
        self.in_file += lines;
        if self.in_file == self.lines_per_file {
            self.rotate()?;
        }
        Ok(lines)
    }

    fn rotate(&mut self) -> Result<()> {
        self.rotations += 1;
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}", self.rotations));
        let old = PathBuf::from(name);
        std::fs::rename(&self.path, &old).context("rotate")?;
        self.file = create(&self.path)?;
        self.in_file = 0;
        self.old.push_back((old, self.next));
        // Of what is so far back, all has come out: the backlog is shorter.
        while let Some((path, end)) = self.old.front() {
            if end + 2 * BACKLOG_MAX > self.next {
                break;
            }
            std::fs::remove_file(path).context("remove an old file")?;
            self.old.pop_front();
        }
        Ok(())
    }

    fn done(self) -> (SentBy, u64) {
        let sent = SentBy {
            producer: self.producer,
            next: self.next,
            unsure: Vec::new(),
        };
        (sent, self.rotations)
    }
}

fn create(path: &Path) -> Result<File> {
    let mut options = File::options();
    let file = options.append(true).create_new(true).open(path);
    file.with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Verifier;

    fn case(load: &str) -> Case {
        let load = format!("driver=tail\ncollect=true\n{load}");
        Case::parse("x".into(), String::new(), &load, "${PORT_COLLECT}".into()).unwrap()
    }

    #[test]
    fn what_a_writer_says_is_what_is_in_its_files() {
        let folder = std::env::temp_dir().join(format!("loadtest-tail-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let case = case("batch=7\nbody=101\nlines-per-file=20");
        let producer = Producer {
            run: 9,
            connection: 3,
        };
        let path = folder.join("3.log");
        let mut writer = Writer::new(producer, path.clone(), &case).unwrap();
        while writer.rotations < 3 {
            writer.write().unwrap();
        }
        writer.write().unwrap();
        let (sent, rotations) = writer.done();
        assert_eq!((sent.acknowledged(), rotations), (67, 3));
        let name = |n: u64| folder.join(format!("3.log.{n}"));
        let files = [name(1), name(2), name(3), path];
        let texts = files.map(|file| std::fs::read(file).unwrap()).concat();
        let mut verifier = Verifier::default();
        let lines = texts.split(|b| *b == b'\n').filter(|line| !line.is_empty());
        let found: Vec<_> = lines.map(|line| verifier.check(line)).collect();
        let expected: Vec<_> = (0..67).map(|n| Some((producer, n))).collect();
        assert_eq!(found, expected);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn cases_out_of_range_are_refused() {
        let second = Duration::from_secs(1);
        check(&case("body=100"), second).unwrap();
        for load in ["body=64", "connections=0", "batch=0"] {
            assert!(check(&case(load), second).is_err(), "{load}");
        }
        assert!(check(&case(""), Duration::ZERO).is_err());
    }
}
