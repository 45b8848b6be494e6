//! TLS as Flume's properties describe it: Java key stores and trust stores, lists of protocols and cipher suites by
//! Java's names, agent-wide defaults.
//!
//! [`ServerTls`] is for listeners, [`ClientTls`] for those who connect. Everything is read and checked when a
//! component is built; what is wrong is noted in its [`Keys`] at the property that is at fault, or with the name of
//! the system property that it came from. Stores are read again at every start of the component.
//!
//! One provider for all (aws-lc-rs), given to every configuration; no global state. There are TLS 1.2 and 1.3 and
//! their suites with forward secrecy and authenticated encryption; SSLv3, TLS 1.0 and 1.1 do not exist here.
//!
//! Sources: `flume/sources.md` 4, `flume/channels-and-sinks.md` 5.4 and 6.4, `flume/runtime.md` 10.1,
//! `flume/wire.md` 1.12.

mod client;
mod lists;
mod server;

#[cfg(test)]
mod tests;

pub use client::{ClientTls, HostNames};
pub use server::{Dialect, ServerTls};

use super::keystore::{self, Store};
use crate::component::keys::{Keys, Severity, nearest};
use rustls::crypto::CryptoProvider;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long a peer may take for its side of a handshake.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// What applies where a component says nothing: Java's system properties, else Flume's environment variables.
#[derive(Clone, Default, PartialEq, Eq)]
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

impl std::fmt::Debug for TlsDefaults {
    /// Without the passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsDefaults")
            .field("keystore", &self.keystore)
            .field("truststore", &self.truststore)
            .finish_non_exhaustive()
    }
}

impl TlsDefaults {
    /// As these system properties say; those of the environment must be among them already.
    pub fn of(system_properties: &BTreeMap<String, String>) -> Self {
        let given = |name: &str| {
            let value = system_properties.get(name).map(|value| value.trim().to_owned());
            value.filter(|value| !value.is_empty())
        };
        Self {
            keystore: given(KEYSTORE.system_property),
            keystore_password: given(KEYSTORE_PASSWORD.system_property),
            keystore_type: given(KEYSTORE_TYPE.system_property),
            truststore: given(TRUSTSTORE.system_property),
            truststore_password: given(TRUSTSTORE_PASSWORD.system_property),
            truststore_type: given(TRUSTSTORE_TYPE.system_property),
            include_protocols: given(INCLUDE_PROTOCOLS.system_property),
            exclude_protocols: given(EXCLUDE_PROTOCOLS.system_property),
            include_cipher_suites: given(INCLUDE_SUITES.system_property),
            exclude_cipher_suites: given(EXCLUDE_SUITES.system_property),
        }
    }
}

/// A setting that a component may leave to the agent.
#[derive(Debug, Clone, Copy)]
struct Name {
    /// As a component says it.
    key: &'static str,
    /// As Java says it for all.
    system_property: &'static str,
    default: fn(&TlsDefaults) -> &Option<String>,
}

const fn name(
    key: &'static str,
    system_property: &'static str,
    default: fn(&TlsDefaults) -> &Option<String>,
) -> Name {
    Name {
        key,
        system_property,
        default,
    }
}

const KEYSTORE: Name = name("keystore", "javax.net.ssl.keyStore", |d| &d.keystore);
const KEYSTORE_PASSWORD: Name = name("keystore-password", "javax.net.ssl.keyStorePassword", |d| {
    &d.keystore_password
});
const KEYSTORE_TYPE: Name = name("keystore-type", "javax.net.ssl.keyStoreType", |d| {
    &d.keystore_type
});
const TRUSTSTORE: Name = name("truststore", "javax.net.ssl.trustStore", |d| &d.truststore);
const TRUSTSTORE_PASSWORD: Name = name("truststore-password", "javax.net.ssl.trustStorePassword", |d| {
    &d.truststore_password
});
const TRUSTSTORE_TYPE: Name = name("truststore-type", "javax.net.ssl.trustStoreType", |d| {
    &d.truststore_type
});
const INCLUDE_PROTOCOLS: Name = name("include-protocols", "flume.ssl.include.protocols", |d| {
    &d.include_protocols
});
const EXCLUDE_PROTOCOLS: Name = name("exclude-protocols", "flume.ssl.exclude.protocols", |d| {
    &d.exclude_protocols
});
const INCLUDE_SUITES: Name = name("include-cipher-suites", "flume.ssl.include.cipherSuites", |d| {
    &d.include_cipher_suites
});
const EXCLUDE_SUITES: Name = name("exclude-cipher-suites", "flume.ssl.exclude.cipherSuites", |d| {
    &d.exclude_cipher_suites
});

/// A value and who says it.
#[derive(Clone)]
struct Setting {
    key: &'static str,
    value: String,
    /// The system property, where the component itself says nothing.
    from: Option<&'static str>,
}

impl Setting {
    /// What is wrong with it; the component cannot run.
    fn wrong(&self, keys: &mut Keys, message: &str) {
        keys.wrong(self.key, &self.told(message));
    }

    /// What is surprising about it.
    fn warn(&self, keys: &mut Keys, message: &str) {
        keys.warn(self.key, "bad-value", self.told(message));
    }

    fn told(&self, message: &str) -> String {
        match self.from {
            Some(property) => {
                format!("{message} (from {property}, which counts where the component says nothing)")
            }
            None => message.to_owned(),
        }
    }
}

/// How the properties of one type are read.
struct Reader<'a> {
    keys: &'a mut Keys,
    defaults: &'a TlsDefaults,
    dialect: &'a Dialect,
}

impl Reader<'_> {
    fn setting(&mut self, name: Name) -> Option<Setting> {
        let key = self.spelled(name.key);
        let own = self.keys.text(key).filter(|value| !value.is_empty());
        let from = own.is_none().then_some(name.system_property);
        Some(Setting {
            key,
            value: own.or_else(|| (name.default)(self.defaults).clone())?,
            from,
        })
    }

    fn is_on(&mut self) -> bool {
        let key = self.spelled("ssl");
        self.keys.flag(key, false)
    }

    /// Whatever there is has no effect without TLS.
    fn mute(&mut self, keys: &[&'static str]) {
        for key in keys {
            let key = self.spelled(key);
            self.keys.without_effect(key, "has no effect without ssl = true");
        }
    }

    /// The key, or the old spelling of it where only that is there.
    fn spelled(&mut self, key: &'static str) -> &'static str {
        let _ = self.keys.text(key);
        let Some((old, _)) = self.dialect.old.iter().find(|(_, new)| *new == key) else {
            return key;
        };
        if self.keys.peek(old).is_none() {
            return key;
        }
        if self.keys.peek(key).is_some() {
            self.keys
                .without_effect(old, &format!("has no effect beside {key}"));
            return key;
        }
        let _ = self.keys.text(old);
        let message = format!("deprecated, the key is now \"{key}\"");
        self.keys.warn(old, "deprecated", message);
        old
    }
}

/// The cryptography of all.
fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// Reads a store; what is wrong is noted at the property that names it.
fn store(
    keys: &mut Keys,
    path: &Setting,
    password: Option<&Setting>,
    kind: Option<&Setting>,
) -> Option<Store> {
    if let Some(kind) = kind {
        check_type(keys, kind);
    }
    let read = keystore::read_file(Path::new(&path.value), password.map(|p| p.value.as_str()));
    match read {
        Ok(store) => Some(store),
        Err(keystore::Error::Password) => {
            let message = format!(
                "\"{}\" is not opened by it: the password is wrong, or the file was changed",
                path.value
            );
            password.unwrap_or(path).wrong(keys, &message);
            None
        }
        Err(error) => {
            path.wrong(keys, &format!("\"{}\" {error}", path.value));
            None
        }
    }
}

/// The content says what a store is; a type that Java does not have is a mistake all the same.
fn check_type(keys: &mut Keys, kind: &Setting) {
    let known = ["JKS", "JCEKS", "PKCS12"];
    if !known.iter().any(|k| k.eq_ignore_ascii_case(&kind.value)) {
        let near = nearest(&kind.value, known.into_iter());
        let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
        let message = format!(
            "expected JKS, JCEKS or PKCS12, found \"{}\"; the content of the file decides{hint}",
            kind.value
        );
        kind.warn(keys, &message);
    }
}

/// A required setting that nobody has set.
fn missing(keys: &mut Keys, name: Name, variable: &str) {
    let message = format!(
        "required with ssl = true, but not there; neither is {} or {variable}",
        name.system_property
    );
    keys.note(Severity::Error, name.key, "missing", message);
}

/// Waits for a handshake within the limit and says in words why it failed.
async fn handshake<T>(shaking: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(HANDSHAKE, shaking).await {
        Ok(shaken) => shaken.map_err(told),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no TLS handshake within {HANDSHAKE:?}"),
        )),
    }
}

/// The reason of a failed handshake in words.
fn told(error: io::Error) -> io::Error {
    use rustls::{CertificateError as Certificate, Error as Tls};
    let kind = error.kind();
    let reason = match error.get_ref().and_then(|e| e.downcast_ref::<Tls>()) {
        Some(Tls::InvalidMessage(_)) => "the peer does not speak TLS",
        Some(Tls::PeerIncompatible(_)) => "the peer has no TLS version or cipher suite that is allowed here",
        Some(Tls::AlertReceived(_)) => "the peer refused",
        Some(Tls::InvalidCertificate(Certificate::UnknownIssuer)) => {
            "nobody in the trust store has signed the peer's certificate"
        }
        Some(Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. })) => {
            "the peer's certificate has expired"
        }
        Some(Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => "the peer's certificate is for another name",
        Some(_) => "failed",
        None if kind == io::ErrorKind::UnexpectedEof => "the peer closed the connection",
        None => return error,
    };
    io::Error::new(kind, format!("TLS handshake: {reason}: {error}"))
}
