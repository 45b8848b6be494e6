//! `channel inspect`: what the folder of a channel holds, from its newest segment, however long the backlog is.

use super::place::{Log, Place};
use super::progress::human;
use super::queued::{Next, Queued, Run};
use super::verify::{damage_document, several};
use super::{Failure, Outcome};
use cluster::journal::Visited;
use proto::journal::FORMAT;
use serde_json::{Value, json};
use std::fmt::Write;

/// Bytes of a position that are shown.
const POSITION_SHOWN: usize = 200;

/// Shows every place; the worst decides.
pub fn run(places: &[Result<Place, Failure>], as_json: bool, verbose: bool) -> Outcome {
    let mut worst = Outcome::Done;
    let mut all = Vec::new();
    for place in places {
        let shown = place.as_ref().map_err(Failure::tell).and_then(|place| {
            let shown = look(place).and_then(|look| {
                let blocks = if verbose { blocks(place)? } else { Vec::new() };
                Ok((look, blocks))
            });
            shown.map_err(|failure| failure.tell())
        });
        match shown {
            Err(outcome) => worst = worst.max(outcome),
            Ok((look, blocks)) => {
                if look["damages"].as_array().is_some_and(|d| !d.is_empty()) {
                    worst = worst.max(Outcome::Damaged);
                }
                if as_json {
                    let mut look = look;
                    if verbose {
                        look["blocks"] = Value::Array(blocks);
                    }
                    all.push(look);
                } else {
                    super::say(&(text(&look) + &blocks_text(&blocks)));
                }
            }
        }
    }
    if as_json {
        super::say(&format!("{:#}\n", Value::Array(all)));
    }
    worst
}

/// What is there, for programs and, through [`text`], for people.
fn look(place: &Place) -> Result<Value, Failure> {
    let user = place.user();
    let log = place.open(false)?;
    let books = log.books();
    let segments = log.segments();
    let lost: u64 = log.damages().map(cluster::journal::Damage::lost_events).sum();
    let queued = books.live() - lost;
    let estimate: u64 = segments
        .iter()
        .map(|s| (s.info.end_lsn - s.info.first_lsn).saturating_mul(s.live) / s.info.events.len().max(1))
        .sum();
    let mut document = json!({
        "folder": place.folder(),
        "channel": place.meta.name,
        "channelId": hex(&place.meta.channel),
        "shardId": hex(&place.meta.shard),
        "shard": place.meta.shard_number + 1,
        "shards": place.meta.shards,
        "format": FORMAT,
        "epoch": books.epoch(),
        "inUse": user.is_some(),
        "process": user,
        "closedInOrder": log.is_clean(),
        "unfinishedCommit": log.is_torn(),
        "queuedEvents": queued,
        "queuedBytesAbout": estimate,
        "takenOutOfOrder": books.taken().count(),
        "firstQueued": (queued > 0).then_some(books.floor()),
        "nextEvent": books.next_event(),
        "mayRepeatBelow": books.in_doubt(),
        "firstLsn": segments.first().map(|s| s.info.first_lsn),
        "endLsn": log.end_lsn(),
        "logBytes": log.bytes(),
        "freeFiles": log.free().len(),
        "freeBytes": log.free().iter().map(|(_, bytes)| bytes).sum::<u64>(),
        "segments": segments.iter().map(segment).collect::<Vec<_>>(),
        "positions": books.positions().map(|(_, owner, stamp, bytes)| position(owner, stamp, bytes)).collect::<Vec<_>>(),
        "preparedBatches": books.prepared().count(),
        "preparedEvents": books.prepared().map(|(_, events)| events.len()).sum::<u64>(),
        "reservedBatches": books.reserved().count(),
        "lanes": books.lanes(),
        "damages": log.damages().map(damage_document).collect::<Vec<_>>(),
    });
    if queued > 0 {
        document["oldest"] = edge(Queued::new(log), false)?;
        document["newest"] = edge(Queued::of_the_last_segment(place.open(false)?), true)?;
    }
    Ok(document)
}

fn segment(segment: &cluster::journal::SurveyedSegment) -> Value {
    let events = segment.info.events;
    json!({
        "number": format!("{:016x}", segment.number),
        "file": segment.name,
        "readable": segment.head.is_some(),
        "fileBytes": segment.head.as_ref().map(|head| head.file_bytes),
        "bytes": segment.info.end_lsn - segment.info.first_lsn,
        "firstLsn": segment.info.first_lsn,
        "endLsn": segment.info.end_lsn,
        "firstEvent": (!events.is_empty()).then_some(events.start),
        "lastEvent": (!events.is_empty()).then(|| events.end - 1),
        "queuedEvents": segment.live,
    })
}

fn position(owner: &str, stamp: u64, bytes: &[u8]) -> Value {
    json!({ "owner": owner, "stamp": stamp, "bytes": bytes.len(), "shown": printable(bytes) })
}

/// Text as it is, anything else in hexadecimal digits.
fn printable(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).ok();
    let text = text.filter(|text| !text.chars().any(char::is_control));
    let (mut shown, is_cut) = match text {
        Some(text) => (
            text.chars().take(POSITION_SHOWN).collect(),
            text.len() > POSITION_SHOWN,
        ),
        None => (
            hex(&bytes[..bytes.len().min(POSITION_SHOWN)]),
            bytes.len() > POSITION_SHOWN,
        ),
    };
    if is_cut {
        shown.push('…');
    }
    shown
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The first or the last queued event that can be read.
fn edge(mut queued: Queued, last: bool) -> Result<Value, Failure> {
    let mut found = None;
    while let Some(next) = queued
        .next()
        .map_err(|why| Failure::unreadable(why.to_string()))?
    {
        if let Next::Events(run) = next {
            found = Some(run);
            if !last {
                break;
            }
        }
    }
    Ok(found.map_or(Value::Null, |Run { number, order, batch }| {
        let at = if last { batch.len() - 1 } else { 0 };
        let event = batch.get(at);
        let timestamp = event
            .as_ref()
            .and_then(|event| event.header("timestamp").map(str::to_owned));
        json!({
            "event": number + at as u64,
            "order": order + at as u64,
            "timestamp": timestamp,
            "bodyBytes": event.map_or(0, |event| event.body().len()),
        })
    }))
}

/// Every block and record.
fn blocks(place: &Place) -> Result<Vec<Value>, Failure> {
    let failed = |why: cluster::journal::DiskError| Failure::unreadable(why.to_string());
    let mut log: Log = place.open(false)?;
    let mut all = Vec::new();
    for segment in log.segments() {
        let Some(mut visit) = log.visit(segment.number).map_err(failed)? else {
            continue;
        };
        while let Some(seen) = visit.next(&mut log, true).map_err(failed)? {
            all.push(match seen {
                Visited::Block(block) => json!({
                    "file": segment.name,
                    "offset": block.offset,
                    "block": block.head.block,
                    "lsn": block.head.lsn,
                    "durableLsn": block.head.durable_lsn,
                    "bytes": block.head.total_bytes(),
                    "payloadBytes": block.head.payload_bytes,
                    "scar": block.scar.is_some(),
                    "records": block.records,
                }),
                Visited::Damage(damage) => json!({ "damage": damage_document(&damage) }),
                Visited::Missing(events) => json!({ "missing": [events.start, events.end - 1] }),
                Visited::Gone => json!({ "gone": segment.name }),
            });
        }
    }
    Ok(all)
}

/// For people.
// tidy: long function, because it is a page: a line or two for each thing that is told.
fn text(look: &Value) -> String {
    let word = |key: &str| look[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| look[key].as_u64().unwrap_or_default();
    let mut out = format!("{}: channel \"{}\"\n", word("folder"), word("channel"));
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "  {name:<10}{text}");
    };
    line(
        "shard",
        format!(
            "{} of {}, id {}, channel id {}",
            number("shard"),
            number("shards"),
            word("shardId"),
            word("channelId")
        ),
    );
    let state = match (look["process"].as_u64(), look["closedInOrder"] == true) {
        (Some(process), _) => format!("in use by process {process}"),
        (None, true) => "closed in order".to_owned(),
        (None, false) => "not in use, not closed in order".to_owned(),
    };
    line(
        "state",
        format!("format {}, epoch {}, {state}", number("format"), number("epoch")),
    );
    line(
        "events",
        format!(
            "{} queued, about {}; {} of later ones are taken already; next is number {}",
            number("queuedEvents"),
            human(number("queuedBytesAbout")),
            number("takenOutOfOrder"),
            number("nextEvent"),
        ),
    );
    for (key, name) in [("oldest", "oldest"), ("newest", "newest")] {
        let edge = &look[key];
        if edge.is_object() {
            let stamp = edge["timestamp"].as_str().map(time).unwrap_or_default();
            line(
                name,
                format!(
                    "event {}, body of {} bytes{stamp}",
                    edge["event"], edge["bodyBytes"]
                ),
            );
        }
    }
    if let Some(until) = look["mayRepeatBelow"].as_u64() {
        line(
            "in doubt",
            format!("events below {until} may come twice: takes were lost to damage"),
        );
    }
    let segments = look["segments"].as_array().map(Vec::as_slice).unwrap_or_default();
    line(
        "log",
        format!(
            "{}, {} of blocks, LSN {} to {}; {}, {}",
            several(segments.len() as u64, "segment", "segments"),
            human(number("logBytes")),
            number("firstLsn"),
            number("endLsn"),
            several(number("freeFiles"), "free file", "free files"),
            human(number("freeBytes")),
        ),
    );
    if look["unfinishedCommit"] == true {
        line(
            "",
            "a commit at the end is unfinished; it was not acknowledged".to_owned(),
        );
    }
    let tiers = ["preparedBatches", "preparedEvents", "reservedBatches", "lanes"].map(&number);
    if tiers.iter().any(|count| *count > 0) {
        let [prepared, events, reserved, lanes] = tiers;
        line(
            "tiers",
            format!(
                "{lanes} lanes, {reserved} batches reserved, {prepared} batches with {events} events not confirmed"
            ),
        );
    }
    for position in look["positions"].as_array().into_iter().flatten() {
        let shown = format!(
            "{}  {}",
            position["owner"].as_str().unwrap_or_default(),
            position["shown"].as_str().unwrap_or_default()
        );
        line("position", shown);
    }
    for damage in look["damages"].as_array().into_iter().flatten() {
        let text = damage["text"].as_str().unwrap_or_default();
        line("DAMAGE", format!("{text}; `node channel verify` reads all of it"));
    }
    let _ = writeln!(
        out,
        "  {:<18}{:>22}{:>12}{:>14}  LSN",
        "segment", "events", "queued", "bytes"
    );
    for segment in segments {
        let events = match (segment["firstEvent"].as_u64(), segment["lastEvent"].as_u64()) {
            (Some(first), Some(last)) => format!("{first}-{last}"),
            _ => "-".to_owned(),
        };
        let _ = writeln!(
            out,
            "  {:<18}{events:>22}{:>12}{:>14}  {}-{}{}",
            segment["number"].as_str().unwrap_or_default(),
            segment["queuedEvents"].as_u64().unwrap_or_default(),
            human(segment["bytes"].as_u64().unwrap_or_default()),
            segment["firstLsn"],
            segment["endLsn"],
            if segment["readable"] == true {
                ""
            } else {
                "  NOT READABLE"
            },
        );
    }
    out
}

/// The header `timestamp` as a date.
fn time(millis: &str) -> String {
    let stamp = millis
        .parse()
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(
        || format!(", timestamp {millis}"),
        |stamp| format!(", timestamp {stamp}"),
    )
}

fn blocks_text(blocks: &[Value]) -> String {
    let mut out = String::new();
    for block in blocks {
        let Some(file) = block["file"].as_str() else {
            let _ = writeln!(out, "  {block}");
            continue;
        };
        let _ = writeln!(
            out,
            "  {file} byte {}: block {}, LSN {}, {} bytes, {} of them payload, durable to {}",
            block["offset"],
            block["block"],
            block["lsn"],
            block["bytes"],
            block["payloadBytes"],
            block["durableLsn"]
        );
        for record in block["records"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "    {}", record.as_str().unwrap_or_default());
        }
    }
    out
}
