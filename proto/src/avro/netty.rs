//! The framing of Avro's Netty transceiver, called Pack (wire.md 1.2).
//!
//! ```text
//!   serial  i32 | list size i32 | length i32, data | length i32, data | ..       all big-endian
//! ```
//!
//! A message is the concatenation of the buffers; where one ends and the next begins means nothing. Java cuts
//! what it sends into buffers of 8,192 bytes, but a decoder of events wants one contiguous message. So
//! [`FrameDecoder`] works inside the caller's read buffer: a message of one buffer is a slice of it, and of a
//! message of several the length fields are squeezed out in place as the bytes come in:
//!
//! ```text
//!   serial list | len aaaa | len bbbbbbbb | len cc..          read buffer as received
//!                        aaaa|bbbbbbbb|                       a small head moves forward, over the length
//!                        aaaa|bbbbbbbb|cc..                   later data moves back, onto its predecessor
//! ```
//!
//! A head moves forward only over a buffer at least as long as itself, which then stays where it is, so all
//! moves together never exceed the bytes of the message.
//!
//! Every failure is final: the stream has no point at which one could start anew, so the caller closes the
//! connection, as Java does.

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use thiserror::Error;

/// Spare room below which a quiet connection gets a new read buffer.
const SPARE_BYTES_MIN: usize = 4 << 10;
/// Size of a fresh read buffer, and the least that a frame in progress may ask for beyond what it has sent.
const READ_BYTES: usize = 64 << 10;
/// The most that is reserved because the last frame was as large.
const LAST_FRAME_BYTES_MAX: usize = 256 << 10;

/// How large a frame may be. Java knows no limit but its heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of one message, without its length fields; default 64 MiB. Anything above 4 GiB counts as 4 GiB.
    pub max_frame_bytes: usize,
    /// Buffers of one message; default 1,048,576.
    pub max_buffers: u32,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 64 << 20,
            max_buffers: 1 << 20,
        }
    }
}

impl FrameLimits {
    /// Limits for a client, to which only replies come: 1 MiB for a protocol text, in 1,024 buffers.
    pub fn replies() -> Self {
        Self {
            max_frame_bytes: 1 << 20,
            max_buffers: 1_024,
        }
    }
}

/// One message and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Chosen by the client, echoed by the server.
    pub serial: i32,
    /// The contiguous message; a slice of the read buffer.
    pub payload: Bytes,
}

/// Bytes that are not a frame, or a frame over the limits. The connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The very first bytes belong to something else.
    #[error("not Avro RPC: the first bytes are {0}")]
    Stranger(Stranger),
    /// The number of buffers is not positive or too large.
    #[error("frame {serial}: a list of {found} buffers, allowed are 1 to {allowed}")]
    ListSize {
        /// Number of the frame.
        serial: i32,
        /// Buffers announced.
        found: i32,
        /// See [`FrameLimits::max_buffers`].
        allowed: u32,
    },
    /// The length of a buffer is negative.
    #[error("frame {serial}: a buffer of {found} bytes, allowed are 0 and more")]
    BufferLength {
        /// Number of the frame.
        serial: i32,
        /// Length announced.
        found: i32,
    },
    /// The message is too large.
    #[error("frame {serial}: a message of at least {found} bytes, allowed are at most {allowed}")]
    MessageBytes {
        /// Number of the frame.
        serial: i32,
        /// Bytes announced so far.
        found: usize,
        /// See [`FrameLimits::max_frame_bytes`].
        allowed: usize,
    },
    /// The caller took bytes out of the read buffer in the middle of a frame.
    #[error("the read buffer lost bytes of a frame in progress")]
    Disturbed,
}

/// What usually stands at the other end when a connection does not start with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stranger {
    /// A browser, a health check, a proxy.
    Http,
    /// A peer with `ssl=true`.
    Tls,
    /// A peer with `compression-type=deflate`.
    Zlib,
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Tls => "a TLS record; the peer has ssl=true and this side does not",
            Self::Zlib => "a zlib stream; the peer has compression-type=deflate and this side does not",
        })
    }
}

impl Stranger {
    fn from_first_bytes(first: [u8; 4]) -> Option<Self> {
        match &first {
            b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"DELE" | b"CONN" | b"PRI " | b"HTTP" => {
                Some(Self::Http)
            }
            [0x16, 0x03, 0..=4, _] => Some(Self::Tls),
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(Self::Zlib),
            _ => None,
        }
    }
}

/// Where the decoder stands in the frame in progress. Offsets count from the start of the read buffer.
#[derive(Debug, Clone, Copy)]
struct Progress {
    serial: i32,
    /// Buffers of which not all data is here, the current one included.
    buffers_left: u32,
    /// Bytes missing of the current buffer; `None` before its length field.
    buffer_left: Option<usize>,
    /// The contiguous message so far stands in `start..end`.
    start: usize,
    end: usize,
    /// The first byte not yet looked at; what is between `end` and here is waste.
    read: usize,
}

impl Progress {
    fn message_bytes(&self) -> usize {
        self.end - self.start
    }
}

/// Finds frames in what a connection receives.
///
/// Order of calls: [`prepare`](Self::prepare) the read buffer (or heed [`wanted`](Self::wanted)), append
/// received bytes to it, then [`next_frame`](Self::next_frame) until it returns `None`. Between these calls the
/// caller only ever appends to the buffer: a frame in progress stands in it.
#[derive(Debug)]
pub struct FrameDecoder {
    limits: FrameLimits,
    progress: Option<Progress>,
    seen_frame: bool,
    last_frame_bytes: usize,
}

impl FrameDecoder {
    /// A decoder for a new connection.
    pub fn new(limits: FrameLimits) -> Self {
        let max_frame_bytes = limits.max_frame_bytes.min(u32::MAX as usize);
        Self {
            limits: FrameLimits {
                max_frame_bytes,
                ..limits
            },
            progress: None,
            seen_frame: false,
            last_frame_bytes: 0,
        }
    }

    /// Whether a frame has begun and is not complete; a connection that ends now lost it.
    pub fn in_frame(&self) -> bool {
        self.progress.is_some()
    }

    /// How many more bytes it is useful to read at once.
    ///
    /// Between frames that is the size of the last frame (4 KiB to 1 MiB). Inside one it is what is missing, but
    /// no more than the larger of 64 KiB and what the frame has already sent: a peer must send bytes to be
    /// given memory, declaring them is not enough.
    pub fn wanted(&self) -> usize {
        let Some(progress) = &self.progress else {
            return self.last_frame_bytes.clamp(SPARE_BYTES_MIN, LAST_FRAME_BYTES_MAX);
        };
        let earned = progress.message_bytes().max(READ_BYTES);
        match progress.buffer_left {
            Some(left) if progress.buffers_left == 1 => left.min(earned),
            _ => earned,
        }
    }

    /// Gives the read buffer room for [`wanted`](Self::wanted) bytes if it is short of room.
    ///
    /// Fresh buffers have at least 64 KiB and small frames share one until less than 4 KiB are left, so that a
    /// small batch kept by a channel does not pin a buffer of its own.
    pub fn prepare(&self, input: &mut BytesMut) {
        let wanted = self.wanted();
        let (enough, fresh) = match &self.progress {
            None => (wanted, wanted.max(READ_BYTES)),
            Some(progress) if progress.buffers_left == 1 && progress.buffer_left.is_some() => {
                (wanted, wanted.max(SPARE_BYTES_MIN))
            }
            // The end is not known, and a new buffer means a copy: use up what there is.
            Some(_) => (SPARE_BYTES_MIN, wanted),
        };
        if input.capacity() - input.len() < enough {
            input.reserve(fresh);
        }
    }

    /// Takes the next complete frame out of the front of `input`, or returns `None` if more bytes are needed.
    pub fn next_frame(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let mut progress = match self.progress {
            Some(progress) if progress.read > input.len() => return Err(FrameError::Disturbed),
            Some(progress) => progress,
            None => match self.begin(input)? {
                Some(progress) => progress,
                None => return Ok(None),
            },
        };
        if self.advance(&mut progress, input)? {
            self.progress = None;
            self.seen_frame = true;
            self.last_frame_bytes = progress.read;
            let payload = input
                .split_to(progress.read)
                .freeze()
                .slice(progress.start..progress.end);
            return Ok(Some(Frame {
                serial: progress.serial,
                payload,
            }));
        }
        close_gap(&mut progress, input);
        self.progress = Some(progress);
        Ok(None)
    }

    fn begin(&self, input: &[u8]) -> Result<Option<Progress>, FrameError> {
        let (Some(serial), Some(found)) = (i32_at(input, 0), i32_at(input, 4)) else {
            return Ok(None);
        };
        let allowed = self.limits.max_buffers;
        match u32::try_from(found) {
            Ok(buffers_left) if (1..=allowed).contains(&buffers_left) => Ok(Some(Progress {
                serial,
                buffers_left,
                buffer_left: None,
                start: 8,
                end: 8,
                read: 8,
            })),
            _ => Err(self.explain(
                FrameError::ListSize {
                    serial,
                    found,
                    allowed,
                },
                serial,
            )),
        }
    }

    /// Consumes what is there; true when the frame is complete.
    fn advance(&self, progress: &mut Progress, input: &mut BytesMut) -> Result<bool, FrameError> {
        while progress.buffers_left > 0 {
            let left = match progress.buffer_left {
                Some(left) => left,
                None => {
                    let Some(declared) = i32_at(input, progress.read) else {
                        return Ok(false);
                    };
                    self.begin_buffer(progress, declared, input)?
                }
            };
            let here = left.min(input.len() - progress.read);
            if progress.end != progress.read && here > 0 {
                input.copy_within(progress.read..progress.read + here, progress.end);
            }
            progress.end += here;
            progress.read += here;
            if here < left {
                progress.buffer_left = Some(left - here);
                return Ok(false);
            }
            progress.buffer_left = None;
            progress.buffers_left -= 1;
        }
        Ok(true)
    }

    fn begin_buffer(
        &self,
        progress: &mut Progress,
        declared: i32,
        input: &mut [u8],
    ) -> Result<usize, FrameError> {
        let serial = progress.serial;
        let length = usize::try_from(declared).map_err(|_| {
            self.explain(
                FrameError::BufferLength {
                    serial,
                    found: declared,
                },
                serial,
            )
        })?;
        let held = progress.message_bytes();
        let (found, allowed) = (held.saturating_add(length), self.limits.max_frame_bytes);
        if found > allowed {
            return Err(self.explain(
                FrameError::MessageBytes {
                    serial,
                    found,
                    allowed,
                },
                serial,
            ));
        }
        progress.read += 4;
        if held <= length {
            let start = progress.read - held;
            input.copy_within(progress.start..progress.end, start);
            progress.start = start;
            progress.end = progress.read;
        }
        Ok(length)
    }

    /// Before the first frame a fault has usually a simpler cause than a bad frame.
    fn explain(&self, fault: FrameError, serial: i32) -> FrameError {
        match Stranger::from_first_bytes(serial.to_be_bytes()) {
            Some(stranger) if !self.seen_frame => FrameError::Stranger(stranger),
            _ => fault,
        }
    }
}

/// Drops the waste of squeezed-out length fields. What follows it is at most a piece of a length field.
fn close_gap(progress: &mut Progress, input: &mut BytesMut) {
    if progress.end == progress.read {
        return;
    }
    let tail = input.len() - progress.read;
    input.copy_within(progress.read.., progress.end);
    input.truncate(progress.end + tail);
    progress.read = progress.end;
}

fn i32_at(input: &[u8], at: usize) -> Option<i32> {
    input
        .get(at..)?
        .first_chunk::<4>()
        .map(|bytes| i32::from_be_bytes(*bytes))
}

/// Writes one frame whose buffers are `parts`. Nothing is written unless every part is shorter than 2 GiB.
pub fn encode_frame(serial: i32, parts: &[&[u8]], out: &mut BytesMut) -> Result<(), FrameError> {
    let too_large = |found| FrameError::MessageBytes {
        serial,
        found,
        allowed: i32::MAX as usize,
    };
    let count = i32::try_from(parts.len()).map_err(|_| too_large(parts.len()))?;
    if let Some(part) = parts.iter().find(|part| part.len() > i32::MAX as usize) {
        return Err(too_large(part.len()));
    }
    out.reserve(8 + parts.iter().map(|part| 4 + part.len()).sum::<usize>());
    out.put_i32(serial);
    out.put_i32(count);
    for part in parts {
        out.put_i32(part.len() as i32);
        out.put_slice(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames_of(bytes: &[u8], piece: usize, limits: FrameLimits) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = FrameDecoder::new(limits);
        let mut input = BytesMut::new();
        let mut frames = Vec::new();
        for part in bytes.chunks(piece) {
            decoder.prepare(&mut input);
            input.extend_from_slice(part);
            while let Some(frame) = decoder.next_frame(&mut input)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn frame(serial: i32, parts: &[&[u8]]) -> BytesMut {
        let mut out = BytesMut::new();
        encode_frame(serial, parts, &mut out).unwrap();
        out
    }

    fn check_error(bytes: &[u8], expected: &str) {
        let error = frames_of(
            bytes,
            3,
            FrameLimits {
                max_frame_bytes: 100,
                max_buffers: 10,
            },
        )
        .unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_message_of_one_buffer_is_a_slice_of_the_read_buffer() {
        let mut input = frame(7, &[b"hello"]);
        let place = input[12..].as_ptr();
        let held = FrameDecoder::new(FrameLimits::default())
            .next_frame(&mut input)
            .unwrap()
            .unwrap();
        assert_eq!((held.serial, &held.payload[..]), (7, &b"hello"[..]));
        assert_eq!(held.payload.as_ptr(), place);
        assert!(input.is_empty());
    }

    #[test]
    fn a_small_head_moves_and_the_large_rest_stays() {
        let large = [b'x'; 1000];
        let mut input = frame(7, &[b"head", &large]);
        let place = input[20..].as_ptr();
        let held = FrameDecoder::new(FrameLimits::default())
            .next_frame(&mut input)
            .unwrap()
            .unwrap();
        assert_eq!(held.payload.len(), 1004);
        assert_eq!(&held.payload[..5], b"headx");
        assert_eq!(held.payload[4..].as_ptr(), place);
    }

    #[test]
    fn every_cut_into_pieces_gives_the_same_frames() {
        let mut bytes = frame(1, &[b"", b"a", b"bcd", b"", b"efghijklmnop", b"q"]);
        bytes.unsplit(frame(-5, &[b""]));
        bytes.unsplit(frame(i32::MIN, &[b"xyz", b"0123456789"]));
        let whole = frames_of(&bytes, bytes.len(), FrameLimits::default()).unwrap();
        assert_eq!(whole.len(), 3);
        assert_eq!(&whole[0].payload[..], b"abcdefghijklmnopq");
        assert_eq!(&whole[2].payload[..], b"xyz0123456789");
        for piece in 1..bytes.len() {
            assert_eq!(
                frames_of(&bytes, piece, FrameLimits::default()).unwrap(),
                whole,
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn absurd_heads_are_refused_with_what_was_found_and_allowed() {
        check_error(
            &frame(9, &[]),
            "frame 9: a list of 0 buffers, allowed are 1 to 10",
        );
        check_error(
            b"\0\0\0\x01\xff\xff\xff\xff",
            "frame 1: a list of -1 buffers, allowed are 1 to 10",
        );
        check_error(
            b"\0\0\0\x01\x7f\xff\xff\xff",
            "frame 1: a list of 2147483647 buffers, allowed are 1 to 10",
        );
        check_error(
            b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff",
            "frame 1: a buffer of -1 bytes, allowed are 0 and more",
        );
        check_error(
            &frame(1, &[&[0; 60], &[0; 41]]),
            "frame 1: a message of at least 101 bytes, allowed are at most 100",
        );
        let full = frame(1, &[&[0; 60], &[0; 40]]);
        assert!(
            frames_of(
                &full,
                7,
                FrameLimits {
                    max_frame_bytes: 100,
                    max_buffers: 2
                }
            )
            .is_ok()
        );
    }

    #[test]
    fn strangers_are_named() {
        check_error(b"GET / HTTP/1.1\r\n", "not Avro RPC: the first bytes are HTTP");
        let error = frames_of(
            &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0],
            4,
            FrameLimits::default(),
        )
        .unwrap_err();
        assert_eq!(error, FrameError::Stranger(Stranger::Tls));
        let error = frames_of(
            &[0x78, 0x9c, 0x62, 0x60, 0x60, 0x60, 0x60, 0x64],
            4,
            FrameLimits::default(),
        );
        assert_eq!(error, Err(FrameError::Stranger(Stranger::Zlib)));
    }

    #[test]
    fn a_declared_length_is_not_given_memory() {
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        let mut input = BytesMut::from(&b"\0\0\0\x01\0\0\0\x01\x03\0\0\0abc"[..]);
        assert_eq!(decoder.next_frame(&mut input), Ok(None));
        assert_eq!(decoder.wanted(), READ_BYTES);
        decoder.prepare(&mut input);
        assert!(input.capacity() <= 2 * READ_BYTES);
        input.resize(300_000, 0);
        assert_eq!(decoder.next_frame(&mut input), Ok(None));
        assert_eq!(decoder.wanted(), 300_000 - 12);
    }

    #[test]
    fn waste_of_one_byte_buffers_does_not_pile_up() {
        let bytes = frame(1, &vec![&b"x"[..]; 10_000]);
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        let mut input = BytesMut::new();
        for (sent, part) in bytes.chunks(7).enumerate() {
            input.extend_from_slice(part);
            if decoder.next_frame(&mut input).unwrap().is_some() {
                return;
            }
            assert!(
                input.len() <= 16 + 3 + (sent + 1) * 7 / 5,
                "{} after {sent}",
                input.len()
            );
        }
        panic!("no frame");
    }

    #[test]
    fn a_shrunk_read_buffer_is_an_error_and_no_panic() {
        let mut decoder = FrameDecoder::new(FrameLimits::default());
        let mut input = BytesMut::from(&b"\0\0\0\x01\0\0\0\x01\0\0\0\x09abc"[..]);
        assert_eq!(decoder.next_frame(&mut input), Ok(None));
        input.clear();
        assert_eq!(decoder.next_frame(&mut input), Err(FrameError::Disturbed));
    }
}
