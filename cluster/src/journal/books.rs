//! What the records of a log add up to: which events live, where segments end, who stands where.
//!
//! The books are the same whether they were kept while the log was written or read back from it: [`Books::apply`] is
//! the only way to change them, and [`Books::snapshot`] writes records that lead to the same books from nothing.

use super::ranges::RangeSet;
use proto::journal::{Digest, Lane, Outcome, Range, Ranges, Record};
use std::cell::Cell;
use std::collections::BTreeMap;

/// A segment that still matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// LSN of its first block.
    pub first_lsn: u64,
    /// Where its last block ends.
    pub end_lsn: u64,
    /// Events that were put in it.
    pub events: Range,
}

/// Events that are bound to a batch of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// Which.
    pub events: Ranges,
    /// Of the batch.
    pub digest: Digest,
}

/// Who keeps, as if it were a sink's position, how far events are in doubt: see [`Books::in_doubt`].
pub(super) const IN_DOUBT: &str = "channel/in-doubt";

/// Digests that are kept of one lane: more than a sender's window.
const DIGESTS_MAX: usize = 256;

/// Batches of one lane that are in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LaneBook {
    /// Batches that will not be put again.
    seen: RangeSet,
    /// Digests of those that may be asked for again.
    digests: BTreeMap<u64, u64>,
}

/// Everything that a log knows beyond the events' bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Books {
    next_event: u64,
    next_order: u64,
    /// All events below are gone.
    floor: u64,
    /// Gone ones above the floor.
    taken: RangeSet,
    segments: BTreeMap<u64, SegmentInfo>,
    /// The segment that records come from.
    current: u64,
    source_positions: BTreeMap<String, (u64, Vec<u8>)>,
    sink_positions: BTreeMap<String, (u64, Vec<u8>)>,
    reserved: BTreeMap<(Lane, u64), Reserved>,
    /// Events that are invisible until they are confirmed.
    prepared: BTreeMap<(Lane, u64), Range>,
    lanes: BTreeMap<Lane, LaneBook>,
    /// Batches that were taken back, and what became of them if that is known.
    voided: BTreeMap<(Lane, u64), Option<u8>>,
    epoch: u64,
    nonce: u64,
}

impl Books {
    /// The number that the next event gets.
    pub fn next_event(&self) -> u64 {
        self.next_event
    }

    /// All events below are gone.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Events that are gone above the floor.
    pub fn taken(&self) -> &RangeSet {
        &self.taken
    }

    /// Events that are there: queued, leased, reserved or prepared.
    pub fn live(&self) -> u64 {
        self.next_event - self.floor - self.taken.count()
    }

    /// Those events of a range that are there.
    pub fn live_in(&self, range: Range) -> Ranges {
        let end = range.end.min(self.next_event);
        let mut at = range.start.max(self.floor);
        let mut live = Ranges::new();
        while at < end {
            let gone = self.taken.next_from(at).filter(|gone| gone.start < end);
            let until = gone.map_or(end, |gone| gone.start);
            if at < until {
                live.push(Range {
                    start: at,
                    end: until,
                });
            }
            at = gone.map_or(end, |gone| gone.end);
        }
        live
    }

    /// Where takes were lost to damage: events below that number may come twice, until all of them are gone.
    pub fn in_doubt(&self) -> Option<u64> {
        let (_, bytes) = self.sink_position(IN_DOUBT)?;
        let until = u64::from_le_bytes(bytes.try_into().ok()?);
        (self.floor < until).then_some(until)
    }

    /// How often the channel was started.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Where a source stands, with the stamp of that.
    pub fn source_position(&self, owner: &str) -> Option<(u64, &[u8])> {
        self.source_positions
            .get(owner)
            .map(|(stamp, bytes)| (*stamp, bytes.as_slice()))
    }

    /// Where a sink stands, with the stamp of that.
    pub fn sink_position(&self, owner: &str) -> Option<(u64, &[u8])> {
        self.sink_positions
            .get(owner)
            .map(|(stamp, bytes)| (*stamp, bytes.as_slice()))
    }

    /// All positions of sources and sinks: whether it is a source's, its owner, stamp and bytes.
    pub fn positions(&self) -> impl Iterator<Item = (bool, &str, u64, &[u8])> {
        let sources = self.source_positions.iter().map(|(owner, p)| (true, owner, p));
        let sinks = self.sink_positions.iter().filter(|(owner, _)| *owner != IN_DOUBT);
        let sinks = sinks.map(|(owner, p)| (false, owner, p));
        sources
            .chain(sinks)
            .map(|(is_source, owner, (stamp, bytes))| (is_source, owner.as_str(), *stamp, bytes.as_slice()))
    }

    /// The order after the largest that any put had.
    pub fn next_order(&self) -> u64 {
        self.next_order
    }

    /// The segments that still matter, the oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = (u64, SegmentInfo)> + '_ {
        self.segments.iter().map(|(n, info)| (*n, *info))
    }

    /// One of them.
    pub fn segment(&self, number: u64) -> Option<SegmentInfo> {
        self.segments.get(&number).copied()
    }

    /// Events bound to batches that are neither committed nor void.
    pub fn reserved(&self) -> impl Iterator<Item = (&(Lane, u64), &Reserved)> {
        self.reserved.iter()
    }

    /// Events that nobody may see yet.
    pub fn prepared(&self) -> impl Iterator<Item = (&(Lane, u64), &Range)> {
        self.prepared.iter()
    }

    /// How many lanes have left marks of their batches.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Whether a batch of a lane is in, and its digest if that is still known.
    pub fn seen(&self, lane: &Lane, seq: u64) -> Option<Option<u64>> {
        let book = self.lanes.get(lane)?;
        book.seen.contains(seq).then(|| book.digests.get(&seq).copied())
    }

    /// A segment begins: what is applied from now on comes from it.
    pub(super) fn begin_segment(&mut self, number: u64, first_lsn: u64) {
        let events = Range {
            start: self.next_event,
            end: self.next_event,
        };
        self.segments.insert(
            number,
            SegmentInfo {
                first_lsn,
                end_lsn: first_lsn,
                events,
            },
        );
        self.current = number;
    }

    /// The current segment reaches up to here.
    pub(super) fn extend_segment(&mut self, end_lsn: u64) {
        if let Some(info) = self.segments.get_mut(&self.current) {
            info.end_lsn = end_lsn;
        }
    }

    /// A segment is gone.
    pub(super) fn forget_segment(&mut self, number: u64) {
        self.segments.remove(&number);
    }

    /// Whether the current segment is the only one that a live event may be in, or this one has none.
    pub(super) fn is_dead(&self, number: u64) -> bool {
        number != self.current
            && self.segments.get(&number).is_some_and(|info| {
                let above = Range {
                    start: info.events.start.max(self.floor),
                    end: info.events.end,
                };
                above.is_empty() || self.taken.covers(above)
            })
    }

    /// What a record changes.
    // tidy: long function, because it is a table: an arm for each kind of record.
    pub(super) fn apply(&mut self, record: &Record<'_>) {
        match record {
            Record::Put {
                first, count, order, ..
            } => self.put(*first, *count, *order),
            Record::Prepared {
                lane,
                seq,
                first,
                count,
                order,
                ..
            } => {
                self.put(*first, *count, *order);
                let events = Range {
                    start: *first,
                    end: first + u64::from(*count),
                };
                self.prepared.insert((*lane, *seq), events);
            }
            Record::Take { events } => events.iter().for_each(|r| self.take(*r)),
            Record::SourcePosition { owner, stamp, bytes } => {
                self.source_positions
                    .insert((*owner).to_owned(), (*stamp, bytes.to_vec()));
            }
            Record::SinkPosition { owner, stamp, bytes } => {
                self.sink_positions
                    .insert((*owner).to_owned(), (*stamp, bytes.to_vec()));
            }
            Record::Dedup { lane, seq, digest } => {
                let book = self.lanes.entry(*lane).or_default();
                book.seen.insert(Range {
                    start: *seq,
                    end: seq + 1,
                });
                book.digests.insert(*seq, *digest);
                if book.digests.len() > DIGESTS_MAX {
                    book.digests.pop_first();
                }
            }
            Record::SnapLane { lane, seqs } => {
                self.lanes.entry(*lane).or_default().seen = seqs.iter().copied().collect();
            }
            Record::Confirm { lane, seqs } => numbers(seqs).for_each(|seq| {
                self.prepared.remove(&(*lane, seq));
            }),
            Record::Reserve {
                lane,
                seq,
                digest,
                events,
            } => {
                let reserved = Reserved {
                    events: events.clone(),
                    digest: *digest,
                };
                self.reserved.insert((*lane, *seq), reserved);
            }
            Record::Commit { lane, seqs } => numbers(seqs).for_each(|seq| {
                if let Some(reserved) = self.reserved.remove(&(*lane, seq)) {
                    reserved.events.iter().for_each(|r| self.take(*r));
                }
            }),
            Record::Void { lane, seqs } => numbers(seqs).for_each(|seq| self.void(*lane, seq)),
            Record::VoidResolved { lane, seq, outcome } => {
                self.voided.insert((*lane, *seq), Some(*outcome as u8));
            }
            Record::Epoch { epoch, nonce } => (self.epoch, self.nonce) = (*epoch, *nonce),
            Record::LaneDrop { lane } => self.drop_lane(lane),
            Record::SnapBegin {
                next_event,
                floor,
                epoch,
                next_order,
            } => {
                self.restate(*next_event, *floor, *epoch);
                self.next_order = *next_order;
            }
            Record::SnapSegment {
                number,
                first_lsn,
                end_lsn,
                events,
            } => {
                let info = SegmentInfo {
                    first_lsn: *first_lsn,
                    end_lsn: *end_lsn,
                    events: *events,
                };
                self.segments.insert(*number, info);
            }
            Record::SnapPrepared { lane, seq, events } => {
                self.prepared.insert((*lane, *seq), *events);
            }
            Record::Part { .. } | Record::SnapEnd { .. } | Record::Tick | Record::Close => {}
        }
    }

    fn put(&mut self, first: u64, count: u32, order: u64) {
        self.next_event = first + u64::from(count);
        self.next_order = self.next_order.max(order + u64::from(count));
        if let Some(info) = self.segments.get_mut(&self.current) {
            if info.events.is_empty() {
                info.events.start = first;
            }
            info.events.end = self.next_event;
        }
    }

    fn take(&mut self, events: Range) {
        // Who was taken was put before, also where that put is lost to damage: its number is not given again.
        self.next_event = self.next_event.max(events.end);
        let above = Range {
            start: events.start.max(self.floor),
            end: events.end,
        };
        self.taken.insert(above);
        if let Some(end) = self.taken.pop_at(self.floor) {
            self.floor = end;
        }
    }

    /// Of a sender: its events are queued again. Of a receiver: what it holds invisible is gone.
    fn void(&mut self, lane: Lane, seq: u64) {
        if self.reserved.remove(&(lane, seq)).is_some() {
            self.voided.insert((lane, seq), None);
        }
        if let Some(events) = self.prepared.remove(&(lane, seq)) {
            self.take(events);
        }
    }

    fn drop_lane(&mut self, lane: &Lane) {
        self.lanes.remove(lane);
        self.voided.retain(|(l, _), _| l != lane);
    }

    /// A snapshot begins: only the current segment is still known.
    fn restate(&mut self, next_event: u64, floor: u64, epoch: u64) {
        let current = self.segments.remove(&self.current);
        *self = Self {
            next_event,
            floor,
            epoch,
            nonce: self.nonce,
            current: self.current,
            ..Self::default()
        };
        if let Some(mut info) = current {
            info.events = Range {
                start: next_event,
                end: next_event,
            };
            self.segments.insert(self.current, info);
        }
    }

    /// Records that lead to these books from nothing, handed out one by one. The current segment is not among them.
    // tidy: long function, because it is a list: one loop for each kind of thing that is restated.
    pub(super) fn snapshot(&self, mut write: impl FnMut(Record<'_>)) {
        let records = Cell::new(0);
        let mut write = |record: Record<'_>| {
            records.set(records.get() + 1);
            write(record);
        };
        write(Record::SnapBegin {
            next_event: self.next_event,
            floor: self.floor,
            epoch: self.epoch,
            next_order: self.next_order,
        });
        write(Record::Epoch {
            epoch: self.epoch,
            nonce: self.nonce,
        });
        for (number, info) in self.segments.iter().filter(|(n, _)| **n != self.current) {
            let SegmentInfo {
                first_lsn,
                end_lsn,
                events,
            } = *info;
            write(Record::SnapSegment {
                number: *number,
                first_lsn,
                end_lsn,
                events,
            });
        }
        if !self.taken.is_empty() {
            write(Record::Take {
                events: (&self.taken).into(),
            });
        }
        for (owner, (stamp, bytes)) in &self.source_positions {
            write(Record::SourcePosition {
                owner,
                stamp: *stamp,
                bytes,
            });
        }
        for (owner, (stamp, bytes)) in &self.sink_positions {
            write(Record::SinkPosition {
                owner,
                stamp: *stamp,
                bytes,
            });
        }
        for ((lane, seq), Reserved { events, digest }) in &self.reserved {
            write(Record::Reserve {
                lane: *lane,
                seq: *seq,
                digest: *digest,
                events: events.clone(),
            });
        }
        for ((lane, seq), events) in &self.prepared {
            write(Record::SnapPrepared {
                lane: *lane,
                seq: *seq,
                events: *events,
            });
        }
        for (lane, book) in &self.lanes {
            write(Record::SnapLane {
                lane: *lane,
                seqs: (&book.seen).into(),
            });
            for (seq, digest) in &book.digests {
                write(Record::Dedup {
                    lane: *lane,
                    seq: *seq,
                    digest: *digest,
                });
            }
        }
        for ((lane, seq), outcome) in &self.voided {
            let outcome = match outcome {
                Some(0) => Outcome::Voided,
                Some(1) => Outcome::Taken,
                _ => Outcome::Unknown,
            };
            write(Record::VoidResolved {
                lane: *lane,
                seq: *seq,
                outcome,
            });
        }
        write(Record::SnapEnd {
            records: records.get(),
        });
    }
}

fn numbers(ranges: &[Range]) -> impl Iterator<Item = u64> + '_ {
    ranges.iter().flat_map(|r| r.start..r.end)
}
