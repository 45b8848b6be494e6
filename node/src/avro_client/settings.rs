//! Whom to send to and how, from the command line or from a properties file of Flume's SDK; and the file of headers.
//!
//! Both files are Java properties. In the SDK's file the values are those of `RpcClientFactory`: numbers that cannot
//! be used become their defaults with a warning, as there. What this version cannot do (Thrift, a class of one's own)
//! is an error, and so is everything that would send to nobody.

use super::{Failure, Fault, Server};
use crate::component::keys::{Finding, Keys, Place, Severity};
use crate::config;
use crate::io::avro_client::Layers;
use crate::io::tls::TlsDefaults;
use std::path::Path;
use std::time::Duration;

/// Events in one batch, unless it is said. As many as the transaction of a memory channel takes that is configured
/// as little as possible; Flume's client sends 5.
pub const BATCH_SIZE: usize = 100;

/// What Flume's clients wait for a connection, and for an answer.
const TIMEOUT_MS: u64 = 20_000;

/// How a properties file is named in messages.
const COMPONENT: &str = "avro-client";

/// All that is needed to send.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names or addresses with their ports; at least one.
    pub hosts: Vec<(String, u16)>,
    /// Which of them.
    pub order: Order,
    /// Events in one batch.
    pub batch_size: usize,
    /// `compression-type`, `ssl` and what goes with them.
    pub layers: Layers,
    /// `connect-timeout`: for a connection, and for the first call on it.
    pub connect_timeout: Duration,
    /// `request-timeout`: for any other call.
    pub request_timeout: Duration,
}

/// Which host gets the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// `client.type = default`: the first one, always.
    First,
    /// `default_failover`: the one that took the last batch, and when it fails the next ones, so many in all.
    Failover {
        /// `max-attempts`.
        attempts: usize,
    },
    /// `default_loadbalance`: each in turn, and when it fails the next ones.
    Balance {
        /// `host-selector = RANDOM` instead of ROUND_ROBIN.
        random: bool,
        /// `backoff`, `maxBackoff`: how long a host that failed is left alone, at most; zero for never.
        backoff: Duration,
    },
}

impl Settings {
    fn of_host(host: &str, port: u16) -> Self {
        let timeout = Duration::from_millis(TIMEOUT_MS);
        Self {
            hosts: vec![(host.to_owned(), port)],
            order: Order::First,
            batch_size: BATCH_SIZE,
            layers: Layers::default(),
            connect_timeout: timeout,
            request_timeout: timeout,
        }
    }

    fn read(keys: &mut Keys, defaults: &TlsDefaults) -> Self {
        let timeout = |keys: &mut Keys, key| {
            Duration::from_millis(keys.lenient_number(key, TIMEOUT_MS, 1_000..=i32::MAX as u64))
        };
        let hosts = hosts(keys);
        Self {
            order: order(keys, hosts.len()),
            hosts,
            layers: Layers::read(keys, defaults),
            batch_size: keys.lenient_number("batch-size", BATCH_SIZE, 1..=1_000_000),
            connect_timeout: timeout(keys, "connect-timeout"),
            request_timeout: timeout(keys, "request-timeout"),
        }
    }
}

/// What the command line or the file says. A size of a batch on the command line wins.
///
/// # Errors
/// The file cannot be read or used; all reasons at once.
pub fn of(
    server: &Server,
    defaults: &TlsDefaults,
    batch_size: Option<usize>,
) -> Result<(Settings, Vec<Finding>), Failure> {
    let (mut settings, findings) = match server {
        Server::At { host, port } => (Settings::of_host(host, *port), Vec::new()),
        Server::Properties(path) => {
            let loaded =
                config::read_files(&[path]).map_err(|e| Failure::new(Fault::Settings, e.to_string()))?;
            let place = Place {
                file: path.as_path().into(),
                line: 0,
            };
            let mut keys = Keys::new(COMPONENT, place, loaded.entries());
            let settings = Settings::read(&mut keys, defaults);
            let mut findings = loaded.findings;
            findings.extend(keys.finish());
            (settings, findings)
        }
    };
    let errors = findings.iter().filter(|f| f.severity == Severity::Error);
    let errors: Vec<String> = errors.map(Finding::to_string).collect();
    if !errors.is_empty() {
        return Err(Failure::new(Fault::Settings, errors.join("\n")));
    }
    settings.batch_size = batch_size.unwrap_or(settings.batch_size);
    Ok((settings, findings))
}

/// The headers that a file says, each key once, in the file's order.
///
/// # Errors
/// The file cannot be read, or has a line that is no property. Flume's client would go on without headers.
pub fn headers(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let loaded = config::read_files(&[path]).map_err(|e| Failure::input(format!("headers: {e}")))?;
    let errors = loaded.findings.iter().filter(|f| f.severity == Severity::Error);
    let errors: Vec<String> = errors.map(|f| format!("headers: {f}")).collect();
    if !errors.is_empty() {
        return Err(Failure::input(errors.join("\n")));
    }
    let pairs = loaded.properties.into_iter().map(|p| (p.key, p.value));
    Ok(pairs.collect())
}

fn hosts(keys: &mut Keys) -> Vec<(String, u16)> {
    let aliases = keys.required("hosts");
    let mut hosts = Vec::new();
    for alias in aliases.split_whitespace() {
        let key = format!("hosts.{alias}");
        let text = keys.required(&key);
        match address(&text) {
            Some(host) => hosts.push(host),
            None if text.is_empty() => {}
            None => keys.wrong(&key, &format!("expected host:port, found \"{text}\"")),
        }
    }
    hosts
}

/// `host:port`; an IPv6 address may stand in brackets.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => inside,
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

fn order(keys: &mut Keys, hosts: usize) -> Order {
    let kind = keys.text("client.type").unwrap_or_else(|| "default".to_owned());
    let attempts = keys.lenient_number("max-attempts", hosts.max(1), 1..=10_000);
    let selector = keys
        .text("host-selector")
        .unwrap_or_else(|| "ROUND_ROBIN".to_owned());
    let backoff = keys.flag("backoff", false);
    let longest = keys.lenient_number("maxBackoff", 30_000, 0..=i32::MAX as u64);
    let longest = if longest == 0 { 30_000 } else { longest };
    keys.without_effect("maxIoWorkers", "has no effect, as in Flume 1.11");
    match kind.to_ascii_lowercase().as_str() {
        "default" => {
            if hosts > 1 {
                let text = "only the first of several hosts is used with client.type = default";
                keys.warn("hosts", "no-effect", text.to_owned());
            }
            Order::First
        }
        "default_failover" => Order::Failover { attempts },
        "default_loadbalance" => {
            let random = selector.eq_ignore_ascii_case("RANDOM");
            if !random && !selector.eq_ignore_ascii_case("ROUND_ROBIN") {
                keys.wrong(
                    "host-selector",
                    &format!("expected ROUND_ROBIN or RANDOM, found \"{selector}\""),
                );
            }
            let backoff = Duration::from_millis(if backoff { longest } else { 0 });
            Order::Balance { random, backoff }
        }
        other => {
            let found = match other {
                "thrift" => "thrift is known, but not in this version".to_owned(),
                _ => format!("found \"{kind}\""),
            };
            let allowed = "allowed are default, default_failover and default_loadbalance";
            keys.wrong("client.type", &format!("{found}; {allowed}"));
            Order::First
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let mut keys = Keys::of(COMPONENT, pairs);
        let settings = Settings::read(&mut keys, &TlsDefaults::default());
        (settings, keys.finish().iter().map(Finding::to_string).collect())
    }

    #[test]
    fn the_defaults_are_flumes_except_for_the_batch() {
        let (settings, findings) = read(&[("hosts", "h1"), ("hosts.h1", "box:41414")]);
        assert_eq!(findings, [""; 0]);
        assert_eq!(
            (settings.hosts, settings.order),
            (vec![("box".to_owned(), 41414)], Order::First)
        );
        assert_eq!(
            (settings.batch_size, settings.connect_timeout.as_millis()),
            (100, 20_000)
        );
    }

    #[test]
    fn several_hosts_are_taken_in_flumes_orders() {
        let hosts = [("hosts", "h1 h2"), ("hosts.h1", "a:1"), ("hosts.h2", "[::1]:2")];
        let order = |more: &[(&str, &str)]| {
            let (settings, findings) = read(&[&hosts[..], more].concat());
            assert_eq!(findings, [""; 0]);
            assert_eq!(settings.hosts, [("a".to_owned(), 1), ("::1".to_owned(), 2)]);
            settings.order
        };
        let failover = ("client.type", "DEFAULT_FAILOVER");
        assert_eq!(order(&[failover]), Order::Failover { attempts: 2 });
        assert_eq!(
            order(&[failover, ("max-attempts", "5")]),
            Order::Failover { attempts: 5 }
        );
        let balance = ("client.type", "default_loadbalance");
        let backoff = Duration::ZERO;
        assert_eq!(
            order(&[balance]),
            Order::Balance {
                random: false,
                backoff
            }
        );
        let backoff = Duration::from_secs(30);
        assert_eq!(
            order(&[
                balance,
                ("host-selector", "random"),
                ("backoff", "true"),
                ("maxBackoff", "0")
            ]),
            Order::Balance {
                random: true,
                backoff
            }
        );
    }

    #[test]
    fn every_mistake_is_named() {
        let (_, findings) = read(&[
            ("hosts", "h1 h2"),
            ("hosts.h1", "box"),
            ("client.type", "thrift"),
            ("bach-size", "5"),
            ("request-timeout", "5"),
        ]);
        let text = findings.join("\n");
        for part in [
            "avro-client: hosts.h1: expected host:port, found \"box\"",
            "avro-client: hosts.h2: required, but not there",
            "client.type: thrift is known, but not in this version",
            "bach-size: unknown, ignored; did you mean \"batch-size\"?",
            "request-timeout: expected 1000 to",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn an_address_has_one_host_and_one_port() {
        assert_eq!(address(" a:1 "), Some(("a".to_owned(), 1)));
        for wrong in ["a", "a:", ":1", "a:b:1", "::1", "a:0", "a:70000"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
