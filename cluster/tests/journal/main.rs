//! The log of the file channel against a model: crashes and failures at any call, in recovery too.
//!
//! A run is a seed. It writes, takes and moves positions in random groups on a disk in memory, loses its power or gets an
//! error at a random call, opens the log anew (which may be interrupted as well), and compares what is there with what was
//! acknowledged. Where the power goes, one history ends in several ways: each is a crash state. All of it in
//! plain and encrypted, with keys that change at every start. `MILLRACE_SEEDS=from..to`
//! chooses other seeds than the few of a plain test run; a failing seed is printed with the command that runs it again.

mod damage;
mod follow;
mod keys;
mod mutants;

use bytes::Bytes;
use cluster::journal::{
    Chunk, CommitError, Config, Disk, DiskErrorKind, Log, OpenError, Opened, Put, RangeSet, ReadError,
    Reader, Transaction,
};
use cluster::sim::disk::SimDisk;
use keys::Choose;
use mutants::{Given, Mistake};
use proto::journal::{Range, Record};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

const SHARD: [u8; 16] = [7; 16];

/// Runs of a plain test run: a hundred thousand crash states.
const RUNS: u64 = 5_000;

/// In how many ways a history ends where the power goes, besides the one in which it goes on.
const FORKS: u64 = 9;

thread_local! {
    /// Crashes after which what was there was held against the model.
    static STATES: Cell<u64> = const { Cell::new(0) };
}

fn config() -> Config {
    Config {
        segment_bytes: 96 << 10,
        spare_bytes: 48 << 10,
        block_bytes: 8 << 10,
        transaction_bytes_max: 1 << 20,
    }
}

fn opened(rng: &mut SmallRng, distrust: bool, keys: Choose) -> Opened {
    Opened {
        config: config(),
        shard: SHARD,
        seed: rng.random(),
        skip_damage: false,
        distrust,
        keys: keys(rng),
    }
}

/// What was asked for, owned.
#[derive(Debug, Clone)]
enum Step {
    Put { id: u64, bodies: Vec<Vec<u8>> },
    Take { id: u64, events: Vec<Range> },
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    events: BTreeMap<u64, Vec<u8>>,
    next: u64,
    source: Option<Vec<u8>>,
    sink: Option<Vec<u8>>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Put { id, bodies } => {
                for body in bodies {
                    self.events.insert(self.next, body.clone());
                    self.next += 1;
                }
                self.source = Some(id.to_le_bytes().to_vec());
            }
            Step::Take { id, events } => {
                for range in events {
                    (range.start..range.end).for_each(|n| drop(self.events.remove(&n)));
                }
                self.sink = Some(id.to_le_bytes().to_vec());
            }
        }
    }
}

/// Events are framed as a length and bytes: the log does not look into them.
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

/// Everything that can be read, by a reader that stays at the log or by one that leaves it, segment for segment.
fn all_chunks<D: Disk + Clone>(log: &Log<D>) -> Result<Vec<Vec<Chunk>>, ReadError> {
    let (mut reader, mut all) = (Reader::new(), Vec::new());
    if log.books().next_event().is_multiple_of(2) {
        while let Some(chunks) = reader.next(log)? {
            all.push(chunks);
        }
        return Ok(all);
    }
    while let Ok(mut reading) = reader.leave(log) {
        assert!(log.has_segment(reading.number()));
        while let Some(chunks) = reading.next_chunks()? {
            all.push(chunks);
        }
        reader = reading.arrive();
    }
    Ok(all)
}

/// Everything that is in the log and not taken.
fn observe<D: Disk + Clone>(log: &Log<D>) -> Result<Model, ReadError> {
    let books = log.books();
    let mut model = Model {
        next: books.next_event(),
        source: books.source_position("r").map(|(_, p)| p.to_vec()),
        sink: books.sink_position("k").map(|(_, p)| p.to_vec()),
        ..Model::default()
    };
    let mut last = None;
    for chunks in all_chunks(log)? {
        for chunk in chunks {
            let bodies = unblock(&chunk.bytes);
            assert_eq!(bodies.len() as u64, chunk.events.len());
            for (number, body) in (chunk.events.start..).zip(bodies) {
                assert!(last < Some(number), "F5: numbers rise");
                last = Some(number);
                if number >= books.floor() && !books.taken().contains(number) {
                    model.events.insert(number, body);
                }
            }
        }
    }
    assert_eq!(
        books.live(),
        model.events.len() as u64,
        "the books know how many there are"
    );
    Ok(model)
}

/// What a run is about: the disk, what the log does wrong if anything, and the dice.
struct World {
    disk: SimDisk,
    mistake: Option<Mistake>,
    rng: SmallRng,
    keys: Choose,
    /// There may be no room, so that puts may be refused.
    may_be_full: bool,
}

impl World {
    fn given(&self) -> Given {
        Given::new(self.disk.clone(), self.mistake)
    }

    /// Opens the log, whatever comes between, and holds what is there against the model.
    fn open(&mut self, mut distrust: bool, model: &Model, doubt: &[Step]) -> (Log<Given>, Model) {
        let mut last = None;
        for attempt in 0..50 {
            if attempt < 3 && self.rng.random::<f64>() < 0.4 {
                let at = self.disk.calls() + self.rng.random_range(1..60);
                match self.rng.random_range(0..4) {
                    0 | 1 => self.disk.crash_at(at),
                    2 => self.disk.fail_at(at),
                    _ => {
                        self.may_be_full = true;
                        self.disk.fail_full_at(at);
                    }
                }
            }
            match Log::open(self.given(), opened(&mut self.rng, distrust, self.keys)) {
                Ok((log, _)) => {
                    // The power may go while it is read.
                    if let Ok(seen) = observe(&log) {
                        check(&seen, model, doubt);
                        return (log, seen);
                    }
                }
                Err(OpenError::Disk(why)) => last = Some(why),
                // A sync failed on a full disk: the copy of the newest segment needs room. Or it was full for a moment.
                Err(OpenError::Full(_)) if distrust || attempt < 3 => self.disk.set_room(u64::MAX),
                Err(why) => panic!("F6 without damage: {why}"),
            }
            distrust = !self.next_life(model, doubt);
        }
        panic!("the log does not open any more: {last:?}");
    }

    /// Something failed, and the log is to be opened anew: in the same process, in the next one, or after the power came
    /// back. Says whether it is another process.
    fn next_life(&mut self, model: &Model, doubt: &[Step]) -> bool {
        if !self.disk.is_crashed() {
            return self.rng.random::<f64>() < 0.3;
        }
        for _ in 0..FORKS {
            self.crash_state(model, doubt);
        }
        if self.rng.random() {
            self.disk.crash(self.rng.random());
            STATES.set(STATES.get() + 1);
        } else {
            self.disk.revive();
        }
        true
    }

    /// One of the many things that may be there when the power comes back; somebody may have filled the disk meanwhile.
    fn crash_state(&mut self, model: &Model, doubt: &[Step]) {
        let fork = self.disk.fork();
        fork.crash(self.rng.random());
        let is_full = self.rng.random::<f64>() < 0.3;
        if is_full {
            fork.set_room(0);
        }
        let given = Given::new(fork, self.mistake);
        STATES.set(STATES.get() + 1);
        let log = match Log::open(given, opened(&mut self.rng, false, self.keys)) {
            Ok((log, _)) => log,
            // It was only being made.
            Err(OpenError::Full(_)) if is_full && *model == Model::default() => return,
            Err(why) => panic!("F6 without damage: {why}"),
        };
        check(&observe(&log).expect("no fault is left"), model, doubt);
    }
}

/// Of what nobody knows, a beginning may be there, whole transactions in order; nothing else.
fn check(seen: &Model, model: &Model, doubt: &[Step]) {
    let mut expected = model.clone();
    if *seen == expected {
        return;
    }
    for step in doubt {
        expected.apply(step);
        if *seen == expected {
            return;
        }
    }
    let lost: Vec<_> = model
        .events
        .keys()
        .filter(|n| !seen.events.contains_key(n))
        .collect();
    let more: Vec<_> = seen
        .events
        .keys()
        .filter(|n| !model.events.contains_key(n))
        .collect();
    panic!(
        "not what was acknowledged: next {} for {}, lost {lost:?}, more {more:?}, positions {:?} {:?} for {:?} {:?}, in doubt {}",
        seen.next,
        model.next,
        seen.source,
        seen.sink,
        model.source,
        model.sink,
        doubt.len()
    );
}

fn steps(rng: &mut SmallRng, model: &Model, next_id: &mut u64) -> Vec<Step> {
    let mut leased = RangeSet::default();
    (0..rng.random_range(1..5))
        .map(|_| {
            *next_id += 1;
            let id = *next_id;
            if rng.random::<f64>() < 0.55 || model.events.is_empty() {
                let large = rng.random::<f64>() < 0.05;
                let bodies = (0..rng.random_range(1..if large { 3 } else { 30 }))
                    .map(|n| {
                        let len = rng.random_range(0..if large { 30_000 } else { 200 });
                        let mut body = format!("{id}:{n}:").into_bytes();
                        body.resize(body.len() + len, b'x');
                        body
                    })
                    .collect();
                return Step::Put { id, bodies };
            }
            let mut events = RangeSet::default();
            let mostly_from_the_head = rng.random::<f64>() < 0.8;
            for number in model.events.keys().copied().take(200) {
                let range = Range {
                    start: number,
                    end: number + 1,
                };
                let chosen = if mostly_from_the_head {
                    events.count() < 40
                } else {
                    rng.random::<f64>() < 0.2
                };
                if chosen && !leased.touches(range) {
                    events.insert(range);
                    leased.insert(range);
                }
            }
            Step::Take {
                id,
                events: (&events).into(),
            }
        })
        .collect()
}

fn commit(log: &mut Log<Given>, steps: &[Step]) -> Vec<Result<u64, CommitError>> {
    let ids: Vec<[u8; 8]> = steps
        .iter()
        .map(|s| match s {
            Step::Put { id, .. } | Step::Take { id, .. } => id.to_le_bytes(),
        })
        .collect();
    let transactions: Vec<Transaction<'_>> = steps
        .iter()
        .zip(&ids)
        .map(|(step, id)| match step {
            Step::Put { bodies, .. } => Transaction {
                put: Some(Put {
                    count: bodies.len() as u32,
                    events: vec![block(bodies)],
                    order: 0,
                    prepared: None,
                }),
                records: vec![Record::SourcePosition {
                    owner: "r",
                    stamp: 0,
                    bytes: id,
                }],
            },
            Step::Take { events, .. } => Transaction {
                put: None,
                records: vec![
                    Record::Take {
                        events: events.clone(),
                    },
                    Record::SinkPosition {
                        owner: "k",
                        stamp: 0,
                        bytes: id,
                    },
                ],
            },
        })
        .collect();
    log.commit(&transactions)
        .into_iter()
        .map(|r| r.map(|c| c.first_event))
        .collect()
}

fn run(seed: u64, mistake: Option<Mistake>, keys: Choose) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let tight = rng.random::<f64>() < 0.3;
    let disk = if tight {
        SimDisk::with_room(700 << 10)
    } else {
        SimDisk::default()
    };
    let mut world = World {
        disk,
        mistake,
        rng,
        keys,
        may_be_full: tight,
    };
    let (mut log, mut model) = world.open(false, &Model::default(), &[]);
    let mut next_id = 0;
    for _ in 0..world.rng.random_range(5..60) {
        let soon = world.disk.calls() + world.rng.random_range(1..25);
        match world.rng.random_range(0..20) {
            0 => world.disk.crash_at(soon),
            1 => world.disk.fail_at(soon),
            4 => {
                world.may_be_full = true;
                world.disk.fail_full_at(soon);
            }
            2 => {
                // Stopped in order, or killed: what the system has, it keeps.
                drop(log);
                (log, model) = world.open(false, &model, &[]);
                continue;
            }
            3 if log.poisoned().is_none() => {
                let _ = log.tick();
            }
            5..11 if !make_ahead(&mut log, &world.disk) => {
                // Nobody knows what the folder's next sync would make durable.
                drop(log);
                let distrust = !world.next_life(&model, &[]);
                (log, model) = world.open(distrust, &model, &[]);
                continue;
            }
            _ => {}
        }
        let steps = steps(&mut world.rng, &model, &mut next_id);
        let results = commit(&mut log, &steps);
        let doubt = booked(&mut model, &steps, results, world.may_be_full);
        if log.poisoned().is_some() {
            drop(log);
            let distrust = !world.next_life(&model, &doubt);
            (log, model) = world.open(distrust, &model, &doubt);
        }
    }
    if !world.disk.is_crashed() && log.poisoned().is_none() {
        world.disk.crash_at(u64::MAX);
        world.disk.fail_at(u64::MAX);
        check(&observe(&log).expect("no fault is left"), &model, &[]);
        if tight || world.rng.random::<f64>() < 0.2 {
            drain(&mut world, log, model, &mut next_id);
        }
    }
}

/// Makes the file that the log wants, as another thread would; says whether the log can be trusted.
fn make_ahead(log: &mut Log<Given>, disk: &SimDisk) -> bool {
    let Some((name, bytes)) = log.wants() else {
        return true;
    };
    assert_eq!(log.wants(), None, "it asks once a segment");
    let mut disk = disk.clone();
    let made = disk.create(&name, bytes).and_then(|file| {
        disk.sync(&file)?;
        disk.sync_folder()
    });
    match made {
        Ok(()) => log.offer(name, bytes),
        Err(why) => return why.kind == DiskErrorKind::Full,
    }
    true
}

/// Books what was acknowledged, and returns what nobody knows.
fn booked(
    model: &mut Model,
    steps: &[Step],
    results: Vec<Result<u64, CommitError>>,
    may_be_full: bool,
) -> Vec<Step> {
    let mut doubt = Vec::new();
    for (step, result) in steps.iter().zip(results) {
        match result {
            Ok(first) => {
                assert!(doubt.is_empty(), "nothing is acknowledged behind what failed");
                if matches!(step, Step::Put { .. }) {
                    assert_eq!(first, model.next, "F5");
                }
                model.apply(step);
            }
            Err(CommitError::Full) => {
                assert!(
                    may_be_full && matches!(step, Step::Put { .. }),
                    "only puts find a disk full"
                );
            }
            Err(CommitError::TooLarge { .. }) => panic!("none is"),
            Err(CommitError::Poisoned(_)) => doubt.push(step.clone()),
        }
    }
    doubt
}

/// Whether one of the log's files is long enough for puts.
fn has_whole_file(disk: &SimDisk) -> bool {
    let mut disk = disk.clone();
    let names = disk.list().expect("no fault is left");
    names.into_iter().any(|name| {
        let file = disk.open(&name).expect("no fault is left");
        disk.len(&file).expect("no fault is left") >= config().segment_bytes
    })
}

/// A full disk drains: puts are refused, the log opens again and again, every event can be taken, and then there is room
/// again. Somebody else has filled it, so that not one more file can be made.
fn drain(world: &mut World, mut log: Log<Given>, mut model: Model, next_id: &mut u64) {
    world.disk.set_room(0);
    for _ in 0..400 {
        *next_id += 1;
        let step = Step::Put {
            id: *next_id,
            bodies: vec![vec![b'x'; 4_000]],
        };
        match commit(&mut log, std::slice::from_ref(&step)).remove(0) {
            Ok(_) => model.apply(&step),
            Err(CommitError::Full) => break,
            Err(why) => panic!("a full disk refuses puts and nothing else: {why}"),
        }
    }
    for _ in 0..world.rng.random_range(0..3) {
        drop(log);
        let opened = Log::open(world.given(), opened(&mut world.rng, false, world.keys));
        log = opened.expect("a full disk does not keep a log from opening").0;
        check(&observe(&log).expect("no fault is left"), &model, &[]);
    }
    while !model.events.is_empty() {
        let some: RangeSet = model
            .events
            .keys()
            .take(7)
            .map(|n| Range {
                start: *n,
                end: n + 1,
            })
            .collect();
        *next_id += 1;
        let step = Step::Take {
            id: *next_id,
            events: (&some).into(),
        };
        let took = commit(&mut log, std::slice::from_ref(&step));
        assert!(took.iter().all(Result::is_ok), "takes go on: {took:?}");
        model.apply(&step);
    }
    if has_whole_file(&world.disk) {
        *next_id += 1;
        let step = Step::Put {
            id: *next_id,
            bodies: vec![b"own room".to_vec()],
        };
        let put = commit(&mut log, &[step]);
        assert!(
            put[0].is_ok(),
            "the room of what was taken is used again: {put:?}"
        );
    }
    world.disk.set_room(u64::MAX);
    let step = Step::Put {
        id: u64::MAX,
        bodies: vec![b"room".to_vec()],
    };
    let put = commit(&mut log, &[step]);
    assert!(put[0].is_ok(), "room is used again: {put:?}");
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let given = option_env_at_run("MILLRACE_SEEDS");
    let parsed = given.as_deref().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    parsed.unwrap_or(default)
}

#[allow(clippy::disallowed_methods, reason = "a test is told its seeds from outside")]
fn option_env_at_run(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs a test for each seed, and says how to run one again that failed.
fn each(test: &str, default: std::ops::Range<u64>, run: impl Fn(u64)) {
    let seeds = seeds(default);
    println!("{test}: MILLRACE_SEEDS={}..{}", seeds.start, seeds.end);
    let (mut passed, mut failed) = (0, 0);
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(()) => passed += 1,
            Err(_) => {
                failed += 1;
                eprintln!(
                    "seed {seed} failed; again: MILLRACE_SEEDS={seed}..{} cargo test -p cluster --test journal {test}",
                    seed + 1
                );
                if failed > 5 {
                    break;
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    assert_eq!(failed, 0);
}

#[test]
fn what_was_acknowledged_survives_every_crash_and_nothing_else_appears() {
    each(
        "what_was_acknowledged_survives_every_crash_and_nothing_else_appears",
        0..RUNS,
        |seed| run(seed, None, keys::none),
    );
    println!("{} crash states", STATES.get());
    if option_env_at_run("MILLRACE_SEEDS").is_none() {
        assert!(STATES.get() >= 100_000, "{} crash states", STATES.get());
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash_encrypted_with_changing_keys() {
    each(
        "what_was_acknowledged_survives_every_crash_encrypted_with_changing_keys",
        0..RUNS / 10,
        |seed| run(seed, None, keys::changing),
    );
}

#[test]
fn a_reader_that_has_looked_ahead_sees_what_was_written_since() {
    let disk = SimDisk::default();
    let (mut log, _) = Log::open(
        disk,
        opened(&mut SmallRng::seed_from_u64(1), false, keys::changing),
    )
    .expect("an empty disk");
    let commit = |log: &mut Log<SimDisk>, numbers: std::ops::Range<u64>| {
        for number in numbers {
            let put = Put {
                count: 1,
                events: vec![Bytes::from(vec![number as u8; 100])],
                order: number,
                prepared: None,
            };
            let records = Vec::new();
            let put = Some(put);
            log.commit(&[Transaction { put, records }])
                .remove(0)
                .expect("a calm disk");
        }
    };
    commit(&mut log, 0..3);
    let mut reader = Reader::new();
    let first = reader
        .next(&log)
        .expect("nothing is damaged")
        .expect("three events");
    assert_eq!(first[0].events.start, 0);
    commit(&mut log, 3..6);
    let mut seen = Vec::new();
    while let Some(chunks) = reader.next(&log).expect("nothing is damaged") {
        seen.extend(chunks.into_iter().map(|chunk| chunk.events.start));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}
