//! Damage to what was acknowledged, in plain and encrypted: it is never silent, and what is sound flows on.

use crate::mutants::Given;
use crate::*;

/// Writes a log, damages it in one place of what was acknowledged, and reads it: the damage is reported, or it was where
/// nothing lives. Skipped, everything else is there.
fn damage(seed: u64, keys: Choose) {
    let mut rng = SmallRng::seed_from_u64(seed ^ 0xbad);
    let disk = SimDisk::default();
    let given = Given::new(disk.clone(), None);
    let (mut log, _) = Log::open(given, opened(&mut rng, false, keys)).expect("an empty disk");
    let mut model = Model::default();
    let mut next_id = 0;
    for _ in 0..rng.random_range(3..40) {
        let steps = steps(&mut rng, &model, &mut next_id);
        let results = commit(&mut log, &steps);
        assert!(results.iter().all(Result::is_ok));
        steps.iter().for_each(|step| model.apply(step));
    }
    // The end of the last commit is known to be synced only when something follows.
    log.tick().expect("no fault is left");
    let lsn = log.durable_lsn();
    let segments: Vec<_> = log.books().segments().collect();
    drop(log);
    let (number, info) = segments[rng.random_range(0..segments.len())];
    let name = format!("seg-{number:016x}.wal");
    let used = 4_096 + (info.end_lsn.min(lsn) - info.first_lsn) as usize;
    let at = rng.random_range(0..used);
    let kind = rng.random_range(0..6);
    let old = disk.content(&name).expect("the segment is there");
    // What a recycled file still holds of its former life: the same place in another segment.
    let (stale, _) = segments[rng.random_range(0..segments.len())];
    let stale = disk
        .content(&format!("seg-{stale:016x}.wal"))
        .expect("the segment is there");
    let (sector, page) = (at / 512 * 512, at / 4_096 * 4_096);
    disk.damage(&name, |bytes| match kind {
        0 => bytes[at] ^= 1 << (seed % 8),
        // Writes that never happened.
        1 => bytes[sector..][..512].fill(0),
        2 => bytes[page..][..4_096].fill(0),
        // One that went elsewhere.
        3 => {
            let from = rng.random_range(0..used) / 4_096 * 4_096;
            bytes.copy_within(from..from + 4_096, page);
        }
        4 => bytes[page..][..4_096].copy_from_slice(&stale[page..][..4_096]),
        _ => bytes[sector..][..512].copy_from_slice(&stale[sector..][..512]),
    })
    .expect("the segment is there");
    let changed = disk.content(&name).expect("the segment is there") != old;
    let reported = match Log::open(Given::new(disk.clone(), None), opened(&mut rng, false, keys)) {
        Err(OpenError::Disk(why)) => panic!("no disk error: {why}"),
        Err(OpenError::Key { name, why }) => panic!("damage is called a wrong key: {name} {why}"),
        Err(_) => true,
        Ok((log, _)) => match observe(&log) {
            Err(ReadError::Damaged { .. }) => true,
            Err(ReadError::Disk(why)) => panic!("no disk error: {why}"),
            Ok(seen) => {
                assert!(
                    seen == model,
                    "silent: {name} at {at}, kind {kind}: next {} for {}",
                    seen.next,
                    model.next
                );
                false
            }
        },
    };
    assert!(changed || !reported, "what is whole is not damaged");
    if reported {
        let how = opened(&mut rng, false, keys);
        skipped(&disk, how, &model);
    }
}

/// With the damage skipped every event that is there is one of the model's, and nothing that was taken comes back unless
/// the report says that takes may be missing.
fn skipped(disk: &SimDisk, how: Opened, model: &Model) {
    let how = Opened {
        skip_damage: true,
        ..how
    };
    let (log, report) = match Log::open(Given::new(disk.clone(), None), how) {
        Ok(opened) => opened,
        // Its first page: nothing tells where its blocks belong.
        Err(OpenError::NoSnapshot { .. } | OpenError::Segment { .. } | OpenError::Stranger { .. }) => return,
        Err(why) => panic!("{why}"),
    };
    let mut reader = Reader::new();
    let mut skips = report.skipped.len();
    let mut seen = BTreeMap::new();
    loop {
        match reader.next(&log) {
            Ok(None) => break,
            Ok(Some(chunks)) => {
                for chunk in chunks {
                    for (number, body) in (chunk.events.start..).zip(unblock(&chunk.bytes)) {
                        if number >= log.books().floor() && !log.books().taken().contains(number) {
                            seen.insert(number, body);
                        }
                    }
                }
            }
            Err(ReadError::Damaged { number, end_lsn, .. }) => {
                skips += 1;
                reader.skip(number, end_lsn);
            }
            Err(ReadError::Disk(why)) => panic!("{why}"),
        }
    }
    assert!(skips > 0, "what is missing is reported");
    let foreign: Vec<_> = seen
        .iter()
        .filter(|(n, body)| model.events.get(n).is_some_and(|b| b != *body))
        .collect();
    assert!(
        foreign.is_empty(),
        "{} events are not what they were",
        foreign.len()
    );
    if report.skipped.is_empty() {
        assert!(seen.keys().all(|n| model.events.contains_key(n)), "F3");
    }
}

#[test]
fn damage_to_what_was_acknowledged_is_never_silent() {
    each(
        "damage_to_what_was_acknowledged_is_never_silent",
        0..2_000,
        |seed| damage(seed, keys::none),
    );
}

#[test]
fn damage_to_what_was_encrypted_is_never_silent_nor_called_a_wrong_key() {
    each(
        "damage_to_what_was_encrypted_is_never_silent_nor_called_a_wrong_key",
        0..500,
        |seed| damage(seed, keys::changing),
    );
}
