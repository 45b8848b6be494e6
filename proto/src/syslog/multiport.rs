//! The newer parser, for `multiport_syslogtcp`: Flume's SyslogParser.
//!
//! All or nothing: a message that is not understood has the header `flume.syslog.status` = `Invalid` and no other of
//! the parser's. Headers: `Facility`, `Severity`, `Priority`, `Version`, `timestamp`, `host`, with capitals that
//! [`Legacy`](super::Legacy) has not. A stamp `-` is now, a host `-` is that text, stamps of RFC 3164 are in UTC.
//!
//! As in Flume, but for this (`flume/sources.md` 5.15): RFC 3164 dates are of the year that is meant, 29 February is of
//! a leap year, letters that are no month make the message invalid, and so does a fraction without a zone.

use super::decimal::Decimal;
use super::framing::Message;
use super::stamp::{ISO_LEN, Iso, Rfc3164, When, fraction, zone};
use super::{Fields, Headers, KeepFields, Parsed, STATUS};
use crate::event::{BatchBuilder, EventError};
use std::borrow::Cow;

/// The parser with its setting.
#[derive(Debug, Clone, Default)]
pub struct Multiport {
    keep: KeepFields,
    body: Vec<u8>,
}

impl Multiport {
    /// Keeps these fields in bodies.
    pub fn new(keep: KeepFields) -> Self {
        Self {
            keep,
            body: Vec::new(),
        }
    }

    /// Appends the event of a message. `text` is the message read with the port's charset, none if that cannot be;
    /// `encode` turns text into bytes of that charset again. `extra` are headers of the source's.
    ///
    /// # Errors
    /// The batch is full, or the body is over its limit; nothing is appended.
    pub fn push(
        &mut self,
        message: Message<'_>,
        text: Option<&str>,
        encode: impl Fn(&str) -> Cow<'_, [u8]>,
        now_unix_ms: i64,
        extra: &[(&str, &str)],
        builder: &mut BatchBuilder,
    ) -> Result<Parsed, EventError> {
        let Some((fields, priority, text)) = text.and_then(|t| {
            let (fields, priority) = fields(t, now_unix_ms)?;
            Some((fields, priority, t))
        }) else {
            return invalid(message.bytes, extra, builder);
        };
        let (facility, severity) = (Decimal::of(priority / 8), Decimal::of(priority % 8));
        let stamp = Decimal::of(fields.unix_ms.unwrap_or(now_unix_ms));
        let mut headers = Headers::new();
        headers.add("Facility", facility.as_str());
        headers.add("Severity", severity.as_str());
        headers.add("Priority", fields.priority);
        if let Some(version) = fields.version {
            headers.add("Version", version);
        }
        headers.add("timestamp", stamp.as_str());
        headers.add("host", fields.host.unwrap_or_default());
        let mut parsed = Parsed::Whole;
        if message.cut {
            headers.add(STATUS, "Incomplete");
            parsed = Parsed::Incomplete;
        }
        let body = if self.keep.all || fields.body.is_empty() {
            encode(text)
        } else if self.keep.is_none() {
            encode(str_of(fields.body))
        } else {
            self.keep.write(&fields, &mut self.body);
            encode(str_of(&self.body))
        };
        match builder.push(headers.with(extra), &body) {
            Ok(()) => Ok(parsed),
            // A host may be longer than a header can be.
            Err(_) => invalid(message.bytes, extra, builder),
        }
    }
}

fn invalid(message: &[u8], extra: &[(&str, &str)], builder: &mut BatchBuilder) -> Result<Parsed, EventError> {
    let mut headers = Headers::new();
    headers.add(STATUS, "Invalid");
    builder.push(headers.with(extra), message)?;
    Ok(Parsed::Invalid)
}

/// Parts of a text are text; [`Fields`] has bodies as bytes for the other parser's sake.
fn str_of(body: &[u8]) -> &str {
    std::str::from_utf8(body).expect("a body was cut out of a text between its characters")
}

/// The fields of a message, and its priority as a number.
fn fields(message: &str, now_unix_ms: i64) -> Option<(Fields<'_>, i64)> {
    let rest = message.strip_prefix('<')?;
    let end = rest.bytes().take(6).position(|b| b == b'>')?;
    let (priority, rest) = (&rest[..end], &rest[end + 1..]);
    // Any 32-bit number, also with a sign, as Java reads it.
    let number: i32 = priority.parse().ok()?;
    let (version, rest) = match rest.strip_prefix("1 ") {
        Some(after) if !after.is_empty() => (Some("1"), after),
        _ => (None, rest),
    };
    let (stamp, unix_ms, rest) = match *rest.as_bytes().first()? {
        b'-' => ("-", now_unix_ms, after_one(&rest[1..])?),
        b'A'..=b'Z' => {
            let (unix_ms, length) = rfc3164_unix_ms(rest, now_unix_ms)?;
            (&rest[..length], unix_ms, after_one(&rest[length..])?)
        }
        _ => {
            let (stamp, rest) = rest.split_once(' ')?;
            (stamp, rfc5424_unix_ms(stamp)?, rest)
        }
    };
    let (host, body) = rest.split_once(' ')?;
    let fields = Fields {
        priority,
        version,
        stamp: Some(stamp),
        unix_ms: Some(unix_ms),
        host: Some(host),
        body: body.as_bytes(),
    };
    Some((fields, i64::from(number)))
}

/// What follows one character, whichever it is: Flume does not look at it.
fn after_one(text: &str) -> Option<&str> {
    let mut chars = text.chars();
    chars.next()?;
    Some(chars.as_str())
}

/// Milliseconds since 1970 and the length, which Flume takes to be 15 always.
fn rfc3164_unix_ms(text: &str, now_unix_ms: i64) -> Option<(i64, usize)> {
    let (parsed, length) = Rfc3164::parse(text.as_bytes())?;
    let when = When {
        now_unix_ms,
        offset_seconds: &|_| 0,
    };
    let unix_ms = parsed.unix_ms(&when).filter(|_| parsed.exists())?;
    Some((unix_ms, length))
}

/// A fraction needs a zone behind it; behind a zone there may be anything, and without a fraction there may be
/// anything in its place.
fn rfc5424_unix_ms(stamp: &str) -> Option<i64> {
    let bytes = stamp.as_bytes();
    let iso = Iso::parse(bytes)?;
    let rest = &bytes[ISO_LEN..];
    let (fraction_len, ms) = match rest.first()? {
        b'.' => fraction(rest)?,
        _ => (0, 0),
    };
    let rest = &rest[fraction_len..];
    let offset_seconds = match rest.first()? {
        b'+' | b'-' => zone(rest)?.1,
        _ => 0,
    };
    iso.exists()
        .then(|| (iso.civil.local_seconds() - offset_seconds) * 1_000 + ms)
}
