//! Our channel: opened as an agent opens it, filled batch by batch, with the position in the same commit as the events.
//!
//! The position is a line of text of the owner `import/flume`: `importing DIGEST TOTAL DONE`, or `imported DIGEST TOTAL 0`.
//! The first is committed before a file is moved, so that a folder `flume-importing` beside the second means that all of it
//! is here.

use super::bodies::{Bodies, Unread};
use super::place::Place;
use super::progress::Progress;
use super::report::{Imported, Place as Spot};
use super::{Failure, Fault};
use crate::channel::file::FileChannel;
use crate::component::channel::{Channel, ChannelError, Claim, Position};
use bytes::Bytes;
use proto::event::{Batch, BatchBuilder, EventLimits};
use proto::flume_log::Pointer;
use std::sync::Arc;
use tokio::runtime::Runtime;

const OWNER: &str = "import/flume";

/// Events of one commit, at most.
const BATCH_EVENTS: usize = 10_000;
/// Bytes of one commit, at most, and one event more.
const BATCH_BYTES: usize = 4 << 20;

/// How far the last import into the channel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There was none.
    Never,
    /// It was interrupted.
    Part,
    /// All of it is here.
    Whole,
}

/// The channel.
pub struct Target {
    channel: FileChannel,
    runtime: Runtime,
    digest: u64,
    total: u64,
    done: u64,
}

impl Target {
    /// Opens it; waits until its logs are read.
    pub fn open(place: &Place) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::settings(format!("no runtime: {error}")))?;
        let name: Arc<str> = place.channel.as_str().into();
        let built = place.config.clone().build(&name);
        let channel = built.map_err(|error| Failure::settings(error.to_string()))?;
        channel.attach();
        runtime.block_on(opened(&channel))?;
        Ok(Self {
            channel,
            runtime,
            digest: 0,
            total: 0,
            done: 0,
        })
    }

    /// What the channel says of the last import.
    pub fn standing(&self) -> Standing {
        match self.position() {
            None => Standing::Never,
            Some((true, ..)) => Standing::Whole,
            Some((false, ..)) => Standing::Part,
        }
    }

    /// Whether it is whole, its digest, total, and what is here.
    fn position(&self) -> Option<(bool, u64, u64, u64)> {
        let bytes = self.channel.position(OWNER)?;
        let text = std::str::from_utf8(&bytes).ok()?;
        let mut words = text.split(' ');
        let is_whole = words.next()? == "imported";
        let digest = u64::from_str_radix(words.next()?, 16).ok()?;
        let mut number = || words.next()?.parse().ok();
        Some((is_whole, digest, number()?, number()?))
    }

    /// Before the first of so many events. Returns how many are here.
    pub fn begin(&mut self, digest: u64, total: u64) -> Result<u64, Failure> {
        (self.digest, self.total) = (digest, total);
        self.done = match self.position() {
            Some((true, same, ..)) if same == digest => return Ok(total),
            Some((false, same, _, done)) if same == digest => done.min(total),
            Some((false, _, all, done)) if done > 0 => {
                return Err(Failure::input(format!(
                    "an earlier run has moved {done} of {all} events and was interrupted, and now other events are left: the \
                     files have changed since, or the options are others (--skip-corrupt, --checkpoint-dir, --key). Run it \
                     with the options and the files of then"
                )));
            }
            _ => 0,
        };
        if self.done == 0 {
            self.commit(Batch::default(), "importing")?;
        }
        Ok(self.done)
    }

    /// Moves these events, which come behind those that are here.
    pub fn move_all(
        &mut self,
        events: &[Pointer],
        bodies: &mut Bodies<'_>,
        skip_damage: bool,
        progress: &Progress,
        imported: &mut Imported,
    ) -> Result<(), Failure> {
        progress.expect_events(events.len() as u64);
        let mut builder = BatchBuilder::new(EventLimits::default());
        let mut taken = 0;
        for at in events {
            match bodies.push(*at, &mut builder) {
                Ok(bytes) => imported.bytes += bytes,
                Err(why) if skip_damage && !matches!(why, Unread::Io(..)) => {
                    imported.places.add(spot(*at, &why))
                }
                Err(why) => return Err(self.stopped(&spot(*at, &why).to_string())),
            }
            taken += 1;
            if taken == BATCH_EVENTS as u64 || builder.bytes() >= BATCH_BYTES {
                let full = std::mem::replace(&mut builder, BatchBuilder::new(EventLimits::default()));
                self.store(full, taken, imported)?;
                progress.moved(taken, imported.bytes);
                taken = 0;
            }
        }
        self.store(builder, taken, imported)
    }

    /// Commits a batch of what `taken` pointers have come to.
    fn store(&mut self, builder: BatchBuilder, taken: u64, imported: &mut Imported) -> Result<(), Failure> {
        if taken == 0 {
            return Ok(());
        }
        let batch = builder.finish();
        let events = batch.len() as u64;
        self.done += taken;
        let stored = self.commit(batch, "importing");
        if stored.is_err() {
            self.done -= taken;
        }
        stored?;
        imported.events += events;
        imported.batches += 1;
        Ok(())
    }

    /// All events are here.
    pub fn end(&mut self) -> Result<(), Failure> {
        if self.standing() == Standing::Whole && self.position().is_some_and(|p| p.1 == self.digest) {
            return Ok(());
        }
        self.commit(Batch::default(), "imported")
    }

    fn commit(&self, batch: Batch, word: &str) -> Result<(), Failure> {
        let text = format!("{word} {:016x} {} {}", self.digest, self.total, self.done);
        let position = Position {
            owner: OWNER.into(),
            bytes: Bytes::from(text),
        };
        let stored = self.runtime.block_on(async {
            let ticket = self.channel.reserve(Claim::of(&batch)).await?;
            self.channel.commit_put(ticket, batch, Some(position)).await
        });
        stored.map_err(|why| {
            self.stopped(&match why {
                ChannelError::Full => {
                    "the disk is full, or minimumRequiredSpace is not free any more".to_owned()
                }
                other => other.to_string(),
            })
        })
    }

    /// As if so many events were moved.
    #[cfg(test)]
    pub fn pretend_done(&mut self, done: u64) {
        self.done = done;
        self.commit(Batch::default(), "importing").unwrap();
    }

    fn stopped(&self, why: &str) -> Failure {
        let (done, total) = (self.done, self.total);
        Failure::new(
            Fault::Unfinished,
            format!("{why}. {done} of {total} events are moved; the same command goes on behind them"),
        )
    }
}

/// Waits until the logs are read, however long that takes.
async fn opened(channel: &FileChannel) -> Result<(), Failure> {
    loop {
        match channel.reserve(Claim::default()).await {
            Ok(ticket) => {
                channel.cancel(ticket);
                return Ok(());
            }
            Err(ChannelError::Unavailable) => {}
            Err(why) => return Err(Failure::settings(format!("our channel cannot be opened: {why}"))),
        }
    }
}

fn spot(at: Pointer, why: &Unread) -> Spot {
    let (path, why) = match why {
        Unread::Io(path, error) => (path, error.to_string()),
        Unread::Changed(path) => (
            path,
            "no event is here any more: who else works in the folders?".to_owned(),
        ),
        Unread::TooLarge(path, why) => (path, format!("an event that no channel takes here: {why}")),
    };
    Spot {
        path: path.clone(),
        offset: u64::from(at.offset()),
        bytes: 0,
        why,
    }
}
