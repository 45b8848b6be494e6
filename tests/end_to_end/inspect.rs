//! `check` and `explain`, and starting in spite of errors.

use std::time::Duration;

use tests::folder::Folder;
use tests::process::{Node, Stream};

const LIMIT: Duration = Duration::from_secs(30);

/// The published tutorial that gave up on its multiplexing case because of three typing errors.
const TUTORIAL: &str = "a1.sources = r1
a1.channels = c1 c2
a1.sinks = k1 k2
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 3
a1.sources.r1.channels = c1 c2
a1.sources.r1.selector.type = multiplexing
a1.sources.r1.selector.head = state
a1.sources.r1.mapping.READ = c1
a1.sources.r1.selector.default = c
a1.channels.c1.type = memory
a1.channels.c2.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
a1.sinks.k2.type = logger
a1.sinks.k2.channel = c2
";

/// A sink of a type that this version does not have beside one that it has.
const HALF: &str = "a1.sources = r1
a1.channels = c1
a1.sinks = k1 k2
a1.sources.r1.type = seq
a1.sources.r1.totalEvents = 3
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.sinks.k1.type = logger
a1.sinks.k1.channel = c1
a1.sinks.k2.type = hdfs
a1.sinks.k2.hdfs.path = /x
a1.sinks.k2.channel = c1
";

fn has(lines: &[String], parts: &[&str]) -> bool {
    lines
        .iter()
        .any(|line| parts.iter().all(|part| line.contains(part)))
}

#[test]
fn check_names_all_mistakes_of_the_tutorial_with_line_and_spelling() {
    let folder = Folder::new("check");
    let file = folder.write("tutorial.properties", TUTORIAL);
    let path = file.to_string_lossy().into_owned();
    let mut check = Node::run(&["check", "-f", &path]);
    assert_eq!(check.wait_exit(LIMIT), 1);
    let lines = check.log().lines_of(Stream::Out);
    assert!(
        has(
            &lines,
            &[":8:", "selector.head", "did you mean \"selector.header\"?"]
        ),
        "{lines:#?}"
    );
    assert!(
        has(&lines, &[":9:", "mapping.READ", "selector.mapping.READ"]),
        "{lines:#?}"
    );
    assert!(
        has(&lines, &[":10:", "selector.default", "\"c\"", "c1, c2"]),
        "{lines:#?}"
    );
}

#[test]
fn check_writes_json_for_programs() {
    let folder = Folder::new("check-json");
    let file = folder.write("half.properties", HALF);
    let path = file.to_string_lossy().into_owned();
    let mut check = Node::run(&["check", "-f", &path, "--json"]);
    assert_eq!(check.wait_exit(LIMIT), 1);
    let text = check.log().lines_of(Stream::Out).join("\n");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["errors"], 1, "{text}");
    let codes: Vec<&str> = json["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|f| f["code"].as_str())
        .collect();
    assert!(codes.contains(&"not-in-this-version"), "{text}");
}

#[test]
fn explain_draws_the_flow_and_the_order() {
    let folder = Folder::new("explain");
    let file = folder.write("half.properties", HALF);
    let path = file.to_string_lossy().into_owned();
    for (flag, told) in [
        ("--plan", "sink       k1 (logger)"),
        ("--svg", "<svg "),
        ("-n", "source r1"),
    ] {
        let mut args = vec!["explain", "-f", path.as_str(), flag];
        if flag == "-n" {
            args.push("a1");
        }
        let mut explain = Node::run(&args);
        assert_eq!(explain.wait_exit(LIMIT), 0, "{flag}");
        let lines = explain.log().lines_of(Stream::Out);
        assert!(has(&lines, &[told]), "{flag}: {lines:#?}");
    }
}

#[test]
fn an_agent_with_errors_is_refused_with_the_command_that_runs_the_rest() {
    let folder = Folder::new("lenient");
    let file = folder.write("half.properties", HALF);
    let mut refused = Node::agent("a1", &file).start();
    assert_eq!(refused.wait_exit(LIMIT), 78);
    let last = refused.log().lines_of(Stream::Err).pop().unwrap_or_default();
    assert!(
        last.ends_with("--lenient") && last.contains("agent -n a1"),
        "{last}"
    );

    let mut lenient = Node::agent("a1", &file).arg("--lenient").start();
    lenient.wait_for_events(3);
    assert_eq!(lenient.stop(), 0);
}

#[test]
fn an_edited_file_is_found_by_polling() {
    let folder = Folder::new("poll");
    let file = folder.write("node.properties", &HALF.replace("k1 k2", "k1"));
    let mut node = Node::agent("a1", &file).arg("-i").arg("1").start();
    node.wait_for_events(3);
    folder.write(
        "node.properties",
        &HALF
            .replace("k1 k2", "k1")
            .replace("totalEvents = 3", "totalEvents = 2"),
    );
    node.wait_for_line("the report of a reload", LIMIT, |line| {
        line.contains("restarted: source r1")
    });
    node.wait_for_events(5);
    assert_eq!(node.stop(), 0);
}
