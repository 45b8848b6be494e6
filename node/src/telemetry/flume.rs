//! Flume's JSON metrics: the same cells under Flume's names, counted from the component's last start.
//!
//! Source: `flume/runtime.md` 9.2. Every value is a string; all keys of a kind are always there.

use super::metric as m;
use super::{Counter, Gauge, Registry};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Which of Flume's three sets of keys a component has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ComponentKind {
    /// `CHANNEL.<name>`
    Channel,
    /// `SINK.<name>`
    Sink,
    /// `SOURCE.<name>`
    Source,
}

impl ComponentKind {
    /// Flume's word for it, as in `SOURCE.r1`.
    pub fn flume_type(self) -> &'static str {
        match self {
            Self::Channel => "CHANNEL",
            Self::Sink => "SINK",
            Self::Source => "SOURCE",
        }
    }

    /// The word in configurations, messages and labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Sink => "sink",
            Self::Source => "source",
        }
    }
}

const SOURCE: &[(&str, m::Metric)] = &[
    ("EventReceivedCount", m::SOURCE_RECEIVED_EVENTS),
    ("EventAcceptedCount", m::SOURCE_ACCEPTED_EVENTS),
    ("AppendReceivedCount", m::SOURCE_APPEND_RECEIVED),
    ("AppendAcceptedCount", m::SOURCE_APPEND_ACCEPTED),
    ("AppendBatchReceivedCount", m::SOURCE_BATCHES_RECEIVED),
    ("AppendBatchAcceptedCount", m::SOURCE_BATCHES_ACCEPTED),
    ("EventReadFail", m::SOURCE_READ_FAILURES),
    ("ChannelWriteFail", m::SOURCE_CHANNEL_WRITE_FAILURES),
    ("GenericProcessingFail", m::SOURCE_PROCESSING_FAILURES),
];

const SINK: &[(&str, m::Metric)] = &[
    ("ConnectionCreatedCount", m::SINK_CONNECTIONS_CREATED),
    ("ConnectionClosedCount", m::SINK_CONNECTIONS_CLOSED),
    ("ConnectionFailedCount", m::SINK_CONNECTIONS_FAILED),
    ("BatchEmptyCount", m::SINK_EMPTY_BATCHES),
    ("BatchUnderflowCount", m::SINK_UNDERFLOW_BATCHES),
    ("BatchCompleteCount", m::SINK_COMPLETE_BATCHES),
    ("EventDrainAttemptCount", m::SINK_ATTEMPTED_EVENTS),
    ("EventDrainSuccessCount", m::SINK_DELIVERED_EVENTS),
    ("EventWriteFail", m::SINK_WRITE_FAILURES),
    ("ChannelReadFail", m::SINK_CHANNEL_READ_FAILURES),
];

const CHANNEL: &[(&str, m::Metric)] = &[
    ("EventPutAttemptCount", m::CHANNEL_PUT_ATTEMPTED_EVENTS),
    ("EventPutSuccessCount", m::CHANNEL_PUT_EVENTS),
    ("EventTakeAttemptCount", m::CHANNEL_TAKE_ATTEMPTS),
    ("EventTakeSuccessCount", m::CHANNEL_TAKEN_EVENTS),
];

/// One component of Flume's JSON.
#[derive(Debug)]
pub struct FlumeEntry {
    kind: ComponentKind,
    name: String,
    start_unix_ms: AtomicU64,
    stop_unix_ms: AtomicU64,
    /// Flume's name, the cell, and the cell's value when the component last started.
    counters: Vec<(&'static str, Counter, AtomicU64)>,
    /// Sources: open connections. Channels: events and capacity.
    gauges: Vec<Gauge>,
    /// What only file channels have.
    storage: Option<Storage>,
}

/// What Flume shows of its file channel besides, and the alarms, which Flume does not have. They are never set back.
#[derive(Debug)]
struct Storage {
    open: Gauge,
    unhealthy: Gauge,
    counters: Vec<(&'static str, Counter)>,
}

const FILE_CHANNEL: &[(&str, m::Metric)] = &[
    ("EventPutErrorCount", m::CHANNEL_PUT_ERRORS),
    ("EventTakeErrorCount", m::CHANNEL_TAKE_ERRORS),
    ("CorruptRangeCount", m::CHANNEL_CORRUPT_RANGES),
    ("LostEventCount", m::CHANNEL_LOST_EVENTS),
    ("PoisonedCount", m::CHANNEL_POISONED),
];

impl Storage {
    fn new(registry: &Registry, labels: &[(&'static str, &str)]) -> Self {
        let counter = |(key, metric): &(&'static str, m::Metric)| (*key, registry.counter(*metric, labels));
        Self {
            open: registry.gauge(m::CHANNEL_OPEN, labels),
            unhealthy: registry.gauge(m::CHANNEL_UNHEALTHY, labels),
            counters: FILE_CHANNEL.iter().map(counter).collect(),
        }
    }
}

impl FlumeEntry {
    /// The entry of a component, over the cells that carry its labels.
    pub fn new(registry: &Registry, kind: ComponentKind, name: &str, type_name: &str) -> Arc<Self> {
        let labels = [("component", name), ("type", type_name)];
        let (counters, gauges) = match kind {
            ComponentKind::Source => (SOURCE, &[m::SOURCE_OPEN_CONNECTIONS][..]),
            ComponentKind::Sink => (SINK, &[][..]),
            ComponentKind::Channel => (CHANNEL, &[m::CHANNEL_EVENTS, m::CHANNEL_CAPACITY_EVENTS][..]),
        };
        Arc::new(Self {
            kind,
            name: name.to_owned(),
            start_unix_ms: AtomicU64::new(0),
            stop_unix_ms: AtomicU64::new(0),
            counters: counters
                .iter()
                .map(|(key, metric)| (*key, registry.counter(*metric, &labels), AtomicU64::new(0)))
                .collect(),
            gauges: gauges
                .iter()
                .map(|metric| registry.gauge(*metric, &labels))
                .collect(),
            storage: (kind == ComponentKind::Channel && type_name == "file")
                .then(|| Storage::new(registry, &labels)),
        })
    }

    /// Source, sink or channel.
    pub fn kind(&self) -> ComponentKind {
        self.kind
    }

    /// The component's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The component has started: its counters begin at zero.
    pub fn started(&self, unix_ms: u64) {
        self.start_unix_ms.store(unix_ms, Relaxed);
        self.stop_unix_ms.store(0, Relaxed);
        for (_, cell, base) in &self.counters {
            base.store(cell.value(), Relaxed);
        }
    }

    /// The component has stopped.
    pub fn stopped(&self, unix_ms: u64) {
        self.stop_unix_ms.store(unix_ms, Relaxed);
    }

    /// The object of this component in Flume's JSON.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |key: &str, value: String| object.insert(key.to_owned(), Value::String(value));
        put("Type", self.kind.flume_type().to_owned());
        put("StartTime", self.start_unix_ms.load(Relaxed).to_string());
        put("StopTime", self.stop_unix_ms.load(Relaxed).to_string());
        for (key, cell, base) in &self.counters {
            put(key, cell.value().saturating_sub(base.load(Relaxed)).to_string());
        }
        match (self.kind, &self.gauges[..]) {
            (ComponentKind::Source, [open]) => {
                put("OpenConnectionCount", open.value().to_string());
            }
            (ComponentKind::Channel, [events, capacity]) => {
                put("ChannelSize", events.value().to_string());
                put("ChannelCapacity", capacity.value().to_string());
                put(
                    "ChannelFillPercentage",
                    fill_percentage(events.value(), capacity.value()),
                );
            }
            _ => {}
        }
        if let Some(storage) = &self.storage {
            let open = storage.open.value() == 1;
            put("Open", open.to_string());
            put("Closed", u8::from(!open).to_string());
            put("Unhealthy", storage.unhealthy.value().to_string());
            // There is no checkpoint whose writing could fail.
            put("CheckpointWriteErrorCount", "0".to_owned());
            put("CheckpointBackupWriteErrorCount", "0".to_owned());
            for (key, cell) in &storage.counters {
                put(key, cell.value().to_string());
            }
        }
        Value::Object(object)
    }
}

/// As Java prints the double: `0.0`, `50.0`, `33.33333333333333`; the largest one without a capacity.
fn fill_percentage(events: u64, capacity: u64) -> String {
    if capacity == 0 {
        return "1.7976931348623157E308".to_owned();
    }
    let percentage = events as f64 / capacity as f64 * 100.0;
    if percentage == 0.0 || percentage >= 1e-3 {
        return format!("{percentage:?}");
    }
    // Java turns to exponents earlier than Rust does, and always writes a fraction.
    let text = format!("{percentage:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(entry: &FlumeEntry, key: &str) -> String {
        entry.json()[key]
            .as_str()
            .unwrap_or("absent or not a string")
            .to_owned()
    }

    #[test]
    fn a_restarted_component_counts_from_zero_while_the_cells_go_on() {
        let registry = Registry::default();
        let entry = FlumeEntry::new(&registry, ComponentKind::Source, "s1", "seq");
        let cell = registry.counter(m::SOURCE_ACCEPTED_EVENTS, &[("component", "s1"), ("type", "seq")]);
        cell.add(5);
        assert_eq!(value(&entry, "EventAcceptedCount"), "5");
        entry.started(1_000);
        assert_eq!(value(&entry, "EventAcceptedCount"), "0");
        cell.add(2);
        assert_eq!(value(&entry, "EventAcceptedCount"), "2");
        assert_eq!(value(&entry, "StartTime"), "1000");
        assert_eq!(cell.value(), 7);
    }

    #[test]
    fn each_kind_has_exactly_the_keys_of_flume() {
        let registry = Registry::default();
        let keys = |kind| {
            let entry = FlumeEntry::new(&registry, kind, "x", "t");
            entry.json().as_object().map_or(0, Map::len)
        };
        assert_eq!(keys(ComponentKind::Source), 13);
        assert_eq!(keys(ComponentKind::Sink), 13);
        assert_eq!(keys(ComponentKind::Channel), 10);
    }

    #[test]
    fn a_file_channel_shows_more_and_its_alarms_stay() {
        let registry = Registry::default();
        let labels = [("component", "c1"), ("type", "file")];
        registry.counter(m::CHANNEL_CORRUPT_RANGES, &labels).add(2);
        let entry = FlumeEntry::new(&registry, ComponentKind::Channel, "c1", "file");
        entry.started(1_000);
        assert_eq!(
            (value(&entry, "Open"), value(&entry, "Closed")),
            ("false".to_owned(), "1".to_owned())
        );
        registry.gauge(m::CHANNEL_OPEN, &labels).set(1);
        assert_eq!(
            (value(&entry, "Open"), value(&entry, "Closed")),
            ("true".to_owned(), "0".to_owned())
        );
        assert_eq!(
            (value(&entry, "CorruptRangeCount"), value(&entry, "Unhealthy")),
            ("2".to_owned(), "0".to_owned())
        );
    }

    #[test]
    fn fill_is_printed_as_java_prints_doubles() {
        assert_eq!(fill_percentage(0, 100), "0.0");
        assert_eq!(fill_percentage(1, 1), "100.0");
        assert_eq!(fill_percentage(1, 0), "1.7976931348623157E308");
        assert_eq!(fill_percentage(1, 1 << 20), "9.5367431640625E-5");
        assert_eq!(fill_percentage(1, 3), "33.33333333333333");
    }
}
