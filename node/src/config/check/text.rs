//! What the text of a value says that is seldom meant. Files are read once more, because a backslash that the format
//! swallowed shows only there.

use super::super::Property;
use crate::component::keys::{Finding, Severity};
use std::collections::BTreeMap;
use std::path::Path;

/// Codes that are given here only.
pub(super) const CODES: [&str; 9] = [
    "inline-comment",
    "lost-backslash",
    "swallowed-line",
    "odd-character",
    "trailing-punctuation",
    "quotes",
    "placeholder",
    "unresolved",
    "tilde",
];

/// Looks at every property, of one agent if it is named.
pub(super) fn look(properties: &[Property], agent: Option<&str>) -> Vec<Finding> {
    let mut files: BTreeMap<&Path, Vec<String>> = BTreeMap::new();
    let mut all = Vec::new();
    for property in properties {
        let owner = property.key.split('.').next().unwrap_or_default();
        if agent.is_some_and(|a| a != owner) {
            continue;
        }
        let lines = files
            .entry(&property.place.file)
            .or_insert_with(|| lines(&property.place.file));
        let raw = raw_value(lines, property.place.line);
        for (code, message) in of_text(property, raw.as_deref()) {
            all.push(Finding {
                place: property.place.clone(),
                severity: Severity::Warning,
                code,
                component: title(&property.key),
                property: Some(tail(&property.key).to_owned()),
                message,
            });
        }
    }
    all
}

/// `source r1` of `a1.sources.r1.port`; the agent of anything shorter.
fn title(key: &str) -> String {
    let parts: Vec<&str> = key.splitn(4, '.').collect();
    let word = match parts.get(1) {
        Some(&"sources") => "source",
        Some(&"channels") => "channel",
        Some(&"sinks") => "sink",
        Some(&"sinkgroups") => "sink group",
        _ => "",
    };
    match (word, parts.as_slice()) {
        ("", [agent, ..]) | (_, [agent, _]) => format!("agent {agent}"),
        (word, [_, _, name, ..]) => format!("{word} {name}"),
        _ => super::super::properties::COMPONENT.to_owned(),
    }
}

/// The property alone, where the component is named.
fn tail(key: &str) -> &str {
    match key.splitn(4, '.').nth(3) {
        Some(tail) if !title(key).starts_with("agent ") => tail,
        _ => key,
    }
}

fn lines(file: &Path) -> Vec<String> {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.replace("\r\n", "\n")
        .split(['\n', '\r'])
        .map(str::to_owned)
        .collect()
}

/// What stands behind the key, as it is written, continuation lines with their line ends included.
fn raw_value(lines: &[String], line: usize) -> Option<String> {
    let mut at = line.checked_sub(1)?;
    let mut whole = lines.get(at)?.clone();
    while whole.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 && at + 1 < lines.len() {
        at += 1;
        whole.push('\n');
        whole.push_str(&lines[at]);
    }
    let start = whole.len() - whole.trim_start().len();
    let end = whole[start..].find(|c: char| c.is_whitespace() || c == '=' || c == ':')?;
    Some(whole[start + end..].to_owned())
}

type Said = (&'static str, String);

fn of_text(property: &Property, raw: Option<&str>) -> Vec<Said> {
    let (key, value) = (property.key.as_str(), property.value.as_str());
    let name = key.rsplit('.').next().unwrap_or_default().to_lowercase();
    let pattern = is_pattern(&name);
    let command = name == "command" || name == "shell";
    let mut said = Vec::new();
    said.extend(odd_character(key, value));
    if let Some(raw) = raw {
        said.extend(backslash(key, raw));
        said.extend(swallowed(raw));
    }
    if !command && !pattern {
        said.extend(comment(key, value));
        said.extend(quotes(value));
        said.extend(punctuation(value));
        said.extend(tilde(&name, value));
        said.extend(placeholder(key, value));
    }
    if !pattern && !raw.is_some_and(|raw| raw.contains("$${")) {
        said.extend(unresolved(value));
    }
    said
}

/// Keys whose values may hold any character on purpose.
fn is_pattern(name: &str) -> bool {
    let words = [
        "regex",
        "pattern",
        "delimiter",
        "separator",
        "replace",
        "splitchars",
        "config",
    ];
    words.iter().any(|word| name.contains(word))
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    [
        "password",
        "passwd",
        "secret",
        "token",
        "key",
        "credential",
        "pass",
    ]
    .iter()
    .any(|word| key.contains(word))
}

fn odd_character(key: &str, value: &str) -> Option<Said> {
    let odd = |c: char| match c {
        '\u{a0}' => Some("a no-break space"),
        '\u{200b}'..='\u{200d}' | '\u{feff}' | '\u{2060}' => Some("a character without width"),
        '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' => Some("a typographic quote"),
        '\u{3000}' => Some("a wide space"),
        _ => None,
    };
    let wide = |c: char| match c {
        '\u{ff01}'..='\u{ff5e}' | '\u{3001}' => Some("a wide character"),
        '\u{2010}'..='\u{2015}' => Some("a dash that is no hyphen"),
        _ => None,
    };
    let found = |text: &str, place: &str, test: &dyn Fn(char) -> Option<&'static str>| {
        let (c, what) = text.chars().find_map(|c| Some((c, test(c)?)))?;
        Some((
            "odd-character",
            format!("{place} holds {what} (U+{:04X}), probably pasted", c as u32),
        ))
    };
    found(key, "the key", &|c| odd(c).or_else(|| wide(c))).or_else(|| found(value, "the value", &odd))
}

/// A backslash that the format took away, with the character that is left.
fn backslash(key: &str, raw: &str) -> Option<Said> {
    let drive = raw
        .trim_start_matches(|c: char| c.is_whitespace() || c == '=')
        .as_bytes();
    let windows = drive.len() > 3
        && drive[0].is_ascii_alphabetic()
        && drive[1] == b':'
        && drive[2] == b'\\'
        && drive[3] != b'\\';
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            continue;
        }
        let Some(next) = chars.next() else { break };
        let lost = match next {
            't' | 'n' | 'r' | 'f' | 'u' => windows,
            _ => next.is_ascii_alphanumeric() || ".()[]{}*+?$^|/-_".contains(next),
        };
        if lost && !is_secret(key) {
            let means = match next {
                't' => "a tab".to_owned(),
                'n' | 'r' | 'f' => "a line end".to_owned(),
                other => format!("\"{other}\""),
            };
            return Some((
                "lost-backslash",
                format!("\\{next} is read as {means}: write a backslash twice, \\\\{next}"),
            ));
        }
    }
    None
}

/// A backslash at the end of a line that took in a line that looks like a property of its own.
fn swallowed(raw: &str) -> Option<Said> {
    let next = raw.split('\n').nth(1)?.trim_start();
    let key = next.split(['=', ' ', '\t']).next().unwrap_or_default();
    let like = LISTS_IN_KEYS.iter().any(|list| key.contains(list)) && next.contains('=');
    like.then(|| {
        (
            "swallowed-line",
            "the line ends in a backslash: the next one, which looks like a property, belongs to this value"
                .to_owned(),
        )
    })
}

const LISTS_IN_KEYS: [&str; 4] = [".sources", ".channels", ".sinks", ".sinkgroups"];

fn comment(key: &str, value: &str) -> Option<Said> {
    let at = value
        .match_indices('#')
        .map(|(at, _)| at)
        .find(|at| *at > 0 && value[..*at].ends_with(char::is_whitespace))?;
    // A list says so by itself.
    if key.split('.').count() == 2 {
        return None;
    }
    let shown = if is_secret(key) {
        String::new()
    } else {
        format!(" (\"{}\")", &value[at..])
    };
    Some((
        "inline-comment",
        format!("a comment needs a line of its own: what begins with #{shown} is part of the value"),
    ))
}

fn quotes(value: &str) -> Option<Said> {
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.is_empty() && !inner.contains(quote))
        .then(|| ("quotes", "the quotes are part of the value".to_owned()))
}

fn punctuation(value: &str) -> Option<Said> {
    let last = value.chars().last().filter(|c| [';', ','].contains(c))?;
    let body = &value[..value.len() - 1];
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-$/:".contains(c);
    (!body.is_empty() && body.chars().all(plain)).then(|| {
        (
            "trailing-punctuation",
            format!("the \"{last}\" at the end is part of the value"),
        )
    })
}

fn tilde(name: &str, value: &str) -> Option<Said> {
    let path = ["dir", "file", "path", "directory", "keystore", "truststore"]
        .iter()
        .any(|word| name.ends_with(word) || name.ends_with(&format!("{word}s")));
    (path && value.starts_with("~/")).then(|| {
        (
            "tilde",
            "~ is not replaced by the home folder: a folder of this name is meant".to_owned(),
        )
    })
}

/// What a template wants to have filled in.
fn placeholder(key: &str, value: &str) -> Option<Said> {
    let lower = value.to_lowercase();
    let angle = value.find('<').and_then(|from| {
        let rest = &value[from + 1..];
        let inner = &rest[..rest.find('>')?];
        let first = inner.chars().next()?;
        let words = inner.chars().all(|c| c.is_alphanumeric() || " _-.".contains(c));
        (first.is_alphabetic() && words && !value.contains("</")).then(|| format!("<{inner}>"))
    });
    let crossed = lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word.len() > 2 && word.bytes().all(|b| b == b'x'));
    let upper = [
        "YOUR_",
        "YOUR-",
        "CHANGEME",
        "CHANGE_ME",
        "REPLACE_ME",
        "[required]",
        "{{",
    ];
    let found = if let Some(angle) = angle {
        angle
    } else if crossed {
        "xxx".to_owned()
    } else {
        let word = upper.iter().find(|word| value.contains(**word))?;
        (*word).to_owned()
    };
    let shown = if is_secret(key) {
        String::new()
    } else {
        format!(" (\"{found}\")")
    };
    Some((
        "placeholder",
        format!("looks like a place to be filled in{shown}"),
    ))
}

fn unresolved(value: &str) -> Option<Said> {
    let from = value.find("${")?;
    let name = &value[from..];
    let shown = name.find('}').map_or(name, |end| &name[..=end]);
    Some((
        "unresolved",
        format!("{shown} was not resolved and is part of the value"),
    ))
}
