//! Stamps: the two forms of time that syslog has, as milliseconds since 1970.
//!
//! RFC 5424 writes a whole date; Flume's parser of old reads it as Java's lenient calendar does (month 13 is January of
//! the next year), the newer one refuses that. RFC 3164 knows neither year nor zone. The year is this one (in UTC)
//! unless that is more than a month ahead, then the last one, or more than eleven months ago, then the next one; 29
//! February belongs to the last leap year of all that are not after that year. Sources: `flume/sources.md` 5.14, 5.15.

/// Now and here, as far as stamps do not say it themselves.
#[derive(Clone, Copy)]
pub struct When<'a> {
    /// Milliseconds since 1970.
    pub now_unix_ms: i64,
    /// Seconds that the clocks of this place are ahead of UTC when they show the given seconds since 1970.
    pub offset_seconds: &'a dyn Fn(i64) -> i64,
}

impl std::fmt::Debug for When<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "When({})", self.now_unix_ms)
    }
}

impl When<'_> {
    fn unix_ms_of_local(&self, local_seconds: i64) -> i64 {
        (local_seconds - (self.offset_seconds)(local_seconds)) * 1_000
    }
}

const DAY_SECONDS: i64 = 86_400;
/// Years in which all arithmetic of this module stays far from the ends of its numbers.
const NOW_MS_MAX: i64 = 1 << 52;
/// Nearer to now than this, no year but the current one is in question.
const NEAR_MS: i64 = 27 * DAY_SECONDS * 1_000;
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// A date and a time of day, of whatever place. The parts may be out of their ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) second_of_day: i64,
}

impl Civil {
    /// Seconds since 1970 of the place's own clocks; parts out of range carry over.
    pub(super) fn local_seconds(&self) -> i64 {
        (days(self.year, self.month) + self.day - 1) * DAY_SECONDS + self.second_of_day
    }

    fn of_local_seconds(seconds: i64) -> Self {
        let (year, month, day) = date(seconds.div_euclid(DAY_SECONDS));
        Self {
            year,
            month,
            day,
            second_of_day: seconds.rem_euclid(DAY_SECONDS),
        }
    }

    /// So many months later, on the last day where the month has not so many: `Calendar.add`.
    fn plus_months(self, months: i64) -> Self {
        let year = self.year + (self.month - 1 + months).div_euclid(12);
        let month = (self.month - 1 + months).rem_euclid(12) + 1;
        let length = days(year, month + 1) - days(year, month);
        Self {
            year,
            month,
            day: self.day.min(length),
            ..self
        }
    }
}

/// Days from 1970-01-01 to the first of a month, whose number may be out of range. After Howard Hinnant's algorithm.
fn days(year: i64, month: i64) -> i64 {
    let year = year + (month - 1).div_euclid(12);
    let month = (month - 1).rem_euclid(12) + 1;
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day counted from 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = (month_shifted + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn is_leap(year: i64) -> bool {
    days(year, 3) - days(year, 2) == 29
}

/// The number that digits are; none if one is no digit.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    })
}

/// `HH:MM:SS`, any digits, as seconds; the parts for whoever checks them.
fn time_of_day(bytes: &[u8]) -> Option<(i64, [i64; 3])> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = *bytes else {
        return None;
    };
    let (h, m, s) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    Some((h * 3_600 + m * 60 + s, [h, m, s]))
}

fn is_time_of_day([h, m, s]: [i64; 3]) -> bool {
    h < 24 && m < 60 && s < 60
}

/// Length of `YYYY-MM-DDTHH:MM:SS`.
pub(super) const ISO_LEN: usize = 19;

/// `YYYY-MM-DDTHH:MM:SS` of any digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Iso {
    pub(super) civil: Civil,
    is_time: bool,
}

impl Iso {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..ISO_LEN)?;
        if (bytes[4], bytes[7], bytes[10]) != (b'-', b'-', b'T') {
            return None;
        }
        let (second_of_day, parts) = time_of_day(&bytes[11..])?;
        let civil = Civil {
            year: number(&bytes[..4])?,
            month: number(&bytes[5..7])?,
            day: number(&bytes[8..10])?,
            second_of_day,
        };
        Some(Self {
            civil,
            is_time: is_time_of_day(parts),
        })
    }

    /// Whether there is such a date and time.
    pub(super) fn exists(&self) -> bool {
        let Civil { year, month, day, .. } = self.civil;
        let length = days(year, month + 1) - days(year, month);
        self.is_time && (1..=12).contains(&month) && (1..=length).contains(&day)
    }
}

/// `.` and digits: their length and what they are in whole milliseconds.
pub(super) fn fraction(bytes: &[u8]) -> Option<(usize, i64)> {
    let (b'.', digits) = bytes.split_first()? else {
        return None;
    };
    let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let digit = |at: usize| {
        if at < count {
            i64::from(digits[at] - b'0')
        } else {
            0
        }
    };
    (count > 0).then(|| (count + 1, digit(0) * 100 + digit(1) * 10 + digit(2)))
}

/// `Z` or `+HH:MM` or `-HH:MM`: its length and the seconds ahead of UTC.
pub(super) fn zone(bytes: &[u8]) -> Option<(usize, i64)> {
    let sign = match bytes.first()? {
        b'Z' => return Some((1, 0)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(bytes.get(1..3)?)?, number(bytes.get(4..6)?)?);
    (bytes[3] == b':').then_some((6, sign * (hours * 3_600 + minutes * 60)))
}

/// A stamp of RFC 3164.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rfc3164 {
    /// 1 to 12; none for three letters that are no month.
    month: Option<i64>,
    day: i64,
    second_of_day: i64,
    is_time: bool,
}

impl Rfc3164 {
    /// `Mon D HH:MM:SS` with one or two blanks before the day, which has one or two digits; and its length.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let name = bytes.get(..3)?;
        let shape = [
            name[0].is_ascii_uppercase(),
            name[1].is_ascii_lowercase(),
            name[2].is_ascii_lowercase(),
        ];
        if shape != [true; 3] || !is_blank(*bytes.get(3)?) {
            return None;
        }
        let day_at = if is_blank(*bytes.get(4)?) { 5 } else { 4 };
        let digits = bytes
            .get(day_at..)?
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        if !(1..=2).contains(&digits) || !is_blank(*bytes.get(day_at + digits)?) {
            return None;
        }
        let time_at = day_at + digits + 1;
        let (second_of_day, parts) = time_of_day(bytes.get(time_at..time_at + 8)?)?;
        let parsed = Self {
            month: MONTHS.iter().position(|m| **m == name).map(|n| n as i64 + 1),
            day: number(&bytes[day_at..day_at + digits])?,
            second_of_day,
            is_time: is_time_of_day(parts),
        };
        Some((parsed, time_at + 8))
    }

    /// Whether there is such a day (29 February there is) and such a time.
    pub(super) fn exists(&self) -> bool {
        let length = |month| days(2000, month + 1) - days(2000, month);
        self.is_time
            && self
                .month
                .is_some_and(|month| (1..=length(month)).contains(&self.day))
    }

    /// Milliseconds since 1970, in the year that is meant; none for a month that is none.
    pub(super) fn unix_ms(&self, when: &When<'_>) -> Option<i64> {
        let month = self.month?;
        let now_unix_ms = when.now_unix_ms.clamp(-NOW_MS_MAX, NOW_MS_MAX);
        let in_year = |year| Civil {
            year,
            month,
            day: self.day,
            second_of_day: self.second_of_day,
        };
        let unix_ms = |civil: Civil| when.unix_ms_of_local(civil.local_seconds());
        let this_year = Civil::of_local_seconds(now_unix_ms.div_euclid(1_000)).year;
        let found = unix_ms(in_year(this_year));
        let is_leap_day = (month, self.day) == (2, 29);
        if (found - now_unix_ms).abs() < NEAR_MS && !is_leap_day {
            return Some(found);
        }
        // As Flume counts months: from the day that the calendar makes of it.
        let civil = Civil::of_local_seconds(in_year(this_year).local_seconds());
        let mut year = if unix_ms(civil.plus_months(-1)) > now_unix_ms {
            this_year - 1
        } else if unix_ms(civil.plus_months(11)) < now_unix_ms {
            this_year + 1
        } else {
            this_year
        };
        while is_leap_day && !is_leap(year) {
            year -= 1;
        }
        Some(unix_ms(in_year(year)))
    }
}

/// What Java's `\s` is.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UTC: &dyn Fn(i64) -> i64 = &|_| 0;

    fn ms(text: &str) -> i64 {
        let iso = Iso::parse(text.as_bytes()).unwrap();
        assert!(iso.exists(), "{text}");
        iso.civil.local_seconds() * 1_000
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(ms("1970-01-01T00:00:00"), 0);
        assert_eq!(ms("2012-04-13T11:11:11"), 1_334_315_471_000);
        assert_eq!(ms("2000-02-29T23:59:59"), 951_868_799_000);
        assert_eq!(ms("1969-12-31T23:59:59"), -1_000);
        for wrong in [
            "2012-13-01T00:00:00",
            "2013-02-29T00:00:00",
            "2012-01-01T24:00:00",
            "2012-00-01T00:00:60",
        ] {
            assert!(!Iso::parse(wrong.as_bytes()).unwrap().exists(), "{wrong}");
        }
        let carried = Iso::parse(b"2012-13-32T24:60:61").unwrap().civil.local_seconds() * 1_000;
        assert_eq!(carried, ms("2013-02-02T01:01:01"));
        for wrong in ["2012-04-13 11:11:11", "2012-04-13T11:11", "2012-4-13T11:11:111"] {
            assert_eq!(Iso::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn fractions_are_decimal_and_zones_are_ahead() {
        assert_eq!(fraction(b".5+"), Some((2, 500)));
        assert_eq!(fraction(b".0039999 "), Some((8, 3)));
        assert_eq!(
            (fraction(b"."), fraction(b"x"), fraction(b"")),
            (None, None, None)
        );
        assert_eq!(
            (zone(b"Z"), zone(b"+08:00"), zone(b"-00:30 ")),
            (Some((1, 0)), Some((6, 28_800)), Some((6, -1_800)))
        );
        for wrong in [&b"+0800"[..], b"+8:00", b"z", b"", b"+08x00"] {
            assert_eq!(zone(wrong), None);
        }
    }

    /// The stamp's date and time in the year that is meant at `now`, if that is in UTC.
    #[track_caller]
    fn check(now: &str, stamp: &str, expected: &str) {
        let when = When {
            now_unix_ms: ms(now),
            offset_seconds: UTC,
        };
        let (parsed, length) = Rfc3164::parse(stamp.as_bytes()).unwrap();
        assert_eq!(length, stamp.len());
        assert_eq!(parsed.unix_ms(&when), Some(ms(expected)), "{stamp} at {now}");
    }

    #[test]
    fn the_year_is_the_one_that_is_meant() {
        check("2026-11-20T00:00:00", "Oct 11 22:14:15", "2026-10-11T22:14:15");
        check("2026-11-20T00:00:00", "Dec 30 01:02:03", "2025-12-30T01:02:03");
        check("2026-11-20T00:00:00", "Dec  1 01:02:03", "2026-12-01T01:02:03");
        check("2026-01-01T00:10:00", "Dec 31 23:59:59", "2025-12-31T23:59:59");
        check("2026-12-31T23:59:00", "Jan 1 00:00:10", "2027-01-01T00:00:10");
        check("2026-12-31T23:59:00", "Jan 31 23:59:00", "2026-01-31T23:59:00");
        check("2026-07-01T00:00:00", "Aug 1 00:00:00", "2026-08-01T00:00:00");
        check("2026-07-01T00:00:00", "Aug 1 00:00:01", "2025-08-01T00:00:01");
    }

    #[test]
    fn a_leap_day_belongs_to_a_leap_year() {
        check("2026-11-20T00:00:00", "Feb 29 00:00:00", "2024-02-29T00:00:00");
        check("2024-03-01T00:00:00", "Feb 29 23:59:59", "2024-02-29T23:59:59");
        check("2025-01-10T00:00:00", "Feb 29 23:59:59", "2024-02-29T23:59:59");
        check("2101-01-10T00:00:00", "Feb 29 23:59:59", "2096-02-29T23:59:59");
    }

    #[test]
    fn places_have_their_own_time() {
        let when = When {
            now_unix_ms: ms("2026-06-01T00:00:00"),
            offset_seconds: &|local| {
                if local * 1_000 < ms("2026-03-29T02:00:00") {
                    3_600
                } else {
                    7_200
                }
            },
        };
        let at = |stamp: &str| Rfc3164::parse(stamp.as_bytes()).unwrap().0.unix_ms(&when);
        assert_eq!(at("Mar  1 12:00:00"), Some(ms("2026-03-01T11:00:00")));
        assert_eq!(at("May 31 12:00:00"), Some(ms("2026-05-31T10:00:00")));
    }

    #[test]
    fn what_is_no_stamp_is_told() {
        for wrong in [
            "oct 11 22:14:15",
            "Oct11 22:14:15",
            "Oct 111 22:14:15",
            "Oct   1 22:14:15",
            "Oct 11 22:14:1",
            "Oct x 22:14:15",
        ] {
            assert_eq!(Rfc3164::parse(wrong.as_bytes()), None, "{wrong}");
        }
        let exists = |stamp: &str| Rfc3164::parse(stamp.as_bytes()).unwrap().0.exists();
        assert!(exists("Feb 29 23:59:59") && exists("Dec 31 00:00:00"));
        for wrong in [
            "Foo 11 22:14:15",
            "Feb 30 00:00:00",
            "Oct 0 00:00:00",
            "Oct 11 24:00:00",
        ] {
            assert!(!exists(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn days_and_dates_are_each_others_reverse(day in -1_000_000i64..1_000_000) {
            let (year, month, in_month) = date(day);
            prop_assert_eq!(days(year, month) + in_month - 1, day);
            prop_assert!((1..=12).contains(&month) && (1..=31).contains(&in_month));
        }

        #[test]
        fn whatever_the_clock_says_nothing_overflows(now in any::<i64>(), stamp in "[A-Z][a-z]{2} {1,2}[0-9]{1,2} [0-9]{2}:[0-9]{2}:[0-9]{2}") {
            let when = When { now_unix_ms: now, offset_seconds: UTC };
            let (parsed, _) = Rfc3164::parse(stamp.as_bytes()).unwrap();
            let _ = parsed.unix_ms(&when);
        }
    }
}
