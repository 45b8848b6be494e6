//! What is left in a file channel of Flume's: its transactions, replayed from the data files alone.
//!
//! [`Replay`] is told every record in the order of the channel's writes and remembers pointers, never bodies: those that
//! are queued, and those of transactions that have not ended. Puts count from their commit, takes as well; what was rolled
//! back or never ended does not count, so its puts never were and its takes are queued in their old place.
//!
//! The order of the queue is that of the commits. Files that Flume has deleted may have held puts, whose takes are met
//! alone and mean nothing. A take may also be met before its put, because records of several folders, or of several
//! threads, are written a little out of order: it is remembered until then.
//!
//! With several folders Flume may have deleted the file with the *takes* of events whose puts are still there, even when
//! the commit of those takes is in a later file that is there too. The data files alone would bring those events back. So
//! a [`Checkpoint`], if there is one that belongs to these files, is asked too: which of the events that were committed
//! before it were still there, and what its open transactions had taken. It never adds an event.
//! One that cannot be shown to belong is ignored, since repeating is better than losing.
//!
//! Memory: about 40 bytes for each event that is queued at the same time; the channel's capacity bounds it.
//! Source: `flume/channels-and-sinks.md` 3.2.8 and the deletion of files in 3.2.4.

use proto::flume_log::{Entry, Kind, Pointer, What};
use std::collections::{HashMap, HashSet, VecDeque};

/// A slot of the queue whose event is gone: no file has this number.
const GONE: u64 = u64::MAX;

/// What was there at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Commits of this order and before are part of it.
    pub order: i64,
    /// Events that were queued or taken in an open transaction.
    pub there: HashSet<Pointer>,
    /// What open transactions had taken, by the transaction.
    pub taken: HashMap<i64, Vec<Pointer>>,
    /// Metadata of one of the files names this very checkpoint.
    pub is_named: bool,
}

/// What was met on the way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Events whose put was committed.
    pub put: u64,
    /// Events whose take was committed.
    pub taken: u64,
    /// Transactions that were rolled back.
    pub rolled_back: u64,
    /// Transactions that never ended.
    pub unfinished: u64,
    /// Events that those had put: they are not delivered.
    pub unfinished_puts: u64,
    /// Events that those had taken: they are delivered again.
    pub unfinished_takes: u64,
}

/// What the checkpoint was good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Evidence {
    /// There was none.
    #[default]
    None,
    /// It belongs to the files, and shows that so many events were delivered whose takes are deleted.
    Delivered(u64),
    /// It does not belong to the files; so many events would have been left out.
    Strange(u64),
}

/// What is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// The events in the order of the queue.
    pub events: Vec<Pointer>,
    /// Those among them whose body is not the one that was put, in order.
    pub damaged: Vec<Pointer>,
    /// What was met on the way.
    pub counts: Counts,
    /// What the checkpoint was good for.
    pub evidence: Evidence,
}

/// A transaction that has not ended yet.
#[derive(Debug, Default)]
struct Open {
    puts: Vec<Pointer>,
    takes: Vec<Pointer>,
}

/// Told the records of all files, says what is left.
#[derive(Debug, Default)]
pub struct Replay {
    files: HashSet<u32>,
    open: HashMap<i64, Open>,
    queue: Queue,
    /// Takes that were committed before their put was met.
    early: HashSet<Pointer>,
    damaged: HashSet<Pointer>,
    checkpoint: Option<Checkpoint>,
    /// Events of the checkpoint whose commit was met.
    confirmed: usize,
    /// Queued, and gone if the checkpoint is right.
    doubtful: HashSet<Pointer>,
    counts: Counts,
}

impl Replay {
    /// Before the first record. `files` are the numbers of all files that there are.
    pub fn new(files: impl IntoIterator<Item = u32>, checkpoint: Option<Checkpoint>) -> Self {
        Self {
            files: files.into_iter().collect(),
            checkpoint,
            ..Self::default()
        }
    }

    /// The next record, which stands at `at`. Records of one file must come in the order of the file, those of several
    /// by [`Entry::key`].
    pub fn apply(&mut self, at: Pointer, entry: &Entry) {
        self.counts.records += 1;
        match entry.what {
            What::Put { is_intact } => {
                self.open.entry(entry.transaction).or_default().puts.push(at);
                if !is_intact {
                    self.damaged.insert(at);
                }
            }
            What::Take(put) => self.open.entry(entry.transaction).or_default().takes.push(put),
            What::Rollback => {
                self.counts.rolled_back += 1;
                self.forget(entry.transaction);
            }
            What::Commit(Kind::Put) => {
                let puts = self.open.remove(&entry.transaction).unwrap_or_default().puts;
                puts.into_iter().for_each(|put| self.put(put, entry.order));
            }
            What::Commit(Kind::Take) => {
                let takes = self.open.remove(&entry.transaction).unwrap_or_default().takes;
                takes.into_iter().for_each(|put| self.take(put));
                self.take_of_checkpoint(entry);
            }
        }
    }

    /// Events that are queued so far.
    pub fn queued(&self) -> usize {
        self.queue.places.len()
    }

    fn forget(&mut self, transaction: i64) {
        for put in self.open.remove(&transaction).unwrap_or_default().puts {
            self.damaged.remove(&put);
        }
    }

    fn put(&mut self, put: Pointer, order: i64) {
        self.counts.put += 1;
        if self.early.remove(&put) {
            self.counts.taken += 1;
            self.damaged.remove(&put);
            return;
        }
        if let Some(checkpoint) = self.checkpoint.as_ref().filter(|c| order <= c.order) {
            if checkpoint.there.contains(&put) {
                self.confirmed += 1;
            } else {
                self.doubtful.insert(put);
            }
        }
        self.queue.push(put);
    }

    fn take(&mut self, put: Pointer) {
        if self.queue.remove(put) {
            self.counts.taken += 1;
            self.damaged.remove(&put);
            self.doubtful.remove(&put);
        } else if self.files.contains(&put.file()) {
            self.early.insert(put);
        }
    }

    /// The takes of a transaction that was open in the checkpoint may stand in a file that is deleted.
    fn take_of_checkpoint(&mut self, commit: &Entry) {
        let Some(checkpoint) = self.checkpoint.as_ref().filter(|c| commit.order > c.order) else {
            return;
        };
        let taken = checkpoint.taken.get(&commit.transaction).into_iter().flatten();
        self.doubtful.extend(taken.filter(|put| self.queue.has(**put)));
    }

    /// What is left when all records were told.
    pub fn finish(mut self) -> Undelivered {
        for (_, open) in self.open.drain() {
            self.counts.unfinished += 1;
            self.counts.unfinished_puts += open.puts.len() as u64;
            self.counts.unfinished_takes += open.takes.iter().filter(|t| self.queue.has(**t)).count() as u64;
            for put in open.puts {
                self.damaged.remove(&put);
            }
        }
        let doubtful = self.doubtful.len() as u64;
        let evidence = match &self.checkpoint {
            None => Evidence::None,
            Some(c) if c.is_named || (!c.there.is_empty() && self.confirmed == c.there.len()) => {
                Evidence::Delivered(doubtful)
            }
            Some(_) => Evidence::Strange(doubtful),
        };
        if let Evidence::Delivered(_) = evidence {
            for put in std::mem::take(&mut self.doubtful) {
                self.queue.remove(put);
                self.damaged.remove(&put);
            }
        }
        let events = self.queue.into_order();
        let mut damaged = Vec::new();
        if !self.damaged.is_empty() {
            damaged.extend(
                events
                    .iter()
                    .copied()
                    .filter(|event| self.damaged.contains(event)),
            );
        }
        Undelivered {
            events,
            damaged,
            counts: self.counts,
            evidence,
        }
    }
}

/// Pointers in order, of which any can go.
#[derive(Debug, Default)]
struct Queue {
    slots: VecDeque<u64>,
    /// Of the first slot.
    first: u64,
    /// The number of the slot of each that is there.
    places: HashMap<Pointer, u64>,
}

impl Queue {
    fn has(&self, pointer: Pointer) -> bool {
        self.places.contains_key(&pointer)
    }

    fn push(&mut self, pointer: Pointer) {
        let place = self.first + self.slots.len() as u64;
        if self.places.insert(pointer, place).is_none() {
            self.slots.push_back(pointer.to_u64());
        }
    }

    fn remove(&mut self, pointer: Pointer) -> bool {
        let Some(place) = self.places.remove(&pointer) else {
            return false;
        };
        let slot = (place - self.first) as usize;
        self.slots[slot] = GONE;
        while self.slots.front() == Some(&GONE) {
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.len() > 2 * self.places.len() + 1_000 {
            self.compact();
        }
        true
    }

    /// Closes the gaps.
    fn compact(&mut self) {
        self.slots.retain(|slot| *slot != GONE);
        for (place, slot) in (self.first..).zip(&self.slots) {
            self.places.insert(Pointer::from_u64(*slot), place);
        }
    }

    fn into_order(self) -> Vec<Pointer> {
        drop(self.places);
        let there = self.slots.into_iter().filter(|slot| *slot != GONE);
        there.map(Pointer::from_u64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(offset: u32) -> Pointer {
        Pointer::new(1, offset)
    }

    /// Transactions told in short: `p7@1` puts 7 in transaction 1, `t7@2` takes it, `cp1`, `ct2` commit, `r1` rolls back.
    fn replayed(told: &str, checkpoint: Option<Checkpoint>) -> Undelivered {
        let mut replay = Replay::new([1], checkpoint);
        for (order, word) in (1..).zip(told.split_whitespace()) {
            let numbers: Vec<u32> = word
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|n| n.parse().ok())
                .collect();
            let transaction = i64::from(numbers[numbers.len() - 1]);
            let (place, what) = match &word[..2] {
                "cp" => (at(0), What::Commit(Kind::Put)),
                "ct" => (at(0), What::Commit(Kind::Take)),
                word if word.starts_with('r') => (at(0), What::Rollback),
                word if word.starts_with('t') => (at(0), What::Take(at(numbers[0]))),
                word => (
                    at(numbers[0]),
                    What::Put {
                        is_intact: !word.starts_with('d'),
                    },
                ),
            };
            let entry = Entry {
                transaction,
                order,
                what,
            };
            replay.apply(place, &entry);
        }
        replay.finish()
    }

    fn left(told: &str) -> Vec<u32> {
        replayed(told, None).events.iter().map(|p| p.offset()).collect()
    }

    #[test]
    fn what_was_put_and_not_taken_is_left_in_the_order_of_the_commits() {
        assert_eq!(left("p1@1 p2@2 p3@1 cp2 cp1"), [2, 1, 3]);
        assert_eq!(left("p1@1 p2@1 p3@1 cp1 t1@2 t2@2 ct2"), [3]);
    }

    #[test]
    fn what_was_rolled_back_or_never_ended_did_not_happen() {
        assert_eq!(left("p1@1 r1 p2@2 cp2 p3@3"), [2]);
        assert_eq!(left("p1@1 p2@1 cp1 t1@2 r2 t1@3 t2@3"), [1, 2]);
        let counts = replayed("p1@1 p2@1 cp1 t1@2 r2 t1@3 t2@3 p9@4", None).counts;
        assert_eq!((counts.rolled_back, counts.unfinished), (1, 2));
        assert_eq!((counts.unfinished_puts, counts.unfinished_takes), (1, 2));
    }

    #[test]
    fn a_take_may_come_before_its_put_and_without_one() {
        assert_eq!(left("t1@2 ct2 p1@1 p2@1 cp1"), [2]);
        let mut replay = Replay::new([1], None);
        for (what, order) in [(What::Take(Pointer::new(9, 5)), 1), (What::Commit(Kind::Take), 2)] {
            let entry = Entry {
                transaction: 1,
                order,
                what,
            };
            replay.apply(at(0), &entry);
        }
        assert!(
            replay.early.is_empty(),
            "its file is deleted: its put will never come"
        );
        assert_eq!(replay.finish().events, []);
    }

    #[test]
    fn damage_of_what_is_gone_does_not_matter() {
        let left = replayed("d1@1 d2@1 d3@3 p4@1 cp1 t1@2 ct2 r3 d5@4", None);
        assert_eq!(left.damaged, [at(2)]);
        assert_eq!(left.events, [at(2), at(4)]);
    }

    #[test]
    fn a_checkpoint_of_these_files_shows_what_was_delivered() {
        let checkpoint = |there: &[u32], is_named| Checkpoint {
            order: 3,
            there: there.iter().map(|n| at(*n)).collect(),
            taken: HashMap::new(),
            is_named,
        };
        let told = "p1@1 p2@1 cp1 p3@2 cp2";
        let known = replayed(told, Some(checkpoint(&[2], false)));
        assert_eq!(known.events, [at(2), at(3)]);
        assert_eq!(known.evidence, Evidence::Delivered(1));
        let empty = replayed(told, Some(checkpoint(&[], true)));
        assert_eq!(empty.events, [at(3)]);
        for strange in [checkpoint(&[], false), checkpoint(&[2, 77], false)] {
            let left = replayed(told, Some(strange));
            assert_eq!(left.events, [at(1), at(2), at(3)]);
            assert!(
                matches!(left.evidence, Evidence::Strange(_)),
                "{:?}",
                left.evidence
            );
        }
    }

    #[test]
    fn takes_of_a_deleted_file_count_if_the_checkpoint_has_them_and_their_commit_is_there() {
        let checkpoint = || Checkpoint {
            order: 3,
            there: [at(1), at(2)].into(),
            taken: [(7, vec![at(1)])].into(),
            is_named: true,
        };
        let left = |told| replayed(told, Some(checkpoint())).events;
        assert_eq!(left("p1@1 p2@1 cp1 ct7"), [at(2)]);
        assert_eq!(left("p1@1 p2@1 cp1 r7"), [at(1), at(2)]);
        assert_eq!(left("p1@1 p2@1 cp1"), [at(1), at(2)]);
        assert_eq!(left("p1@1 p2@1 cp1 t1@7 ct7 p3@8 cp8"), [at(2), at(3)]);
    }

    proptest! {
        #[test]
        fn the_queue_is_a_list_from_which_any_can_go(
            ops in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..6_000),
        ) {
            let (mut queue, mut list, mut next) = (Queue::default(), Vec::new(), 0);
            for (push, index) in ops {
                if push || list.is_empty() {
                    next += 1;
                    queue.push(at(next));
                    list.push(at(next));
                } else {
                    let gone = list.remove(index.index(list.len().min(3)));
                    prop_assert!(queue.remove(gone));
                    prop_assert!(!queue.remove(gone));
                }
                prop_assert!(queue.slots.len() <= 2 * list.len() + 1_001);
            }
            prop_assert_eq!(queue.into_order(), list);
        }

        /// Transactions of a random history, interleaved at random, against a plain model of a channel.
        #[test]
        fn a_history_leaves_what_the_model_holds(
            ops in prop::collection::vec((0..4_u8, 0..6_i64, 1..4_usize), 0..300),
        ) {
            let mut replay = Replay::new([1], None);
            let mut open: HashMap<i64, (Kind, Vec<Pointer>)> = HashMap::new();
            let (mut queue, mut next, mut order) = (Vec::new(), 0, 0);
            let mut leased: HashSet<Pointer> = HashSet::new();
            let mut tell = |replay: &mut Replay, place, transaction, what| {
                order += 1;
                replay.apply(place, &Entry { transaction, order, what });
            };
            for (op, transaction, count) in ops {
                let is_new = !open.contains_key(&transaction);
                match op {
                    0 | 1 => {
                        let kind = if op == 0 { Kind::Put } else { Kind::Take };
                        let (found, events) = open.entry(transaction).or_insert((kind, Vec::new()));
                        if *found != kind {
                            continue;
                        }
                        for _ in 0..count {
                            if kind == Kind::Put {
                                next += 1;
                                events.push(at(next));
                                tell(&mut replay, at(next), transaction, What::Put { is_intact: true });
                            } else if let Some(put) = queue.iter().find(|p| !leased.contains(*p)) {
                                leased.insert(*put);
                                events.push(*put);
                                tell(&mut replay, at(0), transaction, What::Take(*put));
                            }
                        }
                    }
                    _ if is_new => {}
                    2 => {
                        let (_, events) = open.remove(&transaction).unwrap();
                        leased.retain(|e| !events.contains(e));
                        tell(&mut replay, at(0), transaction, What::Rollback);
                    }
                    _ => {
                        let (kind, events) = open.remove(&transaction).unwrap();
                        if kind == Kind::Put {
                            queue.extend(events);
                        } else {
                            queue.retain(|p| !events.contains(p));
                            leased.retain(|e| !events.contains(e));
                        }
                        tell(&mut replay, at(0), transaction, What::Commit(kind));
                    }
                }
            }
            prop_assert_eq!(replay.finish().events, queue);
        }
    }
}
