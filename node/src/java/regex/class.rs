//! Classes of characters: what a letter, a range, `\d` or `\p{...}` of Java means, written for the regex crate.
//!
//! Everything here returns *items*: text that stands between the brackets of a class and means the same wherever it
//! stands there, so that a union is one text behind the other. Without `(?U)` the classes are those of ASCII, and
//! without `(?u)` case is that of ASCII. Case of other letters is Java's `toLowerCase(toUpperCase(c))`, letter by
//! letter, which makes `i`, `I`, dotless and dotted i one.
//!
//! Source: the documentation of `java.util.regex.Pattern` and `java.lang.Character` of Java 17. The blocks are
//! Unicode 13's (`blocks.txt`: name, first, last), scripts and categories those of the regex crate.

use super::parse::Flags;
use std::fmt::Write;
use std::sync::OnceLock;

/// Names of blocks in lower case without blanks, hyphens and underscores, first and last character.
const BLOCKS: &str = include_str!("blocks.txt");

const ALL: &str = r"\x{0}-\x{10FFFF}";

/// A class of these items.
pub(super) fn bracketed(items: &str) -> String {
    format!("[{items}]")
}

/// A character as it may stand anywhere, in classes and outside.
pub(super) fn literal(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        c.to_string()
    } else {
        format!(r"\x{{{:X}}}", u32::from(c))
    }
}

/// `.`: everything but line terminators.
pub(super) fn dot(unix_lines: bool) -> String {
    if unix_lines {
        r"[^\x{A}]".to_owned()
    } else {
        r"[^\x{A}\x{D}\x{85}\x{2028}\x{2029}]".to_owned()
    }
}

/// The items for a letter whose case does not matter; none if it means itself only.
pub(super) fn single(c: char, flags: Flags) -> Option<String> {
    if !flags.any_case {
        return None;
    }
    let mut all: Vec<char> = if flags.unicode_case {
        let key = folded(c);
        let cased = cases()
            .iter()
            .filter(|case| folded(case.c) == key)
            .map(|case| case.c);
        cased.chain([c, key]).collect()
    } else {
        vec![c, c.to_ascii_lowercase(), c.to_ascii_uppercase()]
    };
    all.sort_unstable();
    all.dedup();
    (all.len() > 1).then(|| all.into_iter().map(literal).collect())
}

/// The items for a character in a class.
pub(super) fn item(c: char, flags: Flags) -> String {
    single(c, flags).unwrap_or_else(|| literal(c))
}

/// The items for a range.
pub(super) fn range(low: char, high: char, flags: Flags) -> String {
    let mut items = format!("{}-{}", literal(low), literal(high));
    let inside = |c: char| (low..=high).contains(&c);
    if flags.any_case && flags.unicode_case {
        let also = cases().iter().filter(|case| !inside(case.c));
        for case in also.filter(|case| inside(case.upper) || inside(lower(case.upper))) {
            items.push_str(&literal(case.c));
        }
    } else if flags.any_case {
        let letters = ('A'..='Z').chain('a'..='z').filter(|c| !inside(*c));
        for c in letters.filter(|c| inside(c.to_ascii_lowercase()) || inside(c.to_ascii_uppercase())) {
            items.push(c);
        }
    }
    items
}

/// The items for `\d`, `\w`, `\s`, `\h`, `\v`; those of a capital letter are the others.
pub(super) fn predefined(c: char, flags: Flags) -> String {
    let items = match (c.to_ascii_lowercase(), flags.unicode_classes) {
        ('d', false) => "0-9",
        ('d', true) => r"\p{Nd}",
        ('w', false) => r"a-zA-Z0-9\x{5F}",
        ('w', true) => r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}",
        ('s', false) => r"\x{9}-\x{D}\x{20}",
        ('s', true) => r"\p{White_Space}",
        ('h', _) => r"\x{9}\x{20}\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
        _ => r"\x{A}-\x{D}\x{85}\x{2028}\x{2029}",
    };
    if c.is_ascii_uppercase() {
        format!("[^{items}]")
    } else {
        items.to_owned()
    }
}

/// The items for `\p{name}`.
pub(super) fn property(name: &str, flags: Flags) -> Result<String, String> {
    let unknown = || format!("unknown property \\p{{{name}}}");
    if let Some((key, value)) = name.split_once('=') {
        return match key.to_ascii_lowercase().as_str() {
            "sc" | "script" => script(value),
            "blk" | "block" => block(value),
            "gc" | "general_category" => category(value, flags),
            _ => None,
        }
        .ok_or_else(unknown);
    }
    let items = if let Some(name) = name.strip_prefix("In") {
        block(name)
    } else if let Some(name) = name.strip_prefix("Is") {
        posix_of_unicode(name, flags)
            .or_else(|| binary(name, flags))
            .or_else(|| category(name, flags))
            .or_else(|| script(name))
    } else {
        let of_unicode = flags.unicode_classes.then(|| posix_of_unicode(name, flags));
        if name == "javaMirrored" {
            return Err("unsupported: \\p{javaMirrored}".to_owned());
        }
        of_unicode.flatten().or_else(|| category(name, flags))
    };
    items.ok_or_else(unknown)
}

/// Categories, classes of ASCII, and what `Character` asks.
fn category(name: &str, flags: Flags) -> Option<String> {
    const CATEGORIES: [&str; 37] = [
        "Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Me", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf",
        "Co", "Pd", "Ps", "Pe", "Pc", "Po", "Sm", "Sc", "Sk", "So", "Pi", "Pf", "L", "M", "N", "Z", "C", "P",
        "S", "Cs",
    ];
    let cased = r"\p{Lu}\p{Ll}\p{Lt}";
    let items = match name {
        "Lu" | "Ll" | "Lt" | "javaTitleCase" if flags.any_case => cased,
        "Lower" | "Upper" if flags.any_case => "a-zA-Z",
        "javaLowerCase" | "javaUpperCase" if flags.any_case => r"\p{Lowercase}\p{Uppercase}\p{Lt}",
        // No text here has half a pair.
        "Cs" => r"[^\x{0}-\x{10FFFF}]",
        "LC" => cased,
        "LD" => r"\p{L}\p{Nd}",
        "L1" => r"\x{0}-\x{FF}",
        "all" => ALL,
        "ASCII" => r"\x{0}-\x{7F}",
        "Alnum" => "a-zA-Z0-9",
        "Alpha" => "a-zA-Z",
        "Blank" => r"\x{9}\x{20}",
        "Cntrl" => r"\x{0}-\x{1F}\x{7F}",
        "Digit" => "0-9",
        "Graph" => r"\x{21}-\x{7E}",
        "Lower" => "a-z",
        "Print" => r"\x{20}-\x{7E}",
        "Punct" => r"\x{21}-\x{2F}\x{3A}-\x{40}\x{5B}-\x{60}\x{7B}-\x{7E}",
        "Space" => r"\x{9}-\x{D}\x{20}",
        "Upper" => "A-Z",
        "XDigit" => "0-9A-Fa-f",
        "javaLowerCase" => r"\p{Lowercase}",
        "javaUpperCase" => r"\p{Uppercase}",
        "javaAlphabetic" => r"\p{Alphabetic}",
        "javaIdeographic" => r"\p{Ideographic}",
        "javaTitleCase" => r"\p{Lt}",
        "javaDigit" => r"\p{Nd}",
        "javaDefined" => r"\P{Cn}",
        "javaLetter" => r"\p{L}",
        "javaLetterOrDigit" => r"\p{L}\p{Nd}",
        "javaJavaIdentifierStart" => r"\p{L}\p{Nl}\p{Sc}\p{Pc}",
        "javaJavaIdentifierPart" => {
            r"\p{L}\p{Nl}\p{Sc}\p{Pc}\p{Nd}\p{Mn}\p{Mc}\p{Cf}\x{0}-\x{8}\x{E}-\x{1B}\x{7F}-\x{9F}"
        }
        "javaUnicodeIdentifierStart" => r"\p{ID_Start}",
        "javaUnicodeIdentifierPart" => r"\p{ID_Continue}\p{Cf}\x{0}-\x{8}\x{E}-\x{1B}\x{7F}-\x{9F}",
        "javaIdentifierIgnorable" => r"\p{Cf}\x{0}-\x{8}\x{E}-\x{1B}\x{7F}-\x{9F}",
        "javaSpaceChar" => r"\p{Z}",
        "javaWhitespace" => r"[\p{Z}&&[^\x{A0}\x{2007}\x{202F}]]\x{9}-\x{D}\x{1C}-\x{1F}",
        "javaISOControl" => r"\x{0}-\x{1F}\x{7F}-\x{9F}",
        name if CATEGORIES.contains(&name) => return Some(format!(r"\p{{{name}}}")),
        _ => return None,
    };
    Some(items.to_owned())
}

/// `\p{IsAlphabetic}` and the like, any case.
fn binary(name: &str, flags: Flags) -> Option<String> {
    let items = match name.to_ascii_uppercase().as_str() {
        "LOWERCASE" | "UPPERCASE" | "TITLECASE" if flags.any_case => r"\p{Lowercase}\p{Uppercase}\p{Lt}",
        "ALPHABETIC" => r"\p{Alphabetic}",
        "LETTER" => r"\p{L}",
        "IDEOGRAPHIC" => r"\p{Ideographic}",
        "LOWERCASE" => r"\p{Lowercase}",
        "UPPERCASE" => r"\p{Uppercase}",
        "TITLECASE" => r"\p{Lt}",
        "WHITE_SPACE" | "WHITESPACE" => r"\p{White_Space}",
        "CONTROL" => r"\p{Cc}",
        "PUNCTUATION" => r"\p{P}",
        "HEX_DIGIT" | "HEXDIGIT" => r"\p{Nd}\p{Hex_Digit}",
        "ASSIGNED" => r"\P{Cn}",
        "NONCHARACTER_CODE_POINT" | "NONCHARACTERCODEPOINT" => r"\p{Noncharacter_Code_Point}",
        "DIGIT" => r"\p{Nd}",
        "ALNUM" => r"\p{Alphabetic}\p{Nd}",
        "BLANK" => r"\p{Zs}\x{9}",
        "GRAPH" => r"[^\p{White_Space}\p{Cc}\p{Cn}]",
        "PRINT" => r"[[^\p{White_Space}\p{Cc}\p{Cn}]\p{Zs}]",
        "WORD" => r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}",
        "JOIN_CONTROL" | "JOINCONTROL" => r"\p{Join_Control}",
        "EMOJI" => r"\p{Emoji}",
        "EMOJI_PRESENTATION" => r"\p{Emoji_Presentation}",
        "EMOJI_MODIFIER" => r"\p{Emoji_Modifier}",
        "EMOJI_MODIFIER_BASE" => r"\p{Emoji_Modifier_Base}",
        "EMOJI_COMPONENT" => r"\p{Emoji_Component}",
        "EXTENDED_PICTOGRAPHIC" => r"\p{Extended_Pictographic}",
        _ => return None,
    };
    Some(items.to_owned())
}

/// `\p{Lower}` and its like with `(?U)`, any case.
fn posix_of_unicode(name: &str, flags: Flags) -> Option<String> {
    let name = match name.to_ascii_uppercase().as_str() {
        "ALPHA" => "ALPHABETIC",
        "LOWER" => "LOWERCASE",
        "UPPER" => "UPPERCASE",
        "SPACE" => "WHITE_SPACE",
        "PUNCT" => "PUNCTUATION",
        "XDIGIT" => "HEX_DIGIT",
        "ALNUM" => "ALNUM",
        "CNTRL" => "CONTROL",
        "DIGIT" => "DIGIT",
        "BLANK" => "BLANK",
        "GRAPH" => "GRAPH",
        "PRINT" => "PRINT",
        _ => return None,
    };
    binary(name, flags)
}

fn script(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let items = format!(r"\p{{sc={name}}}");
    (plain && regex::Regex::new(&items).is_ok()).then_some(items)
}

fn block(name: &str) -> Option<String> {
    let same = |c: &char| !matches!(c, ' ' | '-' | '_');
    let name: String = name.to_lowercase().chars().filter(same).collect();
    // Where Java's constant has another name than Unicode's block.
    let name = match name.as_str() {
        "greekandcoptic" => "greek",
        "cyrillicsupplement" => "cyrillicsupplementary",
        "combiningdiacriticalmarksforsymbols" => "combiningmarksforsymbols",
        other => other,
    };
    let line = BLOCKS.lines().find(|line| line.split(' ').next() == Some(name))?;
    let mut ends = line
        .split(' ')
        .skip(1)
        .map(|hex| u32::from_str_radix(hex, 16).ok());
    let (first, last) = (ends.next()??, ends.next()??);
    let mut items = String::new();
    match (char::from_u32(first), char::from_u32(last)) {
        (Some(first), Some(last)) => {
            let _ = write!(items, "{}-{}", literal(first), literal(last));
        }
        // Halves of pairs.
        _ => items.push_str(r"[^\x{0}-\x{10FFFF}]"),
    }
    Some(items)
}

/// A letter that has another case.
struct Case {
    c: char,
    upper: char,
}

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let all = ('\0'..=char::MAX).map(|c| Case { c, upper: upper(c) });
        all.filter(|case| case.upper != case.c || lower(case.c) != case.c)
            .collect()
    })
}

fn folded(c: char) -> char {
    lower(upper(c))
}

/// `Character.toUpperCase`: one character for one.
fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        // These have a capital of one character besides that of two; others of two or three have none.
        _ => match c {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => shifted(c, 8),
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => shifted(c, 9),
            c => c,
        },
    }
}

/// `Character.toLowerCase`.
fn lower(c: char) -> char {
    let mut all = c.to_lowercase();
    match (all.next(), all.next()) {
        (Some(one), None) => one,
        _ if c == '\u{130}' => 'i',
        _ => c,
    }
}

fn shifted(c: char, by: u32) -> char {
    char::from_u32(u32::from(c) + by).unwrap_or(c)
}
