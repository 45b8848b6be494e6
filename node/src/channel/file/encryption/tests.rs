//! Properties and providers, and keys at work.

use super::*;
use crate::component::contract::TempDir;
use cluster::journal::{Keys as _, cipher_of};
use proto::journal::SegmentHead;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;

pub(super) type Pairs = Vec<(String, String)>;

pub(super) fn pairs(all: &[(&str, &str)]) -> Pairs {
    all.iter()
        .map(|(k, v)| (format!("encryption.{k}"), (*v).to_owned()))
        .collect()
}

/// The keys, and what is said about the properties.
fn reading(all: &[(&str, &str)]) -> (KeyRing, Vec<String>) {
    let owned = pairs(all);
    let borrowed: Vec<(&str, &str)> = owned.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut keys = Keys::of("channel c1 (file)", &borrowed);
    let ring = read(&mut keys);
    let told = keys.finish().into_iter().map(|f| {
        let key = f.property.unwrap_or_default();
        format!("{} {key}: {}", f.severity, f.message)
    });
    (ring, told.collect())
}

pub(super) fn secret(folder: &TempDir, name: &str, bytes: &[u8]) -> String {
    use std::io::Write;
    let path = folder.path().join(name);
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path);
    file.unwrap().write_all(bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn key(byte: u8) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(vec![byte; KEY_BYTES])
}

fn ring(active: Option<&str>, keys: &[(&str, u8)]) -> KeyRing {
    let mut ring = KeyRing::default();
    for (name, byte) in keys {
        ring.add(name, key(*byte)).unwrap();
    }
    if let Some(name) = active {
        ring.activate(name);
    }
    ring
}

fn store(name: &str) -> String {
    format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_segments_key_comes_back_under_the_key_that_wrapped_it_and_under_no_other() {
    let two = ring(Some("a"), &[("a", 1), ("b", 2)]);
    let mut head = SegmentHead {
        number: 7,
        salt: 9,
        ..SegmentHead::default()
    };
    let sealer = two.seal(&mut head).unwrap().unwrap();
    assert_eq!(head.key_id, b"a");
    let mut payload = *b"some payload of a block";
    let tag = sealer.seal([1; 12], b"head", &mut payload);
    let sealed = [&payload[..], &tag].concat();
    let mut plain = vec![0; payload.len()];
    // Any ring that has the key, whatever is active there.
    let opener = ring(None, &[("a", 1)]).open(&head).unwrap();
    assert!(opener.open([1; 12], b"head", &sealed, &mut plain));
    assert_eq!(plain, b"some payload of a block");
    assert!(
        !opener.open([2; 12], b"head", &sealed, &mut plain),
        "another nonce"
    );
    assert!(
        !opener.open([1; 12], b"heat", &sealed, &mut plain),
        "another header"
    );
    assert!(!opener.open([1; 12], b"head", &sealed[1..], &mut plain), "cut");

    let wrong = Some(KeyError::Wrong { key: "a".to_owned() });
    assert_eq!(ring(None, &[("a", 3)]).open(&head).err(), wrong);
    let missing = KeyError::Missing {
        key: "a".to_owned(),
        given: vec!["b".to_owned()],
    };
    assert_eq!(ring(None, &[("b", 1)]).open(&head).err(), Some(missing));
    // A key is bound to its segment.
    let other = SegmentHead {
        number: 8,
        ..head.clone()
    };
    assert_eq!(two.open(&other).err(), wrong);
    let cut = SegmentHead {
        wrapped_key: head.wrapped_key[1..].to_vec(),
        ..head
    };
    assert!(matches!(two.open(&cut).err(), Some(KeyError::Unknown(_))));
}

#[test]
fn each_segment_has_another_key_and_operators_keys_of_all_lengths_wrap_it() {
    for bits in [128, 192, 256] {
        let mut ring = KeyRing::default();
        ring.add("k", Zeroizing::new(vec![5; bits / 8])).unwrap();
        ring.activate("k");
        let heads = [1, 2].map(|number| {
            let mut head = SegmentHead {
                number,
                ..SegmentHead::default()
            };
            ring.seal(&mut head).unwrap().unwrap();
            head
        });
        assert_ne!(heads[0].wrapped_key[13..], heads[1].wrapped_key[13..]);
        assert!(
            heads
                .iter()
                .all(|head| cipher_of(Some(&ring), head).unwrap().is_some())
        );
        // The same name with another length is another key.
        let mut longer = KeyRing::default();
        longer
            .add("k", Zeroizing::new(vec![5; if bits == 256 { 16 } else { 32 }]))
            .unwrap();
        assert!(matches!(
            longer.open(&heads[0]).err(),
            Some(KeyError::Wrong { .. })
        ));
    }
    assert!(KeyRing::default().add("k", Zeroizing::new(vec![5; 8])).is_none());
}

#[test]
fn no_key_is_shown() {
    let ring = ring(Some("a"), &[("a", 65), ("b", 66)]);
    assert_eq!(
        format!("{ring:?}"),
        "KeyRing { active: Some(\"a\"), keys: [\"a\", \"b\"] }"
    );
    let mut head = SegmentHead::default();
    let cipher = ring.seal(&mut head).unwrap().unwrap();
    assert_eq!(format!("{cipher:?}"), "DataCipher(AES-256-GCM)");
    let live = format!("{:?}", LiveKeys::new(ring));
    assert!(!live.contains("65, 65") && !live.contains("AAAA"), "{live}");
}

#[test]
fn keys_are_equal_by_their_bytes() {
    let one = ring(Some("a"), &[("a", 1)]);
    assert_eq!(one, ring(Some("a"), &[("a", 1)]));
    assert_eq!(one.secrets().collect::<Vec<_>>(), [("a", &[1; KEY_BYTES][..])]);
    for other in [
        ring(None, &[("a", 1)]),
        ring(Some("a"), &[("a", 2)]),
        ring(Some("a"), &[("a", 1), ("b", 1)]),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn keys_are_written_raw_in_hexadecimal_or_in_base64() {
    let bytes: Vec<u8> = (200..232).collect();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let base64 = "yMnKy8zNzs/Q0dLT1NXW19jZ2tvc3d7f4OHi4+Tl5uc=";
    for text in [
        hex.clone(),
        hex.to_uppercase(),
        format!(" {hex}\n"),
        base64.to_owned(),
        base64.trim_end_matches('=').to_owned(),
        base64.replace('/', "_").replace('+', "-"),
        format!("{base64}\r\n"),
    ] {
        for may_be_raw in [true, false] {
            let key = key_of(text.as_bytes(), may_be_raw);
            assert_eq!(key.as_deref().map(Vec::as_slice), Ok(&bytes[..]), "{text}");
        }
    }
    assert_eq!(key_of(&bytes, true).unwrap()[..], bytes);
    assert!(key_of(&bytes, false).is_err());
    for (text, found) in [
        ("", "found 0 hexadecimal digits"),
        ("00112233445566778899aabbccddeeff", "found 32 hexadecimal digits"),
        (&hex[1..], "found 63 hexadecimal digits"),
        (&base64[1..], "found 43 bytes of something else"),
        ("correct horse", "found 13 bytes of something else"),
        (&base64.replace('y', "!"), "found 44 bytes of something else"),
    ] {
        let why = key_of(text.as_bytes(), true).unwrap_err();
        assert!(
            why.starts_with("expected 256 bits: 32 bytes, 64 hex") && why.ends_with(found),
            "{text}: {why}"
        );
        assert!(text.is_empty() || !why.contains(text), "no secret is shown");
    }
}

#[test]
fn encryption_is_complete_or_not_there() {
    assert_eq!(reading(&[]), (KeyRing::default(), Vec::new()));
    let all = [
        ("activeKey", "a"),
        ("cipherProvider", "AESCTRNOPADDING"),
        ("keyProvider", "file"),
    ];
    for (key, value) in all {
        let (_, told) = reading(&[(key, value), ("keyProvider.keys", "")]);
        for (other, _) in all.iter().filter(|(k, _)| *k != key) {
            let expected =
                format!("error encryption.{other}: required with the other properties of encryption");
            assert!(
                told.iter().any(|t| t.starts_with(&expected)),
                "{key}, {other}: {told:?}"
            );
        }
    }
    let all = [
        ("activeKey", "a"),
        ("cipherProvider", "AESGCMNOPADDING"),
        ("keyProvider", "env"),
    ];
    let (_, told) = reading(&[&all[..], &[("keyProvider.keys", " ")]].concat());
    assert_eq!(told, ["error encryption.keyProvider.keys: required, but empty"]);
    // A key provider's settings alone must not mean events in plain either.
    let (_, told) = reading(&[("keyProvider.keys", "a")]);
    assert!(
        told.iter()
            .any(|t| t.starts_with("error encryption.keyProvider: required")),
        "{told:?}"
    );
    let (_, told) = reading(&[
        ("activeKey", "a"),
        ("cipherProvider", "DES"),
        ("keyProvider", "x"),
        ("keyProvider.keys", "a"),
    ]);
    assert_eq!(
        told,
        [
            "error encryption.cipherProvider: expected AESCTRNOPADDING, AESGCMNOPADDING or NONE, found \"DES\"",
            "error encryption.keyProvider: expected JCEKSFILE, file or env, found \"x\"",
        ]
    );
}

#[test]
fn flumes_own_settings_are_read_with_keys_of_a_jceks_store() {
    let folder = TempDir::new();
    let password = secret(&folder, "password", b" changeit\n");
    let own = secret(&folder, "own", b"different");
    let keys = store("keys.jceks");
    let flumes = |cipher: &str, provider: &str| {
        reading(&[
            ("activeKey", "key-256"),
            ("cipherProvider", cipher),
            ("keyProvider", provider),
            ("keyProvider.keyStoreFile", &keys),
            ("keyProvider.keyStorePasswordFile", &password),
            ("keyProvider.keys", "key-128 key-192  key-256 Own-Password"),
            ("keyProvider.keys.Own-Password.passwordFile", &own),
        ])
    };
    let class = "org.apache.flume.channel.file.encryption.";
    let (ring, told) = flumes("AESCTRNOPADDING", "JCEKSFILE");
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("note encryption.cipherProvider: AES-256-GCM is used instead"),
        "{told:?}"
    );
    assert_eq!(
        format!("{ring:?}"),
        "KeyRing { active: Some(\"key-256\"), keys: [\"Own-Password\", \"key-128\", \"key-192\", \"key-256\"] }"
    );
    let builder = format!("{class}JCEKSFileKeyProvider$Builder");
    assert_eq!(
        flumes(&format!("{class}AESCTRNoPaddingProvider"), &builder).0,
        ring
    );
    assert_eq!(flumes("aesgcmnopadding", "jceksfile"), (ring, Vec::new()));
}

#[test]
// tidy: long function, because it is a table: a line for each mistake.
fn what_is_wrong_with_a_store_is_told_with_the_property_and_no_password() {
    let folder = TempDir::new();
    let password = secret(&folder, "password", b"changeit");
    let wrong = secret(&folder, "wrong", b"not this one");
    let large = secret(&folder, "large", &vec![b'x'; SECRET_BYTES_MAX as usize + 1]);
    let (keys, nowhere) = (
        store("keys.jceks"),
        folder.path().join("none").to_str().unwrap().to_owned(),
    );
    let told = |more: &[(&str, &str)]| {
        let mut all = vec![
            ("activeKey", "key-256"),
            ("cipherProvider", "AESGCMNOPADDING"),
            ("keyProvider", "JCEKSFILE"),
            ("keyProvider.keyStoreFile", keys.as_str()),
            ("keyProvider.keyStorePasswordFile", password.as_str()),
            ("keyProvider.keys", "key-256"),
        ];
        all.retain(|(key, _)| !more.iter().any(|(k, _)| k == key));
        all.extend(more);
        let (_, told) = reading(&all);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(!told[0].contains("not this one"), "{told:?}");
        told[0].clone()
    };
    for (more, expected) in [
        (
            vec![("keyProvider.keyStorePasswordFile", wrong.as_str())],
            "error encryption.keyProvider.keyStorePasswordFile: ",
        ),
        (
            vec![("keyProvider.keyStorePasswordFile", nowhere.as_str())],
            "error encryption.keyProvider.keyStorePasswordFile: ",
        ),
        (
            vec![("keyProvider.keyStorePasswordFile", large.as_str())],
            "error encryption.keyProvider.keyStorePasswordFile: ",
        ),
        (
            vec![("keyProvider.keyStoreFile", nowhere.as_str())],
            "error encryption.keyProvider.keyStoreFile: ",
        ),
        (
            vec![("keyProvider.keyStoreFile", "")],
            "error encryption.keyProvider.keyStoreFile: required, but empty",
        ),
        (
            vec![("activeKey", "key-1")],
            "error encryption.activeKey: expected one of encryption.keyProvider.keys (key-256), found \"key-1\"",
        ),
        (
            vec![("keyProvider.keys", "key-256 key-3")],
            "error encryption.keyProvider.keys: \"key-3\" is no secret key of ",
        ),
        (
            vec![("keyProvider.keys", "key-256 own-password")],
            "error encryption.keyProvider.keys.own-password.passwordFile: required: the key has another password",
        ),
        (
            vec![
                ("keyProvider.keys", "key-256 own-password"),
                ("keyProvider.keys.own-password.passwordFile", wrong.as_str()),
            ],
            "error encryption.keyProvider.keys.own-password.passwordFile: what it names is not the password",
        ),
        (
            vec![("keyProvider.keys", "key-256 des")],
            "error encryption.keyProvider.keys: \"des\" of ",
        ),
        (
            vec![("keyProvider.keyStorefile", "x")],
            "warning encryption.keyProvider.keyStorefile: unknown, ignored; did you mean",
        ),
    ] {
        let told = told(&more);
        assert!(told.starts_with(expected), "{told}");
    }
    let other = told(&[("keyProvider.keyStoreFile", &store("rsa.jks"))]);
    assert!(
        other.contains("is a JKS store; keys are read from JCEKS"),
        "{other}"
    );
    let other = told(&[("keyProvider.keyStoreFile", &store("ec.p12"))]);
    assert!(
        other.contains("is a PKCS12 store; keys are read from JCEKS"),
        "{other}"
    );
}

#[test]
fn keys_come_from_files_of_a_folder_or_one_by_one() {
    let folder = TempDir::new();
    let one = secret(&folder, "one", &[1; 32]);
    secret(&folder, "two", "02".repeat(32).as_bytes());
    let at = folder.path().to_str().unwrap();
    let all = [
        ("activeKey", "one"),
        ("cipherProvider", "AESGCMNOPADDING"),
        ("keyProvider", "file"),
    ];
    let with = |more: &[(&str, &str)]| reading(&[&all[..], more].concat());
    let expected = ring(Some("one"), &[("one", 1), ("two", 2)]);
    let found = with(&[("keyProvider.keys", "one two"), ("keyProvider.keyFolder", at)]);
    assert_eq!(found, (expected, Vec::new()));
    let found = with(&[
        ("keyProvider.keys", "one"),
        ("keyProvider.keys.one.keyFile", &one),
    ]);
    assert_eq!(found, (ring(Some("one"), &[("one", 1)]), Vec::new()));

    secret(&folder, "bad", b"hunter2");
    let (_, told) = with(&[
        ("keyProvider.keys", "one two bad none ../one"),
        ("keyProvider.keyFolder", at),
    ]);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        told[0].contains("\"../one\" is no name of a file in keyFolder"),
        "{told:?}"
    );
    assert!(
        told[1].contains("/bad\" holds no key: expected 256 bits") && !told[1].contains("hunter2"),
        "{told:?}"
    );
    assert!(
        told[2].contains("/none\" cannot be read: No such file"),
        "{told:?}"
    );
    let (_, told) = with(&[("keyProvider.keys", "one")]);
    assert!(
        told[0].contains("keys.one.keyFile: required without keyFolder"),
        "{told:?}"
    );
    let (_, told) = with(&[("keyProvider.keys", "one"), ("keyProvider.keys.one.keyFile", at)]);
    assert!(told[0].contains("cannot be read: it is no file"), "{told:?}");
}

#[test]
fn a_secret_that_everybody_may_read_is_noted() {
    use std::os::unix::fs::PermissionsExt;
    let folder = TempDir::new();
    let path = secret(&folder, "one", &[1; 32]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let (_, told) = reading(&[
        ("activeKey", "one"),
        ("cipherProvider", "AESGCMNOPADDING"),
        ("keyProvider", "file"),
        ("keyProvider.keys", "one"),
        ("keyProvider.keys.one.keyFile", &path),
    ]);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("may be read by everybody on this machine; chmod 600 it"),
        "{told:?}"
    );
}

#[test]
fn keys_come_from_variables() {
    // What cargo sets is there in every test, and is no key.
    let (_, told) = reading(&[
        ("activeKey", "a-b"),
        ("cipherProvider", "AESGCMNOPADDING"),
        ("keyProvider", "env"),
        ("keyProvider.keys", "a-b c"),
        ("keyProvider.keys.c.variable", "CARGO_MANIFEST_DIR"),
    ]);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("keys.a-b.variable: the variable MILLRACE_KEY_A_B is not set"),
        "{told:?}"
    );
    assert!(
        told[1].contains("the variable CARGO_MANIFEST_DIR holds no key: expected 256 bits"),
        "{told:?}"
    );
    assert!(!told[1].contains(env!("CARGO_MANIFEST_DIR")), "{told:?}");
}

#[test]
fn names_of_keys_have_limits() {
    let long = "k".repeat(KEY_ID_BYTES_MAX + 1);
    let many: Vec<String> = (0..=KEYS_MAX).map(|n| n.to_string()).collect();
    let told = |names: &str| {
        let (_, told) = reading(&[
            ("activeKey", "1"),
            ("cipherProvider", "AESGCMNOPADDING"),
            ("keyProvider", "env"),
            ("keyProvider.keys", names),
        ]);
        told.join("\n")
    };
    assert!(told(&long).contains("a name of 256 bytes, at most 255 fit"));
    assert!(!told(&long[1..]).contains("a name of"));
    assert!(told(&many.join(" ")).contains("1001 names, at most 1000 are read"));
    assert!(!told(&many[1..].join(" ")).contains("names, at most"));
}
