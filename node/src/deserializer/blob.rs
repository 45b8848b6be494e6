//! `BLOB`: a whole file as one event, Flume's BlobDeserializer.
//!
//! A file of more than `maxBlobLength` bytes becomes several events, cut there. The charset has no meaning. A body
//! stands in memory as a whole, and channels and peers have limits of their own. Flume knows this one by its class
//! name only; the short name is ours. Source: `flume/sources.md` 6.

use crate::component::channel::Want;
use crate::component::deserializer::{
    Deserializer, EventReader, Gathering, Input, InputFile, Place, ReadError,
};
use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use proto::event::{Batch, EventLimits};
use std::io::SeekFrom;

/// How the list names it.
pub const TYPE: Type<Box<dyn Deserializer>> = Type {
    alias: "blob",
    classes: &["org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `maxBlobLength`: bytes of one body at most; default 100,000,000.
    pub max_blob_bytes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_blob_bytes: 100_000_000,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default().max_blob_bytes;
        Self {
            max_blob_bytes: keys.number("maxBlobLength", default, 1..=i32::MAX as u32),
        }
    }

    /// The deserializer.
    pub fn build(self) -> Result<Blob, BuildError> {
        Ok(Blob(self))
    }
}

/// The deserializer.
#[derive(Debug)]
pub struct Blob(Config);

impl Deserializer for Blob {
    fn open(&self, mut file: InputFile, at: Place) -> Result<Box<dyn EventReader>, ReadError> {
        file.input.seek(SeekFrom::Start(at.offset))?;
        Ok(Box::new(BlobReader {
            input: file.input,
            offset: at.offset,
            max: self.0.max_blob_bytes,
        }))
    }
}

struct BlobReader {
    input: Box<dyn Input>,
    offset: u64,
    max: u32,
}

impl EventReader for BlobReader {
    fn read(&mut self, want: Want, headers: &[(&str, &str)]) -> Result<Batch, ReadError> {
        let default = EventLimits::default();
        let limits = EventLimits {
            body_bytes: default.body_bytes.max(self.max as usize),
            ..default
        };
        let mut batch = Gathering::new(limits, headers, 0);
        let start = self.offset;
        let mut read = 0;
        while batch.wants(want) {
            match batch.push_from(&mut *self.input, u64::from(self.max)) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) => {
                    // What was read is not returned, so it is read again.
                    self.input.seek(SeekFrom::Start(start))?;
                    return Err(error);
                }
            }
        }
        self.offset += read;
        Ok(batch.finish())
    }

    fn place(&self) -> Place {
        Place {
            offset: self.offset,
            skip: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::bodies;
    use crate::component::contract::deserializer::{self as suite, file_of};

    fn build(pairs: &[(&str, &str)]) -> Box<dyn Deserializer> {
        let mut keys = Keys::of("source r1 (spooldir)", pairs);
        Box::new(Config::read(&mut keys).build().unwrap())
    }

    suite::suite!(|| (build(&[("maxBlobLength", "3")]), b"0123456789".to_vec()));

    #[test]
    fn a_file_is_one_event_and_a_long_one_is_cut() {
        for (max, expected) in [("10", vec!["0123\n56789"]), ("4", vec!["0123", "\n567", "89"])] {
            let blob = build(&[("maxBlobLength", max)]);
            let mut reader = blob.open(file_of(b"0123\n56789"), Place::default()).unwrap();
            let batch = reader.read(Want::events(10), &[("k", "v")]).unwrap();
            assert_eq!(bodies(&batch), expected);
            assert_eq!(batch.get(0).unwrap().header("k"), Some("v"));
            assert!(reader.read(Want::events(10), &[]).unwrap().is_empty());
        }
    }
}
