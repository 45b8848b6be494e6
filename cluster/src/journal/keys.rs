//! The keys of a log: who hands a new segment its key, and who opens the key of an old one.
//!
//! The log encrypts nothing and draws no key: it asks [`Keys`], which lives where randomness and secrets do. A segment whose
//! key cannot be had is not damaged: the log is refused as it is, and nothing of it is changed.

use super::error::OpenError;
use proto::journal::{PayloadCipher, SegmentHead, WrapError};
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Keys by their names, one of which may be active. `Debug` shows no secret.
pub trait Keys: fmt::Debug + Send + Sync {
    /// Gives a new segment a random key, if segments are to be encrypted now: sets `key_id` and `wrapped_key` of its
    /// header, all of whose other fields are set already, and returns the cipher. None leaves it in plain.
    ///
    /// # Errors
    /// There is no randomness, or the cipher refuses.
    fn seal(&self, head: &mut SegmentHead) -> Result<Option<Arc<dyn PayloadCipher>>, KeyError>;

    /// The cipher of an encrypted segment.
    ///
    /// # Errors
    /// The key that its header names is not there, or is not the one that it was written with.
    fn open(&self, head: &SegmentHead) -> Result<Arc<dyn PayloadCipher>, KeyError>;
}

/// Why the key of a segment cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The segment's key is wrapped by one that is not there.
    #[error("is encrypted with the key \"{key}\", which is not there; {}", known(.given))]
    Missing {
        /// Its name.
        key: String,
        /// The names that are there.
        given: Vec<String>,
    },
    /// The one of that name is another one.
    #[error(
        "is encrypted with a key \"{key}\" that is not the one of this name here: the bytes of the two differ"
    )]
    Wrong {
        /// Its name.
        key: String,
    },
    /// The header carries something that is no wrapped key: a later version's, as its checksum is right.
    #[error("carries a key that this version does not understand: {0}")]
    Unknown(WrapError),
    /// No key could be made.
    #[error("no key can be made for a new segment: {0}")]
    Unmade(&'static str),
}

fn known(given: &[String]) -> String {
    if given.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", given.join(", "))
    }
}

/// The cipher of a segment; none if it is in plain. For whoever reads blocks without opening the log.
///
/// # Errors
/// As [`Keys::open`]; without keys every encrypted segment's is missing.
pub fn cipher_of(
    keys: Option<&dyn Keys>,
    head: &SegmentHead,
) -> Result<Option<Arc<dyn PayloadCipher>>, KeyError> {
    if !head.is_encrypted() {
        return Ok(None);
    }
    match keys {
        Some(keys) => keys.open(head).map(Some),
        None => Err(KeyError::Missing {
            key: String::from_utf8_lossy(&head.key_id).into_owned(),
            given: Vec::new(),
        }),
    }
}

/// As [`cipher_of`], naming the file.
pub(super) fn unlock(
    keys: Option<&Arc<dyn Keys>>,
    name: &str,
    head: &SegmentHead,
) -> Result<Option<Arc<dyn PayloadCipher>>, OpenError> {
    cipher_of(keys.map(|keys| &**keys), head).map_err(|why| OpenError::Key {
        name: name.to_owned(),
        why,
    })
}
