//! Any text as a Java pattern, any as what it is to be found in and as a replacement: the input is the three of them, a
//! line each, the text last and to the end. Nothing panics, every way of asking gives the same answer, places of groups
//! are within the text and in order, and what is replaced is no longer than allowed. Date patterns read the same bytes.
#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use node::java::date::DatePattern;
use node::java::regex::{Regex, Replacement};

const REPLACED_BYTES_MAX: usize = 10_000;

fuzz_target!(|data: &[u8]| {
    let input = String::from_utf8_lossy(data);
    let mut parts = input.splitn(3, '\n');
    let [pattern, replacement, text] = [(); 3].map(|()| parts.next().unwrap_or_default());
    for pattern in [DatePattern::simple(pattern), DatePattern::joda(pattern)].into_iter().flatten() {
        let _ = pattern.parse_unix_ms(text, &TimeZone::UTC);
    }
    // Repetitions of repetitions take their time, which is no mistake.
    if pattern.len() > 200 || text.len() > 500 {
        return;
    }
    let Ok(regex) = Regex::new(pattern) else { return };
    if let (Ok(found), Ok(groups)) = (regex.try_found_in(text), regex.try_captures(text)) {
        assert_eq!(found, groups.is_some());
        if let Some(groups) = groups {
            assert_eq!(groups.len(), regex.group_count() + 1);
            assert!(groups[0].is_some());
            for group in groups.into_iter().flatten() {
                assert!(text.get(group).is_some());
            }
        }
    }
    if let Ok(whole) = regex.try_matches(text) {
        assert_eq!(whole, regex.whole_captures(text).is_some());
    }
    let parts = regex.split(text);
    assert!(parts.iter().map(|part| part.len()).sum::<usize>() <= text.len());
    if let Ok(replacement) = Replacement::new(replacement, &regex)
        && let Ok(replaced) = regex.replace_with(text, &replacement, REPLACED_BYTES_MAX)
    {
        assert!(replaced.len() <= REPLACED_BYTES_MAX.max(text.len()));
    }
});
