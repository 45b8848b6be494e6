//! Habits inside Rust files: stories, sizes, names of tests, and words that have no place outside tests.

use crate::scan::Source;
use crate::tree::{Sin, Tree};

const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 80;
/// Within this many lines of its start a long file says why it is long.
const REASON_WITHIN_LINES: usize = 40;
/// The shortest text that can be a reason.
const REASON_LENGTH_MIN: usize = 12;

/// Files that do not open with a story.
pub fn stories(tree: &Tree) -> Vec<Sin> {
    let opens = |source: &&Source| {
        let first = source.text.lines().next().unwrap_or("");
        // The README of a crate is its story.
        let told = first
            .strip_prefix("//!")
            .is_some_and(|story| !story.trim().is_empty());
        told || first.starts_with("#![doc = include_str!(\"../README.md\")]")
    };
    let silent = tree
        .rust
        .iter()
        .filter(|source| !is_fuzz(source) && !opens(source));
    silent
        .map(|source| {
            Sin::new(
                &source.path,
                1,
                "no story: open the file with `//!` lines that say what it is for",
            )
        })
        .collect()
}

/// `unwrap`, an `expect` without reason, and work left to do.
pub fn panics(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for source in &tree.rust {
        let mut found = |at: usize, what: &str| sins.push(Sin::new(&source.path, source.line(at), what));
        for at in source.places_outside_tests(".unwrap()") {
            found(
                at,
                "`.unwrap()` outside tests: handle it, or `.expect(\"the invariant that holds\")`",
            );
        }
        for at in source.places_outside_tests(".expect(") {
            if expected(source, at + ".expect(".len())
                .is_some_and(|text| text.chars().count() < REASON_LENGTH_MIN)
            {
                found(
                    at,
                    "`.expect` with hardly a word: state the invariant that holds here",
                );
            }
        }
        for left in ["todo!(", "unimplemented!("] {
            for at in source.places_outside_tests(left) {
                found(
                    at,
                    "work left to do: do it, or return an error that says what is missing",
                );
            }
        }
    }
    sins
}

/// `do_send` that is not marked as a signal.
pub fn signals(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for source in &tree.rust {
        for at in source.places_outside_tests("do_send(") {
            let line = source.line(at);
            let marked = |line: usize| {
                source
                    .text
                    .lines()
                    .nth(line.wrapping_sub(1))
                    .is_some_and(|text| text.contains("// signal"))
            };
            if !marked(line) && !marked(line - 1) && !source.code[..at].ends_with("fn ") {
                let what = "`do_send` ignores the mailbox bound: use `send` or `try_send`, or mark a rare signal with `// signal`";
                sins.push(Sin::new(&source.path, line, what));
            }
        }
    }
    sins
}

/// Tests named `test_*`.
pub fn names(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for source in &tree.rust {
        for function in source.functions() {
            if function.name.starts_with("test_") && is_test(source, function.at) {
                let what = format!(
                    "`{}`: a test is named by a sentence, without prefix",
                    function.name
                );
                sins.push(Sin::new(&source.path, function.line, what));
            }
        }
    }
    sins
}

/// Long files and long functions that do not say why.
pub fn sizes(tree: &Tree) -> Vec<Sin> {
    let mut sins = Vec::new();
    for source in tree.rust.iter().filter(|source| !is_fuzz(source)) {
        let lines: Vec<&str> = source.text.lines().collect();
        if lines.len() > FILE_LINES_MAX
            && !lines
                .iter()
                .take(REASON_WITHIN_LINES)
                .any(|line| gives_reason(line, "file"))
        {
            let what = format!(
                "{} lines, {FILE_LINES_MAX} at most: split it, or write `// tidy: long file, because …` at its top",
                lines.len()
            );
            sins.push(Sin::new(&source.path, 1, what));
        }
        for function in source.functions() {
            let excused = above(&lines, function.line).any(|line| gives_reason(line, "function"));
            if function.length_lines > FUNCTION_LINES_MAX && !excused {
                let what = format!(
                    "`{}` has {} lines, {FUNCTION_LINES_MAX} at most: break it up, or write `// tidy: long function, because …` above it",
                    function.name, function.length_lines
                );
                sins.push(Sin::new(&source.path, function.line, what));
            }
        }
    }
    sins
}

/// The text of an `expect`, when it is written out right here.
fn expected(source: &Source, at: usize) -> Option<&str> {
    let start = at + source.code[at..].find(|c: char| !c.is_whitespace())?;
    let inside = source.code[start..].strip_prefix('"')?;
    let length = inside.find('"')?;
    source.text.get(start + 1..start + 1 + length)
}

/// Fuzz targets have a shape of their own.
fn is_fuzz(source: &Source) -> bool {
    source.path.split('/').any(|part| part == "fuzz")
}

/// Whether an attribute of the function at an offset makes it a test: `#[test]`, `#[tokio::test(…)]`.
fn is_test(source: &Source, at: usize) -> bool {
    let attributes = source.code[..at].rsplit(['{', '}', ';']).next().unwrap_or("");
    ["test]", "test("].iter().any(|end| attributes.contains(end))
}

/// The attributes and comments directly above a line.
fn above<'a>(lines: &'a [&'a str], line: usize) -> impl Iterator<Item = &'a str> {
    let belongs = |line: &&&str| {
        let line = line.trim_start();
        line.is_empty() || line.starts_with("#[") || line.starts_with("//")
    };
    lines[..line - 1].iter().rev().take_while(belongs).copied()
}

fn gives_reason(line: &str, of: &str) -> bool {
    let mark = format!("// tidy: long {of}, because ");
    line.trim_start()
        .strip_prefix(&mark)
        .is_some_and(|reason| reason.trim().len() >= REASON_LENGTH_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(check: fn(&Tree) -> Vec<Sin>, text: &str) -> Vec<usize> {
        check(&Tree::of(&[("node/src/a.rs", text)]))
            .into_iter()
            .map(|sin| sin.line)
            .collect()
    }

    #[test]
    fn a_story_is_a_first_line_with_words() {
        assert_eq!(lines(stories, "//! A story.\n"), []);
        assert_eq!(lines(stories, "#![doc = include_str!(\"../README.md\")]\n"), []);
        assert_eq!(lines(stories, "//!\nfn a() {}\n"), [1]);
        assert_eq!(lines(stories, "\n//! late\n"), [1]);
        assert_eq!(lines(stories, ""), [1]);
    }

    #[test]
    fn panics_are_found_outside_tests_only() {
        assert_eq!(
            lines(panics, "a.unwrap()\n// a.unwrap()\n\".unwrap()\"\na.unwrap_or(b)"),
            [1]
        );
        assert_eq!(
            lines(
                panics,
                "#[cfg(test)]\nmod tests {\n a.unwrap(); todo!() }\ntodo!()"
            ),
            [4]
        );
        assert_eq!(
            lines(
                panics,
                "a.expect(\"short\")\nb.expect(\n  \"the queue was filled above\")\nc.expect(TOKEN)"
            ),
            [1]
        );
        assert_eq!(lines(panics, "unimplemented!(\"b\")"), [1]);
        assert_eq!(panics(&Tree::of(&[("tests/src/a.rs", "a.unwrap()")])), []);
    }

    #[test]
    fn a_signal_is_marked_on_its_line_or_the_one_before() {
        assert_eq!(lines(signals, "a.do_send(b);\n"), [1]);
        assert_eq!(
            lines(
                signals,
                "a.do_send(b); // signal\n// signal: stop\na.do_send(b);\nfn do_send() {}\n"
            ),
            []
        );
    }

    #[test]
    fn only_tests_may_not_be_called_so() {
        assert_eq!(
            lines(
                names,
                "#[test]\n/// x\n#[ignore]\nfn test_a() {}\nfn test_helper() {}\n"
            ),
            [4]
        );
        assert_eq!(
            lines(
                names,
                "#[tokio::test(start_paused = true)]\nasync fn test_a() {}\n#[test] fn test_b() {}"
            ),
            [2, 3]
        );
        assert_eq!(
            lines(
                names,
                "#[cfg(test)]\nfn test_a() {}\n#[test]\nfn a_sentence() {}\n"
            ),
            []
        );
    }

    #[test]
    fn long_files_and_functions_say_why() {
        let long = |head: &str| format!("//! a\n{head}fn a() {{\n{}}}\n", "x;\n".repeat(79));
        assert_eq!(lines(sizes, &long("")), [2]);
        assert_eq!(lines(sizes, &long("").replacen("x;\n", "", 1)), []);
        assert_eq!(lines(sizes, &long("// tidy: long function, because \n")), [3]);
        assert_eq!(
            lines(
                sizes,
                &long("// tidy: long function, because it is a table\n#[inline]\n")
            ),
            []
        );
        let file = |head: &str, count| format!("{head}{}", "\n".repeat(count));
        assert_eq!(lines(sizes, &file("", 700)), []);
        assert_eq!(lines(sizes, &file("", 701)), [1]);
        assert_eq!(
            lines(sizes, &file("// tidy: long file, because it is one table\n", 701)),
            []
        );
    }
}
