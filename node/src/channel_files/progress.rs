//! What a person sees while a log is read: a bar over its bytes, only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::Duration;

/// Between two drawings.
const TICK: Duration = Duration::from_millis(100);

const BAR: &str = "{msg} [{bar:30}] {percent:>3} % {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";

/// The bar, or nothing where nobody watches.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// So many bytes are to be read.
    pub fn over(bytes: u64, what: &str) -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(bytes));
        if let Some(bar) = &bar {
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    /// So many more were.
    pub fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }

    /// Says something that stays.
    pub fn say(&self, text: &str) {
        match &self.0 {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Bytes as people read them.
pub fn human(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
