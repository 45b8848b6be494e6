//! The syslog driver: connections that write messages as fast as they are taken, and nobody answers.
//!
//! As there are no answers, an event counts when it has got through: when its body is in a file of the subject's
//! `files` folder, where the case has one, else when it was written to its connection (what the kernel holds of it is
//! little next to what a window sends). In the end the files are read and every message is looked for in them.

mod message;

use crate::case::{Case, PORT_TARGET};
use crate::drive::{SECONDS_MAX, THREAD_NAME};
use crate::files;
use crate::identity::Producer;
use crate::ledger::{SentBy, Verdict};
use crate::report::Report;
use crate::run::Settings;
use crate::subject::{Subject, free_ports};
use crate::window::Measured;
use anyhow::{Context as _, Result, anyhow, ensure};
use message::{CONNECTIONS_MAX, Chunk, MESSAGE_SIZE_MIN, line_size};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// Name of the folder, in that of the subject, whose files are looked at.
pub const FILES: &str = "files";

/// Most bytes of a message.
const MESSAGE_SIZE_MAX: usize = 64 << 10;
/// A write that takes longer means that nobody reads any more.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// One case from start to stop.
///
/// # Errors
/// When subject or driver fail; an unclean verdict is no error but in the report.
pub fn run(case: &Case, settings: &Settings) -> Result<Report> {
    let measure = settings.seconds.map_or(case.measure, Duration::from_secs_f64);
    check(case, measure)?;
    let ports = free_ports(case.placeholders())?;
    let port = *ports.get(PORT_TARGET).ok_or_else(|| anyhow!("no target port"))?;
    let node = std::path::absolute(&settings.node)?;
    let (subject, started) = Subject::start(case, &node, &settings.node_arguments, &ports)?;
    let senders = Senders::start((Ipv4Addr::LOCALHOST, port).into(), case)?;
    let folder = case.files.then(|| subject.folder().join(FILES));
    let seen = || -> Result<u64> {
        match &folder {
            Some(folder) => Ok(files::files_in(folder)?.size / line_size(case.shape.body)),
            None => Ok(senders.counts.iter().map(|sent| sent.load(Relaxed)).sum()),
        }
    };

    let measured = Measured::over(case, measure, &subject, || senders.all_alive(), seen)?;
    let sent = senders.stop().with_context(|| subject.diagnosis())?;
    let verdict = match &folder {
        Some(folder) => Some(verdict(folder, case.shape.body, &sent)?),
        None => None,
    };
    measured.report(case, subject, started, sent, verdict)
}

fn check(case: &Case, measure: Duration) -> Result<()> {
    ensure!(
        (1..=CONNECTIONS_MAX).contains(&case.connections),
        "connections: expected 1 to {CONNECTIONS_MAX}"
    );
    ensure!(
        (MESSAGE_SIZE_MIN..=MESSAGE_SIZE_MAX).contains(&case.shape.body),
        "body: expected {MESSAGE_SIZE_MIN} to {MESSAGE_SIZE_MAX} bytes of a message"
    );
    ensure!(
        (1..=10_000).contains(&case.shape.batch),
        "batch: expected 1 to 10000 messages of a write"
    );
    ensure!(
        measure > Duration::ZERO && measure.as_secs() <= SECONDS_MAX,
        "seconds: expected more than 0, at most {SECONDS_MAX}"
    );
    Ok(())
}

/// Threads that send, one for each connection.
struct Senders {
    threads: Vec<JoinHandle<Result<u64>>>,
    counts: Vec<Arc<AtomicU64>>,
    stop: Arc<AtomicBool>,
    run: u64,
}

impl Senders {
    fn start(target: SocketAddr, case: &Case) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut senders = Self {
            threads: Vec::new(),
            counts: Vec::new(),
            stop: stop.clone(),
            run: rand::random(),
        };
        for connection in 0..case.connections as u32 {
            let stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))
                .with_context(|| format!("connect to {target}"))?;
            stream.set_write_timeout(Some(WRITE_TIME_MAX))?;
            let (stop, count) = (stop.clone(), Arc::new(AtomicU64::new(0)));
            let chunk = Chunk::new(connection, case.shape.batch, case.shape.body);
            let (counted, batch) = (count.clone(), case.shape.batch as u64);
            let send = move || send(&stream, chunk, batch, &counted, &stop);
            let thread = std::thread::Builder::new().name(format!("{THREAD_NAME}-{connection}"));
            senders.threads.push(thread.spawn(send)?);
            senders.counts.push(count);
        }
        Ok(senders)
    }

    fn all_alive(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Lets all finish what they write, and tells what they have sent.
    fn stop(self) -> Result<Vec<SentBy>> {
        self.stop.store(true, Relaxed);
        let sent = (0..).zip(self.threads).map(|(connection, thread)| {
            let next = thread.join().map_err(|_| anyhow!("a driver thread panicked"))??;
            let producer = Producer {
                run: self.run,
                connection,
            };
            Ok(SentBy {
                producer,
                next,
                unsure: Vec::new(),
            })
        });
        sent.collect()
    }
}

fn send(
    mut stream: &TcpStream,
    mut chunk: Chunk,
    batch: u64,
    count: &AtomicU64,
    stop: &AtomicBool,
) -> Result<u64> {
    let mut next = 0;
    while !stop.load(Relaxed) {
        stream
            .write_all(chunk.numbered(next))
            .context("write to the subject")?;
        next += batch;
        count.store(next, Relaxed);
    }
    Ok(next)
}

/// Waits until all that was sent is in the files, or they do not grow any more, and reads them.
fn verdict(folder: &Path, message_size: usize, sent: &[SentBy]) -> Result<Verdict> {
    let expected = sent.iter().map(SentBy::acknowledged).sum::<u64>() * line_size(message_size);
    let files = files::grown_to(folder, expected)?;
    message::verdict(files.paths.iter().map(PathBuf::as_path), message_size, sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    fn case(load: &str) -> Case {
        Case::parse("x".into(), String::new(), load, "${PORT}".into()).unwrap()
    }

    #[test]
    fn what_senders_say_is_what_arrives() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let senders = Senders::start(
            listener.local_addr().unwrap(),
            &case("driver=syslog\nconnections=2\nbatch=10\nbody=100"),
        )
        .unwrap();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                std::thread::spawn(move || {
                    BufReader::new(stream)
                        .lines()
                        .map(|line| line.unwrap().len())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        while senders.counts.iter().any(|count| count.load(Relaxed) < 100) {
            std::thread::yield_now();
        }
        let sent: u64 = senders.stop().unwrap().iter().map(SentBy::acknowledged).sum();
        let lengths: Vec<usize> = readers
            .into_iter()
            .flat_map(|reader| reader.join().unwrap())
            .collect();
        assert_eq!(lengths.len() as u64, sent);
        assert!(lengths.iter().all(|length| *length == 100));
    }

    #[test]
    fn cases_out_of_range_are_refused() {
        let second = Duration::from_secs(1);
        check(&case("driver=syslog\nbody=256"), second).unwrap();
        for load in ["body=60", "body=100000", "connections=101", "batch=0"] {
            assert!(
                check(&case(&format!("driver=syslog\n{load}")), second).is_err(),
                "{load}"
            );
        }
        assert!(check(&case("driver=syslog"), Duration::ZERO).is_err());
    }
}
