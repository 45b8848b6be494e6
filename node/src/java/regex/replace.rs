//! Java's replacement texts: `$1`, `${name}`, `\$`. What Java throws at when it first meets a match is said when the
//! replacement is compiled.

use super::{PatternError, Regex};
use std::ops::Range;

/// A replacement, compiled for one pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Compiles a replacement for this pattern. `$` takes as many digits as make a group that exists.
    pub fn new(text: &str, regex: &Regex) -> Result<Self, PatternError> {
        let wrong = |what: String| Err(PatternError(format!("{what} in \"{text}\"")));
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let group = match c {
                '\\' => match chars.next() {
                    Some(c) => {
                        plain.push(c);
                        continue;
                    }
                    None => return wrong("a backslash with nothing behind it".to_owned()),
                },
                '$' => match chars.next() {
                    Some('{') => {
                        let mut name = String::new();
                        loop {
                            match chars.next() {
                                Some('}') => break,
                                Some(c) => name.push(c),
                                None => return wrong("${ without closing }".to_owned()),
                            }
                        }
                        let held = regex.names.iter().find(|(n, _)| *n == name);
                        match held {
                            Some((_, number)) => *number,
                            None => {
                                return wrong(format!("${{{name}}}: the pattern has no group of this name"));
                            }
                        }
                    }
                    Some(digit @ '0'..='9') => {
                        let mut number = digit as usize - '0' as usize;
                        if number > regex.groups {
                            return wrong(format!("${number}: the pattern has no group of this number"));
                        }
                        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
                            let more = number * 10 + digit as usize;
                            if more > regex.groups {
                                break;
                            }
                            number = more;
                            chars.next();
                        }
                        number
                    }
                    _ => {
                        return wrong(
                            "a $ that is no reference to a group; a letter $ is written \\$".to_owned(),
                        );
                    }
                },
                c => {
                    plain.push(c);
                    continue;
                }
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Group(group));
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Appends what replaces a match; a group that took no part is nothing.
    pub(super) fn write(&self, text: &str, groups: &[Option<Range<usize>>], out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(plain) => out.push_str(plain),
                Part::Group(number) => {
                    if let Some(Some(range)) = groups.get(*number) {
                        out.push_str(&text[range.clone()]);
                    }
                }
            }
        }
    }
}
