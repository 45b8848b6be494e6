//! Events as JSON that nobody would write, for readers that are to agree on them: pieces of the language of Gson's
//! lenient reader, most often in places where they belong.

use rand::RngExt;
use rand::rngs::StdRng;

const BLANKS: &[&str] = &[
    "",
    "",
    "",
    "",
    " ",
    "\n",
    "\t",
    "\r",
    "/**/",
    "// x\n",
    "# x\n",
    "/* * / **/",
];
const WORDS: &[&str] = &[
    "a",
    "body",
    "headers",
    "'q'",
    "\"d\"",
    "\"\"",
    "''",
    "1",
    "-1.5e3",
    "007",
    "true",
    "False",
    "x'y",
    "k\"l",
    "\"\\u0041\\t\"",
    "'\\''",
    "\"\\ud83d\\ude00\"",
    "nul",
    "nulll",
    "a.b-c",
    "\"/* no */\"",
    "'#'",
];
const ANY: &[&str] = &[
    "[", "]", "{", "}", ",", ";", ":", "=", "=>", "/", "\\", "\"", "'", "#", "*", "{}", "[]",
];

fn one<'a>(rng: &mut StdRng, all: &[&'a str]) -> &'a str {
    all[rng.random_range(0..all.len())]
}

fn value(rng: &mut StdRng, depth: u32) -> String {
    match rng.random_range(0..if depth > 3 { 6 } else { 8 }) {
        6 => list(rng, "{", "}", |rng| member(rng, depth + 1)),
        7 => list(rng, "[", "]", |rng| value(rng, depth + 1)),
        _ => one(rng, WORDS).to_owned(),
    }
}

fn member(rng: &mut StdRng, depth: u32) -> String {
    let name = one(rng, WORDS);
    let (before, after) = (one(rng, BLANKS), one(rng, BLANKS));
    let colon = one(rng, &[":", ":", ":", "=", "=>"]);
    format!("{name}{before}{colon}{after}{}", value(rng, depth))
}

fn list(rng: &mut StdRng, open: &str, close: &str, mut item: impl FnMut(&mut StdRng) -> String) -> String {
    let mut text = open.to_owned();
    for n in 0..rng.random_range(0..4) {
        if n > 0 {
            text += one(rng, &[",", ",", ",", ";"]);
        }
        text += one(rng, BLANKS);
        text += &item(rng);
        text += one(rng, BLANKS);
    }
    text + close
}

fn event(rng: &mut StdRng) -> String {
    list(rng, "{", "}", |rng| match rng.random_range(0..3) {
        0 => format!("body:{}", one(rng, WORDS)),
        1 => {
            let mut n = 0;
            let header = |rng: &mut StdRng| {
                n += 1;
                format!("h{n}:{}", one(rng, WORDS))
            };
            format!("headers:{}", list(rng, "{", "}", header))
        }
        _ => member(rng, 0),
    })
}

/// A list of events, every other one damaged.
pub fn text(rng: &mut StdRng) -> String {
    let mut text = list(rng, "[", "]", event);
    // Every other one is damaged.
    for _ in 0..[0, 0, 1, 2][rng.random_range(0..4)] {
        let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let at = places[rng.random_range(0..places.len())];
        if rng.random() {
            text.insert_str(at, one(rng, ANY));
        } else {
            text.remove(at);
        }
    }
    text
}
