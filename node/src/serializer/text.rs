//! `TEXT`: the body and a line feed, Flume's BodyTextEventSerializer.
//!
//! Headers are dropped; a body with line feeds in it makes several lines, as in Flume. A file may be appended to.
//! Writing cannot fail. Source: `flume/channels-and-sinks.md` 5.2.

use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::serializer::Serializer;
use proto::event::Batch;

/// How the list names it.
pub const TYPE: Type<Box<dyn Serializer>> = Type {
    alias: "text",
    classes: &["org.apache.flume.serialization.BodyTextEventSerializer$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `appendNewline`: whether a line feed follows each body; default true.
    pub append_newline: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { append_newline: true }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        Self {
            append_newline: keys.flag("appendNewline", Self::default().append_newline),
        }
    }

    /// The serializer.
    pub fn build(self) -> Result<Text, BuildError> {
        Ok(Text(self))
    }
}

/// The serializer.
#[derive(Debug)]
pub struct Text(Config);

impl Serializer for Text {
    fn write(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for event in batch.iter() {
            out.extend_from_slice(event.body());
            if self.0.append_newline {
                out.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], expected: &str) {
        let mut edit = [&b"e1"[..], b"", b"e\n2"].into_iter().collect::<Batch>().edit();
        edit.set_all("a", "1");
        let mut out = Vec::new();
        let mut keys = Keys::of("sink k1 (file_roll)", pairs);
        let mut text = Config::read(&mut keys).build().unwrap();
        text.write(&edit.finish(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn each_body_is_followed_by_a_line_feed_and_headers_are_dropped() {
        check(&[], "e1\n\ne\n2\n");
    }

    #[test]
    fn without_line_feeds_bodies_stand_side_by_side() {
        check(&[("appendNewline", "false")], "e1e\n2");
    }
}
