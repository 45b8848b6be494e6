//! Logs of the binary: one line per event on standard output, where `… | grep` in Flume's tutorials looks for them.
//!
//! Human lines are `2026-01-01T00:00:00.000Z  INFO org.apache.flume.sink.LoggerSink: Event: {…}`: time, level, target,
//! then the spans and the message. Lines under Flume's own targets ([`LOGGER_SINK_TARGET`]) carry no spans, so that
//! what tools grep for stays as it is. JSON lines carry the same, one object each.
//!
//! No line is lost: whoever logs appends to a shared buffer, one thread writes what has gathered there, and a full
//! buffer ([`BACKLOG_BYTES_MAX`]) makes the logging thread wait, as Flume's console does. So a reader that stops
//! reading stops the node in the end; one that goes away does not. [`Guard`] writes the rest when it is dropped.
//! (`tracing-appender` does nearly this, but gives up a second after its guard is dropped, allocates per line, and
//! brings a dozen crates for rolling files.)

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormattedFields, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Where the logger sink writes; visible at `info`.
pub const LOGGER_SINK_TARGET: &str = "org.apache.flume.sink.LoggerSink";
/// The target of the TLS library.
const TLS_TARGET: &str = "rustls";

/// Targets that keep Flume's names and therefore Flume's lines.
const FLUME_TARGETS: &str = "org.apache.flume.";

/// Lines that wait to be written, in bytes; past it, logging waits.
pub const BACKLOG_BYTES_MAX: usize = 8 << 20;

/// How long a dropped [`Guard`] waits for a reader that is slow.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(10);

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For eyes and `grep`.
    #[default]
    Human,
    /// One JSON object a line, for programs.
    Json,
}

/// Logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not what `EnvFilter` understands.
    #[error("log filter \"{found}\": {reason}")]
    Filter {
        /// As it was given.
        found: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something in this process logs already.
    #[error("logging is set up already")]
    Taken(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard output for the whole process. Keep the guard until the last line is logged, and drop
/// it before `std::process::exit`, which runs no destructors.
///
/// # Errors
/// A filter that cannot be understood; logging that is set up already.
pub fn install(format: Format, filter_text: &str) -> Result<Guard, LogError> {
    let filter = filter(filter_text)?;
    let (lines, guard) = Lines::start(standard_output());
    subscriber(format, filter, lines)
        .try_init()
        .map_err(LogError::Taken)?;
    Ok(guard)
}

/// What [`install`] installs, over any writer: for tests and for programs with a process of their own.
pub fn subscriber<W>(format: Format, filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_ansi(false);
    let layer = match format {
        Format::Human => layer.event_format(Human).with_writer(writer).boxed(),
        Format::Json => layer
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_timer(Millis)
            .with_writer(writer)
            .boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer)
}

/// A filter from `info`, `warn,node::flow=debug` and the like (the syntax of `EnvFilter`).
///
/// A filter that names targets only still shows the logger sink at `info`: it is output, not chatter. The TLS library
/// says nothing unless it is named: it does not know which component and which peer it talks about, a peer could
/// fill the log with its warnings (Java makes one at every close), and what fails is told by the component.
///
/// # Errors
/// A filter that cannot be understood, a misspelt level included.
pub fn filter(text: &str) -> Result<EnvFilter, LogError> {
    let wrong = |reason: String| LogError::Filter {
        found: text.to_owned(),
        reason,
    };
    let is_target = |word: &str| word.contains(['=', '[', ']', '{', '}', ':', '.']);
    let mut bare = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty() && !is_target(word))
        .peekable();
    let everything = bare.peek().is_some();
    if let Some(unknown) = bare.find(|word| word.parse::<LevelFilter>().is_err()) {
        return Err(wrong(format!(
            "expected off, error, warn, info, debug, trace or target=level, found \"{unknown}\""
        )));
    }
    let mut filter = EnvFilter::try_new(text).map_err(|e| wrong(e.to_string()))?;
    let shown = (!everything).then_some((LOGGER_SINK_TARGET, "info"));
    for (target, level) in shown.into_iter().chain([(TLS_TARGET, "off")]) {
        if !text.contains(target) {
            let directive = format!("{target}={level}").parse();
            filter = filter.add_directive(directive.map_err(|e| wrong(format!("{e}")))?);
        }
    }
    Ok(filter)
}

/// The filter that `-Dflume.root.logger=LEVEL,appender…` asks for; none if it names no level of log4j.
pub fn root_logger_level(value: &str) -> Option<&'static str> {
    let level = value.split(',').next()?.trim();
    Some(match level.to_ascii_uppercase().as_str() {
        "OFF" => "off",
        "FATAL" | "ERROR" => "error",
        "WARN" => "warn",
        "INFO" => "info",
        "DEBUG" => "debug",
        "TRACE" | "ALL" => "trace",
        _ => return None,
    })
}

/// A second handle on standard output without the line buffer of `std::io::stdout`, for this file gathers lines.
fn standard_output() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(fd) => Box::new(File::from(fd)),
        Err(_) => Box::new(io::stdout()),
    }
}

struct Human;

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        Millis.format_time(&mut writer)?;
        write!(writer, " {:>5} {}: ", about.level(), about.target())?;
        if !about.target().starts_with(FLUME_TARGETS) {
            for span in context.event_scope().into_iter().flat_map(|s| s.from_root()) {
                writer.write_str(span.name())?;
                let extensions = span.extensions();
                match extensions.get::<FormattedFields<N>>() {
                    Some(fields) if !fields.is_empty() => write!(writer, "{{{fields}}}: ")?,
                    _ => writer.write_str(": ")?,
                }
            }
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// UTC with milliseconds, as `2026-01-01T00:00:00.000Z`.
struct Millis;

impl FormatTime for Millis {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        write_utc(w, since.as_millis() as u64)
    }
}

fn write_utc(w: &mut impl fmt::Write, unix_ms: u64) -> fmt::Result {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    write!(
        w,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1000
    )
}

/// Year, month and day of a count of days since 1970. Years begin in March here, so that a leap day is the last.
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.)
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The shared buffer of lines; see the story above.
#[derive(Clone)]
pub struct Lines(Arc<Backlog>);

/// Lines on their way; what [`Lines`] makes as a writer.
pub struct Backlog {
    state: Mutex<State>,
    /// There is something to write, or no more will come.
    more: Condvar,
    /// There is room again, or the writing thread has ended.
    room: Condvar,
    /// Somebody was told that lines cannot be written; once is enough.
    complained: AtomicBool,
}

/// How often a thread that waits for room looks whether it is to hurry.
const HURRY_POLL: std::time::Duration = std::time::Duration::from_millis(200);

struct State {
    lines: Vec<u8>,
    closed: bool,
    /// Lines that find no room are thrown away from now on.
    hurried: bool,
    /// Here while no thread has it: lines are then written by whoever logs.
    out: Option<Box<dyn Write + Send>>,
}

/// Writes what is left when it is dropped. Later lines are still written, each by whoever logs it.
#[must_use = "dropping the guard ends the thread that writes logs"]
pub struct Guard(Arc<Backlog>);

impl Guard {
    /// For the moment at which the process is told to stop.
    pub fn hurry(&self) -> Hurry {
        Hurry(self.0.clone())
    }
}

/// Lets lines go that nobody reads, so that a reader of the log that has stalled cannot keep a node from stopping.
#[derive(Clone)]
pub struct Hurry(Arc<Backlog>);

impl Hurry {
    /// From now on a line that finds no room is thrown away instead of waited for.
    pub fn now(&self) {
        self.0.state().hurried = true;
        self.0.room.notify_all();
    }
}

impl Lines {
    /// Starts the thread that writes to `out`.
    pub fn start(out: Box<dyn Write + Send>) -> (Self, Guard) {
        let backlog = Arc::new(Backlog {
            state: Mutex::new(State {
                lines: Vec::new(),
                closed: false,
                hurried: false,
                out: Some(out),
            }),
            more: Condvar::new(),
            room: Condvar::new(),
            complained: AtomicBool::new(false),
        });
        let theirs = backlog.clone();
        // Without a thread `out` stays where it is, and lines are written at once.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || theirs.write_all_lines());
        (Self(backlog.clone()), Guard(backlog))
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Backlog;

    fn make_writer(&'a self) -> Self::Writer {
        &self.0
    }
}

impl Write for &Backlog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state();
        while state.lines.len() >= BACKLOG_BYTES_MAX && state.out.is_none() {
            if state.hurried {
                return Ok(line.len()); // nobody reads; whoever stops must not wait for that
            }
            let waited = self.room.wait_timeout(state, HURRY_POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match &mut state.out {
            Some(out) => self.put(out.as_mut(), line),
            None => {
                state.lines.extend_from_slice(line);
                drop(state);
                self.more.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Backlog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writing thread.
    fn write_all_lines(&self) {
        let Some(mut out) = self.state().out.take() else {
            return;
        };
        let mut taken = Vec::new();
        loop {
            let mut state = self.state();
            while state.lines.is_empty() && !state.closed {
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.lines.is_empty() {
                state.out = Some(out);
                drop(state);
                self.room.notify_all();
                return;
            }
            std::mem::swap(&mut state.lines, &mut taken);
            drop(state);
            self.room.notify_all();
            self.put(out.as_mut(), &taken);
            taken.clear();
        }
    }

    /// Lines that nobody can read are gone: the node goes on.
    fn put(&self, out: &mut dyn Write, lines: &[u8]) {
        if let Err(error) = out.write_all(lines).and_then(|()| out.flush())
            && !self.complained.swap(true, Relaxed)
        {
            let _ = writeln!(io::stderr(), "logs cannot be written: {error}");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        self.0.more.notify_all();
        // The thread gives `out` back when all is written; a reader that hangs is not waited for for ever.
        let _ = self
            .0
            .room
            .wait_timeout_while(state, FLUSH_TIME_MAX, |state| state.out.is_none());
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backlog")
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written, for the test to read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn logged(format: Format, text: &str, work: impl FnOnce()) -> String {
        let page = Page::default();
        let (lines, guard) = Lines::start(Box::new(page.clone()));
        tracing::subscriber::with_default(subscriber(format, filter(text).unwrap(), lines), work);
        drop(guard);
        page.text()
    }

    #[test]
    fn the_logger_sink_writes_the_line_that_tutorials_show() {
        let text = logged(Format::Human, "info", || {
            let _span = tracing::info_span!("sink", component = "k1").entered();
            tracing::info!(target: LOGGER_SINK_TARGET, "Event: {{ headers:{{}} body: 68 69    hi }}");
            tracing::debug!("not shown");
            tracing::warn!(attempt = 2, "again");
        });
        let lines: Vec<&str> = text
            .lines()
            .map(|l| &l["2026-01-01T00:00:00.000Z".len()..])
            .collect();
        assert_eq!(
            lines,
            [
                "  INFO org.apache.flume.sink.LoggerSink: Event: { headers:{} body: 68 69    hi }",
                "  WARN node::telemetry::log::tests: sink{component=\"k1\"}: again attempt=2",
            ]
        );
    }

    #[test]
    fn json_lines_are_objects() {
        let text = logged(Format::Json, "info", || {
            let _span = tracing::info_span!("sink", component = "k1").entered();
            tracing::info!(events = 3, "taken");
        });
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["message"], "taken");
        assert_eq!(value["events"], 3);
        assert_eq!(value["span"]["component"], "k1");
        assert_eq!(value["timestamp"].as_str().map(str::len), Some(24));
    }

    #[test]
    fn a_filter_of_targets_still_shows_the_logger_sink() {
        let shown = |filter: &str| {
            logged(Format::Human, filter, || {
                tracing::info!(target: LOGGER_SINK_TARGET, "Event");
                tracing::info!("chatter");
            })
            .lines()
            .count()
        };
        assert_eq!(shown("node::flow=debug"), 1);
        assert_eq!(shown("info"), 2);
        assert_eq!(shown("warn"), 0);
        assert_eq!(shown("org.apache.flume.sink.LoggerSink=warn"), 0);
    }

    #[test]
    fn the_tls_library_is_silent_unless_it_is_named() {
        let shown = |text: &str| {
            logged(Format::Human, text, || {
                tracing::warn!(target: "rustls::common_state", "TLS alert warning received");
                tracing::warn!("ours");
            })
            .lines()
            .count()
        };
        assert_eq!(shown("debug"), 1);
        assert_eq!(shown("debug,rustls=debug"), 2);
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        assert_eq!(
            filter("inf").unwrap_err().to_string(),
            "log filter \"inf\": expected off, error, warn, info, debug, trace or target=level, found \"inf\""
        );
        assert!(filter("node=loud").is_err());
        assert!(filter("WARN,node::flow[sink{component=k1}]=trace").is_ok());
    }

    #[test]
    fn the_root_logger_of_flume_gives_the_level() {
        assert_eq!(root_logger_level("DEBUG,console"), Some("debug"));
        assert_eq!(root_logger_level(" info , LOGFILE"), Some("info"));
        assert_eq!(root_logger_level("ALL"), Some("trace"));
        assert_eq!(root_logger_level("console"), None);
        assert_eq!(root_logger_level(""), None);
    }

    #[test]
    fn no_line_is_lost_or_torn_while_many_write() {
        let page = Page::default();
        let (lines, guard) = Lines::start(Box::new(page.clone()));
        thread::scope(|scope| {
            for name in 0..4 {
                let lines = lines.clone();
                scope.spawn(move || {
                    for at in 0..50_000 {
                        let line = format!("{name} {at} {}\n", "x".repeat(100));
                        lines.make_writer().write_all(line.as_bytes()).unwrap();
                    }
                });
            }
        });
        drop(guard);
        lines.make_writer().write_all(b"after the guard\n").unwrap();
        let text = page.text();
        assert_eq!(text.lines().count(), 200_001);
        for name in 0..4 {
            let prefix = format!("{name} ");
            let own = text.lines().filter_map(|l| l.strip_prefix(&prefix));
            let numbers = own.map(|l| l.split(' ').next().unwrap().parse::<u32>().unwrap());
            assert!(numbers.eq(0..50_000));
        }
    }

    #[test]
    fn a_reader_that_went_away_stops_nobody() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (lines, guard) = Lines::start(Box::new(Gone));
        for _ in 0..3 * BACKLOG_BYTES_MAX / 1_000_000 {
            lines.make_writer().write_all(&vec![b'x'; 1_000_000]).unwrap();
        }
        drop(guard);
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let check = |unix_ms, expected: &str| {
            let mut text = String::new();
            write_utc(&mut text, unix_ms).unwrap();
            assert_eq!(text, expected);
        };
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_767_225_600_000, "2026-01-01T00:00:00.000Z");
        check(951_782_399_999, "2000-02-28T23:59:59.999Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
    }
}
