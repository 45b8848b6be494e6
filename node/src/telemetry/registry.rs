//! The node's metrics recorder and its cells.
//!
//! Cells are plain atomics: counting costs one relaxed addition a batch. The recorder of the `metrics` family
//! only learns their values when somebody asks for the page.

use super::flume::{ComponentKind, FlumeEntry};
use super::metric::{self, Metric};
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds `n`; call it once a batch, not once an event.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The value since the node started.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// One less; stops at zero.
    pub fn decrement(&self) {
        let _ = self
            .0
            .fetch_update(Relaxed, Relaxed, |v| Some(v.saturating_sub(1)));
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

type CellKey = (&'static str, Vec<(&'static str, String)>);

#[derive(Default)]
struct Cells {
    counters: BTreeMap<CellKey, (Counter, metrics::Counter)>,
    gauges: BTreeMap<CellKey, (Gauge, metrics::Gauge)>,
    components: BTreeMap<(ComponentKind, String), Arc<FlumeEntry>>,
}

/// All metrics of one node.
pub struct Registry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    cells: Mutex<Cells>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry")
    }
}

impl Default for Registry {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in metric::ALL {
            let (name, help) = (
                KeyName::from_const_str(metric.name),
                SharedString::const_str(metric.help),
            );
            if metric.name.ends_with("_total") {
                recorder.describe_counter(name, None, help);
            } else {
                recorder.describe_gauge(name, None, help);
            }
        }
        Self {
            handle: recorder.handle(),
            recorder,
            cells: Mutex::default(),
        }
    }
}

const ORIGIN: Metadata<'static> = Metadata::new("node", Level::INFO, None);

impl Registry {
    /// The counter with these labels; the same one whenever it is asked for again.
    pub fn counter(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Counter {
        let (id, key) = keys(metric, labels);
        let mut cells = self.cells();
        let made = || (Counter::default(), self.recorder.register_counter(&key, &ORIGIN));
        cells.counters.entry(id).or_insert_with(made).0.clone()
    }

    /// The gauge with these labels; the same one whenever it is asked for again.
    pub fn gauge(&self, metric: Metric, labels: &[(&'static str, &str)]) -> Gauge {
        let (id, key) = keys(metric, labels);
        let mut cells = self.cells();
        let made = || (Gauge::default(), self.recorder.register_gauge(&key, &ORIGIN));
        cells.gauges.entry(id).or_insert_with(made).0.clone()
    }

    /// Shows a component in Flume's JSON; replaces one of the same kind and name.
    pub fn show(&self, entry: Arc<FlumeEntry>) {
        self.cells()
            .components
            .insert((entry.kind(), entry.name().to_owned()), entry);
    }

    /// The components of Flume's JSON, sorted by kind and name.
    pub fn components(&self) -> Vec<Arc<FlumeEntry>> {
        self.cells().components.values().cloned().collect()
    }

    /// The page for Prometheus, text format 0.0.4.
    pub fn prometheus(&self) -> String {
        let cells = self.cells();
        for (cell, shown) in cells.counters.values() {
            shown.absolute(cell.value());
        }
        for (cell, shown) in cells.gauges.values() {
            shown.set(cell.value() as f64);
        }
        drop(cells);
        self.handle.run_upkeep();
        self.handle.render()
    }

    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn keys(metric: Metric, labels: &[(&'static str, &str)]) -> (CellKey, Key) {
    let owned = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    let shown: Vec<Label> = labels
        .iter()
        .map(|(k, v)| Label::new(*k, (*v).to_owned()))
        .collect();
    ((metric.name, owned), Key::from_parts(metric.name, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_what_the_cells_hold() {
        let registry = Registry::default();
        let labels = [("component", "r1"), ("type", "avro")];
        registry.counter(metric::SOURCE_RECEIVED_EVENTS, &labels).add(3);
        registry.counter(metric::SOURCE_RECEIVED_EVENTS, &labels).add(4);
        registry
            .gauge(metric::CHANNEL_EVENTS, &[("component", "c\"1")])
            .set(9);
        let page = registry.prometheus();
        assert!(
            page.contains("source_received_events_total{component=\"r1\",type=\"avro\"} 7"),
            "{page}"
        );
        assert!(
            page.contains("# TYPE source_received_events_total counter"),
            "{page}"
        );
        assert!(page.contains("channel_events{component=\"c\\\"1\"} 9"), "{page}");
        assert!(page.contains("# HELP channel_events "), "{page}");
    }

    #[test]
    fn two_registries_share_nothing() {
        let (one, two) = (Registry::default(), Registry::default());
        one.counter(metric::NODE_PANICS, &[]).add(1);
        assert_eq!(two.counter(metric::NODE_PANICS, &[]).value(), 0);
    }
}
