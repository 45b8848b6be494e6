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
use super::stamp::{ISO_LEN, Rfc3164, When, fraction, is_blank, iso, zone};
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
    let digits = bracketed(message)?.0;
    Some(
        digits
            .bytes()
            .fold(0, |n, digit| n * 10 + i64::from(digit - b'0')),
    )
}

/// The digits between the brackets, and what follows.
fn bracketed(message: &[u8]) -> Option<(&str, &[u8])> {
    let (b'<', rest) = message.split_first()? else {
        return None;
    };
    let count = rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
    if !(1..=3).contains(&count) || rest.get(count) != Some(&b'>') {
        return None;
    }
    Some((text(&rest[..count])?, &rest[count + 1..]))
}

/// The fields of a message that has one of the two built-in forms.
fn fields<'a>(message: &'a [u8], when: &When<'_>) -> Option<Fields<'a>> {
    let (priority, rest) = bracketed(message)?;
    let (version, rest) = version(rest)?;
    let (stamp, unix_ms, rest, is_nil_allowed) = match rest.first()? {
        b'-' => (None, None, &rest[1..], true),
        b'0'..=b'9' => {
            let (unix_ms, length) = rfc5424_stamp(rest, when)?;
            (Some(text(&rest[..length])?), Some(unix_ms), &rest[length..], true)
        }
        _ => {
            let (parsed, length) = Rfc3164::parse(rest)?;
            (
                Some(text(&rest[..length])?),
                parsed.unix_ms(when),
                &rest[length..],
                false,
            )
        }
    };
    let (host, rest) = host(after_blank(rest)?)?;
    let host = match host {
        "-" if is_nil_allowed => None,
        "-" => return None,
        host => Some(host),
    };
    Some(Fields {
        priority,
        version,
        stamp,
        unix_ms,
        host,
        body: after_blank(rest)?,
    })
}

/// One digit that does not begin a year, and what follows one blank, if there is one.
fn version(rest: &[u8]) -> Option<(Option<&str>, &[u8])> {
    let begins_year =
        || matches!(rest, [_, b, c, d, b'-', ..] if [b, c, d].iter().all(|b| b.is_ascii_digit()));
    let (version, rest) = match rest.first()? {
        b'0'..=b'9' if !begins_year() => (text(&rest[..1]), &rest[1..]),
        _ => (None, rest),
    };
    Some((version, after_blank(rest).unwrap_or(rest)))
}

/// Milliseconds since 1970 and the length; without a zone the time is that of this place.
fn rfc5424_stamp(bytes: &[u8], when: &When<'_>) -> Option<(i64, usize)> {
    let local_seconds = iso(bytes)?.0.local_seconds();
    let (fraction_len, ms) = fraction(&bytes[ISO_LEN..]).unwrap_or_default();
    let (zone_len, offset_seconds) = match zone(&bytes[ISO_LEN + fraction_len..]) {
        Some(zone) => zone,
        None => (0, (when.offset_seconds)(local_seconds)),
    };
    let unix_ms = (local_seconds - offset_seconds) * 1_000 + ms;
    Some((unix_ms, ISO_LEN + fraction_len + zone_len))
}

/// A name, an address or `-`, which a blank must follow.
fn host(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|b| is_blank(*b))?;
    let (token, rest) = bytes.split_at(end);
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let (first, others) = token.split_first()?;
    let is_name = is_word(first)
        && others
            .iter()
            .all(|b| is_word(b) || matches!(b, b'.' | b'@' | b'-'));
    let token = text(token)?;
    (is_name || token == "-" || is_ipv6(token)).then_some((token, rest))
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

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}
