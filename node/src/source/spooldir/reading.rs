//! One file from where it was left to its end: batches in, positions noted, and what becomes of it then.

use super::position::{Identity, Position, Resume};
use super::retire::{self, Refusal};
use super::{BACKOFF_FIRST, Flow, Policy, Spooldir, fatal, last_call};
use crate::component::channel::{ChannelError, Want};
use crate::component::deserializer::{EventReader, InputFile, Place, ReadError};
use crate::component::error::RunError;
use crate::component::source::SourceContext;
use proto::event::Batch;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;
use tracing::{info, warn};

/// What a put came to.
enum Put {
    Committed,
    /// No channel can ever hold so much at once.
    TooLarge(ChannelError),
    Stopped,
}

/// A file while it is read.
struct Reading {
    reader: Box<dyn EventReader>,
    position: Position,
    absolute: String,
    basename: String,
}

impl Spooldir {
    /// Reads a file from there on, and retires it at its end.
    pub(super) async fn read_file(
        &mut self,
        ctx: &SourceContext,
        path: &Path,
        from: &Resume,
    ) -> Result<Flow, RunError> {
        let Some(mut reading) = self.open(ctx, path, from)? else {
            return Ok(Flow::Done);
        };
        let mut want = self.want;
        loop {
            if ctx.shutdown.is_requested() {
                return self.leave(&reading);
            }
            let Some(batch) = self.next(ctx, &mut reading, want)? else {
                break;
            };
            let mut position = reading.position.clone();
            position.place = reading.reader.place();
            let events = batch.len();
            match self.put(ctx, batch, &position).await? {
                Put::Committed => {
                    reading.position = position;
                    self.tracker.store(&reading.position).map_err(not_tracked)?;
                    want = self.want;
                }
                Put::TooLarge(why) if events == 1 => {
                    let at = reading.position.place.offset;
                    let why = format!(
                        "{}: byte {at}: no channel can ever hold this event: {why}",
                        path.display()
                    );
                    ctx.counters.processing_failures.add(1);
                    return Err(fatal(ctx, &self.config, why));
                }
                Put::TooLarge(_) => {
                    // The same events again, fewer at once.
                    want = Want {
                        events: events / 2,
                        ..want
                    };
                    let file = File::open(path).map_err(|why| self.not_read(ctx, path, why.into()))?;
                    reading.reader = self.reader(ctx, path, file, reading.position.place)?;
                }
                Put::Stopped => return self.leave(&reading),
            }
            // A channel that always has room would never let the others on this thread have their turn.
            tokio::task::coop::consume_budget().await;
        }
        drop(reading.reader);
        self.finish(ctx, &reading.position)?;
        Ok(Flow::Done)
    }

    /// Leaves a file in the middle.
    fn leave(&mut self, reading: &Reading) -> Result<Flow, RunError> {
        self.tracker.seal(&reading.position).map_err(not_tracked)?;
        Ok(Flow::Stopped)
    }

    fn open(&self, ctx: &SourceContext, path: &Path, from: &Resume) -> Result<Option<Reading>, RunError> {
        let opened = File::open(path).and_then(|file| Ok((Identity::of(&file.metadata()?), file)));
        let (identity, file) = match opened {
            Ok(opened) => opened,
            Err(why) => {
                warn!(path = %path.display(), error = %why, "Could not find file, or it cannot be opened: it is passed over");
                return Ok(None);
            }
        };
        if from.place != Place::default() {
            info!(path = %path.display(), offset = from.place.offset, "reading of the file goes on");
        }
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Some(Reading {
            reader: self.reader(ctx, path, file, from.place)?,
            position: Position {
                path: path.to_owned(),
                identity,
                place: from.place,
                done: from.done,
            },
            absolute: absolute.to_string_lossy().into_owned(),
            basename: path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        }))
    }

    fn reader(
        &self,
        ctx: &SourceContext,
        path: &Path,
        file: File,
        place: Place,
    ) -> Result<Box<dyn EventReader>, RunError> {
        let file = InputFile {
            input: Box::new(file),
            charset: self.config.charset,
            malformed: self.config.malformed,
        };
        let opened = self.deserializer.open(file, place);
        opened.map_err(|why| self.not_read(ctx, path, why))
    }

    /// The next batch; none at the end. An empty file has one event with an empty body, as in Flume.
    fn next(
        &self,
        ctx: &SourceContext,
        reading: &mut Reading,
        want: Want,
    ) -> Result<Option<Batch>, RunError> {
        let headers = self.config.headers(&reading.absolute, &reading.basename);
        let batch = reading.reader.read(want, &headers);
        let batch = batch.map_err(|why| self.not_read(ctx, &reading.position.path, why))?;
        if !batch.is_empty() {
            return Ok(Some(batch));
        }
        let position = &mut reading.position;
        if position.identity.size > 0 || position.done || position.place != Place::default() {
            return Ok(None);
        }
        position.done = true;
        let mut empty: Batch = [&b""[..]].into_iter().collect();
        if !headers.is_empty() {
            let mut edit = empty.edit();
            for (key, value) in headers {
                edit.set_all(key, value);
            }
            empty = edit.finish();
        }
        Ok(Some(empty))
    }

    fn not_read(&self, ctx: &SourceContext, path: &Path, why: ReadError) -> RunError {
        ctx.counters.read_failures.add(1);
        match why {
            ReadError::Io(why) => {
                RunError::retry(format!("failed to read {}", path.display())).caused_by(why)
            }
            ReadError::Format(why) => fatal(ctx, &self.config, format!("{}: {why}", path.display())),
        }
    }

    /// Puts a batch, again and again until the channels take it.
    async fn put(&self, ctx: &SourceContext, batch: Batch, position: &Position) -> Result<Put, RunError> {
        let (events, bytes) = (batch.len() as u64, position.encode());
        let mut backoff = BACKOFF_FIRST.min(self.config.backoff_max);
        loop {
            ctx.counters.received.add(events);
            ctx.counters.batches_received.add(1);
            let put = tokio::select! {
                biased;
                put = ctx.put_at(batch.clone(), bytes.clone()) => put,
                () = last_call(&ctx.shutdown) => return Ok(Put::Stopped),
            };
            match put {
                Ok(()) => {
                    ctx.counters.accepted.add(events);
                    ctx.counters.batches_accepted.add(1);
                    return Ok(Put::Committed);
                }
                Err(why @ (ChannelError::TooLarge { .. } | ChannelError::NeverFits { .. })) => {
                    ctx.counters.channel_write_failures.add(1);
                    return Ok(Put::TooLarge(why));
                }
                Err(why @ ChannelError::Bug(_)) => {
                    ctx.counters.processing_failures.add(1);
                    return Err(why.into());
                }
                Err(why) => {
                    ctx.counters.channel_write_failures.add(1);
                    let wait_ms = backoff.as_millis();
                    warn!(error = %why, "The channel is full or unexpected failure. The source will try again after {wait_ms} ms");
                    if ctx.shutdown.sleep(backoff).await {
                        return Ok(Put::Stopped);
                    }
                    backoff = (backoff * 2).min(self.config.backoff_max);
                }
            }
        }
    }

    /// All of the file is committed.
    fn finish(&mut self, ctx: &SourceContext, position: &Position) -> Result<(), RunError> {
        let path = &position.path;
        match fs::metadata(path) {
            Ok(file) => {
                let now = Identity::of(&file);
                let opened = &position.identity;
                let broken = if now.modified_ms != opened.modified_ms {
                    Some("File has been modified since being read")
                } else if now.size != opened.size {
                    Some("File has changed size since being read")
                } else {
                    None
                };
                if let Some(rule) = broken {
                    return Err(self.broken_rule(ctx, format!("{rule}: {}", path.display())));
                }
            }
            Err(why) if why.kind() == ErrorKind::NotFound && self.config.policy == Policy::Delete => {}
            Err(why) if why.kind() == ErrorKind::NotFound => {
                let rule = format!("File has vanished since being read: {}", path.display());
                return Err(self.broken_rule(ctx, rule));
            }
            Err(why) => {
                return Err(RunError::retry(format!("failed to look at {}", path.display())).caused_by(why));
            }
        }
        let folder = match retire::retire(&self.config, path) {
            Ok(folder) => folder,
            Err(Refusal::Rule(rule)) => return Err(self.broken_rule(ctx, rule)),
            Err(Refusal::Io(why)) => return Err(why),
        };
        if ctx.durable() {
            retire::sync_directory(&folder)?;
        }
        if self.config.policy != Policy::Marker {
            self.tracker.delete().map_err(not_tracked)?;
        }
        Ok(())
    }

    fn broken_rule(&self, ctx: &SourceContext, rule: String) -> RunError {
        ctx.counters.processing_failures.add(1);
        fatal(ctx, &self.config, rule)
    }
}

fn not_tracked(why: std::io::Error) -> RunError {
    RunError::retry("tracker file cannot be written").caused_by(why)
}
