//! Reading events back, block by block, in the order of their numbers.
//!
//! A [`Reader`] walks over the segments that still hold live events. It knows nothing of takes: whoever asks leaves out
//! what is gone. It reads ahead by [`WINDOW_BYTES`] and keeps no more than that and one transaction.

use super::books::SegmentInfo;
use super::disk::{Disk, DiskError};
use super::error::ReadError;
use super::log::{Log, Segment};
use bytes::{Bytes, BytesMut};
use proto::journal::{
    BLOCK_HEAD_BYTES, BlockHead, FLAG_CONTINUED, Lane, PAGE_BYTES, Range, Record, Records, block_bytes,
};

/// Bytes that one read asks for.
pub(super) const WINDOW_BYTES: usize = 1 << 20;

/// Events that were put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Their numbers.
    pub events: Range,
    /// The place of the first one in the order of the whole channel.
    pub order: u64,
    /// Their bytes, an event block (see [`proto::event::block`]).
    pub bytes: Bytes,
    /// The batch of a lane that they are, if they came invisible.
    pub prepared: Option<(Lane, u64)>,
}

/// What a walk comes to.
#[derive(Debug)]
pub(super) enum Step {
    /// A block and its payload, in plain.
    Block(BlockHead, Bytes),
    /// Nothing that is a block of this segment at this place, and why.
    Bad(String),
}

/// Walks over the blocks of one file.
#[derive(Debug, Default)]
pub(super) struct Walk {
    window: Bytes,
    /// Where the window begins in the file.
    window_at: u64,
}

impl Walk {
    /// The block that begins at a place of the file. Nothing is kept of what lies behind `end_lsn`: it may be written
    /// later.
    pub fn at<D: Disk>(
        &mut self,
        disk: &D,
        segment: &Segment<D::File>,
        lsn: u64,
        end_lsn: u64,
    ) -> Result<Step, DiskError> {
        let at = PAGE_BYTES as u64 + lsn - segment.first_lsn;
        let most = usize::try_from(end_lsn.saturating_sub(lsn)).unwrap_or(usize::MAX);
        let head = self.bytes(disk, segment, at, BLOCK_HEAD_BYTES, most)?;
        let head = match BlockHead::decode(&head, segment.salt) {
            Ok(head) if head.lsn == lsn => head,
            Ok(head) => return Ok(Step::Bad(format!("a block of LSN {}", head.lsn))),
            Err(why) => return Ok(Step::Bad(why.to_string())),
        };
        let len = BLOCK_HEAD_BYTES + head.payload_bytes as usize;
        let whole = self.bytes(disk, segment, at, len, most)?;
        let Some(after_head) = whole.get(BLOCK_HEAD_BYTES..) else {
            return Ok(Step::Bad("the file ends".to_owned()));
        };
        let cipher = segment.cipher.as_deref();
        let opened = head
            .check_payload(segment.salt, after_head)
            .and_then(|payload| head.open_payload(segment.salt, cipher, payload));
        Ok(match opened {
            Ok(None) => Step::Block(head, whole.slice(BLOCK_HEAD_BYTES..)),
            Ok(Some(plain)) => Step::Block(head, plain.into()),
            Err(why) => Step::Bad(why.to_string()),
        })
    }

    /// Bytes of the file, fewer at its end; read again only when the window does not have them.
    fn bytes<D: Disk>(
        &mut self,
        disk: &D,
        segment: &Segment<D::File>,
        at: u64,
        len: usize,
        most: usize,
    ) -> Result<Bytes, DiskError> {
        let inside = at.checked_sub(self.window_at).map(|skip| skip as usize);
        if let Some(skip) = inside.filter(|skip| skip + len <= self.window.len()) {
            return Ok(self.window.slice(skip..skip + len));
        }
        let mut window = BytesMut::zeroed(len.max(WINDOW_BYTES).min(most));
        let read = disk.read_at(&segment.file, at, &mut window)?;
        window.truncate(read);
        (self.window, self.window_at) = (window.freeze(), at);
        Ok(self.window.slice(..len.min(read)))
    }
}

/// Puts together the transactions of consecutive payloads.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Payload whose transaction has not ended yet.
    open: Vec<u8>,
}

impl Assembly {
    /// Hands out every record of the transactions that end in this payload, each with its events' bytes if it is one
    /// that has some. What does not end stays for the next payload.
    ///
    /// # Errors
    /// A record cannot be read: written by a newer version, or by a mistake of ours.
    pub fn add(
        &mut self,
        head: &BlockHead,
        payload: &Bytes,
        mut each: impl FnMut(&Record<'_>, Option<Bytes>),
    ) -> Result<(), String> {
        let continued = head.flags & FLAG_CONTINUED != 0;
        let mut headless = continued && self.open.is_empty();
        let whole = if self.open.is_empty() {
            payload.clone()
        } else {
            self.open.extend_from_slice(payload);
            Bytes::from(std::mem::take(&mut self.open))
        };
        let (mut transaction, mut done) = (Vec::new(), 0);
        let mut records = Records::new(&whole);
        while let Some(read) = records.next() {
            let (record, end) = read.map_err(|e| e.to_string())?;
            transaction.push(record);
            if end && std::mem::take(&mut headless) {
                // Its beginning is lost to damage, and with it the transaction.
                transaction.clear();
                done = whole.len() - records.left();
            } else if end {
                let mut parts: Vec<&[u8]> = Vec::new();
                for record in transaction.drain(..) {
                    match &record {
                        Record::Part { bytes } => parts.push(bytes),
                        Record::Put { events, .. } | Record::Prepared { events, .. } => {
                            let bytes = if parts.is_empty() {
                                whole.slice_ref(events)
                            } else {
                                parts.push(events);
                                let joined = parts.concat();
                                parts.clear();
                                joined.into()
                            };
                            each(&record, Some(bytes));
                        }
                        _ => each(&record, None),
                    }
                }
                done = whole.len() - records.left();
            }
        }
        if headless {
            self.open.clear();
        } else {
            self.open = whole[done..].to_vec();
        }
        Ok(())
    }

    /// Forgets what has not ended: it never will.
    pub fn clear(&mut self) {
        self.open.clear();
    }
}

/// Reads events from a log.
#[derive(Debug, Default)]
pub struct Reader {
    walk: Walk,
    assembly: Assembly,
    /// The segment and LSN of the next block.
    at: Option<(u64, u64)>,
}

impl Reader {
    /// At the oldest live event.
    pub fn new() -> Self {
        Self::default()
    }

    /// The events of the next block that has some; none when all that is committed has been read.
    ///
    /// # Errors
    /// The disk's, or damage: what was acknowledged cannot be read any more.
    pub fn next<D: Disk>(&mut self, log: &Log<D>) -> Result<Option<Vec<Chunk>>, ReadError> {
        loop {
            let Some((number, lsn)) = self.place(log) else {
                return Ok(None);
            };
            let Some((segment, info)) = log.segment(number) else {
                return Ok(None);
            };
            let chunks = self.block(&log.disk, segment, (number, lsn), info.end_lsn)?;
            if !chunks.is_empty() {
                return Ok(Some(chunks));
            }
        }
    }

    /// Leaves for the segment that is next, up to where it is committed now; comes back if all has been read.
    ///
    /// # Errors
    /// Nothing is left to read: here is the reader again.
    pub fn leave<D: Disk + Clone>(mut self, log: &Log<D>) -> Result<Reading<D>, Self> {
        let place = self
            .place(log)
            .and_then(|(number, _)| Some((number, log.segment(number)?)));
        let Some((number, (segment, info))) = place else {
            return Err(self);
        };
        Ok(Reading {
            disk: log.disk.clone(),
            segment: segment.clone(),
            number,
            end_lsn: info.end_lsn,
            reader: self,
        })
    }

    /// The events of the block at a place.
    fn block<D: Disk>(
        &mut self,
        disk: &D,
        segment: &Segment<D::File>,
        (number, lsn): (u64, u64),
        end_lsn: u64,
    ) -> Result<Vec<Chunk>, ReadError> {
        let (head, payload) = match self.walk.at(disk, segment, lsn, end_lsn)? {
            Step::Block(head, payload) => (head, payload),
            Step::Bad(why) => return Err(damaged(disk, segment, (number, lsn), end_lsn, why)?),
        };
        let mut chunks = Vec::new();
        let read = self.assembly.add(&head, &payload, |record, bytes| {
            chunks.extend(chunk(record, bytes))
        });
        if let Err(why) = read {
            return Err(damaged(disk, segment, (number, lsn), end_lsn, why)?);
        }
        self.at = Some((number, head.end_lsn()));
        Ok(chunks)
    }

    /// Goes on behind damage that [`next`](Self::next) has reported.
    pub fn skip(&mut self, number: u64, end_lsn: u64) {
        self.at = Some((number, end_lsn));
        self.assembly.clear();
        self.walk = Walk::default();
    }

    /// Where the next block is: on in the segment, else at the start of the next one.
    fn place<D: Disk>(&mut self, log: &Log<D>) -> Option<(u64, u64)> {
        if let Some((number, lsn)) = self.at
            && let Some((_, SegmentInfo { end_lsn, .. })) = log.segment(number)
            && lsn < end_lsn
        {
            return Some((number, lsn));
        }
        let after = self.at.map_or(0, |(number, _)| number + 1);
        let mut left = log.books().segments();
        let (number, info) = left.find(|(n, info)| *n >= after && info.end_lsn > info.first_lsn)?;
        self.skip(number, info.first_lsn);
        self.at
    }
}

/// A reader on its way through one segment, away from the log; see [`Reader::leave`].
///
/// The segment may die meanwhile, when all that is left in it was taken before, and its file be written anew: then what
/// is found there looks like damage. Whoever has the log asks [`Log::has_segment`] before believing it.
pub struct Reading<D: Disk> {
    disk: D,
    segment: Segment<D::File>,
    number: u64,
    /// Up to where it was committed.
    end_lsn: u64,
    reader: Reader,
}

impl<D: Disk> Reading<D> {
    /// The segment.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// As [`Reader::next`]; none at the end of what was committed in this segment.
    ///
    /// # Errors
    /// As there.
    pub fn next_chunks(&mut self) -> Result<Option<Vec<Chunk>>, ReadError> {
        while let Some((number, lsn)) = self.reader.at.filter(|(_, lsn)| *lsn < self.end_lsn) {
            let chunks = self
                .reader
                .block(&self.disk, &self.segment, (number, lsn), self.end_lsn)?;
            if !chunks.is_empty() {
                return Ok(Some(chunks));
            }
        }
        Ok(None)
    }

    /// Has the disk itself asked once more, for when there was damage: what the system keeps in memory may be stale.
    ///
    /// # Errors
    /// The disk's.
    pub fn ask_again(&mut self) -> Result<(), DiskError> {
        self.reader.walk = Walk::default();
        self.disk.reread(&self.segment.file)
    }

    /// The reader, back at the log.
    pub fn arrive(self) -> Reader {
        self.reader
    }
}

pub(super) fn chunk(record: &Record<'_>, bytes: Option<Bytes>) -> Option<Chunk> {
    let (first, count, order, prepared) = match record {
        Record::Put {
            first, count, order, ..
        } => (*first, *count, *order, None),
        Record::Prepared {
            first,
            count,
            order,
            lane,
            seq,
            ..
        } => (*first, *count, *order, Some((*lane, *seq))),
        _ => return None,
    };
    Some(Chunk {
        events: Range {
            start: first,
            end: first + u64::from(count),
        },
        order,
        bytes: bytes?,
        prepared,
    })
}

/// How far the damage reaches.
fn damaged<D: Disk>(
    disk: &D,
    segment: &Segment<D::File>,
    (number, start_lsn): (u64, u64),
    end_lsn: u64,
    why: String,
) -> Result<ReadError, DiskError> {
    let next = next_readable(disk, segment, start_lsn)?;
    Ok(ReadError::Damaged {
        name: segment.name.clone(),
        number,
        start_lsn,
        end_lsn: next.unwrap_or(end_lsn).min(end_lsn),
        why,
    })
}

/// The next place behind damage where a whole block is.
pub(super) fn next_readable<D: Disk>(
    disk: &D,
    segment: &Segment<D::File>,
    from: u64,
) -> Result<Option<u64>, DiskError> {
    let mut walk = Walk::default();
    let mut candidates = Vec::new();
    scan(disk, segment, from, |head| {
        candidates.push(head.lsn);
        false
    })?;
    for lsn in candidates {
        if matches!(walk.at(disk, segment, lsn, u64::MAX)?, Step::Block(..)) {
            return Ok(Some(lsn));
        }
    }
    Ok(None)
}

/// Shows every readable header of a block behind `from`, page by page, until one is enough.
pub(super) fn scan<D: Disk>(
    disk: &D,
    segment: &Segment<D::File>,
    from: u64,
    mut enough: impl FnMut(&BlockHead) -> bool,
) -> Result<(), DiskError> {
    let mut lsn = next_page(from);
    let mut buf = vec![0; WINDOW_BYTES];
    loop {
        let at = PAGE_BYTES as u64 + lsn - segment.first_lsn;
        let read = disk.read_at(&segment.file, at, &mut buf)?;
        if read == 0 {
            return Ok(());
        }
        for (n, page) in buf[..read].chunks(PAGE_BYTES).enumerate() {
            let here = lsn + (n * PAGE_BYTES) as u64;
            if let Ok(head) = BlockHead::decode(page, segment.salt)
                && head.lsn == here
                && enough(&head)
            {
                return Ok(());
            }
        }
        lsn += WINDOW_BYTES as u64;
    }
}

/// Where a block of so many payload bytes would end.
fn next_page(lsn: u64) -> u64 {
    lsn + block_bytes(0) as u64
}
