//! Keys of a model: they hide nothing, and notice what a real cipher would not forgive.
//!
//! A nonce that comes twice under one key, a segment that asks for the wrong key, and a payload that is opened under
//! another header than it was sealed under.

use crate::journal::{KeyError, Keys};
use proto::journal::{NONCE_BYTES, PayloadCipher, SegmentHead, TAG_BYTES};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Keys by their names, each of which is a number.
#[derive(Debug, Clone, Default)]
pub struct SimKeys {
    /// The one that new segments get; none leaves them in plain.
    pub active: Option<String>,
    /// Names and what the keys are.
    pub keys: Vec<(String, u64)>,
}

impl SimKeys {
    /// Some keys, of which one is active.
    pub fn of(active: Option<&str>, keys: &[(&str, u64)]) -> Arc<dyn Keys> {
        Arc::new(Self {
            active: active.map(str::to_owned),
            keys: keys
                .iter()
                .map(|(name, key)| ((*name).to_owned(), *key))
                .collect(),
        })
    }

    fn key(&self, name: &str) -> Option<u64> {
        self.keys.iter().find(|(n, _)| n == name).map(|(_, key)| *key)
    }
}

impl Keys for SimKeys {
    fn seal(&self, head: &mut SegmentHead) -> Result<Option<Arc<dyn PayloadCipher>>, KeyError> {
        let Some(name) = &self.active else {
            return Ok(None);
        };
        let key = self
            .key(name)
            .ok_or(KeyError::Unmade("the active key is not there"))?;
        head.key_id = name.clone().into_bytes();
        head.wrapped_key = key.to_le_bytes().to_vec();
        Ok(Some(Arc::new(SimCipher::of(key, head))))
    }

    fn open(&self, head: &SegmentHead) -> Result<Arc<dyn PayloadCipher>, KeyError> {
        let name = String::from_utf8_lossy(&head.key_id).into_owned();
        match self.key(&name) {
            None => Err(KeyError::Missing {
                key: name,
                given: self.keys.iter().map(|(n, _)| n.clone()).collect(),
            }),
            Some(key) if head.wrapped_key == key.to_le_bytes() => Ok(Arc::new(SimCipher::of(key, head))),
            Some(_) => Err(KeyError::Wrong { key: name }),
        }
    }
}

/// The cipher of one segment.
#[derive(Debug)]
struct SimCipher {
    key: u64,
    used: Mutex<BTreeSet<[u8; NONCE_BYTES]>>,
}

impl SimCipher {
    fn of(key: u64, head: &SegmentHead) -> Self {
        Self {
            key: head.key_context().iter().fold(key, |sum, b| mixed(sum, *b)),
            used: Mutex::default(),
        }
    }

    fn tag(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> [u8; TAG_BYTES] {
        let sum = nonce
            .iter()
            .chain(aad)
            .chain(plain)
            .fold(self.key, |sum, b| mixed(sum, *b));
        let mut tag = [0; TAG_BYTES];
        tag[..8].copy_from_slice(&sum.to_le_bytes());
        tag[8..].copy_from_slice(&(!sum).to_le_bytes());
        tag
    }

    fn flip(&self, nonce: [u8; NONCE_BYTES], bytes: &mut [u8]) {
        let start = nonce.iter().fold(self.key, |sum, b| mixed(sum, *b));
        let mut stream = start;
        for byte in bytes {
            stream = mixed(stream, 1);
            *byte ^= stream as u8;
        }
    }
}

fn mixed(sum: u64, byte: u8) -> u64 {
    (sum ^ u64::from(byte))
        .wrapping_mul(0x0100_0000_01b3)
        .rotate_left(5)
}

impl PayloadCipher for SimCipher {
    fn seal(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], payload: &mut [u8]) -> [u8; TAG_BYTES] {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(used.insert(nonce), "a nonce comes twice");
        let tag = self.tag(nonce, aad, payload);
        self.flip(nonce, payload);
        tag
    }

    fn open(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], sealed: &[u8], plain: &mut [u8]) -> bool {
        let (bytes, tag) = sealed.split_at(plain.len());
        plain.copy_from_slice(bytes);
        self.flip(nonce, plain);
        self.tag(nonce, aad, plain) == tag
    }
}
