//! `host`: a header with this machine's address or name; Flume's HostInterceptor.
//!
//! Looked up once, when the interceptor is built: the address that the machine's own name resolves to, or the name that
//! this address has (the address as text if it has none, as in Java). A machine whose name does not resolve sets no
//! header, which a line in the log says. One edit a batch. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::io::address::local_host;
use proto::event::Batch;
use std::net::IpAddr;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "host",
    classes: &["org.apache.flume.interceptor.HostInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, ctx| {
        let built = Config::read(keys).build(local_host)?;
        if built.value.is_none() {
            tracing::warn!(source = %ctx.name, "host interceptor: this machine's name has no address; no header is set");
        }
        Ok(Box::new(built))
    },
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `hostHeader`: default `host`.
    pub header: String,
    /// `useIP`: the address instead of the name; default true.
    pub use_ip: bool,
    /// `preserveExisting`: an event that has the header keeps it; default false.
    pub preserve_existing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: "host".to_owned(),
            use_ip: true,
            preserve_existing: false,
        }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        // Whoever chose this interceptor has read it.
        let _ = keys.text("type");
        let default = Self::default();
        Self {
            header: keys.text("hostHeader").unwrap_or(default.header),
            use_ip: keys.flag("useIP", default.use_ip),
            preserve_existing: keys.flag("preserveExisting", default.preserve_existing),
        }
    }

    /// The interceptor of the machine that `local_host` says. Blocks as long as DNS takes.
    pub fn build(self, local_host: impl FnOnce() -> Option<(String, IpAddr)>) -> Result<Host, BuildError> {
        let value = local_host().map(|(_, address)| {
            if self.use_ip {
                address.to_string()
            } else {
                dns_lookup::lookup_addr(&address).unwrap_or_else(|_| address.to_string())
            }
        });
        Ok(Host { config: self, value })
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct Host {
    config: Config,
    value: Option<String>,
}

impl Interceptor for Host {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let Some(value) = &self.value else {
            return Ok(batch);
        };
        let mut edit = batch.edit();
        if self.config.preserve_existing {
            edit.set_all_absent(&self.config.header, value);
        } else {
            edit.set_all(&self.config.header, value);
        }
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{BatchBuilder, EventLimits};
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn values(pairs: &[(&str, &str)], found: Option<IpAddr>, header: &str) -> Vec<Option<String>> {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let config = Config::read(&mut keys);
        let interceptor = config.build(|| Some(("here".to_owned(), found?))).unwrap();
        assert_eq!(keys.finish(), []);
        let mut builder = BatchBuilder::new(EventLimits::default());
        builder.push([("host", "old")], b"a").unwrap();
        builder.push([("x", "y")], b"b").unwrap();
        let batch = interceptor.intercept(builder.finish()).unwrap();
        batch
            .iter()
            .map(|e| e.header(header).map(str::to_owned))
            .collect()
    }

    #[test]
    fn every_event_has_the_address() {
        let (old, here) = (|| Some("old".to_owned()), || Some("127.0.0.1".to_owned()));
        assert_eq!(values(&[], Some(HERE), "host"), [here(), here()]);
        assert_eq!(values(&[("hostHeader", "h")], Some(HERE), "h"), [here(), here()]);
        assert_eq!(
            values(&[("preserveExisting", "true")], Some(HERE), "host"),
            [old(), here()]
        );
    }

    #[test]
    fn a_name_stands_there_if_asked_for() {
        let name = dns_lookup::lookup_addr(&HERE).unwrap();
        assert_eq!(
            values(&[("useIP", "false")], Some(HERE), "host"),
            [Some(name.clone()), Some(name)]
        );
    }

    #[test]
    fn a_machine_without_address_sets_no_header() {
        assert_eq!(values(&[], None, "host"), [Some("old".to_owned()), None]);
    }
}
