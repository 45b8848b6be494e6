//! Numbers as text, written into a few bytes of the stack.

/// The decimal digits of a number.
pub(super) struct Decimal {
    bytes: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn of(number: i64) -> Self {
        let mut bytes = [0; 20];
        let mut start = bytes.len();
        let mut left = number.unsigned_abs();
        loop {
            start -= 1;
            bytes[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        if number < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        Self { bytes, start }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).expect("digits and a minus are ASCII")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_library_writes_them() {
        for number in [0, 7, -1, 10, 1_334_315_471_000, i64::MAX, i64::MIN] {
            assert_eq!(Decimal::of(number).as_str(), number.to_string());
        }
    }
}
