//! Repair: makes a damaged log one that opens without a question, and keeps all of it that is sound.
//!
//! ```text
//!   verify --> aside(files) --> mend each damaged segment --> salvage --> take what is lost --> verify
//!              (the caller keeps     a copy with scars,        the log is     one durable
//!               copies of them)      synced, takes its name    opened anew    record
//! ```
//!
//! Nothing is written in place: the copy of a segment is complete and synced before it gets the segment's name. Each step
//! finds done what an earlier, interrupted run has done, so a repair may be interrupted and begun again.

use super::damage::Damage;
use super::disk::{Disk, DiskError, DiskErrorKind};
use super::error::{CommitError, OpenError};
use super::log::{Log, Segment, Transaction, segment_name};
use super::reader::{Step, WINDOW_BYTES, Walk};
use super::recovery::Opened;
use super::survey::{Survey, SurveyError, Verdict};
use proto::journal::{BLOCK_BYTES_MAX, BlockHead, PAGE_BYTES, Range, Record, Scar, SegmentHead};
use std::collections::BTreeSet;
use thiserror::Error;

/// Why a log is not repaired. What was there before still is; another run goes on.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The disk failed, or a file could not be put aside.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Nothing can be said about it.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is lost could not be booked.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Something cannot be read after all: the disk goes on losing data.
    #[error("still damaged after the repair: {0}")]
    Damaged(Box<Damage>),
}

/// What a repair has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// What was found before. Nothing was changed if it was sound and no event had been given up.
    pub found: Verdict,
    /// No segment began with a readable snapshot: positions are lost, and how many events were lost is not known.
    pub without_snapshot: bool,
    /// Whether anything was changed.
    pub changed: bool,
    /// Queued events that are there now.
    pub events: u64,
}

/// Repairs a log. `aside` is told what was found and the files that are about to be changed or removed, all at once, and
/// must have durable copies of them when it returns; `progress` the bytes that were read.
///
/// # Errors
/// The world's, or the log cannot be made whole.
pub fn repair<D: Disk + Clone>(
    disk: &D,
    how: Opened,
    unix_seconds: u64,
    aside: impl FnOnce(&Verdict, &[String]) -> Result<(), DiskError>,
    progress: impl FnMut(u64),
) -> Result<Repaired, RepairError> {
    let mut done = Repaired::default();
    let unreadable = unreadable(disk.clone(), &how)?;
    match Survey::of(disk.clone(), how.shard, how.keys.clone()) {
        Ok(mut survey) => {
            done.found = survey.verify(progress)?;
            if done.found.is_sound() && done.found.given_up.is_empty() && unreadable.is_empty() {
                done.events = done.found.events;
                return Ok(done);
            }
            let inside =
                |damage: &&Damage| damage.end_lsn > damage.start_lsn && !is_missing(damage, &unreadable);
            let damaged: BTreeSet<u64> = done
                .found
                .damages
                .iter()
                .filter(inside)
                .map(|d| d.number)
                .collect();
            let damaged: Vec<u64> = damaged.into_iter().filter(|n| survey.has_header(*n)).collect();
            let names = damaged.iter().map(|number| segment_name(*number));
            let names: Vec<String> = names.chain(unreadable.iter().cloned()).collect();
            aside(&done.found, &names)?;
            for number in damaged {
                survey.mend(number, &done.found.damages, unix_seconds)?;
            }
        }
        Err(SurveyError::NoSnapshot(_)) => {
            done.without_snapshot = true;
            let mut all = disk.clone().list()?;
            all.retain(|name| name.starts_with("seg-"));
            all.sort_unstable();
            aside(&done.found, &all)?;
        }
        // Never begun.
        Err(SurveyError::Empty) => return Ok(done),
        Err(why) => return Err(why.into()),
    }
    done.changed = true;
    let (mut log, _) = Log::salvage(disk.clone(), how.clone())?;
    if done.without_snapshot {
        // What is damaged inside shows only now that it is known what lives.
        close(&mut log, Vec::new())?;
        drop(log);
        let mut survey = Survey::of(disk.clone(), how.shard, how.keys.clone())?;
        done.found = survey.verify(|_| ())?;
        let damaged: BTreeSet<u64> = done.found.damages.iter().map(|damage| damage.number).collect();
        for number in damaged
            .into_iter()
            .filter(|n| survey.has_header(*n))
            .collect::<Vec<_>>()
        {
            survey.mend(number, &done.found.damages, unix_seconds)?;
        }
        log = Log::salvage(disk.clone(), how.clone())?.0;
    }
    let damages = done.found.damages.iter().flat_map(|damage| damage.lost.iter());
    let lost: super::ranges::RangeSet = damages.chain(&done.found.given_up).copied().collect();
    let live = lost.iter().flat_map(|range| log.books().live_in(range)).collect();
    close(&mut log, live)?;
    drop(log);
    let mut after = Survey::of(disk.clone(), how.shard, how.keys.clone())?;
    let verdict = after.verify(|_| ())?;
    if let Some(damage) = verdict.damages.into_iter().next() {
        return Err(RepairError::Damaged(Box::new(damage)));
    }
    done.events = verdict.events;
    let mut disk = after.into_disk();
    for name in unreadable {
        disk.remove(&name)?;
    }
    disk.sync_folder()?;
    Ok(done)
}

/// Segments whose headers cannot be read; whether their events live is another matter.
fn unreadable<D: Disk>(mut disk: D, how: &Opened) -> Result<Vec<String>, DiskError> {
    let mut names = disk.list()?;
    names.retain(|name| name.starts_with("seg-") && name.ends_with(".wal"));
    names.sort_unstable();
    let mut unreadable = Vec::new();
    for name in names {
        let file = disk.open(&name)?;
        let mut page = vec![0; PAGE_BYTES];
        let read = disk.read_at(&file, 0, &mut page)?;
        let head = SegmentHead::decode(&page[..read]);
        if !head.is_ok_and(|head| head.shard == how.shard && name == segment_name(head.number)) {
            unreadable.push(name);
        }
    }
    Ok(unreadable)
}

fn is_missing(damage: &Damage, unreadable: &[String]) -> bool {
    unreadable.contains(&damage.name)
}

fn close<D: Disk>(log: &mut Log<D>, lost: Vec<Range>) -> Result<(), CommitError> {
    let mut records = vec![Record::Close];
    if !lost.is_empty() {
        records.insert(0, Record::Take { events: lost });
    }
    log.commit(&[Transaction { put: None, records }])
        .remove(0)
        .map(|_| ())
}

impl<D: Disk> Survey<D> {
    /// Puts scars in the place of a segment's damages.
    fn mend(&mut self, number: u64, damages: &[Damage], unix_seconds: u64) -> Result<(), DiskError> {
        let end_lsn = self
            .books()
            .segments()
            .find(|(n, _)| *n == number)
            .map(|(_, info)| info.end_lsn);
        let log = self.log();
        let shard = log.shard;
        let read = log.read_head(&segment_name(number), number, &shard)?;
        let (Ok((segment, head)), Some(end_lsn)) = (read, end_lsn) else {
            return Err(DiskError::new(
                DiskErrorKind::Other,
                format!("segment {number:016x} has no header"),
            ));
        };
        let name = format!("copy-{number:016x}.wal");
        match log.disk.remove(&name) {
            Ok(()) => {}
            Err(why) if why.kind == DiskErrorKind::Missing => {}
            Err(why) => return Err(why),
        }
        let copy = log.disk.create(&name, segment.file_bytes)?;
        let mut damages: Vec<&Damage> = damages
            .iter()
            .filter(|d| d.number == number && d.end_lsn > d.start_lsn)
            .collect();
        damages.sort_by_key(|damage| damage.start_lsn);
        let place = |lsn: u64| PAGE_BYTES as u64 + lsn - segment.first_lsn;
        let mut copied = 0;
        let mut last = Last::start(&head);
        let mut walk = Walk::default();
        for damage in damages {
            let (start, end) = (damage.start_lsn, damage.end_lsn.min(end_lsn));
            last.go(&log.disk, &segment, &mut walk, start)?;
            copy_bytes(&mut log.disk, &segment.file, &copy, copied, place(start))?;
            let scar = Scar {
                events: damage.events,
                open_ended: damage.open_ended,
                unix_seconds,
            };
            let mut lsn = start;
            while lsn < end {
                let bytes = (end - lsn).min(BLOCK_BYTES_MAX as u64);
                let cipher = segment.cipher.as_deref();
                let (head, block) = scar.block(segment.salt, last.head(lsn), bytes as usize, cipher);
                log.disk.write_at(&copy, place(lsn), &block)?;
                last.follow(&head, segment.salt);
                lsn += bytes;
            }
            copied = place(end);
            last.lsn = end;
        }
        copy_bytes(&mut log.disk, &segment.file, &copy, copied, place(end_lsn))?;
        log.disk.sync(&copy)?;
        log.disk.rename(&name, &segment.name)?;
        log.disk.sync_folder()
    }
}

/// The block before a scar.
struct Last {
    lsn: u64,
    chain: u64,
    block: u64,
    durable_lsn: u64,
}

impl Last {
    fn start(head: &SegmentHead) -> Self {
        Self {
            lsn: head.first_lsn,
            chain: head.chain,
            block: head.first_block,
            durable_lsn: head.durable_lsn,
        }
    }

    /// Goes over the sound blocks up to a place.
    fn go<D: Disk>(
        &mut self,
        disk: &D,
        segment: &Segment<D::File>,
        walk: &mut Walk,
        until: u64,
    ) -> Result<(), DiskError> {
        while self.lsn < until {
            let Step::Block(head, _) = walk.at(disk, segment, self.lsn, u64::MAX)? else {
                break;
            };
            self.follow(&head, segment.salt);
        }
        Ok(())
    }

    fn follow(&mut self, head: &BlockHead, salt: u64) {
        (self.lsn, self.chain, self.block) = (head.end_lsn(), head.chain(salt), head.block + 1);
        self.durable_lsn = self.durable_lsn.max(head.durable_lsn);
    }

    fn head(&self, lsn: u64) -> BlockHead {
        BlockHead {
            lsn,
            durable_lsn: self.durable_lsn,
            block: self.block,
            chain: self.chain,
            ..BlockHead::default()
        }
    }
}

fn copy_bytes<D: Disk>(
    disk: &mut D,
    from: &D::File,
    to: &D::File,
    start: u64,
    end: u64,
) -> Result<(), DiskError> {
    let mut buf = vec![0; WINDOW_BYTES];
    let mut at = start;
    while at < end {
        let want = buf.len().min((end - at) as usize);
        let read = disk.read_at(from, at, &mut buf[..want])?;
        if read == 0 {
            break;
        }
        disk.write_at(to, at, &buf[..read])?;
        at += read as u64;
    }
    Ok(())
}
