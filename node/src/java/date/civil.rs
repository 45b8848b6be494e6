//! Days of the calendar as numbers, and local times as instants.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

pub(super) const MS_A_DAY: i64 = 86_400_000;
/// Years that jiff knows.
const YEARS: std::ops::RangeInclusive<i64> = -9_999..=9_999;

/// The day of 1970 that a date is, counted from 0; month and day from 1, the day may be any number.
pub(super) fn day_number(year: i64, month: i64, day: i64) -> Option<i64> {
    if !YEARS.contains(&year) {
        return None;
    }
    let first = Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, 1).ok()?;
    let epoch = Date::constant(1970, 1, 1);
    let days = epoch.duration_until(first).as_hours() / 24;
    days.checked_add(day.checked_sub(1)?)
}

/// The date of a day.
pub(super) fn date(day: i64) -> Option<Date> {
    Some(local(day.checked_mul(MS_A_DAY)?)?.date())
}

/// The day of the week, Monday 0.
pub(super) fn weekday(day: i64) -> i64 {
    (day + 3).rem_euclid(7)
}

/// The last day not after `day` that is this day of the week, Monday 0.
pub(super) fn on_or_before(day: i64, weekday_wanted: i64) -> i64 {
    day - (weekday(day) - weekday_wanted).rem_euclid(7)
}

/// Which of two instants a local time means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// The later one; a local time that is skipped is moved.
    Later,
    /// The earlier one; a local time that is skipped is none.
    Earlier,
}

/// The instant of a local time in milliseconds since 1970-01-01T00:00 there.
pub(super) fn instant(local_ms: i64, zone: &TimeZone, twice: Twice) -> Option<i64> {
    let ambiguous = zone.to_ambiguous_timestamp(local(local_ms)?);
    let timestamp = match (ambiguous.offset(), twice) {
        (jiff::tz::AmbiguousOffset::Gap { .. }, Twice::Earlier) => return None,
        (jiff::tz::AmbiguousOffset::Gap { .. }, Twice::Later) => ambiguous.compatible(),
        (_, Twice::Later) => ambiguous.later(),
        (_, Twice::Earlier) => ambiguous.earlier(),
    };
    Some(timestamp.ok()?.as_millisecond())
}

fn local(ms: i64) -> Option<DateTime> {
    Some(TimeZone::UTC.to_datetime(Timestamp::from_millisecond(ms).ok()?))
}
