//! A running node: what it prints, how it ends, and what it uses meanwhile.
//!
//! One thread per stream reads lines into a shared log that a test can search while the node runs. A node that is
//! dropped is asked to stop and, if it does not, killed; if the test is failing, the end of its log is printed.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal as Number, kill_process};

use crate::binary;
use crate::logger::Logged;
use crate::wait;

/// Lines of the log that a failing test shows.
const SHOWN_LINES: usize = 60;

/// A dropped node may take this long to stop its children before it is killed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Units of processor time in /proc: a hundredth of a second on every Linux.
const TICK: Duration = Duration::from_millis(10);

/// What a node can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: stop in order; the second one: hurry.
    Term,
    /// SIGHUP: read the configuration again.
    Hangup,
    /// SIGKILL.
    Kill,
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Everything printed so far, in the order in which it was read.
#[derive(Debug, Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<(Stream, String)>>>,
}

impl Log {
    /// All lines of both streams.
    pub fn lines(&self) -> Vec<String> {
        self.lock().iter().map(|(_, line)| line.clone()).collect()
    }

    /// The lines of one stream.
    pub fn lines_of(&self, stream: Stream) -> Vec<String> {
        let lines = self.lock();
        let chosen = lines.iter().filter(|(of, _)| *of == stream);
        chosen.map(|(_, line)| line.clone()).collect()
    }

    /// The first line from the n-th on that satisfies the predicate.
    fn find_from(&self, n: usize, predicate: impl Fn(&str) -> bool) -> Result<String, usize> {
        let lines = self.lock();
        let new = lines.get(n..).unwrap_or_default();
        let found = new.iter().find(|(_, line)| predicate(line));
        found.map(|(_, line)| line.clone()).ok_or(lines.len())
    }

    /// Reads a stream to its end, line by line.
    fn follow(&self, stream: Stream, input: impl Read) {
        let mut input = BufReader::new(input);
        let mut line = Vec::new();
        while input.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
            self.lock().push((stream, text));
            line.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Stream, String)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command line of an agent, to be started.
#[derive(Debug)]
pub struct Agent {
    name: String,
    args: Vec<OsString>,
}

impl Agent {
    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Flume's JSON metrics on a port.
    pub fn monitoring(self, port: u16) -> Self {
        self.arg("-Dflume.monitoring.type=http")
            .arg(format!("-Dflume.monitoring.port={port}"))
    }

    /// The admin endpoint on a port.
    pub fn admin(self, port: u16) -> Self {
        self.arg("--admin").arg(format!("127.0.0.1:{port}"))
    }

    /// Starts it.
    ///
    /// # Panics
    /// When there is no binary to start.
    pub fn start(self) -> Node {
        Node::spawn(&self.name, binary::path(), &self.args)
    }
}

/// A process under test.
#[derive(Debug)]
pub struct Node {
    name: String,
    child: Child,
    log: Log,
    input: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
    status: Option<ExitStatus>,
}

impl Node {
    /// An agent of a configuration file.
    pub fn agent(name: &str, file: impl AsRef<Path>) -> Agent {
        let args = Vec::new();
        let agent = Agent {
            name: name.to_owned(),
            args,
        };
        agent
            .arg("agent")
            .arg("-n")
            .arg(name)
            .arg("-f")
            .arg(file.as_ref())
    }

    /// Any other command.
    ///
    /// # Panics
    /// When there is no binary to start.
    pub fn run(args: &[&str]) -> Self {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Self::spawn("node", binary::path(), &args)
    }

    /// Any other command, with an open standard input: see [`type_in`](Self::type_in).
    ///
    /// # Panics
    /// When there is no binary to start.
    pub fn run_with_input(args: &[&str]) -> Self {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        Self::spawn_with("node", binary::path(), &args, Stdio::piped())
    }

    /// Another program, in place of a node: a foreign peer.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(name: &str, program: &Path, args: &[OsString]) -> Self {
        Self::spawn_with(name, program, args, Stdio::null())
    }

    fn spawn_with(name: &str, program: &Path, args: &[OsString], input: Stdio) -> Self {
        let mut child = Command::new(program)
            .args(args)
            // What tests read must not depend on the environment they are run in.
            .env_remove("RUST_LOG")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let log = Log::default();
        let out = child.stdout.take().expect("standard output is a pipe");
        let err = child.stderr.take().expect("standard error is a pipe");
        let readers = vec![follow(&log, Stream::Out, out), follow(&log, Stream::Err, err)];
        Self {
            name: name.to_owned(),
            input: child.stdin.take(),
            child,
            log,
            readers,
            status: None,
        }
    }

    /// Writes to its standard input.
    ///
    /// # Panics
    /// When it has none that is open, or does not read it.
    pub fn type_in(&mut self, text: &str) {
        let input = self.input.as_mut().expect("started with an open standard input");
        input
            .write_all(text.as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Closes its standard input.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// What it has printed.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The events that its logger sinks have printed.
    pub fn logged(&self) -> Vec<Logged> {
        let lines = self.log.lines();
        lines.iter().filter_map(|line| Logged::parse(line)).collect()
    }

    /// Waits until its logger sinks have printed that many events, and returns all of them.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn wait_for_events(&self, count: usize) -> Vec<Logged> {
        let what = format!("{count} events of {}", self.name);
        wait::until(&what, wait::LIVENESS, || {
            Some(self.logged()).filter(|events| events.len() >= count)
        })
    }

    /// Waits for a line, printed already or not, and returns it.
    ///
    /// # Panics
    /// When there is none within the limit.
    #[track_caller]
    pub fn wait_for_line(&self, what: &str, limit: Duration, predicate: impl Fn(&str) -> bool) -> String {
        let mut seen = 0;
        wait::until(what, limit, || match self.log.find_from(seen, &predicate) {
            Ok(line) => Some(line),
            Err(lines) => {
                seen = lines;
                None
            }
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal; nothing happens if it has ended.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let number = match signal {
                Signal::Term => Number::TERM,
                Signal::Hangup => Number::HUP,
                Signal::Kill => Number::KILL,
            };
            let sent = kill_process(Pid::from_child(&self.child), number);
            sent.unwrap_or_else(|error| panic!("{}: no signal: {error}", self.name));
        }
    }

    /// Whether it has not ended yet.
    ///
    /// # Panics
    /// When the kernel does not know it, which cannot be.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("the node is our child");
        }
        self.status.is_none()
    }

    /// Waits for its end: the exit code, or 128 and the signal as shells do. The log is complete afterwards.
    ///
    /// # Panics
    /// When it does not end within the limit.
    #[track_caller]
    pub fn wait_exit(&mut self, limit: Duration) -> i32 {
        let what = format!("the end of {}", self.name);
        wait::until_true(&what, limit, || !self.is_running());
        // A child that outlives the node may hold the pipes open: the log is then as complete as it gets.
        wait::within(LAST_WORDS, || {
            self.readers.iter().all(JoinHandle::is_finished).then_some(())
        });
        let status = self.status.expect("it has ended");
        status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .unwrap_or(-1)
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end within 30 seconds.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal(Signal::Term);
        self.wait_exit(wait::LIVENESS)
    }

    /// Asks it to stop, and then not to wait for anything. Two signals at once could be one to it, so the second one
    /// waits until it has said that it stops.
    ///
    /// # Panics
    /// When it does not say so within 30 seconds.
    #[track_caller]
    pub fn hurry(&mut self) {
        self.signal(Signal::Term);
        self.wait_for_line("the stop", wait::LIVENESS, |line| line.contains("again to hurry"));
        self.signal(Signal::Term);
    }

    /// Resident memory now, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident_bytes(&self) -> u64 {
        memory(&self.proc("status"), "VmRSS:")
    }

    /// The most resident memory so far, in bytes.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resident_bytes_max(&self) -> u64 {
        memory(&self.proc("status"), "VmHWM:")
    }

    /// Processor time used so far, its own and that of the kernel for it.
    ///
    /// # Panics
    /// When it has ended.
    pub fn processor_time(&self) -> Duration {
        processor_time(&self.proc("stat"))
    }

    /// Open files and sockets.
    ///
    /// # Panics
    /// When it has ended.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.id());
        let files = fs::read_dir(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        files.count()
    }

    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.id());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if thread::panicking() {
            let lines = self.log.lines();
            let start = lines.len().saturating_sub(SHOWN_LINES);
            eprintln!("--- {}, the last of {} lines:", self.name, lines.len());
            for line in &lines[start..] {
                eprintln!("{line}");
            }
        }
        let id = Pid::from_child(&self.child);
        let mut ended = || self.status.is_some() || !matches!(self.child.try_wait(), Ok(None));
        if !ended() {
            // Its own children, such as `tail -F`, are only stopped by a node that stops in order.
            let _ = kill_process(id, Number::TERM);
            if wait::within(LAST_WORDS, || ended().then_some(())).is_none() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

/// Processes, whoever started them, whose command line has that text in it.
///
/// # Panics
/// When /proc cannot be read.
pub fn processes_with(text: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("tests run on Linux, with /proc");
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let has_text = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(text)
    };
    ids.filter(has_text).collect()
}

fn follow(log: &Log, stream: Stream, input: impl Read + Send + 'static) -> JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || log.follow(stream, input))
}

/// A line such as `VmRSS: 10240 kB` of /proc/…/status, in bytes.
fn memory(status: &str, key: &str) -> u64 {
    let value = status.lines().find_map(|line| line.strip_prefix(key));
    let kilobytes = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_else(|| panic!("no {key} in /proc/…/status: the process has ended")) * 1024
}

/// `utime` and `stime`, the 14th and 15th field of /proc/…/stat; the second is a name in brackets, blanks included.
fn processor_time(stat: &str) -> Duration {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell in place of a node.
    fn shell(script: &str) -> Node {
        Node::spawn("shell", Path::new("/bin/sh"), &["-c".into(), script.into()])
    }

    #[test]
    fn both_streams_are_kept_apart_and_together() {
        let mut shell = shell("echo out; echo err >&2; printf 'no\\377end'");
        assert_eq!(shell.wait_exit(wait::LIVENESS), 0);
        assert_eq!(shell.log().lines_of(Stream::Out), ["out", "no\u{fffd}end"]);
        assert_eq!(shell.log().lines_of(Stream::Err), ["err"]);
        assert_eq!(shell.log().lines().len(), 3);
    }

    #[test]
    fn a_line_is_found_whether_it_is_there_or_comes_later() {
        let shell = shell("echo first; sleep 0.05; echo second; exec sleep 60");
        for word in ["second", "first"] {
            let line = shell.wait_for_line(word, wait::LIVENESS, |line| line.starts_with(word));
            assert_eq!(line, word);
        }
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(shell("exit 75").wait_exit(wait::LIVENESS), 75);
        let mut killed = shell("exec sleep 60");
        killed.signal(Signal::Kill);
        assert_eq!(killed.wait_exit(wait::LIVENESS), 128 + 9);
        killed.signal(Signal::Kill); // of no effect
    }

    #[test]
    fn a_signal_can_be_handled() {
        let mut shell = shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done");
        shell.wait_for_line("the trap", wait::LIVENESS, |line| line == "up");
        assert_eq!(shell.stop(), 3);
        assert_eq!(shell.log().lines(), ["up", "bye"]);
    }

    #[test]
    fn a_dropped_process_is_gone_even_if_it_will_not_stop() {
        let mark = format!("MARK{}", std::process::id());
        let shell = shell(&format!(
            "trap '' TERM; echo {mark}; while :; do sleep 0.01; done"
        ));
        shell.wait_for_line("the trap", wait::LIVENESS, |line| line == mark);
        assert!(processes_with(&mark).contains(&shell.id()));
        drop(shell);
        // Between its fork and its exec the last `sleep` still looks like the shell.
        wait::until_true("the end", wait::LIVENESS, || processes_with(&mark).is_empty());
    }

    #[test]
    fn memory_time_and_files_are_read() {
        let mut shell = shell(
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; while :; do sleep 0.01; done",
        );
        shell.wait_for_line("the loop", wait::LIVENESS, |line| line == "done");
        let resident = shell.resident_bytes();
        assert!(resident > 100 << 10);
        assert!(shell.resident_bytes_max() >= resident);
        assert!(shell.processor_time() < wait::LIVENESS);
        assert!(shell.open_files() >= 3);
        shell.signal(Signal::Kill);
    }

    #[test]
    fn the_pages_of_proc_are_understood() {
        assert_eq!(
            memory("VmHWM:\t      12 kB\nVmRSS:\t       3 kB\n", "VmRSS:"),
            3072
        );
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 150 25 0 0 20 0 1 0 5 0";
        assert_eq!(processor_time(stat), Duration::from_millis(1750));
    }

    #[test]
    #[should_panic(expected = "the process has ended")]
    fn a_dead_process_has_no_memory() {
        memory("Name:\tx\nState:\tZ (zombie)\n", "VmRSS:");
    }
}
