//! Lines on their way into the channels: collected into batches, and kept until they are taken.

use super::Config;
use super::lines::{Line, Lines};
use crate::component::channel::ChannelError;
use crate::component::error::RunError;
use crate::component::source::SourceContext;
use cluster::backoff::Backoff;
use proto::event::{Batch, BatchBuilder, EventLimits};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{error, warn};

/// Bytes of lines in one batch, whatever `batchSize` says, so that memory has a bound.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Waits before a refused batch is put again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Lines on their way into the channels.
pub(super) struct Outbox<'a> {
    pub(super) ctx: &'a SourceContext,
    config: &'a Config,
    builder: BatchBuilder,
    /// Not taken by the channels yet, in order.
    outgoing: VecDeque<Batch>,
    last_put: Instant,
    timeout: Duration,
    backoff: Backoff,
}

impl<'a> Outbox<'a> {
    pub(super) fn new(config: &'a Config, ctx: &'a SourceContext) -> Self {
        Self {
            ctx,
            config,
            builder: BatchBuilder::new(EventLimits::default()),
            outgoing: VecDeque::new(),
            last_put: Instant::now(),
            timeout: config.batch_timeout,
            backoff: Backoff::new(RETRY_FIRST, RETRY_MAX, ctx.seed),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// When lines have waited long enough for a full batch.
    pub(super) fn due(&self) -> Instant {
        self.last_put + self.timeout
    }

    /// No line waits any more.
    pub(super) fn hurry(&mut self) {
        self.timeout = Duration::ZERO;
    }

    /// Takes all lines that end in `piece`; leaves none waiting that are due.
    pub(super) async fn push_all(&mut self, lines: &mut Lines, piece: &mut &[u8]) -> Result<(), RunError> {
        while let Some(line) = lines.next(piece) {
            self.push(line).await?;
        }
        if Instant::now() >= self.due() {
            self.flush().await?;
        }
        Ok(())
    }

    pub(super) async fn push(&mut self, line: Line<'_>) -> Result<(), RunError> {
        let (body, cut) = line.text(self.config.max_line_bytes);
        if cut {
            self.ctx.counters.refused_inputs.add(1);
            warn!(bytes = body.len(), "line over maxLineBytes is cut");
        }
        if !self.builder.is_empty() && self.builder.bytes() + body.len() > BATCH_BYTES_MAX {
            self.flush().await?;
        }
        self.builder
            .push(std::iter::empty::<(&str, &str)>(), &body)
            .map_err(|e| RunError::bug(e.to_string()))?;
        if self.builder.len() >= self.config.batch_size_events {
            self.flush().await?;
        }
        Ok(())
    }

    /// Puts what is there, again and again until the channels take it.
    pub(super) async fn flush(&mut self) -> Result<(), RunError> {
        if self.builder.is_empty() {
            return Ok(());
        }
        // The next batch is likely to be as large as this one.
        let room = self.builder.bytes() + self.builder.bytes() / 8;
        let next = BatchBuilder::with_capacity(EventLimits::default(), room);
        let batch = std::mem::replace(&mut self.builder, next).finish();
        self.ctx.counters.received.add(batch.len() as u64);
        self.outgoing.push_back(batch);
        while let Some(batch) = self.outgoing.front() {
            let events = batch.len() as u64;
            match self.ctx.put(batch.clone()).await {
                Ok(()) => {
                    self.ctx.counters.accepted.add(events);
                    self.outgoing.pop_front();
                    self.backoff.reset();
                }
                Err(why @ ChannelError::Bug(_)) => return Err(why.into()),
                Err(why) if why.is_final(self.backoff.failures()) => self.make_smaller(&why),
                Err(why) => self.wait(&why).await,
            }
        }
        self.last_put = Instant::now();
        // A channel that always has room would never let the others on this thread have their turn.
        tokio::task::coop::consume_budget().await;
        Ok(())
    }

    /// Waiting cannot help: halves the batch, and gives a single line up.
    fn make_smaller(&mut self, why: &ChannelError) {
        let Some(mut rest) = self.outgoing.pop_front() else {
            return;
        };
        if rest.len() > 1 {
            let front = rest.split_front(rest.len() / 2);
            self.outgoing.push_front(rest);
            self.outgoing.push_front(front);
        } else {
            self.ctx.counters.refused_inputs.add(1);
            error!(error = %why, bytes = rest.body_bytes(), "line dropped: no put can ever hold it");
        }
    }

    async fn wait(&mut self, why: &ChannelError) {
        let wait = self.backoff.fail();
        warn!(error = %why, attempt = self.backoff.failures(), "put refused; the same lines are tried again");
        if self.ctx.shutdown.is_requested() {
            sleep(wait.min(RETRY_FIRST)).await;
        } else {
            self.ctx.shutdown.sleep(wait).await;
        }
    }

    /// Says what is left when there is no time any more.
    pub(super) fn abandon(&self) {
        let lines = self.builder.len() + self.outgoing.iter().map(Batch::len).sum::<usize>();
        if lines > 0 {
            error!(
                events = lines,
                "at least these lines are lost: no channel took them before the source had to stop"
            );
        }
    }
}
