//! Reads the lines of the logger sink back into events.
//!
//! ```text
//! … INFO org.apache.flume.sink.LoggerSink: Event: { headers:{} body: 68 65 6C 6C 6F                                  hello }
//! ```
//!
//! After `body:` and a blank stand 16 cells of three characters, then the text with a dot for what cannot be printed.
//! A longer body is cut to 16 bytes (channels-and-sinks.md 6.2), so tests that count use bodies of at most 16.

/// Before the event in a line.
const START: &str = "org.apache.flume.sink.LoggerSink: Event: { headers:{";

/// Bytes in a line, and the width of their dump.
const CELLS: usize = 16;
const DUMP_WIDTH: usize = 3 * CELLS;

/// An event as it was logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// What stands between the braces, such as `a=b`.
    pub headers: String,
    /// At most the first 16 bytes.
    pub body: Vec<u8>,
}

impl Logged {
    /// The event of a line; None when the line does not come from the logger sink or has another format.
    pub fn parse(line: &str) -> Option<Self> {
        let (_, event) = line.split_once(START)?;
        let (headers, rest) = event.split_once("} body: ")?;
        let body = if rest == "}" {
            Vec::new()
        } else {
            undump(rest.strip_suffix(" }")?)?
        };
        Some(Self {
            headers: headers.to_owned(),
            body,
        })
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The line's end for an event, from `Event:` on.
///
/// # Panics
/// For a body that is empty or longer than one line.
pub fn event(headers: &str, body: &str) -> String {
    assert!(
        (1..=CELLS).contains(&body.len()),
        "{body:?} does not fill one line"
    );
    let cells: String = body.bytes().map(|byte| format!("{byte:02X} ")).collect();
    let printable = |byte| {
        if (b' '..=b'~').contains(&byte) {
            char::from(byte)
        } else {
            '.'
        }
    };
    let text: String = body.bytes().map(printable).collect();
    format!("Event: {{ headers:{{{headers}}} body: {cells:<DUMP_WIDTH$}{text} }}")
}

/// The bytes of one line of dump, whose text must agree with them.
fn undump(dump: &str) -> Option<Vec<u8>> {
    let (cells, text) = (dump.get(..DUMP_WIDTH)?, dump.get(DUMP_WIDTH..)?);
    let bytes: Option<Vec<u8>> = cells
        .split_ascii_whitespace()
        .map(|cell| u8::from_str_radix(cell, 16).ok())
        .collect();
    let bytes = bytes?;
    let agrees = |(byte, shown): (&u8, u8)| shown == *byte || shown == b'.';
    (text.len() == bytes.len() && bytes.iter().zip(text.bytes()).all(agrees)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in channels-and-sinks.md 6.2.
    const HELLO: &str = "Event: { headers:{} body: 68 65 6C 6C 6F                                  hello }";

    fn parse(event: &str) -> Option<(String, Vec<u8>)> {
        let line = format!("2026-01-01T00:00:00Z  INFO org.apache.flume.sink.LoggerSink: {event}");
        Logged::parse(&line).map(|logged| (logged.headers, logged.body))
    }

    #[test]
    fn events_are_written_as_flume_does() {
        assert_eq!(event("", "hello"), HELLO);
        assert_eq!(
            event("a=b", "sixteen  bytes\t\u{7f}"),
            "Event: { headers:{a=b} body: 73 69 78 74 65 65 6E 20 20 62 79 74 65 73 09 7F sixteen  bytes.. }"
        );
    }

    #[test]
    fn events_are_read_back() {
        assert_eq!(parse(HELLO), Some((String::new(), b"hello".to_vec())));
        assert_eq!(
            parse(&event("a=b, c=d", "} body: \t")),
            Some(("a=b, c=d".to_owned(), b"} body: \t".to_vec()))
        );
        assert_eq!(
            parse("Event: { headers:{} body: }"),
            Some((String::new(), Vec::new()))
        );
    }

    #[test]
    fn what_has_another_format_is_no_event() {
        assert_eq!(parse("Event: { headers:{} body: 68 65 hi }"), None);
        assert_eq!(
            parse(&HELLO.replace("hello", "hallo")),
            None,
            "the text must agree with the dump"
        );
        assert_eq!(parse(&HELLO.replace("68 ", "6x ")), None);
        assert_eq!(parse(HELLO.trim_end_matches(" }")), None);
        assert_eq!(Logged::parse("hello"), None);
    }
}
