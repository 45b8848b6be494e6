//! The parser's other half: escapes, and what stands between the brackets of a class.
//!
//! A class is turned into items at once (see [`class`]); the tree has no node for unions and intersections.

use super::class;
use super::parse::{Parsed, Parser};

/// What an escape means.
pub(super) enum Escape {
    Char(char),
    /// Items of a class.
    Class(String),
}

impl Parser {
    /// An escape that means a character or a class of them, here and between brackets. `range`: it is the start or
    /// the end of one, where `\v` has its old meaning.
    pub(super) fn class_escape(&mut self, range: bool) -> Parsed<Escape> {
        let start = self.next;
        self.next += 1;
        let Some(c) = self.take() else {
            return Err(self.wrong_before("a backslash with nothing behind it"));
        };
        let c = match c {
            'v' if range => '\u{b}',
            'd' | 'D' | 'h' | 'H' | 's' | 'S' | 'v' | 'V' | 'w' | 'W' => {
                return Ok(Escape::Class(class::predefined(c, self.flags)));
            }
            'p' | 'P' => return self.property(start, c == 'P'),
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'a' => '\u{7}',
            'e' => '\u{1b}',
            '0' => self.octal(start)?,
            'x' => self.hexadecimal(start)?,
            'u' => self.unicode(start)?,
            'c' => {
                let c = self.take().map(|c| char::from_u32(c as u32 ^ 64));
                return match c {
                    Some(Some(c)) => Ok(Escape::Char(c)),
                    _ => Err(self.wrong_from(start, "\\c without a character")),
                };
            }
            'N' => return Err(self.wrong_from(start, "unsupported: \\N (characters by name)")),
            c if c.is_ascii_alphanumeric() => {
                return Err(self.wrong_from(start, format!("unknown escape \\{c}")));
            }
            c => c,
        };
        Ok(Escape::Char(c))
    }

    /// `\0n`, `\0nn`, `\0mnn` up to `\0377`.
    fn octal(&mut self, start: usize) -> Parsed<char> {
        let mut value = 0;
        let mut digits = 0;
        while let Some(digit) = self.raw().and_then(|c| c.to_digit(8)) {
            if digits == 3 || value * 8 + digit > 0o377 {
                break;
            }
            (value, digits) = (value * 8 + digit, digits + 1);
            self.next += 1;
        }
        match char::from_u32(value) {
            Some(c) if digits > 0 => Ok(c),
            _ => Err(self.wrong_from(start, "\\0 without octal digits")),
        }
    }

    fn hex_digits(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value * 16 + self.raw()?.to_digit(16)?;
            self.next += 1;
        }
        Some(value)
    }

    /// `\xhh`, `\x{h..h}`.
    fn hexadecimal(&mut self, start: usize) -> Parsed<char> {
        let value = if self.raw() == Some('{') {
            self.next += 1;
            let first = self.next;
            let mut value = 0u32;
            while let Some(digit) = self.raw().and_then(|c| c.to_digit(16)) {
                value = value.saturating_mul(16).saturating_add(digit);
                self.next += 1;
            }
            let digits = self.next - first;
            (digits > 0 && self.take() == Some('}')).then_some(value)
        } else {
            self.hex_digits(2)
        };
        value.and_then(char::from_u32).ok_or_else(|| {
            self.wrong_from(
                start,
                "\\x without two hexadecimal digits or {the number of a character}",
            )
        })
    }

    /// `\uhhhh`, also as the two halves of a pair.
    fn unicode(&mut self, start: usize) -> Parsed<char> {
        let Some(unit) = self.hex_digits(4) else {
            return Err(self.wrong_from(start, "\\u without four hexadecimal digits"));
        };
        let after = self.next;
        if (0xd800..0xdc00).contains(&unit)
            && self.take() == Some('\\')
            && self.take() == Some('u')
            && let Some(low @ 0xdc00..0xe000) = self.hex_digits(4)
        {
            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            return char::from_u32(code).ok_or_else(|| self.wrong_from(start, "half a surrogate pair"));
        }
        self.next = after;
        char::from_u32(unit).ok_or_else(|| self.wrong_from(start, "unsupported: half a surrogate pair"))
    }

    /// `\pL`, `\p{name}`, `\P...`.
    fn property(&mut self, start: usize, not: bool) -> Parsed<Escape> {
        let name: String = if self.raw() == Some('{') {
            self.next += 1;
            let mut name = String::new();
            loop {
                match self.take() {
                    Some('}') => break name,
                    Some(c) => name.push(c),
                    None => return Err(self.wrong_from(start, "a property without closing }")),
                }
            }
        } else {
            self.take().map(String::from).unwrap_or_default()
        };
        match class::property(&name, self.flags) {
            Ok(items) if not => Ok(Escape::Class(format!("[^{items}]"))),
            Ok(items) => Ok(Escape::Class(items)),
            Err(what) => Err(self.wrong_from(start, what)),
        }
    }

    /// A class from its `[`, with brackets.
    pub(super) fn class(&mut self) -> Parsed<String> {
        let open = self.next;
        self.next += 1;
        let not = self.special() == Some('^') && self.next == open + 1;
        self.next += usize::from(not);
        let items = self.deeper(|p| p.class_items(open))?;
        self.next += 1;
        Ok(if not {
            format!("[^{items}]")
        } else {
            class::bracketed(&items)
        })
    }

    /// What stands in a class, up to and without its `]`.
    fn class_items(&mut self, open: usize) -> Parsed<String> {
        let unclosed = "a class without closing ]";
        let mut items: Option<String> = None;
        loop {
            match self.special() {
                None if self.next >= self.tokens.len() => return Err(self.wrong_from(open, unclosed)),
                Some(']') if items.is_some() => return Ok(items.unwrap_or_default()),
                Some('[') => {
                    let inner = self.class()?;
                    items.get_or_insert_default().push_str(&inner);
                }
                Some('&') if self.intersects() => {
                    let right = self.right_side(open)?;
                    items = match (items, right) {
                        (Some(left), Some(right)) => Some(format!("[[{left}]&&[{right}]]")),
                        (None, None) => return Err(self.wrong("&& with nothing on either side")),
                        (left, right) => left.or(right),
                    };
                }
                _ => {
                    let item = self.class_item()?;
                    items.get_or_insert_default().push_str(&item);
                }
            }
        }
    }

    /// Whether `&&` comes, which is then behind us.
    fn intersects(&mut self) -> bool {
        let start = self.next;
        if self.eat('&') && self.eat('&') {
            return true;
        }
        self.next = start;
        false
    }

    /// What stands behind `&&`, up to the class's `]` or another `&`.
    fn right_side(&mut self, open: usize) -> Parsed<Option<String>> {
        let mut right: Option<String> = None;
        loop {
            match self.special() {
                None if self.next >= self.tokens.len() => {
                    return Err(self.wrong_from(open, "a class without closing ]"));
                }
                Some(']' | '&') => return Ok(right),
                Some('[') => {
                    let inner = self.class()?;
                    right.get_or_insert_default().push_str(&inner);
                }
                _ => {
                    let rest = self.deeper(|p| p.class_items(open))?;
                    right.get_or_insert_default().push_str(&rest);
                }
            }
        }
    }

    /// A character, a range or an escape in a class.
    fn class_item(&mut self) -> Parsed<String> {
        let start = self.next;
        let low = if self.special() == Some('\\') {
            let range = self.tokens.get(self.next + 2).is_some_and(|t| t.c == '-');
            match self.class_escape(range)? {
                Escape::Class(items) => return Ok(items),
                Escape::Char(c) => c,
            }
        } else {
            match self.take() {
                Some(c) => c,
                None => return Err(self.wrong("a class without closing ]")),
            }
        };
        if self.special() != Some('-') {
            return Ok(class::item(low, self.flags));
        }
        let end = self
            .tokens
            .get(self.next + 1)
            .map(|t| if t.quoted { ' ' } else { t.c });
        if matches!(end, None | Some('[' | ']')) {
            return Ok(class::item(low, self.flags));
        }
        self.next += 1;
        let high = if self.special() == Some('\\') {
            match self.class_escape(true)? {
                Escape::Class(_) => return Err(self.wrong_from(start, "a range that ends in a class")),
                Escape::Char(c) => c,
            }
        } else {
            match self.take() {
                Some(c) => c,
                None => return Err(self.wrong("a class without closing ]")),
            }
        };
        if high < low {
            return Err(self.wrong_from(start, "a range that ends before it starts"));
        }
        Ok(class::range(low, high, self.flags))
    }
}
