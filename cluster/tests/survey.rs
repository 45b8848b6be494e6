//! Looking at a log and repairing it, against a model: damage of every kind, writers that go on meanwhile, power that goes.
//!
//! A run is a seed. `MILLRACE_SEEDS=from..to` chooses other seeds than the few of a plain test run; a failing seed is
//! printed with the line that runs it again.

use bytes::Bytes;
use cluster::journal::{
    Config, Disk, DiskError, Log, Opened, Put, Reader, RepairError, Repaired, Survey, SurveyError,
    Transaction, Verdict, Visited, repair,
};
use cluster::sim::disk::SimDisk;
use cluster::sim::keys::SimKeys;
use proto::journal::{PAGE_BYTES, Range, Record};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

const SHARD: [u8; 16] = [9; 16];

fn opened(seed: u64) -> Opened {
    Opened {
        config: Config {
            segment_bytes: 96 << 10,
            spare_bytes: 48 << 10,
            block_bytes: 8 << 10,
            transaction_bytes_max: 1 << 20,
        },
        shard: SHARD,
        seed,
        skip_damage: false,
        distrust: false,
        // Some segments are in plain, some encrypted, with one key or another.
        keys: Some(SimKeys::of(
            [None, Some("a"), Some("b")][(seed % 3) as usize],
            &[("a", 1), ("b", 2)],
        )),
    }
}

/// A log and what it holds.
struct Channel<D: Disk> {
    log: Log<D>,
    rng: SmallRng,
    events: BTreeMap<u64, Vec<u8>>,
    /// How many events are left in it at most.
    room: usize,
}

impl Channel<SimDisk> {
    fn open(disk: &SimDisk, seed: u64, room: usize) -> Self {
        let (log, _) = Log::open(disk.clone(), opened(seed)).expect("an empty disk");
        Self {
            log,
            rng: SmallRng::seed_from_u64(seed),
            events: BTreeMap::new(),
            room,
        }
    }

    fn step(&mut self) {
        if self.events.len() < self.room && (self.events.is_empty() || self.rng.random::<f64>() < 0.55) {
            let large = self.rng.random::<f64>() < 0.05;
            let bodies: Vec<Vec<u8>> = (0..self.rng.random_range(1..if large { 3 } else { 20 }))
                .map(|_| vec![self.rng.random(); self.rng.random_range(0..if large { 20_000 } else { 300 })])
                .collect();
            let put = Put {
                count: bodies.len() as u32,
                events: vec![block(&bodies)],
                order: 0,
                prepared: None,
            };
            let first = self.commit(Some(put), Vec::new());
            self.events.extend((first..).zip(bodies));
        } else {
            let in_order = self.rng.random::<f64>() < 0.7;
            let wanted = self.rng.random_range(1..40);
            let numbers: Vec<u64> = self.events.keys().copied().collect();
            let taken: Vec<u64> = numbers
                .into_iter()
                .filter(|_| in_order || self.rng.random::<f64>() < 0.3)
                .take(wanted)
                .collect();
            let ranges: cluster::journal::RangeSet = taken
                .iter()
                .map(|n| Range {
                    start: *n,
                    end: n + 1,
                })
                .collect();
            let events = (&ranges).into();
            self.commit(None, vec![Record::Take { events }]);
            taken.iter().for_each(|number| drop(self.events.remove(number)));
        }
    }

    fn commit(&mut self, put: Option<Put>, records: Vec<Record<'static>>) -> u64 {
        let bytes = self.rng.random::<u64>().to_le_bytes();
        let mut records: Vec<Record<'_>> = records;
        records.push(Record::SinkPosition {
            owner: "sink/k",
            stamp: 0,
            bytes: &bytes,
        });
        let done = self.log.commit(&[Transaction { put, records }]).remove(0);
        done.expect("no fault is left").first_event
    }
}

fn block(bodies: &[Vec<u8>]) -> Bytes {
    let mut all = Vec::new();
    for body in bodies {
        all.extend_from_slice(&(body.len() as u32).to_le_bytes());
        all.extend_from_slice(body);
    }
    all.into()
}

fn unblock(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<4>() {
        let (body, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        all.push(body.to_vec());
        bytes = rest;
    }
    all
}

/// What a survey reads of the queued events, in order; also whether it met damage or a segment that was gone.
fn readable<D: Disk>(survey: &mut Survey<D>) -> (BTreeMap<u64, Vec<u8>>, bool) {
    let (mut events, mut whole) = (BTreeMap::new(), true);
    for segment in survey.segments() {
        let Some(mut visit) = survey.visit(segment.number).expect("no disk error") else {
            whole = false;
            continue;
        };
        while let Some(seen) = visit.next(survey, true).expect("no disk error") {
            match seen {
                Visited::Block(block) => {
                    assert_eq!(
                        block.records.is_empty(),
                        block.head.records == 0 || block.head.flags & 12 != 0 && block.chunks.is_empty()
                    );
                    for chunk in block.chunks {
                        let bodies: Vec<_> = unblock(&chunk.bytes);
                        let live = survey.books().live_in(chunk.events);
                        for number in live.iter().flat_map(|r| r.start..r.end) {
                            assert!(
                                events.last_key_value().is_none_or(|(last, _)| *last < number),
                                "in order"
                            );
                            events.insert(number, bodies[(number - chunk.events.start) as usize].clone());
                        }
                    }
                }
                Visited::Damage(_) | Visited::Missing(_) | Visited::Gone => whole = false,
            }
        }
    }
    (events, whole)
}

fn contents(disk: &SimDisk) -> BTreeMap<String, Option<Vec<u8>>> {
    disk.names()
        .into_iter()
        .map(|name| (name.clone(), disk.content(&name)))
        .collect()
}

fn filled(seed: u64) -> (SimDisk, Channel<SimDisk>) {
    let disk = SimDisk::default();
    let mut channel = Channel::open(&disk, seed, 4_000);
    for _ in 0..channel.rng.random_range(1..80) {
        channel.step();
        if channel.rng.random::<f64>() < 0.03 {
            let Channel {
                log,
                rng,
                events,
                room,
            } = channel;
            drop(log);
            let (log, _) = Log::open(disk.clone(), opened(seed + 1)).expect("no fault");
            channel = Channel {
                log,
                rng,
                events,
                room,
            };
        }
    }
    channel.log.tick().expect("no fault");
    (disk, channel)
}

fn sound(seed: u64) {
    let (disk, channel) = filled(seed);
    let before = contents(&disk);
    let mut survey = Survey::of(disk.clone(), SHARD, opened(0).keys).expect("a sound log");
    let verdict = survey.verify(|_| ()).expect("no disk error");
    assert!(verdict.is_sound(), "{:?}", verdict.damages);
    assert!(
        verdict.given_up.is_empty() && verdict.gone.is_empty() && verdict.scars.is_empty(),
        "{verdict:?}"
    );
    assert_eq!(verdict.events, channel.events.len() as u64);
    assert_eq!(verdict.bytes, survey.bytes(), "every live block was read");
    assert!(!survey.is_torn() && survey.damages().next().is_none());
    assert_eq!(
        (survey.books().live(), survey.books().epoch()),
        (channel.log.books().live(), channel.log.books().epoch())
    );
    assert_eq!(
        survey.books().sink_position("sink/k"),
        channel.log.books().sink_position("sink/k")
    );
    assert_eq!(readable(&mut survey), (channel.events, true));
    assert_eq!(contents(&disk), before, "nothing was written");
}

/// Damages one to three places of what was acknowledged. Returns the names that it has touched.
fn damaged(disk: &SimDisk, channel: &Channel<SimDisk>, rng: &mut SmallRng) -> BTreeSet<String> {
    let lsn = channel.log.durable_lsn();
    let segments: Vec<_> = channel.log.books().segments().collect();
    let mut touched = BTreeSet::new();
    for _ in 0..rng.random_range(1..4) {
        let (number, info) = segments[rng.random_range(0..segments.len())];
        let name = format!("seg-{number:016x}.wal");
        let mut used = PAGE_BYTES + (info.end_lsn.min(lsn) - info.first_lsn) as usize;
        if number == segments[segments.len() - 1].0 {
            // The last block says that those before it were acknowledged; without it nothing can.
            used -= PAGE_BYTES;
        }
        let at = rng.random_range(0..used);
        let page = at / PAGE_BYTES * PAGE_BYTES;
        let old = disk.content(&name);
        match rng.random_range(0..10) {
            0..4 => disk.damage(&name, |bytes| bytes[at] ^= 1 << rng.random_range(0..8)),
            4..6 => disk.damage(&name, |bytes| bytes[page..page + PAGE_BYTES].fill(0)),
            6..8 => disk.damage(&name, |bytes| {
                let from = rng.random_range(0..used) / PAGE_BYTES * PAGE_BYTES;
                bytes.copy_within(from..from + PAGE_BYTES, page);
            }),
            8 => disk.damage(&name, |bytes| {
                let end = (at + rng.random_range(1..40_000)).min(used);
                bytes[at..end].fill(7);
            }),
            // Of the newest one nothing else knows.
            _ if number < segments[segments.len() - 1].0 => disk.clone().remove(&name).ok(),
            _ => None,
        };
        if disk.content(&name) != old {
            touched.insert(name);
        }
    }
    disk.clone().sync_folder().expect("no fault");
    touched
}

/// What is found damaged is what was damaged; each queued event is readable or lost, and lost ones are named.
fn damage(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0xda);
    let (disk, channel) = filled(seed);
    let touched = damaged(&disk, &channel, &mut rng);
    let before = contents(&disk);
    match Survey::of(disk.clone(), SHARD, opened(0).keys) {
        Err(SurveyError::NoSnapshot(_) | SurveyError::Empty | SurveyError::Newer(_)) => {
            assert!(!touched.is_empty())
        }
        Err(why) => panic!("{why}"),
        Ok(mut survey) => {
            let verdict = survey.verify(|_| ()).expect("no disk error");
            let named: BTreeSet<String> = verdict.damages.iter().map(|damage| damage.name.clone()).collect();
            assert!(verdict.gone.is_empty(), "nobody moves: {verdict:?}");
            let (events, _) = readable(&mut survey);
            assert_eq!(verdict.events, events.len() as u64);
            let is_open = verdict.damages.iter().any(|damage| damage.open_ended);
            let repeats = verdict.damages.iter().any(|damage| damage.repeats);
            // With takes lost, files that were needed no more seem to be missing.
            assert!(repeats || named.is_subset(&touched), "{named:?} of {touched:?}");
            for (number, body) in &events {
                match channel.events.get(number) {
                    Some(known) => assert_eq!(known, body, "event {number} is what it was"),
                    None => assert!(repeats, "F3: event {number} was taken"),
                }
            }
            let lost: BTreeSet<u64> = verdict
                .damages
                .iter()
                .flat_map(|damage| damage.lost.iter())
                .chain(&verdict.given_up)
                .flat_map(|range| range.start..range.end)
                .collect();
            for number in channel.events.keys().filter(|n| !events.contains_key(n)) {
                let beyond = *number >= survey.books().next_event();
                assert!(
                    lost.contains(number) || (is_open && beyond),
                    "event {number} is lost, and nothing says so"
                );
            }
            for number in &lost {
                assert!(!events.contains_key(number), "event {number} is not lost");
                assert!(
                    repeats || channel.events.contains_key(number),
                    "event {number} was not queued"
                );
            }
            assert_eq!(lost.len() as u64 + verdict.events, survey.books().live());
        }
    }
    assert_eq!(contents(&disk), before, "nothing was written");
    let distrusting = Opened {
        distrust: true,
        ..opened(seed)
    };
    if Log::open(disk.clone(), opened(seed)).is_err() {
        let again = Log::open(disk.clone(), distrusting).map(|_| ());
        assert!(
            again.is_err(),
            "F6: damage is damage, also where a sync has failed"
        );
    }
}

fn run_repair(disk: &SimDisk, seed: u64, aside: &RefCell<BTreeSet<String>>) -> Result<Repaired, RepairError> {
    let put_aside = |_: &Verdict, names: &[String]| {
        aside.borrow_mut().extend(names.iter().cloned());
        Ok(())
    };
    repair(disk, opened(seed), 1_700_000_000, put_aside, |_| ())
}

/// After a repair the log opens without a question and holds what could be read before, and nothing else changes: also
/// when the power goes in the middle of it, again and again.
fn mended(seed: u64) {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0x4e);
    let (disk, channel) = filled(seed);
    let touched = damaged(&disk, &channel, &mut rng);
    let seen = Survey::of(disk.clone(), SHARD, opened(0).keys)
        .ok()
        .map(|mut survey| {
            let next = survey.books().next_event();
            let position = survey.books().sink_position("sink/k").map(|(_, p)| p.to_vec());
            (readable(&mut survey).0, next, position)
        });
    let aside = RefCell::new(BTreeSet::new());
    let mut tries = 0;
    let done = loop {
        tries += 1;
        if tries < 4 && rng.random::<f64>() < 0.6 {
            disk.crash_at(disk.calls() + rng.random_range(1..120));
        }
        match run_repair(&disk, rng.random(), &aside) {
            Ok(done) => break done,
            // A flipped bit in the number of the format.
            Err(RepairError::Survey(SurveyError::Newer(_))) => return,
            Err(why) => {
                assert!(disk.is_crashed() && tries < 4, "{why}");
                disk.crash(rng.random());
            }
        }
    };
    disk.revive();
    // A power cut in the middle of an earlier run may have left that one's work done.
    if seen.is_some() && tries == 1 {
        assert_eq!(
            done.changed,
            !done.found.is_sound() || !aside.borrow().is_empty() || !done.found.given_up.is_empty()
        );
    }
    for name in aside.borrow().iter() {
        assert!(
            touched.contains(name) || done.without_snapshot || tries > 1,
            "{name} was sound"
        );
    }
    check_mended(&disk, seed, &channel, &done, seen);
    let again = run_repair(&disk, seed, &aside).expect("no fault");
    assert!(!again.changed, "there is nothing left to do");
}

/// What could be read before a repair: the events, the number of the next one, the sink's position.
type SeenBefore = (BTreeMap<u64, Vec<u8>>, u64, Option<Vec<u8>>);

fn check_mended(
    disk: &SimDisk,
    seed: u64,
    channel: &Channel<SimDisk>,
    done: &Repaired,
    seen: Option<SeenBefore>,
) {
    let (log, report) = Log::open(disk.clone(), opened(seed)).expect("it opens without a question");
    assert!(report.skipped.is_empty(), "{report:?}");
    let in_doubt = done.found.damages.iter().any(|damage| damage.repeats);
    assert!(!in_doubt || log.books().live() == 0 || log.books().in_doubt().is_some());
    let mut events = BTreeMap::new();
    let mut reader = Reader::new();
    while let Some(chunks) = reader.next(&log).expect("it reads without a question") {
        for chunk in chunks {
            let bodies = unblock(&chunk.bytes);
            for number in log
                .books()
                .live_in(chunk.events)
                .iter()
                .flat_map(|r| r.start..r.end)
            {
                events.insert(number, bodies[(number - chunk.events.start) as usize].clone());
            }
        }
    }
    assert_eq!(
        log.books().live(),
        events.len() as u64,
        "nobody waits for what is lost"
    );
    for (number, body) in &events {
        assert!(
            channel.events.get(number).is_none_or(|known| known == body),
            "event {number} is what it was"
        );
    }
    if let Some((before, next, position)) = seen {
        let lost: Vec<_> = before.keys().filter(|n| !events.contains_key(n)).collect();
        assert!(
            lost.is_empty(),
            "{} events could be read and are gone",
            lost.len()
        );
        assert!(events.len() == before.len(), "nothing comes back");
        assert!(log.books().next_event() >= next, "F5");
        assert_eq!(
            log.books().sink_position("sink/k").map(|(_, p)| p.to_vec()),
            position
        );
    }
}

/// A disk on which somebody else works between, and inside, the calls of whoever looks.
#[derive(Clone)]
struct Stirred {
    disk: SimDisk,
    writer: Rc<RefCell<Channel<SimDisk>>>,
    rng: Rc<RefCell<SmallRng>>,
    steps: Rc<Cell<u32>>,
}

impl Stirred {
    fn stir(&self) {
        let steps = self.rng.borrow_mut().random_range(0..4_u32).saturating_sub(1);
        for _ in 0..steps.min(self.steps.get()) {
            self.steps.set(self.steps.get() - 1);
            self.writer.borrow_mut().step();
        }
    }
}

impl Disk for Stirred {
    type File = usize;
    fn list(&mut self) -> Result<Vec<String>, DiskError> {
        self.stir();
        let mut names = self.disk.list()?;
        self.stir();
        // What is renamed while a folder is listed may be told by either name, by both or by none.
        for name in self.disk.list()? {
            if !names.contains(&name) && self.rng.borrow_mut().random() {
                names.push(name);
            }
        }
        Ok(names)
    }
    fn create(&mut self, _: &str, _: u64) -> Result<usize, DiskError> {
        panic!("who looks makes no file")
    }
    fn open(&mut self, name: &str) -> Result<usize, DiskError> {
        self.stir();
        self.disk.open(name)
    }
    fn len(&mut self, file: &usize) -> Result<u64, DiskError> {
        self.disk.len(file)
    }
    fn read_at(&self, file: &usize, at: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        let mut done = 0;
        // A read is not of one moment.
        for piece in buf.chunks_mut(48 << 10) {
            self.stir();
            let read = self.disk.read_at(file, at + done as u64, piece)?;
            done += read;
            if read < piece.len() {
                break;
            }
        }
        Ok(done)
    }
    fn reread(&mut self, file: &usize) -> Result<(), DiskError> {
        self.disk.reread(file)
    }
    fn write_at(&mut self, _: &usize, _: u64, _: &[u8]) -> Result<(), DiskError> {
        panic!("who looks writes nothing")
    }
    fn sync(&mut self, _: &usize) -> Result<(), DiskError> {
        panic!("who looks syncs nothing")
    }
    fn rename(&mut self, _: &str, _: &str) -> Result<(), DiskError> {
        panic!("who looks renames nothing")
    }
    fn remove(&mut self, _: &str) -> Result<(), DiskError> {
        panic!("who looks removes nothing")
    }
    fn sync_folder(&mut self) -> Result<(), DiskError> {
        panic!("who looks syncs nothing")
    }
}

/// A log at work is never damaged, and what is read of it is what is there.
fn moving(seed: u64) {
    let (disk, mut channel) = filled(seed);
    channel.room = channel.rng.random_range(50..3_000);
    let start: BTreeMap<u64, Vec<u8>> = channel.events.clone();
    let stirred = Stirred {
        disk,
        writer: Rc::new(RefCell::new(channel)),
        rng: Rc::new(RefCell::new(SmallRng::seed_from_u64(seed ^ 0x57))),
        steps: Rc::new(Cell::new(4_000)),
    };
    let mut survey = Survey::of(stirred.clone(), SHARD, opened(0).keys).expect("it can be looked at");
    let verdict = survey.verify(|_| ()).expect("no disk error");
    assert!(verdict.is_sound(), "{:?}", verdict.damages);
    assert!(verdict.given_up.is_empty(), "{:?}", verdict.given_up);
    let (events, whole) = readable(&mut survey);
    if verdict.gone.is_empty() {
        assert_eq!(verdict.events, survey.books().live(), "of one moment");
    }
    if whole {
        assert_eq!(events.len() as u64, survey.books().live(), "of one moment");
    }
    let writer = stirred.writer.borrow();
    for (number, body) in &events {
        let known = start.get(number).or(writer.events.get(number));
        assert!(
            known.is_none_or(|known| known == body),
            "event {number} is what it was"
        );
    }
}

fn each(default: std::ops::Range<u64>, name: &str, run: impl Fn(u64)) {
    let given = option_env_at_run("MILLRACE_SEEDS");
    let parsed = given.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let (mut passed, mut failed) = (0, 0);
    for seed in parsed.unwrap_or(default) {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(()) => passed += 1,
            Err(_) => {
                failed += 1;
                eprintln!(
                    "seed {seed} failed; again: MILLRACE_SEEDS={seed}..{} cargo test -p cluster --test survey {name}",
                    seed + 1
                );
            }
        }
    }
    eprintln!("{passed} passed, {failed} failed");
    assert_eq!(failed, 0);
}

#[allow(clippy::disallowed_methods, reason = "a test is told its seeds from outside")]
fn option_env_at_run(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[test]
fn a_sound_log_is_found_sound_and_left_as_it_is() {
    each(0..300, "a_sound_log", sound);
}

#[test]
fn damage_is_told_to_the_event_and_nothing_is_written() {
    each(0..1_000, "damage_is_told", damage);
}

#[test]
fn a_log_that_is_written_meanwhile_is_never_damaged() {
    each(0..300, "a_log_that_is_written", moving);
}

#[test]
fn a_repair_keeps_what_is_sound_and_may_be_interrupted() {
    each(0..1_000, "a_repair_keeps", mended);
}
