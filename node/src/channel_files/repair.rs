//! `channel repair --skip`: gives up what cannot be read, and makes the channel one that starts without a question.
//!
//! Before anything is changed, the files that are about to be changed are copied to `millrace/quarantine`, with a report of
//! what was found; the copies are durable before the first change. A repair that was interrupted is begun again by the same
//! command; copies that are there already are not made twice.

use super::place::Place;
use super::progress::Progress;
use super::verify::{damage_document, several};
use super::{Failure, Outcome};
use crate::channel::file::folder::{Folder, FolderError};
use crate::channel::file::log_sizes;
use cluster::journal::{
    Damage, DiskError, DiskErrorKind, Opened, RepairError, Repaired, SurveyError, Verdict, repair,
};
use serde_json::json;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where damaged files are kept.
const QUARANTINE: &str = "quarantine";

/// Repairs every place; the worst decides.
pub fn run(places: &[Result<Place, Failure>]) -> Outcome {
    let mut worst = Outcome::Done;
    for place in places {
        let done = match place {
            Ok(place) => one(place),
            Err(failure) => {
                worst = worst.max(failure.tell());
                continue;
            }
        };
        match done {
            Ok(text) => super::say(&text),
            Err(failure) => worst = worst.max(failure.tell()),
        }
    }
    worst
}

fn one(place: &Place) -> Result<String, Failure> {
    let folder = Folder::own(&place.data_dir, &place.meta, 0).map_err(|why| match why {
        FolderError::Locked { .. } => {
            let message = format!("{why}; stop the agent first. Nothing was changed");
            Failure::new(Outcome::InUse, message)
        }
        _ => Failure::unreadable(why.to_string()),
    })?;
    let path = place.folder();
    let quarantine = path.join(QUARANTINE);
    let unix_seconds = jiff::Timestamp::now().as_second().unsigned_abs();
    // Only for the bar: what cannot be looked at has none.
    let progress = Progress::over(place.open(false).map_or(0, |log| log.bytes()), "verify");
    let how = Opened {
        config: log_sizes(longest_segment(&path)),
        shard: folder.meta.shard,
        seed: rand::random(),
        skip_damage: true,
        distrust: false,
        keys: place.keys.clone(),
    };
    let aside = |found: &Verdict, names: &[String]| {
        progress.say(&format!(
            "{}: keeping copies in {}",
            path.display(),
            quarantine.display()
        ));
        put_aside(&path, &quarantine, found, names, unix_seconds).map_err(|error| {
            DiskError::new(DiskErrorKind::Other, format!("{}: {error}", quarantine.display()))
        })
    };
    let repaired = repair(&folder.disk, how, unix_seconds, aside, |bytes| {
        progress.advance(bytes)
    });
    drop(progress);
    match repaired {
        Ok(done) => Ok(told(&path, &quarantine, &done)),
        Err(why) => {
            let outcome = match &why {
                RepairError::Damaged(_) => Outcome::Damaged,
                RepairError::Survey(
                    SurveyError::Empty | SurveyError::Newer(_) | SurveyError::Encrypted(_),
                ) => Outcome::Unreadable,
                _ => Outcome::Unwritable,
            };
            let message = format!(
                "{}: {why}. What is not repaired is as it was; the same command goes on",
                path.display()
            );
            Err(Failure::new(outcome, message))
        }
    }
}

/// Bytes of the longest segment: the channel's are that long.
fn longest_segment(folder: &Path) -> u64 {
    let lengths = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let is_segment = entry.file_name().to_string_lossy().starts_with("seg-");
            is_segment.then(|| entry.metadata().map_or(0, |metadata| metadata.len()))
        });
    lengths.max().unwrap_or(u64::MAX)
}

fn told(path: &Path, quarantine: &Path, done: &Repaired) -> String {
    let path = path.display();
    if !done.changed {
        return format!(
            "{path}: sound, nothing to repair; {} queued events\n",
            done.events
        );
    }
    let mut text = format!(
        "{path}: repaired; {}\n",
        several(done.events, "queued event", "queued events")
    );
    for damage in &done.found.damages {
        text += &format!("  given up: {damage}\n");
    }
    if done.without_snapshot {
        text += "  no segment began with a readable snapshot: positions are lost, and events that were delivered may come \
                 again\n";
    }
    text + &format!("  the files as they were: {}\n", quarantine.display())
}

/// Makes durable copies of files and a report beside them.
fn put_aside(
    folder: &Path,
    quarantine: &Path,
    found: &Verdict,
    names: &[String],
    unix_seconds: u64,
) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(quarantine)?;
    File::open(folder)?.sync_all()?;
    let mut copies = Vec::new();
    for name in names {
        let from = folder.join(name);
        let sum = match checksum(&from) {
            Ok(sum) => sum,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let to = format!("{name}.{sum:08x}");
        if !quarantine.join(&to).exists() {
            durably(quarantine, &to, |temporary| fs::copy(&from, temporary).map(drop))?;
        }
        copies.push(to);
    }
    let report = json!({
        "unixSeconds": unix_seconds,
        "copies": copies,
        "lostEvents": found.damages.iter().map(Damage::lost_events).sum::<u64>(),
        "damages": found.damages.iter().map(damage_document).collect::<Vec<_>>(),
    });
    let text = format!("{report:#}\n");
    durably(quarantine, &format!("repair-{unix_seconds}.json"), |temporary| {
        fs::write(temporary, &text)
    })
}

/// A file that is there whole or not at all.
fn durably(folder: &Path, name: &str, write: impl FnOnce(&PathBuf) -> io::Result<()>) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    write(&temporary)?;
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = File::open(path)?;
    let mut buf = vec![0; 1 << 20];
    let mut crc = flate2::Crc::new();
    loop {
        let read = file.read(&mut buf)?;
        if read == 0 {
            return Ok(crc.sum());
        }
        crc.update(&buf[..read]);
    }
}
