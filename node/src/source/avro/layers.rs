//! What the frames of a connection are wrapped in: nothing, zlib, TLS, or both.
//!
//! With both, Flume 1.10 and 1.11 send `zlib(TLS(frames))` and earlier ones `TLS(zlib(frames))`. The first byte tells
//! which: a TLS record of a handshake begins with 16, a zlib stream with a byte that ends in 8 (78 from Java).
//!
//! Sources: `flume/wire.md` 1.1, 1.11, 1.12 and 12.

use crate::io::deflate::{self, Deflate};
use crate::io::stream::BoxStream;
use crate::io::tls::{HANDSHAKE, ServerTls};
use std::io;
use tokio::net::TcpStream;

/// The first byte of a TLS connection.
const TLS: u8 = 0x16;

/// What a source is configured with.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// `compression-type = deflate`.
    pub deflate: bool,
    /// `ssl`, and what goes with it.
    pub tls: Option<ServerTls>,
}

impl Layers {
    /// Unwraps a connection as far as that is done once: handshakes, and finding out in which order.
    ///
    /// # Errors
    /// `InvalidData` for a peer that speaks something else, `TimedOut` for one that says nothing for too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<BoxStream> {
        Ok(match (&self.tls, self.deflate) {
            (None, false) => Box::new(stream),
            (None, true) => Box::new(deflated(stream)),
            (Some(tls), false) => Box::new(tls.accept(stream).await?),
            (Some(tls), true) => match first_byte(&stream).await? {
                TLS => Box::new(deflated(tls.accept(stream).await?)),
                byte if is_zlib(byte) => Box::new(tls.accept(deflated(stream)).await?),
                byte => {
                    let message = format!("the peer speaks neither TLS nor zlib: it begins with {byte:02x}");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, message));
                }
            },
        })
    }

    /// What a peer seems to speak whose first byte after unwrapping is this and whose frames are none.
    pub fn mistaken(&self, first: u8) -> Option<&'static str> {
        match first {
            TLS if self.tls.is_none() => Some("it seems to speak TLS, and ssl is not true here"),
            0x78 if !self.deflate => Some("it seems to compress, and compression-type is not deflate here"),
            _ => None,
        }
    }
}

fn deflated<S>(stream: S) -> Deflate<S> {
    Deflate::new(stream, deflate::LEVEL)
}

/// The method of zlib, with a window of any size.
fn is_zlib(byte: u8) -> bool {
    byte & 0x8f == 0x08
}

/// Looks at the first byte that comes and leaves it there.
async fn first_byte(stream: &TcpStream) -> io::Result<u8> {
    let mut byte = [0];
    match tokio::time::timeout(HANDSHAKE, stream.peek(&mut byte)).await {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(byte[0]),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("not a byte of a TLS handshake within {HANDSHAKE:?}"),
        )),
    }
}
