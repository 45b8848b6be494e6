//! The first page of a segment, and the page `META` that says whose folder it is.
//!
//! ```text
//!  segment header                                META
//!      0   8  magic "MRSEGMNT"                       0   8  magic "MRCHANEL"
//!      8   4  format                                 8   4  format
//!     12   4  0                                     12   4  length of the channel's name
//!     16  16  shard uuid                            16  16  shard uuid
//!     32   8  segment number                        32  16  channel uuid
//!     40   8  salt                                  48   4  number of this shard
//!     48   8  first LSN                             52   4  number of shards
//!     56   8  chain of the block before             56      the channel's name (information only)
//!     64   8  end LSN of the segment before       4092   4  CRC-32 of what is before
//!     72   8  durable LSN
//!     80   8  number of the first block
//!     88   8  bytes of the file
//!     96   2  length of the key's name, 0: plain
//!     98   2  length of the wrapped key
//!    100      the key's name, the wrapped key
//!   4092   4  CRC-32 of what is before
//! ```

use super::codec::{u32_at, u64_at};
use super::{FORMAT, PAGE_BYTES};
use thiserror::Error;

const SEGMENT_MAGIC: &[u8; 8] = b"MRSEGMNT";
const META_MAGIC: &[u8; 8] = b"MRCHANEL";
const CRC_AT: usize = PAGE_BYTES - 4;
/// Where names begin.
const KEY_AT: usize = 100;
const NAME_AT: usize = 56;

/// Why a page is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PageError {
    /// Fewer bytes than a page.
    #[error("expected a page of {PAGE_BYTES} bytes, found {0}")]
    Short(usize),
    /// Another program's file.
    #[error("not a file of a Millrace channel: it begins with {0:02x?}")]
    Foreign([u8; 8]),
    /// A later version wrote it.
    #[error("format {0} is newer than {FORMAT}, the newest that this version reads")]
    Newer(u32),
    /// A checksum does not match, or a length is impossible.
    #[error("damaged: {0}")]
    Damaged(&'static str),
}

/// The first page of a segment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentHead {
    /// Which shard it belongs to.
    pub shard: [u8; 16],
    /// Counts up; also in the name of the file.
    pub number: u64,
    /// Random; seeds the checksums of its blocks.
    pub salt: u64,
    /// LSN of its first block.
    pub first_lsn: u64,
    /// Chain of the block before its first.
    pub chain: u64,
    /// Where the segment before ends: what stands there beyond is not part of the log.
    pub previous_end_lsn: u64,
    /// As in blocks.
    pub durable_lsn: u64,
    /// Number of its first block.
    pub first_block: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Which key wraps [`wrapped_key`](Self::wrapped_key); empty if payloads are plain.
    pub key_id: Vec<u8>,
    /// The random key of this segment, encrypted.
    pub wrapped_key: Vec<u8>,
}

impl SegmentHead {
    /// The page.
    ///
    /// # Panics
    /// If the key's name and the wrapped key do not fit: together 3,992 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = start(SEGMENT_MAGIC);
        page[16..32].copy_from_slice(&self.shard);
        let numbers = [
            self.number,
            self.salt,
            self.first_lsn,
            self.chain,
            self.previous_end_lsn,
            self.durable_lsn,
            self.first_block,
            self.file_bytes,
        ];
        for (n, number) in numbers.into_iter().enumerate() {
            page[32 + n * 8..40 + n * 8].copy_from_slice(&number.to_le_bytes());
        }
        page[96..98].copy_from_slice(&(self.key_id.len() as u16).to_le_bytes());
        page[98..100].copy_from_slice(&(self.wrapped_key.len() as u16).to_le_bytes());
        let key_end = KEY_AT + self.key_id.len();
        page[KEY_AT..key_end].copy_from_slice(&self.key_id);
        page[key_end..key_end + self.wrapped_key.len()].copy_from_slice(&self.wrapped_key);
        seal(&mut page);
        page
    }

    /// Whether payloads are encrypted.
    pub fn is_encrypted(&self) -> bool {
        !self.key_id.is_empty()
    }

    /// What its key is bound to, so that it serves no other segment: shard, number, salt, first LSN, and the name of
    /// the key that wraps it.
    pub fn key_context(&self) -> Vec<u8> {
        let mut out = self.shard.to_vec();
        for number in [self.number, self.salt, self.first_lsn] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.key_id);
        out
    }

    /// Reads the page.
    ///
    /// # Errors
    /// It is no segment's, a newer format's, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let page = open(bytes, SEGMENT_MAGIC)?;
        let number = |n: usize| u64_at(page, 32 + n * 8);
        let length = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
        let (key, wrapped) = (length(96), length(98));
        if KEY_AT + key + wrapped > CRC_AT {
            return Err(PageError::Damaged("the key is longer than the page"));
        }
        let mut shard = [0; 16];
        shard.copy_from_slice(&page[16..32]);
        Ok(Self {
            shard,
            number: number(0),
            salt: number(1),
            first_lsn: number(2),
            chain: number(3),
            previous_end_lsn: number(4),
            durable_lsn: number(5),
            first_block: number(6),
            file_bytes: number(7),
            key_id: page[KEY_AT..KEY_AT + key].to_vec(),
            wrapped_key: page[KEY_AT + key..KEY_AT + key + wrapped].to_vec(),
        })
    }
}

/// Whose folder it is; written once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetaPage {
    /// Of this folder.
    pub shard: [u8; 16],
    /// Of the channel that all its shards share.
    pub channel: [u8; 16],
    /// Which shard this is, from 0.
    pub shard_number: u32,
    /// How many there are.
    pub shards: u32,
    /// The channel's name when the folder was made; a renamed channel keeps its events.
    pub name: String,
}

impl MetaPage {
    /// The page. A name that is too long is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut page = start(META_MAGIC);
        let name = &self.name[..self.name.floor_char_boundary(CRC_AT - NAME_AT)];
        page[12..16].copy_from_slice(&(name.len() as u32).to_le_bytes());
        page[16..32].copy_from_slice(&self.shard);
        page[32..48].copy_from_slice(&self.channel);
        page[48..52].copy_from_slice(&self.shard_number.to_le_bytes());
        page[52..56].copy_from_slice(&self.shards.to_le_bytes());
        page[NAME_AT..NAME_AT + name.len()].copy_from_slice(name.as_bytes());
        seal(&mut page);
        page
    }

    /// Reads the page.
    ///
    /// # Errors
    /// It is another program's, a newer format's, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let page = open(bytes, META_MAGIC)?;
        let length = u32_at(page, 12) as usize;
        if length > CRC_AT - NAME_AT {
            return Err(PageError::Damaged("the name is longer than the page"));
        }
        let name = std::str::from_utf8(&page[NAME_AT..NAME_AT + length])
            .map_err(|_| PageError::Damaged("the name is not UTF-8"))?;
        let (mut shard, mut channel) = ([0; 16], [0; 16]);
        shard.copy_from_slice(&page[16..32]);
        channel.copy_from_slice(&page[32..48]);
        Ok(Self {
            shard,
            channel,
            shard_number: u32_at(page, 48),
            shards: u32_at(page, 52),
            name: name.to_owned(),
        })
    }
}

fn start(magic: &[u8; 8]) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    page[..8].copy_from_slice(magic);
    page[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    page
}

fn seal(page: &mut [u8]) {
    let crc = crc32fast::hash(&page[..CRC_AT]);
    page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

fn open<'a>(bytes: &'a [u8], magic: &[u8; 8]) -> Result<&'a [u8; PAGE_BYTES], PageError> {
    let Some(page) = bytes.first_chunk::<PAGE_BYTES>() else {
        return Err(PageError::Short(bytes.len()));
    };
    let mut begins = [0; 8];
    begins.copy_from_slice(&page[..8]);
    if begins != *magic {
        return Err(PageError::Foreign(begins));
    }
    // Before the checksum, whose place a newer format may have moved.
    let format = u32_at(page, 8);
    if format > FORMAT {
        return Err(PageError::Newer(format));
    }
    if u32_at(page, CRC_AT) != crc32fast::hash(&page[..CRC_AT]) {
        return Err(PageError::Damaged("checksum does not match"));
    }
    Ok(page)
}
