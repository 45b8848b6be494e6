//! Blocks: the header, the checksums, and a writer that collects records into one.

use super::cipher::{NONCE_BYTES, PayloadCipher, TAG_BYTES};
use super::codec::{u32_at, u64_at};
use super::{BLOCK_BYTES_MAX, BLOCK_HEAD_BYTES, block_bytes};
use thiserror::Error;

const MAGIC: u32 = u32::from_le_bytes(*b"MRBK");

/// The part of a header that an encrypted payload vouches for: all before the checksum of the payload.
const AUTHENTICATED_BYTES: usize = 52;

/// The payload is encrypted; its checksum is that of the cipher text.
pub const FLAG_ENCRYPTED: u16 = 1;
/// The payload is compressed (zstd), before it is encrypted.
pub const FLAG_COMPRESSED: u16 = 2;
/// The last transaction of this block goes on in the next one.
pub const FLAG_CONTINUES: u16 = 4;
/// The first transaction of this block began in an earlier one: without that, its records are of no use.
pub const FLAG_CONTINUED: u16 = 8;
/// An encrypted block that a repair has put in the place of another one: its nonce is of its own.
pub const FLAG_SCAR: u16 = 16;

/// Why bytes are no block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlockError {
    /// Fewer bytes than a header has.
    #[error("expected {BLOCK_HEAD_BYTES} bytes of a block header, found {0}")]
    Short(usize),
    /// No block begins here, or one of another segment or another life of the file.
    #[error("no block header: {0}")]
    NoHead(&'static str),
    /// The header is right, the payload is not.
    #[error("payload of block {block} at LSN {lsn}: checksum does not match")]
    Payload {
        /// The block's number.
        block: u64,
        /// Where it begins.
        lsn: u64,
    },
    /// A segment is encrypted as a whole or not at all.
    #[error("block {block} at LSN {lsn} is in plain in a segment that is encrypted")]
    Plain {
        /// The block's number.
        block: u64,
        /// Where it begins.
        lsn: u64,
    },
    /// A segment is encrypted as a whole or not at all.
    #[error("block {block} at LSN {lsn} is encrypted in a segment that is in plain")]
    Encrypted {
        /// The block's number.
        block: u64,
        /// Where it begins.
        lsn: u64,
    },
    /// Its checksum is right, but it is not what the segment's key has sealed: somebody has changed it.
    #[error("block {block} at LSN {lsn}: not what was encrypted with the key of its segment")]
    Forged {
        /// The block's number.
        block: u64,
        /// Where it begins.
        lsn: u64,
    },
}

/// The header of a block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockHead {
    /// `FLAG_…`; unknown bits are an error of a newer format.
    pub flags: u16,
    /// Bytes of records, as they are stored.
    pub payload_bytes: u32,
    /// Where the block begins in the log.
    pub lsn: u64,
    /// The end of the last block known to be synced when this one was built.
    pub durable_lsn: u64,
    /// Counts up by one, over segments.
    pub block: u64,
    /// [`BlockHead::chain`] of the block before.
    pub chain: u64,
    /// Records in the payload.
    pub records: u32,
    /// Checksum of the payload.
    pub payload_crc: u32,
}

impl BlockHead {
    /// The header's bytes in a segment of this salt.
    pub fn encode(&self, salt: u64) -> [u8; BLOCK_HEAD_BYTES] {
        let mut out = [0; BLOCK_HEAD_BYTES];
        let total = block_bytes(self.payload_bytes as usize);
        let pad = (total - BLOCK_HEAD_BYTES) as u32 - self.payload_bytes;
        out[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        out[4..6].copy_from_slice(&(BLOCK_HEAD_BYTES as u16).to_le_bytes());
        out[6..8].copy_from_slice(&self.flags.to_le_bytes());
        out[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&pad.to_le_bytes());
        out[16..24].copy_from_slice(&self.lsn.to_le_bytes());
        out[24..32].copy_from_slice(&self.durable_lsn.to_le_bytes());
        out[32..40].copy_from_slice(&self.block.to_le_bytes());
        out[40..48].copy_from_slice(&self.chain.to_le_bytes());
        out[48..52].copy_from_slice(&self.records.to_le_bytes());
        out[52..56].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = head_crc(salt, &out);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header of a segment of this salt.
    ///
    /// # Errors
    /// The bytes are none: too few, another magic, checksum, length or flag.
    pub fn decode(bytes: &[u8], salt: u64) -> Result<Self, BlockError> {
        let Some(head) = bytes.first_chunk::<BLOCK_HEAD_BYTES>() else {
            return Err(BlockError::Short(bytes.len()));
        };
        if u32_at(head, 0) != MAGIC {
            return Err(BlockError::NoHead("other magic"));
        }
        if u32_at(head, 60) != head_crc(salt, head) {
            return Err(BlockError::NoHead("checksum does not match"));
        }
        let flags = u16::from_le_bytes([head[6], head[7]]);
        if u16::from_le_bytes([head[4], head[5]]) as usize != BLOCK_HEAD_BYTES {
            return Err(BlockError::NoHead("other length of the header"));
        }
        if flags & !(FLAG_ENCRYPTED | FLAG_COMPRESSED | FLAG_CONTINUES | FLAG_CONTINUED | FLAG_SCAR) != 0 {
            return Err(BlockError::NoHead("a flag of a newer format"));
        }
        let this = Self {
            flags,
            payload_bytes: u32_at(head, 8),
            lsn: u64_at(head, 16),
            durable_lsn: u64_at(head, 24),
            block: u64_at(head, 32),
            chain: u64_at(head, 40),
            records: u32_at(head, 48),
            payload_crc: u32_at(head, 52),
        };
        let total = block_bytes(this.payload_bytes as usize);
        if total > BLOCK_BYTES_MAX
            || u32_at(head, 12) as usize != total - BLOCK_HEAD_BYTES - this.payload_bytes as usize
        {
            return Err(BlockError::NoHead("other length of the payload"));
        }
        Ok(this)
    }

    /// Bytes of the whole block.
    pub fn total_bytes(&self) -> usize {
        block_bytes(self.payload_bytes as usize)
    }

    /// Where the block ends in the log.
    pub fn end_lsn(&self) -> u64 {
        self.lsn + self.total_bytes() as u64
    }

    /// What the next block's header carries of this one.
    pub fn chain(&self, salt: u64) -> u64 {
        // FNV-1a: 64 bytes a block; against accidents, not against forgers.
        self.encode(salt).iter().fold(0xcbf2_9ce4_8422_2325, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    /// What no other block of its segment has: the low half of the salt, and where the block begins. A scar begins where the
    /// block did that it stands for, so it has the highest bit besides, which no LSN reaches.
    fn nonce(&self, salt: u64) -> [u8; NONCE_BYTES] {
        let scar = u64::from(self.flags & FLAG_SCAR != 0) << 63;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..4].copy_from_slice(&(salt as u32).to_le_bytes());
        nonce[4..].copy_from_slice(&(self.lsn | scar).to_le_bytes());
        nonce
    }

    /// The records of a payload that [`check_payload`](Self::check_payload) has let pass, in plain; none if it is plain
    /// already. `cipher` is that of the segment.
    ///
    /// # Errors
    /// It is encrypted in a plain segment or plain in an encrypted one, or it was changed since it was sealed.
    pub fn open_payload(
        &self,
        salt: u64,
        cipher: Option<&dyn PayloadCipher>,
        payload: &[u8],
    ) -> Result<Option<Vec<u8>>, BlockError> {
        let (block, lsn) = (self.block, self.lsn);
        match (cipher, self.flags & FLAG_ENCRYPTED != 0) {
            (None, false) => Ok(None),
            (Some(_), false) => Err(BlockError::Plain { block, lsn }),
            (None, true) => Err(BlockError::Encrypted { block, lsn }),
            (Some(cipher), true) => {
                let forged = BlockError::Forged { block, lsn };
                let bytes = payload.len().checked_sub(TAG_BYTES).ok_or(forged)?;
                let mut plain = vec![0; bytes];
                let head = self.encode(salt);
                let same = cipher.open(
                    self.nonce(salt),
                    &head[..AUTHENTICATED_BYTES],
                    payload,
                    &mut plain,
                );
                if same { Ok(Some(plain)) } else { Err(forged) }
            }
        }
    }

    /// Whether the payload is the one that the header was made for.
    ///
    /// # Errors
    /// It is not, or it is shorter than the header says.
    pub fn check_payload<'a>(&self, salt: u64, after_head: &'a [u8]) -> Result<&'a [u8], BlockError> {
        let wrong = BlockError::Payload {
            block: self.block,
            lsn: self.lsn,
        };
        let payload = after_head.get(..self.payload_bytes as usize).ok_or(wrong)?;
        if payload_crc(salt, self.lsn, payload) == self.payload_crc {
            Ok(payload)
        } else {
            Err(wrong)
        }
    }
}

fn head_crc(salt: u64, head: &[u8; BLOCK_HEAD_BYTES]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&head[..60]);
    crc.finalize()
}

/// The checksum of a payload at its place in the log.
pub fn payload_crc(salt: u64, lsn: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_le_bytes());
    crc.update(&lsn.to_le_bytes());
    crc.update(payload);
    crc.finalize()
}

/// Collects records and makes a block of them. The buffer is used again for the next one.
#[derive(Debug, Default)]
pub struct BlockWriter {
    buf: Vec<u8>,
    records: u32,
}

impl BlockWriter {
    /// Empty.
    pub fn new() -> Self {
        let mut this = Self::default();
        this.clear();
        this
    }

    /// Forgets what is there, keeps the memory.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.buf.resize(BLOCK_HEAD_BYTES, 0);
        self.records = 0;
    }

    /// Where records are appended, with [`write_record`](super::write_record); say how many with
    /// [`count`](Self::count).
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Counts records that were appended.
    pub fn count(&mut self, records: u32) {
        self.records += records;
    }

    /// Bytes of records so far.
    pub fn payload_bytes(&self) -> usize {
        self.buf.len() - BLOCK_HEAD_BYTES
    }

    /// Whether no record is there.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Completes the block: fills in lengths, checksums and padding. `head` brings flags, LSN, durable LSN, number
    /// and chain. The bytes may be written as they are.
    ///
    /// # Panics
    /// If the payload is longer than a block may be: whoever collects asks [`payload_bytes`](Self::payload_bytes).
    pub fn finish(&mut self, salt: u64, head: BlockHead) -> (BlockHead, &[u8]) {
        self.complete(salt, head, None)
    }

    /// As [`finish`](Self::finish), with the payload encrypted where it stands; it grows by [`TAG_BYTES`].
    ///
    /// # Panics
    /// As [`finish`](Self::finish).
    pub fn finish_sealed(
        &mut self,
        salt: u64,
        head: BlockHead,
        cipher: &dyn PayloadCipher,
    ) -> (BlockHead, &[u8]) {
        self.complete(salt, head, Some(cipher))
    }

    fn complete(
        &mut self,
        salt: u64,
        mut head: BlockHead,
        cipher: Option<&dyn PayloadCipher>,
    ) -> (BlockHead, &[u8]) {
        let payload = self.payload_bytes() + cipher.map_or(0, |_| TAG_BYTES);
        assert!(
            block_bytes(payload) <= BLOCK_BYTES_MAX,
            "a block of {payload} bytes"
        );
        head.payload_bytes = payload as u32;
        head.records = self.records;
        if let Some(cipher) = cipher {
            head.flags |= FLAG_ENCRYPTED;
            let aad = head.encode(salt);
            let records = &mut self.buf[BLOCK_HEAD_BYTES..];
            let tag = cipher.seal(head.nonce(salt), &aad[..AUTHENTICATED_BYTES], records);
            self.buf.extend_from_slice(&tag);
        }
        head.payload_crc = payload_crc(salt, head.lsn, &self.buf[BLOCK_HEAD_BYTES..]);
        self.buf[..BLOCK_HEAD_BYTES].copy_from_slice(&head.encode(salt));
        self.buf.resize(block_bytes(payload), 0);
        (head, &self.buf)
    }
}
