//! Key stores that the `keytool` of this machine's JDK writes now, in every format, algorithm and setting that people
//! use: read by us, and served and trusted in a handshake. `tests/stores` holds what one JDK wrote once; this is
//! about the others.
//!
//! Without `keytool` the tests are skipped loudly, and fail with `MILLRACE_PEERS=required`.

#![allow(clippy::unwrap_used, reason = "in tests a panic is the answer")]

mod java;

use node::component::keys::{Finding, Keys};
use node::io::keystore::{Error, Format, KeyError, read_file};
use node::io::tls::{ClientTls, ServerTls, TlsDefaults};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("millrace-keystores-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs `keytool` on a store with words separated by blanks; none if there is no keytool.
fn keytool(store: &Path, password: &str, words: &str) -> Option<()> {
    let password = password_file(store, password);
    let ran = Command::new("keytool")
        .arg("-J-Dfile.encoding=UTF-8")
        .args(words.split_whitespace())
        .arg("-keystore")
        .arg(store)
        // Not on the command line, whose encoding is the locale's.
        .arg("-storepass:file")
        .arg(&password)
        .stdin(Stdio::null())
        .output();
    match ran {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => panic!(
            "keytool {words}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => missing(&error.to_string()),
    }
}

fn password_file(store: &Path, password: &str) -> PathBuf {
    let path = store.with_extension("password");
    std::fs::write(&path, password).unwrap();
    path
}

fn missing<T>(reason: &str) -> Option<T> {
    let required = std::env::var("MILLRACE_PEERS").is_ok_and(|value| value == "required");
    assert!(
        !required,
        "keytool is missing and MILLRACE_PEERS=required: {reason}"
    );
    // Not `eprintln!`: the test harness keeps that back as long as a test passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED: keytool is missing: {reason}");
    None
}

fn found(keys: Keys) -> String {
    let texts: Vec<String> = keys.finish().iter().map(Finding::to_string).collect();
    texts.join("\n")
}

/// A handshake and a byte between a listener with this store and a client that trusts what is in it.
async fn serves(store: &Path, password: &str) {
    let store = store.to_str().unwrap();
    let mut keys = Keys::of(
        "r1",
        &[
            ("ssl", "true"),
            ("keystore", store),
            ("keystore-password", password),
        ],
    );
    let server = ServerTls::read(&mut keys, &TlsDefaults::default());
    let server = server.unwrap_or_else(|| panic!("{}", found(keys)));
    let mut keys = Keys::of(
        "k1",
        &[
            ("ssl", "true"),
            ("truststore", store),
            ("truststore-password", password),
        ],
    );
    let client = ClientTls::read(&mut keys, &TlsDefaults::default());
    let client = client.unwrap_or_else(|| panic!("{}", found(keys)));
    let (near, far) = duplex(64 << 10);
    let serve = async {
        let mut stream = server.accept(far).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
    };
    let connect = async {
        let mut stream = client.connect("h", near).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
    };
    tokio::join!(serve, connect);
}

#[tokio::test]
async fn every_kind_of_key_is_served_from_every_kind_of_store() {
    let folder = Folder::new("served");
    let algorithms = [
        ("RSA", "-keyalg RSA -keysize 2048"),
        ("EC", "-keyalg EC -groupname secp256r1"),
        ("EC", "-keyalg EC -groupname secp521r1"),
        ("Ed25519", "-keyalg Ed25519"),
        ("RSA", "-keyalg RSA -keysize 3072 -sigalg SHA384withRSA"),
    ];
    // With how many of these algorithms.
    let stores = [
        (5, "-storetype JKS", Format::Jks),
        (2, "-storetype JCEKS", Format::Jceks),
        (4, "-storetype PKCS12", Format::Pkcs12),
        (2, "-storetype PKCS12 -J-Dkeystore.pkcs12.legacy", Format::Pkcs12),
        (
            2,
            "-storetype PKCS12 -J-Dkeystore.pkcs12.macAlgorithm=HmacPBESHA512 \
             -J-Dkeystore.pkcs12.keyProtectionAlgorithm=PBEWithHmacSHA512AndAES_256",
            Format::Pkcs12,
        ),
    ];
    for (number, (count, kind, format)) in stores.into_iter().enumerate() {
        for (at, (algorithm, choice)) in algorithms.into_iter().take(count).enumerate() {
            let store = folder.path(&format!("{number}-{at}"));
            let words = format!("-genkeypair -alias server -dname CN=h -keypass changeit {kind} {choice}");
            if keytool(&store, "changeit", &words).is_none() {
                return;
            }
            let read = read_file(&store, Some("changeit")).unwrap();
            assert_eq!(read.format, format, "{words}");
            assert_eq!(read.keys[0].algorithm(), algorithm, "{words}");
            serves(&store, "changeit").await;
            let wrong = read_file(&store, Some("changeme"));
            assert!(matches!(wrong, Err(Error::Password)), "{words}: {wrong:?}");
        }
    }
}

#[tokio::test]
async fn passwords_and_names_of_any_script_are_read() {
    let folder = Folder::new("script");
    let store = folder.path("jks");
    let password = "pä€ss-wörd";
    let key_password = password_file(&folder.path("key"), password);
    let words = format!(
        "-genkeypair -storetype JKS -keyalg EC -alias server -dname CN=h -keypass:file {}",
        key_password.display()
    );
    if keytool(&store, password, &words).is_none() {
        return;
    }
    serves(&store, password).await;
    assert!(matches!(
        read_file(&store, Some("pä€ss-word")),
        Err(Error::Password)
    ));
}

#[test]
fn many_entries_and_their_changes_are_read() {
    let folder = Folder::new("many");
    for kind in ["JKS", "PKCS12"] {
        let (store, pem) = (folder.path(kind), folder.path(&format!("{kind}.pem")));
        let make = |alias: &str, algorithm: &str| {
            let words = format!(
                "-genkeypair -storetype {kind} -alias {alias} -dname CN={alias} -keyalg {algorithm} -keypass changeit"
            );
            keytool(&store, "changeit", &words)
        };
        if make("one", "EC").is_none() {
            return;
        }
        make("two", "RSA").unwrap();
        let run = |words: String| keytool(&store, "changeit", &words).unwrap();
        run(format!("-exportcert -rfc -alias one -file {}", pem.display()));
        run(format!(
            "-importcert -noprompt -alias three -file {}",
            pem.display()
        ));
        run("-changealias -alias one -destalias four -keypass changeit".to_owned());
        let read = read_file(&store, Some("changeit")).unwrap();
        let mut names: Vec<&str> = read.keys.iter().map(|key| key.alias.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["four", "two"], "{kind}");
        let four = read.keys.iter().find(|key| key.alias == "four").unwrap();
        assert_eq!(read.trusted, four.chain, "{kind}");
        assert_eq!(read.trust().count(), 3, "{kind}");
        if kind == "JKS" {
            let other = password_file(&folder.path("other"), "different");
            run(format!(
                "-keypasswd -alias two -keypass changeit -new:file {}",
                other.display()
            ));
            let read = read_file(&store, Some("changeit")).unwrap();
            let two = read.keys.iter().find(|key| key.alias == "two").unwrap();
            assert_eq!(two.private().unwrap_err(), KeyError::Password);
        }
    }
}

#[test]
fn secret_keys_are_what_java_says_they_are() {
    let folder = Folder::new("secret");
    let store = folder.path("jceks");
    for (alias, bits, password) in [
        ("one", 128, "changeit"),
        ("two", 192, "changeit"),
        ("three", 256, "different"),
    ] {
        let words = format!(
            "-genseckey -storetype JCEKS -alias {alias} -keyalg AES -keysize {bits} -keypass {password}"
        );
        if keytool(&store, "changeit", &words).is_none() {
            return;
        }
    }
    let input = format!(
        "{}\nchangeit\none changeit\ntwo changeit\nthree different\n",
        store.display()
    );
    let Some(answer) = java::ask("SecretKeys.java", &[], &input) else {
        return;
    };
    let read = read_file(&store, Some("changeit")).unwrap();
    let ours = |alias: &str, password: &str| {
        let key = read.secrets.iter().find(|key| key.alias == alias).unwrap();
        let opened = key.open(password).unwrap();
        let hex: String = opened.bytes.iter().map(|b| format!("{b:02x}")).collect();
        format!("{alias} {} {hex}", opened.algorithm)
    };
    let ours = [
        ours("one", "changeit"),
        ours("two", "changeit"),
        ours("three", "different"),
    ];
    assert_eq!(answer.lines().collect::<Vec<_>>(), ours);
}
