//! What a command's bytes mean, by Java's names; the traps are told in [the source's story](super).

use encoding_rs::Encoding;

/// What the command's bytes mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Charset {
    /// UTF-8; costs nothing.
    Utf8,
    /// Seven bits; others are replaced.
    Ascii,
    /// Each byte is the character of its number.
    Latin1,
    /// Byte order from the first two bytes, else big-endian.
    Utf16,
    /// As encoding_rs has it.
    Other(&'static Encoding),
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
            other => Self::Other(Encoding::for_label_no_replacement(other.as_bytes())?),
        })
    }
}

/// Turns bytes of a charset into UTF-8, piece by piece.
pub(super) enum Decoder {
    /// UTF-8 is looked at line by line.
    Nothing,
    Ascii,
    Latin1,
    Other(Box<encoding_rs::Decoder>),
}

impl Decoder {
    pub(super) fn new(charset: Charset) -> Self {
        match charset {
            Charset::Utf8 => Self::Nothing,
            Charset::Ascii => Self::Ascii,
            Charset::Latin1 => Self::Latin1,
            Charset::Utf16 => Self::Other(Box::new(encoding_rs::UTF_16BE.new_decoder())),
            Charset::Other(encoding) => Self::Other(Box::new(encoding.new_decoder_without_bom_handling())),
        }
    }

    /// The piece as UTF-8, in `text` if it had to be changed.
    pub(super) fn decode<'a>(&mut self, piece: &'a [u8], last: bool, text: &'a mut String) -> &'a [u8] {
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
            Self::Other(decoder) => {
                // With this much room one call takes the whole piece.
                text.reserve(decoder.max_utf8_buffer_length(piece.len()).unwrap_or(0));
                let _ = decoder.decode_to_string(piece, text, last);
            }
        }
        text.as_bytes()
    }
}
