//! The events that cross: each has a number, in its body and as the header `number`.
//!
//! Bodies are single lines, so that files and `file_roll` sinks can carry them on either side; some are longer than any
//! buffer on the way, some have more than ASCII. `file_roll` with `header_and_text` writes `{number=7} 7 …`.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use tests::ledger::Ledger;
use tests::wait::{self, LIVENESS};

/// The name of the header.
pub const NUMBER: &str = "number";

/// The body of an event: its number first.
pub fn body(number: u64) -> String {
    let filler = match number % 100 {
        // Longer than the 8 KiB of an Avro buffer, than a TLS record and than most socket buffers.
        50 => 20_000,
        99 => 70_000,
        rest => rest * 3,
    };
    let text = "wörter und Wörter, 日本 \u{1f600} ".chars().cycle();
    let text: String = text
        .skip(usize::try_from(number % 20).unwrap_or(0))
        .take(usize::try_from(filler).unwrap_or(0))
        .collect();
    // What ends in a blank would be hard to see in a file.
    format!("{number} {text}.")
}

/// Bodies, one a line.
pub fn lines(count: u64) -> String {
    (1..=count).map(|number| body(number) + "\n").collect()
}

/// Waits until so many events are in the files of a `file_roll` sink with `header_and_text`, and expects each of the
/// numbers from 1 on once and in order, with this text between the braces.
///
/// # Panics
/// When they do not come, or are others.
#[track_caller]
pub fn assert_rolled(folder: &Path, count: u64, headers: impl Fn(u64) -> String) {
    assert_rolled_from(folder, 1..=count, headers);
}

/// The same for other numbers.
///
/// # Panics
/// Likewise.
#[track_caller]
pub fn assert_rolled_from(folder: &Path, numbers: RangeInclusive<u64>, headers: impl Fn(u64) -> String) {
    let expected = numbers.clone().count();
    let lines = wait::until(&format!("{expected} events"), 2 * LIVENESS, || {
        Some(rolled(folder)).filter(|lines| lines.len() >= expected)
    });
    let mut ledger = Ledger::new();
    ledger.sent("r1", numbers);
    for line in lines {
        match number(&line) {
            Some(number) if line == format!("{{{}}} {}", headers(number), body(number)) => {
                ledger.saw("r1", number);
            }
            _ => ledger.saw_corrupt(&line.chars().take(100).collect::<String>()),
        }
    }
    ledger.assert_once_and_in_order();
}

/// What stands between the braces when an event has just its number.
pub fn numbered(number: u64) -> String {
    format!("{NUMBER}={number}")
}

/// The number of `{…} 7 …`.
fn number(line: &str) -> Option<u64> {
    let (_, body) = line.strip_prefix('{')?.split_once("} ")?;
    body.split(' ').next()?.parse().ok()
}

/// The whole lines of all files of a folder, oldest file first.
pub fn rolled(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    // `<milliseconds of the start>-<counter>` on both sides.
    let key = |path: &std::path::PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let (start, counter) = name.split_once('-').unwrap_or((&name, "0"));
        (
            start.parse::<u64>().unwrap_or(0),
            counter.parse::<u64>().unwrap_or(0),
        )
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort_by_key(key);
    let mut lines = Vec::new();
    for file in files {
        let text = fs::read(file).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        lines.extend(whole.lines().map(str::to_owned));
    }
    lines
}
