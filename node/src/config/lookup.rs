//! `${…}` in values: the environment, system properties, dates, and other properties of the set.
//!
//! | text | becomes |
//! |---|---|
//! | `${env:NAME}` | an environment variable |
//! | `${sys:name}` | a system property (`-Dname=value`), or the stand-in for one that Java sets by itself |
//! | `${java:what}` | a stand-in, see [`platform`] |
//! | `${date:format}` | the time at which the node was started, see [`date`] |
//! | `${name}` | the property `name` of the same set, wherever it stands |
//! | `${…:-text}` | `text` if there is no such thing |
//! | `$${…}` | `${…}` |
//!
//! Names may hold look-ups themselves (`${env:${sys:which}}`), and so may what the environment and the system
//! properties say; what comes from another property is already done. A name that its prefix does not know is tried
//! as a property, as in Flume. Whatever cannot be resolved stays as written, with a finding. Only values are looked
//! at, never keys, and places stay what they are.
//!
//! In Flume a reference is found only if hashing put the other key first; here the order does not matter. Properties
//! that refer to each other in a circle stay as written, and the circle is named. Nothing grows without limit: see
//! the constants. Findings never repeat a value, for it may be a password.
//!
//! Source: `flume/runtime.md` 2.3.

use super::{Property, date, finding, platform};
use crate::component::keys::{Finding, Severity, nearest};
use jiff::Zoned;
use std::collections::{BTreeMap, HashMap};

/// The longest value that look-ups may make.
pub const VALUE_BYTES_MAX: usize = 1 << 20;
/// What look-ups may make of all values together.
pub const TOTAL_BYTES_MAX: usize = 64 << 20;
/// Look-ups in one value.
pub const LOOKUPS_MAX: usize = 1000;
/// Look-ups within names and values of look-ups.
pub const NESTING_MAX: usize = 16;
/// Unresolved texts that are named; with more of them the file is something else.
const NOTES_MAX: usize = 200;
/// Names longer than that are not compared with others, and are cut in findings.
const NAME_BYTES_MAX: usize = 100;

/// What look-ups can see besides the properties themselves.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// For `sys:`.
    pub system: &'a BTreeMap<String, String>,
    /// For `env:`.
    pub environment: &'a BTreeMap<String, String>,
    /// Whether `${NAME}` without a prefix may be an environment variable.
    pub env_fallback: bool,
    /// For `date:`.
    pub now: &'a Zoned,
}

/// Resolves the look-ups of all values. A value that comes out empty takes its property away, as in Flume.
pub fn resolve(properties: &mut Vec<Property>, scope: &Scope<'_>) -> Vec<Finding> {
    let index = properties
        .iter()
        .enumerate()
        .map(|(at, p)| (p.key.clone(), at))
        .collect();
    let mut resolver = Resolver {
        properties,
        index,
        scope,
        done: vec![None; properties.len()],
        findings: Vec::new(),
        bytes: 0,
    };
    for at in 0..resolver.properties.len() {
        resolver.settle(at);
    }
    let Resolver {
        done, mut findings, ..
    } = resolver;
    for (property, value) in properties.iter_mut().zip(done) {
        let Some(value) = value else { continue };
        if value != property.value {
            property.value = super::properties::trim(&value).to_owned();
        }
    }
    properties.retain(|property| {
        if property.value.is_empty() {
            let message = format!(
                "Configuration property ignored: {} = (its look-ups are empty)",
                property.key
            );
            findings.push(finding(property, Severity::Warning, "empty", message));
        }
        !property.value.is_empty()
    });
    findings
}

struct Resolver<'a> {
    properties: &'a [Property],
    index: HashMap<String, usize>,
    scope: &'a Scope<'a>,
    done: Vec<Option<String>>,
    findings: Vec<Finding>,
    bytes: usize,
}

/// Why a value cannot be told now.
enum Stop {
    /// This property has to be known first.
    Needs(usize),
    /// A limit is reached; the text stays.
    Limit(String),
}

impl Resolver<'_> {
    /// Finds the value of one property, of those it refers to before. No recursion: chains may be long.
    fn settle(&mut self, first: usize) {
        let mut path = vec![first];
        let mut on_path = HashMap::from([(first, 0)]);
        while let Some(&at) = path.last() {
            let next = match self.done[at] {
                Some(_) => None,
                None => self.evaluate(at),
            };
            match next {
                None => {
                    path.pop();
                    on_path.remove(&at);
                }
                Some(needed) => match on_path.get(&needed) {
                    Some(&start) => self.circle(&path[start..]),
                    None => {
                        on_path.insert(needed, path.len());
                        path.push(needed);
                    }
                },
            }
        }
    }

    /// Evaluates one property; or says which one has to be known first.
    fn evaluate(&mut self, at: usize) -> Option<usize> {
        let property = &self.properties[at];
        let mut value = Value {
            resolver: self,
            property,
            lookups: 0,
            notes: Vec::new(),
        };
        let (result, notes) = (value.expand(&property.value, 0), value.notes);
        let limit = match result {
            Err(Stop::Needs(other)) => return Some(other),
            Err(Stop::Limit(what)) => what,
            Ok(text) if text != property.value && self.bytes + text.len() > TOTAL_BYTES_MAX => {
                format!(
                    "all look-ups together make more than {} MiB",
                    TOTAL_BYTES_MAX >> 20
                )
            }
            Ok(text) => {
                if text != property.value {
                    self.bytes += text.len();
                }
                let room = NOTES_MAX.saturating_sub(self.findings.len());
                self.findings.extend(notes.into_iter().take(room));
                self.done[at] = Some(text);
                return None;
            }
        };
        let message = format!("{limit}; the text stays as it is written");
        self.findings
            .push(finding(property, Severity::Error, "lookup-limit", message));
        self.done[at] = Some(property.value.clone());
        None
    }

    fn circle(&mut self, members: &[usize]) {
        let first = &self.properties[members[0]];
        let shown = members
            .iter()
            .take(10)
            .map(|at| self.properties[*at].key.as_str());
        let mut names: Vec<&str> = shown.collect();
        if members.len() > names.len() {
            names.push("…");
        }
        names.push(&first.key);
        let message = format!(
            "refers to itself: {}; these stay as they are written",
            names.join(" -> ")
        );
        self.findings
            .push(finding(first, Severity::Error, "lookup-circle", message));
        for at in members {
            self.done[*at] = Some(self.properties[*at].value.clone());
        }
    }
}

/// One value while it is evaluated.
struct Value<'a> {
    resolver: &'a Resolver<'a>,
    property: &'a Property,
    lookups: usize,
    notes: Vec<Finding>,
}

impl Value<'_> {
    fn expand(&mut self, text: &str, depth: usize) -> Result<String, Stop> {
        if depth > NESTING_MAX {
            return Err(Stop::Limit(format!(
                "look-ups within look-ups, more than {NESTING_MAX} deep"
            )));
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            // Without an end there is no look-up, nor any after it: commons-text stops there, too.
            let Some(length) = closing(&rest[at + 2..]) else {
                break;
            };
            let (inside, end) = (&rest[at + 2..at + 2 + length], at + 2 + length + 1);
            if rest[..at].ends_with('$') {
                out.push_str(&rest[..at - 1]);
                out.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            out.push_str(&rest[..at]);
            match self.lookup(inside, depth)? {
                Some(value) => out.push_str(&value),
                None => out.push_str(&rest[at..end]),
            }
            rest = &rest[end..];
            if out.len() > VALUE_BYTES_MAX {
                return Err(Stop::Limit(format!(
                    "look-ups make the value longer than {} MiB",
                    VALUE_BYTES_MAX >> 20
                )));
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands for `${inside}`, if anything does.
    fn lookup(&mut self, inside: &str, depth: usize) -> Result<Option<String>, Stop> {
        self.lookups += 1;
        if self.lookups > LOOKUPS_MAX {
            return Err(Stop::Limit(format!(
                "more than {LOOKUPS_MAX} look-ups in one value"
            )));
        }
        let (name, default) = split_default(inside);
        let name = self.expand(name, depth + 1)?;
        if let Some(value) = self.variable(&name, depth)? {
            return Ok(Some(value));
        }
        if let Some(default) = default {
            return self.expand(default, depth + 1).map(Some);
        }
        // Of a name that is itself unknown enough was said; config filters come later and speak for themselves.
        if !name.contains("${") && !super::filter::looks_like_expression(&name) {
            self.note(&name);
        }
        Ok(None)
    }

    fn variable(&mut self, name: &str, depth: usize) -> Result<Option<String>, Stop> {
        let scope = self.resolver.scope;
        let Some((prefix, rest)) = name.split_once(':') else {
            return self.plain(name);
        };
        let found = match prefix.to_ascii_lowercase().as_str() {
            "env" => scope.environment.get(rest).cloned(),
            "sys" => scope
                .system
                .get(rest)
                .cloned()
                .or_else(|| platform::system_property(rest, scope.environment)),
            "java" => return Ok(platform::java(rest)),
            "date" => return Ok(date::format(rest, scope.now).ok()),
            _ => match self.plain(name)? {
                Some(value) => return Ok(Some(value)),
                None => return self.plain(rest),
            },
        };
        match found {
            Some(text) => self.expand(&text, depth + 1).map(Some),
            None => self.plain(rest),
        }
    }

    /// A name without a prefix.
    fn plain(&self, name: &str) -> Result<Option<String>, Stop> {
        let resolver = self.resolver;
        match resolver.index.get(name) {
            Some(&at) => match &resolver.done[at] {
                Some(value) => Ok(Some(value.clone())),
                None => Err(Stop::Needs(at)),
            },
            None if resolver.scope.env_fallback => Ok(resolver.scope.environment.get(name).cloned()),
            None => Ok(None),
        }
    }

    fn note(&mut self, name: &str) {
        if self.notes.len() + self.resolver.findings.len() >= NOTES_MAX {
            return;
        }
        let (severity, why) = if self.property.key.ends_with(".command") {
            (Severity::Note, "left to the command's shell".to_owned())
        } else {
            (
                Severity::Warning,
                format!("stays as it is written: {}", self.reason(name)),
            )
        };
        let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
        let message = format!("${{{shown}}} {why}");
        self.notes
            .push(finding(self.property, severity, "unresolved", message));
    }

    fn reason(&self, name: &str) -> String {
        let (scope, index) = (self.resolver.scope, &self.resolver.index);
        let (prefix, rest) = name.split_once(':').unwrap_or(("", name));
        match prefix.to_ascii_lowercase().as_str() {
            "env" => {
                let near = near(rest, scope.environment.keys());
                let hint = near.map_or(String::new(), |n| format!("; did you mean \"env:{n}\"?"));
                format!("there is no such environment variable{hint}")
            }
            "sys" => format!("there is no such system property; -D{rest}=… would set it"),
            "java" => format!("expected one of java:{}", platform::JAVA.join(", java:")),
            "date" => date::format(rest, scope.now).err().unwrap_or_default(),
            _ => {
                let hint = if scope.environment.contains_key(name) {
                    format!("; did you mean \"env:{name}\"?")
                } else {
                    let near = near(name, index.keys().filter(|k| **k != self.property.key));
                    near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"))
                };
                format!("there is no such property, and only env, sys, java and date are prefixes{hint}")
            }
        }
    }
}

fn near<'a>(name: &str, candidates: impl Iterator<Item = &'a String>) -> Option<&'a str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return None;
    }
    let short = candidates.filter(|c| c.len() <= 2 * NAME_BYTES_MAX);
    nearest(name, short.map(String::as_str))
}

/// Where the `}` stands that ends a look-up, with whole look-ups before it.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// The name and the default, apart at the first `:-` that stands in no look-up of its own.
fn split_default(inside: &str) -> (&str, Option<&str>) {
    let mut at = 0;
    while let Some(found) = inside[at..].find([':', '$']) {
        at += found;
        let rest = &inside[at..];
        if let Some(default) = rest.strip_prefix(":-") {
            return (&inside[..at], Some(default));
        }
        at += match rest.strip_prefix("${").map(closing) {
            Some(Some(length)) => length + 3,
            _ => 1,
        };
    }
    (inside, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::properties::parse;
    use proptest::prelude::*;
    use std::path::Path;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    /// The values of `k…` and the findings that `text` gives.
    fn resolved_in(text: &str, env_fallback: bool) -> (Vec<(String, String)>, Vec<String>) {
        let now = "2026-03-04T15:06:07.089+01:00[Europe/Berlin]".parse().unwrap();
        let environment = map(&[
            ("X", "ex"),
            ("EMPTY", ""),
            ("DEEP", "<${sys:y}>"),
            ("LOOP", "${env:LOOP}"),
        ]);
        let system = map(&[("y", "why"), ("which", "X")]);
        let scope = Scope {
            system: &system,
            environment: &environment,
            env_fallback,
            now: &now,
        };
        let mut properties = parse(Path::new("f"), text.as_bytes()).properties;
        let findings = resolve(&mut properties, &scope);
        let pairs = properties.into_iter().map(|p| (p.key, p.value)).collect();
        (pairs, findings.iter().map(Finding::to_string).collect())
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) -> Vec<String> {
        let (pairs, findings) = resolved_in(text, false);
        let found: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(found, expected, "{text}\n{findings:#?}");
        findings
    }

    #[track_caller]
    fn value(text: &str, expected: &str) -> Vec<String> {
        check(&format!("k = {text}"), &[("k", expected)])
    }

    #[test]
    fn look_ups_as_in_acceptance_case_12() {
        assert_eq!(value("${env:X}", "ex"), [""; 0]);
        assert_eq!(value("${sys:y}", "why"), [""; 0]);
        assert_eq!(value("${env:NONE:-d}", "d"), [""; 0]);
        assert_eq!(value("$${env:X}", "${env:X}"), [""; 0]);
        assert_eq!(value("${env:${sys:which}}", "ex"), [""; 0]);
        assert_eq!(value("a${env:X}b${sys:y}c", "aexbwhyc"), [""; 0]);
        assert_eq!(
            value("${nosuch}", "${nosuch}"),
            [
                "f:1: warning[unresolved]: configuration: k: ${nosuch} stays as it is written: there is no such \
              property, and only env, sys, java and date are prefixes"
            ]
        );
        assert_eq!(value("${base64Encoder:abc}", "${base64Encoder:abc}").len(), 1);
    }

    #[test]
    fn defaults_may_hold_look_ups_and_are_read_only_if_needed() {
        value("${nosuch:-${env:X}}", "ex");
        value("${env:X:-${nosuch}}", "ex");
        value("${nosuch:-}x", "x");
        value("${env:NONE:-a:-b}", "a:-b");
        assert_eq!(value("${env:X:-${nosuch}}", "ex"), [""; 0]);
        check("k = ${env:X:-${k}}", &[("k", "ex")]);
    }

    #[test]
    fn escapes_keep_one_look_up_and_resolve_what_is_in_it() {
        value("$${env:${sys:which}}", "${env:X}");
        value("$$${env:X}", "$${env:X}");
        value("$${open", "$${open");
        check("a = $${env:X}\nb = ${a}", &[("a", "${env:X}"), ("b", "${env:X}")]);
    }

    #[test]
    fn what_has_no_end_stays() {
        value("${env:X} ${ ${env:X}", "ex ${ ${env:X}");
        value("${", "${");
        value("}${env:X}}", "}ex}");
        value("%{host} $1 $ {x}", "%{host} $1 $ {x}");
    }

    #[test]
    fn properties_refer_to_each_other_in_any_order() {
        let findings = check(
            "a = ${b}/${c.d}\nb = ${c.d}!\nc.d = ${env:X}\n",
            &[("a", "ex!/ex"), ("b", "ex!"), ("c.d", "ex")],
        );
        assert_eq!(findings, [""; 0]);
        let mut chain: String = (0..20_000).map(|n| format!("k{n} = ${{k{}}}\n", n + 1)).collect();
        chain.push_str("k20000 = end");
        let (pairs, findings) = resolved_in(&chain, false);
        assert!(pairs.iter().all(|(_, v)| v == "end"));
        assert_eq!(findings, [""; 0]);
    }

    #[test]
    fn a_circle_is_named_and_stays_as_it_is_written() {
        let findings = check(
            "c = <${a}>\na = ${b}\nb = x${a}\nd = ${env:X}\ne = ${e}",
            &[
                ("c", "<${b}>"),
                ("a", "${b}"),
                ("b", "x${a}"),
                ("d", "ex"),
                ("e", "${e}"),
            ],
        );
        assert_eq!(
            findings,
            [
                "f:2: error[lookup-circle]: configuration: a: refers to itself: a -> b -> a; these stay as they are written",
                "f:5: error[lookup-circle]: configuration: e: refers to itself: e -> e; these stay as they are written",
            ]
        );
    }

    #[test]
    fn what_the_environment_says_may_hold_look_ups() {
        value("${env:DEEP}", "<why>");
        let findings = value("${env:LOOP}", "${env:LOOP}");
        assert!(
            findings[0].contains("error[lookup-limit]: configuration: k: look-ups within look-ups"),
            "{findings:?}"
        );
    }

    #[test]
    fn a_name_that_its_prefix_does_not_know_is_tried_as_a_property() {
        check(
            "HOST = h\nk = ${env:HOST} ${x:HOST}",
            &[("HOST", "h"), ("k", "h h")],
        );
        check("a\\:b = 1\nk = ${a:b}", &[("a:b", "1"), ("k", "1")]);
        value("${ENV:X}", "ex");
    }

    #[test]
    fn the_environment_stands_in_for_properties_when_asked_to() {
        let value = |fallback| resolved_in("k = ${X}", fallback).0[0].1.clone();
        assert_eq!(value(true), "ex");
        assert_eq!(value(false), "${X}");
        let (pairs, _) = resolved_in("X = own\nk = ${X}", true);
        assert_eq!(pairs[1].1, "own");
        assert!(resolved_in("k = ${X}", false).1[0].ends_with("did you mean \"env:X\"?"));
    }

    #[test]
    fn slips_are_answered_with_the_nearest_name() {
        let findings = check(
            "a1.port = 1\nk = ${a1.prot} ${env:EMPT} ${sys:z} ${java:v} ${date:Q}",
            &[
                ("a1.port", "1"),
                ("k", "${a1.prot} ${env:EMPT} ${sys:z} ${java:v} ${date:Q}"),
            ],
        );
        for (finding, end) in findings.iter().zip([
            "did you mean \"a1.port\"?",
            "did you mean \"env:EMPTY\"?",
            "-Dz=… would set it",
            "expected one of java:version, java:runtime, java:vm, java:os, java:hardware, java:locale",
            "date format: the letter Q has no meaning",
        ]) {
            assert!(finding.ends_with(end), "{finding}");
        }
        assert_eq!(findings.len(), 5);
    }

    #[test]
    fn a_shell_keeps_its_own_variables() {
        let findings = check(
            "a1.sources.r1.command = tail ${F%.*}",
            &[("a1.sources.r1.command", "tail ${F%.*}")],
        );
        assert!(findings[0].contains("note[unresolved]"), "{findings:?}");
    }

    #[test]
    fn a_value_that_comes_out_empty_is_gone() {
        let findings = check("a = ${env:EMPTY}\nb = [${a}]", &[("b", "[]")]);
        assert_eq!(
            findings,
            [
                "f:1: warning[empty]: configuration: a: Configuration property ignored: a = (its look-ups are empty)"
            ]
        );
    }

    #[test]
    fn dates_are_those_of_the_start() {
        value(
            "x-${date:yyyy-MM-dd'T'HH:mm:ss.SSSZ}",
            "x-2026-03-04T15:06:07.089+0100",
        );
    }

    #[test]
    fn nothing_grows_without_limit() {
        let mut bomb = "k0 = 0123456789\n".to_owned();
        for n in 1..9 {
            let ten = format!("${{k{}}}", n - 1).repeat(10);
            bomb.push_str(&format!("k{n} = {ten}\n"));
        }
        let (pairs, findings) = resolved_in(&bomb, false);
        assert!(pairs.iter().all(|(_, v)| v.len() <= VALUE_BYTES_MAX + 10));
        assert!(findings[0].contains("longer than 1 MiB"), "{findings:?}");
        let many = format!("k = {}", "${env:X}".repeat(LOOKUPS_MAX + 1));
        assert!(resolved_in(&many, false).1[0].contains("more than 1000 look-ups"));
        let deep = format!("k = {}{}", "${".repeat(50_000), "}".repeat(50_000));
        assert!(resolved_in(&deep, false).1[0].contains("more than 16 deep"));
        let wide = format!("a = {}\n", "x".repeat(900_000));
        let wide: String = wide + &(0..100).map(|n| format!("k{n} = ${{a}}\n")).collect::<String>();
        let (pairs, findings) = resolved_in(&wide, false);
        assert!(pairs.iter().map(|(_, v)| v.len()).sum::<usize>() < TOTAL_BYTES_MAX + (1 << 20));
        assert!(findings[0].contains("more than 64 MiB"), "{}", findings[0]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[${}:\\-a-c=\n]{0,80}") {
            resolved_in(&text, true);
        }

        #[test]
        fn text_without_look_ups_stays(text in "[a-z$ }:{-]{0,40}") {
            prop_assume!(!text.contains("${"));
            let text = format!("k = [{text}]");
            let plain = parse(Path::new("f"), text.as_bytes()).properties;
            prop_assert_eq!(&resolved_in(&text, true).0[0].1, &plain[0].value);
        }

        #[test]
        fn the_order_of_lines_does_not_matter(seed in any::<u64>(), targets in proptest::collection::vec(0usize..8, 8)) {
            // Every key refers to a later one at most: no circles.
            let mut lines: Vec<String> = targets
                .iter()
                .enumerate()
                .map(|(n, to)| if *to > n { format!("k{n} = <${{k{to}}}>") } else { format!("k{n} = {to}") })
                .collect();
            let sorted = |lines: &[String]| {
                let mut pairs = resolved_in(&lines.join("\n"), false).0;
                pairs.sort();
                pairs
            };
            let before = sorted(&lines);
            let turn = (seed % 8) as usize;
            lines.rotate_left(turn);
            if seed & 8 == 0 { lines.reverse(); }
            prop_assert_eq!(before, sorted(&lines));
        }
    }
}
