//! `uuid`: a header with an identifier that no other event has; the UUIDInterceptor of Flume's morphline module. (Flume
//! knows it by its class only.)
//!
//! `prefix` and a random UUID (version 4) in lower case. An event that has the header keeps it, unless
//! `preserveExisting` is false. It cannot fail. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use proto::event::Batch;
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "uuid",
    classes: &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `headerName`: default `id`.
    pub header: String,
    /// `preserveExisting`: an event that has the header keeps it; default true.
    pub preserve_existing: bool,
    /// `prefix`: what stands before the UUID; default nothing.
    pub prefix: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            header: "id".to_owned(),
            preserve_existing: true,
            prefix: String::new(),
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
            header: keys.text("headerName").unwrap_or(default.header),
            preserve_existing: keys.flag("preserveExisting", default.preserve_existing),
            prefix: keys.text("prefix").unwrap_or_default(),
        }
    }

    /// The interceptor.
    pub fn build(self) -> Result<Uuid, BuildError> {
        Ok(Uuid {
            header: self.header.as_str().into(),
            config: self,
        })
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct Uuid {
    config: Config,
    header: Arc<str>,
}

impl Interceptor for Uuid {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let mut edit = batch.edit();
        edit.each(|event, edits| {
            if self.config.preserve_existing && event.header(&self.header).is_some() {
                return;
            }
            edits.set(
                &self.header,
                format!("{}{}", self.config.prefix, ::uuid::Uuid::new_v4()),
            );
        });
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{BatchBuilder, EventLimits};

    fn ids(pairs: &[(&str, &str)], header: &str) -> Vec<String> {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let interceptor = Config::read(&mut keys).build().unwrap();
        assert_eq!(keys.finish(), []);
        let mut builder = BatchBuilder::new(EventLimits::default());
        builder.push([("id", "mine")], b"a").unwrap();
        builder.push([("x", "y")], b"b").unwrap();
        builder.push([("x", "y")], b"c").unwrap();
        let batch = interceptor.intercept(builder.finish()).unwrap();
        let id = |e: proto::event::EventView<'_>| e.header(header).unwrap().to_owned();
        batch.iter().map(id).collect()
    }

    #[test]
    fn every_event_without_an_identifier_has_one_of_its_own() {
        let ids = ids(&[], "id");
        assert_eq!(ids[0], "mine");
        assert_ne!(ids[1], ids[2]);
        let uuid = ::uuid::Uuid::parse_str(&ids[1]).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.to_string()), (4, ids[1].clone()));
    }

    #[test]
    fn an_identifier_is_replaced_if_told_so_and_has_its_prefix() {
        let pairs = [("preserveExisting", "false"), ("prefix", "p-")];
        assert!(
            ids(&pairs, "id")
                .iter()
                .all(|id| id.starts_with("p-") && id.len() == 38)
        );
        assert_eq!(ids(&[("headerName", "u")], "u").len(), 3);
    }
}
