//! Charsets by Java's names. Labels that browsers read otherwise (`ISO-8859-1`, `US-ASCII`, `UTF-16`) mean what Java
//! means by them.
//!
//! [`Charset::decode`] and [`Charset::encode`] work on whole texts, [`Decoder`] on pieces. Replacing decoders put
//! U+FFFD for what they cannot read, as Java's do; encoders put `?`.

use encoding_rs::Encoding;
use std::borrow::Cow;

/// A charset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Charset {
    /// UTF-8; costs nothing.
    Utf8,
    /// Seven bits; others are replaced.
    Ascii,
    /// Each byte is the character of its number.
    Latin1,
    /// Byte order from the first two bytes, else big-endian; written big-endian with a mark.
    Utf16,
    /// In this byte order, a mark is a character; big-endian if true.
    Utf16Of(bool),
    /// Byte order from the first four bytes, else big-endian; written big-endian without a mark.
    Utf32,
    /// In this byte order; big-endian if true.
    Utf32Of(bool),
    /// As encoding_rs has it.
    Other(&'static Encoding),
}

/// What is done about bytes that a charset does not have: Java's CodingErrorAction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Malformed {
    /// The text is refused.
    #[default]
    Fail,
    /// U+FFFD is put in their place.
    Replace,
    /// They are left out.
    Ignore,
}

impl Charset {
    /// The charset that Java knows by this name, any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" | "unicode-1-1-utf-8" => Self::Utf8,
            "us-ascii" | "ascii" | "csascii" | "iso-ir-6" | "ansi_x3.4-1968" | "ansi_x3.4-1986"
            | "iso_646.irv:1983" | "default" | "ascii7" | "iso646-us" | "iso_646.irv:1991" | "646"
            | "cp367" | "ibm367" => Self::Ascii,
            "iso-8859-1" | "iso8859-1" | "csisolatin1" | "iso-ir-100" | "iso_8859-1:1987" | "iso_8859_1"
            | "8859-1" | "iso8859_1" | "iso_8859-1" | "8859_1" | "latin1" | "l1" | "cp819" | "ibm819"
            | "ibm-819" | "819" => Self::Latin1,
            "utf-16" | "utf16" | "utf_16" | "unicode" | "unicodebig" => Self::Utf16,
            "utf-16be" | "utf_16be" | "x-utf-16be" | "iso-10646-ucs-2" | "unicodebigunmarked" => {
                Self::Utf16Of(true)
            }
            "utf-16le" | "utf_16le" | "x-utf-16le" | "unicodelittleunmarked" => Self::Utf16Of(false),
            "utf-32" | "utf32" | "utf_32" | "iso-10646-ucs-4" => Self::Utf32,
            "utf-32be" | "utf_32be" | "x-utf-32be" => Self::Utf32Of(true),
            "utf-32le" | "utf_32le" | "x-utf-32le" => Self::Utf32Of(false),
            other => match Encoding::for_label_no_replacement(other.as_bytes())? {
                encoding if encoding == encoding_rs::UTF_16LE => Self::Utf16Of(false),
                encoding if encoding == encoding_rs::UTF_16BE => Self::Utf16Of(true),
                encoding => Self::Other(encoding),
            },
        })
    }

    /// A name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Ascii => "US-ASCII",
            Self::Latin1 => "ISO-8859-1",
            Self::Utf16 | Self::Utf16Of(_) => "UTF-16",
            Self::Utf32 | Self::Utf32Of(_) => "UTF-32",
            Self::Other(encoding) => encoding.name(),
        }
    }

    /// Bytes of a unit, each of which is a character or a part of one: 1, 2 or 4.
    pub fn unit_bytes(self) -> usize {
        match self {
            Self::Utf16 | Self::Utf16Of(_) => 2,
            Self::Utf32 | Self::Utf32Of(_) => 4,
            _ => 1,
        }
    }

    /// What it is in a text that starts like this, and how many bytes the mark takes that says so: a charset with
    /// marks becomes one of a known byte order, so that its text can be read from the middle as well.
    pub fn of_text(self, start: &[u8]) -> (Self, usize) {
        let (big_endian, rest) = self.byte_order(start);
        let mark = start.len() - rest.len();
        match self {
            Self::Utf16 => (Self::Utf16Of(big_endian), mark),
            Self::Utf32 => (Self::Utf32Of(big_endian), mark),
            other => (other, 0),
        }
    }

    /// All of `bytes` as text; none if something cannot be read and that is not to be.
    pub fn decode_with(self, bytes: &[u8], malformed: Malformed) -> Option<Cow<'_, str>> {
        match malformed {
            Malformed::Fail => self.decode_strict(bytes),
            Malformed::Replace => Some(self.decode(bytes)),
            Malformed::Ignore => Some(self.decode_readable(bytes)),
        }
    }

    /// What of `bytes` can be read.
    fn decode_readable(self, bytes: &[u8]) -> Cow<'_, str> {
        if let Some(all) = self.decode_strict(bytes) {
            return all;
        }
        Cow::Owned(match self {
            Self::Utf8 => bytes.utf8_chunks().map(|chunk| chunk.valid()).collect(),
            Self::Ascii => bytes
                .iter()
                .filter(|b| b.is_ascii())
                .map(|b| char::from(*b))
                .collect(),
            Self::Latin1 => self.decode(bytes).into_owned(),
            Self::Utf16 | Self::Utf16Of(_) => {
                let (big_endian, bytes) = self.byte_order(bytes);
                let units = bytes.chunks_exact(2).map(|pair| utf16(pair, big_endian));
                char::decode_utf16(units).filter_map(Result::ok).collect()
            }
            Self::Utf32 | Self::Utf32Of(_) => {
                let (big_endian, bytes) = self.byte_order(bytes);
                let fours = bytes.chunks_exact(4);
                fours.filter_map(|four| utf32(four, big_endian)).collect()
            }
            Self::Other(encoding) => decode_other_readable(encoding, bytes),
        })
    }

    /// All of `bytes` as text, U+FFFD for what cannot be read.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Ascii if bytes.is_ascii() => String::from_utf8_lossy(bytes),
            _ => {
                let mut text = String::new();
                Decoder::new(self).decode(bytes, true, &mut text);
                Cow::Owned(text)
            }
        }
    }

    /// All of `bytes` as text; none if something cannot be read.
    pub fn decode_strict(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Ascii => bytes.is_ascii().then(|| self.decode(bytes)),
            Self::Latin1 => Some(self.decode(bytes)),
            Self::Utf16 | Self::Utf16Of(_) => {
                let (big_endian, bytes) = self.byte_order(bytes);
                let units = bytes.chunks_exact(2).map(|pair| utf16(pair, big_endian));
                let text: Result<String, _> = char::decode_utf16(units).collect();
                text.ok()
                    .filter(|_| bytes.len().is_multiple_of(2))
                    .map(Cow::Owned)
            }
            Self::Utf32 | Self::Utf32Of(_) => {
                let (big_endian, bytes) = self.byte_order(bytes);
                let text: Option<String> = bytes
                    .chunks_exact(4)
                    .map(|four| utf32(four, big_endian))
                    .collect();
                text.filter(|_| bytes.len().is_multiple_of(4)).map(Cow::Owned)
            }
            Self::Other(encoding) => encoding.decode_without_bom_handling_and_without_replacement(bytes),
        }
    }

    /// The text as bytes, `?` for characters that the charset does not have.
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Self::Utf8 => Cow::Borrowed(text.as_bytes()),
            Self::Ascii if text.is_ascii() => Cow::Borrowed(text.as_bytes()),
            Self::Ascii => Cow::Owned(narrow(text, 0x7f)),
            Self::Latin1 => Cow::Owned(narrow(text, 0xff)),
            Self::Utf16 | Self::Utf16Of(true) => {
                let mark = if text.is_empty() || self != Self::Utf16 {
                    ""
                } else {
                    "\u{feff}"
                };
                let units = mark.encode_utf16().chain(text.encode_utf16());
                Cow::Owned(units.flat_map(u16::to_be_bytes).collect())
            }
            Self::Utf16Of(false) => Cow::Owned(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            Self::Utf32 | Self::Utf32Of(true) => {
                Cow::Owned(text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect())
            }
            Self::Utf32Of(false) => {
                Cow::Owned(text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect())
            }
            Self::Other(encoding) => Cow::Owned(encode_other(encoding, text)),
        }
    }

    /// Whether the bytes are big-endian, and the bytes without their mark.
    fn byte_order(self, bytes: &[u8]) -> (bool, &[u8]) {
        let marks: [(&[u8], bool); 2] = match self {
            Self::Utf16 => [(&[0xfe, 0xff], true), (&[0xff, 0xfe], false)],
            Self::Utf32 => [(&[0, 0, 0xfe, 0xff], true), (&[0xff, 0xfe, 0, 0], false)],
            Self::Utf16Of(big_endian) | Self::Utf32Of(big_endian) => return (big_endian, bytes),
            _ => return (true, bytes),
        };
        let marked = |(mark, big_endian): &(&[u8], bool)| Some((*big_endian, bytes.strip_prefix(*mark)?));
        marks.iter().find_map(marked).unwrap_or((true, bytes))
    }
}

fn narrow(text: &str, last: u32) -> Vec<u8> {
    let byte = |c: char| {
        u8::try_from(c)
            .ok()
            .filter(|b| u32::from(*b) <= last)
            .unwrap_or(b'?')
    };
    text.chars().map(byte).collect()
}

fn utf16(pair: &[u8], big_endian: bool) -> u16 {
    let pair = [pair[0], pair[1]];
    if big_endian {
        u16::from_be_bytes(pair)
    } else {
        u16::from_le_bytes(pair)
    }
}

fn decode_other_readable(encoding: &'static Encoding, bytes: &[u8]) -> String {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let (mut text, mut rest) = (String::new(), bytes);
    loop {
        let room = decoder.max_utf8_buffer_length_without_replacement(rest.len());
        text.reserve(room.unwrap_or(rest.len() * 4 + 16));
        let (result, read) = decoder.decode_to_string_without_replacement(rest, &mut text, true);
        rest = &rest[read..];
        match result {
            encoding_rs::DecoderResult::InputEmpty => return text,
            encoding_rs::DecoderResult::Malformed(..) | encoding_rs::DecoderResult::OutputFull => {}
        }
    }
}

fn utf32(four: &[u8], big_endian: bool) -> Option<char> {
    let four = <[u8; 4]>::try_from(four).ok()?;
    char::from_u32(if big_endian {
        u32::from_be_bytes(four)
    } else {
        u32::from_le_bytes(four)
    })
}

fn encode_other(encoding: &'static Encoding, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = encoding.new_encoder();
    let mut rest = text;
    loop {
        let room = encoder
            .max_buffer_length_from_utf8_without_replacement(rest.len())
            .unwrap_or(rest.len() * 4 + 16);
        bytes.reserve(room);
        let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(rest, &mut bytes, true);
        rest = &rest[read..];
        match result {
            encoding_rs::EncoderResult::InputEmpty => return bytes,
            encoding_rs::EncoderResult::Unmappable(_) => bytes.push(b'?'),
            encoding_rs::EncoderResult::OutputFull => {}
        }
    }
}

/// Turns bytes of a charset into UTF-8, piece by piece.
pub enum Decoder {
    /// UTF-8 is looked at line by line, by whoever asked.
    Nothing,
    /// Seven bits.
    Ascii,
    /// Each byte is a character.
    Latin1,
    /// Four bytes a character: the byte order once it is known, and what the last piece left.
    Utf32(Charset, Option<bool>, Vec<u8>),
    /// As encoding_rs has it.
    Other(Box<encoding_rs::Decoder>),
}

impl Decoder {
    /// At the start of a text.
    pub fn new(charset: Charset) -> Self {
        match charset {
            Charset::Utf8 => Self::Nothing,
            Charset::Ascii => Self::Ascii,
            Charset::Latin1 => Self::Latin1,
            Charset::Utf16 => Self::Other(Box::new(encoding_rs::UTF_16BE.new_decoder())),
            Charset::Utf16Of(big_endian) => {
                let encoding = if big_endian {
                    encoding_rs::UTF_16BE
                } else {
                    encoding_rs::UTF_16LE
                };
                Self::Other(Box::new(encoding.new_decoder_without_bom_handling()))
            }
            Charset::Utf32 => Self::Utf32(charset, None, Vec::new()),
            Charset::Utf32Of(big_endian) => Self::Utf32(charset, Some(big_endian), Vec::new()),
            Charset::Other(encoding) => Self::Other(Box::new(encoding.new_decoder_without_bom_handling())),
        }
    }

    /// The piece as UTF-8, in `text` if it had to be changed.
    pub fn decode<'a>(&mut self, piece: &'a [u8], last: bool, text: &'a mut String) -> &'a [u8] {
        text.clear();
        match self {
            Self::Nothing => return piece,
            Self::Ascii => {
                let char_of = |b: &u8| {
                    if b.is_ascii() {
                        char::from(*b)
                    } else {
                        char::REPLACEMENT_CHARACTER
                    }
                };
                text.extend(piece.iter().map(char_of));
            }
            Self::Latin1 => text.extend(piece.iter().map(|b| char::from(*b))),
            Self::Utf32(charset, order, left) => {
                left.extend_from_slice(piece);
                let mut bytes: &[u8] = left;
                if order.is_none() && (bytes.len() >= 4 || last) {
                    let (big_endian, rest) = charset.byte_order(bytes);
                    (*order, bytes) = (Some(big_endian), rest);
                }
                let Some(big_endian) = *order else {
                    return text.as_bytes();
                };
                let whole = bytes.chunks_exact(4);
                let rest = whole.remainder().to_vec();
                text.extend(whole.map(|four| utf32(four, big_endian).unwrap_or(char::REPLACEMENT_CHARACTER)));
                if last && !rest.is_empty() {
                    text.push(char::REPLACEMENT_CHARACTER);
                }
                *left = rest;
            }
            Self::Other(decoder) => {
                // With this much room one call takes the whole piece.
                text.reserve(decoder.max_utf8_buffer_length(piece.len()).unwrap_or(0));
                let _ = decoder.decode_to_string(piece, text, last);
            }
        }
        text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Charset {
        Charset::named(name).unwrap()
    }

    #[test]
    fn texts_come_back_as_they_went() {
        let text = "aé\u{20ac}\u{1f600}";
        for name in [
            "UTF-8", "utf-16", "UTF-16BE", "UTF-16LE", "UTF-32", "UTF-32LE", "GB18030",
        ] {
            let bytes = named(name).encode(text);
            assert_eq!(named(name).decode(&bytes), text, "{name}");
            assert_eq!(named(name).decode_strict(&bytes).as_deref(), Some(text), "{name}");
        }
    }

    #[test]
    fn marks_and_byte_orders_are_those_of_java() {
        assert_eq!(*named("UTF-16").encode("6\u{e9}"), [0xfe, 0xff, 0, 0x36, 0, 0xe9]);
        assert_eq!(*named("UTF-32").encode("6"), [0, 0, 0, 0x36]);
        assert_eq!(named("UTF-16").decode(&[0xff, 0xfe, 0x36, 0]), "6");
        assert_eq!(named("UTF-32").decode(&[0xff, 0xfe, 0, 0, 0x36, 0, 0, 0]), "6");
    }

    #[test]
    fn what_cannot_be_read_or_written_is_replaced_or_refused() {
        for (name, bytes) in [
            ("ascii", &[0xe9_u8][..]),
            ("utf-8", &[0xff]),
            ("utf-16", &[0, 0x36, 0]),
            ("utf-32", &[0, 0x36]),
        ] {
            assert_eq!(named(name).decode_strict(bytes), None, "{name}");
            assert!(named(name).decode(bytes).contains('\u{fffd}'), "{name}");
        }
        assert_eq!(*named("latin1").encode("\u{e9}\u{20ac}"), [0xe9, b'?']);
        assert_eq!(*named("Cp1252").encode("\u{20ac}\u{1f600}x"), [0x80, b'?', b'x']);
        assert_eq!(named("latin1").decode_strict(&[0xe9]).as_deref(), Some("\u{e9}"));
    }

    #[test]
    fn what_cannot_be_read_is_left_out_if_that_is_wanted() {
        for (name, bytes, text) in [
            ("utf-8", &b"b\xffd"[..], "bd"),
            ("ascii", b"b\xe9d", "bd"),
            ("latin1", b"b\xe9d", "b\u{e9}d"),
            ("utf-16be", b"\0b\xd8\x00\0d\0", "bd"),
            ("utf-32le", b"b\0\0\0\0\xd8\0\0d\0\0\0x", "bd"),
            ("gbk", b"b\x81\x20d\xff", "b d"),
        ] {
            let charset = named(name);
            assert_eq!(
                charset.decode_with(bytes, Malformed::Ignore).unwrap(),
                text,
                "{name}"
            );
            let strict = charset.decode_with(bytes, Malformed::Fail);
            assert_eq!(strict.is_some(), name == "latin1", "{name}");
        }
    }

    #[test]
    fn the_start_of_a_text_says_what_its_middle_is() {
        for (name, start, expected, mark) in [
            ("utf-16", &[0xff, 0xfe, 0x36, 0][..], Charset::Utf16Of(false), 2),
            ("utf-16", &[0, 0x36], Charset::Utf16Of(true), 0),
            ("utf-32", &[0, 0, 0xfe, 0xff], Charset::Utf32Of(true), 4),
            ("utf-16le", &[0xff, 0xfe], Charset::Utf16Of(false), 0),
            ("unicodefffe", &[], Charset::Utf16Of(true), 0),
            ("utf-8", &[0xef, 0xbb, 0xbf], Charset::Utf8, 0),
        ] {
            assert_eq!(named(name).of_text(start), (expected, mark), "{name}");
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_text() {
        let bytes = [0, 0, 0xfe, 0xff, 0, 0, 0, 0x61, 0, 1, 0xf6, 0];
        for size in 1..bytes.len() {
            let (mut decoder, mut all, mut text) = (Decoder::new(Charset::Utf32), Vec::new(), String::new());
            for piece in bytes.chunks(size) {
                all.extend_from_slice(decoder.decode(piece, false, &mut text));
            }
            assert_eq!(String::from_utf8(all).unwrap(), "a\u{1f600}");
        }
    }
}
