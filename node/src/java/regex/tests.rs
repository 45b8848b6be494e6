//! What needs no Java to be known. The meaning of patterns is held against Java in `tests/regex.rs`.

use super::*;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

fn refused(pattern: &str) -> String {
    Regex::new(pattern).unwrap_err().to_string()
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (pattern, words) in [
        ("a(b", "a group without closing ) at character 2 of \"a(b\""),
        ("ab)", "unmatched closing ) at character 3 of \"ab)\""),
        ("a**", "* without anything to repeat at character 3 of \"a**\""),
        ("x[a", "a class without closing ] at character 2 of \"x[a\""),
        (
            "x{,3}",
            "a { that is no repetition; a letter { is written \\{ at character 2 of \"x{,3}\"",
        ),
        (
            "\\Qé\\E\\y",
            "unknown escape \\y at character 6 of \"\\Qé\\E\\y\"",
        ),
        (
            "\\p{Foo}",
            "unknown property \\p{Foo} at character 1 of \"\\p{Foo}\"",
        ),
        (
            "(?<n>a)\\k<m>",
            "no group before it is named m at character 12 of \"(?<n>a)\\k<m>\"",
        ),
    ] {
        assert_eq!(refused(pattern), words);
    }
}

#[test]
fn only_what_needs_it_is_tried_way_by_way() {
    let linear = |pattern: &str| {
        let regex = regex(pattern);
        (regex.find.linear.is_some(), regex.find.all.is_some())
    };
    assert_eq!(linear("^[0-9].*\\bx"), (true, false));
    assert_eq!(linear("^[0-9].*$"), (true, true));
    assert_eq!(linear("(?m)^a$"), (true, true));
    assert_eq!(linear("(a)\\1"), (false, true));
    assert_eq!(linear("a++b"), (false, true));
    assert_eq!(linear("a(?=b)"), (false, true));
}

#[test]
fn a_search_without_end_is_given_up() {
    let evil = regex("^(?:(?:a|a)*)*(?!b)c$");
    let text = "a".repeat(40);
    let gave_up = GaveUp::Steps { text_bytes: 40 };
    assert_eq!(evil.try_found_in(&text), Err(gave_up));
    assert_eq!(evil.try_matches(&text), Err(gave_up));
    assert_eq!(evil.try_captures(&text), Err(gave_up));
    assert!(!evil.found_in(&text) && !evil.matches(&text));
    assert!(evil.captures(&text).is_none() && evil.whole_captures(&text).is_none());
    assert_eq!(evil.replace_all(&text, "x"), text);
    assert_eq!(
        gave_up.to_string(),
        "the pattern was given up on a text of 40 bytes: there are too many ways to try"
    );
}

#[test]
fn a_search_that_looks_over_a_long_text_again_and_again_is_given_up() {
    // A step that looks over all of the text from each of its places: years for the longest of these.
    for bytes in [64 << 10, 1 << 20, 8 << 20] {
        let text = "a".repeat(bytes);
        let gave_up = GaveUp::Steps {
            text_bytes: text.len(),
        };
        assert_eq!(regex("(?=.*x)y").try_found_in(&text), Err(gave_up));
        assert_eq!(regex("(?=.*x)y").try_captures(&text), Err(gave_up));
        assert_eq!(regex("(.*)(?!b)\\1y").try_found_in(&text), Err(gave_up));
    }
}

#[test]
fn what_takes_few_tries_at_each_place_is_found_in_texts_of_every_length() {
    let start = |pattern: &str, text: &str| {
        let groups = regex(pattern).try_captures(text).unwrap()?;
        groups[0].as_ref().map(|found| found.start)
    };
    for len in [2, 254, 256, 258, 4_094, 4_096, 4_100, 20_000] {
        let text = format!("{}bc\n", "ab".repeat(len / 2));
        assert_eq!(start("(?<=b)bc$", &text), Some(len), "{len}");
        assert_eq!(start("(?<!a)b(?=c)", &text), Some(len), "{len}");
        assert_eq!(start("(a)\\1", &text), None, "{len}");
    }
    // One look over the text is always there.
    let long = format!("{}bc\n", "ab".repeat(1 << 19));
    assert_eq!(start("^(?!.*d)", &long), Some(0));
    assert_eq!(start("^(?!.*c)", &long), None);
    // Each round takes a step, and looks at no more than a character.
    let line = "ab".repeat(50_000);
    assert_eq!(start("^(?:(?!x).)*$", &line), Some(0));
    assert_eq!(start("^(?:(?!ba).)*$", &line), None);
}

#[test]
fn more_places_than_steps_are_no_reason_to_give_up() {
    // 3,000 places that do not match, and 2,441 steps for a pattern that may look far.
    let text = format!("{}user=me;", "x;".repeat(1_500));
    let groups = regex("(?<=user=)\\w+").try_captures(&text).unwrap().unwrap();
    assert_eq!(groups[0], Some(3_005..3_007));
}

#[test]
fn a_pattern_that_java_could_not_finish_is_answered_if_it_needs_no_tries() {
    assert!(!regex("^(?:(?:a|a)*)*c$").found_in(&"a".repeat(100_000)));
}

#[test]
fn patterns_that_are_too_large_or_too_deep_are_refused() {
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    assert!(Regex::new(&deep(100)).is_ok());
    assert!(refused(&deep(101)).starts_with("nested more than 100 times at character 102"));
    assert!(refused(&"[a".repeat(101)).starts_with("nested more than 100 times"));
    assert!(refused("(?:\\p{L}{1000}){1000}").contains("too large or too deep: it needs more than"));
    assert!(refused("a{2000000}").starts_with("a repetition of more than 1048576 times"));
    assert!(Regex::new("(?:(a{1000}){1000}){1000}(?=b)").is_err());
}

#[test]
fn a_replacement_is_checked_before_there_is_a_match() {
    let pattern = regex("(?<n>a)(b)?");
    let replaced = |replacement: &str| match Replacement::new(replacement, &pattern) {
        Ok(replacement) => pattern
            .replace_with("xab", &replacement, 100)
            .unwrap()
            .into_owned(),
        Err(error) => error.to_string(),
    };
    for (replacement, result) in [
        ("<$2$1>", "x<ba>"),
        ("${n}0", "xa0"),
        ("$10", "xa0"),
        ("\\$1\\\\", "x$1\\"),
        (
            "$",
            "a $ that is no reference to a group; a letter $ is written \\$ in \"$\"",
        ),
        (
            "$x",
            "a $ that is no reference to a group; a letter $ is written \\$ in \"$x\"",
        ),
        ("$3", "$3: the pattern has no group of this number in \"$3\""),
        ("${m}", "${m}: the pattern has no group of this name in \"${m}\""),
        ("${n", "${ without closing } in \"${n\""),
        ("a\\", "a backslash with nothing behind it in \"a\\\""),
    ] {
        assert_eq!(replaced(replacement), result);
    }
    assert!(matches!(
        pattern.replace_with("xyz", &Replacement::new("q", &pattern).unwrap(), 100),
        Ok(Cow::Borrowed("xyz"))
    ));
}

#[test]
fn a_text_of_many_lines_is_searched_as_one() {
    let text = "a\n".repeat(50_000);
    assert!(regex("^a$").try_found_in(&text) == Ok(false));
    assert!(regex("(?m)^a$").found_in(&text));
    assert_eq!(regex("(?m)$").replace_all("a\nb", ";"), "a;\nb;");
}

#[test]
fn a_replaced_text_does_not_grow_without_end() {
    let pattern = regex("");
    let replacement = Replacement::new("0123456789", &pattern).unwrap();
    let replaced = |allowed| {
        pattern
            .replace_with("ab", &replacement, allowed)
            .map(|text| text.len())
    };
    assert_eq!(replaced(32), Ok(32));
    assert_eq!(replaced(31), Err(GaveUp::Length { allowed: 31 }));
}

#[test]
fn texts_are_split_as_java_splits_them() {
    for (pattern, text, parts) in [
        ("\\s*,\\s*", "l1 , l2,l3", vec!["l1", "l2", "l3"]),
        (",", ",a,,b,,", vec!["", "a", "", "b"]),
        (",", "a", vec!["a"]),
        (",", "", vec![""]),
        (",", ",", vec![]),
        ("", "a\u{1f600}b", vec!["a", "\u{1f600}", "b"]),
        ("(?=b)", "abb", vec!["a", "b", "b"]),
    ] {
        assert_eq!(regex(pattern).split(text), parts, "{pattern} {text}");
    }
}
