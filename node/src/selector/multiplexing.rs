//! `multiplexing`: the value of a header says which channels an event goes to, Flume's MultiplexingChannelSelector.
//!
//! Promise, for each event: all channels of `mapping.<value>` must commit, or those of `default` where the value has no
//! mapping; then those of `optional.<value>`, as far as they are not among the first, are tried once. Without the header,
//! or with a blank one, it is the default and nothing optional. Values are compared as they are, case and blanks included.
//! An event that no channel is for vanishes, and its sender is told that it is stored: that is a note of the configuration.
//!
//! Events keep their order within each channel; a batch is dealt out in one walk, without a copy.
//!
//! Failures: names that the source's list of channels does not have, or two blanks between names, are errors of the
//! configuration. Source: `flume/sources.md` 8.

use crate::component::error::BuildError;
use crate::component::keys::{Keys, Severity, nearest};
use crate::component::registry::Type;
use crate::component::selector::{Routes, Selector};
use proto::event::Batch;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Selector>> = Type {
    alias: "multiplexing",
    classes: &["org.apache.flume.channel.MultiplexingChannelSelector"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, &ctx.channels).build()?)),
};

const HEADER: &str = "flume.selector.header";

/// Settings. Channels are places in the source's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many channels the source has.
    pub channels: usize,
    /// `header`: default `flume.selector.header`.
    pub header: String,
    /// `mapping.<value>`.
    pub mapping: BTreeMap<String, Vec<usize>>,
    /// `optional.<value>`.
    pub optional: BTreeMap<String, Vec<usize>>,
    /// `default`: default none.
    pub default: Vec<usize>,
}

impl Config {
    /// Reads the properties below `selector.` for a source with these channels.
    pub fn read(keys: &mut Keys, channels: &[Arc<str>]) -> Self {
        // Whoever chose this selector has read it.
        let _ = keys.text("type");
        let header = keys.text("header");
        let _ = keys.text("default");
        let (_, _) = (keys.below("mapping."), keys.below("optional."));
        let given: Vec<(String, String)> = keys
            .given()
            .map(|(key, entry)| (key.to_owned(), entry.value.clone()))
            .collect();
        let mut config = Self {
            channels: channels.len(),
            header: header.clone().unwrap_or_else(|| HEADER.to_owned()),
            mapping: BTreeMap::new(),
            optional: BTreeMap::new(),
            default: Vec::new(),
        };
        let mut complete = true;
        for (key, list) in &given {
            let mut read = || {
                let (places, all) = places(keys, key, list, channels);
                complete &= all;
                places
            };
            if let Some(value) = key.strip_prefix("mapping.") {
                config.mapping.insert(value.to_owned(), read());
            } else if let Some(value) = key.strip_prefix("optional.") {
                config.optional.insert(value.to_owned(), read());
            } else if key == "default" {
                config.default = read();
            }
        }
        config.remark(keys, &given, complete.then_some(channels));
        config
    }

    /// What is legal and worth knowing. `channels` only if all names are known.
    fn remark(&self, keys: &mut Keys, given: &[(String, String)], channels: Option<&[Arc<str>]>) {
        if self.mapping.is_empty() {
            let message = "no mapping: every event takes the default".to_owned();
            keys.warn("mapping", "no-mapping", message);
        }
        if keys.peek("default").is_none() {
            let message = "not there: events with a value that no mapping names are thrown away, and the sender is told \
                           that they are stored";
            keys.note(Severity::Note, "default", "no-default", message.to_owned());
        }
        let misspelt = nearest("header", given.iter().map(|(key, _)| key.as_str())).is_some();
        if keys.peek("header").is_none() && !misspelt {
            let message = "not there: the header flume.selector.header is looked at";
            keys.note(Severity::Note, "header", "default-header", message.to_owned());
        }
        let lists = self
            .mapping
            .values()
            .chain(self.optional.values())
            .chain([&self.default]);
        let reached: BTreeSet<usize> = lists.flatten().copied().collect();
        for (place, channel) in channels.unwrap_or_default().iter().enumerate() {
            if !reached.contains(&place) {
                let message = format!("neither a mapping nor the default leads to channel {channel}");
                keys.warn("mapping", "unreached-channel", message);
            }
        }
    }

    /// The selector.
    pub fn build(self) -> Result<Multiplexing, BuildError> {
        let required = self.mapping.values().chain([&self.default]).flatten();
        let required: BTreeSet<usize> = required.copied().collect();
        let way = |value: Option<&String>| {
            let required = value.and_then(|v| self.mapping.get(v)).unwrap_or(&self.default);
            let optional = value.and_then(|v| self.optional.get(v));
            let optional = optional
                .into_iter()
                .flatten()
                .filter(|place| !required.contains(place));
            // Optional ones are dealt out behind the required ones.
            let optional = optional.map(|place| place + self.channels);
            required.iter().copied().chain(optional).collect::<Way>()
        };
        let values: BTreeSet<&String> = self.mapping.keys().chain(self.optional.keys()).collect();
        Ok(Multiplexing {
            ways: values
                .into_iter()
                .map(|value| (value.clone(), way(Some(value))))
                .collect(),
            default: way(None),
            required: required.into_iter().collect(),
            header: self.header,
            channels: self.channels,
        })
    }
}

/// The places of a list of names with one blank between them, and whether all are known.
fn places(keys: &mut Keys, key: &str, list: &str, channels: &[Arc<str>]) -> (Vec<usize>, bool) {
    let mut places = Vec::new();
    let mut all = true;
    for name in list.split(' ') {
        match channels.iter().position(|channel| **channel == *name) {
            Some(place) if places.contains(&place) => {}
            Some(place) => places.push(place),
            None => {
                all = false;
                unknown(keys, key, name, channels);
            }
        }
    }
    (places, all)
}

fn unknown(keys: &mut Keys, key: &str, name: &str, channels: &[Arc<str>]) {
    if name.is_empty() {
        keys.wrong(key, "exactly one blank stands between names, found two");
        return;
    }
    let near = nearest(name, channels.iter().map(|c| &**c));
    let hint = match near {
        _ if name.contains(',') => "; names are separated by blanks".to_owned(),
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => String::new(),
    };
    let list = channels.join(", ");
    let message = format!("\"{name}\" is no channel of this source; there are: {list}{hint}");
    keys.note(Severity::Error, key, "unknown-name", message);
}

/// Where an event goes: places of channels; those of optional ones have the number of channels added.
type Way = Vec<usize>;

/// The selector.
#[derive(Debug)]
pub struct Multiplexing {
    header: String,
    ways: HashMap<String, Way>,
    default: Way,
    /// All channels that an event may have to go to.
    required: Vec<usize>,
    channels: usize,
}

impl Selector for Multiplexing {
    fn route(&self, batch: Batch) -> Routes {
        // Most often events that stand together have the same value.
        let mut last: Option<(&str, &Way)> = None;
        let dealt = batch.dealt(2 * self.channels, |event| {
            let value = event.header(&self.header).unwrap_or_default();
            match last {
                Some((known, way)) if known == value => way,
                _ if value.trim().is_empty() => &self.default,
                _ => match self.ways.get_key_value(value) {
                    Some((known, way)) => {
                        last = Some((known, way));
                        way
                    }
                    None => &self.default,
                },
            }
        });
        let mut routes = Routes::default();
        for (place, batch) in dealt
            .into_iter()
            .enumerate()
            .filter(|(_, batch)| !batch.is_empty())
        {
            match place.checked_sub(self.channels) {
                None => routes.required.push((place, batch)),
                Some(place) => routes.optional.push((place, batch)),
            }
        }
        routes
    }

    fn required(&self) -> Vec<usize> {
        self.required.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::event::{BatchBuilder, EventLimits};

    const CHANNELS: [&str; 3] = ["c1", "c2", "c3"];

    fn read(pairs: &[(&str, &str)]) -> (Multiplexing, Vec<String>) {
        let channels: Vec<Arc<str>> = CHANNELS.map(Arc::from).to_vec();
        let mut keys = Keys::of("source r1 (seq)", pairs);
        let selector = Config::read(&mut keys, &channels).build().unwrap();
        (selector, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    /// Where each value goes: `c1:ab c2:b | c3:a` for required and optional channels.
    fn routes(selector: &Multiplexing, values: &[Option<&str>]) -> String {
        let mut builder = BatchBuilder::new(EventLimits::default());
        for (n, value) in values.iter().enumerate() {
            let body = [b'a' + u8::try_from(n).unwrap()];
            let header = value.map(|value| ("st", value));
            builder.push(header, &body).unwrap();
        }
        let text = |routes: &[(usize, Batch)]| {
            let bodies = |batch: &Batch| {
                batch
                    .iter()
                    .map(|e| String::from_utf8_lossy(e.body()))
                    .collect::<String>()
            };
            let one = |(place, batch): &(usize, Batch)| format!("{}:{}", CHANNELS[*place], bodies(batch));
            routes.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let routes = selector.route(builder.finish());
        format!("{} | {}", text(&routes.required), text(&routes.optional))
    }

    #[test]
    fn the_value_of_the_header_says_where_an_event_goes() {
        let (selector, findings) = read(&[
            ("header", "st"),
            ("mapping.A", "c2"),
            ("mapping.B", "c2 c3"),
            ("optional.A", "c3"),
            ("optional.Z", "c3"),
        ]);
        assert_eq!(findings.len(), 2, "{findings:?}"); // no default, and c1
        let values = [
            Some("A"),
            Some("B"),
            Some("Z"),
            Some("a"),
            None,
            Some(" A"),
            Some("  "),
            Some("A"),
        ];
        assert_eq!(routes(&selector, &values), "c2:abh c3:b | c3:ach");
        assert_eq!(selector.required(), [1, 2]);
        assert_eq!(routes(&selector, &[]), " | ");
        assert_eq!(routes(&selector, &[None]), " | ");
    }

    #[test]
    fn what_has_no_mapping_goes_to_the_default() {
        let (selector, findings) = read(&[
            ("header", "st"),
            ("mapping.A.b", "c2"),
            ("default", "c1 c3"),
            ("optional.zebra", "c1 c2"),
        ]);
        assert!(findings.is_empty(), "{findings:?}");
        let values = [Some("zebra"), Some("A.b"), None, Some(""), Some("A")];
        assert_eq!(routes(&selector, &values), "c1:acde c2:b c3:acde | c2:a");
        assert_eq!(selector.required(), [0, 1, 2]);
    }

    #[test]
    fn a_batch_that_goes_one_way_is_not_touched() {
        let (selector, _) = read(&[("header", "st"), ("default", "c1 c2")]);
        let batch: Batch = [&b"a"[..], b"b"].into_iter().collect();
        let blocks = batch.to_blocks();
        for (_, routed) in selector.route(batch).required {
            assert_eq!(routed.to_blocks()[0].as_ptr(), blocks[0].as_ptr());
        }
    }

    #[test]
    fn names_that_are_no_channels_are_refused() {
        let (_, findings) = read(&[
            ("header", "st"),
            ("mapping.A", "c1  c2"),
            ("mapping.B", "c1,c2"),
            ("optional.C", "chan3"),
            ("default", "c11"),
        ]);
        let named = [
            "default: \"c11\" is no channel of this source; there are: c1, c2, c3; did you mean \"c1\"?",
            "mapping.A: exactly one blank stands between names, found two",
            "mapping.B: \"c1,c2\" is no channel of this source; there are: c1, c2, c3; names are separated by blanks",
            "optional.C: \"chan3\" is no channel of this source; there are: c1, c2, c3",
        ];
        assert_eq!(findings.len(), named.len(), "{findings:?}");
        for (finding, words) in findings.iter().zip(named) {
            assert!(finding.contains("error[") && finding.contains(words), "{finding}");
        }
    }
}
