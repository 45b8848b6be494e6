//! Any bytes as a configuration: parsed, laid over each other, look-ups resolved. Nothing panics, keys and values are
//! trimmed and whole, places go up, values stay within their limits, and a second pass over what was resolved to
//! plain text changes nothing. The same bytes as `flume-env.sh` must come to an end, too.
#![no_main]

use jiff::{Timestamp, tz::TimeZone};
use libfuzzer_sys::fuzz_target;
use node::config::lookup::{self, Scope};
use node::config::{env_file, merge, properties};
use std::collections::BTreeMap;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let parsed = properties::parse(Path::new("f"), data);
    let mut line = 0;
    for property in &parsed.properties {
        assert!(!property.key.is_empty());
        assert_eq!(property.key.trim_matches(|c| c <= ' '), property.key);
        assert_eq!(property.value.trim_matches(|c| c <= ' '), property.value);
        assert!(property.place.line > line);
        line = property.place.line;
    }
    let mut properties = merge([parsed]).properties;
    let system = BTreeMap::from([("s".to_owned(), "${env:E}".to_owned())]);
    let environment = BTreeMap::from([
        ("E".to_owned(), "$${x} ${k}".to_owned()),
        ("L".to_owned(), "${env:L}".to_owned()),
    ]);
    let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
    let scope = Scope {
        system: &system,
        environment: &environment,
        env_fallback: data.len() % 2 == 0,
        now: &now,
    };
    let longest = properties.iter().map(|p| p.value.len()).max().unwrap_or(0);
    lookup::resolve(&mut properties, &scope);
    assert!(properties.iter().all(|p| p.value.len() <= 2 * lookup::VALUE_BYTES_MAX + 2 * longest));
    properties.retain(|p| !p.value.contains("${"));
    let again = properties.clone();
    lookup::resolve(&mut properties, &scope);
    assert_eq!(again, properties);
    env_file::parse(Path::new("e"), &String::from_utf8_lossy(data), environment);
});
