//! Our regular expressions against `java.util.regex`: the groups of the first match, those of a match of the whole
//! text, and `replaceAll`.
//!
//! `regex.txt` holds what Java 17 answers to each of its patterns and texts (`java Regex.java < regex.txt | tail -n +2`
//! writes it anew), so that ours can be held against it without Java. Where there is a Java, it is asked again, and about
//! patterns and texts made from a seed as well. Deliberate differences stand in [`REFUSED`] and [`OTHERWISE`].

mod java;

use java::{text_of, written};
use node::java::regex::{Regex, Replacement};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const TABLE: &str = include_str!("regex.txt");
const RANDOM_CASES: usize = 1_500;
/// The Java that the table is of. Others differ in `\b` and in the case of categories.
const TABLE_OF: &str = "17";
const SEED: u64 = 0x1ace;

/// What Java has and we refuse, with our words.
const REFUSED: &[(&str, &str)] = &[
    (
        "\\X",
        "unsupported: \\X (grapheme clusters) at character 1 of \"\\X\"",
    ),
    (
        "\\b{g}",
        "unsupported: \\b{g} (grapheme boundaries) at character 1 of \"\\b{g}\"",
    ),
    (
        "\\N{DIGIT ONE}",
        "unsupported: \\N (characters by name) at character 1 of \"\\N{DIGIT ONE}\"",
    ),
    (
        "a(?c)b",
        "unsupported: the flag c (canonical equivalence) at character 4 of \"a(?c)b\"",
    ),
    (
        "\\p{javaMirrored}",
        "unsupported: \\p{javaMirrored} at character 1 of \"\\p{javaMirrored}\"",
    ),
    (
        "[\\ud83d]",
        "unsupported: half a surrogate pair at character 2 of \"[\\ud83d]\"",
    ),
];

/// Patterns of the table on which we answer otherwise than Java, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("(a?)+b", "a round more that matches nothing"),
    ("()*", "no round at all"),
    ("(a*)*", "a round more that matches nothing"),
    ("(a*)+", "a round more that matches nothing"),
    ("(|a)*", "a round more that matches nothing"),
    ("(|a)+", "a round more that matches nothing"),
    ("(a??)*", "a round more that matches nothing"),
    ("(a|b*)*", "a round more that matches nothing"),
    ("(?!(a))b", "a group of a look-ahead that failed"),
    ("(?<=(a|ab))c", "a group in a look-behind"),
    ("\\R{2}", "\\r\\n as two"),
    (
        "(?iu)ß",
        "of two letters that are one, Java sees it only in words of two letters and more",
    ),
];

#[test]
fn what_is_refused_is_named_with_its_place() {
    for (pattern, words) in REFUSED {
        assert_eq!(Regex::new(pattern).unwrap_err().to_string(), *words);
    }
}

#[test]
fn the_table_is_answered_as_java_answered_it() {
    assert!(TABLE.lines().count() >= 500);
    compare(TABLE);
}

#[test]
fn java_answers_the_table_and_random_patterns_alike() {
    let mut input = TABLE.to_owned();
    let mut random = StdRng::seed_from_u64(SEED);
    for _ in 0..RANDOM_CASES {
        let Piece(pattern, ..) = pattern(&mut random, 3, true);
        for _ in 0..4 {
            let text = text(&mut random);
            input.push_str(&format!("{}\t{}\t[$0]\n", written(&pattern), written(&text)));
        }
    }
    let Some(answers) = java::ask("Regex.java", &[], &input) else {
        return;
    };
    let (version, answers) = answers
        .split_once('\n')
        .expect("the version stands in the first line");
    if version == TABLE_OF {
        assert!(
            answers.starts_with(TABLE),
            "this Java answers otherwise than the table says"
        );
        compare(answers);
    } else {
        let made = answers.lines().skip(TABLE.lines().count());
        let safe = made.filter(|row| !row.contains("\\b") && !row.contains("\\B"));
        compare(&safe.collect::<Vec<_>>().join("\n"));
    }
}

fn compare(rows: &str) {
    // Rows of one pattern stand together.
    let mut last: Option<(String, Option<Regex>)> = None;
    let differing: Vec<String> = rows
        .lines()
        .filter_map(|row| {
            let pattern = text_of(row.split('\t').next().unwrap_or_default());
            let (known, regex) = match last.take() {
                Some((known, regex)) if known == pattern => (known, regex),
                _ => (pattern.clone(), Regex::new(&pattern).ok()),
            };
            let differs = differs(row, regex.as_ref());
            last = Some((known, regex));
            differs
        })
        .collect();
    let shown = &differing[..differing.len().min(60)];
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        shown.join("\n")
    );
}

fn differs(row: &str, regex: Option<&Regex>) -> Option<String> {
    let fields: Vec<&str> = row.split('\t').collect();
    let [pattern, text, replacement] = [0, 1, 2].map(|n| text_of(fields[n]));
    if REFUSED
        .iter()
        .chain(OTHERWISE)
        .any(|(known, _)| *known == pattern)
    {
        return None;
    }
    let ours = answer(regex, &text, &replacement);
    let theirs = fields[3..].join("\t");
    // Java wants to see the largest length of a look-behind; we do not.
    if theirs.starts_with("error") && pattern.contains("(?<") && !ours.starts_with("error") {
        return None;
    }
    (ours != theirs).then(|| format!("{pattern:?} on {text:?}: java {theirs:?}, ours {ours:?}"))
}

/// The last three columns.
fn answer(regex: Option<&Regex>, text: &str, replacement: &str) -> String {
    let Some(regex) = regex else {
        return "error\terror\terror".to_owned();
    };
    let units = |bytes: usize| text[..bytes].encode_utf16().count();
    let places = |groups: Option<Vec<Option<&str>>>| match groups {
        None => "no".to_owned(),
        Some(groups) => {
            let place = |group: &Option<&str>| match group {
                None => "-".to_owned(),
                Some(part) => {
                    let start = part.as_ptr() as usize - text.as_ptr() as usize;
                    format!("{}-{}", units(start), units(start + part.len()))
                }
            };
            groups.iter().map(place).collect::<Vec<_>>().join(" ")
        }
    };
    let found = regex.captures(text);
    assert_eq!(found.is_some(), regex.found_in(text), "{regex:?} on {text:?}");
    let whole = regex.whole_captures(text);
    assert_eq!(whole.is_some(), regex.matches(text), "{regex:?} on {text:?}");
    let replaced = match Replacement::new(replacement, regex) {
        Ok(replacement) => match regex.replace_with(text, &replacement, usize::MAX) {
            Ok(replaced) => written(&replaced),
            Err(error) => return error.to_string(),
        },
        // Java looks at the replacement when there is something to replace.
        Err(_) if found.is_none() => written(text),
        Err(_) => "error".to_owned(),
    };
    format!("{}\t{}\t{replaced}", places(found), places(whole))
}

/// A piece of a pattern: the text, whether it may match nothing, whether a group stands in it.
struct Piece(String, bool, bool);

/// A pattern that is mostly legal. Groups stand where [`OTHERWISE`] has nothing to say about them.
fn pattern(random: &mut StdRng, depth: usize, groups: bool) -> Piece {
    let mut all = Piece(String::new(), true, false);
    for _ in 0..random.random_range(0..4) {
        let part = part(random, depth, groups);
        all = Piece(all.0 + &part.0, all.1 && part.1, all.2 || part.2);
    }
    all
}

fn part(random: &mut StdRng, depth: usize, groups: bool) -> Piece {
    const ATOMS: &[&str] = &[
        "a",
        "b",
        "c",
        "ab",
        ".",
        "[ab]",
        "[^a]",
        "[a-c&&[^b]]",
        "\\d",
        "\\w",
        "\\s",
        "\\S",
        "\\n",
        "\\r",
        "\\p{L}",
        "\\p{Lu}",
        "\\x41",
        "é",
        "1",
        "\\Qa.b\\E",
        "-",
        "\\h",
        "\\v",
        "😀",
    ];
    const PLACES: &[&str] = &["\\b", "\\B", "^", "$", "\\Z", "\\z", "\\A", "\\1", "\\2"];
    const FLAGS: &[&str] = &["(?i)", "(?s)", "(?m)", "(?d)"];
    const OPENS: &[&str] = &["(", "(", "(", "(?:", "(?:", "(?>", "(?i:", "(?m:", "(?s-i:"];
    const LOOKS: &[&str] = &["(?=", "(?!", "(?<=", "(?<!"];
    // Without groups the last two as well: Java leaves those of failed attempts behind in possessive ones.
    const ONCE: &[&str] = &["", "", "", "?", "??", "?+", "?+"];
    const OFTEN: &[&str] = &["", "", "*", "+", "{2}", "{0,2}", "{1,}", "*?", "+?", "*+", "++"];
    let pick = |random: &mut StdRng, of: &[&'static str]| of[random.random_range(0..of.len())];
    let atom = match random.random_range(0..12) {
        0..4 if depth > 0 => {
            let look = random.random_range(0..4) == 0;
            let open = match pick(random, if look { LOOKS } else { OPENS }) {
                "(" if !groups => "(?:",
                open => open,
            };
            let behind = open.starts_with("(?<");
            // Java takes the lengths of what repeats in a look-behind from a formula that is not always right.
            let within = |random: &mut StdRng| {
                if behind {
                    Piece((0..2).map(|_| pick(random, ATOMS)).collect(), false, false)
                } else {
                    pattern(random, depth - 1, groups && !look && open != "(?>")
                }
            };
            let mut inside = within(random);
            if random.random_range(0..3) == 0 {
                let other = within(random);
                inside = Piece(
                    format!("{}|{}", inside.0, other.0),
                    inside.1 || other.1,
                    inside.2 || other.2,
                );
            }
            Piece(
                format!("{open}{})", inside.0),
                look || inside.1,
                open == "(" || inside.2,
            )
        }
        4 => Piece(pick(random, PLACES).to_owned(), true, false),
        5 => return Piece(pick(random, FLAGS).to_owned(), true, false),
        _ => Piece(pick(random, ATOMS).to_owned(), false, false),
    };
    let often = !atom.1 && random.random_range(0..2) == 0;
    let quantifiers = if often { OFTEN } else { ONCE };
    let quantifier = pick(
        random,
        &quantifiers[..quantifiers.len() - 2 * usize::from(atom.2)],
    );
    let may_be_empty = quantifier.starts_with(['?', '*']) || quantifier.starts_with("{0");
    Piece(atom.0 + quantifier, atom.1 || may_be_empty, atom.2)
}

fn text(random: &mut StdRng) -> String {
    const PIECES: &[&str] = &[
        "a", "b", "c", "A", "B", "1", " ", "\n", "\r", "\r\n", "\u{85}", "é", "-", "a.b", "_",
    ];
    let pieces = random.random_range(0..7);
    (0..pieces)
        .map(|_| PIECES[random.random_range(0..PIECES.len())])
        .collect()
}
