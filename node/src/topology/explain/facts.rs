//! What an operator wants to know first of a component: where it listens, reads or writes, how much it holds, which
//! interceptors and which selector stand in the way of its events. In words short enough for a box.
//!
//! Rules look at properties rather than at types, so that a user's own source with `bind` and `port` is told as well
//! as `avro`. Passwords in addresses, and values behind words like `password`, are not shown: pictures get mailed.

use super::super::graph::Component;
use proto::java;
use std::collections::BTreeMap;

/// The last part of a Java class name, without `$Builder`; other types as they are.
pub fn short_type(type_name: &str) -> String {
    let class = type_name.trim().trim_end_matches("$Builder");
    let last = class.rsplit('.').next().unwrap_or(class);
    clean(if last.is_empty() { type_name } else { last })
}

/// A text that can be drawn: control characters are replaced, as neither a terminal nor XML bears them.
pub fn clean(text: &str) -> String {
    let drawable = |c: char| {
        let odd = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}');
        if odd { '\u{fffd}' } else { c }
    };
    text.chars().map(drawable).collect()
}

/// Where a source's events come from.
pub fn origin(source: &Component) -> Vec<String> {
    let p = Properties(source);
    let found = p
        .one("command")
        .map(|c| format!("$ {c}"))
        .or_else(|| p.one("spoolDir"))
        .or_else(|| p.file_groups())
        .or_else(|| p.topic(&["kafka.topics", "kafka.topics.regex", "topic", "topics"]))
        .or_else(|| p.destination())
        .or_else(|| {
            p.address(&["bind", "host", "hostname"])
                .map(|a| format!("on {a}"))
        })
        .or_else(|| p.first(&["ports"]).map(|ports| format!("on ports {ports}")))
        .or_else(|| p.place());
    let mut facts: Vec<String> = found.into_iter().collect();
    if let Some(total) = p.one("totalEvents").or_else(|| p.one("maxTotalEvents")) {
        facts.push(format!("{} events", thousands(&total)));
    }
    p.tls(&mut facts);
    facts
}

/// Where a sink's events go.
pub fn destination(sink: &Component) -> Vec<String> {
    let p = Properties(sink);
    let found = p
        .first(&[
            "hdfs.path",
            "sink.directory",
            "kite.dataset.uri",
            "endpoint",
            "morphlineFile",
        ])
        .or_else(|| p.topic(&["kafka.topic", "topic"]))
        .or_else(|| p.pair("hostNames", "indexName", " · "))
        .or_else(|| p.pair("hive.database", "hive.table", "."))
        .or_else(|| p.pair("table", "columnFamily", ":"))
        .or_else(|| p.pair("masterAddresses", "tableName", " · "))
        .or_else(|| {
            p.address(&["hostname", "host", "bind"])
                .map(|a| format!("to {a}"))
        })
        .or_else(|| p.place())
        .or_else(|| match sink.type_name.to_lowercase().as_str() {
            "logger" => Some("to the log".to_owned()),
            "null" => Some("discards".to_owned()),
            _ => None,
        });
    let mut facts: Vec<String> = found.into_iter().collect();
    p.tls(&mut facts);
    facts
}

/// How much a channel holds, and where.
pub fn store(channel: &Component) -> Vec<String> {
    let p = Properties(channel);
    let mut facts = Vec::new();
    let default = match channel.type_name.to_lowercase().as_str() {
        "memory" => Some(("100", "100")),
        "file" => Some(("1000000", "10000")),
        _ => None,
    };
    if let Some(memory) = p.one("memoryCapacity") {
        facts.push(format!("{} events in memory", thousands(&memory)));
        facts.extend(
            p.one("overflowCapacity")
                .map(|n| format!("{} on disk", thousands(&n))),
        );
    } else if let Some(capacity) = p.one("capacity").or(default.map(|d| d.0.to_owned())) {
        facts.push(format!("{} events", thousands(&capacity)));
    }
    if let Some(batch) = p.one("transactionCapacity").or(default.map(|d| d.1.to_owned())) {
        facts.push(format!("{} in one batch", thousands(&batch)));
    }
    let place = p
        .first(&["dataDirs", "checkpointDir", "driver.url", "db.url"])
        .or_else(|| p.topic(&["kafka.topic", "topic"]))
        .or_else(|| p.place());
    facts.extend(place);
    facts
}

/// Interceptors in their order: name and type.
pub fn interceptors(source: &Component) -> Vec<(String, String)> {
    let names = source
        .entries
        .get("interceptors")
        .map_or("", |e| e.value.as_str());
    let kind = |name: &str| {
        let entry = source.entries.get(&format!("interceptors.{name}.type"));
        entry.map_or("?".to_owned(), |e| short_type(&e.value))
    };
    names.split_whitespace().map(|n| (clean(n), kind(n))).collect()
}

/// What a source's selector does with one channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Header values that lead there, `default` among them; none where every event goes there.
    pub values: Vec<String>,
    /// A failure there does not fail the batch.
    pub optional: bool,
    /// No event ever goes there.
    pub never: bool,
}

/// A source's selector.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// In words, if it is worth a word.
    pub title: Option<String>,
    /// One route per edge of the source.
    pub routes: Vec<Route>,
}

/// Reads `selector.*`.
pub fn selector(source: &Component) -> Selector {
    let value = |key: &str| source.entries.get(key).map(|e| e.value.as_str());
    let kind = value("selector.type").map_or("replicating".to_owned(), short_type);
    match kind.to_lowercase().as_str() {
        "multiplexing" | "multiplexingchannelselector" => {
            let header = value("selector.header").unwrap_or("flume.selector.header");
            Selector {
                title: Some(format!("multiplexing on {}", clean(header))),
                routes: source.edges.iter().map(|c| mapped(source, c)).collect(),
            }
        }
        lower => {
            let optional = value("selector.optional").unwrap_or("");
            let route = |c: &String| Route {
                optional: optional.split_whitespace().any(|o| o == c),
                ..Route::default()
            };
            let several = source.edges.len() > 1;
            let title = match lower {
                "replicating" | "replicatingchannelselector" => several.then(|| "replicating".to_owned()),
                "load_balancing" => Some(format!(
                    "load_balancing, {}",
                    clean(&value("selector.policy").unwrap_or("round_robin").to_lowercase())
                )),
                _ => Some(kind.clone()),
            };
            Selector {
                title,
                routes: source.edges.iter().map(route).collect(),
            }
        }
    }
}

fn mapped(source: &Component, channel: &str) -> Route {
    let names = |list: &str| list.split_whitespace().any(|c| c == channel);
    let mut route = Route::default();
    let mut by_chance = Vec::new();
    for (key, entry) in &source.entries {
        if let Some(value) = key
            .strip_prefix("selector.mapping.")
            .filter(|_| names(&entry.value))
        {
            route.values.push(clean(value));
        }
        if let Some(value) = key
            .strip_prefix("selector.optional.")
            .filter(|_| names(&entry.value))
        {
            by_chance.push(clean(value));
        }
    }
    if source
        .entries
        .get("selector.default")
        .is_some_and(|e| names(&e.value))
    {
        route.values.push("default".to_owned());
    }
    route.optional = route.values.is_empty() && !by_chance.is_empty();
    route.never = route.values.is_empty() && by_chance.is_empty();
    for value in by_chance {
        if route.optional {
            route.values.push(value);
        } else if !route.values.contains(&value) {
            route.values.push(format!("{value} (optional)"));
        }
    }
    route
}

/// A group's processor in words, and per sink (in the order of the group's list) its rank, if it has one.
pub fn processor(group: &Component) -> (String, Vec<Option<String>>) {
    let value = |key: &str| group.entries.get(key).map(|e| e.value.as_str());
    let kind = short_type(&group.type_name);
    match kind.to_lowercase().as_str() {
        "failover" => (kind, priorities(group)),
        "load_balance" => {
            let order = short_type(value("processor.selector").unwrap_or("round_robin")).to_lowercase();
            let backoff = value("processor.backoff").is_some_and(|v| v.eq_ignore_ascii_case("true"));
            let tail = if backoff { ", backoff" } else { "" };
            (format!("{kind} ({order}{tail})"), vec![None; group.edges.len()])
        }
        _ => (kind, vec![None; group.edges.len()]),
    }
}

/// The priorities that `failover` works with: sinks without one get -1, -2 … in the order of Java's hash sets.
fn priorities(group: &Component) -> Vec<Option<String>> {
    let mut hashed = group.edges.clone();
    java::sort_in_hash_order(&mut hashed, |s| s);
    let mut next = 0;
    let mut by_name = BTreeMap::new();
    for sink in hashed {
        let entry = group.entries.get(&format!("processor.priority.{sink}"));
        let given = entry.and_then(|e| e.value.trim().parse::<i32>().ok());
        let text = given.map_or_else(
            || {
                next -= 1;
                format!("priority {next} (default)")
            },
            |priority| format!("priority {priority}"),
        );
        by_name.insert(sink, text);
    }
    group.edges.iter().map(|s| by_name.get(s).cloned()).collect()
}

/// `1000000` as `1 000 000`; what is no number stays.
fn thousands(number: &str) -> String {
    let digits = number.trim();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return clean(digits);
    }
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A component's properties, fit to be shown.
struct Properties<'a>(&'a Component);

impl Properties<'_> {
    fn one(&self, key: &str) -> Option<String> {
        let value = self.0.entries.get(key)?.value.trim();
        (!value.is_empty()).then(|| without_secrets(&clean(value)))
    }

    fn first(&self, keys: &[&str]) -> Option<String> {
        keys.iter().find_map(|k| self.one(k))
    }

    fn pair(&self, one: &str, other: &str, between: &str) -> Option<String> {
        let first = self.one(one)?;
        Some(
            self.one(other)
                .map_or(first.clone(), |second| format!("{first}{between}{second}")),
        )
    }

    fn address(&self, hosts: &[&str]) -> Option<String> {
        match (self.first(hosts), self.one("port")) {
            (Some(host), Some(port)) if host.contains(':') && !host.starts_with('[') => {
                Some(format!("[{host}]:{port}"))
            }
            (Some(host), Some(port)) => Some(format!("{host}:{port}")),
            (Some(host), None) => self
                .one("ports")
                .map_or(Some(host.clone()), |p| Some(format!("{host}, ports {p}"))),
            (None, Some(port)) => Some(format!("port {port}")),
            (None, None) => None,
        }
    }

    fn topic(&self, keys: &[&str]) -> Option<String> {
        let topic = self.first(keys)?;
        let servers = ["kafka.bootstrap.servers", "brokerList", "zookeeperConnect"];
        Some(
            self.first(&servers)
                .map_or(format!("topic {topic}"), |at| format!("topic {topic} @ {at}")),
        )
    }

    fn destination(&self) -> Option<String> {
        let name = self.one("destinationName")?;
        Some(
            self.one("providerURL")
                .map_or(name.clone(), |at| format!("{name} @ {at}")),
        )
    }

    fn file_groups(&self) -> Option<String> {
        let groups = self.one("filegroups")?;
        let files: Vec<String> = groups
            .split_whitespace()
            .filter_map(|g| self.one(&format!("filegroups.{g}")))
            .collect();
        Some(if files.is_empty() {
            groups
        } else {
            files.join(", ")
        })
    }

    /// What custom components tend to call the thing.
    fn place(&self) -> Option<String> {
        self.first(&[
            "url",
            "uri",
            "endpoint",
            "servers",
            "hosts",
            "hostNames",
            "path",
            "directory",
            "dir",
            "file",
            "table",
            "topic",
            "query",
            "connection.url",
            "hibernate.connection.url",
        ])
    }

    fn tls(&self, facts: &mut Vec<String>) {
        let on = |key: &str| {
            self.0
                .entries
                .get(key)
                .is_some_and(|e| e.value.trim().eq_ignore_ascii_case("true"))
        };
        if on("ssl") || on("enableSSL") {
            facts.push("TLS".to_owned());
        }
    }
}

/// Takes out `user:password@` of addresses and what stands behind a word that means secret.
fn without_secrets(text: &str) -> String {
    const WORDS: [&str; 6] = ["password", "passwd", "secret", "token", "apikey", "credential"];
    let mut hide = false;
    let mut words = Vec::new();
    for word in text.split(' ') {
        let lower = word.to_ascii_lowercase();
        let secret = WORDS.iter().find_map(|w| lower.find(w).map(|at| at + w.len()));
        let shown = match secret {
            _ if hide && !word.is_empty() => {
                hide = false;
                "…".to_owned()
            }
            Some(end) => match word[end..].find(['=', ':']) {
                Some(sign) if end + sign + 1 < word.len() => {
                    let kept = &word[..=end + sign];
                    let rest = &word[end + sign + 1..];
                    format!("{kept}…{}", rest.find(['&', ';']).map_or("", |at| &rest[at..]))
                }
                _ => {
                    // `--password x`; prose about tokens loses a word, which is cheaper than a leak.
                    hide = true;
                    word.to_owned()
                }
            },
            None => without_userinfo(word),
        };
        words.push(shown);
    }
    words.join(" ")
}

fn without_userinfo(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://…@{}", &rest[at + 1..]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (given, shown) in [
            ("http://joe:pw@h:1/x@y", "http://…@h:1/x@y"),
            ("mysql --password=abc db", "mysql --password=… db"),
            ("tool --token  abc end", "tool --token  … end"),
            ("jdbc:x?user=a&password=b&ssl=1", "jdbc:x?user=a&password=…&ssl=1"),
            ("tail -F /var/log/app.log", "tail -F /var/log/app.log"),
        ] {
            assert_eq!(without_secrets(given), shown);
        }
    }

    #[test]
    fn a_class_is_told_by_its_last_part() {
        assert_eq!(short_type("org.apache.flume.sink.kafka.KafkaSink"), "KafkaSink");
        assert_eq!(short_type("org.x.HostInterceptor$Builder"), "HostInterceptor");
        assert_eq!(short_type("a."), "a.");
    }

    #[test]
    fn numbers_are_grouped_and_words_kept() {
        assert_eq!(thousands("1000000"), "1 000 000");
        assert_eq!(thousands("100"), "100");
        assert_eq!(thousands("10k"), "10k");
    }
}
