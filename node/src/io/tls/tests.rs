//! Both sides of a handshake in one process, over the stores of `tests/stores`; and what is said of bad settings.

use super::*;
use crate::component::contract::{TempDir, soon};
use crate::component::keys::Finding;
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn stored(name: &str) -> String {
    format!("{}/tests/stores/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Properties with the path of a store where a value begins with `@`.
fn keys(pairs: Pairs<'_>) -> Keys {
    let pairs: Vec<(&str, String)> = pairs
        .iter()
        .map(|(key, value)| {
            (
                *key,
                value
                    .strip_prefix('@')
                    .map_or_else(|| (*value).to_owned(), stored),
            )
        })
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Keys::of("x", &pairs)
}

fn texts(keys: Keys) -> Vec<String> {
    let folder = stored("");
    let text = |f: &Finding| {
        let property = f.property.as_deref().unwrap_or("-");
        let line = format!("{} {} {property}: {}", f.severity, f.code, f.message);
        line.replace(&folder, "")
    };
    keys.finish().iter().map(text).collect()
}

fn server_with(
    pairs: Pairs<'_>,
    defaults: &TlsDefaults,
    dialect: &Dialect,
) -> (Option<ServerTls>, Vec<String>) {
    let mut keys = keys(pairs);
    let tls = ServerTls::read_with(&mut keys, defaults, dialect);
    (tls, texts(keys))
}

/// What is said of a listener's settings.
fn said(pairs: Pairs<'_>) -> Vec<String> {
    let (tls, said) = server_with(pairs, &TlsDefaults::default(), &Dialect::COMMON);
    assert_eq!(
        tls.is_none(),
        said.iter().any(|line| line.starts_with("error")),
        "{said:?}"
    );
    said
}

fn server(store: &str, more: Pairs<'_>) -> ServerTls {
    let pairs = [
        &[
            ("ssl", "true"),
            ("keystore", store),
            ("keystore-password", "changeit"),
        ],
        more,
    ]
    .concat();
    let (tls, said) = server_with(&pairs, &TlsDefaults::default(), &Dialect::COMMON);
    tls.unwrap_or_else(|| panic!("{said:?}"))
}

fn client_said(pairs: Pairs<'_>) -> (Option<ClientTls>, Vec<String>) {
    let mut keys = keys(&[&[("ssl", "true")], pairs].concat());
    let tls = ClientTls::read(&mut keys, &TlsDefaults::default());
    (tls, texts(keys))
}

fn client(pairs: Pairs<'_>) -> ClientTls {
    let (tls, said) = client_said(pairs);
    tls.unwrap_or_else(|| panic!("{said:?}"))
}

fn trusting(store: &str) -> ClientTls {
    client(&[("truststore", store), ("truststore-password", "changeit")])
}

/// A handshake, and a word each way; what both sides say to it.
async fn shake_as(
    server: &ServerTls,
    client: &ClientTls,
    host: &str,
) -> Result<ProtocolVersion, (String, String)> {
    let (near, far) = duplex(16 << 10);
    let serve = async {
        let mut stream = server.accept(far).await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.flush().await?;
        Ok::<_, io::Error>(stream.get_ref().1.protocol_version())
    };
    let connect = async {
        let mut stream = client.connect(host, near).await?;
        stream.write_all(b"ping").await?;
        stream.flush().await?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await?;
        assert_eq!(&word, b"ping");
        Ok::<_, io::Error>(())
    };
    match soon(async { tokio::join!(serve, connect) }).await {
        (Ok(version), Ok(())) => Ok(version.unwrap()),
        (server, client) => {
            let text = |e: Option<io::Error>| e.map_or(String::new(), |e| e.to_string());
            Err((text(server.err()), text(client.err())))
        }
    }
}

async fn shake(server: &ServerTls, client: &ClientTls) -> Result<ProtocolVersion, (String, String)> {
    shake_as(server, client, "some.host").await
}

#[tokio::test]
async fn every_kind_of_store_serves_a_client_that_trusts_it() {
    for (store, trust) in [
        ("@rsa.jks", "@rsa.jks"),
        ("@ec.jks", "@ec.jks"),
        ("@ec.p12", "@ec.p12"),
        ("@rsa_legacy.p12", "@rsa_legacy.p12"),
        ("@chain.jks", "@trust.jks"),
        ("@chain.p12", "@trust.p12"),
        ("@chain.p12", "@trust_open.p12"),
        ("@chain.jks", "@trust_openssl.p12"),
    ] {
        let version = shake(&server(store, &[]), &trusting(trust)).await;
        assert_eq!(version, Ok(ProtocolVersion::TLSv1_3), "{store} {trust}");
    }
}

#[tokio::test]
async fn the_type_of_a_store_is_what_it_contains() {
    for (store, named) in [("@ec.p12", "JKS"), ("@ec.jks", "PKCS12"), ("@ec.jks", "jks")] {
        let server = server(store, &[("keystore-type", named)]);
        shake(&server, &client(&[("trust-all-certs", "true")]))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn protocols_are_chosen_by_both_lists() {
    let trust = |more: Pairs<'_>| {
        let trust = [("truststore", "@ec.jks"), ("truststore-password", "changeit")];
        client(&[&trust, more].concat())
    };
    let only_12 = trust(&[("include-protocols", "TLSv1.2")]);
    let all = server("@ec.jks", &[]);
    assert_eq!(shake(&all, &only_12).await, Ok(ProtocolVersion::TLSv1_2));
    // Acceptance case 104 of the sources.
    let without_12 = server("@ec.jks", &[("exclude-protocols", "SSLv3 tlsv1.2")]);
    assert_eq!(
        shake(&without_12, &trust(&[])).await,
        Ok(ProtocolVersion::TLSv1_3)
    );
    let (server_said, client_said) = shake(&without_12, &only_12).await.unwrap_err();
    assert!(
        server_said.contains("the peer has no TLS version or cipher suite"),
        "{server_said}"
    );
    assert!(client_said.contains("the peer refused"), "{client_said}");
}

#[tokio::test]
async fn each_client_gets_the_key_that_it_can_check() {
    let both = server("@both.jks", &[]);
    for suite in [
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ] {
        let client = client(&[
            ("include-protocols", "TLSv1.2"),
            ("include-cipher-suites", suite),
            ("truststore", "@both.jks"),
        ]);
        assert_eq!(
            shake(&both, &client).await,
            Ok(ProtocolVersion::TLSv1_2),
            "{suite}"
        );
    }
}

#[tokio::test]
async fn whoever_is_not_trusted_is_refused_with_the_reason() {
    for (store, trust, reason) in [
        ("@ec.jks", "@trust.jks", "nobody in the trust store has signed"),
        ("@chain.p12", "@ec.jks", "nobody in the trust store has signed"),
        ("@expired.p12", "@trust.p12", "the peer's certificate has expired"),
    ] {
        let (server_said, client_said) = shake(&server(store, &[]), &trusting(trust)).await.unwrap_err();
        assert!(client_said.contains(reason), "{store}: {client_said}");
        assert!(server_said.contains("the peer refused"), "{store}: {server_said}");
    }
    // What stands in the trust store itself is trusted as it is, as in Java.
    shake(&server("@expired.p12", &[]), &trusting("@expired.p12"))
        .await
        .unwrap();
    let anyone = client(&[("trust-all-certs", "true")]);
    shake(&server("@expired.p12", &[]), &anyone).await.unwrap();
}

#[tokio::test]
async fn host_names_count_for_https_only() {
    let defaults = TlsDefaults {
        truststore: Some(stored("trust.jks")),
        ..TlsDefaults::default()
    };
    let mut keys = Keys::of("x", &[]);
    let https = ClientTls::https(&mut keys, &defaults).unwrap();
    assert_eq!(texts(keys), [""; 0]);
    let server = server("@chain.jks", &[]);
    for host in ["localhost", "127.0.0.1", "[127.0.0.1]"] {
        shake_as(&server, &https, host).await.unwrap();
    }
    for host in ["some.host", "127.0.0.2"] {
        let (_, client_said) = shake_as(&server, &https, host).await.unwrap_err();
        assert!(client_said.contains("is for another name"), "{client_said}");
    }
    // One that is named in the trust store needs no chain, but its name.
    let named = TlsDefaults {
        truststore: Some(stored("other_key_password.jks")),
        ..TlsDefaults::default()
    };
    assert!(ClientTls::https(&mut Keys::of("x", &[]), &named).is_some());
    for host in ["some.host", "a_b", "::1", "no name at all"] {
        shake_as(&server, &trusting("@trust.jks"), host).await.unwrap();
    }
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_told_apart_from_one_that_is_silent() {
    let (mut near, far) = duplex(16 << 10);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = server("@ec.jks", &[]).accept(far).await.unwrap_err();
    assert!(
        error.to_string().contains("the peer does not speak TLS"),
        "{error}"
    );

    let (mut near, far) = duplex(16 << 10);
    let answer = async {
        let mut hello = [0; 64];
        let _ = near.read(&mut hello).await;
        near.write_all(b"220 hello\r\n").await.unwrap();
    };
    let tls = trusting("@ec.jks");
    let (error, ()) = tokio::join!(tls.connect("h", far), answer);
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("the peer does not speak TLS"),
        "{error}"
    );

    let (near, far) = duplex(16 << 10);
    drop(near);
    let error = server("@ec.jks", &[]).accept(far).await.unwrap_err();
    assert!(
        error.to_string().contains("the peer closed the connection"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_given_up() {
    let (_near, far) = duplex(16 << 10);
    let error = server("@ec.jks", &[]).accept(far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), "no TLS handshake within 10s");
}

#[test]
fn off_is_off_and_the_rest_has_no_effect() {
    let (tls, said) = server_with(
        &[
            ("ssl", "false"),
            ("keystore", "@none"),
            ("exclude-protocols", "x"),
        ],
        &TlsDefaults::default(),
        &Dialect::COMMON,
    );
    assert!(tls.is_none());
    assert_eq!(
        said,
        [
            "warning no-effect keystore: has no effect without ssl = true",
            "warning no-effect exclude-protocols: has no effect without ssl = true",
        ]
    );
    // Defaults of the agent never turn it on.
    let defaults = TlsDefaults {
        keystore: Some(stored("ec.jks")),
        keystore_password: Some("changeit".to_owned()),
        ..TlsDefaults::default()
    };
    let (tls, said) = server_with(&[], &defaults, &Dialect::COMMON);
    assert!(tls.is_none() && said.is_empty());
}

#[test]
fn a_keystore_that_does_not_serve_is_told_with_the_reason() {
    let with = |store: &str, password: &str| {
        said(&[
            ("ssl", "true"),
            ("keystore", store),
            ("keystore-password", password),
        ])
    };
    let one = |store: &str, password: &str| {
        let said = with(store, password);
        assert_eq!(said.len(), 1, "{said:?}");
        said[0].clone()
    };
    assert_eq!(
        said(&[("ssl", "true")]),
        [
            "error missing keystore: required with ssl = true, but not there; neither is javax.net.ssl.keyStore or FLUME_SSL_KEYSTORE_PATH",
            "error missing keystore-password: required with ssl = true, but not there; neither is javax.net.ssl.keyStorePassword or FLUME_SSL_KEYSTORE_PASSWORD",
        ]
    );
    assert_eq!(
        one("@none.jks", "changeit"),
        "error bad-value keystore: \"none.jks\" cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(one("@", "changeit"), "error bad-value keystore: \"\" is no file");
    assert_eq!(
        one("@rsa.jks", "secret!"),
        "error bad-value keystore-password: \"rsa.jks\" is not opened by it: the password is wrong, or the file was changed"
    );
    assert_eq!(
        one("@other_key_password.jks", "changeit"),
        "error bad-value keystore: \"other_key_password.jks\": its key \"server\" has another password than the store; they must be equal (keytool -keypasswd)"
    );
    assert_eq!(
        one("@trust.jks", "changeit"),
        "error bad-value keystore: \"trust.jks\": has no private key, but 1 trusted certificates; a server needs a key"
    );
    let dsa = one("@dsa.jks", "changeit");
    assert!(
        dsa.contains("its key \"server\" cannot be used: it is a DSA key, and RSA"),
        "{dsa}"
    );
    assert!(one("@README.md", "changeit").contains("is neither JKS nor JCEKS nor PKCS12 but something else"));
    assert!(one("@secret.jceks", "changeit").contains("has no private key, but 0 trusted"));
    assert_eq!(
        said(&[
            ("ssl", "true"),
            ("keystore", "@ec.jks"),
            ("keystore-password", "changeit"),
            ("keystore-type", "PKCS2"),
        ]),
        [
            "warning bad-value keystore-type: expected JKS, JCEKS or PKCS12, found \"PKCS2\"; the content of the file decides; did you mean \"PKCS12\"?"
        ]
    );
}

#[test]
fn lists_that_leave_nothing_or_ask_for_what_is_not_there_are_told() {
    let with = |more: Pairs<'_>| {
        let store = [
            ("ssl", "true"),
            ("keystore", "@ec.jks"),
            ("keystore-password", "changeit"),
        ];
        said(&[&store, more].concat())
    };
    assert_eq!(with(&[("exclude-protocols", "SSLv3 TLSv1 TLSv1.1")]), [""; 0]);
    assert_eq!(
        with(&[("exclude-cipher-suites", "TLS_RSA_WITH_AES_128_CBC_SHA SSL_X")]),
        [""; 0]
    );
    assert_eq!(
        with(&[("include-protocols", "TLSv1.1 TLSv1.2 TLSv1.4")]),
        [
            "warning bad-value include-protocols: ignored, for it does not exist here: TLSv1.1",
            "warning bad-value include-protocols: \"TLSv1.4\" is unknown, ignored; did you mean \"TLSv1.2\"?",
        ]
    );
    assert_eq!(
        with(&[("include-protocols", "SSLv3")]),
        [
            "warning bad-value include-protocols: ignored, for it does not exist here: SSLv3",
            "error bad-value include-protocols: no protocol is left; there are TLSv1.2 and TLSv1.3",
        ]
    );
    assert_eq!(
        with(&[("exclude-protocols", "TLSv1.2,TLSv1.3")]),
        ["error bad-value exclude-protocols: no protocol is left; there are TLSv1.2 and TLSv1.3"]
    );
    let none = with(&[("include-cipher-suites", "TLS_RSA_WITH_AES_128_CBC_SHA")]);
    assert_eq!(none.len(), 2, "{none:?}");
    assert!(none[1].starts_with(
        "error bad-value include-cipher-suites: no cipher suite is left; there are TLS_AES_256_GCM_SHA384 "
    ));
    // A suite of 1.2 only, and only 1.3.
    let none = with(&[
        ("include-protocols", "TLSv1.3"),
        ("include-cipher-suites", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
    ]);
    assert!(none[0].contains("no cipher suite is left"), "{none:?}");
    // Suites of 1.2 only, for a key of another kind.
    let none = with(&[("include-cipher-suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")]);
    assert_eq!(
        none,
        ["error bad-value keystore: no cipher suite that is allowed goes with its keys: EC"]
    );
}

#[tokio::test]
async fn the_agents_defaults_count_where_the_component_says_nothing() {
    // Acceptance case 105 of the sources.
    let properties = [
        ("javax.net.ssl.keyStore", stored("ec.jks")),
        ("javax.net.ssl.keyStorePassword", "changeit".to_owned()),
        ("flume.ssl.include.protocols", "TLSv1.2, TLSv1.1".to_owned()),
    ];
    let properties = properties.map(|(key, value)| (key.to_owned(), value)).into();
    let defaults = TlsDefaults::of(&properties);
    let (tls, said) = server_with(&[("ssl", "true")], &defaults, &Dialect::COMMON);
    assert_eq!(
        said,
        [
            "warning bad-value include-protocols: ignored, for it does not exist here: TLSv1.1 (from flume.ssl.include.protocols, which counts where the component says nothing)"
        ]
    );
    let version = shake(&tls.unwrap(), &trusting("@ec.jks")).await;
    assert_eq!(version, Ok(ProtocolVersion::TLSv1_2));

    let (tls, _) = server_with(
        &[("ssl", "true"), ("include-protocols", "TLSv1.3")],
        &defaults,
        &Dialect::COMMON,
    );
    let version = shake(&tls.unwrap(), &trusting("@ec.jks")).await;
    assert_eq!(version, Ok(ProtocolVersion::TLSv1_3));

    let (tls, said) = server_with(
        &[("ssl", "true"), ("keystore-password", "x")],
        &defaults,
        &Dialect::COMMON,
    );
    assert!(tls.is_none());
    assert!(
        said.iter()
            .any(|line| line.starts_with("error bad-value keystore-password: \"ec.jks\" is not opened"))
    );
    assert!(!format!("{defaults:?}").contains("changeit"));
}

#[test]
fn http_has_old_spellings_and_patterns() {
    let old: Pairs<'_> = &[
        ("enableSSL", "true"),
        ("keystore", "@ec.jks"),
        ("keystorePassword", "changeit"),
        ("excludeProtocols", "TLSv1.2"),
        (
            "exclude-cipher-suites",
            ".*_128_.* SSL_.* TLS_CHACHA20_POLY1305_SHA256",
        ),
    ];
    let (tls, said) = server_with(old, &TlsDefaults::default(), &Dialect::HTTP);
    assert!(tls.is_some());
    assert_eq!(
        said,
        [
            "warning deprecated enableSSL: deprecated, the key is now \"ssl\"",
            "warning deprecated excludeProtocols: deprecated, the key is now \"exclude-protocols\"",
            "warning deprecated keystorePassword: deprecated, the key is now \"keystore-password\"",
        ]
    );
    let (tls, said) = server_with(
        &[("ssl", "false"), ("enableSSL", "true")],
        &TlsDefaults::default(),
        &Dialect::HTTP,
    );
    assert!(tls.is_none());
    assert_eq!(said, ["warning no-effect enableSSL: has no effect beside ssl"]);
    let bad = [old, &[("include-cipher-suites", "(")]].concat();
    let (tls, said) = server_with(&bad, &TlsDefaults::default(), &Dialect::HTTP);
    assert!(tls.is_none());
    assert!(
        said.iter()
            .any(|l| l.starts_with("error bad-value include-cipher-suites: \"(\" is no pattern"))
    );
    // To all others they are names.
    let (_, said) = server_with(old, &TlsDefaults::default(), &Dialect::COMMON);
    assert!(
        said.iter()
            .any(|line| line.starts_with("warning unknown-key enableSSL")),
        "{said:?}"
    );
}

#[test]
fn a_trust_store_of_no_use_is_told_with_the_reason() {
    let (tls, said) = client_said(&[("truststore", "@trust.jks"), ("truststore-password", "wrong")]);
    assert!(tls.is_none());
    assert_eq!(
        said,
        [
            "error bad-value truststore-password: \"trust.jks\" is not opened by it: the password is wrong, or the file was changed"
        ]
    );
    let (tls, said) = client_said(&[("truststore", "@trust.p12")]);
    assert!(tls.is_none());
    assert_eq!(
        said,
        [
            "error bad-value truststore: \"trust.p12\" needs a password: what is in a PKCS12 store is encrypted"
        ]
    );
    // Without integrity, as in Flume.
    assert!(client_said(&[("truststore", "@trust.jks")]).0.is_some());
    // The store is not read at all.
    let (tls, said) = client_said(&[("truststore", "@none"), ("trust-all-certs", "true")]);
    assert!(tls.is_some());
    assert_eq!(
        said,
        ["warning no-effect truststore: has no effect with trust-all-certs = true"]
    );
    let folder = TempDir::new();
    let empty = folder.path().join("empty.jks");
    let digest = [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2, 0, 0, 0, 0]
        .into_iter()
        .chain([0; 20]);
    std::fs::write(&empty, digest.collect::<Vec<u8>>()).unwrap();
    let (tls, said) = client_said(&[("truststore", empty.to_str().unwrap())]);
    assert!(tls.is_none());
    assert!(
        said[0].ends_with("holds no certificate: nobody could be trusted"),
        "{said:?}"
    );
    let mut off = Keys::of("x", &[("truststore", "x"), ("trust-all-certs", "true")]);
    assert!(ClientTls::read(&mut off, &TlsDefaults::default()).is_none());
    assert_eq!(texts(off).len(), 2);
}

#[test]
fn https_tells_whose_setting_is_at_fault() {
    let defaults = TlsDefaults {
        truststore: Some(stored("none.jks")),
        ..TlsDefaults::default()
    };
    let mut keys = Keys::of("x", &[]);
    assert!(ClientTls::https(&mut keys, &defaults).is_none());
    assert_eq!(
        texts(keys),
        [
            "error cannot-build -: TLS: truststore: \"none.jks\" cannot be read: No such file or directory (os error 2) (from javax.net.ssl.trustStore, which counts where the component says nothing)"
        ]
    );
}
