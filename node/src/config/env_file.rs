//! `flume-env.sh` in the configuration directory: its plain assignments, without a shell.
//!
//! Flume's launcher sources the file with bash. Nearly all that is found in such files are lines like
//!
//! ```text
//! export JAVA_OPTS="-Xms100m -Xmx200m -Dflume.monitoring.type=http"
//! export TOPIC=orders BROKER="$HOST:9092"
//! FLUME_JAVA_OPTS="$FLUME_JAVA_OPTS -Dkey=value"
//! ```
//!
//! and these are understood: `NAME=value`, `NAME+=value`, `export` of one or more, quotes of both kinds, backslashes,
//! `$NAME`, `${NAME}`, `${NAME:-text}`, comments, `;` and lines that go on after a backslash. Everything else — commands,
//! `$(…)`, `if`, loops, functions — is not carried out, and a warning names the line; what stands inside of an `if` or a
//! loop is passed over as a whole, because nobody knows whether it holds. A file that needs a shell can be sourced
//! before the node is started: the caller's environment counts as well.
//!
//! What is exported becomes the environment of look-ups and config filters, over what the caller has, as in bash.
//! `JAVA_OPTS` (from the file only; the launcher empties it first) and then `FLUME_JAVA_OPTS` (from the file or the
//! caller) give options to the JVM: `-D` and `-Xmx` have a meaning here. `FLUME_CLASSPATH` has none.
//!
//! Source: `flume/runtime.md` 1.1.

use super::ConfigError;
use crate::component::keys::{Finding, Place, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::iter::Peekable;
use std::path::Path;
use std::str::Chars;
use std::sync::Arc;

/// The file's name.
pub const FILE_NAME: &str = "flume-env.sh";

/// Lines that are not understood and named; then it is no such file.
const NOTES_MAX: usize = 50;
/// The longest value: `A=$A$A` doubles it in each line.
const VALUE_BYTES_MAX: usize = 1 << 20;
/// What the launcher sets itself, whatever the caller says.
const OVERWRITTEN: [&str; 4] = [
    "JAVA_OPTS",
    "FLUME_CLASSPATH",
    "FLUME_JAVA_LIBRARY_PATH",
    "LD_LIBRARY_PATH",
];
const BLOCK_STARTS: [&str; 8] = ["if", "for", "while", "until", "case", "select", "function", "{"];
const BLOCK_ENDS: [&str; 4] = ["fi", "done", "esac", "}"];

/// What a start script leaves behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// The caller's environment with what the file exports.
    pub environment: BTreeMap<String, String>,
    /// Options to the JVM, in their order.
    pub java_options: Vec<String>,
    /// Lines that are not understood.
    pub findings: Vec<Finding>,
}

/// Reads `flume-env.sh` of a configuration directory, if there is one.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn read(conf_dir: Option<&Path>, caller: BTreeMap<String, String>) -> Result<EnvFile, ConfigError> {
    let Some(path) = conf_dir.map(|dir| dir.join(FILE_NAME)) else {
        return Ok(parse(Path::new(FILE_NAME), "", caller));
    };
    let text = match super::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    Ok(parse(&path, &text, caller))
}

/// Carries out the text of `file`, which is only named in places, in the environment of the caller.
pub fn parse(file: &Path, text: &str, caller: BTreeMap<String, String>) -> EnvFile {
    let mut variables = caller.clone();
    for name in OVERWRITTEN {
        variables.remove(name);
    }
    let mut script = Script {
        file: file.into(),
        chars: text.chars().peekable(),
        line: 1,
        exported: caller.keys().cloned().collect(),
        variables,
        findings: Vec::new(),
    };
    script.run();
    let mut java_options = Vec::new();
    for name in ["JAVA_OPTS", "FLUME_JAVA_OPTS"] {
        let value = script.variables.get(name);
        java_options.extend(value.iter().flat_map(|v| v.split_whitespace()).map(str::to_owned));
    }
    if script
        .variables
        .get("FLUME_CLASSPATH")
        .is_some_and(|v| !v.is_empty())
    {
        script.warn(0, "FLUME_CLASSPATH has no effect: there is no Java here");
    }
    let mut environment = caller;
    for (name, value) in script.variables {
        if script.exported.contains(&name) {
            environment.insert(name, value);
        }
    }
    EnvFile {
        environment,
        java_options,
        findings: script.findings,
    }
}

struct Script<'a> {
    file: Arc<Path>,
    chars: Peekable<Chars<'a>>,
    line: usize,
    variables: BTreeMap<String, String>,
    exported: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Script<'_> {
    fn run(&mut self) {
        let mut depth = 0usize;
        while self.chars.peek().is_some() {
            let line = self.line;
            let statement = self.statement();
            // A statement that is not understood still tells by its first words whether it opens a block.
            let (words, wrong) = match statement {
                Ok(words) => (words, None),
                Err((words, why)) => (words, Some(why)),
            };
            let before = depth;
            depth = (depth + opens(&words)).saturating_sub(closes(&words));
            let result = match (before, depth, wrong) {
                (0, 0, None) => self.carry_out(&words),
                (0, 0, Some(why)) => Err(why),
                (0, _, _) => Err("if, loops and functions are passed over as a whole".to_owned()),
                _ => Ok(()),
            };
            if let Err(why) = result {
                self.warn(line, &format!("not understood, passed over: {why}"));
            }
        }
    }

    fn warn(&mut self, line: usize, message: &str) {
        if self.findings.len() >= NOTES_MAX {
            return;
        }
        self.findings.push(Finding {
            place: Place {
                file: self.file.clone(),
                line,
            },
            severity: Severity::Warning,
            code: "env-file",
            component: super::properties::COMPONENT.to_owned(),
            property: None,
            message: message.to_owned(),
        });
    }

    fn next(&mut self) -> Option<char> {
        let c = self.chars.next();
        if c == Some('\n') {
            self.line += 1;
        }
        c
    }

    /// The words up to the end of the line or `;`. What is wrong ends its line.
    fn statement(&mut self) -> Result<Vec<String>, (Vec<String>, String)> {
        let mut words = Vec::new();
        loop {
            match self.chars.peek() {
                None => return Ok(words),
                Some('\n' | ';') => {
                    self.next();
                    return Ok(words);
                }
                Some(' ' | '\t' | '\r') => {
                    self.next();
                }
                Some('#') => {
                    self.rest_of_line();
                }
                Some(_) => match self.word() {
                    Ok(word) => words.extend(word),
                    Err((begun, why)) => {
                        let rest = self.rest_of_line();
                        words.push(begun);
                        words.extend(rest.split_whitespace().last().map(str::to_owned));
                        return Err((words, why));
                    }
                },
            }
        }
    }

    fn rest_of_line(&mut self) -> String {
        let mut rest = String::new();
        while let Some(c) = self.chars.next_if(|c| *c != '\n') {
            rest.push(c);
        }
        rest
    }

    /// One word with its quotes and variables resolved; none for a line that only goes on.
    fn word(&mut self) -> Result<Option<String>, (String, String)> {
        let (mut word, mut begun) = (String::new(), false);
        while let Some(&c) = self.chars.peek() {
            let part = match c {
                ' ' | '\t' | '\r' | '\n' | ';' => break,
                '\'' => self.single_quoted(&mut word),
                '"' => self.double_quoted(&mut word),
                '\\' => {
                    self.next();
                    match self.next() {
                        Some('\n') | None => continue,
                        Some(c) => word.push(c),
                    }
                    Ok(())
                }
                '$' => self.variable(&mut word, false),
                '`' | '|' | '&' | '<' | '>' | '(' | ')' => Err(format!("{c} needs a shell")),
                '~' if assignment(&word).is_some_and(|(_, _, value)| value.is_empty()) => {
                    self.next();
                    let ends = |c: &char| matches!(c, '/' | ':' | ';' | ' ' | '\t' | '\r' | '\n');
                    let home = self.variables.get("HOME").map_or("~", String::as_str);
                    let whole = self.chars.peek().is_none_or(ends);
                    word.push_str(if whole { home } else { "~" });
                    Ok(())
                }
                other => {
                    self.next();
                    word.push(other);
                    Ok(())
                }
            };
            begun = true;
            if word.len() > VALUE_BYTES_MAX {
                return Err((
                    String::new(),
                    format!("longer than {} MiB", VALUE_BYTES_MAX >> 20),
                ));
            }
            if let Err(why) = part {
                return Err((word, why));
            }
        }
        Ok(begun.then_some(word))
    }

    fn single_quoted(&mut self, word: &mut String) -> Result<(), String> {
        self.next();
        while let Some(c) = self.next() {
            if c == '\'' {
                return Ok(());
            }
            word.push(c);
        }
        Err("a quote ' is not closed".to_owned())
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), String> {
        self.next();
        while let Some(&c) = self.chars.peek() {
            match c {
                '$' => self.variable(word, true)?,
                '`' => return Err("` needs a shell".to_owned()),
                _ => {
                    self.next();
                    match c {
                        '"' => return Ok(()),
                        '\\' => match self.next() {
                            Some('\n') => {}
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(other) => word.extend(['\\', other]),
                            None => break,
                        },
                        other => word.push(other),
                    }
                }
            }
            if word.len() > VALUE_BYTES_MAX {
                return Err(format!("longer than {} MiB", VALUE_BYTES_MAX >> 20));
            }
        }
        Err("a quote \" is not closed".to_owned())
    }

    /// `$NAME`, `${NAME}` or `${NAME:-text}`; a `$` before anything else is itself.
    fn variable(&mut self, word: &mut String, quoted: bool) -> Result<(), String> {
        self.next();
        match self.chars.peek() {
            Some('{') => {
                self.next();
                let name = self.name();
                let mut default = String::new();
                loop {
                    match self.next() {
                        Some('}') => break,
                        Some(c) if !matches!(c, '\n' | '$' | '`' | '"' | '\'' | '\\') => default.push(c),
                        _ => return Err("only ${NAME} and ${NAME:-text} are understood".to_owned()),
                    }
                }
                let value = self.variables.get(&name).map_or("", String::as_str);
                match default.strip_prefix(":-") {
                    _ if name.is_empty() => {
                        return Err("only ${NAME} and ${NAME:-text} are understood".to_owned());
                    }
                    Some(default) if value.is_empty() => word.push_str(default),
                    None if !default.is_empty() => {
                        return Err("only ${NAME} and ${NAME:-text} are understood".to_owned());
                    }
                    _ => word.push_str(value),
                }
            }
            Some(c) if c.is_ascii_alphabetic() || *c == '_' => {
                let name = self.name();
                word.push_str(self.variables.get(&name).map_or("", String::as_str));
            }
            Some(c @ ('(' | '[' | '\'' | '\\')) => return Err(format!("${c} needs a shell")),
            Some('"') if !quoted => return Err("$\" needs a shell".to_owned()),
            Some(c @ ('0'..='9' | '@' | '*' | '#' | '?' | '$' | '!' | '-')) => {
                return Err(format!("${c} needs a shell"));
            }
            _ => word.push('$'),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }

    fn carry_out(&mut self, words: &[String]) -> Result<(), String> {
        let (export, assignments) = match words.split_first() {
            None => return Ok(()),
            Some((first, rest)) if first == "export" => (true, rest),
            Some(_) => (false, words),
        };
        let known = |word: &String| assignment(word).is_some() || (export && is_name(word));
        if !assignments.iter().all(known) {
            return Err("expected NAME=value or export NAME=value".to_owned());
        }
        for word in assignments {
            let name = match assignment(word) {
                Some((name, true, value)) => {
                    self.variables.entry(name.to_owned()).or_default().push_str(value);
                    name
                }
                Some((name, false, value)) => {
                    self.variables.insert(name.to_owned(), value.to_owned());
                    name
                }
                None => word,
            };
            if export {
                self.exported.insert(name.to_owned());
            }
        }
        Ok(())
    }
}

/// Name, whether to append, and value.
fn assignment(word: &str) -> Option<(&str, bool, &str)> {
    let (name, value) = word.split_once('=')?;
    let (name, append) = name.strip_suffix('+').map_or((name, false), |name| (name, true));
    is_name(name).then_some((name, append, value))
}

fn is_name(word: &str) -> bool {
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain && word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

fn leading(words: &[String]) -> &str {
    let mut words = words.iter().map(String::as_str);
    words
        .find(|word| !matches!(*word, "then" | "else" | "do"))
        .unwrap_or_default()
}

/// `if …`, `f() {`, `… | while read x; do`.
fn opens(words: &[String]) -> usize {
    let by_end = words.len() > 1
        && words
            .last()
            .is_some_and(|word| matches!(word.as_str(), "{" | "do" | "then"));
    usize::from(by_end || BLOCK_STARTS.contains(&leading(words)))
}

fn closes(words: &[String]) -> usize {
    usize::from(BLOCK_ENDS.contains(&leading(words)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(text: &str) -> EnvFile {
        let caller = [
            ("HOST", "h"),
            ("JAVA_OPTS", "-Dcaller"),
            ("FLUME_JAVA_OPTS", "-Dcaller2"),
            ("HOME", "/h"),
        ];
        let caller = caller.map(|(k, v)| (k.to_owned(), v.to_owned()));
        parse(Path::new("c/flume-env.sh"), text, caller.into())
    }

    /// The value of `V`, which is exported.
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let file = run(text);
        assert_eq!(
            file.environment.get("V").map(String::as_str),
            Some(expected),
            "{file:?}"
        );
        assert_eq!(file.findings, []);
    }

    fn findings(text: &str) -> Vec<String> {
        run(text).findings.iter().map(Finding::to_string).collect()
    }

    #[test]
    fn values_are_read_as_bash_reads_them() {
        check("export V=a", "a");
        check("  export V='a $HOST \\b'  # why", "a $HOST \\b");
        check(
            "export V=\"a $HOST ${HOST}x \\$HOST \\\"q\\\" \\n\"",
            "a h hx $HOST \"q\" \\n",
        );
        check("export V=a\\ b#c", "a b#c");
        check("export V=\"a\"'b'c$HOST", "abch");
        check("A=1; B=$A\nexport A V=$A$B$NOPE.", "11.");
        check("V=1\nexport V\nV+=2", "12");
        check("export V=a\\\nb", "ab");
        check("export V=\"a\nb\"", "a\nb");
        check("export V=${NOPE:-x y}${HOST:-z}", "x yh");
        check("export V=~/logs:$", "/h/logs:$");
        check("#!/bin/bash\r\nexport V=a\r\n", "a");
    }

    #[test]
    fn only_what_is_exported_reaches_look_ups() {
        let file = run("A=1\nHOST=other\nexport B=2");
        assert_eq!(file.environment.get("A"), None);
        assert_eq!(file.environment["HOST"], "other");
        assert_eq!(file.environment["B"], "2");
    }

    #[test]
    fn java_options_come_from_both_variables() {
        assert_eq!(run("").java_options, ["-Dcaller2"]);
        let file = run("JAVA_OPTS=\"$JAVA_OPTS -Xmx1g  -Da=b\"\nFLUME_JAVA_OPTS=\"$FLUME_JAVA_OPTS -Dc\"");
        assert_eq!(file.java_options, ["-Xmx1g", "-Da=b", "-Dcaller2", "-Dc"]);
    }

    #[test]
    fn what_needs_a_shell_is_named_with_its_line_and_the_rest_is_read() {
        let text = "V=$(date)\nexport V=`date`\n. ./other\n[ -f x ] && export V=1\nexport -n V\nV=1 cmd\nV=${A%b}\nW='x";
        let found = findings(text);
        let starts: Vec<&str> = found.iter().filter_map(|f| f.split(": ").next()).collect();
        let lines: Vec<String> = (1..9).map(|n| format!("c/flume-env.sh:{n}")).collect();
        assert_eq!(starts, lines);
        assert_eq!(
            found[0],
            "c/flume-env.sh:1: warning[env-file]: configuration: not understood, passed over: $( needs a shell"
        );
        assert_eq!(run(text).environment.get("V"), None);
    }

    #[test]
    fn blocks_are_passed_over_as_a_whole() {
        let text = "if [ -z \"$V\" ]; then\n  export V=1\n  for x in a; do\n V=2\n done\nelse export V=3\nfi\n\
                    f() {\n export V=4\n}\nif true; then export V=5; fi; export W=6\n\
                    cat x | while read V; do\nexport V=7\ndone > y\nexport X=8";
        let file = run(text);
        assert_eq!(file.environment.get("V"), None);
        assert_eq!(
            (&file.environment["W"][..], &file.environment["X"][..]),
            ("6", "8")
        );
        let lines: Vec<usize> = file.findings.iter().map(|f| f.place.line).collect();
        assert_eq!(lines, [1, 8, 11, 12]);
    }

    #[test]
    fn classes_are_not_loaded() {
        assert!(findings("FLUME_CLASSPATH=\"/x\"")[0].contains("FLUME_CLASSPATH has no effect"));
        assert_eq!(findings("FLUME_CLASSPATH=\"\""), [""; 0]);
    }

    #[test]
    fn a_directory_without_the_file_is_none() {
        let file = read(Some(Path::new("/no/such/folder")), BTreeMap::new()).unwrap();
        assert_eq!(file, EnvFile::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_or_stand_still(text in "[A-C=+${}:\"'\\\\;#~ \n`()i-]{0,80}") {
            run(&text);
        }
    }
}
