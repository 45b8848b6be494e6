//! The undelivered events of one log, in order, a batch at a time: no more than one block of the log is in memory.

use super::place::Log;
use cluster::journal::{Damage, DiskError, Visit, Visited};
use proto::event::{Batch, EventLimits, block};
use proto::journal::Range;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// Events of which nobody has said that they are delivered.
    Events(Run),
    /// What cannot be read.
    Damage(Box<Damage>),
    /// Events that an earlier repair has given up.
    GivenUp,
    /// This segment was delivered to its end meanwhile.
    Gone,
}

/// Events with consecutive numbers.
#[derive(Debug)]
pub struct Run {
    /// The number of the first one in its log.
    pub number: u64,
    /// Its place in the order of the channel.
    pub order: u64,
    /// They.
    pub batch: Batch,
}

/// Walks over them.
pub struct Queued {
    log: Log,
    segments: VecDeque<u64>,
    visit: Option<Visit<Arc<File>>>,
    ready: VecDeque<Next>,
    /// Bytes of the log that were walked over since somebody asked.
    bytes: u64,
    /// Invisible ones of tiers, which nobody has confirmed.
    hidden: cluster::journal::RangeSet,
}

impl Queued {
    /// Of all segments.
    pub fn new(log: Log) -> Self {
        let segments = log.segments();
        let lost = log.damages().filter(|damage| {
            segments
                .iter()
                .all(|segment| segment.number != damage.number || segment.head.is_none())
        });
        let ready = lost
            .map(|damage| Next::Damage(Box::new(damage.clone())))
            .collect();
        let with_live = segments.iter().filter(|s| s.live > 0 && s.head.is_some());
        Self {
            segments: with_live.map(|segment| segment.number).collect(),
            hidden: log.books().prepared().map(|(_, events)| *events).collect(),
            log,
            visit: None,
            ready,
            bytes: 0,
        }
    }

    /// Only of the last segment that has some.
    pub fn of_the_last_segment(log: Log) -> Self {
        let mut this = Self::new(log);
        this.segments.drain(..this.segments.len().saturating_sub(1));
        this.ready.clear();
        this
    }

    /// Bytes of the log since it was last asked.
    pub fn bytes(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// The next thing; none at the end.
    pub fn next(&mut self) -> Result<Option<Next>, DiskError> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(Some(next));
            }
            let Some(visit) = &mut self.visit else {
                let Some(number) = self.segments.pop_front() else {
                    return Ok(None);
                };
                self.visit = self.log.visit(number)?;
                if self.visit.is_none() {
                    self.ready.push_back(Next::Gone);
                }
                continue;
            };
            match visit.next(&mut self.log, false)? {
                None => self.visit = None,
                Some(Visited::Gone) => self.ready.push_back(Next::Gone),
                Some(Visited::Missing(_)) => self.ready.push_back(Next::GivenUp),
                Some(Visited::Damage(damage)) => {
                    self.bytes += damage.end_lsn - damage.start_lsn;
                    self.ready.push_back(Next::Damage(Box::new(damage)));
                }
                Some(Visited::Block(seen)) => {
                    self.bytes += seen.head.total_bytes() as u64;
                    for chunk in seen.chunks {
                        let live = self.log.books().live_in(chunk.events);
                        if live.is_empty() || self.hidden.touches(chunk.events) {
                            continue;
                        }
                        let batch = block::index(chunk.bytes, EventLimits::default()).map_err(|why| {
                            let text = format!("events from {} on cannot be read: {why}", chunk.events.start);
                            DiskError::new(cluster::journal::DiskErrorKind::Other, text)
                        })?;
                        self.ready
                            .extend(runs(batch, chunk.events.start, chunk.order, live));
                    }
                }
            }
        }
    }
}

/// The live parts of a batch.
fn runs(mut batch: Batch, first: u64, order: u64, live: Vec<Range>) -> impl Iterator<Item = Next> {
    let mut at = first;
    live.into_iter().map(move |range| {
        drop(batch.split_front((range.start - at) as usize));
        let part = batch.split_front(range.len() as usize);
        at = range.end;
        Next::Events(Run {
            number: range.start,
            order: order + (range.start - first),
            batch: part,
        })
    })
}
