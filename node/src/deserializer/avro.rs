//! `AVRO`: each object of an Avro container file as an event, Flume's AvroEventDeserializer.
//!
//! The body is the object's bytes, as they stand in the (uncompressed) block; the header
//! `flume.avro.schema.hash` has the CRC-64-AVRO fingerprint of the schema in hexadecimal digits, the lowest byte
//! first, or `flume.avro.schema.literal` the schema's text. A place is Flume's, the sync marker before a block,
//! and the number of objects of that block that were read: so nothing is read twice where Flume goes back to the
//! last marker. Reading is by blocks; one block is in memory, as it stands in the file and uncompressed.
//!
//! | failure | what happens |
//! |---|---|
//! | no container file, a broken block, a schema or codec that is not understood | an error; what stands before is returned first |
//! | a block over `maxBlockBytes`, in the file or uncompressed | the same |
//! | a place in the middle of a block (a foreign tracker) | reading goes on at the next marker, as in Flume |
//!
//! A container without objects has no events (Flume makes one with an empty body).
//! Source: `flume/sources.md` 6.

use crate::component::channel::Want;
use crate::component::deserializer::{
    Deserializer, EventReader, Gathering, Input, InputFile, Place, ReadError,
};
use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use bytes::BytesMut;
use proto::avro::container::{ContainerError, ContainerReader, Header, Objects, SYNC_BYTES};
use proto::event::{Batch, EventLimits};
use std::io::SeekFrom;
use tracing::warn;

/// How the list names it.
pub const TYPE: Type<Box<dyn Deserializer>> = Type {
    alias: "avro",
    classes: &["org.apache.flume.serialization.AvroEventDeserializer$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

const HASH_HEADER: &str = "flume.avro.schema.hash";
const LITERAL_HEADER: &str = "flume.avro.schema.literal";
/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;

/// How an event says what its schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaType {
    /// By its fingerprint.
    Hash,
    /// By its text.
    Literal,
}

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `schemaType`: `HASH` or `LITERAL`, any case; default HASH.
    pub schema_type: SchemaType,
    /// `maxBlockBytes`: bytes of a block at most, in the file and uncompressed; default 64 MiB, 1 GiB at most.
    /// Ours, Flume has no limit.
    pub max_block_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            schema_type: SchemaType::Hash,
            max_block_bytes: 64 << 20,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        let schema_type = match keys.text("schemaType") {
            None => default.schema_type,
            Some(word) if word.eq_ignore_ascii_case("HASH") => SchemaType::Hash,
            Some(word) if word.eq_ignore_ascii_case("LITERAL") => SchemaType::Literal,
            Some(word) => {
                keys.wrong(
                    "schemaType",
                    &format!("expected HASH or LITERAL, found \"{word}\""),
                );
                default.schema_type
            }
        };
        Self {
            schema_type,
            max_block_bytes: keys.number("maxBlockBytes", default.max_block_bytes, 1..=1 << 30),
        }
    }

    /// The deserializer.
    pub fn build(self) -> Result<Avro, BuildError> {
        Ok(Avro(self))
    }
}

/// The deserializer.
#[derive(Debug)]
pub struct Avro(Config);

impl Deserializer for Avro {
    fn open(&self, file: InputFile, at: Place) -> Result<Box<dyn EventReader>, ReadError> {
        Ok(Box::new(AvroReader::open(&self.0, file.input, at)?))
    }
}

struct AvroReader {
    input: Box<dyn Input>,
    blocks: ContainerReader,
    buf: BytesMut,
    objects: Option<Objects>,
    /// The sync marker before the block under way.
    mark: u64,
    /// What every event says about its schema.
    schema: (&'static str, String),
    /// Came up behind events that were returned first.
    failed: Option<ReadError>,
}

impl AvroReader {
    fn open(config: &Config, mut input: Box<dyn Input>, at: Place) -> Result<Self, ReadError> {
        let mut buf = BytesMut::new();
        let header = loop {
            if let Some(header) = Header::decode(&buf).map_err(wrong)? {
                break header;
            }
            if fill(&mut *input, &mut buf, READ_BYTES)? == 0 {
                return Err(wrong(ContainerError::Truncated {
                    offset: 0,
                    what: "the header",
                }));
            }
        };
        let start = match at.offset {
            before if before + SYNC_BYTES as u64 <= header.len => header.len,
            mark => next_block(&mut *input, mark, &header.sync)?,
        };
        input.seek(SeekFrom::Start(start))?;
        let schema = match config.schema_type {
            SchemaType::Literal => {
                warn!("schemaType LITERAL stores the schema with each event; its hash takes less room");
                (LITERAL_HEADER, header.schema.to_string())
            }
            SchemaType::Hash => {
                let digits = header.fingerprint().map(|byte| format!("{byte:02x}"));
                (HASH_HEADER, digits.concat())
            }
        };
        let mut reader = Self {
            input,
            blocks: ContainerReader::at_block(header, start, config.max_block_bytes),
            buf: BytesMut::new(),
            objects: None,
            mark: start - SYNC_BYTES as u64,
            schema,
            failed: None,
        };
        reader.skip(at.skip)?;
        Ok(reader)
    }

    /// Passes over events that were read before.
    fn skip(&mut self, count: u64) -> Result<(), ReadError> {
        for _ in 0..count {
            let Some(objects) = self.block()? else { break };
            objects.next_object().map_err(wrong)?;
        }
        Ok(())
    }

    /// The block under way, or the next one that has objects; none at the end.
    fn block(&mut self) -> Result<Option<&mut Objects>, ReadError> {
        while self.objects.as_ref().is_none_or(|objects| objects.left() == 0) {
            if let Some(done) = &mut self.objects {
                // Says whether bytes are left over.
                done.next_object().map_err(wrong)?;
                self.mark = self.blocks.offset() - SYNC_BYTES as u64;
                self.objects = None;
            }
            match self.blocks.next_block(&mut self.buf).map_err(wrong)? {
                Some(block) => {
                    let header = self.blocks.header().cloned();
                    let objects = header.map(|header| Objects::new(&header, block));
                    self.objects = objects.transpose().map_err(wrong)?;
                }
                None => {
                    let missing = self.blocks.wanted(&self.buf).saturating_sub(self.buf.len());
                    if fill(&mut *self.input, &mut self.buf, missing.max(READ_BYTES))? == 0 {
                        self.blocks.finish(&self.buf).map_err(wrong)?;
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.objects.as_mut())
    }

    fn gather(&mut self, want: Want, batch: &mut Gathering) -> Result<(), ReadError> {
        while batch.wants(want) {
            let Some(objects) = self.block()? else { break };
            if let Some(range) = objects.next_object().map_err(wrong)? {
                batch.push(&objects.block().data[range])?;
            }
        }
        Ok(())
    }
}

impl EventReader for AvroReader {
    fn read(&mut self, want: Want, headers: &[(&str, &str)]) -> Result<Batch, ReadError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut all = vec![(self.schema.0, self.schema.1.as_str())];
        all.extend_from_slice(headers);
        let mut batch = Gathering::new(EventLimits::default(), &all, 0);
        match self.gather(want, &mut batch) {
            Err(error) if batch.is_empty() => return Err(error),
            Err(error) => self.failed = Some(error),
            Ok(()) => {}
        }
        Ok(batch.finish())
    }

    fn place(&self) -> Place {
        match &self.objects {
            Some(objects) if objects.left() > 0 => Place {
                offset: self.mark,
                skip: objects.taken(),
            },
            // At the marker behind the last block.
            _ => Place {
                offset: self.blocks.offset() - SYNC_BYTES as u64,
                skip: 0,
            },
        }
    }
}

/// Where the first block at or behind a place starts: behind the next marker, or at the end of the file.
fn next_block(input: &mut dyn Input, at: u64, sync: &[u8; SYNC_BYTES]) -> Result<u64, ReadError> {
    input.seek(SeekFrom::Start(at))?;
    let (mut seen, mut buf) = (at, BytesMut::new());
    loop {
        let found = buf.windows(SYNC_BYTES).position(|window| window == sync);
        if let Some(found) = found {
            return Ok(seen + (found + SYNC_BYTES) as u64);
        }
        // A marker may begin in what was read and end in what comes.
        let done = buf.len().saturating_sub(SYNC_BYTES - 1);
        bytes::Buf::advance(&mut buf, done);
        seen += done as u64;
        if fill(input, &mut buf, READ_BYTES)? == 0 {
            return Ok(seen + buf.len() as u64);
        }
    }
}

/// Appends what one read gives.
fn fill(input: &mut dyn Input, buf: &mut BytesMut, bytes: usize) -> Result<usize, ReadError> {
    // Blocks are declared by the file: room is made for what comes, not for what is said to come.
    let start = buf.len();
    buf.resize(start + bytes.min(READ_BYTES), 0);
    let read = loop {
        match input.read(&mut buf[start..]) {
            Err(why) if why.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    buf.truncate(start + read.as_ref().map_or(0, |read| *read));
    Ok(read?)
}

fn wrong(error: ContainerError) -> ReadError {
    ReadError::Format(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::deserializer::{self as suite, file_of};
    use proto::avro::container::{Codec, ContainerWriter};

    const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[{"name":"f","type":"string"}]}"#;
    const SYNC: [u8; 16] = *b"0123456789abcdef";

    fn build(pairs: &[(&str, &str)]) -> Box<dyn Deserializer> {
        let mut keys = Keys::of("source r1 (spooldir)", pairs);
        Box::new(Config::read(&mut keys).build().unwrap())
    }

    /// Records of one byte; `|` ends a block.
    fn container(codec: Codec, records: &[u8]) -> Vec<u8> {
        let mut writer = ContainerWriter::new(SCHEMA, codec, SYNC, 1 << 20);
        let mut out = Vec::new();
        writer.header(&[], &mut out);
        for record in records {
            match record {
                b'|' => writer.end_block(&mut out),
                record => writer.push(|block| block.extend_from_slice(&[2, *record])),
            }
        }
        writer.end_block(&mut out);
        out
    }

    fn all(file: &[u8], at: Place) -> (Vec<Vec<u8>>, Option<ReadError>) {
        let mut bodies = Vec::new();
        let mut reader = match build(&[]).open(file_of(file), at) {
            Ok(reader) => reader,
            Err(error) => return (bodies, Some(error)),
        };
        loop {
            match reader.read(Want::events(2), &[]) {
                Ok(batch) if batch.is_empty() => return (bodies, None),
                Ok(batch) => bodies.extend(batch.iter().map(|e| e.body().to_vec())),
                Err(error) => return (bodies, Some(error)),
            }
        }
    }

    suite::suite!(|| (build(&[]), container(Codec::Deflate, b"abc|de|f")));

    #[test]
    fn each_record_is_an_event_with_the_hash_of_its_schema() {
        let mut writer = ContainerWriter::new(SCHEMA, Codec::Null, SYNC, 1);
        let mut file = Vec::new();
        writer.header(&[], &mut file);
        writer.push(|block| block.extend_from_slice(b"\x04ab"));
        writer.push(|block| block.extend_from_slice(b"\x02c"));
        writer.end_block(&mut file);
        for (schema_type, header, value) in [
            ("hash", HASH_HEADER, "c474aa5cd7f13a69"),
            ("Literal", LITERAL_HEADER, SCHEMA),
        ] {
            let avro = build(&[("schemaType", schema_type)]);
            let mut reader = avro.open(file_of(&file), Place::default()).unwrap();
            let batch = reader.read(Want::events(10), &[("k", "v")]).unwrap();
            let bodies: Vec<&[u8]> = batch.iter().map(|event| event.body()).collect();
            assert_eq!(bodies, [&[4, b'a', b'b'][..], &[2, b'c']]);
            for event in batch.iter() {
                assert_eq!(
                    (event.header(header), event.header("k")),
                    (Some(value), Some("v"))
                );
            }
        }
    }

    #[test]
    fn a_place_is_flumes_mark_and_the_objects_behind_it() {
        let file = container(Codec::Null, b"abc|de");
        let (start, second) = (file.len() - 16 - 22 - 8, file.len() - 16 - 6);
        let mut reader = build(&[]).open(file_of(&file), Place::default()).unwrap();
        let mut places = vec![reader.place()];
        while !reader.read(Want::events(1), &[]).unwrap().is_empty() {
            places.push(reader.place());
        }
        let place = |block: usize, skip| Place {
            offset: block as u64 - 16,
            skip,
        };
        let expected = [
            place(start, 0),
            place(start, 1),
            place(start, 2),
            place(second, 0),
            place(second, 1),
            place(file.len(), 0),
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn flume_may_have_marked_the_start_or_stopped_in_the_middle() {
        let file = container(Codec::Null, b"abc|de");
        let at = |offset: usize| {
            let place = Place {
                offset: offset as u64,
                skip: 0,
            };
            all(&file, place).0.len()
        };
        assert_eq!(at(0), 5);
        assert_eq!(at(7), 5);
        assert_eq!(
            at(file.len() - 40),
            2,
            "the marker before the second block is behind it"
        );
        assert_eq!(at(file.len() - 16), 0);
        assert_eq!(at(file.len() + 99), 0);
    }

    #[test]
    fn what_stands_before_a_broken_block_is_returned_first() {
        let mut file = container(Codec::Null, b"abc|de");
        let last = file.len() - 1;
        file[last] = b'!';
        let (bodies, error) = all(&file, Place::default());
        assert_eq!(bodies.len(), 3);
        assert!(error.unwrap().to_string().contains("expected the sync marker"));
        let (bodies, error) = all(&file[..last], Place::default());
        assert_eq!(bodies.len(), 3);
        assert!(
            error
                .unwrap()
                .to_string()
                .contains("the file ends in the middle of a block")
        );
        for (file, expected) in [
            (&b"no container"[..], "not an Avro container file"),
            (b"", "the file ends in the middle of the header"),
        ] {
            let (bodies, error) = all(file, Place::default());
            assert!(bodies.is_empty());
            assert!(error.unwrap().to_string().contains(expected));
        }
    }

    #[test]
    fn a_container_without_objects_has_no_events() {
        assert!(
            matches!(all(&container(Codec::Null, b""), Place::default()), (bodies, None) if bodies.is_empty())
        );
    }

    #[test]
    fn a_block_over_the_limit_is_refused() {
        let avro = build(&[("maxBlockBytes", "5")]);
        let file = container(Codec::Null, b"ab|cde");
        let mut reader = avro.open(file_of(&file), Place::default()).unwrap();
        assert_eq!(reader.read(Want::events(9), &[]).unwrap().len(), 2);
        let error = reader.read(Want::events(9), &[]).unwrap_err().to_string();
        assert!(
            error.contains("found 6 bytes or more, allowed are at most 5"),
            "{error}"
        );
    }

    #[test]
    fn another_schema_type_is_refused() {
        let mut keys = Keys::of("source r1 (spooldir)", &[("schemaType", "x")]);
        Config::read(&mut keys);
        let findings = keys.finish();
        assert!(
            findings[0]
                .message
                .contains("expected HASH or LITERAL, found \"x\"")
        );
    }
}
