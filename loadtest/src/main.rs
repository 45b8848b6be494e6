//! Drives a node from outside, verifies what comes out, and measures.
//!
//! In the code: `main` > `cli`; `run` and `backlog` > `case`, `subject`, `report`; both ends of a measurement, `drive` > `connection`
//! and `serve`, stand on `wire`, `frames`, `identity` and `ledger`. Nothing of the node is used.
//!
#![doc = include_str!("../README.md")]

mod backlog;
mod case;
mod cli;
mod connection;
mod drive;
mod files;
mod frames;
mod identity;
mod ledger;
mod progress;
mod raw;
mod report;
mod run;
mod serve;
mod subject;
mod syslog;
mod tail;
mod usage;
mod window;
mod wire;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use cli::{Cli, Command};
use connection::CallShape;
use drive::Plan;
use progress::Progress;
use report::Report;
use serve::{Mode, Server};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let good = match Cli::parse().command {
        Command::Drive(arguments) => drive(&arguments),
        Command::Collect(arguments) => serve(&arguments, Mode::Verify),
        Command::Swallow(arguments) => serve(&arguments, Mode::Swallow),
        Command::Run(arguments) => run(&arguments),
        Command::Backlog(arguments) => backlog(&arguments),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn drive(arguments: &cli::Drive) -> Result<bool> {
    let plan = Plan {
        target: arguments.target,
        connections: arguments.connections,
        threads: arguments.threads,
        shape: CallShape {
            batch: arguments.batch,
            body: arguments.body,
            buffers: arguments.frame_buffers,
            in_flight: arguments.in_flight,
        },
        warm_up: Duration::from_secs_f64(arguments.warm_up),
        measure: Duration::from_secs_f64(arguments.seconds),
    };
    let mut cpu = run::Window::default();
    let outcome = drive::drive(&plan, "drive", |moment| {
        cpu.note(moment, usage::cpu_of_own_threads(drive::THREAD_NAME)?);
        Ok(())
    })?;
    let sent: u64 = outcome.sent.iter().map(|sent| sent.acknowledged()).sum();
    let driver_cpu = cpu.length();
    let name = "drive".to_owned();
    let report = Report {
        name,
        outcome,
        driver_cpu,
        subject: None,
        reference: None,
        verdict: None,
    };
    println!("{report}  {:<22} {sent:>14}", "acknowledged in all");
    write_json(arguments.json.as_deref(), &[report.json()])?;
    Ok(report.is_good())
}

fn serve(arguments: &cli::Serve, mode: Mode) -> Result<bool> {
    let server = Server::start(arguments.listen, mode)?;
    eprintln!("listening on {}", server.address());
    let limit = Duration::from_secs_f64(arguments.seconds);
    let idle = Duration::from_secs_f64(arguments.idle);
    let mut progress = Progress::new("sink end", limit);
    let (begun, mut first, mut last) = (Instant::now(), None, (Instant::now(), 0));
    while begun.elapsed() < limit {
        std::thread::sleep(Duration::from_millis(100));
        let calls = server.calls();
        if calls > last.1 {
            last = (Instant::now(), calls);
            first.get_or_insert(last.0);
        }
        if mode == Mode::Verify {
            progress.show(server.distinct());
        }
        if arguments.expect.is_some_and(|events| server.distinct() >= events)
            || (calls > 0 && last.0.elapsed() >= idle)
        {
            break;
        }
    }
    progress.done();
    let seconds = first
        .map_or(0.0, |first| (last.0 - first).as_secs_f64())
        .max(0.001);
    let megabytes = server.bytes() as f64 / 1e6;
    println!(
        "{} calls, {megabytes:.1} MB in {seconds:.1} s = {:.1} MB/s",
        server.calls(),
        megabytes / seconds
    );
    if mode == Mode::Swallow {
        return Ok(true);
    }
    let verdict = server.verdict(None);
    println!("{verdict}");
    Ok(verdict.is_clean() && arguments.expect.is_none_or(|events| server.distinct() >= events))
}

fn run(arguments: &cli::Run) -> Result<bool> {
    let folder = arguments
        .cases_in
        .clone()
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"));
    let names = if arguments.cases.is_empty() {
        run::list(&folder)?
    } else {
        arguments.cases.clone()
    };
    if arguments.list {
        for name in names {
            println!("{name:<32} {}", case::Case::load(&folder.join(&name))?.about);
        }
        return Ok(true);
    }
    let settings = run::Settings {
        node: arguments.node.clone().map_or_else(default_node, Ok)?,
        node_arguments: arguments.node_arguments.clone(),
        seconds: arguments.seconds,
        threads: arguments.threads,
    };
    // All are read before the first runs, so that a slip in the last is not found after minutes.
    let cases = names
        .iter()
        .map(|name| case::Case::load(&folder.join(name)))
        .collect::<Result<Vec<_>>>()?;
    let beside = arguments.beside.as_ref().map(|node| run::Settings {
        node: node.clone(),
        node_arguments: Vec::new(),
        ..settings.clone()
    });
    let (mut good, mut reports) = (true, Vec::new());
    for case in &cases {
        let own = run_one(case, &case.name, &settings, &mut reports);
        good &= own.as_ref().is_some_and(Report::is_good);
        let Some(settings) = &beside else { continue };
        let program = settings.node.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{} ({program})", case.name);
        let other = run_one(case, &name, settings, &mut reports);
        good &= other.as_ref().is_some_and(Report::is_good);
        if let (Some(own), Some(other)) = (own, other) {
            println!("{}", own.compared_with(&other));
        }
    }
    write_json(arguments.json.as_deref(), &reports)?;
    Ok(good)
}

fn backlog(arguments: &cli::Backlog) -> Result<bool> {
    let node = arguments.node.clone().map_or_else(default_node, Ok)?;
    let figures = backlog::run(&backlog::Settings {
        node,
        folder: arguments.folder.clone().unwrap_or_else(std::env::temp_dir),
        bytes: arguments.size,
        body: arguments.body,
        drain: Duration::from_secs_f64(arguments.drain),
    })?;
    println!("{figures}");
    write_json(arguments.json.as_deref(), &[figures.json()])?;
    Ok(figures.is_good())
}

/// One case with one subject, printed and added to the reports; none if it ended by an error.
fn run_one(
    case: &case::Case,
    name: &str,
    settings: &run::Settings,
    reports: &mut Vec<serde_json::Value>,
) -> Option<Report> {
    match run::run(case, settings) {
        Ok(mut report) => {
            name.clone_into(&mut report.name);
            println!("{report}");
            reports.push(report.json());
            Some(report)
        }
        Err(error) => {
            println!("{name}  << ENDED BY AN ERROR\n  {error:#}\n");
            reports.push(serde_json::json!({ "name": name, "good": false, "error": format!("{error:#}") }));
            None
        }
    }
}

/// Beside this executable, else where a plain release build puts it.
fn default_node() -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .context("own path")?
        .with_file_name("node");
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/node");
    Ok(if beside.is_file() { beside } else { built })
}

fn write_json(file: Option<&Path>, reports: &[serde_json::Value]) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(reports)?;
    std::fs::write(file, text + "\n").with_context(|| file.display().to_string())
}
