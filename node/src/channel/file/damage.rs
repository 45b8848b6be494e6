//! Damage as an operator hears of it: which events, which bytes, and what to do.

use crate::component::counters::StorageCounters;
use cluster::journal::{Damage, Disk, Log, OpenError, ReadError, Reader};
use proto::journal::{PAGE_BYTES, Range};
use std::path::Path;
use tracing::error;

/// Why a channel does not open.
pub fn refused(path: &Path, why: &OpenError) -> String {
    let is_damage = matches!(
        why,
        OpenError::Corrupt(_)
            | OpenError::Missing { .. }
            | OpenError::Segment { .. }
            | OpenError::NoSnapshot { .. }
    );
    let path = path.display();
    if is_damage {
        format!("{path}: {why}; {}", what_to_do(Path::new(&path.to_string())))
    } else {
        format!("{path}: {why}")
    }
}

/// What a person can do about it.
pub fn what_to_do(path: &Path) -> String {
    let path = path.display();
    format!(
        "`node channel verify {path}` tells what is lost; to go on without it, stop the agent and run `node channel repair \
         {path} --skip`, or set onCorruption = skip"
    )
}

/// Damage that was skipped when the log was opened; the channel counts its events no more.
pub fn tell(channel: &str, cells: &StorageCounters, damage: &Damage) {
    tell_range(channel, cells, damage);
    cells.lost_events.add(damage.lost_events());
}

/// Damage that is skipped while events are read.
pub fn tell_range(channel: &str, cells: &StorageCounters, damage: &Damage) {
    let (first_event, next_event) = (damage.events.start, damage.events.end);
    error!(channel, first_event, next_event, "skipped: {damage}");
    cells.corrupt_ranges.add(1);
}

/// The events that damage has come to, which a reader has met: those between the last one that was `loaded` and the next one
/// that can be read.
///
/// # Errors
/// The disk's.
pub fn met<D: Disk>(log: &Log<D>, met: ReadError, loaded: u64) -> Result<Damage, String> {
    let (name, number, start_lsn, end_lsn, why) = match met {
        ReadError::Damaged {
            name,
            number,
            start_lsn,
            end_lsn,
            why,
        } => (name, number, start_lsn, end_lsn, why),
        ReadError::Disk(why) => return Err(why.to_string()),
    };
    let mut ahead = Reader::new();
    ahead.skip(number, end_lsn);
    let next = loop {
        match ahead.next(log) {
            Ok(Some(chunks)) => {
                if let Some(next) = chunks
                    .iter()
                    .map(|c| c.events.start)
                    .find(|start| *start >= loaded)
                {
                    break next;
                }
            }
            Ok(None) => break log.books().next_event(),
            Err(ReadError::Damaged { number, end_lsn, .. }) => ahead.skip(number, end_lsn),
            Err(ReadError::Disk(why)) => return Err(why.to_string()),
        }
    };
    let events = Range {
        start: loaded,
        end: next.max(loaded),
    };
    let first_lsn = log
        .books()
        .segments()
        .find(|(n, _)| *n == number)
        .map_or(0, |(_, info)| info.first_lsn);
    Ok(Damage {
        name,
        number,
        offset: PAGE_BYTES as u64 + start_lsn.saturating_sub(first_lsn),
        start_lsn,
        end_lsn,
        events,
        open_ended: false,
        lost: log.books().live_in(events),
        repeats: false,
        why,
    })
}
