//! Who sent an event and whether it arrived unharmed: the first 32 bytes of each body, and the filler after them.
//!
//! ```text
//! 0         8            12         16        24          32
//! | run u64 | connection | length   | number  | checksum  | filler …
//! |         | u32        | u32      | u64     | u64       |            all little-endian
//! ```
//! Where a body must be a line of text, all 32 bytes stand there as 64 hexadecimal digits, and the filler is letters.
//!
//! The filler is the same in every event of every run, so the verifier compares it byte by byte at the speed of memcmp
//! instead of hashing it. The checksum covers the other fields. It mixes `number` in last: a sender patches 16 bytes per
//! event and pays for one multiplication or two.

/// Bytes before the filler, and so the smallest body.
pub const BODY_SIZE_MIN: usize = 32;

/// The smallest body that is a line of text: one letter of filler tells it from others.
pub const LINE_SIZE_MIN: usize = 2 * BODY_SIZE_MIN + 1;

/// Largest body.
pub const BODY_SIZE_MAX: usize = 1 << 20;

/// Where [`Stamp`] is written in the body; it takes [`STAMP_SIZE`] bytes.
pub const STAMP_AT: usize = 16;

/// Bytes of number and checksum.
pub const STAMP_SIZE: usize = 16;

/// The origin of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Producer {
    /// Chosen at random by each driver.
    pub run: u64,
    /// Which of the driver's connections.
    pub connection: u32,
}

/// Writes the changing part of a body.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    seed: u64,
}

impl Stamp {
    /// For bodies of `length` bytes from `producer`.
    pub fn new(producer: Producer, length: u32) -> Self {
        let fields = u64::from(producer.connection) << 32 | u64::from(length);
        Self {
            seed: mix(mix(0x4d69_6c6c_7261_6365 ^ producer.run) ^ fields),
        }
    }

    /// Number and checksum, to be placed at [`STAMP_AT`].
    #[inline]
    pub fn bytes(&self, number: u64) -> [u8; STAMP_SIZE] {
        let mut out = [0; STAMP_SIZE];
        out[..8].copy_from_slice(&number.to_le_bytes());
        out[8..].copy_from_slice(&self.checksum(number).to_le_bytes());
        out
    }

    #[inline]
    fn checksum(&self, number: u64) -> u64 {
        mix(self.seed ^ number)
    }
}

/// A body of `length` bytes (at least [`BODY_SIZE_MIN`]) whose stamp says number 0.
pub fn body(producer: Producer, length: usize) -> Vec<u8> {
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(&producer.run.to_le_bytes());
    body.extend_from_slice(&producer.connection.to_le_bytes());
    body.extend_from_slice(&(length as u32).to_le_bytes());
    body.extend_from_slice(&Stamp::new(producer, length as u32).bytes(0));
    body.extend_from_slice(&filler(length - BODY_SIZE_MIN));
    body
}

/// Bodies that are lines of text.
#[derive(Debug)]
pub struct Line {
    head: Vec<u8>,
    text: Vec<u8>,
    stamp: Stamp,
}

impl Line {
    /// Of `length` bytes (at least [`LINE_SIZE_MIN`]) without their end.
    pub fn new(producer: Producer, length: usize) -> Self {
        let mut head = body(producer, BODY_SIZE_MIN);
        head[12..16].copy_from_slice(&(length as u32).to_le_bytes());
        let mut text = vec![b'0'; 2 * BODY_SIZE_MIN];
        text.extend_from_slice(&letters(length - 2 * BODY_SIZE_MIN));
        text.push(b'\n');
        Self {
            head,
            text,
            stamp: Stamp::new(producer, length as u32),
        }
    }

    /// Appends the line of this number, and its end.
    pub fn put(&mut self, number: u64, out: &mut Vec<u8>) {
        self.head[STAMP_AT..].copy_from_slice(&self.stamp.bytes(number));
        for (byte, digits) in self.head.iter().zip(self.text.chunks_exact_mut(2)) {
            digits[0] = HEX[usize::from(byte >> 4)];
            digits[1] = HEX[usize::from(byte & 15)];
        }
        out.extend_from_slice(&self.text);
    }
}

const HEX: [u8; 16] = *b"0123456789abcdef";

fn from_hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The filler of lines: capital letters, which no hexadecimal digit is.
fn letters(size: usize) -> Vec<u8> {
    filler(size).into_iter().map(|byte| b'A' + byte % 26).collect()
}

/// Checks bodies; remembers the filler and the last producer's [`Stamp`].
#[derive(Debug)]
pub struct Verifier {
    filler: Vec<u8>,
    letters: Vec<u8>,
    stamp: Stamp,
    stamp_of: (Producer, u32),
}

impl Default for Verifier {
    fn default() -> Self {
        let nobody = Producer {
            run: 0,
            connection: 0,
        };
        Self {
            filler: filler(4096),
            letters: letters(4096),
            stamp: Stamp::new(nobody, 0),
            stamp_of: (nobody, 0),
        }
    }
}

impl Verifier {
    /// Origin and number of the event, or nothing when a single bit of the body is wrong.
    #[inline]
    pub fn check(&mut self, body: &[u8]) -> Option<(Producer, u64)> {
        if body.get(2 * BODY_SIZE_MIN).is_some_and(u8::is_ascii_uppercase)
            && let Some(found) = self.check_line(body)
        {
            return Some(found);
        }
        let (head, filler) = body.split_first_chunk::<BODY_SIZE_MIN>()?;
        if filler.len() > self.filler.len() {
            self.filler = self::filler(filler.len().min(BODY_SIZE_MAX));
        }
        if self.filler.get(..filler.len()) != Some(filler) {
            return None;
        }
        self.check_head(head, body.len())
    }

    #[inline]
    fn check_line(&mut self, body: &[u8]) -> Option<(Producer, u64)> {
        let (digits, filler) = body.split_at_checked(2 * BODY_SIZE_MIN)?;
        let mut head = [0; BODY_SIZE_MIN];
        for (byte, pair) in head.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = from_hex(pair[0])? << 4 | from_hex(pair[1])?;
        }
        if filler.len() > self.letters.len() {
            self.letters = letters(filler.len().min(BODY_SIZE_MAX));
        }
        if self.letters.get(..filler.len()) != Some(filler) {
            return None;
        }
        self.check_head(&head, body.len())
    }

    #[inline]
    fn check_head(&mut self, head: &[u8; BODY_SIZE_MIN], size: usize) -> Option<(Producer, u64)> {
        let producer = Producer {
            run: field(head, 0),
            connection: field(head, 8) as u32,
        };
        let length = (field(head, 8) >> 32) as u32;
        if length as usize != size {
            return None;
        }
        if self.stamp_of != (producer, length) {
            self.stamp_of = (producer, length);
            self.stamp = Stamp::new(producer, length);
        }
        let number = field(head, 16);
        (self.stamp.checksum(number) == field(head, 24)).then_some((producer, number))
    }
}

#[inline]
fn field(head: &[u8; BODY_SIZE_MIN], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&head[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Bytes that differ from place to place, so that a shifted or doubled piece is noticed.
fn filler(size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size + 8);
    let mut state = 1;
    while out.len() < size {
        out.extend_from_slice(&mix(state).to_le_bytes());
        state += 1;
    }
    out.truncate(size);
    out
}

/// The finaliser of splitmix64: a bijection in which every input bit reaches every output bit.
#[inline]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: Producer = Producer {
        run: 0x1234_5678_9abc_def0,
        connection: 3,
    };

    fn stamped(length: usize, number: u64) -> Vec<u8> {
        let mut body = body(PRODUCER, length);
        let stamp = Stamp::new(PRODUCER, length as u32).bytes(number);
        body[STAMP_AT..STAMP_AT + STAMP_SIZE].copy_from_slice(&stamp);
        body
    }

    #[test]
    fn a_stamped_body_tells_its_producer_and_number() {
        let mut verifier = Verifier::default();
        for length in [32, 33, 500, 4096, 20_000] {
            for number in [0, 1, 999, u64::MAX] {
                assert_eq!(verifier.check(&stamped(length, number)), Some((PRODUCER, number)));
            }
        }
    }

    fn line(length: usize, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        Line::new(PRODUCER, length).put(number, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        out
    }

    #[test]
    fn a_line_of_text_tells_its_producer_and_number() {
        let mut verifier = Verifier::default();
        for length in [LINE_SIZE_MIN, 100, 256, 20_000] {
            for number in [0, 10, 0x0a0d_0a0d, u64::MAX] {
                let line = line(length, number);
                assert!(line.len() == length && line.iter().all(u8::is_ascii_alphanumeric));
                assert_eq!(verifier.check(&line), Some((PRODUCER, number)));
            }
        }
        let whole = line(100, 5);
        assert_eq!(verifier.check(&whole[..99]), None);
        assert_eq!(verifier.check(&[&whole[..], b"\r"].concat()), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut verifier = Verifier::default();
        let body = line(100, 77);
        for bit in 0..body.len() * 8 {
            let mut broken = body.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verifier.check(&broken), None, "bit {bit}");
        }
        let body = stamped(100, 77);
        for bit in 0..body.len() * 8 {
            let mut broken = body.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verifier.check(&broken), None, "bit {bit}");
        }
    }

    #[test]
    fn cut_and_lengthened_bodies_are_noticed() {
        let mut verifier = Verifier::default();
        let body = stamped(100, 77);
        for size in 0..100 {
            assert_eq!(verifier.check(&body[..size]), None);
        }
        assert_eq!(verifier.check(&[&body[..], b"x"].concat()), None);
    }
}
