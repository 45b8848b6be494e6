//! The figures of a run, as a table for people and as JSON for programs.

use crate::drive::Outcome;
use crate::ledger::Verdict;
use crate::raw::Raw;
use crate::subject::Started;
use serde_json::{Value, json};
use std::time::Duration;

/// What a machine can do next to what the subject did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference {
    /// Raw loopback TCP.
    pub raw: Raw,
    /// Events per second of the same driver against a server that only answers.
    pub swallow_events_per_second: f64,
}

/// The subject's own figures.
#[derive(Debug, Clone, Copy)]
pub struct SubjectFigures {
    /// See [`Started`].
    pub started: Started,
    /// CPU of all agents in the measured window.
    pub cpu: Duration,
    /// CPU in the window of everything that is neither subject nor this program.
    pub other_cpu: Duration,
    /// Peak resident memory of all agents, in KiB.
    pub peak_kib: u64,
}

/// One run.
#[derive(Debug)]
pub struct Report {
    /// Name of the case, or of the command.
    pub name: String,
    /// What the driver saw.
    pub outcome: Outcome,
    /// CPU of the driver's threads in the measured window.
    pub driver_cpu: Duration,
    /// Missing when the subject is not ours to look at.
    pub subject: Option<SubjectFigures>,
    /// Missing when not measured.
    pub reference: Option<Reference>,
    /// The collector's verdict, where there is one.
    pub verdict: Option<Verdict>,
}

impl Report {
    /// Events got through, none was answered with an error, and the verdict, if any, is clean.
    pub fn is_good(&self) -> bool {
        self.outcome.events > 0
            && self.outcome.errors == 0
            && self.verdict.is_none_or(|verdict| verdict.is_clean())
    }

    fn latency_us(&self, quantile: f64) -> f64 {
        self.outcome.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    fn per_event_us(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.outcome.events.max(1) as f64
    }

    /// Bytes on the wire for each event.
    fn event_size(&self) -> f64 {
        (self.outcome.calls.max(1) as f64 * self.outcome.frame_size as f64)
            / self.outcome.events.max(1) as f64
    }

    fn raw_cpu_us(&self, reference: &Reference) -> f64 {
        reference.raw.cpu_per_byte * self.event_size() * 1e6
    }

    fn raw_ratio(&self, reference: &Reference) -> f64 {
        self.outcome.bytes_per_second() / reference.raw.bytes_per_second.max(1.0)
    }

    fn swallow_ratio(&self, reference: &Reference) -> f64 {
        self.outcome.events_per_second() / reference.swallow_events_per_second.max(1.0)
    }

    /// What this one has times the other: events per second, CPU of an event, memory at its peak. For people, as the
    /// lines of [`Display`](std::fmt::Display).
    pub fn compared_with(&self, other: &Self) -> String {
        let ratio =
            |name: &str, of: f64, to: f64| format!("  {name:<22} {:>14.3}\n", of / to.max(f64::MIN_POSITIVE));
        let mut text = format!("{} compared with {}\n", self.name, other.name);
        text += &ratio(
            "events/s",
            self.outcome.events_per_second(),
            other.outcome.events_per_second(),
        );
        text += &ratio("latency p99", self.latency_us(0.99), other.latency_us(0.99));
        if let (Some(own), Some(others)) = (&self.subject, &other.subject) {
            text += &ratio(
                "subject CPU per event",
                self.per_event_us(own.cpu),
                other.per_event_us(others.cpu),
            );
            text += &ratio("peak RSS", own.peak_kib as f64, others.peak_kib as f64);
        }
        text
    }

    /// Everything, in base units.
    pub fn json(&self) -> Value {
        let outcome = &self.outcome;
        let mut value = json!({
            "name": self.name,
            "good": self.is_good(),
            "seconds": outcome.elapsed.as_secs_f64(),
            "events": outcome.events,
            "calls": outcome.calls,
            "failed_calls": outcome.failed,
            "error_calls": outcome.errors,
            "frame_bytes": outcome.frame_size,
            "events_per_second": outcome.events_per_second(),
            "calls_per_second": outcome.calls_per_second(),
            "bytes_per_second": outcome.bytes_per_second(),
            "latency_p50_us": self.latency_us(0.5),
            "latency_p99_us": self.latency_us(0.99),
            "latency_max_us": outcome.latency.max() as f64 / 1e3,
            "driver_cpu_us_per_event": self.per_event_us(self.driver_cpu),
        });
        if let Some(subject) = &self.subject {
            value["subject"] = json!({
                "listening_ms": subject.started.listening.as_secs_f64() * 1e3,
                "cpu_us_per_event": self.per_event_us(subject.cpu),
                "cores": subject.cpu.as_secs_f64() / outcome.elapsed.as_secs_f64(),
                "other_cores": subject.other_cpu.as_secs_f64() / outcome.elapsed.as_secs_f64(),
                "idle_rss_kib": subject.started.idle_kib,
                "peak_rss_kib": subject.peak_kib,
            });
        }
        if let Some(reference) = &self.reference {
            value["reference"] = json!({
                "raw_bytes_per_second": reference.raw.bytes_per_second,
                "raw_bytes_per_second_min": reference.raw.bytes_per_second_min,
                "raw_cpu_us_per_event": self.raw_cpu_us(reference),
                "ratio_to_raw": self.raw_ratio(reference),
                "swallow_events_per_second": reference.swallow_events_per_second,
                "ratio_to_swallow": self.swallow_ratio(reference),
            });
        }
        if let Some(verdict) = &self.verdict {
            value["verdict"] = json!({
                "clean": verdict.is_clean(),
                "events": verdict.events,
                "producers": verdict.producers,
                "missing": verdict.missing,
                "duplicated": verdict.duplicated,
                "reordered": verdict.reordered,
                "corrupt": verdict.corrupt,
                "inexact": verdict.inexact,
            });
        }
        value
    }

    /// Name and value of each line of the table.
    fn lines(&self) -> Vec<(&'static str, String)> {
        let outcome = &self.outcome;
        let mut lines = vec![
            ("events/s", grouped(outcome.events_per_second())),
            ("calls/s", grouped(outcome.calls_per_second())),
            ("MB/s", format!("{:.1}", outcome.bytes_per_second() / 1e6)),
            ("latency p50 µs", format!("{:.1}", self.latency_us(0.5))),
            ("latency p99 µs", format!("{:.1}", self.latency_us(0.99))),
            (
                "driver CPU µs/event",
                format!("{:.3}", self.per_event_us(self.driver_cpu)),
            ),
            ("FAILED calls", outcome.failed.to_string()),
            ("error calls", outcome.errors.to_string()),
        ];
        if let Some(subject) = &self.subject {
            let cores = subject.cpu.as_secs_f64() / outcome.elapsed.as_secs_f64();
            lines.push((
                "subject CPU µs/event",
                format!("{:.3}", self.per_event_us(subject.cpu)),
            ));
            lines.push(("subject cores used", format!("{cores:.2}")));
            let others = subject.other_cpu.as_secs_f64() / outcome.elapsed.as_secs_f64();
            lines.push(("other cores busy", format!("{others:.2}")));
            lines.push((
                "start to listening ms",
                format!("{:.1}", subject.started.listening.as_secs_f64() * 1e3),
            ));
            lines.push((
                "idle RSS MiB",
                format!("{:.1}", subject.started.idle_kib as f64 / 1024.0),
            ));
            lines.push(("peak RSS MiB", format!("{:.1}", subject.peak_kib as f64 / 1024.0)));
        }
        if let Some(reference) = &self.reference {
            lines.push((
                "raw TCP MB/s",
                format!("{:.1}", reference.raw.bytes_per_second / 1e6),
            ));
            lines.push((
                "  slowest slice MB/s",
                format!("{:.1}", reference.raw.bytes_per_second_min / 1e6),
            ));
            lines.push((
                "  events/s",
                grouped(reference.raw.bytes_per_second / self.event_size()),
            ));
            lines.push(("  CPU µs/event", format!("{:.3}", self.raw_cpu_us(reference))));
            lines.push(("ratio to raw TCP", format!("{:.3}", self.raw_ratio(reference))));
            lines.push(("swallow events/s", grouped(reference.swallow_events_per_second)));
            lines.push((
                "ratio to swallow",
                format!("{:.3}", self.swallow_ratio(reference)),
            ));
        }
        if let Some(verdict) = &self.verdict {
            lines.push((
                "verdict",
                if verdict.is_clean() { "clean" } else { "NOT CLEAN" }.to_owned(),
            ));
            lines.push(("verified events", grouped(verdict.events as f64)));
            for (name, count) in [
                ("missing", verdict.missing),
                ("duplicated", verdict.duplicated),
                ("reordered", verdict.reordered),
                ("corrupt", verdict.corrupt),
            ] {
                lines.push((
                    name,
                    format!("{count}{}", if verdict.inexact { " (inexact)" } else { "" }),
                ));
            }
        }
        lines
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            out,
            "{}{}",
            self.name,
            if self.is_good() { "" } else { "  << NOT GOOD" }
        )?;
        for (name, value) in self.lines() {
            writeln!(out, "  {name:<22} {value:>14}")?;
        }
        Ok(())
    }
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0.4), "0");
        assert_eq!(grouped(999.0), "999");
        assert_eq!(grouped(1_234_567.0), "1 234 567");
    }
}
