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
//!
//! Steps 1 to 3 are `state.rs`, which writes nothing and also serves those who only look.

use super::books::{Books, IN_DOUBT};
use super::damage::Damage;
use super::disk::{Disk, DiskError, DiskErrorKind};
use super::error::{CommitError, OpenError};
use super::keys::{Keys, cipher_of, unlock};
use super::log::{Config, Log, Segment, Transaction, segment_name};
use super::state::{EPOCH_AFTER_SALVAGE, Found, Replayed, StateError};
use proto::journal::{PAGE_BYTES, PageError, Record, SegmentHead};
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
    pub skipped: Vec<Damage>,
    /// Takes may have stood where something was skipped or repaired: see [`Books::in_doubt`](super::Books::in_doubt).
    pub in_doubt: bool,
}

/// The folder's files, by what they are.
#[derive(Default)]
struct Listing<F> {
    segments: Found<F>,
    free: Vec<(String, u64)>,
    /// Segments whose header cannot be read.
    broken: BTreeMap<u64, OpenError>,
    /// Halves of copies of segments that are still there.
    copies: Vec<String>,
}

impl<D: Disk> Log<D> {
    /// Opens the log of a folder, or makes one in an empty folder. Only files named `seg-….wal` and `free-….wal` are
    /// looked at.
    ///
    /// # Errors
    /// The log cannot be served as it is; nothing was changed but for files that no log needs.
    pub fn open(disk: D, how: Opened) -> Result<(Self, Report), OpenError> {
        Self::bare(disk, &how).opened(how)
    }

    /// As [`open`](Self::open) with damage skipped, and goes on even where no segment begins with a whole snapshot, or none
    /// is readable: positions are lost then, and events that were taken may come again. Only for a repair that a person
    /// has asked for.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn salvage(disk: D, how: Opened) -> Result<(Self, Report), OpenError> {
        let mut log = Self::bare(disk, &how);
        log.salvages = true;
        log.opened(Opened {
            skip_damage: true,
            ..how
        })
    }

    fn opened(self, how: Opened) -> Result<(Self, Report), OpenError> {
        let mut log = self;
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
            if let Some((number, why)) = listing.broken.into_iter().next_back() {
                if !log.salvages {
                    return Err(why);
                }
                // Nothing tells what was in it, or where its numbers ended.
                log.numbers_from = number + 1;
            }
            report.created = true;
            if log.numbers_from > 0 {
                log.books.apply(&Record::Epoch {
                    epoch: EPOCH_AFTER_SALVAGE,
                    nonce: 0,
                });
            }
            log.make_spares()?;
        } else {
            let mut found = listing.segments;
            log.unlock_newest(&mut found, &how, &listing.copies)?;
            log.recover(found, listing.broken, &how, &mut report)?;
        }
        log.go_on(&how, report.in_doubt)?;
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
                match self.read_head(&name, number, &how.shard)? {
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
    pub(super) fn read_head(
        &mut self,
        name: &str,
        number: u64,
        shard: &[u8; 16],
    ) -> Result<Result<(Segment<D::File>, SegmentHead), OpenError>, DiskError> {
        let file = self.disk.open(name)?;
        let mut page = vec![0; PAGE_BYTES];
        let read = self.disk.read_at(&file, 0, &mut page)?;
        let name = name.to_owned();
        let head = match SegmentHead::decode(&page[..read]) {
            Ok(head) => head,
            Err(why) => return Ok(Err(OpenError::Segment { name, why })),
        };
        if head.shard != *shard || head.number != number {
            return Ok(Err(OpenError::Stranger { name }));
        }
        let segment = Segment {
            file,
            name,
            salt: head.salt,
            first_lsn: head.first_lsn,
            file_bytes: head.file_bytes,
            // None is no reason to give up here: others may have keys that nobody needs any more.
            cipher: cipher_of(self.keys.as_deref(), &head).ok().flatten(),
        };
        Ok(Ok((segment, head)))
    }

    /// Nothing is changed before the keys are known to be there, those of older segments too: without them there is no
    /// telling what lives. Then the newest segment is made fit to be believed.
    fn unlock_newest(
        &mut self,
        found: &mut Found<D::File>,
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
            let replayed = self.replay(&segment, Replayed::start(&head), true)?;
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

    fn recover(
        &mut self,
        mut found: Found<D::File>,
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
        let Some((segment, _)) = found.get(&newest) else {
            return Ok(());
        };
        let name = segment.name.clone();
        let state = match self.read_state(&found, &broken, self.salvages) {
            Ok(state) => state,
            Err(StateError::NoSnapshot) => {
                // Perhaps it only cannot be decrypted.
                unlock_range(&mut found, 0, how)?;
                return Err(OpenError::NoSnapshot { name });
            }
            Err(StateError::Disk(why)) => return Err(why.into()),
            Err(StateError::Moved(name)) => {
                let why = format!("{name}: somebody else has changed it while it was read");
                return Err(DiskError::new(DiskErrorKind::Other, why).into());
            }
        };
        if !how.skip_damage {
            if state.base < newest {
                // It was synced before it got its name.
                return Err(OpenError::NoSnapshot { name });
            }
            if let Some(damage) = state.damages.first() {
                return Err(OpenError::Corrupt(Box::new(damage.clone())));
            }
        }
        unlock_range(&mut found, state.base, how)?;
        unlock_living(&mut found, &state.books, how)?;
        for (segment, _) in found.range(state.base..).map(|(_, found)| found) {
            // What was readable must not vanish after it has been served.
            self.disk.sync(&segment.file)?;
        }
        // Nor may its name, which may have been given and not synced before the last failure: the files of older segments
        // serve again from here on.
        self.disk.sync_folder()?;
        (report.torn, report.clean, report.blocks) = (state.torn, state.clean, state.blocks);
        self.books = state.books;
        for damage in &state.damages {
            // They are in no segment any more: nobody is to wait for them.
            let events = damage.lost.clone();
            self.books.apply(&Record::Take { events });
        }
        self.tail.number = newest;
        self.tail.lsn = state.end_lsn;
        self.tail.durable_lsn = state.end_lsn;
        (self.tail.chain, self.tail.block) = (state.chain, state.next_block);
        report.in_doubt = state.scarred || state.damages.iter().any(|damage| damage.repeats);
        report.skipped = state.damages;
        self.claim(found, &broken, how, report)
    }

    /// Takes over the segments that the books name; the files of all others serve again.
    fn claim(
        &mut self,
        mut found: Found<D::File>,
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
            let lost = self.books.live_in(info.events);
            self.books.apply(&Record::Take { events: lost.clone() });
            self.books.forget_segment(number);
            let why = broken
                .get(&number)
                .map_or("the file is missing".to_owned(), OpenError::to_string);
            report.skipped.push(Damage {
                lost,
                ..Damage::of_segment(name, number, info, why)
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
    fn go_on(&mut self, how: &Opened, in_doubt: bool) -> Result<(), OpenError> {
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
        let next = self.books.next_event().to_le_bytes();
        let mut records = vec![epoch];
        if in_doubt {
            // The marks of some takes are lost: whatever lives now may have been delivered before.
            records.push(Record::SinkPosition {
                owner: IN_DOUBT,
                stamp: 0,
                bytes: &next,
            });
        }
        let started = Transaction { put: None, records };
        match self.commit(&[started]).remove(0) {
            Ok(_) => Ok(()),
            Err(CommitError::Poisoned(why)) => Err(why.into()),
            Err(why) => Err(DiskError::new(DiskErrorKind::Other, why.to_string()).into()),
        }
    }

    /// Writes what is readable of a segment into a new file that takes its name, so that all of it is on the disk. What lies
    /// behind an unreadable block goes with it: it is what tells damage from a torn tail.
    fn rewrite(&mut self, segment: &mut Segment<D::File>, head: &SegmentHead) -> Result<(), OpenError> {
        let end_lsn = self.last_readable(segment, &self.replay(segment, Replayed::start(head), true)?)?;
        let name = format!("copy-{:016x}.wal", head.number);
        // Two faults at once, a sync that failed and a full disk: nothing is served until there is room for the copy.
        let copy = self
            .disk
            .create(&name, segment.file_bytes)
            .map_err(|why| match why.kind {
                DiskErrorKind::Full => OpenError::Full(why),
                _ => OpenError::Disk(why),
            })?;
        let end = PAGE_BYTES as u64 + end_lsn - segment.first_lsn;
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
fn unlock_living<F>(found: &mut Found<F>, books: &Books, how: &Opened) -> Result<(), OpenError> {
    for (number, _) in books.segments().filter(|(n, _)| !books.is_dead(*n)) {
        if let Some((segment, head)) = found.get_mut(&number)
            && segment.cipher.is_none()
        {
            segment.cipher = unlock(how.keys.as_ref(), &segment.name, head)?;
        }
    }
    Ok(())
}

/// As [`unlock_living`], of the segments from a number on, which tell what lives.
fn unlock_range<F>(found: &mut Found<F>, from: u64, how: &Opened) -> Result<(), OpenError> {
    for (_, (segment, head)) in found.range_mut(from..).filter(|(_, (s, _))| s.cipher.is_none()) {
        segment.cipher = unlock(how.keys.as_ref(), &segment.name, head)?;
    }
    Ok(())
}
