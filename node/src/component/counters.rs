//! The cells that sources, sinks and channels count in.

use crate::telemetry::{Counter, Gauge, Registry, metric};

/// Counts of a source; Flume's names are in [`crate::telemetry`].
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the metric of the same name has the help text")]
pub struct SourceCounters {
    pub received: Counter,
    pub accepted: Counter,
    pub append_received: Counter,
    pub append_accepted: Counter,
    pub batches_received: Counter,
    pub batches_accepted: Counter,
    pub open_connections: Gauge,
    pub read_failures: Counter,
    pub channel_write_failures: Counter,
    pub processing_failures: Counter,
    pub refused_inputs: Counter,
}

impl SourceCounters {
    /// The cells of one source.
    pub fn new(registry: &Registry, name: &str, type_name: &str) -> Self {
        let labels = [("component", name), ("type", type_name)];
        let counter = |m| registry.counter(m, &labels);
        Self {
            received: counter(metric::SOURCE_RECEIVED_EVENTS),
            accepted: counter(metric::SOURCE_ACCEPTED_EVENTS),
            append_received: counter(metric::SOURCE_APPEND_RECEIVED),
            append_accepted: counter(metric::SOURCE_APPEND_ACCEPTED),
            batches_received: counter(metric::SOURCE_BATCHES_RECEIVED),
            batches_accepted: counter(metric::SOURCE_BATCHES_ACCEPTED),
            open_connections: registry.gauge(metric::SOURCE_OPEN_CONNECTIONS, &labels),
            read_failures: counter(metric::SOURCE_READ_FAILURES),
            channel_write_failures: counter(metric::SOURCE_CHANNEL_WRITE_FAILURES),
            processing_failures: counter(metric::SOURCE_PROCESSING_FAILURES),
            refused_inputs: counter(metric::SOURCE_REFUSED_INPUTS),
        }
    }
}

/// Counts of a sink; Flume's names are in [`crate::telemetry`].
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the metric of the same name has the help text")]
pub struct SinkCounters {
    pub connections_created: Counter,
    pub connections_closed: Counter,
    pub connections_failed: Counter,
    pub empty_batches: Counter,
    pub underflow_batches: Counter,
    pub complete_batches: Counter,
    pub attempted: Counter,
    pub delivered: Counter,
    pub write_failures: Counter,
    pub channel_read_failures: Counter,
    pub rejected_batches: Counter,
}

impl SinkCounters {
    /// The cells of one sink.
    pub fn new(registry: &Registry, name: &str, type_name: &str) -> Self {
        let labels = [("component", name), ("type", type_name)];
        let counter = |m| registry.counter(m, &labels);
        Self {
            connections_created: counter(metric::SINK_CONNECTIONS_CREATED),
            connections_closed: counter(metric::SINK_CONNECTIONS_CLOSED),
            connections_failed: counter(metric::SINK_CONNECTIONS_FAILED),
            empty_batches: counter(metric::SINK_EMPTY_BATCHES),
            underflow_batches: counter(metric::SINK_UNDERFLOW_BATCHES),
            complete_batches: counter(metric::SINK_COMPLETE_BATCHES),
            attempted: counter(metric::SINK_ATTEMPTED_EVENTS),
            delivered: counter(metric::SINK_DELIVERED_EVENTS),
            write_failures: counter(metric::SINK_WRITE_FAILURES),
            channel_read_failures: counter(metric::SINK_CHANNEL_READ_FAILURES),
            rejected_batches: counter(metric::SINK_REJECTED_BATCHES),
        }
    }

    /// Counts a batch of `events` as complete or short of `batch_size`.
    pub fn batch(&self, events: usize, batch_size: usize) {
        if events >= batch_size {
            &self.complete_batches
        } else {
            &self.underflow_batches
        }
        .add(1);
    }
}

/// Counts of a channel; kept by its handle, not by the channel's author.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the metric of the same name has the help text")]
pub struct ChannelCounters {
    pub put_attempted: Counter,
    pub put: Counter,
    pub take_attempts: Counter,
    pub taken: Counter,
    pub refused: Counter,
    pub rolled_back: Counter,
    pub dropped: Counter,
    pub events: Gauge,
    pub capacity: Gauge,
    pub pinned_bytes: Gauge,
    pub memory_events: Gauge,
    pub put_commits: Counter,
    pub put_commit_microseconds: Counter,
    /// Of a channel in files; cells of no page for others.
    pub storage: StorageCounters,
}

/// Counts of a channel in files; kept by the channel, see [`Channel::count_in`](super::channel::Channel::count_in).
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the metric of the same name has the help text")]
pub struct StorageCounters {
    pub open: Gauge,
    pub unhealthy: Gauge,
    pub put_errors: Counter,
    pub take_errors: Counter,
    pub corrupt_ranges: Counter,
    pub lost_events: Counter,
    pub in_doubt: Gauge,
    pub poisoned: Counter,
    pub parked: Gauge,
    pub replay_milliseconds: Gauge,
    pub syncs: Counter,
    pub sync_microseconds: Counter,
    pub block_bytes: Counter,
    pub block_event_bytes: Counter,
}

impl StorageCounters {
    /// The cells of one channel.
    pub fn new(registry: &Registry, name: &str, type_name: &str) -> Self {
        let labels = [("component", name), ("type", type_name)];
        let counter = |m| registry.counter(m, &labels);
        let gauge = |m| registry.gauge(m, &labels);
        Self {
            open: gauge(metric::CHANNEL_OPEN),
            unhealthy: gauge(metric::CHANNEL_UNHEALTHY),
            put_errors: counter(metric::CHANNEL_PUT_ERRORS),
            take_errors: counter(metric::CHANNEL_TAKE_ERRORS),
            corrupt_ranges: counter(metric::CHANNEL_CORRUPT_RANGES),
            lost_events: counter(metric::CHANNEL_LOST_EVENTS),
            in_doubt: gauge(metric::CHANNEL_IN_DOUBT),
            poisoned: counter(metric::CHANNEL_POISONED),
            parked: gauge(metric::CHANNEL_IO_PARKED),
            replay_milliseconds: gauge(metric::CHANNEL_REPLAY_MILLISECONDS),
            syncs: counter(metric::CHANNEL_SYNCS),
            sync_microseconds: counter(metric::CHANNEL_SYNC_MICROSECONDS),
            block_bytes: counter(metric::CHANNEL_BLOCK_BYTES),
            block_event_bytes: counter(metric::CHANNEL_BLOCK_EVENT_BYTES),
        }
    }
}

impl ChannelCounters {
    /// The cells of one channel.
    pub fn new(registry: &Registry, name: &str, type_name: &str) -> Self {
        let labels = [("component", name), ("type", type_name)];
        let counter = |m| registry.counter(m, &labels);
        Self {
            put_attempted: counter(metric::CHANNEL_PUT_ATTEMPTED_EVENTS),
            put: counter(metric::CHANNEL_PUT_EVENTS),
            take_attempts: counter(metric::CHANNEL_TAKE_ATTEMPTS),
            taken: counter(metric::CHANNEL_TAKEN_EVENTS),
            refused: counter(metric::CHANNEL_REFUSED_PUTS),
            rolled_back: counter(metric::CHANNEL_ROLLED_BACK_EVENTS),
            dropped: counter(metric::CHANNEL_DROPPED_EVENTS),
            events: registry.gauge(metric::CHANNEL_EVENTS, &labels),
            capacity: registry.gauge(metric::CHANNEL_CAPACITY_EVENTS, &labels),
            pinned_bytes: registry.gauge(metric::CHANNEL_PINNED_BYTES, &labels),
            memory_events: registry.gauge(metric::CHANNEL_MEMORY_EVENTS, &labels),
            put_commits: counter(metric::CHANNEL_PUT_COMMITS),
            put_commit_microseconds: counter(metric::CHANNEL_PUT_COMMIT_MICROSECONDS),
            storage: StorageCounters::default(),
        }
    }
}
