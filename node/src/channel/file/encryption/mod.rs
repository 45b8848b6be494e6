//! Encryption of a file channel: the properties, and where keys come from.
//!
//! | property `encryption.…` | what it is |
//! |---|---|
//! | `activeKey` | the key under which new segments are written |
//! | `cipherProvider` | `AESCTRNOPADDING` (Flume's) or `AESGCMNOPADDING`: AES-256-GCM either way; `NONE`: what was encrypted is read, what is new is in plain |
//! | `keyProvider` | `JCEKSFILE` (Flume's), `file`, `env` |
//! | `keyProvider.keys` | the names of all keys, separated by blanks; old ones stay until nothing lives under them |
//! | `keyProvider.keyStoreFile`, `.keyStorePasswordFile`, `.keys.NAME.passwordFile` | JCEKSFILE: the store, its password, and that of a key if it is another |
//! | `keyProvider.keyFolder`, `.keys.NAME.keyFile` | file: a folder with a file of each key's name, or one file |
//! | `keyProvider.keys.NAME.variable` | env: the variable; `MILLRACE_KEY_NAME` unless it is set |
//!
//! As in Flume all three of the first are there or none is: a key forgotten must not mean events in plain. Keys of JCEKS
//! stores have 128, 192 or 256 bits, those of files and variables 256 (raw in a file, hexadecimal or base64 in both). What
//! is wrong is told with the property's name, and never with a password or a key.
//!
//! Source: `flume/channels-and-sinks.md` 3.2.1 and 3.2.9; `org.apache.flume.channel.file.encryption`.

mod ring;

#[cfg(test)]
mod channel_tests;
#[cfg(test)]
mod tests;

pub use ring::{KeyRing, LiveKeys};

use crate::component::keys::{Keys, Severity};
use crate::io::keystore::{self, Error as StoreError, Format, KeyError as StoredKeyError, Store};
use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cluster::journal::KeyError;
use proto::journal::KEY_ID_BYTES_MAX;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Names of keys, at most.
const KEYS_MAX: usize = 1_000;
/// Bytes of a file with a password or a key, at most.
const SECRET_BYTES_MAX: u64 = 4_096;
const KEY_BYTES: usize = 32;
const BELOW: &str = "encryption.keyProvider.";

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cipher {
    Gcm,
    Plain,
}

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Provider {
    JceksFile,
    File,
    Env,
}

/// Reads the properties and the keys. What is wrong is noted, and the keys are then not complete.
pub fn read(keys: &mut Keys) -> KeyRing {
    let mut part = keys.below(BELOW);
    let mut text = |key: &str| keys.text(key).filter(|text| !text.is_empty());
    let active = text("encryption.activeKey");
    let cipher = text("encryption.cipherProvider");
    let provider = text("encryption.keyProvider");
    let mut ring = KeyRing::default();
    if active.is_none() && cipher.is_none() && provider.is_none() && part.given().next().is_none() {
        return ring;
    }
    let cipher = cipher.and_then(|name| cipher_of(keys, &name));
    let wants_active = cipher != Some(Cipher::Plain);
    for (key, is_there) in [
        ("encryption.activeKey", active.is_some() || !wants_active),
        (
            "encryption.cipherProvider",
            keys.peek("encryption.cipherProvider").is_some(),
        ),
        ("encryption.keyProvider", provider.is_some()),
    ] {
        if !is_there {
            keys.wrong(
                key,
                "required with the other properties of encryption, but not there (encryption.cipherProvider = NONE reads \
                 what was encrypted and writes in plain, without activeKey)",
            );
        }
    }
    let names = names(&mut part);
    match provider.and_then(|name| provider_of(keys, &name)) {
        Some(Provider::JceksFile) => jceks_file(&mut part, &names, &mut ring),
        Some(Provider::File) => files(&mut part, &names, &mut ring),
        Some(Provider::Env) => variables(&mut part, &names, &mut ring),
        None => {}
    }
    keys.absorb(part);
    if let Some(active) = active.filter(|_| wants_active) {
        if names.contains(&active) {
            ring.activate(&active);
        } else if !names.is_empty() {
            let message = format!(
                "expected one of {BELOW}keys ({}), found \"{active}\"",
                names.join(", ")
            );
            keys.wrong("encryption.activeKey", &message);
        }
    }
    ring
}

/// What an operator does about a segment whose key cannot be had.
pub fn advice(why: &KeyError, ring: &KeyRing) -> &'static str {
    match why {
        KeyError::Missing { .. } if ring.is_empty() => {
            "set encryption.keyProvider and name the key in encryption.keyProvider.keys (encryption.cipherProvider = NONE \
             reads with it and writes in plain)"
        }
        KeyError::Missing { .. } => {
            "name it in encryption.keyProvider.keys: a key is needed until the events under it are gone"
        }
        KeyError::Wrong { .. } => "bring back the key that had this name, and give a new key a new name",
        KeyError::Unknown(_) => "use the version that wrote it",
        KeyError::Unmade(_) => "see why the system has none",
    }
}

/// The property that names what is missing.
pub fn blamed(ring: &KeyRing) -> &'static str {
    if ring.is_empty() {
        "encryption.keyProvider"
    } else {
        "encryption.keyProvider.keys"
    }
}

fn cipher_of(keys: &mut Keys, name: &str) -> Option<Cipher> {
    const FLUMES: [&str; 3] = [
        "AESCTRNOPADDING",
        "org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider",
        "org.apache.flume.channel.file.encryption.AESCTRNoPaddingProvider$EncryptorBuilder",
    ];
    let is = |word: &&str| name.eq_ignore_ascii_case(word);
    if FLUMES.iter().any(is) {
        let message = "AES-256-GCM is used instead, under the same keys: unlike Flume's it notices what was changed, and \
                       never uses a key stream twice";
        keys.note(
            Severity::Note,
            "encryption.cipherProvider",
            "replaced",
            message.to_owned(),
        );
        return Some(Cipher::Gcm);
    }
    if is(&"AESGCMNOPADDING") {
        return Some(Cipher::Gcm);
    }
    if is(&"NONE") {
        return Some(Cipher::Plain);
    }
    let message = format!("expected AESCTRNOPADDING, AESGCMNOPADDING or NONE, found \"{name}\"");
    keys.wrong("encryption.cipherProvider", &message);
    None
}

fn provider_of(keys: &mut Keys, name: &str) -> Option<Provider> {
    const KNOWN: [(&str, Provider); 5] = [
        ("JCEKSFILE", Provider::JceksFile),
        (
            "org.apache.flume.channel.file.encryption.JCEKSFileKeyProvider",
            Provider::JceksFile,
        ),
        (
            "org.apache.flume.channel.file.encryption.JCEKSFileKeyProvider$Builder",
            Provider::JceksFile,
        ),
        ("file", Provider::File),
        ("env", Provider::Env),
    ];
    let found = KNOWN.iter().find(|(word, _)| name.eq_ignore_ascii_case(word));
    if found.is_none() {
        let message = format!("expected JCEKSFILE, file or env, found \"{name}\"");
        keys.wrong("encryption.keyProvider", &message);
    }
    found.map(|(_, provider)| *provider)
}

/// A text that must be there and say something.
fn filled(part: &mut Keys, key: &str) -> Option<String> {
    let is_given = part.peek(key).is_some();
    let text = part.required(key);
    if !text.trim().is_empty() {
        return Some(text);
    }
    if is_given {
        part.wrong(key, "required, but empty");
    }
    None
}

fn names(part: &mut Keys) -> Vec<String> {
    let text = filled(part, "keys").unwrap_or_default();
    let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > KEYS_MAX {
        let message = format!("{} names, at most {KEYS_MAX} are read", names.len());
        part.wrong("keys", &message);
        names.truncate(KEYS_MAX);
    }
    if let Some(long) = names.iter().find(|name| name.len() > KEY_ID_BYTES_MAX) {
        let message = format!(
            "a name of {} bytes, at most {KEY_ID_BYTES_MAX} fit a segment's header",
            long.len()
        );
        part.wrong("keys", &message);
        names.retain(|name| name.len() <= KEY_ID_BYTES_MAX);
    }
    names
}

fn jceks_file(part: &mut Keys, names: &[String], ring: &mut KeyRing) {
    let (path, password_path) = (filled(part, "keyStoreFile"), filled(part, "keyStorePasswordFile"));
    let passwords: Vec<Option<String>> = names
        .iter()
        .map(|name| part.text(&format!("keys.{name}.passwordFile")))
        .collect();
    let (Some(path), Some(password_path)) = (path, password_path) else {
        return;
    };
    let Some(password) = password_file(part, "keyStorePasswordFile", &password_path) else {
        return;
    };
    let store = match keystore::read_file(Path::new(&path), Some(&password)) {
        Ok(store) => store,
        Err(StoreError::Password) => {
            let message = format!(
                "\"{password_path}\" does not open \"{path}\": {}",
                StoreError::Password
            );
            return part.wrong("keyStorePasswordFile", &message);
        }
        Err(why) => return part.wrong("keyStoreFile", &format!("\"{path}\" {why}")),
    };
    if store.format != Format::Jceks {
        let message = format!(
            "\"{path}\" is a {} store; keys are read from JCEKS, as in Flume: keytool -importkeystore \
             -deststoretype JCEKS makes one",
            store.format.name()
        );
        return part.wrong("keyStoreFile", &message);
    }
    for (name, own) in names.iter().zip(passwords) {
        stored(part, name, own, &password, &store, &path, ring);
    }
}

/// One key of a store.
fn stored(
    part: &mut Keys,
    name: &str,
    own: Option<String>,
    password: &Zeroizing<String>,
    store: &Store,
    path: &str,
    ring: &mut KeyRing,
) {
    // As Java: names in a store are in lower case.
    let Some(entry) = store
        .secrets
        .iter()
        .find(|entry| entry.alias == name.to_lowercase())
    else {
        let there: Vec<&str> = store.secrets.iter().map(|entry| entry.alias.as_str()).collect();
        let message = format!(
            "\"{name}\" is no secret key of \"{path}\", which has {}",
            if there.is_empty() {
                "none".to_owned()
            } else {
                there.join(", ")
            }
        );
        return part.wrong("keys", &message);
    };
    let key = format!("keys.{name}.passwordFile");
    let own = match own {
        None => None,
        Some(file) => match password_file(part, &key, &file) {
            Some(password) => Some(password),
            None => return,
        },
    };
    let opened = match entry.open(own.as_ref().unwrap_or(password)) {
        Ok(opened) => opened,
        Err(StoredKeyError::Password) if own.is_none() => {
            let message = format!("required: the key has another password than \"{path}\" itself");
            return part.wrong(&key, &message);
        }
        Err(StoredKeyError::Password) => {
            let message = format!("what it names is not the password of the key in \"{path}\"");
            return part.wrong(&key, &message);
        }
        Err(why) => return part.wrong("keys", &format!("\"{name}\" of \"{path}\" {why}")),
    };
    if !opened.algorithm.eq_ignore_ascii_case("AES") {
        let message = format!(
            "\"{name}\" of \"{path}\" is a key for {}, expected one for AES",
            opened.algorithm
        );
        return part.wrong("keys", &message);
    }
    let bits = opened.bytes.len() * 8;
    if ring.add(name, opened.bytes).is_none() {
        let message = format!("\"{name}\" of \"{path}\" has {bits} bits, expected 128, 192 or 256");
        part.wrong("keys", &message);
    }
}

fn files(part: &mut Keys, names: &[String], ring: &mut KeyRing) {
    let folder = part.text("keyFolder").filter(|text| !text.is_empty());
    for name in names {
        let key = format!("keys.{name}.keyFile");
        let (key, path) = match (part.text(&key), &folder) {
            (Some(file), _) => (key.as_str(), PathBuf::from(file)),
            (None, Some(_)) if name.contains('/') || name.starts_with('.') => {
                let message =
                    format!("\"{name}\" is no name of a file in keyFolder: set keys.{name}.keyFile");
                part.wrong("keys", &message);
                continue;
            }
            (None, Some(folder)) => ("keyFolder", Path::new(folder).join(name)),
            (None, None) => {
                part.wrong(&key, "required without keyFolder, but not there");
                continue;
            }
        };
        match secret_file(part, key, &path) {
            Ok(bytes) => match key_of(&bytes, true) {
                Ok(secret) => drop(ring.add(name, secret)),
                Err(why) => part.wrong(key, &format!("\"{}\" holds no key: {why}", path.display())),
            },
            Err(error) => part.wrong(key, &format!("\"{}\" cannot be read: {error}", path.display())),
        }
    }
}

fn variables(part: &mut Keys, names: &[String], ring: &mut KeyRing) {
    for name in names {
        let key = format!("keys.{name}.variable");
        let variable = part.text(&key).unwrap_or_else(|| variable_of(name));
        match std::env::var(&variable).map(|text| Zeroizing::new(text.into_bytes())) {
            Ok(text) => match key_of(&text, false) {
                Ok(secret) => drop(ring.add(name, secret)),
                Err(why) => part.wrong(&key, &format!("the variable {variable} holds no key: {why}")),
            },
            Err(_) => part.wrong(
                &key,
                &format!("the variable {variable} is not set, or is no text"),
            ),
        }
    }
}

fn variable_of(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    format!("MILLRACE_KEY_{}", name.chars().map(plain).collect::<String>())
}

/// A key of 256 bits, as bytes or as text; says what it is instead without showing any of it.
fn key_of(bytes: &[u8], may_be_raw: bool) -> Result<Zeroizing<Vec<u8>>, String> {
    const ANY: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let is_hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    if may_be_raw && bytes.len() == KEY_BYTES && !is_hex(bytes) {
        return Ok(Zeroizing::new(bytes.to_vec()));
    }
    let text = bytes.trim_ascii();
    if text.len() == 2 * KEY_BYTES && is_hex(text) {
        let digit = |b: u8| (b as char).to_digit(16).unwrap_or_default() as u8;
        let pairs = text
            .chunks_exact(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]));
        return Ok(Zeroizing::new(pairs.collect()));
    }
    if (43..=44).contains(&text.len()) {
        for alphabet in [&base64::alphabet::STANDARD, &base64::alphabet::URL_SAFE] {
            let mut key = Zeroizing::new(vec![0; KEY_BYTES + 1]);
            let decoded = GeneralPurpose::new(alphabet, ANY).decode_slice(text, &mut key);
            if decoded.is_ok_and(|length| length == KEY_BYTES) {
                key.truncate(KEY_BYTES);
                return Ok(key);
            }
        }
    }
    let raw = if may_be_raw { "32 bytes, " } else { "" };
    Err(format!(
        "expected 256 bits: {raw}64 hexadecimal digits or 44 characters of base64, found {} {}",
        text.len(),
        if is_hex(text) {
            "hexadecimal digits"
        } else {
            "bytes of something else"
        }
    ))
}

/// As Flume: blanks around it do not count.
fn password_file(part: &mut Keys, key: &str, path: &str) -> Option<Zeroizing<String>> {
    let read = secret_file(part, key, Path::new(path));
    match read.map(|bytes| std::str::from_utf8(&bytes).map(|text| Zeroizing::new(text.trim().to_owned()))) {
        Ok(Ok(password)) => return Some(password),
        Ok(Err(_)) => part.wrong(key, &format!("\"{path}\" holds no password: it is not UTF-8")),
        Err(error) => part.wrong(key, &format!("\"{path}\" cannot be read: {error}")),
    }
    None
}

fn secret_file(part: &mut Keys, key: &str, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // Reading a pipe would wait for somebody to write.
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if metadata.permissions().mode() & 0o004 != 0 {
        let message = format!(
            "\"{}\" may be read by everybody on this machine; chmod 600 it",
            path.display()
        );
        part.note(Severity::Note, key, "open-to-all", message);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX as usize + 1));
    file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        let message = format!("it has more than {SECRET_BYTES_MAX} bytes, which no password or key has");
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}
