//! What a syslog message costs from the bytes of a stream to an event with headers, by either parser and form.
//!
//! Throughput is in messages of 256 bytes. Zones are not looked up here: that is `node`'s business.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use proto::event::{Batch, BatchBuilder, EventLimits};
use proto::syslog::{Framing, KeepFields, Legacy, Multiport, When};
use std::borrow::Cow;
use std::hint::black_box;

const MESSAGES: usize = 1_000;
const MESSAGE_BYTES: usize = 256;
const NOW: i64 = 1_795_132_800_000;

fn stream(head: &str) -> Vec<u8> {
    format!("{head:x<MESSAGE_BYTES$}\n").repeat(MESSAGES).into_bytes()
}

fn builder() -> BatchBuilder {
    BatchBuilder::with_capacity(EventLimits::default(), MESSAGES * (MESSAGE_BYTES + 130))
}

fn legacy(stream: &[u8]) -> Batch {
    let (mut framing, mut parser) = (Framing::new(2_500).counting(), Legacy::new(KeepFields::default()));
    let when = When {
        now_unix_ms: NOW,
        offset_seconds: &|_| 3_600,
    };
    let (mut batch, mut input) = (builder(), stream);
    while let Some(message) = framing.next(&mut input) {
        let pushed = parser.push(message, None, &when, &[], &mut batch);
        pushed.expect("far below the limits");
    }
    batch.finish()
}

fn multiport(stream: &[u8]) -> Batch {
    let mut framing = Framing::new(2_500).counting().keeping_cr();
    let mut parser = Multiport::new(KeepFields::default());
    let (mut batch, mut input) = (builder(), stream);
    while let Some(message) = framing.next(&mut input) {
        let text = std::str::from_utf8(message.bytes).ok();
        let pushed = parser.push(
            message,
            text,
            |t| Cow::Borrowed(t.as_bytes()),
            NOW,
            &[],
            &mut batch,
        );
        pushed.expect("far below the limits");
    }
    batch.finish()
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("syslog");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    for (form, head) in [
        (
            "rfc5424",
            "<13>1 2026-11-20T12:34:56.123456Z web-17.example.org app 7 - - ",
        ),
        ("rfc3164", "<13>Nov 20 12:34:56 web-17 app[7]: "),
        ("unmatched", "<13>app[7]: "),
    ] {
        let stream = stream(head);
        group.bench_function(format!("legacy/{form}"), |bencher| {
            bencher.iter(|| legacy(black_box(&stream)))
        });
        group.bench_function(format!("multiport/{form}"), |bencher| {
            bencher.iter(|| multiport(black_box(&stream)));
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
