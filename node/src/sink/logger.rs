//! `logger`: writes events to the log, Flume's LoggerSink.
//!
//! Promise: one line at level info an event, in order, byte for byte what Flume writes, under Flume's logger name
//! (target `org.apache.flume.sink.LoggerSink`); then the take is committed. Whether the line is stored is the
//! log's business. Without a listener at level info events are committed unseen, as in Flume.
//!
//! Two differences: a transaction holds up to 100 events instead of one (so the events of one that is not
//! committed may be logged twice, up to 100 instead of one), and `maxBytesToLog` is honoured, which in Flume 1.11
//! never takes effect from a properties file.
//!
//! Failures: logging cannot fail; a commit that fails brings the events again.
//! Source: `flume/channels-and-sinks.md` 6.2.

use crate::component::channel::{Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::sink::{DynSink, Sink, SinkContext};
use proto::event::EventView;
use proto::java::sort_in_hash_order;
use std::fmt::Write;
use tracing::{Level, enabled, info};

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSink>> = Type {
    alias: "logger",
    classes: &["org.apache.flume.sink.LoggerSink"],
    in_flume_metrics: false,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Events in one transaction.
const LEASE_EVENTS: usize = 100;

/// Bytes of a body in one line of the dump.
const LINE_BYTES: usize = 16;

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `maxBytesToLog`: bytes of a body that are shown; default 16. A bad number is 16, as in Flume.
    pub max_bytes_to_log: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_bytes_to_log: 16 }
    }
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let default = Self::default().max_bytes_to_log;
        Self {
            max_bytes_to_log: keys.lenient_number("maxBytesToLog", default, 0..=i32::MAX as usize),
        }
    }

    /// The sink.
    pub fn build(self) -> Result<Logger, BuildError> {
        Ok(Logger(self))
    }
}

/// The sink.
#[derive(Debug)]
pub struct Logger(Config);

impl Sink for Logger {
    fn want(&self) -> Want {
        Want::events(LEASE_EVENTS)
    }

    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        let events = lease.batch().len() as u64;
        ctx.counters.attempted.add(events);
        if enabled!(target: "org.apache.flume.sink.LoggerSink", Level::INFO) {
            for event in lease.batch().iter() {
                let shown = shown(event, self.0.max_bytes_to_log);
                info!(target: "org.apache.flume.sink.LoggerSink", "Event: {shown}");
            }
        }
        lease.commit().await?;
        ctx.counters.delivered.add(events);
        Ok(())
    }
}

/// An event as Flume's EventHelper shows it.
fn shown(event: EventView<'_>, max_bytes: usize) -> String {
    let mut headers: Vec<(&str, &str)> = event.headers().collect();
    sort_in_hash_order(&mut headers, |(key, _)| key);
    let mut text = String::from("{ headers:{");
    for (n, (key, value)) in headers.into_iter().enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}{key}={value}");
    }
    text.push_str("} body:");
    dump(event.body(), max_bytes, &mut text);
    text.push_str(" }");
    text
}

/// Appends a body in hex and ASCII; the first line has no offset.
fn dump(body: &[u8], max_bytes: usize, text: &mut String) {
    if max_bytes == 0 && !body.is_empty() {
        // What commons-io says about an array without bytes.
        text.push_str("...Exception while dumping: illegal index: 0 into array of length 0");
        return;
    }
    let body = &body[..body.len().min(max_bytes)];
    for (n, line) in body.chunks(LINE_BYTES).enumerate() {
        if n > 0 {
            let _ = write!(text, "\n{:08X}", n * LINE_BYTES);
        }
        text.push(' ');
        for cell in 0..LINE_BYTES {
            let _ = match line.get(cell) {
                Some(byte) => write!(text, "{byte:02X} "),
                None => write!(text, "   "),
            };
        }
        let ascii = |byte: &u8| {
            if matches!(byte, 0x20..=0x7e) {
                char::from(*byte)
            } else {
                '.'
            }
        };
        text.extend(line.iter().map(ascii));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{self, Log, sink::Fixture};
    use proto::event::Batch;

    struct Lines(Log);

    impl Fixture for Lines {
        fn build(&self) -> Box<dyn DynSink> {
            Box::new(Config::default().build().unwrap())
        }

        fn delivered(&self) -> Option<Vec<String>> {
            let body = |line: &str| Some(line.split_once("body: ")?.1[48..].strip_suffix(" }")?.to_owned());
            Some(self.0.text().lines().filter_map(body).collect())
        }
    }

    contract::sink::suite!(|| Lines(Log::capture()));

    fn check(headers: &[(&str, &str)], body: &[u8], limit: usize, expected: &str) {
        let mut edit = [body].into_iter().collect::<Batch>().edit();
        for (key, value) in headers {
            edit.set_all(key, value);
        }
        assert_eq!(shown(edit.finish().get(0).unwrap(), limit), expected);
    }

    #[test]
    fn a_short_body_is_padded_before_its_ascii_column() {
        check(
            &[],
            b"hello",
            16,
            "{ headers:{} body: 68 65 6C 6C 6F                                  hello }",
        );
        check(
            &[],
            b"\x00\x7f\xc3\xa9A",
            16,
            "{ headers:{} body: 00 7F C3 A9 41                                  ....A }",
        );
    }

    #[test]
    fn a_long_body_is_cut_without_a_mark() {
        check(
            &[],
            b"0123456789abcdefghij",
            16,
            "{ headers:{} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef }",
        );
    }

    #[test]
    fn a_higher_limit_makes_lines_with_offsets() {
        check(
            &[],
            b"0123456789abcdefgh",
            32,
            "{ headers:{} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef\n\
             00000010 67 68                                           gh }",
        );
    }

    #[test]
    fn an_empty_body_and_a_limit_of_zero_read_as_in_flume() {
        check(&[], b"", 16, "{ headers:{} body: }");
        check(
            &[],
            b"x",
            0,
            "{ headers:{} body:...Exception while dumping: illegal index: 0 into array of length 0 }",
        );
    }

    #[test]
    fn headers_come_in_the_order_of_java() {
        check(
            &[("header1", "value1"), ("header2", "value2")],
            b"",
            16,
            "{ headers:{header2=value2, header1=value1} body: }",
        );
    }

    #[tokio::test]
    async fn the_line_stands_under_flumes_logger_name() {
        let (log, channel) = (Log::capture(), contract::memory_channel(10));
        contract::put(&channel, [&b""[..]].into_iter().collect()).await;
        let ctx = contract::sink_context("k1");
        let mut sink: Box<dyn DynSink> = Box::new(Config::default().build().unwrap());
        contract::sink::drain(&mut sink, &channel, &ctx).await;
        assert_eq!(
            log.text(),
            "org.apache.flume.sink.LoggerSink: Event: { headers:{} body: }\n"
        );
    }

    #[test]
    fn the_limit_is_honoured_and_a_bad_one_is_sixteen() {
        let read = |value| Config::read(&mut Keys::of("sink k1 (logger)", &[("maxBytesToLog", value)]));
        assert_eq!(read("64").max_bytes_to_log, 64);
        assert_eq!(read("many").max_bytes_to_log, 16);
    }
}
