//! `spillablememory`: a queue in memory with a file channel behind it for what has no room, Flume's SpillableMemoryChannel.
//!
//! Promise: what is in memory is as fast as in a memory channel and lost with the process; what has spilled is as safe as in
//! a file channel and there after any crash. Order holds over both. A stop saves what is in memory, so that only a crash
//! loses any of it. Memory is bounded: `memoryCapacity`, `byteCapacity`, and a window of 8 MiB of what is on the disk.
//!
//! | | |
//! |---|---|
//! | memory full | a put waits `overflowTimeout`, then it spills; the next ones spill at once, until memory is `overflowDeactivationThreshold` % empty and nothing unread is on the disk |
//! | something unread on the disk | puts go there as well: they are behind it, and safer |
//! | both full | refused with ChannelFull |
//! | `memoryCapacity = 0` | a file channel; it alone is announced as durable and keeps positions |
//! | `overflowCapacity = 0` | a memory channel; no folder is touched, unless events of before are in it |
//! | kill | what is in memory is lost. Positions are forgotten, so that sources and sinks go on as with a memory channel |
//! | stop, or removal by a reload | what is in memory goes to `<first dataDir>/memory` and comes back in its place |
//! | disk trouble | as in a file channel: the log is opened anew; what is in memory stays there meanwhile |
//!
//! It is the file channel of the folder above, with a `room` for events that are in memory alone (`room.rs`) and a
//! log for what of them is left at the end (`save.rs`).
//! Source: `flume/channels-and-sinks.md` 3.3.

pub(super) mod room;
mod save;
#[cfg(test)]
mod tests;

use super::FileChannel;
use super::config::Config as FileConfig;
use crate::component::channel::{Channel, ChannelLimits, DEFAULT_HEAP_BYTES};
use crate::component::error::BuildError;
use crate::component::keys::Keys;
use crate::component::registry::Type;
use room::{RoomLimits, usable_bytes};
pub(super) use save::SAVED;
use std::sync::Arc;
use std::time::Duration;

/// How the list names it.
pub const TYPE: Type<Arc<dyn Channel>> = Type {
    alias: "spillablememory",
    classes: &["org.apache.flume.channel.SpillableMemoryChannel"],
    in_flume_metrics: true,
    build: |keys, ctx| {
        let config = Config::read(keys, ctx.max_heap_bytes);
        if !keys.has_errors() {
            config.file.look(keys);
        }
        Ok(Arc::new(config.build(&ctx.name)?))
    },
};

/// Settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `memoryCapacity`: events in memory; default 10,000; 0: a file channel.
    pub memory_capacity: usize,
    /// `overflowCapacity`: events on the disk, besides those for which memory has room; default 100,000,000; 0: a memory
    /// channel.
    pub overflow_capacity: usize,
    /// `transactionCapacity`: events in one put or take; default 10,000; at most `overflowCapacity`, if that is not 0. A
    /// put may have as many as memory.
    pub transaction_capacity: usize,
    /// `overflowTimeout`: seconds that a put waits for memory before it spills, and for room at all; default 3.
    pub overflow_timeout: Duration,
    /// `overflowDeactivationThreshold`: % of memory that must be free again before a put waits anew; default 5.
    pub overflow_deactivation_threshold: usize,
    /// `byteCapacity`: bytes of bodies in memory; default 80 % of "max heap" (`-Xmx`, else 512 MiB); 0 is unlimited.
    pub byte_capacity: u64,
    /// `byteCapacityBufferPercentage`: part of it kept free for headers, in %; default 20.
    pub byte_capacity_buffer_percentage: u64,
    /// `avgEventSize`: bytes that an event counts for in memory, at least; default 500.
    pub avg_event_size: usize,
    /// What is on the disk: the properties of a file channel but for its sizes.
    pub file: FileConfig,
}

impl Config {
    /// Reads the properties.
    pub fn read(keys: &mut Keys, max_heap_bytes: Option<u64>) -> Self {
        const MAX: usize = i32::MAX as usize;
        let memory_capacity = keys.lenient_number("memoryCapacity", 10_000, 0..=MAX);
        let mut overflow_capacity = keys.lenient_number("overflowCapacity", 100_000_000, 0..=MAX);
        if memory_capacity == 0 && overflow_capacity == 0 {
            overflow_capacity = 100_000_000;
            keys.warn(
                "overflowCapacity",
                "bad-number",
                "is 0, and so is memoryCapacity; 100000000 is used, as in Flume".to_owned(),
            );
        }
        let transaction_capacity = keys.lenient_number("transactionCapacity", 10_000, 1..=MAX);
        if overflow_capacity > 0 && transaction_capacity > overflow_capacity {
            let message = format!(
                "File Channel transaction capacity cannot be greater than the capacity of the channel. Found \
                 {transaction_capacity}, allowed are 1 to {overflow_capacity} (overflowCapacity; \
                 transactionCapacity is 10000 unless it is set)"
            );
            keys.wrong("transactionCapacity", &message);
        }
        let timeout = keys.lenient_number("overflowTimeout", 3, 0..=i32::MAX as u64);
        let overflow_timeout = Duration::from_secs(timeout);
        let heap = max_heap_bytes.unwrap_or(DEFAULT_HEAP_BYTES);
        let config = Self {
            memory_capacity,
            overflow_capacity,
            transaction_capacity,
            overflow_timeout,
            overflow_deactivation_threshold: keys.lenient_number("overflowDeactivationThreshold", 5, 0..=100),
            byte_capacity: keys.lenient_number("byteCapacity", heap / 10 * 8, 0..=i64::MAX as u64),
            byte_capacity_buffer_percentage: keys.lenient_number("byteCapacityBufferPercentage", 20, 0..=100),
            avg_event_size: keys.lenient_number("avgEventSize", 500, 1..=MAX),
            file: FileConfig::read_with(keys, overflow_capacity, transaction_capacity, overflow_timeout),
        };
        for (key, why) in OVERRIDDEN {
            keys.without_effect(key, why);
        }
        config
    }

    /// The channel; closed until it is attached. No file is touched before.
    pub fn build(self, name: &Arc<str>) -> Result<FileChannel, BuildError> {
        let (limits, room) = (self.limits(), self.room());
        let mut channel = self.file.build_with(name, limits, room)?;
        channel.spillable = true;
        Ok(channel)
    }

    /// What every put and take is held against.
    pub(super) fn limits(&self) -> ChannelLimits {
        let transaction = match self.overflow_capacity {
            0 => self.transaction_capacity.min(self.memory_capacity),
            _ => self.transaction_capacity,
        };
        ChannelLimits {
            capacity: self.memory_capacity + self.overflow_capacity,
            transaction_capacity: Some(transaction),
            keep_alive: self.overflow_timeout,
            durable: self.memory_capacity == 0,
        }
    }

    /// What may be in memory alone.
    pub(super) fn room(&self) -> RoomLimits {
        if self.memory_capacity == 0 {
            return RoomLimits::NONE;
        }
        let calm_events = self.memory_capacity * self.overflow_deactivation_threshold / 100;
        RoomLimits {
            events: self.memory_capacity,
            bytes: usable_bytes(
                self.byte_capacity,
                self.byte_capacity_buffer_percentage,
                self.avg_event_size,
            ),
            event_bytes: self.avg_event_size,
            overflow: self.overflow_capacity > 0,
            calm_events,
        }
    }
}

const OVERRIDDEN: [(&str, &str); 2] = [
    (
        "capacity",
        "has no effect: memoryCapacity and overflowCapacity are used",
    ),
    ("keep-alive", "has no effect: overflowTimeout is used"),
];
