//! What the segments of a folder add up to, damage or not. Nothing is written here: opening a log begins with it, and so
//! does whoever only looks, also at the log of a node that is at work meanwhile.
//!
//! The newest segment that begins with a whole snapshot is the base; its blocks are replayed, and those of segments behind
//! it, which are there only if their own snapshots are damaged. Where a block cannot be read that was acknowledged, the
//! replay goes on at the next one that can, and tells which event numbers are missing between the two.
//!
//! A log at work is read like this: what cannot be read is read once more after it was seen that it was acknowledged, for
//! then it was there before that was said; and it counts as damage only if the file still has its name and its header
//! afterwards, for a file gets another name before it serves again.

use super::books::{Books, SegmentInfo};
use super::damage::Damage;
use super::disk::{Disk, DiskError, DiskErrorKind};
use super::error::OpenError;
use super::log::{Log, Segment, segment_name};
use super::reader::{Assembly, Step, Walk, next_readable, scan};
use proto::journal::{PAGE_BYTES, Range, Record, Records, Scar, SegmentHead};
use std::collections::{BTreeMap, BTreeSet};

/// Segments whose headers can be read, by number.
pub(super) type Found<F> = BTreeMap<u64, (Segment<F>, SegmentHead)>;

/// Starts that a log without a snapshot is given credit for: its epoch must not go back.
pub(super) const EPOCH_AFTER_SALVAGE: u64 = 1 << 32;

/// What the readable blocks add up to.
#[derive(Debug)]
pub(super) struct State {
    /// The segment whose snapshot all of it begins with.
    pub base: u64,
    /// Lost events are still in them.
    pub books: Books,
    /// Where the log ends.
    pub end_lsn: u64,
    pub chain: u64,
    pub next_block: u64,
    pub clean: bool,
    pub blocks: u64,
    /// Something unreadable that was not acknowledged follows.
    pub torn: bool,
    /// A repair has put scars into what was replayed: takes may have stood there.
    pub scarred: bool,
    pub damages: Vec<Damage>,
}

/// Why nothing can be said.
#[derive(Debug)]
pub(super) enum StateError {
    Disk(DiskError),
    /// No segment begins with a whole snapshot.
    NoSnapshot,
    /// This file was given another name meanwhile.
    Moved(String),
}

impl From<DiskError> for StateError {
    fn from(why: DiskError) -> Self {
        Self::Disk(why)
    }
}

/// How far a replay has come.
#[derive(Debug)]
pub(super) struct Replayed {
    pub books: Books,
    pub clean: bool,
    pub blocks: u64,
    /// Where the first block that is none would begin.
    pub end_lsn: u64,
    pub chain: u64,
    pub next_block: u64,
    pub durable_lsn: u64,
    pub why: String,
    scarred: bool,
    /// The first event that is missing, and the first one behind that is there.
    gap: Option<u64>,
    gap_end: Option<u64>,
    /// The first event that was put in what was replayed.
    first_put: Option<u64>,
}

impl Replayed {
    pub fn start(head: &SegmentHead) -> Self {
        let mut this = Self {
            books: Books::default(),
            clean: false,
            blocks: 0,
            end_lsn: 0,
            chain: 0,
            next_block: 0,
            durable_lsn: 0,
            why: String::new(),
            scarred: false,
            gap: None,
            gap_end: None,
            first_put: None,
        };
        this.begin(head);
        this
    }

    /// Goes over to the next segment.
    fn begin(&mut self, head: &SegmentHead) {
        self.books.extend_segment(self.end_lsn);
        self.books.begin_segment(head.number, head.first_lsn);
        (self.end_lsn, self.chain) = (head.first_lsn, head.chain);
        self.next_block = head.first_block;
        self.durable_lsn = self.durable_lsn.max(head.durable_lsn);
    }

    /// Events may be missing from here on.
    fn miss(&mut self) {
        self.gap.get_or_insert(self.books.next_event());
    }

    /// Tells the damages since the gap began which events it has come to.
    fn settle(&mut self, damages: &mut [Damage]) {
        let (Some(start), Some(end)) = (self.gap, self.gap_end) else {
            return;
        };
        for damage in damages.iter_mut().filter(|damage| damage.open_ended) {
            damage.open_ended = false;
            damage.events = Range {
                start,
                end: end.max(start),
            };
        }
        (self.gap, self.gap_end) = (None, None);
    }

    fn apply(&mut self, record: &Record<'_>) {
        if let Record::Put { first, .. } | Record::Prepared { first, .. } = record {
            self.first_put.get_or_insert(*first);
            if self.gap.is_some() {
                self.gap_end.get_or_insert(*first);
            }
        }
        self.clean = matches!(record, Record::Close);
        self.books.apply(record);
    }
}

impl Damage {
    /// A segment of which nothing can be read.
    pub(super) fn of_segment(name: String, number: u64, info: SegmentInfo, why: String) -> Self {
        Self {
            name,
            number,
            offset: 0,
            start_lsn: info.first_lsn,
            end_lsn: info.end_lsn,
            events: info.events,
            open_ended: false,
            lost: Vec::new(),
            repeats: false,
            why,
        }
    }
}

impl<D: Disk> Log<D> {
    /// Reads it; `found` and `broken` hold at least the newest segments down to one that begins with a whole snapshot.
    pub(super) fn read_state(
        &mut self,
        found: &Found<D::File>,
        broken: &BTreeMap<u64, OpenError>,
        salvages: bool,
    ) -> Result<State, StateError> {
        let base = self.base(found)?;
        let first = found
            .iter()
            .find(|(number, _)| base.is_none_or(|base| **number == base));
        let (base_number, mut at) = match first {
            Some((number, (_, head))) if base.is_some() || salvages => (*number, Replayed::start(head)),
            _ => return Err(StateError::NoSnapshot),
        };
        let (mut damages, mut torn) = (Vec::new(), false);
        let numbers: BTreeSet<u64> = found
            .keys()
            .chain(broken.keys())
            .copied()
            .filter(|number| *number >= base_number)
            .collect();
        for number in numbers {
            let Some((segment, head)) = found.get(&number) else {
                at.miss();
                let why = broken.get(&number).map_or(String::new(), OpenError::to_string);
                damages.push(missing_segment(&at, number, why));
                continue;
            };
            if number != base_number {
                at.begin(head);
            }
            at = self.replay(segment, at, true)?;
            let next = found.get(&(number + 1)).map(|(_, head)| head.previous_end_lsn);
            at = self.replay_to_end(segment, head, at, next, &mut damages)?;
            torn = next.is_none() && self.something_at(segment, at.end_lsn)?;
        }
        at.settle(&mut damages);
        at.books.extend_segment(at.end_lsn);
        if let Some((newest, (segment, head))) = found.last_key_value()
            && *newest > base_number
            && damages.iter().all(|damage| damage.number != *newest)
        {
            // A repair has begun and not ended: a scar stands where the snapshot was.
            let events = Range {
                start: at.books.next_event(),
                end: at.books.next_event(),
            };
            let (first_lsn, end_lsn) = (head.first_lsn, head.first_lsn);
            let info = SegmentInfo {
                first_lsn,
                end_lsn,
                events,
            };
            let why = "it does not begin with a snapshot".to_owned();
            damages.push(Damage::of_segment(segment.name.clone(), *newest, info, why));
        }
        if base.is_none() {
            salvaged(&mut at);
        }
        let mut told = super::ranges::RangeSet::default();
        for damage in &mut damages {
            if damage.open_ended {
                damage.events.end = at.books.next_event().max(damage.events.start);
            }
            let lost = at.books.live_in(damage.events);
            damage.lost = lost.into_iter().filter(|range| !told.insert(*range)).collect();
        }
        Ok(State {
            base: base_number,
            books: at.books,
            end_lsn: at.end_lsn,
            chain: at.chain,
            next_block: at.next_block,
            clean: at.clean,
            blocks: at.blocks,
            torn,
            scarred: at.scarred,
            damages,
        })
    }

    /// The newest segment that begins with a whole snapshot.
    fn base(&mut self, found: &Found<D::File>) -> Result<Option<u64>, StateError> {
        for (number, (segment, head)) in found.iter().rev() {
            if self.begins_whole(segment, head)? {
                return Ok(Some(*number));
            }
            if !self.is_there(segment)? {
                return Err(StateError::Moved(segment.name.clone()));
            }
        }
        Ok(None)
    }

    /// Whether a segment begins with a snapshot that is complete.
    pub(super) fn begins_whole(
        &self,
        segment: &Segment<D::File>,
        head: &SegmentHead,
    ) -> Result<bool, DiskError> {
        let (mut walk, mut assembly) = (Walk::default(), Assembly::default());
        let (mut lsn, mut chain, mut is_whole) = (head.first_lsn, head.chain, false);
        while let Step::Block(block, payload) = walk.at(&self.disk, segment, lsn, u64::MAX)? {
            let read = assembly.add(&block, &payload, |record, _| {
                is_whole |= matches!(record, Record::SnapEnd { .. });
            });
            if is_whole || read.is_err() || block.chain != chain {
                break;
            }
            (lsn, chain) = (block.end_lsn(), block.chain(segment.salt));
        }
        Ok(is_whole)
    }

    /// Whether the file still is the segment that it was: a file that serves again is renamed first.
    pub(super) fn is_there(&mut self, segment: &Segment<D::File>) -> Result<bool, DiskError> {
        let file = match self.disk.open(&segment.name) {
            Ok(file) => file,
            Err(why) if why.kind == DiskErrorKind::Missing => return Ok(false),
            Err(why) => return Err(why),
        };
        let mut page = vec![0; PAGE_BYTES];
        let read = self.disk.read_at(&file, 0, &mut page)?;
        Ok(SegmentHead::decode(&page[..read]).is_ok_and(|head| head.salt == segment.salt))
    }

    /// Goes on until nothing follows that was acknowledged. `sealed` is where the next segment says that this one ends.
    fn replay_to_end(
        &mut self,
        segment: &Segment<D::File>,
        head: &SegmentHead,
        mut at: Replayed,
        sealed: Option<u64>,
        damages: &mut Vec<Damage>,
    ) -> Result<Replayed, StateError> {
        loop {
            let acknowledged = match sealed {
                Some(end) => end,
                None => self.durable_behind(segment, &at)?,
            };
            if at.end_lsn >= acknowledged {
                return Ok(at);
            }
            // It may have been written since it was read.
            let (blocks, start_lsn) = (at.blocks, at.end_lsn);
            at = self.replay(segment, at, true)?;
            if at.blocks > blocks {
                continue;
            }
            if !self.is_there(segment)? {
                return Err(StateError::Moved(segment.name.clone()));
            }
            let resume = next_readable(&self.disk, segment, start_lsn)?;
            let resume = resume.filter(|lsn| sealed.is_none_or(|end| *lsn < end));
            let end_lsn = resume.unwrap_or(acknowledged);
            at.miss();
            let mut damage = missing_segment(&at, head.number, at.why.clone());
            damage.offset = PAGE_BYTES as u64 + start_lsn - segment.first_lsn;
            (damage.start_lsn, damage.end_lsn) = (start_lsn, end_lsn);
            damages.push(damage);
            at.end_lsn = end_lsn;
            at = match resume {
                Some(_) => self.replay(segment, at, false)?,
                None => Replayed {
                    durable_lsn: acknowledged.max(at.durable_lsn),
                    ..at
                },
            };
            at.settle(damages);
        }
    }

    /// Replays a segment's blocks from where the replay has come to. A block that is not the one behind the last one ends
    /// it, but for the first one if the replay is not `strict`, and for one behind a scar.
    pub(super) fn replay(
        &self,
        segment: &Segment<D::File>,
        mut at: Replayed,
        mut strict: bool,
    ) -> Result<Replayed, DiskError> {
        let (mut walk, mut assembly) = (Walk::default(), Assembly::default());
        loop {
            let (block, payload) = match walk.at(&self.disk, segment, at.end_lsn, u64::MAX)? {
                Step::Block(block, payload) => (block, payload),
                Step::Bad(why) => {
                    at.why = why;
                    break;
                }
            };
            if strict && (block.chain != at.chain || block.block != at.next_block) {
                at.why = format!(
                    "block {} does not follow block {}",
                    block.block,
                    at.next_block.wrapping_sub(1)
                );
                break;
            }
            strict = scar_of(&payload).is_none();
            at.scarred |= !strict;
            let read = assembly.add(&block, &payload, |record, _| at.apply(record));
            if let Err(why) = read {
                at.why = why;
                break;
            }
            at.end_lsn = block.end_lsn();
            at.blocks += 1;
            (at.chain, at.next_block) = (block.chain(segment.salt), block.block + 1);
            at.durable_lsn = at.durable_lsn.max(block.durable_lsn);
        }
        Ok(at)
    }

    /// The largest durable LSN that anything readable carries, behind the first unreadable block as well.
    fn durable_behind(&self, segment: &Segment<D::File>, at: &Replayed) -> Result<u64, DiskError> {
        let mut durable = at.durable_lsn;
        scan(&self.disk, segment, at.end_lsn, |head| {
            durable = durable.max(head.durable_lsn);
            false
        })?;
        Ok(durable)
    }

    /// Where the last block with a readable header ends.
    pub(super) fn last_readable(&self, segment: &Segment<D::File>, at: &Replayed) -> Result<u64, DiskError> {
        let mut end = at.end_lsn;
        scan(&self.disk, segment, at.end_lsn, |head| {
            end = end.max(head.end_lsn());
            false
        })?;
        Ok(end)
    }

    /// Whether anything but zeroes and other lives of the file follows: the end of a commit that was torn.
    fn something_at(&self, segment: &Segment<D::File>, from: u64) -> Result<bool, DiskError> {
        let mut any = false;
        scan(
            &self.disk,
            segment,
            from.saturating_sub(PAGE_BYTES as u64),
            |head| {
                any |= head.lsn >= from;
                any
            },
        )?;
        Ok(any)
    }
}

/// The scar that a payload begins with, if it is one.
pub(super) fn scar_of(payload: &[u8]) -> Option<Scar> {
    match Records::new(payload).next() {
        Some(Ok((Record::Part { bytes }, false))) => Scar::decode(bytes),
        _ => None,
    }
}

fn missing_segment(at: &Replayed, number: u64, why: String) -> Damage {
    let first = at.gap.unwrap_or_default();
    let info = SegmentInfo {
        first_lsn: at.end_lsn,
        end_lsn: at.end_lsn,
        events: Range {
            start: first,
            end: first,
        },
    };
    Damage {
        open_ended: true,
        repeats: true,
        ..Damage::of_segment(segment_name(number), number, info, why)
    }
}

/// Without a snapshot nobody knows what was before the first put; those events are not here.
fn salvaged(at: &mut Replayed) {
    let first = at.first_put.unwrap_or(at.books.next_event());
    let before = Range { start: 0, end: first };
    at.books.apply(&Record::Take { events: vec![before] });
    let epoch = at.books.epoch().max(EPOCH_AFTER_SALVAGE);
    at.books.apply(&Record::Epoch { epoch, nonce: 0 });
}
