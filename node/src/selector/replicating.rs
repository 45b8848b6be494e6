//! `replicating`: every event to every channel, Flume's ReplicatingChannelSelector and the default.
//!
//! Promise: every channel of the source must commit, except those in `selector.optional`, which are tried once
//! each afterwards. Channels share the batch, nothing is copied.
//!
//! Failures: a name in `optional` that is not a channel of the source is an error of the configuration. (Flume
//! takes it and then fails every delivery after the required channels have committed, so that retries double.)
//! Source: `flume/sources.md` 8.

use crate::component::error::BuildError;
use crate::component::keys::{Keys, nearest};
use crate::component::registry::Type;
use crate::component::selector::{Routes, Selector};
use proto::event::Batch;
use std::sync::Arc;

/// How the list names it.
pub const TYPE: Type<Box<dyn Selector>> = Type {
    alias: "replicating",
    classes: &["org.apache.flume.channel.ReplicatingChannelSelector"],
    in_flume_metrics: false,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, &ctx.channels).build()?)),
};

/// Settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// How many channels the source has.
    pub channels: usize,
    /// `optional`: names separated by blanks; here their places in the source's list. Default none.
    pub optional: Vec<usize>,
}

impl Config {
    /// Reads the properties below `selector.` for a source with these channels.
    pub fn read(keys: &mut Keys, channels: &[Arc<str>]) -> Self {
        // Whoever chose this selector has read it.
        let _ = keys.text("type");
        let mut optional = Vec::new();
        for name in keys.text("optional").unwrap_or_default().split_whitespace() {
            match channels.iter().position(|c| **c == *name) {
                Some(place) if optional.contains(&place) => {}
                Some(place) => optional.push(place),
                None => keys.wrong("optional", &unknown(name, channels)),
            }
        }
        Self {
            channels: channels.len(),
            optional,
        }
    }

    /// The selector.
    pub fn build(self) -> Result<Replicating, BuildError> {
        let required = (0..self.channels)
            .filter(|c| !self.optional.contains(c))
            .collect();
        Ok(Replicating {
            required,
            optional: self.optional,
        })
    }
}

fn unknown(name: &str, channels: &[Arc<str>]) -> String {
    let list = channels.join(" ");
    let near = nearest(name, channels.iter().map(|c| &**c));
    let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
    format!("expected channels of the source ({list}), found \"{name}\"{hint}")
}

/// The selector.
#[derive(Debug)]
pub struct Replicating {
    required: Vec<usize>,
    optional: Vec<usize>,
}

impl Selector for Replicating {
    fn route(&self, batch: Batch) -> Routes {
        let to = |places: &[usize]| places.iter().map(|&place| (place, batch.clone())).collect();
        Routes {
            required: to(&self.required),
            optional: to(&self.optional),
        }
    }

    fn required(&self) -> Vec<usize> {
        self.required.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(optional: &str) -> (Replicating, Vec<String>) {
        let channels: Vec<Arc<str>> = ["c1", "c2", "c3"].map(Arc::from).to_vec();
        let mut keys = Keys::of(
            "source r1 (seq)",
            &[("type", "REPLICATING"), ("optional", optional)],
        );
        let selector = Config::read(&mut keys, &channels).build().unwrap();
        (selector, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    fn places(routes: &[(usize, Batch)]) -> Vec<usize> {
        routes
            .iter()
            .map(|(place, batch)| {
                assert_eq!(batch.len(), 2);
                *place
            })
            .collect()
    }

    #[test]
    fn every_channel_gets_every_event_and_optional_ones_come_last() {
        for (optional, required, tried) in [
            ("", vec![0, 1, 2], vec![]),
            ("c3  c1\tc3", vec![1], vec![2, 0]),
            ("c1 c2 c3", vec![], vec![0, 1, 2]),
        ] {
            let (selector, findings) = read(optional);
            assert!(findings.is_empty(), "{findings:?}");
            let routes = selector.route([&b"a"[..], b"b"].into_iter().collect());
            assert_eq!(places(&routes.required), required);
            assert_eq!(places(&routes.optional), tried);
            assert_eq!(selector.required(), required);
        }
    }

    #[test]
    fn an_optional_channel_that_the_source_does_not_have_is_refused() {
        let (_, findings) = read("c2 c9");
        assert_eq!(
            findings,
            [
                "(given):0: error[bad-value]: source r1 (seq): optional: expected channels of the source (c1 c2 c3), \
                 found \"c9\""
            ]
        );
    }
}
