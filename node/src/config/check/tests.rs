//! The checker from outside: order, agents, output, and what it must not say.

use super::*;
use crate::component::contract::TempDir;
use crate::config::Sources;
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

/// A listener with TLS whose store and password come from elsewhere.
fn tls(folder: &TempDir, keystore: &str, sources: Sources) -> String {
    let file = folder.path().join("f");
    let listener = format!(
        "a1.sources.r1.type = avro\na1.sources.r1.bind = h\na1.sources.r1.port = 4141\na1.sources.r1.ssl = true\n{keystore}"
    );
    std::fs::write(&file, GOOD.replace("a1.sources.r1.type = seq\n", &listener)).unwrap();
    let sources = Sources {
        files: vec![file],
        ..sources
    };
    let loaded = crate::config::load(&sources).unwrap();
    run(&loaded, None, &Arc::new(all_types()), false).0
}

#[test]
fn stores_of_the_whole_agent_come_from_system_properties_and_the_environment() {
    let folder = TempDir::new();
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/ec.jks");
    let pairs = |pairs: &[(&str, &str)]| {
        let owned = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect::<BTreeMap<_, _>>()
    };
    let environment = pairs(&[
        ("FLUME_SSL_KEYSTORE_PATH", "/nowhere"),
        ("FLUME_SSL_KEYSTORE_PASSWORD", "changeit"),
    ]);
    let sources = Sources {
        environment: environment.clone(),
        ..Sources::default()
    };
    let said = tls(&folder, "", sources);
    assert!(
        said.contains("\"/nowhere\" cannot be read") && said.contains("javax.net.ssl.keyStore"),
        "{said}"
    );
    let sources = Sources {
        environment,
        system_properties: pairs(&[("javax.net.ssl.keyStore", store)]),
        ..Sources::default()
    };
    assert_eq!(tls(&folder, "", sources), "0 errors, 0 warnings, 0 notes\n");
}

#[test]
fn what_was_not_asked_for_is_not_called_wrong() {
    let folder = TempDir::new();
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stores/ec.jks");
    let text = format!(
        "a1.sources.r1.keystore = {store}\na1.sources.r1.keystore-password = ${{f1[pw]}}\na1.configfilters = f1\n\
         a1.configfilters.f1.type = external\na1.configfilters.f1.command = /bin/echo\n"
    );
    let said = tls(&folder, &text, Sources::default());
    assert!(
        said.contains("note[filter-not-run]") && said.contains("\n0 errors, 0 warnings"),
        "{said}"
    );
}

#[test]
fn codes_stand_once_and_in_order() {
    assert!(CODES.is_sorted_by(|a, b| a.0 < b.0));
}
