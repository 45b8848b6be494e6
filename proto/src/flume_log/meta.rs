//! What Flume notes beside a data file: version, number, how it is encrypted, when it was last in a checkpoint.

use super::protobuf::{self, Value};
use crate::cursor::{Cursor, DecodeError};
use thiserror::Error;

/// Bytes in front of the records of a file of version 2.
pub const HEAD_V2_BYTES: usize = 24;

/// Why metadata cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MetaError {
    /// The bytes are none.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A version that nobody here knows.
    #[error("version {found} of Flume's data files; this version reads {allowed}")]
    Version {
        /// What stands there.
        found: i32,
        /// What may stand there.
        allowed: i32,
    },
}

/// The metadata of one data file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogMeta {
    /// The number in the file's name.
    pub file: u32,
    /// Order of the last checkpoint that knew of the file; 0 for none.
    pub checkpoint_order: i64,
    /// Of the checkpoint before.
    pub backup_order: i64,
    /// How payloads are encrypted, if they are.
    pub encryption: Option<Encryption>,
}

/// How the payloads of a file are encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encryption {
    /// The cipher's alias, `AESCTRNOPADDING`.
    pub cipher: String,
    /// Which key of the key store.
    pub key: String,
    /// For this cipher: the first counter block, the same for each record.
    pub parameters: Vec<u8>,
}

impl LogMeta {
    /// Reads a `log-N.meta`.
    ///
    /// # Errors
    /// It is none, or one of another version than 3.
    pub fn decode(bytes: &[u8]) -> Result<Self, MetaError> {
        let mut message = protobuf::delimited(&mut Cursor::new(bytes), "the metadata of a data file")?;
        let (mut meta, mut version, mut file) = (Self::default(), None, None);
        while let Some((number, value)) = protobuf::field(&mut message)? {
            match (number, value) {
                (1, Value::Fixed32(n)) => version = Some(n),
                (2, Value::Fixed32(n)) => file = Some(n as u32),
                (4, Value::Fixed64(n)) => meta.checkpoint_order = n,
                (5, Value::Bytes(bytes)) => meta.encryption = Some(Encryption::decode(bytes)?),
                (7, Value::Fixed64(n)) => meta.backup_order = n,
                _ => {}
            }
        }
        let found = version.ok_or_else(|| message.error("the version of a data file"))?;
        if found != 3 {
            return Err(MetaError::Version { found, allowed: 3 });
        }
        meta.file = file.ok_or_else(|| message.error("the number of a data file"))?;
        Ok(meta)
    }

    /// Reads the head of a data file that has no `log-N.meta`.
    ///
    /// # Errors
    /// It is none, or one of another version than 2.
    pub fn decode_head(bytes: &[u8]) -> Result<Self, MetaError> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.i32_be("the version of a data file")?;
        if found != 2 {
            return Err(MetaError::Version { found, allowed: 2 });
        }
        let file = cursor.u32_be("the number of a data file")?;
        cursor.take(8, "the position of a checkpoint")?;
        let mut order = [0; 8];
        order.copy_from_slice(cursor.take(8, "the order of a checkpoint")?);
        Ok(Self {
            file,
            checkpoint_order: i64::from_be_bytes(order),
            ..Self::default()
        })
    }
}

impl Encryption {
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (mut cursor, mut this) = (Cursor::new(bytes), Self::default());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        while let Some((number, value)) = protobuf::field(&mut cursor)? {
            match (number, value) {
                (1, Value::Bytes(bytes)) => this.cipher = text(bytes),
                (2, Value::Bytes(bytes)) => this.key = text(bytes),
                (3, Value::Bytes(bytes)) => this.parameters = bytes.to_vec(),
                _ => {}
            }
        }
        Ok(this)
    }
}
