//! What the three syslog sources have in common: their settings, headers about the peer, and the local time zone.

use super::host_names::{HostNames, java_text};
use crate::component::keys::Keys;
use crate::java::date::DatePattern;
use crate::java::regex::Regex;
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};
use proto::event::EventLimits;
use proto::syslog::{Fields, KeepFields};
use std::cell::Cell;
use std::net::IpAddr;

/// `keepFields`: what of the parts of a message stays in the body; default none.
pub fn keep_fields(keys: &mut Keys) -> KeepFields {
    keys.text("keepFields")
        .map_or_else(KeepFields::default, |value| KeepFields::of(&value))
}

/// `eventSize`: the most bytes of a message; default 2,500. More than a body can have is as much as it can have.
pub fn event_size(keys: &mut Keys) -> usize {
    let size = keys.number("eventSize", 2_500, 1..=i32::MAX as usize);
    size.min(EventLimits::default().body_bytes)
}

/// Names of the headers that tell of a message's peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHeaders {
    /// `clientIPHeader`: its address; default none.
    pub ip: Option<String>,
    /// `clientHostnameHeader`: the name of its address; default none.
    pub host_name: Option<String>,
}

impl ClientHeaders {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        Self {
            ip: keys.text("clientIPHeader"),
            host_name: keys.text("clientHostnameHeader"),
        }
    }

    /// The headers for one peer. Waits for DNS, a second at most, where the name is asked for.
    pub async fn of(&self, peer: IpAddr, names: &HostNames) -> Vec<(String, String)> {
        let name = match &self.host_name {
            Some(_) => names.of(peer).await.to_string(),
            None => String::new(),
        };
        self.with(peer, name)
    }

    /// The headers for a peer whose name is known.
    pub fn with(&self, peer: IpAddr, name: String) -> Vec<(String, String)> {
        let ip = self.ip.clone().map(|key| (key, java_text(peer)));
        let name = self.host_name.clone().map(|key| (key, name));
        ip.into_iter().chain(name).collect()
    }
}

/// Headers as a batch takes them.
pub fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect()
}

/// A message format of the user's own: `format.regex` and what goes with it.
#[derive(Debug, Clone)]
pub struct CustomFormat {
    /// `format.regex`: matches the whole message; its groups are priority, version, stamp, host, body.
    regex: Regex,
    /// `format.search` and `format.replace`: changes the stamp before it is read.
    replace: Option<(Regex, String)>,
    /// `format.dateFormat`: how the stamp is read; without it there is no header `timestamp`.
    date: Option<DatePattern>,
    zone: TimeZone,
}

impl CustomFormat {
    /// Reads the properties; none without `format.regex`.
    pub fn read(keys: &mut Keys) -> Option<Self> {
        let regex = pattern(keys, "format.regex");
        let search = pattern(keys, "format.search");
        let replacement = keys.text("format.replace");
        let date = keys.text("format.dateFormat").and_then(|text| {
            DatePattern::simple(&text)
                .map_err(|e| {
                    keys.wrong(
                        "format.dateFormat",
                        &format!("expected a pattern of SimpleDateFormat, found \"{text}\": {e}"),
                    )
                })
                .ok()
        });
        if keys.peek("format.regex").is_none() {
            for key in ["format.search", "format.replace", "format.dateFormat"] {
                keys.without_effect(key, "has no effect without format.regex");
            }
        } else if search.is_none() {
            keys.without_effect("format.replace", "has no effect without format.search");
        }
        Some(Self {
            regex: regex?,
            replace: search.map(|search| (search, replacement.unwrap_or_default())),
            date,
            zone: TimeZone::system(),
        })
    }

    /// The fields of a message of this format.
    pub fn fields<'t>(&self, message: &'t str) -> Option<Fields<'t>> {
        let groups = self.regex.whole_captures(message)?;
        let group = |n: usize| groups.get(n).copied().flatten();
        let stamp = group(3);
        Some(Fields {
            priority: group(1).unwrap_or_default(),
            version: group(2),
            stamp,
            unix_ms: stamp.and_then(|stamp| self.unix_ms(stamp)),
            host: group(4),
            body: group(5).unwrap_or_default().as_bytes(),
        })
    }

    fn unix_ms(&self, stamp: &str) -> Option<i64> {
        let date = self.date.as_ref()?;
        match &self.replace {
            Some((search, replacement)) => {
                date.parse_unix_ms(&search.replace_all(stamp, replacement), &self.zone)
            }
            None => date.parse_unix_ms(stamp, &self.zone),
        }
    }
}

fn pattern(keys: &mut Keys, key: &str) -> Option<Regex> {
    let text = keys.text(key)?;
    Regex::new(&text)
        .map_err(|e| {
            keys.wrong(
                key,
                &format!("expected a regular expression, found \"{text}\": {e}"),
            )
        })
        .ok()
}

/// The zone of this place. Looking up its offset costs more than reading a stamp, so the last one is remembered.
#[derive(Debug)]
pub struct LocalZone {
    zone: TimeZone,
    /// A quarter of an hour in which the offset does not change, and the offset.
    last: Cell<Option<(i64, i64)>>,
}

/// All changes of zones happen at a multiple of this.
const STEP_SECONDS: i64 = 900;

impl LocalZone {
    /// The zone that `TZ` or the system says.
    pub fn system() -> Self {
        Self::of(TimeZone::system())
    }

    fn of(zone: TimeZone) -> Self {
        Self {
            zone,
            last: Cell::new(None),
        }
    }

    /// Seconds ahead of UTC when clocks here show these seconds since 1970. As in Java an hour that comes twice is the
    /// second one, and one that is left out is counted on from before.
    pub fn offset_seconds(&self, local: i64) -> i64 {
        let step = local.div_euclid(STEP_SECONDS);
        if let Some((known, offset)) = self.last.get()
            && known == step
        {
            return offset;
        }
        let (first, last) = (step * STEP_SECONDS, step * STEP_SECONDS + STEP_SECONDS - 1);
        let offset = self.look_up(local);
        if self.look_up(first) == offset && self.look_up(last) == offset {
            self.last.set(Some((step, offset)));
        }
        offset
    }

    fn look_up(&self, local: i64) -> i64 {
        let Ok(utc) = Timestamp::from_second(local) else {
            return 0; // beyond the calendar
        };
        let shown = utc.to_zoned(TimeZone::UTC).datetime();
        let offset = match self.zone.to_ambiguous_timestamp(shown).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { before, .. } => before,
            AmbiguousOffset::Fold { after, .. } => after,
        };
        i64::from(offset.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::ManualClock;

    fn custom(pairs: &[(&str, &str)]) -> (Option<CustomFormat>, Vec<String>) {
        let mut keys = Keys::of("source r1 (syslogtcp)", pairs);
        let format = CustomFormat::read(&mut keys);
        (format, keys.finish().iter().map(|f| f.to_string()).collect())
    }

    #[test]
    fn a_format_of_the_users_own_names_its_groups_by_their_place() {
        let (format, findings) = custom(&[
            (
                "format.regex",
                r"<(\d{1,3})>(v)? ?(\d{4}/\d{2}/\d{2} \d{2}:\d{2}:\d{2}) (\S+) (.*)",
            ),
            ("format.dateFormat", "yyyy/MM/dd HH:mm:ss"),
        ]);
        assert!(findings.is_empty(), "{findings:?}");
        let mut format = format.unwrap();
        format.zone = TimeZone::UTC;
        let fields = format
            .fields("<13>2012/04/13 11:11:11 hostA custom body")
            .unwrap();
        let expected = Fields {
            priority: "13",
            version: None,
            stamp: Some("2012/04/13 11:11:11"),
            unix_ms: Some(1_334_315_471_000),
            host: Some("hostA"),
            body: b"custom body",
        };
        assert_eq!(fields, expected);
        assert_eq!(format.fields("<13>other"), None);
    }

    #[test]
    fn a_stamp_is_changed_before_it_is_read() {
        let (format, findings) = custom(&[
            ("format.regex", r"<(\d+)>()(\S+) (\S+) (.*)"),
            ("format.search", "_"),
            ("format.replace", " "),
            ("format.dateFormat", "yyyy MM dd HH"),
        ]);
        assert!(findings.is_empty(), "{findings:?}");
        let mut format = format.unwrap();
        format.zone = TimeZone::UTC;
        let fields = format.fields("<13>2012_04_13_11 h x").unwrap();
        assert_eq!(
            (fields.stamp, fields.unix_ms),
            (Some("2012_04_13_11"), Some(1_334_314_800_000))
        );
    }

    #[test]
    fn a_format_that_cannot_work_is_named() {
        let (format, findings) = custom(&[("format.regex", "("), ("format.replace", "x")]);
        assert!(format.is_none());
        assert!(
            findings[0].contains("format.regex: expected a regular expression, found \"(\""),
            "{findings:?}"
        );
        assert!(
            findings[1].contains("format.replace: has no effect without format.search"),
            "{findings:?}"
        );
        let (format, findings) = custom(&[("format.dateFormat", "yyyy")]);
        assert!(format.is_none());
        assert!(
            findings[0].contains("format.dateFormat: has no effect without format.regex"),
            "{findings:?}"
        );
    }

    #[test]
    fn offsets_are_those_of_the_zone_also_where_they_change() {
        let zone = LocalZone::of(TimeZone::get("Europe/Berlin").unwrap());
        let local = |text: &str| text.parse::<Timestamp>().unwrap().as_second();
        for (shown, hours) in [
            ("2026-01-15T12:00:00Z", 1),
            ("2026-01-15T12:00:01Z", 1),
            ("2026-07-15T12:00:00Z", 2),
            ("2026-03-29T01:59:59Z", 1),
            ("2026-03-29T02:30:00Z", 1),
            ("2026-03-29T03:00:00Z", 2),
            ("2026-10-25T01:59:59Z", 2),
            ("2026-10-25T02:30:00Z", 1),
            ("2026-10-25T03:00:00Z", 1),
        ] {
            assert_eq!(zone.offset_seconds(local(shown)), hours * 3_600, "{shown}");
        }
        for local in [i64::MIN / 2, i64::MAX / 2, -1, 0] {
            zone.offset_seconds(local);
        }
    }

    #[tokio::test]
    async fn peers_are_named_as_asked_for() {
        let names = HostNames::new(ManualClock::at(0));
        let mut keys = Keys::of("x", &[("clientIPHeader", "ip"), ("clientHostnameHeader", "hn")]);
        let headers = ClientHeaders::read(&mut keys);
        let local = IpAddr::from([127, 0, 0, 1]);
        let found = headers.of(local, &names).await;
        assert_eq!(found[0], ("ip".to_owned(), "127.0.0.1".to_owned()));
        assert_eq!(found[1].0, "hn");
        assert!(!found[1].1.is_empty());
        assert_eq!(ClientHeaders::default().of(local, &names).await, []);
    }
}
