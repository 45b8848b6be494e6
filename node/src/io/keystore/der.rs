//! As much of DER as key stores need: elements with definite lengths, and the names of key algorithms.

/// Takes one element off the front: its tag and what is in it.
pub fn element<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], rest) = input.split_first_chunk()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if !(1..=4).contains(&digits.len()) {
            return None;
        }
        let number = digits.iter().fold(0, |n, d| n << 8 | usize::from(*d));
        (number, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, content))
}

/// Takes one element of this tag.
pub fn tagged<'a>(input: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(input).and_then(|(found, content)| (found == tag).then_some(content))
}

pub const INTEGER: u8 = 0x02;
pub const OCTETS: u8 = 0x04;
pub const IDENTIFIER: u8 = 0x06;
pub const SEQUENCE: u8 = 0x30;

/// An `EncryptedPrivateKeyInfo`.
pub struct EncryptedKey<'a> {
    /// How it is encrypted.
    pub algorithm: &'a [u8],
    /// What that needs to know.
    pub parameters: &'a [u8],
    /// The encrypted bytes.
    pub bytes: &'a [u8],
}

/// Reads an `EncryptedPrivateKeyInfo`.
pub fn encrypted_key(mut der: &[u8]) -> Option<EncryptedKey<'_>> {
    let mut info = tagged(&mut der, SEQUENCE)?;
    let mut parameters = tagged(&mut info, SEQUENCE)?;
    Some(EncryptedKey {
        algorithm: tagged(&mut parameters, IDENTIFIER)?,
        parameters,
        bytes: tagged(&mut info, OCTETS)?,
    })
}

/// The algorithm of a PKCS#8 key in Java's words.
pub fn key_algorithm(pkcs8: &[u8]) -> &'static str {
    match identifier(pkcs8) {
        Some([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]) => "RSA",
        Some([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]) => "RSASSA-PSS",
        Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]) => "EC",
        Some([0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01]) => "DSA",
        Some([0x2b, 0x65, 0x70]) => "Ed25519",
        Some([0x2b, 0x65, 0x71]) => "Ed448",
        _ => "unknown",
    }
}

fn identifier(mut pkcs8: &[u8]) -> Option<&[u8]> {
    let mut info = tagged(&mut pkcs8, SEQUENCE)?;
    tagged(&mut info, INTEGER)?;
    let mut algorithm = tagged(&mut info, SEQUENCE)?;
    tagged(&mut algorithm, IDENTIFIER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_go_past_the_end_or_are_of_no_use_give_nothing() {
        for bytes in [
            &[][..],
            &[0x30],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0],
            &[0x30, 0x85, 0, 0, 0, 0, 1, 0],
        ] {
            assert_eq!(element(&mut &*bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn elements_come_one_after_the_other() {
        let mut input: &[u8] = &[0x02, 1, 7, 0x04, 0x81, 2, 8, 9, 5];
        assert_eq!(element(&mut input), Some((INTEGER, &[7][..])));
        let mut again = input;
        assert_eq!(tagged(&mut again, INTEGER), None);
        assert_eq!(tagged(&mut input, OCTETS), Some(&[8, 9][..]));
        assert_eq!(input, [5]);
    }
}
