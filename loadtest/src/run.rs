//! Runs cases: references first, while nothing else runs; then start, warm up, measure, drain, judge, stop.

use crate::case::{Case, Driver, PORT_COLLECT, PORT_TARGET};
use crate::drive::{self, Moment, Plan, drive};
use crate::raw;
use crate::report::{Reference, Report, SubjectFigures};
use crate::serve::{Mode, Server};
use crate::subject::{Subject, free_ports};
use crate::usage;
use anyhow::{Context as _, Result, anyhow, ensure};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long each reference is measured.
const REFERENCE_TIME: Duration = Duration::from_secs(2);

/// How long events may take to drain out of the subject in all, and without any progress.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);
const DRAIN_PATIENCE: Duration = Duration::from_secs(8);

/// After the last expected event, a duplicate may still follow; this long is waited for it.
const AFTERMATH: Duration = Duration::from_millis(500);

/// How cases are run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The subject's binary.
    pub node: PathBuf,
    /// Added to its command line.
    pub node_arguments: Vec<String>,
    /// Instead of the case's.
    pub seconds: Option<f64>,
    /// Threads of the driver.
    pub threads: usize,
}

/// Names of the cases in a folder, sorted.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(cases: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(cases).with_context(|| cases.display().to_string())?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("load.properties").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// One case from start to stop.
///
/// # Errors
/// When subject, driver or sink end fail; an unclean verdict is no error but in the report.
pub fn run(case: &Case, settings: &Settings) -> Result<Report> {
    ensure!(
        settings.node.is_file(),
        "no binary at {}; build it or give --node",
        settings.node.display()
    );
    match case.driver {
        Driver::Avro => {}
        Driver::Syslog => return crate::syslog::run(case, settings),
        Driver::Tail => return crate::tail::run(case, settings),
    }
    let mut plan = Plan {
        target: loopback(0),
        connections: case.connections,
        threads: settings.threads.min(case.connections),
        shape: case.shape,
        warm_up: case.warm_up,
        measure: settings.seconds.map_or(case.measure, Duration::from_secs_f64),
    };
    plan.check()?;
    let reference = reference(&plan)?;

    let collector = if case.collect {
        Some(Server::start(loopback(0), Mode::Verify)?)
    } else {
        None
    };
    let collector_port = collector.as_ref().map(|server| server.address().port());
    let ports = allot_ports(case, collector_port)?;
    plan.target = loopback(*ports.get(PORT_TARGET).ok_or_else(|| anyhow!("no target port"))?);
    // The subject runs in a folder of its own, where a relative path would lead nowhere.
    let node = std::path::absolute(&settings.node)?;
    let (subject, started) = Subject::start(case, &node, &settings.node_arguments, &ports)?;

    let mut subject_cpu = Window::default();
    let mut driver_cpu = Window::default();
    let (mut host_cpu, mut own_cpu) = (Window::default(), Window::default());
    let outcome = drive(&plan, &case.name, |moment| {
        subject_cpu.note(moment, subject.cpu()?);
        driver_cpu.note(moment, usage::cpu_of_own_threads(drive::THREAD_NAME)?);
        host_cpu.note(moment, usage::cpu_of_host()?);
        own_cpu.note(moment, usage::cpu_of_process(std::process::id())?);
        Ok(())
    })
    .with_context(|| subject.diagnosis())?;
    let verdict = collector.map(|collector| {
        let expected = outcome.sent.iter().map(|sent| sent.acknowledged()).sum();
        collector.wait_for(expected, DRAIN_PATIENCE, Instant::now() + DRAIN_TIME_MAX);
        std::thread::sleep(AFTERMATH);
        collector.verdict(Some(&outcome.sent))
    });
    let other_cpu = host_cpu
        .length()
        .saturating_sub(subject_cpu.length() + own_cpu.length());
    let peak_kib = subject.peak_kib()?;
    subject.stop()?;
    Ok(Report {
        name: case.name.clone(),
        outcome,
        driver_cpu: driver_cpu.length(),
        subject: Some(SubjectFigures {
            started,
            cpu: subject_cpu.length(),
            other_cpu,
            peak_kib,
        }),
        reference: Some(reference),
        verdict,
    })
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn allot_ports(case: &Case, collector_port: Option<u16>) -> Result<BTreeMap<String, u16>> {
    let names = case
        .placeholders()
        .into_iter()
        .filter(|name| name != PORT_COLLECT)
        .collect();
    let mut ports = free_ports(names)?;
    ports.extend(collector_port.map(|port| (PORT_COLLECT.to_owned(), port)));
    Ok(ports)
}

/// What the machine can do: raw TCP, and the same driver against a server that only answers.
fn reference(plan: &Plan) -> Result<Reference> {
    let server = Server::start(loopback(0), Mode::Swallow)?;
    let warm_up = REFERENCE_TIME / 10;
    let plan = Plan {
        target: server.address(),
        warm_up,
        measure: REFERENCE_TIME,
        ..*plan
    };
    let outcome = drive(&plan, "reference", |_| Ok(()))?;
    Ok(Reference {
        raw: raw::measure(REFERENCE_TIME)?,
        swallow_events_per_second: outcome.events_per_second(),
    })
}

/// A counter at both ends of the measured window.
#[derive(Debug, Default, Clone, Copy)]
pub struct Window {
    begin: Duration,
    end: Duration,
}

impl Window {
    /// Keeps the value for one end.
    pub fn note(&mut self, moment: Moment, value: Duration) {
        match moment {
            Moment::Begin => self.begin = value,
            Moment::End => self.end = value,
        }
    }

    /// The difference.
    pub fn length(&self) -> Duration {
        self.end.saturating_sub(self.begin)
    }
}
