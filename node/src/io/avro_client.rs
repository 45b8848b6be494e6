//! One connection to an Avro source, over any transport: a batch goes out, and the answer to it comes back.
//!
//! The bytes and their order are the business of [`proto::avro::ClientConnection`]; here they meet a socket. One call
//! is under way at a time. A call that was refused leaves the connection usable, every other failure ends it: whether
//! the events of the last call were stored is not known then.
//!
//! What goes over the socket may be compressed, encrypted, or both: [`Layers`] has what the properties of an RPC client
//! say about that, in the sink as in the SDK. Wire: `flume/wire.md` 1.1, 1.6, 1.11, 1.12.

use crate::component::keys::Keys;
use crate::io::deflate::{self, Deflate};
use crate::io::stream::BoxStream;
use crate::io::tls::{ClientTls, TlsDefaults};
use bytes::BytesMut;
use proto::avro::{
    CallError, ClientConnection, ClientError, ClientStep, FrameDecoder, FrameError, FrameLimits, KnownServer,
};
use proto::event::Batch;
use std::io;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// What the frames of a connection are wrapped in.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// `compression-type = deflate` and its `compression-level`, 0 to 9; default 6.
    deflate_level: Option<u32>,
    /// `ssl` and what goes with it.
    tls: Option<ClientTls>,
    /// `tls-nesting` (ours), where there is both.
    nesting: Nesting,
}

/// Where TLS is when there is compression, too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Nesting {
    /// `zlib(TLS(frames))`: Flume 1.10 and 1.11.
    #[default]
    Inner,
    /// `TLS(zlib(frames))`: Flume up to 1.9.
    Outer,
}

impl Nesting {
    fn read(keys: &mut Keys, has_both: bool) -> Self {
        let Some(found) = keys.text("tls-nesting") else {
            return Self::Inner;
        };
        if !has_both {
            let why = "has no effect without ssl = true and compression-type = deflate";
            keys.without_effect("tls-nesting", why);
        }
        match found.to_ascii_lowercase().as_str() {
            "inner" => Self::Inner,
            "outer" => Self::Outer,
            _ => {
                keys.wrong(
                    "tls-nesting",
                    &format!("expected inner or outer, found \"{found}\""),
                );
                Self::Inner
            }
        }
    }
}

impl Layers {
    /// Reads the properties; what is wrong is noted in `keys`.
    pub fn read(keys: &mut Keys, defaults: &TlsDefaults) -> Self {
        let deflate = deflate::is_on(keys);
        if !deflate {
            let why = "has no effect without compression-type = deflate";
            keys.without_effect("compression-level", why);
        }
        let ssl = keys.flag("ssl", false);
        Self {
            tls: ClientTls::read(keys, defaults),
            deflate_level: deflate.then(|| keys.lenient_number("compression-level", deflate::LEVEL, 0..=9)),
            nesting: Nesting::read(keys, deflate && ssl),
        }
    }

    /// Puts them around a connection to `host`, with TLS's handshake.
    ///
    /// # Errors
    /// The handshake fails.
    pub async fn wrap(&self, host: &str, stream: TcpStream) -> io::Result<BoxStream> {
        Ok(match (&self.tls, self.deflate_level, self.nesting) {
            (None, None, _) => Box::new(stream),
            (None, Some(level), _) => Box::new(Deflate::new(stream, level)),
            (Some(tls), None, _) => Box::new(tls.connect(host, stream).await?),
            (Some(tls), Some(level), Nesting::Inner) => {
                Box::new(tls.connect(host, Deflate::new(stream, level)).await?)
            }
            (Some(tls), Some(level), Nesting::Outer) => {
                Box::new(Deflate::new(tls.connect(host, stream).await?, level))
            }
        })
    }
}

/// Why a call came to nothing.
#[derive(Debug, Error)]
pub enum CallFailure {
    /// The server has answered, and not with OK: the events are not stored, the connection goes on.
    #[error(transparent)]
    Refused(#[from] CallError),
    /// Reading or writing failed.
    #[error("the connection broke")]
    Lost(#[from] io::Error),
    /// The end of the stream came before the answer.
    #[error("the peer closed the connection before it answered")]
    Closed,
    /// An answer that is no frame.
    #[error("unreadable answer")]
    Frame(#[from] FrameError),
    /// A frame that is no answer, or a call that cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// The connection.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    rpc: ClientConnection,
    frames: FrameDecoder,
    input: BytesMut,
    output: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Over a stream that is open, to a server of which something may be known.
    pub fn new(stream: S, server: KnownServer) -> Self {
        Self {
            stream,
            rpc: ClientConnection::new(server),
            frames: FrameDecoder::new(FrameLimits::replies()),
            input: BytesMut::new(),
            output: BytesMut::new(),
        }
    }

    /// Whether the handshake is done.
    pub fn is_open(&self) -> bool {
        self.rpc.is_open()
    }

    /// What is known of the server by now.
    pub fn server(&self) -> &KnownServer {
        self.rpc.server()
    }

    /// Sends one batch and waits for its answer; sends it again with our protocol when the server asks for that.
    ///
    /// # Errors
    /// See [`CallFailure`]. A call that is dropped half-way leaves the connection in no known state: drop it, too.
    pub async fn append_batch(&mut self, batch: &Batch) -> Result<(), CallFailure> {
        loop {
            self.output.clear();
            self.rpc.append_batch(batch, &mut self.output)?;
            self.stream.write_all(&self.output).await?;
            self.stream.flush().await?;
            let frame = loop {
                if let Some(frame) = self.frames.next_frame(&mut self.input)? {
                    break frame;
                }
                self.frames.prepare(&mut self.input);
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(CallFailure::Closed);
                }
            };
            match self.rpc.handle(&frame)? {
                ClientStep::Resend { .. } => {}
                ClientStep::Done { outcome, .. } => return Ok(outcome?),
            }
        }
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        // The peer may be gone, which is all the better.
        let _ = self.stream.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    /// First answer of a server that knows Flume's protocol, and a later one (wire.md 1.15, A1 and A2).
    const FIRST: &[u8] = &[
        0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0,
    ];
    const FAILED: &[u8] = &[
        0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 2,
    ];

    fn batch() -> Batch {
        [b"a".as_slice()].into_iter().collect()
    }

    /// A call to a server that answers with these bytes and then closes.
    async fn answered(bytes: &[u8], calls: usize) -> Vec<Result<(), CallFailure>> {
        let (ours, mut theirs) = duplex(1 << 16);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        let mut connection = Connection::new(ours, KnownServer::default());
        let mut outcomes = Vec::new();
        for _ in 0..calls {
            outcomes.push(connection.append_batch(&batch()).await);
        }
        outcomes
    }

    #[tokio::test]
    async fn a_refused_call_leaves_the_connection_usable() {
        let both = [FIRST, FAILED].concat();
        let outcomes = answered(&both, 3).await;
        assert!(outcomes[0].is_ok(), "{outcomes:?}");
        assert!(
            matches!(outcomes[1], Err(CallFailure::Refused(CallError::Status(_)))),
            "{outcomes:?}"
        );
        assert!(matches!(outcomes[2], Err(CallFailure::Closed)), "{outcomes:?}");
    }

    #[tokio::test]
    async fn what_is_no_answer_says_so() {
        let outcomes = answered(b"HTTP/1.1 400 Bad Request\r\n\r\n", 1).await;
        assert!(matches!(outcomes[0], Err(CallFailure::Frame(_))), "{outcomes:?}");
        let outcomes = answered(FAILED, 1).await;
        assert!(
            matches!(
                outcomes[0],
                Err(CallFailure::Client(ClientError::UnknownSerial(2)))
            ),
            "{outcomes:?}"
        );
    }
}
