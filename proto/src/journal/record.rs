//! Records: what happened to events, lanes and positions.
//!
//! A transaction is the records up to and including one with [`END`]. [`Records`] reads them out of a payload and
//! borrows from it; [`write_record`] appends one. Ranges are half open and written as differences, so a run of takes
//! costs a few bytes. Events are numbered per shard without gaps; an order is a number in the whole channel, and so is a
//! stamp: of two positions of one owner the larger stamp is the newer.
//!
//! | tag | record | body |
//! |---:|---|---|
//! | 1 | `Put` | first event, count, order, event block |
//! | 2 | `Prepared` | lane, seq, first event, count, order, event block |
//! | 3 | `Part` | bytes that stand before the event block of the next `Put` or `Prepared` |
//! | 4 | `Dedup` | lane, seq, digest prefix |
//! | 5, 6 | `SourcePosition`, `SinkPosition` | owner, stamp, bytes |
//! | 7 | `Confirm` | lane, seqs |
//! | 8 | `Take` | events |
//! | 9 | `Reserve` | lane, seq, digest, events |
//! | 10, 11 | `Commit`, `Void` | lane, seqs |
//! | 12 | `VoidResolved` | lane, seq, outcome |
//! | 13 | `Epoch` | epoch, nonce |
//! | 14 | `LaneDrop` | lane |
//! | 16 | `SnapBegin` | next event, floor, epoch, next order |
//! | 17 | `SnapSegment` | number, first LSN, end LSN, first event, end event |
//! | 18 | `SnapPrepared` | lane, seq, first event, count |
//! | 19 | `SnapEnd` | records since `SnapBegin` |
//! | 20 | `SnapLane` | lane, seqs |
//! | 32, 33 | `Tick`, `Close` | nothing |

use super::codec::{array, put_bytes, put_varint, text, varint};
use crate::cursor::{Cursor, DecodeError};
use thiserror::Error;

/// Flag of a record: the transaction ends with it.
pub const END: u8 = 1;

/// Bytes in front of a record's body.
const HEAD_BYTES: usize = 6;

/// A digest of a batch.
pub type Digest = [u8; 16];

/// One sender's sequence of batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// Of the sender's channel.
    pub channel: [u8; 16],
    /// Which of its lanes.
    pub number: u32,
}

/// From `start` up to, not including, `end`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the type says it")]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    /// How many numbers are in it.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// Rising ranges that do not touch.
pub type Ranges = Vec<Range>;

/// What became of a batch that its sender took back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver never showed it to anybody.
    Voided,
    /// It had been taken: its events are there twice.
    Taken,
    /// The receiver cannot tell.
    Unknown,
}

/// One record; what it borrows lies in the payload it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the module's table and the fields' names say it")]
pub enum Record<'a> {
    /// Events that a source has put.
    Put {
        first: u64,
        count: u32,
        order: u64,
        events: &'a [u8],
    },
    /// Events of a tier link, invisible until they are confirmed.
    Prepared {
        lane: Lane,
        seq: u64,
        first: u64,
        count: u32,
        order: u64,
        events: &'a [u8],
    },
    /// The beginning of an event block that is longer than a block of the log.
    Part { bytes: &'a [u8] },
    /// A batch of a lane is in: it will not be put again.
    Dedup { lane: Lane, seq: u64, digest: u64 },
    /// Where a source stands.
    SourcePosition {
        owner: &'a str,
        stamp: u64,
        bytes: &'a [u8],
    },
    /// Where a sink stands.
    SinkPosition {
        owner: &'a str,
        stamp: u64,
        bytes: &'a [u8],
    },
    /// Prepared batches become visible.
    Confirm { lane: Lane, seqs: Ranges },
    /// Events are gone for good.
    Take { events: Ranges },
    /// Events are bound to a batch of a lane.
    Reserve {
        lane: Lane,
        seq: u64,
        digest: Digest,
        events: Ranges,
    },
    /// Batches have arrived: their events are gone.
    Commit { lane: Lane, seqs: Ranges },
    /// Batches are taken back: their events are queued again.
    Void { lane: Lane, seqs: Ranges },
    /// What became of a batch that was taken back.
    VoidResolved { lane: Lane, seq: u64, outcome: Outcome },
    /// The channel was started.
    Epoch { epoch: u64, nonce: u64 },
    /// A lane is forgotten.
    LaneDrop { lane: Lane },
    /// A snapshot begins: what was known before is forgotten.
    SnapBegin {
        next_event: u64,
        floor: u64,
        epoch: u64,
        next_order: u64,
    },
    /// A segment that still holds live events, and where it ends.
    SnapSegment {
        number: u64,
        first_lsn: u64,
        end_lsn: u64,
        events: Range,
    },
    /// Events of an earlier segment that are still invisible.
    SnapPrepared { lane: Lane, seq: u64, events: Range },
    /// Batches of a lane that are in.
    SnapLane { lane: Lane, seqs: Ranges },
    /// The snapshot is complete.
    SnapEnd { records: u64 },
    /// Nothing: carries the durable LSN of its block.
    Tick,
    /// The channel was closed in order.
    Close,
}

/// Why a payload cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The bytes of a record are not those of its kind.
    #[error(transparent)]
    Format(#[from] DecodeError),
    /// A kind that this version does not know.
    #[error("byte {offset}: record of unknown kind {tag}")]
    Unknown {
        /// Where it begins in the payload.
        offset: usize,
        /// Its kind.
        tag: u8,
    },
}

/// Appends a record; `end` says that its transaction ends with it. Returns how many bytes it took.
///
/// # Panics
/// If the body is over 4 GiB, which no block holds.
pub fn write_record(out: &mut Vec<u8>, record: &Record<'_>, end: bool) -> usize {
    let start = out.len();
    out.extend_from_slice(&[record.tag(), if end { END } else { 0 }, 0, 0, 0, 0]);
    record.write_body(out);
    let body = u32::try_from(out.len() - start - HEAD_BYTES).expect("a record fits a block");
    out[start + 2..start + HEAD_BYTES].copy_from_slice(&body.to_le_bytes());
    out.len() - start
}

impl<'a> Record<'a> {
    fn tag(&self) -> u8 {
        match self {
            Self::Put { .. } => 1,
            Self::Prepared { .. } => 2,
            Self::Part { .. } => 3,
            Self::Dedup { .. } => 4,
            Self::SourcePosition { .. } => 5,
            Self::SinkPosition { .. } => 6,
            Self::Confirm { .. } => 7,
            Self::Take { .. } => 8,
            Self::Reserve { .. } => 9,
            Self::Commit { .. } => 10,
            Self::Void { .. } => 11,
            Self::VoidResolved { .. } => 12,
            Self::Epoch { .. } => 13,
            Self::LaneDrop { .. } => 14,
            Self::SnapBegin { .. } => 16,
            Self::SnapSegment { .. } => 17,
            Self::SnapPrepared { .. } => 18,
            Self::SnapEnd { .. } => 19,
            Self::SnapLane { .. } => 20,
            Self::Tick => 32,
            Self::Close => 33,
        }
    }

    // tidy: long function, because it is a table: an arm for each kind of record.
    fn write_body(&self, out: &mut Vec<u8>) {
        let numbers = |out: &mut Vec<u8>, all: &[u64]| all.iter().for_each(|n| put_varint(out, *n));
        match self {
            Self::Put {
                first,
                count,
                order,
                events,
            } => {
                numbers(out, &[*first, u64::from(*count), *order]);
                out.extend_from_slice(events);
            }
            Self::Prepared {
                lane,
                seq,
                first,
                count,
                order,
                events,
            } => {
                put_lane(out, lane);
                numbers(out, &[*seq, *first, u64::from(*count), *order]);
                out.extend_from_slice(events);
            }
            Self::Part { bytes } => out.extend_from_slice(bytes),
            Self::Dedup { lane, seq, digest } => {
                put_lane(out, lane);
                put_varint(out, *seq);
                out.extend_from_slice(&digest.to_le_bytes());
            }
            Self::SourcePosition { owner, stamp, bytes } | Self::SinkPosition { owner, stamp, bytes } => {
                put_bytes(out, owner.as_bytes());
                put_varint(out, *stamp);
                out.extend_from_slice(bytes);
            }
            Self::Confirm { lane, seqs }
            | Self::Commit { lane, seqs }
            | Self::Void { lane, seqs }
            | Self::SnapLane { lane, seqs } => {
                put_lane(out, lane);
                put_ranges(out, seqs);
            }
            Self::Take { events } => put_ranges(out, events),
            Self::Reserve {
                lane,
                seq,
                digest,
                events,
            } => {
                put_lane(out, lane);
                put_varint(out, *seq);
                out.extend_from_slice(digest);
                put_ranges(out, events);
            }
            Self::VoidResolved { lane, seq, outcome } => {
                put_lane(out, lane);
                put_varint(out, *seq);
                out.push(*outcome as u8);
            }
            Self::Epoch { epoch, nonce } => numbers(out, &[*epoch, *nonce]),
            Self::LaneDrop { lane } => put_lane(out, lane),
            Self::SnapBegin {
                next_event,
                floor,
                epoch,
                next_order,
            } => {
                numbers(out, &[*next_event, *floor, *epoch, *next_order]);
            }
            Self::SnapSegment {
                number,
                first_lsn,
                end_lsn,
                events,
            } => {
                numbers(out, &[*number, *first_lsn, *end_lsn, events.start, events.end]);
            }
            Self::SnapPrepared { lane, seq, events } => {
                put_lane(out, lane);
                numbers(out, &[*seq, events.start, events.end]);
            }
            Self::SnapEnd { records } => put_varint(out, *records),
            Self::Tick | Self::Close => {}
        }
    }

    // tidy: long function, because it is a table: an arm for each kind of record.
    fn read_body(tag: u8, body: &mut Cursor<'a>) -> Result<Option<Self>, DecodeError> {
        Ok(Some(match tag {
            1 => Self::Put {
                first: varint(body, "the number of an event")?,
                count: count(body)?,
                order: varint(body, "an order")?,
                events: rest(body),
            },
            2 => Self::Prepared {
                lane: lane(body)?,
                seq: varint(body, "a sequence number")?,
                first: varint(body, "the number of an event")?,
                count: count(body)?,
                order: varint(body, "an order")?,
                events: rest(body),
            },
            3 => Self::Part { bytes: rest(body) },
            4 => Self::Dedup {
                lane: lane(body)?,
                seq: varint(body, "a sequence number")?,
                digest: u64::from_le_bytes(array(body, "eight bytes of a digest")?),
            },
            5 => Self::SourcePosition {
                owner: text(body, "the owner of a position")?,
                stamp: varint(body, "a stamp")?,
                bytes: rest(body),
            },
            6 => Self::SinkPosition {
                owner: text(body, "the owner of a position")?,
                stamp: varint(body, "a stamp")?,
                bytes: rest(body),
            },
            7 => Self::Confirm {
                lane: lane(body)?,
                seqs: ranges(body)?,
            },
            8 => Self::Take {
                events: ranges(body)?,
            },
            9 => Self::Reserve {
                lane: lane(body)?,
                seq: varint(body, "a sequence number")?,
                digest: array(body, "16 bytes of a digest")?,
                events: ranges(body)?,
            },
            10 => Self::Commit {
                lane: lane(body)?,
                seqs: ranges(body)?,
            },
            11 => Self::Void {
                lane: lane(body)?,
                seqs: ranges(body)?,
            },
            12 => Self::VoidResolved {
                lane: lane(body)?,
                seq: varint(body, "a sequence number")?,
                outcome: match body.u8("an outcome")? {
                    0 => Outcome::Voided,
                    1 => Outcome::Taken,
                    2 => Outcome::Unknown,
                    _ => return Err(body.error("an outcome: 0, 1 or 2")),
                },
            },
            13 => Self::Epoch {
                epoch: varint(body, "an epoch")?,
                nonce: varint(body, "a nonce")?,
            },
            14 => Self::LaneDrop { lane: lane(body)? },
            16 => Self::SnapBegin {
                next_event: varint(body, "the number of an event")?,
                floor: varint(body, "the number of an event")?,
                epoch: varint(body, "an epoch")?,
                next_order: varint(body, "an order")?,
            },
            17 => Self::SnapSegment {
                number: varint(body, "the number of a segment")?,
                first_lsn: varint(body, "an LSN")?,
                end_lsn: varint(body, "an LSN")?,
                events: range(body)?,
            },
            18 => Self::SnapPrepared {
                lane: lane(body)?,
                seq: varint(body, "a sequence number")?,
                events: range(body)?,
            },
            19 => Self::SnapEnd {
                records: varint(body, "a count of records")?,
            },
            20 => Self::SnapLane {
                lane: lane(body)?,
                seqs: ranges(body)?,
            },
            32 => Self::Tick,
            33 => Self::Close,
            _ => return Ok(None),
        }))
    }
}

/// Reads the records of a payload, each with whether its transaction ends there.
#[derive(Debug, Clone)]
pub struct Records<'a>(Cursor<'a>);

impl<'a> Records<'a> {
    /// From the first one.
    pub fn new(payload: &'a [u8]) -> Self {
        Self(Cursor::new(payload))
    }

    /// Bytes that are not read yet.
    pub fn left(&self) -> usize {
        self.0.remaining()
    }

    fn read(&mut self) -> Result<(Record<'a>, bool), RecordError> {
        let offset = self.0.offset();
        let head: [u8; HEAD_BYTES] = array(&mut self.0, "six bytes before a record")?;
        let len = u32::from_le_bytes([head[2], head[3], head[4], head[5]]) as usize;
        let inside = self.0.offset();
        let mut body = Cursor::new(self.0.take(len, "the body of a record")?);
        let placed = |e: DecodeError| DecodeError {
            offset: inside + e.offset,
            ..e
        };
        let tag = head[0];
        let Some(record) = Record::read_body(tag, &mut body).map_err(placed)? else {
            return Err(RecordError::Unknown { offset, tag });
        };
        if !body.is_empty() {
            return Err(placed(body.error("the end of the record")).into());
        }
        Ok((record, head[1] & END != 0))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Record<'a>, bool), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            // What follows a record that cannot be read cannot be found.
            self.0 = Cursor::new(&[]);
        }
        Some(read)
    }
}

fn rest<'a>(body: &mut Cursor<'a>) -> &'a [u8] {
    let rest = body.rest();
    // Cannot fail: it is what is there.
    let _ = body.take(rest.len(), "");
    rest
}

fn count(body: &mut Cursor<'_>) -> Result<u32, DecodeError> {
    let before = body.clone();
    u32::try_from(varint(body, "a count of events")?)
        .map_err(|_| before.error("a count of events below 2^32"))
}

fn put_lane(out: &mut Vec<u8>, lane: &Lane) {
    out.extend_from_slice(&lane.channel);
    put_varint(out, u64::from(lane.number));
}

fn lane(body: &mut Cursor<'_>) -> Result<Lane, DecodeError> {
    let channel = array(body, "16 bytes of a channel's uuid")?;
    let before = body.clone();
    let number = u32::try_from(varint(body, "the number of a lane")?)
        .map_err(|_| before.error("the number of a lane below 2^32"))?;
    Ok(Lane { channel, number })
}

fn range(body: &mut Cursor<'_>) -> Result<Range, DecodeError> {
    let start = varint(body, "where a range begins")?;
    let before = body.clone();
    let end = varint(body, "where a range ends")?;
    if end < start {
        return Err(before.error("an end that is not before the start"));
    }
    Ok(Range { start, end })
}

/// Differences: each range as its distance from the one before and its length.
fn put_ranges(out: &mut Vec<u8>, ranges: &[Range]) {
    put_varint(out, ranges.len() as u64);
    let mut at = 0;
    for range in ranges {
        put_varint(out, range.start.wrapping_sub(at));
        put_varint(out, range.len());
        at = range.end;
    }
}

fn ranges(body: &mut Cursor<'_>) -> Result<Ranges, DecodeError> {
    let mut left = varint(body, "a count of ranges")?;
    let mut all = Ranges::new();
    let mut at = 0_u64;
    while left > 0 {
        let before = body.clone();
        let apart = varint(body, "where a range begins")?;
        let len = varint(body, "the length of a range")?;
        let start = at.checked_add(apart).ok_or(before.error("a range below 2^64"))?;
        let end = start.checked_add(len).ok_or(before.error("a range below 2^64"))?;
        if len == 0 || (apart == 0 && !all.is_empty()) {
            return Err(before.error("rising ranges that do not touch and are not empty"));
        }
        all.push(Range { start, end });
        at = end;
        left -= 1;
    }
    Ok(all)
}
