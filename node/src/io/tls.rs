//! TLS as Flume's properties describe it: Java keystores and trust stores, lists of protocols and cipher suites.

use crate::component::keys::Keys;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// What applies where a component says nothing: Java's system properties, else Flume's environment variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct TlsDefaults {
    pub keystore: Option<String>,
    pub keystore_password: Option<String>,
    pub keystore_type: Option<String>,
    pub truststore: Option<String>,
    pub truststore_password: Option<String>,
    pub truststore_type: Option<String>,
    pub include_protocols: Option<String>,
    pub exclude_protocols: Option<String>,
    pub include_cipher_suites: Option<String>,
    pub exclude_cipher_suites: Option<String>,
}

/// TLS of a listener.
#[derive(Clone)]
pub struct ServerTls(tokio_rustls::TlsAcceptor);

impl ServerTls {
    /// Reads `ssl` and the keys that go with it; none when `ssl` is off. What is wrong is noted in `keys`.
    pub fn read(keys: &mut Keys, defaults: &TlsDefaults) -> Option<Self> {
        let _ = defaults;
        if keys.flag("ssl", false) {
            keys.wrong("ssl", "TLS is known, but not in this version; allowed is false");
        }
        for key in SERVER_KEYS {
            keys.without_effect(key, "has no effect without ssl = true");
        }
        None
    }

    /// The server's side of a handshake.
    ///
    /// # Errors
    /// The peer speaks no TLS, or none that is allowed.
    pub async fn accept<S>(&self, stream: S) -> io::Result<tokio_rustls::server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.0.accept(stream).await
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
