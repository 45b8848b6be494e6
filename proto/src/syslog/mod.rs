//! Syslog as Flume's sources read it: messages cut out of a stream, and two parsers with two sets of headers.
//!
//! Flume has a parser of old, for `syslogtcp` and `syslogudp` ([`Legacy`]), and a newer one for
//! `multiport_syslogtcp` ([`Multiport`]). They differ in header names, in what they accept and in what becomes of what
//! they do not accept; configurations depend on either, so both are here. Source: `flume/sources.md` 5.14, 5.15 and
//! `flume/wire.md` 8; the mistakes that are marked there as bugs are not repeated.
//!
//! ```text
//!   <34>1 2003-10-11T22:14:15.003Z host app - - text     what RFC 5424 asks for, as far as the parsers look
//!   <34>Oct 11 22:14:15 host text                        RFC 3164: no year, no zone
//!   44 <34>1 2003-...                                    a counted frame of RFC 6587, see [`Framing`]
//! ```
//!
//! All of it works on slices of what was received, writes straight into a [`BatchBuilder`](crate::event::BatchBuilder)
//! and allocates nothing per message. Time and place come in with [`When`]: nothing here asks a clock.
//!
//! Limits: a message has at most the bytes that [`Framing::new`] is told; a counted frame's declared length is never
//! allocated. A header that is over the limits of events makes its message an invalid one, which has none.

mod decimal;
mod framing;
mod legacy;
mod multiport;
mod stamp;

pub use framing::{Framing, Message, datagram};
pub use legacy::Legacy;
pub use multiport::Multiport;
pub use stamp::When;

/// The header that tells of a message that is not whole or not understood.
const STATUS: &str = "flume.syslog.status";

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// Its parts are in headers.
    Whole,
    /// [`Legacy`] only: it begins with a priority, and what follows has no known form.
    Unmatched,
    /// As [`Whole`](Self::Whole) or [`Unmatched`](Self::Unmatched), of the first bytes of a message that was too long.
    Incomplete,
    /// Not a syslog message; the body has it as it came.
    Invalid,
}

/// The parts of a message as they were received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The number between the angle brackets.
    pub priority: &'a str,
    /// The version, if there is one.
    pub version: Option<&'a str>,
    /// The stamp; none for the nil value `-`.
    pub stamp: Option<&'a str>,
    /// The stamp in milliseconds since 1970, if it could be read.
    pub unix_ms: Option<i64>,
    /// The host; none for the nil value `-`.
    pub host: Option<&'a str>,
    /// What follows.
    pub body: &'a [u8],
}

/// Which parts stay in the body: Flume's `keepFields`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepFields {
    /// The whole message as it came.
    pub all: bool,
    /// `<priority>`.
    pub priority: bool,
    /// The version and a blank.
    pub version: bool,
    /// The stamp and a blank.
    pub timestamp: bool,
    /// The host and a blank.
    pub hostname: bool,
}

impl KeepFields {
    /// What a property's value asks for: `true` or `all`, `false` or `none`, else each of the four names that occurs in
    /// it, whatever stands between them.
    pub fn of(value: &str) -> Self {
        let value = value.trim().to_lowercase();
        match value.as_str() {
            "all" | "true" => Self {
                all: true,
                ..Self::default()
            },
            "none" | "false" => Self::default(),
            list => Self {
                all: false,
                priority: list.contains("priority"),
                version: list.contains("version"),
                timestamp: list.contains("timestamp"),
                hostname: list.contains("hostname"),
            },
        }
    }

    /// Whether nothing is kept.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Writes the body with what is kept before it.
    fn write(&self, fields: &Fields<'_>, body: &mut Vec<u8>) {
        body.clear();
        if self.priority && !fields.priority.is_empty() {
            body.push(b'<');
            body.extend_from_slice(fields.priority.as_bytes());
            body.push(b'>');
        }
        let parts = [
            (self.version, fields.version),
            (self.timestamp, fields.stamp.or(Some("-"))),
            (self.hostname, fields.host.or(Some("-"))),
        ];
        for part in parts.into_iter().filter_map(|(keep, part)| part.filter(|_| keep)) {
            body.extend_from_slice(part.as_bytes());
            body.push(b' ');
        }
        body.extend_from_slice(fields.body);
    }
}

/// The headers of one event, in order, without an allocation.
struct Headers<'a> {
    list: [(&'a str, &'a str); 7],
    len: usize,
}

impl<'a> Headers<'a> {
    fn new() -> Self {
        Self {
            list: [("", ""); 7],
            len: 0,
        }
    }

    fn add(&mut self, key: &'a str, value: &'a str) {
        // Seven is the most that a parser adds.
        self.list[self.len] = (key, value);
        self.len += 1;
    }

    fn with<'s>(&'s self, extra: &'s [(&'s str, &'s str)]) -> impl Iterator<Item = (&'s str, &'s str)>
    where
        'a: 's,
    {
        self.list[..self.len].iter().chain(extra).copied()
    }
}

#[cfg(test)]
mod tests;
