//! `SimpleDateFormat` in its lenient mode, with the calendar of the United States: weeks begin on Sunday.
//!
//! Fields are read from left to right; a number takes all digits that it finds, but as many as its letters where
//! another numeric field follows at once. The calendar then resolves what was set as `GregorianCalendar` does: of
//! several ways to say the day the one that was completed last counts. Before 1582 Java has Julian dates, we have not.

use super::civil::{MS_A_DAY, Twice, date, day_number, instant, on_or_before};
use super::names::{self, DAYS, ERAS, HALVES, MONTHS};
use super::{PatternError, Token, unknown_letter};
use jiff::Timestamp;
use jiff::tz::TimeZone;

const LETTERS: &str = "GyYMLwWDdFEuaHkKhmsSzZX";
const SUNDAY: i64 = 6;

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Format {
    tokens: Vec<Token>,
    /// 80 years ago: the earliest instant that a year of two digits may mean, and its year.
    century_ms: i64,
    century_year: i64,
}

/// What the calendar is told. The order in which it is told matters, so each has the number of its turn.
#[derive(Debug, Clone, Copy, Default)]
struct Set {
    value: i64,
    turn: u32,
}

#[derive(Debug, Default)]
struct Calendar {
    turn: u32,
    era: Set,
    year: Set,
    week_year: Set,
    month: Set,
    week_of_year: Set,
    week_of_month: Set,
    day: Set,
    day_of_year: Set,
    /// Monday 0.
    weekday: Set,
    weekday_in_month: Set,
    half: Set,
    hour: Set,
    hour_of_half: Set,
    minute: Set,
    second: Set,
    millisecond: Set,
    /// Minutes east of Greenwich.
    offset: Option<i64>,
    /// The year was of two digits, and the first one that it may mean.
    ambiguous_year: bool,
}

impl Format {
    pub fn new(tokens: Vec<Token>, now: Timestamp) -> Result<Self, PatternError> {
        for token in &tokens {
            match token {
                Token::Field(letter, _) if !LETTERS.contains(*letter) => {
                    return Err(unknown_letter(*letter, LETTERS));
                }
                Token::Field('X', count @ 4..) => {
                    return Err(PatternError(format!(
                        "expected X, XX or XXX, found {count} of them"
                    )));
                }
                _ => {}
            }
        }
        let ago = now.to_zoned(TimeZone::system());
        let ago = ago.checked_sub(jiff::Span::new().years(80)).unwrap_or(ago);
        Ok(Self {
            tokens,
            century_ms: ago.timestamp().as_millisecond(),
            century_year: i64::from(ago.year()),
        })
    }

    pub fn parse(&self, text: &str, zone: &TimeZone) -> Option<i64> {
        let mut calendar = Calendar::default();
        let mut at = 0;
        for (n, token) in self.tokens.iter().enumerate() {
            at = match token {
                Token::Literal(literal) => {
                    let there = text.get(at..)?.starts_with(literal.as_str());
                    there.then_some(at + literal.len())?
                }
                Token::Field(letter, count) => {
                    let abutting = self.tokens.get(n + 1).is_some_and(is_numeric);
                    let field = Field {
                        text,
                        start: at,
                        letter: *letter,
                        count: *count,
                        obey_count: abutting,
                    };
                    field.read(&mut calendar, self.century_year, zone)?
                }
            };
        }
        if at == 0 {
            return None;
        }
        let ms = calendar.instant(zone)?;
        if calendar.ambiguous_year && ms < self.century_ms {
            calendar.year.value += 100;
            return calendar.instant(zone);
        }
        Some(ms)
    }
}

/// Whether a field is a number, so that the number before it must not take its digits.
fn is_numeric(token: &Token) -> bool {
    match token {
        Token::Field('M' | 'L', count) => *count <= 2,
        Token::Field(letter, _) => !"GEazZX".contains(*letter),
        Token::Literal(_) => false,
    }
}

struct Field<'t> {
    text: &'t str,
    start: usize,
    letter: char,
    count: usize,
    obey_count: bool,
}

impl Field<'_> {
    /// Reads the field and returns where it ends.
    fn read(&self, calendar: &mut Calendar, century_year: i64, zone: &TimeZone) -> Option<usize> {
        let rest = self.text.get(self.start..)?;
        let at = self.start + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        if at == self.text.len() {
            return None;
        }
        // Java skips blanks before numbers and zones only.
        let name = |names: &[&str]| {
            let (number, len) = names::beginning(rest, names)?;
            Some((i64::try_from(number).ok()?, self.start + len))
        };
        let c = &mut *calendar;
        c.turn += 1;
        let turn = c.turn;
        let (field, (value, end)) = match self.letter {
            'M' | 'L' if self.count > 2 => (&mut c.month, name(&MONTHS)?),
            'E' => (&mut c.weekday, name(&DAYS)?),
            'a' => (&mut c.half, name(&HALVES)?),
            'G' => (&mut c.era, name(&ERAS)?),
            'z' | 'Z' | 'X' => {
                let (minutes, end) = self.zone(at, zone)?;
                c.offset = Some(minutes);
                return Some(end);
            }
            _ => return self.number(at, c, century_year),
        };
        *field = Set { value, turn };
        Some(end)
    }

    fn number(&self, at: usize, c: &mut Calendar, century_year: i64) -> Option<usize> {
        let until = if self.obey_count {
            // Counted from before the blanks.
            self.text.get(..self.start + self.count)?.len()
        } else {
            self.text.len()
        };
        let (value, end) = integer(self.text.get(at..until)?)?;
        let end = at + end;
        let turn = c.turn;
        let two_digits = self.count <= 2 && end - at == 2 && value >= 0;
        let (field, value) = match self.letter {
            'y' | 'Y' => {
                let mut year = value;
                if two_digits {
                    let pivot = century_year % 100;
                    c.ambiguous_year = year == pivot;
                    year += century_year / 100 * 100 + if year < pivot { 100 } else { 0 };
                }
                let field = if self.letter == 'y' {
                    &mut c.year
                } else {
                    &mut c.week_year
                };
                (field, year)
            }
            'M' | 'L' => (&mut c.month, value - 1),
            'w' => (&mut c.week_of_year, value),
            'W' => (&mut c.week_of_month, value),
            'D' => (&mut c.day_of_year, value),
            'd' => (&mut c.day, value),
            'F' => (&mut c.weekday_in_month, value),
            // What is no day of the week Java takes for one counted from Sunday.
            'u' if !(1..=7).contains(&value) => (&mut c.weekday, value - 2),
            'u' => (&mut c.weekday, value - 1),
            'H' => (&mut c.hour, value),
            'k' => (&mut c.hour, if value == 24 { 0 } else { value }),
            'K' => (&mut c.hour_of_half, value),
            'h' => (&mut c.hour_of_half, if value == 12 { 0 } else { value }),
            'm' => (&mut c.minute, value),
            's' => (&mut c.second, value),
            _ => (&mut c.millisecond, value),
        };
        *field = Set { value, turn };
        Some(end)
    }

    /// `z` and `Z`: `GMT`, `GMT+h:mm`, `+hhmm` or an abbreviation; `X`: `Z`, `+hh`, `+hhmm` or `+hh:mm` by count.
    fn zone(&self, at: usize, zone: &TimeZone) -> Option<(i64, usize)> {
        let rest = &self.text[at..];
        let sign = |text: &str| match text.bytes().next() {
            Some(b'+') => Some(1),
            Some(b'-') => Some(-1),
            _ => None,
        };
        if self.letter == 'X' {
            if rest.starts_with('Z') {
                return Some((0, at + 1));
            }
            let sign = sign(rest)?;
            let (minutes, len) = offset(&rest.as_bytes()[1..], self.count, self.count == 3)?;
            return Some((sign * minutes, at + 1 + len));
        }
        if let Some(sign) = sign(rest) {
            let (minutes, len) = offset(&rest.as_bytes()[1..], 0, false)?;
            return Some((sign * minutes, at + 1 + len));
        }
        let gmt = rest.get(..3).is_some_and(|gmt| gmt.eq_ignore_ascii_case("GMT"));
        if gmt && at == self.start {
            let Some(sign) = sign(&rest[3..]) else {
                return Some((0, at + 3));
            };
            let (minutes, len) = offset(&rest.as_bytes()[4..], 0, true)?;
            return Some((sign * minutes, at + 4 + len));
        }
        let (minutes, len) = names::abbreviation(rest, zone)?;
        Some((minutes, at + len))
    }
}

/// An integer at the beginning, as a 32-bit number takes it, and where it ends.
fn integer(text: &str) -> Option<(i64, usize)> {
    let negative = text.starts_with('-');
    let mut end = usize::from(negative);
    let mut value = 0i64;
    while let Some(digit) = text.as_bytes().get(end).filter(|b| b.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(i64::from(digit - b'0'))?;
        end += 1;
    }
    if end == usize::from(negative) {
        return None;
    }
    let value = if negative { -value } else { value };
    Some((i64::from(value as i32), end))
}

/// `h`, `hh`, `hhmm` or `hh:mm` behind a sign: minutes and length. `count` 1 is `hh` alone, 0 lets hours be of one digit
/// where there is a colon.
fn offset(text: &[u8], count: usize, colon: bool) -> Option<(i64, usize)> {
    let digit = |at: usize| {
        text.get(at)
            .filter(|b| b.is_ascii_digit())
            .map(|b| i64::from(b - b'0'))
    };
    let mut hours = digit(0)?;
    let mut at = 1;
    // Java looks at one more character, so that there has to be one.
    text.get(1)?;
    match digit(1) {
        Some(second) => (hours, at) = (hours * 10 + second, 2),
        None if count > 0 || !colon => return None,
        None => {}
    }
    if hours > 23 {
        return None;
    }
    if count == 1 {
        return Some((hours * 60, at));
    }
    if colon {
        (text.get(at) == Some(&b':')).then_some(())?;
        at += 1;
    }
    let minutes = digit(at)? * 10 + digit(at + 1)?;
    (minutes <= 59).then_some((hours * 60 + minutes, at + 2))
}

impl Calendar {
    fn instant(&self, zone: &TimeZone) -> Option<i64> {
        let time = self.time();
        let local = self.day()?.checked_mul(MS_A_DAY)?.checked_add(time)?;
        match self.offset {
            Some(minutes) => local.checked_sub(minutes * 60_000),
            None => instant(local, zone, Twice::Later),
        }
    }

    /// Milliseconds of the day; may be more or less than a day has.
    fn time(&self) -> i64 {
        let of_half = both(self.hour_of_half, self.half);
        let hour = if of_half > self.hour.turn || (self.hour.turn == 0 && of_half == 0) {
            self.hour_of_half.value + 12 * self.half.value
        } else {
            self.hour.value
        };
        ((hour * 60 + self.minute.value) * 60 + self.second.value) * 1_000 + self.millisecond.value
    }

    fn day(&self) -> Option<i64> {
        let mut year = if self.year.turn > 0 { self.year.value } else { 1970 };
        if self.era.turn > 0 && self.era.value == 0 {
            year = 1 - year;
        }
        if self.week_year.turn > self.year.turn {
            return self.day_of_week_year();
        }
        let month_year = year.checked_add(self.month.value.div_euclid(12))?;
        let month = self.month.value.rem_euclid(12) + 1;
        // Of several ways to say the day, the one that was completed last.
        let of_month = both(self.week_of_month, self.weekday);
        let in_month = both(self.weekday_in_month, self.weekday);
        let of_year = both(self.week_of_year, self.weekday);
        let mut best = [self.day.turn, of_month, in_month, self.day_of_year.turn, of_year]
            .into_iter()
            .max()?;
        let (mut by_day, mut by_week, mut by_count) = (self.day.turn, of_month, in_month);
        if best == 0 {
            (by_week, by_count) = (self.week_of_month.turn, self.weekday_in_month.turn);
            best = by_week.max(by_count).max(self.week_of_year.turn);
            if best == 0 && self.weekday.turn > 0 {
                // The first one of the month.
                let first = day_number(month_year, month, 1)?;
                return Some(on_or_before(first + 6, self.weekday.value));
            }
            if best == 0 {
                (best, by_day) = (self.month.turn, self.month.turn);
            }
        }
        if best == by_day {
            let day = if self.day.turn > 0 { self.day.value } else { 1 };
            return day_number(month_year, month, day);
        }
        let weekday = |else_it_is| {
            if self.weekday.turn > 0 {
                self.weekday.value
            } else {
                else_it_is
            }
        };
        if best == by_week && self.week_of_month.turn >= self.week_of_year.turn && by_week >= by_count {
            let week = first_week(day_number(month_year, month, 1)?);
            let day = on_or_before(week + 6, weekday(SUNDAY));
            return day.checked_add(7 * (self.week_of_month.value - 1));
        }
        if best == by_count && self.weekday_in_month.turn >= self.week_of_year.turn {
            let first = day_number(month_year, month, 1)?;
            let count = self.weekday_in_month.value;
            if count >= 0 {
                return Some(on_or_before(first.checked_add(7 * count)? - 1, weekday(SUNDAY)));
            }
            let next = day_number(month_year.checked_add(month / 12)?, month % 12 + 1, 1)?;
            return Some(on_or_before(
                next.checked_add(7 * (count + 1))? - 1,
                weekday(SUNDAY),
            ));
        }
        if best == self.day_of_year.turn {
            return day_number(year, 1, self.day_of_year.value);
        }
        let week = first_week(day_number(year, 1, 1)?);
        let day = on_or_before(week + 6, weekday(SUNDAY));
        day.checked_add(7 * (self.week_of_year.value - 1))
    }

    /// `Y` with `w` and a day of the week.
    fn day_of_week_year(&self) -> Option<i64> {
        let first = first_week(day_number(self.week_year.value, 1, 1)?);
        let week = if self.week_of_year.turn > 0 {
            self.week_of_year.value
        } else {
            1
        };
        // Days count from Sunday here.
        let day = if self.weekday.turn > 0 {
            (self.weekday.value + 1).rem_euclid(7)
        } else {
            0
        };
        let day = first.checked_add(day + 7 * (week - 1))?;
        date(day).map(|_| day)
    }
}

/// The Sunday of the week in which this first day lies.
fn first_week(first: i64) -> i64 {
    on_or_before(first, SUNDAY)
}

/// The turn in which the later one was told, none if one was not.
fn both(one: Set, other: Set) -> u32 {
    if one.turn == 0 || other.turn == 0 {
        0
    } else {
        one.turn.max(other.turn)
    }
}
