//! JKS and JCEKS, Java's own key stores.
//!
//! ```text
//! store = feedfeed, JCEKS cececece | version u32: 1, 2 | entries u32 | entry… | SHA-1, 20 bytes
//! entry = 1 | alias | time u64 | key: u32, bytes | certificates u32 | certificate…        a key
//!       | 2 | alias | time u64 | certificate                                              a trusted certificate
//!       | 3 | alias | time u64 | sealed object                                            a secret key, JCEKS only
//! certificate = [version 2: type "X.509"] | u32, bytes              alias, type = u16, modified UTF-8
//! ```
//!
//! All numbers are big-endian. The digest at the end is `SHA1(password | "Mighty Aphrodite" | all before)`, the
//! password in UTF-16. A key is an `EncryptedPrivateKeyInfo` of an algorithm of Sun's. That of JKS: 20 bytes of salt, the
//! key XORed with a stream of SHA-1 (`w0 = salt, wn = SHA1(password | wn-1)`), and `SHA1(password | key)`. That is no
//! protection worth its name; it is what the files have. That of JCEKS is in [`pbe`](super::pbe). A secret key is a
//! serialized `SealedObject` whose content, encrypted in the same way, is the serialized key.

use super::{CHAIN_MAX, ENTRIES_MAX, Error, Format, Key, KeyError, SecretKey, Store, der, pbe, serialized};
use proto::cursor::Cursor;
use rustls::pki_types::CertificateDer;
use sha1::{Digest, Sha1};

const WHITENER: &[u8] = b"Mighty Aphrodite";
/// 1.3.6.1.4.1.42.2.17.1.1: what Sun called its protection of keys.
const KEY_PROTECTOR: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];
const DIGEST_BYTES: usize = 20;

/// The class of a secret key in its store.
const SEALED: &str = "com.sun.crypto.provider.SealedObjectForKeyProtector";

/// Rounds of [`pbe`] for all private keys of a store together: forty times what Java takes for one.
const ROUNDS_IN_ALL: u32 = 8_000_000;

/// Reads a store that begins with the magic number of JKS or JCEKS.
pub fn read(bytes: &[u8], password: Option<&str>, format: Format) -> Result<Store, Error> {
    let whole = password.map(utf16);
    let mut cursor = Cursor::new(bytes);
    cursor.u32_be("the magic number")?;
    let version = cursor.u32_be("a version")?;
    if !(1..=2).contains(&version) {
        return Err(Error::Damaged(format!("version {version}, there are 1 and 2")));
    }
    let entries = cursor.u32_be("a number of entries")? as usize;
    at_most("entries", entries, ENTRIES_MAX)?;
    let (mut locked, mut trusted, mut secrets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..entries {
        let tag = cursor.u32_be("an entry")?;
        let alias = text(&mut cursor, "an alias")?;
        cursor.take(8, "the time of an entry")?;
        match tag {
            1 => locked.push(key(&mut cursor, alias, version)?),
            2 => trusted.push(certificate(&mut cursor, version)?),
            3 if format == Format::Jceks => secrets.push(secret(&mut cursor, alias)?),
            _ => {
                return Err(Error::Damaged(format!(
                    "an entry of kind {tag}, {}",
                    kinds(format)
                )));
            }
        }
    }
    let end = cursor.offset();
    let digest = cursor.take(DIGEST_BYTES, "the digest at the end")?;
    if let Some(whole) = &whole
        && sha1([whole, WHITENER, &bytes[..end]]) != digest
    {
        return Err(Error::Password);
    }
    let mut rounds = ROUNDS_IN_ALL;
    let keys = locked.into_iter().map(|key| key.unlocked(password, &mut rounds));
    Ok(Store {
        format,
        keys: keys.collect(),
        trusted,
        secrets,
    })
}

fn kinds(format: Format) -> &'static str {
    match format {
        Format::Jceks => "JCEKS has 1 to 3",
        _ => "JKS has 1 and 2",
    }
}

fn secret(cursor: &mut Cursor<'_>, alias: String) -> Result<SecretKey, Error> {
    let before = cursor.clone();
    let object = serialized::object(cursor)?;
    if &*object.class != SEALED {
        let class = &object.class;
        return Err(Error::Damaged(format!("a secret key of class {class:?}")));
    }
    let content = object
        .bytes("encryptedContent")
        .ok_or(before.error("a sealed key"))?;
    let parameters = match object.text("sealAlg") {
        Some("PBEWithMD5AndTripleDES") => pbe::Parameters::read(object.bytes("encodedParams").unwrap_or(&[])),
        _ => Err(KeyError::Protection),
    };
    Ok(SecretKey {
        alias,
        parameters,
        content: content.to_vec(),
    })
}

/// A key as it stands in the file.
struct Locked<'a> {
    alias: String,
    protected: &'a [u8],
    chain: Vec<CertificateDer<'static>>,
}

impl Locked<'_> {
    fn unlocked(self, password: Option<&str>, rounds: &mut u32) -> Key {
        let secret = match password {
            Some(password) => unlock(self.protected, password, rounds),
            None => Err(KeyError::NoPassword),
        };
        Key {
            alias: self.alias,
            chain: self.chain,
            secret,
        }
    }
}

fn key<'a>(cursor: &mut Cursor<'a>, alias: String, version: u32) -> Result<Locked<'a>, Error> {
    let protected = block(cursor, "a key")?;
    let count = cursor.u32_be("a number of certificates")? as usize;
    at_most("certificates to a key", count, CHAIN_MAX)?;
    let chain = (0..count).map(|_| certificate(cursor, version));
    Ok(Locked {
        alias,
        protected,
        chain: chain.collect::<Result<_, _>>()?,
    })
}

fn certificate(cursor: &mut Cursor<'_>, version: u32) -> Result<CertificateDer<'static>, Error> {
    if version == 2 {
        let kind = text(cursor, "the type of a certificate")?;
        if kind != "X.509" && kind != "X509" {
            return Err(Error::Damaged(format!(
                "a certificate of type {kind:?}, not X.509"
            )));
        }
    }
    Ok(CertificateDer::from(block(cursor, "a certificate")?.to_vec()))
}

fn text(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<String, Error> {
    let length = cursor.u16_be(expected)?;
    let bytes = cursor.take(usize::from(length), expected)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn block<'a>(cursor: &mut Cursor<'a>, expected: &'static str) -> Result<&'a [u8], Error> {
    let length = cursor.u32_be(expected)?;
    Ok(cursor.take(length as usize, expected)?)
}

fn at_most(what: &'static str, found: usize, allowed: usize) -> Result<(), Error> {
    if found > allowed {
        return Err(Error::TooMany { what, found, allowed });
    }
    Ok(())
}

/// Takes the protection off a key: PKCS#8.
fn unlock(protected: &[u8], password: &str, rounds: &mut u32) -> Result<Vec<u8>, KeyError> {
    let der::EncryptedKey {
        algorithm,
        parameters,
        bytes,
    } = der::encrypted_key(protected).ok_or(KeyError::Protection)?;
    if algorithm == pbe::IDENTIFIER {
        let parameters = pbe::Parameters::read(parameters)?;
        *rounds = rounds.checked_sub(parameters.rounds).ok_or(KeyError::Rounds)?;
        let plain = parameters.open(password, bytes)?;
        // What the wrong password leaves may be padded as it should by chance.
        let is_key = der::key_algorithm(&plain) != "unknown";
        return if is_key {
            Ok(plain.to_vec())
        } else {
            Err(KeyError::Password)
        };
    }
    let long_enough = bytes.len() >= 2 * DIGEST_BYTES;
    if algorithm != KEY_PROTECTOR || !long_enough {
        return Err(KeyError::Protection);
    }
    let password = &utf16(password)[..];
    let (salt, rest) = bytes.split_at(DIGEST_BYTES);
    let (encrypted, digest) = rest.split_at(rest.len() - DIGEST_BYTES);
    let mut stream = salt.to_vec();
    let mut plain = Vec::with_capacity(encrypted.len());
    for part in encrypted.chunks(DIGEST_BYTES) {
        stream = sha1([password, &stream]).to_vec();
        plain.extend(part.iter().zip(&stream).map(|(a, b)| a ^ b));
    }
    if sha1([password, &plain]) == digest {
        Ok(plain)
    } else {
        Err(KeyError::Password)
    }
}

fn sha1<const N: usize>(parts: [&[u8]; N]) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha1::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}
