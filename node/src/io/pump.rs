//! A stream without answers into the channels: reads, cuts and puts, in this order and never ahead.
//!
//! What one read has brought is put before the next read, in batches that never wait for more. While a channel is full
//! nothing is read, so that the sender's own buffers fill up and it waits: nothing is lost while the connection lives.
//!
//! When the source is to stop, what the system has received already is read for a second at most, and put.

use super::deliver;
use super::read_buffer::ReadBuffer;
use super::serve::Closed;
use crate::component::keys::Keys;
use crate::component::source::SourceContext;
use proto::event::{BatchBuilder, EventLimits};
use std::time::Duration;
use tokio::io::AsyncRead;
use tokio::time::{Instant, timeout};

/// Events in one put where no channel restricts it.
const BATCH_EVENTS_MAX: usize = 10_000;
/// How long a stopping source reads what has arrived before.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// When nothing has come for so long, all has been read.
const QUIET: Duration = Duration::from_millis(50);
/// A year is for ever.
const IDLE_MS_MAX: u64 = 365 * 24 * 3_600 * 1_000;

/// Takes messages out of what was received.
pub trait Parser: Send {
    /// Appends whole messages to the batch until it has `events_max`, or more bytes must come; `input` is left where
    /// the next message begins.
    fn parse(&mut self, input: &mut &[u8], events_max: usize, batch: &mut BatchBuilder);
}

/// Reads the property `idleTimeout` (ours): milliseconds without a byte after which a connection is closed; default 0,
/// never, as TCP keep-alive finds peers that are gone.
pub fn idle_timeout(keys: &mut Keys) -> Option<Duration> {
    let idle = keys.millis("idleTimeout", Duration::ZERO, 0..=IDLE_MS_MAX);
    (!idle.is_zero()).then_some(idle)
}

/// One stream.
pub struct Pump<'a> {
    ctx: &'a SourceContext,
    buffer: ReadBuffer,
    batch_events_max: usize,
    idle: Option<Duration>,
    room: Room,
    /// Set when the source is to stop.
    stop_at: Option<Instant>,
}

impl<'a> Pump<'a> {
    /// A stream that is closed when nothing comes for `idle`; batches of at most `batch_events_max`.
    pub fn new(ctx: &'a SourceContext, batch_events_max: Option<usize>, idle: Option<Duration>) -> Self {
        Self {
            ctx,
            buffer: ReadBuffer::default(),
            batch_events_max: batch_events_max.unwrap_or(BATCH_EVENTS_MAX),
            idle,
            room: Room::default(),
            stop_at: None,
        }
    }

    /// Begins with a buffer of so many bytes.
    pub fn reading(mut self, bytes: usize) -> Self {
        self.buffer = ReadBuffer::new(bytes);
        self
    }

    /// Until the stream ends, or the source is to stop.
    ///
    /// # Errors
    /// The stream broke or was idle for too long. What it had brought before is put.
    pub async fn run(
        mut self,
        mut stream: impl AsyncRead + Unpin,
        mut parser: impl Parser,
    ) -> Result<(), Closed> {
        while self.read(&mut stream).await? > 0 {
            self.put_all(&mut parser).await;
        }
        let left = self.buffer.unread().len();
        if left > 0 {
            tracing::debug!(source = %self.ctx.name, bytes = left, "the stream ends in a message that is dropped");
        }
        Ok(())
    }

    /// Reads once; 0 at the end of the stream or of the source.
    async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, Closed> {
        let shutdown = &self.ctx.shutdown;
        if !shutdown.is_requested() {
            let fill = async {
                let fill = self.buffer.fill(stream);
                match self.idle {
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
                () = shutdown.requested() => {}
                read = fill => return read,
            }
        }
        let stop_at = *self.stop_at.get_or_insert_with(|| Instant::now() + DRAIN_MAX);
        let left = stop_at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(0); // a sender that never pauses would be read for ever
        }
        let patience = QUIET.min(left);
        match timeout(patience, self.buffer.fill(stream)).await {
            Ok(read) => Ok(read?),
            Err(_) => Ok(0),
        }
    }

    async fn put_all(&mut self, parser: &mut impl Parser) {
        loop {
            let capacity = self.ctx.transaction_capacity().unwrap_or(usize::MAX);
            let events_max = self.batch_events_max.min(capacity).max(1);
            let mut input = self.buffer.unread();
            let before = input.len();
            let mut batch =
                BatchBuilder::with_capacity(EventLimits::default(), self.room.bytes(before, events_max));
            parser.parse(&mut input, events_max, &mut batch);
            let left = input.len();
            self.buffer.keep(left);
            self.room.learn(before - left, &batch);
            let events = batch.len();
            if events > 0 {
                self.ctx.counters.received.add(events as u64);
                deliver::until_taken(self.ctx, batch.finish()).await;
            }
            if events < events_max {
                return;
            }
        }
    }
}

/// How much room a batch needs, from what the last one needed: a buffer that is much too large would be copied by
/// whoever keeps the batch, and one that is too small by the allocator.
#[derive(Debug, Default)]
struct Room {
    percent: usize,
    event_bytes: usize,
}

impl Room {
    fn bytes(&self, input: usize, events_max: usize) -> usize {
        let by_input = input.saturating_mul(self.percent.max(100)) / 100;
        match self.event_bytes {
            0 => input,
            event_bytes => by_input.min(events_max.saturating_mul(event_bytes + event_bytes / 16)) + 64,
        }
    }

    fn learn(&mut self, consumed: usize, batch: &BatchBuilder) {
        if consumed > 0 && !batch.is_empty() {
            self.percent = batch.bytes() * 104 / consumed;
            self.event_bytes = batch.bytes() / batch.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{Recorder, soon};
    use tokio::io::{AsyncWriteExt, duplex};

    /// Each byte before a dot is an event; dots end them.
    struct Dots;

    impl Parser for Dots {
        fn parse(&mut self, input: &mut &[u8], events_max: usize, batch: &mut BatchBuilder) {
            while batch.len() < events_max
                && let Some(at) = input.iter().position(|b| *b == b'.')
            {
                batch
                    .push(std::iter::empty::<(&str, &str)>(), &input[..at])
                    .unwrap();
                *input = &input[at + 1..];
            }
        }
    }

    #[tokio::test]
    async fn one_read_is_one_batch_unless_that_is_too_large() {
        let recorder = Recorder::new();
        let ctx = recorder.context();
        Pump::new(&ctx, Some(2), None)
            .run(&b"a.b.c.rest"[..], Dots)
            .await
            .unwrap();
        assert_eq!(recorder.batches(), [vec!["a", "b"], vec!["c"]]);
        Pump::new(&ctx, None, None)
            .run(&b"d.e.f."[..], Dots)
            .await
            .unwrap();
        assert_eq!(recorder.batches()[2], ["d", "e", "f"]);
        assert_eq!(ctx.counters.received.value(), 6);
    }

    #[tokio::test]
    async fn nothing_is_read_while_a_put_waits() {
        let recorder = Recorder::new();
        recorder.hang();
        let ctx = recorder.context();
        let (mut sender, stream) = duplex(64);
        let mut pump = Box::pin(Pump::new(&ctx, None, None).run(stream, Dots));
        sender.write_all(b"a.").await.unwrap();
        assert!(futures_util::poll!(pump.as_mut()).is_pending());
        sender.write_all(&[b'x'; 64]).await.unwrap();
        let mut more = Box::pin(sender.write_all(b"y"));
        for _ in 0..10 {
            assert!(futures_util::poll!(pump.as_mut()).is_pending());
            assert!(
                futures_util::poll!(more.as_mut()).is_pending(),
                "the sender waits"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_byte_for_too_long_is_closed() {
        let recorder = Recorder::new();
        let ctx = recorder.context();
        let (mut sender, stream) = duplex(64);
        let idle = Some(Duration::from_secs(10));
        let own = ctx.clone();
        let pump = tokio::spawn(async move { Pump::new(&own, None, idle).run(stream, Dots).await });
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(9_999)).await;
            sender.write_all(b"a.").await.unwrap();
        }
        let closed = soon(pump).await.unwrap().unwrap_err();
        assert_eq!(closed.to_string(), "nothing came for 10s (idleTimeout)");
        assert_eq!(recorder.bodies(), ["a", "a", "a"]);
    }

    #[tokio::test]
    async fn what_has_arrived_is_put_when_the_source_stops() {
        let recorder = Recorder::new();
        let ctx = recorder.context();
        let (mut sender, stream) = duplex(1 << 20);
        sender.write_all("abc.".repeat(100_000).as_bytes()).await.unwrap();
        ctx.shutdown.request();
        soon(Pump::new(&ctx, None, None).run(stream, Dots)).await.unwrap();
        assert_eq!(recorder.bodies().len(), 100_000);
    }

    #[tokio::test]
    async fn a_sender_that_never_ends_does_not_hold_a_stopping_source() {
        let recorder = Recorder::new();
        let ctx = recorder.context();
        ctx.shutdown.request();
        soon(Pump::new(&ctx, None, None).run(tokio::io::repeat(b'.'), Dots))
            .await
            .unwrap();
        assert!(!recorder.bodies().is_empty());
    }
}
