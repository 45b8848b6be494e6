//! `http`: posts the body of each event to a URL, Flume's HttpSink.
//!
//! Promise: what becomes of an event is up to the status of the answer and to the rules that the settings make of it
//! (`rules`): put back or taken for delivered, a pause or none. At least once: an answer that is lost makes the
//! event come again. Headers of events are not sent. Behaviour: `flume/channels-and-sinks.md` 6.7, `flume/wire.md` 6.2.
//!
//! **Without settings every answer puts the event back, 200 too, as in Flume:** `rollback.2XX = false` is what one
//! wants at least; a warning at the start says so.
//!
//! | situation | event | pause | counted |
//! |---|---|---|---|
//! | an answer | by `rollback` | by `backoff` | delivered by `incrementMetrics` |
//! | no connection, no answer in time | put back | yes | write failure |
//! | an empty body | gone, no request | no | - |
//!
//! A pause after an event was put back is the back-off of all sinks; in a failover group the next sink has its turn.
//!
//! Order: one request is under way at a time, and an event that was put back is sent again before the next one. With
//! `requestsInFlight` (ours) above one the server gets so many at once, in any order, and one that was put back
//! comes after others.
//!
//! The connection is kept and used again. Redirects are followed as Java does it: with GET after 301, 302 and 303, never
//! from http to https or back, twenty at most. HTTPS trusts the agent's trust store, else the machine's certificates.
//! Proxies of the environment are not asked, as in Flume.
//!
//! Differences from Flume: an error status with an empty body follows the rules instead of being an I/O error; a
//! scheme other than http and https is found at the start; `2xx` means `2XX`; a pause after an event that was put back
//! counts as a write failure.

mod rules;

use crate::component::channel::{Lease, Want};
use crate::component::error::{BuildError, RunError};
use crate::component::keys::Keys;
use crate::component::registry::{BuildContext, Type};
use crate::component::sink::{DynSink, Sink, SinkContext};
use crate::io::tls::ClientTls;
use bytes::Bytes;
use cluster::backoff::Backoff;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Url};
use rules::{Rules, Verdict};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};

/// How the list names it.
pub const TYPE: Type<Box<dyn DynSink>> = Type {
    alias: "http",
    classes: &["org.apache.flume.sink.http.HttpSink"],
    in_flume_metrics: true,
    build: |keys, ctx| Ok(Box::new(Config::read(keys, ctx).build()?)),
};

/// Redirects of one request, as in Java.
const REDIRECTS_MAX: usize = 20;
/// Bytes of an answer that are read so that its connection can be used again; after more it is closed.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long a connection that is not used is kept: Java's value, below that of most servers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest first pause after an event that was taken for delivered, and longest of all.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_CAP: Duration = Duration::from_secs(5);

/// Settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// `endpoint`: an http or https URL; required.
    pub endpoint: Option<Url>,
    /// `connectTimeout`: default 5,000 ms.
    pub connect_timeout: Duration,
    /// `requestTimeout`: how long nothing of an answer may come; default 5,000 ms.
    pub request_timeout: Duration,
    /// `contentTypeHeader`: default `text/plain`.
    pub content_type: HeaderValue,
    /// `acceptHeader`: default `text/plain`.
    pub accept: HeaderValue,
    /// `defaultRollback`, `rollback.*`, `defaultBackoff`, `backoff.*`, `defaultIncrementMetrics`, `incrementMetrics.*`.
    pub rules: Rules,
    /// `requestsInFlight` (ours): requests under way at once; default 1, which keeps the order.
    pub requests_in_flight: usize,
    /// Whom an https endpoint is trusted by.
    tls: Option<ClientTls>,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, ctx: &BuildContext) -> Self {
        let endpoint = endpoint(keys);
        let timeout = |keys: &mut Keys, key| keys.millis(key, Duration::from_secs(5), 1..=i32::MAX as u64);
        let header = |keys: &mut Keys, key| {
            let value = keys.text(key).unwrap_or_else(|| "text/plain".to_owned());
            HeaderValue::from_str(&value).unwrap_or_else(|_| {
                keys.wrong(
                    key,
                    &format!("expected the value of an HTTP header, found {value:?}"),
                );
                HeaderValue::from_static("text/plain")
            })
        };
        let is_https = endpoint.as_ref().is_some_and(|url| url.scheme() == "https");
        Self {
            connect_timeout: timeout(keys, "connectTimeout"),
            request_timeout: timeout(keys, "requestTimeout"),
            content_type: header(keys, "contentTypeHeader"),
            accept: header(keys, "acceptHeader"),
            rules: Rules::read(keys),
            requests_in_flight: keys.number("requestsInFlight", 1, 1..=1_000),
            tls: is_https.then(|| ClientTls::https(keys, &ctx.tls)).flatten(),
            endpoint,
        }
    }

    /// The sink; nothing is connected yet.
    pub fn build(self) -> Result<Http, BuildError> {
        let Some(endpoint) = self.endpoint.clone() else {
            return Err(BuildError("endpoint: no URL".to_owned()));
        };
        let client = self
            .client()
            .map_err(|e| BuildError(format!("HTTP client: {e}")))?;
        Ok(Http {
            want: Want::events(1),
            in_flight: JoinSet::new(),
            pauses: None,
            requests_in_flight: self.requests_in_flight,
            post: Arc::new(Post {
                client,
                endpoint,
                rules: self.rules,
                request_timeout: self.request_timeout,
            }),
        })
    }

    fn client(&self) -> reqwest::Result<Client> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(ACCEPT, self.accept.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("Millrace"));
        let tls = match &self.tls {
            Some(tls) => rustls::ClientConfig::clone(tls.config()),
            None => no_one(),
        };
        Client::builder()
            .default_headers(headers)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.request_timeout)
            .redirect(Policy::custom(redirect))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(self.requests_in_flight)
            .http1_only()
            .no_proxy()
            .tls_backend_preconfigured(tls)
            .build()
    }
}

fn endpoint(keys: &mut Keys) -> Option<Url> {
    let text = keys.required("endpoint");
    if text.is_empty() {
        return None;
    }
    let wrong = |keys: &mut Keys, why: &str| {
        let message =
            format!("Endpoint URL invalid: expected such as http://host:8080/path, found \"{text}\"{why}");
        keys.wrong("endpoint", &message);
    };
    match Url::parse(&text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            wrong(keys, "; allowed are http and https");
            None
        }
        Ok(url) if url.has_host() => Some(url),
        Ok(_) => {
            wrong(keys, ": no host");
            None
        }
        Err(error) => {
            wrong(keys, &format!(": {error}"));
            None
        }
    }
}

/// TLS for those who never use it: without this the client would load the machine's certificates for nothing.
fn no_one() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    versions
        .expect("aws-lc-rs has TLS 1.2 and 1.3")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

/// As `HttpURLConnection` does it.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let from = attempt.previous().last().map(Url::scheme);
    if from != Some(attempt.url().scheme()) {
        attempt.stop() // the redirect itself is the answer
    } else if attempt.previous().len() > REDIRECTS_MAX {
        attempt.error("more than 20 redirects")
    } else {
        attempt.follow()
    }
}

/// The sink.
#[derive(Debug)]
pub struct Http {
    post: Arc<Post>,
    want: Want,
    requests_in_flight: usize,
    in_flight: JoinSet<Result<Sent, RunError>>,
    /// Set once something asked for a pause.
    pauses: Option<Backoff>,
}

/// What every request needs.
#[derive(Debug)]
struct Post {
    client: Client,
    endpoint: Url,
    rules: Rules,
    request_timeout: Duration,
}

/// An event that was dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    /// Whether the server is to be left alone for a moment.
    pause: bool,
}

impl Sink for Http {
    fn want(&self) -> Want {
        self.want
    }

    async fn start(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        if self.post.rules.judge(200).roll_back {
            tracing::warn!(
                sink = %ctx.name,
                "an answer of 200 puts the event back, which is then sent again for ever, as in Flume; rollback.2XX = false makes it count as delivered"
            );
        }
        Ok(())
    }

    async fn process(&mut self, lease: Lease, ctx: &SinkContext) -> Result<(), RunError> {
        if self.requests_in_flight == 1 {
            let sent = self.post.deliver(lease, ctx).await;
            return self.after(sent, ctx).await;
        }
        while let Some(done) = self.in_flight.try_join_next() {
            self.one_done(done, ctx).await?; // the new lease goes back
        }
        if self.in_flight.len() >= self.requests_in_flight
            && let Some(done) = self.in_flight.join_next().await
        {
            self.one_done(done, ctx).await?;
        }
        let (post, ctx) = (self.post.clone(), ctx.clone());
        self.in_flight
            .spawn(async move { post.deliver(lease, &ctx).await });
        Ok(())
    }

    async fn idle(&mut self, ctx: &SinkContext) -> Result<(), RunError> {
        while let Some(done) = self.in_flight.join_next().await {
            self.one_done(done, ctx).await?;
        }
        Ok(())
    }

    async fn stop(&mut self, ctx: &SinkContext) {
        self.settle(ctx).await;
    }
}

/// What a request came to; a panic goes on where the sink is supervised.
fn outcome(done: Result<Result<Sent, RunError>, JoinError>) -> Result<Sent, RunError> {
    match done.map_err(JoinError::try_into_panic) {
        Ok(sent) => sent,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(RunError::retry("a request was given up")),
    }
}

impl Http {
    /// One of several requests has come to its end. After a failure the others are waited for, so that all that goes
    /// back has gone back before the next turn.
    async fn one_done(
        &mut self,
        done: Result<Result<Sent, RunError>, JoinError>,
        ctx: &SinkContext,
    ) -> Result<(), RunError> {
        let sent = outcome(done);
        if sent.is_err() {
            self.settle(ctx).await;
        }
        self.after(sent, ctx).await
    }

    async fn settle(&mut self, ctx: &SinkContext) {
        while let Some(done) = self.in_flight.join_next().await {
            if let Err(error) = outcome(done) {
                tracing::warn!(sink = %ctx.name, %error, "event not delivered; it stays queued");
            }
        }
    }

    /// Pauses if the last answer said so.
    async fn after(&mut self, sent: Result<Sent, RunError>, ctx: &SinkContext) -> Result<(), RunError> {
        if !sent?.pause {
            self.pauses = None;
            return Ok(());
        }
        let pauses = self
            .pauses
            .get_or_insert_with(|| Backoff::new(PAUSE_FIRST, PAUSE_CAP, ctx.seed));
        ctx.shutdown.sleep(pauses.fail()).await;
        Ok(())
    }
}

impl Post {
    /// Sends the one event of a lease and does with it what the rules say.
    async fn deliver(&self, lease: Lease, ctx: &SinkContext) -> Result<Sent, RunError> {
        let Some(event) = lease.batch().iter().next() else {
            lease.commit().await?;
            return Ok(Sent { pause: false });
        };
        if event.body().is_empty() {
            tracing::warn!(sink = %ctx.name, "Processed empty event");
            lease.commit().await?;
            return Ok(Sent { pause: false });
        }
        ctx.counters.attempted.add(1);
        let status = self.send(event.body_bytes()).await?;
        let Verdict {
            roll_back,
            back_off,
            count,
        } = self.rules.judge(status);
        if roll_back {
            lease.rollback();
        } else {
            lease.commit().await?;
        }
        if count {
            ctx.counters.delivered.add(1);
        }
        match (roll_back, back_off) {
            (true, true) => Err(RunError::retry(format!(
                "Got status code {status} from HTTP server. Rolled back event and backed off."
            ))),
            (true, false) => {
                tracing::debug!(sink = %ctx.name, status, "Rolled back event.");
                Ok(Sent { pause: false })
            }
            (false, back_off) => Ok(Sent { pause: back_off }),
        }
    }

    /// The status of the answer, whose body has been read.
    async fn send(&self, body: Bytes) -> Result<u16, RunError> {
        let request = self.client.post(self.endpoint.clone()).body(body);
        let failed = |e| RunError::retry("Error opening connection, or request timed out").caused_by(e);
        let mut answer = request.send().await.map_err(failed)?;
        let status = answer.status().as_u16();
        let drained = async {
            let mut left = ANSWER_BYTES_MAX;
            while let Ok(Some(piece)) = answer.chunk().await {
                let Some(rest) = left.checked_sub(piece.len()) else {
                    return;
                };
                left = rest;
            }
        };
        // An answer that does not end costs the connection, not the event: its status is known.
        let _ = tokio::time::timeout(self.request_timeout, drained).await;
        Ok(status)
    }
}

#[cfg(test)]
mod tests;
