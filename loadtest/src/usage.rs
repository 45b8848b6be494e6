//! CPU, memory and listening sockets of a process, as `/proc` tells them.

use anyhow::{Context as _, Result, anyhow};
use std::path::Path;
use std::time::Duration;

/// User and system time of a process, threads that have ended included.
///
/// # Errors
/// When the process is gone.
pub fn cpu_of_process(pid: u32) -> Result<Duration> {
    cpu_in(Path::new(&format!("/proc/{pid}/stat")))
}

/// User and system time of this process's living threads whose names start with `prefix`.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn cpu_of_own_threads(prefix: &str) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end between the listing and the reading.
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with(prefix)) {
            sum += cpu_in(&task.join("stat")).unwrap_or_default();
        }
    }
    Ok(sum)
}

/// Time in which the host's cores were busy, whoever kept them so.
///
/// # Errors
/// When `/proc/stat` is not as documented.
pub fn cpu_of_host() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat")?;
    busy_ticks(&text)
        .map(from_ticks)
        .ok_or_else(|| anyhow!("/proc/stat: not as documented"))
}

/// First line: `cpu user nice system idle iowait irq softirq steal …`.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields = stat.lines().next()?.split_ascii_whitespace().skip(1).take(8);
    let fields = fields.map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    Some(fields.iter().sum::<u64>() - fields.get(3)? - fields.get(4)?)
}

fn from_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn cpu_in(stat: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(stat).with_context(|| stat.display().to_string())?;
    let ticks = cpu_ticks(&text).ok_or_else(|| anyhow!("{}: not as documented", stat.display()))?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
    ))
}

/// Fields 14 and 15 of a `stat` line; the name in field 2 may hold blanks and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now (`VmRSS`).
    pub resident_kib: u64,
    /// The most ever resident (`VmHWM`).
    pub peak_kib: u64,
}

/// # Errors
/// When the process is gone.
pub fn memory_of_process(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let field = |name| status_kib(&text, name).ok_or_else(|| anyhow!("{path}: no {name}"));
    Ok(Memory {
        resident_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}

fn status_kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether anybody listens on a TCP port. Looks into the kernel's table: connecting would disturb the subject.
pub fn is_listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
        std::fs::read_to_string(table).is_ok_and(|text| text.lines().any(|line| listens_on(line, port)))
    })
}

/// Lines are `sl local_address:port rem_address:port state …`, all hexadecimal; state 0A is LISTEN.
fn listens_on(line: &str, port: u16) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next().and_then(|local| local.rsplit_once(':'));
    local.is_some_and(|(_, found)| u16::from_str_radix(found, 16) == Ok(port)) && fields.nth(1) == Some("0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_strange_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 9 0 0 0 120 30 0 0 20 0 1 0 5";
        assert_eq!(cpu_ticks(stat), Some(150));
        assert_eq!(cpu_ticks("42 (x) S 1"), None);
    }

    #[test]
    fn idle_and_waiting_are_not_busy() {
        assert_eq!(
            busy_ticks("cpu  1 2 4 1000 2000 8 16 32 64 0\ncpu0 …"),
            Some(1 + 2 + 4 + 8 + 16 + 32)
        );
        assert_eq!(busy_ticks("cpu 1 2"), None);
    }

    #[test]
    fn own_memory_and_time_can_be_read() {
        let memory = memory_of_process(std::process::id()).unwrap();
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib);
        cpu_of_process(std::process::id()).unwrap();
        cpu_of_own_threads("").unwrap();
    }

    #[test]
    fn a_listening_port_is_seen_without_connecting() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(is_listening(port));
        drop(listener);
        assert!(!is_listening(port));
    }
}
