//! The processes under test: one per agent, started last first and stopped first to last.
//!
//! They log into files of a temporary folder, which is kept when something went wrong. Dropping a [`Subject`] kills what
//! still runs, so that no failure leaves processes behind.

use crate::case::{Case, Driver};
use crate::usage;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an agent may take until it listens.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How long an agent may take to end after SIGTERM.
const STOP_TIME_MAX: Duration = Duration::from_secs(15);

/// How long to wait before memory at rest is read.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// What starting showed.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// From the start of the process to its listening; the slowest agent's.
    pub listening: Duration,
    /// Resident memory of all agents after a second at rest, in KiB.
    pub idle_kib: u64,
}

/// Running agents of a case.
#[derive(Debug)]
pub struct Subject {
    agents: Vec<(String, Child)>,
    folder: PathBuf,
}

impl Subject {
    /// Starts all agents of a case and waits until they listen and have settled.
    ///
    /// # Errors
    /// When an agent does not start, ends, or does not listen in time; with the end of its log.
    pub fn start(
        case: &Case,
        node: &Path,
        arguments: &[String],
        ports: &BTreeMap<String, u16>,
    ) -> Result<(Self, Started)> {
        let folder = std::env::temp_dir().join(format!("loadtest-{}-{}", std::process::id(), case.name));
        std::fs::create_dir_all(&folder)?;
        if case.files || case.driver == Driver::Tail {
            std::fs::create_dir_all(folder.join(crate::syslog::FILES))?;
            std::fs::create_dir_all(folder.join(crate::tail::OUT))?;
        }
        let configuration = folder.join("node.properties");
        std::fs::write(&configuration, case.configuration(ports))?;
        let mut subject = Self {
            agents: Vec::new(),
            folder,
        };
        let mut listening = Duration::ZERO;
        for name in case.agents.iter().rev() {
            let log = File::create(subject.log_of(name))?;
            let begun = Instant::now();
            let child = Command::new(node)
                .args(["agent", "-n", name, "-f"])
                .arg(&configuration)
                .args(arguments)
                .current_dir(&subject.folder)
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("start {}", node.display()))?;
            subject.agents.push((name.clone(), child));
            let port = case.port_of_agent(name);
            let port = *ports
                .get(&port)
                .ok_or_else(|| anyhow!("node.properties: no ${{{port}}} in it"))?;
            listening = listening.max(subject.wait_until_listening(port, begun)?);
        }
        std::thread::sleep(SETTLE_TIME);
        let idle_kib = subject.sum_memory(|memory| memory.resident_kib)?;
        Ok((subject, Started { listening, idle_kib }))
    }

    /// For the agent started last.
    fn wait_until_listening(&mut self, port: u16, begun: Instant) -> Result<Duration> {
        let (name, child) = self.agents.last_mut().ok_or_else(|| anyhow!("no agent"))?;
        let name = name.clone();
        while begun.elapsed() < START_TIME_MAX {
            if usage::is_listening(port) {
                return Ok(begun.elapsed());
            }
            if let Some(status) = child.try_wait()? {
                bail!(
                    "agent {name} ended with {status} before it listened\n{}",
                    self.log_end(&name)
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!(
            "agent {name} does not listen on port {port}\n{}",
            self.log_end(&name)
        )
    }

    /// Where the agents run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// CPU time of all agents so far.
    ///
    /// # Errors
    /// When an agent is gone.
    pub fn cpu(&self) -> Result<Duration> {
        self.agents
            .iter()
            .map(|(_, child)| usage::cpu_of_process(child.id()))
            .sum()
    }

    /// Peak resident memory, summed over the agents, in KiB.
    ///
    /// # Errors
    /// When an agent is gone.
    pub fn peak_kib(&self) -> Result<u64> {
        self.sum_memory(|memory| memory.peak_kib)
    }

    fn sum_memory(&self, field: impl Fn(usage::Memory) -> u64) -> Result<u64> {
        self.agents
            .iter()
            .map(|(_, child)| usage::memory_of_process(child.id()).map(&field))
            .sum()
    }

    /// Ends all agents with SIGTERM, in the direction of the flow, and removes the folder.
    ///
    /// # Errors
    /// When one had ended before, does not end in time, or ends with an error; the folder stays.
    pub fn stop(mut self) -> Result<()> {
        for index in (0..self.agents.len()).rev() {
            let (name, child) = &mut self.agents[index];
            let name = name.clone();
            if let Some(status) = child.try_wait()? {
                bail!(
                    "agent {name} ended by itself with {status}\n{}",
                    self.log_end(&name)
                );
            }
            let pid = rustix::process::Pid::from_child(child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
            let asked = Instant::now();
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                ensure!(
                    asked.elapsed() < STOP_TIME_MAX,
                    "agent {name} does not end after SIGTERM"
                );
                std::thread::sleep(Duration::from_millis(5));
            };
            // 143 is 128 + SIGTERM, what a JVM or a shell reports for being asked to end.
            let asked_to_end = std::os::unix::process::ExitStatusExt::signal(&status).is_some();
            if !(status.success() || asked_to_end || status.code() == Some(143)) {
                bail!("agent {name} ended with {status}\n{}", self.log_end(&name));
            }
        }
        std::fs::remove_dir_all(&self.folder).context("remove the temporary folder")
    }

    /// The ends of all logs, for when the driver failed.
    pub fn diagnosis(&self) -> String {
        self.agents
            .iter()
            .map(|(name, _)| self.log_end(name))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn log_of(&self, agent: &str) -> PathBuf {
        self.folder.join(format!("{agent}.log"))
    }

    /// The last lines an agent wrote.
    fn log_end(&self, agent: &str) -> String {
        let path = self.log_of(agent);
        let bytes = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{} ends with:\n{end}", path.display())
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        for (_, child) in &mut self.agents {
            // Both fail only for a child that has already been waited for.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A free port for every name.
///
/// # Errors
/// When the host has none left.
pub fn free_ports(names: Vec<String>) -> Result<BTreeMap<String, u16>> {
    // All are held until the last is known, so that no two are the same.
    let held = names
        .into_iter()
        .map(|name| Ok((name, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?)));
    let held: Vec<(String, TcpListener)> = held.collect::<Result<_>>()?;
    held.iter()
        .map(|(name, listener)| Ok((name.clone(), listener.local_addr()?.port())))
        .collect()
}
