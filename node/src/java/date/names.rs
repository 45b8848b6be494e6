//! English names of months, days and halves of the day, and what zones are called.

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From Monday.
pub(super) const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
pub(super) const HALVES: [&str; 2] = ["AM", "PM"];
pub(super) const ERAS: [&str; 2] = ["BC", "AD"];

/// Minutes east of Greenwich. An abbreviation that several zones have means the one that Java finds first.
const ZONES: &[(&str, i64)] = &[
    ("ACDT", 630),
    ("ACST", 570),
    ("ADT", -180),
    ("AEDT", 660),
    ("AEST", 600),
    ("AFT", 270),
    ("AKDT", -480),
    ("AKST", -540),
    ("ART", -180),
    ("AST", -240),
    ("AWST", 480),
    ("BRST", -120),
    ("BRT", -180),
    ("BST", 60),
    ("CAT", 120),
    ("CDT", -300),
    ("CEST", 120),
    ("CET", 60),
    ("CLST", -180),
    ("CLT", -240),
    ("COT", -300),
    ("CST", -360),
    ("EAT", 180),
    ("EDT", -240),
    ("EEST", 180),
    ("EET", 120),
    ("EST", -300),
    ("GMT", 0),
    ("GST", 240),
    ("HDT", -540),
    ("HKT", 480),
    ("HST", -600),
    ("ICT", 420),
    ("IDT", 180),
    ("IRKT", 480),
    ("IRST", 210),
    ("IST", 120),
    ("JST", 540),
    ("KRAT", 420),
    ("KST", 540),
    ("MAGT", 660),
    ("MDT", -360),
    ("MEST", 120),
    ("MET", 60),
    ("MSD", 240),
    ("MSK", 180),
    ("MST", -420),
    ("NDT", -150),
    ("NOVT", 420),
    ("NPT", 345),
    ("NST", -210),
    ("NZDT", 780),
    ("NZST", 720),
    ("OMST", 360),
    ("PDT", -420),
    ("PET", -300),
    ("PKT", 300),
    ("PST", -480),
    ("SAMT", 240),
    ("SAST", 120),
    ("SGT", 480),
    ("UTC", 0),
    ("UYT", -180),
    ("UZT", 300),
    ("VET", -240),
    ("VLAT", 600),
    ("WAT", 60),
    ("WEST", 60),
    ("WET", 0),
    ("WIB", 420),
    ("WIT", 540),
    ("WITA", 480),
    ("YAKT", 540),
    ("YEKT", 300),
];

/// The number of the longest name that the text begins with, any case, and how long it is. Names are known whole and by
/// their first three letters.
pub(super) fn beginning(text: &str, names: &[&str]) -> Option<(usize, usize)> {
    let starts = |name: &str| {
        let head = text.as_bytes().get(..name.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
    };
    let fits = names.iter().enumerate().filter_map(|(number, name)| {
        let whole = starts(name).then_some(name.len());
        let len = whole.or_else(|| name.get(..3).filter(|short| starts(short)).map(str::len))?;
        Some((number, len))
    });
    fits.max_by_key(|(_, len)| *len)
}

/// The offset in minutes of the abbreviation that the text begins with, and how long it is. Those of `zone` itself come
/// first.
pub(super) fn abbreviation(text: &str, zone: &TimeZone) -> Option<(i64, usize)> {
    let word = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let word = &text[..word];
    // Winter and summer of 1970 and of now: a zone may have changed its names.
    for second in [0, 15_552_000, 1_735_689_600, 1_751_328_000] {
        let Ok(moment) = Timestamp::from_second(second) else {
            continue;
        };
        let info = zone.to_offset_info(moment);
        if !word.is_empty() && info.abbreviation().eq_ignore_ascii_case(word) {
            return Some((i64::from(info.offset().seconds()) / 60, word.len()));
        }
    }
    let starts = |name: &str| {
        word.get(..name.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(name))
    };
    let fits = ZONES.iter().filter(|(name, _)| starts(name));
    fits.max_by_key(|(name, _)| name.len())
        .map(|(name, minutes)| (*minutes, name.len()))
}
