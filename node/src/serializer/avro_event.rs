//! `AVRO_EVENT`: events as an Avro container file, Flume's FlumeEventAvroEventSerializer.
//!
//! Records `Event { headers: map<string>, body: bytes }`; a block ends after `syncIntervalBytes` and with every
//! transaction, so a file that is cut between transactions is a whole one. A file that exists is not appended to, for
//! each has a sync marker of its own. Writing cannot fail. A codec that Avro does not know means none, with a warning,
//! as in Flume; `xz` is known to Avro and not here, and is refused. Source: `flume/channels-and-sinks.md` 5.2.

use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::serializer::Serializer;
use proto::avro::container::{Codec, ContainerWriter};
use proto::avro::encode_event;
use proto::event::Batch;

/// How the list names it.
pub const TYPE: Type<Box<dyn Serializer>> = Type {
    alias: "avro_event",
    classes: &["org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `syncIntervalBytes`: bytes, before compression, after which a block ends; default 2,048,000; 32 to 2^30.
    pub sync_interval_bytes: usize,
    /// `compressionCodec`: null, deflate, snappy, bzip2 or zstandard; default null.
    pub codec: Codec,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sync_interval_bytes: 2_048_000,
            codec: Codec::Null,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default();
        Self {
            sync_interval_bytes: keys.number("syncIntervalBytes", default.sync_interval_bytes, 32..=1 << 30),
            codec: codec(keys),
        }
    }

    /// The serializer.
    pub fn build(self) -> Result<AvroEvent, BuildError> {
        let writer = container(&self);
        Ok(AvroEvent { config: self, writer })
    }
}

fn codec(keys: &mut Keys) -> Codec {
    const KEY: &str = "compressionCodec";
    let Some(name) = keys.text(KEY) else {
        return Codec::Null;
    };
    let allowed = Codec::ALL.map(Codec::name).join(", ");
    match Codec::named(&name) {
        Some(codec) => return codec,
        None if name == "xz" => {
            keys.wrong(
                KEY,
                &format!("expected one of {allowed}; xz is not in this version"),
            );
        }
        None => {
            let message = format!("expected one of {allowed}, found \"{name}\"; null is used, as in Flume");
            keys.warn(KEY, "bad-value", message);
        }
    }
    Codec::Null
}

/// A container with a marker of its own.
fn container(config: &Config) -> ContainerWriter {
    ContainerWriter::new(SCHEMA, config.codec, rand::random(), config.sync_interval_bytes)
}

/// The serializer.
#[derive(Debug)]
pub struct AvroEvent {
    config: Config,
    writer: ContainerWriter,
}

impl Serializer for AvroEvent {
    fn header(&mut self, out: &mut Vec<u8>) {
        self.writer = container(&self.config);
        self.writer.header(&[], out);
    }

    fn write(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for event in batch.iter() {
            self.writer.push(|block| encode_event(&event, block));
            if self.writer.is_due() {
                self.writer.end_block(out);
            }
        }
        self.writer.end_block(out);
    }

    fn supports_reopen(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use proto::avro::container::{BLOCK_BYTES, ContainerReader, Objects};
    use proto::avro::decode_event;
    use proto::event::EventLimits;

    fn build(pairs: &[(&str, &str)]) -> (AvroEvent, Vec<String>) {
        let mut keys = Keys::of("sink k1 (file_roll)", pairs);
        let serializer = Config::read(&mut keys).build().unwrap();
        (serializer, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    /// The codec, and headers and body of each event of each block.
    fn read(file: &[u8]) -> (Codec, Vec<Vec<String>>) {
        let (mut reader, mut buf) = (ContainerReader::new(BLOCK_BYTES), BytesMut::from(file));
        let mut blocks = Vec::new();
        while let Some(block) = reader.next_block(&mut buf).unwrap() {
            let mut objects = Objects::new(reader.header().unwrap(), block).unwrap();
            let mut texts = Vec::new();
            while let Some(range) = objects.next_object().unwrap() {
                let object = objects.block().data.slice(range);
                let batch = decode_event(&object, EventLimits::default()).unwrap();
                let event = batch.get(0).unwrap();
                let headers: String = event.headers().map(|(k, v)| format!("{k}={v} ")).collect();
                texts.push(format!("{headers}{}", String::from_utf8_lossy(event.body())));
            }
            blocks.push(texts);
        }
        reader.finish(&buf).unwrap();
        let header = reader.header().unwrap();
        assert_eq!(&*header.schema, SCHEMA);
        (header.codec, blocks)
    }

    fn batch(bodies: &[&str]) -> Batch {
        let mut edit = bodies.iter().map(|b| b.as_bytes()).collect::<Batch>().edit();
        edit.set(0, "a", "1");
        edit.finish()
    }

    #[test]
    fn a_file_is_a_container_with_a_block_for_each_transaction() {
        for codec in Codec::ALL {
            let (mut avro, findings) = build(&[("compressionCodec", codec.name())]);
            assert!(findings.is_empty(), "{findings:?}");
            let mut file = Vec::new();
            avro.header(&mut file);
            avro.write(&batch(&["one", "two"]), &mut file);
            let whole = file.len();
            avro.write(&batch(&["three"]), &mut file);
            assert_eq!(
                read(&file),
                (
                    codec,
                    vec![
                        vec!["a=1 one".to_owned(), "two".to_owned()],
                        vec!["a=1 three".to_owned()]
                    ]
                )
            );
            assert_eq!(read(&file[..whole]).1.len(), 1);
            assert!(!avro.supports_reopen());
        }
    }

    #[test]
    fn a_block_ends_when_it_is_long_enough() {
        let (mut avro, _) = build(&[("syncIntervalBytes", "32")]);
        let mut file = Vec::new();
        avro.header(&mut file);
        avro.write(
            &batch(&["12345678901234567890123456789012345", "b", "c"]),
            &mut file,
        );
        assert_eq!(read(&file).1.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn each_file_has_its_own_marker() {
        let (mut avro, _) = build(&[]);
        let mut markers = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let mut file = Vec::new();
            avro.header(&mut file);
            markers.insert(file[file.len() - 16..].to_vec());
        }
        assert_eq!(markers.len(), 3);
    }

    #[test]
    fn an_unknown_codec_is_none_with_a_warning_and_xz_is_refused() {
        for (name, expected) in [
            (
                "Deflate",
                "warning[bad-value]: sink k1 (file_roll): compressionCodec: expected one of null, deflate, snappy, bzip2, zstandard, found \"Deflate\"; null is used, as in Flume",
            ),
            (
                "xz",
                "error[bad-value]: sink k1 (file_roll): compressionCodec: expected one of null, deflate, snappy, bzip2, zstandard; xz is not in this version",
            ),
        ] {
            let (avro, findings) = build(&[("compressionCodec", name)]);
            assert_eq!(avro.config.codec, Codec::Null);
            assert!(
                findings.len() == 1 && findings[0].ends_with(expected),
                "{findings:?}"
            );
        }
        let (_, findings) = build(&[("syncIntervalBytes", "31")]);
        assert!(
            findings[0].contains("expected 32 to 1073741824, found \"31\""),
            "{findings:?}"
        );
    }
}
