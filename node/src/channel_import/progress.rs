//! What a person sees while it takes long: a bar for reading the files, one for the events; only on a terminal.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// Between two drawings.
const TICK: Duration = Duration::from_millis(100);

const READING: &str = "reading [{bar:30}] {percent:>3} % {binary_bytes} of {binary_total_bytes}, {eta} left";
const MOVING: &str = "moving  [{bar:30}] {percent:>3} % {human_pos} of {human_len} events, {msg}, {eta} left";

/// The bar, or nothing where nobody watches.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Nothing is done yet.
    pub fn start() -> Self {
        Self(stderr().is_terminal().then(ProgressBar::no_length))
    }

    /// Files of so many bytes are to be read.
    pub fn expect_files(&self, bytes: u64) {
        self.show(bytes, READING);
    }

    /// So many bytes more were read.
    pub fn read(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// So many events are to be moved.
    pub fn expect_events(&self, events: u64) {
        self.show(events, MOVING);
    }

    /// So many events more are moved, of so many bytes in all.
    pub fn moved(&self, events: u64, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(events);
            bar.set_message(HumanBytes(bytes).to_string());
        }
    }

    fn show(&self, length: u64, template: &str) {
        let Some(bar) = &self.0 else { return };
        bar.reset();
        bar.set_length(length);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
    }

    /// Says something that stays.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
