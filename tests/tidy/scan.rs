//! As much Rust as tidy has to read: where code ends and comments and strings begin, which lines are tests, where a
//! function stops, which paths are named. A scanner of a few hundred lines, because tidy depends on nothing but std.
//!
//! [`Source::code`] is the text with comments, characters and the insides of strings blanked out. It has the same
//! length and lines as the text, so an offset in one is an offset in the other.

use std::ops::Range;

/// A scanned Rust file.
#[derive(Debug)]
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
    /// The whole file serves tests.
    pub is_test: bool,
    /// Items behind `#[cfg(test)]`.
    test_items: Vec<Range<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    /// Offset of `fn`.
    pub at: usize,
    /// Line of `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub length_lines: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let code = code_of(text);
        let serves_tests =
            |part: &str| matches!(part, "tests" | "benches" | "examples" | "fuzz" | "tests.rs");
        let is_test = path.split('/').any(serves_tests) || code.contains("#![cfg(test)]");
        let test_items = test_items(&code);
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            is_test,
            test_items,
        }
    }

    /// The line of an offset, from 1.
    pub fn line(&self, offset: usize) -> usize {
        self.code.as_bytes()[..offset]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1
    }

    pub fn in_test(&self, offset: usize) -> bool {
        self.is_test || self.test_items.iter().any(|item| item.contains(&offset))
    }

    /// Where a piece of code stands outside tests.
    pub fn places_outside_tests(&self, needle: &str) -> Vec<usize> {
        self.code
            .match_indices(needle)
            .map(|(at, _)| at)
            .filter(|at| !self.in_test(*at))
            .collect()
    }

    /// Paths, without `.rs`, of the modules that this file declares as `#[cfg(test)] mod x;`.
    pub fn external_test_modules(&self) -> Vec<String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let home = match file {
            "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let declared = |item: &Range<usize>| {
            let (_, module) = self.code[item.clone()].split_once("mod ")?;
            let name = module.trim().strip_suffix(';')?.trim();
            Some(format!("{home}/{name}"))
        };
        self.test_items.iter().filter_map(declared).collect()
    }

    /// Every function with a body, those of tests too.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let name = identifier(&self.code, skip_blanks(&self.code, at + 2));
            let Some(end) = item_end(&self.code, at) else {
                continue;
            };
            if name.is_empty() || self.code.as_bytes()[end - 1] != b'}' {
                continue;
            }
            let line = self.line(at);
            found.push(Function {
                name: name.to_owned(),
                at,
                line,
                length_lines: self.line(end - 1) - line + 1,
            });
        }
        found
    }

    /// Inline modules around an offset, outermost first.
    fn inline_modules(&self, offset: usize) -> Vec<String> {
        let mut found = Vec::new();
        for at in words(&self.code, "mod") {
            let name = identifier(&self.code, skip_blanks(&self.code, at + 3));
            let holds = |end: usize| self.code.as_bytes()[end - 1] == b'}' && (at..end).contains(&offset);
            if !name.is_empty() && item_end(&self.code, at).is_some_and(holds) {
                found.push(name.to_owned());
            }
        }
        found
    }

    /// Every path outside tests that starts from `crate`, `super`, `self` or the crate's own name `node`, with its
    /// offset, as names from the root of the crate. `home` is the module of this file.
    pub fn named_paths(&self, home: &[String]) -> Vec<(usize, Vec<String>)> {
        let mut found = Vec::new();
        for first in ["crate", "super", "self", "node"] {
            for at in words(&self.code, first) {
                let before = self.code[..at].trim_end();
                // Not the start of a path, or a visibility: `pub(in crate::source)`.
                if before.ends_with("::") || before.ends_with("(in") || self.in_test(at) {
                    continue;
                }
                let mut module = home.to_vec();
                module.extend(self.inline_modules(at));
                let mut leaves = Vec::new();
                read_path(&self.code, at, &[], &mut leaves);
                let several = |leaf: &(usize, Vec<String>)| leaf.1.len() > 1;
                found.extend(
                    leaves
                        .into_iter()
                        .filter(several)
                        .map(|(at, names)| (at, resolved(&names, &module))),
                );
            }
        }
        found.sort();
        found
    }
}

/// The text with comments, characters and the insides of strings as blanks.
pub fn code_of(text: &str) -> String {
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let Some(end) = hidden_until(text.as_bytes(), at) else {
            at += 1;
            continue;
        };
        // The quotes of a plain string stay, so that the string can be found again.
        let kept = usize::from(code[at] == b'"' && end - at > 1);
        for byte in &mut code[at + kept..end - kept] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("whole characters are blanked, never a part of one")
}

/// The end of the comment, string or character that begins here, if one does.
fn hidden_until(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let after_name = at > 0 && is_name(bytes[at - 1]);
    match rest[0] {
        b'/' if rest.starts_with(b"//") => Some(
            rest.iter()
                .position(|byte| *byte == b'\n')
                .map_or(bytes.len(), |length| at + length),
        ),
        b'/' if rest.starts_with(b"/*") => Some(at + comment_length(rest)),
        b'"' => Some(at + string_length(rest)),
        b'r' if !after_name || bytes[..at].ends_with(b"b") || bytes[..at].ends_with(b"c") => {
            raw_string_length(rest).map(|length| at + length)
        }
        b'\'' => character_length(rest).map(|length| at + length),
        _ => None,
    }
}

fn comment_length(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_length(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let inside = &rest[2 + hashes..];
    let length = inside.windows(end.len()).position(|window| window == end);
    Some(length.map_or(rest.len(), |length| 2 + hashes + length + end.len()))
}

/// A character; None for a lifetime.
fn character_length(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let end = rest.get(3..)?.iter().position(|byte| *byte == b'\'')?;
        return Some(end + 4);
    }
    let width = match rest.get(1)? {
        0..=0x7f => 1,
        0x80..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where a word stands on its own in code.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let after = bytes.get(at + word.len()).copied();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

/// The identifier at an offset, without `r#`; empty when there is none.
pub fn identifier(code: &str, at: usize) -> &str {
    let rest = code.get(at..).unwrap_or("");
    let rest = rest.strip_prefix("r#").unwrap_or(rest);
    let length = rest.bytes().take_while(|byte| is_name(*byte)).count();
    &rest[..length]
}

fn skip_blanks(code: &str, at: usize) -> usize {
    at + code[at..].bytes().take_while(u8::is_ascii_whitespace).count()
}

/// The end of the item that begins at or after an offset: past its `;` or its closing brace.
fn item_end(code: &str, from: usize) -> Option<usize> {
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces <= 0 {
                    return Some(at + 1);
                }
            }
            b';' if brackets <= 0 && braces == 0 => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn test_items(code: &str) -> Vec<Range<usize>> {
    let marks = ["#[cfg(test)]", "#[cfg(all(test,"];
    let starts = marks
        .iter()
        .flat_map(|mark| code.match_indices(mark).map(|(at, _)| at));
    starts
        .map(|at| at..item_end(code, at).unwrap_or(code.len()))
        .collect()
}

/// Reads the path at an offset, and every branch of a `{...}` group in it; returns where it stops.
fn read_path(code: &str, at: usize, before: &[String], leaves: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut names = before.to_vec();
    let mut at = skip_blanks(code, at);
    let start = at;
    loop {
        let rest = &code[at..];
        if rest.starts_with('{') {
            return read_group(code, at + 1, &names, leaves);
        }
        if rest.starts_with('*') {
            names.push("*".to_owned());
            at += 1;
            break;
        }
        let name = identifier(code, at);
        if name.is_empty() {
            break; // `::<` of a turbofish
        }
        at += name.len() + if rest.starts_with("r#") { 2 } else { 0 };
        names.push(name.to_owned());
        let next = skip_blanks(code, at);
        if !code[next..].starts_with("::") {
            break;
        }
        at = skip_blanks(code, next + 2);
    }
    leaves.push((start, names));
    at
}

fn read_group(code: &str, mut at: usize, names: &[String], leaves: &mut Vec<(usize, Vec<String>)>) -> usize {
    loop {
        at = skip_blanks(code, at);
        match code.as_bytes().get(at) {
            Some(b'}') => return at + 1,
            Some(byte) if is_name(*byte) || *byte == b'{' || *byte == b'*' => {
                at = read_path(code, at, names, leaves)
            }
            Some(_) => at += 1, // a comma
            None => return at,
        }
        // `x as y` of the branch just read
        if words(&code[at..], "as").next() == Some(skip_blanks(&code[at..], 0)) {
            at = skip_blanks(code, at) + 2;
            at = skip_blanks(code, at);
            at += identifier(code, at).len();
        }
    }
}

/// Names from the root of the crate, for names that begin with `crate`, `super`, `self` or `node`.
fn resolved(names: &[String], module: &[String]) -> Vec<String> {
    let mut absolute = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match name.as_str() {
            "crate" | "node" if index == 0 => {}
            "self" if index == 0 => absolute = module.to_vec(),
            "super" if index == 0 => absolute = module[..module.len().saturating_sub(1)].to_vec(),
            "super" => {
                absolute.pop();
            }
            "self" => {}
            _ => absolute.push(name.clone()),
        }
    }
    absolute
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(code: &str) -> Vec<String> {
        let home = ["source".to_owned(), "avro".to_owned()];
        let source = Source::new("node/src/source/avro.rs", code);
        source
            .named_paths(&home)
            .into_iter()
            .map(|(_, names)| names.join("::"))
            .collect()
    }

    #[test]
    fn comments_strings_and_characters_are_blanked_and_lines_stay() {
        let code = |text: &str| code_of(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(code("a // b\nc /* d /* e */ f */ g"), "a c g");
        assert_eq!(
            code(r#"a("b \" c", 'd', '"', '\'', 'é') + x::<'e>()"#),
            r#"a(" ", , , , ) + x::<'e>()"#
        );
        assert_eq!(
            code("a(r#\"b \" c\"#, br\"d\", b\"e\", r#type)"),
            "a( , b , b\" \", r#type)"
        );
        assert_eq!(code_of("/* a\nb */\n\"c\nd\"").lines().count(), 4);
    }

    #[test]
    fn a_test_module_ends_with_its_brace() {
        let source = Source::new(
            "node/src/a.rs",
            "b\n#[cfg(test)]\nmod tests { fn b() { x[0; 2] } }\nb\n",
        );
        assert_eq!(source.places_outside_tests("b").len(), 2);
        assert!(
            Source::new("node/benches/a.rs", "b")
                .places_outside_tests("b")
                .is_empty()
        );
        assert!(
            Source::new("node/src/a.rs", "#[cfg(all(test, unix))] mod a; b")
                .places_outside_tests("b")
                .len()
                == 1
        );
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "trait A { fn none(&self); }\nfn two<T>(a: [u8; 3], f: fn(u8)) -> T\nwhere T: B { \"}\";\n { } }\n";
        let found = Source::new("node/src/a.rs", text).functions();
        assert_eq!(
            found,
            [Function {
                name: "two".to_owned(),
                at: 28,
                line: 2,
                length_lines: 3
            }]
        );
    }

    #[test]
    fn paths_are_read_through_groups_and_resolved() {
        assert_eq!(
            names("use crate::io::{tail::Tail, tls as t, disk::{self, Disk}};").len(),
            4
        );
        assert_eq!(names("use crate::{io as a, sink::b};"), ["io", "sink::b"]);
        assert_eq!(
            names("use super::netcat::X; fn a() -> super::super::sink::B {}"),
            ["source::netcat::X", "sink::B"]
        );
        assert_eq!(
            names("mod inner { use super::super::seq::X; }"),
            ["source::seq::X"]
        );
        assert_eq!(
            names("use super::*; let b = node::config::parse::<u8>();"),
            ["source::*", "config::parse"]
        );
        assert_eq!(
            names("// crate::sink::a\npub(in crate::source) fn a(&self) { self.b } // super::c::d"),
            [""; 0]
        );
        assert_eq!(names("#[cfg(test)] mod tests { use crate::sink::X; }"), [""; 0]);
        assert_eq!(names("use self::r#type::X;"), ["source::avro::type::X"]);
    }
}
