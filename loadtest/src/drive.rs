//! The closed-loop driver: connections over a few threads, each a single-threaded runtime.
//!
//! [`drive`] connects everything first, then warms up, measures and drains; its caller is told of both ends of the
//! measured window and can look at the subject just there.

use crate::connection::{CallShape, Connection, Counters, Phase, Report, latency_histogram};
use crate::identity::{BODY_SIZE_MAX, BODY_SIZE_MIN, Producer};
use crate::ledger::SentBy;
use crate::progress::Progress;
use anyhow::{Context as _, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Name of the driver's threads; the CPU they use is told apart by it.
pub const THREAD_NAME: &str = "drive";

/// How long the last answers are waited for.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(10);

/// Longest warm-up, measurement or other wait that can be asked for.
pub const SECONDS_MAX: u64 = 3600;

/// Most connections, and most calls outstanding on each.
pub const CONNECTIONS_MAX: usize = 1024;

/// What to send where.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// A loopback address.
    pub target: SocketAddr,
    /// How many connections.
    pub connections: usize,
    /// How many threads serve them.
    pub threads: usize,
    /// The calls.
    pub shape: CallShape,
    /// Time before figures are taken.
    pub warm_up: Duration,
    /// Time in which they are taken.
    pub measure: Duration,
}

impl Plan {
    /// # Errors
    /// Names the value that is out of its range, or a target that is not this host's loopback.
    pub fn check(&self) -> Result<()> {
        let shape = &self.shape;
        ensure!(
            self.target.ip().is_loopback(),
            "target {}: only loopback addresses are allowed",
            self.target
        );
        ensure!(
            (1..=CONNECTIONS_MAX).contains(&self.connections),
            "connections: expected 1 to {CONNECTIONS_MAX}"
        );
        ensure!(
            (1..=self.connections).contains(&self.threads),
            "threads: expected 1 to the number of connections"
        );
        ensure!(
            (1..=CONNECTIONS_MAX).contains(&shape.in_flight),
            "in-flight: expected 1 to {CONNECTIONS_MAX}"
        );
        ensure!(
            (BODY_SIZE_MIN..=BODY_SIZE_MAX).contains(&shape.body),
            "body: expected {BODY_SIZE_MIN} to {BODY_SIZE_MAX} bytes"
        );
        let size = shape.batch.saturating_mul(shape.body + 8);
        ensure!(
            shape.batch > 0 && size <= crate::frames::FRAME_SIZE_MAX,
            "batch: expected 1 to 64 MiB of events"
        );
        ensure!(self.measure > Duration::ZERO, "seconds: expected more than 0");
        Ok(())
    }
}

/// The ends of the measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Warm-up is over.
    Begin,
    /// Measuring is over; calls are still outstanding.
    End,
}

/// What was sent and how long it took.
#[derive(Debug)]
pub struct Outcome {
    /// Calls answered OK in the measured window.
    pub calls: u64,
    /// Events in these calls.
    pub events: u64,
    /// Calls answered FAILED, over the whole run.
    pub failed: u64,
    /// Calls answered with a system error, over the whole run.
    pub errors: u64,
    /// Bytes of one call on the wire.
    pub frame_size: usize,
    /// Length of the window as it was.
    pub elapsed: Duration,
    /// Latencies of calls in nanoseconds.
    pub latency: Histogram<u64>,
    /// What a collector should have seen.
    pub sent: Vec<SentBy>,
}

impl Outcome {
    /// Events per second in the window.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.elapsed.as_secs_f64()
    }

    /// Calls per second in the window.
    pub fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }

    /// Bytes on the wire per second in the window.
    pub fn bytes_per_second(&self) -> f64 {
        self.calls_per_second() * self.frame_size as f64
    }
}

/// Sends as the plan says; bounded by warm-up, measurement and [`DRAIN_TIME_MAX`].
///
/// # Errors
/// When the plan is wrong, a connection cannot be made or breaks.
pub fn drive(plan: &Plan, title: &str, mut watch: impl FnMut(Moment) -> Result<()>) -> Result<Outcome> {
    plan.check()?;
    let counters = Arc::new(Counters::default());
    counters.enter(Phase::WarmUp);
    let run: u64 = rand::random();
    let deadline = Instant::now() + plan.warm_up + plan.measure + DRAIN_TIME_MAX;
    let mut threads = Vec::new();
    for (index, streams) in connect(plan)?.into_iter().enumerate() {
        threads.push(spawn(index, streams, run, *plan, counters.clone(), deadline)?);
    }

    let mut progress = Progress::new(title, plan.warm_up + plan.measure);
    let alive = |threads: &[JoinHandle<_>]| threads.iter().all(|thread| !thread.is_finished());
    let mut wait = |until: Instant, threads: &[JoinHandle<_>]| {
        while Instant::now() < until && alive(threads) {
            progress.show(counters.events.load(Relaxed));
            std::thread::sleep(
                until
                    .saturating_duration_since(Instant::now())
                    .min(Duration::from_millis(100)),
            );
        }
    };
    let begun = Instant::now();
    wait(begun + plan.warm_up, &threads);
    watch(Moment::Begin)?;
    counters.enter(Phase::Measure);
    let (start, calls, events) = (
        Instant::now(),
        counters.calls.load(Relaxed),
        counters.events.load(Relaxed),
    );
    wait(start + plan.measure, &threads);
    let elapsed = start.elapsed();
    let (calls, events) = (
        counters.calls.load(Relaxed) - calls,
        counters.events.load(Relaxed) - events,
    );
    counters.enter(Phase::Drain);
    watch(Moment::End)?;

    let (mut latency, mut sent, mut frame_size) = (latency_histogram()?, Vec::new(), 0);
    for thread in threads {
        let done = thread.join().map_err(|_| anyhow!("a driver thread panicked"))??;
        frame_size = done.frame_size;
        for report in done.reports {
            latency.add(&report.latency).context("histograms of one shape")?;
            sent.push(report.sent);
        }
    }
    progress.done();
    let (failed, errors) = (counters.failed.load(Relaxed), counters.errors.load(Relaxed));
    Ok(Outcome {
        calls,
        events,
        failed,
        errors,
        frame_size,
        elapsed,
        latency,
        sent,
    })
}

type Streams = Vec<(u32, std::net::TcpStream)>;

/// All connections, dealt out to the threads.
fn connect(plan: &Plan) -> Result<Vec<Streams>> {
    let mut dealt: Vec<Streams> = (0..plan.threads).map(|_| Vec::new()).collect();
    for index in 0..plan.connections {
        let stream = std::net::TcpStream::connect_timeout(&plan.target, Duration::from_secs(5))
            .with_context(|| format!("connect to {}", plan.target))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        dealt[index % plan.threads].push((index as u32, stream));
    }
    Ok(dealt)
}

struct ThreadReport {
    reports: Vec<Report>,
    frame_size: usize,
}

fn spawn(
    index: usize,
    streams: Streams,
    run: u64,
    plan: Plan,
    counters: Arc<Counters>,
    deadline: Instant,
) -> Result<JoinHandle<Result<ThreadReport>>> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(serve(streams, run, plan, counters, deadline))
    };
    std::thread::Builder::new()
        .name(format!("{THREAD_NAME}-{index}"))
        .spawn(work)
        .context("driver thread")
}

/// Runs the connections of one thread to their end, or to the deadline.
async fn serve(
    streams: Streams,
    run: u64,
    plan: Plan,
    counters: Arc<Counters>,
    deadline: Instant,
) -> Result<ThreadReport> {
    let mut tasks = tokio::task::JoinSet::new();
    let mut frame_size = 0;
    for (index, stream) in streams {
        let stream = tokio::net::TcpStream::from_std(stream)?;
        let producer = Producer {
            run,
            connection: index,
        };
        let mut connection = Connection::new(stream, producer, &plan.shape, counters.clone())?;
        frame_size = connection.frame_size();
        tasks.spawn(async move {
            // At the deadline the unanswered calls are reported as unsure; that is no error of the driver.
            match tokio::time::timeout_at(deadline.into(), connection.run()).await {
                Ok(Err(error)) => Err(error.context(format!("connection {index}"))),
                Ok(Ok(())) | Err(_) => Ok(connection.finish()),
            }
        });
    }
    let mut reports = Vec::new();
    while let Some(report) = tasks.join_next().await {
        reports.push(report.context("a connection's task ended early")??);
    }
    Ok(ThreadReport { reports, frame_size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::FrameReader;
    use crate::identity::Verifier;
    use crate::serve::{Mode, Server};
    use crate::wire::{self, Buffers, Cursor};
    use std::io::{Read as _, Write as _};

    fn plan(target: SocketAddr, shape: CallShape) -> Plan {
        let measure = Duration::from_millis(150);
        Plan {
            target,
            connections: 3,
            threads: 2,
            shape,
            warm_up: Duration::from_millis(20),
            measure,
        }
    }

    #[test]
    fn driver_and_collector_agree_in_every_shape() {
        for buffers in [Buffers::One, Buffers::Java] {
            for (batch, body, in_flight) in [(1, 500, 1), (1, 32, 40), (100, 509, 3), (1000, 500, 1)] {
                let server = Server::start(([127, 0, 0, 1], 0).into(), Mode::Verify).unwrap();
                let shape = CallShape {
                    batch,
                    body,
                    buffers,
                    in_flight,
                };
                let outcome = drive(&plan(server.address(), shape), "test", |_| Ok(())).unwrap();
                let verdict = server.verdict(Some(&outcome.sent));
                assert!(
                    verdict.is_clean() && verdict.producers == 3,
                    "{shape:?} {verdict}"
                );
                assert_eq!(
                    verdict.events,
                    outcome.sent.iter().map(|sent| sent.acknowledged()).sum::<u64>()
                );
                assert!(outcome.events > 0 && !outcome.latency.is_empty());
            }
        }
    }

    /// A server that refuses every third call; gives the numbers of those it took.
    fn moody(listener: std::net::TcpListener) -> Vec<u64> {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut reader, mut verifier) = (FrameReader::default(), Verifier::default());
        let (mut taken, mut calls, mut out) = (Vec::new(), 0, Vec::new());
        loop {
            let size = stream.read(reader.spare()).unwrap();
            if size == 0 {
                return taken;
            }
            reader.filled(size);
            while let Some(frame) = reader.next().unwrap() {
                let mut cursor = Cursor(reader.message(frame));
                if calls == 0 {
                    cursor.take(35).unwrap();
                }
                cursor.skip_map().unwrap();
                assert_eq!(cursor.bytes().unwrap(), b"append");
                cursor.skip_map().unwrap();
                let (_, number) = verifier.check(cursor.bytes().unwrap()).unwrap();
                let payload: &[u8] = match calls % 6 {
                    2 => &[0, 2],
                    5 => &[1, 0, 2, b'x'],
                    _ => &[0, 0],
                };
                if payload == [0, 0] {
                    taken.push(number);
                }
                out.clear();
                wire::put_answer(
                    &mut out,
                    frame.serial,
                    if calls == 0 { &[0; 4] } else { &[] },
                    payload,
                );
                stream.write_all(&out).unwrap();
                calls += 1;
            }
        }
    }

    #[test]
    fn refused_calls_are_sent_again_before_anything_new() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || moody(listener));
        let shape = CallShape {
            batch: 1,
            body: 64,
            buffers: Buffers::Java,
            in_flight: 1,
        };
        let plan = Plan {
            connections: 1,
            threads: 1,
            ..plan(target, shape)
        };
        let outcome = drive(&plan, "test", |_| Ok(())).unwrap();
        let taken = server.join().unwrap();
        assert!(outcome.failed > 3 && outcome.errors > 3);
        assert_eq!(outcome.sent[0].acknowledged(), taken.len() as u64);
        assert!(taken.iter().copied().eq(0..taken.len() as u64), "{taken:?}");
    }

    #[test]
    fn plans_out_of_range_are_refused() {
        let shape = CallShape {
            batch: 1,
            body: 31,
            buffers: Buffers::One,
            in_flight: 1,
        };
        let good = plan(([127, 0, 0, 1], 1).into(), CallShape { body: 32, ..shape });
        good.check().unwrap();
        assert!(Plan { shape, ..good }.check().is_err());
        assert!(
            Plan {
                target: ([192, 0, 2, 1], 1).into(),
                ..good
            }
            .check()
            .is_err()
        );
        assert!(Plan { threads: 4, ..good }.check().is_err());
    }
}
