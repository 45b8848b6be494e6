//! The position that goes with each batch into the channels: what changed since the position file was written.
//!
//! Problem: a batch and its position must be one commit, but a position of ten thousand files with every batch of a
//! hundred lines would be more than the lines. So a position names the position file as it was last written (by its
//! digest) and adds only the files that moved on since, which is what changes in three seconds.
//!
//! ```text
//! 0         1       2              22             42
//! | version | flags | stands on    | or on        | files ...     all numbers big-endian
//! | 1       |       | SHA-1        | SHA-1        |
//!
//! flags   1: there was a position file to stand on; 2: a newer one was being written; else the digest is all zeros
//! a file  | inode u64 | birth u64 (ns since 1970, 0 unknown) | pos u64 | length of path u16 | path, UTF-8 |
//! ```
//!
//! At start: when the position file on disk has one of the two digests, the files are laid over its entries, a later one
//! over an earlier one; else the position file is newer, or somebody replaced it: then it alone counts. The files are
//! all that moved on since the first digest, so they are right over the second as well. A position file is only
//! ever written from positions whose puts are committed, and is on disk before a position stands on it alone, so
//! neither way loses a line, and the first doubles none.

use bytes::Bytes;
use proto::cursor::{Cursor, DecodeError};
use sha1::{Digest as _, Sha1};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 42;
const STANDS: u8 = 1;
const COMING: u8 = 2;
/// From the start of a file to its `pos`.
const POS_AT: usize = 16;

/// What names a position file; none if there is none.
pub(super) type Base = Option<[u8; 20]>;

/// A position that was read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decoded {
    stands_on: Base,
    coming: Base,
    /// What moved on since.
    pub(super) files: Vec<Delta>,
}

impl Decoded {
    /// Whether its files may be laid over this position file.
    pub(super) fn fits(&self, there: Base) -> bool {
        there == self.stands_on || (there.is_some() && there == self.coming)
    }
}

/// What names the content of a position file.
pub(super) fn digest(text: &[u8]) -> [u8; 20] {
    Sha1::digest(text).into()
}

/// One file that moved on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delta {
    /// Its inode number.
    pub(super) inode: u64,
    /// When the file system made it, in nanoseconds since 1970, if it says so.
    pub(super) born_ns: Option<u64>,
    /// Bytes of it that are in the channels.
    pub(super) pos: u64,
    /// Its path.
    pub(super) path: String,
}

/// Where a file's position stands in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(usize);

/// The position under way. Kept as bytes, so that a batch costs one number and one copy.
#[derive(Debug)]
pub(super) struct Deltas {
    bytes: Vec<u8>,
    files: usize,
}

impl Deltas {
    /// No file has moved on since this.
    pub(super) fn on(base: Base) -> Self {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        bytes.extend_from_slice(&[VERSION, if base.is_some() { STANDS } else { 0 }]);
        bytes.extend_from_slice(&base.unwrap_or_default());
        bytes.extend_from_slice(&[0; 20]);
        Self { bytes, files: 0 }
    }

    /// A newer position file is being written and may be on disk at any time from now on.
    pub(super) fn expect(&mut self, coming: [u8; 20]) {
        self.bytes[1] |= COMING;
        self.bytes[22..HEAD_BYTES].copy_from_slice(&coming);
    }

    /// Adds a file. A path longer than 65,535 bytes, which no Linux has, is cut.
    pub(super) fn push(&mut self, inode: u64, born_ns: Option<u64>, pos: u64, path: &str) -> Slot {
        let path = &path[..path.floor_char_boundary(usize::from(u16::MAX))];
        let slot = Slot(self.bytes.len() + POS_AT);
        self.bytes.extend_from_slice(&inode.to_be_bytes());
        self.bytes.extend_from_slice(&born_ns.unwrap_or(0).to_be_bytes());
        self.bytes.extend_from_slice(&pos.to_be_bytes());
        self.bytes.extend_from_slice(&(path.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.files += 1;
        slot
    }

    /// A file moved on again, or back.
    pub(super) fn set(&mut self, slot: Slot, pos: u64) {
        if let Some(place) = self.bytes.get_mut(slot.0..slot.0 + 8) {
            place.copy_from_slice(&pos.to_be_bytes());
        }
    }

    /// Files so far, one that was renamed counted again.
    pub(super) fn files(&self) -> usize {
        self.files
    }

    /// As it goes with a batch.
    pub(super) fn bytes(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes)
    }
}

/// Reads a position back.
///
/// # Errors
/// The bytes are no position of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let version = cursor.clone();
    if cursor.u8("a version")? != VERSION {
        return Err(version.error("version 1"));
    }
    let before = cursor.clone();
    let flags = cursor.u8("flags")?;
    if flags & !(STANDS | COMING) != 0 {
        return Err(before.error("flags from 0 to 3"));
    }
    let mut digest = |flag: u8| {
        let mut digest = [0; 20];
        digest.copy_from_slice(cursor.take(20, "a digest")?);
        Ok((flags & flag != 0).then_some(digest))
    };
    let (stands_on, coming) = (digest(STANDS)?, digest(COMING)?);
    let mut files = Vec::new();
    while !cursor.is_empty() {
        files.push(file(&mut cursor)?);
    }
    Ok(Decoded {
        stands_on,
        coming,
        files,
    })
}

fn file(cursor: &mut Cursor<'_>) -> Result<Delta, DecodeError> {
    let inode = u64_be(cursor, "an inode")?;
    let born_ns = u64_be(cursor, "a time of birth")?;
    let pos = u64_be(cursor, "a position")?;
    let length = cursor.u16_be("the length of a path")?;
    let before = cursor.clone();
    let path = cursor.take(usize::from(length), "a path")?;
    let path = std::str::from_utf8(path).map_err(|_| before.error("a path in UTF-8"))?;
    Ok(Delta {
        inode,
        born_ns: Some(born_ns).filter(|ns| *ns > 0),
        pos,
        path: path.to_owned(),
    })
}

fn u64_be(cursor: &mut Cursor<'_>, expected: &'static str) -> Result<u64, DecodeError> {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(cursor.take(8, expected)?);
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_that_moves_on_is_changed_in_its_place() {
        let mut deltas = Deltas::on(None);
        let a = deltas.push(1, Some(5), 10, "/a");
        deltas.push(2, None, 20, "/b");
        deltas.set(a, 11);
        let decoded = decode(&deltas.bytes()).unwrap();
        let files = &decoded.files;
        assert!(decoded.fits(None) && !decoded.fits(Some([0; 20])));
        assert_eq!(deltas.files(), 2);
        assert_eq!((files[0].pos, files[1].pos), (11, 20));
        assert_eq!((files[0].born_ns, files[1].born_ns), (Some(5), None));
    }

    #[test]
    fn another_version_and_half_a_position_are_refused_with_their_place() {
        let mut deltas = Deltas::on(Some(digest(b"[]")));
        deltas.push(1, None, 2, "/é");
        let good = deltas.bytes();
        for end in 0..good.len() {
            // Without any file it is whole again.
            assert_eq!(decode(&good[..end]).is_ok(), end == HEAD_BYTES, "{end}");
        }
        let mut bad = good.to_vec();
        bad[0] = 2;
        assert_eq!(
            decode(&bad).unwrap_err().to_string(),
            "byte 0: expected version 1"
        );
        let mut bad = good.to_vec();
        *bad.last_mut().unwrap() = b'x';
        assert_eq!(
            decode(&bad).unwrap_err().to_string(),
            "byte 68: expected a path in UTF-8"
        );
    }

    #[test]
    fn its_bytes_do_not_change_between_releases() {
        let mut deltas = Deltas::on(Some([0xab; 20]));
        deltas.push(0x0102, Some(3), 0x0405, "/d/a");
        deltas.expect([0xcd; 20]);
        let mut expected = vec![1, 3];
        expected.extend_from_slice(&[0xab; 20]);
        expected.extend_from_slice(&[0xcd; 20]);
        expected.extend_from_slice(b"\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\x04\x05\0\x04/d/a");
        assert_eq!(deltas.bytes(), expected);
    }

    #[test]
    fn it_stands_on_the_file_before_and_on_the_one_that_is_coming() {
        let (old, new) = (digest(b"old"), digest(b"new"));
        let mut deltas = Deltas::on(Some(old));
        deltas.expect(new);
        let decoded = decode(&deltas.bytes()).unwrap();
        assert!(decoded.fits(Some(old)) && decoded.fits(Some(new)));
        assert!(!decoded.fits(None) && !decoded.fits(Some(digest(b"theirs"))));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            based in any::<Option<[u8; 20]>>(),
            coming in any::<Option<[u8; 20]>>(),
            files in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>(), ".*"), 0..6)
        ) {
            let mut deltas = Deltas::on(based);
            if let Some(coming) = coming {
                deltas.expect(coming);
            }
            for (inode, born, pos, path) in &files {
                let slot = deltas.push(*inode, Some(*born), 0, path);
                deltas.set(slot, *pos);
            }
            let decoded = decode(&deltas.bytes()).unwrap();
            prop_assert_eq!((decoded.stands_on, decoded.coming), (based, coming));
            let expected: Vec<Delta> = files
                .into_iter()
                .map(|(inode, born, pos, path)| Delta { inode, born_ns: Some(born).filter(|b| *b > 0), pos, path })
                .collect();
            prop_assert_eq!(decoded.files, expected);
        }

        #[test]
        fn no_garbage_makes_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), like_ours in any::<bool>()) {
            if like_ours && bytes.len() > 1 {
                bytes[0] = VERSION;
                bytes[1] &= 3;
            }
            let _ = decode(&bytes);
        }
    }
}
