//! Dates in the letters of Java's `SimpleDateFormat`, as `${date:yyyy-MM-dd}` uses them.
//!
//! | letter | meaning | letter | meaning |
//! |---|---|---|---|
//! | `G` | era, always AD | `a` | AM or PM |
//! | `y` `Y` | year, year of the week; `yy` two digits | `H` `k` | hour 0 to 23, 1 to 24 |
//! | `M` `L` | month; `MMM` Mar, `MMMM` March | `K` `h` | hour 0 to 11, 1 to 12 |
//! | `d` `D` | day of the month, of the year | `m` `s` `S` | minute, second, milliseconds |
//! | `E` `u` | day of the week: Wed, `EEEE` Wednesday; 1 is Monday | `z` | CET |
//! | `F` | which such day of the month | `Z` `ZZ` | +0100, +01:00 |
//! | `w` `W` | week of the year, of the month | `X` `XX` `XXX` | +01, +0100, +01:00; Z for UTC |
//!
//! Letters are repeated to ask for leading zeros. Text stands in `'…'`, and `''` is one quote; any other character
//! than a letter stands for itself. Names are English and weeks begin on Sunday, as in Java's default locale of
//! servers; the zone is the machine's.

use jiff::Zoned;
use jiff::civil::Date;
use std::fmt::Write;

/// The longest run of one letter: Java knows no limit, and would pad with as many zeros.
const RUN_MAX: usize = 32;

/// The time in the given format.
///
/// # Errors
/// What is wrong with the format.
pub fn format(format: &str, now: &Zoned) -> Result<String, String> {
    let format = if format.is_empty() {
        "M/d/yy h:mm a"
    } else {
        format
    };
    let mut out = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        if c == '\'' {
            rest = quoted(rest, &mut out)?;
            continue;
        }
        let same = rest.chars().take_while(|other| *other == c).count();
        let run = if c.is_ascii_alphabetic() { same } else { 1 };
        if run > RUN_MAX {
            return Err(format!("date format: more than {RUN_MAX} letters {c} in a row"));
        }
        if c.is_ascii_alphabetic() {
            field(c, run, now, &mut out)?;
        } else {
            out.push(c);
        }
        rest = &rest[run * c.len_utf8()..];
    }
    Ok(out)
}

/// Copies a quoted text; returns what follows it.
fn quoted<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    if let Some(rest) = text.strip_prefix("''") {
        out.push('\'');
        return Ok(rest);
    }
    let mut rest = &text[1..];
    loop {
        let Some(end) = rest.find('\'') else {
            return Err("date format: a quote ' is not closed".to_owned());
        };
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        let Some(more) = rest.strip_prefix('\'') else {
            return Ok(rest);
        };
        out.push('\'');
        rest = more;
    }
}

fn field(letter: char, run: usize, now: &Zoned, out: &mut String) -> Result<(), String> {
    let hour = i64::from(now.hour());
    let number = match letter {
        'G' => return text(out, "AD"),
        'a' => return text(out, if hour < 12 { "AM" } else { "PM" }),
        'E' => return name(out, run, &now.strftime("%A").to_string()),
        'M' | 'L' if run >= 3 => return name(out, run, &now.strftime("%B").to_string()),
        'z' => return text(out, &zone(now)),
        'Z' => return offset(out, now, run >= 2, true),
        'X' if now.offset().seconds() == 0 => return text(out, "Z"),
        'X' => return offset(out, now, run >= 3, run >= 2),
        'y' => return year(out, run, i64::from(now.year())),
        'Y' => return year(out, run, week(now.date()).0),
        'w' => week(now.date()).1,
        'W' => week_of(i64::from(now.day()), now.date().first_of_month()),
        'M' | 'L' => i64::from(now.month()),
        'd' => i64::from(now.day()),
        'D' => i64::from(now.day_of_year()),
        'F' => i64::from(now.day() - 1) / 7 + 1,
        'u' => i64::from(now.weekday().to_monday_one_offset()),
        'H' => hour,
        'k' => (hour + 23) % 24 + 1,
        'K' => hour % 12,
        'h' => (hour + 11) % 12 + 1,
        'm' => i64::from(now.minute()),
        's' => i64::from(now.second()),
        'S' => i64::from(now.millisecond()),
        other => return Err(format!("date format: the letter {other} has no meaning")),
    };
    padded(out, number, run)
}

fn text(out: &mut String, text: &str) -> Result<(), String> {
    out.push_str(text);
    Ok(())
}

fn name(out: &mut String, run: usize, whole: &str) -> Result<(), String> {
    text(out, if run >= 4 { whole } else { &whole[..3] })
}

fn padded(out: &mut String, number: i64, digits: usize) -> Result<(), String> {
    write!(out, "{number:0digits$}").map_err(|e| e.to_string())
}

fn year(out: &mut String, run: usize, year: i64) -> Result<(), String> {
    if run == 2 {
        padded(out, year % 100, 2)
    } else {
        padded(out, year, run)
    }
}

fn offset(out: &mut String, now: &Zoned, colon: bool, minutes: bool) -> Result<(), String> {
    let seconds = now.offset().seconds();
    let (sign, all) = (if seconds < 0 { '-' } else { '+' }, seconds.abs() / 60);
    out.push(sign);
    padded(out, i64::from(all / 60), 2)?;
    if colon {
        out.push(':');
    }
    if minutes {
        padded(out, i64::from(all % 60), 2)
    } else {
        Ok(())
    }
}

fn zone(now: &Zoned) -> String {
    let info = now.time_zone().to_offset_info(now.timestamp());
    info.abbreviation().to_owned()
}

/// Which week a day is in, counted from the one in which `first` lies.
fn week_of(day: i64, first: Date) -> i64 {
    let before = i64::from(first.weekday().to_sunday_zero_offset());
    (day - 1 + before) / 7 + 1
}

/// Year and week: the week of the first of January is the first one, even if it begins in December.
fn week(date: Date) -> (i64, i64) {
    let after = 6 - i64::from(date.weekday().to_sunday_zero_offset());
    if date.month() == 12 && i64::from(date.day()) + after > 31 {
        return (i64::from(date.year()) + 1, 1);
    }
    let week = week_of(i64::from(date.day_of_year()), date.first_of_year());
    (i64::from(date.year()), week)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(time: &str, pattern: &str, expected: &str) {
        assert_eq!(format(pattern, &time.parse().unwrap()).as_deref(), Ok(expected));
    }

    const BERLIN: &str = "2026-03-04T15:06:07.089+01:00[Europe/Berlin]";

    #[test]
    fn the_common_letters() {
        check(BERLIN, "yyyy-MM-dd HH:mm:ss.SSS", "2026-03-04 15:06:07.089");
        check(BERLIN, "yy/M/d y h:m:s S", "26/3/4 2026 3:6:7 89");
        check(BERLIN, "EEE EEEE, MMM MMMM", "Wed Wednesday, Mar March");
        check(BERLIN, "hh a k K D u F G", "03 PM 15 3 63 3 1 AD");
        check(BERLIN, "z Z ZZ X XX XXX", "CET +0100 +01:00 +01 +0100 +01:00");
        check(BERLIN, "''yyyy''MM 'o''clock' é", "'2026'03 o'clock é");
        check(BERLIN, "", "3/4/26 3:06 PM");
    }

    #[test]
    fn midnight_and_noon_are_counted_as_in_java() {
        check(
            "2026-03-04T00:00:00[UTC]",
            "H k K h a XXX z",
            "0 24 0 12 AM Z UTC",
        );
        check("2026-03-04T12:00:00[UTC]", "H k K h a", "12 12 0 12 PM");
    }

    #[test]
    fn weeks_begin_on_sunday() {
        check(BERLIN, "w W YYYY", "10 1 2026");
        check("2026-12-26T00:00:00[UTC]", "w W YYYY", "52 4 2026");
        check("2026-12-27T00:00:00[UTC]", "w W YYYY", "1 5 2027");
        check("2026-01-01T00:00:00[UTC]", "w W", "1 1");
    }

    #[test]
    fn what_java_refuses_is_refused() {
        let wrong = |pattern| format(pattern, &BERLIN.parse().unwrap()).unwrap_err();
        assert_eq!(wrong("Q"), "date format: the letter Q has no meaning");
        assert_eq!(wrong("yyyy 'x"), "date format: a quote ' is not closed");
        assert_eq!(
            wrong(&"d".repeat(33)),
            "date format: more than 32 letters d in a row"
        );
    }
}
