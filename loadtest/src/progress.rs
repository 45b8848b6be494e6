//! A bar when somebody watches the terminal, else a line every few seconds; always on stderr.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Pause between lines when stderr is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

/// Shows how far a run of known length is.
#[derive(Debug)]
pub struct Progress {
    title: String,
    start: Instant,
    last: (Instant, u64),
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For a run that takes `total`.
    pub fn new(title: &str, total: Duration) -> Self {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total.as_millis() as u64);
            if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_prefix(title.to_owned())
        });
        Self {
            title: title.to_owned(),
            start: now,
            last: (now, 0),
            bar,
        }
    }

    /// `events` is the count so far.
    pub fn show(&mut self, events: u64) {
        let now = Instant::now();
        let since = now - self.last.0;
        if self.bar.is_none() && since < LINE_INTERVAL {
            return;
        }
        let rate = (events.saturating_sub(self.last.1)) as f64 / since.as_secs_f64().max(0.001);
        match &self.bar {
            Some(bar) => {
                bar.set_position((now - self.start).as_millis() as u64);
                bar.set_message(format!("{rate:>12.0} events/s"));
            }
            None => {
                eprintln!(
                    "{} {:>4.0} s {rate:>12.0} events/s",
                    self.title,
                    (now - self.start).as_secs_f64()
                )
            }
        }
        self.last = (now, events);
    }

    /// Takes the bar away.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
