//! What every deserializer promises. A deserializer's tests call [`suite!`] with a function that makes one and the
//! bytes of a file of several events.

use crate::component::channel::Want;
use crate::component::deserializer::{Deserializer, InputFile, Place};
use crate::java::charset::{Charset, Malformed};
use std::io::Cursor;

/// Makes the suite's tests for one deserializer.
macro_rules! suite {
    ($make:expr) => {
        $crate::component::contract::deserializer::suite!(@each $make;
            batches_of_any_size_have_the_same_events,
            reading_can_go_on_at_every_place,
            the_end_is_an_empty_batch_however_often_it_is_asked_for,
            every_event_has_the_headers_of_its_batch,
            a_batch_is_limited_by_bytes_but_has_at_least_one_event,
        );
    };
    (@each $make:expr; $($name:ident,)*) => {
        $(
            #[test]
            fn $name() {
                let (deserializer, file) = $make();
                $crate::component::contract::deserializer::$name(&*deserializer, &file);
            }
        )*
    };
}
pub(crate) use suite;

/// A file in memory, in UTF-8, in which nothing malformed is accepted.
pub fn file_of(bytes: &[u8]) -> InputFile {
    InputFile {
        input: Box::new(Cursor::new(bytes.to_vec())),
        charset: Charset::Utf8,
        malformed: Malformed::Fail,
    }
}

type Bodies = Vec<Vec<u8>>;

/// Bodies from a place on, `events` at a time, and the place behind each batch with how many there were so far.
fn read(d: &dyn Deserializer, file: &[u8], at: Place, events: usize) -> (Bodies, Vec<(Place, usize)>) {
    let mut reader = d.open(file_of(file), at).unwrap();
    let (mut bodies, mut places) = (Vec::new(), vec![(reader.place(), 0)]);
    loop {
        let batch = reader.read(Want::events(events), &[]).unwrap();
        if batch.is_empty() {
            return (bodies, places);
        }
        assert!(batch.len() <= events);
        bodies.extend(batch.iter().map(|event| event.body().to_vec()));
        places.push((reader.place(), bodies.len()));
    }
}

pub fn batches_of_any_size_have_the_same_events(d: &dyn Deserializer, file: &[u8]) {
    let (all, _) = read(d, file, Place::default(), 1_000);
    assert!(all.len() > 3, "the suite needs a file of several events");
    for events in 1..all.len() {
        assert_eq!(read(d, file, Place::default(), events).0, all);
    }
}

pub fn reading_can_go_on_at_every_place(d: &dyn Deserializer, file: &[u8]) {
    for events in 1..4 {
        let (all, places) = read(d, file, Place::default(), events);
        for (place, seen) in places {
            let (rest, again) = read(d, file, place, 2);
            assert_eq!(rest, all[seen..], "from {place:?}");
            assert_eq!(again[0].0, place);
        }
    }
}

pub fn the_end_is_an_empty_batch_however_often_it_is_asked_for(d: &dyn Deserializer, file: &[u8]) {
    let mut reader = d.open(file_of(file), Place::default()).unwrap();
    while !reader.read(Want::events(2), &[]).unwrap().is_empty() {}
    let place = reader.place();
    for _ in 0..3 {
        assert!(reader.read(Want::events(2), &[]).unwrap().is_empty());
        assert_eq!(reader.place(), place);
    }
}

pub fn every_event_has_the_headers_of_its_batch(d: &dyn Deserializer, file: &[u8]) {
    let mut reader = d.open(file_of(file), Place::default()).unwrap();
    for value in ["1", "2"] {
        let batch = reader
            .read(Want::events(2), &[("k", value), ("l", "\u{e9}")])
            .unwrap();
        for event in batch.iter() {
            assert_eq!(
                (event.header("k"), event.header("l")),
                (Some(value), Some("\u{e9}"))
            );
        }
    }
}

pub fn a_batch_is_limited_by_bytes_but_has_at_least_one_event(d: &dyn Deserializer, file: &[u8]) {
    let mut reader = d.open(file_of(file), Place::default()).unwrap();
    let least = Want {
        events: 1_000,
        bytes: 1,
    };
    let first = reader.read(least, &[]).unwrap();
    let bytes = |n: usize| -> usize { first.iter().take(n).map(|event| event.body().len()).sum() };
    assert!(!first.is_empty());
    assert_eq!(bytes(first.len() - 1), 0, "one that is not empty is enough");
}
