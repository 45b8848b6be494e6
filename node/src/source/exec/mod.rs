//! `exec`: runs a command and makes an event of each line that it writes, Flume's ExecSource.
//!
//! Promise: a line that was read is kept until every required channel has it, in order; what the command has not
//! written yet, or what is in its pipe when the node dies, cannot be asked for again.
//!
//! LF, CR and CRLF end a line; empty lines are empty events; the last line needs no end. Lines are put in batches
//! of `batchSize`, or when `batchTimeout` has passed since the last put, or at the end of the output.
//!
//! | failure | what happens |
//! |---|---|
//! | a channel refuses | the lines are kept and put again with back-off; the command blocks on its full pipe (Flume kills it and loses the lines) |
//! | a line that no channel could ever hold | refused and counted, an error in the log; the lines around it go on |
//! | a line over `maxLineBytes` | cut there and counted as refused input |
//! | bytes that the charset does not have | U+FFFD |
//! | the command ends | run again after `restartThrottle` if `restart`, whatever its code; else the source idles |
//! | the command closes its output and stays | SIGTERM after a while |
//! | the command cannot be started | the source fails and is tried again after `restartThrottle` |
//!
//! Stopping: SIGTERM to the command (not to its children, as in Flume), what it still writes is read for a
//! second and put within two; if it lives on for two more, SIGKILL: so all is done within five seconds.
//!
//! Charsets are Java's names. encoding_rs means by `ISO-8859-1` and `US-ASCII` what browsers mean (windows-1252),
//! and by `UTF-16` little-endian, so these three are treated here as Java does; UTF-32 is not known.
//! Source: `flume/sources.md` 5.3.

mod lines;
mod outbox;

use self::lines::{Line, Lines};
use self::outbox::Outbox;
use crate::component::context::Shutdown;
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::java::charset::{Charset, Decoder};
use proto::event::EventLimits;
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "exec",
    classes: &["org.apache.flume.source.ExecSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Bytes of one read; what a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// The longest line of standard error in the log, in bytes.
const STDERR_LINE_BYTES_MAX: usize = 16 << 10;
/// The longest wait that a property can ask for: a year.
const WAIT_MS_MAX: u64 = 365 * 24 * 3_600 * 1_000;
/// How long a command that closed its output may live before it gets SIGTERM.
const EXIT_GRACE: Duration = Duration::from_secs(5);
/// How long what the command writes after SIGTERM is read.
const DRAIN: Duration = Duration::from_secs(1);
/// How long after the request to stop a put may take.
const LAST_PUT: Duration = Duration::from_secs(2);
/// How long the command may live after SIGTERM and the last put before it gets SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(2);

/// Settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `command`: required. Split at blanks, quotes not understood, unless there is a `shell`.
    pub command: String,
    /// `shell`: such as `/bin/sh -c`; split at blanks, then gets the command as one argument. Default none.
    pub shell: Option<String>,
    /// `restart`: whether a command that ends is run again; default false.
    pub restart: bool,
    /// `restartThrottle`: milliseconds between end and new start; default 10,000.
    pub restart_throttle: Duration,
    /// `logStdErr`: whether lines of standard error go to the log or nowhere; default false. The guide's spelling
    /// `logStderr` is understood, with a warning.
    pub log_stderr: bool,
    /// `batchSize`: lines in one put; default 20; less than 1 is 1, as in Flume.
    pub batch_size_events: usize,
    /// `batchTimeout`: milliseconds since the last put after which lines do not wait for a full batch; default
    /// 3,000; over 0.
    pub batch_timeout: Duration,
    /// `charset`: of the output; default UTF-8.
    pub charset: Charset,
    /// `maxLineBytes`: longest line in bytes of UTF-8; default and most 64 MiB. Ours, Flume has no limit.
    pub max_line_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            command: String::new(),
            shell: None,
            restart: false,
            restart_throttle: Duration::from_secs(10),
            log_stderr: false,
            batch_size_events: 20,
            batch_timeout: Duration::from_secs(3),
            charset: Charset::Utf8,
            max_line_bytes: EventLimits::default().body_bytes,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        let batch_size = keys.number("batchSize", default.batch_size_events as i32, i32::MIN..=i32::MAX);
        let line_max = default.max_line_bytes;
        Self {
            command: keys.required("command"),
            shell: keys.text("shell"),
            restart: keys.flag("restart", default.restart),
            restart_throttle: wait(keys, "restartThrottle", default.restart_throttle, 0),
            log_stderr: log_stderr(keys),
            batch_size_events: batch_size.clamp(1, EventLimits::default().events as i32) as usize,
            batch_timeout: wait(keys, "batchTimeout", default.batch_timeout, 1),
            charset: charset(keys),
            max_line_bytes: keys.number("maxLineBytes", line_max, 1..=line_max),
        }
    }

    /// The source.
    pub fn build(self) -> Result<Exec, BuildError> {
        Ok(Exec(self))
    }
}

fn wait(keys: &mut Keys, key: &str, default: Duration, least_ms: u64) -> Duration {
    keys.millis(key, default, least_ms..=i64::MAX as u64)
        .min(Duration::from_millis(WAIT_MS_MAX))
}

fn log_stderr(keys: &mut Keys) -> bool {
    let on = keys.flag("logStdErr", false);
    if keys.text("logStderr").is_none() {
        return on;
    }
    let message = "the guide's spelling; honoured here, in Flume only logStdErr has an effect";
    keys.warn("logStderr", "other-spelling", message.to_owned());
    keys.flag("logStderr", false) || on
}

fn charset(keys: &mut Keys) -> Charset {
    let Some(name) = keys.text("charset") else {
        return Charset::Utf8;
    };
    Charset::named(&name).unwrap_or_else(|| {
        keys.wrong(
            "charset",
            &format!("expected a charset such as UTF-8, ISO-8859-1 or UTF-16, found \"{name}\""),
        );
        Charset::Utf8
    })
}

/// The source.
#[derive(Debug)]
pub struct Exec(Config);

impl Source for Exec {
    fn batch_size(&self) -> Option<usize> {
        Some(self.0.batch_size_events)
    }

    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let mut ready = Some(());
        loop {
            let child = self.0.spawn()?;
            if ready.take().is_some() {
                ctx.ready();
            }
            let code = self.0.follow(child, &ctx).await?;
            info!("Command [{}] exited with {code}", self.0.command);
            if !self.0.restart {
                ctx.shutdown.requested().await;
            }
            if ctx.shutdown.sleep(self.0.restart_throttle).await {
                return Ok(());
            }
        }
    }
}

impl Config {
    /// The program and its arguments.
    fn arguments(&self) -> Vec<&str> {
        match &self.shell {
            Some(shell) => shell.split_whitespace().chain([self.command.as_str()]).collect(),
            None => self.command.split_whitespace().collect(),
        }
    }

    fn spawn(&self) -> Result<Child, RunError> {
        let arguments = self.arguments();
        let stderr = if self.log_stderr {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        Command::new(arguments.first().copied().unwrap_or_default())
            .args(arguments.get(1..).unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|why| {
                let message = format!("Failed while running command: [{}]", self.command);
                RunError::retry_after(self.restart_throttle, message).caused_by(why)
            })
    }

    /// Lives through one run of the command and returns its code.
    async fn follow(&self, mut child: Child, ctx: &SourceContext) -> Result<String, RunError> {
        // Open until the command has ended, as in Flume; `wait` would close it if it were the child's.
        let _stdin = child.stdin.take();
        let mut stderr_log = JoinSet::new();
        if let Some(stderr) = child.stderr.take() {
            stderr_log.spawn(log_lines(stderr));
        }
        let mut outbox = Outbox::new(self, ctx);
        if let Some(stdout) = child.stdout.take() {
            tokio::select! {
                biased;
                done = self.read_output(stdout, &child, &mut outbox) => done?,
                () = last_call(&ctx.shutdown) => outbox.abandon(),
            }
        }
        let status = end(&mut child, &ctx.shutdown).await;
        // The last words of a command that has ended are there already.
        let _ = timeout(Duration::from_millis(200), stderr_log.join_next()).await;
        Ok(status.map_or("unknown".to_owned(), |s| code(s).to_string()))
    }

    /// Reads to the end of the output, or, after the request to stop, until the command has had its time.
    async fn read_output(
        &self,
        mut output: impl AsyncRead + Unpin,
        child: &Child,
        outbox: &mut Outbox<'_>,
    ) -> Result<(), RunError> {
        let ctx = outbox.ctx;
        let mut buffer = vec![0; READ_BYTES];
        let mut text = String::new();
        let mut decoder = Decoder::new(self.charset);
        let mut lines = Lines::new(self.max_line_bytes);
        let mut stop_reading = None;
        loop {
            tokio::select! {
                biased;
                () = ctx.shutdown.requested(), if stop_reading.is_none() => {
                    terminate(child);
                    stop_reading = Some(Instant::now() + DRAIN);
                    outbox.hurry();
                }
                () = sleep_until(stop_reading.unwrap_or_else(Instant::now)), if stop_reading.is_some() => break,
                () = sleep_until(outbox.due()), if !outbox.is_empty() => outbox.flush().await?,
                read = output.read(&mut buffer) => match read {
                    Ok(0) => break,
                    Ok(n) => {
                        let mut piece = decoder.decode(&buffer[..n], false, &mut text);
                        outbox.push_all(&mut lines, &mut piece).await?;
                    }
                    Err(why) => {
                        ctx.counters.read_failures.add(1);
                        warn!(error = %why, "output of the command cannot be read any further");
                        break;
                    }
                },
            }
        }
        let mut piece = decoder.decode(&[], true, &mut text);
        outbox.push_all(&mut lines, &mut piece).await?;
        if let Some(line) = lines.last() {
            outbox.push(line).await?;
        }
        outbox.flush().await
    }
}

/// Logs lines of standard error under Flume's words.
async fn log_lines(mut output: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; 4 << 10];
    let mut lines = Lines::new(STDERR_LINE_BYTES_MAX);
    let mut count = 0u64;
    let mut log = |line: Line<'_>| {
        count += 1;
        info!(
            "StderrLogger[{count}] = '{}'",
            String::from_utf8_lossy(line.bytes)
        );
    };
    while let Ok(n @ 1..) = output.read(&mut buffer).await {
        let mut piece = &buffer[..n];
        while let Some(line) = lines.next(&mut piece) {
            log(line);
        }
    }
    if let Some(line) = lines.last() {
        log(line);
    }
}

/// Resolves when the source has had all the time for a last put.
async fn last_call(shutdown: &Shutdown) {
    shutdown.requested().await;
    sleep(LAST_PUT).await;
}

fn terminate(child: &Child) {
    // Without an id it has been waited for, so no stranger can be hit.
    let pid = child.id().and_then(|id| Pid::from_raw(id as i32));
    if let Some(Err(why)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
        warn!(error = %why, "command cannot be told to end");
    }
}

/// Waits for the command to end; sees to it.
async fn end(child: &mut Child, shutdown: &Shutdown) -> Option<ExitStatus> {
    tokio::select! {
        biased;
        status = child.wait() => return status.ok(),
        _ = shutdown.sleep(EXIT_GRACE) => terminate(child),
    }
    if let Ok(status) = timeout(TERM_GRACE, child.wait()).await {
        return status.ok();
    }
    warn!("command does not end; it is killed");
    let _ = child.start_kill();
    child.wait().await.ok()
}

/// The exit code as Java and shells have it: 128 and the signal's number where there is none.
fn code(status: ExitStatus) -> i32 {
    let signal = || status.signal().map(|s| 128 + s);
    status.code().or_else(signal).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::source::{BODIES, Running};
    use crate::component::contract::{Log, Recorder, TempDir, soon, source as contract};
    use crate::component::keys::Severity;

    fn read(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
        let mut keys = Keys::of("source r1 (exec)", pairs);
        let config = Config::read(&mut keys);
        (config, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn exec(pairs: &[(&str, &str)]) -> Box<dyn DynSource> {
        let (config, findings) = read(pairs);
        assert!(findings.is_empty(), "{findings:?}");
        Box::new(config.build().unwrap())
    }

    fn shell(command: &str) -> Box<dyn DynSource> {
        exec(&[("shell", "/bin/sh -c"), ("command", command)])
    }

    contract::suite!(|| exec(&[("command", &format!("seq 0 {}", BODIES - 1)), ("batchSize", "4"),]));

    async fn check(source: Box<dyn DynSource>, expected: &[&str]) {
        let running = Running::start(source, Recorder::new());
        running.recorder.until(|seen| seen.events >= expected.len()).await;
        let recorder = running.recorder.clone();
        running.stop().await.unwrap();
        assert_eq!(recorder.bodies(), expected);
    }

    /// Whether the process lives; a dead one that nobody has waited for does not.
    fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    async fn until_gone(pid: String) {
        soon(async {
            while lives(&pid) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    #[tokio::test]
    async fn lines_end_in_any_way_and_the_last_one_needs_no_end() {
        check(shell("printf 'x1\\nx2\\n\\nx3'"), &["x1", "x2", "", "x3"]).await;
        check(shell("printf 'a\\rb\\r\\nc\\n\\rd'"), &["a", "b", "c", "", "d"]).await;
    }

    #[tokio::test]
    async fn without_a_shell_quotes_are_not_understood() {
        check(exec(&[("command", "printf \"a b\" c")]), &["\"a"]).await;
    }

    #[tokio::test]
    async fn bytes_outside_of_the_charset_are_replaced() {
        check(shell("printf 'x\\377y\\n'"), &["x\u{fffd}y"]).await;
        for (charset, expected) in [
            ("latin1", "x\u{85}y"),
            ("ASCII", "x\u{fffd}y"),
            ("Cp1252", "x\u{2026}y"),
        ] {
            let pairs = [
                ("shell", "/bin/sh -c"),
                ("command", "printf 'x\\205y'"),
                ("charset", charset),
            ];
            check(exec(&pairs), &[expected]).await;
        }
        for (bytes, charset) in [
            ("\\000h\\000\\351\\000\\n", "UTF-16"),
            ("\\376\\377\\000h\\000\\351", "UTF-16"),
            ("\\377\\376h\\000\\351\\000", "UTF-16"),
            ("h\\000\\351\\000\\n\\000", "UTF-16LE"),
        ] {
            let command = format!("printf '{bytes}'");
            let pairs = [
                ("shell", "/bin/sh -c"),
                ("command", &command),
                ("charset", charset),
            ];
            check(exec(&pairs), &["hé"]).await;
        }
    }

    #[tokio::test]
    async fn few_lines_do_not_wait_for_a_full_batch() {
        let source = exec(&[
            ("shell", "/bin/sh -c"),
            ("command", "printf '1\\n2\\n3\\n'; exec sleep 1000"),
            ("batchSize", "50000"),
            ("batchTimeout", "50"),
        ]);
        check(source, &["1", "2", "3"]).await;
    }

    #[tokio::test]
    async fn batches_are_exactly_as_large_as_asked_for() {
        let source = exec(&[("command", "seq 1 1000"), ("batchSize", "300")]);
        let running = Running::start(source, Recorder::new());
        running.recorder.until(|seen| seen.events == 1_000).await;
        let sizes: Vec<usize> = running.recorder.batches().iter().map(Vec::len).collect();
        assert_eq!(sizes, [300, 300, 300, 100]);
        assert_eq!(running.ctx.counters.received.value(), 1_000);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_command_that_ends_is_run_again_if_asked_for() {
        let source = exec(&[
            ("command", "echo hi"),
            ("restart", "true"),
            ("restartThrottle", "10"),
        ]);
        let running = Running::start(source, Recorder::new());
        running.recorder.until(|seen| seen.events >= 3).await;
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn standard_error_goes_to_the_log_and_is_no_event() {
        let log = Log::capture();
        let command = ("command", "echo err >&2; echo out; exit 3");
        check(
            exec(&[("shell", "/bin/sh -c"), command, ("logStdErr", "true")]),
            &["out"],
        )
        .await;
        let text = log.text();
        assert!(text.contains("StderrLogger[1] = 'err'\n"), "{text}");
        assert!(text.contains(" exited with 3\n"), "{text}");
    }

    #[tokio::test]
    async fn a_long_line_is_cut_at_a_character_and_counted() {
        let command = ("command", "printf 'abcdeé\\nab\\nabcdefgh'");
        let source = exec(&[("shell", "/bin/sh -c"), command, ("maxLineBytes", "6")]);
        let running = Running::start(source, Recorder::new());
        running.recorder.until(|seen| seen.events == 3).await;
        assert_eq!(running.recorder.bodies(), ["abcde", "ab", "abcdef"]);
        assert_eq!(running.ctx.counters.refused_inputs.value(), 2);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn what_the_command_says_when_it_is_told_to_end_is_delivered() {
        let command = "trap 'echo bye; exit' TERM; echo hi; while :; do sleep 0.01; done";
        let source = exec(&[("shell", "/bin/sh -c"), ("command", command), ("batchSize", "1")]);
        let recorder = Recorder::new();
        let running = Running::start(source, recorder.clone());
        recorder.until(|seen| seen.events == 1).await;
        running.stop().await.unwrap();
        assert_eq!(recorder.bodies(), ["hi", "bye"]);
    }

    #[tokio::test]
    async fn a_line_that_never_fits_is_dropped_and_holds_nobody_up() {
        let recorder = Recorder::new();
        recorder.limit(5);
        let running = Running::start(
            shell("printf '1\\n2\\n3333333\\n4\\n55555\\n6'"),
            recorder.clone(),
        );
        recorder.until(|seen| seen.events == 5).await;
        assert_eq!(recorder.bodies(), ["1", "2", "4", "55555", "6"]);
        assert_eq!(running.ctx.counters.refused_inputs.value(), 1);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_command_that_ignores_the_signal_is_killed() {
        let source = exec(&[
            ("shell", "/bin/sh -c"),
            ("command", "trap '' TERM; echo $$; while :; do sleep 0.01; done"),
            ("batchSize", "1"),
        ]);
        let running = Running::start(source, Recorder::new());
        running.recorder.until(|seen| seen.events == 1).await;
        let pid = running.recorder.bodies().remove(0);
        assert!(lives(&pid));
        running.stop().await.unwrap();
        assert!(!lives(&pid));
    }

    #[tokio::test]
    async fn a_source_that_is_dropped_takes_its_command_with_it() {
        let command = ("command", "echo $$; exec sleep 1000");
        let source = exec(&[("shell", "/bin/sh -c"), command, ("batchSize", "1")]);
        let recorder = Recorder::new();
        let task = tokio::spawn(source.run(recorder.context()));
        recorder.until(|seen| seen.events == 1).await;
        let pid = recorder.bodies().remove(0);
        assert!(lives(&pid));
        task.abort();
        until_gone(pid).await;
    }

    #[tokio::test]
    async fn a_full_channel_blocks_the_command_and_loses_nothing() {
        let directory = TempDir::new();
        let done = directory.path().join("done");
        // More than pipe and reader hold together.
        let command = format!("seq 1 60000; touch {}", done.display());
        let source = exec(&[
            ("shell", "/bin/sh -c"),
            ("command", &command),
            ("batchSize", "1000"),
        ]);
        let recorder = Recorder::new();
        recorder.refuse(3);
        let running = Running::start(source, recorder.clone());
        recorder.until(|seen| seen.refused == 2).await;
        assert!(!done.exists(), "the command is still writing");
        recorder.until(|seen| seen.events == 60_000).await;
        let expected: Vec<String> = (1..=60_000).map(|n| n.to_string()).collect();
        assert_eq!(recorder.bodies(), expected);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_line_that_an_interceptor_always_fails_on_takes_no_other_along() {
        let source = exec(&[
            ("shell", "/bin/sh -c"),
            ("command", "printf 'a\\npoison\\nb\\nc\\n'"),
            ("batchSize", "4"),
        ]);
        let recorder = Recorder::new();
        recorder.poison("poison");
        let running = Running::start(source, recorder.clone());
        recorder.until(|seen| seen.events == 3).await;
        assert_eq!(recorder.bodies(), ["a", "b", "c"]);
        assert_eq!(running.ctx.counters.refused_inputs.value(), 1);
        running.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_command_that_is_not_there_is_tried_again_after_the_throttle() {
        let source = exec(&[("command", "/no/such/program")]);
        let failed = source.run(Recorder::new().context()).await.unwrap_err();
        let expected = crate::component::error::Kind::RetryAfter(Duration::from_secs(10));
        assert_eq!(failed.kind(), expected);
        assert!(
            failed.to_string().contains("[/no/such/program]: No such file"),
            "{failed}"
        );
    }

    #[test]
    fn the_spelling_of_the_guide_is_honoured_with_a_warning() {
        let (config, findings) = read(&[("command", "x"), ("logStderr", "true")]);
        assert!(config.log_stderr);
        assert!(
            findings[0].contains(&format!("{}[other-spelling]", Severity::Warning)),
            "{findings:?}"
        );
    }

    #[test]
    fn mistakes_are_all_named() {
        let (_, findings) = read(&[("batchTimeout", "0"), ("charset", "utf-99")]);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(
            findings[2].contains("charset: expected a charset such as"),
            "{findings:?}"
        );
    }
}
