//! TLS of those who connect: whom they trust.
//!
//! A certificate that stands in the trust store itself is trusted as it is, whatever its date and use, as in Java;
//! every other needs a chain to one that does. Without any trust store the machine's certificates count, where Java
//! takes those that came with it.

use super::{
    Dialect, KEYSTORE, KEYSTORE_PASSWORD, KEYSTORE_TYPE, Reader, TRUSTSTORE, TRUSTSTORE_PASSWORD,
    TRUSTSTORE_TYPE, TlsDefaults, handshake, lists, provider, server, store,
};
use crate::component::keys::{Keys, Severity};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Whether the name that is connected to must stand in the peer's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostNames {
    /// As for HTTPS.
    Checked,
    /// As Flume's Avro client does.
    Ignored,
}

/// TLS of one who connects.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ClientTls {
    /// Reads `ssl` and the keys of an RPC sink that go with it; none when `ssl` is off. What is wrong is noted in
    /// `keys`. Host names are not checked.
    pub fn read(keys: &mut Keys, defaults: &TlsDefaults) -> Option<Self> {
        let mut reader = Reader {
            keys,
            defaults,
            dialect: &Dialect::COMMON,
        };
        if !reader.is_on() {
            reader.mute(&["trust-all-certs"]);
            reader.mute(&TRUST_KEYS);
            reader.mute(&LIST_KEYS);
            return None;
        }
        let allowed = lists::read(&mut reader);
        let trust = if reader.keys.flag("trust-all-certs", false) {
            for key in TRUST_KEYS {
                let why = "has no effect with trust-all-certs = true";
                reader.keys.without_effect(key, why);
            }
            Some(Trust::Anyone)
        } else {
            trusted(&mut reader)
        };
        let verifier = Verifier {
            trust: trust?,
            names: HostNames::Ignored,
            algorithms: provider().signature_verification_algorithms,
        };
        Self::of(keys, verifier, allowed?, None)
    }

    /// As Java's own HTTPS: the agent's trust store, else the machine's certificates; host names are checked; the
    /// first key of the agent's key store, if there is one, is shown to a server that asks for it. None after
    /// noting what is wrong.
    pub fn https(keys: &mut Keys, defaults: &TlsDefaults) -> Option<Self> {
        // The component has no TLS properties of its own: its keys must not become known by being asked for.
        let mut none = Keys::of("", &[]);
        let mut reader = Reader {
            keys: &mut none,
            defaults,
            dialect: &Dialect::COMMON,
        };
        let trust = trusted(&mut reader);
        let path = reader.setting(KEYSTORE);
        let (password, kind) = (reader.setting(KEYSTORE_PASSWORD), reader.setting(KEYSTORE_TYPE));
        let identity = path.and_then(|path| {
            let store = store(&mut none, &path, password.as_ref(), kind.as_ref())?;
            let identities = server::identities(&mut none, &path, &store)?;
            identities.into_iter().next()
        });
        let faults = none.finish();
        for fault in &faults {
            let message = format!(
                "TLS: {}: {}",
                fault.property.as_deref().unwrap_or_default(),
                fault.message
            );
            match fault.severity {
                Severity::Error => keys.broken(&message),
                severity => tracing::debug!(%severity, message),
            }
        }
        if faults.iter().any(|fault| fault.severity == Severity::Error) {
            return None;
        }
        let verifier = Verifier {
            trust: trust?,
            names: HostNames::Checked,
            algorithms: provider().signature_verification_algorithms,
        };
        Self::of(keys, verifier, lists::all(), identity)
    }

    fn of(
        keys: &mut Keys,
        verifier: Verifier,
        allowed: lists::Allowed,
        identity: Option<Arc<CertifiedKey>>,
    ) -> Option<Self> {
        let config = ClientConfig::builder_with_provider(Arc::new(allowed.provider))
            .with_protocol_versions(&allowed.versions);
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                keys.broken(&format!("TLS: {error}"));
                return None;
            }
        };
        let config = config
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Some(Self(Arc::new(match identity {
            Some(key) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => config.with_no_client_auth(),
        })))
    }

    /// What a client library is configured with.
    pub fn config(&self) -> &Arc<ClientConfig> {
        &self.0
    }

    /// The client's side of a handshake, within [`HANDSHAKE`](super::HANDSHAKE). `host` is the name or address that
    /// was connected to.
    ///
    /// # Errors
    /// The peer speaks no TLS, or none that is allowed, or is not trusted, or says nothing.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<tokio_rustls::client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match ServerName::try_from(host.trim_matches(['[', ']'])) {
            Ok(name) => name.to_owned(),
            // What is resolved by /etc/hosts need not be a name of DNS; a name that is never checked can be any.
            Err(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
        };
        handshake(TlsConnector::from(self.0.clone()).connect(name, stream)).await
    }
}

const TRUST_KEYS: [&str; 3] = ["truststore", "truststore-password", "truststore-type"];
const LIST_KEYS: [&str; 4] = [
    "exclude-protocols",
    "include-protocols",
    "exclude-cipher-suites",
    "include-cipher-suites",
];

/// Who is trusted.
enum Trust {
    /// `trust-all-certs`.
    Anyone,
    /// Those whom one of the roots has signed, and those that are named themselves.
    Some {
        roots: RootCertStore,
        named: HashSet<Vec<u8>>,
    },
}

/// The trust store of the component or the agent, else the machine's.
fn trusted(reader: &mut Reader<'_>) -> Option<Trust> {
    let path = reader.setting(TRUSTSTORE);
    let password = reader.setting(TRUSTSTORE_PASSWORD);
    let kind = reader.setting(TRUSTSTORE_TYPE);
    let keys = &mut *reader.keys;
    let mut roots = RootCertStore::empty();
    let Some(path) = path else {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let message = format!(
                "no trust store is given, and this machine has no certificates of authorities {}",
                errors.join("; ")
            );
            keys.wrong("truststore", message.trim_end());
            return None;
        }
        return Some(Trust::Some {
            roots,
            named: HashSet::new(),
        });
    };
    let store = store(keys, &path, password.as_ref(), kind.as_ref())?;
    let named = store.trust().map(|certificate| certificate.to_vec()).collect();
    let (added, unreadable) = roots.add_parsable_certificates(store.trust().cloned());
    if added == 0 {
        let what = if unreadable == 0 {
            "holds no certificate"
        } else {
            "holds no certificate that can be read"
        };
        path.wrong(
            keys,
            &format!("\"{}\" {what}: nobody could be trusted", path.value),
        );
        return None;
    }
    Some(Trust::Some { roots, named })
}

/// Checks certificates of servers.
struct Verifier {
    trust: Trust,
    names: HostNames,
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier(names {:?})", self.names)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Trust::Some { roots, named } = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let is_named = named.contains(end_entity.as_ref());
        if is_named && self.names == HostNames::Ignored {
            return Ok(ServerCertVerified::assertion());
        }
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if !is_named {
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                roots,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if self.names == HostNames::Checked {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
