//! Bounded reading: a cursor over received bytes that never reads past their end.
//!
//! Every decoder of this crate reports failure as a [`DecodeError`]: where in the input it stood and what it
//! would have accepted there. Nothing here allocates, so a declared length costs nothing until its bytes exist.

use thiserror::Error;

/// Input that is not what the format asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("byte {offset}: expected {expected}")]
pub struct DecodeError {
    /// Bytes from the start of the decoded input.
    pub offset: usize,
    /// What would have been accepted there.
    pub expected: &'static str,
}

/// A reader over a slice that remembers where it stands.
#[derive(Debug, Clone)]
pub struct Cursor<'a> {
    buf: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte of `buf`.
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, at: 0 }
    }

    /// Bytes consumed so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Bytes not yet consumed.
    pub fn remaining(&self) -> usize {
        self.buf.len() - self.at
    }

    /// Whether all is consumed.
    pub fn is_empty(&self) -> bool {
        self.at == self.buf.len()
    }

    /// The error for this place.
    pub fn error(&self, expected: &'static str) -> DecodeError {
        DecodeError {
            offset: self.at,
            expected,
        }
    }

    /// The bytes not yet consumed, without consuming them.
    pub fn rest(&self) -> &'a [u8] {
        &self.buf[self.at..]
    }

    /// Consumes `n` bytes, or fails with `expected`.
    pub fn take(&mut self, n: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        if n > self.remaining() {
            return Err(self.error(expected));
        }
        let taken = &self.buf[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    /// Consumes one byte.
    pub fn u8(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        Ok(self.take(1, expected)?[0])
    }

    /// Consumes a big-endian u16.
    pub fn u16_be(&mut self, expected: &'static str) -> Result<u16, DecodeError> {
        let b = self.take(2, expected)?;
        Ok(u16::from_be_bytes([b[0], b[1]]))
    }

    /// Consumes a big-endian u32.
    pub fn u32_be(&mut self, expected: &'static str) -> Result<u32, DecodeError> {
        let b = self.take(4, expected)?;
        Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// Consumes a big-endian i32.
    pub fn i32_be(&mut self, expected: &'static str) -> Result<i32, DecodeError> {
        Ok(self.u32_be(expected)? as i32)
    }
}

/// Where a byte is first. By blocks, so that the compiler may compare many bytes at once.
pub fn find_byte(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let has_it = |block: &[u8; 32]| block.iter().fold(false, |any, b| any | (*b == byte));
    let (from, place) = match blocks.iter().position(has_it) {
        Some(n) => (n * 32, &blocks[n][..]),
        None => (blocks.len() * 32, rest),
    };
    place.iter().position(|b| *b == byte).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_at_every_place() {
        for at in 0..100 {
            let mut bytes = [b'x'; 100];
            assert_eq!(find_byte(b'\n', &bytes), None);
            bytes[at] = b'\n';
            assert_eq!(find_byte(b'\n', &bytes), Some(at));
        }
    }

    #[test]
    fn a_read_past_the_end_names_the_place_and_consumes_nothing() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u16_be("a length"), Ok(0x0102));
        assert_eq!(
            cursor.u16_be("a length"),
            Err(DecodeError {
                offset: 2,
                expected: "a length"
            })
        );
        assert_eq!(cursor.remaining(), 1);
        assert_eq!(cursor.u8("a flag"), Ok(3));
        assert!(cursor.is_empty());
    }
}
