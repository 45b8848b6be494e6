//! Reads a pattern as `java.util.regex.Pattern` reads it, into a tree in which flags, quotes, names of groups and
//! cases of letters are resolved.
//!
//! The grammar is that of Java 17 and its habits: `\Q..\E` goes before everything else, `(?x)` also skips blanks in
//! classes and between an atom and its quantifier, a `]` or `}` alone is a letter, the right side of `&&` in a class
//! reaches to the end of the class, a back-reference takes as many digits as make a group that was opened before it.
//! What is refused is an error that names the construct and its place.

use super::class;
use super::escape::Escape;

/// How deeply groups and classes may be nested.
const DEPTH_MAX: usize = 100;
/// The largest number in `{n,m}`.
const REPEAT_MAX: u32 = 1 << 20;

/// What a part of the pattern is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Nothing, which matches everywhere.
    Empty,
    /// This character.
    Char(char),
    /// One character of the class, as [`class`] writes it between brackets.
    Class(String),
    /// Any character at all.
    Any,
    /// `\R`.
    LineBreak,
    /// One after the other.
    Seq(Vec<Node>),
    /// One of them, the first that fits.
    Alt(Vec<Node>),
    /// A capturing group; they are numbered in their order.
    Group(Box<Node>),
    /// Repeated at least and at most so many times; no upper bound if none.
    Repeat(Box<Node>, u32, Option<u32>, Greed),
    /// What it matched is not tried otherwise.
    Atomic(Box<Node>),
    /// Looks without moving.
    Look {
        ahead: bool,
        negative: bool,
        node: Box<Node>,
    },
    /// What the group of this number matched; in any case if so.
    BackRef(usize, bool),
    /// A place.
    At(Place),
}

/// How a repetition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Greed {
    Greedy,
    Lazy,
    Possessive,
}

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `\A`, and `^` without `(?m)`.
    Begin,
    /// `\z`.
    End,
    /// `\Z`, and `$` without `(?m)`: before a line terminator that ends the text, too. True with `(?d)`.
    LastLine(bool),
    /// `^` with `(?m)`; true with `(?d)`.
    LineStart(bool),
    /// `$` with `(?m)`; true with `(?d)`.
    LineEnd(bool),
    /// `\G`.
    LastMatch,
    /// `\b`.
    Word,
    /// `\B`.
    NoWord,
}

/// The embedded flags.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// `i`.
    pub any_case: bool,
    /// `u`: `i` means all letters, not those of ASCII.
    pub unicode_case: bool,
    /// `m`.
    pub lines: bool,
    /// `s`.
    pub dot_all: bool,
    /// `d`.
    pub unix_lines: bool,
    /// `x`.
    pub comments: bool,
    /// `U`.
    pub unicode_classes: bool,
}

/// What went wrong, and at which character, counted from 1.
#[derive(Debug)]
pub(super) struct Wrong {
    pub what: String,
    pub at: usize,
}

pub(super) type Parsed<T> = Result<T, Wrong>;

/// A pattern that has been read.
#[derive(Debug)]
pub(super) struct Tree {
    pub node: Node,
    /// How many capturing groups there are.
    pub groups: usize,
    /// Their names, with their numbers.
    pub names: Vec<(String, usize)>,
}

/// Reads a pattern.
pub(super) fn parse(pattern: &str) -> Parsed<Tree> {
    let mut parser = Parser {
        tokens: unquoted(pattern),
        next: 0,
        flags: Flags::default(),
        groups: 0,
        names: Vec::new(),
        depth: 0,
    };
    let node = parser.alternatives()?;
    if parser.next < parser.tokens.len() {
        return Err(parser.wrong("unmatched closing )"));
    }
    Ok(Tree {
        node,
        groups: parser.groups,
        names: parser.names,
    })
}

/// A character; one out of `\Q..\E` means itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    pub(super) c: char,
    pub(super) quoted: bool,
    at: usize,
}

/// Takes `\Q` and `\E` away.
fn unquoted(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars().enumerate().peekable();
    let mut quoted = false;
    while let Some((at, c)) = chars.next() {
        let at = at + 1;
        let after = chars.peek().map(|(_, c)| *c);
        match (c, after) {
            ('\\', Some('E')) if quoted => {
                quoted = false;
                chars.next();
            }
            ('\\', Some('Q')) if !quoted => {
                quoted = true;
                chars.next();
            }
            // An escaped backslash opens no quote.
            ('\\', Some(next)) if !quoted => {
                tokens.push(Token { c, quoted, at });
                tokens.push(Token {
                    c: next,
                    quoted: false,
                    at: at + 1,
                });
                chars.next();
            }
            _ => tokens.push(Token {
                c,
                // Letters of a quote mean themselves anyway; as plain ones they can be the name of a group.
                quoted: quoted && c.is_ascii() && !c.is_ascii_alphanumeric(),
                at,
            }),
        }
    }
    tokens
}

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) next: usize,
    pub(super) flags: Flags,
    groups: usize,
    names: Vec<(String, usize)>,
    depth: usize,
}

impl Parser {
    pub(super) fn wrong(&self, what: impl Into<String>) -> Wrong {
        let past = self.tokens.last().map_or(1, |t| t.at + 1);
        Wrong {
            what: what.into(),
            at: self.tokens.get(self.next).map_or(past, |t| t.at),
        }
    }

    pub(super) fn wrong_before(&self, what: impl Into<String>) -> Wrong {
        let at = self.next.checked_sub(1).and_then(|n| self.tokens.get(n));
        Wrong {
            what: what.into(),
            at: at.map_or(1, |t| t.at),
        }
    }

    /// The next character as it stands.
    pub(super) fn raw(&self) -> Option<char> {
        self.tokens.get(self.next).map(|t| t.c)
    }

    /// The next character after what `(?x)` skips, if it has a meaning of its own.
    pub(super) fn special(&mut self) -> Option<char> {
        self.skip_comments();
        self.tokens.get(self.next).filter(|t| !t.quoted).map(|t| t.c)
    }

    /// Whether the next character is this one, which is then behind us.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let there = self.special() == Some(c);
        self.next += usize::from(there);
        there
    }

    fn follows(&self, text: &str) -> bool {
        let rest = self.tokens[self.next..].iter().map(|t| t.c);
        rest.take(text.len()).eq(text.chars())
    }

    pub(super) fn take(&mut self) -> Option<char> {
        let c = self.raw()?;
        self.next += 1;
        Some(c)
    }

    fn skip_comments(&mut self) {
        if !self.flags.comments {
            return;
        }
        while let Some(token) = self.tokens.get(self.next).filter(|t| !t.quoted) {
            if token.c == '#' {
                while self.raw().is_some_and(|c| !self.ends_line(c)) {
                    self.next += 1;
                }
            } else if matches!(token.c, ' ' | '\t'..='\r') {
                self.next += 1;
            } else {
                return;
            }
        }
    }

    fn ends_line(&self, c: char) -> bool {
        c == '\n' || (!self.flags.unix_lines && matches!(c, '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'))
    }

    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH_MAX {
            return Err(self.wrong(format!("nested more than {DEPTH_MAX} times")));
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn alternatives(&mut self) -> Parsed<Node> {
        let first = self.sequence()?;
        if self.special() != Some('|') {
            return Ok(first);
        }
        let mut all = vec![first];
        while self.eat('|') {
            all.push(self.sequence()?);
        }
        Ok(Node::Alt(all))
    }

    fn sequence(&mut self) -> Parsed<Node> {
        let mut all = Vec::new();
        loop {
            let special = self.special();
            if self.next >= self.tokens.len() {
                break;
            }
            let atom = match special {
                Some('|' | ')') => break,
                Some(c @ ('*' | '+' | '?')) => {
                    return Err(self.wrong(format!("{c} without anything to repeat")));
                }
                Some('(') => match self.group()? {
                    Some(node) => node,
                    None => continue,
                },
                // Java repeats the nothing that stands before it.
                Some('{') => Node::Empty,
                _ => self.atom()?,
            };
            all.push(self.repeated(atom)?);
        }
        Ok(match all.len() {
            0 => Node::Empty,
            1 => all.remove(0),
            _ => Node::Seq(all),
        })
    }

    fn atom(&mut self) -> Parsed<Node> {
        let Some(token) = self.tokens.get(self.next).copied() else {
            return Ok(Node::Empty);
        };
        if token.quoted {
            self.next += 1;
            return Ok(self.letter(token.c));
        }
        match token.c {
            '[' => Ok(Node::Class(self.class()?)),
            '\\' => self.escape(),
            c => {
                self.next += 1;
                Ok(match c {
                    '^' if self.flags.lines => Node::At(Place::LineStart(self.flags.unix_lines)),
                    '^' => Node::At(Place::Begin),
                    '$' if self.flags.lines => Node::At(Place::LineEnd(self.flags.unix_lines)),
                    '$' => Node::At(Place::LastLine(self.flags.unix_lines)),
                    '.' if self.flags.dot_all => Node::Any,
                    '.' => Node::Class(class::dot(self.flags.unix_lines)),
                    c => self.letter(c),
                })
            }
        }
    }

    fn letter(&self, c: char) -> Node {
        match class::single(c, self.flags) {
            Some(items) => Node::Class(class::bracketed(&items)),
            None => Node::Char(c),
        }
    }

    /// A quantifier after `node`, if there is one.
    fn repeated(&mut self, node: Node) -> Parsed<Node> {
        let (least, most) = match self.special() {
            Some('?') => (0, Some(1)),
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('{') => {
                let (least, most) = self.counts()?;
                let greed = self.greed();
                return Ok(repeat(node, least, most, greed));
            }
            _ => return Ok(node),
        };
        self.next += 1;
        let greed = self.greed();
        Ok(repeat(node, least, most, greed))
    }

    fn greed(&mut self) -> Greed {
        if self.eat('?') {
            Greed::Lazy
        } else if self.eat('+') {
            Greed::Possessive
        } else {
            Greed::Greedy
        }
    }

    /// `{n}`, `{n,}`, `{n,m}`.
    fn counts(&mut self) -> Parsed<(u32, Option<u32>)> {
        let start = self.next;
        self.next += 1;
        let Some(least) = self.count()? else {
            self.next = start;
            return Err(self.wrong("a { that is no repetition; a letter { is written \\{"));
        };
        let most = if self.raw() == Some(',') {
            self.next += 1;
            self.count()?
        } else {
            Some(least)
        };
        if self.raw() != Some('}') {
            return Err(self.wrong("a repetition without closing }"));
        }
        self.next += 1;
        if most.is_some_and(|most| most < least) {
            self.next = start;
            return Err(self.wrong("a repetition whose first number is the larger one"));
        }
        Ok((least, most))
    }

    fn count(&mut self) -> Parsed<Option<u32>> {
        let mut count = None;
        while let Some(digit) = self.raw().and_then(|c| c.to_digit(10)) {
            let more = count.unwrap_or(0) * 10 + digit;
            if more > REPEAT_MAX {
                return Err(self.wrong(format!("a repetition of more than {REPEAT_MAX} times")));
            }
            count = Some(more);
            self.next += 1;
        }
        Ok(count)
    }

    /// What `(` opens; none for flags that go on to the end of the group around.
    fn group(&mut self) -> Parsed<Option<Node>> {
        let open = self.next;
        self.next += 1;
        let before = self.flags;
        if !self.eat('?') {
            self.groups += 1;
            let node = self.inside(open, before)?;
            return Ok(Some(Node::Group(Box::new(node))));
        }
        let look = |ahead, negative, node| Node::Look {
            ahead,
            negative,
            node: Box::new(node),
        };
        let kind = self.take();
        Ok(Some(match kind {
            Some(':') => self.inside(open, before)?,
            Some('>') => Node::Atomic(Box::new(self.inside(open, before)?)),
            Some(c @ ('=' | '!')) => look(true, c == '!', self.inside(open, before)?),
            Some('<') => match self.raw() {
                Some(c @ ('=' | '!')) => {
                    self.next += 1;
                    look(false, c == '!', self.inside(open, before)?)
                }
                _ => {
                    let name = self.name()?;
                    if self.names.iter().any(|(n, _)| *n == name) {
                        return Err(self.wrong_before(format!("a second group named {name}")));
                    }
                    self.groups += 1;
                    self.names.push((name, self.groups));
                    Node::Group(Box::new(self.inside(open, before)?))
                }
            },
            Some(_) => {
                self.next -= 1;
                self.set_flags()?;
                self.skip_comments();
                match self.take() {
                    Some(')') => return Ok(None),
                    Some(':') => self.inside(open, before)?,
                    _ => return Err(self.wrong_before("an unknown flag or kind of group")),
                }
            }
            None => return Err(self.wrong("a group without closing )")),
        }))
    }

    /// The alternatives of a group, and its end.
    fn inside(&mut self, open: usize, before: Flags) -> Parsed<Node> {
        let node = self.deeper(Self::alternatives)?;
        if !self.eat(')') {
            self.next = open;
            return Err(self.wrong("a group without closing )"));
        }
        self.flags = before;
        Ok(node)
    }

    fn set_flags(&mut self) -> Parsed<()> {
        let mut on = true;
        loop {
            let c = self.special();
            let flags = &mut self.flags;
            match c {
                Some('i') => flags.any_case = on,
                Some('m') => flags.lines = on,
                Some('s') => flags.dot_all = on,
                Some('d') => flags.unix_lines = on,
                Some('u') => flags.unicode_case = on,
                Some('x') => flags.comments = on,
                Some('U') => (flags.unicode_classes, flags.unicode_case) = (on, on),
                Some('c') if on => {
                    return Err(self.wrong("unsupported: the flag c (canonical equivalence)"));
                }
                Some('c') => {}
                Some('-') if on => on = false,
                _ => return Ok(()),
            }
            self.next += 1;
        }
    }

    /// The name of a group, and the `>` behind it.
    fn name(&mut self) -> Parsed<String> {
        let mut name = String::new();
        while let Some(c) = self.raw().filter(char::is_ascii_alphanumeric) {
            name.push(c);
            self.next += 1;
        }
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(self.wrong("a name of a group that does not begin with a Latin letter"));
        }
        if self.take() != Some('>') {
            return Err(self.wrong_before("a name of a group without closing >"));
        }
        Ok(name)
    }

    /// What stands behind a backslash, outside of classes.
    fn escape(&mut self) -> Parsed<Node> {
        let start = self.next;
        self.next += 1;
        let Some(c) = self.take() else {
            return Err(self.wrong_before("a backslash with nothing behind it"));
        };
        let unsupported = |what: &str| Wrong {
            what: format!("unsupported: {what}"),
            at: self.tokens[start].at,
        };
        Ok(match c {
            'A' => Node::At(Place::Begin),
            'z' => Node::At(Place::End),
            'Z' => Node::At(Place::LastLine(self.flags.unix_lines)),
            'G' => Node::At(Place::LastMatch),
            'b' if self.follows("{g}") => return Err(unsupported("\\b{g} (grapheme boundaries)")),
            'b' => Node::At(Place::Word),
            'B' => Node::At(Place::NoWord),
            'R' => Node::LineBreak,
            'X' => return Err(unsupported("\\X (grapheme clusters)")),
            'N' => return Err(unsupported("\\N (characters by name)")),
            'k' => {
                if self.take() != Some('<') {
                    return Err(self.wrong_before("\\k without <name>"));
                }
                let name = self.name()?;
                let held = self.names.iter().find(|(n, _)| *n == name);
                let Some((_, number)) = held else {
                    return Err(self.wrong_before(format!("no group before it is named {name}")));
                };
                Node::BackRef(*number, self.flags.any_case)
            }
            '1'..='9' => {
                let mut number = c as usize - '0' as usize;
                while let Some(digit) = self.raw().and_then(|c| c.to_digit(10)) {
                    let more = number * 10 + digit as usize;
                    if more > self.groups {
                        break;
                    }
                    number = more;
                    self.next += 1;
                }
                Node::BackRef(number, self.flags.any_case)
            }
            _ => {
                self.next = start;
                match self.class_escape(false)? {
                    Escape::Char(c) => self.letter(c),
                    Escape::Class(items) => Node::Class(class::bracketed(&items)),
                }
            }
        })
    }

    pub(super) fn wrong_from(&mut self, start: usize, what: impl Into<String>) -> Wrong {
        self.next = start;
        self.wrong(what)
    }
}

fn repeat(node: Node, least: u32, most: Option<u32>, greed: Greed) -> Node {
    let greedy = if greed == Greed::Possessive {
        Greed::Greedy
    } else {
        greed
    };
    let node = Node::Repeat(Box::new(node), least, most, greedy);
    if greed == Greed::Possessive {
        Node::Atomic(Box::new(node))
    } else {
        node
    }
}
