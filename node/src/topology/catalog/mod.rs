//! Everything that Flume 1.11 knows: the types of each kind with their names and properties, and `elasticsearch` and
//! `kite` of Flume 1.9. What this version builds and what it does not yet.
//!
//! Tables of constants, one file a kind (`sources`, `channels`, `sinks`, `parts` for what belongs to them).
//! Two uses: a component of a type that is known but not built has its settings checked all the same
//! ([`examine`]), and a key that a component does not know is explained ([`unknown`]): another case, a prefix
//! left out, an old spelling, the key of another type. A type that is built reads its keys itself; a test holds its
//! table against what it reads.
//!
//! Source: `flume/sources.md` 4 to 8 and 12, `flume/channels-and-sinks.md` 3 to 6 and 10, `flume/runtime.md` 2.4, 3.3.

mod channels;
pub mod examine;
pub mod key;
mod parts;
mod sinks;
mod sources;
mod systems;
mod types;
pub mod unknown;

pub use key::{Key, Role, Value};
pub use types::{Match, find, not_found};

/// What a type is a type of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    Source,
    Channel,
    Sink,
    Processor,
    Interceptor,
    Selector,
    Serializer,
    Deserializer,
    Handler,
    ConfigFilter,
    /// Turns events into rows of HBase.
    RowSerializer,
    /// Turns events into records of Hive.
    RecordSerializer,
    /// Turns events into operations of Kudu.
    Producer,
    /// Turns a group of a regular expression into a header.
    GroupSerializer,
    /// Turns events into documents of Elasticsearch.
    DocumentSerializer,
    /// Names the files of `file_roll`.
    PathManager,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Source,
        Self::Channel,
        Self::Sink,
        Self::Processor,
        Self::Interceptor,
        Self::Selector,
        Self::Serializer,
        Self::Deserializer,
        Self::Handler,
        Self::ConfigFilter,
        Self::RowSerializer,
        Self::RecordSerializer,
        Self::Producer,
        Self::GroupSerializer,
        Self::DocumentSerializer,
        Self::PathManager,
    ];

    /// As messages say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Channel => "channel",
            Self::Sink => "sink",
            Self::Processor => "sink processor",
            Self::Interceptor => "interceptor",
            Self::Selector => "channel selector",
            Self::Serializer => "event serializer",
            Self::Deserializer => "deserializer",
            Self::Handler => "handler",
            Self::ConfigFilter => "config filter",
            Self::RowSerializer => "HBase serializer",
            Self::RecordSerializer => "Hive serializer",
            Self::Producer => "Kudu producer",
            Self::GroupSerializer => "serializer of a regex_extractor",
            Self::DocumentSerializer => "Elasticsearch serializer",
            Self::PathManager => "path manager",
        }
    }

    /// Its types.
    pub fn types(self) -> &'static [Type] {
        match self {
            Self::Source => sources::ALL,
            Self::Channel => channels::ALL,
            Self::Sink => sinks::ALL,
            Self::Processor => parts::PROCESSORS,
            Self::Interceptor => parts::INTERCEPTORS,
            Self::Selector => parts::SELECTORS,
            Self::Serializer => parts::SERIALIZERS,
            Self::Deserializer => parts::DESERIALIZERS,
            Self::Handler => parts::HANDLERS,
            Self::ConfigFilter => parts::CONFIG_FILTERS,
            Self::RowSerializer => systems::ROW_SERIALIZERS,
            Self::RecordSerializer => systems::RECORD_SERIALIZERS,
            Self::Producer => systems::PRODUCERS,
            Self::GroupSerializer => parts::GROUP_SERIALIZERS,
            Self::DocumentSerializer => systems::DOCUMENT_SERIALIZERS,
            Self::PathManager => parts::PATH_MANAGERS,
        }
    }
}

/// One type.
#[derive(Debug, Clone, Copy)]
pub struct Type {
    /// Flume's alias; empty if it has none.
    pub alias: &'static str,
    /// Java classes that mean it.
    pub classes: &'static [&'static str],
    /// Its properties.
    pub keys: &'static [Key],
    /// Properties that it has in common with others.
    pub shared: &'static [&'static [Key]],
    /// Of each of these lists one property must be there.
    pub one_of: &'static [&'static [&'static str]],
    /// The properties that say how many events it puts or takes at once, the strongest first, and the default.
    pub batch: Option<(&'static [&'static str], i64)>,
    /// How many events one transaction of a channel may hold: the property and the default.
    pub transaction: Option<(&'static str, i64)>,
}

/// A type by its names and properties.
const fn known(alias: &'static str, classes: &'static [&'static str], keys: &'static [Key]) -> Type {
    Type {
        alias,
        classes,
        keys,
        shared: &[],
        one_of: &[],
        batch: None,
        transaction: None,
    }
}

impl Type {
    const fn shares(mut self, shared: &'static [&'static [Key]]) -> Self {
        self.shared = shared;
        self
    }

    const fn one_of(mut self, lists: &'static [&'static [&'static str]]) -> Self {
        self.one_of = lists;
        self
    }

    const fn batch(mut self, keys: &'static [&'static str], default: i64) -> Self {
        self.batch = Some((keys, default));
        self
    }

    const fn transaction(mut self, key: &'static str, default: i64) -> Self {
        self.transaction = Some((key, default));
        self
    }

    /// The alias, or the first class.
    pub fn name(&self) -> &'static str {
        match self.alias {
            "" => self.classes.first().copied().unwrap_or_default(),
            alias => alias,
        }
    }

    /// All properties.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.keys
            .iter()
            .chain(self.shared.iter().flat_map(|list| list.iter()))
    }

    /// The property of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys()
            .find(|k| k.name == name)
            .or_else(|| self.keys().find(|k| k.covers(name)))
    }
}

#[cfg(test)]
mod tests;
