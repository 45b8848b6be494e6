//! `static`: a header with a value that is always the same; Flume's StaticInterceptor. (`static` is a word of Rust.)
//!
//! One edit a batch. Unlike others, it keeps a header that is there already, unless `preserveExisting` is false. It
//! cannot fail. Source: `flume/sources.md` 7.

use crate::component::error::{BuildError, RunError};
use crate::component::interceptor::Interceptor;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use proto::event::Batch;

/// How the list names it.
pub const TYPE: Type<Box<dyn Interceptor>> = Type {
    alias: "static",
    classes: &["org.apache.flume.interceptor.StaticInterceptor$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `key`: the header; default `key`.
    pub key: String,
    /// `value`: default `value`.
    pub value: String,
    /// `preserveExisting`: an event that has the header keeps it; default true.
    pub preserve_existing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            key: "key".to_owned(),
            value: "value".to_owned(),
            preserve_existing: true,
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
            key: keys.text("key").unwrap_or(default.key),
            value: keys.text("value").unwrap_or(default.value),
            preserve_existing: keys.flag("preserveExisting", default.preserve_existing),
        }
    }

    /// The interceptor.
    pub fn build(self) -> Result<Constant, BuildError> {
        Ok(Constant(self))
    }
}

/// The interceptor.
#[derive(Debug)]
pub struct Constant(Config);

impl Interceptor for Constant {
    fn intercept(&self, batch: Batch) -> Result<Batch, RunError> {
        let mut edit = batch.edit();
        if self.0.preserve_existing {
            edit.set_all_absent(&self.0.key, &self.0.value);
        } else {
            edit.set_all(&self.0.key, &self.0.value);
        }
        Ok(edit.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{BatchBuilder, EventLimits};

    fn values(pairs: &[(&str, &str)], header: &str) -> Vec<Option<String>> {
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let interceptor = Config::read(&mut keys).build().unwrap();
        assert_eq!(keys.finish(), []);
        let mut builder = BatchBuilder::new(EventLimits::default());
        builder.push([("dc", "old")], b"a").unwrap();
        builder.push([("x", "y")], b"b").unwrap();
        let batch = interceptor.intercept(builder.finish()).unwrap();
        batch
            .iter()
            .map(|e| e.header(header).map(str::to_owned))
            .collect()
    }

    #[test]
    fn a_header_that_is_there_is_kept_unless_told_otherwise() {
        let (old, ny) = (|| Some("old".to_owned()), || Some("NY".to_owned()));
        let given = [("key", "dc"), ("value", "NY")];
        assert_eq!(values(&given, "dc"), [old(), ny()]);
        let replacing = [("key", "dc"), ("value", "NY"), ("preserveExisting", "false")];
        assert_eq!(values(&replacing, "dc"), [ny(), ny()]);
        assert_eq!(values(&[], "key"), [Some("value".into()), Some("value".into())]);
    }
}
