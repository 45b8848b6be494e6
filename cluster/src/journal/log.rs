//! Writing: transactions to blocks, blocks to the disk, one sync for all that came together.

use super::books::{Books, SegmentInfo};
use super::disk::{Disk, DiskError, DiskErrorKind};
use super::error::CommitError;
use super::keys::Keys;
use super::recovery::Opened;
use bytes::Bytes;
use proto::journal::{
    BLOCK_HEAD_BYTES, BlockHead, BlockWriter, FLAG_CONTINUED, FLAG_CONTINUES, Lane, PAGE_BYTES,
    PayloadCipher, Record, SegmentHead, TAG_BYTES, block_bytes, write_record,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one record needs beside its events and texts, at most.
const RECORD_BYTES: usize = 128;

/// Sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Bytes of a segment; default 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of each of the two files in which takes go on when the disk is full; default 8 MiB.
    pub spare_bytes: u64,
    /// Bytes of payload after which a block is closed; default 4 MiB.
    pub block_bytes: usize,
    /// Bytes of one transaction, at most; a segment is made longer for one that needs it. Default 256 MiB.
    pub transaction_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spare_bytes: 8 << 20,
            block_bytes: 4 << 20,
            transaction_bytes_max: 256 << 20,
        }
    }
}

/// Events of a transaction, as event blocks (see [`proto::event::block`]).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Put {
    /// How many events.
    pub count: u32,
    /// Their bytes, in pieces.
    pub events: Vec<Bytes>,
    /// The place of the first one in the order of the whole channel.
    pub order: u64,
    /// The batch of a lane that they are, if nobody may see them before they are confirmed.
    pub prepared: Option<(Lane, u64)>,
}

/// What is committed together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// Events that come in.
    pub put: Option<Put>,
    /// What else happens: takes, positions, lanes.
    pub records: Vec<Record<'a>>,
}

impl Transaction<'_> {
    /// The most bytes that it takes as payload.
    fn bytes_max(&self, block: usize) -> usize {
        let put = self.put.as_ref().map_or(0, |put| {
            let events: usize = put.events.iter().map(Bytes::len).sum();
            events + (events / block.max(1) + 2) * RECORD_BYTES
        });
        put + self.records.iter().map(record_bytes).sum::<usize>()
    }
}

fn record_bytes(record: &Record<'_>) -> usize {
    RECORD_BYTES
        + match record {
            Record::SourcePosition { owner, bytes, .. } | Record::SinkPosition { owner, bytes, .. } => {
                owner.len() + bytes.len()
            }
            Record::Take { events } | Record::Reserve { events, .. } => events.len() * 20,
            Record::Confirm { seqs, .. }
            | Record::Commit { seqs, .. }
            | Record::Void { seqs, .. }
            | Record::SnapLane { seqs, .. } => seqs.len() * 20,
            Record::Put { events, .. } | Record::Prepared { events, .. } => events.len(),
            Record::Part { bytes } => bytes.len(),
            _ => 0,
        }
}

/// Bytes in a file for so many of payload, however it falls into blocks, each of which is sealed by so many more.
fn file_bytes(payload: usize, block: usize, seal: usize) -> u64 {
    ((payload / block.max(1) + 2) * (BLOCK_HEAD_BYTES + PAGE_BYTES + seal) + payload) as u64
}

/// A transaction that is in the log for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The number of its first event; of the next one if it has none.
    pub first_event: u64,
    /// The segment and the block in which it begins: where a [`Reader`](super::Reader) finds it.
    pub at: (u64, u64),
}

/// A file of the log that can be read.
#[derive(Debug, Clone)]
pub(super) struct Segment<F> {
    pub file: F,
    pub name: String,
    pub salt: u64,
    pub first_lsn: u64,
    pub file_bytes: u64,
    /// Of its blocks; none if they are in plain, or if nobody needs them.
    pub cipher: Option<Arc<dyn PayloadCipher>>,
}

/// Where the next block goes.
pub(super) struct Tail {
    pub number: u64,
    /// LSN of the next block.
    pub lsn: u64,
    pub durable_lsn: u64,
    pub chain: u64,
    pub block: u64,
    /// The last block ended inside a transaction.
    pub inside: bool,
}

/// One shard's log.
pub struct Log<D: Disk> {
    pub(super) disk: D,
    pub(super) config: Config,
    pub(super) shard: [u8; 16],
    pub(super) keys: Option<Arc<dyn Keys>>,
    pub(super) books: Books,
    pub(super) segments: BTreeMap<u64, Segment<D::File>>,
    pub(super) tail: Tail,
    /// Files of no segment, with their lengths.
    pub(super) free: Vec<(String, u64)>,
    pub(super) rng: SmallRng,
    pub(super) poisoned: Option<DiskError>,
    writer: BlockWriter,
    /// Numbers of events up to here are given away.
    assigned: u64,
    /// The segment during which a file for the next one was asked for.
    pub(super) wanted: Option<u64>,
    /// Segments with lower numbers may be there and be unreadable.
    pub(super) numbers_from: u64,
    /// Commits are written and not synced: see [`Log::sync_later`].
    lazy: bool,
    /// Up to here transactions are booked.
    settled_lsn: u64,
    /// Goes on where no segment begins with a whole snapshot.
    pub(super) salvages: bool,
}

impl<D: Disk> Log<D> {
    /// A log without a segment; recovery opens one.
    pub(super) fn bare(disk: D, how: &Opened) -> Self {
        let (config, shard, seed) = (how.config, how.shard, how.seed);
        Self {
            disk,
            config,
            shard,
            keys: how.keys.clone(),
            books: Books::default(),
            segments: BTreeMap::new(),
            tail: Tail {
                number: 0,
                lsn: PAGE_BYTES as u64,
                durable_lsn: 0,
                chain: 0,
                block: 0,
                inside: false,
            },
            free: Vec::new(),
            rng: SmallRng::seed_from_u64(seed),
            poisoned: None,
            writer: BlockWriter::new(),
            assigned: 0,
            wanted: None,
            numbers_from: 0,
            lazy: false,
            settled_lsn: 0,
            salvages: false,
        }
    }

    /// What the log adds up to.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The disk error after which nothing is written any more.
    pub fn poisoned(&self) -> Option<&DiskError> {
        self.poisoned.as_ref()
    }

    /// The folder, when the log is not needed any more.
    pub fn into_disk(self) -> D {
        self.disk
    }

    /// Bytes of blocks that were written and of which nothing is known to be unsynced.
    pub fn durable_lsn(&self) -> u64 {
        self.tail.durable_lsn
    }

    /// Whether puts have room without another file.
    pub fn has_room(&self) -> bool {
        !self.is_lean()
    }

    /// Commits transactions with one sync, in order. Those before a failure may have succeeded.
    pub fn commit(&mut self, transactions: &[Transaction<'_>]) -> Vec<Result<Committed, CommitError>> {
        let mut results: Vec<Result<Committed, CommitError>> = Vec::with_capacity(transactions.len());
        // Encoded and not synced: from which transaction on.
        let mut open = 0;
        for (n, transaction) in transactions.iter().enumerate() {
            let result = self.append(transaction, &transactions[open..n], &mut results, &mut open);
            results.push(result);
        }
        if let Err(why) = self.settle(&transactions[open..], &mut results, open) {
            self.poison(why, &mut results, open);
        }
        results
    }

    /// From now on [`commit`](Self::commit) writes and does not sync: what it returns as committed survives the process, and
    /// the machine only from the next [`sync`](Self::sync) on. No block says of what was not synced that it was, so that a
    /// power cut leaves a torn tail, not damage.
    pub fn sync_later(&mut self) {
        self.lazy = true;
    }

    /// Whether everything that was committed is synced.
    pub fn is_synced(&self) -> bool {
        self.tail.durable_lsn == self.tail.lsn
    }

    /// Syncs what was committed.
    ///
    /// # Errors
    /// The log is poisoned, from now on if not before.
    pub fn sync(&mut self) -> Result<(), CommitError> {
        if let Some(why) = &self.poisoned {
            return Err(CommitError::Poisoned(why.clone()));
        }
        if self.is_synced() {
            return Ok(());
        }
        self.sync_tail().map_err(|why| {
            self.poison(why.clone(), &mut [], 0);
            CommitError::Poisoned(why)
        })
    }

    /// Writes a block that only carries the durable LSN, so that a crash later cannot be taken for corruption, or the
    /// reverse; for when nothing else comes.
    ///
    /// # Errors
    /// The log is poisoned.
    pub fn tick(&mut self) -> Result<(), CommitError> {
        let tick = Transaction {
            put: None,
            records: vec![Record::Tick],
        };
        self.commit(&[tick]).remove(0).map(|_| ())
    }

    /// Encodes one transaction; makes room for it first.
    fn append(
        &mut self,
        transaction: &Transaction<'_>,
        unsettled: &[Transaction<'_>],
        results: &mut [Result<Committed, CommitError>],
        open: &mut usize,
    ) -> Result<Committed, CommitError> {
        if let Some(why) = &self.poisoned {
            return Err(CommitError::Poisoned(why.clone()));
        }
        let payload = transaction.bytes_max(self.config.block_bytes);
        if payload > self.config.transaction_bytes_max {
            return Err(CommitError::TooLarge {
                found: payload,
                allowed: self.config.transaction_bytes_max,
            });
        }
        let is_put = transaction.put.is_some();
        let need = file_bytes(payload, self.config.block_bytes, self.seal_bytes());
        if !self.fits(need) || (is_put && self.is_lean()) {
            if let Err(why) = self.settle(unsettled, results, *open) {
                // Whatever its kind: what was to be synced may not be there.
                self.poison(why.clone(), results, *open);
                return Err(CommitError::Poisoned(why));
            }
            *open += unsettled.len();
            match self.roll_anyhow(need, is_put) {
                Ok(()) => {}
                Err(why) if why.kind == DiskErrorKind::Full && is_put => return Err(CommitError::Full),
                Err(why) => {
                    self.poison(why.clone(), results, *open);
                    return Err(CommitError::Poisoned(why));
                }
            }
        }
        self.encode(transaction).map_err(|why| {
            self.poison(why.clone(), results, *open);
            CommitError::Poisoned(why)
        })
    }

    fn encode(&mut self, transaction: &Transaction<'_>) -> Result<Committed, DiskError> {
        let first_event = self.assigned;
        let mut at = (self.tail.number, self.tail.lsn);
        if let Some(put) = &transaction.put {
            at.1 = self.encode_put(put, transaction.records.is_empty())?;
        }
        for (n, record) in transaction.records.iter().enumerate() {
            let end = n + 1 == transaction.records.len();
            self.make_room(record_bytes(record), n > 0 || transaction.put.is_some())?;
            write_record(self.writer.payload(), record, end);
            self.writer.count(1);
        }
        Ok(Committed { first_event, at })
    }

    /// Returns the LSN of the block in which it begins.
    fn encode_put(&mut self, put: &Put, end: bool) -> Result<u64, DiskError> {
        let total: usize = put.events.iter().map(Bytes::len).sum();
        self.make_room(total.min(self.config.block_bytes) + RECORD_BYTES, false)?;
        let at = self.tail.lsn;
        // What fits no block goes ahead in parts.
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut gathered = 0;
        let mut began = false;
        let room = self.config.block_bytes;
        for piece in &put.events {
            let mut piece = piece.clone();
            while gathered + piece.len() > room {
                pieces.push(piece.split_to(room - gathered));
                self.make_room(room + RECORD_BYTES, began)?;
                let part = pieces.concat();
                write_record(self.writer.payload(), &Record::Part { bytes: &part }, false);
                self.writer.count(1);
                (pieces, gathered, began) = (Vec::new(), 0, true);
            }
            gathered += piece.len();
            pieces.push(piece);
        }
        self.make_room(gathered + RECORD_BYTES, began)?;
        let (first, count, order) = (self.assigned, put.count, put.order);
        let one;
        let events: &[u8] = match pieces.as_slice() {
            [] => &[],
            [single] => single,
            several => {
                one = several.concat();
                &one
            }
        };
        let record = match put.prepared {
            None => Record::Put {
                first,
                count,
                order,
                events,
            },
            Some((lane, seq)) => Record::Prepared {
                lane,
                seq,
                first,
                count,
                order,
                events,
            },
        };
        write_record(self.writer.payload(), &record, end);
        self.writer.count(1);
        self.assigned += u64::from(count);
        Ok(at)
    }

    /// Closes the block when another so many bytes would make it too long.
    fn make_room(&mut self, bytes: usize, in_transaction: bool) -> Result<(), DiskError> {
        if !self.writer.is_empty() && self.writer.payload_bytes() + bytes > self.config.block_bytes {
            self.close_block(in_transaction)?;
        }
        Ok(())
    }

    /// Completes the block and writes it: mostly one write for all that is committed together.
    fn close_block(&mut self, continues: bool) -> Result<(), DiskError> {
        let Some(segment) = self.segments.get(&self.tail.number) else {
            return Err(DiskError::new(DiskErrorKind::Other, "the log has no segment"));
        };
        let salt = segment.salt;
        let head = BlockHead {
            flags: (if continues { FLAG_CONTINUES } else { 0 })
                | (if self.tail.inside { FLAG_CONTINUED } else { 0 }),
            lsn: self.tail.lsn,
            durable_lsn: self.tail.durable_lsn,
            block: self.tail.block,
            chain: self.tail.chain,
            ..BlockHead::default()
        };
        let (head, bytes) = match &segment.cipher {
            None => self.writer.finish(salt, head),
            Some(cipher) => self.writer.finish_sealed(salt, head, &**cipher),
        };
        let at = PAGE_BYTES as u64 + head.lsn - segment.first_lsn;
        self.disk.write_at(&segment.file, at, bytes)?;
        self.tail.lsn = head.end_lsn();
        self.tail.block += 1;
        self.tail.inside = continues;
        self.tail.chain = head.chain(salt);
        self.writer.clear();
        Ok(())
    }

    /// Writes and syncs what is encoded, and books it. `unsettled` are the transactions from number `from` on.
    fn settle(
        &mut self,
        unsettled: &[Transaction<'_>],
        results: &mut [Result<Committed, CommitError>],
        from: usize,
    ) -> Result<(), DiskError> {
        if let Some(why) = &self.poisoned {
            return Err(why.clone());
        }
        if !self.writer.is_empty() {
            self.close_block(false)?;
        }
        if self.tail.lsn == self.settled_lsn.max(self.tail.durable_lsn) {
            return Ok(());
        }
        if !self.lazy {
            self.sync_tail()?;
        }
        self.settled_lsn = self.tail.lsn;
        self.books.extend_segment(self.tail.lsn);
        for (transaction, result) in unsettled.iter().zip(&results[from.min(results.len())..]) {
            if let Ok(committed) = result {
                self.book(transaction, committed.first_event);
            }
        }
        Ok(())
    }

    fn sync_tail(&mut self) -> Result<(), DiskError> {
        if let Some(segment) = self.segments.get(&self.tail.number) {
            self.disk.sync(&segment.file)?;
        }
        self.tail.durable_lsn = self.tail.lsn;
        Ok(())
    }

    fn book(&mut self, transaction: &Transaction<'_>, first: u64) {
        if let Some(put) = &transaction.put {
            let (count, order) = (put.count, put.order);
            self.books.apply(&match put.prepared {
                None => Record::Put {
                    first,
                    count,
                    order,
                    events: &[],
                },
                Some((lane, seq)) => Record::Prepared {
                    lane,
                    seq,
                    first,
                    count,
                    order,
                    events: &[],
                },
            });
        }
        transaction
            .records
            .iter()
            .for_each(|record| self.books.apply(record));
    }

    /// Nothing more is written; who is not synced learns that nobody knows.
    fn poison(&mut self, why: DiskError, results: &mut [Result<Committed, CommitError>], open: usize) {
        for result in results.iter_mut().skip(open).filter(|r| r.is_ok()) {
            *result = Err(CommitError::Poisoned(why.clone()));
        }
        self.poisoned.get_or_insert(why);
    }

    fn segment_room(&self) -> u64 {
        self.segments.get(&self.tail.number).map_or(0, |segment| {
            let used = PAGE_BYTES as u64 + self.tail.lsn - segment.first_lsn;
            let open = block_bytes(self.writer.payload_bytes() + self.seal_bytes());
            segment.file_bytes.saturating_sub(used + open as u64)
        })
    }

    /// What a block may grow by when it is closed. With keys at hand, those of another time may be in use or come into use.
    fn seal_bytes(&self) -> usize {
        self.keys.as_ref().map_or(0, |_| TAG_BYTES)
    }

    fn fits(&self, need: u64) -> bool {
        self.segment_room() >= need
    }

    /// Whether the current segment is one of the small ones, which are not for events.
    pub(super) fn is_lean(&self) -> bool {
        self.segments
            .get(&self.tail.number)
            .is_some_and(|segment| segment.file_bytes < self.config.segment_bytes)
    }

    /// The next segment: a file, its header and a snapshot, made durable before it gets its name. Everything before
    /// must be synced. For puts the file has full length, or there is an error; without, a spare one will do. An error
    /// of kind Full says that there is no such file and that nothing has changed; any other poisons.
    pub(super) fn roll(&mut self, need: u64, for_puts: bool) -> Result<(), DiskError> {
        if self.lazy && self.tail.durable_lsn < self.tail.lsn {
            self.sync_tail()?;
        }
        let number = self.books.segments().next_back().map_or(0, |(n, _)| n + 1);
        let number = number.max(self.numbers_from);
        let mut books = self.books.clone();
        books.begin_segment(number, self.tail.lsn);
        let mut records = 0_u32;
        // How long the snapshot is shows when it is written; once to count, once to keep.
        let mut size = 0;
        books.snapshot(|record| {
            size += record_bytes(&record);
            records += 1;
        });
        let seal = self.seal_bytes();
        let whole = PAGE_BYTES as u64 + file_bytes(size, self.config.block_bytes, seal) + need;
        let (name, bytes) = self.file_for(whole, for_puts)?;
        self.begin_segment(number, books, records, &name, bytes)
            .map_err(|why| {
                // No room where there must be some: half a segment is there.
                DiskError::new(DiskErrorKind::Other, why.text)
            })
    }

    /// Header and snapshot into a file, and its name.
    fn begin_segment(
        &mut self,
        number: u64,
        mut books: Books,
        records: u32,
        name: &str,
        bytes: u64,
    ) -> Result<(), DiskError> {
        let file = self.disk.open(name)?;
        let mut head = SegmentHead {
            shard: self.shard,
            number,
            salt: self.rng.random(),
            first_lsn: self.tail.lsn,
            chain: self.tail.chain,
            previous_end_lsn: self.tail.lsn,
            durable_lsn: self.tail.durable_lsn,
            first_block: self.tail.block,
            file_bytes: bytes,
            ..SegmentHead::default()
        };
        let cipher = match &self.keys {
            None => None,
            Some(keys) => keys
                .seal(&mut head)
                .map_err(|why| DiskError::new(DiskErrorKind::Other, why.to_string()))?,
        };
        let segment = Segment {
            cipher,
            file: file.clone(),
            name: segment_name(number),
            salt: head.salt,
            first_lsn: head.first_lsn,
            file_bytes: bytes,
        };
        self.disk.write_at(&file, 0, &head.encode())?;
        self.segments.insert(number, segment);
        self.tail.number = number;
        let (mut written, mut done) = (0, Ok(()));
        books.snapshot(|record| {
            // After a failure nothing is written any more: not twice under one nonce, for one.
            if done.is_ok() {
                done = self.make_room(record_bytes(&record), true);
            }
            if done.is_ok() {
                written += 1;
                write_record(self.writer.payload(), &record, written == records);
                self.writer.count(1);
            }
        });
        done?;
        self.close_block(false)?;
        self.disk.sync(&file)?;
        self.disk.rename(name, &segment_name(number))?;
        self.disk.sync_folder()?;
        self.free.retain(|(n, _)| n != name);
        self.tail.durable_lsn = self.tail.lsn;
        books.extend_segment(self.tail.lsn);
        self.books = books;
        self.assigned = self.books.next_event();
        self.collect()
    }

    /// Whether a segment is still part of the log.
    pub fn has_segment(&self, number: u64) -> bool {
        self.segments.contains_key(&number)
    }

    /// A segment that may be read, with its books.
    pub(super) fn segment(&self, number: u64) -> Option<(&Segment<D::File>, SegmentInfo)> {
        Some((self.segments.get(&number)?, self.books.segment(number)?))
    }
}

/// The name of a segment's file.
pub(super) fn segment_name(number: u64) -> String {
    format!("seg-{number:016x}.wal")
}
