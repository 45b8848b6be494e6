//! How sources that cannot ask their senders to send again put what they have received.
//!
//! [`until_taken`] is for streams: while it waits, its caller does not read, so that the sender waits too and nothing
//! is lost as long as the connection lives. [`what_fits`] is for datagrams, whose senders never wait: what a full
//! channel does not take within its keep-alive is dropped, but not more than that.
//!
//! In either, events that no put can ever hold are given up one by one: refused and counted, with an error in the log.

use crate::component::channel::ChannelError;
use crate::component::source::SourceContext;
use cluster::backoff::Backoff;
use proto::event::Batch;
use std::collections::VecDeque;
use std::time::Duration;
use tracing::{debug, error, warn};

/// Waits before a refused batch is put again; short ones, as the channel has waited for its keep-alive already.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The longest of these waits while the source stops.
const RETRY_STOPPING: Duration = Duration::from_millis(100);

/// Puts a batch again and again until the channels have taken all of it. Dropping the future is what ends it early;
/// what is lost then is told in the log.
pub async fn until_taken(ctx: &SourceContext, batch: Batch) {
    let mut waiting = Waiting::new(ctx, batch);
    let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX, ctx.seed);
    while let Some(batch) = waiting.batches.front() {
        match put(ctx, batch).await {
            Ok(()) => {
                waiting.batches.pop_front();
                backoff.reset();
            }
            Err(why) if why.is_final(backoff.failures()) => waiting.make_smaller(&why),
            Err(why) => {
                let wait = backoff.fail();
                // Many connections may wait at once, and for long.
                if backoff.failures().is_power_of_two() {
                    warn!(source = %ctx.name, error = %why, attempt = backoff.failures(), "put refused; the same events are put again");
                }
                if ctx.shutdown.is_requested() {
                    tokio::time::sleep(wait.min(RETRY_STOPPING)).await;
                } else {
                    ctx.shutdown.sleep(wait).await;
                }
            }
        }
    }
}

/// Puts a batch; what is refused is tried in smaller and smaller pieces, until a single event is refused, and dropped
/// from there on. Returns how many events were dropped, which is for the caller to tell.
pub async fn what_fits(ctx: &SourceContext, batch: Batch) -> usize {
    let mut waiting = Waiting::new(ctx, batch);
    while let Some(batch) = waiting.batches.front() {
        match put(ctx, batch).await {
            Ok(()) => drop(waiting.batches.pop_front()),
            // There is no time to try it as it is again.
            Err(why) if why.is_final(u32::MAX) => waiting.make_smaller(&why),
            Err(_) if batch.len() > 1 && !ctx.shutdown.is_requested() => waiting.halve(),
            Err(why) => {
                let dropped = waiting.events();
                waiting.batches.clear();
                debug!(source = %ctx.name, error = %why, events = dropped, "put refused; events are dropped");
                return dropped;
            }
        }
    }
    0
}

/// One put, counted.
pub async fn put(ctx: &SourceContext, batch: &Batch) -> Result<(), ChannelError> {
    let done = ctx.put(batch.clone()).await;
    match &done {
        Ok(()) => ctx.counters.accepted.add(batch.len() as u64),
        Err(_) => ctx.counters.channel_write_failures.add(1),
    }
    done
}

/// Events that are on their way.
struct Waiting<'a> {
    ctx: &'a SourceContext,
    batches: VecDeque<Batch>,
}

impl<'a> Waiting<'a> {
    fn new(ctx: &'a SourceContext, batch: Batch) -> Self {
        let batches = (!batch.is_empty()).then_some(batch).into_iter().collect();
        Self { ctx, batches }
    }

    fn events(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }

    /// Halves the first batch; gives it up if it is a single event.
    fn make_smaller(&mut self, why: &ChannelError) {
        if self.batches.front().is_some_and(|batch| batch.len() > 1) {
            self.halve();
        } else if let Some(event) = self.batches.pop_front() {
            self.ctx.counters.refused_inputs.add(1);
            error!(source = %self.ctx.name, error = %why, bytes = event.body_bytes(), "event dropped: it can never be put");
        }
    }

    fn halve(&mut self) {
        if let Some(mut rest) = self.batches.pop_front() {
            let front = rest.split_front(rest.len() / 2);
            self.batches.push_front(rest);
            if !front.is_empty() {
                self.batches.push_front(front);
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let events = self.events();
        if events > 0 {
            error!(source = %self.ctx.name, events, "these events are lost: no channel took them before the source had to stop");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::contract::{Log, Recorder, memory_channel, soon};
    use crate::component::{BoxFuture, source::Put};
    use bytes::Bytes;
    use std::sync::Arc;

    fn numbers(count: usize) -> Batch {
        let bodies: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        bodies.iter().map(String::as_bytes).collect()
    }

    fn texts(count: usize) -> Vec<String> {
        (0..count).map(|n| n.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_batch_is_put_again_until_it_is_taken() {
        let recorder = Recorder::new();
        recorder.refuse(5);
        let ctx = recorder.context();
        until_taken(&ctx, numbers(3)).await;
        assert_eq!(recorder.bodies(), texts(3));
        assert_eq!(
            (
                ctx.counters.accepted.value(),
                ctx.counters.channel_write_failures.value()
            ),
            (3, 5)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_never_be_put_is_given_up_alone() {
        for by_pieces in [false, true] {
            let recorder = Recorder::new();
            recorder.limit(4);
            let ctx = recorder.context();
            let batch: Batch = [&b"ab"[..], b"too long", b"cd", b"ef"].into_iter().collect();
            if by_pieces {
                assert_eq!(what_fits(&ctx, batch).await, 0);
            } else {
                until_taken(&ctx, batch).await;
            }
            assert_eq!(recorder.bodies(), ["ab", "cd", "ef"]);
            assert_eq!(ctx.counters.refused_inputs.value(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_interceptor_always_fails_on_is_given_up_alone() {
        for by_pieces in [false, true] {
            let recorder = Recorder::new();
            recorder.poison("3");
            let ctx = recorder.context();
            if by_pieces {
                assert_eq!(what_fits(&ctx, numbers(6)).await, 0);
            } else {
                until_taken(&ctx, numbers(6)).await;
            }
            assert_eq!(recorder.bodies(), ["0", "1", "2", "4", "5"]);
            assert_eq!(ctx.counters.refused_inputs.value(), 1);
        }
    }

    /// A real channel in front of nobody.
    #[derive(Debug)]
    struct Channel(crate::component::channel::ChannelHandle);

    impl Put for Channel {
        fn put(&self, batch: Batch, _: Option<Bytes>) -> BoxFuture<'_, Result<(), ChannelError>> {
            Box::pin(async move {
                let claim = crate::component::channel::Claim::of(&batch);
                self.0.reserve(claim).await?.commit(batch, None).await
            })
        }

        fn position(&self) -> Option<Bytes> {
            None
        }

        fn transaction_capacity(&self) -> Option<usize> {
            None
        }
    }

    #[tokio::test]
    async fn of_what_cannot_wait_as_much_as_fits_is_taken() {
        for room in 0..10 {
            let channel = memory_channel(10);
            let held = 10 - room;
            if held > 0 {
                crate::component::contract::put(&channel, numbers(held)).await;
            }
            let ctx = SourceContext::new(
                crate::component::contract::common("r1"),
                Default::default(),
                Arc::new(Channel(channel.clone())),
                Arc::new(|| ()),
            );
            assert_eq!(what_fits(&ctx, numbers(10)).await, 10 - room);
            assert_eq!(channel.channel().queued(), 10);
            assert_eq!(ctx.counters.accepted.value(), room as u64);
        }
    }

    #[tokio::test]
    async fn what_is_lost_at_the_end_is_told() {
        let log = Log::capture();
        let recorder = Recorder::new();
        recorder.hang();
        let ctx = recorder.context();
        let mut waiting = Box::pin(until_taken(&ctx, numbers(7)));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        drop(waiting);
        soon(until_taken(&ctx, Batch::default())).await;
        assert!(log.text().contains("these events are lost"), "{}", log.text());
        assert!(log.text().contains("events=7"), "{}", log.text());
    }
}
