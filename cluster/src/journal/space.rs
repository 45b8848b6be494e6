//! The files of a log: made ahead, taken for the next segment, used again when nothing lives in them any more.

use super::disk::{Disk, DiskError, DiskErrorKind};
use super::log::{Config, Log};
use rand::RngExt;

/// Freed files that are kept for the next segments.
const FREE_FILES_MAX: usize = 2;

impl<D: Disk> Log<D> {
    /// The file that the next segment needs, told once when it is time to make it and none is there: its name and
    /// length. Whoever makes it, durably with its entry of the folder, [`offer`](Self::offer)s it, so that the roll need
    /// not wait for it. It is time when the current segment is half full.
    pub fn wants(&mut self) -> Option<(String, u64)> {
        let segment = self.segments.get(&self.tail.number)?;
        let (used, full) = (self.tail.lsn - segment.first_lsn, self.config.segment_bytes);
        let has_one = self.free.iter().any(|(_, bytes)| *bytes >= full);
        let is_due = used >= full / 2 && !has_one && !self.is_lean() && self.poisoned.is_none();
        if !is_due || self.wanted == Some(self.tail.number) {
            return None;
        }
        self.wanted = Some(self.tail.number);
        Some((self.free_name(), full))
    }

    /// A file that was made as [`wants`](Self::wants) said.
    pub fn offer(&mut self, name: String, bytes: u64) {
        self.free.push((name, bytes));
    }

    pub(super) fn free_name(&mut self) -> String {
        format!("free-{:016x}.wal", self.rng.random::<u64>())
    }

    /// As [`roll`](Self::roll); where there is no room for puts, and nothing that lives is in the way, the current segment's own
    /// file is what serves again: a small one takes its place first.
    pub(super) fn roll_anyhow(&mut self, need: u64, for_puts: bool) -> Result<(), DiskError> {
        let rolled = self.roll(need, for_puts);
        let is_full = rolled.as_ref().is_err_and(|why| why.kind == DiskErrorKind::Full);
        if !is_full || !for_puts || self.is_lean() || self.books.live() > 0 {
            return rolled;
        }
        self.roll(0, false)?;
        self.roll(need, for_puts)
    }

    /// A file for the next segment. What was taken since the last one began may be what gives room for it; until then such
    /// files are kept, as a segment is better than the word of the one behind it.
    pub(super) fn file_for(&mut self, need: u64, for_puts: bool) -> Result<(String, u64), DiskError> {
        match self.next_file(need, for_puts) {
            Err(why) if why.kind == DiskErrorKind::Full => {
                self.collect()?;
                self.next_file(need, for_puts)
            }
            found => found,
        }
    }

    /// A file for the next segment: one that is free and long enough, else a new one.
    fn next_file(&mut self, need: u64, for_puts: bool) -> Result<(String, u64), DiskError> {
        let want = need.max(self.config.segment_bytes);
        if let Some((name, bytes)) = self.free.iter().find(|(_, bytes)| *bytes >= want) {
            return Ok((name.clone(), *bytes));
        }
        let name = self.free_name();
        match self.disk.create(&name, want) {
            Ok(_) => {
                self.free.push((name.clone(), want));
                Ok((name, want))
            }
            Err(why) if why.kind == DiskErrorKind::Full && !for_puts => {
                let spare = self.free.iter().find(|(_, bytes)| *bytes >= need);
                spare.cloned().ok_or(why)
            }
            Err(why) => Err(why),
        }
    }

    /// Takes the segments out in which nothing lives any more; their files serve again.
    pub(super) fn collect(&mut self) -> Result<(), DiskError> {
        let dead: Vec<u64> = self
            .books
            .segments()
            .map(|(n, _)| n)
            .filter(|n| self.books.is_dead(*n))
            .collect();
        for number in dead {
            self.books.forget_segment(number);
            if let Some(segment) = self.segments.remove(&number) {
                self.release(&segment.name, segment.file_bytes)?;
            }
        }
        Ok(())
    }

    /// A file that is no segment any more: kept for later, or removed.
    pub(super) fn release(&mut self, name: &str, bytes: u64) -> Result<(), DiskError> {
        let lean = bytes < self.config.segment_bytes;
        let kept = self
            .free
            .iter()
            .filter(|(_, b)| (*b < self.config.segment_bytes) == lean)
            .count();
        if kept >= FREE_FILES_MAX {
            return self.disk.remove(name);
        }
        let free = self.free_name();
        self.disk.rename(name, &free)?;
        self.free.push((free, bytes));
        Ok(())
    }

    /// The two small files, as far as they are missing and there is room. They are durable before anything is
    /// acknowledged: after a crash on a full disk they could not be made again.
    pub(super) fn make_spares(&mut self) -> Result<(), DiskError> {
        let Config {
            segment_bytes,
            spare_bytes,
            ..
        } = self.config;
        let is_spare = |bytes: u64| (spare_bytes..segment_bytes).contains(&bytes);
        let mut have = self.free.iter().filter(|(_, bytes)| is_spare(*bytes)).count();
        have += usize::from(self.is_lean());
        let before = have;
        while have < FREE_FILES_MAX {
            let name = self.free_name();
            match self.disk.create(&name, spare_bytes) {
                Ok(file) => self.disk.sync(&file)?,
                Err(why) if why.kind == DiskErrorKind::Full => break,
                Err(why) => return Err(why),
            }
            self.free.push((name, spare_bytes));
            have += 1;
        }
        if have >= FREE_FILES_MAX {
            // What a crash has cut short, or a smaller configuration has left.
            for (name, _) in self.free.extract_if(.., |(_, bytes)| *bytes < spare_bytes) {
                self.disk.remove(&name)?;
            }
        }
        if have > before {
            self.disk.sync_folder()?;
        }
        Ok(())
    }
}
