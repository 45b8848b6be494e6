//! Where a line that is too long is cut: by Java's count of characters, in bytes of any charset.

use crate::java::charset::{Charset, Decoder, Malformed};

/// How many bytes of `line` are one body of `max_units` UTF-16 units and `max_bytes` bytes at most; none if all of it
/// is. At least one character is, whatever the limits.
pub(super) fn cut(
    charset: Charset,
    malformed: Malformed,
    line: &[u8],
    max_units: usize,
    max_bytes: usize,
) -> Option<usize> {
    // No charset has fewer bytes than units, nor do those of wide units have fewer than two a unit.
    let least = line.len() / charset.unit_bytes().min(2);
    // Output can be three times as long as input: U+FFFD for a byte, or two bytes of UTF-16.
    if least <= max_units && line.len() <= max_bytes / 3 {
        return None;
    }
    let mut walk = Walk {
        max_units,
        max_bytes,
        units: 0,
        bytes: 0,
        consumed: 0,
    };
    let whole = match charset {
        Charset::Utf8 => utf8(line, malformed, &mut walk),
        Charset::Utf16 | Charset::Utf16Of(_) => utf16(charset, line, malformed, &mut walk),
        _ => others(charset, line, malformed, &mut walk),
    };
    (!whole).then_some(walk.consumed)
}

struct Walk {
    max_units: usize,
    max_bytes: usize,
    units: usize,
    bytes: usize,
    /// Input bytes of what fits.
    consumed: usize,
}

impl Walk {
    /// Takes a character of so many input bytes; says whether it still fits.
    fn step(&mut self, input_bytes: usize, character: Option<char>) -> bool {
        let (units, bytes) = character.map_or((0, 0), |c| (c.len_utf16(), c.len_utf8()));
        let fits = self.units + units <= self.max_units && self.bytes + bytes <= self.max_bytes;
        if !fits && self.consumed > 0 {
            return false;
        }
        self.units += units;
        self.bytes += bytes;
        self.consumed += input_bytes;
        true
    }
}

fn replacement(malformed: Malformed) -> Option<char> {
    (malformed != Malformed::Ignore).then_some(char::REPLACEMENT_CHARACTER)
}

fn utf8(line: &[u8], malformed: Malformed, walk: &mut Walk) -> bool {
    line.utf8_chunks().all(|chunk| {
        let valid = chunk.valid().chars().all(|c| walk.step(c.len_utf8(), Some(c)));
        let bad = chunk.invalid().len();
        valid && (bad == 0 || walk.step(bad, replacement(malformed)))
    })
}

fn utf16(charset: Charset, line: &[u8], malformed: Malformed, walk: &mut Walk) -> bool {
    let unit = |pair: &[u8]| match charset {
        Charset::Utf16Of(false) => u16::from_le_bytes([pair[0], pair[1]]),
        _ => u16::from_be_bytes([pair[0], pair[1]]),
    };
    let odd = line.len() % 2;
    char::decode_utf16(line.chunks_exact(2).map(unit)).all(|c| match c {
        Ok(c) => walk.step(2 * c.len_utf16(), Some(c)),
        Err(_) => walk.step(2, replacement(malformed)),
    }) && (odd == 0 || walk.step(odd, replacement(malformed)))
}

/// Byte by byte through a decoder: slow, and only for lines that are too long or nearly so.
fn others(charset: Charset, line: &[u8], malformed: Malformed, walk: &mut Walk) -> bool {
    let mut decoder = Decoder::new(charset);
    let mut text = String::new();
    let mut pending = 0;
    let (last, most) = (line.len().saturating_sub(1), line.len());
    for at in 0..most {
        pending += 1;
        let decoded = decoder.decode(&line[at..=at], at == last, &mut text);
        for c in String::from_utf8_lossy(decoded).chars() {
            let seen = (c != char::REPLACEMENT_CHARACTER || malformed != Malformed::Ignore).then_some(c);
            if !walk.step(pending, seen) {
                return false;
            }
            // A second character of the same bytes.
            pending = 0;
        }
    }
    true
}
