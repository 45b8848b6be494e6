//! What a connection has sent and nobody has used up yet.
//!
//! The buffer begins small, so that many idle connections cost little, doubles when a read fills it, and shrinks again
//! when reads have been small for a while. What is left of an unfinished message moves to its front before a read.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

const BYTES_MIN: usize = 8 << 10;
/// More than that makes no read cheaper.
const BYTES_MAX: usize = 256 << 10;
/// So many small reads one after the other make it shrink.
const SMALL_READS: u32 = 256;

/// Received bytes, in order.
#[derive(Debug)]
pub struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    small_reads: u32,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self::new(0)
    }
}

impl ReadBuffer {
    /// An empty one with room for a read of at least so many bytes.
    pub fn new(room_bytes: usize) -> Self {
        Self {
            bytes: vec![0; room_bytes.clamp(BYTES_MIN, BYTES_MAX)],
            start: 0,
            end: 0,
            small_reads: 0,
        }
    }

    /// What is there.
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Uses up all but the last `left` bytes.
    pub fn keep(&mut self, left: usize) {
        self.start = self.end - left.min(self.end - self.start);
    }

    /// Reads once; 0 at the end of the stream. Nothing is lost if the future is dropped.
    pub async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.make_room();
        let read = stream.read(&mut self.bytes[self.end..]).await?;
        let room = self.bytes.len() - self.end;
        self.end += read;
        if read == room {
            self.small_reads = 0;
            if self.bytes.len() < BYTES_MAX {
                self.bytes.resize((self.bytes.len() * 2).min(BYTES_MAX), 0);
            }
        } else if read < self.bytes.len() / 8 {
            self.small_reads += 1;
        } else {
            self.small_reads = 0;
        }
        Ok(read)
    }

    /// Room for a read, which is at least half of the least size.
    fn make_room(&mut self) {
        let held = self.end - self.start;
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
        if self.small_reads >= SMALL_READS && self.bytes.len() > BYTES_MIN && held < BYTES_MIN / 2 {
            self.bytes.truncate(BYTES_MIN);
            self.bytes.shrink_to_fit();
            self.small_reads = 0;
        }
        if self.bytes.len() - held < BYTES_MIN / 2 {
            // A message that is larger than the buffer: its limit is the caller's.
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_left_comes_first_and_nothing_is_lost() {
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let (mut stream, mut buffer, mut all) = (&sent[..], ReadBuffer::default(), Vec::new());
        while buffer.fill(&mut stream).await.unwrap() > 0 {
            let unread = buffer.unread();
            let used = unread.len() - unread.len() % 1_000;
            all.extend_from_slice(&unread[..used]);
            buffer.keep(unread.len() - used);
        }
        all.extend_from_slice(buffer.unread());
        assert_eq!(all, sent);
    }

    #[tokio::test]
    async fn it_grows_with_large_reads_up_to_its_limit_and_shrinks_with_small_ones() {
        let mut buffer = ReadBuffer::default();
        assert_eq!(buffer.bytes.len(), BYTES_MIN);
        let large = vec![0; 4 << 20];
        let mut stream = &large[..];
        while buffer.fill(&mut stream).await.unwrap() > 0 {
            buffer.keep(0);
        }
        assert_eq!(buffer.bytes.len(), BYTES_MAX);
        for _ in 0..=SMALL_READS {
            buffer.fill(&mut &b"abc"[..]).await.unwrap();
            buffer.keep(1);
            assert_eq!(buffer.unread(), b"c");
        }
        assert_eq!(buffer.bytes.len(), BYTES_MIN);
        assert!(buffer.bytes.capacity() < 2 * BYTES_MIN);
    }

    #[tokio::test]
    async fn a_message_larger_than_any_read_fits() {
        let large = vec![7; 3 * BYTES_MAX];
        let (mut stream, mut buffer) = (&large[..], ReadBuffer::default());
        while buffer.fill(&mut stream).await.unwrap() > 0 {}
        assert_eq!(buffer.unread(), large);
    }
}
