//! Our `SimpleDateFormat` against Java's: a table of patterns and texts, and texts made from a seed, some of them
//! damaged. Java's Julian dates before 1582 are left out: no log is that old.

mod java;

use java::written;
use jiff::tz::TimeZone;
use node::java::date::DatePattern;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const RANDOM_TEXTS: usize = 3_000;
const SEED: u64 = 0x1ace;

const ZONES: &[&str] = &[
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
];

/// Patterns, and texts that are dates, nearly dates and no dates.
const TABLE: &[(&str, &[&str])] = &[
    (
        "yyyy-MM-dd'T'HH:mm:ss",
        &[
            "2012-04-13T11:11:11",
            "2012-04-13T11:11:11.5+08:00",
            "2012-4-3T1:1:1",
            "x",
            "",
        ],
    ),
    (
        "yyyy/MM/dd HH:mm:ss",
        &[
            "2012/04/13 11:11:11",
            "2012/04/13  11:11:11",
            " 2012/ 04/13 11:11:11",
            "2012/04/13 11:11",
        ],
    ),
    (
        "MMM d HH:mm:ss",
        &[
            "Oct 25 04:00:00",
            "oct  5 04:00:00",
            "October 5 4:0:0",
            "Octo 5 04:00:00",
            "Feb 29 00:00:00",
        ],
    ),
    (
        "MMM dd yyyy HH:mm:ss",
        &["Apr 13 2012 11:11:11", "APRIL 13 2012 11:11:11"],
    ),
    (
        "dd/MMM/yyyy:HH:mm:ss Z",
        &[
            "10/Oct/2000:13:55:36 -0700",
            "10/Oct/2000:13:55:36 +0000",
            "10/Oct/2000:13:55:36 -07",
        ],
    ),
    (
        "EEE, dd MMM yyyy HH:mm:ss z",
        &[
            "Tue, 05 Jun 2012 10:00:00 GMT",
            "Friday, 05 Jun 2012 10:00:00 GMT+2:00",
            "Tue, 05 Jun 2012 10:00:00 GMT-02:30",
            "Tue, 05 Jun 2012 10:00:00 PST",
            "Tue, 05 Jun 2012 10:00:00 EDT",
            "Tue, 05 Jun 2012 10:00:00 CEST",
            "Tue, 05 Jun 2012 10:00:00 +0200",
            "Tue, 05 Jun 2012 10:00:00 XYZ",
            "Tue, 05 Jun 2012 10:00:00 UTC",
            "Tue, 05 Jun 2012 10:00:00 gmt",
            "Tue, 05 Jun 2012 10:00:00 GMT+",
            "Tue, 05 Jun 2012 10:00:00 GMT+2",
        ],
    ),
    (
        "yyyyMMdd",
        &[
            "20120413",
            "2012041",
            "201204135",
            "2012413",
            "20121399",
            "-2012041",
        ],
    ),
    (
        "yyyyMMddHHmmssSSS",
        &["20120413111111123", "2012041311111112", "201204131111111234"],
    ),
    ("yyMMdd", &["120413", "700101", "991231", "460101", "000101"]),
    (
        "yy-M-d",
        &["12-4-13", "2012-4-13", "1-4-13", "-12-4-13", "99-1-1", "012-4-13"],
    ),
    ("y-M-d", &["12-4-13", "2012-4-13"]),
    ("yyy-MM-dd", &["12-04-13"]),
    (
        "yyyy-MM-dd",
        &[
            "12-04-13",
            "2012-13-01",
            "2012-00-00",
            "2012-02-30",
            "2012-04-13 and more",
            "2012-04",
        ],
    ),
    (
        "HH:mm:ss.SSS",
        &[
            "11:11:11.5",
            "11:11:11.500",
            "11:11:11.123456",
            "25:61:61.0",
            "-1:00:00.0",
        ],
    ),
    ("HH:mm", &["02:30", "24:00"]),
    (
        "yyyy-MM-dd HH:mm",
        &[
            "2012-03-11 02:30",
            "2012-11-04 01:30",
            "2012-03-25 02:30",
            "2012-10-28 02:30",
            "2012-04-01 01:45",
        ],
    ),
    (
        "hh:mm a",
        &[
            "11:11 PM", "12:00 AM", "12:00 pm", "13:00 PM", "00:00 am", "11:11",
        ],
    ),
    ("KK:mm a", &["11:11 PM", "0:00 PM", "12:00 AM"]),
    ("kk:mm", &["24:00", "1:00", "0:10"]),
    ("hh:mm", &["11:11", "12:11"]),
    ("a", &["PM", "am"]),
    ("HH hh a", &["10 11 PM"]),
    ("hh a HH", &["11 PM 10"]),
    ("D yyyy", &["60 2012", "400 2012"]),
    ("yyyy-DDD", &["2012-060"]),
    ("yyyyDDD", &["2012060"]),
    ("yyyy-MM-dd D", &["2012-04-13 60"]),
    ("D yyyy-MM-dd", &["60 2012-04-13"]),
    ("YYYY-'W'ww-u", &["2012-W15-5", "2012-W01-1", "2012-W53-7"]),
    ("YYYY-'W'ww", &["2012-W15"]),
    ("YYYY", &["2012"]),
    ("yyyy w E", &["2012 15 Fri", "2012 1 Sunday"]),
    ("yyyy w", &["2012 15"]),
    ("yyyy-MM W E", &["2012-04 2 Fri", "2012-04 1 Mon"]),
    ("yyyy-MM W", &["2012-04 2"]),
    ("yyyy-MM F E", &["2012-04 2 Fri", "2012-04 -1 Fri"]),
    ("yyyy-MM F", &["2012-04 2"]),
    ("E yyyy-MM-dd", &["Mon 2012-04-13"]),
    ("yyyy-MM-dd E", &["2012-04-13 Mon"]),
    ("E", &["Fri"]),
    ("yyyy-MM-dd u", &["2012-04-13 1"]),
    ("yyyy", &["2012", "12", "99999"]),
    ("MM", &["7"]),
    ("M", &["07", "0", "13"]),
    ("MMMM", &["July", "Jul", "7"]),
    ("LLL d", &["Jul 5"]),
    ("L d", &["7 5"]),
    ("MMMdd", &["Jul05", "July05"]),
    ("ddMMMyyyy", &["05Jul2012", "5Jul2012"]),
    (
        "yyyy-MM-dd'T'HH:mm:ssX",
        &[
            "2012-04-13T11:11:11Z",
            "2012-04-13T11:11:11+08",
            "2012-04-13T11:11:11+0830",
            "2012-04-13T11:11:11é",
        ],
    ),
    (
        "yyyy-MM-dd'T'HH:mm:ssXX",
        &["2012-04-13T11:11:11+0830", "2012-04-13T11:11:11+08:30"],
    ),
    (
        "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        &[
            "2012-04-13T11:11:11.123+08:30",
            "2012-04-13T11:11:11.123Z",
            "2012-04-13T11:11:11.123-0830",
        ],
    ),
    ("HH:mm z", &["11:11 GMT+24:00", "11:11 GMT+8:5"]),
    ("G yyyy", &["AD 2012", "bc 1"]),
    ("''yyyy''", &["'2012'", "2012"]),
    ("'o''clock' HH", &["o'clock 11"]),
    ("yyyy.MM.dd G 'at' HH:mm:ss z", &["2001.07.04 AD at 12:08:56 PDT"]),
    ("yyyy年MM月dd日", &["2012年04月13日"]),
    ("'x", &["x"]),
    ("yyyy-bb", &["2012"]),
    ("i", &["1"]),
    ("XXXX", &["Z"]),
    ("", &["x", ""]),
    ("s", &["1335866400", "99999999999"]),
    ("S", &["1335866400"]),
    ("dHH", &["1305", "135"]),
    ("d H", &["1305 5"]),
    ("HHmm", &["1111", "111"]),
    ("H:mm", &["1:5"]),
    ("HH'h'mm", &["11h11"]),
    ("HH  mm", &["11  11", "11 11"]),
    ("\tHH", &["\t11", " 11"]),
    ("HH", &["\t11", "+11"]),
];

#[test]
fn dates_are_read_as_java_reads_them() {
    let mut cases = Vec::new();
    for (pattern, texts) in TABLE {
        for text in *texts {
            for zone in ZONES {
                cases.push([*zone, *pattern, *text].map(str::to_owned));
            }
        }
    }
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..RANDOM_TEXTS {
        let (pattern, text) = random_case(&mut random);
        let zone = ZONES[random.random_range(0..ZONES.len())];
        cases.push([zone.to_owned(), pattern, text]);
    }
    let line = |case: &[String; 3]| format!("{}\t{}\t{}\n", case[0], written(&case[1]), written(&case[2]));
    let Some(answers) = java::ask("Dates.java", &[], &cases.iter().map(line).collect::<String>()) else {
        return;
    };
    assert_eq!(answers.lines().count(), cases.len());
    let differing: Vec<String> = cases.iter().zip(answers.lines()).filter_map(differs).collect();
    let shown = &differing[..differing.len().min(60)];
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        shown.join("\n")
    );
}

fn differs((case, theirs): (&[String; 3], &str)) -> Option<String> {
    let [zone, pattern, text] = case;
    let ours = match DatePattern::simple(pattern) {
        Err(_) => "error".to_owned(),
        Ok(format) => {
            let zone = TimeZone::get(zone).expect("the zones are known");
            format
                .parse_unix_ms(text, &zone)
                .map_or("no".to_owned(), |ms| ms.to_string())
        }
    };
    const JULIAN_UNTIL_MS: i64 = -12_219_292_800_000;
    const YEAR_9999_MS: i64 = 253_402_207_200_000;
    if theirs
        .parse()
        .is_ok_and(|ms: i64| !(JULIAN_UNTIL_MS..YEAR_9999_MS).contains(&ms))
    {
        return None;
    }
    (ours != theirs).then(|| format!("{pattern:?} on {text:?} in {zone}: java {theirs}, ours {ours}"))
}

fn random_case(random: &mut StdRng) -> (String, String) {
    const FIELDS: &[&str] = &[
        "yyyy", "yy", "y", "MM", "M", "MMM", "MMMM", "dd", "d", "D", "DDD", "HH", "H", "kk", "hh", "K", "mm",
        "m", "ss", "s", "SSS", "S", "a", "E", "EEEE", "Z", "z", "X", "XX", "XXX", "w", "W", "F", "u", "YYYY",
        "G",
    ];
    const BETWEEN: &[&str] = &["", "-", " ", ":", "/", "'T'", ".", ", "];
    let (mut pattern, mut text) = (String::new(), String::new());
    for _ in 0..random.random_range(1..7) {
        let field = FIELDS[random.random_range(0..FIELDS.len())];
        let between = BETWEEN[random.random_range(0..BETWEEN.len())];
        // Of two of these the last one does not always win in Java.
        let together = [&['z', 'Z', 'X'], &['W', 'F', 'w'], &['Y', 'u', 'u']];
        if together
            .iter()
            .any(|set| field.contains(**set) && pattern.contains(**set))
        {
            continue;
        }
        if pattern.chars().last() == field.chars().next() {
            pattern.push('.');
            text.push('.');
        }
        pattern.push_str(field);
        text.push_str(&value(random, field));
        pattern.push_str(between);
        text.push_str(between.trim_matches('\''));
    }
    if random.random_range(0..4) == 0 {
        let at = random.random_range(0..=text.len());
        let damage = ["", "0", " ", "-", "x", "9", ":"][random.random_range(0..7)];
        text.replace_range(at..at.max(text.len().min(at + random.random_range(0..2))), damage);
    }
    (pattern, text)
}

fn value(random: &mut StdRng, field: &str) -> String {
    let mut number = |least: u32, most: u32| {
        let value = random.random_range(least..=most);
        format!("{value:0width$}", width = field.len())
    };
    match &field[..1] {
        "y" if field == "yyyy" => number(1930, 2100),
        "Y" => number(1930, 2100),
        "y" => number(0, 99),
        "M" if field.len() < 3 => number(1, 12),
        "M" => [
            "Jan",
            "feb",
            "March",
            "Apr",
            "MAY",
            "Jun",
            "July",
            "Aug",
            "September",
            "Oct",
            "Nov",
            "December",
        ][random.random_range(0..12)]
        .to_owned(),
        "d" => number(1, 31),
        "D" => number(1, 366),
        "H" | "K" | "h" => number(0, 23),
        "k" => number(1, 24),
        "m" | "s" => number(0, 59),
        "S" => number(0, 999),
        "a" => ["AM", "pm"][random.random_range(0..2)].to_owned(),
        "E" => ["Mon", "tuesday", "Wed", "Thursday", "FRI", "Sat", "Sunday"][random.random_range(0..7)]
            .to_owned(),
        "Z" => ["+0200", "-0730", "GMT", "GMT+1:00"][random.random_range(0..4)].to_owned(),
        "z" => ["PST", "EDT", "UTC", "GMT-02:30", "+0100", "UTC"][random.random_range(0..6)].to_owned(),
        "X" if field.len() == 3 => ["Z", "+02:00", "-07:30"][random.random_range(0..3)].to_owned(),
        "X" => ["Z", "+0200", "-0730", "+02"][random.random_range(0..4)].to_owned(),
        "w" => number(1, 53),
        "W" | "F" => number(1, 5),
        "u" => number(1, 7),
        _ => ["AD", "ad"][random.random_range(0..2)].to_owned(),
    }
}
