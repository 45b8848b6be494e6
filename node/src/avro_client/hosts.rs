//! Sends each batch to the host whose turn it is, and again when that fails.
//!
//! [`Turns`] decides who is asked, without a clock or socket of its own; [`Hosts`] has the connections. A round asks
//! each host of an order once; when all have failed, the next round waits a little (100 ms, growing to 5 s), until the
//! time to retry is over.

use super::progress::Progress;
use super::settings::{Order, Settings};
use super::{Failure, Fault};
use crate::io::avro_client::{CallFailure, Connection};
use crate::io::stream::BoxStream;
use cluster::backoff::Backoff;
use proto::avro::{CallError, KnownServer};
use proto::event::Batch;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::error::Error;
use std::io;
use std::time::{Duration, Instant};
use tokio::net::{TcpStream, lookup_host};

/// Pauses between rounds: the first one, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Failures after which a host's penalty grows no more, as in Flume.
const PENALTY_EXPONENT_MAX: u32 = 16;

/// The hosts and the connections to them.
pub struct Hosts {
    settings: Settings,
    retry: Duration,
    turns: Turns,
    pauses: Backoff,
    connections: Vec<Option<Connection<BoxStream>>>,
    known: Vec<KnownServer>,
    started: Instant,
    /// Whether any batch was stored yet.
    is_proven: bool,
}

impl Hosts {
    /// Nothing is connected yet. A batch that fails is tried again for so long.
    pub fn new(settings: Settings, retry: Duration) -> Self {
        let count = settings.hosts.len();
        Self {
            turns: Turns::new(settings.order, count, rand::random()),
            pauses: Backoff::new(PAUSES.0, PAUSES.1, rand::random()),
            connections: (0..count).map(|_| None).collect(),
            known: vec![KnownServer::default(); count],
            settings,
            retry,
            started: Instant::now(),
            is_proven: false,
        }
    }

    /// Connects to one of the hosts.
    ///
    /// # Errors
    /// None of them can be reached.
    pub async fn connect(&mut self) -> Result<(), Failure> {
        let mut reasons = Vec::new();
        for host in self.turns.order(self.started.elapsed()) {
            match self.open(host).await {
                Ok(connection) => {
                    self.connections[host] = Some(connection);
                    return Ok(());
                }
                Err(reason) => {
                    self.turns.failed(host, self.started.elapsed());
                    reasons.push(reason.text);
                }
            }
        }
        Err(Failure::new(Fault::Unreachable, reasons.join("\n")))
    }

    /// Returns when a host has stored the batch.
    ///
    /// # Errors
    /// No host would for as long as a batch is tried again.
    pub async fn send(&mut self, batch: &Batch, progress: &Progress) -> Result<(), Failure> {
        let first = Instant::now();
        let mut is_told = false;
        loop {
            let mut reasons = Vec::new();
            let mut is_final = true;
            for host in self.turns.order(self.started.elapsed()) {
                match self.call(host, batch).await {
                    Ok(()) => {
                        self.turns.stored(host);
                        self.pauses.reset();
                        self.is_proven = true;
                        return Ok(());
                    }
                    Err(reason) => {
                        self.turns.failed(host, self.started.elapsed());
                        is_final &= reason.is_final;
                        reasons.push(reason.text);
                    }
                }
            }
            let text = if reasons.is_empty() {
                "every host is left alone for a while, as it has failed".to_owned()
            } else {
                reasons.join("\n")
            };
            if is_final && !self.is_proven && !reasons.is_empty() {
                return Err(Failure::new(Fault::Unreachable, text));
            }
            let left = self.retry.saturating_sub(first.elapsed());
            if left.is_zero() {
                return Err(Failure::new(Fault::Undelivered, text));
            }
            if !is_told {
                progress.say(&format!("{text}; trying again for {} s", self.retry.as_secs()));
                is_told = true;
            }
            tokio::time::sleep(self.pauses.fail().min(left)).await;
        }
    }

    /// Closes all connections.
    pub async fn close(mut self) {
        for connection in self.connections.iter_mut().filter_map(Option::take) {
            connection.close().await;
        }
    }

    async fn call(&mut self, host: usize, batch: &Batch) -> Result<(), Reason> {
        let mut connection = match self.connections[host].take() {
            Some(connection) => connection,
            None => self.open(host).await?,
        };
        let was_open = connection.is_open();
        let limit = if was_open {
            self.settings.request_timeout
        } else {
            self.settings.connect_timeout
        };
        let called = tokio::time::timeout(limit, connection.append_batch(batch)).await;
        let failure = match called {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(Some(failure)),
            Err(_) => Some(None),
        };
        self.known[host] = connection.server().clone();
        let is_usable = matches!(&failure, None | Some(Some(CallFailure::Refused(_))));
        if is_usable {
            self.connections[host] = Some(connection);
        } else {
            drop(connection);
        }
        match failure {
            None => Ok(()),
            Some(Some(failure)) => Err(Reason::of_call(&self.name(host), &failure, was_open)),
            Some(None) => Err(Reason::silent(&self.name(host), limit, was_open)),
        }
    }

    async fn open(&self, host: usize) -> Result<Connection<BoxStream>, Reason> {
        let (name, port) = &self.settings.hosts[host];
        let limit = self.settings.connect_timeout;
        let connecting = async {
            let found = lookup_host((name.as_str(), *port)).await;
            let addresses: Vec<_> = found.map_err(|error| Reason::unknown(name, &error))?.collect();
            let failed = |error| Reason::unreachable(&self.name(host), &error);
            let stream = TcpStream::connect(addresses.as_slice()).await.map_err(failed)?;
            let _ = stream.set_nodelay(true);
            let _ = socket2::SockRef::from(&stream).set_keepalive(true);
            self.settings.layers.wrap(name, stream).await.map_err(failed)
        };
        let Ok(connected) = tokio::time::timeout(limit, connecting).await else {
            let text = format!("{}: no connection within {limit:?}", self.name(host));
            return Err(Reason::later(text));
        };
        Ok(Connection::new(connected?, self.known[host].clone()))
    }

    fn name(&self, host: usize) -> String {
        let (name, port) = &self.settings.hosts[host];
        if name.contains(':') {
            format!("[{name}]:{port}")
        } else {
            format!("{name}:{port}")
        }
    }
}

/// Why one host did not take a batch.
struct Reason {
    text: String,
    /// Trying again would not help, unless it was different before.
    is_final: bool,
}

impl Reason {
    fn later(text: String) -> Self {
        let is_final = false;
        Self { text, is_final }
    }

    fn never(text: String) -> Self {
        let is_final = true;
        Self { text, is_final }
    }

    fn unknown(name: &str, error: &io::Error) -> Self {
        Self::never(format!("unknown host \"{name}\": {error}"))
    }

    fn unreachable(name: &str, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                ": nobody listens there; is the agent up, and is this its avro source?"
            }
            _ => "",
        };
        Self::never(format!("{name}: {error}{hint}"))
    }

    fn silent(name: &str, limit: Duration, was_open: bool) -> Self {
        if was_open {
            return Self::later(format!("{name}: no answer within {limit:?}"));
        }
        Self::never(format!("{name}: no answer within {limit:?}. {NOT_AVRO}"))
    }

    fn of_call(name: &str, failure: &CallFailure, was_open: bool) -> Self {
        let mut text = format!("{name}: {failure}");
        let mut cause = failure.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        match failure {
            CallFailure::Refused(CallError::Status(_)) => {
                text.push_str(": its channel is full, or takes no batch of that size (--batch-size)");
                Self::later(text)
            }
            CallFailure::Refused(CallError::System(_)) => Self::later(text),
            _ if was_open => Self::later(text),
            _ => Self::never(format!("{text}. {NOT_AVRO}")),
        }
    }
}

const NOT_AVRO: &str = "Is this the port of an avro source? If it has ssl = true or compression-type = deflate, say so in a file for -P";

/// Which host is asked next.
#[derive(Debug)]
struct Turns {
    order: Order,
    /// Where the next order starts.
    next: usize,
    penalties: Vec<Penalty>,
    random: SmallRng,
}

/// How a host has done.
#[derive(Debug, Clone, Copy, Default)]
struct Penalty {
    failures: u32,
    /// Since the start.
    until: Duration,
}

impl Turns {
    fn new(order: Order, hosts: usize, seed: u64) -> Self {
        Self {
            order,
            next: 0,
            penalties: vec![Penalty::default(); hosts],
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Whom to ask one after the other, until one stores the batch. `now` is the time since the start.
    fn order(&mut self, now: Duration) -> Vec<usize> {
        let count = self.penalties.len();
        match self.order {
            Order::First => vec![0],
            Order::Failover { attempts } => (0..attempts).map(|step| (self.next + step) % count).collect(),
            Order::Balance { random, .. } => {
                let mut order: Vec<usize> = (0..count).map(|step| (self.next + step) % count).collect();
                self.next = (self.next + 1) % count;
                if random {
                    order.shuffle(&mut self.random);
                }
                order.retain(|host| self.penalties[*host].until <= now);
                order
            }
        }
    }

    fn stored(&mut self, host: usize) {
        self.penalties[host] = Penalty::default();
        if let Order::Failover { .. } = self.order {
            self.next = host;
        }
    }

    fn failed(&mut self, host: usize, now: Duration) {
        let Order::Balance { backoff, .. } = self.order else {
            return;
        };
        let penalty = &mut self.penalties[host];
        penalty.failures = (penalty.failures + 1).min(PENALTY_EXPONENT_MAX);
        penalty.until = now + backoff.min(Duration::from_secs(1 << penalty.failures));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    fn balance(random: bool, backoff: u64) -> Turns {
        let backoff = Duration::from_secs(backoff);
        Turns::new(Order::Balance { random, backoff }, 3, 7)
    }

    #[test]
    fn the_first_host_is_the_only_one_without_a_type() {
        let mut turns = Turns::new(Order::First, 3, 0);
        turns.failed(0, NOW);
        assert_eq!(turns.order(NOW), [0]);
    }

    #[test]
    fn failover_stays_with_whom_it_works() {
        let mut turns = Turns::new(Order::Failover { attempts: 4 }, 3, 0);
        assert_eq!(turns.order(NOW), [0, 1, 2, 0]);
        turns.failed(0, NOW);
        turns.stored(1);
        assert_eq!(turns.order(NOW), [1, 2, 0, 1]);
    }

    #[test]
    fn balancing_takes_turns() {
        let mut turns = balance(false, 0);
        assert_eq!(turns.order(NOW), [0, 1, 2]);
        turns.failed(0, NOW);
        assert_eq!(
            turns.order(NOW),
            [1, 2, 0],
            "without backoff nobody is left alone"
        );
        assert_eq!(turns.order(NOW), [2, 0, 1]);
        let mut random = balance(true, 0);
        let firsts: std::collections::BTreeSet<usize> = (0..50).map(|_| random.order(NOW)[0]).collect();
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn a_host_that_fails_is_left_alone_for_longer_and_longer() {
        let mut turns = balance(false, 30);
        let second = Duration::from_secs(1);
        turns.failed(0, NOW);
        assert_eq!(turns.order(NOW + 2 * second - Duration::from_millis(1)), [1, 2]);
        assert_eq!(turns.order(NOW + 2 * second).len(), 3);
        (0..40).for_each(|_| turns.failed(0, NOW));
        assert_eq!(turns.order(NOW + 29 * second).len(), 2);
        assert_eq!(turns.order(NOW + 30 * second).len(), 3, "maxBackoff");
        turns.failed(1, NOW);
        turns.failed(2, NOW);
        turns.failed(0, NOW);
        assert_eq!(turns.order(NOW), [0; 0]);
        turns.stored(1);
        assert_eq!(turns.order(NOW), [1]);
    }
}
