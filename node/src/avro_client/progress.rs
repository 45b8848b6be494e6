//! What a person sees while it takes long: a bar where the length is known, else a count; only on a terminal.

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr, stdin};
use std::time::Duration;

/// Between two drawings.
const TICK: Duration = Duration::from_millis(100);

const COUNT: &str = "{spinner} {msg} events, {binary_bytes}, {binary_bytes_per_sec}";
const BAR: &str =
    "[{bar:30}] {percent:>3} % {msg} events, {binary_bytes} of {binary_total_bytes}, {eta} left";

/// The bar, or nothing where nobody watches.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Nothing is sent yet.
    pub fn start() -> Self {
        Self(stderr().is_terminal().then(ProgressBar::no_length))
    }

    /// Standard input is next. Who types must see what they type.
    pub fn expect_input(&mut self) {
        if stdin().is_terminal() {
            self.finish();
            self.0 = None;
        }
        self.show(None, COUNT);
    }

    /// A file of so many bytes is next, if that is known.
    pub fn expect_file(&self, bytes: Option<u64>) {
        self.show(bytes, if bytes.is_some() { BAR } else { COUNT });
    }

    fn show(&self, bytes: Option<u64>, template: &str) {
        let Some(bar) = &self.0 else { return };
        bar.reset();
        bar.set_message("0");
        match bytes {
            Some(bytes) => bar.set_length(bytes),
            None => bar.unset_length(),
        }
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(TICK);
    }

    /// So many more bytes of the input, so many events in all.
    pub fn advance(&self, bytes: u64, events: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
            bar.set_message(HumanCount(events).to_string());
        }
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
