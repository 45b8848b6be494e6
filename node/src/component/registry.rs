//! The types of components that a node knows: ours, from the lists in `source`, `sink`, ..., and a user's own.
//!
//! A type is an alias (any case), the Java class names that mean it (exact case, as Java has it), and a function
//! that reads its properties and builds one value. The function is the recipe: supervision calls it again for
//! every restart.

use super::channel::Channel;
use super::context::Clock;
use super::deserializer::Deserializer;
use super::error::BuildError;
use super::interceptor::Interceptor;
use super::keys::Keys;
use super::processor::DynProcessor;
use super::selector::Selector;
use super::serializer::Serializer;
use super::sink::DynSink;
use super::source::DynSource;
use crate::io::tls::TlsDefaults;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What a build function may want to know besides its properties.
#[derive(Clone)]
pub struct BuildContext {
    /// The component's name.
    pub name: Arc<str>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Java's `-Xmx` in bytes, if it was given: what "max heap" means in Flume's defaults.
    pub max_heap_bytes: Option<u64>,
    /// What TLS settings default to.
    pub tls: Arc<TlsDefaults>,
    /// Names of the channels of a source, in the order of its list (for its selector).
    pub channels: Arc<[Arc<str>]>,
    /// What else is registered: serializers and deserializers are looked up here.
    pub types: Arc<Types>,
}

/// What one kind's build function returns.
pub type Built<T> = Result<T, BuildError>;
type Build<T> = Arc<dyn Fn(&mut Keys, &BuildContext) -> Built<T> + Send + Sync>;

/// One type of component of some kind, as its file declares it.
pub struct Type<T: 'static> {
    /// Flume's alias, in lower case; empty for what Flume knows by its class only.
    pub alias: &'static str,
    /// Java class names that mean the same.
    pub classes: &'static [&'static str],
    /// Whether Flume's JSON metrics show it.
    pub in_flume_metrics: bool,
    /// Reads the properties and builds one.
    pub build: fn(&mut Keys, &BuildContext) -> Built<T>,
}

impl<T> Type<T> {
    /// The alias, or the first class.
    pub fn name(&self) -> &'static str {
        match self.alias {
            "" => self.classes.first().copied().unwrap_or_default(),
            alias => alias,
        }
    }
}

/// A type found by name.
pub struct Found<T: 'static> {
    /// Its alias, or the class name of a user's own.
    pub name: Arc<str>,
    /// Whether Flume's JSON metrics show it.
    pub in_flume_metrics: bool,
    build: Build<T>,
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            in_flume_metrics: self.in_flume_metrics,
            build: self.build.clone(),
        }
    }
}

impl<T> fmt::Debug for Found<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found({})", self.name)
    }
}

impl<T> Found<T> {
    /// Builds one value.
    pub fn build(&self, keys: &mut Keys, ctx: &BuildContext) -> Built<T> {
        (self.build)(keys, ctx)
    }
}

/// The types of one kind.
pub struct Kinds<T: 'static>(BTreeMap<String, Found<T>>);

impl<T> Default for Kinds<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Kinds<T> {
    /// Adds the list of a folder.
    pub fn list(&mut self, types: &[Type<T>]) {
        for t in types {
            let build = t.build;
            let found = Found {
                name: t.name().into(),
                in_flume_metrics: t.in_flume_metrics,
                build: Arc::new(build),
            };
            if !t.alias.is_empty() {
                self.0.insert(t.alias.to_owned(), found.clone());
            }
            for class in t.classes {
                self.0.insert((*class).to_owned(), found.clone());
            }
        }
    }

    /// Adds one of a user's own under a name of any form.
    pub fn add(
        &mut self,
        name: &str,
        build: impl Fn(&mut Keys, &BuildContext) -> Built<T> + Send + Sync + 'static,
    ) {
        let found = Found {
            name: name.into(),
            in_flume_metrics: true,
            build: Arc::new(build),
        };
        self.0.insert(name.to_owned(), found);
    }

    /// The type of this name: an alias in any case, or a class name.
    pub fn find(&self, name: &str) -> Option<Found<T>> {
        self.0
            .get(name)
            .or_else(|| self.0.get(&name.to_lowercase()))
            .cloned()
    }

    /// All names that are understood.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// All types of all kinds.
#[derive(Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Types {
    pub sources: Kinds<Box<dyn DynSource>>,
    pub channels: Kinds<Arc<dyn Channel>>,
    pub sinks: Kinds<Box<dyn DynSink>>,
    pub processors: Kinds<Box<dyn DynProcessor>>,
    pub interceptors: Kinds<Box<dyn Interceptor>>,
    pub selectors: Kinds<Box<dyn Selector>>,
    pub serializers: Kinds<Box<dyn Serializer>>,
    pub deserializers: Kinds<Box<dyn Deserializer>>,
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}
