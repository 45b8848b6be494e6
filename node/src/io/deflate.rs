//! A byte stream that is compressed on its way: one zlib stream (RFC 1950) in each direction for the life of a
//! connection, as Flume's Avro speaks it (`flume/wire.md` 1.11).
//!
//! What is written is compressed as it comes and made whole by a flush, which ends it at a byte (a *sync flush*), so
//! that the peer can inflate all of it. The stream ends with its checksum at shutdown, as Java's client ends it; a
//! peer may as well just close. Sync, full and finish flushes and stored blocks of a peer are all read.
//!
//! Bounds: nothing is inflated but what the reader has room for, at most 32 KiB at a time, so that a few
//! bytes that stand for many cannot be a bomb: the reader's own limits apply to what comes out. Compressed bytes
//! wait in a buffer of 16 KiB, and for writing in one of about 64 KiB. With the tables of both
//! directions a stream has about 375 KiB; 320 KiB of them only once something is written.

use crate::component::keys::{Keys, nearest};
use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// The level of Flume's server, and the default of its client.
pub const LEVEL: u32 = 6;
/// Compressed bytes that were read and not inflated yet.
const INPUT_BYTES: usize = 16 << 10;
/// Bytes that one read inflates, and one write compresses.
const STEP_BYTES: usize = 32 << 10;
/// No more is compressed while so much waits to be written.
const OUTPUT_BYTES: usize = 64 << 10;

/// Reads `compression-type`: whether it asks for this.
pub fn is_on(keys: &mut Keys) -> bool {
    let Some(found) = keys.text("compression-type") else {
        return false;
    };
    let is_on = found.eq_ignore_ascii_case("deflate");
    if !is_on && !found.eq_ignore_ascii_case("none") {
        let near = nearest(&found, ["none", "deflate"].into_iter());
        let hint = near.map_or(String::new(), |n| format!("; did you mean \"{n}\"?"));
        let message =
            format!("expected one of none, deflate, found \"{found}\"; none is used, as in Flume{hint}");
        keys.warn("compression-type", "bad-value", message);
    }
    is_on
}

/// A stream over another one, compressed.
pub struct Deflate<S> {
    stream: S,
    inflate: Decompress,
    input: BytesMut,
    /// The first byte that came.
    first: Option<u8>,
    has_ended: bool,
    level: u32,
    deflate: Option<Compress>,
    output: BytesMut,
    /// Something was written since the last flush.
    is_dirty: bool,
    is_finished: bool,
}

impl<S> Deflate<S> {
    /// Over `stream`; what is written is compressed with a level of 0 to 9.
    pub fn new(stream: S, level: u32) -> Self {
        Self {
            stream,
            inflate: Decompress::new(true),
            input: BytesMut::new(),
            first: None,
            has_ended: false,
            level,
            deflate: None,
            output: BytesMut::new(),
            is_dirty: false,
            is_finished: false,
        }
    }

    /// Inflates as much of `self.input` as `room` holds; how much that was.
    fn inflate(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(&self.input, room, FlushDecompress::None)
            .map_err(|error| self.refused(&error))?;
        let taken = self.inflate.total_in() - before_in;
        self.input.advance(taken as usize);
        self.has_ended = status == Status::StreamEnd;
        Ok((self.inflate.total_out() - before_out) as usize)
    }

    fn refused(&self, error: &flate2::DecompressError) -> io::Error {
        let message = match self.first {
            Some(first) if self.inflate.total_out() == 0 => {
                format!("what comes is no zlib stream: it begins with {first:02x} ({error})")
            }
            _ => format!("the zlib stream that comes is damaged: {error}"),
        };
        io::Error::new(io::ErrorKind::InvalidData, message)
    }

    /// Compresses bytes, or ends what was compressed so far in the way of `flush`.
    fn deflate(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        let level = Compression::new(self.level);
        let deflate = self.deflate.get_or_insert_with(|| Compress::new(level, true));
        let mut room = [0; 4 << 10];
        loop {
            let (before_in, before_out) = (deflate.total_in(), deflate.total_out());
            let status = deflate
                .compress(bytes, &mut room, flush)
                .map_err(|e| io::Error::other(e.to_string()))?;
            bytes = &bytes[(deflate.total_in() - before_in) as usize..];
            let made = (deflate.total_out() - before_out) as usize;
            self.output.extend_from_slice(&room[..made]);
            // With room left over nothing waits inside, but what a flush will bring out.
            if status == Status::StreamEnd || (made < room.len() && bytes.is_empty()) {
                return Ok(());
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> Deflate<S> {
    /// Writes compressed bytes until no more than `left` of them wait.
    fn poll_drain(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        while self.output.len() > left {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deflate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.has_ended && buf.remaining() > 0 {
            let step = buf.remaining().min(STEP_BYTES);
            // Also without input: what a full buffer kept back may still be inside.
            let made = this.inflate(buf.initialize_unfilled_to(step))?;
            if made > 0 {
                buf.advance(made);
                break;
            }
            if this.has_ended {
                break;
            }
            if this.input.is_empty() {
                this.input.reserve(INPUT_BYTES);
                let mut room = (&mut this.input).limit(INPUT_BYTES);
                if ready!(poll_read_buf(Pin::new(&mut this.stream), cx, &mut room))? == 0 {
                    break; // closed without an end of the stream, as Java's server does
                }
                this.first = this.first.or(this.input.first().copied());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deflate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_finished {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_drain(cx, OUTPUT_BYTES))?;
        let step = &buf[..buf.len().min(STEP_BYTES)];
        self.deflate(step, FlushCompress::None)?;
        self.is_dirty |= !step.is_empty();
        Poll::Ready(Ok(step.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_dirty {
            self.deflate(&[], FlushCompress::Sync)?;
            self.is_dirty = false;
        }
        ready!(self.poll_drain(cx, 0))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who has written nothing has no stream to end.
        if self.deflate.is_some() && !self.is_finished {
            self.deflate(&[], FlushCompress::Finish)?;
        }
        self.is_finished = true;
        self.is_dirty = false;
        ready!(self.poll_drain(cx, 0))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::soon;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    fn pair(level: u32) -> (Deflate<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(64 << 10);
        (Deflate::new(near, level), far)
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// Vector A12 of wire.md 1.15, both directions, and what it stands for.
    const REQUEST: &str = "789c62606060646060600262edb655b71e1d092939f06ff2ff0b9f4cb95219d00580aa78120b0a52f35280ca79989812999218b832527372f201000000ffff";
    const ANSWER: &str = "789c6260606064606060066216060800f11998181800000000ffff";
    const CALL: &str = "00000001000000020000002b86aadae2c45474c0fe93ffd0f2350a650086aadae2c45474c0fe93ffd0f2350a650200000c617070656e640000000c0202610262000a68656c6c6f";

    #[tokio::test]
    async fn what_flume_compresses_is_read_as_it_comes() {
        let (mut stream, mut peer) = pair(LEVEL);
        let mut call = vec![0; CALL.len() / 2];
        // One byte after the other: none is lost between two reads.
        let send = async {
            for byte in unhex(REQUEST) {
                peer.write_all(&[byte]).await.unwrap();
            }
        };
        let (read, ()) = soon(async { tokio::join!(stream.read_exact(&mut call), send) }).await;
        read.unwrap();
        assert_eq!(call, unhex(CALL));
        peer.write_all(&unhex(ANSWER)[2..]).await.unwrap();
        let mut answer = [0; 27];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[..8], [0, 0, 0, 1, 0, 0, 0, 3]);
    }

    #[tokio::test]
    async fn a_flush_sends_all_and_ends_at_a_byte() {
        for (level, start) in [(0, [0x78, 0x01]), (6, [0x78, 0x9c]), (9, [0x78, 0xda])] {
            let (mut stream, mut peer) = pair(level);
            let mut inflate = Decompress::new(true);
            for word in [&b"one"[..], b"two", &[7; 5_000]] {
                stream.write_all(word).await.unwrap();
                stream.flush().await.unwrap();
                stream.flush().await.unwrap();
                let mut wire = vec![0; 8_000];
                let got = peer.read(&mut wire).await.unwrap();
                wire.truncate(got);
                assert_eq!(wire[got - 4..], [0, 0, 0xff, 0xff], "a sync flush, once");
                assert!(inflate.total_in() > 0 || wire[..2] == start, "level {level}");
                let mut plain = Vec::with_capacity(word.len());
                inflate
                    .decompress_vec(&wire, &mut plain, FlushDecompress::None)
                    .unwrap();
                assert_eq!(plain, word);
            }
        }
    }

    #[tokio::test]
    async fn shutdown_ends_the_stream_and_an_ended_stream_is_the_end() {
        let (near, far) = duplex(1 << 10);
        let (mut near, mut far) = (Deflate::new(near, LEVEL), Deflate::new(far, LEVEL));
        near.write_all(b"last").await.unwrap();
        near.shutdown().await.unwrap();
        near.shutdown().await.unwrap();
        assert!(near.write_all(b"more").await.is_err());
        let mut all = Vec::new();
        far.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"last");
        assert!(far.has_ended);
        // Who has written nothing closes without a word.
        far.shutdown().await.unwrap();
        let mut raw = Vec::new();
        near.stream.read_to_end(&mut raw).await.unwrap();
        assert_eq!(raw, b"");
    }

    #[tokio::test]
    async fn bytes_after_the_end_are_not_read() {
        let (mut stream, mut peer) = pair(LEVEL);
        let mut ended = unhex("789c030000000001");
        ended.extend(b"garbage");
        peer.write_all(&ended).await.unwrap();
        let mut all = Vec::new();
        soon(stream.read_to_end(&mut all)).await.unwrap();
        assert_eq!(all, b"");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_compress_is_told() {
        for (sent, told) in [
            (&b"\0\0\0\x01\0\0\0\x02"[..], "it begins with 00"),
            (b"\x16\x03\x01\x02\0", "it begins with 16"),
            (b"\x1f\x8b\x08\0", "it begins with 1f"),
        ] {
            let (mut stream, mut peer) = pair(LEVEL);
            peer.write_all(sent).await.unwrap();
            let error = soon(stream.read_u8()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains(told), "{error}");
        }
        let (mut stream, mut peer) = pair(LEVEL);
        let mut damaged = unhex(REQUEST);
        damaged.extend([0xff; 8]);
        peer.write_all(&damaged).await.unwrap();
        let mut all = Vec::new();
        let error = soon(stream.read_to_end(&mut all)).await.unwrap_err();
        assert!(error.to_string().contains("damaged"), "{error}");
    }

    #[tokio::test]
    async fn a_bomb_goes_off_in_the_readers_own_measure() {
        let zeros = vec![0; 8 << 20];
        let mut bomb = Vec::with_capacity(1 << 20);
        let mut deflate = Compress::new(Compression::best(), true);
        deflate
            .compress_vec(&zeros, &mut bomb, FlushCompress::Finish)
            .unwrap();
        assert!(bomb.len() < 9_000, "{} bytes for 8 MiB", bomb.len());
        let (mut stream, mut peer) = pair(LEVEL);
        let send = async {
            peer.write_all(&bomb).await.unwrap();
        };
        let read = async {
            let (mut room, mut all) = (BytesMut::with_capacity(1 << 20), 0);
            loop {
                room.clear();
                match stream.read_buf(&mut room).await.unwrap() {
                    0 => break all,
                    got => all += got,
                }
                assert!(room.len() <= STEP_BYTES && stream.input.capacity() <= 2 * INPUT_BYTES);
            }
        };
        let (all, ()) = soon(async { tokio::join!(read, send) }).await;
        assert_eq!(all, zeros.len());
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_stops_the_writer() {
        let (mut stream, _peer) = pair(0);
        let mut written = 0;
        let noise = vec![5; 16 << 10];
        while let Poll::Ready(done) = futures_util::poll!(Box::pin(stream.write(&noise))) {
            written += done.unwrap();
        }
        assert!(written >= 64 << 10, "the peer's buffer was filled: {written}");
        assert!(
            stream.output.len() <= OUTPUT_BYTES + 2 * STEP_BYTES,
            "{}",
            stream.output.len()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3_000), 0..20),
            repeat in 1..12_usize,
            level in 0..=9_u32,
            wire_bytes in 1..5_000_usize,
            room in 1..70_000_usize,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (near, far) = duplex(wire_bytes);
            let (mut near, mut far) = (Deflate::new(near, level), Deflate::new(far, level));
            let sent: Vec<u8> = words.iter().flat_map(|word| word.repeat(repeat)).collect();
            let write = async {
                for word in &words {
                    near.write_all(&word.repeat(repeat)).await.unwrap();
                    near.flush().await.unwrap();
                }
                near.shutdown().await.unwrap();
            };
            let read = async {
                let (mut all, mut part) = (Vec::new(), vec![0; room]);
                loop {
                    match far.read(&mut part).await.unwrap() {
                        0 => break all,
                        got => all.extend_from_slice(&part[..got]),
                    }
                }
            };
            let ((), got) = runtime.block_on(async { tokio::join!(write, read) });
            prop_assert_eq!(got, sent);
        }
    }
}
