//! What every running component is given: clock, seed, shutdown, fault points.

use super::fault::Faults;
use cluster::time::Time;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;

/// Where a component learns the time; tests put in their own.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970; may jump. For headers and file names, never for durations.
    fn unix_ms(&self) -> u64;
    /// A time that never goes back; only differences count.
    fn now(&self) -> Time;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as u64)
    }

    fn now(&self) -> Time {
        Time::ZERO + self.0.elapsed()
    }
}

/// Says when to stop, and whether to hurry.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stop: CancellationToken,
}

impl Shutdown {
    /// Not asked to stop yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resolves when the component is to finish: take nothing new in, let what is under way complete.
    pub async fn requested(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the component is to finish.
    pub fn is_requested(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Asks the component to finish.
    pub fn request(&self) {
        self.stop.cancel();
    }

    /// Waits for `time`, or until the component is to finish; says whether it is.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => true,
            () = tokio::time::sleep(time) => self.stop.is_cancelled(),
        }
    }
}

/// What all contexts have in common.
#[derive(Debug, Clone)]
pub struct Common {
    /// The component's name.
    pub name: Arc<str>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// Seed of this component's random generator; from the node's seed and the name.
    pub seed: u64,
    /// When to stop.
    pub shutdown: Shutdown,
    /// Fault points.
    pub faults: Faults,
}

/// A seed for a named part of something that has a seed.
pub fn derived_seed(seed: u64, name: &str) -> u64 {
    // FNV-1a: stable over releases, so that a printed seed can be replayed.
    name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}
