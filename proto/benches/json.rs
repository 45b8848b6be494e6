//! What a request of events costs to read from JSON. Throughput is in bytes of text; `copy` shows what the copy of the
//! text costs that each round makes for the reader to own.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proto::event::EventLimits;
use proto::json::read_events;
use std::hint::black_box;

fn text(events: usize, body: &str) -> Vec<u8> {
    let event = format!(
        r#"{{"headers":{{"host":"web-17.example.org","timestamp":"1700000000000"}},"body":"{body}"}}"#
    );
    format!("[{}]", vec![event; events].join(",")).into_bytes()
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("json/read");
    let plain = "x".repeat(500);
    let quoted = r#"said \"no\" once\n"#.repeat(28);
    let escaped = "\\u00e9".repeat(84);
    for (name, events, body) in [
        ("1000x500B", 1_000, plain.as_str()),
        ("1x500B", 1, plain.as_str()),
        ("1000x500B_quotes", 1_000, quoted.as_str()),
        ("1000x500B_unicode", 1_000, escaped.as_str()),
        ("1000x20B", 1_000, "twenty bytes of body"),
    ] {
        let text = text(events, body);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("events", name), |bencher| {
            bencher.iter(|| read_events(black_box(&text).clone(), EventLimits::default()).expect("events"));
        });
        group.bench_function(BenchmarkId::new("copy", name), |bencher| {
            bencher.iter(|| black_box(&text).clone());
        });
    }
    group.finish();
}

criterion_group!(benches, read);
criterion_main!(benches);
