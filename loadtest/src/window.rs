//! The measured window of a driver that nobody answers: it counts what has got through, and the processor time besides.

use crate::case::Case;
use crate::connection::latency_histogram;
use crate::drive::{Moment, Outcome, THREAD_NAME};
use crate::ledger::{SentBy, Verdict};
use crate::progress::Progress;
use crate::report::{Report, SubjectFigures};
use crate::run::Window;
use crate::subject::{Started, Subject};
use crate::usage;
use anyhow::Result;
use std::time::{Duration, Instant};

/// Between two looks at what has got through; whoever writes waits for them.
const LOOK: Duration = Duration::from_millis(10);

/// What a window saw.
pub struct Measured {
    elapsed: Duration,
    events: u64,
    /// Of the subject, the driver's threads, the machine and this process.
    cpu: [Window; 4],
}

impl Measured {
    /// Warms up, then measures for so long, or until the driver's threads have ended. `seen` tells how many events have
    /// got through.
    ///
    /// # Errors
    /// Those of `seen`, and when usage cannot be read.
    pub fn over(
        case: &Case,
        length: Duration,
        subject: &Subject,
        all_alive: impl Fn() -> bool,
        seen: impl Fn() -> Result<u64>,
    ) -> Result<Self> {
        let mut progress = Progress::new(&case.name, case.warm_up + length);
        let mut wait = |until: Instant| -> Result<()> {
            while Instant::now() < until && all_alive() {
                progress.show(seen()?);
                std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK));
            }
            Ok(())
        };
        let mut cpu = [Window::default(); 4];
        let mut note = |moment| -> Result<()> {
            let now = [
                subject.cpu()?,
                usage::cpu_of_own_threads(THREAD_NAME)?,
                usage::cpu_of_host()?,
                usage::cpu_of_process(std::process::id())?,
            ];
            cpu.iter_mut()
                .zip(now)
                .for_each(|(window, value)| window.note(moment, value));
            Ok(())
        };
        wait(Instant::now() + case.warm_up)?;
        note(Moment::Begin)?;
        let (start, before) = (Instant::now(), seen()?);
        wait(start + length)?;
        let (elapsed, events) = (start.elapsed(), seen()? - before);
        note(Moment::End)?;
        progress.done();
        Ok(Self { elapsed, events, cpu })
    }

    /// As a report on the subject, which is asked for its memory and then stopped.
    ///
    /// # Errors
    /// When the subject cannot be looked at or stopped.
    pub fn report(
        self,
        case: &Case,
        subject: Subject,
        started: Started,
        sent: Vec<SentBy>,
        verdict: Option<Verdict>,
    ) -> Result<Report> {
        let peak_kib = subject.peak_kib()?;
        subject.stop()?;
        let [cpu, driver_cpu, host_cpu, own_cpu] = self.cpu.map(|window| window.length());
        Ok(Report {
            name: case.name.clone(),
            outcome: Outcome {
                calls: self.events,
                events: self.events,
                failed: 0,
                errors: 0,
                frame_size: case.shape.body + 1,
                elapsed: self.elapsed,
                latency: latency_histogram()?,
                sent,
            },
            driver_cpu,
            subject: Some(SubjectFigures {
                started,
                cpu,
                other_cpu: host_cpu.saturating_sub(cpu + own_cpu),
                peak_kib,
            }),
            reference: None,
            verdict,
        })
    }
}
