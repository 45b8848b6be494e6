//! Settings that Flume hands to Jetty, its HTTP server, as they are. Those with a meaning here are read, the others
//! that Jetty has are known and without effect; the rest are mistakes, which Flume passes over in silence.

use crate::component::keys::Keys;
use std::time::Duration;

/// What of Jetty's settings has a meaning here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jetty {
    /// `QueuedThreadPool.maxThreads`: requests whose events are read and put at once; default no limit (Jetty: 200).
    pub requests_at_once: Option<usize>,
    /// `HttpConfiguration.sendServerVersion`: whether answers have a `Server` header; default true.
    pub server_header: bool,
    /// `HttpConfiguration.sendDateHeader`: whether answers have a `Date` header; default true.
    pub date_header: bool,
    /// `HttpConfiguration.requestHeaderSize`: bytes of a request's head; default 64 KiB (Jetty: 8 KiB).
    pub head_bytes_max: usize,
    /// `HttpConfiguration.persistentConnectionsEnabled`: whether a connection serves more than one request; default
    /// true.
    pub keep_alive: bool,
    /// `HttpConfiguration.minRequestDataRate`: bytes a second at which a body comes in at least, after a start of 30 s;
    /// default 1,024 (Jetty: 0), 0 is no limit.
    pub body_rate_min: u32,
    /// `ServerConnector.idleTimeout`: how long nothing may come, inside and outside of a request; default 30 s.
    pub idle_timeout: Duration,
    /// `ServerConnector.acceptQueueSize`: connections that wait to be accepted; default 1,024.
    pub backlog: Option<i32>,
}

impl Jetty {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let mut pool = keys.below("QueuedThreadPool.");
        let threads = pool.number("maxThreads", 0, 1..=i32::MAX as usize);
        mute(&mut pool, POOL, "has no effect: there are no threads that wait");
        keys.absorb(pool);

        let mut http = keys.below("HttpConfiguration.");
        let mut jetty = Self {
            requests_at_once: (threads > 0).then_some(threads),
            server_header: http.flag("sendServerVersion", true),
            date_header: http.flag("sendDateHeader", true),
            head_bytes_max: http.number("requestHeaderSize", HEAD_BYTES, 1_024..=1 << 20),
            keep_alive: http.flag("persistentConnectionsEnabled", true),
            body_rate_min: http.number("minRequestDataRate", BODY_RATE, 0..=i32::MAX as u32),
            idle_timeout: IDLE,
            backlog: None,
        };
        mute(&mut http, HTTP, "has no effect");
        keys.absorb(http);

        let mut connector = keys.below("ServerConnector.");
        jetty.idle_timeout = connector.millis("idleTimeout", IDLE, 1..=i32::MAX as u64);
        let backlog = connector.number("acceptQueueSize", 0, 0..=i32::MAX);
        jetty.backlog = (backlog > 0).then_some(backlog);
        mute(&mut connector, CONNECTOR, "has no effect");
        connector.without_effect("host", "has no effect, as in Flume; the key is bind");
        connector.without_effect("port", "has no effect, as in Flume; the key is port");
        keys.absorb(connector);

        let mut tls = keys.below("SslContextFactory.");
        for key in ["needClientAuth", "wantClientAuth"] {
            if tls.flag(key, false) {
                tls.wrong(
                    key,
                    "certificates of clients are not asked for in this version; allowed is false",
                );
            }
        }
        mute(
            &mut tls,
            TLS,
            "has no effect; the keys are keystore, keystore-password, include-protocols and their kin",
        );
        keys.absorb(tls);
        jetty
    }
}

const HEAD_BYTES: usize = 64 << 10;
const BODY_RATE: u32 = 1_024;
const IDLE: Duration = Duration::from_secs(30);

fn mute(keys: &mut Keys, names: &[&str], why: &str) {
    for name in names {
        keys.without_effect(name, why);
    }
}

// Properties of Jetty 9.4 that are texts, numbers or booleans.
const POOL: &[&str] = &[
    "daemon",
    "detailedDump",
    "idleTimeout",
    "lowThreadsThreshold",
    "minThreads",
    "name",
    "reservedThreads",
    "stopTimeout",
    "threadsPriority",
];
const HTTP: &[&str] = &[
    "blockingTimeout",
    "delayDispatchUntilContent",
    "headerCacheSize",
    "idleTimeout",
    "maxErrorDispatches",
    "minResponseDataRate",
    "multiPartFormDataCompliance",
    "notifyRemoteAsyncErrors",
    "outputAggregationSize",
    "outputBufferSize",
    "relativeRedirectAllowed",
    "responseHeaderSize",
    "securePort",
    "secureScheme",
    "sendXPoweredBy",
    "useDirectByteBuffers",
];
const CONNECTOR: &[&str] = &[
    "acceptedReceiveBufferSize",
    "acceptedSendBufferSize",
    "acceptedTcpNoDelay",
    "acceptorPriorityDelta",
    "defaultProtocol",
    "inheritChannel",
    "name",
    "reuseAddress",
    "shutdownIdleTimeout",
    "soLingerTime",
    "stopTimeout",
];
const TLS: &[&str] = &[
    "certAlias",
    "crlPath",
    "enableCRLDP",
    "enableOCSP",
    "endpointIdentificationAlgorithm",
    "excludeCipherSuites",
    "excludeProtocols",
    "includeCipherSuites",
    "includeProtocols",
    "keyManagerFactoryAlgorithm",
    "keyManagerPassword",
    "keyStorePassword",
    "keyStorePath",
    "keyStoreProvider",
    "keyStoreType",
    "maxCertPathLength",
    "ocspResponderURL",
    "protocol",
    "provider",
    "renegotiationAllowed",
    "renegotiationLimit",
    "secureRandomAlgorithm",
    "sessionCachingEnabled",
    "sslSessionCacheSize",
    "sslSessionTimeout",
    "trustAll",
    "trustManagerFactoryAlgorithm",
    "trustStorePassword",
    "trustStorePath",
    "trustStoreProvider",
    "trustStoreType",
    "useCipherSuitesOrder",
    "validateCerts",
    "validatePeerCerts",
];
