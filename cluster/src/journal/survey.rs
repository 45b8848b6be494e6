//! A look at a log that changes nothing: what it holds, block by block if need be, and what of it is damaged.
//!
//! No lock is needed. On the log of a node that is at work a survey is a snapshot of one moment; what is written later is
//! not seen, and a segment whose events are all delivered meanwhile is [`Visited::Gone`], never damaged: see
//! `state.rs` for the rules by which a moving log is told from a damaged one. What cannot be told is an error, after a
//! bounded number of tries.

use super::books::{Books, SegmentInfo};
use super::damage::Damage;
use super::disk::{Disk, DiskError, DiskErrorKind};
use super::error::OpenError;
use super::keys::{Keys, unlock};
use super::log::{Config, Log, Segment, segment_name};
use super::ranges::RangeSet;
use super::reader::{Assembly, Chunk, Step, Walk, chunk, next_readable};
use super::recovery::Opened;
use super::state::{Found, State, StateError, scar_of};
use super::words::describe;
use proto::journal::{BlockHead, PAGE_BYTES, PageError, Range, Scar, SegmentHead};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use thiserror::Error;

/// How often a log that moves is looked at anew before it is given up.
const TRIES_MAX: usize = 100;

/// Why a log cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SurveyError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The folder holds no segment.
    #[error("there is no segment of a log")]
    Empty,
    /// No segment begins with a whole snapshot, so nobody knows what lives; the segments are damaged like this.
    #[error("no segment begins with a snapshot that can be read: {0}")]
    NoSnapshot(String),
    /// A later version wrote it.
    #[error("{0}")]
    Newer(String),
    /// It is encrypted, and the key is not known.
    #[error("{0}")]
    Encrypted(String),
    /// It changes faster than it can be read.
    #[error("the log moves on faster than it can be read")]
    Restless,
}

/// A segment with live events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedSegment {
    /// Its number.
    pub number: u64,
    /// The file.
    pub name: String,
    /// Where it begins and ends, and the events that were put there.
    pub info: SegmentInfo,
    /// How many of them are still queued.
    pub live: u64,
    /// The header, unless the file is missing or the header damaged.
    pub head: Option<SegmentHead>,
}

/// What a log was at one moment.
pub struct Survey<D: Disk> {
    log: Log<D>,
    state: State,
    heads: BTreeMap<u64, SegmentHead>,
    broken: Vec<Damage>,
    free: Vec<(String, u64)>,
}

/// What one look has come to.
struct Look {
    state: State,
    heads: BTreeMap<u64, SegmentHead>,
    free: Vec<(String, u64)>,
    /// Segments that are missing, or have no header, and why.
    wrong: BTreeMap<u64, String>,
}

impl<D: Disk> Survey<D> {
    /// Looks at the log of a folder. Without `keys` one that is encrypted cannot be looked at.
    ///
    /// # Errors
    /// There is none, or nothing can be said about it.
    pub fn of(disk: D, shard: [u8; 16], keys: Option<Arc<dyn Keys>>) -> Result<Self, SurveyError> {
        let how = Opened {
            config: Config::default(),
            shard,
            seed: 0,
            skip_damage: false,
            distrust: false,
            keys,
        };
        let mut log = Log::bare(disk, &how);
        let mut before: Option<Result<BTreeSet<u64>, SurveyError>> = None;
        for _ in 0..TRIES_MAX {
            let (found, wrong) = match look(&mut log, &shard) {
                Ok(Some(look)) => {
                    let wrong: BTreeSet<u64> = look.wrong.keys().copied().collect();
                    (Ok(look), Ok(wrong))
                }
                Ok(None) => continue,
                Err(error @ (SurveyError::Empty | SurveyError::NoSnapshot(_))) => {
                    (Err(error.clone()), Err(error))
                }
                Err(error) => return Err(error),
            };
            // What is wrong twice, the second time by a look that began after the first, is.
            let is_so = match (&wrong, &before) {
                (Ok(wrong), _) if wrong.is_empty() => true,
                (Ok(wrong), Some(Ok(before))) => wrong.is_subset(before),
                (Err(why), Some(Err(before))) => why == before,
                _ => false,
            };
            if is_so {
                return found.map(|look| Self::new(log, look));
            }
            before = Some(wrong);
        }
        Err(SurveyError::Restless)
    }

    fn new(log: Log<D>, look: Look) -> Self {
        let Look {
            state,
            heads,
            free,
            wrong,
        } = look;
        let infos: BTreeMap<u64, SegmentInfo> = state.books.segments().collect();
        let broken = wrong
            .into_iter()
            .filter_map(|(number, why)| {
                let info = *infos.get(&number)?;
                let lost = state.books.live_in(info.events);
                let damage = Damage::of_segment(segment_name(number), number, info, why);
                // With takes lost it may as well be that all of them were delivered, and the file was needed no more.
                let repeats = !state.damages.is_empty();
                Some(Damage {
                    lost,
                    repeats,
                    ..damage
                })
            })
            .collect();
        Self {
            log,
            state,
            heads,
            broken,
            free,
        }
    }

    /// What the log adds up to. Events that are lost to damage are still among the live ones.
    pub fn books(&self) -> &Books {
        &self.state.books
    }

    /// Where the log ends.
    pub fn end_lsn(&self) -> u64 {
        self.state.end_lsn
    }

    /// Whether it was closed in order and not opened since.
    pub fn is_clean(&self) -> bool {
        self.state.clean
    }

    /// Whether something unreadable that was not acknowledged follows: a commit that a crash has torn, or one that is on its
    /// way.
    pub fn is_torn(&self) -> bool {
        self.state.torn
    }

    /// Files for the next segments, with their bytes.
    pub fn free(&self) -> &[(String, u64)] {
        &self.free
    }

    /// The segments with live events and the newest one, in order.
    pub fn segments(&self) -> Vec<SurveyedSegment> {
        let books = &self.state.books;
        let newest = books.segments().next_back().map(|(number, _)| number);
        let alive = books
            .segments()
            .filter(|(number, _)| !books.is_dead(*number) || Some(*number) == newest);
        alive
            .map(|(number, info)| SurveyedSegment {
                number,
                name: segment_name(number),
                info,
                live: books.live_in(info.events).iter().map(Range::len).sum(),
                head: self.heads.get(&number).cloned(),
            })
            .collect()
    }

    /// Damage that shows without a visit: what cannot be read of the newest segments, and segments that are missing or have
    /// no header.
    pub fn damages(&self) -> impl Iterator<Item = &Damage> {
        self.state.damages.iter().chain(&self.broken)
    }

    /// Reads every live block with every checksum. `progress` is told how many bytes of the log were read since it was last
    /// told.
    ///
    /// # Errors
    /// The disk's.
    pub fn verify(&mut self, mut progress: impl FnMut(u64)) -> Result<Verdict, DiskError> {
        let mut verdict = Verdict::default();
        let base = self.state.base;
        let segments = self.segments();
        let visited: BTreeSet<u64> = segments
            .iter()
            .filter(|s| s.head.is_some())
            .map(|s| s.number)
            .collect();
        for number in &visited {
            let Some(mut visit) = self.visit(*number)? else {
                verdict.gone.push(*number);
                continue;
            };
            while let Some(seen) = visit.next(self, false)? {
                match seen {
                    Visited::Gone => verdict.gone.push(*number),
                    Visited::Damage(damage) => {
                        progress(damage.end_lsn - damage.start_lsn);
                        // From the base on, the look knows more: what is missing between segments, too.
                        if *number < base {
                            verdict.damages.push(damage);
                        }
                    }
                    Visited::Missing(events) => verdict.given_up.push(events),
                    Visited::Block(block) => {
                        progress(block.head.total_bytes() as u64);
                        verdict.blocks += 1;
                        verdict.bytes += block.head.total_bytes() as u64;
                        verdict.scars.extend(block.scar);
                        let books = &self.state.books;
                        let live = block.chunks.iter().flat_map(|chunk| books.live_in(chunk.events));
                        verdict.events += live.map(|range| range.len()).sum::<u64>();
                    }
                }
            }
        }
        verdict.damages.extend(self.damages().cloned());
        // Damages side by side speak of the same events: each is lost once.
        let mut told = RangeSet::default();
        for damage in &mut verdict.damages {
            damage.lost.retain(|range| !told.insert(*range));
        }
        verdict
            .damages
            .sort_by_key(|damage| (damage.number, damage.start_lsn));
        Ok(verdict)
    }

    /// Goes through the blocks of a segment; none if it is not there any more.
    ///
    /// # Errors
    /// The disk's.
    pub fn visit(&mut self, number: u64) -> Result<Option<Visit<D::File>>, DiskError> {
        let Some(info) = self.state.books.segments().find(|(n, _)| *n == number) else {
            return Ok(None);
        };
        let shard = self.log.shard;
        let (segment, head) = match self.log.read_head(&segment_name(number), number, &shard) {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => return Ok(None),
            Err(why) if why.kind == DiskErrorKind::Missing => return Ok(None),
            Err(why) => return Err(why),
        };
        let is_same = self
            .heads
            .get(&number)
            .is_none_or(|known| known.salt == head.salt);
        Ok(is_same.then(|| Visit {
            segment,
            number,
            info: info.1,
            walk: Walk::default(),
            assembly: Assembly::default(),
            lsn: head.first_lsn,
            chain: head.chain,
            block: head.first_block,
            strict: true,
            expected: info.1.events.start,
            waiting: Vec::new(),
            queue: VecDeque::new(),
            ended: false,
        }))
    }

    pub(super) fn log(&mut self) -> &mut Log<D> {
        &mut self.log
    }

    /// The folder, when the survey is not needed any more.
    pub fn into_disk(self) -> D {
        self.log.into_disk()
    }

    /// Whether the header of a segment can be read.
    pub(super) fn has_header(&self, number: u64) -> bool {
        self.heads.contains_key(&number)
    }

    /// Bytes of all blocks that a [`verify`](Self::verify) reads.
    pub fn bytes(&self) -> u64 {
        self.segments()
            .iter()
            .map(|s| s.info.end_lsn - s.info.first_lsn)
            .sum()
    }

    fn is_newest(&self, number: u64) -> bool {
        self.state
            .books
            .segments()
            .next_back()
            .is_some_and(|(n, _)| n == number)
    }
}

/// One look; none if the log has moved on meanwhile.
fn look<D: Disk>(log: &mut Log<D>, shard: &[u8; 16]) -> Result<Option<Look>, SurveyError> {
    let (numbers, free) = names(log)?;
    if numbers.is_empty() {
        return Err(SurveyError::Empty);
    }
    let (mut found, mut broken) = (Found::new(), BTreeMap::new());
    for number in numbers.iter().rev().copied() {
        match header(log, number, shard)? {
            Header::Gone => return Ok(None),
            Header::Broken(why) => drop(broken.insert(number, why)),
            Header::Found(segment, head) => {
                let is_base = log.begins_whole(&segment, &head)?;
                found.insert(number, (segment, head));
                if is_base {
                    break;
                }
            }
        }
    }
    let state = match log.read_state(&found, &broken, false) {
        Ok(state) => state,
        Err(StateError::Moved(_)) => return Ok(None),
        Err(StateError::Disk(why)) => return Err(why.into()),
        Err(StateError::NoSnapshot) => {
            let names = found
                .values()
                .map(|(segment, _)| format!("{}: snapshot damaged", segment.name));
            let why = names.chain(broken.values().map(OpenError::to_string));
            return Err(SurveyError::NoSnapshot(why.collect::<Vec<_>>().join("; ")));
        }
    };
    let mut heads: BTreeMap<u64, SegmentHead> = found.into_iter().map(|(n, (_, head))| (n, head)).collect();
    let mut wrong = BTreeMap::new();
    let named: Vec<u64> = state.books.segments().map(|(number, _)| number).collect();
    for number in named {
        if heads.contains_key(&number) || state.books.is_dead(number) {
            continue;
        }
        match header(log, number, shard)? {
            Header::Found(_, head) => drop(heads.insert(number, head)),
            Header::Broken(why) => drop(wrong.insert(number, why.to_string())),
            Header::Gone => drop(wrong.insert(number, "the file is missing".to_owned())),
        }
    }
    // A listing may leave out what is renamed meanwhile: then this was not the newest, and what it says is old.
    let is_newest = names(log)?.0.last() <= numbers.last();
    Ok(is_newest.then_some(Look {
        state,
        heads,
        free,
        wrong,
    }))
}

/// The numbers of the segments, rising, and the free files.
#[allow(clippy::type_complexity, reason = "two lists that one listing gives")]
fn names<D: Disk>(log: &mut Log<D>) -> Result<(Vec<u64>, Vec<(String, u64)>), DiskError> {
    let (mut numbers, mut free) = (Vec::new(), Vec::new());
    for name in log.disk.list()? {
        let stem = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(".wal");
        if let Some(number) = stem("seg-").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
            numbers.push(number);
        } else if stem("free-").is_some()
            && let Ok(file) = log.disk.open(&name)
            && let Ok(bytes) = log.disk.len(&file)
        {
            free.push((name, bytes));
        }
    }
    numbers.sort_unstable();
    free.sort_unstable();
    Ok((numbers, free))
}

enum Header<F> {
    Found(Segment<F>, SegmentHead),
    Broken(OpenError),
    Gone,
}

fn header<D: Disk>(log: &mut Log<D>, number: u64, shard: &[u8; 16]) -> Result<Header<D::File>, SurveyError> {
    match log.read_head(&segment_name(number), number, shard) {
        Err(why) if why.kind == DiskErrorKind::Missing => Ok(Header::Gone),
        Err(why) => Err(why.into()),
        Ok(Err(
            why @ OpenError::Segment {
                why: PageError::Newer(_),
                ..
            },
        )) => Err(SurveyError::Newer(why.to_string())),
        Ok(Err(why)) => Ok(Header::Broken(why)),
        Ok(Ok((segment, head))) if head.is_encrypted() && segment.cipher.is_none() => {
            let why = unlock(log.keys.as_ref(), &segment.name, &head).err();
            Err(SurveyError::Encrypted(
                why.map_or(segment.name, |why| why.to_string()),
            ))
        }
        Ok(Ok((segment, head))) => Ok(Header::Found(segment, head)),
    }
}

/// What reading every block has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Sound blocks.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Queued events that can be read.
    pub events: u64,
    /// What cannot be read.
    pub damages: Vec<Damage>,
    /// What earlier repairs have given up.
    pub scars: Vec<Scar>,
    /// Queued events that are in no segment, although nothing is damaged: an earlier repair or skip has given them up, and the
    /// node has not come across them yet.
    pub given_up: Vec<Range>,
    /// Segments whose events were all delivered while this was read.
    pub gone: Vec<u64>,
}

impl Verdict {
    /// Whether everything can be read.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }
}

/// A block that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its header.
    pub head: BlockHead,
    /// Where it begins in the file.
    pub offset: u64,
    /// The events of the transactions that end in it.
    pub chunks: Vec<Chunk>,
    /// Those transactions' records in words, if they were asked for.
    pub records: Vec<String>,
    /// What a repair gave up here.
    pub scar: Option<Scar>,
}

/// What a visit comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visited {
    /// A sound block.
    Block(Box<Seen>),
    /// Bytes that cannot be read; told as soon as it is known which events are missing.
    Damage(Damage),
    /// Queued events that are not there, although nothing is damaged.
    Missing(Range),
    /// All events of the segment were delivered meanwhile, and its file serves again: there is nothing more to see.
    Gone,
}

/// Goes through one segment, block by block.
#[derive(Debug)]
pub struct Visit<F> {
    segment: Segment<F>,
    number: u64,
    info: SegmentInfo,
    walk: Walk,
    assembly: Assembly,
    lsn: u64,
    chain: u64,
    block: u64,
    /// The next block must follow the last one.
    strict: bool,
    /// The number of the next event.
    expected: u64,
    /// Damages of which it is not known yet what stood there.
    waiting: Vec<Damage>,
    queue: VecDeque<Visited>,
    ended: bool,
}

impl<F: Clone> Visit<F> {
    /// The next thing; none at the end. `with_records` asks for every record in words.
    ///
    /// # Errors
    /// The disk's.
    pub fn next<D: Disk<File = F>>(
        &mut self,
        survey: &mut Survey<D>,
        with_records: bool,
    ) -> Result<Option<Visited>, DiskError> {
        while self.queue.is_empty() && !self.ended {
            if self.lsn >= self.info.end_lsn {
                self.end(survey);
            } else {
                self.step(survey, with_records)?;
            }
        }
        Ok(self.queue.pop_front())
    }

    fn step<D: Disk<File = F>>(
        &mut self,
        survey: &mut Survey<D>,
        with_records: bool,
    ) -> Result<(), DiskError> {
        let (head, payload) = match self.block_at(survey)? {
            Ok(found) => found,
            Err(why) => return self.bad(survey, why),
        };
        let (mut chunks, mut records) = (Vec::new(), Vec::new());
        let read = self.assembly.add(&head, &payload, |record, bytes| {
            if with_records {
                records.push(describe(record));
            }
            chunks.extend(chunk(record, bytes));
        });
        if let Err(why) = read {
            return self.bad(survey, why);
        }
        let scar = scar_of(&payload);
        for chunk in &chunks {
            self.arrived(survey, chunk.events.start, false);
            self.expected = chunk.events.end.max(self.expected);
        }
        self.queue.push_back(Visited::Block(Box::new(Seen {
            head,
            offset: self.offset(),
            chunks,
            records,
            scar,
        })));
        (self.lsn, self.chain) = (head.end_lsn(), head.chain(self.segment.salt));
        (self.block, self.strict) = (head.block + 1, scar.is_none());
        Ok(())
    }

    /// The block at this place, or why there is none.
    fn block_at<D: Disk<File = F>>(
        &mut self,
        survey: &Survey<D>,
    ) -> Result<Result<(BlockHead, bytes::Bytes), String>, DiskError> {
        for again in [false, true] {
            if again {
                // What was read ahead may be older than what is there.
                self.walk = Walk::default();
            }
            match self
                .walk
                .at(&survey.log.disk, &self.segment, self.lsn, u64::MAX)?
            {
                Step::Block(head, payload) => {
                    if self.strict && (head.chain != self.chain || head.block != self.block) {
                        let before = self.block.wrapping_sub(1);
                        return Ok(Err(format!(
                            "block {} does not follow block {before}",
                            head.block
                        )));
                    }
                    return Ok(Ok((head, payload)));
                }
                Step::Bad(why) if again => return Ok(Err(why)),
                Step::Bad(_) => {}
            }
        }
        Ok(Err(String::new()))
    }

    fn offset(&self) -> u64 {
        PAGE_BYTES as u64 + self.lsn - self.segment.first_lsn
    }

    /// Nothing can be read here: damage, or the file serves again.
    fn bad<D: Disk<File = F>>(&mut self, survey: &mut Survey<D>, why: String) -> Result<(), DiskError> {
        let end = self.info.end_lsn;
        let next = next_readable(&survey.log.disk, &self.segment, self.lsn)?;
        if !survey.log.is_there(&self.segment)? {
            self.ended = true;
            self.waiting.clear();
            self.queue.push_back(Visited::Gone);
            return Ok(());
        }
        let end_lsn = next.filter(|lsn| *lsn < end).unwrap_or(end);
        self.waiting.push(Damage {
            name: self.segment.name.clone(),
            number: self.number,
            offset: self.offset(),
            start_lsn: self.lsn,
            end_lsn,
            events: Range::default(),
            open_ended: false,
            lost: Vec::new(),
            // Older ones are restated by the snapshot that all begins with.
            repeats: self.number >= survey.state.base,
            why,
        });
        self.lsn = end_lsn;
        self.strict = false;
        self.assembly.clear();
        Ok(())
    }

    /// An event is there, or the end: what was expected before it is missing.
    fn arrived<D: Disk>(&mut self, survey: &Survey<D>, first: u64, at_the_end: bool) {
        let missing = Range {
            start: self.expected,
            end: first.max(self.expected),
        };
        let lost = survey.state.books.live_in(missing);
        if self.waiting.is_empty() {
            self.queue.extend(lost.into_iter().map(Visited::Missing));
            return;
        }
        let open_ended = at_the_end && survey.is_newest(self.number);
        let damages = self.waiting.drain(..).map(|damage| {
            // What the look has met is known from both sides of the segment.
            let mut known = survey.state.damages.iter();
            let known = known.find(|d| (d.number, d.start_lsn) == (damage.number, damage.start_lsn));
            known.cloned().unwrap_or(Damage {
                events: missing,
                open_ended,
                lost: lost.clone(),
                ..damage
            })
        });
        self.queue.extend(damages.map(Visited::Damage));
    }

    fn end<D: Disk>(&mut self, survey: &Survey<D>) {
        self.ended = true;
        self.arrived(survey, self.info.events.end, true);
        let Some(next) = survey.heads.get(&(self.number + 1)) else {
            return;
        };
        let follows =
            (next.previous_end_lsn, next.chain, next.first_block) == (self.lsn, self.chain, self.block);
        if self.strict && !follows {
            self.queue.push_back(Visited::Damage(Damage {
                name: self.segment.name.clone(),
                number: self.number,
                offset: self.offset(),
                start_lsn: self.lsn,
                end_lsn: self.lsn,
                events: Range {
                    start: self.info.events.end,
                    end: self.info.events.end,
                },
                open_ended: false,
                lost: Vec::new(),
                repeats: false,
                why: "the segment behind does not follow on its last block".to_owned(),
            }));
        }
    }
}
