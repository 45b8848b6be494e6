//! The codecs of blocks, with output that is bounded before it is made.
//!
//! deflate is raw (RFC 1951); snappy is its raw format and the CRC-32 of the uncompressed bytes, big-endian; bzip2
//! and zstandard are whole streams of their formats. xz is not known.

use std::io::{Read, Write};

/// What the bytes of blocks went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    /// Nothing.
    #[default]
    Null,
    /// Deflate without a header.
    Deflate,
    /// Snappy with a checksum.
    Snappy,
    /// Bzip2.
    Bzip2,
    /// Zstandard.
    Zstandard,
}

/// The largest window that a zstandard stream may ask for, as a power of two: 64 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 26;

/// Why a block cannot be uncompressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Uncompressed {
    TooLarge,
    Broken(String),
}

impl Codec {
    /// All that are known.
    pub const ALL: [Self; 5] = [
        Self::Null,
        Self::Deflate,
        Self::Snappy,
        Self::Bzip2,
        Self::Zstandard,
    ];

    /// The codec of this name, in this very case, as in Java.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Its name in a header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Bzip2 => "bzip2",
            Self::Zstandard => "zstandard",
        }
    }

    /// Appends `data`, compressed.
    pub(super) fn compress(self, data: &[u8], out: &mut Vec<u8>) {
        // Compressing in memory fails for want of memory only, which aborts.
        let done = match self {
            Self::Null => {
                out.extend_from_slice(data);
                Ok(())
            }
            Self::Deflate => {
                let mut encoder =
                    flate2::write::DeflateEncoder::new(&mut *out, flate2::Compression::default());
                encoder.write_all(data).and_then(|()| encoder.finish().map(drop))
            }
            Self::Snappy => {
                let start = out.len();
                out.resize(start + snap::raw::max_compress_len(data.len()), 0);
                let written = snap::raw::Encoder::new().compress(data, &mut out[start..]);
                written.map_err(std::io::Error::other).map(|len| {
                    out.truncate(start + len);
                    out.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
                })
            }
            Self::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(&mut *out, bzip2::Compression::best());
                encoder.write_all(data).and_then(|()| encoder.finish().map(drop))
            }
            Self::Zstandard => zstd::stream::copy_encode(data, &mut *out, zstd::DEFAULT_COMPRESSION_LEVEL),
        };
        done.expect("a block below 1 GiB compresses in memory");
    }

    /// The uncompressed bytes, `max` at most.
    pub(super) fn uncompress(self, data: &[u8], max: usize) -> Result<Vec<u8>, Uncompressed> {
        match self {
            Self::Null if data.len() > max => Err(Uncompressed::TooLarge),
            Self::Null => Ok(data.to_vec()),
            Self::Deflate => read_all(flate2::read::DeflateDecoder::new(data), max),
            Self::Snappy => unsnap(data, max),
            Self::Bzip2 => read_all(bzip2::read::BzDecoder::new(data), max),
            Self::Zstandard => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(data).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                read_all(decoder, max)
            }
        }
    }
}

fn broken(why: impl std::fmt::Display) -> Uncompressed {
    Uncompressed::Broken(why.to_string())
}

fn read_all(decoder: impl Read, max: usize) -> Result<Vec<u8>, Uncompressed> {
    let mut out = Vec::new();
    decoder
        .take(max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(broken)?;
    if out.len() > max {
        return Err(Uncompressed::TooLarge);
    }
    Ok(out)
}

fn unsnap(data: &[u8], max: usize) -> Result<Vec<u8>, Uncompressed> {
    let Some((packed, sum)) = data.split_last_chunk::<4>() else {
        return Err(broken("no checksum"));
    };
    let declared = snap::raw::decompress_len(packed).map_err(broken)?;
    // Snappy copies at most 64 bytes for three: what is declared beyond that cannot be there.
    if declared > max {
        return Err(Uncompressed::TooLarge);
    }
    if declared > packed.len().saturating_mul(32) {
        return Err(broken("a declared length beyond what its bytes can hold"));
    }
    let out = snap::raw::Decoder::new().decompress_vec(packed).map_err(broken)?;
    if crc32fast::hash(&out) != u32::from_be_bytes(*sum) {
        return Err(broken("the checksum does not match"));
    }
    Ok(out)
}
