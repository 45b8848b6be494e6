//! `PBEWithMD5AndTripleDES`, Sun's own: what a JCEKS store protects its keys with.
//!
//! The eight bytes of salt are two halves, each hashed with the password as often as the parameters say (MD5, the password
//! behind what was hashed before); the two results are 24 bytes of a key of triple DES and 8 of its first vector, CBC,
//! padded as in PKCS#5. Of halves that are equal the first is turned around first.
//!
//! Java writes 200,000 rounds today and 20 before 2017; it reads up to [`ROUNDS_MAX`], and so do we.
//! Source: `com.sun.crypto.provider.PBES1Core`, `KeyProtector`.

use super::{KeyError, der};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, KeyIvInit};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

/// Rounds of the hash, at most, as in Java.
pub const ROUNDS_MAX: u32 = 5_000_000;

/// 1.3.6.1.4.1.42.2.19.1.
pub const IDENTIFIER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x13, 0x01];

const HALF_BYTES: usize = 4;

/// Salt and rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    salt: [u8; 2 * HALF_BYTES],
    /// How often is hashed.
    pub rounds: u32,
}

impl Parameters {
    /// Reads their DER.
    ///
    /// # Errors
    /// It is something else, or asks for more rounds than Java allows.
    pub fn read(der: &[u8]) -> Result<Self, KeyError> {
        let this = Self::parse(der).ok_or(KeyError::Protection)?;
        if (1..=ROUNDS_MAX).contains(&this.rounds) {
            Ok(this)
        } else {
            Err(KeyError::Rounds)
        }
    }

    fn parse(mut der: &[u8]) -> Option<Self> {
        let mut both = der::tagged(&mut der, der::SEQUENCE)?;
        let salt = der::tagged(&mut both, der::OCTETS)?.try_into().ok()?;
        let digits = der::tagged(&mut both, der::INTEGER)?;
        if digits.len() > 4 {
            return None;
        }
        let rounds = digits.iter().fold(0, |n: u32, d| n << 8 | u32::from(*d));
        Some(Self { salt, rounds })
    }

    /// Takes the protection off.
    ///
    /// # Errors
    /// The password does not fit.
    pub fn open(&self, password: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        // No other password can have been used.
        if !password.bytes().all(|b| (0x20..0x7f).contains(&b)) {
            return Err(KeyError::Password);
        }
        let derived = self.derive(password.as_bytes());
        let (key, vector) = derived.split_at(24);
        let cipher = cbc::Decryptor::<des::TdesEde3>::new_from_slices(key, vector);
        let cipher = cipher.map_err(|_| KeyError::Protection)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let length = cipher.decrypt_padded::<Pkcs7>(&mut plain);
        let length = length.map_err(|_| KeyError::Password)?.len();
        plain.truncate(length);
        Ok(plain)
    }

    fn derive(&self, password: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut salt = self.salt;
        if salt[..HALF_BYTES] == salt[HALF_BYTES..] {
            salt[..HALF_BYTES].reverse();
        }
        let mut derived = Zeroizing::new([0; 32]);
        for (half, out) in salt.chunks(HALF_BYTES).zip(derived.chunks_mut(16)) {
            let mut hashed = Md5::new().chain_update(half).chain_update(password).finalize();
            for _ in 1..self.rounds {
                hashed = Md5::new().chain_update(hashed).chain_update(password).finalize();
            }
            out.copy_from_slice(&hashed);
        }
        derived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |b: u8| (b as char).to_digit(16).unwrap() as u8;
        text.as_bytes()
            .chunks(2)
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect()
    }

    #[test]
    fn what_java_encrypts_is_opened_with_equal_halves_of_salt_too() {
        // Parameters and cipher text as a JDK 17 makes them for "changeit".
        for (parameters, sealed) in [
            // Equal halves, as the caller gave them and as Java writes them.
            (
                "300d04080102030401020304020101",
                "7b327bfef2c6efa1b510240fceab6b0a2f8d00f1d6563d9b",
            ),
            (
                "300d04080403020101020304020101",
                "7b327bfef2c6efa1b510240fceab6b0a2f8d00f1d6563d9b",
            ),
            (
                "300d04080102030405060708020101",
                "214a3d1d68efd2cf089f56f6c5b0f248cf8f375f995f0f9c",
            ),
            (
                "300d04080102030405060708020114",
                "3ba1ff0b5d60746e50c0019715954aef11a8f56aadecbfce",
            ),
        ] {
            let read = Parameters::read(&hex(parameters)).unwrap();
            assert_eq!(
                &**read.open("changeit", &hex(sealed)).unwrap(),
                b"sixteen letters!"
            );
        }
    }

    #[test]
    fn rounds_have_a_limit_and_parameters_a_shape() {
        let with = |rounds: &[u8]| {
            let head = [
                0x30,
                10 + 2 + rounds.len() as u8,
                4,
                8,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                8,
                2,
                rounds.len() as u8,
            ];
            Parameters::read(&[&head[..], rounds].concat()).map(|p| p.rounds)
        };
        assert_eq!(with(&[1]), Ok(1));
        assert_eq!(with(&ROUNDS_MAX.to_be_bytes()), Ok(ROUNDS_MAX));
        assert_eq!(with(&(ROUNDS_MAX + 1).to_be_bytes()), Err(KeyError::Rounds));
        assert_eq!(with(&[0]), Err(KeyError::Rounds));
        assert_eq!(with(&[0, 0, 0, 0, 1]), Err(KeyError::Protection));
        assert_eq!(Parameters::read(b"").unwrap_err(), KeyError::Protection);
    }
}
