//! What is in memory when the channel is closed, and the folder in which it waits for the next start.
//!
//! It is older than what is on the disk, or between, and a log is read in the order in which it was written. Therefore it
//! goes into a log of its own, `<first dataDir>/memory/millrace`, which is one shard more of the channel from then on:
//! shards are read side by side in the order of the events, and that is also the order of this one in itself, as each
//! closing adds events that are newer than those before.

use crate::channel::file::folder::{self, Found};
use crate::channel::file::store::{GROUP_BYTES_MAX, Store};
use crate::component::queue::Piece;
use bytes::Bytes;
use cluster::journal::{Put, Transaction};
use proto::event::Batch;
use proto::journal::{MetaPage, Record};
use std::collections::VecDeque;
use tracing::{error, info};

/// Beside our folder in the first data folder.
pub const SAVED: &str = "memory";

/// Bytes of a segment there, at most: it is written once, when the channel is closed.
const SEGMENT_BYTES: u64 = 8 << 20;

impl Store<'_> {
    /// Opens the log of what was saved, if there is one.
    ///
    /// # Errors
    /// As with the others.
    pub fn open_saved(&mut self, distrust: bool) -> Result<(), String> {
        match folder::look(&self.settings.saved_dir()) {
            Ok(Found::Ours) => self.own_saved(distrust),
            Ok(Found::Nothing | Found::Flume(_)) => Ok(()),
            Err(why) => Err(why.to_string()),
        }
    }

    fn own_saved(&mut self, distrust: bool) -> Result<(), String> {
        let path = self.settings.saved_dir();
        let Some(channel) = self.shards.first().map(|shard| shard.folder.meta.channel) else {
            return Ok(());
        };
        let fresh = MetaPage {
            shard: uuid::Uuid::new_v4().into_bytes(),
            channel,
            shard_number: 0,
            shards: 1,
            name: self.settings.name.to_string(),
        };
        let segment_bytes = self.settings.segment_bytes.min(SEGMENT_BYTES);
        let shard = self.open_shard(&path, &fresh, segment_bytes, distrust)?;
        if shard.folder.meta.channel != channel {
            return Err(format!("{} belongs to another channel", path.display()));
        }
        self.shards.push(shard);
        Ok(())
    }

    /// Takes positions of another time back. They would be wrong: what is in memory moves without them.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn take_positions_back(&mut self) -> Result<(), String> {
        for shard in &mut self.shards {
            let kept: Vec<(bool, String, u64)> = shard
                .log
                .books()
                .positions()
                .filter(|(.., bytes)| !bytes.is_empty())
                .map(|(is_source, owner, stamp, _)| (is_source, owner.to_owned(), stamp))
                .collect();
            if kept.is_empty() {
                continue;
            }
            let records = kept.iter().map(|(is_source, owner, stamp)| {
                let (owner, stamp, bytes) = (owner.as_str(), stamp + 1, &[][..]);
                match is_source {
                    true => Record::SourcePosition { owner, stamp, bytes },
                    false => Record::SinkPosition { owner, stamp, bytes },
                }
            });
            let transaction = Transaction {
                put: None,
                records: records.collect(),
            };
            let committed = shard.log.commit(&[transaction]).remove(0);
            committed.map_err(|why| format!("{}: {why}", shard.folder.meta.name))?;
        }
        Ok(())
    }

    /// Saves what is in memory alone. What cannot be saved stays there.
    pub fn save(&mut self) {
        let mut inner = self.core.inner();
        if !inner.room.limits.overflow || inner.room.is_none() {
            return;
        }
        let memory = inner.memory();
        drop(inner);
        if memory.is_empty() {
            return;
        }
        let channel = &*self.settings.name;
        let events = count(&memory);
        let mut left = VecDeque::from(memory);
        let result = self.write_saved(&mut left);
        let lost = left.iter().map(|piece| piece.claim.events).sum::<usize>();
        match result {
            Ok(()) => info!(channel, events, "what was in memory is saved"),
            Err(why) => error!(
                channel,
                events = lost,
                saved = events - lost,
                why,
                "events in memory cannot be saved"
            ),
        }
        let mut inner = self.core.inner();
        left.into_iter().for_each(|piece| inner.remember_again(piece));
    }

    /// Takes from `memory` what is written.
    fn write_saved(&mut self, memory: &mut VecDeque<Piece>) -> Result<(), String> {
        if self.shards.len() == self.settings.data_dirs.len() {
            self.own_saved(false)?;
        }
        let Some(shard) = self.shards.last_mut() else {
            return Ok(());
        };
        while !memory.is_empty() {
            let pieces: Vec<Piece> = memory.drain(..group(memory)).collect();
            let transactions: Vec<Transaction<'_>> = pieces.iter().map(put).collect();
            let results = shard.log.commit(&transactions);
            let mut failed = None;
            let mut refused = Vec::new();
            for (piece, result) in pieces.into_iter().zip(results) {
                if let Err(why) = result {
                    failed.get_or_insert_with(|| why.to_string());
                    refused.push(piece);
                }
            }
            refused
                .into_iter()
                .rev()
                .for_each(|piece| memory.push_front(piece));
            if let Some(why) = failed {
                return Err(why);
            }
        }
        Ok(())
    }
}

fn count(pieces: &[Piece]) -> usize {
    pieces.iter().map(|piece| piece.claim.events).sum()
}

/// How many pieces from the front one commit may hold.
fn group(pieces: &VecDeque<Piece>) -> usize {
    let mut bytes = 0;
    let fitting = pieces.iter().take_while(|piece| {
        bytes += piece.batch.used_bytes();
        bytes <= GROUP_BYTES_MAX
    });
    fitting.count().max(1)
}

fn put(piece: &Piece) -> Transaction<'static> {
    let blocks: Vec<Bytes> = Batch::to_blocks(&piece.batch);
    Transaction {
        put: Some(Put {
            count: piece.claim.events as u32,
            events: blocks,
            order: piece.first,
            prepared: None,
        }),
        records: Vec::new(),
    }
}
