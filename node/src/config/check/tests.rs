//! The checker from outside: order, agents, output, and what it must not say.

use super::*;
use crate::config::{merge, properties};
use crate::topology::all_types;

const GOOD: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = seq\n\
    a1.sources.r1.channels = c1\na1.channels.c1.type = memory\na1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n";

fn check(text: &str, agent: Option<&str>) -> (String, u8) {
    let loaded = merge([properties::parse(Path::new("f"), text.as_bytes())]);
    run(&loaded, agent, &Arc::new(all_types()), false)
}

#[test]
fn a_good_file_has_nothing_to_be_said_about() {
    assert_eq!(
        check(GOOD, None),
        ("0 errors, 0 warnings, 0 notes\n".to_owned(), 0)
    );
    assert_eq!(check(GOOD, Some("a1")).1, 0);
}

#[test]
fn findings_come_by_line_and_errors_make_the_status() {
    let (text, status) = check(
        &format!("{GOOD}a1.sources.r1.bogus1 = 1\na1.sinks.k1.batchSize = 0\na1.channels.c1.bogus2 = 1\n"),
        None,
    );
    let lines: Vec<&str> = text.lines().filter_map(|l| l.split(": ").next()).collect();
    assert_eq!(lines[..3], ["f:9", "f:10", "f:11"], "{text}");
    assert!(text.ends_with("\n1 errors, 2 warnings, 0 notes\n"), "{text}");
    assert_eq!(status, 1);
}

#[test]
fn only_the_agent_that_is_asked_for_counts() {
    let text = format!("{GOOD}b1.channels = c1\nb1.sources = r1\nb1.sources.r1.type = bogus\n");
    assert_eq!(check(&text, None).1, 1);
    let (said, status) = check(&text, Some("a1"));
    assert_eq!(
        said,
        "f:0: note[other-agents]: agent a1: not looked at: b1 (3 keys)\n0 errors, 0 warnings, 1 notes\n"
    );
    assert_eq!(status, 0);
}

#[test]
fn a_file_without_agents_is_an_error() {
    let (said, status) = check("", None);
    assert!(said.contains("error[no-agent]"), "{said}");
    assert_eq!(status, 1);
}

#[test]
fn secrets_are_not_shown() {
    let (said, _) = check(
        &format!("{GOOD}a1.sinks.k1.password = \"YOUR_hush\" # hush\na1.sinks.k1.password = <hush>\n"),
        None,
    );
    assert!(said.contains("placeholder") && !said.contains("hush"), "{said}");
}

#[test]
fn codes_stand_once_and_in_order() {
    assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
}
