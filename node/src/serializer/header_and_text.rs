//! `HEADER_AND_TEXT`: headers, a blank, the body and a line feed, Flume's HeaderAndBodyTextEventSerializer.
//!
//! A line is `{k=v, k2=v2} body`, the headers in the order of Java's HashMap, `{}` for none; nothing is escaped.
//! A file may be appended to. Writing cannot fail. Source: `flume/channels-and-sinks.md` 5.2 and 1.2.

use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::serializer::Serializer;
use proto::event::{Batch, EventView};
use proto::java::sort_in_hash_order;

/// How the list names it.
pub const TYPE: Type<Box<dyn Serializer>> = Type {
    alias: "header_and_text",
    classes: &["org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `appendNewline`: whether a line feed follows each event; default true.
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
    pub fn build(self) -> Result<HeaderAndText, BuildError> {
        Ok(HeaderAndText(self))
    }
}

/// The serializer.
#[derive(Debug)]
pub struct HeaderAndText(Config);

impl Serializer for HeaderAndText {
    fn write(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        for event in batch.iter() {
            write_headers(event, out);
            out.push(b' ');
            out.extend_from_slice(event.body());
            if self.0.append_newline {
                out.push(b'\n');
            }
        }
    }
}

/// The headers as Java prints a HashMap.
fn write_headers(event: EventView<'_>, out: &mut Vec<u8>) {
    let mut headers: Vec<(&str, &str)> = event.headers().collect();
    sort_in_hash_order(&mut headers, |(key, _)| key);
    out.push(b'{');
    for (n, (key, value)) in headers.into_iter().enumerate() {
        if n > 0 {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&str, &str)], pairs: &[(&str, &str)], expected: &str) {
        let mut edit = [&b"x"[..]].into_iter().collect::<Batch>().edit();
        for (key, value) in headers {
            edit.set_all(key, value);
        }
        let mut out = Vec::new();
        let mut keys = Keys::of("sink k1 (file_roll)", pairs);
        let mut serializer = Config::read(&mut keys).build().unwrap();
        serializer.write(&edit.finish(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn headers_come_first_in_the_order_of_java() {
        check(&[("a", "1")], &[], "{a=1} x\n");
        check(
            &[("header1", "value1"), ("header2", "value2")],
            &[],
            "{header2=value2, header1=value1} x\n",
        );
    }

    #[test]
    fn no_headers_are_empty_braces_and_the_line_feed_can_be_left_out() {
        check(&[], &[("appendNewline", "false")], "{} x");
    }
}
