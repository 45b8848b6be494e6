//! A request's body, within limits: bytes of one and of all together, a least rate, no stall.
//!
//! Nothing is allocated for what a request announces; memory grows with what has come, and is counted before it does.

use hyper::body::{Body, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// How long a body may be slower than its least rate at first.
const START: Duration = Duration::from_secs(30);
/// Memory of a body to begin with.
const FIRST_BYTES: usize = 4 << 10;
/// What of a refused body is read all the same, so that the answer is not lost to a reset: bytes and time.
const DRAIN_BYTES: usize = 4 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// More is refused.
    pub bytes_max: usize,
    /// More is read and thrown away.
    pub kept_bytes_max: Option<usize>,
    /// Bytes a second; zero is no limit.
    pub rate_min: u32,
    /// How long nothing may come.
    pub stall: Duration,
}

/// A body.
#[derive(Debug)]
pub struct Kept {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether there were more of them.
    pub was_cut: bool,
    /// What it has of the budget.
    pub share: Share,
}

/// Why a body was not read to its end.
#[derive(Debug, Error)]
pub enum Unread {
    /// More than `maxRequestBytes`.
    #[error("Request body exceeds maxRequestBytes = {0}")]
    TooLarge(usize),
    /// Nothing comes any more.
    #[error("Request body stalled")]
    Stalled,
    /// Too little comes.
    #[error("Request body comes slower than {0} bytes a second")]
    Slow(u32),
    /// Others have the memory.
    #[error("Request bodies under way exceed maxBufferedBytes = {0}")]
    Memory(usize),
    /// The peer has gone, or breaks the protocol.
    #[error("Request body is broken: {0}")]
    Lost(#[from] hyper::Error),
}

/// Bytes for the bodies of all connections together.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    /// So many bytes.
    pub fn new(max: usize) -> Arc<Self> {
        let used = AtomicUsize::new(0);
        Arc::new(Self { used, max })
    }

    #[cfg(test)]
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }
}

/// What one body has of the budget, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// None yet.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: budget.clone(),
            bytes: 0,
        }
    }

    /// Has so many from now on.
    ///
    /// # Errors
    /// [`Unread::Memory`]; it has what it had.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Unread> {
        let more = bytes.saturating_sub(self.bytes);
        let max = self.budget.max;
        let fits = |used: usize| used.checked_add(more).filter(|sum| *sum <= max);
        if self.budget.used.fetch_update(Relaxed, Relaxed, fits).is_err() {
            return Err(Unread::Memory(max));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

/// Reads a body. One that is announced as too large is refused at once; a peer that awaits consent before it sends
/// gets the refusal instead.
pub async fn read(
    mut body: Incoming,
    limits: Limits,
    budget: &Arc<Budget>,
    awaits_consent: bool,
) -> Result<Kept, Unread> {
    let announced = body.size_hint().lower();
    let result = if announced > limits.bytes_max as u64 {
        Err(Unread::TooLarge(limits.bytes_max))
    } else {
        gather(&mut body, limits, budget).await
    };
    if matches!(result, Err(Unread::TooLarge(_) | Unread::Memory(_))) && !awaits_consent {
        drain(&mut body).await;
    }
    result
}

async fn gather(body: &mut Incoming, limits: Limits, budget: &Arc<Budget>) -> Result<Kept, Unread> {
    let mut kept = Kept {
        bytes: Vec::new(),
        was_cut: false,
        share: Share::new(budget),
    };
    let kept_max = limits.kept_bytes_max.unwrap_or(usize::MAX);
    let begin = Instant::now();
    let mut received: u64 = 0;
    loop {
        let now = Instant::now();
        let stalled = now + limits.stall;
        let slow = slow_at(begin, received, limits.rate_min);
        let deadline = slow.map_or(stalled, |slow| slow.min(stalled));
        let frame = match tokio::time::timeout_at(deadline, frame(body)).await {
            Ok(Some(frame)) => frame?,
            Ok(None) => return Ok(kept),
            Err(_) if slow == Some(deadline) => return Err(Unread::Slow(limits.rate_min)),
            Err(_) => return Err(Unread::Stalled),
        };
        let Ok(piece) = frame.into_data() else {
            continue; // trailers
        };
        received += piece.len() as u64;
        if received > limits.bytes_max as u64 {
            return Err(Unread::TooLarge(limits.bytes_max));
        }
        let piece = &piece[..piece.len().min(kept_max - kept.bytes.len())];
        kept.was_cut |= received > kept_max as u64;
        let need = kept.bytes.len() + piece.len();
        if need > kept.bytes.capacity() {
            let capacity = need.next_power_of_two().max(FIRST_BYTES);
            kept.share.grow_to(capacity)?;
            kept.bytes.reserve_exact(capacity - kept.bytes.len());
        }
        kept.bytes.extend_from_slice(piece);
    }
}

/// When a body of which so much has come is too slow.
fn slow_at(begin: Instant, received: u64, rate_min: u32) -> Option<Instant> {
    let rate = u64::from(rate_min);
    let millis = received.saturating_mul(1_000).checked_div(rate)?;
    begin
        .checked_add(START)?
        .checked_add(Duration::from_millis(millis))
}

async fn frame(body: &mut Incoming) -> Option<hyper::Result<hyper::body::Frame<bytes::Bytes>>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

async fn drain(body: &mut Incoming) {
    let all = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(frame)) = frame(body).await {
            let bytes = frame.data_ref().map_or(0, bytes::Bytes::len);
            let Some(rest) = left.checked_sub(bytes) else {
                return;
            };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, all).await; // whatever is left is the peer's loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_exact_at_its_edge_and_comes_back() {
        let budget = Budget::new(100);
        let (mut one, mut other) = (Share::new(&budget), Share::new(&budget));
        one.grow_to(60).unwrap();
        one.grow_to(70).unwrap();
        assert!(matches!(other.grow_to(31), Err(Unread::Memory(100))));
        other.grow_to(30).unwrap();
        assert_eq!(budget.used(), 100);
        drop(one);
        assert_eq!(budget.used(), 30);
        drop(other);
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_body_earns_time_by_what_it_sends() {
        let begin = Instant::now();
        assert_eq!(slow_at(begin, 0, 1_024), Some(begin + START));
        assert_eq!(
            slow_at(begin, 2_048, 1_024),
            Some(begin + START + Duration::from_secs(2))
        );
        assert_eq!(slow_at(begin, u64::MAX, 0), None);
    }
}
