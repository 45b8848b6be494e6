//! What every sink promises. A sink's tests call [`suite!`] with a function that makes a [`Fixture`]. The channel
//! is a real one in memory.

use super::{common, memory_channel, put, sink_context};
use crate::component::channel::ChannelHandle;
use crate::component::error::RunError;
use crate::component::sink::{DynSink, SinkContext};
use proto::event::Batch;
use std::ops::Range;
use std::time::Duration;

/// Makes the suite's tests for one sink.
macro_rules! suite {
    ($make:expr) => {
        $crate::component::contract::sink::suite!(@each $make;
            events_are_delivered_once_in_order_and_committed,
            a_lease_whose_process_was_dropped_is_rolled_back,
            a_refused_commit_is_an_error_and_loses_nothing,
            stopping_after_process_keeps_everything,
            an_idle_round_is_harmless,
            a_sink_built_anew_goes_on_where_the_last_one_was,
            what_is_delivered_is_counted,
        );
    };
    (@each $make:expr; $($name:ident,)*) => {
        $(
            // On one thread: a fixture may look at what its own thread logs.
            #[tokio::test]
            async fn $name() {
                $crate::component::contract::sink::$name(&$make()).await;
            }
        )*
    };
}
pub(crate) use suite;

/// A sink under test and the place that it delivers to.
pub trait Fixture {
    /// Builds the sink from its recipe, again and again.
    fn build(&self) -> Box<dyn DynSink>;

    /// The channel that it takes from.
    fn channel(&self, capacity: usize) -> ChannelHandle {
        memory_channel(capacity)
    }

    /// The bodies that have arrived, in order; none if the sink leaves no trace.
    fn delivered(&self) -> Option<Vec<String>>;
}

/// More than one lease of any sink.
const EVENTS: u32 = 250;
const SOON: Duration = Duration::from_millis(1);

fn texts(range: Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn filled(fixture: &impl Fixture, range: Range<u32>) -> ChannelHandle {
    let channel = fixture.channel(1_000);
    fill(&channel, range).await;
    channel
}

async fn fill(channel: &ChannelHandle, range: Range<u32>) {
    for body in texts(range) {
        put(channel, [body.as_bytes()].into_iter().collect::<Batch>()).await;
    }
}

/// One turn; says whether something was there.
async fn turn(
    sink: &mut Box<dyn DynSink>,
    channel: &ChannelHandle,
    ctx: &SinkContext,
) -> Result<bool, RunError> {
    match channel.take(sink.want(), SOON).await? {
        Some(lease) => sink.process(lease, ctx).await.map(|()| true),
        None => sink.idle(ctx).await.map(|()| false),
    }
}

/// Turns until nothing is there any more.
pub async fn drain(sink: &mut Box<dyn DynSink>, channel: &ChannelHandle, ctx: &SinkContext) {
    while turn(sink, channel, ctx).await.unwrap() {}
}

fn check(fixture: &impl Fixture, expected: Vec<String>) {
    if let Some(delivered) = fixture.delivered() {
        assert_eq!(delivered, expected);
    }
}

pub async fn events_are_delivered_once_in_order_and_committed(fixture: &impl Fixture) {
    let (channel, ctx) = (filled(fixture, 0..EVENTS).await, sink_context("k1"));
    let mut sink = fixture.build();
    assert!(sink.want().events > 0 && sink.want().bytes > 0);
    sink.start(&ctx).await.unwrap();
    drain(&mut sink, &channel, &ctx).await;
    sink.stop(&ctx).await;
    assert_eq!(channel.channel().held(), 0);
    channel.channel().check().unwrap();
    check(fixture, texts(0..EVENTS));
}

pub async fn a_lease_whose_process_was_dropped_is_rolled_back(fixture: &impl Fixture) {
    let (channel, ctx) = (filled(fixture, 0..EVENTS).await, sink_context("k1"));
    let mut sink = fixture.build();
    sink.start(&ctx).await.unwrap();
    let lease = channel.take(sink.want(), SOON).await.unwrap().unwrap();
    drop(sink.process(lease, &ctx));
    assert_eq!(channel.channel().queued(), EVENTS as usize);
    check(fixture, vec![]);
    drain(&mut sink, &channel, &ctx).await;
    sink.stop(&ctx).await;
    check(fixture, texts(0..EVENTS));
}

pub async fn a_refused_commit_is_an_error_and_loses_nothing(fixture: &impl Fixture) {
    let (channel, ctx) = (filled(fixture, 0..EVENTS).await, sink_context("k1"));
    let mut sink = fixture.build();
    sink.start(&ctx).await.unwrap();
    turn(&mut sink, &channel, &ctx).await.unwrap();
    let lease = channel.take(sink.want(), SOON).await.unwrap().unwrap();
    channel.channel().attach();
    let fenced = match sink.process(lease, &ctx).await {
        Err(error) => error,
        // A pipelining sink commits later.
        Ok(()) => sink.idle(&ctx).await.unwrap_err(),
    };
    assert!(fenced.to_string().contains("restarted"), "{fenced}");
    drain(&mut sink, &channel, &ctx).await;
    sink.stop(&ctx).await;
    assert_eq!(channel.channel().held(), 0);
    // Doubled they may be, for some sinks cannot take back what they have done.
    let once = fixture.delivered().map(|mut all| {
        all.sort_by_key(|body| body.parse::<u32>().unwrap());
        all.dedup();
        all
    });
    assert_eq!(once.unwrap_or(texts(0..EVENTS)), texts(0..EVENTS));
}

pub async fn stopping_after_process_keeps_everything(fixture: &impl Fixture) {
    let (channel, ctx) = (filled(fixture, 0..EVENTS).await, sink_context("k1"));
    let mut sink = fixture.build();
    sink.start(&ctx).await.unwrap();
    turn(&mut sink, &channel, &ctx).await.unwrap();
    sink.stop(&ctx).await;
    let left = channel.channel().held() as u32;
    check(fixture, texts(0..EVENTS - left));
}

pub async fn an_idle_round_is_harmless(fixture: &impl Fixture) {
    let (channel, ctx) = (fixture.channel(1_000), sink_context("k1"));
    let mut sink = fixture.build();
    sink.start(&ctx).await.unwrap();
    assert!(!turn(&mut sink, &channel, &ctx).await.unwrap());
    for n in 0..3 {
        fill(&channel, n..n + 1).await;
        drain(&mut sink, &channel, &ctx).await;
        sink.idle(&ctx).await.unwrap();
    }
    sink.stop(&ctx).await;
    check(fixture, texts(0..3));
}

pub async fn a_sink_built_anew_goes_on_where_the_last_one_was(fixture: &impl Fixture) {
    let (channel, ctx) = (filled(fixture, 0..EVENTS).await, sink_context("k1"));
    let mut first = fixture.build();
    first.start(&ctx).await.unwrap();
    turn(&mut first, &channel, &ctx).await.unwrap();
    drop(first);
    let mut second = fixture.build();
    second.start(&ctx).await.unwrap();
    drain(&mut second, &channel, &ctx).await;
    second.stop(&ctx).await;
    check(fixture, texts(0..EVENTS));
}

pub async fn what_is_delivered_is_counted(fixture: &impl Fixture) {
    let channel = filled(fixture, 0..EVENTS).await;
    let ctx = SinkContext::new(common("k1"), Default::default(), "sink/k1".into(), None);
    let mut sink = fixture.build();
    sink.start(&ctx).await.unwrap();
    drain(&mut sink, &channel, &ctx).await;
    sink.stop(&ctx).await;
    assert_eq!(ctx.counters.attempted.value(), u64::from(EVENTS));
    assert_eq!(ctx.counters.delivered.value(), u64::from(EVENTS));
}
