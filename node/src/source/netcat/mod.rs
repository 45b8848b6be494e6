//! `netcat`: lines of text over TCP, Flume's NetcatSource.
//!
//! Promise: a line is answered `OK` only after every required channel has it, and `FAILED: reason` if one refuses it;
//! lines of one connection are stored and answered in order. The lines of one read are put together; if that is
//! refused, each of them is put, and answered, alone: a line that fits is not refused because of its neighbours.
//!
//! Text is read in `encoding` and stored as UTF-8; LF ends a line, a CR before it stays, an empty line is an empty event,
//! and text without an end is dropped when the connection closes. No headers.
//!
//! | failure | what happens |
//! |---|---|
//! | a channel refuses | `FAILED: reason`, also with `ack-every-event = false`; the connection stays open |
//! | an interceptor fails | likewise (in Flume the connection hangs) |
//! | a line over `max-line-length` | `FAILED: Event exceeds the maximum length (…)`; closed and counted |
//! | bytes that the charset does not have | closed without an answer and counted; lines before them are stored (in Flume not those of the same read) |
//! | a peer that does not read its answers for 60 s | closed and counted |
//! | more than `maxConnections`, nothing for `idleTimeout` | closed and counted |
//! | the address is in use | tried again until it is free |
//!
//! Source: `flume/sources.md` 5.8, `flume/wire.md` 7.1.

mod lines;

use self::lines::{Next, TextLines};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::Type;
use crate::component::source::{DynSource, Source, SourceContext};
use crate::io::pump::idle_timeout;
use crate::io::read_buffer::ReadBuffer;
use crate::io::serve::{CONNECTIONS_MAX, Closed, Ends, Handler, Server};
use crate::io::{deliver, listen};
use crate::java::charset::Charset;
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSource>> = Type {
    alias: "netcat",
    classes: &["org.apache.flume.source.NetcatSource"],
    in_flume_metrics: true,
    build: |keys, _| Ok(Box::new(Config::read(keys).build()?)),
};

/// Lines in one put where no channel restricts it.
const BATCH_LINES_MAX: usize = 10_000;
/// The longest line that a body can hold, in UTF-16 units, which are up to three bytes of UTF-8 each.
const LINE_CHARS_MAX: usize = (64 << 20) / 3;
/// How long a peer may leave its answers unread.
const STALL: Duration = Duration::from_secs(60);
/// How long a closing connection waits for its peer to close too.
const LINGER: Duration = Duration::from_millis(500);

/// Settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `bind`: host name or address; required.
    pub bind: String,
    /// `port`: 0 to 65535, 0 takes a free one; required.
    pub port: u16,
    /// `max-line-length`: characters of a line and its LF, as Java counts them; default 512.
    pub line_chars_max: usize,
    /// `ack-every-event`: whether lines are answered `OK`; default true.
    pub answers_ok: bool,
    /// `encoding`: of lines and answers; default UTF-8.
    pub encoding: Charset,
    /// `maxConnections` (ours): connections at once; default 10,000.
    pub connections_max: usize,
    /// `idleTimeout` (ours): milliseconds without a byte after which a connection is closed; default 0, never.
    pub idle: Option<Duration>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys) -> Self {
        let line_chars = keys.number("max-line-length", 512, 1..=i32::MAX as usize);
        Self {
            bind: keys.required("bind"),
            port: keys.required_number("port", 0..=u16::MAX),
            line_chars_max: line_chars.min(LINE_CHARS_MAX),
            answers_ok: keys.flag("ack-every-event", true),
            encoding: encoding(keys),
            connections_max: keys.number("maxConnections", CONNECTIONS_MAX, 1..=1_000_000),
            idle: idle_timeout(keys),
        }
    }

    /// The source; nothing is bound yet.
    pub fn build(self) -> Result<Netcat, BuildError> {
        Ok(Netcat(self))
    }
}

fn encoding(keys: &mut Keys) -> Charset {
    let name = keys.text("encoding").unwrap_or_else(|| "utf-8".to_owned());
    Charset::named(&name).unwrap_or_else(|| {
        let message = format!("expected a charset such as UTF-8, ISO-8859-1 or UTF-16, found \"{name}\"");
        keys.wrong("encoding", &message);
        Charset::Utf8
    })
}

/// The source.
#[derive(Debug)]
pub struct Netcat(Config);

impl Source for Netcat {
    async fn run(self, ctx: SourceContext) -> Result<(), RunError> {
        let listener = listen::tcp(&self.0.bind, self.0.port).await?;
        self.serve(listener, ctx).await
    }
}

impl Netcat {
    async fn serve(self, listener: TcpListener, ctx: SourceContext) -> Result<(), RunError> {
        let local = listener
            .local_addr()
            .map_err(|e| RunError::retry("local address").caused_by(e))?;
        tracing::info!(source = %ctx.name, address = %local, "Netcat source listens");
        ctx.ready();
        let connections_max = self.0.connections_max;
        let handler = Connections {
            config: self.0,
            ctx: ctx.clone(),
        };
        Server::new(ctx, handler, None, connections_max)
            .accept(listener)
            .await;
        Ok(())
    }
}

/// What the connections of one source share.
struct Connections {
    config: Config,
    ctx: SourceContext,
}

impl Handler for Connections {
    async fn serve<S>(&self, stream: S, _: Ends) -> Result<(), Closed>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut connection = Connection {
            stream,
            config: &self.config,
            ctx: &self.ctx,
            lines: TextLines::new(self.config.encoding, self.config.line_chars_max),
            answers: Vec::new(),
            has_answered: false,
        };
        let ended = connection.run().await;
        if !matches!(ended, Err(Closed::Io(_))) {
            connection.close().await;
        }
        ended
    }
}

/// One connection over any transport.
struct Connection<'a, S> {
    stream: S,
    config: &'a Config,
    ctx: &'a SourceContext,
    lines: TextLines,
    answers: Vec<u8>,
    has_answered: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<'_, S> {
    async fn run(&mut self) -> Result<(), Closed> {
        let mut buffer = ReadBuffer::default();
        while self.read(&mut buffer).await? > 0 {
            loop {
                let capacity = self.ctx.transaction_capacity().unwrap_or(BATCH_LINES_MAX);
                let mut batch = BatchBuilder::new(EventLimits::default());
                let mut input = buffer.unread();
                let next = self
                    .lines
                    .take(&mut input, capacity.clamp(1, BATCH_LINES_MAX), &mut batch);
                let left = input.len();
                buffer.keep(left);
                self.store(batch.finish()).await;
                match next {
                    Next::Full => self.flush().await?,
                    Next::More => break,
                    Next::TooLong => {
                        let limit = self.config.line_chars_max;
                        let why =
                            format!("Event exceeds the maximum length ({limit} chars, including newline)");
                        self.answer(&format!("FAILED: {why}\n"));
                        self.flush().await?;
                        return Err(Closed::Refused(why));
                    }
                    Next::Unreadable => {
                        self.flush().await?;
                        return Err(Closed::Refused(
                            "bytes that are no text in the encoding".to_owned(),
                        ));
                    }
                }
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// Reads once; 0 at the end of the stream or of the source.
    async fn read(&mut self, buffer: &mut ReadBuffer) -> Result<usize, Closed> {
        let (stream, idle) = (&mut self.stream, self.config.idle);
        let read = async {
            let fill = buffer.fill(stream);
            match idle {
                None => Ok(fill.await?),
                Some(idle) => match timeout(idle, fill).await {
                    Ok(read) => Ok(read?),
                    Err(_) => Err(Closed::Refused(format!(
                        "nothing came for {idle:?} (idleTimeout)"
                    ))),
                },
            }
        };
        tokio::select! {
            biased;
            () = self.ctx.shutdown.requested() => Ok(0), // what is not read is not answered either
            read = read => read,
        }
    }

    /// Puts lines and adds their answers.
    async fn store(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let lines = batch.len();
        self.ctx.counters.received.add(lines as u64);
        match deliver::put(self.ctx, &batch).await {
            Ok(()) => self.answer_ok(lines),
            Err(why) if lines == 1 => self.answer(&format!("FAILED: {why}\n")),
            Err(_) => self.store_one_by_one(batch).await,
        }
    }

    async fn store_one_by_one(&mut self, mut rest: Batch) {
        while !rest.is_empty() {
            match deliver::put(self.ctx, &rest.split_front(1)).await {
                Ok(()) => self.answer_ok(1),
                Err(why) => self.answer(&format!("FAILED: {why}\n")),
            }
            // The peer is not kept waiting for what is known; if it has gone, the next read tells.
            let _ = self.flush().await;
        }
    }

    fn answer_ok(&mut self, lines: usize) {
        if self.config.answers_ok {
            for _ in 0..lines {
                self.answer("OK\n");
            }
        }
    }

    fn answer(&mut self, text: &str) {
        let charset = match self.config.encoding {
            // A byte order mark stands only before the first answer.
            Charset::Utf16 if self.has_answered => Charset::Utf16Of(true),
            other => other,
        };
        self.has_answered = true;
        self.answers.extend_from_slice(&charset.encode(text));
    }

    async fn flush(&mut self) -> Result<(), Closed> {
        if !self.answers.is_empty() {
            let written = timeout(STALL, self.stream.write_all(&self.answers)).await;
            self.answers.clear();
            written.map_err(|_| Closed::Refused(format!("answers not read for {STALL:?}")))??;
        }
        Ok(())
    }

    /// Closes so that the last answers arrive: what the peer still sends is read and thrown away, for closing with
    /// unread bytes would reset the connection.
    async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
        let mut rest = [0; 4 << 10];
        let drain = async { while self.stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        let _ = timeout(LINGER, drain).await;
    }
}

#[cfg(test)]
mod tests;
