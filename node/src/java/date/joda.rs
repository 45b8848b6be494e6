//! Joda's `DateTimeFormat`, strict.
//!
//! Fields are read from left to right and then set from the largest to the smallest, each checked: a day that the month
//! does not have is no date. A day of the week moves the date within its week, whatever the date said. A zone or an
//! offset in the text counts more than that of the caller.

use super::civil::{MS_A_DAY, Twice, date, day_number, instant, weekday};
use super::names::{self, DAYS, ERAS, HALVES, MONTHS};
use super::{PatternError, Token, literal, unknown_letter};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const LETTERS: &str = "GCYxweEyDMdaKhHkmsSzZ";
/// The year of a pattern whose largest field is a month, a week or a day.
const DEFAULT_YEAR: i64 = 2000;
/// What Joda knows as `z` when it reads, by the zone that it means.
const SHORT_NAMES: [(&str, &str); 11] = [
    ("UTC", "UTC"),
    ("UT", "UTC"),
    ("GMT", "UTC"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];
/// How many fields of the date a pattern may have.
const FIELDS_MAX: usize = 16;
/// The longest name of a zone that is looked up.
const ZONE_NAME_MAX: usize = 64;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Format {
    tokens: Vec<Token>,
    this_year: i64,
}

/// The tokens of a pattern. A quote without end reaches to the end; two are one.
pub(super) fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        if c == '\'' && chars.next_if_eq(&'\'').is_some() {
            literal(&mut tokens, '\'');
        } else if c == '\'' {
            quoted = !quoted;
        } else if quoted || !c.is_ascii_alphabetic() {
            literal(&mut tokens, c);
        } else {
            let mut count = 1;
            while chars.next_if_eq(&c).is_some() {
                count += 1;
            }
            tokens.push(Token::Field(c, count));
        }
    }
    tokens
}

/// A field of the date, in the order in which they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Century,
    /// Of all kinds.
    Year,
    Month,
    Week,
    DayOfYear,
    Day,
    Weekday,
}

/// What was read.
#[derive(Debug, Default)]
struct Fields {
    /// The date's: letter and value, in the order of the text.
    date: [(char, i64); FIELDS_MAX],
    dates: usize,
    before_christ: bool,
    half: Option<i64>,
    hour_of_half: Option<i64>,
    hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
    millisecond: Option<i64>,
    offset_ms: Option<i64>,
    zone: Option<TimeZone>,
}

impl Format {
    pub fn new(tokens: Vec<Token>, now: Timestamp) -> Result<Self, PatternError> {
        for token in &tokens {
            match token {
                Token::Field(letter, _) if !LETTERS.contains(*letter) => {
                    return Err(unknown_letter(*letter, LETTERS));
                }
                Token::Field('z', 4..) => {
                    return Err(PatternError(
                        "zzzz: names of zones in full cannot be read; expected z, Z or ZZZ".to_owned(),
                    ));
                }
                _ => {}
            }
        }
        let of_date = |token: &&Token| matches!(token, Token::Field(letter, _) if part(*letter).is_some());
        if tokens.iter().filter(of_date).count() > FIELDS_MAX {
            return Err(PatternError(format!("more than {FIELDS_MAX} fields of a date")));
        }
        let this_year = i64::from(now.to_zoned(TimeZone::system()).year());
        Ok(Self { tokens, this_year })
    }

    pub fn parse(&self, text: &str, zone: &TimeZone) -> Option<i64> {
        let mut fields = Fields::default();
        let mut rest = text;
        for (n, token) in self.tokens.iter().enumerate() {
            let numeric_next = self.tokens.get(n + 1).is_some_and(is_numeric);
            let len = match token {
                Token::Literal(literal) => {
                    let head = rest.get(..literal.len())?;
                    head.eq_ignore_ascii_case(literal).then_some(literal.len())?
                }
                Token::Field(letter, count) => {
                    self.field(rest, *letter, *count, numeric_next, &mut fields)?
                }
            };
            rest = rest.get(len..)?;
        }
        if rest.is_empty() {
            fields.instant(zone)
        } else {
            None
        }
    }

    /// Reads a field and returns its length.
    fn field(
        &self,
        rest: &str,
        letter: char,
        count: usize,
        numeric_next: bool,
        fields: &mut Fields,
    ) -> Option<usize> {
        let name = |names: &[&str], first: i64| {
            let (number, len) = names::beginning(rest, names)?;
            Some((i64::try_from(number).ok()? + first, len))
        };
        let within = |found: Option<(i64, usize)>, least: i64, most: i64| {
            found.filter(|(value, _)| (least..=most).contains(value))
        };
        let f = fields;
        let (value, len) = match letter {
            'y' | 'Y' | 'x' if count == 2 => self.two_digits(rest, !numeric_next)?,
            'y' | 'Y' | 'x' => number(rest, if numeric_next { count } else { 9 }, letter != 'Y')?,
            'C' => number(rest, count, true)?,
            'M' if count > 2 => name(&MONTHS, 1)?,
            'M' => within(number(rest, 2, false), 1, 12)?,
            'w' => within(number(rest, 2, false), 1, 53)?,
            'D' => within(number(rest, 3, false), 1, 366)?,
            'd' => within(number(rest, 2, false), 1, 31)?,
            'e' => within(number(rest, 1, false), 1, 7)?,
            'E' => name(&DAYS, 1)?,
            'G' => name(&ERAS, 0)?,
            'a' => name(&HALVES, 0)?,
            'K' => within(number(rest, 2, false), 0, 11)?,
            'h' => within(number(rest, 2, false), 1, 12)?,
            'H' => within(number(rest, 2, false), 0, 23)?,
            'k' => within(number(rest, 2, false), 1, 24)?,
            'm' | 's' => within(number(rest, 2, false), 0, 59)?,
            'S' => fraction(rest, count)?,
            'z' => return f.short_name(rest),
            _ if count < 3 => offset(rest)?,
            _ => return f.zone_name(rest),
        };
        match letter {
            'G' => f.before_christ = value == 0,
            'a' => f.half = Some(value),
            'K' | 'h' => f.hour_of_half = Some(value % 12),
            'H' | 'k' => f.hour = Some(value % 24),
            'm' => f.minute = Some(value),
            's' => f.second = Some(value),
            'S' => f.millisecond = Some(value),
            'Z' => f.offset_ms = Some(value),
            _ => {
                *f.date.get_mut(f.dates)? = (letter, value);
                f.dates += 1;
            }
        }
        Some(len)
    }

    /// `yy`. With another number behind it, exactly two digits; else two digits mean a year near to now, and any other
    /// number itself.
    fn two_digits(&self, rest: &str, lenient: bool) -> Option<(i64, usize)> {
        let (value, len) = number(rest, if lenient { 9 } else { 2 }, lenient)?;
        if len != 2 || rest.starts_with(['-', '+']) {
            return lenient.then_some((value, len));
        }
        let low = self.this_year - 30 - 50;
        let pivot = low.rem_euclid(100);
        Some((value + low - pivot + if value < pivot { 100 } else { 0 }, len))
    }
}

/// Whether a field is a number, so that a year before it must not take its digits.
fn is_numeric(token: &Token) -> bool {
    match token {
        Token::Field('M', count) => *count <= 2,
        Token::Field(letter, _) => "cCxyYdhHmsSeDFwWkK".contains(*letter),
        Token::Literal(_) => false,
    }
}

/// A number of at most so many digits, and its length.
fn number(rest: &str, digits: usize, signed: bool) -> Option<(i64, usize)> {
    let sign = usize::from(signed && rest.starts_with(['-', '+']));
    let body = &rest[sign..];
    let len = body.bytes().take(digits).take_while(u8::is_ascii_digit).count();
    let value: i64 = body[..len].parse().ok()?;
    let value = if sign == 1 && rest.starts_with('-') {
        -value
    } else {
        value
    };
    Some((value, sign + len))
}

/// Which part of the date a letter is, if it is one.
fn part(letter: char) -> Option<Part> {
    Some(match letter {
        'C' => Part::Century,
        'y' | 'Y' | 'x' => Part::Year,
        'M' => Part::Month,
        'w' => Part::Week,
        'D' => Part::DayOfYear,
        'd' => Part::Day,
        'e' | 'E' => Part::Weekday,
        _ => return None,
    })
}

/// The fraction of a second in milliseconds; further digits are cut off.
fn fraction(rest: &str, digits: usize) -> Option<(i64, usize)> {
    let len = rest.bytes().take(digits).take_while(u8::is_ascii_digit).count();
    let ms = rest.bytes().take(len).map(|b| i64::from(b - b'0'));
    let ms = ms
        .chain(std::iter::repeat(0))
        .take(3)
        .fold(0, |ms, digit| ms * 10 + digit);
    (len > 0).then_some((ms, len))
}

/// `Z`, `+hh`, `+hhmm`, `+hhmmss`, with fraction, and the same with colons: milliseconds and length.
fn offset(rest: &str) -> Option<(i64, usize)> {
    let bytes = rest.as_bytes();
    let sign = match bytes.first()? {
        b'Z' | b'z' => return Some((0, 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |at: usize| -> Option<i64> {
        let pair = rest
            .get(at..at + 2)
            .filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
        pair.parse().ok()
    };
    let hours = two(1).filter(|h| *h <= 23)?;
    let (mut ms, mut at) = (hours * 3_600_000, 3);
    let colons = bytes.get(at) == Some(&b':');
    for unit_ms in [60_000, 1_000] {
        let digits = bytes
            .get(at + usize::from(colons))
            .is_some_and(u8::is_ascii_digit);
        if colons && bytes.get(at) != Some(&b':') || !colons && !digits {
            return Some((sign * ms, at));
        }
        at += usize::from(colons);
        ms += two(at).filter(|value| *value <= 59)? * unit_ms;
        at += 2;
    }
    let dot = usize::from(colons && matches!(bytes.get(at), Some(b'.' | b',')));
    if dot == usize::from(colons)
        && let Some((fraction, len)) = fraction(rest.get(at + dot..)?, 3)
    {
        return Some((sign * (ms + fraction), at + dot + len));
    }
    Some((sign * ms, at))
}

impl Fields {
    fn short_name(&mut self, rest: &str) -> Option<usize> {
        let fits = SHORT_NAMES.iter().filter(|(name, _)| rest.starts_with(name));
        let (name, zone) = fits.max_by_key(|(name, _)| name.len())?;
        self.zone = Some(TimeZone::get(zone).ok()?);
        Some(name.len())
    }

    fn zone_name(&mut self, rest: &str) -> Option<usize> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
        let longest = rest.find(|c| !part(c)).unwrap_or(rest.len()).min(ZONE_NAME_MAX);
        for len in (1..=longest).rev() {
            if let Ok(zone) = TimeZone::get(&rest[..len]) {
                self.zone = Some(zone);
                return Some(len);
            }
        }
        None
    }

    fn instant(&mut self, zone: &TimeZone) -> Option<i64> {
        let local = self.day()? * MS_A_DAY + self.time();
        match self.offset_ms {
            Some(offset) => Some(local - offset),
            None => instant(local, self.zone.as_ref().unwrap_or(zone), Twice::Earlier),
        }
    }

    fn time(&self) -> i64 {
        let half = self.hour.map(|hour| hour / 12).or(self.half).unwrap_or(0);
        let of_half = self.hour_of_half.map(|hour| half * 12 + hour);
        let hour = of_half.or(self.hour).unwrap_or(half * 12);
        let minutes = hour * 60 + self.minute.unwrap_or(0);
        (minutes * 60 + self.second.unwrap_or(0)) * 1_000 + self.millisecond.unwrap_or(0)
    }

    /// Sets the fields one after the other, and then once more: the first time each begins its year, month or week
    /// anew, the second time only the smallest of all, so that smaller fields move into larger ones.
    fn day(&mut self) -> Option<i64> {
        let fields = self.date.get_mut(..self.dates)?;
        fields.sort_by_key(|(letter, _)| part(*letter));
        let first = fields.first().and_then(|(letter, _)| part(*letter));
        let default_year = first.is_some_and(|first| first > Part::Year);
        let time = [
            self.half,
            self.hour_of_half,
            self.hour,
            self.minute,
            self.second,
            self.millisecond,
        ];
        let no_time = time.iter().all(Option::is_none);
        let last = fields.len().checked_sub(1).filter(|_| no_time);
        let start = day_number(if default_year { DEFAULT_YEAR } else { 1970 }, 1, 1)?;
        let mut day = start;
        for begin in [true, false] {
            if default_year {
                day = in_year(day, DEFAULT_YEAR)?;
            }
            for (n, (letter, value)) in fields.iter().enumerate() {
                let begin = begin || Some(n) == last;
                day = set(day, *letter, *value, begin, self.before_christ)?;
            }
        }
        Some(day)
    }
}

/// Sets a field of the date that a day is. `begin`: smaller fields begin at their beginning.
fn set(day: i64, letter: char, value: i64, begin: bool, before_christ: bool) -> Option<i64> {
    let at = date(day)?;
    let year = i64::from(at.year());
    let month = i64::from(at.month());
    let first = |year: i64| day_number(year, 1, 1);
    Some(match letter {
        'C' if value < 0 => return None,
        'C' => {
            let year = value.checked_mul(100)? + if begin { 0 } else { year.rem_euclid(100) };
            if begin { first(year)? } else { in_year(day, year)? }
        }
        'Y' if value < 1 => return None,
        'y' | 'Y' => {
            let value = if before_christ && letter == 'Y' {
                1 - value
            } else {
                value
            };
            if begin {
                first(value)?
            } else {
                in_year(day, value)?
            }
        }
        'x' if begin => first_week(value)?,
        'x' => {
            let week = (day - first_week(i64::from(at.iso_week_date().year()))?) / 7;
            let weeks = (first_week(value + 1)? - first_week(value)?) / 7;
            first_week(value)? + 7 * week.min(weeks - 1) + weekday(day)
        }
        'M' => {
            let first = day_number(year, value, 1)?;
            let of_month = i64::from(at.day()).min(i64::from(date(first)?.days_in_month()));
            if begin { first } else { first + of_month - 1 }
        }
        'w' => {
            let week_year = i64::from(at.iso_week_date().year());
            let first = first_week(week_year)?;
            (value <= (first_week(week_year + 1)? - first) / 7).then_some(())?;
            first + 7 * (value - 1) + if begin { 0 } else { weekday(day) }
        }
        'D' => {
            (value <= i64::from(at.days_in_year())).then_some(())?;
            first(year)? + value - 1
        }
        'd' => {
            (value <= i64::from(at.days_in_month())).then_some(())?;
            day_number(year, month, value)?
        }
        _ => day + (value - 1) - weekday(day),
    })
}

/// The same day of another year, the 28th for a 29th of February that it has not.
fn in_year(day: i64, year: i64) -> Option<i64> {
    let at = date(day)?;
    let month = day_number(year, i64::from(at.month()), 1)?;
    Some(month + i64::from(at.day()).min(i64::from(date(month)?.days_in_month())) - 1)
}

/// The Monday of the first week of an ISO week year.
fn first_week(week_year: i64) -> Option<i64> {
    let fourth = day_number(week_year, 1, 4)?;
    Some(fourth - weekday(fourth))
}
