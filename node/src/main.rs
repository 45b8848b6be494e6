//! The binary `node`: command line, logging, signals, exit codes. What it runs is the library's [`node::Node`].

use node::cli::{self, AgentOptions, Command};
use node::component::keys::Severity;
use node::telemetry::log;
use node::{Node, Outcome, StartError, Stopper};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// How often files are looked at for changes, as in Flume.
const POLL_INTERVAL: Duration = Duration::from_secs(30);

/// Gives memory back to the system and scales over threads; in the binary only, never in the library.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(Command::Agent(options)) => ExitCode::from(agent(&options)),
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
fn agent(options: &AgentOptions) -> u8 {
    options.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    let _written_at_exit = match log::install(options.log_format, &options.log_level) {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("Error: {error}");
            return cli::EXIT_USAGE;
        }
    };
    let mut builder = Node::builder()
        .agent(&options.name)
        .seed(options.seed.unwrap_or_else(rand::random))
        .max_heap_bytes(options.max_heap_bytes)
        .admin(options.admin)
        .flume_metrics(flume_metrics(options))
        .poll_interval(if options.reload {
            POLL_INTERVAL
        } else {
            Duration::ZERO
        });
    for file in &options.conf_files {
        builder = builder.file(file);
    }
    let node = match builder.start() {
        Ok(node) => node,
        Err(error) => return refused(&error),
    };
    for finding in node.findings() {
        match finding.severity {
            Severity::Note => tracing::info!("{finding}"),
            _ => tracing::warn!("{finding}"),
        }
    }
    tracing::info!(
        agent = options.name,
        version = env!("CARGO_PKG_VERSION"),
        "started"
    );
    node.runtime().spawn(signals(node.stopper()));
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

/// Says why nothing was started, all reasons at once.
fn refused(error: &StartError) -> u8 {
    match error {
        StartError::Findings(findings) => {
            findings.iter().for_each(|finding| eprintln!("{finding}"));
            eprintln!("Error: {error}; nothing was started");
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

/// SIGTERM and SIGINT: the first one drains, the second one hurries. SIGHUP: the configuration is read again.
async fn signals(stopper: Stopper) {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        tracing::error!("signals cannot be listened to; the node stops only when it is killed");
        return;
    };
    let mut count = 0;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {
                stopper.reload();
                continue;
            }
        }
        count += 1;
        match count {
            1 => tracing::info!(
                "stopping: sources first, then sinks once memory channels are empty; again to hurry"
            ),
            _ => tracing::warn!("stopping in a hurry"),
        }
        stopper.stop();
    }
}
