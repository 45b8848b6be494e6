//! The records of a data file that comes piece by piece, its end, and its damage.
//!
//! Where no record begins there are three answers. Nothing but filling follows: the end. The start of a record and then
//! filling, or the end of the file within it: Flume was killed while it wrote, a torn end; what was never written whole was
//! never committed. Anything else is damage, and the next place where a whole record stands is looked for. A record whose
//! length leads to another one is passed over alone.

use super::record::{self, Body, FRAME_BYTES, Kind, OP_END, OP_NOOP, OP_RECORD, Record};
use super::{HEAD_V2_BYTES, Pointer, Version};
use crate::cursor::find_byte;

/// What makes plain payloads of those in an encrypted file.
pub type Decrypt<'a> = Option<&'a dyn Fn(&mut [u8])>;

/// A record in short: what deciding needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The transaction that it belongs to.
    pub transaction: i64,
    /// Its place in the order of all writes of the channel.
    pub order: i64,
    /// What happened.
    pub what: What,
}

/// What a record says, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// An event came in.
    Put {
        /// Its body is the one that the checksum was made for.
        is_intact: bool,
    },
    /// The event that was put there went out.
    Take(Pointer),
    /// The transaction never happened.
    Rollback,
    /// The transaction happened.
    Commit(Kind),
}

impl Entry {
    /// What the records of several files are sorted by. Flume 1.2 could give one order twice; then its transaction, and
    /// in there what comes before its end, decide.
    pub fn key(&self) -> (i64, i64, u8) {
        let rank = match self.what {
            What::Take(_) => 0,
            What::Put { .. } => 1,
            What::Rollback => 2,
            What::Commit(_) => 3,
        };
        (self.order, self.transaction, rank)
    }
}

impl From<Record<'_>> for Entry {
    fn from(record: Record<'_>) -> Self {
        let what = match record.body {
            Body::Put(put) => What::Put {
                is_intact: put.is_intact(),
            },
            Body::Take(pointer) => What::Take(pointer),
            Body::Rollback => What::Rollback,
            Body::Commit(kind) => What::Commit(kind),
        };
        Self {
            transaction: record.transaction,
            order: record.order,
            what,
        }
    }
}

/// A part of a file in which no record can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What is wrong at its start.
    pub why: String,
}

/// How a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Behind its last record.
    pub offset: u64,
    /// Bytes of a record that was never written whole.
    pub torn_bytes: u64,
}

/// What comes next in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed; [`Scan::end`] if there are none.
    More,
    /// A record.
    Entry {
        /// Of its op byte.
        offset: u64,
        /// What it says.
        entry: Entry,
    },
    /// Damage was passed over.
    Damage(Damage),
    /// No more records.
    End(End),
}

/// Reads the records of one file from its start.
#[derive(Debug)]
pub struct Scan {
    version: Version,
    buf: Vec<u8>,
    /// Where the next record begins, in `buf`.
    at: usize,
    /// Where `buf` begins in the file.
    base: u64,
    has_ended: bool,
    /// What could not be read and is not over yet.
    bad: Option<Bad>,
    /// Payloads in plain.
    plain: Vec<u8>,
}

#[derive(Debug)]
struct Bad {
    from: u64,
    why: String,
    /// Where its record should end, as far as that can be told.
    declared_end: Option<u64>,
    /// Its record ends with filling.
    is_torn: bool,
    /// Behind the last byte that is no filling.
    used_end: u64,
}

enum Found {
    More,
    /// A whole record of so many bytes, readable.
    Record(usize, Entry),
    /// A record that was disabled.
    Noop(usize),
    /// A record whose length is right, and what is in it is not.
    Unreadable(usize, String),
    Bad(String, Option<u64>),
}

impl Scan {
    /// At the start of a file of this version; what is fed begins at [`offset`](Self::offset).
    pub fn new(version: Version) -> Self {
        let base = match version {
            Version::V2 => HEAD_V2_BYTES as u64,
            Version::V3 => 0,
        };
        Self {
            version,
            buf: Vec::new(),
            at: 0,
            base,
            has_ended: false,
            bad: None,
            plain: Vec::new(),
        }
    }

    /// Where in the file the next byte that is fed must come from.
    pub fn offset(&self) -> u64 {
        self.base + self.buf.len() as u64
    }

    /// Takes the next bytes of the file.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buf.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        self.buf.extend_from_slice(bytes);
    }

    /// The file has no more bytes.
    pub fn end(&mut self) {
        self.has_ended = true;
    }

    /// What comes next.
    pub fn step(&mut self, decrypt: Decrypt<'_>) -> Step {
        loop {
            if self.bad.is_some() {
                match self.find_on(decrypt) {
                    Some(step) => return step,
                    None => continue,
                }
            }
            let offset = self.base + self.at as u64;
            match self.look(self.at, decrypt) {
                Found::More => return Step::More,
                Found::Record(bytes, entry) => {
                    self.at += bytes;
                    return Step::Entry { offset, entry };
                }
                Found::Noop(bytes) => self.at += bytes,
                Found::Unreadable(bytes, why) => match self.leads_on(bytes, decrypt) {
                    None => return Step::More,
                    Some(true) => {
                        self.at += bytes;
                        let bytes = bytes as u64;
                        return Step::Damage(Damage { offset, bytes, why });
                    }
                    Some(false) => {
                        self.begin_bad(why, Some(offset + bytes as u64));
                        let is_torn = self.ends_with_filling(bytes);
                        self.bad.iter_mut().for_each(|bad| bad.is_torn = is_torn);
                    }
                },
                Found::Bad(why, declared_end) => self.begin_bad(why, declared_end),
            }
        }
    }

    fn begin_bad(&mut self, why: String, declared_end: Option<u64>) {
        let from = self.base + self.at as u64;
        self.bad = Some(Bad {
            from,
            why,
            declared_end,
            is_torn: false,
            used_end: from,
        });
    }

    /// What stands at a place of the buffer.
    fn look(&mut self, at: usize, decrypt: Decrypt<'_>) -> Found {
        let rest = &self.buf[at..];
        let Some(op) = rest.first() else {
            // The end of the file is an end, and no damage.
            return if self.has_ended {
                Found::Bad(String::new(), None)
            } else {
                Found::More
            };
        };
        if *op == OP_END {
            return Found::Bad("filling, with something behind it".to_owned(), None);
        }
        let bytes = match record::record_bytes(self.version, rest) {
            Ok(Some(bytes)) => bytes,
            Ok(None) if self.has_ended => {
                return Found::Bad("the file ends within a record".to_owned(), None);
            }
            Ok(None) => return Found::More,
            Err(why) => return Found::Bad(why.to_owned(), None),
        };
        let end = Some(self.base + (at + bytes) as u64);
        let is_noop = *op == OP_NOOP;
        let from = 1 + record::length_bytes(self.version);
        if !is_noop {
            match self.looks_right(at + from, decrypt) {
                Some(true) => {}
                Some(false) => return Found::Bad("a record without its header".to_owned(), end),
                None if self.has_ended => return Found::Bad("the file ends within a record".to_owned(), end),
                None => return Found::More,
            }
        }
        let Some(whole) = self.buf[at..].get(..bytes) else {
            return if self.has_ended {
                Found::Bad("the file ends within a record".to_owned(), end)
            } else {
                Found::More
            };
        };
        if is_noop {
            return Found::Noop(bytes);
        }
        let payload = match decrypt {
            None => &whole[from..],
            Some(decrypt) => {
                self.plain.clear();
                self.plain.extend_from_slice(&whole[from..]);
                decrypt(&mut self.plain);
                &self.plain
            }
        };
        match record::record(self.version, payload) {
            Ok(record) => Found::Record(bytes, record.into()),
            Err(why) => Found::Unreadable(bytes, format!("a record that cannot be read: {why}")),
        }
    }

    /// Whether a payload can begin here; none if there are too few bytes to tell.
    fn looks_right(&self, at: usize, decrypt: Decrypt<'_>) -> Option<bool> {
        let mut head = [0; 7];
        let there = self.buf.get(at..).unwrap_or_default();
        let there = &there[..there.len().min(head.len())];
        head[..there.len()].copy_from_slice(there);
        if let Some(decrypt) = decrypt {
            decrypt(&mut head[..there.len()]);
        }
        record::looks_right(self.version, &head[..there.len()])
    }

    /// Whether another record, or the end, stands behind an unreadable one of so many bytes, which then was written whole.
    fn leads_on(&mut self, bytes: usize, decrypt: Decrypt<'_>) -> Option<bool> {
        if self.ends_with_filling(bytes) {
            return Some(false);
        }
        let end = self.at + bytes;
        match self.buf.get(end) {
            None => self.has_ended.then_some(true),
            Some(&OP_END) => Some(true),
            Some(_) => match self.look(end, decrypt) {
                // All of it must be there: what is said must not depend on how the file came in pieces.
                Found::More => None,
                Found::Record(..) | Found::Noop(_) | Found::Unreadable(..) => Some(true),
                Found::Bad(..) => Some(false),
            },
        }
    }

    /// Whether the record of so many bytes was not written to its end: that would be the footer, 0.
    fn ends_with_filling(&self, bytes: usize) -> bool {
        let end = self.at + bytes;
        let tail = &self.buf[end.saturating_sub(TORN_BYTES).max(self.at)..end];
        tail.last() == Some(&OP_END) || tail.iter().all(|b| *b == 0)
    }

    /// Looks for the next whole record behind what cannot be read.
    fn find_on(&mut self, decrypt: Decrypt<'_>) -> Option<Step> {
        let mut bad = self.bad.take()?;
        loop {
            let begin = self.base + self.at as u64;
            // Not at the bad place itself.
            let first = usize::from(begin == bad.from);
            let rest = self.buf.get(self.at + first..).unwrap_or_default();
            let next = find_byte(OP_RECORD, rest).map(|n| self.at + first + n);
            let passed = &self.buf[self.at..next.unwrap_or(self.buf.len())];
            if let Some(last) = passed.iter().rposition(|b| *b != OP_END && *b != 0) {
                bad.used_end = begin + last as u64 + 1;
            }
            self.at += passed.len();
            if next.is_none() {
                if self.has_ended {
                    return Some(self.finish(bad));
                }
                self.bad = Some(bad);
                return Some(Step::More);
            }
            match self.look(self.at, decrypt) {
                Found::More => {
                    self.bad = Some(bad);
                    return Some(Step::More);
                }
                Found::Record(..) => {
                    let bytes = self.base + self.at as u64 - bad.from;
                    let (offset, why) = (bad.from, bad.why);
                    return Some(Step::Damage(Damage { offset, bytes, why }));
                }
                _ => {
                    self.at += 1;
                    bad.used_end = self.base + self.at as u64;
                }
            }
        }
    }

    /// No record follows: a clean end, a torn one, or damage up to the end.
    fn finish(&mut self, bad: Bad) -> Step {
        let end = self.offset();
        let used = bad.used_end - bad.from;
        let torn = bad.is_torn
            || match bad.declared_end {
                Some(declared) => declared > end || bad.used_end + TORN_BYTES as u64 <= declared,
                None => used <= FRAME_BYTES as u64,
            };
        if used > 0 && !torn {
            // The rest is read as an end then.
            self.at = self.buf.len();
            let Bad { from, why, .. } = bad;
            return Step::Damage(Damage {
                offset: from,
                bytes: used,
                why,
            });
        }
        let (offset, torn_bytes) = (bad.from, used);
        self.bad = Some(bad);
        Step::End(End { offset, torn_bytes })
    }
}

/// No whole record ends with so many bytes of filling or zeroes: a put ends with the tag of its checksum, its eight bytes
/// and the footer.
const TORN_BYTES: usize = 10;
