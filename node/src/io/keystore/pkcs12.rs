//! PKCS#12, by the crate `p12-keystore`, which reads what Java writes today (PBES2) and wrote before (3DES, RC2-40).
//! Here stands what Java makes of the bags: which certificate is a key's, which are trusted.
//!
//! A certificate belongs to a key by its local key id; its chain goes on by the names of issuer and subject, as in
//! Java. Trusted is what carries Java's mark for it. Stores that other tools made have no such mark, and Java takes
//! them for empty, which nobody means: in a store without keys every certificate is trusted here.

use super::{CHAIN_MAX, ENTRIES_MAX, Error, Format, Key, Store};
use p12_keystore::error::Error as P12Error;
use p12_keystore::{CertificateBag, Pkcs12Archive, PrivateKeyBag};
use rustls::pki_types::CertificateDer;

/// Reads a store that begins as DER does.
pub fn read(bytes: &[u8], password: Option<&str>) -> Result<Store, Error> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password.unwrap_or_default())
        .map_err(|error| told(&error, password.is_some()))?;
    let Pkcs12Archive { keys, certs, .. } = archive;
    let found = keys.len() + certs.len();
    if found > ENTRIES_MAX {
        return Err(Error::TooMany {
            what: "entries",
            found,
            allowed: ENTRIES_MAX,
        });
    }
    let all = keys.is_empty() && certs.iter().all(|bag| !bag.trusted);
    let trusted = certs
        .iter()
        .filter(|bag| all || (bag.trusted && bag.local_key_id.is_none()));
    let trusted = trusted.map(der).collect();
    let keys = keys.into_iter().map(|bag| key(bag, &certs)).collect();
    Ok(Store {
        format: Format::Pkcs12,
        keys,
        trusted,
        secrets: Vec::new(),
    })
}

fn key(bag: PrivateKeyBag, certs: &[CertificateBag]) -> Key {
    let id = bag.local_key_id.as_ref().map(AsRef::<[u8]>::as_ref);
    let own = certs
        .iter()
        .find(|cert| id.is_some() && cert.local_key_id.as_deref() == id);
    Key {
        alias: bag.friendly_name.unwrap_or_default(),
        chain: own.map_or_else(Vec::new, |own| chain(own, certs)),
        secret: Ok(bag.key.as_der().to_vec()),
    }
}

fn chain(own: &CertificateBag, certs: &[CertificateBag]) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![own];
    while chain.len() < CHAIN_MAX {
        let last = chain[chain.len() - 1];
        let is_next = |bag: &&CertificateBag| {
            bag.cert.subject() == last.cert.issuer() && !chain.iter().any(|seen| seen.cert == bag.cert)
        };
        match certs.iter().find(is_next) {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    chain.into_iter().map(der).collect()
}

fn der(bag: &CertificateBag) -> CertificateDer<'static> {
    CertificateDer::from(bag.cert.as_der().to_vec())
}

fn told(error: &P12Error, with_password: bool) -> Error {
    match error {
        P12Error::MacError(_) | P12Error::UnpadError | P12Error::Pkcs5Error(_) if with_password => {
            Error::Password
        }
        P12Error::MacError(_) | P12Error::UnpadError | P12Error::Pkcs5Error(_) => Error::NoPassword,
        P12Error::UnsupportedEncryptionScheme | P12Error::UnsupportedMacAlgorithm => Error::Encryption,
        P12Error::DerError(_) => Error::NoStore("DER of another kind, or a damaged PKCS12"),
        other => Error::Damaged(other.to_string()),
    }
}
