//! What a batch costs in memory: finding the events of a block, writing them, and what channels and interceptors do
//! to them afterwards.
//!
//! Throughput is in events, of 500 bytes and two headers. A batch is cloned before an operation that consumes it;
//! `clone` shows that alone, and `freed` what it costs to drop an index.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use proto::event::{Batch, BatchBuilder, EventLimits, block};
use std::hint::black_box;

const EVENTS: usize = 1_000;
const BODY_BYTES: usize = 500;
const HEADERS: [(&str, &str); 2] = [("host", "web-17.example.org"), ("timestamp", "1700000000000")];

fn batch() -> Batch {
    let mut builder = BatchBuilder::with_capacity(EventLimits::default(), EVENTS * (BODY_BYTES + 100));
    for _ in 0..EVENTS {
        builder
            .push(HEADERS, &[b'x'; BODY_BYTES])
            .expect("far below the limits");
    }
    builder.finish()
}

/// Bytes to blocks and back.
fn code(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event/block");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let bytes: Bytes = batch().to_blocks().concat().into();
    group.bench_function("index", |bencher| {
        bencher.iter(|| block::index(black_box(bytes.clone()), EventLimits::default()).expect("a block"));
    });
    group.bench_function("push", |bencher| bencher.iter(batch));
    let whole = batch();
    group.bench_function("to_blocks", |bencher| {
        bencher.iter(|| black_box(&whole).to_blocks());
    });
    // An edit of all events is one entry, but then the bytes must be written anew.
    let mut edit = batch().edit();
    edit.set_all("datacenter", "north");
    let edited = edit.finish();
    group.bench_function("to_blocks_edited", |bencher| {
        bencher.iter(|| black_box(&edited).to_blocks());
    });
    group.finish();
}

/// What happens to a batch between its source and its sink.
fn work(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event/batch");
    group.throughput(Throughput::Elements(EVENTS as u64));
    let whole = batch();
    group.bench_function("clone", |bencher| bencher.iter(|| black_box(&whole).clone()));
    group.bench_function("freed", |bencher| {
        bencher.iter_batched(batch, drop, BatchSize::SmallInput);
    });
    group.bench_function("iterate", |bencher| {
        bencher.iter(|| {
            let bytes = |batch: &Batch| batch.iter().map(|event| event.body().len()).sum::<usize>();
            bytes(black_box(&whole))
        });
    });
    group.bench_function("iterate_headers", |bencher| {
        bencher.iter(|| {
            let headers = black_box(&whole).iter().flat_map(|event| event.headers());
            headers.map(|(key, value)| key.len() + value.len()).sum::<usize>()
        });
    });
    group.bench_function("split_and_join", |bencher| {
        bencher.iter(|| {
            let (mut rest, mut joined) = (black_box(&whole).clone(), Batch::default());
            while !rest.is_empty() {
                joined.append(rest.split_front(100));
            }
            joined
        });
    });
    group.bench_function("filter_half", |bencher| {
        bencher.iter(|| {
            let mut keep = false;
            black_box(&whole).filtered(|_| {
                keep = !keep;
                keep
            })
        });
    });
    // A tenth of what its buffer keeps alive: copied out.
    let tenth = whole.clone().split_front(EVENTS / 10);
    group.throughput(Throughput::Elements(EVENTS as u64 / 10));
    group.bench_function("compact_tenth", |bencher| {
        bencher.iter(|| black_box(&tenth).clone().compacted());
    });
    group.finish();
}

criterion_group!(benches, code, work);
criterion_main!(benches);
