//! A byte stream of any make: a socket, or one wrapped in compression and TLS in whatever order.

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One that is chosen when the connection is made. The cost is one indirect call for each read and write.
pub type BoxStream = Box<dyn Stream>;
