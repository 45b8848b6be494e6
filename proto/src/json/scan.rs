//! The words of lenient JSON: blanks and comments, names, texts, values to be passed over. Mirrors what Gson's
//! `JsonReader` accepts in lenient mode; the grammar of events is in the module above.
//!
//! Texts are places in the buffer. Escapes are undone where they stand, as the text that they mean is never longer
//! than they are; so a place that was returned stays good, and the bytes before it may be scanned no second time.

use super::NESTING_MAX;
use crate::cursor::DecodeError;
use std::ops::Range;

/// A value that is no list and no object.
#[derive(Debug, PartialEq, Eq)]
pub enum Scalar {
    /// Where its text stands.
    Text(Range<usize>),
    /// Not there.
    Null,
}

/// A reader over UTF-8 that is changed on the way.
pub struct Scanner<'a> {
    buf: &'a mut [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `buf`, which is UTF-8; a byte order mark is passed over.
    pub fn new(buf: &'a mut [u8]) -> Self {
        let at = if buf.starts_with("\u{feff}".as_bytes()) {
            3
        } else {
            0
        };
        Self { buf, at }
    }

    /// Bytes passed so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// All bytes, those passed with their escapes undone.
    pub fn buffer(&self) -> &[u8] {
        self.buf
    }

    /// The text at a place.
    pub fn bytes(&self, place: &Range<usize>) -> &[u8] {
        &self.buf[place.clone()]
    }

    /// The error for this place.
    pub fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError {
            offset: self.at,
            expected,
        }
    }

    /// Passes over one byte, which [`next`](Self::next) has shown.
    pub fn skip_one(&mut self) {
        self.at += 1;
    }

    /// Passes over the prefix that keeps JSON from being run as a script.
    pub fn prefix(&mut self) -> Result<(), DecodeError> {
        self.blanks()?;
        if self.buf[self.at..].starts_with(b")]}'\n") {
            self.at += 5;
        }
        Ok(())
    }

    /// The next byte that means something, not consumed.
    pub fn next(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        // Most often nothing stands between.
        if let Some(byte @ (b'"' | b'{' | b'}' | b'[' | b']' | b',' | b':')) = self.buf.get(self.at) {
            return Ok(*byte);
        }
        self.blanks()?.ok_or(self.error(expected))
    }

    /// Consumes this byte.
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), DecodeError> {
        if self.next(expected)? != byte {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(())
    }

    /// After an item: whether another one follows, or the list or object is closed by `close`.
    pub fn another(&mut self, close: u8, expected: &'static str) -> Result<bool, DecodeError> {
        let byte = self.next(expected)?;
        if byte != close && !matches!(byte, b',' | b';') {
            return Err(self.error(expected));
        }
        self.at += 1;
        Ok(byte != close)
    }

    /// Nothing but blanks follows; here Gson is strict, so comments are something.
    pub fn end(&mut self, expected: &'static str) -> Result<(), DecodeError> {
        let rest = &self.buf[self.at..];
        match rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        {
            None => Ok(()),
            Some(at) => {
                self.at += at;
                Err(self.error(expected))
            }
        }
    }

    /// A name and what separates it from its value.
    pub fn name(&mut self) -> Result<Range<usize>, DecodeError> {
        let name = match self.next("a name")? {
            b'"' | b'\'' => self.string()?,
            byte if is_literal(byte) => self.literal(),
            _ => return Err(self.error("a name")),
        };
        match self.next("a colon")? {
            b':' => self.at += 1,
            b'=' => {
                self.at += 1;
                if self.buf.get(self.at) == Some(&b'>') {
                    self.at += 1;
                }
            }
            _ => return Err(self.error("a colon")),
        }
        Ok(name)
    }

    /// A text, a number, true or false as its text, or null.
    pub fn scalar(&mut self, expected: &'static str) -> Result<Scalar, DecodeError> {
        match self.next(expected)? {
            b'"' | b'\'' => Ok(Scalar::Text(self.string()?)),
            byte if is_literal(byte) => {
                let place = self.literal();
                let word = &mut self.buf[place.clone()];
                if word.eq_ignore_ascii_case(b"null") {
                    return Ok(Scalar::Null);
                }
                if word.eq_ignore_ascii_case(b"true") || word.eq_ignore_ascii_case(b"false") {
                    word.make_ascii_lowercase();
                }
                Ok(Scalar::Text(place))
            }
            _ => Err(self.error(expected)),
        }
    }

    /// Passes over a value of any kind.
    pub fn skip_value(&mut self) -> Result<(), DecodeError> {
        let mut nest = Nest::default();
        loop {
            match self.next("a value")? {
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    if !nest.push(open == b'{') {
                        return Err(self.error("a value that nests less deep"));
                    }
                    if self.next("a value or its end")? != nest.close() {
                        self.name_in(&nest)?;
                        continue;
                    }
                }
                b'"' | b'\'' => _ = self.string()?,
                // Between the commas of a list nothing means null.
                b']' | b',' | b';' if nest.in_list() => {}
                byte if is_literal(byte) => _ = self.literal(),
                _ => return Err(self.error("a value")),
            }
            loop {
                if nest.depth == 0 {
                    return Ok(());
                }
                if self.another(nest.close(), "a comma, or the end of a list or object")? {
                    self.name_in(&nest)?;
                    break;
                }
                nest.depth -= 1;
            }
        }
    }

    fn name_in(&mut self, nest: &Nest) -> Result<(), DecodeError> {
        if !nest.in_list() {
            self.name()?;
        }
        Ok(())
    }

    /// Passes over blanks and comments; the byte after them.
    fn blanks(&mut self) -> Result<Option<u8>, DecodeError> {
        loop {
            let Some(&byte) = self.buf.get(self.at) else {
                return Ok(None);
            };
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                b'#' => self.line_comment(),
                b'/' => match self.buf.get(self.at + 1) {
                    Some(b'/') => self.line_comment(),
                    Some(b'*') => {
                        let rest = &self.buf[self.at + 2..];
                        let Some(end) = rest.windows(2).position(|two| two == b"*/") else {
                            self.at = self.buf.len();
                            return Err(self.error("the end of a comment: */"));
                        };
                        self.at += end + 4;
                    }
                    _ => return Ok(Some(byte)),
                },
                _ => return Ok(Some(byte)),
            }
        }
    }

    fn line_comment(&mut self) {
        let rest = &self.buf[self.at..];
        let line = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        self.at += line.unwrap_or(rest.len());
    }

    /// An unquoted text, number or word; of one byte at least, if the caller has looked.
    fn literal(&mut self) -> Range<usize> {
        let rest = &self.buf[self.at..];
        let len = rest.iter().position(|byte| !is_literal(*byte));
        let start = self.at;
        self.at += len.unwrap_or(rest.len());
        start..self.at
    }

    /// A text in quotes, which stand here.
    fn string(&mut self) -> Result<Range<usize>, DecodeError> {
        let quote = self.buf[self.at];
        self.at += 1;
        let start = self.at;
        self.find_quote_or_escape(quote)?;
        if self.buf[self.at] == quote {
            self.at += 1;
            return Ok(start..self.at - 1);
        }
        // Everything moves down by what the escapes get shorter.
        let mut end = self.at;
        loop {
            if self.buf[self.at] == quote {
                self.at += 1;
                return Ok(start..end);
            }
            let mut meant = [0; 4];
            let meant = self.escape()?.encode_utf8(&mut meant).as_bytes();
            self.buf[end..end + meant.len()].copy_from_slice(meant);
            end += meant.len();
            let from = self.at;
            self.find_quote_or_escape(quote)?;
            self.buf.copy_within(from..self.at, end);
            end += self.at - from;
        }
    }

    fn find_quote_or_escape(&mut self, quote: u8) -> Result<(), DecodeError> {
        let rest = &self.buf[self.at..];
        let is_hit = |byte: &u8| *byte == quote || *byte == b'\\';
        // Blocks at first, without a branch a byte, so that the compiler takes many bytes at once.
        let (blocks, _) = rest.as_chunks::<SCAN_BLOCK>();
        let clean = |block: &&[u8; SCAN_BLOCK]| !block.iter().fold(false, |hit, byte| hit | is_hit(byte));
        let from = blocks.iter().take_while(clean).count() * SCAN_BLOCK;
        match rest[from..].iter().position(is_hit) {
            Some(hit) => self.at += from + hit,
            None => {
                self.at = self.buf.len();
                return Err(self.error("a closing quote"));
            }
        }
        Ok(())
    }

    /// The character that an escape means; its backslash stands here.
    fn escape(&mut self) -> Result<char, DecodeError> {
        let expected = "an escape: one of \\\" \\' \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX";
        let Some(&kind) = self.buf.get(self.at + 1) else {
            return Err(self.error(expected));
        };
        let meant = match kind {
            b'"' | b'\'' | b'\\' | b'/' | b'\n' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.error(expected)),
        };
        self.at += 2;
        Ok(meant)
    }

    /// `\uXXXX`, or two of them for a character beyond the first plane.
    fn unicode(&mut self) -> Result<char, DecodeError> {
        let Some(unit) = self.unit(self.at) else {
            return Err(self.error("four hexadecimal digits after \\u"));
        };
        self.at += 6;
        if let Some(meant) = char::from_u32(unit) {
            return Ok(meant);
        }
        let second = self.unit(self.at).filter(|low| (0xdc00..0xe000).contains(low));
        match second {
            Some(low) if unit < 0xdc00 => {
                self.at += 6;
                let meant = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                Ok(char::from_u32(meant).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            _ => Ok(char::REPLACEMENT_CHARACTER),
        }
    }

    /// The UTF-16 unit that is written at a place, if one is.
    fn unit(&self, at: usize) -> Option<u32> {
        let digits = self.buf.get(at..at + 6)?.strip_prefix(b"\\u")?;
        let digit = |unit: u32, byte: &u8| Some(unit << 4 | char::from(*byte).to_digit(16)?);
        digits.iter().try_fold(0, digit)
    }
}

/// Bytes that are looked at together.
const SCAN_BLOCK: usize = 32;

/// Whether an unquoted text may have this byte.
fn is_literal(byte: u8) -> bool {
    !matches!(
        byte,
        b'/' | b'\\'
            | b';'
            | b'#'
            | b'='
            | b'{'
            | b'}'
            | b'['
            | b']'
            | b':'
            | b','
            | b' '
            | b'\t'
            | 0x0c
            | b'\r'
            | b'\n'
    )
}

/// The lists and objects that are open, a bit each: set for an object.
#[derive(Default)]
struct Nest {
    objects: u64,
    depth: u32,
}

impl Nest {
    fn push(&mut self, object: bool) -> bool {
        if self.depth == NESTING_MAX {
            return false;
        }
        let bit = 1 << self.depth;
        self.objects = if object {
            self.objects | bit
        } else {
            self.objects & !bit
        };
        self.depth += 1;
        true
    }

    fn in_list(&self) -> bool {
        self.depth > 0 && self.objects & (1 << (self.depth - 1)) == 0
    }

    /// What closes the innermost one.
    fn close(&self) -> u8 {
        if self.in_list() { b']' } else { b'}' }
    }
}
