//! What needs no Java to be known. Joda's answers were seen on joda-time 2.9.9; `tests/dates.rs` asks Java about the
//! rest.

use super::*;

/// 2026-11-27T00:00:00Z
const NOW: Timestamp = Timestamp::constant(1_795_737_600, 0);

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn simple(pattern: &str, text: &str) -> Option<i64> {
    DatePattern::simple_at(pattern, NOW)
        .unwrap()
        .parse_unix_ms(text, &TimeZone::UTC)
}

fn joda_in(pattern: &str, text: &str, zone_name: &str) -> Option<i64> {
    DatePattern::joda_at(pattern, NOW)
        .unwrap()
        .parse_unix_ms(text, &zone(zone_name))
}

fn joda(pattern: &str, text: &str) -> Option<i64> {
    joda_in(pattern, text, "UTC")
}

#[test]
fn the_dates_of_the_reference_are_read() {
    assert_eq!(
        simple("yyyy/MM/dd HH:mm:ss", "2012/04/13 11:11:11"),
        Some(1_334_315_471_000)
    );
    assert_eq!(
        joda("yyyy-MM-dd HH:mm", "2012-10-18 18:47"),
        Some(1_350_586_020_000)
    );
    assert_eq!(
        joda_in("yyyy-MM-dd HH:mm", "2012-10-18 18:47", "America/Los_Angeles"),
        Some(1_350_611_220_000)
    );
}

#[test]
fn a_simple_pattern_takes_what_is_nearly_right_and_a_joda_pattern_does_not() {
    for (pattern, text) in [
        ("yyyy-MM-dd", "2012-04-13 and more"),
        ("yyyy-MM-dd", "2012-13-45"),
        ("yyyy-MM-dd", "  2012- 04- 13"),
        ("HH:mm", "25:61"),
    ] {
        assert!(simple(pattern, text).is_some(), "{pattern} {text}");
        assert_eq!(joda(pattern, text), None, "{pattern} {text}");
    }
    for text in [
        "",
        "x",
        "2012-04",
        "2012/04/13",
        "-",
        "\u{e9}",
        "2012-04-\u{e9}",
        "99999999999999999999-01-01",
    ] {
        assert_eq!(simple("yyyy-MM-dd", text), None, "{text}");
        assert_eq!(joda("yyyy-MM-dd", text), None, "{text}");
    }
}

#[test]
fn joda_reads_these_as_joda_does() {
    for (pattern, text, expected) in [
        (
            "yyyy-MM-dd'T'HH:mm:ss.SSSZ",
            "2012-04-13T11:11:11.5+08:00",
            Some(1_334_286_671_500),
        ),
        (
            "yyyy-MM-dd'T'HH:mm:ssZZ",
            "2012-04-13T11:11:11Z",
            Some(1_334_315_471_000),
        ),
        (
            "yyyy-MM-dd HH:mm ZZZ",
            "2012-10-18 18:47 America/Los_Angeles",
            Some(1_350_611_220_000),
        ),
        (
            "yyyy-MM-dd HH:mm z",
            "2012-10-18 18:47 PST",
            Some(1_350_611_220_000),
        ),
        ("yyyyMMddHHmm", "201210181847", Some(1_350_586_020_000)),
        (
            "dd/MMM/yyyy:HH:mm:ss",
            "18/OCT/2012:18:47:00",
            Some(1_350_586_020_000),
        ),
        (
            "EEE MMM dd yyyy hh:mm a",
            "Thu Oct 18 2012 06:47 pm",
            Some(1_350_586_020_000),
        ),
        // A day of the week counts more than a date.
        ("E yyyy-MM-dd", "Fri 2012-10-18", Some(1_350_604_800_000)),
        // Without a year it is 2000, without a date 1970.
        ("MM-dd", "10-18", Some(971_827_200_000)),
        ("HH:mm", "18:47", Some(67_620_000)),
        ("yy", "75", Some(157_766_400_000)),
        ("yy", "46", Some(-757_382_400_000)),
        ("yy", "45", Some(2_366_841_600_000)),
        ("xxxx-'W'ww-e", "2012-W42-4", Some(1_350_518_400_000)),
        ("yyyy-DDD", "2012-292", Some(1_350_518_400_000)),
        ("yyyy-MM-dd", "2012-02-30", None),
        ("yyyy-DDD", "2011-366", None),
        ("HH", "24", None),
        ("kk", "24", Some(0)),
    ] {
        assert_eq!(joda(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn a_time_that_is_skipped_or_comes_twice_is_decided() {
    let simple_in = |text: &str| {
        let pattern = DatePattern::simple_at("yyyy-MM-dd HH:mm", NOW).unwrap();
        pattern.parse_unix_ms(text, &zone("America/New_York"))
    };
    let joda_in = |text: &str| joda_in("yyyy-MM-dd HH:mm", text, "America/New_York");
    assert_eq!(simple_in("2012-03-11 02:30"), Some(1_331_451_000_000));
    assert_eq!(joda_in("2012-03-11 02:30"), None);
    assert_eq!(simple_in("2012-11-04 01:30"), Some(1_352_010_600_000));
    assert_eq!(joda_in("2012-11-04 01:30"), Some(1_352_007_000_000));
}

#[test]
fn a_year_of_two_digits_is_near() {
    for (text, expected) in [
        ("46-11-28", "1946-11-28"),
        ("46-11-26", "2046-11-26"),
        ("47-01-01", "1947-01-01"),
        ("26-01-01", "2026-01-01"),
    ] {
        assert_eq!(simple("yy-MM-dd", text), simple("yyyy-MM-dd", expected), "{text}");
    }
}

#[test]
fn a_letter_that_is_none_and_an_open_quote_are_refused() {
    let simple = |pattern| DatePattern::simple(pattern).unwrap_err().to_string();
    let joda = |pattern| DatePattern::joda(pattern).unwrap_err().to_string();
    assert_eq!(
        simple("yyyy-bb"),
        "unknown letter b; expected G y Y M L w W D d F E u a H k K h m s S z Z X, other letters between single quotes"
    );
    assert_eq!(
        joda("yyyy-MM-ddT"),
        "unknown letter T; expected G C Y x w e E y D M d a K h H k m s S z Z, other letters between single quotes"
    );
    assert_eq!(simple("'T"), "a quote without end in \"'T\"");
    assert_eq!(simple("XXXX"), "expected X, XX or XXX, found 4 of them");
    assert!(joda("zzzz").contains("cannot be read"));
    assert!(joda(&"yM".repeat(9)).contains("more than 16 fields"));
}
