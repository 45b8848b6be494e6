//! Opening a log: what the segments say, what is torn, what is damaged, and a new segment to go on in.
//!
//! 1. The newest segment that begins with a complete snapshot is the base.
//! 2. Its blocks are replayed up to the first that is none, at p.
//! 3. D is the largest durable LSN that any readable block or header carries, also behind p. With p < D acknowledged bytes
//!    are damaged: that is reported, or skipped when the operator says so; else the tail is torn and was never
//!    acknowledged.
//! 4. The segment is synced: blocks that were readable but not acknowledged must not vanish after they have been served.
//! 5. A new segment is opened whose header seals this one at p. Nothing is ever written into an old segment, so all of
//!    this may be interrupted and begins anew.

use super::books::Books;
use super::disk::{Disk, DiskError, DiskErrorKind};
use super::error::{CommitError, OpenError};
use super::keys::{Keys, unlock};
use super::log::{Config, Log, Segment, Transaction, segment_name};
use super::reader::{Assembly, Step, Walk, next_readable, scan};
use proto::journal::{PAGE_BYTES, PageError, Range, Record, SegmentHead};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// Sizes.
    pub config: Config,
    /// Whose folder it is.
    pub shard: [u8; 16],
    /// Of the salts of new segments and the nonce of this start.
    pub seed: u64,
    /// Goes on behind damage and reports what was skipped, instead of refusing.
    pub skip_damage: bool,
    /// A sync has failed in this process's life: what the system reads back may not be on the disk, so the newest
    /// segment is written anew before it is believed.
    pub distrust: bool,
    /// The keys with which segments are written and read. Without any, new segments are in plain, and an old one that is
    /// not cannot be read.
    pub keys: Option<Arc<dyn Keys>>,
}

/// Bytes that were damaged and skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The file.
    pub name: String,
    /// Where the damage begins.
    pub start_lsn: u64,
    /// The next readable block, or the end of what was acknowledged.
    pub end_lsn: u64,
    /// Events whose put may have stood there: takes and duplicates' marks may be missing as well.
    pub events: Range,
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Whether the log was made just now.
    pub created: bool,
    /// Whether it was closed in order.
    pub clean: bool,
    /// Blocks that were replayed.
    pub blocks: u64,
    /// Bytes at the end that were never acknowledged and are not readable.
    pub torn: bool,
    /// What was damaged and skipped.
    pub skipped: Vec<Skipped>,
}

/// The folder's files, by what they are.
#[derive(Default)]
struct Listing<F> {
    segments: BTreeMap<u64, (Segment<F>, SegmentHead)>,
    free: Vec<(String, u64)>,
    /// Segments whose header cannot be read.
    broken: BTreeMap<u64, OpenError>,
    /// Halves of copies of segments that are still there.
    copies: Vec<String>,
}

/// The newest segment, as far as it is readable.
struct Replayed {
    books: Books,
    has_snapshot: bool,
    clean: bool,
    blocks: u64,
    /// Where the first block that is none would begin.
    end_lsn: u64,
    chain: u64,
    next_block: u64,
    durable_lsn: u64,
    why: String,
}

impl<D: Disk> Log<D> {
    /// Opens the log of a folder, or makes one in an empty folder. Only files named `seg-….wal` and `free-….wal` are
    /// looked at.
    ///
    /// # Errors
    /// The log cannot be served as it is; nothing was changed but for files that no log needs.
    pub fn open(disk: D, how: Opened) -> Result<(Self, Report), OpenError> {
        let mut log = Self::bare(disk, &how);
        let mut report = Report::default();
        let listing = log.list(&how)?;
        // It is not damaged, whatever may be done with what is.
        let newer = |why: &&OpenError| {
            let OpenError::Segment { why, .. } = why else {
                return false;
            };
            matches!(why, PageError::Newer(_))
        };
        if let Some(why) = listing.broken.values().find(newer) {
            return Err(why.clone());
        }
        log.free = listing.free;
        if listing.segments.is_empty() {
            if let Some(why) = listing.broken.into_values().next() {
                return Err(why);
            }
            report.created = true;
            log.make_spares()?;
        } else {
            let mut found = listing.segments;
            log.unlock_newest(&mut found, &how, &listing.copies)?;
            log.recover(found, listing.broken, &how, &mut report)?;
        }
        log.go_on(&how)?;
        log.make_spares()?;
        Ok((log, report))
    }

    fn list(&mut self, how: &Opened) -> Result<Listing<D::File>, OpenError> {
        let mut listing = Listing {
            segments: BTreeMap::new(),
            free: Vec::new(),
            broken: BTreeMap::new(),
            copies: Vec::new(),
        };
        let mut names = self.disk.list()?;
        names.sort_unstable();
        for name in names {
            let stem = |prefix: &str| name.strip_prefix(prefix)?.strip_suffix(".wal");
            if stem("free-").is_some() {
                let file = self.disk.open(&name)?;
                let bytes = self.disk.len(&file)?;
                listing.free.push((name, bytes));
            } else if stem("copy-").is_some() {
                listing.copies.push(name);
            } else if let Some(number) = stem("seg-").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
                match self.read_head(&name, number, how)? {
                    Ok(found) => drop(listing.segments.insert(number, found)),
                    Err(why) => drop(listing.broken.insert(number, why)),
                }
            }
        }
        Ok(listing)
    }

    #[allow(
        clippy::type_complexity,
        reason = "the disk's errors and the file's are told apart once"
    )]
    fn read_head(
        &mut self,
        name: &str,
        number: u64,
        how: &Opened,
    ) -> Result<Result<(Segment<D::File>, SegmentHead), OpenError>, DiskError> {
        let file = self.disk.open(name)?;
        let mut page = vec![0; PAGE_BYTES];
        let read = self.disk.read_at(&file, 0, &mut page)?;
        let name = name.to_owned();
        let head = match SegmentHead::decode(&page[..read]) {
            Ok(head) => head,
            Err(why) => return Ok(Err(OpenError::Segment { name, why })),
        };
        if head.shard != how.shard || head.number != number {
            return Ok(Err(OpenError::Stranger { name }));
        }
        let segment = Segment {
            file,
            name,
            salt: head.salt,
            first_lsn: head.first_lsn,
            file_bytes: head.file_bytes,
            cipher: None,
        };
        Ok(Ok((segment, head)))
    }

    /// Nothing is changed before the keys are known to be there, those of older segments too: without them there is no
    /// telling what lives. Then the newest segment is made fit to be believed.
    fn unlock_newest(
        &mut self,
        found: &mut BTreeMap<u64, (Segment<D::File>, SegmentHead)>,
        how: &Opened,
        copies: &[String],
    ) -> Result<(), OpenError> {
        let Some((newest, (segment, head))) = found.iter_mut().next_back() else {
            return Ok(());
        };
        let newest = *newest;
        segment.cipher = unlock(how.keys.as_ref(), &segment.name, head)?;
        self.disk.reread(&segment.file)?;
        let (segment, head) = (segment.clone(), head.clone());
        if how.distrust {
            let replayed = self.replay(&segment, &head, None)?;
            unlock_living(found, &replayed.books, how)?;
        }
        for name in copies {
            self.disk.remove(name)?;
        }
        if how.distrust
            && let Some((segment, head)) = found.get_mut(&newest)
        {
            self.rewrite(segment, head)?;
        }
        Ok(())
    }

    // tidy: long function, because its steps are those of the story above, in that order.
    fn recover(
        &mut self,
        mut found: BTreeMap<u64, (Segment<D::File>, SegmentHead)>,
        broken: BTreeMap<u64, OpenError>,
        how: &Opened,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let newest = found.keys().next_back().copied().unwrap_or_default();
        if let Some((number, why)) = broken.last_key_value() {
            if *number > newest && !how.skip_damage {
                return Err(why.clone());
            }
            self.numbers_from = number + 1;
        }
        let Some((segment, head)) = found.get(&newest) else {
            return Ok(());
        };
        let mut replayed = self.replay(segment, head, None)?;
        if !replayed.has_snapshot {
            // It was synced before it got its name.
            return Err(OpenError::NoSnapshot {
                name: segment.name.clone(),
            });
        }
        let mut torn = false;
        loop {
            let acknowledged = self.durable_behind(segment, &replayed)?;
            if replayed.end_lsn >= acknowledged {
                torn |= self.something_at(segment, replayed.end_lsn)?;
                break;
            }
            let resume = next_readable(&self.disk, segment, replayed.end_lsn)?;
            let end = resume.unwrap_or(acknowledged);
            if !how.skip_damage {
                return Err(OpenError::Corrupt {
                    name: segment.name.clone(),
                    start: replayed.end_lsn,
                    end,
                    why: replayed.why,
                });
            }
            let first = replayed.books.next_event();
            let start_lsn = replayed.end_lsn;
            replayed = match resume {
                Some(lsn) => self.replay(segment, head, Some((lsn, replayed)))?,
                None => Replayed {
                    end_lsn: acknowledged,
                    durable_lsn: acknowledged,
                    ..replayed
                },
            };
            report.skipped.push(Skipped {
                name: segment.name.clone(),
                start_lsn,
                end_lsn: end,
                events: Range {
                    start: first,
                    end: replayed.books.next_event().max(first),
                },
            });
        }
        let file = segment.file.clone();
        unlock_living(&mut found, &replayed.books, how)?;
        // What was readable must not vanish after it has been served.
        self.disk.sync(&file)?;
        (report.torn, report.clean, report.blocks) = (torn, replayed.clean, replayed.blocks);
        let mut books = replayed.books;
        for name in broken.range(newest..).map(|(number, _)| segment_name(*number)) {
            let events = Range {
                start: books.next_event(),
                end: books.next_event(),
            };
            report.skipped.push(Skipped {
                name,
                start_lsn: replayed.end_lsn,
                end_lsn: replayed.end_lsn,
                events,
            });
        }
        books.extend_segment(replayed.end_lsn);
        self.tail.number = newest;
        self.tail.lsn = replayed.end_lsn;
        self.tail.durable_lsn = replayed.end_lsn;
        (self.tail.chain, self.tail.block) = (replayed.chain, replayed.next_block);
        self.books = books;
        self.claim(found, &broken, how, report)
    }

    /// Takes over the segments that the books name; the files of all others serve again.
    fn claim(
        &mut self,
        mut found: BTreeMap<u64, (Segment<D::File>, SegmentHead)>,
        broken: &BTreeMap<u64, OpenError>,
        how: &Opened,
        report: &mut Report,
    ) -> Result<(), OpenError> {
        let named: Vec<_> = self.books.segments().collect();
        for (number, info) in named {
            if let Some((segment, _)) = found.remove(&number) {
                self.segments.insert(number, segment);
                continue;
            }
            if self.books.is_dead(number) {
                self.books.forget_segment(number);
                continue;
            }
            let name = segment_name(number);
            if !how.skip_damage {
                return Err(broken.get(&number).cloned().unwrap_or(OpenError::Missing {
                    number,
                    first: info.events.start,
                    last: info.events.end.saturating_sub(1),
                }));
            }
            let lost = vec![info.events];
            self.books.apply(&Record::Take { events: lost });
            self.books.forget_segment(number);
            report.skipped.push(Skipped {
                name,
                start_lsn: info.first_lsn,
                end_lsn: info.end_lsn,
                events: info.events,
            });
        }
        for (_, (segment, _)) in found {
            // Older than anything that lives; a removal that a crash took back.
            self.release(&segment.name, segment.file_bytes)?;
        }
        self.collect()?;
        Ok(())
    }

    /// Opens the first segment of this start and books the start.
    fn go_on(&mut self, how: &Opened) -> Result<(), OpenError> {
        let rolled = self.roll(PAGE_BYTES as u64 * 4, true);
        let full = |why: &DiskError| why.kind == DiskErrorKind::Full;
        match rolled {
            Ok(()) => {}
            Err(why) if full(&why) => self.roll(PAGE_BYTES as u64 * 4, false).map_err(|why| {
                if full(&why) {
                    OpenError::Full(why)
                } else {
                    OpenError::Disk(why)
                }
            })?,
            Err(why) => return Err(why.into()),
        }
        let epoch = Record::Epoch {
            epoch: self.books.epoch() + 1,
            // Of no use to guess: it tells two copies of one disk apart.
            nonce: how.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        let started = Transaction {
            put: None,
            records: vec![epoch],
        };
        match self.commit(&[started]).remove(0) {
            Ok(_) => Ok(()),
            Err(CommitError::Poisoned(why)) => Err(why.into()),
            Err(why) => Err(DiskError::new(DiskErrorKind::Other, why.to_string()).into()),
        }
    }

    /// Replays a segment's blocks from its start, or goes on behind damage.
    fn replay(
        &self,
        segment: &Segment<D::File>,
        head: &SegmentHead,
        resume: Option<(u64, Replayed)>,
    ) -> Result<Replayed, DiskError> {
        let (mut lsn, mut at) = match resume {
            Some((lsn, before)) => (lsn, before),
            None => (head.first_lsn, Replayed::start(head)),
        };
        let (mut walk, mut assembly) = (Walk::default(), Assembly::default());
        let mut strict = at.blocks == 0;
        loop {
            let (block, payload) = match walk.at(&self.disk, segment, lsn, u64::MAX)? {
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
            strict = true;
            let (books, snapshot, clean) = (&mut at.books, &mut at.has_snapshot, &mut at.clean);
            let read = assembly.add(&block, &payload, |record, _| {
                *snapshot |= matches!(record, Record::SnapEnd { .. });
                *clean = matches!(record, Record::Close);
                books.apply(record);
            });
            if let Err(why) = read {
                at.why = why;
                break;
            }
            lsn = block.end_lsn();
            at.end_lsn = lsn;
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

    /// Writes the readable part of a segment into a new file that takes its name, so that all of it is on the disk.
    fn rewrite(&mut self, segment: &mut Segment<D::File>, head: &SegmentHead) -> Result<(), OpenError> {
        let replayed = self.replay(segment, head, None)?;
        let name = format!("copy-{:016x}.wal", head.number);
        // Two faults at once, a sync that failed and a full disk: nothing is served until there is room for the copy.
        let copy = self
            .disk
            .create(&name, segment.file_bytes)
            .map_err(|why| match why.kind {
                DiskErrorKind::Full => OpenError::Full(why),
                _ => OpenError::Disk(why),
            })?;
        let end = PAGE_BYTES as u64 + replayed.end_lsn - segment.first_lsn;
        let mut buf = vec![0; super::reader::WINDOW_BYTES];
        let mut at = 0;
        while at < end {
            let want = buf.len().min((end - at) as usize);
            let read = self.disk.read_at(&segment.file, at, &mut buf[..want])?;
            if read == 0 {
                break;
            }
            self.disk.write_at(&copy, at, &buf[..read])?;
            at += read as u64;
        }
        self.disk.sync(&copy)?;
        self.disk.rename(&name, &segment.name)?;
        self.disk.sync_folder()?;
        segment.file = copy;
        Ok(())
    }
}

/// Opens the keys of the segments in which something lives; others may have keys that nobody has any more.
fn unlock_living<F>(
    found: &mut BTreeMap<u64, (Segment<F>, SegmentHead)>,
    books: &Books,
    how: &Opened,
) -> Result<(), OpenError> {
    for (number, _) in books.segments().filter(|(n, _)| !books.is_dead(*n)) {
        if let Some((segment, head)) = found.get_mut(&number)
            && segment.cipher.is_none()
        {
            segment.cipher = unlock(how.keys.as_ref(), &segment.name, head)?;
        }
    }
    Ok(())
}

impl Replayed {
    fn start(head: &SegmentHead) -> Self {
        let mut books = Books::default();
        books.begin_segment(head.number, head.first_lsn);
        Self {
            books,
            has_snapshot: false,
            clean: false,
            blocks: 0,
            end_lsn: head.first_lsn,
            chain: head.chain,
            next_block: head.first_block,
            durable_lsn: head.durable_lsn,
            why: String::new(),
        }
    }
}
