//! Every metric of a node: name, unit and help text side by side. Counted per batch, never per event.

/// One metric; its name ends in `_total` when it only grows.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name on the Prometheus page.
    pub name: &'static str,
    /// Its help text.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $name:literal, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Metric = Metric { name: $name, help: $help };)*
        /// All of them.
        pub const ALL: &[Metric] = &[$($id),*];
    };
}

metrics! {
    SOURCE_RECEIVED_EVENTS = "source_received_events_total", "Events that a source has received.";
    SOURCE_ACCEPTED_EVENTS = "source_accepted_events_total", "Events of a source that every required channel has committed.";
    SOURCE_APPEND_RECEIVED = "source_append_received_total", "Single-event calls that a source has received.";
    SOURCE_APPEND_ACCEPTED = "source_append_accepted_total", "Single-event calls that a source has committed.";
    SOURCE_BATCHES_RECEIVED = "source_batches_received_total", "Batch calls that a source has received.";
    SOURCE_BATCHES_ACCEPTED = "source_batches_accepted_total", "Batch calls that a source has committed.";
    SOURCE_OPEN_CONNECTIONS = "source_open_connections", "Connections that a source holds open.";
    SOURCE_READ_FAILURES = "source_read_failures_total", "Inputs that a source could not read as events.";
    SOURCE_CHANNEL_WRITE_FAILURES = "source_channel_write_failures_total", "Puts of a source that a channel refused.";
    SOURCE_PROCESSING_FAILURES = "source_processing_failures_total", "Other failures of a source to handle its input.";
    SOURCE_REFUSED_INPUTS = "source_refused_inputs_total", "Connections or inputs that a source refused because of a limit, by limit.";
    SINK_CONNECTIONS_CREATED = "sink_connections_created_total", "Connections or files that a sink has opened.";
    SINK_CONNECTIONS_CLOSED = "sink_connections_closed_total", "Connections or files that a sink has closed.";
    SINK_CONNECTIONS_FAILED = "sink_connections_failed_total", "Connections or files that a sink could not open.";
    SINK_EMPTY_BATCHES = "sink_empty_batches_total", "Rounds in which a sink found nothing to take.";
    SINK_UNDERFLOW_BATCHES = "sink_underflow_batches_total", "Batches smaller than the sink's batch size.";
    SINK_COMPLETE_BATCHES = "sink_complete_batches_total", "Batches of the sink's full batch size.";
    SINK_ATTEMPTED_EVENTS = "sink_attempted_events_total", "Events that a sink has tried to deliver.";
    SINK_DELIVERED_EVENTS = "sink_delivered_events_total", "Events that a sink has delivered and committed.";
    SINK_WRITE_FAILURES = "sink_write_failures_total", "Rounds in which a sink could not deliver.";
    SINK_CHANNEL_READ_FAILURES = "sink_channel_read_failures_total", "Takes of a sink that its channel refused.";
    SINK_REJECTED_BATCHES = "sink_rejected_batches_total", "Batches of which a sink said that it will never take them; they stay queued.";
    CHANNEL_EVENTS = "channel_events", "Events queued in a channel, without those being taken.";
    CHANNEL_CAPACITY_EVENTS = "channel_capacity_events", "Events that fit into a channel.";
    CHANNEL_PINNED_BYTES = "channel_pinned_bytes", "Memory that the queued events of a channel keep alive.";
    CHANNEL_MEMORY_EVENTS = "channel_memory_events", "Events of a channel that are in memory alone: a kill loses them.";
    CHANNEL_PUT_ATTEMPTED_EVENTS = "channel_put_attempted_events_total", "Events that were to be put into a channel.";
    CHANNEL_PUT_EVENTS = "channel_put_events_total", "Events committed into a channel.";
    CHANNEL_TAKE_ATTEMPTS = "channel_take_attempts_total", "Events taken from a channel, plus takes that came short.";
    CHANNEL_TAKEN_EVENTS = "channel_taken_events_total", "Events whose take was committed.";
    CHANNEL_REFUSED_PUTS = "channel_refused_puts_total", "Puts refused because a channel was full or the batch too large.";
    CHANNEL_ROLLED_BACK_EVENTS = "channel_rolled_back_events_total", "Events put back to the head of a channel.";
    CHANNEL_DROPPED_EVENTS = "channel_dropped_events_total", "Events lost because a memory channel was closed with events in it.";
    CHANNEL_PUT_COMMITS = "channel_put_commits_total", "Puts that a channel has committed.";
    CHANNEL_PUT_COMMIT_MICROSECONDS = "channel_put_commit_microseconds_total", "Time from the commit of a put to its acknowledgement, summed over all committed puts.";
    CHANNEL_OPEN = "channel_open", "1 while a channel in files serves.";
    CHANNEL_UNHEALTHY = "channel_unhealthy", "1 while a channel in files cannot serve: it is damaged, in use elsewhere, or its disk fails. An alarm.";
    CHANNEL_PUT_ERRORS = "channel_put_errors_total", "Puts that failed because the disk below a channel failed.";
    CHANNEL_TAKE_ERRORS = "channel_take_errors_total", "Takes that failed because the disk below a channel failed.";
    CHANNEL_CORRUPT_RANGES = "channel_corrupt_ranges_total", "Damaged ranges that a channel has come across. An alarm.";
    CHANNEL_LOST_EVENTS = "channel_lost_events_total", "Queued events that are lost to damage. An alarm.";
    CHANNEL_IN_DOUBT = "channel_in_doubt", "1 while events of a channel may come twice, because takes were lost to damage.";
    CHANNEL_POISONED = "channel_poisoned_total", "Times that a write or sync of a channel failed, after which its log was opened anew. An alarm.";
    CHANNEL_IO_PARKED = "channel_io_parked", "1 while a channel rests because its disk failed twice within ten minutes. An alarm.";
    CHANNEL_REPLAY_MILLISECONDS = "channel_replay_milliseconds", "How long it took to read the logs of a channel when it was last opened.";
    CHANNEL_SYNCS = "channel_syncs_total", "Group commits of a channel: each is written and synced once.";
    CHANNEL_SYNC_MICROSECONDS = "channel_sync_microseconds_total", "Time that group commits took to be written and synced.";
    CHANNEL_BLOCK_BYTES = "channel_block_bytes_total", "Bytes of blocks that group commits have written, padding included.";
    CHANNEL_BLOCK_EVENT_BYTES = "channel_block_event_bytes_total", "Bytes of events in them; divided by the bytes of blocks it is how full they are.";
    CHILD_STARTS = "supervisor_starts_total", "Starts of a component, the first one included.";
    CHILD_RESTARTS = "supervisor_restarts_total", "Restarts of a component by its supervisor.";
    CHILD_PARKED = "supervisor_parked", "1 while a component is parked after too many failures.";
    NODE_PANICS = "node_panics_total", "Panics that supervision has caught.";
}
