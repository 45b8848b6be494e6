//! Reading: header, blocks, objects.

use super::super::datum::{Datum, is_truncation};
use super::super::fingerprint::crc64;
use super::super::schema::{Schemas, TypeId, brief};
use super::codec::{Codec, Uncompressed};
use super::{
    BLOCK_BYTES, ContainerError, EMPTY_OBJECTS_MAX, HEADER_BYTES_MAX, MAGIC, METADATA_ENTRIES_MAX,
    SCHEMA_BYTES_MAX, SYNC_BYTES,
};
use crate::cursor::DecodeError;
use bytes::{Buf, Bytes, BytesMut};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a block's head at most: two longs.
const BLOCK_HEAD_BYTES_MAX: usize = 20;

/// What a container file says about itself.
#[derive(Debug, Clone)]
pub struct Header {
    /// The schema's text as it stands there.
    pub schema: Arc<str>,
    /// What the blocks went through.
    pub codec: Codec,
    /// What stands behind each block.
    pub sync: [u8; SYNC_BYTES],
    /// Bytes of the header, so where the first block starts.
    pub len: u64,
    metadata: Vec<(String, Bytes)>,
    schemas: Arc<Schemas>,
    of: TypeId,
}

impl Header {
    /// Reads a header at the front of `bytes`, which start the file. None: more bytes are needed.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, ContainerError> {
        let seen = bytes.len().min(MAGIC.len());
        if bytes[..seen] != MAGIC[..seen] {
            return Err(ContainerError::Magic);
        }
        if seen < MAGIC.len() {
            return Ok(None);
        }
        let window = &bytes[..bytes.len().min(HEADER_BYTES_MAX)];
        let mut data = Datum::new(window);
        data.skip(MAGIC.len())?;
        let read = metadata(&mut data).and_then(|metadata| {
            let sync = data.fixed16()?;
            Ok((metadata, sync))
        });
        match read {
            Ok((metadata, sync)) => Self::of(metadata, sync, data.offset() as u64).map(Some),
            Err(ContainerError::Decode(short)) if is_truncation(&short) => {
                if bytes.len() >= HEADER_BYTES_MAX {
                    return Err(too_large(0, "header", bytes.len() as u64, HEADER_BYTES_MAX));
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn of(metadata: Vec<(String, Bytes)>, sync: [u8; SYNC_BYTES], len: u64) -> Result<Self, ContainerError> {
        let find = |key: &str| metadata.iter().find(|(k, _)| k == key).map(|(_, value)| value);
        let text = find("avro.schema").ok_or_else(|| ContainerError::Schema("not there".to_owned()))?;
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(too_large(0, "avro.schema", text.len() as u64, SCHEMA_BYTES_MAX));
        }
        let schema_error = |why: String| ContainerError::Schema(why);
        let text = std::str::from_utf8(text).map_err(|e| schema_error(e.to_string()))?;
        let json = serde_json::from_str(text).map_err(|e| schema_error(e.to_string()))?;
        let mut schemas = Schemas::new();
        let of = schemas.read(&json, "", 0).map_err(schema_error)?;
        let codec = match find("avro.codec") {
            None => Codec::Null,
            Some(name) => {
                let name = String::from_utf8_lossy(name);
                Codec::named(&name).ok_or_else(|| ContainerError::Codec(brief(&name).to_owned()))?
            }
        };
        Ok(Self {
            schema: text.into(),
            codec,
            sync,
            len,
            schemas: Arc::new(schemas),
            of,
            metadata,
        })
    }

    /// A value of the metadata; the last one, if there are several of that name.
    pub fn metadata(&self, key: &str) -> Option<&[u8]> {
        let mut entries = self.metadata.iter().rev();
        entries.find(|(k, _)| k == key).map(|(_, value)| &value[..])
    }

    /// The parsing canonical form of the schema.
    pub fn canonical_schema(&self) -> String {
        self.schemas.canonical(self.of)
    }

    /// The CRC-64-AVRO fingerprint of the canonical form, as Java writes it: the lowest byte first.
    pub fn fingerprint(&self) -> [u8; 8] {
        crc64(self.canonical_schema().as_bytes()).to_le_bytes()
    }
}

fn metadata(data: &mut Datum<'_>) -> Result<Vec<(String, Bytes)>, ContainerError> {
    let mut metadata: Vec<(String, Bytes)> = Vec::new();
    while let Some(block) = data.block(2)? {
        for _ in 0..block.items {
            let key = String::from_utf8_lossy(data.slice()?).into_owned();
            let value = Bytes::copy_from_slice(data.slice()?);
            if metadata.len() >= METADATA_ENTRIES_MAX {
                let found = metadata.len() as u64 + 1;
                return Err(too_large(0, "entries of the header", found, METADATA_ENTRIES_MAX));
            }
            metadata.push((key, value));
        }
    }
    Ok(metadata)
}

/// One block, uncompressed.
#[derive(Debug, Clone)]
pub struct Block {
    /// Where in the file it starts.
    pub start: u64,
    /// Where in the file it ends, marker included: where the next one starts.
    pub end: u64,
    /// Objects in it.
    pub count: u64,
    /// Their bytes, one behind the other.
    pub data: Bytes,
}

/// Finds header and blocks in what is fed.
///
/// Append what was read to a buffer and call [`next_block`](Self::next_block) until it wants more; at the end of the file call
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct ContainerReader {
    header: Option<Header>,
    /// Where in the file the buffer's first byte is.
    at: u64,
    block_bytes_max: usize,
}

impl Default for ContainerReader {
    fn default() -> Self {
        Self::new(BLOCK_BYTES)
    }
}

impl ContainerReader {
    /// At the start of a file; a block may have so many bytes, in the file and uncompressed.
    pub fn new(block_bytes_max: usize) -> Self {
        Self {
            header: None,
            at: 0,
            block_bytes_max,
        }
    }

    /// In the middle of a file, where a block starts.
    pub fn at_block(header: Header, at: u64, block_bytes_max: usize) -> Self {
        Self {
            header: Some(header),
            at,
            block_bytes_max,
        }
    }

    /// The header, once it is there.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Where in the file the next block starts.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Takes the next block out of the buffer (the header goes on the way). None: more bytes are needed.
    pub fn next_block(&mut self, buf: &mut BytesMut) -> Result<Option<Block>, ContainerError> {
        if self.header.is_none() {
            let Some(header) = Header::decode(buf)? else {
                return Ok(None);
            };
            buf.advance(header.len as usize);
            self.at = header.len;
            self.header = Some(header);
        }
        let (Some(header), start) = (&self.header, self.at) else {
            return Ok(None);
        };
        let Some((count, stored)) = self.head(buf)? else {
            return Ok(None);
        };
        if buf.len() < stored.end + SYNC_BYTES {
            return Ok(None);
        }
        if buf[stored.end..stored.end + SYNC_BYTES] != header.sync {
            let offset = start + stored.end as u64;
            return Err(ContainerError::Sync { offset });
        }
        let codec = header.codec;
        let data = match codec {
            Codec::Null => Bytes::copy_from_slice(&buf[stored.clone()]),
            _ => codec
                .uncompress(&buf[stored.clone()], self.block_bytes_max)
                .map_err(|why| self.not_uncompressed(start, codec, why))?
                .into(),
        };
        buf.advance(stored.end + SYNC_BYTES);
        self.at = start + (stored.end + SYNC_BYTES) as u64;
        Ok(Some(Block {
            start,
            end: self.at,
            count,
            data,
        }))
    }

    /// How many bytes the buffer should hold for the next step, as far as is known; bounded by the limits.
    pub fn wanted(&self, buf: &[u8]) -> usize {
        match (&self.header, self.head(buf)) {
            (Some(_), Ok(Some((_, stored)))) => stored.end + SYNC_BYTES,
            _ => buf.len() + 1,
        }
    }

    /// The end of the file: an error if it comes in the middle of something.
    pub fn finish(&self, buf: &[u8]) -> Result<(), ContainerError> {
        let what = match &self.header {
            None => "the header",
            Some(_) if buf.is_empty() => return Ok(()),
            Some(_) => "a block",
        };
        Err(ContainerError::Truncated {
            offset: self.at,
            what,
        })
    }

    /// Count of a block, and where its bytes stand in the buffer.
    fn head(&self, buf: &[u8]) -> Result<Option<(u64, Range<usize>)>, ContainerError> {
        let mut data = Datum::new(&buf[..buf.len().min(BLOCK_HEAD_BYTES_MAX)]);
        let read = data
            .long()
            .and_then(|count| Ok((natural(count)?, natural(data.long()?)?)));
        let (count, bytes) = match read {
            Ok(head) => head,
            Err(short) if is_truncation(&short) => return Ok(None),
            Err(error) => return Err(self.in_file(error).into()),
        };
        if bytes > self.block_bytes_max as u64 {
            return Err(too_large(self.at, "block", bytes, self.block_bytes_max));
        }
        let from = data.offset();
        Ok(Some((count, from..from + bytes as usize)))
    }

    fn in_file(&self, error: DecodeError) -> DecodeError {
        DecodeError {
            offset: self.at as usize + error.offset,
            ..error
        }
    }

    fn not_uncompressed(&self, offset: u64, codec: Codec, why: Uncompressed) -> ContainerError {
        match why {
            Uncompressed::TooLarge => {
                let found = self.block_bytes_max as u64 + 1;
                too_large(offset, "uncompressed block", found, self.block_bytes_max)
            }
            Uncompressed::Broken(why) => ContainerError::Compression {
                offset,
                codec: codec.name(),
                why,
            },
        }
    }
}

fn natural(value: i64) -> Result<u64, DecodeError> {
    u64::try_from(value).map_err(|_| DecodeError {
        offset: 0,
        expected: "a block's count and length of at least 0",
    })
}

fn too_large(offset: u64, what: &'static str, found: u64, allowed: usize) -> ContainerError {
    ContainerError::TooLarge {
        offset,
        what,
        found,
        allowed: allowed as u64,
    }
}

/// The objects of one block, one after the other.
#[derive(Debug)]
pub struct Objects {
    block: Block,
    schemas: Arc<Schemas>,
    of: TypeId,
    at: usize,
    left: u64,
}

impl Objects {
    /// The objects of a block of the file with that header.
    pub fn new(header: &Header, block: Block) -> Result<Self, ContainerError> {
        if header.schemas.takes_no_bytes(header.of) && block.count > EMPTY_OBJECTS_MAX {
            return Err(ContainerError::Count {
                offset: block.start,
                declared: block.count,
                why: "objects of no bytes: at most 1000000 are allowed",
            });
        }
        Ok(Self {
            schemas: header.schemas.clone(),
            of: header.of,
            at: 0,
            left: block.count,
            block,
        })
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Objects that were given already.
    pub fn taken(&self) -> u64 {
        self.block.count - self.left
    }

    /// Objects that are left.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Where in the block's data the next object stands; none at the end.
    pub fn next_object(&mut self) -> Result<Option<Range<usize>>, ContainerError> {
        let wrong = |why| ContainerError::Count {
            offset: self.block.start,
            declared: self.block.count,
            why,
        };
        if self.left == 0 {
            if self.at < self.block.data.len() {
                return Err(wrong("bytes behind them"));
            }
            return Ok(None);
        }
        let mut data = Datum::new(&self.block.data);
        data.skip(self.at)?;
        self.schemas.skip(self.of, &mut data).map_err(|error| {
            if is_truncation(&error) {
                wrong("bytes for fewer")
            } else {
                ContainerError::Schema(format!(
                    "object of the block at byte {}: {error}",
                    self.block.start
                ))
            }
        })?;
        let range = self.at..data.offset();
        self.at = range.end;
        self.left -= 1;
        Ok(Some(range))
    }
}
