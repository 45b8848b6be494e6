//! A file's turn: its lines as far as it went when the turn began, batch after batch, each put until it is in.

use super::file::Sight;
use super::identity::Inode;
use super::reader::{Chunk, Found, Place};
use super::tail::Tail;
use crate::component::channel::ChannelError;
use crate::component::error::RunError;
use crate::component::source::SourceContext;
use bytes::Bytes;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

/// How long a put that is under way may take after the source was asked to stop.
const LAST_PUT: Duration = Duration::from_secs(2);

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// All that was there is in the channels.
    Done,
    /// There is more.
    More,
    /// The source is to stop.
    Stop,
}

/// What became of a batch.
#[derive(Debug)]
enum Answer {
    In,
    /// There was no time any more.
    Stop,
    /// Never in one piece.
    TooMuch(ChannelError),
    Refused(ChannelError),
}

impl Tail<'_> {
    pub(super) async fn turn(&mut self, inode: Inode) -> Result<Turn, RunError> {
        match self.prepare(inode) {
            Ok(true) => {}
            Ok(false) => return Ok(Turn::Done),
            Err(error) => {
                self.trouble(inode, &error);
                return Ok(Turn::Done);
            }
        }
        let mut batches = 0;
        loop {
            let chunk = match self.read(inode) {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    self.trouble(inode, &error);
                    break;
                }
            };
            let (lines, cut) = (chunk.batch.len(), chunk.cut);
            match self.deliver(inode, chunk).await? {
                Answer::In => {}
                Answer::Stop | Answer::Refused(_) => return Ok(Turn::Stop),
                Answer::TooMuch(_) => continue,
            }
            if cut > 0 {
                self.ctx.counters.refused_inputs.add(cut as u64);
                warn!(lines = cut, "lines over maxLineBytes were cut");
            }
            batches += u64::from(lines > 0);
            // A channel that always has room would never let the others on this thread have their turn.
            tokio::task::coop::consume_budget().await;
            if self.ctx.shutdown.is_requested() {
                return Ok(Turn::Stop);
            }
            if batches >= self.config.batches_max {
                let file = self.files.get(&inode);
                let more = file.is_some_and(|f| f.place.looked < f.size);
                return Ok(if more { Turn::More } else { Turn::Done });
            }
            self.keep_positions().await?;
        }
        if let Some(file) = self.files.get_mut(&inode) {
            file.line_bytes = self.reader.line_bytes();
        }
        Ok(Turn::Done)
    }

    /// Opens a file, sees whether it was cut, and turns the reader to it. False if there is nothing to read.
    fn prepare(&mut self, inode: Inode) -> io::Result<bool> {
        if self.files.get(&inode).is_some_and(|f| f.handle.is_none()) {
            self.make_room();
        }
        let Some(file) = self.files.get_mut(&inode) else {
            return Ok(false);
        };
        file.retry_at = None;
        if !file.open()? {
            self.list_again = true;
            if file.gone {
                self.missing(inode);
            }
            return Ok(false);
        }
        self.open.remove(&file.used);
        self.uses += 1;
        file.used = self.uses;
        self.open.insert(self.uses, inode);
        if let Ok(Sight::There { size, .. }) = file.look() {
            file.size = size;
        }
        if file.was_cut()? {
            info!(
                file = file.name,
                pos = file.place.offset,
                size = file.size,
                "file was truncated, read from 0"
            );
            file.place = Place::at(0);
            file.active = Instant::now();
            let mut kept = std::mem::take(&mut file.kept);
            self.positions.note(&mut kept, &file.mark());
            file.kept = kept;
        }
        let group = self.config.groups.get(file.group);
        let headers = group.into_iter().flat_map(|g| g.headers.iter());
        let headers = headers.map(|(key, value)| (key.as_str(), value.as_str()));
        let name = self
            .config
            .file_header
            .as_deref()
            .map(|key| (key, file.name.as_str()));
        self.reader.turn_to(headers.chain(name), file.line_bytes);
        Ok(true)
    }

    /// The next lines of a file, or what is left of it if that is wanted.
    fn read(&mut self, inode: Inode) -> io::Result<Option<Chunk>> {
        let Some(file) = self.files.get_mut(&inode) else {
            return Ok(None);
        };
        let Some(handle) = &file.handle else {
            return Ok(None);
        };
        if file.place.looked < file.size {
            let now = Instant::now();
            file.active = now;
            self.pace.lines_came(now - self.start);
            match self.reader.next(handle, file.place, file.size, self.lines_max)? {
                Found::Lines(chunk) => {
                    file.wants_rest = false;
                    return Ok(Some(chunk));
                }
                Found::Nothing(looked) => {
                    file.wants_rest &= looked <= file.place.looked;
                    file.place.looked = looked;
                }
            }
        }
        if !std::mem::take(&mut file.wants_rest) {
            return Ok(None);
        }
        self.reader.rest(handle, file.place, file.size)
    }

    /// Puts a batch until it is in. `TooMuch`: it is to be read again, in smaller pieces.
    async fn deliver(&mut self, inode: Inode, chunk: Chunk) -> Result<Answer, RunError> {
        let events = chunk.batch.len();
        let known_as = self.files.get(&inode).map(|f| f.known_as);
        loop {
            // None if it was forgotten while the put was refused: its lines are as good as before.
            let file = self
                .files
                .get_mut(&inode)
                .filter(|f| Some(f.known_as) == known_as);
            let position = file.map(|file| {
                let mut kept = std::mem::take(&mut file.kept);
                let position = self.positions.with(&mut kept, &file.mark(), chunk.then.offset);
                file.kept = kept;
                position
            });
            let counters = &self.ctx.counters;
            counters.received.add(events as u64);
            counters.batches_received.add(1);
            match put(self.ctx, &chunk, position).await? {
                Answer::In => {
                    counters.accepted.add(events as u64);
                    counters.batches_accepted.add(1);
                    self.lines_max = self.config.batch_size_events;
                    self.backoff.reset();
                    self.advance(inode, known_as, chunk.then);
                    return Ok(Answer::In);
                }
                Answer::Stop => return Ok(Answer::Stop),
                Answer::TooMuch(why) if events > 1 => {
                    counters.channel_write_failures.add(1);
                    self.lines_max = events / 2;
                    return Ok(Answer::TooMuch(why));
                }
                Answer::TooMuch(why) => {
                    counters.channel_write_failures.add(1);
                    counters.refused_inputs.add(1);
                    let bytes = chunk.batch.body_bytes();
                    error!(error = %why, bytes, "line dropped: no put can ever hold it");
                    self.advance(inode, known_as, chunk.then);
                    return Ok(Answer::In);
                }
                Answer::Refused(why) => {
                    counters.channel_write_failures.add(1);
                    let wait = self.backoff.fail();
                    let attempt = self.backoff.failures();
                    warn!(error = %why, attempt, "put refused; the same lines are tried again");
                    if self.ctx.shutdown.sleep(wait).await {
                        return Ok(Answer::Stop);
                    }
                    // Rotation goes on meanwhile.
                    if self.folders.may_have_changed() && self.pace.may_list(self.start.elapsed()) {
                        self.list();
                        self.hear();
                    }
                    self.keep_positions().await?;
                }
            }
        }
    }

    /// All before `then` is in the channels.
    fn advance(&mut self, inode: Inode, known_as: Option<u64>, then: Place) {
        let file = self
            .files
            .get_mut(&inode)
            .filter(|f| Some(f.known_as) == known_as);
        if let Some(file) = file {
            file.place = then;
            let mut kept = std::mem::take(&mut file.kept);
            self.positions.note(&mut kept, &file.mark());
            file.kept = kept;
        }
    }
}

async fn put(ctx: &SourceContext, chunk: &Chunk, position: Option<Bytes>) -> Result<Answer, RunError> {
    let put = async {
        match position {
            Some(position) => ctx.put_at(chunk.batch.clone(), position).await,
            None => ctx.put(chunk.batch.clone()).await,
        }
    };
    let put = tokio::select! {
        biased;
        put = put => put,
        // Nobody waits for an answer, so a put that takes too long may be dropped.
        () = last_call(ctx) => return Ok(Answer::Stop),
    };
    match put {
        Ok(()) => Ok(Answer::In),
        Err(why @ (ChannelError::TooLarge { .. } | ChannelError::NeverFits { .. })) => {
            Ok(Answer::TooMuch(why))
        }
        Err(why @ ChannelError::Bug(_)) => Err(why.into()),
        Err(why) => Ok(Answer::Refused(why)),
    }
}

async fn last_call(ctx: &SourceContext) {
    ctx.shutdown.requested().await;
    sleep(LAST_PUT).await;
}
