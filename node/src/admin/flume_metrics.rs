//! Flume's JSON metrics server: `-Dflume.monitoring.type=http -Dflume.monitoring.port=P`.
//!
//! Answers as Flume 1.11 does, down to its oddities, for the scripts and monitors that know it: any method but TRACE
//! and OPTIONS gets the page, `/metrics` in any case is the page and `/metrics/` is not. Only components that Flume
//! shows are there; every value is a string.
//!
//! Source: `flume/runtime.md` 9.2 (Flume class `HTTPMetricsServer`).

use crate::telemetry::Registry;
use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The port without `flume.monitoring.port`; Flume listens on all interfaces.
pub const DEFAULT_PORT: u16 = 41_414;

const CLICK: &str = "For Flume metrics please click <a href = \"./metrics\"> here</a>.";

/// The routes of Flume's server.
pub fn flume_metrics(registry: Arc<Registry>) -> Router {
    Router::new().fallback(move |method: Method, uri: Uri| {
        let answer = answer(&registry, &method, uri.path());
        async move { answer }
    })
}

fn answer(registry: &Registry, method: &Method, path: &str) -> Response {
    if matches!(*method, Method::TRACE | Method::OPTIONS) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let (content_type, body) = if path == "/" {
        ("text/html;charset=utf-8", CLICK.to_owned())
    } else if path.eq_ignore_ascii_case("/metrics") {
        ("application/json;charset=utf-8", page(registry))
    } else {
        return StatusCode::NOT_FOUND.into_response();
    };
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn page(registry: &Registry) -> String {
    let entries = registry.components();
    let entry =
        |e: &crate::telemetry::FlumeEntry| (format!("{}.{}", e.kind().flume_type(), e.name()), e.json());
    let page: Map<String, Value> = entries.iter().map(|e| entry(e)).collect();
    Value::Object(page).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Served, served};
    use super::*;
    use crate::telemetry::{ComponentKind, FlumeEntry, metric};

    /// The registry of acceptance case 48, in which the channel holds one event of one.
    async fn agent() -> Served {
        let registry = Arc::new(Registry::default());
        for (kind, name, type_name) in [
            (ComponentKind::Source, "s1", "seq"),
            (ComponentKind::Channel, "c1", "memory"),
            (ComponentKind::Sink, "k1", "avro"),
        ] {
            let entry = FlumeEntry::new(&registry, kind, name, type_name);
            entry.started(1_000);
            registry.show(entry);
        }
        let seq = [("component", "s1"), ("type", "seq")];
        registry.counter(metric::SOURCE_ACCEPTED_EVENTS, &seq).add(5);
        let memory = [("component", "c1"), ("type", "memory")];
        registry.gauge(metric::CHANNEL_EVENTS, &memory).set(1);
        registry.gauge(metric::CHANNEL_CAPACITY_EVENTS, &memory).set(1);
        let avro = [("component", "k1"), ("type", "avro")];
        registry.counter(metric::SINK_UNDERFLOW_BATCHES, &avro).add(1);
        registry.counter(metric::SINK_ATTEMPTED_EVENTS, &avro).add(5);
        registry.counter(metric::SINK_DELIVERED_EVENTS, &avro).add(5);
        served(flume_metrics(registry)).await
    }

    #[tokio::test]
    async fn the_page_is_the_one_that_flume_serves() {
        let answer = agent().await.ask("GET", "/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .head
                .contains("content-type: application/json;charset=utf-8"),
            "{}",
            answer.head
        );
        let page: Map<String, Value> = serde_json::from_str(&answer.body).unwrap();
        let sizes: Vec<(&str, usize)> = page
            .iter()
            .map(|(name, object)| (name.as_str(), object.as_object().map_or(0, Map::len)))
            .collect();
        assert_eq!(sizes, [("CHANNEL.c1", 10), ("SINK.k1", 13), ("SOURCE.s1", 13)]);
        for object in page.values() {
            assert!(
                object.as_object().unwrap().values().all(Value::is_string),
                "{object}"
            );
        }
        assert_eq!(page["SOURCE.s1"]["EventAcceptedCount"], "5");
        assert_eq!(page["SOURCE.s1"]["EventReceivedCount"], "0");
        assert_eq!(page["CHANNEL.c1"]["ChannelSize"], "1");
        assert_eq!(page["CHANNEL.c1"]["ChannelFillPercentage"], "100.0");
        assert_eq!(page["SINK.k1"]["BatchUnderflowCount"], "1");
        assert_eq!(page["SINK.k1"]["EventDrainAttemptCount"], "5");
        assert_eq!(page["SINK.k1"]["EventDrainSuccessCount"], "5");
    }

    #[tokio::test]
    async fn paths_and_methods_are_those_of_flume() {
        let agent = agent().await;
        for (method, path, status) in [
            ("GET", "/METRICS", 200),
            ("POST", "/metrics", 200),
            ("DELETE", "/Metrics?x=y", 200),
            ("HEAD", "/metrics", 200),
            ("GET", "/metrics/", 404),
            ("GET", "/foo", 404),
            ("OPTIONS", "/metrics", 403),
            ("TRACE", "/foo", 403),
        ] {
            let answer = agent.ask(method, path).await;
            assert_eq!(answer.status, status, "{method} {path}");
            if status == 403 {
                assert_eq!(answer.body, "");
            }
        }
        let root = agent.ask("GET", "/").await;
        assert_eq!(root.body, CLICK);
        assert!(root.head.contains("content-type: text/html"), "{}", root.head);
    }

    #[tokio::test]
    async fn an_agent_without_shown_components_has_an_empty_page() {
        let served = served(flume_metrics(Arc::default())).await;
        assert_eq!(served.ask("GET", "/metrics").await.body, "{}");
    }
}
