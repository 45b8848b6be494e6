//! Config filters: `${f1['key']}` in values of components, for secrets that should stand in no file.
//!
//! ```text
//! a1.configfilters = f1
//! a1.configfilters.f1.type = external
//! a1.configfilters.f1.command = /usr/bin/read-secret
//! a1.sinks.k1.password = ${f1['kafka']}
//! ```
//!
//! They come after the look-ups of [`lookup`](super::lookup) and work inside values of sources, channels, sinks and
//! sink groups only. The key may stand in `'…'`, in `"…"` or bare, and consists of letters, digits, `-` and `_`.
//!
//! | type | what a key becomes |
//! |---|---|
//! | `env` | the environment variable of that name |
//! | `external` | the first line that `command`, split at blanks, prints when the key is its last argument |
//! | `hadoop` | not in this version |
//!
//! A command has [`COMMAND_TIME`] to end with 0, and what it prints beyond [`OUTPUT_BYTES_MAX`] is a failure; then
//! it and all that it started are killed. It runs once for each key and load. Whatever goes wrong leaves the text as
//! it is, with a warning; Flume does the same with a line in its log. Findings never repeat what a filter answered.
//!
//! Source: `flume/runtime.md` 2.4.

use super::sources::Sources;
use super::{Loaded, Property, finding};
use crate::component::keys::{Finding, Severity, nearest};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a command may take for one key.
pub const COMMAND_TIME: Duration = Duration::from_secs(10);
/// What a command may print.
pub const OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// How often a command is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);
const COMPONENT_LISTS: [&str; 4] = ["sources", "channels", "sinks", "sinkgroups"];
const TYPES: [&str; 3] = ["env", "external", "hadoop"];
const PACKAGE: &str = "org.apache.flume.configfilter.";

/// Puts in what the filters of the agents say.
pub fn apply(loaded: &mut Loaded, sources: &Sources) {
    let agents = agents(loaded, sources.agent.as_deref());
    let mut pass = Pass {
        sources,
        agents: &agents,
        answers: HashMap::new(),
        findings: Vec::new(),
    };
    let mut unknown = Vec::new();
    for property in &mut loaded.properties {
        let (value, complete) = pass.value(property);
        property.value = value;
        if !complete {
            unknown.push(property.key.clone());
        }
    }
    loaded.findings.append(&mut pass.findings);
    loaded.unknown_values.extend(unknown);
    let findings = &mut loaded.findings;
    loaded.properties.retain(|property| {
        if property.value.is_empty() {
            let message = format!(
                "Configuration property ignored: {} = (the config filter's answer is empty)",
                property.key
            );
            findings.push(finding(property, Severity::Warning, "empty", message));
        }
        !property.value.is_empty()
    });
}

/// Whether the inside of a `${…}` is meant for a filter: `name[…]`.
pub fn looks_like_expression(inside: &str) -> bool {
    let text = format!("${{{inside}}}");
    next_expression(&text).is_some_and(|found| found.range == (0..text.len()))
}

type Filters = BTreeMap<String, Filter>;

enum Filter {
    Env,
    External {
        words: Vec<String>,
        charset: &'static encoding_rs::Encoding,
    },
    /// It was said why.
    Broken,
}

/// The filters of every agent, or of the one that is to run.
fn agents(loaded: &mut Loaded, only: Option<&str>) -> BTreeMap<String, Filters> {
    let index: HashMap<&str, &Property> = loaded.properties.iter().map(|p| (p.key.as_str(), p)).collect();
    let mut agents = BTreeMap::new();
    let mut findings = Vec::new();
    for list in &loaded.properties {
        let Some(agent) = list.key.strip_suffix(".configfilters") else {
            continue;
        };
        if agent.contains('.') || only.is_some_and(|name| name != agent) {
            continue;
        }
        let mut filters = Filters::new();
        for name in list.value.split_whitespace() {
            let settings = |key: &str| {
                let key = format!("{}.{name}.{key}", list.key);
                index.get(key.as_str()).copied()
            };
            let filter = read_filter(list, name, settings).unwrap_or_else(|finding| {
                findings.push(finding);
                Filter::Broken
            });
            filters.insert(name.to_owned(), filter);
        }
        agents.insert(agent.to_owned(), filters);
    }
    loaded.findings.append(&mut findings);
    agents
}

fn read_filter<'a>(
    list: &'a Property,
    name: &str,
    setting: impl Fn(&str) -> Option<&'a Property>,
) -> Result<Filter, Finding> {
    let warn = |at: &Property, code, message: String| finding(at, Severity::Warning, code, message);
    let Some(kind) = setting("type") else {
        let message = format!("config filter {name} has no type: expected env or external");
        return Err(warn(list, "missing", message));
    };
    let class = kind.value.strip_prefix(PACKAGE).unwrap_or(&kind.value);
    match class.to_ascii_lowercase().as_str() {
        "env" | "environmentvariableconfigfilter" => Ok(Filter::Env),
        "external" | "externalprocessconfigfilter" => external(kind, name, setting),
        "hadoop" | "hadoopcredentialstoreconfigfilter" => {
            let message =
                "config filter hadoop: known, not in this version; its texts stay as they are written";
            Err(warn(kind, "not-in-this-version", message.to_owned()))
        }
        _ => {
            let near = nearest(&kind.value, TYPES.into_iter());
            let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
            let message = format!(
                "expected the config filter env or external, found \"{}\"; its texts stay as they are written{hint}",
                kind.value
            );
            Err(warn(kind, "unknown-type", message))
        }
    }
}

fn external<'a>(
    kind: &Property,
    name: &str,
    setting: impl Fn(&str) -> Option<&'a Property>,
) -> Result<Filter, Finding> {
    let words: Vec<String> = setting("command").map_or(Vec::new(), |command| {
        command.value.split_whitespace().map(str::to_owned).collect()
    });
    if words.is_empty() {
        let message = format!("config filter {name} has no command");
        return Err(finding(kind, Severity::Warning, "missing", message));
    }
    let charset = match setting("charset") {
        None => encoding_rs::UTF_8,
        Some(label) => encoding_rs::Encoding::for_label(label.value.as_bytes()).ok_or_else(|| {
            let message = format!("expected the name of a charset, found \"{}\"", label.value);
            finding(label, Severity::Warning, "bad-value", message)
        })?,
    };
    Ok(Filter::External { words, charset })
}

/// What is found in one text.
struct Expression<'a> {
    range: Range<usize>,
    filter: &'a str,
    key: &'a str,
}

/// The first `${name[key]}`, with the key bare or in quotes of one kind.
fn next_expression(text: &str) -> Option<Expression<'_>> {
    let mut from = 0;
    while let Some(found) = text[from..].find("${") {
        let start = from + found;
        from = start + 2;
        if let Some((length, filter, key)) = expression(&text[from..]) {
            let range = start..from + length;
            return Some(Expression { range, filter, key });
        }
    }
    None
}

/// What follows `${`: its length, the filter and the key.
fn expression(text: &str) -> Option<(usize, &str, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let length = text.find(|c| !is_name(c)).filter(|length| *length > 0)?;
    let (filter, rest) = text.split_at(length);
    let rest = rest.strip_prefix('[')?;
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let rest = quote.map_or(rest, |_| &rest[1..]);
    let length = rest.find(|c| !is_key(c)).filter(|length| *length > 0)?;
    let (key, rest) = rest.split_at(length);
    let rest = match quote {
        Some(quote) => rest.strip_prefix(quote)?,
        None => rest,
    };
    let rest = rest.strip_prefix("]}")?;
    Some((text.len() - rest.len(), filter, key))
}

struct Pass<'a> {
    sources: &'a Sources,
    agents: &'a BTreeMap<String, Filters>,
    answers: HashMap<(String, String, String), Option<String>>,
    findings: Vec<Finding>,
}

impl Pass<'_> {
    /// The value, and whether it is all there: commands may not have been asked.
    fn value(&mut self, property: &Property) -> (String, bool) {
        let mut parts = property.key.splitn(4, '.');
        let agent = parts.next().unwrap_or_default();
        let in_component = parts.next().is_some_and(|list| COMPONENT_LISTS.contains(&list))
            && parts.next().is_some()
            && parts.next().is_some();
        let agents = self.agents;
        let (mut out, mut complete) = (String::new(), true);
        let mut rest = property.value.as_str();
        while let Some(found) = next_expression(rest) {
            let answer = match agents.get(agent) {
                None => None,
                Some(filters) if !in_component => {
                    if filters.contains_key(found.filter) {
                        let message = "config filters work inside values of sources, channels, sinks and sink groups; \
                                       the text stays as it is written";
                        self.warn(property, "unresolved", message.to_owned());
                    }
                    None
                }
                Some(filters) => match filters.get(found.filter) {
                    Some(Filter::External { .. }) if !self.sources.run_commands => {
                        complete = false;
                        let message =
                            format!("the command of config filter {} is not run here", found.filter);
                        self.findings
                            .push(finding(property, Severity::Note, "filter-not-run", message));
                        None
                    }
                    Some(filter) => self.answer(property, agent, &found, filter),
                    None => {
                        let near = nearest(found.filter, filters.keys().map(String::as_str));
                        let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
                        let message = format!("there is no config filter {}{hint}", found.filter);
                        self.warn(property, "unresolved", message);
                        None
                    }
                },
            };
            out.push_str(&rest[..found.range.start]);
            match answer {
                Some(answer) => out.push_str(&answer),
                None => out.push_str(&rest[found.range.clone()]),
            }
            rest = &rest[found.range.end..];
        }
        out.push_str(rest);
        (out, complete)
    }

    fn answer(
        &mut self,
        property: &Property,
        agent: &str,
        found: &Expression<'_>,
        filter: &Filter,
    ) -> Option<String> {
        let asked = (agent.to_owned(), found.filter.to_owned(), found.key.to_owned());
        if let Some(known) = self.answers.get(&asked) {
            return known.clone();
        }
        let answer = match filter {
            Filter::Env => self.sources.environment.get(found.key).cloned().ok_or_else(|| {
                let near = nearest(found.key, self.sources.environment.keys().map(String::as_str));
                let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
                format!("there is no environment variable {}{hint}", found.key)
            }),
            Filter::External { words, charset } => run(words, found.key, charset, &self.sources.environment)
                .map(|answer| {
                    if answer.more {
                        let message = format!(
                            "config filter {}: the command printed more than one line for {}; the first one is used",
                            found.filter, found.key
                        );
                        self.warn(property, "filter-output", message);
                    }
                    answer.line
                }),
            Filter::Broken => {
                self.answers.insert(asked, None);
                return None;
            }
        };
        let answer = answer
            .map_err(|why| {
                let message = format!(
                    "config filter {}: {why}; the text stays as it is written",
                    found.filter
                );
                self.warn(property, "unresolved", message);
            })
            .ok();
        self.answers.insert(asked, answer.clone());
        answer
    }

    fn warn(&mut self, property: &Property, code: &'static str, message: String) {
        self.findings
            .push(finding(property, Severity::Warning, code, message));
    }
}

struct Answer {
    line: String,
    more: bool,
}

fn run(
    words: &[String],
    key: &str,
    charset: &'static encoding_rs::Encoding,
    environment: &BTreeMap<String, String>,
) -> Result<Answer, String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(key);
    command.env_clear().envs(environment);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot run {}: {e}", words[0]))?;
    let result = output(&mut child, key);
    if result.is_err() {
        kill(&mut child);
    }
    let bytes = result?;
    let (text, _) = charset.decode_without_bom_handling(&bytes);
    let mut lines = text.lines();
    let line = lines
        .next()
        .filter(|line| !line.is_empty())
        .ok_or_else(|| format!("the command printed nothing for {key}"))?;
    Ok(Answer {
        line: line.to_owned(),
        more: lines.next().is_some(),
    })
}

/// All that the command prints, if it ends in time and well.
fn output(child: &mut Child, key: &str) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + COMMAND_TIME;
    let stdout = child.stdout.take().ok_or("no standard output")?;
    let (sender, receiver) = mpsc::channel();
    // The thread ends with the last holder of the pipe; a command that left one behind does not hold us up.
    thread::Builder::new()
        .name("config-filter".to_owned())
        .spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
            let _ = sender.send(read.map(|_| bytes));
        })
        .map_err(|e| format!("cannot start a thread: {e}"))?;
    let late = || {
        format!(
            "the command took longer than {} s for {key}",
            COMMAND_TIME.as_secs()
        )
    };
    let bytes = receiver
        .recv_timeout(COMMAND_TIME)
        .map_err(|_| late())?
        .map_err(|e| format!("cannot read what the command prints: {e}"))?;
    if bytes.len() as u64 > OUTPUT_BYTES_MAX {
        return Err(format!(
            "the command printed more than {} KiB for {key}",
            OUTPUT_BYTES_MAX >> 10
        ));
    }
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(bytes),
            Ok(Some(status)) => return Err(format!("the command ended with {status} for {key}")),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) => return Err(late()),
            Err(e) => return Err(format!("cannot wait for the command: {e}")),
        }
    }
}

/// Kills the command with all that it started, and sees it off.
fn kill(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id())
        && let Some(group) = rustix::process::Pid::from_raw(id)
    {
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, properties};
    use std::path::Path;

    fn applied_by(sources: &Sources, text: &str) -> (Vec<(String, String)>, Vec<String>, Loaded) {
        let mut loaded = config::merge([properties::parse(Path::new("f"), text.as_bytes())]);
        apply(&mut loaded, sources);
        let pairs = loaded.properties.iter().map(|p| (p.key.clone(), p.value.clone()));
        let texts = loaded.findings.iter().map(Finding::to_string).collect();
        (pairs.collect(), texts, loaded)
    }

    fn applied(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let sources = Sources {
            environment: BTreeMap::from([("S".to_owned(), "sek".to_owned())]),
            run_commands: true,
            ..Sources::default()
        };
        let (pairs, findings, _) = applied_by(&sources, text);
        (pairs, findings)
    }

    const ENV: &str = "a1.configfilters = f1\na1.configfilters.f1.type = env\n";

    /// The value that a sink's property has in the end.
    fn value(filters: &str, text: &str) -> (String, Vec<String>) {
        let (pairs, findings) = applied(&format!("{filters}a1.sinks.k1.x = {text}"));
        let (_, value) = pairs.into_iter().find(|(k, _)| k == "a1.sinks.k1.x").unwrap();
        (value, findings)
    }

    fn shell(command: &str, text: &str) -> (String, Vec<String>) {
        let filters = format!(
            "a1.configfilters = f1\na1.configfilters.f1.type = external\na1.configfilters.f1.command = {command}\n"
        );
        value(&filters, text)
    }

    #[test]
    fn the_environment_as_in_acceptance_case_13() {
        let (text, findings) = value(ENV, "${f1[\"S\"]} ${f1[S]} ${f1['S']} ${f1['NOPE']}");
        assert_eq!(text, "sek sek sek ${f1['NOPE']}");
        assert_eq!(
            findings,
            [
                "f:3: warning[unresolved]: configuration: a1.sinks.k1.x: config filter f1: there is no environment \
              variable NOPE; the text stays as it is written"
            ]
        );
    }

    #[test]
    fn only_whole_expressions_count() {
        for text in [
            "${f1['S\"]}",
            "${f1[]}",
            "${f1['S']",
            "${f1[S S]}",
            "f1[S]",
            "${[S]}",
            "${f1[S}",
        ] {
            assert_eq!(value(ENV, text), (text.to_owned(), Vec::new()));
        }
        assert_eq!(value(ENV, "${${f1[S]}").0, "${sek");
        assert!(looks_like_expression("f1['a-b_c']"));
        assert!(!looks_like_expression("f1['a'] "));
    }

    #[test]
    fn only_values_of_components_of_the_same_agent_are_touched() {
        let text = "a1.sinks = ${f1[S]}\na1.sources.r.x = ${f1[S]}\na1.channels.c.x.y = ${f1[S]}\n\
                    a1.sinkgroups.g.x = ${f1[S]}\na2.sources.r.x = ${f1[S]}\nfree = ${f1[S]}";
        let (pairs, findings) = applied(&format!("{ENV}{text}"));
        let values: Vec<&str> = pairs[2..].iter().map(|(_, v)| v.as_str()).collect();
        assert_eq!(values, ["${f1[S]}", "sek", "sek", "sek", "${f1[S]}", "${f1[S]}"]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(
            findings[0].starts_with("f:3: warning[unresolved]: configuration: a1.sinks: config filters work")
        );
    }

    #[test]
    fn types_are_told_apart() {
        let with = |kind: &str| {
            let filters = format!("a1.configfilters = f1\na1.configfilters.f1.type = {kind}\n");
            value(&filters, "${f1[S]}")
        };
        let class = "org.apache.flume.configfilter.EnvironmentVariableConfigFilter";
        assert_eq!(with(class), ("sek".to_owned(), Vec::new()));
        assert_eq!(with("ENV").0, "sek");
        for (kind, end) in [
            (
                "hadoop",
                "hadoop: known, not in this version; its texts stay as they are written",
            ),
            ("exernal", "did you mean \"external\"?"),
            ("external", "config filter f1 has no command"),
        ] {
            let (text, findings) = with(kind);
            assert_eq!((text.as_str(), findings.len()), ("${f1[S]}", 1), "{findings:?}");
            assert!(
                findings[0].contains(": warning[") && findings[0].ends_with(end),
                "{findings:?}"
            );
        }
        let (_, findings) = value("a1.configfilters = f1\n", "${f1[S]} ${g[S]}");
        assert!(findings[0].contains("f1 has no type") && findings[1].contains("no config filter g"));
    }

    #[test]
    fn a_command_answers_with_its_first_line_as_in_acceptance_case_14() {
        assert_eq!(
            shell("/bin/echo -n a", "<${f1['k-1']}>"),
            ("<a k-1>".to_owned(), Vec::new())
        );
        let (text, findings) = shell("/usr/bin/printf one\\\\ntwo\\\\n%.0s", "${f1[k]}");
        assert_eq!(text, "one");
        assert!(
            findings[0].contains("more than one line for k; the first one is used"),
            "{findings:?}"
        );
        for (command, why) in [
            ("/bin/false", "ended with exit status: 1 for k"),
            ("/bin/true", "printed nothing for k"),
            ("/no/such/command", "cannot run /no/such/command"),
            (
                "/usr/bin/head -c 70000 /dev/zero --",
                "printed more than 64 KiB for k",
            ),
        ] {
            let (text, findings) = shell(command, "${f1[k]}");
            assert_eq!((text.as_str(), findings.len()), ("${f1[k]}", 1), "{findings:?}");
            assert!(findings[0].contains(why), "{findings:?}");
        }
    }

    #[test]
    fn a_command_runs_once_for_each_key_and_in_the_given_environment() {
        let folder = std::env::temp_dir().join(format!("millrace-filter-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (script, log) = (folder.join("ask"), folder.join("log"));
        std::fs::write(
            &script,
            format!("echo $1 >> {}\necho $S-$1-${{HOME-unset}}\n", log.display()),
        )
        .unwrap();
        let (text, findings) = shell(
            &format!("/bin/sh {}", script.display()),
            "${f1[a]} ${f1[a]} ${f1[b]}",
        );
        let runs = std::fs::read_to_string(&log);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(text, "sek-a-unset sek-a-unset sek-b-unset", "{findings:?}");
        assert_eq!(runs.unwrap(), "a\nb\n");
    }

    #[test]
    fn commands_of_other_agents_are_not_run_and_none_where_they_are_forbidden() {
        let text = "a1.configfilters = f1\na1.configfilters.f1.type = external\n\
                    a1.configfilters.f1.command = /bin/echo\na1.sinks.k.x = ${f1[k]}";
        let sources = Sources {
            run_commands: true,
            agent: Some("a2".to_owned()),
            ..Sources::default()
        };
        let (pairs, findings, _) = applied_by(&sources, text);
        assert_eq!((pairs[3].1.as_str(), findings.len()), ("${f1[k]}", 0));
        let (pairs, findings, loaded) = applied_by(&Sources::default(), text);
        assert_eq!(pairs[3].1, "${f1[k]}");
        assert!(findings[0].contains("note[filter-not-run]"), "{findings:?}");
        assert!(loaded.unknown_values.contains("a1.sinks.k.x"));
    }
}
