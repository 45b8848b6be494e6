//! What a request is in a log, and what comes of it: commits of all shards side by side, and their books.

use super::core::{Answer, Inner};
use super::store::{Request, Shard};
use crate::component::channel::{ChannelError, Position};
use crate::component::queue::Origin;
use cluster::journal::{CommitError, Committed, Put, Transaction};
use proto::journal::Record;
use std::collections::VecDeque;

/// A request and what has come of it.
pub(super) type Outcome = (Request, Result<Committed, CommitError>);

impl Shard {
    fn commit(&mut self, requests: VecDeque<Request>) -> Vec<Outcome> {
        let mut requests: Vec<Request> = requests.into();
        let keeps = self.keeps_positions;
        let transactions: Vec<Transaction<'_>> = requests.iter_mut().map(|r| transaction(r, keeps)).collect();
        let results = self.log.commit(&transactions);
        drop(transactions);
        self.ticked = false;
        requests.into_iter().zip(results).collect()
    }
}

/// Commits what there is of each shard. Folders are mostly on disks of their own: they sync side by side, the first of
/// them in this thread.
pub(super) fn side_by_side(
    shards: &mut [Shard],
    requests: Vec<VecDeque<Request>>,
) -> Result<Vec<(usize, Vec<Outcome>)>, String> {
    let all = shards.iter_mut().zip(requests).enumerate();
    let mut busy = all.filter(|(_, (_, requests))| !requests.is_empty());
    let Some((n, (shard, requests))) = busy.next() else {
        return Ok(Vec::new());
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = busy
            .map(|(n, (shard, requests))| (n, scope.spawn(move || shard.commit(requests))))
            .collect();
        let mut results = vec![(n, shard.commit(requests))];
        for (n, thread) in others {
            let panicked = |_| "a thread that commits panicked".to_owned();
            results.push((n, thread.join().map_err(panicked)?));
        }
        Ok(results)
    })
}

/// Books what a request has come to.
pub(super) fn settle(
    shards: &mut [Shard],
    inner: &mut Inner,
    n: usize,
    request: Request,
    result: Result<Committed, CommitError>,
) -> Answer {
    let refused = |why: CommitError| match why {
        CommitError::Full => ChannelError::Full,
        CommitError::TooLarge { found, allowed } => ChannelError::NeverFits {
            bytes: found,
            allowed,
        },
        CommitError::Poisoned(why) => ChannelError::Storage(why.to_string()),
    };
    match (request, result) {
        (Request::Put(put), Ok(committed)) => {
            let events = put.claim.events as u64;
            let behind = shards.iter().any(|s| s.behind);
            let shard = &mut shards[n];
            let stays = !behind && inner.has_window();
            if stays {
                shard.loaded = committed.first_event + events;
            } else if events > 0 && !shard.behind {
                shard.behind = true;
                shard.loaded = committed.first_event;
                if let Some(reader) = &mut shard.reader {
                    reader.skip(committed.at.0, committed.at.1);
                }
            }
            let origin = Origin {
                shard: n as u32,
                number: committed.first_event,
            };
            inner.put_done(put, origin, stays)
        }
        (Request::Put(put), Err(why)) => inner.put_failed(put, refused(why)),
        (Request::Take(take), Ok(_)) => inner.take_done(take, Ok(())),
        (Request::Take(take), Err(why)) => inner.take_done(take, Err(refused(why))),
    }
}

fn transaction(request: &mut Request, keeps_positions: bool) -> Transaction<'_> {
    let (put, records, position, is_source) = match request {
        Request::Put(put) => {
            let blocks = std::mem::take(&mut put.blocks);
            let events = (put.claim.events > 0).then_some(Put {
                count: put.claim.events as u32,
                events: blocks,
                order: put.order,
                prepared: None,
            });
            (events, Vec::new(), put.position.as_ref(), true)
        }
        Request::Take(take) => {
            let events = take.events.clone();
            let records = if events.is_empty() {
                Vec::new()
            } else {
                vec![Record::Take { events }]
            };
            (None, records, take.position.as_ref(), false)
        }
    };
    let mut records = records;
    if let Some((stamp, Position { owner, bytes })) = position.filter(|_| keeps_positions) {
        let (owner, stamp) = (&**owner, *stamp);
        records.push(if is_source {
            Record::SourcePosition { owner, stamp, bytes }
        } else {
            Record::SinkPosition { owner, stamp, bytes }
        });
    }
    if put.is_none() && records.is_empty() {
        records.push(Record::Tick);
    }
    Transaction { put, records }
}
