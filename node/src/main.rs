//! The binary `node`: command line, logging, signals, exit codes. What it runs is the library's [`node::Node`].

mod inspect;

use node::avro_client::{self, Fault};
use node::channel_files::{self, Outcome as Found};
use node::channel_import;
use node::cli::channel::ChannelCommand;
use node::cli::{self, AgentOptions, Command};
use node::component::keys::Severity;
use node::telemetry::log;
use node::{Node, Outcome, StartError, Stopper};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Gives memory back to the system and scales over threads; in the binary only, never in the library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Agent(options)) => ExitCode::from(agent(&options)),
        Ok(Command::AvroClient(options)) => ExitCode::from(avro_client(&options)),
        Ok(Command::Channel(command)) => ExitCode::from(channel(&command)),
        Ok(Command::Check(options)) => ExitCode::from(inspect::check(&options)),
        Ok(Command::Explain(options)) => ExitCode::from(inspect::explain(&options)),
        Ok(Command::Version) => {
            print!("{}", cli::version_text());
            ExitCode::SUCCESS
        }
        Ok(Command::Help) => {
            print!("{}", cli::usage());
            ExitCode::SUCCESS
        }
        Err(exit) => {
            print!("{}", exit.stdout);
            eprint!("{}", exit.stderr);
            ExitCode::from(exit.code)
        }
    }
}

/// Runs an agent to its end; returns the exit code.
/// As the JVM does: as many open files as the system allows. A file channel has one for every 64 MiB of its backlog.
fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

fn agent(options: &AgentOptions) -> u8 {
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    if options.dry_run {
        print!("{}", cli::dry_run(options));
        return cli::EXIT_OK;
    }
    let log_guard = match log::install(options.log_format, &options.log_level) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("Error: {error}");
            return cli::EXIT_USAGE;
        }
    };
    raise_open_files();
    let builder = Node::builder()
        .agent(&options.name)
        .seed(options.seed.unwrap_or_else(rand::random))
        .max_heap_bytes(options.max_heap_bytes)
        .admin(options.admin)
        .flume_metrics(flume_metrics(options))
        .poll_interval(if options.reload {
            options.poll_interval
        } else {
            Duration::ZERO
        })
        .lenient(options.lenient)
        .configuration(options.sources.clone());
    // Before anything runs, so that no signal finds the process without a handler.
    let stopper = match listen_for_signals(log_guard.hurry()) {
        Ok(stopper) => stopper,
        Err(error) => {
            eprintln!("Error: cannot listen for signals: {error}");
            return cli::EXIT_GAVE_UP;
        }
    };
    let node = match builder.start() {
        Ok(node) => node,
        Err(error) => return refused(&error),
    };
    for finding in node.findings() {
        match finding.severity {
            Severity::Note => tracing::info!("{finding}"),
            Severity::Error => tracing::error!("{finding}"),
            _ => tracing::warn!("{finding}"),
        }
    }
    tracing::info!(
        agent = options.name,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    let _ = stopper.send(node.stopper());
    match node.wait() {
        Outcome::Stopped { left: 0 } => {
            tracing::info!("stopped");
            cli::EXIT_OK
        }
        Outcome::Stopped { left } => {
            tracing::error!(
                events = left,
                "stopped with events in memory channels: they are lost"
            );
            cli::EXIT_EVENTS_LEFT
        }
        Outcome::GaveUp => cli::EXIT_GAVE_UP,
    }
}

/// Sends lines to an avro source; returns the exit code.
fn avro_client(options: &avro_client::Options) -> u8 {
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let (sent, outcome) = avro_client::run(options);
    match &outcome {
        Ok(()) => eprintln!("{sent}"),
        Err(failure) => {
            eprintln!("Error: {failure}");
            if sent.events > 0 || failure.fault == Fault::Undelivered {
                eprintln!("{sent}; what comes after them was not, as far as is known");
            }
        }
    }
    match outcome.map_err(|failure| failure.fault) {
        Ok(()) => cli::EXIT_OK,
        Err(Fault::Input) => cli::EXIT_NO_INPUT,
        Err(Fault::Settings) => cli::EXIT_CONFIGURATION,
        Err(Fault::Unreachable) => cli::EXIT_UNREACHABLE,
        Err(Fault::Undelivered) => cli::EXIT_EVENTS_LEFT,
    }
}

/// Works on the files of file channels; returns the exit code.
fn channel(command: &ChannelCommand) -> u8 {
    match command {
        ChannelCommand::Import(options) => match channel_import::run(options) {
            Ok(imported) => {
                println!("{imported}");
                cli::EXIT_OK
            }
            Err(failure) => {
                eprintln!("Error: {failure}");
                match failure.fault {
                    channel_import::Fault::Input => cli::EXIT_NO_INPUT,
                    channel_import::Fault::Settings => cli::EXIT_CONFIGURATION,
                    channel_import::Fault::Unfinished => cli::EXIT_EVENTS_LEFT,
                }
            }
        },
        ChannelCommand::Files(options) => channel_files(options),
    }
}

/// Looks at file channels; returns the exit code.
fn channel_files(options: &channel_files::Options) -> u8 {
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    match channel_files::run(options) {
        Found::Done => cli::EXIT_OK,
        Found::Damaged => cli::EXIT_DAMAGED,
        Found::Unreadable => cli::EXIT_NO_INPUT,
        Found::InUse => cli::EXIT_IN_USE,
        Found::Unwritable => cli::EXIT_UNWRITABLE,
        Found::Configuration => cli::EXIT_CONFIGURATION,
    }
}

/// Says why nothing was started, all reasons at once.
fn refused(error: &StartError) -> u8 {
    match error {
        StartError::Findings(findings) => {
            findings.iter().for_each(|finding| eprintln!("{finding}"));
            eprintln!("Error: {error}; nothing was started");
            eprintln!(
                "To run what is valid and leave the rest out, as Flume does: {} --lenient",
                command_line()
            );
            cli::EXIT_CONFIGURATION
        }
        StartError::Config(_) => {
            eprintln!("Error: {error}; nothing was started");
            cli::EXIT_CONFIGURATION
        }
        StartError::Threads(_) | StartError::Stopping => {
            eprintln!("Error: {error}");
            cli::EXIT_GAVE_UP
        }
    }
}

/// The command that was given, for the user to copy.
fn command_line() -> String {
    let quoted = |word: std::ffi::OsString| {
        let word = word.to_string_lossy().into_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if word.chars().all(plain) && !word.is_empty() {
            word
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    std::env::args_os().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Where `-Dflume.monitoring.type=http` serves Flume's JSON, if it was given: on all interfaces, as in Flume.
fn flume_metrics(options: &AgentOptions) -> Option<SocketAddr> {
    let kind = options.property("flume.monitoring.type")?;
    if !kind.eq_ignore_ascii_case("http") {
        tracing::warn!(
            found = kind,
            "flume.monitoring.type: allowed in this version is http; monitoring is off"
        );
        return None;
    }
    let text = options.property("flume.monitoring.port");
    let port = match text.map(|t| t.trim().parse::<u16>()) {
        None => node::admin::FLUME_METRICS_PORT,
        Some(Ok(port)) => port,
        Some(Err(_)) => {
            tracing::warn!(
                found = text,
                "flume.monitoring.port: expected 0 to 65535; monitoring is off"
            );
            return None;
        }
    };
    Some((Ipv4Addr::UNSPECIFIED, port).into())
}

/// Starts a thread that listens for signals; it learns through the returned end what there is to stop.
fn listen_for_signals(log: log::Hurry) -> std::io::Result<mpsc::Sender<Stopper>> {
    let (stopper, node) = mpsc::channel();
    let (listening, ready) = mpsc::channel();
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(listening.send(Err(error))),
            };
            runtime.block_on(async {
                match Signals::register() {
                    Ok(signals) => {
                        let _ = listening.send(Ok(()));
                        signals.obey(&node, &log).await;
                    }
                    Err(error) => drop(listening.send(Err(error))),
                }
            });
        })?;
    ready.recv().map_err(std::io::Error::other)??;
    Ok(stopper)
}

/// The signals that a node understands.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn register() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// SIGTERM and SIGINT: the first one drains, the second one hurries. SIGHUP: the configuration is read again.
    async fn obey(mut self, node: &mpsc::Receiver<Stopper>, log: &log::Hurry) {
        let mut stopper: Option<Stopper> = None;
        let mut count = 0;
        loop {
            let stop = tokio::select! {
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
                _ = self.hangup.recv() => false,
            };
            if stopper.is_none() {
                // A signal during the start waits for its end; a start that fails ends the process anyway.
                stopper = node.recv().ok();
            }
            let Some(stopper) = &stopper else { return };
            if !stop {
                stopper.reload();
                continue;
            }
            count += 1;
            // First of all: a log that nobody reads must not keep the node from stopping.
            log.now();
            stopper.stop();
            match count {
                1 => tracing::info!(
                    "stopping: sources, then sinks once memory channels are empty; again to hurry"
                ),
                _ => tracing::warn!("stopping in a hurry"),
            }
        }
    }
}
