//! Stores that Java's keytool wrote (`tests/stores`), stores that no tool writes, and damaged ones.

use super::*;
use crate::component::contract::TempDir;
use proptest::prelude::*;
use sha1::{Digest, Sha1};
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/stores")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn open(name: &str, password: Option<&str>) -> Result<Store, Error> {
    read_file(&path(name), password)
}

fn message(result: Result<Store, Error>) -> String {
    result.unwrap_err().to_string()
}

/// As a JKS file has it, with any password and in any version.
fn jks(version: u32, password: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(entries.len()).unwrap();
    let mut bytes = [0xfeed_feed_u32, version, count].map(u32::to_be_bytes).concat();
    bytes.extend(entries.concat());
    sealed(bytes, password)
}

/// With the digest that fits.
fn sealed(mut bytes: Vec<u8>, password: &str) -> Vec<u8> {
    let mut digest = Sha1::new();
    digest.update(
        password
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect::<Vec<u8>>(),
    );
    digest.update(b"Mighty Aphrodite");
    digest.update(&bytes);
    bytes.extend(digest.finalize());
    bytes
}

fn word(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_be_bytes()[..], bytes].concat()
}

fn entry(tag: u32, rest: &[u8]) -> Vec<u8> {
    [&tag.to_be_bytes()[..], &word("alias"), &[0; 8], rest].concat()
}

fn trusted(certificate: &[u8]) -> Vec<u8> {
    entry(2, &[word("X.509"), long(certificate)].concat())
}

#[test]
fn what_keytool_writes_is_read() {
    let cases = [
        ("rsa.jks", Format::Jks, &[("server", "RSA", 1)][..], 0),
        ("ec.jks", Format::Jks, &[("server", "EC", 1)], 0),
        ("dsa.jks", Format::Jks, &[("server", "DSA", 1)], 0),
        (
            "both.jks",
            Format::Jks,
            &[("b-rsa", "RSA", 1), ("a-ec", "EC", 1)],
            0,
        ),
        ("chain.jks", Format::Jks, &[("server", "EC", 3)], 0),
        ("trust.jks", Format::Jks, &[], 1),
        ("rsa.jceks", Format::Jceks, &[("server", "RSA", 1)], 0),
        ("keys.jceks", Format::Jceks, &[], 0),
        ("ec.p12", Format::Pkcs12, &[("server", "EC", 1)], 0),
        ("rsa_legacy.p12", Format::Pkcs12, &[("server", "RSA", 1)], 0),
        ("chain.p12", Format::Pkcs12, &[("server", "EC", 3)], 0),
        ("expired.p12", Format::Pkcs12, &[("server", "EC", 2)], 0),
        ("trust.p12", Format::Pkcs12, &[], 1),
        ("trust_open.p12", Format::Pkcs12, &[], 1),
    ];
    for (name, format, keys, trusted) in cases {
        let store = open(name, Some("changeit")).unwrap();
        assert_eq!(store.format, format, "{name}");
        assert_eq!(store.trusted.len(), trusted, "{name}");
        let mut found: Vec<_> = store
            .keys
            .iter()
            .map(|key| (key.alias.as_str(), key.algorithm(), key.chain.len()))
            .collect();
        // JKS files are in the order of a hash table.
        found.sort_unstable_by(|a, b| b.0.cmp(a.0));
        assert_eq!(found, keys, "{name}");
        assert!(store.keys.iter().all(|key| key.private().is_ok()), "{name}");
    }
}

#[test]
fn a_chain_is_the_same_from_both_formats_and_ends_at_what_is_trusted() {
    let chains = ["chain.jks", "chain.p12"].map(|name| open(name, Some("changeit")).unwrap());
    let [jks, p12] = chains.each_ref().map(|store| &store.keys[0].chain);
    assert_eq!(jks[1..], p12[1..]);
    for name in ["trust.jks", "trust.p12", "trust_open.p12", "trust_openssl.p12"] {
        let trust = open(name, Some("changeit")).unwrap();
        assert_eq!(trust.trust().collect::<Vec<_>>(), [&jks[2]], "{name}");
    }
    assert_eq!(chains[0].trust().collect::<Vec<_>>(), [&jks[0]]);
}

#[test]
fn a_wrong_password_is_called_one() {
    for name in [
        "rsa.jks",
        "trust.jks",
        "rsa.jceks",
        "keys.jceks",
        "ec.p12",
        "rsa_legacy.p12",
        "trust.p12",
    ] {
        for wrong in ["changeme", ""] {
            let found = open(name, Some(wrong));
            assert!(matches!(found, Err(Error::Password)), "{name}: {found:?}");
        }
    }
}

#[test]
fn without_a_password_certificates_are_had_where_they_are_in_the_clear() {
    let store = open("chain.jks", None).unwrap();
    assert_eq!(store.keys[0].chain.len(), 3);
    assert_eq!(store.keys[0].private().unwrap_err(), KeyError::NoPassword);
    assert_eq!(open("trust_open.p12", None).unwrap().trusted.len(), 1);
    assert!(matches!(open("trust.p12", None), Err(Error::NoPassword)));
}

#[test]
fn a_key_with_a_password_of_its_own_does_not_spoil_its_store() {
    let store = open("other_key_password.jks", Some("changeit")).unwrap();
    assert_eq!(store.trust().count(), 1);
    assert_eq!(store.keys[0].private().unwrap_err(), KeyError::Password);
}

#[test]
fn what_is_no_store_is_called_what_it_is() {
    assert!(message(read(b"-----BEGIN CERTIFICATE-----\n", None)).contains("PEM"));
    assert!(message(read(b"", None)).contains("an empty file"));
    assert!(message(read(b"PK\x03\x04", None)).contains("something else"));
    let certificate = open("trust.jks", None).unwrap().trusted.remove(0);
    assert!(message(read(&certificate, None)).contains("DER of another kind"));
}

#[test]
fn a_file_that_cannot_be_read_is_told_apart() {
    let folder = TempDir::new();
    assert!(matches!(read_file(folder.path(), None), Err(Error::NoFile)));
    assert!(matches!(
        read_file(&folder.path().join("x"), None),
        Err(Error::Io(_))
    ));
    let large = folder.path().join("large");
    std::fs::File::create(&large)
        .unwrap()
        .set_len(STORE_BYTES_MAX + 1)
        .unwrap();
    assert!(matches!(read_file(&large, None), Err(Error::TooLarge)));
    std::fs::File::create(&large)
        .unwrap()
        .set_len(STORE_BYTES_MAX)
        .unwrap();
    assert!(matches!(
        read_file(&large, None),
        Err(Error::NoStore("something else"))
    ));
}

#[test]
fn version_1_and_passwords_of_any_script_are_read() {
    let version_1 = jks(1, "pä€ss𝄞", &[entry(2, &long(b"certificate"))]);
    let store = read(&version_1, Some("pä€ss𝄞")).unwrap();
    assert_eq!(&*store.trusted[0], b"certificate");
    assert!(matches!(read(&version_1, Some("pä€ss")), Err(Error::Password)));
    assert!(message(read(&jks(3, "", &[]), None)).contains("version 3, there are 1 and 2"));
    assert!(message(read(&jks(2, "", &[entry(3, b"")]), None)).contains("an entry of kind 3"));
    let other = entry(2, &[word("PGP"), long(b"")].concat());
    assert!(message(read(&jks(2, "", &[other]), None)).contains("of type \"PGP\""));
}

#[test]
fn counts_have_limits_and_lengths_cost_nothing() {
    let many = |count: usize| jks(2, "", &vec![trusted(b"c"); count]);
    assert_eq!(read(&many(ENTRIES_MAX), None).unwrap().trusted.len(), ENTRIES_MAX);
    assert!(matches!(
        read(&many(ENTRIES_MAX + 1), None),
        Err(Error::TooMany { what: "entries", .. })
    ));

    let chain = |count: usize| {
        let links = vec![[word("X.509"), long(b"c")].concat(); count].concat();
        let number = u32::try_from(count).unwrap().to_be_bytes();
        jks(2, "", &[entry(1, &[&long(b"key"), &number[..], &links].concat())])
    };
    assert_eq!(
        read(&chain(CHAIN_MAX), None).unwrap().keys[0].chain.len(),
        CHAIN_MAX
    );
    let found = read(&chain(CHAIN_MAX + 1), None);
    assert!(matches!(
        found,
        Err(Error::TooMany {
            what: "certificates to a key",
            ..
        })
    ));

    let mut declared = entry(2, &word("X.509"));
    declared.extend(u32::MAX.to_be_bytes());
    assert!(message(read(&jks(2, "", &[declared]), None)).contains("expected a certificate"));
}

#[test]
fn every_changed_byte_of_a_jks_store_is_noticed() {
    for name in ["ec.jks", "trust.jks", "keys.jceks"] {
        let bytes = bytes(name);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read(&changed, Some("changeit")).is_err(), "{name}: byte {at}");
            assert!(
                read(&bytes[..at], Some("changeit")).is_err(),
                "{name}: cut at {at}"
            );
        }
    }
}

#[test]
fn a_jks_store_that_was_changed_by_who_knows_the_password_is_refused_or_read() {
    for name in ["ec.jks", "trust.jks", "chain.jks"] {
        let bytes = bytes(name);
        let content = &bytes[..bytes.len() - 20];
        for at in 0..content.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = content.to_vec();
                changed[at] ^= change;
                if let Ok(store) = read(&sealed(changed, "changeit"), Some("changeit")) {
                    assert!(store.trust().count() <= 1);
                    let _ = store.keys.iter().map(Key::private).count();
                }
            }
        }
    }
}

#[test]
fn secret_keys_are_opened_with_the_password_of_each() {
    let store = open("keys.jceks", Some("changeit")).unwrap();
    let mut names: Vec<&str> = store.secrets.iter().map(|key| key.alias.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["des", "key-128", "key-192", "key-256", "own-password"]);
    let secret = |name: &str| store.secrets.iter().find(|key| key.alias == name).unwrap();
    for (name, algorithm, bytes) in [
        ("key-128", "AES", 16),
        ("key-192", "AES", 24),
        ("des", "DESede", 24),
    ] {
        let opened = secret(name).open("changeit").unwrap();
        assert_eq!(
            (opened.algorithm.as_str(), opened.bytes.len()),
            (algorithm, bytes)
        );
    }
    // As Java reads it out of the same file.
    let opened = secret("key-128").open("changeit").unwrap();
    assert_eq!(opened.bytes[..4], [0x0a, 0x41, 0x38, 0xc8]);
    assert_eq!(format!("{opened:?}"), "OpenedKey { algorithm: \"AES\", .. }");
    let own = secret("own-password");
    assert_eq!(own.open("different").unwrap().bytes.len(), 32);
    for wrong in ["changeit", "", "pä€ss"] {
        assert_eq!(own.open(wrong).unwrap_err(), KeyError::Password, "{wrong}");
    }
    let shown = format!("{store:?}");
    assert!(shown.contains("secrets: [SecretKey { alias: "), "{shown}");
    assert!(shown.len() < 300, "no content: {shown}");
}

#[test]
fn a_jceks_store_that_was_changed_by_who_knows_the_password_is_refused_or_read() {
    let bytes = bytes("keys.jceks");
    let content = &bytes[..bytes.len() - 20];
    for at in 0..content.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = content.to_vec();
            changed[at] ^= change;
            if let Ok(store) = read(&sealed(changed, "changeit"), Some("changeit")) {
                assert!(store.secrets.len() <= 5);
            }
        }
    }
}

#[test]
fn secret_keys_are_in_no_store_but_jceks() {
    let content = bytes("keys.jceks");
    let mut other = content[..content.len() - 20].to_vec();
    other[..4].copy_from_slice(&[0xfe, 0xed, 0xfe, 0xed]);
    let refused = message(read(&sealed(other, "changeit"), Some("changeit")));
    assert_eq!(refused, "is damaged: an entry of kind 3, JKS has 1 and 2");
}

#[test]
fn keys_that_are_protected_by_something_else_are_told() {
    let sequence = |content: &[u8]| [&[0x30, u8::try_from(content.len()).unwrap()], content].concat();
    let protected = |identifier: &[u8], bytes: usize| {
        let algorithm = sequence(&[&[0x06, u8::try_from(identifier.len()).unwrap()], identifier].concat());
        sequence(
            &[
                &algorithm[..],
                &[0x04, u8::try_from(bytes).unwrap()],
                &vec![0; bytes],
            ]
            .concat(),
        )
    };
    let sun = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];
    for (key, fault) in [
        (protected(&sun, 39), KeyError::Protection),
        (protected(&sun[..9], 60), KeyError::Protection),
        (b"key".to_vec(), KeyError::Protection),
        (protected(&sun, 40), KeyError::Password),
    ] {
        let store = jks(2, "x", &[entry(1, &[long(&key), vec![0; 4]].concat())]);
        assert_eq!(
            read(&store, Some("x")).unwrap().keys[0].private().unwrap_err(),
            fault
        );
    }
}

#[test]
fn no_secret_is_shown() {
    let store = open("chain.p12", Some("changeit")).unwrap();
    let shown = format!("{store:?}");
    assert_eq!(
        shown,
        "Store { format: Pkcs12, keys: [Key { alias: \"server\", chain: 3, secret: Ok(\"(private)\") }], trusted: 0, secrets: [] }"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_pkcs12_is_refused_or_read_and_never_panics(
        name in prop::sample::select(vec!["ec.p12", "rsa_legacy.p12", "trust.p12", "trust_openssl.p12"]),
        at in any::<prop::sample::Index>(),
        value: u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes(name);
        let at = at.index(bytes.len());
        // The number of rounds is in the file: a damaged one may ask for a million of them.
        bytes[at] = value & 0x3f;
        let _ = read(&bytes, Some("changeit"));
        prop_assert!(read(&bytes[..cut.index(bytes.len())], Some("changeit")).is_err());
    }
}
