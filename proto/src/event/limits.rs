//! How large an event and a batch may be, and the error for one that is larger.

use thiserror::Error;

/// Limits of events and batches. The defaults are far above what Flume's users send and small enough that one
/// batch cannot exhaust a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventLimits {
    /// Events in one batch; default 1,000,000 (12 MB of index).
    pub events: usize,
    /// Headers of one event; default 1,024.
    pub headers: usize,
    /// Bytes of one header's key; default 64 KiB.
    pub key_bytes: usize,
    /// Bytes of one header's value; default 1 MiB.
    pub value_bytes: usize,
    /// Bytes of one body; default 64 MiB.
    pub body_bytes: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            events: 1_000_000,
            headers: 1_024,
            key_bytes: 64 << 10,
            value_bytes: 1 << 20,
            body_bytes: 64 << 20,
        }
    }
}

/// An event that cannot be taken into a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EventError {
    /// A limit of [`EventLimits`] is exceeded.
    #[error("{what}: found {found}, allowed are at most {allowed}")]
    Limit {
        /// What was counted, with its unit.
        what: &'static str,
        /// How many there were.
        found: usize,
        /// How many may be.
        allowed: usize,
    },
    /// A header's key or value is not UTF-8; `offset` is in bytes from the start of the scanned buffer.
    #[error("byte {offset}: header is not UTF-8")]
    NotUtf8 {
        /// Where the header's key or value starts.
        offset: usize,
    },
    /// A range handed in lies outside of the scanned buffer, or the buffer is over 4 GiB.
    #[error("byte {offset}: range outside of the buffer")]
    OutOfBuffer {
        /// Where the range starts.
        offset: usize,
    },
}

impl EventLimits {
    pub(super) fn check(what: &'static str, found: usize, allowed: usize) -> Result<(), EventError> {
        if found > allowed {
            Err(EventError::Limit { what, found, allowed })
        } else {
            Ok(())
        }
    }
}
