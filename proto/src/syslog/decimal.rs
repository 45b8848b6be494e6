//! Numbers as text, written into a few bytes of the stack.

/// All numbers below a hundred, two digits each.
const PAIRS: &str = "00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445464748\
                     4950515253545556575859606162636465666768697071727374757677787980818283848586878889909192939495969798\
                     99";

/// The decimal digits of a number.
pub(super) enum Decimal {
    Short(&'static str),
    Long { bytes: [u8; 20], start: usize },
}

impl Decimal {
    pub(super) fn of(number: i64) -> Self {
        match number {
            // Facilities and severities are of these.
            0..10 => Self::Short(&PAIRS[number as usize * 2 + 1..][..1]),
            10..100 => Self::Short(&PAIRS[number as usize * 2..][..2]),
            _ => Self::long(number),
        }
    }

    fn long(number: i64) -> Self {
        let mut bytes = [0; 20];
        let mut start = bytes.len();
        let mut left = number.unsigned_abs();
        while left >= 10 {
            let pair = (left % 100) as usize * 2;
            start -= 2;
            bytes[start..start + 2].copy_from_slice(&PAIRS.as_bytes()[pair..pair + 2]);
            left /= 100;
        }
        if left > 0 {
            start -= 1;
            bytes[start] = b'0' + left as u8;
        }
        if number < 0 {
            start -= 1;
            bytes[start] = b'-';
        }
        Self::Long { bytes, start }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Short(digits) => digits,
            Self::Long { bytes, start } => {
                std::str::from_utf8(&bytes[*start..]).expect("digits and a minus are ASCII")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_library_writes_them() {
        let some = [-1, -99, -100, 999, 1_000, 1_334_315_471_000, i64::MAX, i64::MIN];
        for number in (0..=101).chain(some) {
            assert_eq!(Decimal::of(number).as_str(), number.to_string());
        }
    }
}
