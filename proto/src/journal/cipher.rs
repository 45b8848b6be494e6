//! Encryption: what is sealed, under which nonce, and how a segment carries its key.
//!
//! Each encrypted segment has a random key of its own, a data key, of AES-256-GCM. Its header carries that key wrapped, which
//! is encrypted with one of the operator's keys, and names that one. What is wrapped is bound to the segment
//! ([`SegmentHead::key_context`](super::SegmentHead::key_context)), what is sealed in a block to the block's header. A nonce
//! is the low half of the segment's salt and the block's LSN: no two blocks of a segment have the same one, and no two
//! segments the same key.
//!
//! ```text
//!  wrapped key   0        1       13              45    61
//!                | method | nonce | key, encrypted | tag |
//! ```
//!
//! Nothing here encrypts: the cipher is handed in, and so is whatever is random. Source: NIST SP 800-38D for GCM.

use std::fmt;
use thiserror::Error;

/// Bytes of a nonce of GCM.
pub const NONCE_BYTES: usize = 12;

/// Bytes that a sealed payload is longer than in plain.
pub const TAG_BYTES: usize = 16;

/// Bytes of a segment's own key.
pub const DATA_KEY_BYTES: usize = 32;

/// Bytes of a name of a key, at most.
pub const KEY_ID_BYTES_MAX: usize = 255;

/// Encrypts the payloads of one segment, with authentication. Its `Debug` shows no key.
pub trait PayloadCipher: fmt::Debug + Send + Sync {
    /// Encrypts where the bytes stand. No nonce comes twice.
    fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], payload: &mut [u8]) -> [u8; TAG_BYTES];

    /// Decrypts `sealed`, whose last [`TAG_BYTES`] are the tag, into `plain`, which is shorter by just that. Says whether
    /// it is what was sealed under this nonce and `aad`; if not, `plain` is of no use.
    #[must_use]
    fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> bool;
}

/// How a data key is wrapped: the length of the operator's key decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum WrapMethod {
    /// AES-128-GCM.
    Aes128Gcm = 1,
    /// AES-192-GCM.
    Aes192Gcm = 2,
    /// AES-256-GCM.
    Aes256Gcm = 3,
}

/// A data key, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// With what.
    pub method: WrapMethod,
    /// Random.
    pub nonce: [u8; NONCE_BYTES],
    /// The key and its tag.
    pub sealed: [u8; DATA_KEY_BYTES + TAG_BYTES],
}

/// Why bytes are no wrapped key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrapError {
    /// Another length.
    #[error("expected {expected} bytes of a wrapped key, found {0}", expected = WrappedKey::BYTES)]
    Length(usize),
    /// A way of wrapping that this version does not know.
    #[error("a key is wrapped by method {0}, known are 1 to 3")]
    Method(u8),
}

impl WrappedKey {
    /// How long it is.
    pub const BYTES: usize = 1 + NONCE_BYTES + DATA_KEY_BYTES + TAG_BYTES;

    /// Its bytes in a segment's header.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::BYTES);
        out.push(self.method as u8);
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(&self.sealed);
        out
    }

    /// Reads them.
    ///
    /// # Errors
    /// There are more or fewer, or the method is unknown.
    pub fn decode(bytes: &[u8]) -> Result<Self, WrapError> {
        let Ok(all) = <&[u8; Self::BYTES]>::try_from(bytes) else {
            return Err(WrapError::Length(bytes.len()));
        };
        let method = match all[0] {
            1 => WrapMethod::Aes128Gcm,
            2 => WrapMethod::Aes192Gcm,
            3 => WrapMethod::Aes256Gcm,
            other => return Err(WrapError::Method(other)),
        };
        let (mut nonce, mut sealed) = ([0; NONCE_BYTES], [0; DATA_KEY_BYTES + TAG_BYTES]);
        nonce.copy_from_slice(&all[1..=NONCE_BYTES]);
        sealed.copy_from_slice(&all[1 + NONCE_BYTES..]);
        Ok(Self {
            method,
            nonce,
            sealed,
        })
    }
}
