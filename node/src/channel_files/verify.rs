//! `channel verify`: reads every live block with every checksum, and names what cannot be read, to the byte and the event.

use super::Outcome;
use super::place::Place;
use super::progress::{Progress, human};
use super::{Failure, place::Log};
use cluster::journal::{Damage, Verdict};
use serde_json::{Value, json};

/// Verifies every place; the worst decides.
pub fn run(places: &[Result<Place, Failure>], as_json: bool) -> Outcome {
    let mut worst = Outcome::Done;
    let mut all = Vec::new();
    for place in places {
        let verified = match place {
            Ok(place) => verify(place).map(|found| (place, found)),
            Err(failure) => {
                worst = worst.max(failure.tell());
                continue;
            }
        };
        let (place, (log, verdict)) = match verified {
            Ok(found) => found,
            Err(failure) => {
                worst = worst.max(failure.tell());
                continue;
            }
        };
        if !verdict.is_sound() {
            worst = worst.max(Outcome::Damaged);
        }
        if as_json {
            all.push(document(place, &log, &verdict));
        } else {
            super::say(&text(place, &log, &verdict));
        }
    }
    if as_json {
        super::say(&format!("{:#}\n", Value::Array(all)));
    }
    worst
}

/// Reads all of it.
pub fn verify(place: &Place) -> Result<(Log, Verdict), Failure> {
    let mut log = place.open(true)?;
    let progress = Progress::over(log.bytes(), "verify");
    let verdict = log.verify(|bytes| progress.advance(bytes));
    drop(progress);
    let verdict = verdict.map_err(|why| Failure::unreadable(why.to_string()))?;
    Ok((log, verdict))
}

/// For people.
fn text(place: &Place, log: &Log, verdict: &Verdict) -> String {
    let (folder, blocks, events) = (
        place.folder().display().to_string(),
        verdict.blocks,
        verdict.events,
    );
    let bytes = human(verdict.bytes);
    let mut text = match verdict.damages.len() {
        0 => format!("{folder}: sound; {blocks} blocks, {bytes}, {events} queued events\n"),
        places => {
            let lost: u64 = verdict.damages.iter().map(Damage::lost_events).sum();
            let places = several(places as u64, "place", "places");
            format!(
                "{folder}: DAMAGED in {places}, {lost} queued events lost; {blocks} blocks are sound, {bytes}, {events} \
                 queued events\n"
            )
        }
    };
    for damage in &verdict.damages {
        text += &format!("  {damage}\n");
    }
    if !verdict.is_sound() {
        let owners: Vec<&str> = log.books().positions().map(|(_, owner, ..)| owner).collect();
        if verdict.damages.iter().any(|damage| damage.repeats) && !owners.is_empty() {
            text += &format!(
                "  positions that may be older than they were: {}\n",
                owners.join(", ")
            );
        }
        text += &format!("  to go on without what is lost: {}\n", repair_command(place));
    }
    for scar in &verdict.scars {
        let last = scar.events.end.saturating_sub(1);
        match scar.events.is_empty() {
            true => text += "  repaired before: no events were given up\n",
            false => {
                text += &format!(
                    "  repaired before: events {} to {last} were given up\n",
                    scar.events.start
                )
            }
        }
    }
    for events in &verdict.given_up {
        let last = events.end.saturating_sub(1);
        text += &format!(
            "  events {} to {last} were given up before and are still counted as queued\n",
            events.start
        );
    }
    if log.is_torn() {
        text += match place.user() {
            Some(_) => "  a commit is on its way at the end\n",
            None => "  an unfinished commit at the end: it was never acknowledged, which is no damage\n",
        };
    }
    if !verdict.gone.is_empty() {
        let segments = several(verdict.gone.len() as u64, "segment was", "segments were");
        text += &format!("  {segments} delivered to the end meanwhile\n");
    }
    text
}

/// `1 place`, `2 places`.
pub fn several(count: u64, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{count} {many}"),
    }
}

/// What a person is to type.
pub fn repair_command(place: &Place) -> String {
    format!("node channel repair {} --skip", place.data_dir.display())
}

/// For programs.
fn document(place: &Place, log: &Log, verdict: &Verdict) -> Value {
    json!({
        "folder": place.folder(),
        "sound": verdict.is_sound(),
        "blocks": verdict.blocks,
        "bytes": verdict.bytes,
        "queuedEvents": verdict.events,
        "lostEvents": verdict.damages.iter().map(Damage::lost_events).sum::<u64>(),
        "damages": verdict.damages.iter().map(damage_document).collect::<Vec<_>>(),
        "unfinishedCommit": log.is_torn(),
        "segmentsDeliveredMeanwhile": verdict.gone.len(),
    })
}

/// One damage, for programs.
pub fn damage_document(damage: &Damage) -> Value {
    json!({
        "file": damage.name,
        "offset": damage.offset,
        "bytes": damage.end_lsn - damage.start_lsn,
        "startLsn": damage.start_lsn,
        "endLsn": damage.end_lsn,
        "firstEvent": (!damage.events.is_empty()).then_some(damage.events.start),
        "lastEvent": (!damage.events.is_empty() && !damage.open_ended).then(|| damage.events.end - 1),
        "moreEventsPossible": damage.open_ended,
        "lostEvents": damage.lost_events(),
        "lost": damage.lost.iter().map(|range| json!([range.start, range.end - 1])).collect::<Vec<_>>(),
        "repeatsPossible": damage.repeats,
        "why": damage.why,
        "text": damage.to_string(),
    })
}
