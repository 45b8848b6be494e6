//! A file channel in this process, its users, and what they know: which events must be there, which may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use node::channel::file::{Config, FileChannel};
use node::component::channel::{Channel, ChannelError, Claim, Position, Want};
use node::component::keys::Keys;
use proto::event::Batch;
use tests::wait::LIVENESS;

/// An event: who put it, and its number there.
pub type Id = (u32, u64);

/// Opens a channel over these folders of `data` and waits for it.
///
/// # Errors
/// What the channel says, when it does not open.
pub async fn open(data: &Path, folders: usize) -> Result<FileChannel, String> {
    let channel = built(data, folders);
    channel.attach();
    opened(&channel).await.map(|()| channel)
}

/// A channel over these folders, that nobody has opened yet.
pub fn built(data: &Path, folders: usize) -> FileChannel {
    let dirs: Vec<String> = (0..folders)
        .map(|n| data.join(n.to_string()).display().to_string())
        .collect();
    let pairs = [
        ("dataDirs", dirs.join(",")),
        // The least that Flume allows.
        ("minimumRequiredSpace", "0".to_owned()),
        ("maxFileSize", "1048576".to_owned()),
        ("keep-alive", "0".to_owned()),
    ];
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let mut keys = Keys::of("channel c1 (file)", &pairs);
    let config = Config::read(&mut keys);
    assert!(!keys.has_errors(), "{:?}", keys.finish());
    config.build(&"c1".into()).expect("nothing is touched yet")
}

/// Waits until an attached channel serves.
///
/// # Errors
/// What it says, when it has failed.
pub async fn opened(channel: &FileChannel) -> Result<(), String> {
    let limit = tokio::time::Instant::now() + LIVENESS;
    loop {
        if tokio::time::timeout(Duration::from_millis(2), channel.serves())
            .await
            .is_ok()
        {
            return Ok(());
        }
        channel.check()?;
        assert!(tokio::time::Instant::now() < limit, "neither open nor failed");
    }
}

/// The body of an event: its name, and bytes that follow from it.
pub fn body((putter, number): Id, large: bool) -> Vec<u8> {
    let mut body = format!("{putter}:{number}:").into_bytes();
    let length = number.wrapping_mul(2_654_435_761) % if large { 60_000 } else { 600 };
    body.resize(body.len() + length as usize, b'a' + (number % 26) as u8);
    body
}

/// Whose body it is.
///
/// # Panics
/// When it is nobody's, or not whole.
pub fn id_of(body: &[u8], large: bool) -> Id {
    let text = String::from_utf8_lossy(body);
    let mut parts = text.split(':');
    let putter = parts.next().and_then(|p| p.parse().ok());
    let number = parts.next().and_then(|n| n.parse().ok());
    let id = putter
        .zip(number)
        .unwrap_or_else(|| panic!("nobody's event: {text:.60}"));
    assert!(body == self::body(id, large), "event {id:?} is not what it was");
    id
}

/// Puts events, with the number of the last one as the putter's position.
pub async fn put(channel: &FileChannel, events: &[Id], large: bool) -> Result<(), ChannelError> {
    let bodies: Vec<Vec<u8>> = events.iter().map(|id| body(*id, large)).collect();
    let batch: Batch = bodies.iter().map(Vec::as_slice).collect();
    let ticket = channel.reserve(Claim::of(&batch)).await?;
    let &(putter, last) = events.last().expect("nobody puts nothing");
    let position = Position {
        owner: format!("source/{putter}").into(),
        bytes: Bytes::copy_from_slice(last.to_string().as_bytes()),
    };
    channel.commit_put(ticket, batch, Some(position)).await
}

/// Where somebody stands.
pub fn position(channel: &FileChannel, owner: &str) -> Option<u64> {
    let bytes = channel.position(owner)?;
    let text = std::str::from_utf8(&bytes).expect("written as text");
    Some(text.parse().expect("written as a number"))
}

/// All events that are there, in their order; they stay there.
///
/// # Errors
/// What the channel says, when it fails meanwhile.
pub async fn look(channel: &FileChannel, large: bool) -> Result<Vec<Id>, String> {
    let (mut ids, mut tickets) = (Vec::new(), Vec::new());
    let held = channel.held();
    let limit = tokio::time::Instant::now() + LIVENESS;
    while ids.len() < held {
        let taken = channel.take(Want::events(500), Duration::from_millis(20)).await;
        match taken.map_err(|why| why.to_string())? {
            Some((ticket, batch)) => {
                ids.extend(batch.iter().map(|event| id_of(event.body(), large)));
                tickets.push(ticket);
            }
            None => assert!(
                tokio::time::Instant::now() < limit,
                "{} of {held} events can be taken",
                ids.len()
            ),
        }
    }
    for ticket in tickets.into_iter().rev() {
        channel.rollback(ticket);
    }
    Ok(ids)
}

/// What the users of a channel know.
#[derive(Debug, Default, Clone)]
pub struct Known {
    /// Put and acknowledged.
    pub acked: BTreeSet<Id>,
    /// Taken and acknowledged.
    pub gone: BTreeSet<Id>,
    /// Puts and takes of which nobody knows; each happened whole or not at all.
    pub puts: Vec<Vec<Id>>,
    /// As above: the sink, its position, what it took.
    pub takes: Vec<(u32, u64, Vec<Id>)>,
    /// Acknowledged with a put.
    pub sources: BTreeMap<u32, u64>,
    /// Acknowledged with a take.
    pub sinks: BTreeMap<u32, u64>,
    /// From now on nobody hears an acknowledgement.
    pub is_cut: bool,
}

impl Known {
    /// Takes what a channel has for what is known, of one putter and one sink: another process has known it.
    ///
    /// # Errors
    /// What the channel says, when it fails meanwhile.
    pub async fn adopt(&mut self, channel: &FileChannel, large: bool) -> Result<(), String> {
        self.acked = look(channel, large).await?.into_iter().collect();
        self.sources = position(channel, "source/1")
            .map(|at| (1, at))
            .into_iter()
            .collect();
        self.sinks = position(channel, "sink/1")
            .map(|at| (1, at))
            .into_iter()
            .collect();
        Ok(())
    }

    /// A put is begun.
    pub fn putting(&mut self, events: &[Id]) {
        self.puts.push(events.to_vec());
    }

    /// It is acknowledged.
    pub fn put(&mut self, events: &[Id]) {
        self.puts.retain(|open| open != events);
        self.acked.extend(events);
        if let Some((putter, last)) = events.last() {
            self.sources.insert(*putter, *last);
        }
    }

    /// A take is begun.
    pub fn taking(&mut self, sink: u32, position: u64, events: &[Id]) {
        self.takes.push((sink, position, events.to_vec()));
    }

    /// It is acknowledged.
    pub fn took(&mut self, sink: u32, position: u64, events: &[Id]) {
        self.takes.retain(|(who, _, _)| *who != sink);
        self.gone.extend(events);
        self.sinks.insert(sink, position);
    }

    /// Holds what a channel has against what is known; from then on what it has is what is known.
    ///
    /// # Errors
    /// What the channel says, when it fails meanwhile.
    ///
    /// # Panics
    /// When something acknowledged is not there, or something else is, or not in order, or not once.
    pub async fn check(&mut self, channel: &FileChannel, folders: usize, large: bool) -> Result<(), String> {
        let there = look(channel, large).await?;
        let stands = self.positions(channel);
        // A channel that has failed meanwhile has forgotten all of it.
        channel.check()?;
        let set: BTreeSet<Id> = there.iter().copied().collect();
        assert_eq!(set.len(), there.len(), "doubled: {there:?}");
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        for (putter, number) in &there {
            let before = last.insert(*putter, *number);
            assert!(
                before < Some(*number),
                "out of order: {before:?} before {number} of {putter}"
            );
        }
        let doubted: BTreeSet<Id> = self.takes.iter().flat_map(|(_, _, ids)| ids.clone()).collect();
        let lost: Vec<_> = self
            .acked
            .iter()
            .filter(|id| !self.gone.contains(id) && !doubted.contains(id) && !set.contains(id))
            .collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let may: BTreeSet<Id> = self.puts.iter().flatten().chain(&self.acked).copied().collect();
        let more: Vec<_> = set
            .iter()
            .filter(|id| self.gone.contains(id) || !may.contains(id))
            .collect();
        assert!(more.is_empty(), "came back, or never was: {more:?}");
        self.check_takes(&stands, &set, folders);
        self.check_puts(&stands, &set, &doubted);
        for (putter, last) in &self.sources {
            let at = stands.get(&format!("source/{putter}"));
            assert_eq!(at, Some(last), "position of source {putter}");
        }
        self.acked = set;
        self.gone.clear();
        self.puts.clear();
        self.takes.clear();
        self.is_cut = false;
        Ok(())
    }

    /// Where everybody stands who may stand somewhere.
    fn positions(&self, channel: &FileChannel) -> BTreeMap<String, u64> {
        let sources = self
            .sources
            .keys()
            .chain(self.puts.iter().flatten().map(|(putter, _)| putter));
        let sinks = self
            .sinks
            .keys()
            .chain(self.takes.iter().map(|(sink, _, _)| sink));
        let owners = sources
            .map(|putter| format!("source/{putter}"))
            .chain(sinks.map(|sink| format!("sink/{sink}")));
        owners
            .filter_map(|owner| position(channel, &owner).map(|at| (owner, at)))
            .collect()
    }

    /// Whole or not at all, and the position with it.
    fn check_puts(&mut self, stands: &BTreeMap<String, u64>, there: &BTreeSet<Id>, doubted: &BTreeSet<Id>) {
        for events in &self.puts {
            let is_known = |id: &Id| there.contains(id) || self.gone.contains(id);
            let happened = events.iter().any(is_known);
            let whole = events.iter().all(|id| is_known(id) || doubted.contains(id));
            assert!(!happened || whole, "half a put: {events:?}");
            let &(putter, last) = events.last().expect("nobody puts nothing");
            // All of it may have been taken at once, which is in doubt as well.
            let stands_there = stands.get(&format!("source/{putter}")) == Some(&last);
            if happened || (whole && stands_there) {
                self.sources.insert(putter, last);
            }
        }
    }

    fn check_takes(&mut self, stands: &BTreeMap<String, u64>, there: &BTreeSet<Id>, folders: usize) {
        for (sink, at, events) in &self.takes {
            let left = events.iter().filter(|id| there.contains(id)).count();
            let found = stands.get(&format!("sink/{sink}")).copied();
            let before = self.sinks.get(sink).copied();
            let put_in_doubt = |id: &Id| !self.acked.contains(id) && !self.gone.contains(id);
            let of_doubt = events.iter().any(put_in_doubt);
            if folders == 1 && !of_doubt {
                assert!(left == 0 || left == events.len(), "half a take: {events:?}");
                let expected = if left == 0 { Some(*at) } else { before };
                assert_eq!(found, expected, "position of sink {sink}");
            } else {
                // One record each folder: any of them may be there, each with the position. And where the put is in doubt
                // neither it nor the take may have happened.
                assert!(
                    found == Some(*at) || (found == before && (left > 0 || of_doubt)),
                    "position of sink {sink}"
                );
            }
            self.sinks.extend(found.map(|at| (*sink, at)));
        }
        for (sink, at) in &self.sinks {
            let found = stands.get(&format!("sink/{sink}"));
            assert_eq!(found, Some(at), "position of sink {sink}");
        }
    }
}
