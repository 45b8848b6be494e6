//! Writing: a header, then blocks. The caller decides when a block ends; see [`ContainerWriter::is_due`].

use super::super::datum::put_long;
use super::{Codec, MAGIC, SYNC_BYTES};
use bytes::BytesMut;

/// Makes container files: the bytes of a header, and of blocks.
#[derive(Debug)]
pub struct ContainerWriter {
    schema: String,
    codec: Codec,
    sync: [u8; SYNC_BYTES],
    /// Bytes of objects after which a block is due.
    sync_interval_bytes: usize,
    block: BytesMut,
    count: u64,
}

impl ContainerWriter {
    /// Files of this schema (the text of it), with this marker behind each block. A block is due after
    /// `sync_interval_bytes` uncompressed bytes.
    pub fn new(schema: &str, codec: Codec, sync: [u8; SYNC_BYTES], sync_interval_bytes: usize) -> Self {
        Self {
            schema: schema.to_owned(),
            codec,
            sync,
            sync_interval_bytes,
            block: BytesMut::new(),
            count: 0,
        }
    }

    /// Appends a header with further metadata. Like Java's, it does not mention the codec `null`.
    pub fn header(&self, metadata: &[(&str, &[u8])], out: &mut Vec<u8>) {
        let codec = (self.codec != Codec::Null).then_some(("avro.codec", self.codec.name().as_bytes()));
        let all: Vec<(&str, &[u8])> = [("avro.schema", self.schema.as_bytes())]
            .into_iter()
            .chain(codec)
            .chain(metadata.iter().copied())
            .collect();
        let mut map = BytesMut::new();
        put_long(&mut map, all.len() as i64);
        for (key, value) in all {
            put_long(&mut map, key.len() as i64);
            map.extend_from_slice(key.as_bytes());
            put_long(&mut map, value.len() as i64);
            map.extend_from_slice(value);
        }
        put_long(&mut map, 0);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&map);
        out.extend_from_slice(&self.sync);
    }

    /// Adds an object to the block under way; `encode` appends its bytes.
    pub fn push(&mut self, encode: impl FnOnce(&mut BytesMut)) {
        encode(&mut self.block);
        self.count += 1;
    }

    /// Whether the block under way is long enough.
    pub fn is_due(&self) -> bool {
        self.block.len() >= self.sync_interval_bytes
    }

    /// Ends the block under way and appends it; nothing if it has no object.
    pub fn end_block(&mut self, out: &mut Vec<u8>) {
        if self.count == 0 {
            return;
        }
        let mut packed = Vec::new();
        let data: &[u8] = match self.codec {
            Codec::Null => &self.block,
            codec => {
                codec.compress(&self.block, &mut packed);
                &packed
            }
        };
        let mut head = BytesMut::new();
        put_long(&mut head, self.count as i64);
        put_long(&mut head, data.len() as i64);
        out.extend_from_slice(&head);
        out.extend_from_slice(data);
        out.extend_from_slice(&self.sync);
        self.abandon();
    }

    /// Forgets the block under way.
    pub fn abandon(&mut self) {
        self.block.clear();
        self.count = 0;
        // One large block is no reason to keep so much for ever.
        if self.block.capacity() > 4 * self.sync_interval_bytes.max(1 << 20) {
            self.block = BytesMut::new();
        }
    }
}
