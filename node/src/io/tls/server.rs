//! TLS of a listener: its keys are a Java key store's. Client certificates are never asked for, as in Flume.

use super::{
    KEYSTORE, KEYSTORE_PASSWORD, KEYSTORE_TYPE, Reader, Setting, TlsDefaults, handshake, lists, missing,
    provider, store,
};
use crate::component::keys::Keys;
use crate::io::keystore::{Key, Store};
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

/// How one type of source differs in the names and the meaning of its TLS properties.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Old spellings that count where the new one is not there: old, new.
    pub old: &'static [(&'static str, &'static str)],
    /// Whether entries in lists of cipher suites are Java patterns.
    pub suite_patterns: bool,
}

impl Dialect {
    /// Of all but the http source.
    pub const COMMON: Self = Self {
        old: &[],
        suite_patterns: false,
    };
    /// Of the http source, which hands the lists to Jetty.
    pub const HTTP: Self = Self {
        old: &[
            ("enableSSL", "ssl"),
            ("keystorePassword", "keystore-password"),
            ("excludeProtocols", "exclude-protocols"),
        ],
        suite_patterns: true,
    };
}

/// TLS of a listener.
#[derive(Clone)]
pub struct ServerTls(TlsAcceptor);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// Reads `ssl` and the keys that go with it; none when `ssl` is off. What is wrong is noted in `keys`.
    pub fn read(keys: &mut Keys, defaults: &TlsDefaults) -> Option<Self> {
        Self::read_with(keys, defaults, &Dialect::COMMON)
    }

    /// As [`read`](Self::read), for a source with a dialect of its own.
    pub fn read_with(keys: &mut Keys, defaults: &TlsDefaults, dialect: &Dialect) -> Option<Self> {
        let mut reader = Reader {
            keys,
            defaults,
            dialect,
        };
        if !reader.is_on() {
            reader.mute(&SERVER_KEYS);
            return None;
        }
        let allowed = lists::read(&mut reader);
        let path = reader.setting(KEYSTORE);
        let password = reader.setting(KEYSTORE_PASSWORD);
        let kind = reader.setting(KEYSTORE_TYPE);
        if path.is_none() {
            missing(keys, KEYSTORE, "FLUME_SSL_KEYSTORE_PATH");
        }
        if password.is_none() {
            missing(keys, KEYSTORE_PASSWORD, "FLUME_SSL_KEYSTORE_PASSWORD");
        }
        let (path, password) = (path?, password?);
        let store = store(keys, &path, Some(&password), kind.as_ref())?;
        let identities = identities(keys, &path, &store)?;
        let allowed = allowed?;
        let resolver = Resolver {
            keys: identities,
            provider: allowed.provider.clone(),
        };
        if !resolver.keys.iter().any(|key| resolver.suits(key, None)) {
            let kinds: Vec<&str> = store.keys.iter().map(Key::algorithm).collect();
            let message = format!(
                "no cipher suite that is allowed goes with its keys: {}",
                kinds.join(", ")
            );
            path.wrong(keys, &message);
            return None;
        }
        let config = ServerConfig::builder_with_provider(Arc::new(allowed.provider))
            .with_protocol_versions(&allowed.versions);
        match config {
            Ok(config) => {
                let config = config
                    .with_no_client_auth()
                    .with_cert_resolver(Arc::new(resolver));
                Some(Self(TlsAcceptor::from(Arc::new(config))))
            }
            Err(error) => {
                keys.broken(&format!("TLS: {error}"));
                None
            }
        }
    }

    /// Offers these protocols above TLS, the best first, to clients that ask for one by ALPN.
    pub fn offering(self, protocols: &[&[u8]]) -> Self {
        let mut config = ServerConfig::clone(self.0.config());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Self(TlsAcceptor::from(Arc::new(config)))
    }

    /// The server's side of a handshake, within [`HANDSHAKE`](super::HANDSHAKE).
    ///
    /// # Errors
    /// The peer speaks no TLS, or none that is allowed, or says nothing.
    pub async fn accept<S>(&self, stream: S) -> io::Result<tokio_rustls::server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        handshake(self.0.accept(stream)).await
    }
}

const SERVER_KEYS: [&str; 7] = [
    "keystore",
    "keystore-password",
    "keystore-type",
    "exclude-protocols",
    "include-protocols",
    "exclude-cipher-suites",
    "include-cipher-suites",
];

/// The keys of a store that can be served. Java wants to open all keys of a store with its password; so do we.
pub(super) fn identities(keys: &mut Keys, path: &Setting, store: &Store) -> Option<Vec<Arc<CertifiedKey>>> {
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for key in &store.keys {
        match identity(key) {
            Ok(identity) => all.push(Arc::new(identity)),
            Err(fault) => faults.push(format!("its key \"{}\" {fault}", key.alias)),
        }
    }
    if store.keys.is_empty() {
        faults.push(format!(
            "has no private key, but {} trusted certificates; a server needs a key",
            store.trusted.len()
        ));
    }
    if faults.is_empty() {
        return Some(all);
    }
    path.wrong(keys, &format!("\"{}\": {}", path.value, faults.join("; ")));
    None
}

fn identity(key: &Key) -> Result<CertifiedKey, String> {
    let private = key.private().map_err(|e| e.to_string())?;
    if key.chain.is_empty() {
        return Err("has no certificate".to_owned());
    }
    CertifiedKey::from_der(key.chain.clone(), private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "does not belong to its certificate".to_owned(),
        error => format!(
            "cannot be used: it is a {} key, and RSA of 2048 bits and more, EC and Ed25519 can ({error})",
            key.algorithm()
        ),
    })
}

/// Chooses among the keys of a store: the first that the client can check, as Java does.
#[derive(Debug)]
struct Resolver {
    keys: Vec<Arc<CertifiedKey>>,
    provider: CryptoProvider,
}

impl Resolver {
    /// Whether a cipher suite that is allowed, and that the client offers, goes with a key.
    fn suits(&self, key: &CertifiedKey, offered: Option<&[CipherSuite]>) -> bool {
        self.provider.cipher_suites.iter().any(|suite| {
            offered.is_none_or(|offered| offered.contains(&suite.suite()))
                && suite.usable_for_signature_algorithm(key.key.algorithm())
        })
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fits = |key: &&Arc<CertifiedKey>| {
            key.key.choose_scheme(hello.signature_schemes()).is_some()
                && self.suits(key, Some(hello.cipher_suites()))
        };
        self.keys.iter().find(fits).cloned()
    }
}
