//! Java's key stores and trust stores: JKS and JCEKS (`jks`) and PKCS#12 (`pkcs12`), told apart by their content, as
//! Java does since version 9 whatever the configured type says.
//!
//! A store is read whole and once; nothing of it is written. What is wrong is told in words an operator can act
//! on: what the file is instead, which password does not fit. Passwords and keys are in no message and no `Debug`.
//!
//! Bounds: a file of [`STORE_BYTES_MAX`], [`ENTRIES_MAX`] entries, [`CHAIN_MAX`] certificates to a key. No length
//! that a file declares is allocated before its bytes are there.
//!
//! Sources: `flume/sources.md` 4, `flume/channels-and-sinks.md` 3.2.9 and 5.4; `sun.security.provider.JavaKeyStore` for
//! JKS, `com.sun.crypto.provider.JceKeyStore` for JCEKS, RFC 7292 for PKCS#12.

mod der;
mod jks;
mod pbe;
mod pkcs12;
mod serialized;

#[cfg(test)]
mod tests;

use proto::cursor::{Cursor, DecodeError};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes of a store, at most; Java's own list of authorities has less than 200 KB.
pub const STORE_BYTES_MAX: u64 = 16 << 20;
/// Entries of a store, at most.
pub const ENTRIES_MAX: usize = 10_000;
/// Certificates in the chain of a key, at most.
pub const CHAIN_MAX: usize = 100;

/// What a file is by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Java's own.
    Jks,
    /// Java's own for secret keys.
    Jceks,
    /// PKCS#12, also called PFX.
    Pkcs12,
}

impl Format {
    /// As Java calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jks => "JKS",
            Self::Jceks => "JCEKS",
            Self::Pkcs12 => "PKCS12",
        }
    }
}

/// What a store holds.
pub struct Store {
    /// What the file is.
    pub format: Format,
    /// Keys with their certificates, in the order of the file.
    pub keys: Vec<Key>,
    /// Certificates that are trusted.
    pub trusted: Vec<CertificateDer<'static>>,
    /// Secret keys, in the order of the file; only JCEKS has them.
    pub secrets: Vec<SecretKey>,
}

/// A secret key as it lies in its store, and where each may have a password of its own.
pub struct SecretKey {
    /// Its name in the store, which Java writes in lower case.
    pub alias: String,
    parameters: Result<pbe::Parameters, KeyError>,
    content: Vec<u8>,
}

/// A secret key, opened; its bytes are wiped when it goes.
pub struct OpenedKey {
    /// `AES`, in Java's words.
    pub algorithm: String,
    /// The key.
    pub bytes: Zeroizing<Vec<u8>>,
}

impl SecretKey {
    /// Rounds of hashing that [`open`](Self::open) has to do, at most 5,000,000; none if it cannot be opened.
    pub fn rounds(&self) -> u32 {
        self.parameters.map_or(0, |parameters| parameters.rounds)
    }

    /// Takes the protection off. That takes some time: 0.1 s at Java's 200,000 rounds of MD5.
    ///
    /// # Errors
    /// The password does not fit, or what is inside is no secret key.
    pub fn open(&self, password: &str) -> Result<OpenedKey, KeyError> {
        let plain = self.parameters?.open(password, &self.content)?;
        // What the wrong password leaves may be padded as it should by chance.
        let object = serialized::object(&mut Cursor::new(&plain)).map_err(|_| KeyError::Password)?;
        let bytes = match &*object.class {
            "javax.crypto.spec.SecretKeySpec" => object.bytes("key"),
            "java.security.KeyRep" => object.bytes("encoded"),
            _ => None,
        };
        Ok(OpenedKey {
            algorithm: object.text("algorithm").unwrap_or_default().to_owned(),
            bytes: Zeroizing::new(bytes.ok_or(KeyError::Class)?.to_vec()),
        })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey")
            .field("alias", &self.alias)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OpenedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedKey")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A private key and its certificates.
pub struct Key {
    /// Its name in the store.
    pub alias: String,
    /// Its own certificate, then that of its signer, and so on.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8, or why it could not be had; that matters only to who needs the key.
    secret: Result<Vec<u8>, KeyError>,
}

impl Key {
    /// The key.
    ///
    /// # Errors
    /// It is protected by something else than the password that was given.
    pub fn private(&self) -> Result<PrivateKeyDer<'static>, KeyError> {
        let pkcs8 = self.secret.clone()?;
        Ok(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8)))
    }

    /// What kind of key it is, in Java's words.
    pub fn algorithm(&self) -> &'static str {
        match &self.secret {
            Ok(pkcs8) => der::key_algorithm(pkcs8),
            Err(_) => "unknown",
        }
    }
}

impl Store {
    /// The certificates that Java trusts by such a store: those that are marked so, and those of its keys.
    pub fn trust(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.trusted
            .iter()
            .chain(self.keys.iter().filter_map(|key| key.chain.first()))
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("format", &self.format)
            .field("keys", &self.keys)
            .field("trusted", &self.trusted.len())
            .field("secrets", &self.secrets)
            .finish()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = self.secret.as_ref().map(|_| "(private)");
        f.debug_struct("Key")
            .field("alias", &self.alias)
            .field("chain", &self.chain.len())
            .field("secret", &secret)
            .finish()
    }
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// A folder, a pipe, a device.
    #[error("is no file")]
    NoFile,
    /// More than [`STORE_BYTES_MAX`].
    #[error("has more than {STORE_BYTES_MAX} bytes, which no store has")]
    TooLarge,
    /// Something else.
    #[error("is neither JKS nor JCEKS nor PKCS12 but {0}")]
    NoStore(&'static str),
    /// A count beyond the limit.
    #[error("has {found} {what}, at most {allowed} are read")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many it declares or has.
        found: usize,
        /// The limit.
        allowed: usize,
    },
    /// The structure does not hold.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// The digest over the store does not fit.
    #[error("the password is wrong, or the file was changed")]
    Password,
    /// It cannot be read without.
    #[error("needs a password: what is in a PKCS12 store is encrypted")]
    NoPassword,
    /// A way of encrypting that is not known here.
    #[error("is encrypted in a way that is not known here (known are PBES2, 3DES and RC2-40)")]
    Encryption,
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Why a key of a store that could be read cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Java allows that; Flume has no property for it.
    #[error("has another password than the store; they must be equal (keytool -keypasswd)")]
    Password,
    /// Without one only certificates are read.
    #[error("cannot be read without a password")]
    NoPassword,
    /// Not what Java's own stores have.
    #[error("is protected in a way that JKS and JCEKS do not have")]
    Protection,
    /// More than Java does.
    #[error("asks for more rounds of hashing than Java does, or for none")]
    Rounds,
    /// It could be opened.
    #[error("is no secret key of a class that is known here (SecretKeySpec and KeyRep)")]
    Class,
}

/// Reads a store from its file.
///
/// # Errors
/// See [`Error`]; without a password the digest over a JKS store is not checked and its keys stay closed.
pub fn read_file(path: &Path, password: Option<&str>) -> Result<Store, Error> {
    let file = File::open(path)?;
    // Reading a pipe would wait for somebody to write.
    if !file.metadata()?.is_file() {
        return Err(Error::NoFile);
    }
    let mut bytes = Vec::new();
    file.take(STORE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > STORE_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    read(&bytes, password)
}

/// Reads a store.
///
/// # Errors
/// As [`read_file`].
pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Store, Error> {
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] => jks::read(bytes, password, Format::Jks),
        [0xce, 0xce, 0xce, 0xce, ..] => jks::read(bytes, password, Format::Jceks),
        [0x30, ..] => pkcs12::read(bytes, password),
        [] => Err(Error::NoStore("an empty file")),
        _ if bytes.starts_with(b"-----BEGIN ") => Err(Error::NoStore(
            "PEM; openssl pkcs12 -export, or keytool -importcert for certificates, makes a store of it",
        )),
        _ => Err(Error::NoStore("something else")),
    }
}
