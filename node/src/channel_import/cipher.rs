//! Keys of encrypted data files, and the cipher: AES in counter mode, the same counter for each record of a file.

use super::Failure;
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use proto::flume_log::Encryption;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Flume's alias of the only cipher it brings, and the class that is behind it.
const CIPHERS: [&str; 2] = [
    "AESCTRNOPADDING",
    "org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider$EncryptorBuilder",
];

/// Bytes of a file with a key, at most.
const KEY_FILE_BYTES_MAX: usize = 4 << 10;

/// Keys by their names.
#[derive(Default)]
pub struct KeyRing(BTreeMap<String, Vec<u8>>);

impl KeyRing {
    /// Reads the files that hold keys: raw bytes, or hexadecimal digits.
    pub fn read(files: &[(String, PathBuf)]) -> Result<Self, Failure> {
        let mut ring = Self::default();
        let mut wrong = Vec::new();
        for (name, path) in files {
            match key_in(path) {
                Ok(key) => ring.add(name, key),
                Err(why) => wrong.push(format!("key {name}: {}: {why}", path.display())),
            }
        }
        if wrong.is_empty() {
            Ok(ring)
        } else {
            Err(Failure::settings(wrong.join("\n")))
        }
    }

    /// Adds a key.
    pub fn add(&mut self, name: &str, key: Vec<u8>) {
        self.0.insert(name.to_owned(), key);
    }

    /// Adds the keys of a configuration, as far as they are not there yet.
    pub fn complete<'a>(&mut self, keys: impl Iterator<Item = (&'a str, &'a [u8])>) {
        for (name, key) in keys {
            self.0.entry(name.to_owned()).or_insert_with(|| key.to_vec());
        }
    }

    /// The cipher of a file.
    pub fn cipher(&self, encryption: &Encryption) -> Result<Cipher, String> {
        let Encryption {
            cipher,
            key: name,
            parameters,
        } = encryption;
        if !CIPHERS.iter().any(|known| known.eq_ignore_ascii_case(cipher)) {
            return Err(format!(
                "is encrypted by {cipher}, which this version does not read ({} is)",
                CIPHERS[0]
            ));
        }
        let key = self.0.get(name).ok_or_else(|| {
            format!("is encrypted with the key \"{name}\"; give it with --key {name}=FILE (its bytes, or hexadecimal digits)")
        })?;
        let counter = <[u8; 16]>::try_from(parameters.as_slice())
            .map_err(|_| format!("has a first counter of {} bytes, expected 16", parameters.len()))?;
        let algorithm = match key.len() {
            16 => &AES_128,
            24 => &AES_192,
            32 => &AES_256,
            other => {
                return Err(format!(
                    "key {name}: expected 16, 24 or 32 bytes of AES, found {other}"
                ));
            }
        };
        let key = key.clone();
        Ok(Cipher {
            algorithm,
            key,
            counter,
        })
    }
}

fn key_in(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    if bytes.len() > KEY_FILE_BYTES_MAX {
        return Err(format!("expected a key, found {} bytes", bytes.len()));
    }
    if matches!(bytes.len(), 16 | 24 | 32) {
        return Ok(bytes);
    }
    let digits = bytes.trim_ascii();
    let pairs = digits.chunks(2).map(|pair| {
        let text = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2);
        text.and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    let key: Option<Vec<u8>> = pairs.collect();
    key.filter(|key| matches!(key.len(), 16 | 24 | 32))
        .ok_or_else(|| "expected 16, 24 or 32 bytes, or as many pairs of hexadecimal digits".to_owned())
}

/// What makes plain payloads of those in one file.
pub struct Cipher {
    algorithm: &'static Algorithm,
    key: Vec<u8>,
    counter: [u8; 16],
}

impl Cipher {
    /// Makes it plain. Counter mode has no way to fail on any bytes; a library that does all the same leaves what is no
    /// record, and that is told as damage.
    pub fn decrypt(&self, payload: &mut [u8]) {
        let context = DecryptionContext::Iv128(FixedLength::from(&self.counter));
        let plain = UnboundCipherKey::new(self.algorithm, &self.key)
            .and_then(DecryptingKey::ctr)
            .and_then(|key| key.decrypt(payload, context).map(|_| ()));
        if plain.is_err() {
            payload.fill(0);
        }
    }
}
