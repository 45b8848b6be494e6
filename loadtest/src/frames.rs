//! Frames out of a byte stream: bytes go in at [`FrameReader::spare`], whole frames come out of [`FrameReader::next`].
//!
//! A message that came in one buffer is handed out where it lies; only a message in several buffers is joined, and only
//! when somebody asks for it. The scan remembers where it stood, so a frame of many buffers is walked once.
//! Limits: [`FRAME_SIZE_MAX`] and [`BUFFERS_MAX`]; a peer beyond them gets its connection closed.

use anyhow::{Result, ensure};

/// Largest frame that is read.
pub const FRAME_SIZE_MAX: usize = 64 << 20;

/// Most buffers a frame may have.
pub const BUFFERS_MAX: u32 = 1 << 20;

/// Least room offered to a read.
const READ_SIZE_MIN: usize = 64 << 10;

/// Most room made ahead of what has been announced.
const READ_SIZE_MAX: usize = 1 << 20;

/// A complete frame in the reader's buffer; good until the next call of [`FrameReader::spare`].
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Number of the call.
    pub serial: u32,
    buffers: u32,
    start: usize,
    end: usize,
}

impl Frame {
    /// Bytes of the frame on the wire.
    pub fn size(&self) -> usize {
        self.end - self.start
    }
}

/// See the module. Order: `spare`, read into it, `filled`, then `next` until it gives nothing.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Absolute offset up to which the unfinished frame has been walked; 0 before its header was.
    scanned: usize,
    buffers_left: u32,
    joined: Vec<u8>,
}

impl FrameReader {
    /// Room for the next read, large enough for what is known to be missing.
    pub fn spare(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let missing = self.missing();
        let wanted = missing.clamp(READ_SIZE_MIN, READ_SIZE_MAX);
        if self.bytes.len() < self.end + wanted && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
        if self.bytes.len() < self.end + wanted {
            self.bytes.resize((self.end + wanted).next_power_of_two(), 0);
        }
        let room = self.end + missing.max(READ_SIZE_MIN);
        let end = room.min(self.bytes.len());
        &mut self.bytes[self.end..end]
    }

    /// Says how much of [`FrameReader::spare`] a read has filled.
    pub fn filled(&mut self, size: usize) {
        self.end += size;
    }

    /// The next complete frame.
    ///
    /// # Errors
    /// When the peer's header breaks a limit; the stream cannot be followed any further.
    pub fn next(&mut self) -> Result<Option<Frame>> {
        if self.scanned == 0 {
            if self.end - self.start < 8 {
                return Ok(None);
            }
            self.buffers_left = self.size_at(self.start + 4);
            ensure!(
                (1..=BUFFERS_MAX).contains(&self.buffers_left),
                "frame announces {} buffers",
                self.buffers_left
            );
            self.scanned = self.start + 8;
        }
        while self.buffers_left > 0 {
            if self.end < self.scanned + 4 {
                return Ok(None);
            }
            let after = self.scanned + 4 + self.size_at(self.scanned) as usize;
            ensure!(
                after - self.start <= FRAME_SIZE_MAX,
                "frame is larger than {FRAME_SIZE_MAX} bytes"
            );
            if self.end < after {
                return Ok(None);
            }
            self.scanned = after;
            self.buffers_left -= 1;
        }
        let serial = self.size_at(self.start);
        let frame = Frame {
            serial,
            buffers: self.size_at(self.start + 4),
            start: self.start,
            end: self.scanned,
        };
        self.start = self.scanned;
        self.scanned = 0;
        Ok(Some(frame))
    }

    /// The message of a frame that `next` gave.
    pub fn message(&mut self, frame: Frame) -> &[u8] {
        if frame.buffers == 1 {
            return &self.bytes[frame.start + 12..frame.end];
        }
        self.joined.clear();
        let mut at = frame.start + 8;
        while at < frame.end {
            let size = self.size_at(at) as usize;
            self.joined.extend_from_slice(&self.bytes[at + 4..at + 4 + size]);
            at += 4 + size;
        }
        &self.joined
    }

    /// Bytes that the unfinished frame certainly still lacks.
    fn missing(&self) -> usize {
        if self.scanned == 0 || self.end < self.scanned + 4 {
            return 12;
        }
        // Buffers of one frame tend to be of one size, so the current one speaks for those to come.
        let size = 4 + self.size_at(self.scanned) as usize;
        let expected = size
            .saturating_mul(self.buffers_left as usize)
            .min(FRAME_SIZE_MAX);
        (self.scanned + expected).saturating_sub(self.end)
    }

    fn size_at(&self, at: usize) -> u32 {
        let mut size = [0; 4];
        size.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_be_bytes(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Buffers;

    fn feed(stream: &[u8], step: usize) -> Vec<(u32, Vec<u8>)> {
        let mut reader = FrameReader::default();
        let mut found = Vec::new();
        for piece in stream.chunks(step) {
            let mut rest = piece;
            while !rest.is_empty() {
                let spare = reader.spare();
                let size = rest.len().min(spare.len());
                spare[..size].copy_from_slice(&rest[..size]);
                reader.filled(size);
                rest = &rest[size..];
                while let Some(frame) = reader.next().unwrap() {
                    found.push((frame.serial, reader.message(frame).to_vec()));
                }
            }
        }
        found
    }

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let params: Vec<u8> = (0..30_000u32).map(|at| (at % 253) as u8).collect();
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for serial in 0..20u32 {
            let size = (serial as usize * 1709) % params.len();
            let buffers = if serial % 2 == 0 {
                Buffers::One
            } else {
                Buffers::Java
            };
            stream.extend(buffers.frame(serial, b"head", &params[..size]));
            expected.push((serial, [b"head", &params[..size]].concat()));
        }
        for step in [1, 3, 7, 4096, 65_536, stream.len()] {
            assert_eq!(feed(&stream, step), expected, "in steps of {step}");
        }
    }

    #[test]
    fn an_absurd_header_ends_the_stream() {
        for header in [
            *b"GET / HTTP/1",
            *b"\0\0\0\x01\0\0\0\0\0\0\0\0",
            *b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff",
        ] {
            let mut reader = FrameReader::default();
            reader.spare()[..12].copy_from_slice(&header);
            reader.filled(12);
            assert!(reader.next().is_err());
        }
    }
}
