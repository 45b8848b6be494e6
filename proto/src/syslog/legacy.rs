//! The parser of old, for `syslogtcp` and `syslogudp`: Flume's SyslogUtils.
//!
//! A message begins with `<`, one to three digits and `>`, else it is invalid. What follows is looked at as RFC 5424
//! and then as RFC 3164 have it; if it is neither, the body is the whole message and only facility and severity are
//! known. Headers: `Facility`, `Severity`, `priority`, `version`, `timestamp`, `host`, `flume.syslog.status`.
//!
//! As in Flume, but for this (`flume/sources.md` 5.14): a zone is honoured also behind a fraction, fractions are
//! decimal and of any length, hosts may be IPv6 addresses, no message has the priority or version of another one, nil
//! values are kept as `-`, bytes that are not UTF-8 stay as they are.

use super::decimal::Decimal;
use super::framing::Message;
use super::stamp::{ISO_LEN, Iso, Rfc3164, When, fraction, is_blank, zone};
use super::{Fields, Headers, KeepFields, Parsed, STATUS};
use crate::event::{BatchBuilder, EventError};
use std::net::Ipv6Addr;

/// The parser with its setting.
#[derive(Debug, Clone, Default)]
pub struct Legacy {
    keep: KeepFields,
    body: Vec<u8>,
}

impl Legacy {
    /// Keeps these fields in bodies.
    pub fn new(keep: KeepFields) -> Self {
        Self {
            keep,
            body: Vec::new(),
        }
    }

    /// Appends the event of a message. `custom` has its fields if a format of the user's own matches; else the built-in
    /// ones are tried. `extra` are headers of the source's.
    ///
    /// # Errors
    /// The batch is full, or the body is over its limit; nothing is appended.
    pub fn push(
        &mut self,
        message: Message<'_>,
        custom: Option<Fields<'_>>,
        when: &When<'_>,
        extra: &[(&str, &str)],
        builder: &mut BatchBuilder,
    ) -> Result<Parsed, EventError> {
        let Some(priority) = priority(message.bytes) else {
            return invalid(message.bytes, extra, builder);
        };
        let fields = custom.or_else(|| fields(message.bytes, when));
        let (facility, severity) = (Decimal::of(priority / 8), Decimal::of(priority % 8));
        let stamp = fields.and_then(|f| f.unix_ms).map(Decimal::of);
        let mut headers = Headers::new();
        headers.add("Facility", facility.as_str());
        headers.add("Severity", severity.as_str());
        if let Some(fields) = &fields {
            let optional = [
                ("priority", Some(fields.priority)),
                ("version", fields.version),
                ("timestamp", stamp.as_ref().map(Decimal::as_str)),
                ("host", fields.host),
            ];
            for (key, value) in optional {
                if let Some(value) = value.filter(|v| !v.is_empty()) {
                    headers.add(key, value);
                }
            }
        }
        let parsed = match (&fields, message.cut) {
            (_, true) => {
                headers.add(STATUS, "Incomplete");
                Parsed::Incomplete
            }
            (Some(_), false) => Parsed::Whole,
            (None, false) => Parsed::Unmatched,
        };
        let body = self.body_of(message.bytes, fields.as_ref());
        match builder.push(headers.with(extra), body) {
            Ok(()) => Ok(parsed),
            // A host or another part may be longer than a header can be.
            Err(_) => invalid(message.bytes, extra, builder),
        }
    }

    fn body_of<'a>(&'a mut self, message: &'a [u8], fields: Option<&Fields<'a>>) -> &'a [u8] {
        let body = match fields {
            Some(fields) if self.keep.is_none() => fields.body,
            Some(fields) if !self.keep.all => {
                self.keep.write(fields, &mut self.body);
                &self.body
            }
            _ => message,
        };
        if body.is_empty() { message } else { body }
    }
}

fn invalid(message: &[u8], extra: &[(&str, &str)], builder: &mut BatchBuilder) -> Result<Parsed, EventError> {
    let mut headers = Headers::new();
    headers.add("Facility", "0");
    headers.add("Severity", "0");
    headers.add(STATUS, "Invalid");
    builder.push(headers.with(extra), message)?;
    Ok(Parsed::Invalid)
}

/// The number of `<n>` with which a message begins.
pub(super) fn priority(message: &[u8]) -> Option<i64> {
    let digits = &message[1..digits_end(message)?];
    Some(digits.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
}

/// Where the bracket is that closes one to three digits.
fn digits_end(message: &[u8]) -> Option<usize> {
    let (b'<', rest) = message.split_first()? else {
        return None;
    };
    let count = rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    ((1..=3).contains(&count) && rest.get(count) == Some(&b'>')).then_some(count + 1)
}

/// The fields of a message that has one of the two built-in forms.
fn fields<'a>(message: &'a [u8], when: &When<'_>) -> Option<Fields<'a>> {
    let bracket = digits_end(message)?;
    let after_bracket = &message[bracket + 1..];
    let version_len = usize::from(has_version(after_bracket));
    let after_version = &after_bracket[version_len..];
    let rest = after_blank(after_version).unwrap_or(after_version);
    let (unix_ms, stamp_len, is_nil_allowed) = match rest.first()? {
        b'-' => (None, 1, true),
        b'0'..=b'9' => {
            let (unix_ms, length) = rfc5424_stamp(rest, when)?;
            (Some(unix_ms), length, true)
        }
        _ => {
            let (parsed, length) = Rfc3164::parse(rest)?;
            (parsed.unix_ms(when), length, false)
        }
    };
    let host_and_body = after_blank(&rest[stamp_len..])?;
    let host_len = host_len(host_and_body)?;
    let body = after_blank(&host_and_body[host_len..])?;
    // All before the body is ASCII, and looked at as text once.
    let head = std::str::from_utf8(&message[..message.len() - body.len()]).ok()?;
    let part = |from: &[u8], length: usize| &head[message.len() - from.len()..][..length];
    let host = part(host_and_body, host_len);
    if host == "-" && !is_nil_allowed {
        return None;
    }
    let stamp = part(rest, stamp_len);
    Some(Fields {
        priority: &head[1..bracket],
        version: (version_len > 0).then(|| part(after_bracket, 1)),
        stamp: (stamp != "-").then_some(stamp),
        unix_ms,
        host: (host != "-").then_some(host),
        body,
    })
}

/// Whether it begins with a digit that does not begin a year.
fn has_version(rest: &[u8]) -> bool {
    let begins_year =
        || matches!(rest, [_, b, c, d, b'-', ..] if [b, c, d].iter().all(|b| b.is_ascii_digit()));
    rest.first().is_some_and(u8::is_ascii_digit) && !begins_year()
}

/// Milliseconds since 1970 and the length; without a zone the time is that of this place.
fn rfc5424_stamp(bytes: &[u8], when: &When<'_>) -> Option<(i64, usize)> {
    let local_seconds = Iso::parse(bytes)?.civil.local_seconds();
    let (fraction_len, ms) = fraction(&bytes[ISO_LEN..]).unwrap_or_default();
    let (zone_len, offset_seconds) = match zone(&bytes[ISO_LEN + fraction_len..]) {
        Some(zone) => zone,
        None => (0, (when.offset_seconds)(local_seconds)),
    };
    let unix_ms = (local_seconds - offset_seconds) * 1_000 + ms;
    Some((unix_ms, ISO_LEN + fraction_len + zone_len))
}

/// Length of a name, an address or `-`, which a blank must follow.
fn host_len(bytes: &[u8]) -> Option<usize> {
    let end = bytes.iter().position(|b| is_blank(*b))?;
    let token = &bytes[..end];
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let (first, others) = token.split_first()?;
    let is_name = is_word(first)
        && others
            .iter()
            .all(|b| is_word(b) || matches!(b, b'.' | b'@' | b'-'));
    let is_host = is_name || token == b"-" || std::str::from_utf8(token).is_ok_and(is_ipv6);
    is_host.then_some(end)
}

fn is_ipv6(token: &str) -> bool {
    let inner = token
        .strip_prefix('[')
        .and_then(|t| t.strip_suffix(']'))
        .unwrap_or(token);
    let address = inner.split_once('%').map_or(inner, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

fn after_blank(bytes: &[u8]) -> Option<&[u8]> {
    let (first, rest) = bytes.split_first()?;
    is_blank(*first).then_some(rest)
}
