//! The operator's endpoint, `--admin ADDR`: metrics for Prometheus, and answers for whoever starts and stops nodes.
//!
//! | path | answer |
//! |---|---|
//! | `/` | this list as text |
//! | `/metrics` | all metrics, Prometheus text format 0.0.4 |
//! | `/healthz` | 200 `ok` while the node runs, else 503: restart it |
//! | `/readyz` | 200 `ready`, else 503 with a line for each component that is not: send it nothing yet |
//!
//! It reads and never changes anything; methods other than GET and HEAD get 405.

use super::AdminState;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const PROMETHEUS: &str = "text/plain; version=0.0.4";

const INDEX: &str = "\
Millrace
/metrics  all metrics, for Prometheus
/healthz  200 while the node runs
/readyz   200 when every component is ready, else which are not
";

/// The routes of the endpoint.
pub fn operator(state: AdminState) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(state)
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let page = state.registry.prometheus();
    ([(header::CONTENT_TYPE, PROMETHEUS)], page).into_response()
}

async fn healthz(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    if state.health.alive() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not running\n")
    }
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, String) {
    let mut lines = state.health.not_ready();
    if !state.health.alive() {
        lines.insert(0, "the node does not run".to_owned());
    }
    if lines.is_empty() {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Answer, Served, served};
    use super::super::{AdminState, Health};
    use super::*;
    use crate::telemetry::{Registry, metric};
    use std::sync::Arc;

    struct Fixed {
        alive: bool,
        not_ready: &'static [&'static str],
    }

    impl Health for Fixed {
        fn not_ready(&self) -> Vec<String> {
            self.not_ready.iter().map(|l| (*l).to_owned()).collect()
        }

        fn alive(&self) -> bool {
            self.alive
        }
    }

    async fn node(alive: bool, not_ready: &'static [&'static str]) -> Served {
        let registry = Arc::new(Registry::default());
        registry
            .counter(
                metric::SOURCE_RECEIVED_EVENTS,
                &[("component", "r1"), ("type", "avro")],
            )
            .add(7);
        let health = Arc::new(Fixed { alive, not_ready });
        served(operator(AdminState { registry, health })).await
    }

    fn check(answer: &Answer, status: u16, body: &str) {
        assert_eq!((answer.status, answer.body.as_str()), (status, body));
    }

    #[tokio::test]
    async fn a_running_node_is_healthy_and_ready() {
        let node = node(true, &[]).await;
        check(&node.ask("GET", "/healthz").await, 200, "ok\n");
        check(&node.ask("GET", "/readyz").await, 200, "ready\n");
        check(&node.ask("GET", "/").await, 200, INDEX);
        check(&node.ask("HEAD", "/healthz").await, 200, "");
    }

    #[tokio::test]
    async fn what_is_not_ready_is_named_line_by_line() {
        let waiting = node(true, &["source r1: starting", "sink k1: parked"]).await;
        check(&waiting.ask("GET", "/healthz").await, 200, "ok\n");
        check(
            &waiting.ask("GET", "/readyz").await,
            503,
            "source r1: starting\nsink k1: parked\n",
        );
        let dead = node(false, &[]).await;
        check(&dead.ask("GET", "/healthz").await, 503, "not running\n");
        check(&dead.ask("GET", "/readyz").await, 503, "the node does not run\n");
    }

    #[tokio::test]
    async fn prometheus_gets_its_page() {
        let answer = node(true, &[]).await.ask("GET", "/metrics").await;
        assert_eq!(answer.status, 200);
        assert!(
            answer
                .head
                .contains("content-type: text/plain; version=0.0.4\r\n")
                || answer.head.ends_with("content-type: text/plain; version=0.0.4"),
            "{}",
            answer.head
        );
        let line = "source_received_events_total{component=\"r1\",type=\"avro\"} 7\n";
        assert!(answer.body.contains(line), "{}", answer.body);
    }

    #[tokio::test]
    async fn nothing_can_be_changed_here() {
        let node = node(true, &[]).await;
        for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            for path in ["/", "/metrics", "/healthz", "/readyz"] {
                assert_eq!(node.ask(method, path).await.status, 405, "{method} {path}");
            }
        }
        assert_eq!(node.ask("GET", "/metrics/").await.status, 404);
    }
}
